"""The resolutions of a store, as `store list --resolutions` shows them."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

from packaging.requirements import InvalidRequirement, Requirement

from pip_sharedcache.errors import DamagedEntry, reason
from pip_sharedcache.fs import PROCESS_ERRORS, Directory, retry_stale
from pip_sharedcache.maintenance.entries import read_entries
from pip_sharedcache.maintenance.selectors import Selector
from pip_sharedcache.model import Digest
from pip_sharedcache.store import JUDGED_PAGE, RESOLUTIONS, Store, StoredEntry
from pip_sharedcache.store.resolutions import StoredResolution, read_resolution
from pip_sharedcache.store.unread import is_damage

_LONGEST = 200  # characters of a requirement


@dataclass(frozen=True)
class ListedResolution:
    """One resolution in a store, by any publisher.

    ``item``: its entry; ``damage`` says why it cannot be read.
    ``at``: when it was recorded, in seconds since the epoch; None if that is not known.
    ``distributions``: the number of distributions in the result; None if that is not known.
    ``requirements``: the names of the requirements in the question, in order.
    """

    item: StoredEntry
    at: int | None = None
    distributions: int | None = None
    requirements: tuple[str, ...] = ()
    damage: str = ""


@dataclass(frozen=True)
class Listing:
    """The resolutions of a store that names select.

    ``found``: the resolutions, those that were recorded last first.
    ``problems``: a line for each path that cannot be read and each name that selects none.
    ``missing``, ``unread``: these names and paths, as for Contents.
    """

    found: tuple[ListedResolution, ...]
    problems: tuple[str, ...]
    missing: tuple[str, ...] = ()
    unread: tuple[tuple[Path, str], ...] = ()


def list_resolutions(store: Store, names: Sequence[str] = ()) -> Listing:
    """Read the resolutions of ``store`` that ``names`` select; all of them if there are no names.

    Judged pages are left out. A name is that of a requirement, or the first characters of a key.
    What an untrusted publisher wrote is not read. Raise OSError.
    """
    contents = read_entries(store, areas=(RESOLUTIONS,))
    unread = list(contents.unread)
    listed = (_listed(item, unread) for item in contents.items if item.title != JUDGED_PAGE)
    found = [one for one in listed if one is not None]
    selectors = list(map(Selector, names))
    chosen = [one for one in found if not names or any(_is_meant(one, word) for word in selectors)]
    chosen.sort(key=lambda one: (-(one.at or 0), one.item.path.name))
    missing = [word.word for word in selectors if not any(_is_meant(one, word) for one in found)]
    told = replace(contents, missing=tuple(missing), unread=tuple(unread))
    return Listing(tuple(chosen), tuple(told.problems()), told.missing, told.unread)


def _is_meant(one: ListedResolution, word: Selector) -> bool:
    return word.selects_digest(one.item.digest) or any(map(word.selects_name, one.requirements))


def _listed(item: StoredEntry, unread: list[tuple[Path, str]]) -> ListedResolution | None:
    """Return the resolution of ``item``; None if it was added to ``unread``, with the reason."""
    if item.damage or item.copied or item.distrust_reason:
        return ListedResolution(item, damage=item.damage)
    try:
        stored = retry_stale(partial(_read, item))
    except (DamagedEntry, MemoryError) as error:
        return ListedResolution(item, damage=str(error))
    except OSError as error:
        if error.errno in PROCESS_ERRORS:
            raise
        if not is_damage(error):
            unread.append((item.path, reason(error)))
            return None
        return ListedResolution(item, damage=f"{item.path} cannot be read: {reason(error)}")
    result = stored.data.get("result")
    return ListedResolution(
        item,
        stored.at,
        len(result) if isinstance(result, list) else None,
        tuple(_requirements(stored.data)),
    )


def _read(item: StoredEntry) -> StoredResolution:
    with Directory.open(item.path) as held:
        return read_resolution(held, Digest(item.digest))


def _requirements(data: Mapping[str, Any]) -> Iterable[str]:
    """Yield the name of each requirement of the question, or its URL; constraints are left out."""
    question = data.get("question")
    listed = question.get("requirements") if isinstance(question, dict) else None
    for one in listed if isinstance(listed, list) else ():
        if not isinstance(one, dict) or one.get("constraint"):
            continue
        words = (one.get("requirement"), one.get("url"))
        text = next((word for word in words if word and isinstance(word, str)), "")[:_LONGEST]
        with suppress(InvalidRequirement):
            text = Requirement(text).name
        yield text
