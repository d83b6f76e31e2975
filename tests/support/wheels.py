"""Builds wheels for the tests: valid by default, every part of them can be made wrong."""

from __future__ import annotations

import base64
import csv
import hashlib
import io
import json
import re
import stat
import tarfile
import zipfile
from collections.abc import Collection, Mapping, Sequence
from pathlib import Path
from typing import Literal, Union

_ENTRY_TIME = (2024, 1, 2, 3, 4, 6)

Content = Union[bytes, str]

#: A build backend (PEP 517) of one module; it makes a wheel of built 1.0.
BACKEND = """
import os, zipfile
def build_wheel(directory, config_settings=None, metadata_directory=None):
    name = "built-1.0-py3-none-any.whl"
    info = "built-1.0.dist-info/"
    with zipfile.ZipFile(os.path.join(directory, name), "w") as archive:
        archive.writestr("built.py", "")
        archive.writestr(info + "METADATA", "Metadata-Version: 2.1\\nName: built\\nVersion: 1.0\\n")
        wheel = "Wheel-Version: 1.0\\nRoot-Is-Purelib: true\\nTag: py3-none-any\\n"
        archive.writestr(info + "WHEEL", wheel)
        archive.writestr(info + "RECORD", "")
    return name
"""


def digest(path: Path) -> str:
    """The sha256 of the file at path, in hex."""
    state = hashlib.sha256()
    with path.open("rb") as stream:
        for block in iter(lambda: stream.read(1 << 20), b""):
            state.update(block)
    return state.hexdigest()


def make_wheel(
    directory: Path,
    name: str = "demo",
    version: str = "1.0",
    *,
    files: Mapping[str, Content] | None = None,
    executables: Collection[str] = (),
    requires: Sequence[str] = (),
    metadata_lines: Sequence[str] = (),
    entry_points: str | None = None,
    dist_info_files: Mapping[str, Content] | None = None,
    tag: str = "py3-none-any",
    root_is_purelib: bool = True,
    record: str | Literal["auto"] | None = "auto",
    filename: str | None = None,
    metadata_name: str | None = None,
    dist_info: str | None = None,
    compress: bool = True,
    add_directory_entries: bool = False,
) -> Path:
    """Write a wheel into directory (made if missing) and give its path.

    files: path in the wheel to content; data schemes are paths such as
    "demo-1.0.data/scripts/foo". Without it, one small package named like the project.
    executables: paths stored with mode 0755, all others with 0644.
    dist_info_files: more files of the .dist-info directory, or other METADATA, WHEEL, RECORD.
    metadata_lines: further lines of METADATA, such as "Requires-Python: >=3.9".
    record: "auto" for a right one, None for none, any other text as it is.
    filename, metadata_name, dist_info: say so where they shall not fit name and version.
    """
    escaped = re.sub(r"[-_.]+", "_", name)
    if files is None:
        files = _small_package(escaped, version)
    info = dist_info if dist_info is not None else f"{escaped}-{version}.dist-info"

    members: dict[str, bytes] = {path: _encode(content) for path, content in files.items()}
    metadata = [
        "Metadata-Version: 2.1",
        f"Name: {metadata_name if metadata_name is not None else name}",
        f"Version: {version}",
        "Summary: made by a test",
        *(f"Requires-Dist: {requirement}" for requirement in requires),
        *metadata_lines,
    ]
    members[f"{info}/METADATA"] = _encode("\n".join(metadata) + "\n")
    members[f"{info}/WHEEL"] = _encode(_wheel_file(tag, root_is_purelib))
    if entry_points is not None:
        members[f"{info}/entry_points.txt"] = _encode(entry_points)
    for path, content in (dist_info_files or {}).items():
        members[f"{info}/{path}"] = _encode(content)
    record_path = f"{info}/RECORD"
    if record == "auto":
        if record_path not in members:
            members[record_path] = _record(members, record_path)
    elif record is not None:
        members[record_path] = _encode(record)

    unknown = set(executables) - set(members)
    if unknown:
        raise ValueError(f"executables not in the wheel: {sorted(unknown)}")

    directory.mkdir(parents=True, exist_ok=True)
    wheel = directory / (filename or f"{escaped}-{version}-{tag}.whl")
    method = zipfile.ZIP_DEFLATED if compress else zipfile.ZIP_STORED
    with zipfile.ZipFile(wheel, "w", method) as archive:
        if add_directory_entries:
            for parent in _parents(members):
                archive.writestr(_entry(parent + "/", stat.S_IFDIR | 0o755), b"")
        for path, data in members.items():
            mode = 0o755 if path in executables else 0o644
            entry = _entry(path, stat.S_IFREG | mode)
            entry.compress_type = method
            archive.writestr(entry, data)
    return wheel


