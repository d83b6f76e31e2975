# Written by `pip-sharedcache store enable --conda`: pip is what it was before.
if set -l _pip_sharedcache_index (contains -i @TOKEN@ $_pip_sharedcache_in)
    set -e _pip_sharedcache_in[$_pip_sharedcache_index]
    if not set -q _pip_sharedcache_in[1]
        # each
        if functions @NAME@ 2>/dev/null | string match -q '*_launch.py*'
            functions -e @NAME@
            if functions -q _pip_sharedcache_was_@NAME@
                functions -c _pip_sharedcache_was_@NAME@ @NAME@
            end
        end # else somebody has defined another one since: that stays
        functions -e _pip_sharedcache_was_@NAME@
        # end
        set -e _pip_sharedcache_in
    end
end
