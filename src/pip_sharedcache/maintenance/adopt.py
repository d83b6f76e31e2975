"""The adoption of a store that was restored under another owner.

Nothing of the old store is changed or given to anybody: users who can write in it could move files
of others into a tree that changes hands. A new store takes its place by one
rename, with the wheels whose bytes have their digest. The old one is set aside as a whole.
"""

from __future__ import annotations

import os
import secrets
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import takewhile
from pathlib import Path

from packaging.utils import InvalidWheelFilename, parse_wheel_filename
from packaging.version import InvalidVersion

from pip_sharedcache import fs, trust
from pip_sharedcache import store as stores
from pip_sharedcache.errors import (
    DamagedEntry,
    NoRoom,
    NotPublished,
    StoreUnusable,
    UnusualWheel,
    reason,
)
from pip_sharedcache.fs import Directory
from pip_sharedcache.maintenance.banning import own_bans
from pip_sharedcache.maintenance.entries import read_entries
from pip_sharedcache.maintenance.stores import Made, make_store
from pip_sharedcache.model import Entry, Identity, identity_of
from pip_sharedcache.store import AREAS, STORE_JSON, WHEELS, Store, symlink_registry
from pip_sharedcache.store.homes import TAG_NAME
from pip_sharedcache.store.store_json import ALWAYS, StoreJson
from pip_sharedcache.trust.paths import replaceable_at

#: A wheel of a store: its entries, of one publisher or several.
Wheel = tuple[Entry, ...]


@dataclass(frozen=True)
class Orphan:
    """A store that is to be adopted.

    ``store``: the store, as it is.
    ``identity``: the device and inode of its directory.
    ``wheels``: the wheels in it.
    ``underived``: the number of its other entries (bytecode, build records, resolutions).
    ``problems``: lines for the paths that cannot be read.
    """

    store: Store
    identity: Identity
    wheels: tuple[Wheel, ...]
    underived: int
    problems: tuple[str, ...]


@dataclass(frozen=True)
class Adopted:
    """The result of an adoption.

    ``made``: the new store, at the path of the old one.
    ``aside``: the path of the old store now.
    ``taken``: the wheels in the new store.
    ``left``: the wheels that are not, each with the reason.
    """

    made: Made
    aside: Path
    taken: tuple[Entry, ...]
    left: tuple[tuple[Entry, str], ...]


def look(path: Path) -> Orphan:
    """Return the store at ``path`` that ``adopt`` can replace; raise StoreUnusable if it cannot."""
    if path.is_symlink():
        _refuse(path, "it is a symlink", f"name the store: {os.path.realpath(path)}")
    if os.path.ismount(path):
        _refuse(path, "it is a mount point", "keep the store in a directory below it")
    if trust.user_id() == 0 and (above := replaceable_at(path.parent)) is not None:
        _refuse(path, f"others can rename files in {above}", "move it to a directory of root first")
    try:
        identity = identity_of(os.lstat(path))
        store = _opened(path)
        linked = symlink_registry.linked(store, [])
        places = list(dict.fromkeys(one.place for some in linked.values() for one in some))
        if places:
            more = f" and {len(places) - 1} more places" if len(places) > 1 else ""
            _refuse(path, f"symlinks in {places[0]}{more} lead into it", "reinstall them as copies")
        contents = read_entries(store, areas=AREAS, uses=False)
    except OSError as error:
        why = f"{path} is not adopted: {reason(error)}"
        raise StoreUnusable(why, path=str(path), errno=error.errno) from error
    wheels: dict[tuple[str, str], list[Entry]] = {}
    for item in contents.of_area(WHEELS):
        wheels.setdefault((item.title, item.digest), []).append(item.entry)
    return Orphan(
        store,
        identity,
        tuple(tuple(wheels[key]) for key in sorted(wheels)),
        len(contents.items) - len(contents.of_area(WHEELS)),
        tuple(contents.problems()),
    )


