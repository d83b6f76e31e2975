"""The directories of a store: their existence, owners, groups, modes and access lists."""

from __future__ import annotations

import errno
import functools
import os
import stat
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from pip_sharedcache import fs, trust
from pip_sharedcache.maintenance.doctor.report import (
    DoctorReport,
    enumeration,
    not_owner_of,
    quoted,
)
from pip_sharedcache.store import STORE_JSON, expected_directories
from pip_sharedcache.store.layout import ADDED, SIGNATURES
from pip_sharedcache.trust import access_lists, identity

#: For nfs4_setfacl(1): only the entries of the mode, which chmod(1) sets afterwards.
_PLAIN_LIST = "A::OWNER@:rwaDxtTcCy,A:g:GROUP@:rxtcy,A::EVERYONE@:rxtcy"
_MOST_NAMED = 3

#: Why doctor leaves a kind of difference to people.
_LEFT = {
    **dict.fromkeys(("no-directory", "owner"), "store init did not make it"),
    **dict.fromkeys(
        ("nfs4-access-list", "unknown-access-list"),
        "pip-sharedcache does not change access lists of this kind",
    ),
}


@dataclass(frozen=True)
class Made:
    """How a store was made.

    ``top``: the directory of the store.
    ``owner``: the uid of its owner.
    ``group``: the name of the group for which it was made; "" for one user.
    ``gid``: the gid of the group; None for one user.
    """

    top: Path
    owner: int
    group: str
    gid: int | None


@dataclass(frozen=True)
class _Difference:
    """One difference between a directory and the directory that store init makes.

    ``path``: the directory.
    ``wanted``: the mode that store init sets.
    ``kind``: the kind of difference, for programs.
    ``is_``: the difference, in words that follow the path.
    ``why``: the consequence, in words.
    ``owner``: the uid of the user who may fix it.
    """

    path: Path
    wanted: int
    kind: str
    is_: str
    why: str
    owner: int


def look_at_made(report: DoctorReport, made: Made) -> None:
    """Compare all directories with those that Store.make makes, and report the differences."""
    by_kind: dict[tuple[str, int], list[_Difference]] = {}
    expected = dict(expected_directories(shared=made.gid is not None))
    # Directories of a later version, of which this store has none.
    missing = {name for name in ADDED if not os.path.lexists(made.top / name)}
    later = {relative for relative in expected if relative.partition("/")[0] in missing}
    if SIGNATURES in missing:  # the owner needs none, and others are told if they sign
        expected = {one: mode for one, mode in expected.items() if not one.startswith(SIGNATURES)}
    if made.gid is None:  # the first resolution makes them
        expected = {path: mode for path, mode in expected.items() if path not in later}
    for relative, mode in expected.items():
        for found in _differences(made, made.top / relative, mode):
            if relative in later:
                found = replace(found, kind="no-resolutions")
            alike = 0 if found.kind in ("missing", "no-resolutions") else mode
            by_kind.setdefault((found.kind, alike), []).append(found)
    differing = len({found.path for group in by_kind.values() for found in group})
    differ = f"{differing} differ from what" if differing else "all as"
    numbers = {"expected": len(expected), "differing": differing}
    report.add_fact("directories", f"{len(expected)}, {differ} store init makes", numbers)
    for group in by_kind.values():
        _find(report, made, group)


def _differences(made: Made, path: Path, mode: int) -> Iterator[_Difference]:
    """Yield the differences of the directory at ``path``, the worst first.

    Differences that this user cannot see are left out.
    """
    differs = functools.partial(_Difference, path, mode)
    try:
        status = path.lstat()
    except FileNotFoundError:
        yield differs("missing", "is missing", "nothing can be published in it", made.owner)
        return
    except OSError:
        return  # the directory above has a finding of its own
    if not stat.S_ISDIR(status.st_mode):
        why = "pip-sharedcache does not use it"
        yield differs("no-directory", "is not a directory", why, made.owner)
        return
    hidden = trust.NOBODY if identity.users_are_mapped() else frozenset()
    if status.st_uid not in {*hidden, 0, made.owner}:
        who = trust.user_name(status.st_uid)
        yield differs("owner", f"belongs to {who}", f"{who} may rename all files in it", made.owner)
        return
    owner = status.st_uid
    actual = stat.S_IMODE(status.st_mode)
    shared = made.gid is not None
    if shared and status.st_gid not in {*hidden, made.gid}:
        is_ = f"has the group {trust.group_name(status.st_gid)}, not {made.group}"
        yield differs("group", is_, f"members of {made.group} cannot publish", owner)
    if access_lists.is_posix(path):
        why = "the list can let others write, or keep members out, although the mode does not"
        yield differs("access-list", "has an access list", why, owner)
        return  # the group bits of the mode are the mask of the list
    theirs = (
        access_lists.foreign_publishers(path)
        if shared
        else access_lists.foreign_writers(path, status.st_mode)
    )
    if theirs:
        why = f"others may {'publish' if shared else 'write'} in it, so members are not trusted"
        kind = "nfs4-access-list" if access_lists.is_nfs4(path) else "unknown-access-list"
        yield differs(kind, theirs, why, owner)
    if actual != mode and (shared or actual != mode | stat.S_ISGID):
        is_ = f"has mode {actual:04o}, not {mode:04o}"
        yield differs("mode", is_, _consequence(actual, mode), owner)


