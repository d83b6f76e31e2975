"""The push of wheels of a store, and of their bytecode, to the remote stores of the settings."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from pip_sharedcache import fs
from pip_sharedcache.config import RemoteSetting, Settings
from pip_sharedcache.errors import DamagedEntry, SigningError, UsageError, reason
from pip_sharedcache.fs import Directory
from pip_sharedcache.model import Digest, Entry, Policy, identity_of
from pip_sharedcache.remote.bytecode_objects import object_key, write_object
from pip_sharedcache.remote.client import Client, interpreter
from pip_sharedcache.remote.pushing import Item, Pushed, missing, push
from pip_sharedcache.remote.stores import RemoteStore, wheel_key
from pip_sharedcache.store import BYTECODE, StoredEntry, interpreter_of
from pip_sharedcache.store.entry_reading import read_entry

_AT_ONCE = 32  # objects that are signed, and lie in temporary files, at one time


@dataclass(frozen=True)
class PushedTo:
    """The result for one remote store.

    ``url``: its URL.
    ``wheels``, ``bytecode``: the counts.
    ``problems``: why not all was pushed.
    """

    url: str
    wheels: Pushed
    bytecode: Pushed
    problems: tuple[str, ...]


def push_entries(
    settings: Settings, wheels: Sequence[Entry], bytecode: Sequence[StoredEntry]
) -> Iterator[PushedTo]:
    """Push ``wheels`` and ``bytecode`` to each remote store that takes some; yield the results.

    Bytecode of publishers that this user trusts is signed with the setting signing-key; without
    this setting, none is pushed. Raises UsageError if there is no such remote store.
    """
    for setting in targets(settings):
        timeout = settings.remote_timeout

        def access(url: str = setting.url, timeout: int = timeout) -> Client:
            return Client(url, interpreter(settings.remote_python), timeout)

        store = RemoteStore(setting, access)
        items = [
            Item(wheel_key(one.manifest.digest), one.wheel, one.manifest.digest) for one in wheels
        ]
        signed = Pushed()
        try:
            pushed = push(store, items)
            if settings.signing_key is not None and store.failure is None:
                signed = _push_bytecode(store, bytecode, settings.signing_key)
        finally:
            store.end()
        problems = [*pushed.problems, *signed.problems]
        problems += [str(store.failure)] if store.failure else []
        yield PushedTo(setting.url, pushed, signed, tuple(problems))


def _push_bytecode(store: RemoteStore, items: Iterable[StoredEntry], key: Path) -> Pushed:
    """Push the bytecode ``items`` to ``store``, signed with ``key``."""
    done = Pushed()
    by_name: dict[str, Entry] = {}
    for item in items:
        if item.area != BYTECODE or item.damage or item.distrust_reason:
            continue
        try:
            entry = _entry_of(item)
            by_name.setdefault(
                object_key(entry.manifest.digest, *interpreter_of(entry.manifest)), entry
            )
        except FileNotFoundError:
            continue  # it has vanished meanwhile
        except (DamagedEntry, OSError) as error:
            done.problems.append(f"{item.path}: {_why(error)}")
    names = missing(store, list(by_name))
    done.present = len(by_name) - len(names) if store.failure is None else 0
    for start in range(0, len(names), _AT_ONCE):
        with fs.temporary_directory() as directory:
            new: list[Item] = []
            for name in names[start : start + _AT_ONCE]:
                path = directory / str(len(new))
                try:
                    new.append(Item(name, path, write_object(path, by_name[name], key)))
                except SigningError as error:
                    done.problems.append(str(error))
                    return done
                except (DamagedEntry, OSError) as error:
                    done.problems.append(f"{by_name[name].path}: {_why(error)}")
            part = push(store, new)
        done.count, done.size = done.count + part.count, done.size + part.size
        done.problems += part.problems
        if store.failure is not None:
            break
    return done


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
