"""Copies of this process: each piece once, none of them waited for in vain, nothing left over."""

from __future__ import annotations

import contextlib
import errno
import os
import resource
import select
import signal
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest

from pip_sharedcache.fs import host, worker_process, workers
from pip_sharedcache.fs.workers import WorkerPool
from support.probes import linux, needs, root

pytestmark = [needs(linux), pytest.mark.usefixtures("nothing_left_behind", "no_hanging")]

#: How many pieces a pipe holds, where the user has few others (pipe(7)).
PIPE_FULL = 65536 // worker_process.NUMBER.size

#: What a copy is asked in most tests.
WHO = "who are you?"

SIZE = pytest.mark.parametrize("size", [1, 2, 4], ids=["one copy", "two copies", "four copies"])
FEW = pytest.mark.parametrize("size", [1, 3], ids=["one copy", "three copies"])


def _descriptors() -> set[int]:
    """The open ones, without that by which the directory itself is read."""
    return {int(name) for name in os.listdir("/proc/self/fd") if os.path.exists(f"/dev/fd/{name}")}


def _die() -> None:
    os.kill(os.getpid(), signal.SIGKILL)


class Gate:
    """Lets one process wait for another: each ``open`` lets one ``wait`` pass, in any order."""

    def __init__(self) -> None:
        self.ends = os.pipe()

    def open(self) -> None:
        os.write(self.ends[1], b"x")

    def wait(self, times: int = 1) -> None:
        for _ in range(times):
            os.read(self.ends[0], 1)

    def opens_within(self, seconds: float) -> bool:
        return bool(select.select([self.ends[0]], [], [], seconds)[0])

    def close(self) -> None:
        for end in self.ends:
            os.close(end)


@pytest.fixture
def gate() -> Iterator[Callable[[], Gate]]:
    made: list[Gate] = []

    def make() -> Gate:
        made.append(Gate())
        return made[-1]

    yield make
    for one in made:
        one.close()


class Log:
    """Lines that several processes write, each whole."""

    def __init__(self, path: Path) -> None:
        self.path = path
        path.touch()

    def add(self, *words: object) -> None:
        with self.path.open("a", buffering=1) as file:
            file.write(" ".join(map(str, words)) + "\n")

    def rows(self) -> list[list[int]]:
        return [[int(word) for word in line.split()] for line in self.path.read_text().splitlines()]


@pytest.fixture
def log(tmp_path: Path) -> Log:
    return Log(tmp_path / "log")


Starter = Callable[..., WorkerPool]


def _members(crew: WorkerPool) -> list[int]:
    return [member.process for member in crew._workers]


@pytest.fixture
def start() -> Iterator[Starter]:
    """``WorkerPool.start``; whoever is still there at the end of the test is killed."""
    begun: list[WorkerPool] = []

    def make(
        size: int,
        order: Sequence[int],
        work: Callable[[int], Any] = lambda number: number,
        answer: Callable[[Any], Any] = lambda question: os.getpid(),
    ) -> WorkerPool:
        crew = WorkerPool.start(size, order, work, answer)
        assert crew is not None
        begun.append(crew)
        return crew

    yield make
    for crew in begun:
        for member in crew._workers:
            if not member.exited:  # else its number may be somebody else's by now
                os.kill(member.process, signal.SIGKILL)
        crew.end()


# -- work


@SIZE
def test_each_piece_is_done_once_and_its_result_known_by_its_number(
    start: Starter, log: Log, size: int
) -> None:
    order = [n * 7 % 101 for n in range(101)]

    def work(number: int) -> tuple[int, str]:
        log.add(number)
        return number * 10, "done"

    crew = start(size, order, work)
    for number in range(100, -1, -1):
        assert crew.result(number) == (number * 10, "done")
    assert sorted(row[0] for row in log.rows()) == list(range(101))


def test_pieces_are_begun_in_the_order_that_was_given(start: Starter, log: Log) -> None:
    order = [5, 3, 9, 0, 7]

    def work(number: int) -> int:
        log.add(number)
        return number

    crew = start(1, order, work)
    assert [crew.result(number) for number in sorted(order)] == sorted(order)
    assert [row[0] for row in log.rows()] == order


