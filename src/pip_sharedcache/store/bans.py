"""The bans of a store: wheels that its owner withdraws, in ``bans.json`` beside ``store.json``.

A run reads the list of each of its stores once, and no store of the run serves or takes a wheel
that one of them bans. The owner of the store, and root, change the list. As with store.json, a list
that others could have changed is not trusted:

- A list that belongs to another user is ignored, with one line: that user bans nothing.
- A list of the owner that others may write, that cannot be read or that is damaged could ban the
  wheel that a run is about to take. The run does not use the store.
"""

from __future__ import annotations

import errno
import json
import os
import secrets
import shlex
import stat
import time
from collections.abc import Iterable
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from packaging.utils import canonicalize_name, canonicalize_version
from packaging.version import InvalidVersion, Version

from pip_sharedcache import fs, trust
from pip_sharedcache.errors import StoreUnusable, reason
from pip_sharedcache.fs import Directory
from pip_sharedcache.model import Digest, as_digest
from pip_sharedcache.store.store_json import others_may_change

BANS_JSON = "bans.json"

_FORMAT = 1
_MOST = 4000  # bans
_LONGEST = 200  # characters of a text


class BansUnusable(StoreUnusable):
    """A list of bans of the store's owner that says nothing reliable: no run uses the store.

    ``command``: a line for a shell that helps; "" where none is known.
    ``owner``: the uid of the store's owner, who may run it, as root may.
    """

    def __init__(
        self, store: Path, owner: int, why: str, hint: str = "", command: str = ""
    ) -> None:
        super().__init__(f"{store} is not used: {why}", hint, path=str(store / BANS_JSON))
        self.command = command
        self.owner = owner


@dataclass(frozen=True)
class Ban:
    """One ban: of a digest, or of all wheels of one version.

    ``digest``: the digest of the wheel; "" for a version.
    ``name``: the normalized name of the distribution; "" for a digest.
    ``version``: the version; "" for a digest.
    ``because``: the reason that the owner gave, or ""; it can hold any character.
    ``by``: the name of the user who made the ban.
    ``at``: when it was made, in seconds since the epoch.
    ``title``: the file name of the banned wheel, if it was known; else "".
    ``store``: the path of the store whose owner bans.
    ``also``: the other bans of a wheel that was looked for.
    ``wheels``: the digests and file names of the wheels of a version that the store had.
    """

    digest: str = ""
    name: str = ""
    version: str = ""
    because: str = ""
    by: str = ""
    at: int = 0
    title: str = ""
    store: Path = Path()
    also: tuple[Ban, ...] = ()
    wheels: tuple[tuple[str, str], ...] = ()

    @property
    def what(self) -> str:
        """Return the digest, or the name and version."""
        return self.digest or f"{self.name}=={self.version}"

    @property
    def key(self) -> tuple[str, str]:
        """Return what identifies the banned wheels: 2 and 2.0 are one version."""
        return (self.name, canonicalize_version(self.version)) if self.name else (self.digest, "")

    def is_same(self, other: Ban) -> bool:
        """Return whether ``other`` bans the same."""
        return self.key == other.key

    def __str__(self) -> str:
        """Return where it is banned, and why, in words that follow "is"."""
        said = f"banned in {self.store}" + (f": {_shown(self.because)}" if self.because else "")
        return "; also ".join([said, *map(str, self.also)])


