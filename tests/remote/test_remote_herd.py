"""Many runs that miss the same wheels at the same time, in one local store."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

import pytest

from support import keys
from support.accounts import start_as
from support.index import LocalIndex
from support.machines import SigningFactory
from support.object_server import ObjectServer
from support.probes import linux, needs, openssh
from support.wheels import make_wheel

pytestmark = [pytest.mark.pips, needs(linux, openssh)]

NAMES = ("one", "two", "three")


@pytest.fixture
def wheels(wheelhouse: Path) -> Path:
    for name in NAMES:
        make_wheel(wheelhouse, name)
    return wheelhouse


@pytest.mark.parametrize("runs", [8, 32])
def test_each_object_is_read_once(
    signing: SigningFactory,
    server: ObjectServer,
    pages: LocalIndex,
    key: Path,
    runs: int,
    tmp_path: Path,
) -> None:
    signing("first", key=key).run("install", *NAMES)
    second = signing("second", keys.line(key))
    server.delay = 0.5  # all have started before the first one ends
    pages.clear()
    before = len(server.requests)
    targets = [tmp_path / f"target{number}" for number in range(runs)]
    started = [
        start_as(
            None,
            second.environment.command("install", "--target", target, *NAMES),
            env=second.variables,
        )
        for target in targets
    ]
    for one in started:
        stdout, stderr = one.communicate()
        assert one.returncode == 0, stdout + stderr
        assert stderr == ""
    for target in targets:
        assert sorted(path.name for path in target.iterdir() if path.name in NAMES) == sorted(NAMES)
    got = Counter(name for verb, name, _ in server.requests[before:] if verb == "GET")
    for kind in ("/wheels/", "/bytecode/"):
        counts = [count for name, count in got.items() if kind in name]
        assert counts == [1] * len(NAMES), got
    assert pages.count("file") == 0
