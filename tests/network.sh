#!/bin/sh
# Run the tests that need hosts with kernels of their own, and NFS: sh tests/network.sh [pytest
# arguments]. As root on Debian it installs what they need. A test that cannot run fails.
set -eu
cd "$(dirname "$0")/.."
umask 022
unset PYTHONDONTWRITEBYTECODE

programs="linux.uml rpc.nfsd mount.nfs rpcbind mkfs.xfs tc setpriv setfacl nfs4_setfacl mfsmaster mfschunkserver mfsmount"
for program in $programs; do
    PATH=$PATH:/usr/sbin:/sbin command -v "$program" >/dev/null && continue
    if [ "$(id -u)" != 0 ] || ! command -v apt-get >/dev/null; then
        echo "tests/network.sh: $program is missing, and only root on Debian can install it" >&2
        exit 1
    fi
    apt-get update -qq
    DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends \
        user-mode-linux nfs-kernel-server nfs-common rpcbind xfsprogs iproute2 kmod acl nfs4-acl-tools \
        moosefs-master moosefs-chunkserver moosefs-client procps util-linux python3-venv >/dev/null
    break
done

venv=.cache/venv
[ -x "$venv/bin/python" ] || "${PYTHON:-python3}" -m venv "$venv"
"$venv/bin/python" -m pip install --quiet --disable-pip-version-check -e '.[test]'
exec "$venv/bin/python" -m pytest --strict-capabilities tests/network "$@"