def _consequence(actual: int, wanted: int) -> str:
    """Return the worst consequence of the mode ``actual`` instead of ``wanted``, in words."""
    renamed = "" if actual & stat.S_ISVTX else ", and rename those of others"
    more, less = actual & ~wanted, wanted & ~actual
    for bits, consequence in (
        (more & stat.S_IWOTH, f"all users may add files{renamed}"),
        (more & stat.S_IWGRP, "members of its group may rename files of others"),
        (less & stat.S_ISVTX, "members may delete entries of other publishers"),
        (less & 0o700, "its owner cannot use it"),
        (less & stat.S_IWGRP, "members of the group cannot publish"),
        (less & 0o055, "others cannot read it"),
        (less & stat.S_ISGID, "new files in it get another group"),
    ):
        if bits:
            return consequence
    return "store init sets another mode"


def _find(report: DoctorReport, made: Made, group: Sequence[_Difference]) -> None:
    """Report differences of one kind, of directories that store init makes with one mode."""
    first, paths = group[0], [found.path for found in group]
    kind, mode = first.kind, first.wanted
    what = f"{first.path} {first.is_}: {first.why}"
    if kind == "no-resolutions":
        what = f"{first.path} is missing: users share no resolutions in this store"
    elif len(group) > 1:
        what = f"{len(group)} directories differ: {what}; the others are {enumeration(paths[1:])}"
    named = _names(made, paths)
    option = ["--group", made.group] if made.group else []
    init = f"pip-sharedcache store init {quoted(*option, made.top)}"
    # Without a fifth digit, chmod(1) keeps the setuid and setgid bits of a directory.
    present = [path.lstat().st_mode for path in paths if os.path.lexists(path)]
    cleared = "0" if any(bits & 0o6000 & ~mode for bits in present) else ""
    chmod = f"chmod {cleared}{mode:04o} {named}"
    command = {
        "missing": init,
        "no-resolutions": init,
        "no-directory": f"rm {quoted(*paths)} && {init}",
        "owner": f"chown {quoted(trust.user_name(made.owner))} {named}",
        "group": f"chgrp {quoted(made.group)} {named} && {chmod}",  # chgrp(1) may clear setgid
        "access-list": f"setfacl -b {named} && {chmod}",  # the mode showed the mask of the list
        "nfs4-access-list": f"nfs4_setfacl -s {_PLAIN_LIST} {named} && {chmod}",
        "unknown-access-list": (
            f"nfs4_getfacl {quoted(first.path)}; or name each publisher in trusted in "
            f"{quoted(made.top / STORE_JSON)}"
        ),
        "mode": chmod,
    }[kind]
    owners = dict.fromkeys(found.owner for found in group)
    left = _LEFT.get(kind) or not_owner_of(*owners)
    by = (0,) if kind == "owner" else (0, *owners)
    report.add_finding(kind, what, command, left, by, functools.partial(_fix, made, group))


def _names(made: Made, paths: Sequence[Path]) -> str:
    """Return ``paths`` for a shell; many shards are written as a pattern."""
    if len(paths) <= _MOST_NAMED:
        return quoted(*paths)
    shards = dict.fromkeys(path for path in paths if made.top not in (path, path.parent))
    areas = dict.fromkeys(path.parent for path in shards)
    rest = [quoted(path) for path in paths if path not in shards]
    return " ".join([*rest, *(f"{quoted(area)}/[0-9a-f][0-9a-f]" for area in areas)])


def _fix(made: Made, group: Sequence[_Difference]) -> None:
    """Give the directories of ``group`` the expected mode and group; raise OSError."""
    for found in group:
        _check_above(made.top, made.owner, found.path)
        fs.ensure_directory(found.path, found.wanted, made.gid)


