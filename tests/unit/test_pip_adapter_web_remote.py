"""The access to a web server through pip's session: it ends at once after Ctrl-C."""

from __future__ import annotations

import threading
from pathlib import Path
from typing import Any

import pytest

from pip_sharedcache.pip_adapter import web_remote
from pip_sharedcache.remote.access import Answer, Fetch, Request


def test_ctrl_c_does_not_wait_for_a_server_that_hangs(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A program that started pip waits 0.25 s after Ctrl-C, and then kills it."""
    never = threading.Event()

    class Access(web_remote.WebAccess):
        def _get(self, request: Fetch, moved: Any) -> Answer:
            if request.key == "hangs":
                never.wait()
            return Answer()

    def interrupted(request: Request, answer: Answer) -> None:
        raise KeyboardInterrupt

    waits: list[float] = []
    join = threading.Thread.join

    def joined(thread: threading.Thread, timeout: float | None = None) -> None:
        waits.extend([] if timeout is None else [timeout])
        join(thread, timeout)

    monkeypatch.setattr(web_remote, "quiet", lambda session, **_: session)
    access = Access(None, "https://server.invalid", 60)
    monkeypatch.setattr(threading.Thread, "join", joined)
    asked = [Fetch(key, tmp_path / key, 1) for key in ("hangs", "other")]
    with pytest.raises(KeyboardInterrupt):
        access.ask(asked, interrupted)
    never.set()
    assert waits
    assert max(waits) < 0.2
