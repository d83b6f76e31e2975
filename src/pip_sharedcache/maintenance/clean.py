"""The deletion of a whole store, although its directories are read-only.

Everything happens by descriptors below the store that was looked at: no symlink is followed, no
other file system is entered, and a file that no store has stays. Entries that belong to other
users, and that only they and root can delete, stay too; the store then stays usable for them.
"""

from __future__ import annotations

import errno
import json
import os
import stat
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path

from pip_sharedcache import fs, trust
from pip_sharedcache.errors import StoreUnusable, reason
from pip_sharedcache.fs import Directory
from pip_sharedcache.maintenance.gc import Refusal, dead_name
from pip_sharedcache.store import Store, symlink_registry
from pip_sharedcache.store.homes import TAG_NAME
from pip_sharedcache.store.layout import AREAS, SHARDS, USE, WHEELS, not_of_a_store
from pip_sharedcache.store.store_json import STORE_JSON
from pip_sharedcache.store.usage_marks import ENTRY_NAME

_LAST = (STORE_JSON, TAG_NAME)  # as long as something is left, the directory is a store


@dataclass(frozen=True)
class Doomed:
    """A store that is to be deleted.

    ``path``: the path of the store.
    ``device``, ``inode``: those of its directory, which was looked at.
    ``wheels``: the number of its visible wheels.
    ``linked``: the places of the environments whose symlinks lead into the store.
    """

    path: Path
    device: int
    inode: int
    wheels: int
    linked: tuple[str, ...] = ()


@dataclass
class Cleaned:
    """The result of the deletion of a store; ``clean`` fills it.

    ``deleted``: the number of entries that were deleted, retired ones and leftovers included.
    ``refused``: what this user cannot delete.
    ``left``: names in the directory of the store that are of no store, and stay.
    ``stays_because``: why the directory of the store stays; "" if it was deleted.
    """

    deleted: int = 0
    refused: list[Refusal] = field(default_factory=list)
    left: tuple[str, ...] = ()
    stays_because: str = ""


def look(path: Path) -> Doomed:
    """Return what ``clean`` deletes at ``path``; raise StoreUnusable if this user must not.

    The path must be that of a store that pip-sharedcache made, which belongs to this user unless
    the user is root.
    """
    try:
        with Directory.open(path.parent) as above, _opened(above, path) as top:
            _require_store(path, top)
            status = top.status()
            wheels = sum(
                ENTRY_NAME.fullmatch(name) is not None
                for shard in _shards(top, WHEELS)
                for name in _names(shard)
            )
    except OSError as error:
        why = f"{path} cannot be deleted: {reason(error)}"
        raise StoreUnusable(why, path=str(path), errno=error.errno) from error
    return Doomed(path, status.st_dev, status.st_ino, wheels, _linked(path))


def _opened(above: Directory, path: Path) -> Directory:
    """Open the store ``path``, but no symlink. Raises StoreUnusable, OSError."""
    if stat.S_ISLNK(above.file_status(path.name).st_mode):
        raise StoreUnusable(
            f"{path} is not deleted: it is a symlink", f"name the store: {os.path.realpath(path)}"
        )
    return above.subdirectory(path.name)


def _require_store(path: Path, top: Directory) -> None:
    names = set(top.names())
    if why := _no_store_because(top, names):
        raise StoreUnusable(
            f"{path} is not deleted: it is no store that pip-sharedcache made: {why}",
            "name the directory of a store",
        )
    owner = top.status().st_uid
    if trust.OWNERS_MEAN_SOMETHING and trust.user_id() not in (0, owner):
        raise StoreUnusable(
            f"{path} is not deleted: it belongs to {trust.user_name(owner)}",
            f"{trust.owner_or_root(owner)} can run the same command",
        )


def _no_store_because(top: Directory, names: set[str]) -> str:
    """Return why the directory ``top`` with these ``names`` is no store; "" if it is one.

    A private store has no store.json. Without that, nothing else than a store may be there: many
    programs mark their caches with the same tag.
    """
    if STORE_JSON in names:
        try:
            data = json.loads(top.read(STORE_JSON)[0])
        except (ValueError, RecursionError, OSError) as error:
            return f"{STORE_JSON} cannot be read: {error}"
        return "" if isinstance(data, dict) and "format" in data else f"{STORE_JSON} is another's"
    if TAG_NAME not in names:
        return f"neither {STORE_JSON} nor {TAG_NAME} is there"
    if other := not_of_a_store(names):
        return f"{STORE_JSON} is missing, and {other} is there"
    strange = (f"{WHEELS}/{name}" for name in _names_below(top, WHEELS) if name not in SHARDS)
    found = next(strange, "")
    return f"{STORE_JSON} is missing, and {found} is there" if found else ""


