"""Whether a file system answers at all."""

from __future__ import annotations

import os
import select
import signal
import threading
from contextlib import suppress
from pathlib import Path

from pip_sharedcache.fs import host


def is_responsive(directory: Path, within: float) -> bool:
    """Whether the file system of ``directory`` answers ``within`` so many seconds, be it with an
    error. Asked by a copy of this process, which is left behind if it hangs: a call to a file
    server that is away may not be interruptible."""
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
            # Left behind it would hold open the pipes of whoever reads what this run says.
            for standard in range(3):
                os.dup2(reply, standard)
            with suppress(OSError):  # that is an answer too, and the caller meets it
                os.listdir(directory)
        finally:
            os._exit(0)
    os.close(reply)  # the copy's end closes when it ends
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
