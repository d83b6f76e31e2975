"""Index pages: conditional requests, comparison with recorded ones, reduction to some links."""

from __future__ import annotations

import email.utils
import hashlib
import json
import logging
import threading
from collections.abc import Iterator, Sequence
from dataclasses import replace
from types import SimpleNamespace
from typing import Any

import pytest
from pip._internal.index.collector import IndexContent, parse_links

from pip_sharedcache.pip_adapter import recording
from pip_sharedcache.pip_adapter.fresh_pages import FreshPages
from pip_sharedcache.pip_adapter.index_pages import UNCHANGED, IndexPages
from pip_sharedcache.pip_adapter.page_contents import as_content, project_of, reduced
from pip_sharedcache.session.resolutions import Page

INDEX = "https://index.test/simple/"


@pytest.fixture(autouse=True)
def _handlers() -> Iterator[None]:
    """What is asked ahead logs through a handler that a run puts in place and takes away."""
    root = logging.getLogger()
    before = root.handlers
    yield
    root.handlers = before


def _html(body: str, encoding: str | None = None) -> Any:
    data = body.encode(encoding or "utf-8")
    return IndexContent(data, "text/html", encoding, f"{INDEX}demo/", cache_link_parsing=False)


def _json(files: Sequence[dict[str, Any]]) -> Any:
    text = json.dumps({"meta": {"api-version": "1.1"}, "name": "demo", "files": list(files)})
    return IndexContent(
        text.encode(), "application/vnd.pypi.simple.v1+json", None, f"{INDEX}demo/", False
    )


def _facts(content: Any) -> list[tuple[object, ...]]:
    return [
        (link.url, link.requires_python, link.yanked_reason, link.hash, link.comes_from)
        for link in parse_links(content)
    ]


@pytest.mark.parametrize(
    "content",
    [
        _html(
            '<base href="https://files.test/x/"><a href="demo-1.0.tar.gz#sha256=00">a</a>'
            '<a href="demo-2.0%2Blocal-py3-none-any.whl#sha256=11" data-yanked'
            ' data-requires-python="&gt;=3.9" data-dist-info-metadata="sha256=22">b</a>'
        ),
        _html('<a href="../demo-2.0%2Blocal-py3-none-any.whl" data-yanked="&quot;no&quot;">é</a>'),
        _html('<a href="/f/demo-2.0%2Blocal-py3-none-any.whl">é</a>', "latin-1"),
        _json(
            [
                {"filename": "demo-1.0.tar.gz", "url": "f/demo-1.0.tar.gz", "hashes": {}},
                {
                    "filename": "demo-2.0+local-py3-none-any.whl",
                    "url": "https://files.test/demo-2.0%2Blocal-py3-none-any.whl",
                    "hashes": {"sha256": "11" * 32},
                    "yanked": "bad",
                    "requires-python": ">=3.9",
                    "core-metadata": {"sha256": "22" * 32},
                },
            ]
        ),
    ],
    ids=["html", "relative", "latin-1", "json"],
)
def test_reduced_page_gives_pip_the_same_links(content: Any) -> None:
    wanted = [fact for fact in _facts(content) if "demo-2.0" in str(fact[0])]
    page = reduced(f"{INDEX}demo/", content, '"tag"', [str(fact[0]) for fact in wanted])
    assert page is not None
    assert page.digest == hashlib.sha256(content.content).hexdigest()
    assert len(wanted) == 1
    assert _facts(as_content(page)) == wanted


@pytest.mark.parametrize("content", [b"[]", b"{", b'{"files": 3}', b"[" * 100_000])
def test_reduced_page_that_pip_cannot_read_is_none(content: bytes) -> None:
    kind = "application/vnd.pypi.simple.v1+json"
    assert reduced(INDEX, IndexContent(content, kind, None, INDEX), "", ["x"]) is None


def test_reduced_page_with_credentials_is_none() -> None:
    content = IndexContent(b"", "text/html", None, "https://me:secret@index.test/simple/demo/")
    assert reduced(INDEX, content, "", ["x"]) is None


def test_missing_page_stays_missing() -> None:
    page = reduced(INDEX, None, "", [])
    assert page is not None
    assert as_content(page) is None


@pytest.mark.parametrize(
    ("url", "name"),
    [(f"{INDEX}demo/", "demo"), (f"{INDEX}A_b.C", "a-b-c"), ("file:///x/y%2Bz/", "y+z")],
)
def test_project_of_reads_the_end_of_the_url(url: str, name: str) -> None:
    assert project_of(url) == name


