# Written by `pip-sharedcache store enable --conda`: pip is what it was before.
if ( $?_pip_sharedcache_in ) then
    set _pip_sharedcache_in = "`echo ${_pip_sharedcache_in} | sed 's/:@TOKEN@//'`"
    if ( "$_pip_sharedcache_in" == "" ) then
        # each
        if ( "`alias @NAME@`" =~ *_launch.py* ) then
            unalias @NAME@
            if ( "$_pip_sharedcache_@NAME@" != "" ) alias @NAME@ "$_pip_sharedcache_@NAME@"
        endif
        unset _pip_sharedcache_@NAME@
        # end
        unset _pip_sharedcache_in
    endif
endif
