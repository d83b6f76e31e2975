"""Who is believed: every reason for which an entry is not, and who counts as whom."""

from __future__ import annotations

import grp
import os
import pwd
import stat
import subprocess
from pathlib import Path

import pytest

from pip_sharedcache import trust
from pip_sharedcache.trust import NOBODY, Trust, publishers
from support.probes import acl, needs, root
from support.process import as_user

ALICE, BOB, CAROL = 54321, 54322, 54323
GROUP, OTHER_GROUP = 54399, 54398

ADMIN_ONLY = Trust(frozenset({0}))
BY_NAME = Trust(frozenset({0, ALICE}))
BY_GROUP = Trust(frozenset({0}), frozenset({GROUP}))


class Tree:
    """A store's top, its shards' directory, one shard and one entry, as real directories."""

    def __init__(self, base: Path) -> None:
        self.top = base / "store"
        self.wheels = self.top / "wheels"
        self.shard = self.wheels / "ab"
        self.entry = self.shard / "entry"
        self.entry.mkdir(parents=True)
        for path in (self.top, self.wheels):
            self.own(path, 0, GROUP, 0o2755)
        self.own(self.shard, 0, GROUP, 0o3775)
        self.own(self.entry, ALICE, GROUP, 0o555)

    def own(self, path: Path, uid: int, gid: int, mode: int) -> None:
        os.chown(path, uid, gid)
        path.chmod(mode)

    def objection(self, who: Trust) -> str:
        parents = tuple(os.stat(path) for path in (self.shard, self.wheels, self.top))
        return who.distrust_reason(os.stat(self.entry), parents)


@pytest.fixture
def tree(tmp_path: Path) -> Tree:
    return Tree(tmp_path)


pytestmark = needs(root)


def test_entry_of_a_trusted_owner_is_trusted(tree: Tree) -> None:
    assert tree.objection(BY_NAME) == ""


def test_entry_of_root_is_trusted(tree: Tree) -> None:
    tree.own(tree.entry, 0, 0, 0o555)
    assert tree.objection(ADMIN_ONLY) == ""


def test_entry_of_another_user_is_not_trusted(tree: Tree) -> None:
    assert tree.objection(ADMIN_ONLY) == "is not trusted there"


def test_who_may_exchange_what_lies_in_a_shard(tree: Tree) -> None:
    def exposure(who: Trust) -> str:
        return who.replaceable_by(
            tuple(os.stat(one) for one in (tree.shard, tree.wheels, tree.top))
        )

    tree.own(tree.wheels, 0, GROUP, 0o755)
    tree.own(tree.top, 0, GROUP, 0o755)
    assert exposure(BY_GROUP) == "", "sticky: only owners rename"
    tree.own(tree.shard, 0, GROUP, 0o2775)
    assert exposure(BY_GROUP) == "others may replace the entries there"
    tree.own(tree.shard, BOB, GROUP, 0o3775)
    assert exposure(BY_NAME) == f"uid {BOB} may replace the entries there"
    tree.own(tree.shard, ALICE, GROUP, 0o755)
    assert exposure(BY_NAME) == ""
    tree.own(tree.top, 0, GROUP, 0o757)
    assert exposure(BY_NAME) == "others may replace the entries there"


@pytest.mark.parametrize("mode", [0o775, 0o757, 0o777, 0o575, 0o1777], ids=oct)
@pytest.mark.parametrize("uid", [0, ALICE], ids=["root", "named"])
def test_entry_that_others_may_write_is_never_trusted(tree: Tree, mode: int, uid: int) -> None:
    tree.own(tree.entry, uid, GROUP, mode)
    for who in (BY_NAME, BY_GROUP):
        assert tree.objection(who) == "lets others write the entry"


@needs(acl)
def test_a_writer_in_an_access_list_shows_in_the_group_bits(tree: Tree) -> None:
    tree.own(tree.entry, ALICE, GROUP, 0o755)
    subprocess.run(["setfacl", "-m", f"u:{BOB}:rwx", str(tree.entry)], check=True)
    assert tree.objection(BY_NAME) == "lets others write the entry"


def test_the_directory_above_does_not_matter_for_a_named_owner(tree: Tree) -> None:
    tree.own(tree.shard, BOB, OTHER_GROUP, 0o777)
    assert tree.objection(BY_NAME) == ""


@pytest.mark.parametrize("uid", sorted(NOBODY - {4294967295}))
def test_overflow_uid_is_never_trusted(tree: Tree, uid: int) -> None:
    tree.own(tree.entry, uid, GROUP, 0o555)
    for who in (ADMIN_ONLY, BY_GROUP, Trust.in_store(uid, (str(uid), "@0"))):
        assert tree.objection(who) == "may be anyone"


def test_member_is_trusted_in_a_shard_of_the_group(tree: Tree) -> None:
    assert tree.objection(BY_GROUP) == ""


