"""Trusted publishers, by owners and modes; and the umask of this process.

A publisher is the uid that owns an entry. The rules resemble those of sshd's StrictModes:

- root, the user of this process and the store's owner are trusted. An owner such as "nobody" is not
  trusted: a squashed or unmapped uid can be anyone. The exception is a store of which the kernel
  confirms that it belongs to this process's user.
- The owner of the store can list more publishers in store.json. ``@group`` trusts every user who
  could publish in a shard that only its owner and this group may write, so that no list of members
  is needed.
- root trusts only root and the store's owner.
- An entry that users other than its owner may write is never trusted.

On Windows, owners and modes carry no information, and each store belongs to one user.
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

#: Owners that stand for "no such user here": nobody, (uid_t)-2, (uid_t)-1, and the uids that this
#: system shows for owners without a number.
NOBODY = frozenset({65534, 4294967294, 4294967295}) | identity.overflow_uids()

OWNERS_MEAN_SOMETHING = hasattr(os, "geteuid")

_WRITABLE_BY_OTHERS = stat.S_IWGRP | stat.S_IWOTH


def user_id() -> int:
    """Return the effective uid of this process; 0 on systems without uids."""
    return os.geteuid() if hasattr(os, "geteuid") else 0


def user_name(uid: int) -> str:
    """Return the name of the account, or "uid N" if the name service has none."""
    try:
        return pwd.getpwuid(uid).pw_name
    except (AttributeError, KeyError, OverflowError):
        return f"uid {uid}"


def owner_or_root(uid: int) -> str:
    """Return "NAME or root" for the account ``uid``, and "root" for root."""
    return " or ".join(dict.fromkeys([user_name(uid), "root"]))


def hint_for(action: str, *owners: int, verb: str = "run ") -> str:
    """Return the hint ``action`` for this user, who may lack the rights to do it.

    Only root and ``owners`` (uids) have them: for another user, the hint names these. ``verb``: the
    words that stand before ``action`` then.
    """
    if user_id() in (0, *owners):
        return action
    who = " or ".join(dict.fromkeys([*map(user_name, owners), "root"]))
    return f"{who} can {verb}{action}"


def hint_in(directory: Path | str, command: str) -> str:
    """Return the hint to run ``command``, which writes in ``directory``: see hint_for."""
    try:
        owner = os.stat(directory).st_uid
    except OSError:
        return command
    return command if os.access(directory, os.W_OK) else hint_for(command, owner)


def group_name(gid: int) -> str:
    """Return the name of the group, or "gid N" if the name service has none."""
    try:
        return grp.getgrgid(gid).gr_name
    except (AttributeError, KeyError, OverflowError):
        return f"gid {gid}"


def group_names() -> list[str]:
    """Return the names of the groups that this machine lists."""
    return [] if grp is None else [one.gr_name for one in grp.getgrall()]


def group_id(name: str) -> int | None:
    """Return the gid of a group, given by name or number; None if the name is unknown."""
    try:
        return grp.getgrnam(name).gr_gid
    except (AttributeError, KeyError, ValueError):  # ValueError: a NUL, or not encodable
        return _number(name)


def member_of(group: str) -> int | None:
    """Return the uid of a member that ``group`` lists; None if there is none.

    root, and members that this machine does not know, are skipped.
    """
    gid = group_id(group)
    try:
        names = grp.getgrgid(gid).gr_mem if gid is not None else []
    except (AttributeError, KeyError, OverflowError):
        return None
    return next((uid for uid in map(account_id, names) if uid), None)


def account_id(name: str) -> int | None:
    """Return the uid of an account, given by name or number; None if the name is unknown."""
    try:
        return pwd.getpwnam(name).pw_uid
    except (AttributeError, KeyError, ValueError):  # ValueError: a NUL, or not encodable
        return _number(name)


def _number(name: str) -> int | None:
    """Return the id that ``name`` gives as a decimal number of at most 10 digits, or None."""
    return int(name) if name.isascii() and name.isdigit() and len(name) <= 10 else None


def is_unknown(name: str) -> bool:
    """Return whether this machine has no account, or no ``@group``, called ``name``."""
    return (group_id(name[1:]) if name.startswith("@") else account_id(name)) is None


def unknown_names(named: Iterable[str]) -> str:
    """Return the names in ``named`` that this machine does not know; "" if it knows all.

    The words follow "names".
    """
    unknown = list(dict.fromkeys(name for name in named if is_unknown(name)))
    if not unknown:
        return ""
    listed = "; names are separated by spaces" if any("," in name for name in unknown) else ""
    return f"{', '.join(unknown)}, whom this machine does not know{listed}"


def is_private_group(gid: int, uid: int) -> bool:
    """Return whether ``gid`` is the private group of the account ``uid``.

    Many systems make a group for each account, with the same name and no other members. This
    function does not search for other accounts with the same primary group: it would have to read
    all accounts.
    """
    try:
        group, account = grp.getgrgid(gid), pwd.getpwuid(uid)
    except (AttributeError, KeyError):
        return False
    mine = group.gr_name == account.pw_name and gid == account.pw_gid
    return mine and set(group.gr_mem) <= {account.pw_name}


def current_umask() -> int:
    """Return the umask of this process.

    Call this function once, at the start: it changes the umask for a moment, and other threads
    could create files meanwhile.
    """
    mask = os.umask(0o022)
    os.umask(mask)
    return mask


def writable_by_others(status: os.stat_result) -> bool:
    """Return whether the group or all others may write, by the mode.

    The bits of the group include the write entries of a POSIX access list.
    """
    return OWNERS_MEAN_SOMETHING and bool(status.st_mode & _WRITABLE_BY_OTHERS)


def readable_by_all(path: Path) -> bool:
    """Return whether all users of this machine may read the file ``path``, by the modes.

    The modes are those of the file and of the directories above it.
    """
    if not OWNERS_MEAN_SOMETHING:
        return False
    try:
        above = all(os.stat(one).st_mode & stat.S_IXOTH for one in path.resolve().parents)
        return above and bool(os.stat(path).st_mode & stat.S_IROTH)
    except OSError:
        return False


def mode_distrust_reason(status: os.stat_result) -> str:
    """Return why the mode of an entry's file makes it untrusted; "" if it does not.

    The words follow the name of the file. A hard link or a symlink to a setuid program would be a
    setuid program itself.
    """
    if writable_by_others(status):
        return "is writable by users other than its owner"
    if OWNERS_MEAN_SOMETHING and status.st_mode & (stat.S_ISUID | stat.S_ISGID):
        return "is setuid or setgid"
    return ""


def is_really_ours(descriptor: int | None) -> bool:
    """Return whether an open directory whose owner is in NOBODY belongs to this process's user.

    The kernel lets only the owner open the directory with O_NOATIME (open(2)): another user who is
    merely shown with the same uid cannot. False on file systems of a server, which can show one uid
    for many users. The descriptor stays open.
    """
    if descriptor is None or not hasattr(os, "O_NOATIME") or not mounts.is_local(descriptor):
        return False
    try:
        # Open "." of the descriptor: a path could lead elsewhere by now.
        flags = os.O_RDONLY | os.O_DIRECTORY | os.O_NOATIME | os.O_CLOEXEC
        os.close(os.open(".", flags, dir_fd=descriptor))
    except OSError:
        return False
    return True


def _resolve(named: Iterable[str]) -> tuple[set[int], set[int]]:
    """Return the uids and gids of account names and ``@group`` names that this machine knows."""
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
    """The publishers that this process trusts in one store.

    ``uids``: the trusted users.
    ``gids``: the groups whose members are trusted.
    ``only``: the only members of ``gids`` that are trusted; None for all members.
    ``otherwise``: why other publishers are not trusted, in words that follow their name.
    ``unknown``: why no owner can be known, so that no publisher is trusted; "" if owners are known.
    """

    uids: frozenset[int]
    gids: frozenset[int] = frozenset()
    only: frozenset[int] | None = None
    otherwise: str = "is not trusted there"
    unknown: str = ""

    @classmethod
    def in_store(
        cls, owner: int, named: tuple[str, ...], *, own: Callable[[], bool] | None = None
    ) -> Trust:
        """Return the trust in a store of the uid ``owner`` whose store.json lists ``named``.

        ``named``: account names and ``@group`` names; unknown names are not trusted. ``own``:
        returns whether the store certainly belongs to this process's user; called if the owner's
        uid is in NOBODY.
        """
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
        """Return this trust, limited to the publishers that ``named`` lists.

        root, this process's user and the store's ``owner`` keep their trust. The result never
        trusts a publisher that this trust does not include. ``why``: the reason for all other
        publishers, in words that follow their name.
        """
        if self.unknown:
            return self
        accounts, groups = _resolve(named)
        uids = self.uids & ({0, user_id(), owner} | accounts)
        if whole := self.gids & groups:
            return Trust(uids, whole, self.only, why)
        only = accounts if self.only is None else accounts & self.only
        return Trust(uids, self.gids, frozenset(only), why)

    def explained(self, why: str) -> Trust:
        """Return this trust with another reason for untrusted publishers.

        ``why`` is as for ``narrowed``.
        """
        return replace(self, otherwise=why)

    def without_owner(self, why: str) -> Trust:
        """Return this trust, limited to root and this process's user; ``why`` as for ``narrowed``.

        The store's owner, and the publishers that this owner lists, lose their trust.
        """
        if self.unknown:
            return self
        return Trust(self.uids & {0, user_id()}, frozenset(), None, why)

    def trusts(self, uid: int) -> bool:
        """Return whether entries that ``uid`` owns are trusted, in every directory."""
        return not OWNERS_MEAN_SOMETHING or uid in self.uids

    def trusted_of(self, named: Iterable[str]) -> list[str]:
        """Return those of the accounts and ``@group`` names ``named`` that are trusted.

        A group of which only some users are trusted is left out; these users stand in its place.
        """
        found: list[str] = []
        for name in named:
            uids, gids = _resolve([name])
            if uids & self.uids or (gids & self.gids and self.only is None):
                found.append(name)
            elif gids & self.gids:
                found += map(user_name, sorted(self.only or ()))
        return list(dict.fromkeys(found))

    def trusts_members(self, gids: frozenset[int]) -> bool:
        """Return whether all members of all ``gids`` are trusted."""
        return self.only is None and gids <= self.gids

    def replaceable_by(self, parents: tuple[os.stat_result, ...]) -> str:
        """Return which untrusted users can replace the content of ``parents``; "" if no user can.

        The result is a sentence without its end. ``parents`` is as for ``distrust_reason``. An open
        directory stays the same, but a path to it can lead to another directory the next moment.
        """
        for parent in parents if OWNERS_MEAN_SOMETHING else ():
            if parent.st_uid not in self.uids:
                return f"{user_name(parent.st_uid)} may replace the entries there"
            if writable_by_others(parent) and not parent.st_mode & stat.S_ISVTX:
                return "others may replace the entries there"
        return ""

    def distrust_reason(self, entry: os.stat_result, parents: tuple[os.stat_result, ...]) -> str:
        """Return why an entry is untrusted; "" if it is trusted.

        The words follow the name of the entry's owner. ``entry`` and ``parents`` (first the shard,
        last the store) are the status of open directories. The parents matter if trust rests on a
        group: every user who could write the shard is then trusted. A listed owner is trusted for
        all entries that this owner has.
        """
        if not OWNERS_MEAN_SOMETHING:
            return ""
        if writable_by_others(entry):
            return "lets others write the entry"
        if entry.st_uid in NOBODY & self.uids:
            # Trust this uid only if no other user could put the entry here.
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
            return "published in a shard of an untrusted group"
        for parent in parents:
            if parent.st_uid not in self.uids:
                return f"published in a directory of {user_name(parent.st_uid)}"
            if parent.st_mode & stat.S_IWOTH:
                return "published in a directory that all users may write"
            if writable_by_others(parent) and not parent.st_mode & stat.S_ISVTX:
                return "published in a directory where others may rename entries"
        return ""
