"""The push of a store's wheels, bytecode and build records to the remote stores of the settings."""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from pip_sharedcache import fs
from pip_sharedcache.config import RemoteSetting, Settings
from pip_sharedcache.errors import DamagedEntry, SigningError, UsageError, reason
from pip_sharedcache.fs import Directory
from pip_sharedcache.maintenance.remotes import open_remote
from pip_sharedcache.model import Digest, Entry, Policy, identity_of
from pip_sharedcache.remote.build_objects import build_object, names_local_path, write_build
from pip_sharedcache.remote.bytecode_objects import object_key, write_object
from pip_sharedcache.remote.pushing import Item, Pushed, missing, push
from pip_sharedcache.remote.stores import RemoteStore, wheel_key
from pip_sharedcache.store import BUILDS, BYTECODE, StoredEntry, interpreter_of
from pip_sharedcache.store.built_wheels import read_build
from pip_sharedcache.store.entry_reading import read_entry

_AT_ONCE = 32  # objects that are signed, and lie in temporary files, at one time

#: Writes an object to a new file, and returns its sha256. Raises SigningError, DamagedEntry and
#: OSError.
_Write = Callable[[Path], str]


@dataclass(frozen=True)
class PushedTo:
    """The result for one remote store.

    ``url``: its URL.
    ``wheels``, ``bytecode``, ``builds``: the counts.
    ``problems``: why not all was pushed.
    """

    url: str
    wheels: Pushed
    bytecode: Pushed
    builds: Pushed
    problems: tuple[str, ...]


def push_entries(
    settings: Settings, wheels: Sequence[Entry], derived: Sequence[StoredEntry]
) -> Iterator[PushedTo]:
    """Push ``wheels`` and ``derived`` to each remote store that takes some; yield the results.

    Of the bytecode and the build records in ``derived``, those of publishers that this user trusts
    are signed with the setting signing-key; without this setting, none is pushed. Raises UsageError
    if there is no such remote store.
    """
    for setting in targets(settings):
        store = open_remote(settings, setting)
        items = [
            Item(wheel_key(one.manifest.digest), one.wheel, one.manifest.digest) for one in wheels
        ]
        bytecode, builds = Pushed(), Pushed()
        try:
            pushed = push(store, items)
            if settings.signing_key is not None and store.failure is None:
                bytecode = _push_bytecode(store, derived, settings.signing_key)
                if store.failure is None:
                    builds = _push_builds(store, derived, settings.signing_key)
        finally:
            store.end()
        problems = [*pushed.problems, *bytecode.problems, *builds.problems]
        problems += [str(store.failure)] if store.failure else []
        yield PushedTo(setting.url, pushed, bytecode, builds, tuple(dict.fromkeys(problems)))


def _push_bytecode(store: RemoteStore, items: Iterable[StoredEntry], key: Path) -> Pushed:
    """Push the bytecode among ``items`` to ``store``, signed with ``key``."""
    done = Pushed()
    by_name: dict[str, _Write] = {}
    for item in _trusted(items, BYTECODE):
        try:
            entry = _entry_of(item)
            name = object_key(entry.manifest.digest, *interpreter_of(entry.manifest))
            by_name.setdefault(name, functools.partial(write_object, compiled=entry, key=key))
        except FileNotFoundError:
            continue  # it has vanished meanwhile
        except (DamagedEntry, OSError) as error:
            done.problems.append(f"{item.path}: {_why(error)}")
    _push_signed(store, by_name, done)
    return done


def _push_builds(store: RemoteStore, items: Iterable[StoredEntry], key: Path) -> Pushed:
    """Push the build records among ``items`` to ``store``, signed with ``key``."""
    done = Pushed()
    by_name: dict[str, _Write] = {}
    for item in _trusted(items, BUILDS):
        try:
            with Directory.open(item.path) as held:
                build = read_build(held, item.identity)
        except FileNotFoundError:
            continue  # it has vanished meanwhile
        except OSError as error:
            done.problems.append(f"{item.path}: {reason(error)}")
            continue
        if build is None:
            done.problems.append(f"{item.path}: it is no build record")
            continue
        if names_local_path(build):
            continue
        of_key = Digest(item.digest)
        write = functools.partial(write_build, key=of_key, build=build, signing_key=key)
        by_name.setdefault(build_object(of_key), write)
    _push_signed(store, by_name, done)
    return done


def _trusted(items: Iterable[StoredEntry], area: str) -> Iterator[StoredEntry]:
    for item in items:
        if item.area == area and not (item.damage or item.distrust_reason):
            yield item


def _push_signed(store: RemoteStore, by_name: Mapping[str, _Write], done: Pushed) -> None:
    """Push what ``store`` lacks of the objects ``by_name``, few at one time; count in ``done``."""
    names = missing(store, list(by_name))
    done.present = len(by_name) - len(names) if store.failure is None else 0
    for start in range(0, len(names), _AT_ONCE):
        with fs.temporary_directory() as directory:
            new: list[Item] = []
            for name in names[start : start + _AT_ONCE]:
                path = directory / str(len(new))
                try:
                    new.append(Item(name, path, by_name[name](path)))
                except SigningError as error:
                    done.problems.append(str(error))
                    return
                except (DamagedEntry, OSError) as error:
                    done.problems.append(f"{name}: {_why(error)}")
            part = push(store, new)
        done.count, done.size = done.count + part.count, done.size + part.size
        done.problems += part.problems
        if store.failure is not None:
            break


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