def _linked(path: Path) -> tuple[str, ...]:
    try:
        linked = symlink_registry.linked(Store.open(path), [])
    except (StoreUnusable, OSError):
        return ()  # of a damaged store, nothing is known
    return tuple(dict.fromkeys(one.place for some in linked.values() for one in some))


def clean(doomed: Doomed) -> Cleaned:
    """Delete the store ``doomed``, as far as the system permits.

    Raise StoreUnusable if another directory is at its path by now, or if it cannot be opened.
    """
    path, done = doomed.path, Cleaned()
    try:
        with Directory.open(path.parent) as above, _opened(above, path) as top:
            status = top.status()
            if (status.st_dev, status.st_ino) != (doomed.device, doomed.inode):
                raise StoreUnusable(f"{path} is not deleted: it was replaced meanwhile")
            _let_write(top)
            for name in (*AREAS, USE):
                for shard in _shards(top, name):
                    _empty(shard, top.device, done)
            _remove_top(above, top, done)
    except OSError as error:
        why = f"{path} cannot be deleted: {reason(error)}"
        raise StoreUnusable(why, path=str(path), errno=error.errno) from error
    return done


def _shards(top: Directory, area: str) -> Iterator[Directory]:
    """Yield each directory in ``area``, held open until the next step; ``use`` is one itself.

    Other files are left to the end, and so are directories that cannot be opened.
    """
    with suppress(FileNotFoundError, NotADirectoryError), top.subdirectory(area) as held:
        _let_write(held)
        if area == USE:
            yield held
            return
        for name in held.names():
            with suppress(OSError):
                shard = held.subdirectory(name)
                with shard:
                    yield shard


def _names(held: Directory) -> list[str]:
    with suppress(OSError):
        return held.names()
    return []


def _names_below(top: Directory, name: str) -> list[str]:
    with suppress(OSError), top.subdirectory(name) as held:
        return held.names()
    return []


def _let_write(held: Directory) -> None:
    """Let this user delete in the directory ``held``, if it is this user's."""
    status = held.status()
    if status.st_uid == trust.user_id() and status.st_mode & 0o300 != 0o300:
        with suppress(OSError):
            held.set_mode(stat.S_IMODE(status.st_mode) | 0o700)


def _empty(shard: Directory, device: int, done: Cleaned) -> None:
    """Delete everything in ``shard`` that this user can delete, and count it in ``done``."""
    if shard.device != device:
        why = "Another file system is mounted on it"
        done.refused.append(Refusal(shard.path, shard.status().st_uid, why))
        return
    _let_write(shard)
    for name in _names(shard):
        path = shard.path / name
        try:
            status = shard.file_status(name)
            if trust.OWNERS_MEAN_SOMETHING and trust.user_id() not in (0, status.st_uid):
                done.refused.append(Refusal(path, status.st_uid, "belongs to another user"))
                continue
            _delete(shard, name, stat.S_ISDIR(status.st_mode))
            done.deleted += not name.startswith(".") and shard.path.name != USE
        except FileNotFoundError:
            continue  # garbage collection deleted it
        except OSError as error:
            done.refused.append(Refusal(path, status.st_uid, reason(error)))


def _delete(shard: Directory, name: str, is_directory: bool) -> None:
    if not is_directory:
        shard.remove(name)
        return
    if ENTRY_NAME.fullmatch(name):
        # A run must not find an entry that is half deleted.
        name, visible = dead_name(name), name
        fs.rename_in(shard, visible, name)
    fs.remove_tree(shard.path / name, shard)


def _remove_top(above: Directory, top: Directory, done: Cleaned) -> None:
    """Delete the directories and files of the emptied store, if nothing of others is in it."""
    if done.refused:
        done.stays_because = "it holds files that cannot be deleted"
        return
    names = _names(top)
    done.left = tuple(sorted(name for name in names if not_of_a_store([name])))
    ordered = [name for name in names if name not in (*_LAST, *done.left)]
    try:
        for name in (*ordered, *(name for name in _LAST if name in names)):
            if stat.S_ISDIR(top.file_status(name).st_mode):
                fs.remove_tree(top.path / name, top)
            else:
                top.remove(name)
        if done.left:
            done.stays_because = f"it holds {done.left[0]}, which is of no store"
        else:
            fs.remove_empty(top.path.name, above)
    except OSError as error:
        done.stays_because = reason(error)
        if error.errno in (errno.ENOTEMPTY, errno.EEXIST):
            done.stays_because = "something new was put in it meanwhile"
