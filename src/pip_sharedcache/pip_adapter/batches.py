"""The batches of wheels that pip downloads after it has resolved, with requests ahead."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Any

from pip_sharedcache.pip_adapter.prefetch import Prefetch
from pip_sharedcache.pip_adapter.protocols import Downloader, Link

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

    def download(self, download: Callable[[], Any]) -> Any:
        """Return what ``download`` returns; call it again if requests ahead filled the disk."""
        try:
            return download()
        except OSError as error:
            if self._prefetch is None or not self._prefetch.give_up(error):
                raise
        return download()

    def download_alone(
        self, batch: Callable[..., Iterable[Downloaded]], link: Link, location: str
    ) -> tuple[str, str]:
        """Return the path and content type of ``link``, which pip's ``batch`` downloads."""
        found: tuple[str, str] = self.download(lambda: next(iter(batch([link], location)))[1])
        return found
