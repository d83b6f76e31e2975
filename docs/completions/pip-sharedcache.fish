function _pip_sharedcache_complete
    set -lx COMP_WORDS (commandline -o)[1] (commandline -opc)[2..] (commandline -ct)
    set -lx COMP_CWORD (math (count $COMP_WORDS) - 1)
    set -lx PIP_AUTO_COMPLETE 1
    set -l found (type -q $COMP_WORDS[1]; and $COMP_WORDS[1] 2>/dev/null | string split ' ')
    if test (count $found) -gt 0
        printf '%s\n' $found
    else
        set -l option (string match -r -- '^--[^=]*=' (commandline -ct); or echo '')
        set -l files (__fish_complete_path (string replace -- $option '' (commandline -ct)))
        test (count $files) -gt 0; and printf '%s\n' $option$files
    end
end
complete -c pip-sharedcache -f -a '(_pip_sharedcache_complete)'
