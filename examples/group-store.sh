#!/bin/sh
# Sets up one store for a group, as root, and tells every pip on the machine about it:
#   sh examples/group-store.sh GROUP DIR
#
# Members of GROUP publish what they install first; everybody else may install from it.
set -eu
[ $# = 2 ] || { echo "usage: $0 GROUP DIR" >&2; exit 2; }

pip-sharedcache store setup --group "$1" "$2"
pip-sharedcache store info
