"""Copies of this process that do numbered pieces of its work beside it (fork(2)).

What they know is what this process knew when they were started; results come back as pickles.
Whatever a copy does not do, because it failed or was killed, is left to the caller.

``concurrent.futures`` with a fork context cannot replace this module: its executor starts a thread
in this process, cannot interrupt a task that has begun, fails all tasks when one worker is killed,
and cannot ask every worker for its share at the end (docs/decisions/07-fork.md).
"""

from __future__ import annotations

import gc
import logging
import os
import pickle
import select
import signal
import struct
import threading
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Any, TypeVar

from pip_sharedcache.fs import dirfd, host, libc

logger = logging.getLogger(__name__)

Part = TypeVar("Part")
Result = TypeVar("Result")

_NUMBER = struct.Struct("=I")
_LENGTH = struct.Struct("=Q")
#: Processes or threads that must be left for pip to start beside the copies: its progress bar, and
#: a program that it runs.
_RESERVE = 2
#: In place of a piece's number: no pieces are left; this is the answer to a question.
_IDLE, _REPLY = -1, -2
_ABANDON = getattr(signal, "SIGUSR1", 0)  # not on Windows, which has no fork
_PR_SET_PDEATHSIG = 1  # prctl(2)


class Abandoned(BaseException):
    """Raised in a copy's work when nobody wants it any more. No Exception, since it is to undo
    what was begun, as Ctrl-C does, and not to be taken for a failure of that."""


class _Task:
    """In a copy: what the signal that breaks off its work does."""

    under_way = False
    is_copy = False
    most = 0

    @classmethod
    def abandon(cls, *_: object) -> None:
        if cls.under_way:
            cls.under_way = False  # once: what undoes the work is not broken off
            raise Abandoned


@dataclass
class _Worker:
    """One copy, seen from the process that started it. ``done``: the pieces that it has done;
    ``busy``: whether it may do more; ``asked``: whether it owes an answer."""

    process: int
    commands: int
    replies: int
    done: set[int] = field(default_factory=set)
    busy: bool = True
    asked: bool = False
    exited: bool = False

    def ends(self) -> tuple[int, int]:
        """Our ends of its pipes."""
        return self.commands, self.replies


def limit_workers(number: int) -> None:
    """Let no more than ``number`` processes share one piece of work; 0: as many as there are
    processors."""
    _Task.most = number


def available_workers() -> int:
    """How many processes may share one piece of work: a copy is one of several already."""
    return 1 if _Task.is_copy else _Task.most or host.cpus()


