"""Bans: the owner of a store withdraws wheels that turned out malicious or broken.

The list is written first, so that no run that begins afterwards takes or publishes such a wheel.
Then the entries of all publishers are retired, also those in use. A retired entry stays
whole for an hour, for installations that have it open. Where the file system is full, the entries
are retired first, and deleted at once if the list needs their space.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from packaging.specifiers import InvalidSpecifier, SpecifierSet
from packaging.utils import canonicalize_name
from packaging.version import InvalidVersion, Version

from pip_sharedcache import fs, trust
from pip_sharedcache.errors import FileError, StoreUnusable, UsageError, reason
from pip_sharedcache.fs import Directory
from pip_sharedcache.maintenance.entries import Track, read_entries
from pip_sharedcache.maintenance.gc import (
    Refusal,
    delete_retired,
    retire_build_records,
    retire_path,
)
from pip_sharedcache.maintenance.selectors import WITH_VERSIONS, Selector, bare_digest
from pip_sharedcache.model import as_digest
from pip_sharedcache.store import StoredEntry, run_log, symlink_registry, usage_marks
from pip_sharedcache.store.bans import BANS_JSON, Ban, Bans, new_ban
from pip_sharedcache.store.layout import WHEELS, Store
from pip_sharedcache.store.symlink_registry import LinkHolder


@dataclass(frozen=True)
class Banned:
    """The result of a ban.

    ``bans``: the bans, as they are in the list now.
    ``retired``: the entries that were retired.
    ``linked``: the users and places whose symlinks led into these entries.
    ``refused``: entries that the system refused to retire.
    ``unread``: paths that could not be read, each with the reason.
    """

    bans: tuple[Ban, ...]
    retired: tuple[StoredEntry, ...]
    linked: tuple[LinkHolder, ...]
    refused: tuple[Refusal, ...]
    unread: tuple[tuple[Path, str], ...]


def require_owner(store: Store, what: str) -> None:
    """Raise StoreUnusable unless this user is root or the owner of ``store``.

    ``what``: what the user asked for, in words that follow "cannot".
    """
    if trust.OWNERS_MEAN_SOMETHING and trust.user_id() not in (0, store.owner):
        raise StoreUnusable(
            f"Cannot {what}: {store.path} belongs to {trust.user_name(store.owner)}",
            f"{trust.owner_or_root(store.owner)} can run the same command",
        )


def own_bans(store: Store) -> Bans:
    """Return the bans in the list of ``store`` itself. Raise StoreUnusable, OSError."""
    with Directory.open(store.path) as top:
        return Bans.read(store.path, top)


def ban(store: Store, words: Sequence[str], because: str = "", *, track: Track = iter) -> Banned:
    """Ban what ``words`` name in ``store``, and retire it at once.

    A word is a digest, its beginning if the store has one such wheel, or name==version. Raise
    UsageError for another word, StoreUnusable if this user is not the owner, FileError, OSError.
    """
    require_owner(store, "ban a wheel")
    now = usage_marks.now(store)
    contents = read_entries(store, track=track)
    try:
        bans = [_ban_of(store, contents.of_area(WHEELS), word, because) for word in words]
    except ValueError as error:
        raise UsageError(f"Cannot ban: {error}") from error
    listed = own_bans(store).with_bans(bans)
    full = _no_space_for(store, listed)
    wanted = Bans(tuple(bans))
    digests = {
        item.digest
        for item in contents.of_area(WHEELS)
        if wanted.find(item.digest, item.title) is not None
    } | {one.digest for one in bans}
    doomed = [item for item in contents.items if item.digest in digests]
    linked: dict[str, list[LinkHolder]] = {}
    with suppress(OSError):  # the ban must not wait for records of other users
        linked = symlink_registry.linked(store, [])
    retired, refused, dead = [], [], []
    for item in doomed:
        try:
            dead.append((retire_path(item.path), item.publisher))
            retired.append(item)
        except FileNotFoundError:
            continue
        except OSError as error:
            refused.append(Refusal(item.path, item.publisher, reason(error)))
    if full is not None:
        _write_after_deleting(store, listed, dead, now)
    retire_build_records(store, digests.__contains__, now)
    if retired:
        size = sum(item.size for item in retired)
        with suppress(OSError):  # the disk may be full: the ban must not fail for that
            run_log.append_collection(store, run_log.Collection(int(now), len(retired), size))
    broken = (one for item in retired for one in linked.get(item.path.name, ()))
    return Banned(
        tuple(bans),
        tuple(retired),
        tuple(dict.fromkeys(broken)),
        tuple(refused),
        contents.unread,
    )


def _no_space_for(store: Store, bans: Bans) -> FileError | None:
    """Write the list of ``store``; return the error if the file system is full or over quota.

    Raise FileError for all other errors.
    """
    try:
        _write(store, bans)
    except FileError as error:
        if error.errno not in fs.NO_SPACE_ERRORS:
            raise
        return error
    return None


def _write_after_deleting(
    store: Store, bans: Bans, dead: Sequence[tuple[Path, int]], now: float
) -> None:
    """Write the list of ``store``, whose file system is full, after deletions of retired entries.

    ``dead``: the entries that this ban has just retired, each with its publisher. They are deleted
    only if the entries that were retired an hour ago are not enough. Raise FileError.
    """
    delete_retired(store, now)
    if _no_space_for(store, bans) is None:
        return
    _delete_now(dead)
    if (error := _no_space_for(store, bans)) is None:
        return
    number = f"{len(dead):,} {'entry' if len(dead) == 1 else 'entries'}"
    retired = f"; {number} retired, which the next installation can publish again" if dead else ""
    raise FileError(
        f"Nothing is banned: {error.message}{retired}",
        f"free some space in {store.path}, then run the same command",
        path=error.path,
        errno=error.errno,
    )


def _delete_now(dead: Iterable[tuple[Path, int]]) -> None:
    """Delete the retired entries ``dead``; installations that have one open install without it."""
    for path, publisher in dead:
        if trust.user_id() in (0, publisher):
            with suppress(OSError):
                fs.remove_tree(path)


def _ban_of(store: Store, wheels: Iterable[StoredEntry], word: str, because: str) -> Ban:
    """Return the ban that ``word`` asks for. Raise UsageError, ValueError."""
    exact = WITH_VERSIONS.fullmatch(word.strip())
    if exact is not None:
        version: dict[str, Any] = {**_version_of(word, exact[1], exact[2])}
        same = Bans((Ban(**version),))
        had = {one.digest: one.title for one in wheels if same.find(one.digest, one.title)}
        return new_ban(store.path, **version, because=because, wheels=tuple(had.items()))
    selector = Selector(word)
    named = {item.digest: item.title for item in wheels if selector.selects_digest(item.digest)}
    digest = as_digest(bare_digest(word))
    if digest is None and len(named) == 1:
        digest = as_digest(next(iter(named)))
    if digest is None:
        found = f"{len(named)} wheels have such a digest" if named else "no wheel has such a digest"
        if not selector.is_digest:
            found = "it is neither a digest nor NAME==VERSION"
        raise UsageError(
            f"Cannot ban {word}: {found}", "name a whole digest, or NAME==VERSION with one version"
        )
    return new_ban(store.path, digest=digest, title=named.get(digest, ""), because=because)


def _version_of(word: str, name: str, versions: str) -> dict[str, str]:
    hint = "name one version: demo==1.0"
    try:
        (one,) = SpecifierSet(versions)
        if one.operator != "==" or "*" in name:
            raise ValueError
        version = Version(one.version)
    except (ValueError, InvalidSpecifier, InvalidVersion) as error:
        raise UsageError(f"Cannot ban {word}: this is not one version", hint) from error
    return {"name": canonicalize_name(name), "version": str(version)}


def lift(store: Store, words: Sequence[str]) -> tuple[tuple[Ban, ...], tuple[str, ...]]:
    """Lift the bans that ``words`` name; return them, and the words that name none.

    Raise StoreUnusable if this user is not the owner, FileError, OSError.
    """
    require_owner(store, "lift a ban")
    bans = own_bans(store)
    lifted: dict[Ban, None] = {}
    missing = []
    for word in words:
        found = [one for one in bans.listed if _names(one, word)]
        lifted.update(dict.fromkeys(found))
        missing += [] if found else [word]
    if lifted:
        _write(store, bans.without(lifted))
    return tuple(lifted), tuple(missing)


def _names(one: Ban, word: str) -> bool:
    if one.digest:
        return Selector(word).selects_digest(one.digest)
    exact = WITH_VERSIONS.fullmatch(word.strip())
    if exact is None:
        return False
    try:
        named = _version_of(word, exact[1], exact[2])
        return one.is_same(Ban(name=named["name"], version=named["version"]))
    except UsageError:
        return False


def _write(store: Store, bans: Bans) -> None:
    path = store.path / BANS_JSON
    with FileError.where_not("changed", path), Directory.open(store.path) as top:
        if bans.listed:
            bans.write(top)
        else:
            top.remove(BANS_JSON)  # also possible where the file system is full
