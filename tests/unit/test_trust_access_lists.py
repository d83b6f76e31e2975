"""Access lists: which ones let others write, and what cannot be decoded."""

from __future__ import annotations

import os
import random
import stat
import struct
import subprocess
from collections.abc import Iterable
from pathlib import Path

import pytest

from pip_sharedcache.trust import access_lists, paths
from pip_sharedcache.trust.access_lists import (
    NFS4,
    Rule,
    decode,
    foreign_publishers,
    foreign_writers,
)
from support.fuse import listed
from support.lists import RECORDED
from support.probes import acl, fuse, needs, root

OTHERS = "has an access list that lets others write"
READ, WRITE, APPEND, DELETE_CHILD = 0x1200A1, 0x2, 0x4, 0x40
WRITE_LIST, WRITE_OWNER = 0x40000, 0x80000
ALLOW, DENY, AUDIT, ALARM = range(4)
INHERITED_BY_ALL, INHERIT_ONLY, IS_GROUP = 0x3, 0x8, 0x40


def encoded(rules: Iterable[Rule | tuple[int, int, int, str]]) -> bytes:
    data, rules = b"", list(rules)
    for kind, flags, rights, who in rules:
        name = who.encode()
        data += struct.pack(">4I", kind, flags, rights, len(name)) + name + b"\0" * (-len(name) % 4)
    return struct.pack(">I", len(rules)) + data


OWN = (ALLOW, 0, 0x1601E7, "OWNER@")
OF_GROUP = (ALLOW, IS_GROUP, 0x1200E7, "GROUP@")
OF_ALL = (ALLOW, 0, READ, "EVERYONE@")


class Listed:
    """A directory whose file system has one extended attribute, with any value."""

    def __init__(self, point: Path, value: Path) -> None:
        self.point = point
        self._value = value

    def publishing(self, value: bytes) -> str:
        self._value.write_bytes(value)
        return foreign_publishers(self.point)

    def objection(self, value: bytes, mode: int, *, inherited: bool = False) -> str:
        self._value.write_bytes(value)
        return foreign_writers(self.point, mode, inherited=inherited)


@pytest.fixture
def served(tmp_path: Path) -> Iterable[Listed]:
    point, value = tmp_path / "point", tmp_path / "value"
    point.mkdir()
    value.write_bytes(RECORDED)
    with listed(point, NFS4, value):
        yield Listed(point, value)


def test_the_recorded_list_decodes_into_its_four_entries() -> None:
    assert decode(RECORDED) == [
        Rule(ALLOW, 0, 0x1601E7, "OWNER@"),
        Rule(ALLOW, 0, 0x1200E7, "2009"),
        Rule(ALLOW, 0, 0x1200E7, "GROUP@"),
        Rule(ALLOW, 0, READ, "EVERYONE@"),
    ]
    assert encoded(decode(RECORDED)) == RECORDED


def test_a_malformed_list_is_refused() -> None:
    malformed = [
        *(RECORDED[:length] for length in range(len(RECORDED))),
        RECORDED + b"\0",
        RECORDED + b"\0\0\0\0",
        b"\xff\xff\xff\xff" + RECORDED[4:],
        struct.pack(">I", 5) + RECORDED[4:],
        struct.pack(">I", 3) + RECORDED[4:],
        encoded([(4, 0, READ, "EVERYONE@")]),
        encoded([(ALLOW, 0x100, READ, "EVERYONE@")]),
        encoded([(ALLOW, 0, 1 << 31, "EVERYONE@")]),
        encoded([(ALLOW, 0, READ, "")]),
        struct.pack(">5I", 1, ALLOW, 0, READ, 0xFFFFFFFF) + b"abcd",
        struct.pack(">5I", 1, ALLOW, 0, READ, 1) + b"a\0\0\1",
        struct.pack(">5I", 1, ALLOW, 0, READ, 4) + b"\xff\xfe\xfd\xfc",
    ]
    assert [value for value in malformed if _is_list(value)] == []


def _is_list(value: bytes) -> bool:
    try:
        decode(value)
    except ValueError:
        return False
    return True


def test_random_bytes_give_a_list_or_a_value_error() -> None:
    chance = random.Random(13)
    refused = 0
    for number in range(20_000):
        if number % 2:
            value = bytearray(RECORDED)
            for _ in range(chance.randrange(1, 6)):
                value[chance.randrange(len(value))] = chance.randrange(256)
        else:
            value = bytearray(chance.randbytes(chance.randrange(120)))
            value[:3] = bytes(min(3, len(value)))
        try:
            assert encoded(decode(bytes(value))) == bytes(value), "a list reads only one way"
        except ValueError:
            refused += 1
    assert 0 < refused < 20_000, "both happen"


