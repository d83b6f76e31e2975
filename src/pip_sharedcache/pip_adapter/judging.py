"""What pip's finder makes of index pages: kept, and given to it again in place of the page.

pip parses and judges each file of a page, thousands for some projects, and looks at one or two. Its
candidates are given back to it with their versions and sort keys; a link is made, by pip's own
function, when pip looks at it.
"""

from __future__ import annotations

import contextlib
import functools
import importlib
import json
import logging
import threading
from collections.abc import Callable, Collection, Iterator, Mapping
from dataclasses import dataclass, replace
from typing import Any

from pip_sharedcache.pip_adapter import page_contents
from pip_sharedcache.pip_adapter.links import url_of
from pip_sharedcache.pip_adapter.page_contents import check_address, is_json
from pip_sharedcache.pip_adapter.protocols import Link
from pip_sharedcache.pip_adapter.questions import plain
from pip_sharedcache.session.judged_pages import JudgedPage, SharedPages, with_page
from pip_sharedcache.session.resolutions import Page

logger = logging.getLogger(__name__)

#: The attributes of pip's candidates that ours have in their own way.
_OURS = {"name", "version", "link", "_compare_key"}


class ServedPage:
    """The candidates of one judged page.

    ``judged``: the page.
    ``candidates``: pip's candidates, which make their links late.
    Raises an exception if a trusted publisher wrote something that pip did not.
    """

    def __init__(self, judged: JudgedPage, project: str) -> None:
        self.judged = judged
        self.made: dict[str, int] = {}
        kind = _candidate_class()
        self.candidates: list[Any] = []
        if not judged.files:
            return
        first = kind.__base__(name=project, link=self.link(0), version=judged.versions[0])
        more = {name: getattr(first, name) for name in _slots(kind.__base__) if name not in _OURS}
        parse = importlib.import_module("pip._internal.models.candidate").parse_version
        versions = {text: parse(text) for text in judged.versions}
        for index, text in enumerate(judged.versions):
            self.candidates.append(kind(self, index, project, versions[text], more))
        sorted(candidate.key for candidate in self.candidates)  # raises what pip would get later

    def link(self, index: int) -> Link:
        """Return pip's link of the candidate ``index``."""
        page = self.judged.page
        make = importlib.import_module("pip._internal.models.link").Link
        told = json.loads(self.judged.files[index])
        if is_json(page.content_type):
            link: Link = make.from_json(told, page.location)
        else:
            link = make.from_element(told, page.location, page.links or page.location)
        self.made[url_of(link)] = index
        return link

    def reduced(self, links: Collection[str], etag: str) -> Page:
        """Return the page with those of ``links`` (URLs) that pip has looked at."""
        indices = sorted(index for url, index in self.made.items() if url in links)
        page = page_contents.with_links(
            self.judged.page, [self.judged.files[index] for index in indices]
        )
        return replace(page, etag=etag)


@dataclass(frozen=True)
class Judgement:
    """What pip made of one page.

    ``candidates``: pip's, or the same as they are ``served``; None where the page is not kept.
    ``refused``: what pip's finder noted of files that need another Python.
    """

    candidates: list[Any]
    served: ServedPage | None
    refused: Collection[Any]


