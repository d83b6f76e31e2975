"""What the publisher of an entry, or somebody beside them, can do to it once it is visible.

All of it is to run as that account (support.process.as_user), with the kernel's checks.
"""

from __future__ import annotations

import hashlib
import json
import os
import socket
from collections.abc import Callable
from pathlib import Path
from typing import Any

from support.damage import rewrite, unlocked

#: A line of Python that no wheel of the tests has.
EVIL = b"raise SystemExit('of the attacker')  "


def replace(path: Path, make: Callable[[Path], object]) -> None:
    """Remove a file and make something else of its name."""
    with unlocked(path.parent):
        path.unlink()
        make(path)


def bind(path: Path) -> None:
    """Make a socket."""
    before = os.getcwd()
    os.chdir(path.parent)  # a socket's address is short
    try:
        with socket.socket(socket.AF_UNIX) as one:
            one.bind(path.name)
    finally:
        os.chdir(before)


def evil_like(path: Path) -> bytes:
    """Evil bytes, exactly as many as the file has: Python, where that is enough for a line."""
    size = path.stat().st_size
    return (EVIL + b"#" * size)[:size]


def wheel_of(entry: Path) -> Path:
    """The wheel in an entry."""
    (wheel,) = entry.glob("*.whl")
    return wheel


def manifest_of(entry: Path) -> dict[str, Any]:
    """What entry.json says."""
    manifest: dict[str, Any] = json.loads((entry / "entry.json").read_bytes())
    return manifest


def write_manifest(entry: Path, manifest: dict[str, Any]) -> None:
    """Put another entry.json in place."""
    rewrite(entry / "entry.json", json.dumps(manifest).encode())


def describe(entry: Path, name: str) -> None:
    """Have the manifest tell the truth about one file as it is now."""
    path, manifest = entry / "files" / name, manifest_of(entry)
    status = path.stat()
    row = [
        name,
        status.st_size,
        hashlib.sha256(path.read_bytes()).hexdigest(),
        int(bool(status.st_mode & 0o111)),
        int(status.st_mtime),
    ]
    manifest["files"] = [one for one in manifest["files"] if one[0] != name] + [row]
    write_manifest(entry, manifest)
