_pip_sharedcache_complete() {
    # Not COMPREPLY=($(...)): that would expand a * among the words.
    read -r -d '' -a COMPREPLY < <(COMP_WORDS="${COMP_WORDS[*]}" COMP_CWORD=$COMP_CWORD \
        PIP_AUTO_COMPLETE=1 "$1" 2>/dev/null)
}
complete -o default -F _pip_sharedcache_complete pip-sharedcache
