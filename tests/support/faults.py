"""What a store shows to others, and processes that fail or die at a chosen system call."""

from __future__ import annotations

import base64
import csv
import hashlib
import json
import os
import re
import stat
import subprocess
import zipfile
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from support.accounts import Account, run_as
from support.packed import PACK, faults_of_pack, is_packed
from support.packed import manifest_of as manifest_of_pack
from support.wheels import digest

# Calls that change a file system, or may fail on the way to doing so.
_CALLS = (
    "chmod|close|copy_file_range|creat|fchmod|fchmodat|fchown|fsync|ftruncate|ioctl|link|linkat"
    "|mkdir|mkdirat|open|openat|pwrite64|rename|renameat|renameat2|rmdir|symlink|symlinkat|syncfs"
    "|truncate|unlink|unlinkat|utimensat|write"
)
_CHANGING = re.compile(
    r"(?:copy_file_range|fchmod|link|linkat|mkdir|mkdirat|pwrite64|rename|renameat|renameat2|rmdir"
    r"|symlink|symlinkat|syncfs|unlink|unlinkat|utimensat|write)\(|O_CREAT|FICLONE"
)
_CALL = re.compile(r"(?P<process>\d+) +(?P<text>(?P<name>\w+)\(.*)")


# -- a store, looked at from outside


def visible_entries(store: Path, part: str = "wheels") -> list[Path]:
    """The entries that a reader of the store may find; part is "wheels" or "bytecode"."""
    return sorted(path for path in (store / part).glob("??/*") if path.name[0] != ".")


def leftovers(store: Path) -> list[Path]:
    """What publishers left in the shards apart from entries: staging directories and the like."""
    return sorted(store.glob("*/??/.*"))


def faults_of_entry(entry: Path) -> list[str]:
    """What makes an entry less than whole: its manifest, wheel, files, modes; [] if nothing."""
    found = []
    try:
        packed = is_packed(entry)
        if packed:
            manifest = manifest_of_pack((entry / PACK).read_bytes())
            found += faults_of_pack(entry / PACK)
        else:
            manifest = json.loads((entry / "entry.json").read_bytes())
        expected = {PACK if packed else "entry.json": 0o444}
        if manifest["sha256"] != entry.name.partition(".")[0]:
            found.append("the manifest names another digest")
        if entry.parent.parent.name == "wheels":
            expected[manifest["filename"]] = 0o444
            wheel = entry / manifest["filename"]
            if digest(wheel) != manifest["sha256"] or wheel.stat().st_size != manifest["size"]:
                found.append("the wheel has another content")
        times = {(entry / name).stat().st_mtime_ns for name in expected}
        if times - {row[4] * 10**9 for row in manifest["files"]} and manifest["files"]:
            found.append("the manifest or the wheel has another time than the files")
        for name, size, sha256, executable, mtime in () if packed else manifest["files"]:
            path = entry / "files" / name
            expected[f"files/{name}"] = 0o555 if executable else 0o444
            status = path.lstat()
            if status.st_size != size or sha256 not in ("", digest(path)):
                found.append(f"{name} has other content")
            if status.st_mtime_ns != mtime * 10**9:
                found.append(f"{name} has another time")
        found += _wrong_modes(entry, expected)
    except (OSError, ValueError, KeyError, AssertionError, zipfile.BadZipFile) as error:
        found.append(repr(error))
    return [f"{entry.parent.parent.name}/{entry.name}: {what}" for what in found]


def faults_of_store(store: Path) -> list[str]:
    """What is wrong with any of the visible entries."""
    entries = [*visible_entries(store), *visible_entries(store, "bytecode")]
    return [fault for entry in entries for fault in faults_of_entry(entry)]


def state_of(directory: Path) -> dict[str, tuple[object, ...]]:
    """Everything below directory that must not change by being used: inode, owner, mode, bytes.
    Not the marks of a store's users."""
    found: dict[str, tuple[object, ...]] = {}
    for path in sorted(directory.rglob("*")):
        if path.relative_to(directory).parts[0] == "use":
            continue
        status = path.lstat()
        content = digest(path) if stat.S_ISREG(status.st_mode) else ""
        found[str(path.relative_to(directory))] = (
            status.st_ino,
            status.st_uid,
            oct(status.st_mode),
            status.st_mtime_ns,
            content,
        )
    return found


