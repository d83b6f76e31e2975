"""Hosts with kernels of their own: user-mode Linux, one process of the machine for each.

A host runs Debian's package user-mode-linux, an unchanged Linux 6.1 that has NFS as a client (v3,
v4.2) and as a server, xfs with reflinks and netem. It needs no hardware support and no root. The
alternatives need more: KVM needs a processor that offers it (in a virtual machine it seldom does),
and QEMU without KVM takes ten times as long. The machine's own kernel does not serve: two clients
in one kernel share what they know of the server's files.

A host sees the file system of the machine read-only, with a layer of its own in memory above it
(guest/boot.sh). Only the shared directory has one content for all hosts and for the machine; a
host keeps in memory what it has read there, so nothing in it is written twice.
A host has one processor, and a system call takes about 20 µs there: seconds say little, counts of
RPCs are those of any other Linux.
"""

from __future__ import annotations

import json
import os
import re
import shutil
import signal
import socket
import subprocess
import sys
import threading
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path

from support import REPOSITORY
from support.accounts import GROUP, Account, Accounts, Argument

PROGRAM = "linux.uml"
GUEST = REPOSITORY / "tests" / "support" / "guest"

#: An interpreter that all accounts may use: the agent's, and that of environments on hosts.
PYTHON = next(
    path
    for path in ("/usr/bin/python3", "/usr/local/bin/python3", sys.executable)
    if os.access(path, os.X_OK)
)

#: The accounts of all hosts; the machine does not need them.
ACCOUNTS = Accounts(
    Account("usera", 54101, 54101),
    Account("userb", 54102, 54102),
    Account("userc", 54103, 54103),
    54100,
)
_PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
_UP_WITHIN = 120
_SO_SNDBUFFORCE = 32  # socket(7); Python has no name for it


class HostError(RuntimeError):
    """A host did not start, or ended by itself."""


@dataclass
class Running:
    """A command on a host. ``status`` is None until it has ended."""

    host: Host
    number: int
    argv: list[str]
    status: int | None = None
    ended: threading.Event = field(default_factory=threading.Event)

    def output(self) -> tuple[str, str]:
        """What the command has written so far: complete only after its end."""
        texts = [self.host.directory / f"{self.number}.{stream}" for stream in ("out", "err")]
        out, err = (path.read_text(errors="replace") if path.exists() else "" for path in texts)
        return out, err

    def wait(self, timeout: float = 600) -> subprocess.CompletedProcess[str]:
        """Wait for the end. After ``timeout`` seconds, or if the host is off, AssertionError."""
        if not self.ended.wait(timeout):
            self.kill()
            self.ended.wait(20)
            raise AssertionError(f"{self.argv} did not end in {timeout} s: {self.output()}")
        if self.status is None:
            raise AssertionError(f"{self.host.name} went off during {self.argv}: {self.output()}")
        return subprocess.CompletedProcess(self.argv, self.status, *self.output())

    def kill(self) -> None:
        """Kill the command and all that it started."""
        self.host.tell(f"kill {self.number}")

    def pause(self) -> None:
        """Stop the command, and all that it started, until ``resume``."""
        self.host.tell(f"stop {self.number}")
        self.host.sh(":")  # orders are obeyed one after another

    def resume(self) -> None:
        """Let it go on."""
        self.host.tell(f"cont {self.number}")


