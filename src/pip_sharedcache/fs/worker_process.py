"""What a worker process does: its tasks, its replies to questions, its messages."""

from __future__ import annotations

import os
import pickle
import signal
import struct
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from pip_sharedcache.fs import dirfd, libc

NUMBER = struct.Struct("=I")
_LENGTH = struct.Struct("=Q")
#: In place of a task's number: no tasks are left; the value is the reply to a question.
IDLE, REPLY = -1, -2
_PR_SET_PDEATHSIG = 1  # prctl(2)


@dataclass(frozen=True)
class Posted:
    """A question that can be abandoned, as a task can."""

    question: Any


class Abandoned(BaseException):
    """Interruption of a task in a worker process, because the parent process abandons the task.

    Not an Exception: code for failed tasks must not catch it; the task undoes its work, as after
    Ctrl-C.
    """


class Task:
    """State of the tasks in this process, and the signal handler that abandons a task."""

    under_way = False
    is_abandoned = False
    is_copy = False
    most = 0

    @classmethod
    def abandon(cls, *_: object) -> None:
        cls.is_abandoned = True
        if cls.under_way:
            cls.under_way = False  # a second signal must not interrupt the undo
            raise Abandoned


def serve(
    queue: int,
    commands: int,
    replies: int,
    work: Callable[[int], Any],
    reply: Callable[[Any], Any],
) -> None:
    """Do tasks from ``queue``, then reply to questions from ``commands``, until both end."""
    # The pipe holds only numbers of this size, so that each read gets a whole number.
    while piece := os.read(queue, NUMBER.size):
        (number,) = NUMBER.unpack(piece)
        try:
            Task.under_way = True
            value = work(number)
        except Abandoned:
            value = None
        Task.under_way = False
        send(replies, (number, value))
    send(replies, (IDLE, None))
    while (question := receive(commands)) is not None:
        value = _answer(question, reply)
        send(replies, (REPLY, value))


def _answer(question: Any, reply: Callable[[Any], Any]) -> Any:
    """Return the reply to ``question``; None to one that was abandoned."""
    if not isinstance(question, Posted):
        return reply(question)
    if Task.is_abandoned:
        return None
    try:
        Task.under_way = True
        value = reply(question.question)
        Task.under_way = False
    except Abandoned:
        return None
    return value


def die_with(parent: int) -> None:
    """Make the kernel kill this worker process when ``parent`` ends, so that no work continues.

    Without prctl(2), the worker process ends at its next reply.
    """
    prctl = libc.c_function("prctl")
    if prctl is None:
        return
    prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
    if os.getppid() != parent:
        os._exit(1)


def send(descriptor: int, value: Any) -> None:
    data = pickle.dumps(value)
    dirfd.write_all(descriptor, _LENGTH.pack(len(data)) + data)


def receive(descriptor: int) -> Any:
    """Return the next value from the pipe; None at its end. No value is None."""
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
