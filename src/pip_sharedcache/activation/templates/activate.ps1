# Written by `pip-sharedcache store enable --conda`: here pip installs through the shared store.
if (-not $global:_pip_sharedcache_in) {
    $global:_pip_sharedcache_in = @()
    $global:_pip_sharedcache_was = @{}
    # each
    if (Test-Path Function:\@NAME@) { $global:_pip_sharedcache_was['@NAME@'] = ${function:@NAME@} }
    ${function:global:@NAME@} = @FUNCTION@
    # end
}
if ($global:_pip_sharedcache_in -notcontains '@TOKEN@') {
    $global:_pip_sharedcache_in += '@TOKEN@'
}