class Host:
    """A host called ``name``, off at first.

    links: for each network device (vec0, vec1, …) the socket that is the end of its cable, and its
    address with the bits of the network. shared: a directory that all hosts share. disk: the image
    of /dev/ubda. memory: in MB.
    """

    def __init__(
        self,
        name: str,
        shared: Path,
        links: Sequence[tuple[socket.socket, str]] = (),
        disk: Path | None = None,
        memory: int = 1024,
    ) -> None:
        self.name = name
        self.shared = shared
        self.directory = shared / name
        self.console = shared / f"{name}.console"
        self._links = list(links)
        self._disk = disk
        self._memory = memory
        self._process: subprocess.Popen[bytes] | None = None
        self._guard: subprocess.Popen[bytes] | None = None
        self._line: socket.socket | None = None
        self._up = threading.Event()
        self._count = 0
        self.starts = 0
        self._commands: dict[int, Running] = {}
        self.directory.mkdir()
        for file in ("passwd", "group"):
            _write_accounts(shared / file)

    def start(self) -> None:
        """Switch it on, and wait until it runs commands. ``starts`` counts how often."""
        if self._process is not None:
            raise HostError(f"{self.name} is on")
        self.starts += 1
        self._line, theirs = socket.socketpair()
        links = [f"vec{n}={address}" for n, (_, address) in enumerate(self._links)]
        cables = [
            f"vec{n}:transport=fd,fd={end.fileno()},mtu=1500,mac={_hardware_address(address)}"
            for n, (end, address) in enumerate(self._links)
        ]
        console = self.console.open("ab")
        command = [
            *(PROGRAM, f"mem={self._memory}M", f"umid={self.name}-{os.getpid()}"),
            *(f"uml_dir={self.shared}/uml", "root=/dev/root", "rootfstype=hostfs"),
            *("rootflags=/", "ro", f"init={GUEST / 'boot.sh'}", "panic=1", "quiet"),
            *("con=null", "con0=null,fd:1", "ssl=null", f"ssl0=fd:{theirs.fileno()}"),
            *([f"ubd0={self._disk}"] if self._disk else []),
            *cables,
            *(f"GUEST_NAME={self.name}", f"GUEST_SHARED={self.shared}"),
            *(f"GUEST_PYTHON={PYTHON}", f"GUEST_AGENT={GUEST / 'agent.py'}"),
            f"GUEST_LINKS={','.join(links)}",
        ]
        self._up.clear()
        with console:
            self._process = subprocess.Popen(
                command,
                stdin=subprocess.DEVNULL,
                stdout=console,
                stderr=console,
                pass_fds=[theirs.fileno(), *(end.fileno() for end, _ in self._links)],
                start_new_session=True,
                # The memory of a host is a file there.
                env={"PATH": _PATH, "TMPDIR": _memory_directory(), "HOME": str(self.shared)},
            )
        theirs.close()
        # Also after the tests were killed: then the end of its input comes.
        guard = ["sh", "-c", 'read -r _; kill -KILL "-$1"', "sh", str(self._process.pid)]
        self._guard = subprocess.Popen(guard, stdin=subprocess.PIPE, start_new_session=True)
        threading.Thread(target=self._listen, args=(self._line,), daemon=True).start()
        if not self._up.wait(_UP_WITHIN) or not self.is_on():
            self.off()
            raise HostError(f"{self.name} did not start:\n{self.console.read_text()[-3000:]}")

    def is_on(self) -> bool:
        """Return whether its kernel runs."""
        return self._process is not None and self._process.poll() is None

    def off(self) -> None:
        """Cut its power: nothing that it holds in memory is written."""
        if self._process is None:
            return
        if self._guard is not None:  # the number of the group may be another's soon
            self._guard.kill()
            self._guard.communicate()
        # Each process of the host is one of the machine, in the same process group.
        with suppress(ProcessLookupError):
            os.killpg(self._process.pid, signal.SIGKILL)
        self._process.wait()
        self._process = None
        if self._line is not None:
            self._line.close()
        for command in [*self._commands.values()]:
            command.ended.set()
        self._commands.clear()

    def launch(
        self,
        argv: Sequence[Argument],
        account: Account | None = None,
        *,
        umask: int = 0o022,
        env: Mapping[str, str | None] | None = None,
        cwd: Argument = "/",
    ) -> Running:
        """Start a command as an account (None: root) and return it.

        Its environment has PATH, HOME, USER and LANG; env comes on top, None removes a variable.
        """
        command = ["sh", "-c", f'umask {umask:04o}; exec "$@"', "sh", *map(str, argv)]
        if account is not None:
            identity = [f"--reuid={account.uid}", f"--regid={account.gid}", "--init-groups"]
            command = ["setpriv", *identity, "--", *command]
        name = account.name if account else "root"
        variables: dict[str, str | None] = {
            "PATH": _PATH,
            "HOME": f"/home/{name}" if account else "/root",
            "USER": name,
            "LOGNAME": name,
            "LANG": "C.UTF-8",
            "PIP_CONFIG_FILE": os.devnull,
            "PIP_DISABLE_PIP_VERSION_CHECK": "1",
            "PIP_NO_INPUT": "1",
            **(env or {}),
        }
        self._count += 1
        running = Running(self, self._count, list(map(str, argv)))
        order = {
            "argv": command,
            "cwd": str(cwd),
            "env": {key: value for key, value in variables.items() if value is not None},
        }
        path = self.directory / f"{self._count}.json"
        path.write_text(json.dumps(order), encoding="utf-8")
        self._commands[self._count] = running
        self.tell(f"run {self._count}")
        return running

    def run(
        self,
        argv: Sequence[Argument],
        account: Account | None = None,
        *,
        umask: int = 0o022,
        env: Mapping[str, str | None] | None = None,
        cwd: Argument = "/",
        check: bool = True,
        timeout: float = 600,
    ) -> subprocess.CompletedProcess[str]:
        """Run a command to its end. check: a status other than 0 is an AssertionError."""
        running = self.launch(argv, account, umask=umask, env=env, cwd=cwd)
        done = running.wait(timeout)
        if check and done.returncode:
            who = account.name if account else "root"
            raise AssertionError(
                f"{done.args} as {who} on {self.name} exited with {done.returncode}\n"
                f"--- stdout\n{done.stdout}\n--- stderr\n{done.stderr}"
            )
        return done

    def sh(self, script: str, *args: Argument, timeout: float = 600) -> str:
        """Run a shell script as root; return its output. A command that fails ends it."""
        return self.run(["sh", "-euc", script, "sh", *args], timeout=timeout).stdout

    def tell(self, order: str) -> None:
        """Send an order to the agent."""
        if self._line is None or not self.is_on():
            raise HostError(f"{self.name} is off")
        self._line.sendall(f"{order}\n".encode())

    def _listen(self, line: socket.socket) -> None:
        rest = b""
        while True:
            try:
                data = line.recv(4096)
            except OSError:
                data = b""
            if not data:
                # It is off, or has stopped by itself: whoever waits need not wait longer.
                self._up.set()
                for command in [*self._commands.values()]:
                    command.ended.set()
                return
            *lines, rest = (rest + data).split(b"\n")
            for text in lines:
                words = text.decode().split()
                if words == ["up"]:
                    self._up.set()
                elif len(words) == 3 and words[0] == "end":
                    running = self._commands.pop(int(words[1]))
                    running.status = int(words[2])
                    running.ended.set()


