"""Replays: runs of pip's resolver on the candidates of an earlier, recorded run."""

from __future__ import annotations

import copy
import importlib
import logging
from collections.abc import Callable, Iterable
from typing import Any

from pip_sharedcache.pip_adapter import page_contents
from pip_sharedcache.pip_adapter.downloads import do_nothing
from pip_sharedcache.pip_adapter.index_pages import IndexPages
from pip_sharedcache.pip_adapter.links import url_of
from pip_sharedcache.pip_adapter.protocols import Distribution, Link
from pip_sharedcache.pip_adapter.recording import Recording, result_of
from pip_sharedcache.pip_adapter.side_by_side import set_aside
from pip_sharedcache.session.resolutions import Resolution
from pip_sharedcache.session.wheels import without_credentials

_SESSION = f"{__name__.partition('.')[0]}.session."


class Abandoned(Exception):
    """A replay has met something that the recorded run did not."""


class HeldLog(logging.Handler):
    """The log of a replay, held back until its answer counts.

    What the session logs is not held back: that it waits, what it has pulled, and its warnings are
    true whether the answer counts or not.
    """

    def __init__(self) -> None:
        super().__init__()
        self._pip: Any = importlib.import_module("pip._internal.utils.logging")
        self._root = logging.getLogger()
        self._before: list[logging.Handler] | None = None
        self._records: list[tuple[logging.LogRecord, int]] = []

    def hold(self) -> None:
        """Hold all records from now on."""
        self._before = self._root.handlers[:]
        self._root.handlers[:] = [self]

    def emit(self, record: logging.LogRecord) -> None:
        """Keep ``record`` with pip's indentation."""
        if set_aside(record):
            return
        if not record.name.startswith(_SESSION):
            self._records.append((record, self._pip.get_indentation()))
            return
        for handler in self._before or ():
            if record.levelno >= handler.level:
                handler.handle(record)

    def drop(self) -> None:
        """Forget the records, and log as before."""
        if self._before is not None:
            self._root.handlers[:], self._before = self._before, None
        self._records.clear()

    def release(self) -> None:
        """Log all held records, and then as before."""
        records = self._records[:]
        self.drop()
        for record, indentation in records:
            with self._pip.indent_log(indentation - self._pip.get_indentation()):
                logging.getLogger(record.name).callHandlers(record)


class Replay(Recording):
    """One run of a copy of pip's resolver on the candidates of ``recorded``.

    ``counts``: whether its answer was seen to be the recorded one.
    ``confirmed``: called once all recorded pages are seen to be the same.
    """

    def __init__(
        self, resolver: Any, pages: IndexPages, recorded: Resolution, log: HeldLog
    ) -> None:
        super().__init__(_twin(resolver), pages)
        self.recorded = recorded
        self.counts = False
        self.confirmed: Callable[[], None] = do_nothing
        self._log = log
        self._confirmed = False

    def page(self, location: Link) -> Any:
        """Return the recorded links of the page, once all recorded pages are seen to be the same.

        Raises Abandoned.
        """
        if not self._confirmed:
            if changed := self.pages.changed(self.recorded.pages.values()):
                raise Abandoned(changed)
            self._confirmed = True
            self.pages.calls.end()  # no worker process can be started while threads run
            self.confirmed()
        url = without_credentials(location.url)
        if url not in self.recorded.pages:
            raise Abandoned(f"{url} was not read")
        self.origins.append(location)
        return page_contents.as_content(self.recorded.pages[url])

    def answered_links(self) -> list[Link]:
        """Return the links of the recorded pages to what pip answered. Raises pip's errors."""
        parse = importlib.import_module("pip._internal.index.collector").parse_links
        wanted = {line.partition(" ")[2] for line in self.recorded.result}
        contents = map(page_contents.as_content, self.recorded.pages.values())
        links = (link for content in contents if content is not None for link in parse(content))
        return [link for link in links if url_of(link) in wanted]

    def before(self, link: Link, *, pinned: bool = False) -> None:
        """Raise Abandoned unless the recorded run looked at ``link``, which can be no other file.

        ``pinned``: as for Recording.
        """
        if url_of(link) not in self.recorded.candidates:
            raise Abandoned(f"{url_of(link)} was no candidate")
        super().before(link, pinned=pinned)
        if self.changeable:  # older versions recorded such resolutions
            raise Abandoned(self.changeable)
        if not link.is_wheel:
            self._log.release()  # pip may build it, and shows that at once

    def after(self, link: Link, distribution: Distribution, extras: Iterable[str] = ()) -> None:
        """Raise Abandoned unless the metadata of the candidate ``link`` is the recorded one."""
        super().after(link, distribution)
        url = url_of(link)
        if self.candidates[url] != self.recorded.candidates[url]:
            raise Abandoned(f"{url} has other metadata")

    def answer(self, requirements: Iterable[Any]) -> None:
        """Let the answer count, and log what was held. Raises Abandoned for another answer."""
        if self.counts:
            return
        result = result_of(requirements)
        if result != self.recorded.result:
            different = set(result) ^ set(self.recorded.result)
            raise Abandoned(f"{min(different)} is in one of the two answers only")
        for url, digest in self.candidates.items():
            if digest != self.recorded.candidates[url]:
                raise Abandoned(f"{url} was not discarded")
        self.counts = True
        self._log.release()


def _twin(resolver: Any) -> Any:
    """Return a copy of pip's resolver whose caches are its own."""
    twin = _copy(resolver)
    twin.factory = _copy(resolver.factory)
    twin.factory._finder = _copy(resolver.factory._finder)
    twin.factory._finder._link_collector = _copy(resolver.factory._finder._link_collector)
    return twin


def _copy(original: Any) -> Any:
    twin = copy.copy(original)
    for name, value in vars(twin).items():
        if type(value) in (dict, set, list):
            setattr(twin, name, copy.copy(value))
    return twin
