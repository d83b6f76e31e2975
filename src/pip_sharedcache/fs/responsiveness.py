"""Test of whether a file system answers."""

from __future__ import annotations

import os
import select
import signal
import threading
from contextlib import suppress
from pathlib import Path

from pip_sharedcache.fs import host


def is_responsive(directory: Path, within: float) -> bool:
    """Return whether the file system of ``directory`` answers ``within`` this number of seconds.

    An error is an answer. A forked process makes the call, because a call to an unreachable file
    server may not be interruptible; the function does not wait for a process that hangs. Return
    True where no process can be forked.
    """
    if not host.can_fork() or threading.active_count() > 1:
        return True
    try:
        question, reply = os.pipe()
    except OSError:
        return True
    try:
        process = os.fork()
    except OSError:
        os.close(reply)
        os.close(question)
        return True
    if not process:
        try:
            # A process that hangs would keep open the pipes to the readers of this run's output.
            for standard in range(3):
                os.dup2(reply, standard)
            with suppress(OSError):  # an error is an answer; the caller gets it, too
                os.listdir(directory)
        finally:
            os._exit(0)
    os.close(reply)  # the forked process's end closes when the process ends
    poll = select.poll()
    poll.register(question)
    try:
        if poll.poll(within * 1000):
            host.wait_for(process)
            return True
        os.kill(process, signal.SIGKILL)
        return False
    finally:
        os.close(question)