def cable() -> tuple[socket.socket, socket.socket]:
    """The two ends of a network cable. A packet is lost where the other end has no buffer left.

    Not datagrams: of these, an end holds ten at a time (net.unix.max_dgram_qlen), and the driver
    waits 20 ms before it sends again, or for ever.
    """
    ends = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    for end in ends:
        # More than a window of TCP; only root gets more than the system's limit.
        force = _SO_SNDBUFFORCE if os.geteuid() == 0 else socket.SO_SNDBUF
        end.setsockopt(socket.SOL_SOCKET, force, 4 << 20)
    return ends


def missing() -> str | None:
    """Return why hosts cannot be started on this machine; None if they can."""
    for program in (PROGRAM, "rpc.nfsd", "mount.nfs", "mkfs.xfs", "tc", "setpriv"):
        if shutil.which(program, path=_PATH) is None:
            return f"needs {program}: sh tests/network.sh installs it"
    return None


def _hardware_address(address: str) -> str:
    # The same after each start: peers remember it.
    return "02:00:" + ":".join(f"{int(part):02x}" for part in address.split("/")[0].split("."))


def _memory_directory() -> str:
    # A host maps its memory as programs, too.
    noexec = os.statvfs("/dev/shm").f_flag & os.ST_NOEXEC if os.path.isdir("/dev/shm") else True
    return "/tmp" if noexec or not os.access("/dev/shm", os.W_OK | os.X_OK) else "/dev/shm"


def _write_accounts(path: Path) -> None:
    """Write passwd or group: the machine's system accounts and those of the hosts."""
    if path.exists():
        return
    people = (ACCOUNTS.usera, ACCOUNTS.userb, ACCOUNTS.userc)
    names = {GROUP, *(person.name for person in people)}
    kept = [
        line
        for line in Path("/etc", path.name).read_text(encoding="utf-8").splitlines()
        if re.split(":", line)[0] not in names
    ]
    if path.name == "passwd":
        kept += [f"{who.name}:x:{who.uid}:{who.gid}::/home/{who.name}:/bin/sh" for who in people]
    else:
        kept += [f"{who.name}:x:{who.gid}:" for who in people]
        kept += [f"{GROUP}:x:{ACCOUNTS.group_gid}:usera,userb"]
    path.write_text("\n".join(kept) + "\n", encoding="utf-8")
