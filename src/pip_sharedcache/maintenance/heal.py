"""The repair of damaged entries.

A damaged entry is made anew from its own wheel, or retired. An entry to which symlinks lead keeps
its place all the time: without it, the environments with these symlinks would break.
"""

from __future__ import annotations

import errno
import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import NamedTuple

from pip_sharedcache import fs, trust
from pip_sharedcache.errors import (
    DamagedEntry,
    NotPublished,
    SharedCacheError,
    StoreUnusable,
    UnusualWheel,
    reason,
)
from pip_sharedcache.fs import Directory
from pip_sharedcache.maintenance.gc import retire_path
from pip_sharedcache.maintenance.verdict import Verdict
from pip_sharedcache.maintenance.verify import verify
from pip_sharedcache.model import Digest, Entry, identity_of
from pip_sharedcache.store import StoredEntry, symlink_registry
from pip_sharedcache.store.entry_reading import wheel_name
from pip_sharedcache.store.filling import WheelSource
from pip_sharedcache.store.forms import is_tree
from pip_sharedcache.store.layout import WHEELS, Store
from pip_sharedcache.store.lookup import find
from pip_sharedcache.store.publish import discard, make_visible, replace_entry
from pip_sharedcache.store.staging import stage_wheel
from pip_sharedcache.store.usage_marks import ENTRY_NAME
from pip_sharedcache.store.wheel_copies import copy_wheel

_LOWER_LAYER = (
    "cannot change it from here: it is in a lower layer of an overlay (for example, the image of a "
    "container); hint: repair it where that layer is made"
)


@dataclass(frozen=True)
class Check:
    """The result for one entry that was checked.

    ``verdict``: the verdict on the entry.
    ``healing``: the result of the repair; None if the entry is sound, or no repair was asked for.
    """

    verdict: Verdict
    healing: Healing | None = None


def check(
    store: Store, items: Sequence[StoredEntry], *, fix: bool = False
) -> Iterator[Check | None]:
    """Verify ``items`` of ``store``, and heal the damaged ones if ``fix`` is set.

    An entry of which something could not be read is healed only from its own sound wheel.

    Yield the result for each item, in order; None for an entry that vanished or was replaced
    meanwhile. Raise StoreUnusable if this process lacks resources (descriptors, memory).
    """
    checked = 0
    try:
        for verdict in verify(items):
            if verdict is None:
                yield None
                continue
            checked += 1
            faulty = verdict.damage or verdict.unread
            yield Check(verdict, heal(store, verdict) if fix and faulty else None)
    except OSError as error:
        before = f"{checked:,} {'entry was' if checked == 1 else 'entries were'} checked before"
        raise StoreUnusable(
            f"Cannot verify the store: {store.path}: {reason(error)}; {before}"
        ) from error


class Healing(NamedTuple):
    """The result of the repair of a damaged entry.

    ``done``: whether the place of the entry now has no damaged entry.
    ``what``: the action, or the reason why there was none, in words.
    """

    done: bool
    what: str


_REPLACED = Healing(True, "another process has replaced it")

#: The symlinks to an entry.
Links = Sequence[symlink_registry.LinkHolder]


def heal(store: Store, verdict: Verdict) -> Healing:
    """Make the damaged entry of ``verdict`` anew from its own wheel, or else retire it.

    An entry to which symlinks lead is not retired. Only root, the owner of the entry or the owner
    of its shard may heal it. Installations that hold the entry open go on with it undisturbed.
    """
    item = verdict.item
    who = trust.user_name(item.publisher)
    try:
        above = os.lstat(item.path.parent).st_uid
        if trust.user_id() not in (0, item.publisher, above):
            may = trust.owner_or_root(item.publisher)
            return Healing(
                False, f"not repaired: belongs to {who}; hint: {may} can run the same command"
            )
        if verdict.unread and (item.area != WHEELS or not verdict.wheel):
            return Healing(False, "not repaired: some of it cannot be read now")
        if item.area != WHEELS:
            # Bytecode needs no replacement: the interpreter ignores and replaces a broken symlink.
            return _retire(verdict)
        return _make_anew(store, verdict, symlink_registry.linked(store).get(item.path.name, []))
    except OSError as error:
        if error.errno == errno.EXDEV:
            return Healing(False, _LOWER_LAYER + _beside(store, verdict))
        return Healing(False, f"cannot repair it: {reason(error)}")
    except SharedCacheError as error:
        return Healing(False, f"cannot repair it: {error}")


def _retire(verdict: Verdict) -> Healing:
    if _is_replaced(verdict):
        return _REPLACED
    retire_path(verdict.item.path)
    return Healing(True, "retired; the next installation that needs it publishes a sound one")


