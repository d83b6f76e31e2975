"""The environments of a user that are easy to find, whose pip could use the store."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path

#: Names of environments in a project's directory.
_NAMES = (".venv", "venv", "env")
#: Directories below the home directory that hold environments.
_HOLDERS = (".virtualenvs", ".local/share/virtualenvs")
_MOST = 1000  # in one directory


def environments(environ: Mapping[str, str], directory: Path) -> list[Path]:
    """Return the environments that the tools of this user know, each once.

    These are the active one, those in ``directory``, those of virtualenvwrapper and pipenv, and
    those of conda. ``environ``: the environment variables. What cannot be read is left out.
    """
    found: dict[Path, None] = {}
    for path in _candidates(environ, directory):
        try:
            if (path / "pyvenv.cfg").is_file() or (path / "conda-meta").is_dir():
                found[path] = None
        except OSError:
            continue
    return list(found)


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
