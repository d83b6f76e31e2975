"""The access to an object store through its helper process, within time limits."""

from __future__ import annotations

import functools
import importlib.util
import json
import logging
import math
import os
import selectors
import shlex
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

from pip_sharedcache import resources
from pip_sharedcache.remote.access import (
    MISSING,
    Answer,
    Delete,
    Fetch,
    List,
    Listed,
    Patience,
    Put,
    RemoteFailed,
    Request,
    local_problem,
    refusal,
    unusable_directory,
)

logger = logging.getLogger(__name__)

#: The most requests at one time.
AT_ONCE = 16

_LIBRARY = "obstore"
_MOST_FRAME = 1 << 16  # bytes
_READ = 1 << 16  # bytes that are read at once
#: Starts the script without its directory, and without the current one, on sys.path.
_START = (
    "import sys\n"
    "if sys.path[:1] == ['']: del sys.path[0]\n"
    "import runpy; runpy.run_path(sys.argv[1], run_name='__main__')"
)
_WRONG = "it is not the expected one"


@functools.cache
def helper_script() -> Path:
    """Return the path of the script that the interpreter with the library runs."""
    return resources.path_of("remote", "helper.py")


def interpreter(named: Path | None) -> Path:
    """Return the interpreter that has the client library: ``named``, or the likeliest one.

    This process may run in another environment than the one with pip-sharedcache (--python, hook).
    """
    if named is not None:
        return named
    if importlib.util.find_spec(_LIBRARY) is None:
        # <prefix>/lib/pythonX.Y/site-packages/pip_sharedcache/remote/client.py
        parents = Path(__file__).parents
        beside = parents[5] / "bin" / "python" if len(parents) > 5 else Path()
        if beside.is_file() and beside.parent != Path(sys.executable).parent:
            return beside
    return Path(sys.executable)


