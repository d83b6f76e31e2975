"""Remote stores in the setting dir: what is a URL, what separates, what is refused."""

from __future__ import annotations

from pathlib import Path

import platformdirs
import pytest

from pip_sharedcache.config import LayerSetting, RemoteSetting, load
from pip_sharedcache.errors import SettingError
from pip_sharedcache.model import Policy

PUBLISH, READ_ONLY = Policy.PUBLISH, Policy.READ_ONLY


@pytest.fixture(autouse=True)
def _no_site_store(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(platformdirs, "site_cache_dir", lambda *_, **__: str(tmp_path / "site"))


@pytest.mark.parametrize(
    ("text", "layers", "remotes"),
    [
        ("/a:s3://bucket/pip:/b", ["/a", "/b"], [("s3://bucket/pip", PUBLISH)]),
        ("/a\ns3://bucket/pip/ publish", ["/a"], [("s3://bucket/pip", PUBLISH)]),
        ("/a:gs://b read-only:az://c", ["/a"], [("gs://b", READ_ONLY), ("az://c", PUBLISH)]),
        ("/a:https://host:8443/x:/b", ["/a", "/b"], [("https://host:8443/x", READ_ONLY)]),
        ("https://host:8443:/b", ["/b"], [("https://host:8443", READ_ONLY)]),
        (
            "/a:https://[::1]:84/x readonly:/b",
            ["/a", "/b"],
            [("https://[::1]:84/x", READ_ONLY)],
        ),
        ("/a:file:///srv/bucket:/b", ["/a", "/b"], [("file:///srv/bucket", PUBLISH)]),
        ("/a:s3://b/x:s3://b/x/", ["/a"], [("s3://b/x", PUBLISH)]),
    ],
)
def test_urls_stand_among_the_stores(
    text: str, layers: list[str], remotes: list[tuple[str, Policy]]
) -> None:
    settings = load([], {"PIP_SHAREDCACHE_DIR": text})
    assert [str(one.path) for one in settings.layers] == layers
    assert settings.remotes == tuple(RemoteSetting(*one) for one in remotes)
    assert settings.dir == Path(layers[0])


def test_configuration_file_names_them_on_lines(tmp_path: Path) -> None:
    file = tmp_path / "pip.conf"
    text = "[sharedcache]\ndir = /local/ssd  backfill\n  /data/store\n  s3://bucket/pip  publish\n"
    file.write_text(text, encoding="utf-8")
    settings = load([file], {})
    assert settings.layers == (
        LayerSetting(Path("/local/ssd"), Policy.BACKFILL),
        LayerSetting(Path("/data/store"), PUBLISH),
    )
    assert settings.remotes == (RemoteSetting("s3://bucket/pip", PUBLISH),)


def test_without_a_path_the_local_store_is_the_default_one() -> None:
    plain = load([], {})
    settings = load([], {"PIP_SHAREDCACHE_DIR": "s3://bucket/pip"})
    assert (settings.dir, settings.layers) == (plain.dir, plain.layers)
    assert settings.private and not settings.off
    assert settings.remotes == (RemoteSetting("s3://bucket/pip", PUBLISH),)


@pytest.mark.parametrize(
    "url",
    [
        *("ftp://host/x", "http://host/x", "s3:///x", "s3://", "https://host/x publish"),
        *("s3://bucket/x backfill", "s3://bucket/x private", "s3://bucket/x?sig=abc"),
        *("https://host/x#part", "s3://bucket/../other", "file://host/x", "s3://b/a\\b"),
        *("https://user:hunter2@host/x", "https://user:hunter2@host:1/x", "https://hunter2@host/x"),
    ],
)
def test_wrong_url_is_refused_without_its_password(url: str) -> None:
    with pytest.raises(SettingError) as error:
        load([], {"PIP_SHAREDCACHE_DIR": f"/a:{url}:/b"})
    assert "hunter2" not in str(error.value)
    assert url.partition("://")[0] in str(error.value)


@pytest.mark.parametrize(
    ("value", "why"),
    [
        ("{}?sv=1&sig=hunter2", "az://... has a query"),
        ("{}?se=2030-01-01T00:00:00Z&sig=hunter2:/b", "az://... has a query"),
        ("{}#hunter2", "az://... has a fragment"),
        ("https://user:a@b:hunter2@host/x", "https://... has a user"),
        ("https://user:a@b:hunter2@host/x:/b", "https://... has a user"),
        ("https://user:a/hunter2@host/x", "cannot be used"),
        ("{} what", "another policy"),
        ("{}/../x", "has '..'"),
    ],
)
def test_secret_part_of_a_url_is_not_shown(value: str, why: str) -> None:
    with pytest.raises(SettingError) as error:
        load([], {"PIP_SHAREDCACHE_DIR": "/a:" + value.format("az://c/p")})
    assert "hunter2" not in str(error.value)
    assert why in str(error.value)


def test_secret_in_another_setting_or_a_wrong_file_is_not_shown(tmp_path: Path) -> None:
    share = "https://index.test/a https://me:a@hunter2@index.test/b"
    shown = load([], {"PIP_SHAREDCACHE_SHARE": share}).in_force()["share"].value
    assert shown == "https://index.test/a https://****@index.test/b"
    file = tmp_path / "pip.conf"
    file.write_text("dir = https://me:hunter2@index.test\n", encoding="utf-8")
    with pytest.raises(SettingError) as error:
        load([file], {})
    assert "hunter2" not in str(error.value)


@pytest.mark.parametrize("text", ["0", "601", "1.5", "-1", "9999", ""])
def test_time_limit_is_a_number_of_seconds(text: str) -> None:
    if text:
        with pytest.raises(SettingError):
            load([], {"PIP_SHAREDCACHE_REMOTE_TIMEOUT": text})
    assert load([], {"PIP_SHAREDCACHE_REMOTE_TIMEOUT": "600"}).remote_timeout == 600
    assert load([], {}).remote_timeout == 20


def test_interpreter_of_the_library_is_an_absolute_path() -> None:
    with pytest.raises(SettingError):
        load([], {"PIP_SHAREDCACHE_REMOTE_PYTHON": "python3"})
    found = load([], {"PIP_SHAREDCACHE_REMOTE_PYTHON": "/usr/bin/python3"}).remote_python
    assert found == Path("/usr/bin/python3")
