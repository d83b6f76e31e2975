# Written by `pip-sharedcache store enable --conda`: pip is what it was before.
if ($global:_pip_sharedcache_in -contains '@TOKEN@') {
    $global:_pip_sharedcache_in = @($global:_pip_sharedcache_in | Where-Object { $_ -ne '@TOKEN@' })
    if (-not $global:_pip_sharedcache_in) {
        # each
        if ("${function:@NAME@}" -like '*_launch.py*') {
            Remove-Item Function:\@NAME@
            if ($global:_pip_sharedcache_was['@NAME@']) {
                ${function:global:@NAME@} = $global:_pip_sharedcache_was['@NAME@']
            }
        }
        # end
        Remove-Variable -Scope Global -Name _pip_sharedcache_in, _pip_sharedcache_was
    }
}