@pytest.mark.parametrize("gid", [OTHER_GROUP, 0])
def test_member_is_not_trusted_in_a_shard_of_another_group(tree: Tree, gid: int) -> None:
    tree.own(tree.shard, 0, gid, 0o3775)
    assert tree.objection(BY_GROUP) == "published in a shard of an untrusted group"


def test_the_entrys_own_group_says_nothing(tree: Tree) -> None:
    tree.own(tree.entry, ALICE, OTHER_GROUP, 0o555)
    assert tree.objection(BY_GROUP) == ""
    tree.own(tree.entry, ALICE, GROUP, 0o555)
    tree.own(tree.shard, 0, OTHER_GROUP, 0o3775)
    assert tree.objection(BY_GROUP) != ""


LEVEL = pytest.mark.parametrize("level", ["shard", "wheels", "top"])


@LEVEL
def test_group_trust_ends_where_a_stranger_owns_a_directory_above(tree: Tree, level: str) -> None:
    path: Path = getattr(tree, level)
    tree.own(path, CAROL, GROUP, stat.S_IMODE(path.stat().st_mode))
    assert tree.objection(BY_GROUP) == f"published in a directory of uid {CAROL}"


@LEVEL
def test_group_trust_ends_where_everybody_may_write_above(tree: Tree, level: str) -> None:
    tree.own(getattr(tree, level), 0, GROUP, 0o3777)
    assert tree.objection(BY_GROUP) == "published in a directory that all users may write"


@LEVEL
def test_group_trust_ends_where_members_may_rename_each_others_entries(
    tree: Tree, level: str
) -> None:
    tree.own(getattr(tree, level), 0, GROUP, 0o2775)
    assert tree.objection(BY_GROUP) == "published in a directory where others may rename entries"


@LEVEL
def test_a_sticky_directory_above_is_the_one_exception(tree: Tree, level: str) -> None:
    tree.own(getattr(tree, level), 0, GROUP, 0o3775)
    assert tree.objection(BY_GROUP) == ""


def test_everybody_trusts_root_himself_and_the_owner() -> None:
    with as_user(ALICE):
        assert Trust.in_store(BOB, ()) == Trust(frozenset({0, ALICE, BOB}))


def test_named_accounts_and_groups_are_trusted_by_users() -> None:
    with as_user(ALICE):
        found = Trust.in_store(0, (str(CAROL), f"@{GROUP}", "daemon", "@daemon"))
    assert found.uids == {0, ALICE, CAROL, pwd.getpwnam("daemon").pw_uid}
    assert found.gids == {GROUP, grp.getgrnam("daemon").gr_gid}


def test_names_of_the_overflow_uid_are_not_trusted() -> None:
    names = ("no-such-account", "@no-such-group", "", "@", "-1", "@-1", "1.5", "a\0b", "@a\0b")
    with as_user(ALICE):
        assert Trust.in_store(0, names) == Trust(frozenset({0, ALICE}))


def test_root_trusts_root_and_the_owner_only() -> None:
    found = Trust.in_store(BOB, (str(CAROL), f"@{GROUP}"))
    assert found == Trust(frozenset({0, BOB}))


@pytest.mark.parametrize("uid", sorted(NOBODY))
def test_overflow_uid_is_not_trusted_as_owner_or_by_name(uid: int) -> None:
    with as_user(ALICE):
        assert uid not in Trust.in_store(uid, (str(uid),)).uids


def test_process_of_the_overflow_uid_does_not_trust_that_uid(tree: Tree) -> None:
    tree.own(tree.entry, 65534, GROUP, 0o555)
    with as_user(65534):
        found = Trust.in_store(0, ())
    assert found.uids == {0}
    assert tree.objection(found) == "may be anyone"


