"""How slow a server may take what is pushed."""

from __future__ import annotations

import hashlib
import os
from pathlib import Path

import pytest

from pip_sharedcache.remote.access import Answer, Put, RemoteFailed, Request
from pip_sharedcache.remote.client import Client
from support.object_server import ObjectServer
from support.probes import linux, needs

pytestmark = [pytest.mark.pips, needs(linux)]

_TIMEOUT = 3.0  # seconds without a byte


@pytest.fixture
def slow(server: ObjectServer, monkeypatch: pytest.MonkeyPatch) -> ObjectServer:
    """A server that takes bodies slowly; requests of this process come there."""
    for name, value in server.variables.items():
        monkeypatch.setenv(name, str(value))
    return server


def _put(server: ObjectServer, library: Path, path: Path, sizes: list[int]) -> list[Answer]:
    client = Client(server.url, library, _TIMEOUT)
    puts: list[Request] = []
    for number, size in enumerate(sizes):
        data = os.urandom(size)
        (path / str(number)).write_bytes(data)
        puts.append(Put(f"wheels/{number}", path / str(number), hashlib.sha256(data).hexdigest()))
    answers: list[Answer] = []
    try:
        client.ask(puts, lambda _, answer: answers.append(answer))
    finally:
        client.end()
    return answers


@pytest.mark.parametrize(
    ("rate", "sizes"),
    [
        (100_000, [600_000]),  # of one request
        (40_000, [250_000] * 3),  # together more than 50 kB a second
        (1_000_000, [9 << 20]),  # in parts, each of which takes longer than the limit
    ],
    ids=["small", "several", "large"],
)
def test_server_may_take_fifty_kilobytes_a_second(
    rate: int, sizes: list[int], slow: ObjectServer, library: Path, tmp_path: Path
) -> None:
    slow.rate = rate
    answers = _put(slow, library, tmp_path, sizes)
    assert sorted((answer.size, answer.problem) for answer in answers) == [
        (size, "") for size in sizes
    ]
    assert sorted(map(len, slow.objects.values())) == sizes


@pytest.mark.parametrize("size", [600_000, 9 << 20])
def test_server_that_takes_less_is_left_alone(
    size: int, slow: ObjectServer, library: Path, tmp_path: Path
) -> None:
    slow.rate = 20_000
    with pytest.raises(RemoteFailed, match="less than 50 kB a second"):
        _put(slow, library, tmp_path, [size])
