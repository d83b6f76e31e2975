"""The environments of this user that are easy to find, whose pip could use the store."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from pathlib import Path

from pip_sharedcache import trust
from pip_sharedcache.activation.interpreters import executable_of, libraries_of
from pip_sharedcache.trust import paths

#: Names of environments in a project's directory.
_NAMES = (".venv", "venv", "env")
#: Directories below the home directory that hold environments.
_HOLDERS = (".virtualenvs", ".local/share/virtualenvs")
_MOST = 1000  # in one directory


def environments(environ: Mapping[str, str], directory: Path) -> list[Path]:
    """Return the environments that the tools of this user know, each once.

    These are the active one, those in ``directory``, those of virtualenvwrapper and pipenv, and
    those of conda. ``environ``: the environment variables. What cannot be read is left out, and
    what belongs to another user, root included: that user chooses what its Python runs.
    """
    found: dict[Path, None] = {}
    for path in _candidates(environ, directory):
        try:
            if _is_own_environment(path):
                found[path] = None
        except OSError:
            continue
    return list(found)


def _is_own_environment(path: Path) -> bool:
    """Return whether ``path`` is an environment of this user. Raises OSError."""
    if not ((path / "pyvenv.cfg").is_file() or (path / "conda-meta").is_dir()):
        return False
    # The owner of a symlink can let it lead elsewhere later.
    owners = {path.lstat().st_uid, path.stat().st_uid}
    return not trust.OWNERS_MEAN_SOMETHING or owners == {trust.user_id()}


def _candidates(environ: Mapping[str, str], directory: Path) -> Iterator[Path]:
    for name in ("VIRTUAL_ENV", "CONDA_PREFIX"):
        if environ.get(name):
            yield Path(environ[name])
    yield from (directory / name for name in _NAMES)
    home = Path(environ.get("HOME") or "/nonexistent")
    holders = [home / name for name in _HOLDERS]
    if environ.get("WORKON_HOME"):
        holders.insert(0, Path(environ["WORKON_HOME"]))
    for holder in holders:
        yield from _below(holder)
    try:
        text = (home / ".conda" / "environments.txt").read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError):
        return
    yield from (Path(line) for line in text.splitlines()[:_MOST] if line.startswith("/"))


def _below(holder: Path) -> list[Path]:
    try:
        return sorted(holder.iterdir())[:_MOST]
    except OSError:
        return []


def changeable_by(prefix: Path) -> str:
    """Return who, except root and this user, can change what the Python of ``prefix`` runs.

    The result is a sentence without its end, "" if nobody else can. Examined are the interpreter,
    the directories of the environment and the first level of its libraries: .pth files and packages
    such as pip. Raises UsageError where no interpreter is there; FileError, OSError.
    """
    libraries = [one.library for one in libraries_of(prefix)]
    below = [Path(one) for library in libraries for one in os.scandir(library)]
    run = [executable_of(prefix), prefix / "pyvenv.cfg", *libraries, *below]
    there = filter(os.path.lexists, run)
    return paths.replaceable_by(*there, owners=frozenset({trust.user_id()}), private=True)