class _Index:
    """pip's collector and its session, in front of pages with ETags."""

    def __init__(self, contents: dict[str, str], mirror: str = INDEX) -> None:
        self.mirror = mirror
        self.kind = "text/html"
        self.confirms_all = False
        self.contents = contents
        self.statuses: dict[str, int] = {}
        self.search_scope = SimpleNamespace(index_urls=["https://me:secret@index.test/simple/"])
        self.session: Any = self
        self.asked: list[tuple[str, str]] = []
        self._lock = threading.Lock()

    def get(self, url: str, headers: dict[str, str]) -> Any:
        with self._lock:
            self.asked.append((url, headers.get("If-None-Match", "")))
        name = project_of(url)
        content, url = self.contents.get(name), f"{self.mirror}{name}/"
        tag = f'"{content}"'
        if name in self.statuses:
            status = self.statuses[name]
            return SimpleNamespace(status_code=status, headers={}, url=url, text=None)
        if self.confirms_all or (content is not None and headers.get("If-None-Match") == tag):
            return SimpleNamespace(status_code=304, headers={}, url=url, text=None)
        return SimpleNamespace(status_code=200, headers={"ETag": tag}, url=url, text=content)

    @staticmethod
    def is_secure_origin(location: Any) -> bool:
        return not location.url.startswith("http:")

    @staticmethod
    def fetch_response(collector: Any, location: Any) -> Any:
        response = collector.session.get(location.url, headers={"Accept": "x"})
        if response.text is None:
            return None
        kind = collector.kind
        return IndexContent(response.text.encode(), kind, None, response.url, False)


def _page(name: str, content: str) -> Page:
    url = f"{INDEX}{name}/"
    page = reduced(url, IndexContent(content.encode(), "text/html", None, url), f'"{content}"', [])
    assert page is not None
    return page


def test_unchanged_pages_cost_one_conditional_request_each() -> None:
    index = _Index({"a": "one", "b": "two"})
    pages = IndexPages(index, FreshPages())
    assert pages.changed([_page("a", "one"), _page("b", "two")]) == ""
    assert sorted(index.asked) == [
        ("https://me:secret@index.test/simple/a/", '"one"'),
        ("https://me:secret@index.test/simple/b/", '"two"'),
    ]


def test_changed_page_is_named_and_no_page_is_asked_for_twice() -> None:
    index = _Index({"a": "one", "b": "other"})
    pages = IndexPages(index, FreshPages())
    assert pages.changed([_page("a", "one"), _page("b", "two")]) == f"{INDEX}b/ has changed"
    pages.ask_ahead({f"{INDEX}a/": None, f"{INDEX}b/": None})
    for name, content in (("a", b"one"), ("b", b"other")):
        link = SimpleNamespace(url=f"https://me:secret@index.test/simple/{name}/")
        assert pages.take(link)[0].content == content
    assert [url.split("/")[-2] for url, _ in index.asked] == ["a", "b", "a"]


def test_confirmed_page_serves_who_knows_it() -> None:
    index = _Index({"a": "one"})
    pages = IndexPages(index, FreshPages())
    pages.ask_ahead({f"{INDEX}a/": _page("a", "one")})
    link = SimpleNamespace(url=f"{INDEX}a/")
    assert pages.take(link, _page("a", "one")) == (UNCHANGED, '"one"')
    pages.ask_ahead({f"{INDEX}a/": _page("a", "one")})
    assert pages.take(link, _page("a", "other"))[0].content == b"one"


def test_host_that_pip_does_not_trust_is_not_asked_ahead() -> None:
    index = _Index({"a": "one"})
    pages = IndexPages(index, FreshPages())
    url = "http://index.test/simple/a/"
    page = Page(**{**vars(_page("a", "one")), "url": url})
    pages.ask_ahead({url: page})
    assert pages.changed([page]) == f"{url} cannot be fetched"
    assert index.asked == []


@pytest.mark.parametrize("now", [None, "new"])
def test_page_that_appears_or_disappears_is_a_change(now: str | None) -> None:
    index = _Index({} if now is None else {"a": now})
    recorded = _page("a", "one") if now is None else reduced(f"{INDEX}a/", None, "", [])
    assert recorded is not None
    how = "cannot be fetched" if now is None else "has changed"
    assert IndexPages(index, FreshPages()).changed([recorded]) == f"{INDEX}a/ {how}"


def test_same_content_without_etag_is_no_change() -> None:
    index = _Index({"a": "one"})
    page = _page("a", "one")
    without = Page(**{**vars(page), "etag": ""})
    assert IndexPages(index, FreshPages()).changed([without]) == ""
    assert index.asked == [("https://me:secret@index.test/simple/a/", "")]


