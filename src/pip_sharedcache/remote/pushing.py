"""The push of files to one remote store: what it does not have yet."""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from pip_sharedcache.errors import reason
from pip_sharedcache.remote.access import Answer, Has, Put, Request
from pip_sharedcache.remote.stores import RemoteStore


@dataclass(frozen=True)
class Item:
    """A file to push: the object ``key``, its ``path`` here, and its ``sha256``.

    ``replaces``: whether it is put in place of what the store has under ``key``.
    """

    key: str
    path: Path
    sha256: str
    replaces: bool = False


@dataclass
class Pushed:
    """The result of a push.

    ``count``, ``size``: the number of objects that were put, and their bytes.
    ``present``: the number of objects that the store has already.
    ``problems``: why files could not be put, each with the key.
    """

    count: int = 0
    size: int = 0
    present: int = 0
    problems: list[str] = field(default_factory=list)


def missing(store: RemoteStore, keys: Sequence[str], within: float | None = None) -> list[str]:
    """Return those ``keys`` that ``store`` does not have; none if it fails. ``within``: seconds."""
    there: set[str] = set()

    def answered(request: Request, answer: Answer) -> None:
        if answer.size >= 0 and request.key not in store.wrong:
            there.add(request.key)

    works = store.ask([Has(key) for key in keys], answered, within)
    return [key for key in keys if key not in there] if works else []


def push(
    store: RemoteStore,
    items: Sequence[Item],
    within: Callable[[], float] | None = None,
    on_answer: Callable[[], None] = lambda: None,
) -> Pushed:
    """Put those ``items`` into ``store`` that it does not have, or has in another size.

    Also those that replace what it has, or that it has wrong, as far as is known. Each file is
    hashed before it is put.
    ``within``: returns the most seconds that are left for all. ``on_answer``: called for each
    item that is done with. ``store.failure`` says whether the push has failed.
    """
    left = {one.key: one for one in items}
    pushed = Pushed()
    sizes = {}
    for one in items:
        try:
            sizes[one.key] = os.stat(one.path).st_size
        except OSError as error:
            pushed.problems.append(f"{one.path}: {reason(error)}")
            del left[one.key]

    def is_there(request: Request, answer: Answer) -> None:
        if answer.size == sizes[request.key] and request.key not in store.wrong:
            del left[request.key]
            pushed.present += 1
            on_answer()

    def is_put(request: Request, answer: Answer) -> None:
        store.absent.discard(request.key)
        on_answer()
        if answer.problem:
            pushed.problems.append(f"{request.key}: {answer.problem}")
            return
        pushed.count += 1
        pushed.size += answer.size

    doubtful = [Has(key) for key, one in left.items() if not one.replaces]
    if store.ask(doubtful, is_there, within and within()):
        puts = [Put(one.key, one.path, one.sha256) for one in left.values()]
        store.absent.difference_update(left)
        store.ask(puts, is_put, within and within())
    return pushed
