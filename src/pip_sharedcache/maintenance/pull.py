"""The pull of wheels, and of their signed bytecode, from remote stores into a local one."""

from __future__ import annotations

import functools
import re
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from importlib.util import MAGIC_NUMBER
from pathlib import Path

from pip_sharedcache import bytecode, fs
from pip_sharedcache import store as stores
from pip_sharedcache.config import RemoteSetting
from pip_sharedcache.errors import DamagedEntry, NotPublished, NotSigned, UnusualWheel, reason
from pip_sharedcache.maintenance.entries import read_entries
from pip_sharedcache.maintenance.remotes import select_objects
from pip_sharedcache.model import Digest, Entry
from pip_sharedcache.remote.access import Access, Answer, Fetch, Request
from pip_sharedcache.remote.bytecode_objects import MOST_BYTECODE, object_key, spool_object
from pip_sharedcache.remote.inventory import RemoteObject, in_batches, read_inventory
from pip_sharedcache.remote.stores import MOST_WHEEL, RemoteStore
from pip_sharedcache.signing import Signers
from pip_sharedcache.store import WHEELS, Store
from pip_sharedcache.wheel import filename_in

_MOST_TEMPORARY = 1 << 28  # bytes of wheels that lie in temporary files at one time
_AT_ONCE = 64  # objects
_WHOLE = re.compile("[0-9a-f]{64}")


@dataclass
class PulledFrom:
    """The result for one remote store.

    ``url``: its URL.
    ``wheels``: the number of wheels that are new in the store.
    ``bytecode``: the number of those whose bytecode is new, too.
    ``size``: the bytes of the objects of both.
    ``problems``: why not all was pulled.
    """

    url: str
    wheels: int = 0
    bytecode: int = 0
    size: int = 0
    problems: list[str] = field(default_factory=list)


class Pull:
    """A pull into ``store``.

    ``names``: words that select wheels, as for Selector; all wheels without any.
    ``titles``: the file names of wheels that are known here, by digest.
    ``signers``: those whose bytecode is taken, too; None for no bytecode.
    ``present``: the digests of the wheels that ``store`` has.
    ``unneeded``: those of the chosen wheels that it had before.
    """

    def __init__(
        self, store: Store, names: Sequence[str], titles: dict[str, str], signers: Signers | None
    ) -> None:
        self._store, self._titles = store, titles
        self._signers = signers if bytecode.tag() else None
        self._names = [name.lower() if is_digest(name) else name for name in names]
        self._found: set[str] = set()
        items = read_entries(store, areas=(WHEELS,), uses=False).items
        sound = [item for item in items if not (item.damage or item.distrust_reason)]
        self.present = {item.digest for item in sound}
        self._before = frozenset(self.present)
        self.unneeded = self._before.intersection(self._names)

    @property
    def missing(self) -> list[str]:
        """Return the names that have selected no wheel."""
        return [one for one in self._names if one not in {*self._found, *self.present}]

    def from_remotes(
        self, settings: Sequence[RemoteSetting], access: Callable[[RemoteSetting], Access]
    ) -> Iterator[PulledFrom]:
        """Pull from each remote store what the ones before it did not give; yield the results.

        ``access``: makes the access to a remote store.
        """
        for setting in settings:
            if self._names and self.present.issuperset(self._names):
                return
            store = RemoteStore(setting, functools.partial(access, setting))
            done = PulledFrom(setting.url)
            try:
                self._pull(store, done)
            except OSError as error:  # of a temporary file: what was pulled before stays
                done.problems.append(reason(error))
            finally:
                store.end()
            if store.failure is not None:
                done.problems.append(str(store.failure))
            yield done

    def _pull(self, store: RemoteStore, done: PulledFrom) -> None:
        if self._names and all(map(is_digest, self._names)):
            # No right to list is needed. The size is known when the object has come.
            wanted = [RemoteObject(WHEELS, name, 0, 0.0) for name in self._names]
        else:
            listed = read_inventory(store, [WHEELS]).objects
            wanted, useless = select_objects(listed, self._names, self._titles)
            self._found.update(set(self._names).difference(useless))
        self.unneeded |= self._before.intersection(one.digest for one in wanted)
        wanted = [one for one in wanted if one.digest not in self.present]
        for batch in in_batches(wanted, _MOST_TEMPORARY, _AT_ONCE):
            if store.failure is not None:
                return
            with fs.temporary_directory() as directory:
                self._pull_batch(store, batch, directory, done)

    def _pull_batch(
        self, store: RemoteStore, batch: Sequence[RemoteObject], directory: Path, done: PulledFrom
    ) -> None:
        new: dict[Digest, Entry] = {}
        names = {one.key: one.digest for one in batch}
        fetches = [Fetch(b.key, directory / b.digest, b.size or MOST_WHEEL) for b in batch]

        def answered(request: Request, answer: Answer) -> None:
            assert isinstance(request, Fetch)
            digest = names[request.key]
            if answer.size < 0 and not answer.problem:
                return  # not in this remote store
            self._found.add(digest)
            why = answer.problem
            if not why and answer.sha256 != digest:
                why = "its bytes do not match its name"
            if not why:
                try:
                    name = filename_in(request.path)
                    new[digest] = stores.publish(self._store, request.path, name, digest)
                    self.present.add(digest)
                    done.wheels += 1
                    done.size += answer.size
                except (NotPublished, UnusualWheel) as error:
                    why = str(error)
            if why:
                done.problems.append(f"{request.key}: {why}")
            if answer.size >= 0:
                request.path.unlink()

        store.ask(fetches, answered)
        if self._signers is not None and new:
            self._pull_bytecode(store, new, self._signers, directory, done)

    def _pull_bytecode(
        self,
        store: RemoteStore,
        new: dict[Digest, Entry],
        signers: Signers,
        directory: Path,
        done: PulledFrom,
    ) -> None:
        """Publish the bytecode of the entries ``new`` for this interpreter, as far as it counts."""
        tag, magic = bytecode.tag(), MAGIC_NUMBER.hex()
        by_key = {object_key(digest, tag, magic): entry for digest, entry in new.items()}

        def answered(request: Request, answer: Answer) -> None:
            assert isinstance(request, Fetch)
            if answer.problem:
                done.problems.append(f"{request.key}: {answer.problem}")
            if answer.size < 0:
                return
            entry = by_key[request.key]
            fill = functools.partial(spool_object, request.path, signers, entry, tag, magic)
            try:
                staged = stores.stage_bytecode(self._store, entry, tag, bytecode.fits(entry), fill)
                if staged.is_published:
                    (outcome,) = stores.make_visible(self._store, [staged])
                    if isinstance(outcome, NotPublished):
                        raise outcome
                    done.bytecode += 1
                    done.size += answer.size
                else:
                    stores.discard([staged])
            except OSError as error:
                done.problems.append(f"{request.key}: {reason(error)}")
            except (NotSigned, NotPublished, DamagedEntry) as error:
                done.problems.append(f"{request.key}: {error}")
            request.path.unlink()

        fetches = [
            Fetch(key, directory / f"{entry.manifest.digest}.bytecode", MOST_BYTECODE)
            for key, entry in by_key.items()
        ]
        store.ask(fetches, answered)


def is_digest(name: str) -> bool:
    """Return whether ``name`` is a whole digest, for which nothing is listed."""
    return _WHOLE.fullmatch(name.lower()) is not None
