"""File systems answered by a process of our own, over the raw protocol of /dev/fuse (fuse(4)).

Run as a program, in one of three ways, until it is killed (then every access to it fails):

    fuse.py record POINT IMAGE LOG   the one file POINT/disk is IMAGE; each write and each flush
                                     that reaches it is noted in LOG, in the order of arrival
    fuse.py silent POINT             takes every question and never answers
    fuse.py listed POINT NAME VALUE  an empty directory of mode 3775 with the extended attribute
                                     NAME, whose value is in the file VALUE
"""

from __future__ import annotations

import ctypes
import errno
import os
import signal
import stat
import struct
import subprocess
import sys
from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path

from support import REPOSITORY

DISK = "disk"
#: In LOG: where a write goes and how long it is, then its bytes; for a flush both are 0.
RECORD = struct.Struct("<QQ")

ANSWER = struct.Struct("<IiQ")  # fuse_out_header
QUESTION = struct.Struct("<IIQQIIII")  # fuse_in_header
ATTRIBUTES = struct.Struct("<6Q10I")  # fuse_attr
_ROOT, _FILE = 1, 2  # inodes
LARGEST = 1 << 20  # bytes in one write
_LOOKUP, _FORGET, _GETATTR, _OPEN, _READ, _WRITE, _STATFS, _RELEASE, _FSYNC = (
    *(1, 2, 3, 14, 15, 16, 17, 18, 20),
)
_FLUSH, _INIT, _OPENDIR, _RELEASEDIR, _BATCH_FORGET = 25, 26, 27, 29, 42
_GETXATTR = 22
_PASS_ON_ALL, MAX_PAGES = 1, 1 << 22  # FOPEN_DIRECT_IO, FUSE_MAX_PAGES
_BIG_WRITES = 1 << 5


@contextmanager
def recorded(point: Path, image: Path, log: Path) -> Iterator[Path]:
    """Give the path of a file that stands for ``image`` and notes in ``log`` what is written."""
    with _serving(point, "record", image, log):
        yield point / DISK


@contextmanager
def silent(point: Path) -> Iterator[None]:
    """Let the directory ``point`` be one that never answers: whoever asks cannot be killed."""
    with _serving(point, "silent"):
        yield


@contextmanager
def listed(point: Path, name: str, value: Path) -> Iterator[None]:
    """Let ``point`` be an empty directory of mode 3775 that has the extended attribute ``name``,
    and no other, with what the file ``value`` holds."""
    with _serving(point, "listed", name, value):
        yield


def _serving(point: Path, way: str, *places: str | Path) -> AbstractContextManager[None]:
    return serving(point, [sys.executable, __file__, way, str(point), *map(str, places)])


@contextmanager
def serving(point: Path, command: Sequence[str]) -> Iterator[None]:
    """Let ``command`` serve ``point``, once it has written a line; end it by SIGKILL."""
    env = {**os.environ, "PYTHONPATH": str(REPOSITORY / "tests")}
    server = subprocess.Popen(command, stdout=subprocess.PIPE, start_new_session=True, env=env)
    try:
        assert server.stdout is not None
        if not server.stdout.readline():
            raise RuntimeError(f"no file system at {point}: the server ended with {server.wait()}")
        yield
    finally:
        server.kill()
        server.communicate()
        subprocess.run(["umount", "--lazy", str(point)], check=True)


def replay(log: Path) -> Iterator[tuple[int, bytes] | None]:
    """What ``log`` holds: for each write where it went and its bytes, None for each flush."""
    with log.open("rb") as stream:
        while head := stream.read(RECORD.size):
            offset, size = RECORD.unpack(head)
            yield (offset, stream.read(size)) if size else None


def mount(point: str) -> int:
    device = os.open("/dev/fuse", os.O_RDWR)
    options = f"fd={device},rootmode=40000,user_id=0,group_id=0,allow_other,max_read={LARGEST}"
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.mount(b"tests", os.fsencode(point), b"fuse", 0, options.encode()):
        raise OSError(ctypes.get_errno(), os.strerror(ctypes.get_errno()), point)
    return device


