"""Who may be believed: owners, modes, publishers; and what umask this process has.

A publisher is the uid that owns an entry. Rules, in the manner of sshd's StrictModes:

- root, oneself and the store's owner are trusted; nobody is trusted for owning an entry as
  "nobody" (a squashed or unmapped uid may be anyone);
- the owner of the store may name more in store.json; ``@group`` trusts whoever could publish in a
  shard that only its owner and that group may write, so no member list is asked for;
- root believes root and the store's owner only;
- what anybody but its owner may write is never believed, whoever owns it.

On Windows owners and modes say nothing; a store there is one user's own.
"""

from __future__ import annotations

import os
import stat
from collections.abc import Callable, Iterable
from dataclasses import dataclass, replace
from pathlib import Path

from pip_sharedcache.trust import identity, mounts

try:
    import grp
    import pwd
except ImportError:  # Windows
    grp = pwd = None  # type: ignore[assignment]

#: Owners that stand for "no such user here": nobody, (uid_t)-2, (uid_t)-1, and the uid that this
#: system shows for owners without a number.
NOBODY = frozenset({65534, 4294967294, 4294967295, identity.overflow_uid()})

OWNERS_MEAN_SOMETHING = hasattr(os, "geteuid")

_WRITABLE_BY_OTHERS = stat.S_IWGRP | stat.S_IWOTH


def user_id() -> int:
    """The effective uid of this process; 0 where there are none."""
    return os.geteuid() if hasattr(os, "geteuid") else 0


def user_name(uid: int) -> str:
    """The account's name, or "uid N" where the name service has none."""
    try:
        return pwd.getpwuid(uid).pw_name
    except (AttributeError, KeyError, OverflowError):
        return f"uid {uid}"


def group_name(gid: int) -> str:
    """The group's name, or "gid N" where the name service has none."""
    try:
        return grp.getgrgid(gid).gr_name
    except (AttributeError, KeyError, OverflowError):
        return f"gid {gid}"


def group_id(name: str) -> int | None:
    """The gid of a group given by name or number; None where there is no such group."""
    try:
        return grp.getgrnam(name).gr_gid
    except (AttributeError, KeyError, ValueError):  # ValueError: a NUL, or not encodable
        return _number(name)


def member_of(group: str) -> int | None:
    """The uid of a member that the group ``group`` lists, root excepted; None where it lists none
    that this machine knows."""
    gid = group_id(group)
    try:
        names = grp.getgrgid(gid).gr_mem if gid is not None else []
    except (AttributeError, KeyError, OverflowError):
        return None
    return next((uid for uid in map(account_id, names) if uid), None)


def account_id(name: str) -> int | None:
    """The uid of an account given by name or number; None where there is no such account."""
    try:
        return pwd.getpwnam(name).pw_uid
    except (AttributeError, KeyError, ValueError):  # ValueError: a NUL, or not encodable
        return _number(name)


def _number(name: str) -> int | None:
    """An id that is given as a number of 32 bits."""
    return int(name) if name.isascii() and name.isdigit() and len(name) <= 10 else None


def is_unknown(name: str) -> bool:
    """Whether this machine knows neither an account nor a ``@group`` called ``name``."""
    return (group_id(name[1:]) if name.startswith("@") else account_id(name)) is None


def unknown_names(named: Iterable[str]) -> str:
    """Those of ``named`` whom this machine does not know, in words that follow "names"; "" where
    it knows them all."""
    unknown = list(dict.fromkeys(name for name in named if is_unknown(name)))
    if not unknown:
        return ""
    listed = "; names are separated by spaces" if any("," in name for name in unknown) else ""
    return f"{', '.join(unknown)}, whom this machine does not know{listed}"


def is_private_group(gid: int, uid: int) -> bool:
    """Whether ``gid`` is the group that many systems make for each account, ``uid``'s: of the same
    name, and with no other members. (Who else has it as their first group is not looked for: that
    takes a walk through all accounts.)"""
    try:
        group, account = grp.getgrgid(gid), pwd.getpwuid(uid)
    except (AttributeError, KeyError):
        return False
    mine = group.gr_name == account.pw_name and gid == account.pw_gid
    return mine and set(group.gr_mem) <= {account.pw_name}


def current_umask() -> int:
    """The umask of this process. Not safe beside other threads: asked once, at the start."""
    mask = os.umask(0o022)
    os.umask(mask)
    return mask


def writable_by_others(status: os.stat_result) -> bool:
    """Whether group or others may write; an ACL's write entries show in the group bits."""
    return OWNERS_MEAN_SOMETHING and bool(status.st_mode & _WRITABLE_BY_OTHERS)


def readable_by_all(path: Path) -> bool:
    """Whether everybody on this machine may read the file ``path``, as far as modes tell: its own,
    and those of the directories above it."""
    if not OWNERS_MEAN_SOMETHING:
        return False
    try:
        above = all(os.stat(one).st_mode & stat.S_IXOTH for one in path.resolve().parents)
        return above and bool(os.stat(path).st_mode & stat.S_IROTH)
    except OSError:
        return False


def mode_distrust_reason(status: os.stat_result) -> str:
    """Why a file of an entry is not believed for its mode, in words that follow its name; "" if
    it is. A hard link or symlink to a setuid program is one."""
    if writable_by_others(status):
        return "may be written by others than its owner"
    if OWNERS_MEAN_SOMETHING and status.st_mode & (stat.S_ISUID | stat.S_ISGID):
        return "is setuid or setgid"
    return ""


