"""The deletion of a whole store, although its directories are read-only.

Everything happens by descriptors below the store that was looked at: no symlink is followed, no
other file system is entered, and a file whose name no store has stays. Entries that belong to other
users, and that only they and root can delete, stay too; the store then stays usable for them.
"""

from __future__ import annotations

import errno
import os
import shlex
import stat
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path

from pip_sharedcache import fs, trust
from pip_sharedcache.errors import StoreUnusable, reason
from pip_sharedcache.fs import Directory
from pip_sharedcache.maintenance.foreign_files import foreign_files
from pip_sharedcache.maintenance.gc import Refusal, dead_name
from pip_sharedcache.maintenance.store_names import STORE_AREAS, is_of_area, is_of_shard, misplaced
from pip_sharedcache.store import Store, symlink_registry
from pip_sharedcache.store.homes import TAG, TAG_NAME
from pip_sharedcache.store.layout import (
    AREAS,
    SIGNATURES,
    USE,
    WHEELS,
    not_of_a_store,
)
from pip_sharedcache.store.store_json import ALWAYS, STORE_JSON, StoreJson
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
    ``left``: paths in the store that are of no store, and stay.
    ``stays_because``: why the directory of the store stays; "" if it was deleted.
    """

    deleted: int = 0
    refused: list[Refusal] = field(default_factory=list)
    left: list[str] = field(default_factory=list)
    stays_because: str = ""


def look(path: Path) -> Doomed:
    """Return what ``clean`` deletes at ``path``; raise StoreUnusable if this user must not.

    The path must be that of a store that pip-sharedcache made, which belongs to this user unless
    the user is root.
    """
    if not path.name:  # the root directory
        why = f"{path} is not deleted: it is no store that pip-sharedcache made"
        raise StoreUnusable(why, "name the directory of a store")
    try:
        with Directory.open(path.parent) as above, _opened(above, path) as top:
            _require_store(path, top)
            status = top.status()
            if hasattr(os, "statvfs") and os.statvfs(top.where).f_flag & os.ST_RDONLY:
                # The rights of no user help: no hint may name one.
                why = f"{path} is not deleted: {os.strerror(errno.EROFS)}"
                raise StoreUnusable(why, trust.hint_for("mount it writable", 0, verb=""))
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
    names, owner = set(top.names()), top.status().st_uid
    if why := _no_store_because(top, names):
        remove = f"type rm {shlex.quote(str(path / STORE_JSON))}"
        hint = "name the directory of a store"
        if STORE_JSON in names and _foreign_because(top, STORE_JSON):  # damaged
            hint = f"if it is one, {trust.hint_for(remove, owner, verb='')}, then the same command"
        what = f"{path} is not deleted: it is no store that pip-sharedcache made: {why}"
        raise StoreUnusable(what, hint)
    if trust.OWNERS_MEAN_SOMETHING and trust.user_id() not in (0, owner):
        raise StoreUnusable(
            f"{path} is not deleted: it belongs to {trust.user_name(owner)}",
            f"{trust.owner_or_root(owner)} can run the same command",
        )


def _no_store_because(top: Directory, names: set[str]) -> str:
    """Return why the directory ``top`` with these ``names`` is no store; "" if it is one.

    A private store has no store.json, and a deletion that failed can have left neither store.json
    nor the tag. Then nothing else than a store's files may be there, and without both, nothing of
    other users than the owner.
    """
    empty = {name for name in _LAST if name in names and _is_empty(top, name)}
    names = names - empty  # what a full disk or a power cut left of them: as if missing
    for name in _LAST:
        if name in names and (why := _foreign_because(top, name)):
            return why
    missing = [name for name in _LAST if name not in names]
    if not missing:
        return ""
    if missing == list(_LAST):
        what = f"neither {STORE_JSON} nor {TAG_NAME} is there"
        if not any(ENTRY_NAME.fullmatch(name) for area in AREAS for name in _entries(top, area)):
            return what
    else:
        what = f"{missing[0]} is missing"
    if other := not_of_a_store(names) or next(misplaced(top), ""):
        return f"{what}, and {other} is there"
    if missing == list(_LAST) and (other := _of_another_owner(top)):
        return f"{what}, and {other} belongs to another user"
    return ""


def _is_empty(top: Directory, name: str) -> bool:
    status = top.file_status(name)
    return stat.S_ISREG(status.st_mode) and status.st_size == 0


def _foreign_because(top: Directory, name: str) -> str:
    """Return why the file ``name`` (one of _LAST) in ``top`` is not a store's; "" if it is."""
    try:
        text, _ = top.read(name)
        if name == STORE_JSON:
            StoreJson.parse(top.path, text, required=ALWAYS)
            return ""
    except StoreUnusable as error:
        return error.message
    except OSError as error:
        return f"{name} cannot be read: {reason(error)}"
    return "" if text == TAG.encode("ascii") else f"another program wrote {name}"


def _entries(top: Directory, area: str) -> Iterator[str]:
    for shard in _shards(top, area):
        yield from (name for name in _names(shard) if name.startswith(shard.path.name))


def _of_another_owner(top: Directory) -> str:
    """Return a path below ``top`` that the owner of ``top`` does not own, or "". Raises OSError."""
    if top.descriptor is None or not trust.OWNERS_MEAN_SOMETHING:
        return ""

    def fail(error: OSError) -> None:
        raise error

    owner = top.status().st_uid
    for where, directories, files, held in os.fwalk(".", dir_fd=top.descriptor, onerror=fail):
        for name in (*directories, *files):
            if os.stat(name, dir_fd=held, follow_symlinks=False).st_uid != owner:
                return os.path.normpath(os.path.join(where, name))
    return ""


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
            for area in STORE_AREAS:
                for shard in _shards(top, area, done):
                    _empty(shard, area, done)
            _remove_top(above, top, done)
    except OSError as error:
        why = f"{path} cannot be deleted: {reason(error)}"
        raise StoreUnusable(why, path=str(path), errno=error.errno) from error
    return done


