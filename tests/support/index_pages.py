"""What an index's pages say: the files of a directory, recorded pages, and changes to both."""

from __future__ import annotations

import email.parser
import hashlib
import html
import json
import re
import threading
import zipfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any
from urllib.parse import quote, urlsplit

JSON = "application/vnd.pypi.simple.v1+json"
HTML = "application/vnd.pypi.simple.v1+html"

#: A page as PEP 691 has it: "name" and "files", each with "filename", "url", "hashes" and so on.
Page = dict[str, Any]


class Pages:
    """The pages of an index over a directory of *.whl and *.tar.gz, read anew for each question.

    A page recorded before as ``pages/<project>.json`` below the directory (PEP 691, at any
    addresses) stays as it is, with files that are not there; files of the directory that it does
    not name come after it. hashes: links carry sha256. metadata: wheels' METADATA is served apart
    (PEP 658, 714). ``yank`` and the like change what is said of one file; ``restore`` ends that.
    """

    def __init__(self, directory: Path, *, hashes: bool = True, metadata: bool = True) -> None:
        self.directory = Path(directory)
        self.hashes = hashes
        self.metadata = metadata
        self._lock = threading.Lock()
        self._facts: dict[tuple[str, int, int, int], tuple[str, bytes | None]] = {}
        self._recorded: dict[str, tuple[int, Page]] = {}
        self._withdrawn: set[str] = set()
        self._yanked: dict[str, str] = {}
        self._metadata: dict[str, bytes] = {}
        self._changes = 0

    def withdraw(self, filename: str) -> None:
        """No page names the file, and it cannot be had."""
        self._withdrawn.add(filename)
        self._changes += 1

    def yank(self, filename: str, reason: str = "") -> None:
        """The page says that the file is yanked (PEP 592)."""
        self._yanked[filename] = reason
        self._changes += 1

    def change_metadata(self, filename: str, metadata: bytes) -> None:
        """Other METADATA is served for a wheel, with its own digest; the wheel stays as it is."""
        self._metadata[filename] = metadata
        self._changes += 1

    def restore(self, filename: str) -> None:
        """The file is as it was before any of these."""
        self._withdrawn.discard(filename)
        self._yanked.pop(filename, None)
        self._metadata.pop(filename, None)
        self._changes += 1

    def projects(self) -> list[str]:
        """The normalised names of all projects."""
        recorded = (path.stem for path in self.directory.glob("pages/*.json"))
        return sorted({*recorded, *(project_of(path.name) for path in self._files())})

    def state_of(self, project: str) -> tuple[object, ...]:
        """Equal as long as nothing that the page rests on has changed."""
        recorded = self.directory / "pages" / f"{project}.json"
        age = recorded.stat().st_mtime_ns if recorded.exists() else 0
        return (self._changes, age, *(_identity(path) for path in self._files_of(project)))

    def page(self, project: str) -> Page | None:
        """The page of a project by its normalised name; None where the index has none."""
        there = {path.name: path for path in self._files_of(project)}
        recorded = self._recorded_page(project)
        if recorded is None and not there:
            return None
        entries = [dict(entry) for entry in recorded["files"]] if recorded else []
        named = {entry["filename"] for entry in entries}
        entries += [{"filename": name} for name in there if name not in named]
        files = [
            self._entry(entry, there.get(entry["filename"]))
            for entry in entries
            if entry["filename"] not in self._withdrawn
        ]
        page: Page = {"meta": {"api-version": "1.1"}, "name": project}
        if recorded and "versions" in recorded:
            page["versions"] = recorded["versions"]
        return {**page, "files": files}

    def file(self, filename: str) -> Path | bytes | None:
        """What is given out under a name: a file of the directory, or a wheel's METADATA."""
        wheel = filename[: -len(".metadata")] if filename.endswith(".metadata") else filename
        path = self.directory / wheel
        if "/" in wheel or wheel in self._withdrawn or not _served(wheel) or not path.is_file():
            return None
        if wheel == filename:
            return path
        return self._facts_of(path)[1] if self.metadata else None

    def _entry(self, entry: Page, path: Path | None) -> Page:
        """One file of a page, with what the directory and the changes say about it."""
        name = entry["filename"]
        place = f"/files/{quote(name, safe='')}"
        if "url" in entry:
            place = urlsplit(entry["url"])._replace(scheme="", netloc="", fragment="").geturl()
        hashes = entry.get("hashes", {}) if self.hashes else {}
        entry = {**entry, "url": place, "hashes": hashes, "yanked": entry.get("yanked", False)}
        if path is not None:
            sha256, metadata = self._facts_of(path)
            entry["size"] = path.stat().st_size
            if self.hashes:
                entry["hashes"] = {"sha256": sha256}
            if metadata is not None:
                parsed = email.parser.BytesHeaderParser().parsebytes(metadata)
                if parsed["Requires-Python"]:
                    entry["requires-python"] = str(parsed["Requires-Python"])
                if self.metadata:
                    value = {"sha256": hashlib.sha256(metadata).hexdigest()}
                    entry["core-metadata"] = entry["data-dist-info-metadata"] = value
        if name in self._yanked:
            entry["yanked"] = self._yanked[name] or True
        return entry

    def _recorded_page(self, project: str) -> Page | None:
        path = self.directory / "pages" / f"{project}.json"
        if not path.exists():
            return None
        age = path.stat().st_mtime_ns
        with self._lock:
            known = self._recorded.get(project)
            if known is None or known[0] != age:
                page: Page = json.loads(path.read_bytes())
                known = self._recorded[project] = (age, page)
        return known[1]

    def _files(self) -> list[Path]:
        return sorted(path for path in self.directory.iterdir() if _served(path.name))

    def _files_of(self, project: str) -> list[Path]:
        return [path for path in self._files() if project_of(path.name) == project]

    def _facts_of(self, path: Path) -> tuple[str, bytes | None]:
        """The sha256 of a file, and its METADATA when it is a readable wheel."""
        key = _identity(path)
        with self._lock:
            known = self._facts.get(key)
        if known is None:
            known = (hashlib.sha256(path.read_bytes()).hexdigest(), _metadata_of(path))
            with self._lock:
                self._facts[key] = known
        return known[0], self._metadata.get(path.name, known[1])


