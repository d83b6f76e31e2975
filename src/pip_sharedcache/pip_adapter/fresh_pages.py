"""Index pages that an index called fresh: until then pip does not ask for them again.

pip's HTTP cache remembers this together with the content of a page. A page that the index confirmed
without sending it has no content there, so a file in pip's cache directory, which is this user's
own, says which digest the page has, and until when that holds.
"""

from __future__ import annotations

import calendar
import contextlib
import email.utils
import importlib
import json
import logging
import os
import stat
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from pip_sharedcache import fs
from pip_sharedcache.pip_adapter.resolver_seams import CACHE_CONTROL

logger = logging.getLogger(__name__)

_NAME = "pip-sharedcache-pages.json"
_LARGEST = 4 << 20  # bytes
_LONGEST = 24 * 3600  # seconds; also the limit where a clock was set back


def lifetime(headers: Mapping[str, str]) -> int:
    """Return for how many seconds a response with these ``headers`` is fresh; 0 if it is not.

    It is fresh only if pip's own HTTP cache, with a copy, would answer in place of the index.
    """
    if CACHE_CONTROL.problem():
        return 0  # a pip with another HTTP cache
    controller = importlib.import_module(CACHE_CONTROL.module).CacheController()
    control = controller.parse_cache_control(headers)
    # pip's cache counts from the Date, and keeps nothing that varies with everything. What varies
    # with other headers than these two can be another page for another pip of this user.
    date = email.utils.parsedate_tz(headers.get("Date", ""))
    vary = {name.strip().lower() for name in headers.get("Vary", "").split(",")}
    longest = control.get("max-age")
    if date is None or longest is None or vary - {"", "accept", "accept-encoding"}:
        return 0
    if "no-cache" in control or "no-store" in control:
        return 0
    age = headers.get("Age", "0")
    ages = [int(age) if age.isdecimal() else 0, time.time() - calendar.timegm(date[:6])]
    return max(0, int(min(longest, _LONGEST) - max(0, *ages)))


class FreshPages:
    """The fresh pages that this user knows, by URL.

    ``cache``: pip's cache directory; None (or "") to use and keep none.
    """

    def __init__(self, cache: str | None = None) -> None:
        self._path = path = Path(cache) / _NAME if cache else None
        self._known: dict[str, tuple[str, float]] = {}
        self._changed = False
        if path is None:
            return
        try:
            descriptor = os.open(path, os.O_RDONLY | getattr(os, "O_NONBLOCK", 0))  # no FIFO
            with open(descriptor, "rb") as file:
                if not stat.S_ISREG(os.fstat(descriptor).st_mode):
                    raise ValueError("it is no regular file")
                data: Any = json.loads(file.read(_LARGEST))
            now = time.time()
            for url, (digest, until) in data.items():
                if now < float(until) <= now + _LONGEST:
                    self._known[str(url)] = str(digest), float(until)
        except FileNotFoundError:
            pass
        except (OSError, ValueError, TypeError, AttributeError, RecursionError) as error:
            logger.debug("%s is not used: %s", path, error)

    def has(self, url: str, digest: str) -> bool:
        """Return whether the page at ``url`` is fresh with the sha256 ``digest``."""
        known = self._known.get(url)
        return known is not None and known[0] == digest and time.time() < known[1]

    def record(self, url: str, digest: str, seconds: int) -> None:
        """Record that the page at ``url`` has ``digest`` for the next ``seconds``."""
        if seconds > 0:
            self._known[url] = digest, time.time() + seconds
            self._changed = True

    def save(self) -> None:
        """Write the file for later runs. A failure costs these runs some requests only."""
        if self._path is None or not self._changed:
            return
        new = self._path.with_name(fs.temporary_name())
        text = json.dumps(self._known, separators=(",", ":")).encode("ascii")
        try:
            os.makedirs(self._path.parent, mode=0o700, exist_ok=True)
            with fs.create_file(new, 0o600) as file:
                fs.write_all(file, text)
            os.replace(new, self._path)
            self._changed = False
            fs.sweep_temporary(self._path.parent)
        except OSError as error:
            logger.debug("%s is not written: %s", self._path, error)
            with contextlib.suppress(OSError):
                new.unlink()