def is_really_ours(descriptor: int | None) -> bool:
    """Return whether a directory that seems to be of this process's user, where that is one of
    NOBODY, is so for certain: the kernel lets only the owner open it with O_NOATIME (open(2)), not
    somebody who merely appears under the same number; and no file server is asked, which may show
    one number for many users."""
    if descriptor is None or not hasattr(os, "O_NOATIME") or not mounts.is_local(descriptor):
        return False
    try:
        # By its name in itself: a path might lead elsewhere by now.
        flags = os.O_RDONLY | os.O_DIRECTORY | os.O_NOATIME | os.O_CLOEXEC
        os.close(os.open(".", flags, dir_fd=descriptor))
    except OSError:
        return False
    return True


def _resolve(named: Iterable[str]) -> tuple[set[int], set[int]]:
    """The uids and gids of account names and ``@group`` names, as far as they are known here."""
    uids: set[int] = set()
    gids: set[int] = set()
    for name in named:
        if name.startswith("@"):
            gids.update(gid for gid in [group_id(name[1:])] if gid is not None)
        else:
            uids.update(uid for uid in [account_id(name)] if uid is not None)
    return uids, gids


@dataclass(frozen=True)
class Trust:
    """Whom this process believes in one store: ``uids``, and the members of ``gids`` (if ``only``
    is given, of those only these). ``otherwise`` says why others are not; ``unknown`` why nobody
    is trusted, since owners are not known at all."""

    uids: frozenset[int]
    gids: frozenset[int] = frozenset()
    only: frozenset[int] | None = None
    otherwise: str = "is not trusted there"
    unknown: str = ""

    @classmethod
    def in_store(
        cls, owner: int, named: tuple[str, ...], *, own: Callable[[], bool] | None = None
    ) -> Trust:
        """Trust in a store owned by uid ``owner`` whose store.json names ``named`` (account names
        and ``@group``); names that do not resolve are not trusted. ``own``: whether the store is
        certainly this process's own, which is asked where its uid may be anyone's."""
        if unknown := identity.hidden_because():
            return cls(frozenset(), otherwise="may be anyone", unknown=unknown)
        if user_id() in NOBODY and owner == user_id() and own is not None and own():
            return cls(frozenset({0, owner}))
        uids = {0, user_id(), owner}
        gids: set[int] = set()
        if user_id() != 0:
            accounts, gids = _resolve(named)
            uids |= accounts
        return cls(frozenset(uids - NOBODY), frozenset(gids - NOBODY))

    def narrowed(self, owner: int, named: tuple[str, ...], why: str) -> Trust:
        """This trust, but of others than root, ourselves and the store's ``owner`` only in those
        of ``named``: it never trusts anybody that this one does not. ``why``: in words that follow
        the name of somebody who is not believed for it."""
        if self.unknown:
            return self
        accounts, groups = _resolve(named)
        uids = self.uids & ({0, user_id(), owner} | accounts)
        if whole := self.gids & groups:
            return Trust(uids, whole, self.only, why)
        only = accounts if self.only is None else accounts & self.only
        return Trust(uids, self.gids, frozenset(only), why)

    def explained(self, why: str) -> Trust:
        """This trust; ``why`` as for ``narrowed``."""
        return replace(self, otherwise=why)

    def without_owner(self, why: str) -> Trust:
        """This trust, but not in the store's owner; ``why`` as for ``narrowed``."""
        if self.unknown:
            return self
        return Trust(self.uids & {0, user_id()}, frozenset(), None, why)

    def trusts(self, uid: int) -> bool:
        """Whether what ``uid`` owns is believed, wherever it lies."""
        return not OWNERS_MEAN_SOMETHING or uid in self.uids

    def trusts_members(self, gids: frozenset[int]) -> bool:
        """Whether all members of all ``gids`` are believed."""
        return self.only is None and gids <= self.gids

    def replaceable_by(self, parents: tuple[os.stat_result, ...]) -> str:
        """Who else than the believed may exchange what lies in ``parents`` (as for
        ``distrust_reason``), in a sentence without its end; "" where nobody may. What is held open
        stays what it is; a path that leads there may lead to something else the next moment."""
        for parent in parents if OWNERS_MEAN_SOMETHING else ():
            if parent.st_uid not in self.uids:
                return f"{user_name(parent.st_uid)} may exchange what is stored there"
            if writable_by_others(parent) and not parent.st_mode & stat.S_ISVTX:
                return "others may exchange what is stored there"
        return ""

    def distrust_reason(self, entry: os.stat_result, parents: tuple[os.stat_result, ...]) -> str:
        """Why an entry is not believed, in words that follow its owner's name; "" if it is.

        ``entry`` and ``parents`` (its shard first, then upwards to the store) are the status of
        directories held open. The parents matter where trust rests on the group: there, whoever
        could write the shard is whom we believe. A named owner is believed for what it owns.
        """
        if not OWNERS_MEAN_SOMETHING:
            return ""
        if writable_by_others(entry):
            return "lets others write what they published"
        if entry.st_uid in NOBODY & self.uids:
            # Only where nobody else could put it.
            alone = all(
                parent.st_uid == entry.st_uid and not writable_by_others(parent)
                for parent in parents
            )
            return "" if alone else "may be anyone"
        if entry.st_uid in self.uids:
            return ""
        if entry.st_uid in NOBODY:
            return "may be anyone"
        if not self.gids or (self.only is not None and entry.st_uid not in self.only):
            return self.otherwise
        shard = parents[0]
        if shard.st_gid not in self.gids:
            return "published where no trusted group may"
        for parent in parents:
            if parent.st_uid not in self.uids:
                return f"published in a directory of {user_name(parent.st_uid)}"
            if parent.st_mode & stat.S_IWOTH:
                return "published where everybody may"
            if writable_by_others(parent) and not parent.st_mode & stat.S_ISVTX:
                return "published where others may rename"
        return ""
