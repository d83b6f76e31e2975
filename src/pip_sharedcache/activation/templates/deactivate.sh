# Written by `pip-sharedcache store enable --conda`: pip is what it was before.
case "${_PIP_SHAREDCACHE_IN-}:" in
*":@TOKEN@:"*) # xonsh, which takes over variables only
    export _PIP_SHAREDCACHE_IN="${_PIP_SHAREDCACHE_IN%%:@TOKEN@*}${_PIP_SHAREDCACHE_IN#*:@TOKEN@}"
    ;;
esac
case "${_pip_sharedcache_in-}:" in
*":@TOKEN@:"*)
    _pip_sharedcache_in="${_pip_sharedcache_in%%:@TOKEN@*}${_pip_sharedcache_in#*:@TOKEN@}"
    if [ -z "$_pip_sharedcache_in" ]; then
        # each
        if [ "$_pip_sharedcache_@NAME@" != stays ]; then
            case "$(typeset -f @NAME@ 2>/dev/null || command -V @NAME@ 2>/dev/null || :)" in
            *_launch.py* | "@NAME@ is a shell function"* | "@NAME@ is a function"*)
                unset -f @NAME@
                # An alias of today would be read into the definition of yesterday's function.
                if [ -z "$(alias @NAME@ 2>/dev/null || :)" ]; then
                    eval "$_pip_sharedcache_@NAME@"
                fi
                ;;
            esac # else somebody has defined another one since: that stays
        fi
        unset _pip_sharedcache_@NAME@
        # end
        unset _pip_sharedcache_in
    fi
    ;;
esac