def test_free_worker_takes_the_next_task(
    start: Starter, log: Log, gate: Callable[[], Gate]
) -> None:
    """A piece that takes long does not keep others waiting behind it."""
    done = gate()

    def work(number: int) -> int:
        if number == 0:
            done.wait(5)
        else:
            done.open()
        log.add(number, os.getpid())
        return number

    crew = start(2, range(6), work)
    assert [crew.result(number) for number in range(6)] == list(range(6))
    processes_of = dict(map(tuple, log.rows()))
    assert len(set(processes_of.values())) == 2
    assert [n for n, who in processes_of.items() if who == processes_of[0]] == [0]


@SIZE
def test_the_work_is_done_by_that_many_other_processes(
    start: Starter, gate: Callable[[], Gate], size: int
) -> None:
    here, go = gate(), gate()

    def work(number: int) -> int:
        here.open()
        go.wait()
        return os.getpid()

    crew = start(size, range(size), work)
    here.wait(size)  # all are at it at once
    for _ in range(size):
        go.open()
    workers = {crew.result(number) for number in range(size)}
    assert len(workers) == size
    assert os.getpid() not in workers


def test_copies_know_what_was_known_at_the_start_and_change_nothing_here(start: Starter) -> None:
    known = ["before"]

    def work(number: int) -> list[str]:
        known.append(str(number))
        return known

    crew = start(1, [1, 2], work, lambda question: [*known, question])
    known.append("after")
    assert crew.result(1) == ["before", "1"]
    assert crew.result(2) == ["before", "1", "2"]
    assert crew.ask("asked") == [["before", "1", "2", "asked"]]
    assert known == ["before", "after"]


def test_a_piece_that_could_not_be_done_has_no_result(start: Starter) -> None:
    crew = start(2, range(4), lambda number: None if number == 2 else number)
    assert [crew.result(number) for number in (2, 0, 1, 3)] == [None, 0, 1, 3]


@pytest.mark.parametrize("number", [7, -1], ids=["unknown", "negative"])
def test_task_that_no_worker_was_given_has_no_result(start: Starter, number: int) -> None:
    crew = start(2, range(3))
    assert crew.result(number) is None
    assert [crew.result(each) for each in range(3)] == [0, 1, 2]


def test_results_may_be_longer_than_a_pipe_and_come_at_once(start: Starter) -> None:
    crew = start(3, range(6), lambda number: bytes([number]) * (3 << 20))
    for number in reversed(range(6)):
        assert crew.result(number) == bytes([number]) * (3 << 20)


def test_an_error_as_a_result_keeps_its_number_and_path(start: Starter) -> None:
    crew = start(1, [0], lambda _: OSError(errno.EDQUOT, "full", "/some/where"))
    error = crew.result(0)
    assert (error.errno, error.filename) == (errno.EDQUOT, "/some/where")


def test_a_result_that_has_come_already_is_not_waited_for(
    start: Starter, gate: Callable[[], Gate]
) -> None:
    go = gate()

    def work(number: int) -> int:
        if number == 2:
            go.wait()
        return number

    crew = start(1, [0, 1, 2], work)
    assert crew.result(1) == 1
    assert crew.result(0) == 0, "though the copy is at the third piece"
    go.open()
    assert crew.result(2) == 2


def test_as_many_pieces_as_a_pipe_holds_are_taken(start: Starter, gate: Callable[[], Gate]) -> None:
    go = gate()

    def work(number: int) -> int:
        go.wait()
        return number

    crew = start(1, range(PIPE_FULL), work)
    crew.stop()
    go.open()
    crew.end()


# -- questions


@SIZE
def test_all_copies_answer_when_all_pieces_are_done(
    start: Starter, gate: Callable[[], Gate], size: int
) -> None:
    go, mine = gate(), []

    def work(number: int) -> int:
        go.wait()
        mine.append(number)
        return number

    crew = start(size, range(20), work, lambda question: (question, mine))
    for _ in range(20):
        go.open()
    answers = crew.ask(frozenset({1, 2}))
    assert [question for question, _ in answers] == [frozenset({1, 2})] * size
    assert sorted(number for _, numbers in answers for number in numbers) == list(range(20))
    assert [crew.result(number) for number in range(20)] == list(range(20)), "none is lost by it"


def test_a_second_question_is_answered_too(start: Starter) -> None:
    asked: list[str] = []

    def answer(question: str) -> list[str]:
        asked.append(question)
        return asked

    crew = start(2, [0], answer=answer)
    assert crew.ask("one") == [["one"]] * 2
    assert crew.ask("two") == [["one", "two"]] * 2


