"""Calls ahead: their results, their log records, and an interrupt."""

from __future__ import annotations

import logging
import subprocess
import sys
import threading
from collections.abc import Iterator

import pytest

from pip_sharedcache.pip_adapter.side_by_side import SideBySide

LOG = logging.getLogger("test")


@pytest.fixture
def root() -> Iterator[logging.Logger]:
    root = logging.getLogger()
    before, level = root.handlers, root.level
    yield root
    root.handlers = before
    root.setLevel(level)


class _Kept(logging.Handler):
    def __init__(self) -> None:
        super().__init__()
        self.texts: list[str] = []

    def emit(self, record: logging.LogRecord) -> None:
        self.texts.append(record.getMessage())


def test_results_come_by_key_once_each() -> None:
    with SideBySide[int, int](lambda number: number * 2) as calls:
        calls.begin({str(number): number for number in range(100)})
        calls.begin({"7": 70})
        assert "7" in calls
        assert [calls.take(str(number)) for number in range(100)] == list(range(0, 200, 2))
        assert "7" not in calls


def test_exception_is_raised_where_the_result_is_taken() -> None:
    with SideBySide[int, float](lambda number: 1 / number) as calls:
        calls.begin({"0": 0, "2": 2})
        assert calls.take("2") == 0.5
        with pytest.raises(ZeroDivisionError):
            calls.take("0")


def test_at_most_seven_calls_run_in_threads() -> None:
    all_run, end = threading.Semaphore(0), threading.Event()

    def call(number: int) -> int:
        all_run.release()
        end.wait(30)
        return number

    with SideBySide[int, int](call) as calls:
        calls.begin({str(number): number for number in range(16)})
        assert all(all_run.acquire(timeout=30) for _ in range(7))
        assert not all_run.acquire(timeout=0.2)
        end.set()
        assert {calls.take(str(number)) for number in range(16)} == set(range(16))


def test_log_records_wait_for_the_result(root: logging.Logger) -> None:
    kept = _Kept()
    root.handlers = [kept]
    root.setLevel(logging.INFO)
    begun = threading.Event()

    def call(text: str) -> str:
        LOG.warning(text)
        begun.set()
        return text

    with SideBySide[str, str](call) as calls:
        calls.begin({"a": "of a thread"})
        assert begun.wait(30)
        calls.call("b", "of this thread")
        LOG.warning("between")
        assert kept.texts == ["between"]
        calls.take("a")
        calls.take("b")
    assert kept.texts == ["between", "of a thread", "of this thread"]
    assert root.handlers == [kept]


def test_records_of_a_failed_call_are_dropped(root: logging.Logger) -> None:
    kept = _Kept()
    root.handlers = [kept]

    def call(text: str) -> str:
        LOG.error(text)
        raise ValueError(text)

    with SideBySide[str, str](call) as calls:
        calls.call("a", "wrong")
        with pytest.raises(ValueError, match="wrong"):
            calls.take("a")
    assert kept.texts == []


def test_without_threads_the_taker_makes_the_call(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(self: threading.Thread) -> None:
        raise RuntimeError("can't start new thread")

    monkeypatch.setattr(threading.Thread, "start", refuse)
    made_by: list[int] = []
    with SideBySide[int, None](lambda _: made_by.append(threading.get_ident())) as calls:
        calls.begin({"a": 1, "b": 2})
        calls.take("b")
        calls.take("a")
    assert made_by == [threading.get_ident()] * 2


def test_end_waits_for_no_hanging_call() -> None:
    hangs = threading.Event()
    with SideBySide[int, bool](lambda _: hangs.wait(3600)) as calls:
        calls.begin({"a": 1})
    hangs.set()
    assert "a" not in calls


def test_interrupt_does_not_wait_for_a_call() -> None:
    program = """
import os, signal, threading, time
from pip_sharedcache.pip_adapter.side_by_side import SideBySide

def call(number):
    if number == 2:
        threading.Timer(0.5, os.kill, (os.getpid(), signal.SIGINT)).start()
    time.sleep(3600)

signal.signal(signal.SIGINT, signal.default_int_handler)
with SideBySide(call) as calls:
    calls.begin({str(number): number for number in range(3)})
    while calls._waiting:
        time.sleep(0.01)
    calls.take("0")
"""
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, timeout=60)
    assert b"KeyboardInterrupt" in done.stderr