@needs(fuse)
def test_an_nfs4_list_is_an_objection_if_it_lets_others_write(served: Listed) -> None:
    def publishing(*rules: tuple[int, int, int, str]) -> str:
        return served.publishing(encoded([OWN, *rules]))

    assert stat.S_IMODE(served.point.stat().st_mode) == 0o3775
    assert foreign_publishers(served.point) == OTHERS, "the recorded one"
    assert publishing(OF_GROUP, OF_ALL) == ""
    for right in (WRITE, APPEND, DELETE_CHILD, WRITE_LIST, WRITE_OWNER):
        for who in ("2009", "carol@example.org", "EVERYONE@", "staff@example.org"):
            assert publishing(OF_GROUP, OF_ALL, (ALLOW, 0, READ | right, who)) == OTHERS
        assert publishing(OF_GROUP, (ALLOW, IS_GROUP, READ | right, "staff")) == OTHERS
        assert publishing((ALLOW, 0, READ | right, "GROUP@")) == ""
        for kind in (DENY, AUDIT, ALARM):
            assert publishing(OF_GROUP, (kind, 0, READ | right, "2009")) == ""
        inherited = INHERITED_BY_ALL | INHERIT_ONLY
        assert publishing(OF_GROUP, (ALLOW, inherited, READ | right, "2009")) == ""
        assert publishing(OF_GROUP, (ALLOW, INHERITED_BY_ALL, READ | right, "2009")) == OTHERS
    assert publishing(OF_GROUP, (ALLOW, 0, READ, "2009"), (ALLOW, 0, READ, "EVERYONE@")) == ""
    cut = RECORDED[:-1]
    assert served.publishing(cut) == "has an access list that cannot be decoded (it is too short)"


@needs(fuse)
def test_an_nfs4_list_gives_more_than_the_mode_shows(served: Listed) -> None:
    by_mode = encoded([OWN, OF_GROUP, (ALLOW, 0, READ | WRITE, "EVERYONE@")])
    assert served.objection(by_mode, 0o1777) == "", "the mode shows that"
    assert served.objection(by_mode, 0o755) == OTHERS
    assert served.objection(RECORDED, 0o1777) == OTHERS
    owner = encoded([OWN, (ALLOW, IS_GROUP, READ | WRITE_OWNER, "GROUP@")])
    assert served.objection(owner, 0o775) == OTHERS, "no mode shows that"
    passed_on = encoded([OWN, OF_ALL, (ALLOW, INHERITED_BY_ALL | INHERIT_ONLY, WRITE, "2009")])
    assert served.objection(passed_on, 0o755) == ""
    assert served.objection(passed_on, 0o755, inherited=True) == OTHERS


@needs(fuse, root)
def test_a_way_past_an_nfs4_list_may_be_replaced_by_others(served: Listed) -> None:
    steps = [step for step, _ in paths.replaceable_steps(served.point / "store", frozenset({0}))]
    assert steps == [served.point / "store"], "there is none yet"
    theirs = paths._of_others(frozenset({0}))
    status = served.point.stat()
    assert paths._is_of_others(served.point, status, theirs, frozenset({0}))
    served.publishing(encoded([OWN, OF_GROUP, OF_ALL]))
    assert not paths._is_of_others(served.point, status, theirs, frozenset({0})), "it is sticky"


@needs(fuse)
@pytest.mark.parametrize("name", ["system.richacl", "system.cifs_acl", "system.nfs4acl"])
def test_a_list_of_another_kind_is_an_objection(tmp_path: Path, name: str) -> None:
    point, value = tmp_path / "point", tmp_path / "value"
    point.mkdir()
    value.write_bytes(b"x")
    with listed(point, name, value):
        why = f"has an access list that pip-sharedcache cannot decode ({name})"
        assert foreign_publishers(point) == why


@needs(acl)
def test_a_posix_list_counts_where_a_group_publishes(tmp_path: Path) -> None:
    descriptor = os.open(tmp_path, os.O_RDONLY)
    try:
        assert foreign_publishers(descriptor) == ""
        subprocess.run(["setfacl", "-d", "-m", "g::r-x", str(tmp_path)], check=True)
        assert foreign_publishers(descriptor) == "", "a default list lets nobody publish"
        assert access_lists.is_posix(tmp_path)
        subprocess.run(["setfacl", "-m", "u:54321:r-x,g:54322:r-x", str(tmp_path)], check=True)
        assert foreign_publishers(descriptor) == "", "a list that lets nobody write"
        for entry in ("u:54321:rwx", "g:54322:rwx"):
            subprocess.run(["setfacl", "-m", entry, str(tmp_path)], check=True)
            assert foreign_publishers(descriptor) == OTHERS
            subprocess.run(["setfacl", "-m", "m::r-x", str(tmp_path)], check=True)
            assert foreign_publishers(descriptor) == "", "the mask takes the right away"
            subprocess.run(["setfacl", "-b", str(tmp_path)], check=True)
        subprocess.run(["setfacl", "-m", "u:54321:rwx", str(tmp_path)], check=True)
        assert foreign_writers(descriptor, os.fstat(descriptor).st_mode) == "", "its mode shows it"
    finally:
        os.close(descriptor)


def test_a_list_that_cannot_be_read_is_an_objection(tmp_path: Path) -> None:
    assert foreign_publishers(tmp_path / "missing") == (
        "has an access list that cannot be read (No such file or directory)"
    )
