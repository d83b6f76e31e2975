"""The push of wheels of a store to the remote stores of the settings."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

from pip_sharedcache.config import RemoteSetting, Settings
from pip_sharedcache.errors import UsageError
from pip_sharedcache.model import Entry, Policy
from pip_sharedcache.remote.client import Client, interpreter
from pip_sharedcache.remote.pushing import Item, Pushed, push
from pip_sharedcache.remote.stores import RemoteStore, wheel_key


@dataclass(frozen=True)
class PushedTo:
    """The result for one remote store: its URL, the counts, and why it failed, or ""."""

    url: str
    pushed: Pushed
    failure: str


def push_wheels(
    settings: Settings, entries: Sequence[Entry], on_answer: Callable[[], None]
) -> Iterator[PushedTo]:
    """Push the wheels of ``entries`` to each remote store that takes some; yield the results.

    ``on_answer``: called for each wheel that is done with. Raises UsageError if there is no such
    remote store.
    """
    for setting in targets(settings):
        timeout = settings.remote_timeout

        def access(url: str = setting.url, timeout: int = timeout) -> Client:
            return Client(url, interpreter(settings.remote_python), timeout)

        store = RemoteStore(setting, access)
        items = [
            Item(wheel_key(digest), one.wheel, digest)
            for one in entries
            if (digest := one.manifest.digest)
        ]
        try:
            pushed = push(store, items, on_answer=on_answer)
        finally:
            store.end()
        yield PushedTo(setting.url, pushed, str(store.failure or ""))


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
