"""The tests' index, where it behaves as the public one does."""

from __future__ import annotations

import gzip
import hashlib
import http.client
import json
import ssl
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from support import probes
from support.accounts import run_as
from support.environments import EnvironmentFactory
from support.index import IndexFactory, LocalIndex, Public, make_certificate
from support.probes import needs
from support.wheels import digest, make_wheel

JSON = "application/vnd.pypi.simple.v1+json"
#: What pip sends.
ACCEPT = f"{JSON}, application/vnd.pypi.simple.v1+html; q=0.1, text/html; q=0.01"


class Client:
    """One connection to an index."""

    def __init__(self, index: LocalIndex, context: ssl.SSLContext | None = None) -> None:
        self._connection: http.client.HTTPConnection
        if context is None:
            self._connection = http.client.HTTPConnection(index.host, timeout=30)
        else:
            self._connection = http.client.HTTPSConnection(index.host, context=context, timeout=30)

    def get(self, path: str, **headers: str) -> tuple[int, http.client.HTTPMessage, bytes]:
        sent = {name.replace("_", "-"): value for name, value in headers.items()}
        self._connection.request("GET", path, headers=sent)
        answer = self._connection.getresponse()
        return answer.status, answer.headers, answer.read()

    def page(self, project: str, **headers: str) -> dict[str, object]:
        """The only file on a page."""
        status, _, body = self.get(f"/simple/{project}/", Accept=ACCEPT, **headers)
        assert status == 200
        (entry,) = json.loads(body)["files"]
        assert isinstance(entry, dict)
        return entry

    def close(self) -> None:
        self._connection.close()


@pytest.fixture
def wheel(wheelhouse: Path) -> Path:
    return make_wheel(wheelhouse, "My.Demo")


@pytest.fixture
def served(index: IndexFactory, wheelhouse: Path, wheel: Path) -> LocalIndex:
    return index(wheelhouse, public=Public())


@pytest.fixture
def client(served: LocalIndex) -> Iterator[Client]:
    client = Client(served)
    yield client
    client.close()


def test_page_in_json_names_hash_and_metadata(
    client: Client, served: LocalIndex, wheel: Path
) -> None:
    status, headers, body = client.get("/simple/my-demo/", Accept=ACCEPT)
    assert (status, headers["Content-Type"]) == (200, JSON)
    assert headers["Cache-Control"] == "max-age=600, public"
    page = json.loads(body)
    (entry,) = page["files"]
    assert page["name"] == "my-demo"
    assert entry["filename"] == wheel.name
    assert entry["hashes"] == {"sha256": digest(wheel)}
    assert entry["yanked"] is False
    assert client.get(entry["url"])[2] == wheel.read_bytes()
    metadata = client.get(f"{entry['url']}.metadata")[2]
    assert entry["core-metadata"] == {"sha256": hashlib.sha256(metadata).hexdigest()}
    assert [answer.kind for answer in served.answers] == ["page", "file", "metadata"]
    assert [answer.size for answer in served.answers] == [
        *(len(body), wheel.stat().st_size, len(metadata)),
    ]


def test_page_is_html_for_a_client_that_asks_for_html(
    index: IndexFactory, client: Client, wheelhouse: Path, wheel: Path
) -> None:
    for accept in ("text/html", "*/*", f"{JSON};q=0.1, text/html"):
        _, headers, body = client.get("/simple/my-demo/", Accept=accept)
        assert headers["Content-Type"].startswith("text/html")
        assert f"#sha256={digest(wheel)}".encode() in body
    other = Client(index(wheelhouse, public=Public(json=False)))
    assert other.get("/simple/my-demo/", Accept=ACCEPT)[1]["Content-Type"].startswith("text/html")
    other.close()


def test_unknown_project_is_404(client: Client) -> None:
    assert client.get("/simple/unknown/")[0] == 404
    status, headers, _ = client.get("/simple/My.Demo/")
    assert (status, headers["Location"]) == (301, "/simple/my-demo/")


def test_gzip_is_sent_to_a_client_that_accepts_it(client: Client, served: LocalIndex) -> None:
    plain = client.get("/simple/my-demo/", Accept=ACCEPT)[2]
    _, headers, packed = client.get("/simple/my-demo/", Accept=ACCEPT, Accept_Encoding="gzip, br")
    assert headers["Content-Encoding"] == "gzip"
    assert gzip.decompress(packed) == plain
    assert served.answers[-1].size == len(packed)


