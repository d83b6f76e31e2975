"""A cluster: a server that exports a file system, and two clients, each with its own kernel.

The server's file system is xfs with reflinks on a disk of its own, exported by NFS with root
squash; the clients mount it at /data as their kernels do by default, attribute caching included.
MooseFS, which clients mount by FUSE at /moose, keeps its data on the same disk. What lies on either
has the same path on the server. Each client has a cable of its own to the server.
"""

from __future__ import annotations

import os
import subprocess
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Literal

from support.filesystems import remove_tree
from support.hosts import GUEST, PYTHON, Host, cable

#: As what a client mounts the export: by which version of NFS, or as MooseFS.
Version = Literal["3", "4.2", "moosefs"]

#: Those of NFS.
VERSIONS: tuple[Version, ...] = ("4.2", "3")
MOUNT_POINT = Path("/data")
EXPORT = Path("/export/data")


def mount_point(version: Version) -> Path:
    """Where it lies, on clients and on the server."""
    return Path("/moose") if version == "moosefs" else MOUNT_POINT


class Cluster:
    """Three hosts that are on, and the directory that they share with the machine.

    ``clients`` are called client1 and client2. What lies in ``shared`` has the same path on all.
    """

    def __init__(self, shared: Path, disk_gb: int = 8) -> None:
        self.shared = shared
        disk = shared / "disk"
        with disk.open("wb") as image:
            image.truncate(disk_gb << 30)
        subprocess.run(["mkfs.xfs", "-q", "-m", "reflink=1", str(disk)], check=True)
        cables = [cable(), cable()]
        self._addresses = [f"10.0.{n}.1" for n in (1, 2)]
        server_links = [
            (ends[0], f"{address}/24") for ends, address in zip(cables, self._addresses)
        ]
        # Linux grants four delegations for each MB of memory.
        self.server = Host("server", shared, server_links, disk, memory=3072)
        self.clients = [
            Host(f"client{n}", shared, [(cables[n - 1][1], f"10.0.{n}.2/24")]) for n in (1, 2)
        ]
        self.export_options = ""
        self._shaped: dict[tuple[str, str, int], str] = {}
        self._shifted: dict[tuple[str, int], float] = {}
        self._moosefs_started = 0
        self._sockets = [end for ends in cables for end in ends]

    def start(self) -> None:
        """Switch all hosts on, let the server serve."""
        self.start_server()
        for client in self.clients:
            client.start()

    def start_server(self) -> None:
        """Switch the server on; it serves what lies on its disk."""
        self.server.start()
        self.server.run(["sh", GUEST / "serve.sh", self.export_options], timeout=120)
        if self._moosefs_started:
            self.serve("moosefs")

    def serve(self, version: Version) -> None:
        """Let the server serve this, too: NFS it always does, MooseFS from the first time on."""
        if version == "moosefs" and self._moosefs_started != self.server.starts:
            self.server.run(["sh", GUEST / "moosefs.sh", "start"], timeout=120)
            self._moosefs_started = self.server.starts

    def crash_moosefs(self) -> None:
        """Kill the processes of MooseFS on the server, and start them again."""
        for what in ("crash", "start"):
            self.server.run(["sh", GUEST / "moosefs.sh", what], timeout=120)

    def recover(self) -> None:
        """Switch on what is off, let all hosts reach one another without delay and agree on the
        time."""
        if not self.server.is_on():
            self.start_server()
        for client in self.clients:
            if not client.is_on():
                client.start()
            self.join(client)
        for host in (self.server, *self.clients):
            self.shift_clock(host, 0)

    def stop(self) -> None:
        """Switch all hosts off."""
        for host in (*self.clients, self.server):
            host.off()
        for end in self._sockets:
            end.close()

    def mount(self, client: Host, version: Version = "4.2", options: str = "") -> None:
        """Mount the export on a client, in place of what is mounted there."""
        address = self._addresses[self.clients.index(client)]
        if version == "moosefs":
            self.serve(version)
            client.run(["sh", GUEST / "moosefs.sh", "mount", address], timeout=120)
            return
        chosen = ",".join(filter(None, [f"vers={version}", options]))
        script = """
            options=$1 source=$2 target=$3
            ! mountpoint -q "$target" || umount "$target"
            # A daemon of version 3 stays for later mounts.
            [ "${1#vers=3}" = "$1" ] || {
                pgrep -x rpcbind >/dev/null || rpcbind -w
                pgrep -x rpc.statd >/dev/null || rpc.statd --no-notify
            }
            mkdir -p "$target"
            mount -t nfs -o "$options" "$source" "$target"
        """
        source = f"{address}:{EXPORT if version == '3' else '/'}"
        client.sh(script, chosen, source, MOUNT_POINT, timeout=120)

    def unmount(self, client: Host) -> None:
        """Unmount /data on a client; with it goes what the client knew of the files."""
        client.sh('! mountpoint -q "$1" || umount "$1"', MOUNT_POINT)

    def delay(self, client: Host, milliseconds: float) -> None:
        """Let each round trip of a client take so much longer; 0: as the cable is."""
        self._shape(client, "vec0", f"delay {milliseconds}ms" if milliseconds else "")

    def cut(self, client: Host) -> None:
        """Take a client off the network: what it sends and what it is sent is lost."""
        for host, device in self._ends(client):
            self._shape(host, device, "loss 100%")

    def join(self, client: Host) -> None:
        """Put it on the network again, without delay."""
        for host, device in self._ends(client):
            self._shape(host, device, "")

    def forget(self, client: Host) -> None:
        """Let the server drop what a client of v4.2 has open, as after the end of its lease.

        A server drops it by itself only where it is in another client's way.
        """
        script = """
            for one in /proc/fs/nfsd/clients/*; do
                ! grep -q "^address: .$1:" "$one/info" || { echo expire >"$one/ctl"; found=1; }
            done
            [ "${found:-}" ]
        """
        self.server.sh(script, f"10.0.{self.clients.index(client) + 1}.2")

    def shift_clock(self, host: Host, hours: float) -> None:
        """Let the clock of a host be so many hours ahead of the machine's."""
        before = self._shifted.get((host.name, host.starts), 0)
        if before != hours:
            seconds = round((hours - before) * 3600)
            host.sh('date -s "@$(($(date +%s) + $1))" >/dev/null', str(seconds))
            self._shifted[host.name, host.starts] = hours

    def _ends(self, client: Host) -> list[tuple[Host, str]]:
        return [(client, "vec0"), (self.server, f"vec{self.clients.index(client)}")]

    def _shape(self, host: Host, device: str, how: str) -> None:
        # The device itself stays up: user-mode Linux would close its end of the cable for good.
        if self._shaped.get((host.name, device, host.starts), "") != how:
            script = "tc qdisc del dev $1 root 2>/dev/null || :"
            if how:
                script += f"; tc qdisc add dev $1 root netem limit 10000 {how}"
            host.sh(script, device)
            self._shaped[host.name, device, host.starts] = how


