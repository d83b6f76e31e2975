#!/bin/sh
# Sets up one store for a group, as root, and tells every pip on the machine about it:
#   sh examples/group-store.sh GROUP DIR
#
# Members of GROUP publish what they install first; everybody else may install from it.
#
# PROGRAM names pip-sharedcache. Without it, the script takes the one of PATH, else that of
# central.sh.
set -eu
[ $# = 2 ] || { echo "usage: $0 GROUP DIR" >&2; exit 2; }

central=/opt/pip-sharedcache/bin/pip-sharedcache
program=${PROGRAM:-$(command -v pip-sharedcache || echo "$central")}
if [ ! -x "$program" ]; then
    echo "$0: pip-sharedcache is not installed: neither in PATH nor as $central;" \
        "hint: sh $(dirname "$0")/central.sh, or name it with PROGRAM" >&2
    exit 2
fi

"$program" store setup --group "$1" "$2"
"$program" store info
