"""Detection of false owners of files.

fakeroot and pseudo (a preloaded library) and proot (a tracer) answer stat(2) and geteuid(2)
themselves: all files seem to belong to root or to the caller. In a user namespace, and on an
id-mapped mount, an owner whose uid is not mapped is shown as the overflow uid.
"""

from __future__ import annotations

import functools
import os
import re
import struct
from collections.abc import Iterator
from pathlib import Path

_PROC = Path("/proc/self")

#: Names of libraries that return false owners.
_FAKES = re.compile(r"^lib(?:fakeroot|fakechroot|pseudo|fakeuid|uid_wrapper|proot)\b")
#: Libraries that replace stat(2) but return the real owners: profilers, sanitizers, and faketime,
#: which changes only times.
_HONEST = re.compile(r"^lib(?:faketime|darshan|[almt]san|hwasan|ubsan|clang_rt|eatmydata)\b")
#: Tracers that observe a process and do not change its system calls.
_WATCHERS = frozenset(
    {
        *("strace", "ltrace", "gdb", "gdbserver", "lldb", "lldb-server", "rr", "uftrace", "perf"),
        *("dlv", "py-spy", "debugserver"),
    }
)

_ANSWERS = frozenset(
    name.encode()
    for stem in ("stat", "lstat", "fstat", "fstatat", "__xstat", "__lxstat", "__fxstat")
    for name in (stem, f"{stem}64")
) | {b"__fxstatat", b"__fxstatat64", b"statx", b"getuid", b"geteuid", b"getresuid"}

_ALL_USERS = ["0", "0", "4294967295"]  # /proc/self/uid_map without a mapping
_DYNAMIC_SYMBOLS = 11  # elf(5), SHT_DYNSYM


def overflow_uids() -> frozenset[int]:
    """Return the uids that stand for owners whose uid is not mapped.

    The sources are /proc/sys/kernel/overflowuid (user namespaces, user_namespaces(7)) and
    /proc/sys/fs/overflowuid (file systems with 16-bit uids, proc_sys_fs(5)); 65534 for one that
    cannot be read.
    """
    return frozenset(map(_overflow_uid, ("kernel", "fs")))


def _overflow_uid(part: str) -> int:
    try:
        return int(Path(f"/proc/sys/{part}/overflowuid").read_text(encoding="ascii"))
    except (OSError, ValueError):
        return 65534


@functools.cache
def hidden_because() -> str:
    """Return why this process cannot know the owners of files.

    The words follow "since"; "" means that the owners are known. The check runs once in each
    process: a tracer that attaches later is not noticed, and a library cannot be preloaded later.
    """
    if not hasattr(os, "geteuid"):
        return ""
    return _preloaded() or _traced() or _other_user()


@functools.cache
def users_are_mapped() -> bool:
    """Return whether this process is in a user namespace that hides some users.

    All hidden owners are shown as one overflow uid (user_namespaces(7)).
    """
    try:
        return Path("/proc/self/uid_map").read_text(encoding="ascii").split() != _ALL_USERS
    except OSError:
        return False  # this system has no user namespaces


def user_id_for_kernel() -> int | None:
    """Return the effective uid that the kernel has for this process; None if it is unknown."""
    fields = _status("Uid")
    return int(fields[1]) if len(fields) > 1 and fields[1].isdigit() else None


def _status(name: str) -> list[str]:
    try:
        text = (_PROC / "status").read_text(encoding="utf-8", errors="replace")
    except OSError:  # not Linux, or no procfs
        return []
    return next((line.split()[1:] for line in text.splitlines() if line.startswith(f"{name}:")), [])


def _other_user() -> str:
    kernel, own = user_id_for_kernel(), os.geteuid()
    if kernel is None or kernel == own:
        return ""
    return f"this process sees uid {own} as its own, and the kernel has uid {kernel}"


def _traced() -> str:
    tracer = next(iter(_status("TracerPid")), "0")
    if tracer == "0":
        return ""
    try:
        name = Path(f"/proc/{tracer}/comm").read_text(encoding="utf-8", errors="replace").strip()
    except OSError:
        name = f"process {tracer}"
    if name in _WATCHERS:
        return ""
    return f"{name} traces this process, and can change the results of its calls"


def _preloaded() -> str:
    mapped = _mapped()
    names = {name.rpartition("/")[2]: name for name in _named()}
    for name, path in {**names, **mapped}.items():
        if _FAKES.match(name):
            return f"{name} replaces the functions that report owners"
        if name not in names or _HONEST.match(name):
            continue
        if mapped and name not in mapped:
            continue  # the loader did not find the library, or it is for another architecture
        try:
            answers = _provides(Path(path))
        except (OSError, ValueError, struct.error, IndexError):
            return f"{name} is preloaded and cannot be read"
        if answers:
            return f"{name} is preloaded and replaces the functions that report owners"
    return ""


def _named() -> Iterator[str]:
    """Yield the libraries that the loader was asked to load before all others (ld.so(8))."""
    texts = [os.environ.get(name, "") for name in ("LD_PRELOAD", "LD_AUDIT")]
    texts.append(os.environ.get("DYLD_INSERT_LIBRARIES", ""))
    for path in (_PROC / "environ", Path("/etc/ld.so.preload")):
        try:
            text = path.read_text(encoding="utf-8", errors="surrogateescape")
        except OSError:
            continue
        if path.name == "environ":
            found = re.findall(r"(?:^|\0)(?:LD_PRELOAD|LD_AUDIT)=([^\0]*)", text)
            texts += found
        else:
            texts += [line.partition("#")[0] for line in text.splitlines()]
    for text in texts:
        yield from filter(None, re.split(r"[\s:]+", text))


def _mapped() -> dict[str, str]:
    """Return the path of each library in memory, by its file name."""
    try:
        text = (_PROC / "maps").read_text(encoding="utf-8", errors="surrogateescape")
    except OSError:
        return {}
    paths = {fields[5] for line in text.splitlines() if len(fields := line.split(None, 5)) == 6}
    return {path.rpartition("/")[2]: path for path in paths if path.startswith("/")}


def _provides(path: Path) -> bool:
    """Return whether the library at ``path`` defines a function that reports owners or uids.

    Raise OSError, ValueError, struct.error or IndexError if the file is not an ELF library.
    """
    data = path.read_bytes()
    if data[:4] != b"\x7fELF":
        raise ValueError("no ELF file")
    wide, order = data[4] == 2, "<" if data[5] == 1 else ">"
    (table,) = struct.unpack_from(order + ("Q" if wide else "I"), data, 0x28 if wide else 0x20)
    size, count = struct.unpack_from(order + "HH", data, 0x3A if wide else 0x2E)
    section = struct.Struct(order + ("IIQQQQIIQQ" if wide else "10I"))
    symbol = struct.Struct(order + ("IBBHQQ" if wide else "IIIBBH"))
    sections = [section.unpack_from(data, table + number * size) for number in range(count)]
    symbols = [one for one in sections if one[1] == _DYNAMIC_SYMBOLS]
    if not symbols:
        raise ValueError("no table of symbols")
    for one in symbols:
        names = sections[one[6]][4]
        for at in range(one[4], one[4] + one[5], symbol.size):
            fields = symbol.unpack_from(data, at)
            start, defined = names + fields[0], fields[3 if wide else 5]
            if defined and data[start : data.index(b"\0", start)] in _ANSWERS:
                return True
    return False
