#!/bin/sh
# Installs pip_sharedcache and a real package through the store, twice, with nothing configured:
#   sh examples/quickstart.sh [REQUIREMENT ...]
#
# The first environment fills the store (downloads as ever), the second one takes everything from it.
# WORK names the directory for the environments (default: a new one beside the store, since files can
# be reflinked within one file system only).
set -eu
cd "$(dirname "$0")/.."
[ $# -gt 0 ] || set -- rich
installer=${WORK:-$(mktemp -d)}/installer

"${PYTHON:-python3}" -m venv "$installer"
"$installer/bin/python" -m pip install --quiet --disable-pip-version-check .
if [ -z "${WORK:-}" ]; then
    beside=$(dirname "$("$installer/bin/pip-sharedcache" store path)")
    mkdir -p "$beside" 2>/dev/null || :
    WORK=$(mktemp -d "$beside/quickstart.XXXXXX" 2>/dev/null) || WORK=${installer%/installer}
fi

for name in first second; do
    "${PYTHON:-python3}" -m venv --without-pip "$WORK/$name"
    echo "== $name environment"
    began=$(date +%s)
    "$installer/bin/python" -m pip_sharedcache --python "$WORK/$name/bin/python" install "$@"
    took="${took:-Seconds:} $name $(($(date +%s) - began))"
done
echo "== what is in the store, and what that saved (downloads, copies, compiling)"
"$installer/bin/pip-sharedcache" store info
"$installer/bin/pip-sharedcache" store stats
echo "$took"
echo "The environments are in $WORK."
