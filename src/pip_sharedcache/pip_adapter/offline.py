"""Runs of pip on the wheels of the stores alone, without a request (setting offline).

pip resolves as always. What it finds is a page of links, as for --find-links, to the wheels of
entries whose publisher is trusted. Every request of pip's session fails.
"""

from __future__ import annotations

import html
import importlib
import logging
import re
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from optparse import Values
from typing import Any

from packaging.utils import canonicalize_name

from pip_sharedcache import fs
from pip_sharedcache.model import Digest, Entry, Origin
from pip_sharedcache.pip_adapter.links import digests_of, local_directory
from pip_sharedcache.pip_adapter.protocols import Link
from pip_sharedcache.pip_adapter.seams import Call
from pip_sharedcache.session.session import Session
from pip_sharedcache.session.wheels import without_credentials
from pip_sharedcache.store import WHEELS, StoredEntry, list_entries
from pip_sharedcache.store.layers import Layers

logger = logging.getLogger(__name__)

_PAGE = "shared-store.html"
#: pip's errors that come from what pip does not find. After others, such as a wrong hash, a wrong
#: requirement or a failed build, the answer would be noise.
_NOT_FOUND = ("DistributionNotFound", "NetworkConnectionError")
_MOST_NAMED = 3


@contextmanager
def only_the_store(session: Session, options: Values) -> Iterator[None]:
    """Let pip's command with these ``options`` find only what the stores of ``session`` have.

    Does nothing unless the setting offline is on. Directories of --find-links still count. If pip
    ends in an error, a warning says where its answer came from. Raises OSError if the page cannot
    be written.
    """
    if not session.settings.offline:
        yield
        return
    wheels, left_out, untrusted = _wheels(session.layers)
    where = ", ".join(str(store.path) for store in session.layers)
    only = f"only what is in {where}" if where else "nothing, since no store can be used"
    with fs.temporary_directory() as directory:
        page = directory / _PAGE
        page.write_text("".join(map(_link_to, wheels)), encoding="utf-8")
        local = [place for place in options.find_links if local_directory(place)]
        options.find_links = [page.as_uri(), *local]
        options.no_index = True
        try:
            yield
        except Exception as error:
            # Of pip's InstallationErrors, those that say so come from a request.
            if type(error).__name__ not in _NOT_FOUND and "setting offline" not in str(error):
                raise
            others = f"; of untrusted publishers, not used: {untrusted}" if untrusted else ""
            others += _told_of(left_out, f"{error}")
            logger.warning(
                "Offline: pip found %s (wheels: %d%s); hint: without the setting offline, it asks "
                "its index",
                *(only, len(wheels), others),
            )
            raise


def serve(session: Session, link: Link, trust: Callable[[Session, Entry, Origin], bool]) -> bool:
    """Return whether ``link`` leads to an entry's own wheel, as on the page; note that pip uses it.

    ``trust``: as Downloads.trust.
    """
    if not session.settings.offline:
        return False
    entry = session.lookup.find(digests_of(link), link.filename)
    if entry is None or str(entry.wheel) != link.file_path:
        return False
    if not trust(session, entry, Origin(without_credentials(link.url))):
        return False
    session.lookup.serve(entry)
    return True


def obtain(session: Session, call: Call) -> Any:
    """Let pip start git and the like, unless the setting offline is on: InstallationError then.

    A local repository is no exception: it can have submodules on other machines.
    """
    if not session.settings.offline:
        return call.proceed()
    exceptions = importlib.import_module("pip._internal.exceptions")
    raise exceptions.InstallationError(
        f"Not fetched from version control: {call.named['url']}: the setting offline allows no "
        "request; hint: name a version that the store has"
    )


def _told_of(left_out: Sequence[tuple[str, str]], error: str) -> str:
    """Return words for the wheels ``left_out`` of the distributions that ``error`` names, or "".

    ``left_out``: the distribution, and a clause that names the wheel and the reason.
    """
    words = set(map(canonicalize_name, re.findall(r"\w[\w.-]*", error)))
    named = [what for project, what in left_out if canonicalize_name(project) in words]
    more = f" and {len(named) - _MOST_NAMED} more" if len(named) > _MOST_NAMED else ""
    return f"; {'; '.join(named[:_MOST_NAMED])}{more}" if named else ""


def _wheels(layers: Layers) -> tuple[list[StoredEntry], list[tuple[str, str]], int]:
    """Return the usable wheels in ``layers``, those left out, and the number of untrusted ones.

    Those left out are as for _told_of; untrusted are the wheels of untrusted publishers.
    """
    usable, damaged, untrusted = [], [], 0
    banned: dict[str, str] = {}
    for store in layers:
        for ban in store.bans.listed:
            title = ban.title or ban.what
            banned[f"{title} is {ban}"] = ban.name or title.partition("-")[0]
        for item in list_entries(store, {}, [], (WHEELS,)):
            if item.distrust_reason:
                untrusted += 1
            elif item.damage:
                damaged.append(item)
            elif layers.ban_of(Digest(item.digest), item.title) is None:
                usable.append(item)
    offered = {item.digest for item in usable}
    left_out = [(project, what) for what, project in banned.items()]
    left_out += [
        (item.title.partition("-")[0], f"{item.title} is damaged: {item.damage}")
        for item in damaged
        if item.digest not in offered
    ]
    return usable, left_out, untrusted


def _link_to(item: StoredEntry) -> str:
    url = (item.path / item.title).as_uri()
    return f'<a href="{html.escape(url)}#sha256={item.digest}">{html.escape(item.title)}</a>\n'
