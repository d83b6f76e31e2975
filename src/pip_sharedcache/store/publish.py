"""Publication of staged entries: they are made durable, then visible by one rename.

A lost race against another publisher is not an error.
"""

from __future__ import annotations

import contextlib
import errno
import os
import secrets
import stat
from collections.abc import Container, Iterable, Sequence
from dataclasses import replace
from pathlib import Path

from pip_sharedcache import fs, trust
from pip_sharedcache.errors import NotPublished, reason
from pip_sharedcache.model import Digest, Entry, Identity, identity_of
from pip_sharedcache.store.entry_reading import MANIFEST, is_damaged
from pip_sharedcache.store.filling import WheelSource
from pip_sharedcache.store.forms import DIRECTORY
from pip_sharedcache.store.layout import DEAD, WHEELS, Store
from pip_sharedcache.store.packs import PACK
from pip_sharedcache.store.staging import Staged, stage_wheel
from pip_sharedcache.store.stale_staging import clear


def make_visible(
    store: Store, staged: Sequence[Staged], durable: Container[Identity] = ()
) -> list[Entry | NotPublished | None]:
    """Make ``staged`` durable, then make each visible by one rename, in this order.

    ``durable``: identities of those that are durable already. Returns for each: the entry that is
    visible now (another publisher's, if that one was faster), or the reason for a failure, or None
    for bytecode whose wheel lost that race.
    """
    try:
        make_durable(store, [one for one in staged if one.entry.identity not in durable])
        outcomes: list[Entry | NotPublished | None] = []
        lost: set[Identity] = set()
        for one in staged:
            # Bytecode of a wheel that lost names the time of sources that no user installs, and
            # would take the place of the bytecode of the faster publisher.
            outcome = None if one.source in lost else _make_visible(store, one)
            if not isinstance(outcome, Entry) or outcome.identity != one.entry.identity:
                lost.add(one.entry.identity)
            outcomes.append(outcome)
        return outcomes
    except NotPublished as failure:
        return [failure for _ in staged]
    finally:
        discard(staged)


def make_durable(store: Store, staged: Sequence[Staged]) -> None:
    """Flush all files of ``staged`` to the disk. Raises NotPublished."""
    try:
        fs.synchronise(store.path, (path for one in staged for path in _files_of(one.entry)))
    except OSError as error:
        why = f"{store.path} cannot keep what was published: {reason(error)}"
        raise NotPublished(why) from error


def discard(staged: Iterable[Staged]) -> None:
    """Delete the staged entries that are not visible. Never raises."""
    for one in staged:
        clear(one.entry.path)


def publish(store: Store, path: Path, filename: str, digest: Digest) -> Entry:
    """Stage and publish one wheel; return its visible entry. Raises NotPublished, UnusualWheel."""
    (outcome,) = make_visible(store, [stage_wheel(store, WheelSource(path, filename, digest))])
    if isinstance(outcome, NotPublished):
        raise outcome
    assert outcome is not None  # only bytecode has None
    return outcome


def _make_visible(store: Store, staged: Staged) -> Entry | NotPublished:
    staging = staged.entry.path
    try:
        names = (staged.name, f"{staged.name}.{trust.user_id()}")
        # Replace a damaged entry of this user even if another entry is sound: other users would
        # still find the damaged one.
        heals = [name for name in names if _is_own_damage(staging.parent / name, staged)]
        for name in dict.fromkeys([*heals, *names]):
            if not heals and (usable := _winner(staged)) is not None:
                return usable
            target = staging.parent / name
            if _rename(staging, target, staged):
                status = os.lstat(target)
                if identity_of(status) != staged.entry.identity:
                    break  # the shard's owner has exchanged it
                return replace(staged.entry, path=target)
        return _winner(staged) or _taken(store, staged)
    except OSError as error:
        return NotPublished(f"{store.path} cannot take {staged.what}: {reason(error)}")


def _taken(store: Store, staged: Staged) -> NotPublished:
    """Return a NotPublished with the entries that took both names, their owners and the remedy."""
    there: list[tuple[Path, str]] = []
    for name in (staged.name, f"{staged.name}.{trust.user_id()}"):
        path = staged.entry.path.with_name(name)
        with contextlib.suppress(OSError):  # deleted meanwhile
            there.append((path, trust.user_name(path.lstat().st_uid)))
    by = ", ".join(f"{path} of {who}" for path, who in there)
    # Not the shard's owner: in a sticky directory, the owner can rename, but not empty, entries.
    who = " or ".join(dict.fromkeys([*(who for _, who in there), "root"]))
    return NotPublished(
        f"{store.path} cannot take {staged.what}: its place is taken{by and f' by {by}'}",
        f"{who} can remove that (rm -r)" if there else "try again: nothing is there any more",
    )


