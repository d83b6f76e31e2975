"""Judged pages: which files of an index page pip accepts for an interpreter, and in which order.

pip's finder parses and judges every file that a page names, and looks at few of them. What it made
of a page holds for all runs with the same page, pip, interpreter and options.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import asdict, dataclass, replace
from typing import Any

from pip_sharedcache import store as stores
from pip_sharedcache import trust
from pip_sharedcache.session.publisher import Publisher
from pip_sharedcache.session.resolutions import Page, as_text, as_texts
from pip_sharedcache.session.state import RunState
from pip_sharedcache.store import JUDGED_PAGE, NONE_YET, StoredResolution
from pip_sharedcache.store.resolutions import RESOLUTION_FORMAT


@dataclass(frozen=True)
class JudgedPage:
    """One index page, and what pip's finder made of it.

    ``question``: JSON values: the URL of the page, and all that the judgement depends on.
    ``page``: the page; its ``links`` is the content without its files.
    ``files``: what the page says of each file that pip accepts, as JSON, in pip's order.
    ``versions``: the version of each of these.
    ``order``: what pip sorts each of these by, as JSON values, without its version.
    ``version_at``: the place of the version in the latter.
    ``refused``: pip's reasons to refuse files for other versions of Python.
    ``leads_to``: the projects whose pages pip read because of a candidate of this page.
    """

    question: Mapping[str, Any]
    page: Page
    files: tuple[str, ...]
    versions: tuple[str, ...]
    order: tuple[list[Any], ...]
    version_at: int
    refused: tuple[str, ...]
    leads_to: tuple[str, ...] = ()

    def to_data(self) -> dict[str, Any]:
        """Return the judged page as JSON values."""
        return {
            "format": RESOLUTION_FORMAT,
            "question": self.question,
            "page": asdict(self.page),
            "files": self.files,
            "versions": self.versions,
            "order": self.order,
            "version_at": self.version_at,
            "refused": self.refused,
            "leads_to": self.leads_to,
        }

    @classmethod
    def from_data(cls, data: Mapping[str, Any]) -> JudgedPage | None:
        """Return the judged page in ``data``; None if a value is missing or has a wrong type."""
        try:
            found = cls(
                data["question"],
                Page(**as_texts(data["page"])),
                tuple(map(as_text, data["files"])),
                tuple(map(as_text, data["versions"])),
                tuple(data["order"]),
                data["version_at"],
                tuple(map(as_text, data["refused"])),
                tuple(map(as_text, data["leads_to"])),
            )
        except (KeyError, TypeError, ValueError, AttributeError):
            return None
        at = found.version_at
        fits = (
            isinstance(found.question, dict)
            and len(found.files) == len(found.versions) == len(found.order)
            and isinstance(at, int)
            and at >= 0
            and all(isinstance(key, list) and len(key) > at for key in found.order)
        )
        return found if fits else None


class SharedPages:
    """The judged pages of one run: those in its stores, and those that it adds."""

    def __init__(self, run: RunState, publishing: Publisher) -> None:
        self._layers, self._uses = run.layers, run.uses
        self._publishing = publishing
        self._found: dict[str, StoredResolution] = {}
        self._refused = False

    def find(self, question: Mapping[str, Any]) -> JudgedPage | None:
        """Return the newest judged page for ``question`` by a trusted publisher, or None."""
        key = stores.key_of(question)
        for stored in self._layers.find_resolutions(key, kind=JUDGED_PAGE):
            judged = JudgedPage.from_data(stored.data)
            if judged is not None and judged.question == question:
                self._found[key] = stored
                return judged
        return None

    def record_use(self, judged: JudgedPage) -> None:
        """Record that the run has used what ``find`` returned."""
        stored = self._found.get(stores.key_of(judged.question))
        if stored is not None:
            self._uses.record(stored.entry)

    def is_own(self, judged: JudgedPage) -> bool:
        """Return whether this user published what ``find`` returned.

        Only then the user may publish it anew: else another publisher's content would get the name,
        and so the trust, of this user.
        """
        stored = self._found.get(stores.key_of(judged.question))
        return stored is not None and stored.publisher == trust.user_id()

    def share(self, judged: JudgedPage, *, private_because: str) -> None:
        """Stage ``judged``: in a private store if there is a reason ``private_because``.

        After a failure, nothing more is staged: the next page would fail as well.
        """
        if self._refused:
            return
        key = stores.key_of(judged.question)
        replaces = self._found.get(key)
        staged = self._publishing.add(
            self._layers.to_keep if private_because else self._layers.to_publish,
            lambda store: stores.stage_resolution(
                *(store, key, judged.to_data()),
                replaces=replaces.record if replaces else NONE_YET,
                kind=JUDGED_PAGE,
            ),
            "Installed without sharing the judged index pages",
        )
        self._refused = staged is None


def with_page(judged: JudgedPage, etag: str, leads_to: Collection[str]) -> JudgedPage:
    """Return ``judged`` with another ``etag`` of its page, and with more projects."""
    return replace(
        judged,
        page=replace(judged.page, etag=etag),
        leads_to=tuple(sorted({*judged.leads_to, *leads_to})),
    )
