"""What a run does without: symlinks into a store that may be exchanged, sharing what is private."""

from __future__ import annotations

import os
from dataclasses import replace
from pathlib import Path

import pytest

from pip_sharedcache import config
from pip_sharedcache.config import Setting, Settings
from pip_sharedcache.session import restrictions
from pip_sharedcache.store import Store, open_store
from support.filesystems import read_only
from support.probes import bind_mounts, needs, root
from support.process import as_user

pytestmark = needs(root)

ALICE = 54321


@pytest.fixture
def store(shared_tmp: Path) -> Store:
    return Store.make(shared_tmp / "store")


def _settings(store: Store, *, administered: bool, share: tuple[str, ...] = ()) -> Settings:
    source = "/etc/pip.conf" if administered else "environment variable X"
    return Settings(store.path, source, False, share=share, dir_administered=administered)


def _no_symlinks(store: Store, *, administered: bool) -> str:
    return restrictions.no_symlinks_because(open_store(_settings(store, administered=administered)))


def test_root_places_symlinks_into_a_store_that_root_named(store: Store) -> None:
    assert _no_symlinks(store, administered=True) == ""


def test_nor_are_there_any_where_others_may_exchange_it(store: Store) -> None:
    os.chown(store.path.parent, ALICE, -1)
    why = f"others may exchange what lies below {store.path.parent}"
    assert _no_symlinks(store, administered=True) == why


def test_root_places_no_link_to_a_replaceable_store_that_another_user_named(store: Store) -> None:
    assert _no_symlinks(store, administered=False) == ""
    os.chown(store.path.parent, ALICE, -1)
    assert "environment variable X, and others may move it" in _no_symlinks(
        store, administered=False
    )


def test_nor_where_a_link_on_the_way_may_be_changed(store: Store, shared_tmp: Path) -> None:
    theirs = shared_tmp / "theirs"
    theirs.mkdir()
    os.chown(theirs, ALICE, -1)
    (theirs / "link").symlink_to(store.path)
    through = Store.open(theirs / "link")
    assert "others may move it" in _no_symlinks(through, administered=False)


@pytest.mark.parametrize(("mode", "moves"), [(0o1777, False), (0o777, True), (0o775, True)])
def test_a_directory_that_others_may_write_is_one_of_those(
    mode: int, moves: bool, store: Store
) -> None:
    store.path.parent.chmod(mode)
    assert bool(_no_symlinks(store, administered=False)) == moves


def test_none_where_links_cannot_be_noted(store: Store) -> None:
    (store.path / "use" / "0").write_text("not a directory")
    assert "links cannot be registered" in _no_symlinks(store, administered=True)


def test_private_data_is_shared_only_in_stores_of_trusted_owners(
    store: Store, caplog: pytest.LogCaptureFixture
) -> None:
    settings = _settings(store, administered=False, share=("https://private/",))
    assert restrictions.shared_although_private(settings, [store]) == ("https://private/",)
    assert restrictions.shared_although_private(settings, []) == ("https://private/",)
    os.chown(store.path, ALICE, -1)
    theirs = Store.open(store.path)
    theirs = replace(theirs, trust=theirs.trust.without_owner("is not trusted"))
    assert restrictions.shared_although_private(settings, [theirs]) == ()
    assert f"Setting share is ignored: {store.path} belongs to uid {ALICE}" in caplog.text


def test_root_shows_no_group_what_a_variable_named(
    store: Store, caplog: pytest.LogCaptureFixture
) -> None:
    environ = {"PIP_SHAREDCACHE_DIR": str(store.path), "PIP_SHAREDCACHE_SHARE": "/"}
    settings = config.load([], environ)
    assert restrictions.shared_although_private(settings, [store]) == ("/",), "a store of its own"
    store = replace(store, group="lab")
    assert restrictions.shared_although_private(settings, [store]) == ()
    assert "this is environment variable PIP_SHAREDCACHE_SHARE" in caplog.text
    by_root = replace(settings, chosen={"share": [Setting("/", "/etc/pip.conf", True)]})
    assert restrictions.shared_although_private(by_root, [store]) == ("/",)
    with as_user(ALICE):
        assert restrictions.shared_although_private(settings, [store]) == ("/",)


@needs(bind_mounts)
def test_no_symlinks_where_they_cannot_be_noted(store: Store) -> None:
    """A read-only mount, in which the directory for one's marks is there."""
    store.own_usage_marks().close()
    with read_only(store.path, store.path):
        assert "may not be written" in _no_symlinks(store, administered=True)