def _winner(staged: Staged) -> Entry | None:
    """Return the visible entry of a faster publisher if it is usable, or None."""
    usable = staged.find_usable()
    return None if usable is None or _is_useless(usable.path, staged) else usable


def replace_entry(
    store: Store, staged: Staged, target: Path, owner: int | None = None
) -> tuple[Entry, Path]:
    """Make ``staged`` durable, then visible in place of the entry ``target``, which is retired.

    ``owner``: the uid that is to own it, where root made it for its publisher. Symlinks into
    ``target`` lead to the new entry afterwards. Returns this, and the path to which the old one was
    retired. Raises OSError.
    """
    try:
        fs.synchronise(store.path, _files_of(staged.entry))
        if owner is not None and owner != trust.user_id():
            # Last: the owner may change what is theirs, so nothing in it is opened after this.
            fs.give_tree(staged.entry.path, staged.entry.identity, owner)
        dead = put_in_place(staged.entry.path, target)
        return replace(staged.entry, path=target), dead
    finally:
        discard([staged])


def _rename(staging: Path, target: Path, staged: Staged) -> bool:
    """Rename ``staging`` to ``target``; return False if the name is taken. Raises OSError."""
    # Check first: rename(2) would replace an empty directory.
    if os.path.lexists(target):
        return _is_ours_and_useless(target, staged) and _replace(staging, target)
    try:
        os.rename(staging, target)
        return True
    except OSError:
        # ENOTEMPTY or EEXIST; EPERM across owners; EACCES and ENOENT on some network file
        # systems: another publisher was faster, unless ``target`` does not exist.
        if not os.path.lexists(target):
            raise
        return False


def _is_own_damage(target: Path, staged: Staged) -> bool:
    """Return whether ``target`` is an entry of this user that the run found damaged."""
    try:
        status = os.lstat(target)
    except OSError:
        return False
    own = status.st_uid == trust.user_id()
    return own and identity_of(status) in staged.damaged


def _is_ours_and_useless(target: Path, staged: Staged) -> bool:
    """Return whether a useless entry of this user has the name ``target``.

    Useless means damaged, or bytecode that fits no source any more. Anything else than a directory
    with the mode of an entry, or with a part of one, is left in place, and the other name is used.
    """
    status = os.lstat(target)
    if status.st_uid != trust.user_id() or not _is_useless(target, staged):
        return False
    if not stat.S_ISDIR(status.st_mode):
        return False
    # The name of the wheel stays where a pack was deleted, which is all else.
    names = (PACK, *filter(None, [staged.entry.manifest.filename]))
    return (
        stat.S_IMODE(status.st_mode) == DIRECTORY
        or os.path.isdir(target / "files")
        or any(os.path.lexists(target / name) for name in names)
    )


def _replace(staging: Path, target: Path) -> bool:
    try:
        dead = put_in_place(staging, target)
    except OSError as error:
        if error.errno != errno.EXDEV:
            raise
        return False  # overlayfs cannot rename a directory of a lower layer
    clear(dead)
    return True


def put_in_place(staging: Path, target: Path) -> Path:
    """Rename ``staging`` to ``target``; return the path to which the old entry was retired.

    ``staging``: a staged entry, or a retired one that is restored. Raises OSError.
    """
    dead = target.with_name(f"{DEAD}{target.name}-{secrets.token_hex(4)}")
    fs.put_in_place(staging, target, dead)
    return dead


def _is_useless(target: Path, staged: Staged) -> bool:
    status = os.lstat(target)
    if identity_of(status) in staged.damaged:
        return True
    if staged.area == WHEELS:
        return is_damaged(target, staged.entry.manifest.digest)
    return staged.find_usable() is None


def _files_of(entry: Entry) -> list[str]:
    own = [str(entry.wheel)] if entry.manifest.size else []
    if entry.manifest.packed:
        return [str(entry.path / PACK), *own]
    unpacked = [f"{entry.path}/files/{file.path}" for file in entry.manifest.files]
    return [str(entry.path / MANIFEST), *own, *unpacked]
