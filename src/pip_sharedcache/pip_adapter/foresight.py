"""What pip's resolver will need next: judged pages and metadata, made ready while it waits.

pip needs the page of a project, then the metadata of one candidate, then the pages of what that
requires. While an answer of the index is on its way, pip judges pages that have arrived before, and
the metadata of the candidates that it will look at first is asked for.
"""

from __future__ import annotations

import importlib
import inspect
import logging
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from pip_sharedcache.pip_adapter.index_pages import IndexPages
from pip_sharedcache.pip_adapter.judging import Judgement
from pip_sharedcache.pip_adapter.links import url_of
from pip_sharedcache.pip_adapter.meanwhile import Meanwhile
from pip_sharedcache.pip_adapter.protocols import Link
from pip_sharedcache.pip_adapter.side_by_side import keep_records, log_records

logger = logging.getLogger(__name__)


@dataclass
class Early:
    """A page that pip has judged before it came to it.

    ``content``, ``etag``: of the page; no content where the judgement is served.
    ``evaluator``: pip's LinkEvaluator that judged its files.
    ``result``: the judgement, or pip's exception. ``records``: what was logged.
    """

    content: Any
    etag: str
    evaluator: Any
    result: Judgement | Exception | None = None
    records: list[logging.LogRecord] = field(default_factory=list)

    def is_for(self, evaluator: Any) -> bool:
        """Return whether pip's ``evaluator`` judges as the one that judged this page."""
        return bool(vars(self.evaluator) == vars(evaluator))

    def judgement(self) -> Judgement:
        """Return the judgement, or raise pip's exception, and log what was logged."""
        log_records(self.records)
        if isinstance(self.result, Exception):
            raise self.result
        assert self.result is not None
        return self.result


@dataclass
class _Expected:
    """A page that was asked for. ``specifier``: which versions pip can choose, so far; or None."""

    project: str
    location: Link
    specifier: Any


class Foresight:
    """The pages that pip has not come to yet, in one run of its resolver.

    ``finder``: pip's PackageFinder.
    ``judge``: lets pip judge a page: its URL, content, ETag and evaluator, and pip's function.
    ``needs_metadata``: returns whether pip is going to ask the index for metadata of a wheel.
    ``meanwhile``: what pip's requests for metadata must go through.
    """

    def __init__(
        self,
        finder: Any,
        pages: IndexPages,
        judge: Callable[[str, Any, str, Any, Callable[[], list[Any]]], Judgement],
        needs_metadata: Callable[[Link], bool],
    ) -> None:
        self._finder = finder
        self._pages = pages
        self._judge = judge
        self._needs_metadata = needs_metadata
        self._expected: dict[str, _Expected] = {}
        self._early: dict[str, Early] = {}
        self.meanwhile = Meanwhile(pages.calls, self._work)

    def expect(self, url: str, project: str, address: str, specifier: Any) -> None:
        """Note that the page at ``url`` was asked for.

        ``address``: the same, with credentials. ``specifier``: which versions a requirement admits.
        """
        link = importlib.import_module("pip._internal.models.link").Link
        self._expected[url] = _Expected(project, link(address, cache_link_parsing=False), specifier)

    def narrow(self, project: str, specifier: Any) -> None:
        """Note that one more requirement admits only the versions of ``specifier``."""
        for expected in self._expected.values():
            if expected.project == project and specifier is not None:
                known = expected.specifier
                expected.specifier = specifier if known is None else known & specifier

    def take(self, url: str) -> Early | None:
        """Return the page at ``url``, to which pip has come, if it is judged; else None.

        Work until the page has arrived.
        """
        while self._pages.is_awaited(url) and self._work():
            pass
        self._expected.pop(url, None)
        return self._early.pop(url, None)

    def _work(self) -> bool:
        """Let pip judge one page that has arrived; return False without one."""
        url = next(filter(self._pages.has_arrived, self._expected), None)
        if url is None:
            return False
        expected = self._expected.pop(url)
        content, etag = self._pages.take(expected.location)
        finder, location = self._finder, expected.location
        evaluator = finder.make_link_evaluator(expected.project)
        process = inspect.unwrap(type(finder).process_project_url)
        self._early[url] = early = Early(content, etag, evaluator)
        try:
            with keep_records(early.records):
                early.result = judgement = self._judge(
                    url, content, etag, evaluator, lambda: process(finder, location, evaluator)
                )
        except Exception as error:  # pip gets it when it comes to the page
            early.result = error
            return True
        if judgement.served is not None:
            early.content = None  # all pages together would take more memory than pip
        try:
            self._ask_for_metadata(expected, judgement.candidates)
        except Exception as error:  # pip finds the candidate, and gets and reports its own error
            logger.debug("%s: %s: %s", url, type(error).__name__, error)
        return True

    def _ask_for_metadata(self, expected: _Expected, candidates: list[Any]) -> None:
        """Ask for the metadata of the candidate that pip is going to look at first."""
        evaluator = self._finder.make_candidate_evaluator(
            expected.project, specifier=expected.specifier
        )
        best = evaluator.compute_best_candidate(candidates).best_candidate
        if best is not None and best.link.is_wheel and self._needs_metadata(best.link):
            metadata = best.link.metadata_link()
            if metadata is not None:
                self.meanwhile.ask_ahead(url_of(metadata))
