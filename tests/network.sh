#!/bin/sh
# Run the tests that need hosts with kernels of their own, and NFS: sh tests/network.sh [--quick]
# [pytest arguments]. As root on Debian it installs what they need. A test that cannot run fails.
#
#   (no option)  all of them, also with MooseFS: an hour or two
#   --quick      those of network-quick.txt: minutes (CI)
#   --installed  after --quick: the environment of the tests is there (tests/run.sh made it)
set -eu
cd "$(dirname "$0")/.."
umask 022
unset PYTHONDONTWRITEBYTECODE

programs="linux.uml rpc.nfsd mount.nfs rpcbind mkfs.xfs tc setpriv"
packages="user-mode-linux nfs-kernel-server nfs-common rpcbind xfsprogs iproute2 kmod procps util-linux python3-venv"
installed=no
if [ "${1:-}" = --quick ]; then
    shift
    [ "${1:-}" != --installed ] || { installed=yes && shift; }
    set -- @tests/network-quick.txt "$@"
else
    set -- tests/network "$@"
    programs="$programs setfacl nfs4_setfacl xfs_quota mfsmaster mfschunkserver mfsmount"
    packages="$packages acl nfs4-acl-tools moosefs-master moosefs-chunkserver moosefs-client"
fi
for program in $programs; do
    PATH=$PATH:/usr/sbin:/sbin command -v "$program" >/dev/null && continue
    if [ "$(id -u)" != 0 ] || ! command -v apt-get >/dev/null; then
        echo "tests/network.sh: $program is missing, and only root on Debian can install it" >&2
        exit 1
    fi
    apt-get update -qq
    # shellcheck disable=SC2086
    DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends $packages >/dev/null
    break
done

venv=.cache/venv
if [ "$installed" = no ]; then
    [ -x "$venv/bin/python" ] || "${PYTHON:-python3}" -m venv "$venv"
    "$venv/bin/python" -m pip install --quiet --disable-pip-version-check -e '.[test]'
fi

# The disk of the server in memory, where there is room: it is synced after each call.
free=$(df -Pk /dev/shm 2>/dev/null | awk 'NR == 2 { print $4 }')
if [ -z "${TMPDIR:-}" ] && [ "${free:-0}" -gt 8000000 ] && ! grep -q ' /dev/shm .*noexec' /proc/mounts; then
    TMPDIR=$(mktemp -d /dev/shm/XXX)
    export TMPDIR
    chmod 1777 "$TMPDIR"
    trap 'rm -rf "$TMPDIR"' EXIT
fi
"$venv/bin/python" -m pytest --strict-capabilities "$@"
