"""The places of settings: sections of configuration files, and variables."""

from __future__ import annotations

import configparser
import os
import stat
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from pip_sharedcache.config import misspelt
from pip_sharedcache.config.values import without_secrets
from pip_sharedcache.errors import ConfigurationDamaged, reason
from pip_sharedcache.trust.paths import is_replaceable


@dataclass(frozen=True)
class Setting:
    """A value, its source for messages, and whether only root could write or choose the source."""

    value: str
    source: str
    administered: bool = False


def from_file(
    path: Path,
    section: str,
    unread: list[tuple[Path, str]],
    notes: list[str],
    known: Sequence[str],
) -> dict[str, Setting]:
    """Return the settings in ``section`` of the file ``path``, by name.

    ``known``: the names of all settings. Appends to ``unread`` if the file cannot be read, and to
    ``notes``. Raises ConfigurationDamaged.
    """
    parser = configparser.RawConfigParser()
    try:
        with path.open(encoding="utf-8") as file:
            administered = _is_administered(path, os.fstat(file.fileno()))
            parser.read_file(file)
    except OSError as error:
        # As in pip, the file sets nothing. An unreadable home can hide that the file exists.
        if os.path.lexists(path):
            unread.append((path, reason(error)))
        return {}
    except (configparser.Error, UnicodeDecodeError) as error:
        # For some errors, only the second line names the line of the file.
        why = " ".join(line.strip() for line in str(error).splitlines())
        told = f"Configuration file {path} cannot be read: {without_secrets(why)}"
        raise ConfigurationDamaged(told) from error
    notes += misspelt.in_file(parser, section, path, known)
    return {
        key.replace("_", "-").lower(): Setting(value.strip(), str(path), administered)
        for key, value in (parser.items(section) if parser.has_section(section) else ())
        if value and value.strip()
    }


def from_environment(environ: Mapping[str, str], prefix: str, words: str) -> dict[str, Setting]:
    """Return the settings in the variables that begin with ``prefix``, by name.

    ``words``: the source in messages, with {} for the name or {1} for the variable.
    """
    found = {}
    for variable, value in environ.items():
        if variable.startswith(prefix) and value.strip():
            name = variable[len(prefix) :].replace("_", "-").lower()
            found[name] = Setting(value.strip(), words.format(name, variable))
    return found


def _is_administered(path: Path, status: os.stat_result) -> bool:
    """Return whether only root could have written, or chosen, the open file ``path``.

    Root as owner is not enough: through sudo, a user's variables or links can lead to a file of
    root's with the user's text, such as /proc/PID/cmdline.
    """
    # pip's files for all users, or all users of this interpreter. HOME, XDG_CONFIG_HOME,
    # XDG_CONFIG_DIRS and PIP_CONFIG_FILE lead to other files.
    fixed = {
        *("/etc/pip.conf", "/etc/xdg/pip/pip.conf", str(Path(sys.prefix, "pip.conf"))),
        "/Library/Application Support/pip/pip.conf",
    }
    return str(path) in fixed and stat.S_ISREG(status.st_mode) and not is_replaceable(path)
