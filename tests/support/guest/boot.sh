#!/bin/sh
# The first process of a host that support/hosts.py starts. The root file system is that of the
# machine, read-only, with a layer in memory above it: what a host writes is gone with it.
# From the kernel's command line: GUEST_NAME, GUEST_PYTHON, GUEST_AGENT, GUEST_SHARED (a directory of
# the machine that the host may write), GUEST_LINKS (device=address/bits, with commas), GUEST_USERS
# (lines of passwd and group, see hosts.py, in files of the shared directory).
set -eu
export PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin
mount -t proc proc /proc
modules=/usr/lib/uml/modules/$(uname -r)
mount -t tmpfs -o mode=755 tmpfs /mnt
mkdir /mnt/upper /mnt/work /mnt/root
insmod "$modules/kernel/fs/overlayfs/overlay.ko"
mount -t overlay -o lowerdir=/,upperdir=/mnt/upper,workdir=/mnt/work overlay /mnt/root
cd /mnt/root
mount -t proc proc proc
mount -t sysfs sysfs sys
mount -t devtmpfs devtmpfs dev
mkdir -p dev/pts dev/shm
mount -t devpts devpts dev/pts
mount -t tmpfs -o mode=1777 tmpfs dev/shm
mount -t tmpfs -o mode=755 tmpfs run
mkdir -p run/lock run/rpcbind lib/modules ".$GUEST_SHARED"
[ -e "lib/modules/$(uname -r)" ] || ln -s "$modules" "lib/modules/$(uname -r)"
mount -t hostfs -o "$GUEST_SHARED" none ".$GUEST_SHARED"
for file in passwd group; do
    cp ".$GUEST_SHARED/$file" "etc/$file"
    chmod 644 "etc/$file"
done
while IFS=: read -r name _ uid gid _; do
    [ "$uid" -lt 54000 ] || [ "$uid" -gt 54999 ] || {
        mkdir -p "home/$name"
        chown "$uid:$gid" "home/$name"
        chmod 700 "home/$name"
    }
done <etc/passwd
# Without other sources, a name is looked up in those files alone.
printf 'passwd: files\ngroup: files\nshadow: files\nhosts: files\n' >etc/nsswitch.conf
echo "127.0.0.1 localhost $GUEST_NAME" >etc/hosts
echo "$GUEST_NAME" >etc/hostname
hostname "$GUEST_NAME"
rm -f etc/machine-id
tr -d - </proc/sys/kernel/random/uuid >etc/machine-id
ip link set lo up
for link in $(echo "$GUEST_LINKS" | tr , ' '); do
    ip addr add "${link#*=}" dev "${link%%=*}"
    ip link set "${link%%=*}" up
done
mkdir -p mnt
pivot_root . mnt
exec chroot . "$GUEST_PYTHON" -I "$GUEST_AGENT" "$GUEST_SHARED/$GUEST_NAME"
