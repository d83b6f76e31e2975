"""The client of remote stores, with helper processes that do everything wrong."""

from __future__ import annotations

import errno
import json
import os
import time
from pathlib import Path

import pytest

from pip_sharedcache.remote.access import (
    Answer,
    Delete,
    Fetch,
    Has,
    List,
    Listed,
    Patience,
    RemoteFailed,
    Request,
)
from pip_sharedcache.remote.client import Client
from support.probes import linux, needs

pytestmark = needs(linux)

_LIMIT = 0.5  # seconds


def _frame(reply: object) -> bytes:
    data = json.dumps(reply).encode()
    return len(data).to_bytes(4, "big") + data


OPENED = _frame({"opened": True})


def _helper(directory: Path, output: bytes, after: str = "cat >/dev/null") -> Path:
    """A program in the place of the interpreter: it writes this, then does that."""
    (directory / "output").write_bytes(output)
    program = directory / "python"
    program.write_text(f"#!/bin/sh\ncat {directory}/output\n{after}\n", encoding="utf-8")
    program.chmod(0o755)
    return program


def _ask(program: Path, *requests: Request) -> list[tuple[Request, Answer]]:
    client = Client("s3://bucket/pip", program, _LIMIT)
    answers: list[tuple[Request, Answer]] = []
    try:
        client.ask(requests, lambda *one: answers.append(one))
    finally:
        client.end()
        client.end()
    return answers


@pytest.mark.parametrize(
    ("output", "after", "expected"),
    [
        (b"", "exit 3", "has ended (status 3)"),
        (OPENED, "kill -9 $$", "has ended (status -9)"),
        (b"Traceback (most recent call last)\n" * 9, "cat >/dev/null", "disturbs the answers"),
        (b'\0\0\0\5{"a":', "cat >/dev/null", "disturbs the answers"),
        (OPENED[:7], "exit 0", "has ended (status 0)"),
        (b"", "exec sleep 60", "no answer in 0.5 seconds"),
        (OPENED, "exec sleep 60", "no answer in 0.5 seconds"),
        (OPENED + _frame({"bytes": 10}), "exec sleep 60", "less than 50 kB a second"),
        (_frame({"error": "library", "status": 0}), "exit 0", "has no obstore"),
        (_frame({"error": "failed", "status": 0}), "exit 0", "cannot use this URL here"),
        (OPENED + _frame({"id": 1, "error": "refused", "status": 403}), "cat", "(status 403)"),
        (OPENED + _frame({"id": 1, "error": "region", "status": 0}), "cat", "another region"),
        (OPENED + _frame({"id": 1, "error": "names", "status": 0}), "cat", "library refuses"),
        (OPENED + _frame({"id": 1, "error": "new kind", "status": 0}), "cat", "cannot be reached"),
    ],
)
def test_helper_that_fails_ends_the_access(
    tmp_path: Path, output: bytes, after: str, expected: str
) -> None:
    begun = tmp_path / "begun"
    begun.write_bytes(b"half an object")
    with pytest.raises(RemoteFailed) as error:
        _ask(_helper(tmp_path, output, after), Fetch("wheels/a", begun, 100))
    assert expected in str(error.value)
    assert not begun.exists()


def test_silence_counts_from_the_last_answer_or_byte(monkeypatch: pytest.MonkeyPatch) -> None:
    """Not from the end of a period in which there was one."""
    now = 100.0
    monkeypatch.setattr(time, "monotonic", lambda: now)
    patience = Patience(10)
    now = 103.0
    patience.answered()
    assert patience.end == 113
    now = 105.0
    patience.moved(10**9)
    now = patience.end
    patience.check()
    assert patience.end == 115
    now = 115.0
    with pytest.raises(RemoteFailed, match="no answer in 10 seconds"):
        patience.check()


@pytest.mark.parametrize(
    ("number", "expected"),
    [
        (errno.ENOSPC, "it is full"),
        (errno.EDQUOT, "it is full"),
        (errno.EACCES, "refuses access: Permission denied"),
        (errno.EROFS, "refuses access: Read-only"),
        (errno.ENOENT, "does not exist"),
        (errno.EIO, "cannot be used: Input/output error"),
    ],
)
def test_store_in_a_directory_says_why_it_fails(tmp_path: Path, number: int, expected: str) -> None:
    error = {"error": "directory", "status": number}
    for output in (_frame(error), OPENED + _frame({"id": 1, **error})):
        with pytest.raises(RemoteFailed, match=expected):
            _ask(_helper(tmp_path, output), Has("a"))


def test_answers_are_those_of_their_requests(tmp_path: Path) -> None:
    replies = [
        {"id": 9, "size": 1},  # of no request
        {"bytes": 5},
        {"id": 2, "error": "missing", "status": 404},
        {"id": 1, "size": 7},
        {"id": 3, "error": "local", "status": 28},
    ]
    output = OPENED + b"".join(map(_frame, replies))
    asked: list[Request] = [Has("a"), Has("b"), Fetch("c", tmp_path / "c", 10)]
    assert _ask(_helper(tmp_path, output), *asked) == [
        (asked[1], Answer()),
        (asked[0], Answer(7)),
        (asked[2], Answer(problem=f"a file on this machine cannot be used: {os.strerror(28)}")),
    ]


def test_listing_comes_in_several_answers(tmp_path: Path) -> None:
    rows = [["wheels/a", 7, 12.5], ["wheels/b", 8, 0]]
    replies = [
        {"id": 1, "size": 0, "listed": rows, "ignored": 3, "more": True},
        {"id": 2, "size": 0},
        {"id": 1, "size": 0, "listed": rows[:1], "ignored": 0, "more": True},
        {"id": 1, "size": 0},
        {"id": 3, "size": 5, "modified": 99.5},
    ]
    output = OPENED + b"".join(map(_frame, replies))
    asked: list[Request] = [List("wheels"), Delete("wheels/c"), Has("d")]
    one, two = Listed("wheels/a", 7, 12.5), Listed("wheels/b", 8, 0)
    assert _ask(_helper(tmp_path, output), *asked) == [
        (asked[0], Answer(0, listed=(one, two), ignored=3, is_last=False)),
        (asked[1], Answer(0)),
        (asked[0], Answer(0, listed=(one,), is_last=False)),
        (asked[0], Answer(0)),
        (asked[2], Answer(5, modified=99.5)),
    ]


def test_listing_that_does_not_end_fails_in_time(tmp_path: Path) -> None:
    page = {"id": 1, "size": 0, "listed": [["wheels/a", 7, 1]], "more": True}
    program = _helper(tmp_path, OPENED + _frame(page), "exec sleep 60")
    with pytest.raises(RemoteFailed, match="no answer"):
        _ask(program, List("wheels"))


def test_helper_that_reads_nothing_does_not_block_the_client(tmp_path: Path) -> None:
    """More requests than a pipe holds."""
    program = _helper(tmp_path, OPENED, "exec sleep 60")
    before = time.monotonic()
    with pytest.raises(RemoteFailed, match="no answer"):
        _ask(program, *(Has("k" * 500) for _ in range(2000)))
    assert time.monotonic() - before < 30


def test_interpreter_that_is_missing_is_named(tmp_path: Path) -> None:
    with pytest.raises(RemoteFailed, match="python cannot be started: No such file"):
        _ask(tmp_path / "python", Has("a"))