class Judging:
    """The judged pages of one run of pip's resolver.

    ``finder``: pip's PackageFinder of the run.
    ``question``: the question of the run (questions.question_of).
    ``shared``: the judged pages in the stores.
    ``keeps``: whether this user can add to them.
    """

    def __init__(
        self, finder: Any, question: Mapping[str, Any], shared: SharedPages, *, keeps: bool = True
    ) -> None:
        self._finder = finder
        self._common = {name: question[name] for name in ("pip", "tags", "preferences")}
        self._shared = shared
        self._keeps = keeps
        self._known: dict[str, JudgedPage | None] = {}
        self._new: list[ServedPage] = []
        self._own: list[tuple[ServedPage, str]] = []
        skipped = "_requires_python_skipped"
        self._refused = skipped if hasattr(finder, skipped) else "_logged_links"

    def known(self, url: str, project: str) -> JudgedPage | None:
        """Return what is known of the page at ``url``, where pip looks for ``project``."""
        if url not in self._known:
            try:
                evaluator = self._finder.make_link_evaluator(project)
                self._known[url] = self._shared.find(self._question(url, evaluator))
            except Exception as error:  # a pip with other insides: it judges the page itself
                logger.debug("%s: %s: %s", url, type(error).__name__, error)
                self._known[url] = None
        return self._known[url]

    def _question(self, url: str, evaluator: Any) -> dict[str, Any]:
        told = {name: value for name, value in vars(evaluator).items() if "python" not in name}
        told["ignore_requires_python"] = evaluator._ignore_requires_python
        target = self._finder.target_python
        told["python"] = [target.py_version, target.py_version_info]
        return {**self._common, "page": url, "judge": plain(told)}

    def serve(self, judged: JudgedPage, etag: str, evaluator: Any) -> ServedPage | None:
        """Return the candidates of a page, and let pip's finder know what it refused.

        ``etag``: of the page now. With an outdated one, later runs would get the whole page.
        """
        try:
            served = ServedPage(judged, evaluator.project_name)
        except Exception as error:  # pip judges the page itself
            logger.debug("%s: %s: %s", judged.page.url, type(error).__name__, error)
            return None
        self._shared.record_use(judged)
        self._remember(judged.refused)
        if self._shared.is_own(judged):
            self._own.append((served, etag))
        return served

    def _remember(self, reasons: Collection[str]) -> None:
        refused: Collection[Any] = reasons
        if self._refused == "_logged_links":
            finder = importlib.import_module(type(self._finder).__module__)
            mismatch = finder.LinkType.requires_python_mismatch
            refused = [(reason, mismatch, reason) for reason in reasons]
        getattr(self._finder, self._refused).update(refused)

    def judge(
        self, url: str, content: Any, etag: str, evaluator: Any, proceed: Callable[[], list[Any]]
    ) -> Judgement:
        """Let pip judge a page. ``accept`` follows, if pip uses the judgement.

        ``proceed``: lets pip's process_project_url run on ``content``.
        """
        name = self._refused
        before = getattr(self._finder, name)
        setattr(self._finder, name, set())
        try:
            with _watched() as (told, warned):
                candidates = proceed()
            reasons = self._finder.requires_python_skipped_reasons()
        finally:
            refused = getattr(self._finder, name)
            setattr(self._finder, name, before)
        if warned or content is None or not self._keeps:
            return Judgement(candidates, None, refused)
        try:
            judged = self._judged(url, content, etag, evaluator, candidates, told, reasons)
            served = ServedPage(judged, evaluator.project_name)
        except Exception as error:  # an unusual page: pip's own candidates are used
            logger.debug("%s is not kept: %s: %s", url, type(error).__name__, error)
            return Judgement(candidates, None, refused)
        return Judgement(served.candidates, served, refused)

    def accept(self, judgement: Judgement) -> None:
        """Let pip's finder know what it refused, and keep the page at the end of the run."""
        getattr(self._finder, self._refused).update(judgement.refused)
        if judgement.served is not None:
            self._new.append(judgement.served)

    def _judged(
        self,
        url: str,
        content: Any,
        etag: str,
        evaluator: Any,
        candidates: list[Any],
        told: Mapping[int, tuple[Any, str]],
        refused: Collection[str],
    ) -> JudgedPage:
        check_address(content.url)
        files, order, base, at = [], [], "", 0
        sort_key = self._finder.make_candidate_evaluator(evaluator.project_name)._sort_key
        for candidate in candidates:
            check_address(candidate.link.url)
            source, base = told[id(candidate.link)]
            files.append(json.dumps(source, separators=(",", ":")))
            key = list(sort_key(candidate))
            at = next(place for place, part in enumerate(key) if part is candidate.version)
            key[at] = None
            order.append([list(part) if isinstance(part, tuple) else part for part in key])
        kind, encoding, location = page_contents.facts_of(content)
        digest = page_contents.digest_of(content)
        return JudgedPage(
            self._question(url, evaluator),
            Page(url, digest, etag, location, kind, encoding or "", base),
            tuple(files),
            tuple(str(candidate.version) for candidate in candidates),
            tuple(order),
            at,
            tuple(sorted(refused)),
        )

    def share(
        self, leads_to: Callable[[ServedPage], Collection[str]], private: Callable[[Page], str]
    ) -> None:
        """Stage the pages that pip has judged in this run, and this user's own ones that changed.

        ``leads_to``: returns the projects that pip looked for because of a page.
        ``private``: returns why a page must not be shared, or "".
        """
        pages = [(served, served.judged.page.etag) for served in self._new]
        for served, etag in pages + self._own:
            judged = with_page(served.judged, etag, leads_to(served))
            if served in self._new or judged != served.judged:
                self._shared.share(judged, private_because=private(judged.page))


