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
    Finding,
    enumeration,
    may_act_for,
    quoted,
    words,
)
from pip_sharedcache.store import RESOLUTIONS, STORE_JSON, expected_directories
from pip_sharedcache.trust import access_lists

#: For nfs4_setfacl(1): only the entries of the mode, which chmod(1) sets afterwards.
_PLAIN_LIST = "A::OWNER@:rwaDxtTcCy,A:g:GROUP@:rxtcy,A::EVERYONE@:rxtcy"
_MOST_NAMED = 3


@dataclass(frozen=True)
class Made:
    """How a store was made.

    ``top``: the directory of the store.
    ``owner``: the uid of its owner.
    ``group``: the name of the group for which it was made; "" for one user.
    ``gid``: the gid of the group; None for one user.
    ``mapped``: whether a user namespace hides some owners and groups.
    """

    top: Path
    owner: int
    group: str
    gid: int | None
    mapped: bool = False


@dataclass(frozen=True)
class _Difference:
    """One difference between a directory and the directory that store init makes.

    ``path``: the directory.
    ``kind``: the kind of difference, for programs.
    ``wanted``: the mode that store init sets.
    ``is_``: the difference, in words that follow the path.
    ``why``: the consequence, in words.
    ``owner``: the uid of the user who may fix it.
    """

    path: Path
    kind: str
    wanted: int
    is_: str
    why: str
    owner: int


def look_at_made(report: DoctorReport, made: Made) -> None:
    """Compare all directories with those that Store.make makes, and report the differences."""
    by_kind: dict[tuple[str, int], list[_Difference]] = {}
    total = 0
    older = not os.path.lexists(made.top / RESOLUTIONS)
    for relative, mode in expected_directories(shared=made.gid is not None):
        of_later = older and relative.partition("/")[0] == RESOLUTIONS
        if of_later and made.gid is None:
            continue  # the first resolution makes them
        total += 1
        for found in _differences(made, made.top / relative, mode):
            if of_later:
                found = replace(found, kind="no-resolutions")
            alike = 0 if found.kind in ("missing", "no-resolutions") else mode
            by_kind.setdefault((found.kind, alike), []).append(found)
    differing = {found.path for group in by_kind.values() for found in group}
    report.add_fact(
        "directories",
        f"{total}, {f'{len(differing)} differ' if differing else 'all'} "
        f"{'from what' if differing else 'as'} store init makes",
        {"expected": total, "differing": len(differing)},
    )
    for group in by_kind.values():
        report.add(_finding(made, group))


def _differences(made: Made, path: Path, mode: int) -> Iterator[_Difference]:
    """Yield the differences of the directory at ``path``, the worst first.

    Differences that this user cannot see are left out.
    """

    def differs(kind: str, is_: str, why: str, owner: int = made.owner) -> _Difference:
        return _Difference(path, kind, mode, is_, why, owner)

    try:
        status = path.lstat()
    except FileNotFoundError:
        yield differs("missing", "is missing", "nothing can be published in it")
        return
    except OSError:
        return  # the directory above has a finding of its own
    if not stat.S_ISDIR(status.st_mode):
        yield differs("no-directory", "is not a directory", "pip-sharedcache does not use it")
        return
    seen_uid = not (made.mapped and status.st_uid in trust.NOBODY)
    seen_gid = not (made.mapped and status.st_gid in trust.NOBODY)
    if seen_uid and status.st_uid not in (0, made.owner):
        who = trust.user_name(status.st_uid)
        yield differs("owner", f"belongs to {who}", f"{who} may rename all files in it")
        return
    owner = status.st_uid
    actual = stat.S_IMODE(status.st_mode)
    if seen_gid and made.gid is not None and status.st_gid != made.gid:
        is_ = f"has the group {trust.group_name(status.st_gid)}, not {made.group}"
        yield differs("group", is_, f"members of {made.group} cannot publish", owner)
    if access_lists.is_posix(path):
        why = "the list can let others write, or keep members out, although the mode does not"
        yield differs("access-list", "has an access list", why, owner)
        return  # the group bits of the mode are the mask of the list
    if theirs := _other_lists(made, path, status):
        why = "others may publish in it" if made.gid is not None else "others may write in it"
        kind = "nfs4-access-list" if access_lists.is_nfs4(path) else "unknown-access-list"
        yield differs(kind, theirs, f"{why}, so members are not trusted", owner)
    if actual != mode and not (made.gid is None and actual == mode | stat.S_ISGID):
        is_ = f"has mode {actual:04o}, not {mode:04o}"
        yield differs("mode", is_, _consequence(actual, mode), owner)