class _Server:
    """Answers for one directory; with an image, for the one file in it."""

    def __init__(self, device: int, image: str = "", log: str = "") -> None:
        self._device = device
        self._image = os.open(image, os.O_RDWR) if image else -1
        self._log = os.open(log, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600) if log else -1

    def _is_silent(self) -> bool:
        return self._image < 0

    def run(self) -> None:
        while True:
            question = os.read(self._device, LARGEST + (1 << 16))
            _, code, number, node, *_ = QUESTION.unpack_from(question)
            if code in (_FORGET, _BATCH_FORGET) or (self._is_silent() and code != _INIT):
                continue
            try:
                status, data = 0, self._answer(code, node, question[QUESTION.size :])
            except OSError as error:
                status, data = -(error.errno or errno.EIO), b""
            os.write(self._device, ANSWER.pack(ANSWER.size + len(data), status, number) + data)

    def _answer(self, code: int, node: int, body: bytes) -> bytes:
        if code == _INIT:
            flags = _BIG_WRITES | MAX_PAGES
            numbers = (7, 31, 0, flags, 64, 48, LARGEST, 1, LARGEST // 4096, 0, 0)
            return struct.pack("<IIIIHHIIHHI28x", *numbers)
        if code == _LOOKUP:
            if body.rstrip(b"\0") != DISK.encode():
                raise OSError(errno.ENOENT, "only the disk is here")
            return struct.pack("<QQQQII", _FILE, 0, 0, 0, 0, 0) + self._attributes(_FILE)
        if code == _GETATTR:
            return struct.pack("<QII", 0, 0, 0) + self._attributes(node)
        if code in (_OPEN, _OPENDIR):
            return struct.pack("<QII", 0, _PASS_ON_ALL, 0)
        if code == _READ:
            _, offset, size = struct.unpack_from("<QQI", body)
            return os.pread(self._image, size, offset)
        if code == _WRITE:
            _, offset, size = struct.unpack_from("<QQI", body)
            self._write(offset, body[40 : 40 + size])
            return struct.pack("<II", size, 0)
        if code == _FSYNC:
            os.write(self._log, RECORD.pack(0, 0))
            return b""
        if code == _STATFS:
            return struct.pack("<QQQQQIIII24x", 0, 0, 0, 0, 0, 4096, 255, 4096, 0)
        if code in (_RELEASE, _RELEASEDIR, _FLUSH):
            return b""
        raise OSError(errno.ENOSYS, "no disk does that")

    def _directory_mode(self) -> int:
        return stat.S_IFDIR | 0o755

    def _write(self, offset: int, data: bytes) -> None:
        os.write(self._log, RECORD.pack(offset, len(data)) + data)
        os.pwrite(self._image, data, offset)

    def _attributes(self, node: int) -> bytes:
        size = os.fstat(self._image).st_size if node == _FILE else 0
        mode = stat.S_IFREG | 0o600 if node == _FILE else self._directory_mode()
        return ATTRIBUTES.pack(
            node, size, size // 512, 0, 0, 0, 0, 0, 0, mode, 1, *(0, 0, 0), 4096, 0
        )


class _Listed(_Server):
    """Answers for an empty directory with one extended attribute."""

    def __init__(self, device: int, name: str, value: str) -> None:
        super().__init__(device)
        self._name = os.fsencode(name)
        self._value = Path(value)

    def _is_silent(self) -> bool:
        return False

    def _directory_mode(self) -> int:
        return stat.S_IFDIR | 0o3775

    def _answer(self, code: int, node: int, body: bytes) -> bytes:
        if code == _LOOKUP:
            raise OSError(errno.ENOENT, "it is empty")
        if code != _GETXATTR:
            return super()._answer(code, node, body)
        (size,) = struct.unpack_from("<I", body)
        if body[8:].rstrip(b"\0") != self._name:
            raise OSError(errno.EOPNOTSUPP, "there is no such list")
        value = self._value.read_bytes()
        return value if size else struct.pack("<II", len(value), 0)


if __name__ == "__main__":
    way, point, *places = sys.argv[1:]
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C ends the tests, which then end this
    ctypes.CDLL(None).prctl(1, signal.SIGKILL)  # PR_SET_PDEATHSIG: nobody may hang for good
    server = (_Listed if way == "listed" else _Server)(mount(point), *places)
    print("ready", flush=True)
    server.run()