def test_answers_may_be_longer_than_a_pipe(start: Starter) -> None:
    crew = start(3, [], answer=lambda question: question * 1000)
    assert crew.ask("x" * 5000) == ["x" * 5_000_000] * 3


# -- copies that are gone


@FEW
@pytest.mark.parametrize(
    "how",
    [
        "killed",
        "killed while it replies",
        "exits",
        "interrupted",
        "an exception",
        "not picklable",
    ],
)
def test_a_copy_that_ends_in_the_middle_leaves_its_piece_to_the_caller(
    start: Starter,
    size: int,
    how: str,
    monkeypatch: pytest.MonkeyPatch,
    capfd: pytest.CaptureFixture[str],
) -> None:
    victim, send = 4, worker_process.send

    def half(descriptor: int, value: Any) -> None:
        if value == (victim, "x" * 100_000):
            os.write(descriptor, worker_process._LENGTH.pack(200_000) + b"x" * 1000)
            _die()
        send(descriptor, value)

    def work(number: int) -> Any:
        if number != victim:
            return number
        if how == "killed":
            _die()
        if how == "exits":
            sys.exit(3)
        if how == "interrupted":
            raise KeyboardInterrupt
        if how == "an exception":
            raise ValueError("unexpected")
        return "x" * 100_000 if how == "killed while it replies" else lambda: None

    monkeypatch.setattr(worker_process, "send", half)
    crew = start(size, range(10), work)
    results = [crew.result(number) for number in range(10)]
    answers = crew.ask(WHO)
    lost = crew.lost()
    crew.end()
    assert results[victim] is None
    done = {number for number in range(10) if results[number] == number}
    if size == 1:
        assert done == lost == {0, 1, 2, 3}, "what comes after it is left to the caller, too"
        assert answers == []
    else:
        assert done == set(range(10)) - {victim}, "the others do the rest"
        assert len(answers) == size - 1
        assert lost <= done
    assert capfd.readouterr() == ("", "")


@FEW
def test_pieces_done_by_a_copy_that_is_gone_are_lost(
    start: Starter, gate: Callable[[], Gate], size: int
) -> None:
    here, go = gate(), gate()

    def work(number: int) -> int:
        here.open()
        go.wait()
        return os.getpid()

    crew = start(size, range(size), work)
    here.wait(size)
    for _ in range(size):
        go.open()
    workers = [crew.result(number) for number in range(size)]
    assert crew.lost() == set()
    os.kill(workers[0], signal.SIGKILL)
    answers = crew.ask(WHO)
    assert sorted(answers) == sorted(workers[1:])
    assert crew.lost() == {0}
    assert sorted(crew.ask(WHO)) == sorted(answers), "nobody is waited for who is gone"
    assert crew.result(99) is None


def test_when_all_are_killed_nothing_is_waited_for(
    start: Starter, gate: Callable[[], Gate]
) -> None:
    here, never = gate(), gate()

    def work(number: int) -> int:
        here.open()
        never.wait()
        return number

    crew = start(3, range(9), work)
    here.wait(3)
    for process in _members(crew):
        os.kill(process, signal.SIGKILL)
    assert [crew.result(number) for number in range(9)] == [None] * 9
    assert crew.ask(WHO) == []
    assert crew.lost() == set()


@FEW
def test_a_copy_that_is_killed_while_it_answers_gives_no_answer(start: Starter, size: int) -> None:
    def answer(question: int) -> int:
        if os.getpid() == question:
            _die()
        return os.getpid()

    crew = start(size, range(3), answer=answer)
    assert [crew.result(number) for number in range(3)] == [0, 1, 2]
    victim, *others = _members(crew)
    assert sorted(crew.ask(victim)) == sorted(others)


# -- the end


def test_stopped_no_further_piece_is_begun(
    start: Starter, log: Log, gate: Callable[[], Gate]
) -> None:
    here, go = gate(), gate()

    def work(number: int) -> int:
        log.add(number)
        here.open()
        go.wait()
        return number

    crew = start(2, range(50), work)
    here.wait(2)
    crew.stop()
    crew.stop()
    for _ in range(2):
        go.open()
    assert len(crew.ask(WHO)) == 2, "what was begun is brought to its end"
    assert [crew.result(number) for number in range(50)] == [0, 1, *[None] * 48]
    assert sorted(log.rows()) == [[0], [1]]


