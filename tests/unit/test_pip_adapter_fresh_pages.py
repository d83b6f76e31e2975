"""Index pages that need no request for a while."""

from __future__ import annotations

import email.utils
import io
import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from pip._vendor.cachecontrol.controller import CacheController
from pip._vendor.requests import PreparedRequest
from pip._vendor.requests.structures import CaseInsensitiveDict
from pip._vendor.urllib3 import HTTPResponse

from pip_sharedcache.pip_adapter import fresh_pages
from pip_sharedcache.pip_adapter.fresh_pages import FreshPages, lifetime
from pip_sharedcache.pip_adapter.resolver_seams import CACHE_CONTROL
from pip_sharedcache.pip_adapter.seams import Seam

URL = "https://index.test/simple/demo/"
NAME = "pip-sharedcache-pages.json"


def _date(ago: float = 0) -> str:
    return email.utils.formatdate(time.time() - ago, usegmt=True)


@pytest.mark.parametrize(
    ("headers", "seconds"),
    [
        ({}, 0),
        ({"Cache-Control": "max-age=600"}, 600),
        ({"Cache-Control": "public, max-age=600, stale-if-error=9"}, 600),
        ({"Cache-Control": "max-age=600", "Age": "200"}, 400),
        ({"Cache-Control": "max-age=600", "Age": "900"}, 0),
        ({"Cache-Control": "max-age=600", "Age": "soon"}, 600),
        ({"Cache-Control": "no-cache, max-age=600"}, 0),
        ({"Cache-Control": "no-store, max-age=600"}, 0),
        ({"Cache-Control": "max-age=many"}, 0),
        ({"Cache-Control": "max-age=999999999"}, 24 * 3600),
        ({"Cache-Control": "s-maxage=600"}, 0),
        ({"Cache-Control": 'max-age="600"'}, 0),
        ({"Cache-Control": "x-max-age=600"}, 0),
        ({"Cache-Control": "Max-Age=600"}, 0),
        ({"Cache-Control": "max-age=-1"}, 0),
        ({"Cache-Control": "max-age=600", "Date": ""}, 0),
        ({"Cache-Control": "max-age=600", "Date": "yesterday"}, 0),
        ({"Cache-Control": "max-age=600", "Date": _date(-900)}, 600),
        ({"Cache-Control": "max-age=600", "Vary": "*"}, 0),
        ({"Cache-Control": "max-age=600", "Vary": "Accept, Accept-Encoding"}, 600),
        ({"Cache-Control": "max-age=600", "Vary": "Accept, User-Agent"}, 0),
    ],
)
def test_lifetime_follows_the_headers_as_pips_cache_does(
    headers: dict[str, str], seconds: int
) -> None:
    found = lifetime({"Date": _date(), **headers})
    assert found in range(seconds - 2, seconds + 1) if seconds else found == 0
    cached = _as_pips_cache({"Date": _date(), **headers})
    assert cached or not found, "never fresh where pip would ask"


def _as_pips_cache(headers: dict[str, str]) -> bool:
    """Return whether pip's HTTP cache answers with a response that it got with ``headers``."""
    controller = CacheController()
    headers = CaseInsensitiveDict({name: value for name, value in headers.items() if value})
    if headers.get("Date") == "yesterday":
        return False  # an error in pip
    body = {"body": io.BytesIO(b"page"), "preload_content": False, "status": 200}
    response = HTTPResponse(headers=dict(headers), **body)
    request = PreparedRequest()
    request.prepare(method="GET", url=URL, headers={})
    controller.cache_response(request, response, body=b"page")
    return bool(controller.cached_request(request))


def test_nothing_is_fresh_with_another_http_cache(monkeypatch: pytest.MonkeyPatch) -> None:
    headers = {"Cache-Control": "max-age=600", "Date": _date()}
    assert lifetime(headers)
    other = Seam(CACHE_CONTROL.module, "CacheController.other", ())
    monkeypatch.setattr(fresh_pages, "CACHE_CONTROL", other)
    assert not lifetime(headers)


def test_fresh_page_is_known_to_the_next_run(tmp_path: Path) -> None:
    pages = FreshPages(str(tmp_path / "cache"))
    pages.record(URL, "ab", 600)
    pages.record("https://index.test/simple/other/", "cd", 0)
    pages.save()
    assert (tmp_path / "cache" / NAME).stat().st_mode & 0o777 == 0o600
    again = FreshPages(str(tmp_path / "cache"))
    assert again.has(URL, "ab")
    assert not again.has(URL, "cd")
    assert not again.has("https://index.test/simple/other/", "cd")


def test_killed_run_leaves_no_file_behind_the_next(tmp_path: Path) -> None:
    program = f"""
import os, signal
from pip_sharedcache.pip_adapter.fresh_pages import FreshPages
os.replace = lambda *_: os.kill(os.getpid(), signal.SIGKILL)
pages = FreshPages({str(tmp_path)!r})
pages.record({URL!r}, "ab", 600)
pages.save()
"""
    killed = subprocess.run([sys.executable, "-c", program])
    assert killed.returncode == -signal.SIGKILL
    (left,) = tmp_path.iterdir()
    pages = FreshPages(str(tmp_path))
    pages.record(URL, "cd", 600)
    pages.save()
    assert left.name != NAME
    assert [path.name for path in tmp_path.iterdir()] == [NAME]


def test_page_is_not_fresh_after_its_time(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pages = FreshPages(str(tmp_path))
    pages.record(URL, "ab", 600)
    pages.save()
    now = time.time()
    monkeypatch.setattr(time, "time", lambda: now + 601)
    assert not pages.has(URL, "ab")
    assert not FreshPages(str(tmp_path)).has(URL, "ab")
    monkeypatch.setattr(time, "time", lambda: now - 2 * 24 * 3600)
    assert not FreshPages(str(tmp_path)).has(URL, "ab"), "the clock was set back"


@pytest.mark.parametrize(
    "content", [b"", b"[]", b"{", b'{"a": 1}', b'{"a": ["b"]}', b'{"a": ["b", "c"]}', b"\xff" * 9]
)
def test_damaged_file_is_ignored_and_replaced(tmp_path: Path, content: bytes) -> None:
    (tmp_path / NAME).write_bytes(content)
    pages = FreshPages(str(tmp_path))
    pages.record(URL, "ab", 600)
    pages.save()
    assert list(json.loads((tmp_path / NAME).read_text())) == [URL]
    assert [path.name for path in tmp_path.iterdir()] == [NAME]


@pytest.mark.parametrize(("ago", "seconds"), [(0, 600), (400, 200), (900, 0)])
def test_lifetime_counts_from_the_date_of_the_origin(ago: int, seconds: int) -> None:
    """pip's HTTP cache answers with the headers of the first response."""
    found = lifetime({"Cache-Control": "max-age=600", "Date": _date(ago)})
    assert found in range(seconds - 2, seconds + 1) if seconds else found == 0


def test_fifo_in_the_cache_directory_is_not_waited_for(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / NAME)
    pages = FreshPages(str(tmp_path))
    assert not pages.has(URL, "ab")


@pytest.mark.parametrize("cache", [None, ""])
def test_nothing_is_kept_without_a_cache_directory(cache: str | None) -> None:
    pages = FreshPages(cache)
    pages.record(URL, "ab", 600)
    pages.save()
    assert pages.has(URL, "ab")


def test_full_disk_or_missing_rights_cost_requests_only(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    pages = FreshPages(str(tmp_path / "file"))
    pages.record(URL, "ab", 600)
    pages.save()
    assert pages.has(URL, "ab")