@functools.cache
def _candidate_class() -> Any:
    """Return a subclass of pip's InstallationCandidate whose link is made when pip reads it."""
    base: Any = importlib.import_module("pip._internal.models.candidate").InstallationCandidate

    class Candidate(base):  # type: ignore[misc]
        __slots__ = ("_index", "_link", "_page", "key")

        def __init__(
            self, page: ServedPage, index: int, name: str, version: Any, more: Mapping[str, Any]
        ) -> None:
            judged = page.judged
            parts = [tuple(p) if isinstance(p, list) else p for p in judged.order[index]]
            parts[judged.version_at] = version
            told = {"name": name, "version": version, "key": tuple(parts), **more}
            for attribute, value in (*told.items(), ("_page", page), ("_index", index)):
                object.__setattr__(self, attribute, value)  # the class is frozen in later pips
            object.__setattr__(self, "_link", None)

        @property
        def link(self) -> Link:
            if self._link is None:
                object.__setattr__(self, "_link", self._page.link(self._index))
            link: Link = self._link
            return link

        @property
        def _compare_key(self) -> tuple[Any, ...]:
            return self.name, self.version, self.link

        # A page has each link once: equality needs no links.
        __eq__ = object.__eq__
        __hash__ = object.__hash__

    return Candidate


def _slots(kind: type) -> Iterator[str]:
    for one in kind.__mro__:
        yield from getattr(one, "__slots__", ())


def sort_key(original: Callable[[Any], Any], candidate: Any) -> Any:
    """Return the key by which pip sorts ``candidate``, without its link if it is a Candidate."""
    return candidate.key if type(candidate) is _candidate_class() else original(candidate)


class _Warnings(logging.Handler):
    """Notes whether this thread warns the user."""

    def __init__(self) -> None:
        super().__init__(logging.WARNING)
        self.found: list[str] = []

    def emit(self, record: logging.LogRecord) -> None:
        if record.thread == threading.get_ident():
            self.found.append(record.msg)


@contextlib.contextmanager
def _watched() -> Iterator[tuple[dict[int, tuple[Any, str]], list[str]]]:
    """Note what each link of pip is made from, by its id(); and the warnings about pages."""
    made: dict[int, tuple[Any, str]] = {}
    link_class = importlib.import_module("pip._internal.models.link").Link
    names = ("from_json", "from_element")
    originals = {name: vars(link_class)[name] for name in names}

    def watch(function: Callable[..., Any]) -> Any:
        def make(cls: type, told: Any, page_url: str, base_url: str = "") -> Any:
            more = (base_url,) if base_url else ()
            link = function(cls, told, page_url, *more)
            if link is not None:
                made[id(link)] = told, "" if base_url == page_url else base_url
            return link

        return classmethod(make)

    warnings, root = _Warnings(), logging.getLogger()
    root.addHandler(warnings)
    for name, original in originals.items():
        setattr(link_class, name, watch(original.__func__))
    try:
        yield made, warnings.found
    finally:
        for name, original in originals.items():
            setattr(link_class, name, original)
        root.removeHandler(warnings)