@pytest.mark.parametrize("etag", ['"one"', ""])
def test_same_content_from_another_mirror_is_a_change(etag: str) -> None:
    """Relative links lead to other files there."""
    index = _Index({"a": "one"}, mirror="https://mirror.test/simple/")
    page = Page(**{**vars(_page("a", "one")), "etag": etag})
    assert IndexPages(index, FreshPages()).changed([page]) == f"{INDEX}a/ has changed"


def test_status_304_that_nobody_asked_for_is_left_to_pip() -> None:
    index = _Index({"a": "one"})
    index.confirms_all = True
    link = SimpleNamespace(url=f"{INDEX}a/")
    assert IndexPages(index, FreshPages()).take(link) == (None, "")


def test_page_that_could_not_be_had_is_asked_for_again() -> None:
    """An index may limit how many requests it answers at once."""
    index = _Index({"a": "one"})
    pages = IndexPages(index, FreshPages())
    assert pages.changed([_page("a", "one"), _page("b", "two")]) == f"{INDEX}b/ cannot be fetched"
    index.contents["b"] = "two"
    assert pages.take(SimpleNamespace(url=f"{INDEX}b/"))[0].content == b"two"


@pytest.mark.parametrize("status", [403, 404, 500])
def test_first_answer_of_a_host_is_pips_own(status: int) -> None:
    index = _Index({"a": "one"})
    index.statuses["a"] = status
    pages = IndexPages(index, FreshPages())
    assert pages.changed([_page("a", "one")]) == f"{INDEX}a/ cannot be fetched"
    pages.ask_ahead({f"{INDEX}a/": None})
    assert pages.take(SimpleNamespace(url=f"{INDEX}a/")) == (None, "")
    assert len(index.asked) == 1


def test_host_that_refuses_the_first_request_is_left_to_pip() -> None:
    index = _Index({"a": "one", "b": "two"})
    index.statuses["a"] = 500
    pages = IndexPages(index, FreshPages())
    pages.ask_ahead({f"{INDEX}a/": None, f"{INDEX}b/": None})
    assert len(index.asked) == 1
    assert pages.take(SimpleNamespace(url=f"{INDEX}b/"))[0].content == b"two"


@pytest.mark.parametrize("status", [403, 429, 503])
def test_host_that_refuses_a_thread_is_left_to_pip(status: int) -> None:
    names = [f"part{number:02}" for number in range(30)]
    index = _Index({"a": "one", **dict.fromkeys(names, "two")})
    index.statuses = dict.fromkeys(names, status)
    pages = IndexPages(index, FreshPages())
    urls = {name: f"{INDEX}{name}/" for name in ("a", *names)}
    pages.ask_ahead(dict.fromkeys(urls.values()))
    assert pages.calls.look(urls[names[0]]).content is None
    index.statuses.clear()
    for url in urls.values():
        assert pages.take(SimpleNamespace(url=url))[0].content in (b"one", b"two")
    assert len(index.asked) <= 1 + 7 + len(names), "those that waited were not begun"
    before = len(index.asked)
    pages.ask_ahead({f"{INDEX}more/": None})
    assert len(index.asked) == before


def test_threads_ask_again_once_pip_has_the_password() -> None:
    index = _Index({"a": "one", "b": "two", "c": "three", "d": "four"})
    index.statuses["b"] = 401
    pages = IndexPages(index, FreshPages())
    pages.ask_ahead({f"{INDEX}a/": None, f"{INDEX}b/": None})
    assert not pages.calls.look(f"{INDEX}b/").final
    index.statuses.clear()
    assert pages.take(SimpleNamespace(url=f"{INDEX}b/"))[0].content == b"two"
    pages.ask_ahead({f"{INDEX}c/": None, f"{INDEX}d/": None})
    assert pages.calls.look(f"{INDEX}d/").content.content == b"four"


@pytest.mark.parametrize(
    "content",
    [
        _html('<a href="demo-1.0.tar.gz?token=secret">a</a>'),
        _json([{"url": "https://files.test/demo-1.0.tar.gz?token=secret"}]),
        _json([{"url": "https://me:secret@files.test/demo-1.0.tar.gz"}]),
        IndexContent(b"", "text/html", None, f"{INDEX}demo/?signature=secret"),
    ],
)
def test_page_with_a_query_is_not_recorded(content: Any) -> None:
    assert reduced(f"{INDEX}demo/", content, "", ["https://files.test/demo-1.0.tar.gz"]) is None


@pytest.mark.parametrize("threads", [0, 2])
def test_pages_are_asked_for_although_no_more_threads_can_start(
    monkeypatch: pytest.MonkeyPatch, threads: int
) -> None:
    """The system limits how many processes a user has."""
    start = threading.Thread.start
    started: list[threading.Thread] = []

    def start_some(thread: threading.Thread) -> None:
        if len(started) == threads:
            raise RuntimeError("can't start new thread")
        started.append(thread)
        start(thread)

    monkeypatch.setattr(threading.Thread, "start", start_some)
    names = [str(number) for number in range(20)]
    index = _Index(dict.fromkeys(names, "one"))
    assert IndexPages(index, FreshPages()).changed([_page(name, "one") for name in names]) == ""
    assert len(index.asked) == len(names)
    assert len(started) == threads