def test_abandoned_what_is_under_way_is_broken_off_and_no_result(
    start: Starter, log: Log, gate: Callable[[], Gate]
) -> None:
    here, never = gate(), gate()

    def work(number: int) -> int:
        if number < 2:
            return number
        try:
            here.open()
            never.wait()
        except Exception as error:
            raise AssertionError("it is to be undone, not taken for a failure") from error
        finally:
            log.add(number)
        return number

    crew = start(2, range(50), work)
    here.wait(2)
    crew.abandon()
    assert len(crew.ask(WHO)) == 2, "they are still there for what they did before"
    assert [crew.result(number) for number in range(50)] == [0, 1, *[None] * 48]
    assert sorted(log.rows()) == [[2], [3]]


def test_abandoning_breaks_off_no_answer(start: Starter, gate: Callable[[], Gate]) -> None:
    go = gate()

    def answer(question: Any) -> str:
        go.wait()
        return "whole"

    crew = start(2, range(5), answer=answer)
    assert crew.result(4) == 4
    crew.abandon()
    for process in _members(crew):
        os.kill(process, workers._ABANDON)
    for _ in range(2):
        go.open()
    assert crew.ask(WHO) == ["whole", "whole"]


def test_what_undoes_a_piece_is_not_broken_off(
    start: Starter, log: Log, gate: Callable[[], Gate]
) -> None:
    here, never, undoing, go = gate(), gate(), gate(), gate()

    def work(number: int) -> None:
        try:
            here.open()
            never.wait()
        finally:
            undoing.open()
            go.wait()
            log.add(number)

    crew = start(1, [7], work)
    here.wait()
    crew.abandon()
    undoing.wait()
    crew.abandon()
    go.open()
    assert len(crew.ask(WHO)) == 1
    assert log.rows() == [[7]]


def test_stopping_when_all_is_done_takes_nothing_away(start: Starter) -> None:
    crew = start(2, range(5))
    assert crew.result(4) == 4
    crew.stop()
    assert [crew.result(number) for number in range(4)] == [0, 1, 2, 3]
    assert len(crew.ask(WHO)) == 2


def test_the_end_waits_for_what_was_begun_and_begins_nothing(
    start: Starter, log: Log, gate: Callable[[], Gate]
) -> None:
    here = gate()

    def work(number: int) -> int:
        here.open()
        log.add(number)
        return number

    crew = start(1, range(PIPE_FULL), work)
    here.wait()
    begun = _members(crew)
    crew.end()
    rows = log.rows()
    assert rows == [[number] for number in range(len(rows))]
    assert 1 <= len(rows) < PIPE_FULL
    for process in begun:
        with pytest.raises(ChildProcessError):
            os.waitpid(process, os.WNOHANG)


def test_stopped_pool_has_no_workers(start: Starter) -> None:
    crew = start(2, range(3))
    assert crew.result(1) == 1
    crew.end()
    crew.end()
    crew.stop()
    assert crew.ask(WHO) == []
    assert crew.result(99) is None


@pytest.mark.parametrize("when", ["at once", "after all results", "after a question"])
def test_the_end_leaves_no_descriptor_and_no_zombie(start: Starter, when: str) -> None:
    before = _descriptors()
    crew = start(3, range(6))
    begun = _members(crew)
    if when != "at once":
        assert [crew.result(number) for number in range(6)] == list(range(6))
    if when == "after a question":
        assert len(crew.ask(WHO)) == 3
    crew.end()
    assert _descriptors() == before
    for process in begun:
        assert not Path(f"/proc/{process}/stat").exists()


