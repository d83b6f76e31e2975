"""A directory shown at another place by a process of our own, as a file server shows it.

Run as a program (python -m support.mirror POINT SOURCE SQUASH SKEW FAULTS) until it is killed. The
server asks the kernel as the user that asks it, with that user's groups; with SQUASH not 0, what
root asks is asked as the user and the group of that number (root_squash of exports(5)). Attributes
and names are not kept by the client.

With SKEW, the clock of the server is ahead by so many seconds, and the time of a file's last change
is that of its last modification, so that tests can set it on the server.

FAULTS is a file with one line for each fault: ``<question> <error> <times> <path>``, for example
``readdir ESTALE 1 wheels/ab``. The error answers so many of these questions about that path or one
below it; -1: all of them. An error ``ETIMEDOUT+1.5`` comes after that many seconds, as that of a
mount with the option soft. FAULTS.given gets the line of each fault that was given.
"""

from __future__ import annotations

import ctypes
import errno
import itertools
import os
import signal
import struct
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from support.fuse import ANSWER, ATTRIBUTES, LARGEST, MAX_PAGES, QUESTION, mount, serving

NOBODY = 65534
_BIG_WRITES = 1 << 5
_SET_MODE, _SET_UID, _SET_GID, _SET_SIZE, _SET_ATIME, _SET_MTIME = 1, 2, 4, 8, 16, 32
_HANDLE, _ATIME_NOW, _MTIME_NOW = 64, 128, 256
_FORGET, _BATCH_FORGET = 2, 42
_CODES = (1, *range(3, 7), *range(8, 19), 20, *range(26, 31), 34, 35, 45)
_NAMES = dict(
    zip(
        _CODES,
        (
            *("lookup", "getattr", "setattr", "readlink", "symlink", "mknod", "mkdir", "unlink"),
            *("rmdir", "rename", "link", "open", "read", "write", "statfs", "release", "fsync"),
            *("init", "opendir", "readdir", "release", "fsync", "access", "create", "rename2"),
        ),
    )
)


@contextmanager
def mirrored(
    point: Path, source: Path, *, squash: int = 0, skew: int = 0, faults: Path | None = None
) -> Iterator[None]:
    """Show ``source`` at the directory ``point``, which is made if it is missing."""
    point.mkdir(exist_ok=True)
    command = [sys.executable, "-m", "support.mirror", str(point), str(source)]
    with serving(point, [*command, str(squash), str(skew), str(faults or os.devnull)]):
        yield