def test_owners_that_mean_nothing_are_not_asked(
    tree: Tree, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(publishers, "OWNERS_MEAN_SOMETHING", False)
    tree.own(tree.entry, CAROL, GROUP, 0o777)
    assert tree.objection(ADMIN_ONLY) == ""
    assert not trust.writable_by_others(os.stat(tree.entry))


@pytest.mark.parametrize(
    ("mode", "expected"),
    [
        *((0o755, False), (0o555, False), (0o444, False), (0o7755, False)),
        *((0o664, True), (0o646, True), (0o020, True), (0o002, True)),
    ],
    ids=lambda value: oct(value) if not isinstance(value, bool) else str(value),
)
def test_writable_by_others_looks_at_two_bits(tmp_path: Path, mode: int, expected: bool) -> None:
    path = tmp_path / "file"
    path.touch()
    path.chmod(mode)
    assert trust.writable_by_others(path.stat()) is expected


def test_ids_without_a_name_are_printed_as_numbers() -> None:
    assert trust.user_name(0) == "root"
    assert trust.user_name(ALICE) == f"uid {ALICE}"
    assert trust.user_name(1 << 70) == f"uid {1 << 70}"
    assert trust.group_name(0) == grp.getgrgid(0).gr_name
    assert trust.group_name(GROUP) == f"gid {GROUP}"
    assert trust.group_name(1 << 70) == f"gid {1 << 70}"


def test_names_and_numbers_become_ids() -> None:
    assert trust.account_id("root") == 0
    assert trust.account_id(str(ALICE)) == ALICE
    assert trust.group_id(grp.getgrgid(0).gr_name) == 0
    assert trust.group_id(str(GROUP)) == GROUP


@pytest.mark.parametrize(
    "name", ["", "no-such", "-1", "1.5", "²", "a\0b", "\udcff", "\ud800"], ids=ascii
)
def test_other_names_have_no_id(name: str) -> None:
    assert trust.account_id(name) is None
    assert trust.group_id(name) is None


def test_on_a_system_without_accounts_there_are_numbers_only(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(publishers, "pwd", None)
    monkeypatch.setattr(publishers, "grp", None)
    assert trust.user_name(0) == "uid 0"
    assert trust.group_name(0) == "gid 0"
    assert trust.account_id("root") is None
    assert trust.group_id("root") is None


def test_the_user_is_the_effective_one() -> None:
    with as_user(ALICE):
        assert trust.user_id() == ALICE
    assert trust.user_id() == 0


@pytest.mark.parametrize("mask", [0o022, 0o002, 0o077, 0o000], ids=oct)
def test_asking_for_the_umask_leaves_it(mask: int) -> None:
    os.umask(mask)
    assert trust.current_umask() == mask
    assert trust.current_umask() == mask


# -- narrowed

BY_BOTH = Trust(frozenset({0, ALICE, BOB}), frozenset({GROUP}))


@pytest.mark.parametrize(
    ("named", "believed"),
    [
        ((), set()),
        ((str(ALICE),), {ALICE}),
        ((str(CAROL),), {CAROL}),  # of the group, which is trusted
        ((f"@{GROUP}",), {ALICE, CAROL, BOB}),
        ((f"@{OTHER_GROUP}",), set()),
        (("nobody-has-this-name",), set()),
    ],
    ids=["owner", "an account", "a member", "the group", "another group", "no such name"],
)
def test_narrowed_trust_is_in_those_named_of_those_trusted(
    tree: Tree, named: tuple[str, ...], believed: set[int]
) -> None:
    narrow = BY_BOTH.narrowed(0, named, "is not named")
    for uid in (ALICE, BOB, CAROL):
        tree.own(tree.entry, uid, GROUP, 0o555)
        assert tree.objection(narrow) == ("" if uid in believed else "is not named")


def test_narrowing_never_widens(tree: Tree) -> None:
    for before in (ADMIN_ONLY, BY_NAME):
        narrow = before.narrowed(0, (str(CAROL), f"@{GROUP}"), "is not named")
        tree.own(tree.entry, CAROL, GROUP, 0o555)
        assert tree.objection(narrow) == "is not named"
        twice = narrow.narrowed(0, (str(ALICE),), "is not named")
        tree.own(tree.entry, ALICE, GROUP, 0o555)
        assert tree.objection(twice) == "is not named", "named by the second, not by the first"


def test_narrowed_twice_both_must_name_a_member(tree: Tree) -> None:
    narrow = BY_GROUP.narrowed(0, (str(ALICE), str(CAROL)), "one")
    narrow = narrow.narrowed(0, (str(CAROL), str(BOB)), "two")
    for uid, objection in ((ALICE, "two"), (BOB, "two"), (CAROL, "")):
        tree.own(tree.entry, uid, GROUP, 0o555)
        assert tree.objection(narrow) == objection


def test_root_ourselves_and_the_owner_stay_trusted(tree: Tree) -> None:
    narrow = Trust.in_store(BOB, ()).narrowed(BOB, (), "is not named")
    assert narrow.uids == {0, os.geteuid(), BOB}


def test_the_owner_of_a_store_that_anybody_chose_is_not_trusted(tree: Tree) -> None:
    chosen = Trust.in_store(ALICE, ()).without_owner("is not believed by root")
    assert chosen.uids == {0, os.geteuid()}
    assert tree.objection(chosen) == "is not believed by root"


def test_public_file_is_recognised_by_the_directories_above(shared_tmp: Path) -> None:
    file = shared_tmp / "a" / "b" / "file"
    file.parent.mkdir(parents=True)
    file.touch()
    for path in (file.parent.parent, file.parent):
        path.chmod(0o755)
    file.chmod(0o644)
    assert trust.readable_by_all(file)
    for path, mode in ((file, 0o640), (file.parent, 0o750), (file.parent.parent, 0o700)):
        before = path.stat().st_mode
        path.chmod(mode)
        assert not trust.readable_by_all(file)
        path.chmod(before)
    assert not trust.readable_by_all(file.parent / "none")
