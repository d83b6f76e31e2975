#!/bin/sh
# Export the file system on the disk /dev/ubda by NFS, v3 and v4.2, to every host: serve.sh [options
# of the export]. What the server remembers of its clients lies on the disk, too, as it does on a
# server's: without it no client could reclaim its opens after a restart. Grace and lease are 10 s
# instead of 90 s. fsid=0: the root for v4, which has no root file system that could be exported else
# (a layered one cannot).
set -eu
mkdir -p /export
mount -t xfs -o usrquota /dev/ubda /export
mkdir -p /export/state /export/data
chmod 700 /export/state
chmod 1777 /export/data
# What lies on the export has the clients' path here, too.
mkdir -p /data
mount --bind /export/data /data
[ -d /export/state/nfs ] || cp -a /var/lib/nfs /export/state/nfs
mkdir -p /export/state/nfs/sm /export/state/nfs/sm.bak /export/state/nfs/nfsdcltrack
mount --bind /export/state/nfs /var/lib/nfs
modprobe nfsd
mount -t nfsd nfsd /proc/fs/nfsd
# As on a server with 4 GB of memory or more.
echo 1048576 >/proc/fs/nfsd/max_block_size
rpcbind -w
rpc.statd --no-notify
echo "/export/data *(rw,root_squash,sync,no_subtree_check,insecure,fsid=0${1:+,$1})" >/etc/exports
exportfs -r
rpc.nfsd --grace-time 10 --lease-time 10 8
rpc.mountd
