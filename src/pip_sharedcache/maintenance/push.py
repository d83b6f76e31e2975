"""The push of what a store has, wheels and derived data, to the remote stores of the settings."""

from __future__ import annotations

import functools
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from pip_sharedcache.config import RemoteSetting, Settings
from pip_sharedcache.errors import DamagedEntry, UsageError, reason
from pip_sharedcache.fs import Directory
from pip_sharedcache.maintenance.remotes import open_remote
from pip_sharedcache.model import Digest, Entry, Policy, identity_of
from pip_sharedcache.remote.build_objects import build_object, names_local_path, write_build
from pip_sharedcache.remote.bytecode_objects import object_key, write_object
from pip_sharedcache.remote.pushing import Item, Pushed, SignedItem, push, push_signed
from pip_sharedcache.remote.resolution_objects import resolution_object, write_resolution
from pip_sharedcache.remote.stores import wheel_key
from pip_sharedcache.store import BUILDS, BYTECODE, RESOLUTIONS, StoredEntry, interpreter_of
from pip_sharedcache.store.built_wheels import read_build
from pip_sharedcache.store.entry_reading import read_entry
from pip_sharedcache.store.resolutions import PUBLIC, read_resolution


@dataclass(frozen=True)
class PushedTo:
    """The result for one remote store.

    ``url``: its URL.
    ``wheels``, ``bytecode``, ``builds``, ``resolutions``: the counts.
    ``problems``: why not all was pushed.
    """

    url: str
    wheels: Pushed
    bytecode: Pushed
    builds: Pushed
    resolutions: Pushed
    problems: tuple[str, ...]

    @property
    def size(self) -> int:
        """Return the bytes that were put."""
        return sum(one.size for one in self._parts)

    @property
    def present(self) -> int:
        """Return the number of objects that were there before."""
        return sum(one.present for one in self._parts)

    @property
    def _parts(self) -> tuple[Pushed, ...]:
        return self.wheels, self.bytecode, self.builds, self.resolutions


def push_entries(
    settings: Settings, wheels: Sequence[Entry], derived: Sequence[StoredEntry]
) -> Iterator[PushedTo]:
    """Push ``wheels`` and ``derived`` to each remote store that takes some; yield the results.

    Of the bytecode, the build records and the public resolutions in ``derived``, those of
    publishers that this user trusts are signed with the setting signing-key; without this setting,
    none is pushed. Raises UsageError if there is no such remote store.
    """
    for setting in targets(settings):
        store = open_remote(settings, setting)
        items = [
            Item(wheel_key(one.manifest.digest), one.wheel, one.manifest.digest) for one in wheels
        ]
        signed = [Pushed(), Pushed(), Pushed()]
        try:
            pushed = push(store, items)
            for number, kind in enumerate((_bytecode, _builds, _resolutions)):
                if settings.signing_key is not None and store.failure is None:
                    problems: list[str] = []
                    objects = kind(derived, settings.signing_key, problems)
                    signed[number] = push_signed(store, objects)
                    signed[number].problems[:0] = problems
        finally:
            store.end()
        told = [problem for one in (pushed, *signed) for problem in one.problems]
        told += [str(one.unsigned) for one in signed if one.unsigned is not None]
        told += [str(store.failure)] if store.failure else []
        unique = tuple(dict.fromkeys(told))
        yield PushedTo(setting.url, pushed, signed[0], signed[1], signed[2], unique)


def _bytecode(items: Iterable[StoredEntry], key: Path, problems: list[str]) -> Iterator[SignedItem]:
    """Yield the bytecode among ``items``, to be signed with ``key``; add to ``problems``."""
    for item in _trusted(items, BYTECODE):
        try:
            entry = _entry_of(item)
        except FileNotFoundError:
            continue  # it has vanished meanwhile
        except (DamagedEntry, OSError) as error:
            problems.append(f"{item.path}: {_why(error)}")
            continue
        name = object_key(entry.manifest.digest, *interpreter_of(entry.manifest))
        write = functools.partial(write_object, compiled=entry, signing_key=key)
        yield SignedItem(name, write)


def _builds(items: Iterable[StoredEntry], key: Path, problems: list[str]) -> Iterator[SignedItem]:
    """Yield the build records among ``items``, as ``_bytecode`` does."""
    for item in _trusted(items, BUILDS):
        try:
            with Directory.open(item.path) as held:
                build = read_build(held, item.identity)
        except FileNotFoundError:
            continue  # it has vanished meanwhile
        except OSError as error:
            problems.append(f"{item.path}: {reason(error)}")
            continue
        if build is None:
            problems.append(f"{item.path}: it is no build record")
        elif not names_local_path(build):
            of_key = Digest(item.digest)
            write = functools.partial(write_build, key=of_key, build=build, signing_key=key)
            yield SignedItem(build_object(of_key), write)


def _resolutions(
    items: Iterable[StoredEntry], key: Path, problems: list[str]
) -> Iterator[SignedItem]:
    """Yield the public resolutions among ``items``, the newest first, as ``_bytecode`` does."""
    found = []
    for item in _trusted(items, RESOLUTIONS):
        try:
            with Directory.open(item.path) as held:
                found.append((Digest(item.digest), read_resolution(held, Digest(item.digest))))
        except FileNotFoundError:
            continue  # it has vanished meanwhile
        except (DamagedEntry, OSError) as error:
            problems.append(f"{item.path}: {_why(error)}")
    for of_key, stored in sorted(found, key=lambda one: -one[1].at):
        if stored.data.get(PUBLIC) is True:
            record = {name: it for name, it in stored.data.items() if name not in (PUBLIC, "at")}
            write = functools.partial(write_resolution, key=of_key, record=record, signing_key=key)
            yield SignedItem(resolution_object(of_key), write)


def _trusted(items: Iterable[StoredEntry], area: str) -> Iterator[StoredEntry]:
    for item in items:
        if item.area == area and not (item.damage or item.distrust_reason):
            yield item


def _entry_of(item: StoredEntry) -> Entry:
    """Return the entry of ``item`` with its manifest. Raises DamagedEntry, OSError."""
    with Directory.open(item.path) as held:
        status = held.status()
        if identity_of(status) != item.identity:
            raise FileNotFoundError
        return replace(read_entry(held, status, Digest(item.digest), item.area), path=item.path)


def _why(error: DamagedEntry | OSError) -> str:
    return reason(error) if isinstance(error, OSError) else str(error)


def targets(settings: Settings) -> list[RemoteSetting]:
    """Return the remote stores that take wheels. Raises UsageError if there is none."""
    found = [one for one in settings.remotes if one.policy is Policy.PUBLISH]
    if not found:
        what = "read-only remote stores only" if settings.remotes else "no remote store"
        raise UsageError(
            f"Cannot push: the setting dir names {what}",
            "add a line with its URL to the setting, such as s3://bucket/path",
        )
    if settings.offline:
        raise UsageError("Cannot push: the setting offline allows no request")
    return found