class Client:
    """The access to the object store ``url`` by a process of the interpreter ``python``.

    The process starts with the first request. ``timeout``: seconds without an answer or a byte.
    """

    def __init__(self, url: str, python: Path, timeout: float) -> None:
        self._url, self._python, self._timeout = url, python, timeout
        self._process: subprocess.Popen[bytes] | None = None
        self._owner = os.getpid()
        self._read = b""
        self._unsent = bytearray()
        self._number = 0
        self._opened = False

    def ask(
        self,
        requests: Sequence[Request],
        answered: Callable[[Request, Answer], None],
        within: float | None = None,
    ) -> None:
        """As Access has it. After a failure, the process is killed."""
        pending: dict[int, Request] = {}
        try:
            if self._process is None:
                self._start()
            for one in requests:
                self._number += 1
                pending[self._number] = one
                self._send({"id": self._number, **_asked(one)})
            self._receive(pending, answered, within)
        except BaseException:
            self.end()
            raise
        finally:
            for left in pending.values():
                if isinstance(left, Fetch):
                    with suppress(OSError):
                        os.unlink(left.path)

    def end(self) -> None:
        """Kill the process and wait for its end; in a forked process, only close the pipes."""
        process, self._process = self._process, None
        if process is None:
            return
        if os.getpid() == self._owner:
            with suppress(OSError):
                process.kill()
        for pipe in (process.stdin, process.stdout):
            if pipe is not None:
                with suppress(OSError):
                    pipe.close()
        if os.getpid() == self._owner:
            process.wait()
        else:
            process.returncode = 0  # else Python warns: it is the child of another process

    def _start(self) -> None:
        environ = dict(os.environ)
        if self._python != Path(sys.executable):
            for name in ("PYTHONPATH", "PYTHONHOME", "__PYVENV_LAUNCHER__"):
                environ.pop(name, None)
        try:
            process = subprocess.Popen(
                [str(self._python), "-c", _START, str(helper_script())],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=subprocess.DEVNULL,
                env=environ,
                bufsize=0,
                start_new_session=True,  # Ctrl-C is for pip alone, which ends this
            )
        except (OSError, ValueError) as error:
            why = getattr(error, "strerror", None) or str(error)
            raise RemoteFailed(f"{self._python} cannot be started: {why}") from error
        self._process, self._read, self._opened = process, b"", False
        self._unsent.clear()
        for pipe in (process.stdin, process.stdout):
            assert pipe is not None
            os.set_blocking(pipe.fileno(), False)
        logger.debug("Process %s speaks to %s", process.pid, self._url)
        self._send({"open": self._url, "timeout": self._timeout, "requests": AT_ONCE})

    def _send(self, frame: dict[str, Any]) -> None:
        data = json.dumps(frame).encode()
        self._unsent += len(data).to_bytes(4, "big") + data

    def _receive(
        self,
        pending: dict[int, Request],
        answered: Callable[[Request, Answer], None],
        within: float | None,
    ) -> None:
        """Send what is unsent, and take replies until none of ``pending`` is left."""
        process = self._process
        assert process is not None and process.stdin is not None and process.stdout is not None
        patience = Patience(self._timeout)
        limit = math.inf if within is None else time.monotonic() + within
        with selectors.DefaultSelector() as ready:
            ready.register(process.stdout, selectors.EVENT_READ)
            sends = False
            while pending:
                if sends != bool(self._unsent):
                    sends = not sends
                    if sends:
                        ready.register(process.stdin, selectors.EVENT_WRITE)
                    else:
                        ready.unregister(process.stdin)
                now, end = time.monotonic(), min(patience.end, limit)
                if now >= limit:
                    raise RemoteFailed("the time limit is over", "pip-sharedcache store push")
                if now >= end:
                    patience.check()
                    continue
                for key, _ in ready.select(end - now):
                    if key.fileobj is process.stdin:
                        self._flush(process.stdin.fileno())
                        continue
                    for reply in self._frames(process.stdout.fileno()):
                        if "bytes" in reply:
                            patience.moved(int(reply["bytes"]))
                        elif self._take(reply, pending, answered):
                            patience.answered()

    def _flush(self, descriptor: int) -> None:
        try:
            sent = os.write(descriptor, self._unsent[:_READ])
        except BlockingIOError:
            return
        except OSError:
            raise self._ended() from None
        del self._unsent[:sent]

    def _frames(self, descriptor: int) -> list[dict[str, Any]]:
        """Return the whole frames that have arrived."""
        try:
            data = os.read(descriptor, _READ)
        except BlockingIOError:
            return []
        if not data:
            raise self._ended()
        self._read += data
        found = []
        while len(self._read) >= 4:
            length = int.from_bytes(self._read[:4], "big")
            if length > _MOST_FRAME:
                raise RemoteFailed("its client library disturbs the answers")
            if len(self._read) < 4 + length:
                break
            try:
                frame = json.loads(self._read[4 : 4 + length])
            except ValueError:
                raise RemoteFailed("its client library disturbs the answers") from None
            found.append(frame)
            self._read = self._read[4 + length :]
        return found

    def _take(
        self,
        reply: dict[str, Any],
        pending: dict[int, Request],
        answered: Callable[[Request, Answer], None],
    ) -> bool:
        """Handle one reply; return whether it answers a request."""
        error, status = reply.get("error", ""), int(reply.get("status", 0))
        if not self._opened:
            if error == "library":
                python = shlex.quote(str(self._python))
                raise RemoteFailed(
                    f"{self._python} has no {_LIBRARY}",
                    f"{python} -m pip install {_LIBRARY}, or the setting remote-python",
                )
            if error == "directory":
                raise unusable_directory(status)
            if error:
                raise RemoteFailed("the client library cannot use this URL here")
            self._opened = True
            return False
        request = pending.get(reply["id"])
        if request is None:
            return False
        if error == "refused":
            raise refusal(status, request)
        if error == "directory":
            raise unusable_directory(status)
        if error == "region":
            raise RemoteFailed("it is in another region", "set AWS_REGION")
        if error == "names":
            raise RemoteFailed("an object there has a name that the client library refuses")
        if error not in ("", "missing", "wrong", "local"):
            raise RemoteFailed("it cannot be reached, or the connection breaks")
        if not reply.get("more"):
            del pending[reply["id"]]
        if error and isinstance(request, Fetch):
            with suppress(OSError):
                os.unlink(request.path)  # it may have been begun
        if error == "missing":
            answer = MISSING
        elif error:
            answer = Answer(problem=local_problem(status) if error == "local" else _WRONG)
        else:
            answer = _answer_of(reply)
        answered(request, answer)
        return True

    def _ended(self) -> RemoteFailed:
        assert self._process is not None
        with suppress(subprocess.TimeoutExpired):
            self._process.wait(1)
        code = self._process.returncode
        return RemoteFailed(f"the process with its client library has ended (status {code})")


def _answer_of(reply: dict[str, Any]) -> Answer:
    listed = tuple(Listed(str(key), int(size), at) for key, size, at in reply.get("listed", ()))
    return Answer(
        int(reply["size"]),
        str(reply.get("sha256", "")),
        modified=float(reply.get("modified", 0)),
        listed=listed,
        ignored=int(reply.get("ignored", 0)),
        is_last=not reply.get("more"),
    )


def _asked(request: Request) -> dict[str, Any]:
    if isinstance(request, Fetch):
        return {"get": request.key, "path": str(request.path), "most": request.most}
    if isinstance(request, Put):
        return {"put": request.key, "path": str(request.path), "sha256": request.sha256}
    if isinstance(request, List):
        return {"list": request.prefix}
    return {"delete" if isinstance(request, Delete) else "has": request.key}