@contextmanager
def running_cluster(base: Path, disk_gb: int = 8) -> Iterator[Cluster]:
    """A cluster that is on; base: where its directory is made, which others can reach."""
    shared = Path(tempfile.mkdtemp(prefix="cluster-", dir=base))
    shared.chmod(0o755)
    try:
        cluster = Cluster(shared, disk_gb)
        try:
            cluster.start()
            yield cluster
        finally:
            cluster.stop()
    finally:
        remove_tree(shared)


class GuestIndex:
    """A package index that runs on a host, for the commands of that host. It ends with the host."""

    def __init__(self, host: Host, directory: Path) -> None:
        program = GUEST / "index.py"
        self._running = host.launch([PYTHON, program, directory])
        deadline = time.monotonic() + 120
        while not (lines := self._running.output()[0].splitlines()):
            if self._running.ended.is_set() or time.monotonic() > deadline:
                raise AssertionError(f"the index did not start: {self._running.output()}")
            time.sleep(0.1)
        self.url = lines[0]

    @property
    def variables(self) -> dict[str, str | None]:
        """Variables with which pip uses this index alone."""
        return {
            "PIP_CONFIG_FILE": os.devnull,
            "PIP_INDEX_URL": self.url,
            "PIP_TRUSTED_HOST": self.url.partition("://")[2].partition("/")[0],
        }

    def is_running(self) -> bool:
        """Return whether it answers still."""
        return self._running.host.is_on() and not self._running.ended.is_set()

    def stop(self) -> None:
        """End it."""
        if self.is_running():
            self._running.kill()
            self._running.ended.wait(20)

    def wheels(self) -> list[str]:
        """The names of the wheels that were downloaded so far, one for each download."""
        lines = [line.split(" ", 2) for line in self._running.output()[0].splitlines()[1:]]
        return [
            path.rpartition("/")[2]
            for method, status, path in lines
            if method == "GET" and status in ("200", "206") and path.endswith(".whl")
        ]
