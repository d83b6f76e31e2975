"""store.json and bans.json: whether they are readable and trusted, and the names in store.json."""

from __future__ import annotations

import functools
import json
import os
import stat
from pathlib import Path

from pip_sharedcache import fs, trust
from pip_sharedcache.errors import reason
from pip_sharedcache.fs import Directory
from pip_sharedcache.maintenance.doctor.report import DoctorReport, not_owner_of, quoted
from pip_sharedcache.model import FORMAT, PACKED_FORMAT
from pip_sharedcache.store import STORE_JSON, TAG_NAME, Store
from pip_sharedcache.store.bans import BANS_JSON, BansUnusable

_MODE = 0o644


def check_store_json(report: DoctorReport, top: Path) -> str | None:
    """Report why some users cannot read store.json, or do not trust it.

    Return the group for which the store was made, "" for a store of one user, None if no trusted
    store.json says this. A missing store.json is a finding only if store init has left other
    traces: a store made by hand has none. Raise OSError.
    """
    path = top / STORE_JSON
    chmod = f"chmod {_MODE:04o} {quoted(path)}"
    with Directory.open(top) as held:
        store = held.status()
        find = functools.partial(report.add_finding, "configuration", by=(0, store.st_uid))
        try:
            text, status = held.read(STORE_JSON)
        except FileNotFoundError:
            if TAG_NAME in held.names() and (group := _group_of(store)):
                who = " and ".join(dict.fromkeys(["root", trust.user_name(store.st_uid)]))
                find(
                    f"{path} is missing: only entries of {who} are trusted",
                    f"pip-sharedcache store init --group {quoted(group, top)}",
                    "pip-sharedcache does not know which group shares the store",
                )
            return None
        except OSError as error:
            regular = stat.S_ISREG(held.file_status(STORE_JSON).st_mode)
            find(
                f"{path} cannot be read ({reason(error)}): the store cannot be used",
                chmod if regular else _anew(top, store),
                "you cannot read the file to copy it" if regular else "it is not a regular file",
            )
            return None
    mode = stat.S_IMODE(status.st_mode)
    # A new file: a user who has the old one open for writing cannot change it.
    rewrite = functools.partial(fs.replace_file, path, text, _MODE)
    if status.st_uid not in (0, store.st_uid):
        who = trust.user_name(status.st_uid)
        sentence = f"{path} belongs to {who}, who may not list publishers: the file is not trusted"
        left = f"{who} may have written anything into it: read the file first"
        find(sentence, _anew(top, store), left)
        return None
    left = not_owner_of(store.st_uid)
    if trust.writable_by_others(status):
        named = _named(text)
        if set(named) - {f"@{trust.group_name(store.st_gid)}"}:
            left = left or "check first that you trust the publishers in it"
        sentence = (
            f"{path} has mode {mode:04o}: others may list publishers in it, so the file is not "
            f"trusted; it lists {', '.join(named) or 'no publisher'}"
        )
        find(sentence, chmod, left, fix=rewrite)
        return None
    if store.st_mode & 0o005 == 0o005 and not mode & stat.S_IROTH:
        sentence = f"{path} has mode {mode:04o}: others cannot read it, and cannot use the store"
        find(sentence, chmod, left, fix=rewrite)
    return _look_at_text(report, top, store, text)


def explain_bans(report: DoctorReport, error: BansUnusable) -> None:
    """Report why the list of bans of a store says nothing reliable."""
    command = error.command or f"ls -la {quoted(str(error.path))}; dmesg | tail"
    left = "doctor does not know which wheels the list is to ban"
    report.add_finding("bans", error.message, command, left, (0, error.owner))


def look_at_bans(report: DoctorReport, top: Path) -> None:
    """Report a list of bans that belongs to another user, which no run heeds. Raise OSError."""
    path, owner = top / BANS_JSON, top.stat().st_uid
    try:
        status = path.lstat()
    except FileNotFoundError:
        return
    if status.st_uid in (0, owner) or not trust.OWNERS_MEAN_SOMETHING:
        return
    who, tree = trust.user_name(status.st_uid), stat.S_ISDIR(status.st_mode)
    report.add_finding(
        "bans",
        f"{path} belongs to {who}, and is ignored: {who} bans nothing",
        f"rm {'-r ' if tree else ''}{quoted(path)}",
        f"{who} owns it",
        (0,) if tree else (0, owner),
    )


def _look_at_text(
    report: DoctorReport, top: Path, store: os.stat_result, text: bytes
) -> str | None:
    owners = (0, store.st_uid)
    path = top / STORE_JSON
    try:
        data = json.loads(text)
        version, names = data["format"], data.get("trusted", [])
        if not isinstance(names, list):
            raise TypeError("trusted is no list")
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
        empty = not text.strip(b"\0\n ")
        report.add_finding(
            "configuration",
            f"{path} is {'empty' if empty else f'damaged ({error})'}: the store cannot be used",
            _anew(top, store),
            not_owner_of(store.st_uid) if empty else "it may list publishers that you want to keep",
            owners,
            functools.partial(_make_anew, top, store),
        )
        return None
    if version not in (FORMAT, PACKED_FORMAT):
        report.add_finding(
            "configuration",
            f"{top} is a store of format {version}: this version reads the formats {FORMAT} and "
            f"{PACKED_FORMAT} only",
            "python -m pip install --upgrade pip-sharedcache",
            "the version of pip-sharedcache is your choice",
        )
        return None
    group = str(data.get("group") or "")
    listed = [*map(str, names), *([f"@{group}"] if group else [])]
    unknown = list(dict.fromkeys(filter(trust.is_unknown, listed)))
    if unknown:
        report.add_finding(
            "unknown-names",
            f"{path} lists {', '.join(unknown)}, whom this machine does not know: "
            "these are not trusted",
            f"${{EDITOR:-vi}} {quoted(path)}",
            "the names may be misspelt, deleted, or unknown on this machine only",
            owners,
        )
    return group


def _named(text: bytes) -> list[str]:
    """Return the publishers that the text lists, whether or not the file is trusted."""
    try:
        return [str(name) for name in json.loads(text)["trusted"]]
    except (ValueError, KeyError, TypeError, RecursionError):
        return []


def _group_of(store: os.stat_result) -> str:
    """Return the group that shares a store, by the mode of its directory; "" for none."""
    return trust.group_name(store.st_gid) if store.st_mode & stat.S_ISGID else ""


def _anew(top: Path, store: os.stat_result) -> str:
    """Return the command that makes store.json anew.

    For a store that others may write, the command only removes the file: such a store was made by
    hand and needs no store.json, and store init would lock the other users out.
    """
    remove = f"rm -r {quoted(top / STORE_JSON)}"
    if trust.writable_by_others(store):
        return remove
    group = _group_of(store)
    option = ["--group", group] if group else []
    return f"{remove} && pip-sharedcache store init {quoted(*option, top)}"


def _make_anew(top: Path, store: os.stat_result) -> None:
    """Do what the command of ``_anew`` does; raise OSError."""
    (top / STORE_JSON).unlink()
    if not trust.writable_by_others(store):
        Store.make(top, _group_of(store))
