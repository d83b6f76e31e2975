"""The layout of a store on disk: its directories and their modes, store.json, opening, creation."""

from __future__ import annotations

import contextlib
import errno
import os
import shlex
import stat
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path

from pip_sharedcache import fs, trust
from pip_sharedcache.errors import StoreUnusable, UsageError, reason
from pip_sharedcache.fs import Directory
from pip_sharedcache.model import Digest, Policy
from pip_sharedcache.store.bans import BANS_JSON, NO_BANS, Bans
from pip_sharedcache.store.creation import Creation, refuse_place, refuse_stranger
from pip_sharedcache.store.homes import TAG, TAG_NAME, no_store, open_own, refuse_unmounted
from pip_sharedcache.store.mapping import OwnerMapped, open_or_make, refuse_mapped_owner, taken
from pip_sharedcache.store.store_json import STORE_JSON, StoreJson, layout_name
from pip_sharedcache.trust import Trust, mounts

WHEELS = "wheels"
BYTECODE = "bytecode"
BUILDS = "builds"
RESOLUTIONS = "resolutions"
AREAS = (WHEELS, BYTECODE, BUILDS, RESOLUTIONS)
#: Signatures of derived data: files, no entries.
SIGNATURES = "signatures"
USE = "use"
#: Directories that stores of earlier versions lack, and need for nothing else.
ADDED = (RESOLUTIONS, SIGNATURES)
#: Prefix of the names of retired entries.
DEAD = ".dead-"
SHARDS = tuple(f"{number:02x}" for number in range(256))

_OF_FILE_SYSTEMS = ("lost+found", ".snapshot", ".snapshots", ".zfs")
_PRIVATE_SHARD, _SHARED_SHARD = 0o755, 0o3775


class MissingDirectory(OSError):
    """A missing directory of the store that the system does not let this process make."""


