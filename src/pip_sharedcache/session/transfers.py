"""The transfers of one run: wheels from remote stores before pip downloads, and to them later.

Nothing of a remote store is trusted. A wheel has the digest that the user's index gave, or is not
used. A store that fails costs one warning, and is left alone for the rest of the run.
"""

from __future__ import annotations

import logging
import tempfile
import time
from collections.abc import Callable, Sequence
from contextlib import ExitStack, suppress
from importlib.util import MAGIC_NUMBER
from pathlib import Path

from pip_sharedcache import bytecode, fs
from pip_sharedcache.config import WEB_SCHEME, RemoteSetting
from pip_sharedcache.errors import DamagedEntry, NotSigned, SigningError, reason
from pip_sharedcache.model import Digest, Entry, Policy, megabytes
from pip_sharedcache.remote.access import Access, Answer, Fetch, Request
from pip_sharedcache.remote.build_objects import (
    MOST_BUILD,
    build_object,
    read_build_object,
    write_build,
)
from pip_sharedcache.remote.bytecode_objects import MOST_BYTECODE, object_key, write_object
from pip_sharedcache.remote.client import Client, helper_script, interpreter
from pip_sharedcache.remote.pushing import Item, Pushed, missing, push
from pip_sharedcache.remote.stores import MOST_WHEEL, RemoteStore, wheel_key
from pip_sharedcache.session.notices import warn
from pip_sharedcache.session.state import PulledBytecode, RunState
from pip_sharedcache.session.wheels import WantedWheel
from pip_sharedcache.signing import Signers
from pip_sharedcache.store import Build

logger = logging.getLogger(__name__)

_SHORTEST = 0.1  # seconds that a push may take at least: the client says then that time is over


