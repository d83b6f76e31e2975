# Written by `pip-sharedcache store enable --conda`: here pip installs through the shared store.
if ( ! $?_pip_sharedcache_in ) then
    set _pip_sharedcache_in = ""
    # each
    set _pip_sharedcache_@NAME@ = "`alias @NAME@`"
    @FUNCTION@
    # end
endif
if ( "${_pip_sharedcache_in}:" !~ *:@TOKEN@:* ) then
    set _pip_sharedcache_in = "${_pip_sharedcache_in}:@TOKEN@"
endif
