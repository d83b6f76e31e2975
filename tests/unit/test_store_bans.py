"""The list of bans: what it matches, who may change it, and what it costs."""

from __future__ import annotations

import json
import os
import stat
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pip_sharedcache import cli
from pip_sharedcache.errors import Banned, StoreUnusable
from pip_sharedcache.fs import Directory
from pip_sharedcache.model import Digest
from pip_sharedcache.store import Store, WheelSource, find, publish, stage_wheel
from pip_sharedcache.store.bans import BANS_JSON, NO_BANS, Ban, Bans, new_ban
from pip_sharedcache.store.layers import Layers
from support.probes import linux, needs, root
from support.process import as_user
from support.wheels import digest, make_wheel

pytestmark = [needs(linux), pytest.mark.usefixtures("own_environment")]

ALICE, BOB = 54321, 54322
DIGEST = "ab" * 32


@pytest.fixture
def store(shared_tmp: Path) -> Store:
    return Store.make(shared_tmp / "store")


def _write(store: Store, *bans: Ban) -> Store:
    with Directory.open(store.path) as top:
        Bans(bans).write(top)
    return Store.open(store.path)


@pytest.mark.parametrize(
    ("version", "filename", "banned"),
    [
        *(("1.0", "demo-1.0-py3-none-any.whl", True), ("1.0", "demo-1-py3-none-any.whl", True)),
        *(
            ("1", "Demo-1.0.0-1-py3-none-any.whl", True),
            ("1.0", "demo-1.0.1-py3-none-any.whl", False),
        ),
        *(("1.0", "demo-1.0+cu118-py3-none-any.whl", True), ("1.0", "demo_x-1.0-py3.whl", False)),
        ("1.0+cu118", "demo-1.0+cu118-py3-none-any.whl", True),
        *(("1.0+cu118", "demo-1.0-py3-none-any.whl", False), ("1.0rc1", "demo-1.0rc1-x.whl", True)),
        *(("1.0", "demo", False), ("1.0", "demo-x-y.whl", False), ("1.0", "", False)),
    ],
)
def test_version_bans_all_of_its_wheels(version: str, filename: str, banned: bool) -> None:
    bans = Bans((Ban(name="demo", version=version),))
    assert (bans.find(DIGEST, filename) is not None) is banned


def test_digest_bans_that_wheel_under_any_name() -> None:
    bans = Bans((Ban(digest=DIGEST),))
    assert bans.find(DIGEST, "any") is not None
    assert bans.find("cd" * 32, "any") is None


def test_list_is_read_as_it_was_written(store: Store) -> None:
    bans = (
        new_ban(store.path, digest=DIGEST, title="demo-1.0-py3-none-any.whl", because="a reason"),
        new_ban(store.path, name="demo", version="2.0"),
    )
    opened = _write(store, *bans)
    assert opened.bans.listed == bans
    assert oct((store.path / BANS_JSON).stat().st_mode)[-3:] == "644"
    assert os.listdir(store.path).count(BANS_JSON) == 1
    assert not [name for name in os.listdir(store.path) if name.startswith(".new-")]


def test_reason_is_kept_as_it_was_given_and_shown_with_escapes(store: Store) -> None:
    reason = "it steals\ttokens: \x1b[2J \u202e"
    (ban,) = _write(store, new_ban(store.path, digest=DIGEST, because=reason)).bans.listed
    assert ban.because == reason
    assert str(ban) == rf"banned in {store.path}: it steals\ttokens: \x1b[2J \u202e"


@given(st.binary(max_size=300) | st.text(max_size=300).map(str.encode))
def test_any_content_is_a_list_or_makes_the_store_unusable(text: bytes) -> None:
    import tempfile

    with tempfile.TemporaryDirectory() as directory:
        path = Path(directory)
        (path / BANS_JSON).write_bytes(text)
        (path / BANS_JSON).chmod(0o644)
        with Directory.open(path) as top:
            try:
                assert isinstance(Bans.read(path, top), Bans)
            except StoreUnusable as error:
                assert str(path / BANS_JSON) in str(error)


_ROW = {"sha256": DIGEST, "because": "", "by": "x", "at": 1}


@pytest.mark.parametrize(
    "rows",
    [
        *([{**_ROW, "sha256": "ab"}], [{**_ROW, "at": "1"}], [{**_ROW, "because": 1}], ["x"], {}),
        *([{"name": "demo", "at": 1}], [{"name": "", "version": "1", "at": 1}], [_ROW] * 4001),
        *([{"name": "demo", "version": "x y", "at": 1}], [{**_ROW, "because": "x" * 401}]),
    ],
)
def test_list_with_one_wrong_row_makes_the_store_unusable(store: Store, rows: object) -> None:
    (store.path / BANS_JSON).write_text(json.dumps({"format": 1, "bans": rows}))
    with pytest.raises(StoreUnusable, match="damaged"):
        Store.open(store.path)