class Transfers:
    """The transfers of ``run``. ``end`` must be called.

    ``web``: makes the access to a store on a web server, of its URL.
    """

    def __init__(self, run: RunState, web: Callable[[str], Access]) -> None:
        self._run, self._web = run, web
        # Now: pip refuses imports, and the search for modules, once it installs.
        self._python = interpreter(run.settings.remote_python)
        helper_script()
        self._stores = [RemoteStore(one, self._opener(one)) for one in run.settings.remotes]
        self._pulled: dict[Digest, RemoteStore] = {}
        self._damage_told: set[str] = set()
        self._end = 0.0  # of the present push (time.monotonic)

    def _opener(self, setting: RemoteSetting) -> Callable[[], Access]:
        def access() -> Access:
            if setting.url.startswith(f"{WEB_SCHEME}:"):
                return self._web(setting.url)
            return Client(setting.url, self._python, self._run.settings.remote_timeout)

        return access

    # -- pull

    def pull(
        self,
        wheels: Sequence[WantedWheel],
        directory: Path,
        arrived: Callable[[WantedWheel, Path], None],
        interpreter: tuple[str, str] | None,
    ) -> None:
        """Get ``wheels`` from the first remote store that has each, as files below ``directory``.

        ``arrived``: called with each wheel that has arrived whole, and its path.
        ``interpreter``: the tag and magic number of the bytecode that is got, too, into
        RunState.pulled_bytecode; None for none. Never raises but for what ``arrived`` raises: pip
        downloads the others.
        """
        left = {one.digest: one for one in wheels if Path(one.filename).name == one.filename}
        for store in self._stores:
            if not left or store.failure is not None:
                continue
            try:
                place = Path(tempfile.mkdtemp(prefix="remote-", dir=directory))
            except OSError as error:
                logger.debug("Nothing is pulled: %s", reason(error))
                return
            self._pull_from(store, left, place, arrived, interpreter)
            with suppress(OSError):
                place.rmdir()  # without a wheel

    def _pull_from(
        self,
        store: RemoteStore,
        left: dict[Digest, WantedWheel],
        place: Path,
        arrived: Callable[[WantedWheel, Path], None],
        interpreter: tuple[str, str] | None,
    ) -> None:
        """Get what ``store`` has of ``left``, and delete it there."""
        wanted = dict(left)
        awaited: dict[str, Digest] = {}  # by key
        fetches: list[Fetch] = []
        for digest in wanted:
            key = wheel_key(digest)
            awaited[key] = digest
            fetches.append(Fetch(key, place / digest, MOST_WHEEL))
            if interpreter is not None and digest not in self._run.pulled_bytecode:
                key = object_key(digest, *interpreter)
                awaited[key] = digest
                fetches.append(Fetch(key, place / f"{digest}.bytecode", MOST_BYTECODE))
        for key in awaited.keys() & store.absent:
            del awaited[key]
        whole: dict[Digest, Path] = {}
        size = 0

        def answered(request: Request, answer: Answer) -> None:
            nonlocal size
            assert isinstance(request, Fetch)
            digest = awaited.pop(request.key)
            one = wanted[digest]
            if answer.problem:
                logger.debug("%s: %s: %s", store.url, request.key, answer.problem)
            elif answer.size >= 0 and request.key != wheel_key(digest):
                self._run.pulled_bytecode[digest] = PulledBytecode(store.url, request.path)
                size += answer.size
            elif answer.size >= 0 and answer.sha256 != digest:
                request.path.unlink()
                self._warn_of_damage(store, request.key, one.filename)
            elif answer.size >= 0:
                whole[digest] = place / one.filename
                request.path.rename(whole[digest])
                size += answer.size
            if digest in whole and digest not in awaited.values():
                take(digest)

        def take(digest: Digest) -> None:
            del left[digest]
            self._pulled[digest] = store
            arrived(wanted[digest], whole.pop(digest))

        before = len(left)
        works = store.ask(fetches, answered)
        for digest in list(whole):  # whose bytecode did not arrive
            take(digest)
        if not works:
            warn(f"Remote store is not used in this run: {store.url}: {store.failure}")
        if count := before - len(left):
            logger.info("Pulled %s (%s) from %s", _wheels(count), megabytes(size), store.url)

    def _warn_of_damage(self, store: RemoteStore, key: str, filename: str) -> None:
        store.wrong.add(key)
        if store.url in self._damage_told:
            logger.debug("%s: %s is not %s", store.url, key, filename)
            return
        self._damage_told.add(store.url)
        warn(f"Remote object is not the wheel {filename}: {store.url}/{key}: pip downloads it")

    def build_of(self, key: Digest, signers: Signers) -> Build | None:
        """Return the wheel that was built for ``key``, as one of ``signers`` signed it, or None.

        The nearest remote store that has a record which counts is used.
        """
        name = build_object(key)
        for store in self._stores:
            if store.failure is not None or name in store.absent or name in store.wrong:
                continue
            try:
                with fs.temporary_directory() as directory:
                    path = directory / "build"
                    if self._got(store, Fetch(name, path, MOST_BUILD)):
                        return read_build_object(path, signers, key)
            except NotSigned as error:
                store.wrong.add(name)
                warn(f"Build of the remote store is not used: {store.url}: {error}")
            except OSError as error:
                logger.debug("%s: %s: %s", store.url, name, reason(error))
        return None

    def _got(self, store: RemoteStore, fetch: Fetch) -> bool:
        """Return whether ``store`` gave the object of ``fetch``."""
        answers: list[Answer] = []
        if not store.ask([fetch], lambda _, answer: answers.append(answer)):
            warn(f"Remote store is not used in this run: {store.url}: {store.failure}")
        return bool(answers) and answers[0].size >= 0

    # -- push

    def pulled_all(self, wheels: Sequence[WantedWheel]) -> bool:
        """Return whether all ``wheels`` came from remote stores."""
        return all(one.digest in self._pulled for one in wheels)

    def push(self, wheels: Sequence[WantedWheel], builds: Sequence[tuple[Digest, Build]]) -> None:
        """Put ``wheels`` of this run, and their bytecode, into the remote stores that take them.

        ``builds``: the build records of those that this run has built, by their keys.

        Only what a local store shows to others is put there, and bytecode only if it can be signed.
        Takes at most the time limit for each store, and never raises.
        """
        found = [self._run.layers.find_shared(one.digest, one.filename) for one in wheels]
        entries = [entry for entry in found if entry is not None]
        with ExitStack() as stack:
            for store in self._stores:
                if store.setting.policy is not Policy.PUBLISH or store.failure is not None:
                    continue
                self._end = time.monotonic() + self._run.settings.remote_timeout
                items = [
                    Item(wheel_key(one.manifest.digest), one.wheel, one.manifest.digest)
                    for one in entries
                    if one.manifest.digest not in self._pulled
                ]
                self._push_to(store, items, _wheels)
                if store.failure is None:
                    self._push_to(store, self._bytecode_for(store, entries, stack), _bytecode)
                if store.failure is None:
                    there = {one.manifest.digest for one in entries}
                    kept = [one for one in builds if one[1].digest in there]
                    self._push_to(store, self._builds_for(store, kept, stack), _builds)

    def _bytecode_for(
        self, store: RemoteStore, entries: Sequence[Entry], stack: ExitStack
    ) -> list[Item]:
        """Return the bytecode of ``entries`` that ``store`` lacks, signed, in temporary files.

        ``stack`` deletes them.
        """
        key, tag = self._run.settings.signing_key, bytecode.tag()
        if key is None or not tag:
            return []
        magic = MAGIC_NUMBER.hex()
        made: dict[str, Entry] = {}
        for entry in entries:
            pulled = self._run.pulled_bytecode.get(entry.manifest.digest)
            if pulled is None or pulled.url != store.url:
                compiled = self._run.layers.find_own_bytecode(entry, tag, bytecode.fits(entry))
                if compiled is not None:
                    made[object_key(entry.manifest.digest, tag, magic)] = compiled
        items: list[Item] = []
        try:
            directory = stack.enter_context(fs.temporary_directory()) if made else Path()
            for name in missing(store, list(made), self._left()):
                if time.monotonic() > self._end:
                    logger.debug("Not all bytecode is signed: the time limit is over")
                    break
                path = directory / f"{len(items)}"
                items.append(Item(name, path, write_object(path, made[name], key)))
        except SigningError as error:
            warn(f"Bytecode is not pushed: {error}")
        except (DamagedEntry, OSError) as error:
            logger.debug("Bytecode is not pushed: %s", error)
        return items

    def _builds_for(
        self, store: RemoteStore, builds: Sequence[tuple[Digest, Build]], stack: ExitStack
    ) -> list[Item]:
        """Return the records ``builds`` that ``store`` lacks, signed, in temporary files.

        ``stack`` deletes them.
        """
        signing_key = self._run.settings.signing_key
        if signing_key is None or not builds:
            return []
        by_name = {build_object(key): (key, build) for key, build in builds}
        items: list[Item] = []
        try:
            directory = stack.enter_context(fs.temporary_directory())
            for name in missing(store, list(by_name), self._left()):
                path = directory / f"{len(items)}"
                items.append(Item(name, path, write_build(path, *by_name[name], signing_key)))
        except SigningError as error:
            warn(f"Builds are not pushed: {error}")
        except OSError as error:
            logger.debug("Builds are not pushed: %s", reason(error))
        return items

    def _push_to(
        self, store: RemoteStore, items: Sequence[Item], counted: Callable[[int], str]
    ) -> None:
        pushed = push(store, items, self._left) if items else Pushed()
        for problem in pushed.problems:
            logger.debug("Not pushed: %s: %s", store.url, problem)
        if pushed.count:
            size = megabytes(pushed.size)
            logger.info("Pushed %s (%s) to %s", counted(pushed.count), size, store.url)
        if store.failure is not None:
            warn(f"Not all was pushed to the remote store: {store.url}: {store.failure}")

    def _left(self) -> float:
        """Return the seconds that the push to the present store may still take."""
        return max(_SHORTEST, self._end - time.monotonic())

    def end(self) -> None:
        """End the access to all remote stores; further calls do nothing."""
        for store in self._stores:
            store.end()


def _wheels(count: int) -> str:
    return "1 wheel" if count == 1 else f"{count} wheels"


def _bytecode(count: int) -> str:
    return f"the bytecode of {_wheels(count)}"


def _builds(count: int) -> str:
    return "1 build record" if count == 1 else f"{count} build records"
