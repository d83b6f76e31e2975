function _pip_sharedcache_complete
    set -lx COMP_WORDS (commandline -o)[1] (commandline -opc)[2..] (commandline -ct)
    set -lx COMP_CWORD (math (count $COMP_WORDS) - 1)
    set -lx PIP_AUTO_COMPLETE 1
    type -q $COMP_WORDS[1]; and $COMP_WORDS[1] 2>/dev/null | string split ' '
end
complete -c pip-sharedcache -a '(_pip_sharedcache_complete)'