class _FreshIndex(_Index):
    """pip 26.2 and later, with pages that stay fresh."""

    def get(self, url: str, headers: dict[str, str]) -> Any:
        response = super().get(url, headers)
        date = email.utils.formatdate(usegmt=True)
        fresh = {**response.headers, "Cache-Control": "max-age=600", "Date": date}
        return SimpleNamespace(**{**vars(response), "headers": fresh})

    def get_adapter(self, url: str) -> Any:
        return SimpleNamespace(cache=None)

    @staticmethod
    def fetch_response(collector: Any, location: Any, package_name: str = "") -> Any:
        return _Index.fetch_response(collector, location)


@pytest.mark.parametrize("etag", ['"one"', ""])
def test_fresh_page_is_asked_for_once(etag: str) -> None:
    index, fresh = _FreshIndex({"a": "one"}), FreshPages()
    page = replace(_page("a", "one"), etag=etag)
    for _ in range(2):
        assert IndexPages(index, fresh).changed([page]) == ""
        assert len(index.asked) == 1


@pytest.mark.parametrize("etag", ['"one"', ""])
def test_redirected_page_is_asked_for_each_time(etag: str) -> None:
    """The index can redirect to another page the next time."""
    index, fresh = _FreshIndex({"a": "one"}, mirror="https://mirror.test/simple/"), FreshPages()
    page = replace(_page("a", "one"), etag=etag, location="https://mirror.test/simple/a/")
    for number in (1, 2):
        assert IndexPages(index, fresh).changed([page]) == ""
        assert len(index.asked) == number
    index.contents["a"] = "two"
    assert IndexPages(index, fresh).changed([page]) == f"{INDEX}a/ has changed"


def test_page_after_a_redirect_to_itself_is_not_fresh() -> None:
    index, fresh = _FreshIndex({"a": "one"}), FreshPages()
    get = index.get
    index.get = lambda *words, **kw: SimpleNamespace(  # type: ignore[method-assign]
        **vars(get(*words, **kw)), history=("a response",)
    )
    for number in (1, 2):
        assert IndexPages(index, fresh).changed([_page("a", "one")]) == ""
        assert len(index.asked) == number


@pytest.mark.parametrize(
    "kind", ["text/html; charset=latin-1", "application/vnd.pypi.simple.v1+json"]
)
def test_same_bytes_of_another_type_are_a_change(kind: str) -> None:
    """pip reads a page of another type, or in another encoding, in another way."""
    index, fresh = _FreshIndex({"a": "one"}), FreshPages()
    page = replace(_page("a", "one"), etag="")
    other = replace(page, content_type=kind)
    assert IndexPages(index, fresh).changed([page]) == ""
    assert IndexPages(index, fresh).changed([other]) == f"{INDEX}a/ has changed"
    assert len(index.asked) == 2, "the other one is not fresh"
    index.kind = kind
    assert IndexPages(index, FreshPages()).changed([page]) == f"{INDEX}a/ has changed"
    assert IndexPages(index, FreshPages()).changed([other]) == ""


def test_confirmation_with_another_type_is_not_believed() -> None:
    index = _Index({"a": "one"})
    get = index.get

    def typed(url: str, headers: dict[str, str]) -> Any:
        response = get(url, headers)
        return SimpleNamespace(
            **{**vars(response), "headers": {**response.headers, "Content-Type": index.kind}}
        )

    index.get = typed  # type: ignore[method-assign]
    assert IndexPages(index, FreshPages()).changed([_page("a", "one")]) == ""
    assert len(index.asked) == 1
    index.kind = "application/vnd.pypi.simple.v1+json"
    pages = IndexPages(index, FreshPages())
    assert pages.changed([_page("a", "one")]) == f"{INDEX}a/ has changed"
    assert [tag for _, tag in index.asked[1:]] == ['"one"', ""]
    assert pages.take(SimpleNamespace(url=f"{INDEX}a/"))[0].content_type == index.kind


def test_page_is_the_known_one_with_the_same_type_only() -> None:
    content = IndexContent(b"one", "text/html", None, f"{INDEX}a/", False)
    assert recording._is_page(content, _page("a", "one"))
    for kind in ("text/html; charset=latin-1", "application/vnd.pypi.simple.v1+json"):
        other = replace(_page("a", "one"), content_type=kind)
        assert not recording._is_page(content, other)