def _shards(top: Directory, area: str, done: Cleaned | None = None) -> Iterator[Directory]:
    """Yield each directory in ``area``, held open until the next step; ``use`` is one itself.

    ``done`` gets the names that no store has, and the directories that cannot be opened.
    """
    with suppress(FileNotFoundError, NotADirectoryError), top.subdirectory(area) as held:
        if _is_mounted(top, area, done):
            return
        _let_write(held)
        if area == USE:
            yield held
            return
        for name in held.names():
            if not is_of_area(area, name):
                if done is not None:
                    done.left.append(f"{area}/{name}")
                continue
            try:
                shard = held.subdirectory(name)
            except (FileNotFoundError, NotADirectoryError):
                continue  # a symlink, which _remove_area deletes
            except OSError as error:
                if done is not None:
                    owner = held.file_status(name).st_uid
                    done.refused.append(Refusal(held.path / name, owner, reason(error)))
                continue
            with shard:
                if not _is_mounted(held, name, done):
                    yield shard


def _is_mounted(above: Directory, name: str, done: Cleaned | None) -> bool:
    """Return whether something is mounted on the directory ``name``, and add it to ``done``.

    Nobody's rights help: it counts as this user's own, so that no hint names another user.
    """
    found = done is not None and fs.is_mount_point(name, above)
    if found and done is not None:
        done.refused.append(Refusal(above.path / name, trust.user_id(), fs.MOUNTED))
    return found


def _names(held: Directory) -> list[str]:
    with suppress(OSError):
        return held.names()
    return []


def _let_write(held: Directory) -> None:
    """Let this user delete in the directory ``held``, if it is this user's."""
    status = held.status()
    if status.st_uid == trust.user_id() and status.st_mode & 0o300 != 0o300:
        with suppress(OSError):
            held.set_mode(stat.S_IMODE(status.st_mode) | 0o700)


def _empty(shard: Directory, area: str, done: Cleaned) -> None:
    """Delete what a store has in ``shard`` and this user can delete; count it in ``done``."""
    _let_write(shard)
    for name in _names(shard):
        path = shard.path / name
        if not (is_of_area(area, name) if area == USE else is_of_shard(name)):
            done.left.append(
                f"{area}/{name}" if area == USE else f"{area}/{shard.path.name}/{name}"
            )
            continue
        try:
            status = shard.file_status(name)
            if trust.OWNERS_MEAN_SOMETHING and trust.user_id() not in (0, status.st_uid):
                done.refused.append(Refusal(path, status.st_uid, "belongs to another user"))
                continue
            if stat.S_ISDIR(status.st_mode) and _is_mounted(shard, name, done):
                continue
            if stat.S_ISDIR(status.st_mode) and (left := _foreign_files(shard, area, name)):
                done.left += left
                continue
            _delete(shard, name, stat.S_ISDIR(status.st_mode))
            done.deleted += not name.startswith(".") and area not in (SIGNATURES, USE)
        except FileNotFoundError:
            continue  # garbage collection deleted it
        except OSError as error:
            done.refused.append(Refusal(path, status.st_uid, reason(error)))


def _foreign_files(shard: Directory, area: str, name: str) -> list[str]:
    """Return the paths in the store of what is in the entry ``name``, but not of it."""
    if area == USE or not ENTRY_NAME.fullmatch(name):
        return []
    with suppress(OSError), shard.subdirectory(name) as entry:
        return [f"{area}/{shard.path.name}/{name}/{path}" for path in foreign_files(entry)]
    return []


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
    foreign = [name for name in names if not_of_a_store([name])]
    done.left = sorted([*done.left, *foreign])
    ordered = [name for name in names if name not in (*_LAST, *foreign)]
    try:
        for name in (*ordered, *(name for name in _LAST if name in names)):
            if not stat.S_ISDIR(top.file_status(name).st_mode):
                top.remove(name)
            elif name in STORE_AREAS:
                _remove_area(top, name, done.left)
            else:
                fs.remove_tree(top.path / name, top)
        if done.left:
            more = f" and {len(done.left) - 1:,} more" if len(done.left) > 1 else ""
            are = "are" if more else "is"
            done.stays_because = f"it holds {done.left[0]}{more}, which {are} of no store"
        else:
            _remove_empty_top(above, top, done)
    except OSError as error:
        done.stays_because = reason(error)
        if error.errno in (errno.ENOTEMPTY, errno.EEXIST):
            done.stays_because = "something new was put in it meanwhile"


def _remove_empty_top(above: Directory, top: Directory, done: Cleaned) -> None:
    try:
        fs.remove_empty(top.path.name, above)
    except PermissionError:
        if trust.user_id() == 0:
            raise
        # For example a store that adopt set aside, in the directory of the new owner.
        who = trust.owner_or_root(above.status().st_uid)
        done.stays_because = f"it is empty, and {who} can delete it from {above.path}"


def _remove_area(top: Directory, area: str, left: list[str]) -> None:
    """Delete the emptied directory ``area``, but no directory in which a file of ``left`` is."""
    with top.subdirectory(area) as held:
        for name in held.names():
            path = f"{area}/{name}"
            if any(f"{one}/".startswith(f"{path}/") for one in left):
                continue
            if not stat.S_ISDIR(held.file_status(name).st_mode):
                held.remove(name)
            else:
                fs.remove_empty(name, held)
    if not any(one.startswith(f"{area}/") for one in left):
        fs.remove_empty(area, top)
