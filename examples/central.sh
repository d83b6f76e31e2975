#!/bin/sh
# Installs pip-sharedcache in one place that everybody on the machine can read, as root:
#   sh examples/central.sh [DIR]
#
# PYTHON names the Python that runs it, OLDEST the version of the oldest Python that it is to serve.
# Nothing of it is needed in anybody's environment. The module file next to this script has pip
# install through the store while it is loaded: copy it to where your module files are.
set -eu
umask 022
place=${1:-/opt/pip-sharedcache}
wheels=$(mktemp -d)
trap 'rm -rf "$wheels"' EXIT

"${PYTHON:-python3}" -m venv "$place"
# It is there for pip-sharedcache alone: nothing else gets installed in it by mistake.
: >"$place/pip-sharedcache.central"
# What the Pythons of other environments get from here: such as the oldest of them can use, too.
"$place/bin/python" -m pip download --quiet --disable-pip-version-check --dest "$wheels" \
    --only-binary :all: --no-deps --python-version "${OLDEST:-3.9}" pip packaging platformdirs
"$place/bin/python" -m pip install --quiet --disable-pip-version-check --upgrade \
    "$wheels"/*.whl "$(dirname "$0")/.."
for shell in bash zsh sh fish csh tcsh; do
    "$place/bin/pip-sharedcache" store shell-init "$shell" >"$place/init.$shell"
done

if [ "$(id -u)" = 0 ] && command -v setpriv >/dev/null &&
    ! setpriv --reuid 65534 --regid 65534 --clear-groups \
        sh -c '"$1" -c ""' sh "$place/bin/python" 2>/dev/null; then
    echo "WARNING: others than root cannot run $place/bin/python: name a Python with PYTHON" >&2
fi

echo "In an active environment: $place/bin/pip-sharedcache install ..."
echo "In another environment:  $place/bin/pip-sharedcache --python ENV/bin/python install ..."
echo "In people's profiles:    . $place/init.bash (zsh, sh, fish, csh, tcsh)"
echo "For an environment:      $place/bin/pip-sharedcache store enable --python ENV"
echo "A store for a group:     PROGRAM=$place/bin/pip-sharedcache sh $(dirname "$0")/group-store.sh GROUP DIR"
