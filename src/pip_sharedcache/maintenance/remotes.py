"""The remote stores that a command works on, and what the local stores know of their objects."""

from __future__ import annotations

import functools
import hashlib
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

from pip_sharedcache import fs
from pip_sharedcache.config import WEB_SCHEME, RemoteSetting, Settings
from pip_sharedcache.config.values import to_layers, without_secrets
from pip_sharedcache.errors import StoreNotMade, UsageError
from pip_sharedcache.maintenance.entries import read_entries, unread_lines
from pip_sharedcache.maintenance.selectors import Selector
from pip_sharedcache.model import Policy
from pip_sharedcache.remote.access import Answer, Has, Put, Request
from pip_sharedcache.remote.client import Client, interpreter
from pip_sharedcache.remote.inventory import RemoteObject
from pip_sharedcache.remote.stores import RemoteStore
from pip_sharedcache.store import BUILDS, BYTECODE, RESOLUTIONS, WHEELS, usage_marks
from pip_sharedcache.store.layers import Layers

#: The object that a trial of a remote store puts there, always with the same bytes.
PROBE = "probe"
_TEXT = b"pip-sharedcache store doctor\n"


def is_web(setting: RemoteSetting) -> bool:
    """Return whether the remote store is on a web server, which lists nothing."""
    return setting.url.startswith(f"{WEB_SCHEME}:")


def chosen_remotes(
    settings: Settings, url: str, doing: str, *, changes: bool = False
) -> list[RemoteSetting]:
    """Return the remote store ``url``, or for "" those of ``settings`` that can be listed.

    ``doing``: the command, such as "list". ``changes``: only those that the settings let runs write
    to. Raises UsageError if there is none.
    """
    if settings.offline:
        raise UsageError(f"Cannot {doing}: the setting offline allows no request")
    known = {one.url: one for one in settings.remotes}
    found = list(known.values())
    if url:
        given = _parsed(url)
        if given is None:
            shown = without_secrets(url)
            raise UsageError(f"Cannot {doing}: {shown} is not the URL of a remote store")
        found = [known.get(given.url, given)]
    if not found:
        raise UsageError(
            f"Cannot {doing}: the setting dir names no remote store",
            "give its URL: --remote s3://bucket/path",
        )
    if changes and url and found[0].policy is Policy.READ_ONLY and not is_web(found[0]):
        raise UsageError(f"Cannot {doing}: {found[0].url}: the setting dir calls it read-only")
    usable = [
        one for one in found if not is_web(one) and not (changes and one.policy is Policy.READ_ONLY)
    ]
    if not usable:
        why = "a web server lists nothing"
        if not all(map(is_web, found)):
            why = "the setting dir calls it read-only"
        raise UsageError(f"Cannot {doing}: {found[0].url}: {why}")
    return usable


def _parsed(url: str) -> RemoteSetting | None:
    try:
        (found,) = to_layers(url)
    except ValueError:
        return None
    return found if isinstance(found, RemoteSetting) else None


def open_remote(settings: Settings, setting: RemoteSetting) -> RemoteStore:
    """Return the remote store of ``setting``, which must be ended; it makes no request yet."""
    return RemoteStore(setting, functools.partial(open_bucket, settings, setting))


def open_bucket(settings: Settings, setting: RemoteSetting) -> Client:
    """Return the access to the object store of ``setting``."""
    python = interpreter(settings.remote_python)
    return Client(setting.url, python, float(settings.remote_timeout))


def clock(store: RemoteStore) -> float | None:
    """Return the time by the clock of ``store`` (seconds since the epoch); None if it fails.

    It is that of the object PROBE, which is put for this. Raises OSError.
    """
    found: list[float] = []

    def answered(request: Request, answer: Answer) -> None:
        if isinstance(request, Has) and answer.size >= 0:
            found.append(answer.modified)

    with fs.temporary_directory() as directory:
        path = directory / PROBE
        with path.open("xb") as file:
            file.write(_TEXT)
        digest = hashlib.sha256(_TEXT).hexdigest()
        if store.ask([Put(PROBE, path, digest)], answered):
            store.ask([Has(PROBE)], answered)
    return found[0] if found else None


@dataclass(frozen=True)
class LocalUse:
    """What the local stores know of wheels, bytecode and resolutions.

    ``titles``: the file names of wheels, by digest.
    ``ages``: seconds since the last use, by the names of entries without the uid of a publisher.
    ``problems``: why not all is known, a line for each reason.
    """

    titles: dict[str, str]
    ages: dict[str, float]
    problems: tuple[str, ...]

    def age_of(self, one: RemoteObject) -> float:
        """Return the seconds since ``one`` was last used in a local store; infinite for never."""
        name = f"{one.digest}.{one.tag}" if one.kind == BYTECODE else str(one.digest)
        return self.ages.get(name, float("inf"))


def read_local_use(settings: Settings, *, uses: bool = True) -> LocalUse:
    """Read what the local stores of ``settings`` know. ``uses``: also when entries were used."""
    layers, unusable = Layers.of_settings(settings, make=False)
    problems = [str(one) for one in unusable if not isinstance(one, StoreNotMade)]
    titles: dict[str, str] = {}
    ages: dict[str, float] = {}
    areas = (WHEELS, BYTECODE, BUILDS, RESOLUTIONS) if uses else (WHEELS,)
    for store in layers:
        now = usage_marks.now(store)
        unread: list[tuple[Path, str]] = []
        marks = usage_marks.last_uses(store, unread) if uses else {}
        contents = read_entries(store, (), areas, uses=uses)
        problems += unread_lines(dict([*contents.unread, *unread]).items())
        seen = [(name, now - mark.when) for name, mark in marks.items()]
        # Any publisher can choose a file name.
        for item in sorted(contents.items, key=lambda item: bool(item.distrust_reason)):
            seen.append((item.path.name, now - item.used(now)))
            if item.area == WHEELS and not item.damage and item.title.endswith(".whl"):
                titles.setdefault(item.digest, item.title)
        for name, age in seen:
            plain = _without_uid(name)
            ages[plain] = min(age, ages.get(plain, age))
    return LocalUse(titles, ages, tuple(problems))


def _without_uid(name: str) -> str:
    stem, dot, end = name.rpartition(".")
    return stem if dot and end.isdecimal() else name


def select_objects(
    objects: Iterable[RemoteObject], names: Sequence[str], titles: dict[str, str]
) -> tuple[list[RemoteObject], list[str]]:
    """Return those ``objects`` that ``names`` select, all without names, and the useless names.

    ``titles``: the file names of wheels that are known, by digest.
    """
    if not names:
        return list(objects), []
    listed = list(objects)
    chosen: set[str] = set()
    useless = []
    for name in names:
        selector = Selector(name)
        found = {
            one.key
            for one in listed
            if selector.selects_digest(one.digest)
            or selector.selects_title(titles.get(one.digest, ""))
        }
        chosen |= found
        if not found:
            useless.append(name)
    return [one for one in listed if one.key in chosen], useless