class _Mirror:
    """Answers for the tree below the working directory."""

    def __init__(self, device: int, squash: int, skew: int, faults: str) -> None:
        self._device = device
        self._squash = squash
        self._skew = skew
        self._faults = faults
        self._given: dict[str, int] = {}  # faults, by their line
        self._paths = {1: "."}
        self._numbers = {".": 1}
        self._next = itertools.count(2)
        self._handles: dict[int, list[int]] = {}  # open files, by node

    def run(self) -> None:
        while True:
            question = os.read(self._device, LARGEST + (1 << 16))
            _, code, number, node, uid, gid, pid, _ = QUESTION.unpack_from(question)
            if code in (_FORGET, _BATCH_FORGET):
                continue
            try:
                name = _NAMES.get(code, "")
                answer: Callable[[int, bytes], bytes] | None = getattr(self, f"_{name}", None)
                if answer is None:
                    raise OSError(errno.ENOSYS, "not here")
                body = question[QUESTION.size :]
                self._fail(name, node, body)
                with self._as_user(uid, gid, pid):
                    status, data = 0, answer(node, body)
            except OSError as error:
                status, data = -(error.errno or errno.EIO), b""
            with suppress(FileNotFoundError):  # the caller was interrupted
                os.write(self._device, ANSWER.pack(16 + len(data), status, number) + data)

    @contextmanager
    def _as_user(self, uid: int, gid: int, pid: int) -> Iterator[None]:
        groups: list[int] = []
        if uid == 0 and self._squash:
            uid = gid = self._squash
        elif uid:
            with suppress(OSError):
                text = Path(f"/proc/{pid}/status").read_text()
                (line,) = (line for line in text.splitlines() if line.startswith("Groups:"))
                groups = [int(word) for word in line.split()[1:]]
        os.setgroups(groups)
        os.setegid(gid)
        os.seteuid(uid)
        try:
            yield
        finally:
            os.seteuid(0)
            os.setegid(0)

    def _fail(self, name: str, node: int, body: bytes) -> None:
        path = self._paths.get(node, "?")
        if name == "lookup":
            path = os.path.join(path, _words(body)[0])
        path = os.path.normpath(path)
        for line in Path(self._faults).read_text().splitlines():
            asked, error, times, where = line.split(maxsplit=3)
            below = path == where or path.startswith(f"{where}/")
            if asked == name and below and self._given.get(line, 0) != int(times):
                self._given[line] = self._given.get(line, 0) + 1
                with open(f"{self._faults}.given", "a") as given:
                    given.write(f"{line}\n")
                error, _, seconds = error.partition("+")
                time.sleep(float(seconds or 0))
                raise OSError(getattr(errno, error), line)

    # -- nodes

    def _entry(self, path: str) -> bytes:
        attributes = self._attributes(os.lstat(path))
        if path not in self._numbers:
            self._numbers[path] = next(self._next)
            self._paths[self._numbers[path]] = path
        return struct.pack("<QQQQII", self._numbers[path], 0, 0, 0, 0, 0) + attributes

    def _below(self, node: int, name: str) -> str:
        return os.path.join(self._paths[node], name)

    def _moved(self, old: str, new: str, *, exchanged: bool = False) -> None:
        moves = {old: new, new: old} if exchanged else {old: new}
        if not exchanged:
            self._forget(new)
        for node, path in list(self._paths.items()):
            for source, target in moves.items():
                if path == source or path.startswith(f"{source}/"):
                    self._paths[node] = target + path[len(source) :]
        self._numbers = {path: node for node, path in self._paths.items()}

    def _forget(self, path: str) -> None:
        node = self._numbers.pop(path, None)
        if node is not None:
            self._paths[node] = f"{path}/gone"

    def _attributes(self, status: os.stat_result) -> bytes:
        changed = status.st_mtime_ns if self._skew else status.st_ctime_ns
        real = (status.st_atime_ns, status.st_mtime_ns, changed)
        times = [one + self._skew * 10**9 for one in real]
        return ATTRIBUTES.pack(
            *(status.st_ino, status.st_size, status.st_blocks, *(one // 10**9 for one in times)),
            *(*(one % 10**9 for one in times), status.st_mode, status.st_nlink),
            *(status.st_uid, status.st_gid, status.st_rdev, 4096, 0),
        )

    # -- questions

    def _init(self, node: int, body: bytes) -> bytes:
        numbers = (7, 31, 0, _BIG_WRITES | MAX_PAGES, 64, 48, LARGEST, 1, LARGEST // 4096, 0, 0)
        return struct.pack("<IIIIHHIIHHI28x", *numbers)

    def _lookup(self, node: int, body: bytes) -> bytes:
        return self._entry(self._below(node, *_words(body)))

    def _getattr(self, node: int, body: bytes) -> bytes:
        flags, _, handle = struct.unpack_from("<IIQ", body)
        try:
            status = os.fstat(handle) if flags & 1 else os.lstat(self._paths[node])
        except FileNotFoundError:  # deleted, but open
            if not self._handles.get(node):
                raise
            status = os.fstat(self._handles[node][0])
        return struct.pack("<QII", 0, 0, 0) + self._attributes(status)

    def _setattr(self, node: int, body: bytes) -> bytes:
        valid, _, handle, size, _, atime, mtime, _, ansec, mnsec, _, mode, _, uid, gid, _ = (
            struct.unpack_from("<IIQQQQQQIIIIIIII", body)
        )
        where: int | str = handle if valid & _HANDLE else self._paths[node]
        if valid & (_SET_UID | _SET_GID):
            owner = (uid if valid & _SET_UID else -1, gid if valid & _SET_GID else -1)
            os.chown(where, *owner, follow_symlinks=isinstance(where, int))
        if valid & _SET_MODE:
            os.chmod(where, mode & 0o7777)
        if valid & _SET_SIZE:
            os.truncate(where, size)
        if valid & (_SET_ATIME | _SET_MTIME | _ATIME_NOW | _MTIME_NOW):
            old = os.stat(where, follow_symlinks=isinstance(where, int))
            now = time.time_ns()
            ahead = self._skew * 10**9
            at = now if valid & _ATIME_NOW else atime * 10**9 + ansec - ahead
            mt = now if valid & _MTIME_NOW else mtime * 10**9 + mnsec - ahead
            times = (
                at if valid & (_SET_ATIME | _ATIME_NOW) else old.st_atime_ns,
                mt if valid & (_SET_MTIME | _MTIME_NOW) else old.st_mtime_ns,
            )
            os.utime(where, ns=times, follow_symlinks=isinstance(where, int))
        return self._getattr(node, struct.pack("<IIQ", bool(valid & _HANDLE), 0, handle))

    def _readlink(self, node: int, body: bytes) -> bytes:
        return os.fsencode(os.readlink(self._paths[node]))

    def _symlink(self, node: int, body: bytes) -> bytes:
        name, target = _words(body)
        os.symlink(target, self._below(node, name))
        return self._entry(self._below(node, name))

    def _mknod(self, node: int, body: bytes) -> bytes:
        mode, device = struct.unpack_from("<II", body)
        path = self._below(node, *_words(body[16:]))
        os.mknod(path, mode, device)
        return self._entry(path)

    def _mkdir(self, node: int, body: bytes) -> bytes:
        path = self._below(node, *_words(body[8:]))
        os.mkdir(path, struct.unpack_from("<I", body)[0] & 0o7777)
        return self._entry(path)

    def _unlink(self, node: int, body: bytes) -> bytes:
        path = self._below(node, *_words(body))
        os.unlink(path)
        self._forget(path)
        return b""

    def _rmdir(self, node: int, body: bytes) -> bytes:
        path = self._below(node, *_words(body))
        os.rmdir(path)
        self._forget(path)
        return b""

    def _rename(self, node: int, body: bytes, skip: int = 8, flags: int = 0) -> bytes:
        (to,) = struct.unpack_from("<Q", body)
        name, new = _words(body[skip:])
        source, target = self._below(node, name), self._below(to, new)
        if flags and _LIBC.renameat2(-100, os.fsencode(source), -100, os.fsencode(target), flags):
            raise OSError(ctypes.get_errno(), "renameat2")
        if not flags:
            os.rename(source, target)
        self._moved(source, target, exchanged=bool(flags & 2))
        return b""

    def _rename2(self, node: int, body: bytes) -> bytes:
        return self._rename(node, body, 16, struct.unpack_from("<QI", body)[1])

    def _link(self, node: int, body: bytes) -> bytes:
        path = self._below(node, *_words(body[8:]))
        os.link(self._paths[struct.unpack_from("<Q", body)[0]], path, follow_symlinks=False)
        return self._entry(path)

    def _open(self, node: int, body: bytes) -> bytes:
        (flags,) = struct.unpack_from("<I", body)
        flags &= ~(os.O_CREAT | os.O_EXCL | os.O_DIRECT | os.O_APPEND)
        return self._opened(node, os.open(self._paths[node], flags | os.O_NOFOLLOW))

    _opendir = _open

    def _create(self, node: int, body: bytes) -> bytes:
        flags, mode = struct.unpack_from("<II", body)
        path = self._below(node, *_words(body[16:]))
        handle = os.open(path, (flags & ~os.O_APPEND) | os.O_CREAT, mode & 0o7777)
        entry = self._entry(path)
        return entry + self._opened(self._numbers[path], handle)

    def _opened(self, node: int, handle: int) -> bytes:
        self._handles.setdefault(node, []).append(handle)
        return struct.pack("<QII", handle, 0, 0)

    def _read(self, node: int, body: bytes) -> bytes:
        handle, offset, size = struct.unpack_from("<QQI", body)
        return os.pread(handle, size, offset)

    def _write(self, node: int, body: bytes) -> bytes:
        handle, offset, size = struct.unpack_from("<QQI", body)
        return struct.pack("<II", os.pwrite(handle, body[40 : 40 + size], offset), 0)

    def _statfs(self, node: int, body: bytes) -> bytes:
        found = os.statvfs(".")
        blocks = (found.f_blocks, found.f_bfree, found.f_bavail, found.f_files, found.f_ffree)
        return struct.pack("<QQQQQIIII24x", *blocks, found.f_bsize, 255, found.f_frsize, 0)

    def _release(self, node: int, body: bytes) -> bytes:
        (handle,) = struct.unpack_from("<Q", body)
        os.close(handle)
        self._handles[node].remove(handle)
        return b""

    def _fsync(self, node: int, body: bytes) -> bytes:
        return b""

    def _readdir(self, node: int, body: bytes) -> bytes:
        handle, offset, size = struct.unpack_from("<QQI", body)
        data = b""
        for number, name in enumerate(sorted(os.listdir(handle)), 1):
            encoded = os.fsencode(name)
            row = struct.pack("<QQII", number, number, len(encoded), 0) + encoded
            row += b"\0" * (-len(row) % 8)
            if number > offset and len(data) + len(row) <= size:
                data += row
            elif number > offset:
                break
        return data

    def _access(self, node: int, body: bytes) -> bytes:
        (mask,) = struct.unpack_from("<I", body)
        if not os.access(self._paths[node], mask, effective_ids=True):
            raise OSError(errno.EACCES, "access")
        return b""


_LIBC = ctypes.CDLL(None, use_errno=True)


def _words(body: bytes) -> list[str]:
    return [os.fsdecode(word) for word in body.split(b"\0")[:-1]][:2]


if __name__ == "__main__":
    point, source, squash, skew, faults = sys.argv[1:]
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C ends the tests, which then end this
    ctypes.CDLL(None).prctl(1, signal.SIGKILL)  # PR_SET_PDEATHSIG: nobody may hang for good
    os.umask(0)
    device = mount(point)
    os.chdir(source)
    print("ready", flush=True)
    _Mirror(device, int(squash), int(skew), faults).run()
