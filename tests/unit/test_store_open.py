"""Which store is opened, and whom it is believed for the way that leads there."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from pip_sharedcache import trust
from pip_sharedcache.config import Settings
from pip_sharedcache.store import Store, open_store
from support.probes import linux, needs, root
from support.process import as_user

pytestmark = needs(linux, root)

ALICE, BOB, GROUP, OTHERS = 54321, 54322, 54399, 54398
PRIVATE = 54397


@pytest.fixture(autouse=True)
def _private_group(monkeypatch: pytest.MonkeyPatch) -> None:
    """As a machine has it that makes a group for each account."""
    monkeypatch.setattr(trust, "is_private_group", lambda gid, uid: (gid, uid) == (PRIVATE, ALICE))


@pytest.fixture
def store(shared_tmp: Path) -> Path:
    """Alice's, for the members of a group, in a directory of root's."""
    (shared_tmp / "above").mkdir()
    path = shared_tmp / "above" / "store"
    Store.make(path, str(GROUP))
    for below, directories, files in os.walk(path):
        for name in (".", *directories, *files):
            os.chown(os.path.join(below, name), ALICE, -1)
    return path


def _opened(path: Path, *names: tuple[str, ...], uid: int = BOB) -> Store:
    with as_user(uid, groups=[GROUP]):
        settings = Settings(path, "/etc/pip.conf", False, trust=names, dir_administered=True)
        return open_store(settings)


@pytest.mark.parametrize(
    ("owner", "gid", "mode", "believed"),
    [
        (0, OTHERS, 0o755, True),
        (ALICE, OTHERS, 0o755, True),
        (BOB, OTHERS, 0o755, True),
        (0, OTHERS, 0o3775, True),
        (0, OTHERS, 0o2775, False),
        (0, OTHERS, 0o777, False),
        (ALICE + 5, OTHERS, 0o755, False),
        (0, GROUP, 0o2775, True),
        (0, GROUP, 0o2777, False),
        (ALICE, PRIVATE, 0o775, True),
        (ALICE, PRIVATE, 0o777, False),
    ],
)
def test_owner_of_a_store_that_no_stranger_can_replace_is_trusted(
    store: Path, owner: int, gid: int, mode: int, believed: bool
) -> None:
    """Whoever may is somebody who is believed in any case."""
    os.chown(store.parent, owner, gid)
    store.parent.chmod(mode)
    found = _opened(store)
    assert found.trust.trusts(ALICE) is believed
    assert bool(found.trust.gids) is believed, "nor is whom that owner named"
    assert found.replaceable_by == (
        "" if believed else f"others may exchange what lies below {store.parent}"
    )
    assert _opened(store, uid=ALICE).replaceable_by == "", "one's own store is where one has put it"


@pytest.mark.parametrize("narrowed", ["owner", "require-hashes", "member"])
def test_narrowed_trust_excludes_users_that_can_replace_the_store(
    store: Path, narrowed: str
) -> None:
    os.chown(store.parent, 0, GROUP)
    store.parent.chmod(0o2775)
    names = {"owner": ((),), "member": (("root",),)}.get(narrowed, ())
    found = _opened(store, *names)
    if narrowed == "require-hashes":
        assert found.trust.trusts(ALICE)
        with as_user(BOB, groups=[GROUP]):
            narrowed_store = found.narrowed((), "is not trusted with --require-hashes")
        assert found.trust.trusts(ALICE), "a store does not change"
        found = narrowed_store
    assert not found.trust.trusts(ALICE)
    assert found.replaceable_by


def test_root_stays_trusted_in_a_root_store_that_was_moved(store: Path) -> None:
    os.chown(store, 0, -1)
    os.chown(store.parent, 0, OTHERS)
    store.parent.chmod(0o2775)
    found = _opened(store)
    assert found.trust.trusts(0)
    assert found.replaceable_by
