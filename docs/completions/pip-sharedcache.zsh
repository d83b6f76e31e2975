#compdef pip-sharedcache
_pip_sharedcache_complete() {
    local -a found
    found=($(COMP_WORDS="${words[*]}" COMP_CWORD=$((CURRENT - 1)) PIP_AUTO_COMPLETE=1 \
        ${(Q)words[1]} 2>/dev/null))
    if (( $#found )); then compadd -a found; else _files; fi
}
if [[ $funcstack[1] = _pip-sharedcache ]]; then
    _pip_sharedcache_complete "$@"  # zsh has loaded this as a file of $fpath
else
    compdef _pip_sharedcache_complete pip-sharedcache
fi