class WorkerPool:
    """The copies at work. Owns their pipes: ``end`` must be called."""

    def __init__(self) -> None:
        self._workers: list[_Worker] = []
        self._results: dict[int, Any] = {}
        self._replies: list[Any] = []
        self._queue = -1

    @classmethod
    def start(
        cls,
        size: int,
        tasks: Sequence[int],
        work: Callable[[int], Any],
        reply: Callable[[Any], Any],
    ) -> WorkerPool | None:
        """Start ``size`` copies that call ``work`` with the numbers in ``tasks``, whoever is free
        the next one, and then ``reply`` for each question.

        What ``work`` and ``reply`` return must be picklable; ``work`` returns None for what it
        could not do. None where other threads run here: they would be missing in the copies,
        with their locks held. None where this system has no fork, or no room for a further process
        and for what pip may start beside it.
        """
        if not host.can_fork() or threading.active_count() > 1:
            return None
        crew = cls()
        try:
            crew._queue, pieces = os.pipe()
        except OSError as error:
            logger.debug("No processes beside this one: %s", error)
            return None
        try:
            crew._fill(size, pieces, work, reply)
            # The copies begin only now. What the pipe cannot take is left to the caller: where a
            # user has many pipes, each holds little (pipe(7)).
            os.set_blocking(pieces, False)
            if crew._workers and tasks:
                os.write(pieces, b"".join(_NUMBER.pack(number) for number in tasks))
        except BaseException:  # Ctrl-C
            os.close(pieces)
            crew.abandon()
            crew.end()
            raise
        os.close(pieces)
        if crew._workers:
            return crew
        crew.end()
        return None

    def _fill(
        self, size: int, tasks: int, work: Callable[[int], Any], reply: Callable[[Any], Any]
    ) -> None:
        """Start up to ``size`` copies, as many as leave room for what pip may start beside them;
        ``tasks`` is the end of the queue that the copies do not have."""
        try:
            for _ in range(size):
                self._add(tasks, work, reply)
        except OSError as error:  # EAGAIN, ENOMEM, EMFILE: those that there are will do
            logger.debug("Only %s processes beside this one: %s", len(self._workers), error)
        while self._workers and not host.can_start_threads(_RESERVE):
            logger.debug("A process is given up: pip may have to start one, or a thread")
            member = self._workers.pop()  # it has not begun
            for end in member.ends():
                os.close(end)
            with suppress(ProcessLookupError):  # ended, and SIGCHLD is ignored
                os.kill(member.process, signal.SIGKILL)
            host.wait_for(member.process)

    def _add(self, tasks: int, work: Callable[[int], Any], reply: Callable[[Any], Any]) -> None:
        parent = os.getpid()
        ends: list[int] = []
        # Held back until the copy knows what to do about them, and its starter of the copy: Python
        # forgets a KeyboardInterrupt that is raised while it forks.
        held_back = {_ABANDON, signal.SIGINT}
        before = signal.pthread_sigmask(signal.SIG_BLOCK, held_back)
        try:
            ends += os.pipe()
            ends += os.pipe()
            process = os.fork()
        except OSError:
            signal.pthread_sigmask(signal.SIG_SETMASK, before)
            for end in ends:
                os.close(end)
            raise
        orders, orders_end, replies, replies_end = ends
        if process:
            os.close(orders)
            os.close(replies_end)
            self._workers.append(_Worker(process, orders_end, replies))
            signal.pthread_sigmask(signal.SIG_SETMASK, before)
            return
        status = 1
        try:
            _Task.is_copy = True
            _die_with(parent)
            # Ctrl-C reaches the whole terminal: the process that started us decides what it means.
            signal.signal(signal.SIGINT, signal.SIG_IGN)
            signal.signal(_ABANDON, _Task.abandon)
            signal.pthread_sigmask(signal.SIG_UNBLOCK, held_back)
            if hasattr(gc, "freeze"):  # not in PyPy
                gc.freeze()  # else the collector would touch, and so copy, every page of it
            others = (fd for member in self._workers for fd in member.ends())
            for end in (tasks, orders_end, replies, *others):
                os.close(end)
            _serve(self._queue, orders, replies_end, work, reply)
            status = 0
        finally:
            os._exit(status)  # without the clean-up of what is not ours

    def result(self, number: int) -> Any:
        """What ``work`` returned for ``number``, when it is there; None where it was not done."""
        while number not in self._results and any(member.busy for member in self._present()):
            self._receive()
        return self._results.pop(number, None)

    def stop(self) -> None:
        """Let no more pieces be begun."""
        while self._queue >= 0 and os.read(self._queue, 1 << 16):
            pass

    def abandon(self) -> None:
        """Let no more pieces be begun, and break off those that are under way: Abandoned is raised
        in them. They count as not done."""
        self.stop()
        for member in self._present():
            if member.busy:
                with suppress(ProcessLookupError):  # it has ended, and nobody is to wait for it
                    os.kill(member.process, _ABANDON)

    def ask(self, question: Any) -> list[Any]:
        """The answers of all copies to ``question``, when they have done all pieces."""
        self._replies = []
        for member in self._present():
            member.asked = True
            try:
                _send(member.commands, question)
            except OSError:  # EPIPE: it is gone
                self._drop(member)
        while any(member.asked for member in self._present()):
            self._receive()
        return self._replies

    def lost(self) -> set[int]:
        """Pieces done by copies that are gone, so that nobody can answer for them."""
        return {number for member in self._workers if member.exited for number in member.done}

    def end(self) -> None:
        """Let the copies end, and wait for that. Further calls do nothing."""
        self.stop()
        members, self._workers = self._workers, []
        for member in members:
            for descriptor in member.ends():
                os.close(descriptor)
        for member in members:
            if not member.exited:
                host.wait_for(member.process)
        if self._queue >= 0:
            os.close(self._queue)
            self._queue = -1

    def _present(self) -> list[_Worker]:
        return [member for member in self._workers if not member.exited]

    def _receive(self) -> None:
        """Wait until somebody replies, or is gone."""
        present = self._present()
        poll = select.poll()
        for member in present:
            poll.register(member.replies, select.POLLIN)
        ready = {descriptor for descriptor, _ in poll.poll()}
        for member in present:
            if member.replies not in ready:
                continue
            reply = _read(member.replies)
            if reply is None:
                self._drop(member)
                continue
            number, value = reply
            if number == _IDLE:
                member.busy = False
            elif number == _REPLY:
                member.asked = False
                self._replies.append(value)
            else:
                member.done.add(number)
                self._results[number] = value

    def _drop(self, worker: _Worker) -> None:
        if not worker.exited:
            logger.debug("Process %s ended early", worker.process)
            # Its pipe ends before it does: what it left is not to be taken for its work.
            host.wait_for(worker.process)
        worker.exited = True