def _is_replaced(verdict: Verdict) -> bool:
    status = os.lstat(verdict.item.path)
    return verdict.identity not in (None, identity_of(status))


def _make_anew(store: Store, verdict: Verdict, links: Links) -> Healing:
    """Make the entry anew in its place, from its own wheel or a sound one beside it.

    If neither is sound, retire the entry, unless symlinks lead to it (``links``: the owner and
    place of each).
    """
    item, digest = verdict.item, Digest(verdict.item.digest)
    without = {verdict.identity} if verdict.identity is not None else set()
    plain = item.path.name == digest
    if not (links or plain) and find(store, digest, item.title, without).entry is not None:
        return _retire(verdict)  # not needed: runs find the sound entry beside it
    whom = _whom(links)
    packed = False if links or is_tree(item.path) else None
    with fs.temporary_directory() as temporary:
        for entry in _sources(verdict):
            copy = temporary / entry.manifest.filename
            if not copy_wheel(entry, copy):
                continue
            try:
                source = WheelSource(copy, copy.name, digest)
                staged = stage_wheel(store, source, packed=packed)
            except (NotPublished, UnusualWheel) as error:
                if links and isinstance(error, NotPublished):
                    return Healing(False, f"kept, because {whom} lead to it: {error}")
                if links or entry.path != item.path:
                    continue  # any user may put such a wheel beside an entry
                _retire(verdict)
                return Healing(True, f"retired, but not made anew: {error}")
            if _is_replaced(verdict):
                discard([staged])
                return _REPLACED
            new, _ = replace_entry(store, staged, item.path)
            what = "its own wheel" if entry.path == item.path else f"the wheel in {entry.path}"
            what += f", also for {whom}" if links else ""
            if new.publisher != item.publisher:
                what += f", now of {trust.user_name(new.publisher)}"
            return Healing(True, f"made anew from {what}")
    if links:
        return Healing(
            False,
            f"kept, because {whom} lead to it, and its wheel is not sound; hint: reinstall there "
            "(pip install --force-reinstall with PIP_SHAREDCACHE_LINK_MODE=copy), then run the "
            "same command",
        )
    if verdict.wheel:
        return Healing(False, "cannot repair it: its wheel changes while it is read")
    return _retire(verdict)


def _whom(links: Links) -> str:
    """Return words for the first of ``links``, and the number of the others; "" for none."""
    if not links:
        return ""
    (user, where, _), *others = links
    more = f" and {len(others)} more places" if others else ""
    return f"symlinks of {trust.user_name(user)} in {where}{more}"


def _own(verdict: Verdict) -> Entry:
    item = verdict.item
    assert verdict.identity is not None
    return Entry.without_files(item.path, item.publisher, verdict.identity, verdict.wheel)


def _sources(verdict: Verdict) -> Iterator[Entry]:
    """Yield entries that may have a wheel of the digest: the entry itself, then others."""
    if verdict.wheel:
        yield _own(verdict)
    digest = Digest(verdict.item.digest)
    with Directory.open(verdict.item.path.parent) as shard:
        for name in sorted(shard.names()):
            beside = ENTRY_NAME.fullmatch(name) and name.startswith(digest)
            if not beside or name == verdict.item.path.name:
                continue
            try:
                with shard.subdirectory(name) as held:
                    status, filename = held.status(), wheel_name(held)
            except OSError:
                continue  # no entry, or this user may not read it
            # Only the same name is useful: pip reads the build number from the file name.
            known = verdict.item.title if verdict.item.title.endswith(".whl") else filename
            if filename and filename == known:
                path, identity = shard.path / name, identity_of(status)
                yield Entry.without_files(path, status.st_uid, identity, filename)


def _beside(store: Store, verdict: Verdict) -> str:
    """Publish a sound entry beside the one that cannot be moved.

    Return the result, in words that follow a sentence.
    """
    if not verdict.wheel or verdict.identity is None:
        return "; the next installation that needs it publishes a sound one beside it"
    try:
        with fs.temporary_directory() as temporary:
            copy, digest = temporary / verdict.wheel, Digest(verdict.item.digest)
            if not copy_wheel(_own(verdict), copy):
                raise DamagedEntry("its wheel changes while it is read")
            source = WheelSource(copy, verdict.wheel, digest)
            staged = stage_wheel(store, source, {verdict.identity})
            (new,) = make_visible(store, [staged])
            if isinstance(new, NotPublished):
                raise new
    except (OSError, DamagedEntry, NotPublished, UnusualWheel) as error:
        what = reason(error) if isinstance(error, OSError) else error
        return f"; no sound one was published beside it: {what}"
    assert new is not None  # None is only for bytecode
    return f"; until then, runs use the sound one beside it, {new.path.name}"
