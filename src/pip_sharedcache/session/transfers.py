"""The transfers of one run: wheels from remote stores before pip downloads, and to them later.

Nothing of a remote store is trusted. A wheel has the digest that the user's index gave, or is not
used. A store that fails costs one warning, and is left alone for the rest of the run.
"""

from __future__ import annotations

import logging
import tempfile
from collections.abc import Callable, Sequence
from contextlib import suppress
from pathlib import Path

from pip_sharedcache.config import WEB_SCHEME, RemoteSetting
from pip_sharedcache.errors import reason
from pip_sharedcache.model import Digest, Policy, megabytes
from pip_sharedcache.remote.access import Access, Answer, Fetch, Request
from pip_sharedcache.remote.client import Client, interpreter
from pip_sharedcache.remote.pushing import Item, push
from pip_sharedcache.remote.stores import MOST_WHEEL, RemoteStore, wheel_key
from pip_sharedcache.session.notices import warn
from pip_sharedcache.session.state import RunState
from pip_sharedcache.session.wheels import WantedWheel

logger = logging.getLogger(__name__)


class Transfers:
    """The transfers of ``run``. ``end`` must be called.

    ``web``: makes the access to a store on a web server, of its URL.
    """

    def __init__(self, run: RunState, web: Callable[[str], Access]) -> None:
        self._run, self._web = run, web
        self._stores = [RemoteStore(one, self._opener(one)) for one in run.settings.remotes]
        self._pulled: dict[Digest, RemoteStore] = {}
        self._damage_told: set[str] = set()

    def _opener(self, setting: RemoteSetting) -> Callable[[], Access]:
        def access() -> Access:
            settings = self._run.settings
            if setting.url.startswith(f"{WEB_SCHEME}:"):
                return self._web(setting.url)
            python = interpreter(settings.remote_python)
            return Client(setting.url, python, settings.remote_timeout)

        return access

    # -- pull

    def pull(
        self,
        wheels: Sequence[WantedWheel],
        directory: Path,
        arrived: Callable[[WantedWheel, Path], None],
    ) -> None:
        """Get ``wheels`` from the first remote store that has each, as files below ``directory``.

        Calls ``arrived`` for each wheel that has arrived whole, with its path. Never raises but for
        what ``arrived`` raises: pip downloads the others.
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
            self._pull_from(store, left, place, arrived)
            with suppress(OSError):
                place.rmdir()  # without a wheel

    def _pull_from(
        self,
        store: RemoteStore,
        left: dict[Digest, WantedWheel],
        place: Path,
        arrived: Callable[[WantedWheel, Path], None],
    ) -> None:
        """Get what ``store`` has of ``left``, and delete it there."""
        wanted = {wheel_key(digest): one for digest, one in left.items()}
        size = 0

        def answered(request: Request, answer: Answer) -> None:
            nonlocal size
            if answer.size < 0:
                if answer.problem:
                    logger.debug("%s: %s: %s", store.url, request.key, answer.problem)
                return
            assert isinstance(request, Fetch)
            one = wanted[request.key]
            if answer.sha256 != one.digest:
                request.path.unlink()
                self._warn_of_damage(store, request.key, one.filename)
                return
            path = place / one.filename
            request.path.rename(path)
            size += answer.size
            del left[one.digest]
            self._pulled[one.digest] = store
            arrived(one, path)

        before = len(left)
        fetches = [Fetch(key, place / one.digest, MOST_WHEEL) for key, one in wanted.items()]
        if not store.ask(fetches, answered):
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

    # -- push

    def push(self, wheels: Sequence[WantedWheel]) -> None:
        """Put ``wheels`` of this run into the remote stores that take them.

        Only what a local store shows to others is put there. Takes at most the time limit for each
        store, and never raises.
        """
        for store in self._stores:
            if store.setting.policy is not Policy.PUBLISH or store.failure is not None:
                continue
            self._push_to(store, [one for one in wheels if self._pulled.get(one.digest) is None])

    def _push_to(self, store: RemoteStore, wheels: Sequence[WantedWheel]) -> None:
        items = []
        for one in wheels:
            entry = self._run.layers.find_shared(one.digest, one.filename)
            if entry is not None:
                key = wheel_key(one.digest)
                items.append(Item(key, entry.wheel, one.digest))
        pushed = push(store, items, float(self._run.settings.remote_timeout))
        for problem in pushed.problems:
            logger.debug("Not pushed: %s: %s", store.url, problem)
        if pushed.count:
            size = megabytes(pushed.size)
            logger.info("Pushed %s (%s) to %s", _wheels(pushed.count), size, store.url)
        if store.failure is not None:
            warn(f"Not all was pushed to the remote store: {store.url}: {store.failure}")

    def end(self) -> None:
        """End the access to all remote stores; further calls do nothing."""
        for store in self._stores:
            store.end()


def _wheels(count: int) -> str:
    return "1 wheel" if count == 1 else f"{count} wheels"
