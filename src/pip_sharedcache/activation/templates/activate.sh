# Written by `pip-sharedcache store enable --conda`: here pip installs through the shared store.
# For sh, bash, zsh; also with set -eu.
case "${BASH_EXECUTION_STRING-}" in
*__XONSH_ENV_BEG__*)
    # xonsh asks a bash what this file does. It takes over variables, and an alias once for all: so
    # that one looks whether any environment is active.
    case "${_PIP_SHAREDCACHE_IN-}:" in
    *":@TOKEN@:"*) ;;
    *) export _PIP_SHAREDCACHE_IN="${_PIP_SHAREDCACHE_IN-}:@TOKEN@" ;;
    esac
    if [ "${_PIP_SHAREDCACHE_XONSH-}" != "$PPID" ]; then
        export _PIP_SHAREDCACHE_XONSH="$PPID"
        # each
        alias @NAME@=@GUARDED@
        # end
    fi
    ;;
*)
    # conda runs this in a function, where zsh may be set to complain of new variables.
    if [ -n "${ZSH_VERSION-}" ] && [[ -o warn_create_global ]]; then
        unsetopt warn_create_global
        _pip_sharedcache_warns=yes
    fi
    if [ -z "${_pip_sharedcache_in-}" ]; then
        # each
        _pip_sharedcache_@NAME@="$(typeset -f @NAME@ 2>/dev/null || :)"
        case "$(declare -pF @NAME@ 2>/dev/null || :)" in # bash
        "declare -fx "*) _pip_sharedcache_@NAME@="$_pip_sharedcache_@NAME@
export -f @NAME@" ;;
        esac
        case "$_pip_sharedcache_@NAME@:$(command -V @NAME@ 2>/dev/null || :)" in
        ":@NAME@ is a shell function"* | ":@NAME@ is a function"*)
            # This shell cannot print a function, so nobody could put it back: it stays.
            _pip_sharedcache_@NAME@=stays
            ;;
        *)
            _pip_sharedcache_alias="$(alias @NAME@ 2>/dev/null || :)"
            if [ -n "$_pip_sharedcache_alias" ]; then
                unalias @NAME@
                _pip_sharedcache_@NAME@="$_pip_sharedcache_@NAME@
alias ${_pip_sharedcache_alias#alias }"
            fi
            # Read only now: with that alias it would be the definition of something else.
            eval @FUNCTION@
            ;;
        esac
        # end
        unset _pip_sharedcache_alias
    fi
    case "${_pip_sharedcache_in-}:" in
    *":@TOKEN@:"*) ;;
    *) _pip_sharedcache_in="${_pip_sharedcache_in-}:@TOKEN@" ;;
    esac
    if [ -n "${_pip_sharedcache_warns-}" ]; then
        unset _pip_sharedcache_warns
        setopt warn_create_global
    fi
    ;;
esac
