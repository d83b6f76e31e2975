"""Pages that pip judges before it comes to them, and the metadata that it will ask for then."""

from __future__ import annotations

import io
import itertools
import logging
import threading
from collections.abc import Callable, Iterator
from types import SimpleNamespace
from typing import Any

import pytest
from pip._internal.index.collector import IndexContent, LinkCollector, parse_links
from pip._internal.index.package_finder import PackageFinder
from pip._internal.models.search_scope import SearchScope
from pip._internal.models.selection_prefs import SelectionPreferences
from pip._internal.network.utils import HEADERS
from pip._vendor.packaging.specifiers import SpecifierSet
from pip._vendor.urllib3.response import HTTPResponse

from pip_sharedcache.pip_adapter.foresight import Early, Foresight
from pip_sharedcache.pip_adapter.fresh_pages import FreshPages
from pip_sharedcache.pip_adapter.index_pages import IndexPages
from pip_sharedcache.pip_adapter.judging import Judgement
from pip_sharedcache.pip_adapter.page_contents import project_of

INDEX = "https://index.test/simple/"
LOG = logging.getLogger("test")

pytestmark = pytest.mark.usefixtures("no_hanging")


class _Index:
    """An index with pages and metadata, and pip's session in front of it.

    pages: the HTML of each project's page. held: the projects and files that wait for ``release``.
    asked: the URLs of all requests.
    """

    def __init__(self) -> None:
        self.pages: dict[str, str] = {}
        self.held: set[str] = set()
        self.release = threading.Event()
        self.asked: list[str] = []

    def add(self, name: str, *files: str, beside: str = "data-dist-info-metadata=true") -> None:
        """Add the page of a project. ``beside``: says that wheels have metadata beside them."""
        self.pages[name] = "".join(f'<a href="/files/{file}" {beside}>{file}</a>' for file in files)

    @staticmethod
    def is_secure_origin(location: Any) -> bool:
        return True

    def get(self, url: str, **kw: Any) -> Any:
        self.asked.append(url)
        if self.held & {project_of(url), url.rpartition("/")[2]}:
            self.release.wait(60)
        if url.endswith(".metadata"):
            raw = HTTPResponse(io.BytesIO(b"Name: x"), preload_content=False)
            return SimpleNamespace(status_code=200, headers={}, raw=raw)
        name = project_of(url)
        return SimpleNamespace(
            status_code=200, headers={"ETag": f'"{name}"'}, url=url, text=self.pages[name]
        )


class _Collector(LinkCollector):  # type: ignore[misc]
    def fetch_response(self, location: Any) -> Any:
        response = self.session.get(location.url)
        content = response.text.encode()
        return IndexContent(content, "text/html", None, response.url, cache_link_parsing=False)


class _Run:
    """One run of pip's resolver. judged: the projects whose pages were judged, in order."""

    def __init__(self, index: _Index) -> None:
        self.index = index
        scope = SearchScope.create(find_links=[], index_urls=[INDEX], no_index=False)
        collector = _Collector(session=index, search_scope=scope)
        self.finder = PackageFinder.create(collector, SelectionPreferences(allow_yanked=False))
        self.pages = IndexPages(collector, FreshPages())
        self.judged: list[str] = []
        self.error: Exception | None = None
        self.served: Any = None
        self.wants_metadata = True
        self.on_judged: Callable[[], object] = lambda: None
        self.foresight = Foresight(
            self.finder, self.pages, self._judge, lambda link: self.wants_metadata
        )

    def _judge(
        self, url: str, content: Any, etag: str, evaluator: Any, proceed: object
    ) -> Judgement:
        self.judged.append(project_of(url))
        LOG.warning("%s is judged", project_of(url))
        self.on_judged()
        if self.error is not None:
            raise self.error
        candidates = self.finder.evaluate_links(evaluator, list(parse_links(content)))
        return Judgement(candidates, self.served, ())

    def expect(self, *names: str, specifier: str | None = None) -> None:
        self.pages.ask_ahead({f"{INDEX}{name}/": None for name in names})
        for name in names:
            admitted = None if specifier is None else SpecifierSet(specifier)
            self.foresight.expect(f"{INDEX}{name}/", name, f"{INDEX}{name}/", admitted)

    def wait(self, *names: str) -> None:
        """Wait until these pages have arrived."""
        for name in names:
            self.pages.calls.look(f"{INDEX}{name}/")

    def take(self, name: str) -> Early | None:
        return self.foresight.take(f"{INDEX}{name}/")

    def metadata(self) -> list[str]:
        """Return the files whose metadata threads have asked for, without their ends."""
        calls, ends = self.pages.calls, ("-py3-none-any.whl", ".tar.gz")
        found = []
        for name, version in itertools.product(self.index.pages, ("1.0", "2.0", "3.0")):
            for end in ends:
                url = f"https://index.test/files/{name}-{version}{end}.metadata"
                if url in calls:
                    calls.look(url)
                    found.append(f"{name} {version}")
        return found


class _Kept(logging.Handler):
    def __init__(self) -> None:
        super().__init__()
        self.texts: list[str] = []

    def emit(self, record: logging.LogRecord) -> None:
        self.texts.append(record.getMessage())


@pytest.fixture
def index() -> _Index:
    index = _Index()
    for name in ("first", "last"):
        index.add(name, f"{name}-1.0-py3-none-any.whl")
    for name in ("a", "b"):
        versions = ("1.0", "2.0", "3.0")
        index.add(name, *(f"{name}-{version}-py3-none-any.whl" for version in versions))
    index.held.add("last")
    return index