def _opened(path: Path) -> Store:
    """Open the store ``path`` of another user. Raises StoreUnusable, OSError."""
    store = Store.open(path)
    if not {STORE_JSON, TAG_NAME, WHEELS} & set(os.listdir(path)):
        _refuse(path, "it is no store", "name the directory of a store")
    if os.path.lexists(path / STORE_JSON):
        with Directory.open(path) as top:
            StoreJson.parse(path, top.read(STORE_JSON)[0], required=ALWAYS)
    if trust.OWNERS_MEAN_SOMETHING and store.owner == trust.user_id():
        _refuse(path, "it is yours already", "pip-sharedcache store verify finds damage in it")
    return store


def adopt(
    orphan: Orphan,
    group: str = "",
    *,
    builds: bool = False,
    packed: bool | None = None,
    track: Callable[[Iterator[Wheel]], Iterable[Wheel]] = iter,
) -> Adopted:
    """Let a new store of this user take the place of ``orphan``, with the same wheels.

    ``group``, ``builds``, ``packed``: of the new store, as for make_store. ``track`` receives each
    wheel. The new store has the bans of the old one. Raise UsageError, FileError, StoreUnusable.
    """
    path = orphan.store.path
    new = path.with_name(f".adopt-{path.name}-{secrets.token_hex(4)}")
    made = make_store(new, group, builds=builds, packed=packed)
    with _removed_after_failure(new):
        try:
            if (bans := own_bans(orphan.store)).listed:
                with Directory.open(new) as top:
                    bans.write(top)
            store = Store.open(new)
            taken, left = [], []
            for entries in track(iter(orphan.wheels)):
                whys = list(takewhile(bool, (_take(store, entry) for entry in entries)))
                if len(whys) < len(entries):
                    taken.append(entries[len(whys)])
                else:
                    left.append((entries[0], whys[0]))
            aside = _swap(orphan, new)
        except NoRoom as error:
            why = f"{path} is not adopted: {error}"
            raise StoreUnusable(why, "free some space, then run the same command") from error
        except OSError as error:
            why = f"{path} is not adopted: {reason(error)}"
            raise StoreUnusable(why, path=str(path), errno=error.errno) from error
    return Adopted(_moved(made, path), aside, tuple(taken), tuple(left))


def _refuse(path: Path, why: str, hint: str) -> None:
    raise StoreUnusable(f"{path} is not adopted: {why}", hint, path=str(path))


@contextmanager
def _removed_after_failure(new: Path) -> Iterator[None]:
    identity = identity_of(os.lstat(new))
    try:
        yield
    except BaseException:
        # After the exchange, the old store has this name for a moment.
        if os.path.lexists(new) and identity_of(os.lstat(new)) == identity:
            fs.remove_tree(new)
        raise


def _take(store: Store, entry: Entry) -> str:
    """Publish the wheel of ``entry`` in ``store``, from a checked copy; return why not, or "".

    Raises NoRoom if the file system of ``store`` is full.
    """
    filename, digest = entry.manifest.filename, entry.manifest.digest
    try:
        parse_wheel_filename(filename)
        with fs.temporary_directory() as directory:
            copy = directory / filename
            if not stores.copy_wheel(entry, copy):
                return "its bytes do not match its digest"
            stores.publish(store, copy, filename, digest)
    except OSError as error:
        return reason(error)
    except NoRoom:
        raise
    except (
        InvalidWheelFilename,
        InvalidVersion,
        DamagedEntry,
        UnusualWheel,
        NotPublished,
    ) as error:
        return str(error)
    return ""


def _swap(orphan: Orphan, new: Path) -> Path:
    """Put ``new`` in the place of ``orphan``; return where the old store is. Raises OSError."""
    path = orphan.store.path
    aside = path.with_name(f"{path.name}.old-{secrets.token_hex(4)}")
    if identity_of(os.lstat(path)) != orphan.identity:
        _refuse(path, "it was replaced meanwhile", "run the same command again")
    fs.put_in_place(new, path, aside)
    return aside


def _moved(made: Made, path: Path) -> Made:
    return Made(Store.open(path), made.replaceable_in, made.distrusted, made.refused)