def _wrong_modes(entry: Path, expected: Mapping[str, int]) -> list[str]:
    found, owner, seen = [], entry.lstat().st_uid, set()
    if stat.S_IMODE(entry.lstat().st_mode) != 0o555:
        found.append(f"mode {stat.S_IMODE(entry.lstat().st_mode):o}")
    for path in entry.rglob("*"):
        status, name = path.lstat(), path.relative_to(entry).as_posix()
        wanted = 0o555 if stat.S_ISDIR(status.st_mode) else expected.get(name)
        if not stat.S_ISDIR(status.st_mode):
            seen.add(name)
        if wanted is None or stat.S_ISLNK(status.st_mode):
            found.append(f"{name} is not in the manifest")
        elif stat.S_IMODE(status.st_mode) != wanted or status.st_uid != owner:
            found.append(f"{name}: mode {stat.S_IMODE(status.st_mode):o}, owner {status.st_uid}")
    return found + [f"{name} is missing" for name in set(expected) - seen]


# -- an environment


def faults_of_distribution(site_packages: Path, info: str) -> list[str]:
    """What an installed distribution lacks of what its RECORD promises; [] if nothing."""
    if not (site_packages / info / "METADATA").is_file():
        return [f"{info} has no METADATA"]
    try:
        with (site_packages / info / "RECORD").open(newline="", encoding="utf-8") as stream:
            rows = list(csv.reader(stream))
    except OSError as error:
        return [f"{info} has no RECORD: {error}"]
    if not {f"{info}/RECORD", f"{info}/METADATA"} <= {row[0] for row in rows if row}:
        return [f"{info}/RECORD does not list itself and METADATA"]
    found = []
    for name, checksum, size in rows:
        path = site_packages / name
        if not path.is_file():
            found.append(f"{name} is missing")
        elif checksum:
            data = path.read_bytes()
            sha256 = base64.urlsafe_b64encode(hashlib.sha256(data).digest()).rstrip(b"=")
            if checksum != f"sha256={sha256.decode()}" or int(size) != len(data):
                found.append(f"{name} has other content than RECORD says")
    return found


# -- system calls


@dataclass(frozen=True)
class Call:
    """One system call of a traced run: the ordinal-th of its name in its process."""

    name: str
    ordinal: int
    text: str

    @property
    def changes(self) -> bool:
        """Whether it is one that changes a file system."""
        return _CHANGING.search(self.text) is not None

    def touches(self, *places: Path) -> bool:
        """Whether it names something at or below one of these places."""
        return any(str(place) in self.text for place in places)

    def __str__(self) -> str:
        return f"{self.name} #{self.ordinal}: {self.text[:300]}"


def trace(
    argv: Sequence[str],
    log: Path,
    *,
    env: Mapping[str, str | None],
    account: Account | None = None,
) -> list[Call]:
    """The file system calls of a run that succeeds, in order; those of what it starts left out."""
    options = ["-f", "--seccomp-bpf", "-y", "-s", "0", "-o", str(log)]
    options += ["-e", f"trace=/^({_CALLS})$", "-e", "signal=none"]
    run_as(account, ["strace", *options, *argv], env=_repeatable(env), check=True)
    counts: Counter[str] = Counter()
    first, calls = "", []
    for line in log.read_text(encoding="utf-8", errors="replace").splitlines():
        match = _CALL.match(line)
        first = first or (match["process"] if match else "")
        if match and match["process"] == first:
            counts[match["name"]] += 1
            calls.append(Call(match["name"], counts[match["name"]], match["text"]))
    return calls


def run_with_fault(
    argv: Sequence[str],
    call: Call,
    fault: str,
    *,
    env: Mapping[str, str | None],
    account: Account | None = None,
    onwards: bool = False,
) -> subprocess.CompletedProcess[str]:
    """Run again what was traced, with a fault ("signal=SIGKILL", "error=EIO") at this call.

    onwards: at every later call of the same name, too. The call itself is not carried out.
    """
    when = f"{call.ordinal}{'+' if onwards else ''}"
    options = ["-f", "-o", os.devnull, "-e", f"trace={call.name}", "-e", "signal=none"]
    if not fault.startswith("signal="):
        options.append("--seccomp-bpf")  # faster, but it forgets signals
    options += ["-e", f"inject={call.name}:{fault}:when={when}"]
    return run_as(account, ["strace", *options, *argv], env=_repeatable(env))


def spread(calls: Sequence[Call], number: int, *, last: int = 0) -> list[Call]:
    """About this number of calls, evenly from first to last, and all of the last ones."""
    head = calls[: len(calls) - last] if last else calls
    step = max(1, len(head) // max(1, number))
    return [*head[::step], *(calls[len(calls) - last :] if last else [])]


def _repeatable(env: Mapping[str, str | None]) -> dict[str, str | None]:
    """The n-th call of a second run is that of the first only if sets have the same order."""
    return {**env, "PYTHONHASHSEED": "0"}
