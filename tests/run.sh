#!/bin/sh
# Set everything up and run the tests: sh tests/run.sh [--all | --full] [--network] [pytest arguments]
#
#   (no option)  unit tests and a dozen others (quick.txt): minutes, without root
#   --all        every test function with an eighth of its parameter sets, rotating with commits
#   --full       every test function with all of its parameter sets
#   --network    also "tests/network.sh --quick", beside the others: its hosts mostly wait
#
# --all and --full, as root on Debian, install the programs that the multi-user and file system tests
# need; without them, or without root, those tests are skipped and say why. With
# --strict-capabilities a skipped one fails.
set -eu
cd "$(dirname "$0")/.."
umask 022
# Else each process that a test starts compiles anew what it imports.
unset PYTHONDONTWRITEBYTECODE

tier=quick
case "${1:-}" in --all | --full) tier=${1#--} && shift ;; esac
network=no
[ "${1:-}" != --network ] || { network=yes && shift; }

programs="openssl ssh-keygen ssh-agent setfacl strace mkfs.xfs mkfs.btrfs mkfs.ext4 filefrag setpriv sudo git zsh fish tcsh modulecmd chromium groff fakeroot proot cc setcap patchelf fuse-overlayfs newuidmap nginx"
if [ "$tier" != quick ] && [ "$(id -u)" = 0 ] && command -v apt-get >/dev/null; then
    for program in $programs; do
        command -v "$program" >/dev/null && continue
        apt-get update -qq
        DEBIAN_FRONTEND=noninteractive apt-get install -y -qq \
            acl openssl strace xfsprogs btrfs-progs e2fsprogs util-linux sudo git passwd zsh fish tcsh \
            environment-modules openssh-client chromium groff-base python3-venv fakeroot proot gcc libc6-dev libcap2-bin patchelf \
            fuse-overlayfs uidmap nginx-light >/dev/null
        break
    done
fi

venv=.cache/venv
[ -x "$venv/bin/python" ] || "${PYTHON:-python3}" -m venv "$venv"
"$venv/bin/python" -m pip install --quiet --disable-pip-version-check -e '.[test]'
"$venv/bin/python" -m ruff check src tests examples benchmarks
"$venv/bin/python" -m ruff format --check src tests examples benchmarks
# mypy uses one core: before the unit tests it would leave the others idle.
"$venv/bin/python" -m mypy &
checked=$!

# All cores at work, and in memory where there is room: a disk takes twice the time; on the file
# systems that a test is about it mounts images. Others than root use this directory, too.
free=$(df -Pk /dev/shm 2>/dev/null | awk 'NR == 2 { print $4 }')
if [ -z "${TMPDIR:-}" ] && [ "${free:-0}" -gt 8000000 ] && ! grep -q ' /dev/shm .*noexec' /proc/mounts; then
    # Short: where the path of an interpreter has over 127 characters pip writes other scripts.
    TMPDIR=$(mktemp -d /dev/shm/XXX)
    export TMPDIR
    chmod 1777 "$TMPDIR"
    trap 'rm -rf "$TMPDIR"' EXIT
fi

"$venv/bin/python" -m pytest -n auto tests/unit "$@"
wait "$checked"
if [ "$network" = yes ]; then
    told=$(mktemp)
    sh tests/network.sh --quick --installed >"$told" 2>&1 &
    hosts=$!
fi
# The rest is about starting pips, some thousand of them, each in an environment of its own. Each
# worker begins with a part of its own: what a module sets up is set up in few of them. A worker uses
# nine tenths of a core, so there is one more of them than cores.
case $tier in
    quick) set -- @tests/quick.txt "$@" ;;
    all) set -- --slice rotating "$@" ;;
    full) set -- --full "$@" ;;
esac
[ "$tier" = quick ] ||
    set -- tests/faults tests/multiuser tests/pip tests/remote tests/tools tests/docs tests/test_examples.py "$@"
workers=$(($(getconf _NPROCESSORS_ONLN) + 1))
failed=0
"$venv/bin/python" -m pytest -n "$workers" --dist worksteal "$@" || failed=$?
if [ "$network" = yes ]; then
    wait "$hosts" || failed=$?
    cat "$told"
    rm -f "$told"
fi
exit "$failed"