def make_sdist(
    directory: Path,
    name: str,
    version: str = "1.0",
    *,
    requires: Sequence[str] = (),
    build_requires: Sequence[str] = (),
) -> Path:
    """Write an sdist into directory and give its path: its metadata is static (PEP 643), and its
    backend is in the sdist, so that building needs no index and gives the same bytes each time."""
    escaped = re.sub(r"[-_.]+", "_", name)
    metadata = "".join(
        [
            f"Metadata-Version: 2.2\nName: {name}\nVersion: {version}\n",
            *(f"Requires-Dist: {requirement}\n" for requirement in requires),
        ]
    )
    members = {
        "PKG-INFO": metadata,
        "pyproject.toml": _sdist_project(build_requires)
        + f'[project]\nname = "{name}"\nversion = "{version}"\n',
        "backend.py": _SDIST_BACKEND,
        f"{escaped}.py": f'VERSION = "{version}"\n',
    }
    directory.mkdir(parents=True, exist_ok=True)
    sdist = directory / f"{escaped}-{version}.tar.gz"
    with tarfile.open(sdist, "w:gz") as archive:
        for path, content in members.items():
            info = tarfile.TarInfo(f"{escaped}-{version}/{path}")
            info.size = len(content)
            info.mtime = 1_700_000_000
            archive.addfile(info, io.BytesIO(content.encode()))
    return sdist


def _sdist_project(requires: Sequence[str]) -> str:
    system = f"[build-system]\nrequires = {json.dumps(list(requires))}\n"
    return system + 'build-backend = "backend"\nbackend-path = ["."]\n\n'


_SDIST_BACKEND = """
import os, re, zipfile

WHEEL = "Wheel-Version: 1.0\\nGenerator: tests\\nRoot-Is-Purelib: true\\nTag: py3-none-any\\n"


def _distribution():
    with open("PKG-INFO") as stream:
        metadata = stream.read()
    name = re.sub("[-_.]+", "_", re.search("^Name: (.*)", metadata, re.M)[1])
    return name, name + "-" + re.search("^Version: (.*)", metadata, re.M)[1], metadata


def prepare_metadata_for_build_wheel(metadata_directory, config_settings=None):
    name, stem, metadata = _distribution()
    made = os.path.join(metadata_directory, stem + ".dist-info")
    os.mkdir(made)
    for path, content in (("METADATA", metadata), ("WHEEL", WHEEL)):
        with open(os.path.join(made, path), "w") as stream:
            stream.write(content)
    return stem + ".dist-info"


def build_wheel(wheel_directory, config_settings=None, metadata_directory=None):
    name, stem, metadata = _distribution()
    with open(name + ".py") as stream:
        members = {name + ".py": stream.read()}
    for path, content in (("METADATA", metadata), ("WHEEL", WHEEL), ("RECORD", "")):
        members[stem + ".dist-info/" + path] = content
    filename = stem + "-py3-none-any.whl"
    with zipfile.ZipFile(os.path.join(wheel_directory, filename), "w") as archive:
        for path, content in members.items():
            archive.writestr(zipfile.ZipInfo(path, (2024, 1, 2, 3, 4, 6)), content)
    return filename
"""


def _encode(content: Content) -> bytes:
    return content.encode("utf-8") if isinstance(content, str) else content


def _small_package(package: str, version: str) -> dict[str, Content]:
    return {
        f"{package}/__init__.py": (
            f'"""A package for tests."""\n\n__version__ = "{version}"\n\n\n'
            f'def main() -> None:\n    print("{package} " + __version__)\n'
        ),
        f"{package}/part/__init__.py": "ANSWER = 42\n",
        f"{package}/data.txt": f"data of {package} {version}\n",
    }


def _wheel_file(tag: str, root_is_purelib: bool) -> str:
    pythons, abis, platforms = tag.split("-")
    tags = [
        f"Tag: {python}-{abi}-{platform}\n"
        for python in pythons.split(".")
        for abi in abis.split(".")
        for platform in platforms.split(".")
    ]
    purelib = "true" if root_is_purelib else "false"
    head = f"Wheel-Version: 1.0\nGenerator: tests (1.0)\nRoot-Is-Purelib: {purelib}\n"
    return head + "".join(tags)


def _record(members: Mapping[str, bytes], record_path: str) -> bytes:
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    for path, data in members.items():
        sha256 = base64.urlsafe_b64encode(hashlib.sha256(data).digest()).rstrip(b"=").decode()
        writer.writerow((path, f"sha256={sha256}", len(data)))
    writer.writerow((record_path, "", ""))
    return text.getvalue().encode("utf-8")


def _parents(members: Mapping[str, bytes]) -> list[str]:
    found: set[str] = set()
    for path in members:
        parts = path.split("/")[:-1]
        found.update("/".join(parts[: depth + 1]) for depth in range(len(parts)))
    return sorted(found)


def _entry(path: str, mode: int) -> zipfile.ZipInfo:
    entry = zipfile.ZipInfo(path, date_time=_ENTRY_TIME)
    entry.create_system = 3
    entry.external_attr = mode << 16
    if stat.S_ISDIR(mode):
        entry.external_attr |= 0x10
    return entry
