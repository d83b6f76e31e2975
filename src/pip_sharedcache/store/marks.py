"""Who used what, and when: what garbage collection goes by.

Below ``use/<uid>/`` each user keeps, in files of their own, when they last used which entry
(``marks``), and which symlinks into entries their environments have (``links-*``). Files are
replaced, never written in place, and nobody's times are set; a store that may not be written is
used without marks.
"""

from __future__ import annotations

import errno
import json
import os
import secrets
import time
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path

from pip_sharedcache import linker, trust
from pip_sharedcache.linker import Directory
from pip_sharedcache.store.layout import USE, Store

_MARKS = "marks"
_LINKS = "links-"
_DAY = 24 * 3600  # seconds
_FORGET = 800 * _DAY  # marks older than this say nothing any more
_TRIES = 3


def mark(store: Store, names: Iterable[str]) -> None:
    """Note that this user uses the entries called ``names`` today. Raises OSError."""
    now = int(time.time())
    wanted = frozenset(names)
    own = store.own_use()
    for _ in range(_TRIES):
        with Directory.open(own) as held:
            known = dict(_marks(held))
        fresh = [name for name in wanted if not now - _DAY < known.get(name, 0) <= now]
        if not fresh:
            return  # also how a run finds that another one of the same user left its marks alone
        known = {name: when for name, when in known.items() if now - when < _FORGET}
        known.update(dict.fromkeys(fresh, now))
        _replace(own / _MARKS, "".join(f"{when} {name}\n" for name, when in known.items()))


def used(store: Store) -> dict[str, int]:
    """When each entry was used last by anybody, in seconds since the epoch, by its name."""
    latest: dict[str, int] = {}
    now = int(time.time())
    for held in _users(store):
        for name, when in _marks(held):
            # A clock that was ahead must not keep an entry for ever.
            latest[name] = max(latest.get(name, 0), min(when, now))
    return latest


def register(store: Store, links: Mapping[str, str]) -> None:
    """Note symlinks of this user's environments: for the name of an entry the path of a link into
    it. Raises OSError."""
    if links:
        text = "".join(json.dumps([name, path]) + "\n" for name, path in links.items())
        _replace(store.own_use() / f"{_LINKS}{secrets.token_hex(8)}", text)


def linked(store: Store) -> set[str]:
    """The names of entries into which a registered symlink leads still, or may: one that cannot be
    looked at counts."""
    return {
        name
        for held in _users(store)
        for file in _link_files(held)
        for name, path in _links(held, file)
        if _leads(path, name)
    }


def forget(store: Store) -> None:
    """Delete this user's notes of which no symlink is left. Raises OSError."""
    for held in _users(store):
        if held.path.name != str(trust.user_id()):
            continue
        for file in _link_files(held):
            if not any(_leads(path, name) for name, path in _links(held, file)):
                (held.path / file).unlink(missing_ok=True)


def _leads(link: str, name: str) -> bool:
    try:
        return name in Path(os.readlink(link)).parts
    except (FileNotFoundError, NotADirectoryError):
        return False
    except OSError as error:
        return error.errno != errno.EINVAL  # no link; else somebody else's, or away for now


def _users(store: Store) -> Iterator[Directory]:
    """The directories of users, each held open while it is looked at, and each that user's own:
    anybody may have made one of another's name."""
    try:
        names = os.listdir(store.path / USE)
    except OSError:
        return
    for name in names:
        if not name.isdecimal():
            continue
        try:
            with Directory.open(store.path / USE) as above, above.subdirectory(name) as held:
                if not trust.OWNERS_MEAN_SOMETHING or held.status().st_uid == int(name):
                    yield held
        except OSError:
            continue  # removed meanwhile, a link, or not for us to read


def _marks(held: Directory) -> Iterator[tuple[str, int]]:
    for line in _lines(held, _MARKS):
        when, _, name = line.partition(" ")
        if when.isdecimal() and len(when) < 12:
            yield name, int(when)


def _link_files(held: Directory) -> list[str]:
    return [name for name in held.names() if name.startswith(_LINKS)]


def _links(held: Directory, file: str) -> Iterator[tuple[str, str]]:
    for line in _lines(held, file):
        try:
            name, path = json.loads(line)
        except (ValueError, TypeError):
            continue  # not by us
        if isinstance(name, str) and isinstance(path, str) and "\0" not in path:
            yield name, path


def _lines(held: Directory, name: str) -> list[str]:
    """The lines of a file of the user whose directory is ``held``; none where there is no such."""
    try:
        text, status = held.read(name)
    except OSError:
        return []
    if trust.OWNERS_MEAN_SOMETHING and status.st_uid != held.status().st_uid:
        return []
    return text.decode("utf-8", "replace").splitlines()


def _replace(path: Path, text: str) -> None:
    new = path.with_name(f".new-{secrets.token_hex(8)}")
    with linker.create_file(new, 0o644) as descriptor:
        linker.write_all(descriptor, text.encode("utf-8"))
    os.replace(new, path)