@dataclass(frozen=True)
class Bans:
    """The bans of one store, or of all stores of a run.

    ``listed``: each ban.
    ``ignored``: for each list that is ignored, a line that says why.
    """

    listed: tuple[Ban, ...] = ()
    ignored: tuple[str, ...] = ()
    _digests: dict[str, Ban] = field(default_factory=dict, repr=False, compare=False)
    _versions: dict[tuple[str, str], Ban] = field(default_factory=dict, repr=False, compare=False)

    def __post_init__(self) -> None:
        """Arrange the bans for the look-up, which must cost nothing for a wheel."""
        for ban in self.listed:
            if ban.digest:
                self._digests[ban.digest] = ban
            else:
                self._versions[ban.key] = ban

    @classmethod
    def of_all(cls, some: Iterable[Bans]) -> Bans:
        """Return the bans of several stores as one; the nearest store names its reason."""
        whole = list(some)
        listed = tuple(ban for bans in reversed(whole) for ban in bans.listed)
        return cls(listed, tuple(dict.fromkeys(line for bans in whole for line in bans.ignored)))

    def find(self, digest: str, filename: str) -> Ban | None:
        """Return the ban of the wheel ``filename`` with this ``digest``, or None.

        A ban of the digest comes first; that of the version is ``also`` then.
        """
        first, other = self._digests.get(digest), self._of_version(filename)
        return replace(first, also=(other,)) if first and other else first or other

    def _of_version(self, filename: str) -> Ban | None:
        if not self._versions:
            return None
        name, _, rest = filename.partition("-")
        try:
            version = Version(rest.partition("-")[0])
        except InvalidVersion:
            return None
        project = canonicalize_name(name)
        # As for pip, demo==1.0 is also 1.0+local.
        found = self._versions.get((project, canonicalize_version(version)))
        return found or self._versions.get((project, canonicalize_version(version.public)))

    def with_bans(self, more: Iterable[Ban]) -> Bans:
        """Return these bans and ``more``, which replace bans of the same."""
        more = tuple(more)
        rest = (one for one in self.listed if not any(map(one.is_same, more)))
        return Bans((*rest, *more))

    def without(self, lifted: Iterable[Ban]) -> Bans:
        """Return these bans without ``lifted``."""
        gone = tuple(lifted)
        return Bans(tuple(one for one in self.listed if one not in gone))

    @classmethod
    def read(cls, path: Path, top: Directory) -> Bans:
        """Return the bans of the store ``path``, which is open as ``top``.

        Raises BansUnusable if the list says nothing reliable.
        """
        where, owner = path / BANS_JSON, top.status().st_uid
        try:
            # First: another user's link, or unreadable file, must not stop the use of the store.
            seen = top.file_status(BANS_JSON)
        except FileNotFoundError:
            return NO_BANS  # none, or its owner has just deleted it
        except OSError as error:
            raise _unreadable(path, owner, 0, error) from error
        status, text = seen, b""
        try:
            if status.st_uid in (0, owner):
                if not stat.S_ISREG(status.st_mode):
                    raise _not_regular(path, owner, status)
                text, status = fs.retry_stale(lambda: top.read(BANS_JSON))
            foreign = status.st_uid not in (0, owner) and trust.OWNERS_MEAN_SOMETHING
            changeable = not foreign and others_may_change(top, BANS_JSON, status)
        except FileNotFoundError:
            return NO_BANS
        except OSError as error:
            raise _unreadable(path, owner, seen.st_mode, error) from error
        if foreign:
            why = f"it belongs to {trust.user_name(status.st_uid)}, not to "
            why += trust.owner_or_root(owner)
            hint = removal(where, status, owner)
            return cls(ignored=(f"List of bans ignored: {where}: {why}; hint: {hint}",))
        if changeable:
            raise _changeable(path, owner, status)
        try:
            return cls(tuple(_bans(json.loads(text), path)))
        except (ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
            why = " ".join(f"{error}".split())[:_LONGEST] or type(error).__name__
            who = trust.owner_or_root(owner)
            hint = f"{who} can correct it, or delete it, which lifts all bans"
            if isinstance(error, _LaterFormat):
                hint = f"upgrade pip-sharedcache, or {who} can delete it, which lifts all bans"
            edit = f"${{EDITOR:-vi}} {shlex.quote(str(where))}"
            why = f"its list of bans is damaged: {where}: {why}"
            raise BansUnusable(path, owner, why, hint, edit) from error

    def write(self, top: Directory) -> None:
        """Replace the list of the store that is open as ``top`` by these bans. Raises OSError.

        The list is durable before it is visible: after a power cut, a half-written one would stop
        the use of the store.
        """
        rows = [_row(ban) for ban in self.listed]
        text = json.dumps({"format": _FORMAT, "bans": rows}, indent=2) + "\n"
        new = f"{fs.NEW}{secrets.token_hex(8)}"
        try:
            with fs.create_file(top.path / new, 0o644, above=top.descriptor) as descriptor:
                fs.write_all(descriptor, text.encode("utf-8"))
                os.fsync(descriptor)
            fs.rename_in(top, new, BANS_JSON)
        except BaseException:
            top.remove(new)
            raise


#: The bans of a store without a list.
NO_BANS = Bans()


class _LaterFormat(ValueError):
    """A list that another version of pip-sharedcache wrote."""


def removal(where: Path, status: os.stat_result, owner: int) -> str:
    """Return the hint to delete what is at ``where`` instead of a list of the store's ``owner``.

    ``status``: of what is there. Only root can delete another user's directory with files in it.
    """
    tree = stat.S_ISDIR(status.st_mode)
    able = (0,) if tree and status.st_uid != owner else (owner,)
    return trust.hint_for(f"rm {'-r ' if tree else ''}{shlex.quote(str(where))}", *able)


def _not_regular(path: Path, owner: int, status: os.stat_result) -> BansUnusable:
    kinds = {stat.S_IFDIR: "directory", stat.S_IFIFO: "FIFO", stat.S_IFLNK: "symlink"}
    where, tree = path / BANS_JSON, stat.S_ISDIR(status.st_mode)
    kind = kinds.get(stat.S_IFMT(status.st_mode), "device or socket")
    return BansUnusable(
        path,
        owner,
        f"its list of bans cannot be read: {where}: it is a {kind}, not a file",
        f"{removal(where, status, owner)} (this lifts all bans)",
        f"rm {'-r ' if tree else ''}{shlex.quote(str(where))}",
    )


def _unreadable(path: Path, owner: int, mode: int, error: OSError) -> BansUnusable:
    """Return the error for a file that the system does not read; ``mode``: 0 if unknown."""
    where, hint, command = path / BANS_JSON, "", ""
    if error.errno == errno.EACCES and mode and not mode & stat.S_IROTH:
        command = f"chmod 644 {shlex.quote(str(where))}"
        hint = trust.hint_for(command, owner)
    elif error.errno == errno.EFBIG:
        command = f"rm {shlex.quote(str(where))}"
        hint = f"{trust.hint_for(command, owner)} (this lifts all bans)"
    why = f"its list of bans cannot be read: {where}: {reason(error)}"
    return BansUnusable(path, owner, why, hint, command)


def _changeable(path: Path, owner: int, status: os.stat_result) -> BansUnusable:
    """Return the error for a list that others than the store's ``owner`` could have changed."""
    where = shlex.quote(str(path / BANS_JSON))
    command = f"chmod 644 {where}"
    if not trust.writable_by_others(status):  # an access list of NFSv4, of the file or above it
        command = f"nfs4_getfacl {shlex.quote(str(path))} {where}"
    how = trust.hint_for(f"check the list, then run {command}", owner, verb="")
    why = f"others could have changed its list of bans: {path / BANS_JSON}"
    return BansUnusable(path, owner, why, how, command)


def new_ban(store: Path, **what: Any) -> Ban:
    """Return a ban by this user, made now. Raises ValueError if a text is too long."""
    by = trust.user_name(trust.user_id())
    ban = Ban(by=by, at=int(time.time()), store=store, **what)
    if any(len(text) > _LONGEST for text in (ban.because, ban.title, ban.what)):
        raise ValueError(f"a text has more than {_LONGEST} characters")
    return ban


def _row(ban: Ban) -> dict[str, Any]:
    what: dict[str, Any]
    if ban.digest:
        what = {"sha256": ban.digest, **({"title": ban.title} if ban.title else {})}
    else:
        what = {"name": ban.name, "version": ban.version}
        what.update({"wheels": dict(ban.wheels)} if ban.wheels else {})
    return {**what, "because": ban.because, "by": ban.by, "at": ban.at}


def _bans(data: Any, store: Path) -> Iterable[Ban]:
    """Yield the bans in the content of a list. Raises ValueError, KeyError, TypeError."""
    if data["format"] != _FORMAT:
        raise _LaterFormat(f"format {data['format']!r:.40}, not {_FORMAT}")
    rows = data["bans"]
    if not isinstance(rows, list) or len(rows) > _MOST:
        raise TypeError(f"bans is no list of up to {_MOST} rows")
    for row in rows:
        at = row["at"]
        if type(at) is not int:
            raise TypeError("at is no time")
        notes: dict[str, Any] = {name: _text(row.get(name, "")) for name in ("by", "title")}
        notes["because"] = _raw(row.get("because", ""))
        if "sha256" in row:
            digest: Digest | None = as_digest(_text(row["sha256"]))
            if digest is None:
                raise ValueError("sha256 is no digest")
            yield Ban(digest=digest, at=at, store=store, **notes)
        else:
            name, version = canonicalize_name(_text(row["name"])), Version(_text(row["version"]))
            if not name:
                raise ValueError("a row bans no distribution")
            had = {_text(one): _text(title) for one, title in row.get("wheels", {}).items()}
            wheels = tuple(had.items())
            yield Ban(name=name, version=str(version), at=at, store=store, wheels=wheels, **notes)


def _text(told: object) -> str:
    """Return the text ``told``, with escapes for what would control a terminal."""
    return _shown(_raw(told))


def _raw(told: object) -> str:
    """Return the text ``told``. Raises TypeError if it is none, or too long."""
    if not isinstance(told, str) or len(told) > 2 * _LONGEST:
        raise TypeError("not a text, or too long")
    return told


def _shown(text: str) -> str:
    return "".join(char if char.isprintable() else ascii(char)[1:-1] for char in text)