def _check_above(top: Path, owner: int, path: Path) -> None:
    """Raise OSError if another user could replace a directory above ``path`` with a symlink.

    Another user is any user except root and ``owner``. The check covers the directories between
    ``top`` and ``path``. The repair itself does not follow a symlink at ``path``.
    """
    for above in path.parents:
        if not above.is_relative_to(top):
            return
        status = above.lstat()
        if status.st_uid not in (0, owner) or not stat.S_ISDIR(status.st_mode) or _is_loose(status):
            raise PermissionError(errno.EPERM, f"fix {above} first", str(path))


def look_at_handmade(report: DoctorReport, top: Path) -> None:
    """Report the directories of a handmade store that others may write and that are not sticky.

    No store.json says how such a store was made, so the modes must protect the entries of each
    user. The first user who publishes makes the directories sticky, too. Raise OSError.
    """
    how = "made by hand, or without a trusted store.json: checked for sticky bits only"
    report.add_fact("directories", how, None)
    owner = top.stat().st_uid
    loose: list[Path] = []
    owners: list[int] = []
    for relative, _ in expected_directories(shared=True):
        path = top / relative
        try:
            status = path.lstat()
        except OSError:
            continue  # not made yet, or this user may not see it
        if not stat.S_ISDIR(status.st_mode) and "/" not in relative:
            report.add_finding(
                "no-directory",
                f"{path} of {trust.user_name(status.st_uid)} is not a directory: pip-sharedcache "
                "uses nothing in it",
                f"rm {quoted(path)}",
                "store init did not make it",
                (0, owner, status.st_uid),
            )
        elif stat.S_ISDIR(status.st_mode) and _is_loose(status):
            loose.append(path)
            owners.append(status.st_uid)
    if not loose:
        return
    mode = stat.S_IMODE(loose[0].stat().st_mode)
    several = f"; the same applies to {enumeration(loose[1:])}" if len(loose) > 1 else ""
    chmod = f"{mode | stat.S_ISVTX:04o}" if len(loose) == 1 else "+t"
    report.add_finding(
        "mode",
        f"{loose[0]} has mode {mode:04o}, not {mode | stat.S_ISVTX:04o}: users who may write it "
        f"may delete entries of other publishers{several}",
        f"chmod {chmod} {quoted(*loose)}",
        not_owner_of(*owners) if set(owners) <= {0, owner} else "another user owns it",
        (0, *owners),
        functools.partial(_make_sticky, top, owner, loose),
    )


def _is_loose(status: os.stat_result) -> bool:
    """Return whether users other than the owner may rename other users' files in a directory."""
    return trust.writable_by_others(status) and not status.st_mode & stat.S_ISVTX


def _make_sticky(top: Path, owner: int, paths: Sequence[Path]) -> None:
    """Make the directories ``paths`` sticky; raise OSError."""
    for path in paths:
        _check_above(top, owner, path)
        fs.set_directory(path, stat.S_IMODE(path.lstat().st_mode) | stat.S_ISVTX)


def look_above(report: DoctorReport, top: Path, made: Made | None) -> None:
    """Report directories above the store that let others replace it, or keep its group out."""
    left = "the directory is not a part of the store"
    for above in top.parents:
        try:
            status = above.stat()
        except OSError:
            continue  # this user may not see it
        mode = stat.S_IMODE(status.st_mode)
        owners = (0, status.st_uid)
        has = f"{above} has mode {mode:04o}"
        if mode & stat.S_IWOTH and not mode & stat.S_ISVTX:
            sentence = f"{has}: all users may replace the store with another one"
            report.add_finding("above", sentence, f"chmod +t {quoted(above)}", left, owners)
        if made is not None and made.gid is not None:
            wanted = stat.S_IXOTH | (stat.S_IXGRP if status.st_gid == made.gid else 0)
            if not mode & wanted:
                sentence = f"{has}: members of {made.group} may not enter it"
                command = f"chmod a+x {quoted(above)}"
                report.add_finding("out-of-reach", sentence, command, left, owners)


def find_blocked_directory(report: DoctorReport, path: Path) -> bool:
    """Report the first directory above ``path`` that this process may not enter.

    The last directory is the store at ``path`` itself, if it may not be read. Return False if
    access has another obstacle, or no obstacle.
    """
    for step in (*reversed(path.parents), path):
        last = step == path
        try:
            if os.access(step, os.R_OK | os.X_OK if last else os.X_OK):
                continue
            owner = step.stat().st_uid
        except OSError as error:
            if error.errno == errno.EACCES:
                continue
            return False
        report.add_finding(
            "out-of-reach",
            f"You may not {'read' if last else 'enter'} {step}: the store {path} cannot be used",
            f"chmod a+{'rx' if last else 'x'} {quoted(step)}",
            "its owner decides who may enter",
            (0, owner),
        )
        return True
    return False