def test_known_etag_is_answered_with_304(client: Client, served: LocalIndex, wheel: Path) -> None:
    for path in ("/simple/my-demo/", f"/files/{wheel.name}"):
        etag = client.get(path, Accept=ACCEPT)[1]["ETag"]
        assert etag.startswith('"')
        status, headers, body = client.get(path, Accept=ACCEPT, If_None_Match=etag)
        assert (status, headers["ETag"], body) == (304, etag, b"")
        assert client.get(path, Accept=ACCEPT, If_None_Match='"another"')[0] == 200
    assert served.count("page", 304) == served.count("file", 304) == 1
    assert served.count("page") == 3


def test_changes_of_a_file_are_on_its_page(client: Client, served: LocalIndex, wheel: Path) -> None:
    before = client.page("my-demo")
    served.pages.yank(wheel.name, "bad")
    assert client.page("my-demo")["yanked"] == "bad"
    served.pages.yank(wheel.name)
    assert client.page("my-demo")["yanked"] is True
    assert b'data-yanked=""' in client.get("/simple/my-demo/")[2]
    served.pages.change_metadata(wheel.name, b"Metadata-Version: 2.1\nRequires-Python: >3\n")
    changed = client.page("my-demo")
    assert changed["requires-python"] == ">3"
    metadata = client.get(f"/files/{wheel.name}.metadata")[2]
    assert changed["core-metadata"] == {"sha256": hashlib.sha256(metadata).hexdigest()}
    served.pages.restore(wheel.name)
    assert client.page("my-demo") == before
    served.pages.withdraw(wheel.name)
    assert json.loads(client.get("/simple/my-demo/", Accept=ACCEPT)[2])["files"] == []
    assert client.get(f"/files/{wheel.name}")[0] == 404


def test_new_release_is_on_the_page(client: Client, wheelhouse: Path) -> None:
    etag = client.get("/simple/my-demo/", Accept=ACCEPT)[1]["ETag"]
    new = make_wheel(wheelhouse, "My.Demo", "2.0")
    status, headers, body = client.get("/simple/my-demo/", Accept=ACCEPT, If_None_Match=etag)
    assert (status, headers["ETag"] != etag) == (200, True)
    assert new.name in [entry["filename"] for entry in json.loads(body)["files"]]


def test_etag_changes_without_content(client: Client, served: LocalIndex) -> None:
    _, first, before = client.get("/simple/my-demo/", Accept=ACCEPT)
    served.new_etag("my.demo")
    _, second, after = client.get("/simple/my-demo/", Accept=ACCEPT)
    assert (before == after, first["ETag"] == second["ETag"]) == (True, False)


def test_content_changes_without_etag(client: Client, served: LocalIndex, wheel: Path) -> None:
    _, first, before = client.get("/simple/my-demo/", Accept=ACCEPT)
    served.keep_etag("my.demo")
    served.pages.yank(wheel.name)
    _, second, after = client.get("/simple/my-demo/", Accept=ACCEPT)
    assert (before == after, first["ETag"] == second["ETag"]) == (False, True)
    assert client.get("/simple/my-demo/", Accept=ACCEPT, If_None_Match=first["ETag"])[0] == 304


def test_page_is_made_to_fail(client: Client, served: LocalIndex) -> None:
    served.fail("my.demo", 503, times=1)
    assert client.get("/simple/my-demo/")[0] == 503
    assert client.get("/simple/my-demo/")[0] == 200
    served.fail("my-demo", 0, times=1)
    with pytest.raises(http.client.RemoteDisconnected):
        client.get("/simple/my-demo/")
    client.close()
    assert client.get("/simple/my-demo/")[0] == 200
    assert [answer.status for answer in served.answers] == [503, 200, 0, 200]


def test_connection_stays_open_and_ends_with_the_index(wheelhouse: Path, wheel: Path) -> None:
    with LocalIndex(wheelhouse, public=Public()) as served:
        client = Client(served)
        assert client.get("/simple/my-demo/")[1].get("Connection") is None
        socket = client._connection.sock
        assert client.get("/simple/my-demo/")[0] == 200
        assert client._connection.sock is socket is not None
    assert socket.recv(1) == b""
    client.close()