@pytest.fixture
def run(index: _Index) -> Iterator[_Run]:
    """pip has got metadata of the index, so threads may ask for more."""
    root = logging.getLogger()
    before = root.handlers
    run = _Run(index)
    run.expect("first")
    run.take("first")
    run.judged.clear()
    downloader = SimpleNamespace(_session=index)
    with run.foresight.meanwhile.requests_of(SimpleNamespace(_download=downloader)):
        url = "https://index.test/files/first-1.0-py3-none-any.whl.metadata"
        downloader._session.get(url, headers=HEADERS, stream=True).raw.close()
    yield run
    index.release.set()
    run.metadata()
    run.foresight.meanwhile.end()
    run.pages.end()
    root.handlers = before


def test_arrived_pages_are_judged_while_another_is_awaited(run: _Run) -> None:
    run.expect("last", "a", "b")
    run.wait("a", "b")
    assert run.judged == []
    assert run.take("last") is None
    assert run.judged == ["a", "b"]
    for name in ("a", "b"):
        early = run.take(name)
        assert early is not None
        assert (early.content.content.decode(), early.etag) == (run.index.pages[name], f'"{name}"')
        assert [str(one.version) for one in early.judgement().candidates] == ["1.0", "2.0", "3.0"]
        assert run.take(name) is None, "once"
    assert run.judged == ["a", "b"]
    assert sorted(project_of(url) for url in run.index.asked if url.endswith("/")) == [
        *("a", "b", "first", "last")
    ]


def test_page_that_is_there_is_left_to_pip(run: _Run) -> None:
    run.expect("a", "b")
    run.wait("a", "b")
    assert run.take("a") is None
    assert run.judged == []
    run.expect("last")
    run.take("last")
    assert run.judged == ["b"], "pip judges the other one itself"


def test_nothing_is_judged_that_has_not_arrived(run: _Run) -> None:
    run.expect("last")
    assert run.take("last") is None
    assert run.judged == []
    assert run.take("unknown") is None


def test_pages_are_judged_while_metadata_is_awaited(run: _Run) -> None:
    run.expect("a")
    run.wait("a")
    downloader = SimpleNamespace(_session=run.index)
    run.index.held.add("late-1.0-py3-none-any.whl.metadata")
    with run.foresight.meanwhile.requests_of(SimpleNamespace(_download=downloader)):
        run.on_judged = run.index.release.set
        url = "https://index.test/files/late-1.0-py3-none-any.whl.metadata"
        downloader._session.get(url, headers=HEADERS, stream=True).raw.close()
    assert run.judged == ["a"]


def test_what_is_logged_of_a_page_waits_for_pip(run: _Run) -> None:
    logged = _Kept()
    logging.getLogger().handlers = [logged]
    run.expect("last", "a")
    run.wait("a")
    run.take("last")
    assert logged.texts == []
    early = run.take("a")
    assert early is not None
    early.judgement()
    assert logged.texts == ["a is judged"]


def test_error_about_a_page_waits_for_pip(run: _Run) -> None:
    run.expect("last", "a")
    run.wait("a")
    run.error = ValueError("an unusual page")
    run.take("last")
    early = run.take("a")
    assert early is not None
    with pytest.raises(ValueError, match="an unusual page"):
        early.judgement()


def test_content_is_kept_until_the_judgement_can_serve(run: _Run) -> None:
    """All pages together would take more memory than pip."""
    run.expect("last", "a", "b")
    run.wait("a")
    run.served = object()
    run.take("last")
    early = run.take("a")
    assert early is not None
    assert early.content is None


def test_early_judgement_is_for_an_evaluator_that_judges_alike(run: _Run) -> None:
    run.expect("last", "a")
    run.wait("a")
    run.take("last")
    early = run.take("a")
    assert early is not None
    assert early.is_for(run.finder.make_link_evaluator("a"))
    run.finder.format_control.disallow_binaries()
    assert not early.is_for(run.finder.make_link_evaluator("a"))


@pytest.mark.parametrize(
    ("at_first", "later", "version"),
    [
        (None, [], "3.0"),
        ("<3", [], "2.0"),
        (None, ["<3"], "2.0"),
        ("<3", [None], "2.0"),
        ("<3", ["!=2.0"], "1.0"),
        ("<3", ["!=2.0", "!=1.0"], None),
    ],
)
def test_metadata_of_the_best_candidate_is_asked_for(
    run: _Run, at_first: str | None, later: list[str | None], version: str | None
) -> None:
    run.expect("last", "b")
    run.expect("a", specifier=at_first)
    for specifier in later:
        run.foresight.narrow("a", None if specifier is None else SpecifierSet(specifier))
    run.wait("a", "b")
    run.take("last")
    assert run.metadata() == ([f"a {version}"] if version else []) + ["b 3.0"]


def test_metadata_of_a_yanked_file_is_not_asked_for(run: _Run) -> None:
    run.index.pages["a"] = run.index.pages["a"].replace("true>a-3", "true data-yanked=''>a-3")
    run.expect("last", "a")
    run.wait("a")
    run.take("last")
    assert run.metadata() == ["a 2.0"]


def test_metadata_that_pip_will_not_ask_for_is_not_asked_for(run: _Run) -> None:
    run.index.add("a", "a-1.0-py3-none-any.whl", "a-2.0.tar.gz")
    run.index.add("b", "b-1.0-py3-none-any.whl", beside="")
    run.expect("last", "a", "b")
    run.wait("a", "b")
    run.take("last")
    run.index.add("c", "c-1.0-py3-none-any.whl")
    run.wants_metadata = False  # the wheel is in a store
    run.expect("c")
    run.wait("c")
    run.take("last")
    assert run.judged == ["a", "b", "c"]
    assert run.metadata() == []
