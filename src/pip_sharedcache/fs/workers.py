"""Worker processes that do numbered tasks of the parent process in parallel (fork(2)).

A worker process has the state of its parent process at the fork, and returns results as pickles.
The caller does the tasks that a worker process failed to do or did not finish when killed.

``concurrent.futures`` with a fork context cannot replace this module: its executor starts a thread
in this process, cannot interrupt a task that has begun, fails all tasks when one worker is killed,
and cannot ask every worker for its share at the end (docs/decisions/07-fork.md).
"""

from __future__ import annotations

import gc
import logging
import os
import select
import signal
import threading
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Any, TypeVar

from pip_sharedcache.fs import host
from pip_sharedcache.fs.worker_process import (
    IDLE,
    NUMBER,
    REPLY,
    Posted,
    Task,
    die_with,
    receive,
    send,
    serve,
)

logger = logging.getLogger(__name__)

Part = TypeVar("Part")
Result = TypeVar("Result")

#: Processes or threads that pip must still be able to start beside the worker processes: its
#: progress bar, and a program that it runs.
_RESERVE = 2
#: Questions that a worker process has at once: the present one, and the next.
_AHEAD = 2
_ABANDON = getattr(signal, "SIGUSR1", 0)  # not on Windows, which has no fork


@dataclass
class _Worker:
    """One worker process, as the parent process sees it.

    ``process``: its process number.
    ``commands``: the descriptor for writing commands.
    ``replies``: the descriptor for reading replies.
    ``done``: the tasks that it has done.
    ``busy``: whether it may do more tasks.
    ``asked``: the number of questions to which it owes a reply.
    ``exited``: whether it has ended.
    """

    process: int
    commands: int
    replies: int
    done: set[int] = field(default_factory=set)
    busy: bool = True
    asked: int = 0
    exited: bool = False

    def ends(self) -> tuple[int, int]:
        """Return the parent process's ends of the two pipes."""
        return self.commands, self.replies


def limit_workers(number: int) -> None:
    """Limit the processes that share one piece of work to ``number``; 0: one per processor."""
    Task.most = number


def available_workers() -> int:
    """Return how many processes may share one piece of work; 1 in a worker process."""
    return 1 if Task.is_copy else Task.most or host.cpus()


