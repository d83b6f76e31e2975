"""The environments into which a distribution was installed through a store.

Two kinds of records say so: those of runs (setting ``stats``), and those of symlinks. A record does
not say whether the distribution is still there; this module looks, as far as this user may.
"""

from __future__ import annotations

import os
import stat
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from pip_sharedcache.maintenance.selectors import Selector, project_and_version
from pip_sharedcache.store import run_log, symlink_registry
from pip_sharedcache.store.entries import list_entries
from pip_sharedcache.store.layout import WHEELS, Store

#: Whether an environment still has the distribution. NOWHERE: this host has no such directory.
THERE, GONE, UNKNOWN, NOWHERE = "yes", "no", "unknown", "no environment"


@dataclass(frozen=True)
class Installation:
    """One distribution in one environment of one user.

    ``title``: the file name of the wheel.
    ``environment``: the path of the environment, or of its library directory; "" if the user's
        settings withhold it.
    ``user``: the uid of the user who installed it.
    ``at``: the latest installation, in seconds since the epoch; None for a record of symlinks only.
    ``how``: as in model.Installed.
    ``symlinks``: whether its files are symlinks into the store.
    ``broken``: whether the store no longer has what these symlinks lead to.
    ``there``: whether it is still there: THERE, GONE, UNKNOWN or NOWHERE.
    """

    title: str
    environment: str
    user: int
    at: int | None
    how: str
    symlinks: bool = False
    there: str = UNKNOWN
    broken: bool = False


def installations(
    store: Store, words: Sequence[str], known: Iterable[tuple[str, str]] = ()
) -> tuple[list[Installation], list[str]]:
    """Return who installed through ``store`` what ``words`` select; and words without installation.

    ``words``: as for Selector. ``known``: digests and file names of wheels that the store no longer
    has. The latest installation comes first. Raise OSError.
    """
    titles = dict(known)
    present = {item.path.name: item for item in list_entries(store, {}, [], (WHEELS,))}
    titles.update((item.digest, item.title) for item in present.values())
    selectors = [Selector(word) for word in words]
    selected: set[str] = set()
    meant: dict[str, set[str]] = {}
    found: dict[tuple[int, str, str], Installation] = {}
    recorded = list(run_log.runs(store))
    every = {one.title for _, run in recorded for one in run.distributions} | set(titles.values())
    for selector in selectors:
        of_digest = {title for digest, title in titles.items() if selector.selects_digest(digest)}
        meant[selector.word] = of_digest | set(filter(selector.selects_title, every))
        selected |= meant[selector.word]
    for user, run in sorted(recorded, key=lambda one: one[1].at):
        for one in run.distributions:
            if one.title in selected:
                key = user, run.environment, one.title
                found[key] = Installation(one.title, run.environment, user, run.at, one.how)
    for name, holders in symlink_registry.linked(store, []).items():
        title = titles.get(name[:64], "")
        for holder in holders if title in selected else ():
            key = _key_of(found, holder.user, title, holder.place)
            before = found.get(key) or Installation(title, holder.place, holder.user, None, "")
            found[key] = replace(before, symlinks=True, broken=name not in present)
    installed = {one.title for one in found.values()}
    missing = [word for word, some in meant.items() if not some & installed]
    results = [replace(one, there=_still_there(one)) for one in found.values()]
    return sorted(results, key=lambda one: (-(one.at or 0), one.environment)), missing


def _key_of(
    found: Iterable[tuple[int, str, str]], user: int, title: str, place: str
) -> tuple[int, str, str]:
    """Return the key of the installation whose environment has ``place``, or a new one."""
    for key in found:
        if (key[0], key[2]) == (user, title) and key[1] and Path(key[1]) in Path(place).parents:
            return key
    return user, place, title


def _still_there(one: Installation) -> str:
    """Return whether the environment still has the distribution, as far as this user sees it.

    A missing environment is deleted, as a temporary one (--target) is, or on another host. Symlinks
    of which a record knows the host are not nowhere.
    """
    project, version = project_and_version(one.title)
    if not one.environment or version is None:
        return UNKNOWN
    try:
        if not stat.S_ISDIR(os.stat(one.environment).st_mode):
            return UNKNOWN
    except (FileNotFoundError, NotADirectoryError):
        return UNKNOWN if one.symlinks else NOWHERE
    except OSError:
        return UNKNOWN
    try:
        for library in _libraries(Path(one.environment)):
            for name in os.listdir(library):
                if name.endswith(".dist-info"):
                    stem = name[: -len(".dist-info")]
                    if project_and_version(f"{stem}-py3-none-any.whl") == (project, version):
                        return THERE
    except OSError:
        return UNKNOWN
    return GONE


def _libraries(environment: Path) -> list[Path]:
    """Return the directories in which distributions of ``environment`` can be. Raise OSError."""
    found = [environment]
    for above in (environment / "lib", environment / "lib64"):
        if above.is_dir():
            pythons = [name for name in os.listdir(above) if name.startswith(("python", "pypy"))]
            found += [above / name / "site-packages" for name in pythons]
    found.append(environment / "Lib" / "site-packages")
    return list(filter(Path.is_dir, found))
