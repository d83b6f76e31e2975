"""Hints: each names what its reader may do, or who may."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

import pytest

from pip_sharedcache import cli, trust
from pip_sharedcache.errors import SharedCacheError
from pip_sharedcache.pip_adapter.pip_versions import unfit
from pip_sharedcache.store import Store
from support.probes import linux, needs, root
from support.process import as_user

pytestmark = [needs(linux, root), pytest.mark.usefixtures("own_environment")]

ALICE, BOB = 54321, 54322
Captured = pytest.CaptureFixture[str]


def _hint(act: Callable[[], object]) -> str:
    with pytest.raises(SharedCacheError) as caught:
        act()
    return caught.value.hint


def test_missing_store_is_made_by_those_who_may(shared_tmp: Path) -> None:
    path = shared_tmp / "store"
    init = f"pip-sharedcache store init {path}"
    other = "; or name another store with PIP_SHAREDCACHE_DIR"
    with as_user(ALICE):
        found = _hint(lambda: Store.open(path))
        assert found.startswith("root can mount the file system of the store; if ")
        assert found.endswith(other)
    (shared_tmp / "file").touch()  # no mount point
    assert _hint(lambda: Store.open(path)) == init
    with as_user(ALICE):
        assert _hint(lambda: Store.open(path)) == f"root can run {init}{other}"
    os.chown(shared_tmp, ALICE, -1)
    with as_user(ALICE):
        assert _hint(lambda: Store.open(path)) == init
    with as_user(BOB):
        who = trust.user_name(ALICE)
        assert _hint(lambda: Store.open(path)) == f"{who} or root can run {init}{other}"


def test_store_of_another_user_is_changed_by_its_owner(shared_tmp: Path) -> None:
    shared_tmp.chmod(0o777)
    path = shared_tmp / "store"
    Store.make(path, packed=False)
    for options, hint in (
        ({"builds": True}, f'set "builds": true in {path}/store.json'),
        ({"packed": True}, "run pip-sharedcache store repack --layout packed"),
        ({"group": "daemon"}, f"change group and trusted in {path}/store.json, or make a new one"),
    ):
        for uid, who in ((0, ""), (ALICE, "root can ")):
            with as_user(uid):
                said = _hint(lambda: Store.refuse_unsuitable(path, **options))  # noqa: B023
            assert said == f"{who}{hint}" if who else hint.removeprefix("run ")


def test_replaceable_store_is_protected_by_those_who_may(
    shared_tmp: Path, capsys: Captured
) -> None:
    shared_tmp.chmod(0o777)
    for uid, hint in ((0, "hint: chmod +t"), (ALICE, "hint: root can run chmod +t")):
        with as_user(uid):
            assert cli.main(["store", "init", str(shared_tmp / str(uid))]) == 0
        assert f"{hint} {shared_tmp}" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("command", "uid", "hint"),
    [
        ("verify --signatures", 0, "pip config --global set sharedcache.signers "),
        ("verify --signatures", ALICE, "pip config --user set sharedcache.signers "),
        ("sign", ALICE, "pip config --user set sharedcache.signing-key "),
    ],
)
def test_setting_is_written_where_its_user_may(
    command: str, uid: int, hint: str, shared_tmp: Path, capsys: Captured
) -> None:
    shared_tmp.chmod(0o777)
    os.environ.update(PIP_SHAREDCACHE_DIR=str(shared_tmp / "store"), PIP_CONFIG_FILE=os.devnull)
    with as_user(uid):
        Store.make(shared_tmp / "store")
        assert cli.main(["store", *command.split()]) == 2
    assert f"hint: {hint}" in capsys.readouterr().err


def test_pip_of_another_user_is_upgraded_by_that_user(shared_tmp: Path) -> None:
    command = "/x/python -m pip install --upgrade pip"
    assert unfit("22.3", "/x/python", library=shared_tmp).hint == command
    with as_user(ALICE):
        assert unfit("22.3", "/x/python", library=shared_tmp).hint == f"root can run {command}"
        assert unfit("22.3", "/x/python").hint == command
