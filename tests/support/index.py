"""A package index of the tests' own: a directory of wheels and sdists, served over HTTP.

By default it is as simple as an index can be. With ``Public`` it answers as the public index does.
"""

from __future__ import annotations

import os
import sys
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from types import TracebackType
from typing import Protocol
from urllib.parse import quote

from support.index_pages import JSON, Pages, as_html, as_json, html_page, normalised, project_of
from support.index_server import Answer, Body, Certificate, Cut, Public, Server, make_certificate

__all__ = ["Answer", "Certificate", "IndexFactory", "LocalIndex", "Public", "make_certificate"]

Request = tuple[str, str, int]


class LocalIndex:
    """Serves the *.whl and *.tar.gz of a directory as a PEP 503 index, while in a `with`.

    hashes, metadata: as Pages has them; ``pages`` is where a test withdraws or yanks a file.
    credentials: (user, password) that every request must bring; without them the answer is 401.
    delay: seconds before every answer. limit: the most requests in work at once; others are
    answered with 429; 0: no limit. public: answers like the public index; without, each
    connection ends with its answer, and nothing can be cached.
    The directory is read anew for each request: a wheel that is written there is a new release.
    """

    def __init__(
        self,
        directory: Path,
        *,
        hashes: bool = True,
        metadata: bool = True,
        credentials: tuple[str, str] | None = None,
        delay: float = 0,
        public: Public | None = None,
    ) -> None:
        self.pages = Pages(directory, hashes=hashes, metadata=metadata)
        self.credentials = credentials
        self.delay = delay
        self.limit = 0
        self.public = public
        self._lock = threading.Lock()
        self._answers: list[Answer] = []
        self._working = 0
        self._rendered: dict[tuple[str, bool], tuple[object, Body]] = {}
        self._tags: Counter[str] = Counter()
        self._kept_tags: dict[tuple[str, bool], str] = {}
        self._failures: dict[str, tuple[int, int]] = {}
        self._cuts: dict[str, tuple[Cut, int]] = {}
        self._held: dict[str, Callable[[], bool]] = {}
        self._server: Server | None = None
        self._thread: threading.Thread | None = None

    def __enter__(self) -> LocalIndex:
        if self._server is not None:
            return self
        self._server = Server(self)
        self._thread = threading.Thread(
            target=self._server.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True
        )
        self._thread.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        server, thread = self._server, self._thread
        self._server = self._thread = None
        if server is not None and thread is not None:
            server.shutdown()
            thread.join()
            server.server_close()
            server.end_connections()

    @property
    def directory(self) -> Path:
        """Where the wheels and sdists lie."""
        return self.pages.directory

    @property
    def port(self) -> int:
        """The TCP port it listens at."""
        if self._server is None:
            raise RuntimeError("the index is not running: use it in a `with`")
        return int(self._server.server_address[1])

    @property
    def host(self) -> str:
        """Host and port, for --trusted-host."""
        return f"127.0.0.1:{self.port}"

    @property
    def url(self) -> str:
        """The address for --index-url."""
        secure = self.public is not None and self.public.certificate is not None
        return f"{'https' if secure else 'http'}://{self.host}/simple/"

    @property
    def authenticated_url(self) -> str:
        """The same address with user and password in it."""
        if self.credentials is None:
            return self.url
        user, password = (quote(part, safe="") for part in self.credentials)
        return self.url.replace("://", f"://{user}:{password}@")

    @property
    def variables(self) -> dict[str, str | None]:
        """Variables (None: unset) with which pip uses this index alone, and caches what comes from
        it. REQUESTS_CA_BUNDLE is among them: it wins over --cert."""
        authority = None
        if self.public is not None and self.public.certificate is not None:
            authority = str(self.public.certificate.authority)
        return {
            "PIP_CONFIG_FILE": os.devnull,
            "PIP_INDEX_URL": self.authenticated_url,
            "PIP_TRUSTED_HOST": None if authority else self.host,
            "PIP_CERT": authority,
            "REQUESTS_CA_BUNDLE": authority,
            **dict.fromkeys(["PIP_NO_INDEX", "PIP_EXTRA_INDEX_URL", "PIP_FIND_LINKS"]),
        }

    @property
    def answers(self) -> list[Answer]:
        """All answers so far; a copy."""
        with self._lock:
            return list(self._answers)

    @property
    def requests(self) -> list[Request]:
        """All requests so far as (method, decoded path, status); a copy."""
        return [(answer.method, answer.path, answer.status) for answer in self.answers]

    def count(self, kind: str, status: int | None = None) -> int:
        """How many answers of a kind there were, of this status or of all: count("page", 304)."""
        return sum(
            answer.kind == kind and (status is None or answer.status == status)
            for answer in self.answers
        )

    def wheel_requests(self, name: str | None = None) -> list[str]:
        """Paths of the wheels that were given out, of one project or of all."""
        return self._given_out(".whl", name)

    def metadata_requests(self, name: str | None = None) -> list[str]:
        """Paths of the .metadata files that were given out, of one project or of all."""
        return self._given_out(".metadata", name)

    def clear(self) -> None:
        """Forget the answers so far."""
        with self._lock:
            self._answers.clear()

    def new_etag(self, project: str) -> None:
        """The page has another ETag from now on, and the same content."""
        self._tags[normalised(project)] += 1

    def keep_etag(self, project: str) -> None:
        """The page keeps the ETag that it has now, and with it 304, whatever its content is."""
        for in_json in (True, False):
            page = self.project_page(normalised(project), in_json)
            if page is not None:
                self._kept_tags[normalised(project), in_json] = page.etag

    def fail(self, path: str, status: int = 500, times: int = sys.maxsize) -> None:
        """Answer the next requests for a path with this status; 0: close without an answer.

        path: a project's name, or a path such as "/files/demo-1.0-py3-none-any.whl".
        """
        path = path if path.startswith("/") else f"/simple/{normalised(path)}/"
        with self._lock:
            self._failures[path] = (status, times)

    def break_off(
        self, path: str, after: int, *, hang: bool = False, times: int = sys.maxsize
    ) -> None:
        """Send only the first ``after`` bytes of the next answers for a path, then close the
        connection, or, with ``hang``, send nothing more."""
        with self._lock:
            self._cuts[path] = (Cut(after, hang), times)

    def hold(self, path: str, until: Callable[[], bool]) -> None:
        """Answer requests for a path only once ``until`` returns True, or after half a minute."""
        self._held[path] = until

    def wait(self, path: str) -> None:
        """Return when a request for a path may be answered."""
        until, end = self._held.get(path), time.monotonic() + 30
        while until and not until() and time.monotonic() < end:
            time.sleep(0.01)

    def cut(self, path: str) -> Cut | None:
        """Where the body at a path breaks off now; None where it does not."""
        with self._lock:
            cut, times = self._cuts.get(path, (None, 0))
            if cut is None or not times:
                return None
            self._cuts[path] = (cut, times - 1)
            return cut

    def _given_out(self, suffix: str, name: str | None) -> list[str]:
        return [
            path
            for method, path, status in self.requests
            if method == "GET"
            and status in (200, 206)
            and path.endswith(suffix)
            and (name is None or project_of(path.rpartition("/")[2]) == normalised(name))
        ]

    @contextmanager
    def at_work(self) -> Iterator[int]:
        with self._lock:
            self._working += 1
            now = self._working
        try:
            yield now
        finally:
            with self._lock:
                self._working -= 1

    def note(self, answer: Answer) -> None:
        with self._lock:
            self._answers.append(answer)

    def failure(self, path: str) -> int | None:
        """The status that a path fails with now; None where it does not."""
        with self._lock:
            status, times = self._failures.get(path, (0, 0))
            if not times:
                return None
            self._failures[path] = (status, times - 1)
            return status

    def root_page(self) -> Body:
        names = self.pages.projects()
        links = "".join(f'<a href="/simple/{name}/">{name}</a><br>\n' for name in names)
        return Body(html_page(links), "text/html; charset=utf-8")

    def project_page(self, project: str, in_json: bool) -> Body | None:
        """A page in JSON (True) or in HTML."""
        state = self.pages.state_of(project)
        with self._lock:
            known = self._rendered.get((project, in_json))
        if known is None or known[0] != state:
            page = self.pages.page(project)
            if page is None:
                return None
            if in_json:
                body = Body(as_json(page), JSON)
            else:
                body = Body(as_html(page), "text/html; charset=utf-8")
            known = (state, body)
            with self._lock:
                self._rendered[project, in_json] = known
        body = known[1]
        etag = self._kept_tags.get((project, in_json))
        if etag is None:
            again = self._tags[project]
            etag = body.etag if not again else f'{body.etag[:-1]}-{again}"'
        return body.tagged(etag)


class IndexFactory(Protocol):
    """index(directory, **options of LocalIndex): a running index, stopped after the test."""

    def __call__(
        self,
        directory: Path,
        *,
        hashes: bool = True,
        metadata: bool = True,
        credentials: tuple[str, str] | None = None,
        delay: float = 0,
        public: Public | None = None,
    ) -> LocalIndex: ...
