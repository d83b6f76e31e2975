#!/bin/sh
# MooseFS at /moose, on the server and on clients:
#   moosefs.sh start            on the server: master and chunk server, their data on the disk /export
#   moosefs.sh crash            on the server: both lose their processes, and nothing else
#   moosefs.sh mount ADDRESS    on a client: ADDRESS is the server's on this client's cable
# Clients reach both at one address, since the master tells it to all of them. Root of a client is
# nobody, as with NFS. What the master has promised is on the disk (CHANGELOG_SAVE_MODE), and what
# was written before a file was closed (HDD_FSYNC_BEFORE_CLOSE).
set -eu
server=10.0.0.1
state=/export/moosefs

configure() {
    mkdir -p "$state/master" "$state/chunkserver" "$state/chunks"
    common="WORKING_USER = root
WORKING_GROUP = root
NICE_LEVEL = 0
LOCK_MEMORY = 0
DISABLE_OOM_KILLER = 0"
    cat >"$state/master.cfg" <<END
$common
DATA_PATH = $state/master
EXPORTS_FILENAME = $state/exports.cfg
TOPOLOGY_FILENAME = $state/topology.cfg
CHANGELOG_SAVE_MODE = 2
END
    cat >"$state/exports.cfg" <<END
$server / rw,alldirs,admin,maproot=0:0
127.0.0.1 / rw,alldirs,admin,maproot=0:0
10.0.0.0/8 / rw,alldirs,maproot=65534:65534
END
    : >"$state/topology.cfg"
    cat >"$state/chunkserver.cfg" <<END
$common
DATA_PATH = $state/chunkserver
HDD_CONF_FILENAME = $state/disks.cfg
HDD_FSYNC_BEFORE_CLOSE = 1
MASTER_HOST = $server
MASTER_RECONNECTION_DELAY = 1
END
    echo "$state/chunks" >"$state/disks.cfg"
    # As the package ships it.
    printf 'MFSM NEW' >"$state/master/metadata.mfs"
}

case $1 in
start)
    [ -e "$state/disks.cfg" ] || configure
    ip addr show dev lo | grep -q " $server/" || ip addr add "$server/32" dev lo
    # -a: what is newer than the last image of the metadata comes from the change logs.
    mfsmaster -c "$state/master.cfg" -a start
    mfschunkserver -c "$state/chunkserver.cfg" start
    if ! mountpoint -q /moose; then
        modprobe fuse
        mkdir -p /moose
        # What clients do is seen at once.
        mfsmount /moose -H "$server" \
            -o mfsattrcacheto=0,mfsentrycacheto=0,mfsdirentrycacheto=0,mfsnegentrycacheto=0
    fi
    mfssettrashtime 0 /moose >/dev/null
    chmod 1777 /moose
    # Until the chunk server has reported to the master nothing can be written.
    n=0
    until echo probe >/moose/.probe && rm /moose/.probe; do
        n=$((n + 1))
        [ "$n" -lt 60 ]
        sleep 0.5
    done
    ;;
crash)
    pkill -KILL -x mfsmaster
    pkill -KILL -x mfschunkserver
    # Nobody reaps them: as zombies they stay.
    while pgrep -r D,R,S,T '^mfs(mast|chunk)' >/dev/null; do sleep 0.1; done
    rm -f "$state"/master/.mfsmaster.lock "$state"/chunkserver/.mfschunkserver.lock
    ;;
mount)
    ! mountpoint -q /moose || umount /moose
    ip route replace "$server" via "$2"
    modprobe fuse
    mkdir -p /moose
    mfsmount /moose -H "$server"
    ;;
esac