def as_json(page: Page) -> bytes:
    """A page as PEP 691 has it."""
    return json.dumps(page).encode()


def as_html(page: Page) -> bytes:
    """A page as PEP 503 has it, with the attributes of PEP 592, 658 and 714."""
    return html_page("".join(_link(entry) for entry in page["files"]))


def html_page(links: str) -> bytes:
    """A page with these links."""
    return (
        '<!DOCTYPE html>\n<html><head><meta name="pypi:repository-version" content="1.0">'
        f"<title>index</title></head><body>\n{links}</body></html>\n"
    ).encode()


def _link(entry: Mapping[str, Any]) -> str:
    sha256 = entry["hashes"].get("sha256")
    attributes = {"href": entry["url"] + (f"#sha256={sha256}" if sha256 else "")}
    if entry.get("requires-python"):
        attributes["data-requires-python"] = entry["requires-python"]
    metadata = entry.get("core-metadata")
    if metadata:
        value = f"sha256={metadata['sha256']}"
        attributes["data-dist-info-metadata"] = attributes["data-core-metadata"] = value
    if entry["yanked"] is not False:
        attributes["data-yanked"] = "" if entry["yanked"] is True else entry["yanked"]
    said = " ".join(f'{name}="{html.escape(value)}"' for name, value in attributes.items())
    return f"<a {said}>{html.escape(entry['filename'])}</a><br>\n"


def normalised(name: str) -> str:
    """A project's name as PEP 503 has it."""
    return re.sub(r"[-_.]+", "-", name).lower()


def project_of(filename: str) -> str:
    """The normalised project name in a file's name (a wheel's, its metadata's, an sdist's)."""
    if filename.endswith(".tar.gz"):
        return normalised(filename.rpartition("-")[0])
    return normalised(filename.split("-")[0])


def _served(filename: str) -> bool:
    return filename.endswith((".whl", ".tar.gz"))


def _identity(path: Path) -> tuple[str, int, int, int]:
    status = path.stat()
    return path.name, status.st_ino, status.st_mtime_ns, status.st_size


def _metadata_of(path: Path) -> bytes | None:
    """METADATA of a wheel; None for anything else, a damaged wheel included."""
    if path.suffix != ".whl":
        return None
    try:
        with zipfile.ZipFile(path) as archive:
            for member in archive.namelist():
                if re.fullmatch(r"[^/]+\.dist-info/METADATA", member):
                    return archive.read(member)
    except zipfile.BadZipFile:
        return None
    return None