@dataclass(frozen=True, eq=False)
class Store:
    """One store, opened for reading: what is on disk, and what this user may do and trust there.

    A later write can still fail. Holds no descriptor between calls. Every lookup and publication
    needs both halves, so they are one value. It does not change: ``narrowed`` and
    ``with_replaceable_path`` return another value, with less trust.

    ``path``: the directory of the store.
    ``owner``: the uid that owns it.
    ``group``: the name of the group that shares it, or "".
    ``trusted``: the publishers that its owner lists.
    ``shares_builds``: whether its owner shares the wheels that users build.
    ``packed``: whether new entries are packed; all entries can be read.
    ``may_have_packs``: whether versions that do not know packs refuse the store.
    ``trust``: the publishers that this process trusts there.
    ``ignores_json``: whether its store.json does not count, since others could have changed it.
    ``policy``: the use that a run makes of it.
    ``bans``: the wheels that nothing serves or publishes; in a run, those of all its stores.
    ``replaceable_by``: why the path may lead to another store later; "" if it cannot.
    ``replaceable_at``: the directory above it where others can replace the path, or None.
    ``replacing_groups``: the gids whose members can do so; None if others can too.
    """

    path: Path
    owner: int
    group: str
    trusted: tuple[str, ...]
    trust: Trust
    shares_builds: bool = False
    packed: bool = False
    may_have_packs: bool = False
    ignores_json: bool = False
    policy: Policy = Policy.PUBLISH
    bans: Bans = NO_BANS
    replaceable_by: str = ""
    replaceable_at: Path | None = None
    replacing_groups: frozenset[int] | None = None

    def narrowed(self, named: tuple[str, ...], why: str) -> Store:
        """Return this store, with trust only in root, this user, the owner and some of ``named``.

        These are the ones that the owner trusts. ``why``: as in Trust.narrowed.
        """
        narrowed = replace(self, trust=self.trust.narrowed(self.owner, named, why))
        return narrowed._distrusting_replacers()

    def with_replaceable_path(self, where: Path, groups: frozenset[int] | None) -> Store:
        """Return this store, where others can put another one by a change of ``where``.

        ``where``: a directory above the store. ``groups``: the gids whose members can do so; None
        if others can too. If all these users are trusted, nothing else changes. Otherwise
        ``replaceable_by`` says why, and an owner other than root and this user loses the trust that
        ownership gives.
        """
        store = replace(self, replaceable_at=where, replacing_groups=groups)
        return store._distrusting_replacers()

    def _distrusting_replacers(self) -> Store:
        groups = self.replacing_groups
        if self.replaceable_at is None:
            return self
        if groups is not None and self.trust.trusts_members(groups):
            return self
        why = f"others may exchange what lies below {self.replaceable_at}"
        less = self.trust
        if self.owner not in (0, trust.user_id()):
            by = " by root" if trust.user_id() == 0 else ""
            less = less.without_owner(f"is not trusted{by} where {why}")
        return replace(self, replaceable_by=why, trust=less)

    @classmethod
    def open(cls, path: Path, *, private: bool = False, hidden: bool = False) -> Store:
        """Open the store at ``path``.

        A ``private`` store is made if it is missing, and refused if another user owns it. The same
        holds for a ``hidden`` store, which is also refused if others may use it. Raises
        StoreUnusable, with one line that names the path.
        """
        try:
            own = private or hidden
            mode = 0o700 if hidden else 0o755
            with open_own(path, mode, hidden) if own else Directory.open(path) as directory:
                if hidden:
                    refuse_unmounted(path, directory.names(), directory.status())
                if hidden and trust.OWNERS_MEAN_SOMETHING and directory.status().st_mode & 0o077:
                    why = f"{path} is not private: others than its owner may use it"
                    raise StoreUnusable(why, f"chmod 700 {path}")
                return cls._read(path, directory)
        except FileNotFoundError as error:
            raise no_store(path) from error
        except NotADirectoryError as error:
            raise StoreUnusable(f"{path} is not a directory") from error
        except OSError as error:
            raise StoreUnusable(f"{path} cannot be used: {reason(error)}") from error

    @classmethod
    def _read(cls, path: Path, directory: Directory) -> Store:
        names = directory.names()  # fails at once for a store with x but no r permission
        owner = directory.status().st_uid
        # Listed already: a store without bans costs no further call.
        bans = Bans.read(path, directory) if BANS_JSON in names else NO_BANS
        store = cls._read_trust(path, directory, owner, names)
        return replace(store, bans=bans) if bans is not NO_BANS else store

    @classmethod
    def _read_trust(cls, path: Path, directory: Directory, owner: int, names: list[str]) -> Store:
        own = partial(trust.is_really_ours, directory.descriptor)
        try:
            found = StoreJson.read(path, directory)
        except FileNotFoundError:
            refuse_unmounted(path, names, directory.status())
            # A store made by hand; but a wrong variable must not make root use /etc as a store.
            if WHEELS not in names and (other := not_of_a_store(names)):
                raise StoreUnusable(
                    f"{path} is no store: it holds {other}", "name an empty or new directory"
                ) from None
            publishers = Trust.in_store(owner, (), own=own)
            if TAG_NAME in names:  # pip-sharedcache made it
                missing = f"{path / STORE_JSON}, which lists publishers, is missing"
                publishers = publishers.explained(f"is not trusted there: {missing}")
            return cls(path, owner, "", (), publishers)
        if found is None:
            return cls(path, owner, "", (), Trust.in_store(owner, ()), ignores_json=True)
        shared = found.group or found.trusted
        publishers = Trust.in_store(owner, found.trusted, own=None if shared else own)
        told = (found.builds, found.packed, found.may_have_packs)
        return cls(path, owner, found.group, found.trusted, publishers, *told)

    @classmethod
    def make(
        cls, path: Path, group: str = "", *, builds: bool = False, packed: bool | None = None
    ) -> Store:
        """Make a store at ``path``, or complete one that is half made.

        ``group``: the name of the group that shares the store, or "". ``builds``: whether wheels
        that its users build are shared too. ``packed``: whether its entries are packed; None: as
        they are in a store that is there, else not. Raises UsageError if the path or the group is
        unsuitable, OSError if the system refuses.
        """
        cls.refuse_unsuitable(path, group, builds=builds, packed=packed)
        gid = trust.group_id(group) if group else None
        refuse_mapped_owner(path)
        made = Creation()
        try:
            told = StoreJson(group, (f"@{group}",) if group else (), builds, bool(packed))
            cls._make(made, path, gid, told)
        except BaseException as error:
            made.undo()
            if gid is not None and isinstance(error, OSError) and error.errno == errno.EPERM:
                refuse_stranger(path, group)
            raise
        return cls.open(path)

    @classmethod
    def refuse_unsuitable(
        cls, path: Path, group: str = "", *, builds: bool = False, packed: bool | None = None
    ) -> None:
        """Raise what ``make`` would raise, as far as that is known without a write.

        The arguments and errors are those of ``make``.
        """
        if group and trust.group_id(group) is None:
            raise UsageError(f"There is no group {group!r} on this machine")
        if path.exists() and not path.is_dir():
            raise UsageError(f"{path} is not a directory")
        if path.is_dir() and not_of_a_store(os.listdir(path)):
            raise UsageError(f"{path} holds other files already", "name an empty or new directory")
        if path.is_symlink():
            raise UsageError(
                f"{path} is a symlink", f"name {os.path.realpath(path)}, where the link leads"
            )
        if not (path / STORE_JSON).exists():
            refuse_place(path, group)
        else:
            existing = cls.open(path)
            where, by = path / STORE_JSON, existing.owner
            if existing.shares_builds != builds and builds:
                raise UsageError(
                    f"{path} is a store already, in which what is built is not shared",
                    trust.hint_for(f'set "builds": true in {where}', by, verb=""),
                )
            if packed not in (None, existing.packed):
                kind = "packed entries" if existing.packed else "trees of files"
                repack = f"pip-sharedcache store repack --layout {layout_name(not existing.packed)}"
                hint = trust.hint_for(repack, by)
                raise UsageError(f"{path} is a store with {kind} already", hint)
            if existing.group != group:
                whose = f"group {existing.group}" if existing.group else "one user"
                change = f"change group and trusted in {where}, or make a new one"
                hint = trust.hint_for(change, by, verb="")
                raise UsageError(f"{path} is a store of {whose} already", hint)

    @staticmethod
    def _make(made: Creation, path: Path, gid: int | None, told: StoreJson) -> None:
        # 0o755 whatever the umask: users who can write there could replace the store.
        fs.make_parents(path.parent, lambda missing: made.directory(missing, 0o755))
        for relative, mode in expected_directories(shared=bool(told.group)):
            made.directory(path / relative, mode, gid)
            if not relative:
                # First: doctor needs it to report what a half-made store lacks.
                made.file(path / TAG_NAME, TAG)
                packs = not mounts.is_local(path)  # of bytecode, also in a store of trees
                made.file(path / STORE_JSON, replace(told, may_have_packs=packs).to_json())

    @contextlib.contextmanager
    def opened(self, *names: str) -> Iterator[tuple[Directory, ...]]:
        """Open the directory below the store that ``names`` lead to, and all above it.

        Yields them from the deepest to the store itself, and closes them at the end. Those above
        the deepest are places (Directory.open). No link below the store is followed. Raises
        OSError.
        """
        chain = fs.retry_stale(
            lambda: self._open_chain(names, place=True), lambda: self._open_chain(names)
        )
        with contextlib.ExitStack() as stack:
            for held in reversed(chain):
                stack.enter_context(held)
            yield chain

    def _open_chain(self, names: tuple[str, ...], place: bool = False) -> tuple[Directory, ...]:
        with contextlib.ExitStack() as stack:
            chain = [stack.enter_context(Directory.open(self.path, place=place))]
            for number, name in enumerate(names, 1):
                above = place and number < len(names)
                chain.insert(0, stack.enter_context(chain[0].subdirectory(name, place=above)))
            stack.pop_all()
        return tuple(chain)

    # -- writing

    def may_publish(self) -> bool:
        """Return whether this process may write where entries go, by access(2)."""
        return os.access(self._publishing_directory(), os.W_OK | os.X_OK)

    def mapped_owner(self) -> int | None:
        """Return the uid that gets what this user publishes, as fs.mapped_owner does."""
        return fs.mapped_owner(self._publishing_directory())

    def _publishing_directory(self) -> Path:
        wheels = self.path / WHEELS
        for place in (*(wheels / shard for shard in SHARDS), wheels):
            try:
                os.stat(place)
            except (FileNotFoundError, NotADirectoryError):
                continue
            except OSError:
                # A server that does not answer takes seconds for each of them (mount option soft).
                return wheels
            return place
        return self.path

    def missing_directories(self, error: OSError | None = None) -> tuple[str, str]:
        """Return which directories that ``make`` made are missing, and the remedy.

        Both are text for a message; both are "" if no directory is missing, if this user is not in
        the group of the store, or if ``error`` has another cause. Older stores lack those of ADDED,
        and need none.
        """
        if error is not None and not isinstance(error, MissingDirectory):
            return "", ""
        gid = trust.group_id(self.group) if self.group and trust.OWNERS_MEAN_SOMETHING else None
        if gid is None or gid not in {os.getegid(), *os.getgroups()}:
            return "", ""
        paths = (self.path / relative for relative, _ in expected_directories(shared=True))
        optional = {self.path / name for name in ADDED}
        missing = [
            path
            for path in paths
            if not optional & {path, path.parent} and not os.path.lexists(path)
        ]
        if not missing:
            return "", ""
        more = f", and so are {len(missing) - 1} more directories" if len(missing) > 1 else ""
        who = " or ".join(dict.fromkeys(["root", trust.user_name(self.owner)]))
        group, path = shlex.quote(self.group), shlex.quote(str(self.path))
        return (
            f"{missing[0]} is missing{more}, and you may not make it",
            f"pip-sharedcache store init --group {group} {path} makes it again (as {who})",
        )

    def shard(self, area: str, digest: Digest) -> Directory:
        """Open the shard for ``digest`` in ``area``; make it if it is missing.

        ``area``: one of AREAS, or SIGNATURES. The caller closes it. Raises OSError: EEXIST if
        something else than a directory has its name.
        """
        return self._made(area, digest[:2])

    def own_usage_marks(self) -> Directory:
        """Open the directory of this user's usage marks; make it if missing.

        The caller closes it. Raises OSError: EEXIST if another user made something of its name.
        """

        def open_one(place: bool = False) -> Directory:
            with self._made(USE, place=place) as above:
                return open_or_make(above, str(trust.user_id()), 0o755)

        held = fs.retry_stale(lambda: open_one(place=True), open_one)
        if trust.OWNERS_MEAN_SOMETHING and held.status().st_uid != trust.user_id():
            held.close()
            raise taken(held.path)
        return held

    def _made(self, *names: str, place: bool = False) -> Directory:
        """Open the directory below the store that ``names`` lead to; make missing ones.

        They get the mode of the store's own directory. No link is followed: through one, the
        store's owner could let root make directories anywhere. ``place``: as for Directory.open.
        The caller closes the directory. Raises OSError.
        """
        held = Directory.open(self.path, place=place)
        top = stat.S_IMODE(held.status().st_mode)
        mode = (top | (stat.S_ISVTX if top & 0o022 else 0)) & 0o3777
        for name in names:
            with held as above:
                # Users with write access by the store's access list need it in the shards too.
                try:
                    held = open_or_make(above, name, mode, place=place, keep_access_lists=True)
                except OwnerMapped:
                    raise
                except PermissionError as error:
                    path = above.path / name
                    if os.path.lexists(path):
                        raise
                    what = f"{path} is missing and cannot be made: {reason(error)}"
                    raise MissingDirectory(error.errno, what, str(path)) from error
        return held


def expected_directories(*, shared: bool) -> Iterator[tuple[str, int]]:
    """Yield each directory that Store.make makes, parents first: relative path and octal mode.

    The path of the store itself is "". ``shared``: whether a group shares the store; in another
    one, the first signature makes the directories of signatures.
    """
    top, shard = (0o2755, _SHARED_SHARD) if shared else (0o755, _PRIVATE_SHARD)
    yield "", top
    for area in (*AREAS, SIGNATURES) if shared else AREAS:
        yield area, top
        yield from ((f"{area}/{name}", shard) for name in SHARDS)
    yield USE, shard


def not_of_a_store(names: Iterable[str]) -> str:
    """Return one of ``names`` that neither a store nor a file system makes; "" if none is."""
    ours = {TAG_NAME, STORE_JSON, BANS_JSON, *AREAS, SIGNATURES, USE, *_OF_FILE_SYSTEMS}
    begins = (fs.NEW, ".nfs")  # unfinished files, and deleted ones that NFS keeps open
    return min(
        (name for name in names if name not in ours and not name.startswith(begins)), default=""
    )
