"""Registry of the symlinks into entries, so that garbage collection keeps these entries.

Each user's records lie beside the usage marks, in ``use/<uid>/links-*``. They list an environment,
and the entry and one link for each of its distributions. If that link was edited, replaced or
deleted, the other links of the distribution are checked. A link that cannot be checked counts as
one.
"""

from __future__ import annotations

import contextlib
import csv
import errno
import io
import json
import os
import secrets
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from itertools import groupby
from pathlib import Path
from typing import Any, NamedTuple

from pip_sharedcache import fs, trust
from pip_sharedcache.errors import DamagedEntry, reason
from pip_sharedcache.fs import DISK_ERRORS, Directory, DirIdentity
from pip_sharedcache.model import Digest, information_directories, is_nameable
from pip_sharedcache.store.entry_reading import read_manifest
from pip_sharedcache.store.layout import WHEELS, Store
from pip_sharedcache.store.usage_marks import (
    ENTRY_NAME,
    OWNERS_FAULT,
    read_again_if_stale,
    users,
)

_LINKS = "links-"
_MOST_RECORD = 1 << 26  # bytes
_LONGEST_PATH = 4096  # characters; no system call takes more


@dataclass(frozen=True)
class Link:
    """One symlink into an entry.

    ``entry``: the name of the entry.
    ``path``: the absolute path of the symlink.
    ``library``: the absolute directory with the files of the distribution; "" if unknown.
    ``way``: the directory and those above it, as fs.find_moved_directory takes them.
    ``host``: the host, as fs.find_moved_directory takes it.
    """

    entry: str
    path: str
    library: str = ""
    way: tuple[DirIdentity, ...] = ()
    host: str = ""


class LinkHolder(NamedTuple):
    """A user whose symlinks lead, or may lead, into an entry.

    ``user``: the uid.
    ``place``: the path of the environment, or of the symlink.
    ``unseen``: why this process cannot see a symlink, in words that follow "in an environment"; ""
    if it sees one.
    """

    user: int
    place: str
    unseen: str


def register(store: Store, links: Iterable[Link]) -> None:
    """Record symlinks of this user's environments, one for each distribution.

    Raises OSError, as usage_marks.mark_used does.
    """
    lines: list[Any] = []
    for library, of_library in groupby(links, lambda link: link.library):
        if library:
            real = os.path.realpath(library)
            way = fs.directory_chain(real)
            lines.append({"library": real, "host": fs.HOST_NAME, "way": way})
        lines += [[link.entry, link.path] for link in of_library]
    if lines:
        text = "".join(json.dumps(line) + "\n" for line in lines)
        with store.own_usage_marks() as held:
            held.replace(f"{_LINKS}{secrets.token_hex(8)}", text.encode("ascii"))


def linked(
    store: Store, unread: list[tuple[Path, str]] | None = None
) -> dict[str, list[LinkHolder]]:
    """Return the names of entries that registered symlinks lead into, or may lead into.

    Each name maps to the holders of the symlinks. A record that cannot be read is added to
    ``unread``, with the reason, unless its owner caused this (OWNERS_FAULT): without the record, a
    needed entry could be deleted. Raises OSError instead if ``unread`` is None.
    """
    found: dict[str, list[LinkHolder]] = {}
    lead = _remembering(store)
    for user, held in users(store, unread):
        try:
            links = read_again_if_stale(
                store,
                held,
                lambda held: list(_links_of(user, held)),  # noqa: B023
            )
            for link in links:
                if (unseen := lead(link)) is not None:
                    holder = LinkHolder(user, link.library or link.path, unseen)
                    found.setdefault(link.entry, []).append(holder)
        except OSError as error:
            if unread is None or error.errno not in DISK_ERRORS:
                raise
            unread.append((held.path, reason(error)))
    return found


def _links_of(user: int, held: Directory) -> Iterator[Link]:
    for file in _files(held):
        try:
            yield from _read(user, held, file)
        except OSError as error:
            if error.errno not in OWNERS_FAULT:
                raise


def forget(store: Store) -> None:
    """Delete this user's records (as root: all records) that have no link left.

    Never raises: what cannot be listed, read or deleted is left to the next run.
    """
    lead = _remembering(store)
    for user, held in users(store):
        if trust.user_id() not in (0, user):
            continue
        with contextlib.suppress(OSError):
            for name in _files(held):
                with contextlib.suppress(OSError):
                    if all(lead(link) is None for link in _read(user, held, name)):
                        held.remove(name)


def _remembering(store: Store) -> Callable[[Link], str | None]:
    """Return a check of a link; it calls _any_leads once for an entry and environment.

    The check returns None if no link of the distribution leads into the entry, "" if one does, and
    otherwise why this process cannot see it, as in LinkHolder.
    """
    known: dict[tuple[str, str], str | None] = {}

    def lead(link: Link) -> str | None:
        if (found := _leads(link.path, link.entry)) is not None:
            return found
        key = link.entry, link.library
        if key not in known:
            known[key] = _any_leads(store, link)
        return known[key]

    return lead