def map_in_workers(
    tasks: Sequence[Part],
    work: Callable[[Part], Result],
    again: Callable[[Part], Result],
    done: Callable[[Part], None] = lambda piece: None,
) -> list[Result]:
    """What ``work`` returns for each of ``tasks``, in their order; done by copies of this process
    where there are several pieces and processors. What a copy could not do, or was at when it was
    killed, is done ``again`` by this process, which raises what there is to be raised. ``done`` is
    called for one after another, when it is. No copy is at work any more when this ends, however it
    does."""

    def do(number: int) -> Result | None:
        try:
            return work(tasks[number])
        except Exception:
            logger.debug("Left to the first process", exc_info=True)
            return None

    size = min(available_workers(), len(tasks))
    crew = WorkerPool.start(size, range(len(tasks)), do, lambda _: None) if size > 1 else None
    results: list[Result | None] = []
    if crew is None:
        for piece in tasks:
            results.append(work(piece))
            done(piece)
        return [result for result in results if result is not None]
    try:
        for number, piece in enumerate(tasks):
            results.append(crew.result(number))
            done(piece)
    except BaseException:
        crew.abandon()
        raise
    finally:
        crew.end()
    return [again(piece) if result is None else result for piece, result in zip(tasks, results)]


def _serve(
    queue: int,
    commands: int,
    replies: int,
    work: Callable[[int], Any],
    reply: Callable[[Any], Any],
) -> None:
    """What a copy does."""
    # Reads of one size from a pipe that holds only such pieces: each gets a whole one.
    while piece := os.read(queue, _NUMBER.size):
        (number,) = _NUMBER.unpack(piece)
        try:
            _Task.under_way = True
            value = work(number)
        except Abandoned:
            value = None
        _Task.under_way = False
        _send(replies, (number, value))
    _send(replies, (_IDLE, None))
    while (question := _read(commands)) is not None:
        _send(replies, (_REPLY, reply(question)))


def _die_with(parent: int) -> None:
    """Have the kernel kill this copy when ``parent`` ends: a killed installation goes no further.
    Elsewhere it ends when it wants to reply."""
    prctl = libc.c_function("prctl")
    if prctl is None:
        return
    prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
    if os.getppid() != parent:
        os._exit(1)


def _send(descriptor: int, value: Any) -> None:
    data = pickle.dumps(value)
    dirfd.write_all(descriptor, _LENGTH.pack(len(data)) + data)


def _read(descriptor: int) -> Any:
    """The next value; None at the end. Values are not None."""
    head = _read_exactly(descriptor, _LENGTH.size)
    if head is None:
        return None
    data = _read_exactly(descriptor, *_LENGTH.unpack(head))
    return None if data is None else pickle.loads(data)


def _read_exactly(descriptor: int, size: int) -> bytes | None:
    parts = []
    while size:
        part = os.read(descriptor, min(size, 1 << 20))
        if not part:
            return None
        parts.append(part)
        size -= len(part)
    return b"".join(parts)
