"""The batches of wheels that pip downloads after it has resolved, with requests ahead."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Any

from pip_sharedcache.fs import NO_SPACE_ERRORS, device_of
from pip_sharedcache.pip_adapter.prefetch import Prefetch
from pip_sharedcache.pip_adapter.protocols import Downloader, Link
from pip_sharedcache.pip_adapter.seams import Call
from pip_sharedcache.session.session import Session

#: A link, and the path and content type of the downloaded file.
Downloaded = tuple[Link, tuple[str, str]]


class Batches:
    """The batch of downloads in progress, or none."""

    def __init__(self) -> None:
        self._prefetch: Prefetch | None = None

    def run(
        self,
        downloader: Downloader,
        urls: Sequence[str],
        most: int,
        location: str,
        each: Iterable[Downloaded],
    ) -> Iterator[Downloaded]:
        """Yield what ``each`` yields, while the next ``urls`` are asked for in threads.

        ``downloader``: pip's, from which ``each`` comes.
        ``most``: the most requests at one time.
        ``location``: pip's directory for the downloaded files.
        """
        holder: Any = getattr(downloader, "_downloader", downloader)  # pip 25.1
        session = getattr(holder, "_session", None)
        if session is None:
            yield from each
            return
        prefetch = Prefetch(session, urls, most, location)
        try:
            if prefetch.start():
                self._prefetch, holder._session = prefetch, prefetch
            yield from each
        finally:
            self._prefetch, holder._session = None, session
            prefetch.end()

    def download(self, session: Session, location: str, download: Callable[[], Any]) -> Any:
        """Return what ``download`` returns; call it again if this run filled the disk.

        Files of requests ahead, and what was staged, is deleted then: pip needs the space.
        """
        try:
            return download()
        except OSError as error:
            if error.errno not in NO_SPACE_ERRORS:
                raise
            freed = self._prefetch is not None and self._prefetch.give_up()
            if not session.free_head_start(device_of(location)) and not freed:
                raise
        return download()

    def download_alone(
        self, session: Session, call: Call, link: Link, location: str
    ) -> tuple[str, str]:
        """Return the path and content type of ``link``, downloaded by pip's batch ``call``."""

        def download() -> tuple[str, str]:
            batch: Iterable[Downloaded] = call.original([link], location)
            return next(iter(batch))[1]

        found: tuple[str, str] = self.download(session, location, download)
        return found