def test_recorded_page_keeps_files_that_are_not_there(wheelhouse: Path, wheel: Path) -> None:
    old = {
        "filename": "my_demo-0.1-py3-none-any.whl",
        "url": "https://elsewhere.invalid/packages/ab/my_demo-0.1-py3-none-any.whl",
        "hashes": {"sha256": "0" * 64},
        "core-metadata": {"sha256": "1" * 64},
        "requires-python": None,
    }
    here = {
        "filename": wheel.name,
        "url": f"https://elsewhere.invalid/packages/cd/{wheel.name}",
        "hashes": {"sha256": "2" * 64},
    }
    (wheelhouse / "pages").mkdir()
    page = wheelhouse / "pages" / "my-demo.json"
    page.write_text(json.dumps({"files": [old, here], "versions": ["0.1", "1.0"]}))
    with LocalIndex(wheelhouse, public=Public()) as served:
        client = Client(served)
        body = json.loads(client.get("/simple/my-demo/", Accept=ACCEPT)[2])
        first, second = body["files"]
        assert first == {**old, "yanked": False, "url": f"/packages/ab/{old['filename']}"}
        assert second["hashes"] == {"sha256": digest(wheel)}
        assert client.get(second["url"])[2] == wheel.read_bytes()
        assert client.get(f"/packages/ab/{old['filename']}")[0] == 404
        assert b"elsewhere" not in client.get("/simple/my-demo/")[2]
        client.close()


def test_delay_and_rate_are_kept_and_requests_at_once_counted(
    index: IndexFactory, wheelhouse: Path
) -> None:
    wheel = make_wheel(wheelhouse, files={"demo/data": b"x" * 600_000}, compress=False)
    served = index(wheelhouse, delay=0.2, public=Public(rate=3e6))

    def fetch() -> None:
        client = Client(served)
        assert client.get(f"/files/{wheel.name}")[2] == wheel.read_bytes()
        client.close()

    threads = [threading.Thread(target=fetch) for _ in range(4)]
    start = time.monotonic()
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert time.monotonic() - start > 0.2 + 600_000 / 3e6
    assert max(answer.concurrent for answer in served.answers) > 1


@needs(probes.openssl)
def test_https_has_a_certificate_that_its_authority_signed(
    index: IndexFactory, wheelhouse: Path, wheel: Path, tmp_path: Path
) -> None:
    certificate = make_certificate(tmp_path / "certificate")
    served = index(wheelhouse, public=Public(certificate=certificate))
    assert served.url.startswith("https://127.0.0.1:")
    assert served.variables["PIP_CERT"] == str(certificate.authority)
    client = Client(served, ssl.create_default_context(cafile=str(certificate.authority)))
    assert client.get("/simple/my-demo/")[0] == 200
    client.close()
    distrustful = Client(served, ssl.create_default_context())
    with pytest.raises(ssl.SSLCertVerificationError):
        distrustful.get("/simple/my-demo/")
    distrustful.close()


@pytest.mark.network
@needs(probes.index, probes.openssl)
@pytest.mark.parametrize("secure", [False, True])
def test_pip_caches_what_comes_from_it(
    environment: EnvironmentFactory,
    index: IndexFactory,
    wheelhouse: Path,
    tmp_path: Path,
    secure: bool,
) -> None:
    make_wheel(wheelhouse, "base")
    make_wheel(wheelhouse, requires=["base"])
    certificate = make_certificate(tmp_path / "certificate") if secure else None
    served = index(wheelhouse, public=Public(certificate=certificate))
    made = environment(ours=False)
    variables = {**served.variables, "PIP_CACHE_DIR": str(tmp_path / "cache")}
    for expected in (200, 304):
        served.clear()
        install = made.plain("install", "--dry-run", "demo")
        run_as(None, install, env=variables, check=True)
        # From 26.2 on, pip asks for no page that is fresh.
        assert {answer.status for answer in served.answers if answer.kind == "page"} <= {expected}
        assert (served.count("file") + served.count("metadata") > 0) == (expected == 200)
