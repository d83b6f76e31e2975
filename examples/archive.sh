#!/bin/sh
# Makes one file of pip-sharedcache, with pip and all that it needs, that any Python runs:
#   sh examples/archive.sh [FILE]
#
#   python3 FILE --python ENV/bin/python install rich
#
# OLDEST is the version of the oldest Python that it is to serve, or to be run by.
set -eu
file=${1:-pip-sharedcache.pyz}
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT

"${PYTHON:-python3}" -m pip download --quiet --disable-pip-version-check --dest "$work/wheels" \
    --only-binary :all: --no-deps --python-version "${OLDEST:-3.9}" pip packaging platformdirs
"${PYTHON:-python3}" -m pip install --quiet --disable-pip-version-check --target "$work/all" \
    "$work"/wheels/*.whl "$(dirname "$0")/.."
"${PYTHON:-python3}" -m zipapp "$work/all" --main pip_sharedcache.__main__:run \
    --python "/usr/bin/env python3" --output "$file"
chmod 755 "$file"