def test_banned_wheel_is_neither_found_nor_staged(store: Store, shared_tmp: Path) -> None:
    wheel = make_wheel(shared_tmp, "demo")
    found = Digest(digest(wheel))
    publish(store, wheel, wheel.name, found)
    banning = _write(store, new_ban(store.path, name="demo", version="1.0", because="bad"))
    assert find(store, found, wheel.name).entry is not None
    assert find(banning, found, wheel.name).entry is None
    with pytest.raises(Banned, match=f"demo.* is banned in {store.path}: bad"):
        stage_wheel(banning, WheelSource(wheel, wheel.name, found))


def test_each_store_of_a_run_has_the_bans_of_all(store: Store, shared_tmp: Path) -> None:
    other = Store.make(shared_tmp / "other")
    banning = _write(store, new_ban(store.path, digest=DIGEST))
    for order in ([banning, other], [other, banning]):
        layers = Layers(order)
        assert all(one.bans.find(DIGEST, "") for one in layers)
        assert layers.ban_of(Digest(DIGEST), "") is not None
    assert Layers([other]).ban_of(Digest(DIGEST), "") is None
    assert Layers([]).ban_of(Digest(DIGEST), "") is None


@pytest.fixture
def opened(monkeypatch: pytest.MonkeyPatch) -> Iterator[list[str]]:
    """The names of files that a store opens."""
    names: list[str] = []
    open_file = Directory.open_file

    def counted(held: Directory, name: str) -> int:
        names.append(name)
        return open_file(held, name)

    monkeypatch.setattr(Directory, "open_file", counted)
    yield names


def test_list_is_read_once_and_costs_nothing_where_there_is_none(
    store: Store, shared_tmp: Path, opened: list[str]
) -> None:
    wheel = make_wheel(shared_tmp, "demo")
    found = Digest(digest(wheel))
    assert Store.open(store.path).bans is NO_BANS
    assert BANS_JSON not in opened
    banning = _write(store, new_ban(store.path, digest=DIGEST))
    before = opened.count(BANS_JSON)
    layers = Layers([banning])
    for _ in range(10):
        layers.find(found, wheel.name)
    assert opened.count(BANS_JSON) == before


# -- a list that says nothing reliable, and the hint that helps


def _hint(store: Store) -> str:
    with pytest.raises(StoreUnusable) as caught:
        Store.open(store.path)
    return caught.value.hint


def _directory(path: Path) -> None:
    path.mkdir()
    (path / "within").touch()


@needs(root)
@pytest.mark.parametrize(
    ("make", "command", "costs"),
    [
        (_directory, "rm -r {}", True),
        (os.mkfifo, "rm {}", True),
        (lambda path: path.symlink_to("/dev/null"), "rm {}", True),
        (lambda path: path.write_bytes(bytes(1 << 21)), "rm {}", True),
        (lambda path: os.close(os.open(path, os.O_CREAT, 0o600)), "chmod 644 {}", False),
    ],
    ids=["directory", "fifo", "symlink", "large", "unreadable"],
)
def test_bad_list_of_bans_gets_the_hint_that_helps(
    make: Callable[[Path], object],
    command: str,
    costs: bool,
    store: Store,
    shared_tmp: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    path = store.path / "bans.json"
    make(path)
    wanted = command.format(path)
    cost = " (this lifts all bans)" if costs else ""
    with as_user(ALICE):
        assert _hint(store) == f"root can run {wanted}{cost}"
        os.environ["PIP_SHAREDCACHE_DIR"] = str(store.path)
        assert cli.main(["store", "doctor", "--environment", str(shared_tmp)]) == 1
        assert f"hint (as root): {wanted}" in capsys.readouterr().out
    subprocess.run(wanted.split(), check=True)
    if costs:
        assert Store.open(store.path).bans.listed == ()
    else:
        assert path.stat().st_mode & stat.S_IROTH


@needs(root)
def test_list_of_bans_that_others_may_write_is_closed_first(store: Store) -> None:
    path = store.path / "bans.json"
    path.write_text('{"format": 1, "bans": []}')
    path.chmod(0o666)
    assert _hint(store) == f"check the list, then run chmod 644 {path}"
    with as_user(ALICE):
        assert _hint(store).startswith("root can check the list, then run")


@needs(root)
def test_list_of_bans_of_a_later_version_asks_for_an_upgrade(store: Store) -> None:
    (store.path / "bans.json").write_text('{"format": 2}')
    assert _hint(store).startswith("upgrade pip-sharedcache, or root can")


@needs(root)
def test_foreign_list_of_bans_is_a_fault_for_doctor(
    store: Store, shared_tmp: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = store.path / "bans.json"
    _directory(path)
    os.chown(path, BOB, -1)
    (line,) = Store.open(store.path).bans.ignored
    assert line.endswith(f"hint: rm -r {path}")
    os.environ["PIP_SHAREDCACHE_DIR"] = str(store.path)
    assert cli.main(["store", "doctor", "--environment", str(shared_tmp)]) == 1
    assert f"hint (as root): rm -r {path}" in capsys.readouterr().out
