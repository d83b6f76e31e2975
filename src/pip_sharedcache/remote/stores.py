"""One remote store in one run: its access, what it lacks, and whether it still is used."""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

from pip_sharedcache.config import RemoteSetting
from pip_sharedcache.model import Digest
from pip_sharedcache.remote.access import MISSING, Access, Answer, RemoteFailed, Request

logger = logging.getLogger(__name__)

#: Bytes of the largest wheel that is got.
MOST_WHEEL = 1 << 34


def wheel_key(digest: Digest) -> str:
    """Return the name of the object that is the wheel ``digest``."""
    return f"wheels/{digest}"


@dataclass
class RemoteStore:
    """One remote store in one run.

    ``setting``: its URL and policy.
    ``access``: makes the access to it, which is made for the first request.
    ``absent``: the keys that it does not have, as far as this run has asked.
    ``wrong``: the keys of objects that are not what their names say.
    ``failure``: why it is not used any more; None while it works.
    """

    setting: RemoteSetting
    access: Callable[[], Access]
    absent: set[str] = field(default_factory=set)
    wrong: set[str] = field(default_factory=set)
    failure: RemoteFailed | None = None
    _open: Access | None = None

    @property
    def url(self) -> str:
        """Return the URL, which has no credentials."""
        return self.setting.url

    def ask(
        self,
        requests: Sequence[Request],
        answered: Callable[[Request, Answer], None],
        within: float | None = None,
    ) -> bool:
        """Make ``requests`` as Access.ask does; return False if the store fails.

        Keys that the store does not have are remembered, and not asked for again.
        """
        if self.failure is not None:
            return False

        def note(request: Request, answer: Answer) -> None:
            if answer == MISSING:
                self.absent.add(request.key)
            answered(request, answer)

        asked = [one for one in requests if one.key not in self.absent]
        try:
            if asked:
                if self._open is None:
                    self._open = self.access()
                self._open.ask(asked, note, within)
        except RemoteFailed as error:
            self.failure = error
            self.end()
            return False
        return True

    def end(self) -> None:
        """End the access; further calls do nothing."""
        opened, self._open = self._open, None
        if opened is not None:
            opened.end()
