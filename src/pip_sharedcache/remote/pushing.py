"""The push of files to one remote store: what it does not have yet."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from pip_sharedcache import fs
from pip_sharedcache.errors import DamagedEntry, SigningError, reason
from pip_sharedcache.remote.access import Answer, Has, Put, Request
from pip_sharedcache.remote.stores import RemoteStore

_AT_ONCE = 32  # objects that are signed, and lie in temporary files, at one time
_SHORTEST = 0.1  # seconds of a request at least: the client says then that the time is over


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
    ``unsigned``: why no more objects could be signed; None if they could.
    ``problems``: why files could not be put, each with the key.
    """

    count: int = 0
    size: int = 0
    present: int = 0
    unsigned: SigningError | None = None
    problems: list[str] = field(default_factory=list)

    def add(self, other: Pushed) -> None:
        """Add what ``other`` has put, and its problems."""
        self.count += other.count
        self.size += other.size
        self.problems += other.problems


#: Writes an object to a new file, and returns its sha256. Raises SigningError, DamagedEntry and
#: OSError.
Write = Callable[[Path], str]


@dataclass(frozen=True)
class SignedItem:
    """An object to sign and push: its ``key``, and what writes it.

    ``replaces``: as for Item.
    """

    key: str
    write: Write
    replaces: bool = False


def _limit(within: Callable[[], float] | None) -> float | None:
    return None if within is None else max(_SHORTEST, within())


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
    ``within``: returns the seconds that are left for all. ``on_answer``: called for each
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
    if store.ask(doubtful, is_there, _limit(within)):
        puts = [Put(one.key, one.path, one.sha256) for one in left.values()]
        store.absent.difference_update(left)
        store.ask(puts, is_put, _limit(within))
    return pushed


def push_signed(
    store: RemoteStore,
    items: Iterable[SignedItem],
    within: Callable[[], float] | None = None,
) -> Pushed:
    """Sign and put those ``items`` that ``store`` lacks, or that replace what it has.

    Of several with one key, the first counts. Few are signed at one time. ``within``: as for
    ``push``. ``store.failure`` says whether the push has failed.
    """
    by_key: dict[str, SignedItem] = {}
    for one in items:
        by_key.setdefault(one.key, one)
    asked = [key for key, one in by_key.items() if not one.replaces]
    lacking = missing(store, asked, _limit(within)) if asked else []
    done = Pushed()
    if store.failure is not None:
        return done
    done.present = len(asked) - len(lacking)
    wanted = [*(key for key, one in by_key.items() if one.replaces), *lacking]
    for start in range(0, len(wanted), _AT_ONCE):
        with fs.temporary_directory() as directory:
            names = wanted[start : start + _AT_ONCE]
            signed = _sign([by_key[name] for name in names], directory, within, done)
            done.add(push(store, signed, within) if signed else Pushed())
        if store.failure is not None or done.unsigned is not None:
            break
        if within is not None and within() <= 0:
            break
    return done


def _sign(
    items: Sequence[SignedItem],
    directory: Path,
    within: Callable[[], float] | None,
    done: Pushed,
) -> list[Item]:
    """Write ``items`` to files in ``directory``, and return these; add to ``done`` what fails."""
    signed: list[Item] = []
    for one in items:
        if within is not None and within() <= 0:
            done.problems.append(f"{one.key}: the time limit is over")
            break
        path = directory / str(len(signed))
        try:
            signed.append(Item(one.key, path, one.write(path), replaces=True))  # known to lack it
        except SigningError as error:
            done.unsigned = error
            break
        except (DamagedEntry, OSError) as error:
            why = reason(error) if isinstance(error, OSError) else str(error)
            done.problems.append(f"{one.key}: {why}")
    return signed
