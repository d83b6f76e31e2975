# Written by `pip-sharedcache store enable --conda`: here pip installs through the shared store.
if not set -q _pip_sharedcache_in[1]
    # each
    if functions -q @NAME@
        functions -c @NAME@ _pip_sharedcache_was_@NAME@
        functions -e @NAME@
    end
    @FUNCTION@
    # end
end
if not contains @TOKEN@ $_pip_sharedcache_in
    set -g _pip_sharedcache_in $_pip_sharedcache_in @TOKEN@
end