def _other_lists(made: Made, path: Path, status: os.stat_result) -> str:
    if made.gid is not None:
        return access_lists.foreign_publishers(path)
    return access_lists.foreign_writers(path, status.st_mode)


def _consequence(actual: int, wanted: int) -> str:
    """Return the worst consequence of the mode ``actual`` instead of ``wanted``, in words."""
    more, less = actual & ~wanted, wanted & ~actual
    if more & stat.S_IWOTH:
        return "all users may add files" + (
            "" if actual & stat.S_ISVTX else ", and rename those of others"
        )
    if more & stat.S_IWGRP:
        return "members of its group may rename files of others"
    if less & stat.S_ISVTX:
        return "members may delete entries of other publishers"
    if less & 0o700:
        return "its owner cannot use it"
    if less & stat.S_IWGRP:
        return "members of the group cannot publish"
    if less & 0o055:
        return "others cannot read it"
    if less & stat.S_ISGID:
        return "new files in it get another group"
    return "store init sets another mode"


def _finding(made: Made, group: Sequence[_Difference]) -> Finding:
    first = group[0]
    kind, mode = first.kind, first.wanted
    paths = [found.path for found in group]
    if kind == "no-resolutions":
        what = f"{first.path} is missing: users share no resolutions in this store"
    elif len(group) == 1:
        what = f"{first.path} {first.is_}: {first.why}"
    else:
        what = f"{len(group)} directories differ: {first.path} {first.is_}: {first.why}; the "
        what += f"others are {enumeration(paths[1:])}"
    named = _names(made, paths)
    init = f"pip-sharedcache store init {_option(made.group)}{quoted(made.top)}"
    cleared = "0" if any(_special(path) & ~mode for path in paths) else ""
    chmod = f"chmod {cleared}{mode:04o} {named}"
    command = {
        "missing": init,
        "no-resolutions": init,
        "no-directory": f"rm {words(paths)} && {init}",
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
    owners = (0, *dict.fromkeys(found.owner for found in group)) if kind != "owner" else (0,)
    if kind in ("no-directory", "owner"):
        return Finding(kind, what, command, owners, unfixed="store init did not make it")
    if kind in ("nfs4-access-list", "unknown-access-list"):
        why = "pip-sharedcache does not change access lists of this kind"
        return Finding(kind, what, command, owners, unfixed=why)
    if not may_act_for(*(found.owner for found in group)):
        return Finding(kind, what, command, owners, unfixed="another user owns it")
    return Finding(kind, what, command, owners, functools.partial(_fix, made, group))


def _option(group: str) -> str:
    return f"--group {quoted(group)} " if group else ""


def _special(path: Path) -> int:
    """Return the setuid and setgid bits of ``path``; 0 if it cannot be read.

    chmod(1) does not clear these bits of a directory if the mode has only four digits.
    """
    try:
        return path.lstat().st_mode & 0o6000
    except OSError:
        return 0


def _names(made: Made, paths: Sequence[Path]) -> str:
    """Return ``paths`` for a shell; many shards are written as a pattern."""
    if len(paths) <= _MOST_NAMED:
        return words(paths)
    shards = [path for path in paths if path.parent != made.top and path != made.top]
    areas = dict.fromkeys(path.parent for path in shards)
    rest = [path for path in paths if path not in set(shards)]
    patterns = [f"{quoted(area)}/[0-9a-f][0-9a-f]" for area in areas]
    return " ".join([*map(quoted, rest), *patterns])


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
        ours = stat.S_ISDIR(status.st_mode) and status.st_uid in (0, owner)
        if not ours or _is_loose(status):
            raise PermissionError(errno.EPERM, f"fix {above} first", str(path))


def look_at_handmade(report: DoctorReport, top: Path) -> None:
    """Report the directories of a handmade store that others may write and that are not sticky.

    No store.json says how such a store was made, so the modes must protect the entries of each
    user. The first user who publishes makes the directories sticky, too. Raise OSError.
    """
    report.add_fact(
        "directories",
        "made by hand, or without a trusted store.json: checked for sticky bits only",
        None,
    )
    owner = top.stat().st_uid
    for area in (area for area, _ in expected_directories(shared=True) if area and "/" not in area):
        _look_for_no_directory(report, top / area, owner)
    loose: list[Path] = []
    owners: list[int] = []
    for relative, _ in expected_directories(shared=True):
        try:
            status = (top / relative).lstat()
        except OSError:
            continue  # not made yet, or this user may not see it
        if stat.S_ISDIR(status.st_mode) and _is_loose(status):
            loose.append(top / relative)
            owners.append(status.st_uid)
    if not loose:
        return
    mode = stat.S_IMODE(loose[0].stat().st_mode)
    several = f"; the same applies to {enumeration(loose[1:])}" if len(loose) > 1 else ""
    chmod = f"{mode | stat.S_ISVTX:04o}" if len(loose) == 1 else "+t"
    fix = None
    if may_act_for(*owners) and set(owners) <= {0, owner}:
        fix = functools.partial(_make_sticky, top, owner, loose)
    report.add_finding(
        "mode",
        f"{loose[0]} has mode {mode:04o}, not {mode | stat.S_ISVTX:04o}: users who "
        f"may write it may delete entries of other publishers{several}",
        f"chmod {chmod} {words(loose)}",
        (0, *owners),
        fix,
        "" if fix else "another user owns it",
    )


def _look_for_no_directory(report: DoctorReport, path: Path, owner: int) -> None:
    try:
        status = path.lstat()
    except OSError:
        return
    if not stat.S_ISDIR(status.st_mode):
        who = trust.user_name(status.st_uid)
        what = f"{path} of {who} is not a directory: pip-sharedcache uses nothing in it"
        owners, left = (0, owner, status.st_uid), "store init did not make it"
        report.add_finding("no-directory", what, f"rm {quoted(path)}", owners, unfixed=left)


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
    for above in top.parents:
        try:
            status = above.stat()
        except OSError:
            continue  # this user may not see it
        mode = stat.S_IMODE(status.st_mode)
        owners = (0, status.st_uid)
        theirs = "the directory is not a part of the store"
        if mode & stat.S_IWOTH and not mode & stat.S_ISVTX:
            sentence = (
                f"{above} has mode {mode:04o}: all users may replace the store with another one"
            )
            command = f"chmod +t {quoted(above)}"
            report.add_finding("above", sentence, command, owners, unfixed=theirs)
        reached = mode & stat.S_IXOTH
        if made is not None and made.gid is not None:
            reached = reached or (mode & stat.S_IXGRP and status.st_gid == made.gid)
            if not reached:
                sentence = f"{above} has mode {mode:04o}: members of {made.group} may not enter it"
                command = f"chmod a+x {quoted(above)}"
                report.add_finding("out-of-reach", sentence, command, owners, unfixed=theirs)


def find_blocked_directory(path: Path) -> Finding | None:
    """Return a finding on the first directory above ``path`` that this process may not enter.

    The last directory is the store at ``path`` itself, if it may not be read. None if access has
    another obstacle, or no obstacle.
    """
    for step in (*reversed(path.parents), path):
        wanted = os.R_OK | os.X_OK if step == path else os.X_OK
        try:
            if os.access(step, wanted):
                continue
            owner = step.stat().st_uid
        except OSError as error:
            if error.errno == errno.EACCES:
                continue
            return None
        letters = "rx" if step == path else "x"
        what = f"You may not enter {step}" if step != path else f"You may not read {step}"
        return Finding(
            "out-of-reach",
            f"{what}: the store {path} cannot be used",
            f"chmod a+{letters} {quoted(step)}",
            (0, owner),
            unfixed="its owner decides who may enter",
        )
    return None