def test_unawaited_children_cause_no_error() -> None:
    """SIGCHLD is inherited ignored from some daemons: the kernel then leaves no zombies."""
    code = (
        "import signal\n"
        "from pip_sharedcache.fs.workers import WorkerPool\n"
        "signal.signal(signal.SIGCHLD, signal.SIG_IGN)\n"
        "crew = WorkerPool.start(2, range(4), lambda number: number, lambda question: question)\n"
        "print([crew.result(number) for number in range(4)], crew.ask('x'))\n"
        "crew.end()\n"
        "print('ended')\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert done.stderr == ""
    assert done.stdout.splitlines() == ["[0, 1, 2, 3] ['x', 'x']", "ended"]


def test_a_copy_does_not_clean_up_what_is_not_its_own() -> None:
    code = (
        "import atexit\n"
        "from pip_sharedcache.fs.workers import WorkerPool\n"
        "atexit.register(print, 'bye')\n"
        "print('written before', end=' ')\n"
        "crew = WorkerPool.start(2, range(4), lambda number: number, lambda question: question)\n"
        "crew.result(3)\n"
        "crew.end()\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert (done.stdout, done.stderr) == ("written before bye\n", "")


def test_copies_do_not_outlive_the_process_that_started_them() -> None:
    """Killed, it can tell them nothing; the kernel does."""
    code = (
        "import os, signal\n"
        "from pip_sharedcache.fs.workers import WorkerPool\n"
        "def work(number):\n"
        "    os.write(1, f'{os.getpid()}\\n'.encode())\n"
        "    while True: signal.pause()\n"
        "crew = WorkerPool.start(2, range(2), work, lambda question: question)\n"
        "crew.result(0)\n"
    )
    starter = subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, text=True)
    assert starter.stdout is not None
    copies: list[int] = []
    try:
        copies += [int(starter.stdout.readline()) for _ in range(2)]
        starter.kill()
        starter.wait()
        # They hold its other end for as long as they live.
        assert starter.stdout.read() == ""
        copies = []
    finally:
        starter.stdout.close()
        for process in copies:
            os.kill(process, signal.SIGKILL)
    assert starter.returncode == -signal.SIGKILL


def test_a_copy_whose_starter_is_gone_already_does_nothing(
    monkeypatch: pytest.MonkeyPatch, log: Log
) -> None:
    """It may be killed before the copy has told the kernel."""
    parent = os.getppid()
    monkeypatch.setattr(os, "getppid", lambda: parent)

    def work(number: int) -> int:
        log.add(number)
        return number

    crew = WorkerPool.start(1, range(3), work, lambda question: question)
    assert crew is not None
    assert crew.result(0) is None
    crew.end()
    assert log.rows() == []


def test_ctrl_c_is_for_the_process_that_started_them(start: Starter) -> None:
    def work(number: int) -> int:
        os.kill(os.getpid(), signal.SIGINT)
        return number

    crew = start(2, range(4), work, lambda question: work(9))
    assert [crew.result(number) for number in range(4)] == [0, 1, 2, 3]
    assert crew.ask(WHO) == [9, 9]


# -- where there are none, or fewer


def test_beside_other_threads_nothing_is_copied(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delattr(os, "fork")
    go = threading.Event()
    other = threading.Thread(target=go.wait)
    other.start()
    try:
        assert WorkerPool.start(2, range(3), lambda n: n, lambda q: q) is None
    finally:
        go.set()
        other.join()


def test_where_copies_may_not_go_on_there_are_none(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(host, "can_fork", lambda: False)
    monkeypatch.delattr(os, "fork")
    assert WorkerPool.start(2, range(3), lambda n: n, lambda q: q) is None


def test_pieces_beyond_what_a_pipe_holds_are_left_to_the_caller(
    start: Starter, gate: Callable[[], Gate]
) -> None:
    go = gate()

    def work(number: int) -> int:
        if number == 0:
            go.wait()
        return number

    crew = start(1, range(PIPE_FULL + 1000), work)
    go.open()
    assert crew.result(PIPE_FULL - 1) == PIPE_FULL - 1
    assert crew.result(PIPE_FULL + 999) is None


@pytest.mark.parametrize("allowed", [1, 2], ids=["one", "two"])
@pytest.mark.parametrize("number", [errno.EAGAIN, errno.ENOMEM], ids=errno.errorcode.get)
def test_with_fewer_copies_than_wanted_all_is_done_by_those(
    start: Starter, allowed: int, number: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    fork, made = os.fork, []

    def refuse() -> int:
        if len(made) == allowed:
            raise OSError(number, os.strerror(number))
        made.append(None)
        return fork()

    monkeypatch.setattr(os, "fork", refuse)
    crew = start(4, range(6))
    assert [crew.result(each) for each in range(6)] == list(range(6))
    assert len(crew.ask(WHO)) == allowed
    assert crew.lost() == set()
    crew.end()


def test_a_copy_that_is_killed_after_its_answer_costs_no_other_answer(
    start: Starter, gate: Callable[[], Gate], monkeypatch: pytest.MonkeyPatch
) -> None:
    noticed, send, lose = gate(), worker_process.send, WorkerPool._drop

    def then_die(descriptor: int, value: Any) -> None:
        send(descriptor, value)
        if value == (worker_process.REPLY, "first"):
            _die()

    def told(crew: WorkerPool, member: Any) -> None:
        lose(crew, member)
        noticed.open()

    def answer(first: int) -> str:
        if os.getpid() == first:
            return "first"
        with contextlib.suppress(ProcessLookupError):  # waited for already
            _wait_for_the_end_of(first)
        noticed.opens_within(1)  # the starter may have no reason to look whether it is gone
        return "second"

    monkeypatch.setattr(worker_process, "send", then_die)
    monkeypatch.setattr(WorkerPool, "_drop", told)
    crew = start(2, [], answer=answer)
    assert "second" in crew.ask(_members(crew)[0])


@pytest.mark.parametrize("room", range(8), ids="{} descriptors left".format)
def test_without_descriptors_there_are_fewer_copies_and_none_is_leaked(
    room: int,
) -> None:
    before = _descriptors()
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    # The lowest free number is taken each time, and the limit is one for numbers.
    free = [number for number in range(room + len(before) + 1) if number not in before]
    resource.setrlimit(resource.RLIMIT_NOFILE, (free[room], hard))
    try:
        crew = WorkerPool.start(2, range(3), lambda number: number, lambda question: question)
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
    assert (crew is None) == (room < 6), "the queue, and the pipes of one copy"
    if crew is not None:
        assert [crew.result(number) for number in range(3)] == [0, 1, 2]
        crew.end()
    assert _descriptors() == before


@needs(root)
@pytest.mark.parametrize("limit", [2, 4])
def test_processes_that_are_limited_leave_two_for_pip(limit: int) -> None:
    """RLIMIT_NPROC counts threads, too. It is of a user other than root, who has no other one."""
    uid = 200_000 + os.getpid()  # not of a test that runs at the same time
    code = f"""
import os, resource, sys, threading, time
sys.path[:0] = {sys.path!r}
from pip_sharedcache.fs.workers import WorkerPool
resource.setrlimit(resource.RLIMIT_NPROC, ({limit}, {limit}))
os.setgid({uid})
os.setuid({uid})

def starts(thread):
    # The kernel counts a thread that has just ended a moment longer.
    for _ in range(40):
        try:
            thread.start()
            return True
        except RuntimeError:
            time.sleep(0.05)
    return False

crew = WorkerPool.start(4, range(8), lambda number: number, lambda question: question)
over = threading.Event()  # Threads that ended would make room for others.
threads = [threading.Thread(target=over.wait) for _ in range(2)]
started = 0
for thread in threads:
    if not starts(thread):
        break
    started += 1
over.set()
print(0 if crew is None else len(crew._workers), started)
if crew is not None:
    assert [crew.result(number) for number in range(8)] == list(range(8))
    crew.end()
"""
    command = [sys.executable, "-I", "-c", code]
    done = subprocess.run(command, input="", capture_output=True, text=True)
    expected = f"{min(max(limit - 3, 0), 4)} {min(limit - 1, 2)}\n"
    assert (done.stdout, done.returncode) == (expected, 0), done.stderr


def _wait_for_the_end_of(process: int) -> None:
    descriptor = os.pidfd_open(process) if hasattr(os, "pidfd_open") else -1
    if descriptor < 0:
        pytest.skip("this Python cannot wait for a process that is not its child")
    try:
        select.select([descriptor], [], [])
    finally:
        os.close(descriptor)


# -- one piece of work, divided


@pytest.fixture
def four(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(host, "cpus", lambda: 4)
    workers.limit_workers(0)


@pytest.mark.usefixtures("four")
def test_divided_work_is_done_by_copies_and_comes_back_in_order() -> None:
    done = workers.map_in_workers(range(20), lambda n: (n, os.getpid()), lambda _: (-1, 0))
    assert [number for number, _ in done] == list(range(20))
    assert os.getpid() not in {process for _, process in done}


@pytest.mark.parametrize("pieces", [0, 1])
@pytest.mark.usefixtures("four")
def test_a_single_piece_is_done_here(pieces: int) -> None:
    done = workers.map_in_workers(range(pieces), lambda _: os.getpid(), lambda _: 0)
    assert done == [os.getpid()] * pieces


def test_who_may_use_one_process_uses_one(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(host, "cpus", lambda: 4)
    workers.limit_workers(1)
    try:
        done = workers.map_in_workers(range(3), lambda _: os.getpid(), lambda _: 0)
        assert done == [os.getpid()] * 3
    finally:
        workers.limit_workers(0)


@pytest.mark.usefixtures("four")
def test_a_copy_divides_nothing_further() -> None:
    def work(_: int) -> tuple[int, list[int]]:
        return os.getpid(), workers.map_in_workers(range(3), lambda _: os.getpid(), lambda _: 0)

    for own, inner in workers.map_in_workers(range(4), work, work):
        assert inner == [own] * 3


@pytest.mark.parametrize("fails", ["raises", "dies"])
@pytest.mark.usefixtures("four")
def test_what_a_copy_could_not_do_is_done_again_here(fails: str) -> None:
    def work(number: int) -> tuple[int, int]:
        if number % 3 == 1:
            if fails == "dies":
                _die()
            raise ValueError("not here")
        return number, os.getpid()

    again: list[int] = []

    def once_more(number: int) -> tuple[int, int]:
        again.append(number)
        return number, os.getpid()

    done = workers.map_in_workers(range(9), work, once_more)
    assert [number for number, _ in done] == list(range(9))
    assert {1, 4, 7} <= set(again), "all of them where every copy has died"
    assert {number for number, process in done if process == os.getpid()} == set(again)


@pytest.mark.usefixtures("four")
def test_what_cannot_be_done_here_either_is_raised_here() -> None:
    def work(number: int) -> int:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), f"piece {number}")

    with pytest.raises(OSError) as caught:
        workers.map_in_workers(range(4), work, work)
    assert caught.value.filename == "piece 0"


@pytest.mark.usefixtures("four")
def test_ctrl_c_ends_the_copies_before_it_goes_on(gate: Callable[[], Gate]) -> None:
    begun, undone, never = gate(), gate(), gate()

    def work(_: int) -> int:
        try:
            begun.open()
            never.wait()
        except BaseException:
            undone.open()
            raise
        return 0

    def interrupt(*_: object) -> None:
        raise KeyboardInterrupt

    before = signal.signal(signal.SIGINT, interrupt)
    helper = subprocess.Popen(
        [
            sys.executable,
            "-c",
            "import os, sys; [os.read(0, 1) for _ in range(4)]; os.kill(int(sys.argv[1]), 2)",
            str(os.getpid()),
        ],
        stdin=begun.ends[0],
    )
    try:
        with pytest.raises(KeyboardInterrupt):
            workers.map_in_workers(range(4), work, work)
        assert undone.opens_within(0), "nobody is at work any more"
    finally:
        helper.wait()
        signal.signal(signal.SIGINT, before)


# -- questions whose reply nobody waits for


def test_each_member_has_two_posted_questions_at_most(
    start: Starter, log: Log, gate: Callable[[], Gate]
) -> None:
    go_on, begun = gate(), gate()

    def answer(question: object) -> object:
        if question == "sum":
            return len(log.rows())
        begun.open()
        go_on.wait()
        log.add(question)
        return None

    crew = start(2, [], answer=answer)
    assert [crew.post(number) for number in range(5)] == [True] * 4 + [False]
    begun.wait(2)
    crew.take_replies()
    assert not crew.post(5), "nobody is free"
    go_on.open()
    begun.wait()
    while not crew.post(6):
        crew.take_replies()
    for _ in range(4):
        go_on.open()
    assert max(crew.ask("sum")) == 5
    assert sorted(row[0] for row in log.rows()) == [0, 1, 2, 3, 6]
    crew.end()


def test_posted_questions_are_abandoned_and_later_ones_are_not_begun(
    start: Starter, log: Log, gate: Callable[[], Gate]
) -> None:
    begun, never = gate(), gate()

    def answer(question: object) -> object:
        if question == "last":
            return "replied"
        log.add(question)
        begun.open()
        never.wait()
        return None

    crew = start(1, [], answer=answer)
    assert crew.post(1) and crew.post(2)
    begun.wait()
    crew.abandon()
    assert crew.ask("last") == ["replied"]
    assert log.rows() == [[1]]
    crew.end()


def test_post_to_a_member_that_is_gone_reaches_nobody(start: Starter) -> None:
    crew = start(1, [], answer=lambda question: None)
    os.kill(_members(crew)[0], signal.SIGKILL)
    while crew.post(1):
        crew.take_replies()
    assert crew.ask(2) == []
    crew.end()
