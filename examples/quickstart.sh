#!/bin/sh
# Installs pip_sharedcache and a real package through the store, twice, with nothing configured:
#   sh examples/quickstart.sh [REQUIREMENT ...]
#
# The first environment fills the store (downloads as ever), the second one takes everything from it.
# WORK names the directory for the environments (default: a new temporary one).
set -eu
cd "$(dirname "$0")/.."
[ $# -gt 0 ] || set -- rich
work=${WORK:-$(mktemp -d)}

"${PYTHON:-python3}" -m venv "$work/installer"
"$work/installer/bin/python" -m pip install --quiet --disable-pip-version-check .

for name in first second; do
    "${PYTHON:-python3}" -m venv --without-pip "$work/$name"
    echo "== $name environment"
    "$work/installer/bin/python" -m pip_sharedcache --python "$work/$name/bin/python" install "$@"
done
"$work/installer/bin/pip-sharedcache" store info
echo "The environments are in $work."