class WorkerPool:
    """Running worker processes. Owns their pipes: the caller must call ``end``."""

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
        """Start up to ``size`` worker processes; return None where none can run.

        Each free worker process calls ``work`` with the next number of ``tasks``, and in the end
        ``reply`` for each question. Both return picklable values; ``work`` returns None for a task
        that it could not do. Return None where this process has other threads (they would be
        missing after the fork, with their locks held), where the system has no fork, or where the
        limits allow no further process beside those that pip may start.
        """
        if not host.can_fork() or threading.active_count() > 1:
            return None
        crew = cls()
        try:
            crew._queue, pieces = os.pipe()
        except OSError as error:
            logger.debug("No worker process can be started: %s", error)
            return None
        try:
            crew._fill(size, pieces, work, reply)
            # The worker processes begin only now. The caller does the tasks that do not fit into
            # the pipe, instead of waiting: a user with many pipes gets small ones (pipe(7)).
            os.set_blocking(pieces, False)
            if crew._workers and tasks:
                os.write(pieces, b"".join(NUMBER.pack(number) for number in tasks))
            written, pieces = pieces, -1
            os.close(written)
            if crew._workers:
                return crew
        except BaseException:  # Ctrl-C
            if pieces >= 0:
                os.close(pieces)
            crew.abandon()
            crew.end()
            raise
        crew.end()
        return None

    def _fill(
        self, size: int, tasks: int, work: Callable[[int], Any], reply: Callable[[Any], Any]
    ) -> None:
        """Start up to ``size`` worker processes; keep _RESERVE processes free for pip.

        ``tasks`` is the writing end of the queue, which the worker processes close.
        """
        try:
            for _ in range(size):
                self._add(tasks, work, reply)
        except OSError as error:  # EAGAIN, ENOMEM, EMFILE: use those that started
            logger.debug("Only %s worker processes can be started: %s", len(self._workers), error)
        while self._workers and not host.can_start_threads(_RESERVE):
            logger.debug("One worker process ends: pip may have to start a process or a thread")
            member = self._workers.pop()  # it has not begun a task
            for end in member.ends():
                os.close(end)
            with suppress(ProcessLookupError):  # it has ended, and SIGCHLD is ignored
                os.kill(member.process, signal.SIGKILL)
            host.wait_for(member.process)

    def _add(self, tasks: int, work: Callable[[int], Any], reply: Callable[[Any], Any]) -> None:
        parent = os.getpid()
        ends: list[int] = []
        # Block the signals until the worker process has its handlers and the parent process has
        # recorded the worker process: Python loses a KeyboardInterrupt during a fork.
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
            Task.is_copy = True
            die_with(parent)
            # Ctrl-C reaches all processes of the terminal: only the parent process handles it.
            signal.signal(signal.SIGINT, signal.SIG_IGN)
            signal.signal(_ABANDON, Task.abandon)
            signal.pthread_sigmask(signal.SIG_UNBLOCK, held_back)
            if hasattr(gc, "freeze"):  # not in PyPy
                gc.freeze()  # else the collector would write to, and thus copy, every page
            others = (fd for member in self._workers for fd in member.ends())
            for end in (tasks, orders_end, replies, *others):
                os.close(end)
            serve(self._queue, orders, replies_end, work, reply)
            status = 0
        finally:
            os._exit(status)  # without the parent process's clean-up

    def result(self, number: int) -> Any:
        """Wait for the result of task ``number``, and return it; None where it was not done."""
        while number not in self._results and any(member.busy for member in self._present()):
            self._receive()
        return self._results.pop(number, None)

    def stop(self) -> None:
        """Remove the tasks from the queue, so that no further task begins."""
        while self._queue >= 0 and os.read(self._queue, 1 << 16):
            pass

    def abandon(self) -> None:
        """Stop, and raise Abandoned in the tasks under way, which count as not done."""
        self.stop()
        for member in self._present():
            if member.busy or member.asked:
                with suppress(ProcessLookupError):  # it has ended, and SIGCHLD is ignored
                    os.kill(member.process, _ABANDON)

    def post(self, question: Any) -> bool:
        """Ask a worker process that has little to do, and do not wait for its reply.

        The reply must be None. Return False if each worker process has enough to do.
        """
        free = [member for member in self._present() if member.asked < _AHEAD]
        if not free:
            return False
        member = min(free, key=lambda one: one.asked)
        member.asked += 1
        try:
            send(member.commands, Posted(question))
        except OSError:  # EPIPE: the worker process has ended
            self._drop(member)
        return True

    def take_replies(self) -> None:
        """Record the replies that have come, without a wait."""
        while self._present() and self._receive(0):
            pass

    def ask(self, question: Any) -> list[Any]:
        """Return the replies of all worker processes to ``question``, after all tasks are done.

        Replies of None are left out.
        """
        self._replies = []
        for member in self._present():
            member.asked += 1
            try:
                send(member.commands, question)
            except OSError:  # EPIPE: the worker process has ended
                self._drop(member)
        while any(member.asked for member in self._present()):
            self._receive()
        return self._replies

    def lost(self) -> set[int]:
        """Return the tasks of worker processes that ended early and cannot reply to questions."""
        return {number for member in self._workers if member.exited for number in member.done}

    def end(self) -> None:
        """Close the pipes, and wait until the worker processes end; further calls do nothing."""
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

    def _receive(self, timeout: int | None = None) -> bool:
        """Wait until a worker process replies or ends, and record this.

        ``timeout``: milliseconds. Return False if it has passed.
        """
        present = self._present()
        poll = select.poll()
        for member in present:
            poll.register(member.replies, select.POLLIN)
        ready = {descriptor for descriptor, _ in poll.poll(timeout)}
        for member in present:
            if member.replies not in ready:
                continue
            reply = receive(member.replies)
            if reply is None:
                self._drop(member)
                continue
            number, value = reply
            if number == IDLE:
                member.busy = False
            elif number == REPLY:
                member.asked -= 1
                if value is not None:
                    self._replies.append(value)
            else:
                member.done.add(number)
                self._results[number] = value
        return bool(ready)

    def _drop(self, worker: _Worker) -> None:
        if not worker.exited:
            logger.debug("Worker process %s ended early", worker.process)
            # The pipe closes before the process ends: without the wait, other code could take the
            # files that the process left for those of a live process.
            host.wait_for(worker.process)
        worker.exited = True


def map_in_workers(
    tasks: Sequence[Part],
    work: Callable[[Part], Result],
    again: Callable[[Part], Result],
    done: Callable[[Part], None] = lambda piece: None,
) -> list[Result]:
    """Return the results of ``work`` for ``tasks``, in their order.

    Worker processes do the work if several tasks and processors exist. This process calls
    ``again``, which raises the errors, for each task that a killed worker process did not do.
    ``done`` is called for each task in order, after its result. No worker process outlives this.
    """

    def do(number: int) -> Result | None:
        try:
            return work(tasks[number])
        except Exception:
            logger.debug("The parent process repeats this task", exc_info=True)
            return None

    size, crew = min(available_workers(), len(tasks)), None
    results: list[Result | None] = []
    try:  # Ctrl-C can come as soon as the workers have begun
        crew = WorkerPool.start(size, range(len(tasks)), do, lambda _: None) if size > 1 else None
        for number, piece in enumerate(tasks):
            results.append(work(piece) if crew is None else crew.result(number))
            done(piece)
    except BaseException:
        if crew is not None:
            crew.abandon()
        raise
    finally:
        if crew is not None:
            crew.end()
    if crew is None:
        return [result for result in results if result is not None]
    return [again(piece) if result is None else result for piece, result in zip(tasks, results)]
