"""The responses that pip gets in one run: how many there are, and which came with credentials."""

from __future__ import annotations

import threading
from typing import Any

from pip_sharedcache.pip_adapter.protocols import HttpResponse, Link
from pip_sharedcache.session.wheels import has_credentials, without_credentials


class Responses:
    """What pip's sessions were answered.

    ``requests``: the number of responses that came from servers, not from pip's HTTP cache.
    """

    def __init__(self) -> None:
        self.requests = 0
        self._counting = threading.Lock()
        self._authorised: set[str] = set()

    def watch(self, pip_session: Any) -> None:
        """Note all responses of ``pip_session`` from now on."""
        hooks = pip_session.hooks.setdefault("response", [])
        if self._note not in hooks:
            hooks.append(self._note)

    def _note(self, response: HttpResponse, **_: Any) -> None:
        with self._counting:
            self.requests += not getattr(response, "from_cache", False)
        request = response.request  # None for a file: URL
        if request is not None and "Authorization" in request.headers:
            self._authorised.add(without_credentials(request.url))

    def private(self, session: Any, link: Link) -> str:
        """Return why a downloaded wheel must not be shared; "" where all users can download it."""
        page = link.comes_from
        url_of_page = str(page if isinstance(page, str) else getattr(page, "url", "") or "")
        for url in (link.url, url_of_page):
            if has_credentials(url) or without_credentials(url) in self._authorised:
                return "pip downloaded it with credentials"
        if getattr(session, "cert", None):
            return "pip downloaded it with a client certificate"
        return ""
