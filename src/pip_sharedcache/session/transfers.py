"""The transfers of one run: wheels from remote stores before pip downloads, and to them later.

Nothing of a remote store is trusted. A wheel has the digest that the user's index gave, or is not
used. A store that fails costs one warning, and is left alone for the rest of the run.
"""

from __future__ import annotations

import logging
import tempfile
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any, TypeVar

from pip_sharedcache import fs
from pip_sharedcache.config import WEB_SCHEME, RemoteSetting
from pip_sharedcache.errors import NotSigned, reason
from pip_sharedcache.model import Digest
from pip_sharedcache.remote.access import Access, Answer, Fetch, Request
from pip_sharedcache.remote.build_objects import build_object, read_build_object
from pip_sharedcache.remote.bytecode_objects import MOST_BYTECODE, object_key
from pip_sharedcache.remote.client import Client, helper_script, interpreter
from pip_sharedcache.remote.resolution_objects import (
    SignedResolution,
    read_resolution_object,
    resolution_object,
)
from pip_sharedcache.remote.statement_objects import MOST_STATEMENT_OBJECT
from pip_sharedcache.remote.stores import MOST_WHEEL, RemoteStore, wheel_key
from pip_sharedcache.session.notices import warn
from pip_sharedcache.session.pushes import Pushes
from pip_sharedcache.session.state import PulledBytecode, RunState
from pip_sharedcache.session.wheels import WantedWheel
from pip_sharedcache.signing import Signers
from pip_sharedcache.store import Build

logger = logging.getLogger(__name__)

T = TypeVar("T")


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
        self._pulled: dict[Digest, str] = {}  # the URLs of the stores

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

        def answered(request: Request, answer: Answer) -> None:
            assert isinstance(request, Fetch)
            digest = awaited.pop(request.key)
            one = wanted[digest]
            if answer.problem:
                logger.debug("%s: %s: %s", store.url, request.key, answer.problem)
            elif answer.size >= 0 and request.key != wheel_key(digest):
                self._note_bytecode(store, digest, request, answer)
            elif answer.size >= 0 and answer.sha256 != digest:
                request.path.unlink()
                store.wrong.add(request.key)
                why = f"it is not the wheel {one.filename}: pip downloads it"
                self._run.warn_of_object(store.url, request.key, why)
            elif answer.size >= 0:
                whole[digest] = place / one.filename
                request.path.rename(whole[digest])
                self._run.pulled.add_wheel(store.url, digest, answer.size)
            if digest in whole and digest not in awaited.values():
                take(digest)

        def take(digest: Digest) -> None:
            del left[digest]
            self._pulled[digest] = store.url
            arrived(wanted[digest], whole.pop(digest))

        before = len(left)
        self._ask(store, fetches, answered)
        for digest in list(whole):  # whose bytecode did not arrive
            take(digest)
        logger.debug("%d wheels of %d are in %s", before - len(left), before, store.url)

    def build_of(self, key: Digest, signers: Signers) -> Build | None:
        """Return the wheel that was built for ``key``, as one of ``signers`` signed it, or None.

        The nearest remote store that has a record which counts is used.
        """
        name = build_object(key)
        return self._signed(name, lambda path: read_build_object(path, signers, key))

    def resolution_of(self, key: Digest, signers: Signers) -> SignedResolution | None:
        """Return the resolution ``key``, as one of ``signers`` signed it, or None.

        As ``build_of``.
        """
        name = resolution_object(key)
        return self._signed(name, lambda path: read_resolution_object(path, signers, key))

    def _signed(self, name: str, read: Callable[[Path], T]) -> T | None:
        """Return what ``read`` makes of the object ``name`` of the nearest store that has one."""
        for store in self._stores:
            if store.failure is not None or name in store.absent or name in store.wrong:
                continue
            try:
                with fs.temporary_directory() as directory:
                    path = directory / "object"
                    if self._got(store, Fetch(name, path, MOST_STATEMENT_OBJECT)):
                        return read(path)
            except NotSigned as error:
                store.wrong.add(name)
                self._run.warn_of_object(store.url, name, str(error))
            except OSError as error:
                logger.debug("%s: %s: %s", store.url, name, reason(error))
        return None

    def _got(self, store: RemoteStore, fetch: Fetch) -> bool:
        """Return whether ``store`` gave the object of ``fetch``."""
        answers: list[Answer] = []
        self._ask(store, [fetch], lambda _, answer: answers.append(answer))
        return bool(answers) and answers[0].size >= 0

    def pull_bytecode(
        self, digests: Iterable[Digest], directory: Path, interpreter: tuple[str, str]
    ) -> None:
        """Get the signed bytecode of wheels that a local store has, without the wheels.

        As ``pull``. ``digests``: those of the wheels.
        """
        left = set(digests)
        for store in self._stores:
            if left and store.failure is None:
                self._pull_bytecode_from(store, left, directory, interpreter)

    def _pull_bytecode_from(
        self, store: RemoteStore, left: set[Digest], directory: Path, interpreter: tuple[str, str]
    ) -> None:
        """Get the bytecode that ``store`` has of ``left``, and delete it there."""
        wanted = {object_key(digest, *interpreter): digest for digest in sorted(left)}

        def answered(request: Request, answer: Answer) -> None:
            assert isinstance(request, Fetch)
            if answer.problem:
                logger.debug("%s: %s: %s", store.url, request.key, answer.problem)
            elif answer.size >= 0:
                digest = wanted[request.key]
                self._note_bytecode(store, digest, request, answer)
                left.discard(digest)

        fetches = [
            Fetch(key, directory / f"{digest}.bytecode", MOST_BYTECODE)
            for key, digest in wanted.items()
        ]
        self._ask(store, fetches, answered)

    def _note_bytecode(
        self, store: RemoteStore, digest: Digest, fetch: Fetch, answer: Answer
    ) -> None:
        """Note the bytecode of the wheel ``digest`` that ``fetch`` got from ``store``."""
        pulled = PulledBytecode(store.url, fetch.key, fetch.path)
        self._run.pulled_bytecode[digest] = pulled
        self._run.pulled.add_bytecode(store.url, digest, answer.size)

    def _ask(
        self,
        store: RemoteStore,
        requests: Sequence[Request],
        answered: Callable[[Request, Answer], None],
    ) -> None:
        """Make ``requests``, and warn once if ``store`` fails."""
        if not store.ask(requests, answered):
            warn(f"Remote store is not used in this run: {store.url}: {store.failure}")

    def push(
        self,
        wheels: Sequence[WantedWheel],
        builds: Sequence[tuple[Digest, Build]],
        resolutions: Mapping[Digest, Mapping[str, Any]],
    ) -> None:
        """Put what this run has published into the remote stores, as Pushes.push does."""
        pushes = Pushes(self._run, self._pulled)
        for store in self._stores:
            pushes.push(store, wheels, builds, resolutions)

    def pulled_all(self, wheels: Sequence[WantedWheel]) -> bool:
        """Return whether all ``wheels`` came from remote stores."""
        return all(one.digest in self._pulled for one in wheels)

    def end(self) -> None:
        """End the access to all remote stores; further calls do nothing."""
        for store in self._stores:
            store.end()
