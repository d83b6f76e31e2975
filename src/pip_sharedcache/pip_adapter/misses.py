"""The wheels that pip is going to download, and the turn of a run to download them."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass

from pip_sharedcache.model import Digest, Origin
from pip_sharedcache.pip_adapter.protocols import Link
from pip_sharedcache.session.session import Session
from pip_sharedcache.session.wheels import without_credentials


def comes_from_index(link: Link) -> bool:
    """Return whether ``link`` leads to a wheel on another machine, which pip downloads."""
    return link.is_wheel and link.scheme in ("http", "https")


@dataclass(frozen=True)
class Misses:
    """What the stores of a run lack.

    ``digests``: returns the digests that pip accepts for a link.
    ``private``: returns why the wheel of a link must not be shared, or "".
    """

    digests: Callable[[Link], tuple[Digest, ...]]
    private: Callable[[Link], str]

    def of(self, session: Session, links: Iterable[Link]) -> list[Link]:
        """Return those of ``links`` whose wheels pip is going to download."""
        return [
            link
            for link in links
            if comes_from_index(link) and not session.lookup.has(self.digests(link), link.filename)
        ]

    def wait(self, session: Session, missing: Iterable[Link]) -> bool:
        """Claim the wheels of ``missing``, and wait for a run that claimed some of them earlier.

        Return whether there was one: it may have published them.
        """
        wanted = self.shareable(session, missing)
        return session.turns.wait(
            wanted.keys(), lambda: not self.of(session, tuple(wanted.values()))
        )

    def shareable(self, session: Session, links: Iterable[Link]) -> dict[Digest, Link]:
        """Return those of ``links`` whose wheels this run would publish, by their digests."""
        found = {}
        for link in links:
            digests = self.digests(link)
            origin = Origin(without_credentials(link.url), self.private(link))
            banned = len(digests) == 1 and session.layers.ban_of(digests[0], link.filename)
            if len(digests) == 1 and not banned and not session.sharing.is_private(origin):
                found[digests[0]] = link
        return found
