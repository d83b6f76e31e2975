"""Calls of ssh-keygen: within a time limit, and without a question to anybody."""

from __future__ import annotations

import os
import re
import signal
import subprocess
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass

#: Variables with which ssh-keygen opens a window that asks for a passphrase (ssh(1)).
_ASKING = ("SSH_ASKPASS", "DISPLAY", "WAYLAND_DISPLAY")
#: What it says for a uid that has no name, before it looks at anything else.
_NAMELESS = "No user exists for uid"
_CONTROL = re.compile(r"[\x00-\x1f\x7f-\x9f]+")
_LONGEST = 300  # characters of a line of ssh-keygen in a message
_MOST_OUTPUT = 1 << 16  # bytes that are read of what it prints


class NoAnswer(Exception):
    """An ssh-keygen that cannot be started, or that gave no answer within the time limit.

    ``str()``: the reason, for the end of a message.
    """


@dataclass(frozen=True)
class Answer:
    """What ssh-keygen answered.

    ``ok``: whether its exit status is 0.
    ``lines``: what it wrote to its output.
    ``reasons``: what it wrote to its error output, in lines that a terminal shows safely.
    """

    ok: bool
    lines: tuple[str, ...]
    reasons: tuple[str, ...]


def ask(arguments: Sequence[str], within: float, data: bytes = b"", *, agent: bool) -> Answer:
    """Return the answer of ssh-keygen to ``arguments``, with ``data`` as its input.

    ``within``: the most seconds to wait. ``agent``: whether it may use the user's agent. It has no
    terminal, so that it asks nobody for a passphrase or a PIN. Raises NoAnswer.
    """
    try:
        process = subprocess.Popen(
            ["ssh-keygen", *arguments],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            env=_environment(os.environ, agent),
            start_new_session=True,  # no terminal, and a group that can be killed as a whole
        )
    except (OSError, ValueError) as error:
        what = getattr(error, "strerror", None) or str(error)
        raise NoAnswer(f"ssh-keygen cannot be started: {what}") from error
    try:
        output, errors = process.communicate(data, timeout=within)
    except subprocess.TimeoutExpired:
        raise NoAnswer(f"ssh-keygen gave no answer in {within:g} s") from None
    finally:
        _end(process)
    answer = Answer(process.returncode == 0, _lines(output), _lines(errors))
    if not answer.ok and any(one.startswith(_NAMELESS) for one in answer.reasons):
        uid = os.getuid()
        raise NoAnswer(
            f"ssh-keygen works for no user without a name: uid {uid} is not in /etc/passwd"
        )
    return answer


def _end(process: subprocess.Popen[bytes]) -> None:
    """Kill ``process`` and its children, close its pipes and wait for its end."""
    if process.poll() is None:
        with suppress(OSError):
            if hasattr(os, "killpg"):
                os.killpg(process.pid, signal.SIGKILL)
            else:  # Windows
                process.kill()
    for pipe in (process.stdin, process.stdout, process.stderr):
        if pipe is not None:
            with suppress(OSError):
                pipe.close()
    process.wait()


def _environment(environ: Mapping[str, str], agent: bool) -> dict[str, str]:
    without = (*_ASKING, *(() if agent else ("SSH_AUTH_SOCK",)))
    kept = {name: value for name, value in environ.items() if name not in without}
    return {**kept, "SSH_ASKPASS_REQUIRE": "never", "LC_ALL": "C"}


def _lines(output: bytes) -> tuple[str, ...]:
    text = output[:_MOST_OUTPUT].decode("utf-8", "replace")
    lines = (_CONTROL.sub(" ", line).strip() for line in text.splitlines())
    return tuple(line[:_LONGEST] for line in lines if line)