def _any_leads(store: Store, link: Link) -> str | None:
    """Return whether any link of this distribution leads, or may lead, into the entry.

    The result is as in _remembering.
    """
    if not link.library:
        return None
    try:
        paths = _paths(store, link.entry)
    except FileNotFoundError:
        return None  # no entry to keep
    except (DamagedEntry, OSError):
        paths = None  # the links are not known
    try:
        if os.path.isdir(link.library):
            found = _has_link(link.library, link.entry, paths)
            if found is not None:
                return found
        library = fs.find_moved_directory(link.library, link.way, link.host)
        moved = bool(library) and library != link.library
        return _has_link(library, link.entry, paths) if moved else None
    except OSError as error:
        if link.host not in ("", fs.HOST_NAME):
            return f"of host {link.host}"
        return _unreadable(error)


def _unreadable(error: OSError) -> str:
    return f"that cannot be read here: {reason(error)}"


def _paths(store: Store, entry: str) -> list[str]:
    """Return the paths, relative to the library directory, at which files of ``entry`` are placed.

    RECORD is one of them: it lists the files in other directories. Raises DamagedEntry, OSError.
    """
    with store.opened(WHEELS, entry[:2]) as (shard, *_), shard.subdirectory(entry) as held:
        try:
            manifest, _ = read_manifest(held)
        except FileNotFoundError as error:
            raise DamagedEntry(f"{held.path} lacks its manifest") from error
    if manifest.digest != Digest(entry[:64]):
        raise DamagedEntry(f"{held.path} speaks of another wheel")
    paths = []
    private = information_directories(file.path for file in manifest.files)
    for file in manifest.files:
        parts = file.path.split("/")
        if parts[0] in private and parts[1:] != ["RECORD"]:
            continue  # copied in every link mode
        if parts[0].endswith(".data"):
            parts = parts[2:] if parts[1:2] in (["purelib"], ["platlib"]) else []
        if parts:
            paths.append(os.path.join(*parts))
    return paths


def _has_link(library: str, entry: str, paths: list[str] | None) -> str | None:
    """Return whether one of ``paths`` leads into ``entry``, as in _remembering. Raises OSError."""
    if paths is None:
        return "whose links are not known, since the entry cannot be read"
    recorded = [row for path in paths if _is_record(path) for row in _rows(library, path)]
    unseen = None
    for path in (*paths, *recorded):
        found = _leads(os.path.join(library, path), entry)
        if found == "":
            return ""
        unseen = found if unseen is None else unseen
    return unseen


def _is_record(path: str) -> bool:
    """Return whether ``path`` in a library directory is the RECORD of a distribution."""
    top, _, name = path.partition(os.sep)
    return name == "RECORD" and top in information_directories([top])


def _rows(library: str, record: str) -> list[str]:
    """Return the paths that a RECORD lists outside of the library directory: data, headers.

    Returns no path if RECORD is missing: the distribution was uninstalled. Raises OSError.
    """
    try:
        with Directory.open(Path(library, record).parent) as held:
            text, _ = held.read("RECORD", _MOST_RECORD)
    except (FileNotFoundError, NotADirectoryError):
        return []
    rows = csv.reader(io.StringIO(text.decode("utf-8", "surrogateescape"), newline=""))
    try:
        return [row[0] for row in rows if row and row[0].startswith("..") and "\0" not in row[0]]
    except csv.Error:
        return []


def _leads(link: str, entry: str) -> str | None:
    """Return whether ``link`` leads into ``entry``, as in _remembering."""
    try:
        return "" if entry in Path(os.readlink(link)).parts else None
    except (FileNotFoundError, NotADirectoryError):
        return None
    except OSError as error:  # EINVAL: no link; others: unreadable, unreachable
        return None if error.errno == errno.EINVAL else _unreadable(error)


def _files(held: Directory) -> list[str]:
    return [name for name in held.names() if name.startswith(_LINKS)]


def _read(user: int, held: Directory, file: str) -> Iterator[Link]:
    """Yield the links that a file of ``user`` lists; skip invalid lines. Raises OSError."""
    text, status = held.read(file)  # 1000 distributions take a fifth of the limit
    if trust.OWNERS_MEAN_SOMETHING and status.st_uid != user:
        return
    environment: tuple[Any, ...] = ()
    for line in text.splitlines():
        try:
            row: Any = json.loads(line)
            if isinstance(row, dict):
                environment = ()  # if this row is invalid, the last one must not apply
                environment = _environment(row)
                continue
            entry, path = row
            if ENTRY_NAME.fullmatch(entry) and _is_path(path):
                yield Link(entry, path, *environment)
        except (ValueError, TypeError, KeyError, RecursionError):
            continue  # not a line of pip-sharedcache


def _environment(row: dict[str, Any]) -> tuple[str, tuple[DirIdentity, ...], str]:
    """Return the last three fields of Link from ``row``. Raises ValueError, TypeError, KeyError."""
    way = tuple(DirIdentity(inode, born) for inode, born in row["way"])
    numbers = all(type(number) is int for place in way for number in (place.inode, place.born))
    library = row["library"]
    if not numbers or not _is_path(library) or not isinstance(row["host"], str):
        raise ValueError("not where an environment is")
    if len(way) > library.count("/") + 1:  # gc reads each one, for every link
        raise ValueError("more directories than the path has")
    return library, way, row["host"]


def _is_path(path: str) -> bool:
    return os.path.isabs(path) and is_nameable(path) and len(path) <= _LONGEST_PATH
