"""The settings: from pip's configuration files, the environment and options; the last one wins.

Section ``[sharedcache]`` of pip's files, in pip's order. Each setting has the place of its value.
"""

from __future__ import annotations

import configparser
import os
import re
import stat
import sys
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from pip_sharedcache.errors import ConfigurationDamaged, SettingError, reason
from pip_sharedcache.model import LinkMode, Policy
from pip_sharedcache.trust.paths import is_replaceable, is_root

SECTION = "sharedcache"
ENVIRONMENT_PREFIX = "PIP_SHAREDCACHE_"
#: Begins the variables that carry pip-sharedcache's options to the pip processes that pip starts.
OPTION_PREFIX = "_PIP_SHAREDCACHE_OPTION_"
APPLICATION = "pip-sharedcache"

#: The record of a run: with the path of the environment, without that path, no record.
STATS = ("full", "anonymous", "off")

_YES, _NO = {"1", "true", "yes", "y", "on"}, {"0", "false", "no", "n", "off"}
_MOST_PROCESSES = 64


@dataclass(frozen=True)
class Setting:
    """A value, its source for messages, and whether only root could write or choose the source."""

    value: str
    source: str
    administered: bool = False


@dataclass(frozen=True)
class LayerSetting:
    """One of the stores to use: its directory, and the use besides the search in it."""

    path: Path
    policy: Policy


@dataclass(frozen=True)
class Settings:
    """All settings of one run; ROWS has what each is for.

    ``dir``: the first of ``layers`` (nearest first) that shares, else the first; None if no home.
    ``private``: whether ``dir`` is the user's own, as no place and no site names a store.
    ``processes``: the number of processes; 0 for a number that depends on the machine.
    ``trust``: lists of publishers; a trusted publisher is in each of them.
    ``notes``: sentences on unknown settings; ``chosen``: the last value of each setting, by name.
    ``dir_administered``, ``share_administered``: whether only root could have set the value.
    ``searched``, ``unread``: files without a ``dir``; files that cannot be read, and why.
    """

    dir: Path | None
    dir_source: str
    private: bool = False
    link_mode: LinkMode = LinkMode.REFLINK
    share: tuple[str, ...] = ()
    group_environment: bool = True
    processes: int = 0
    trust: tuple[tuple[str, ...], ...] = ()
    verify: bool = False
    build_salt: str = ""
    stats: str = "full"
    notes: tuple[str, ...] = ()
    dir_administered: bool = False
    share_administered: bool = False
    chosen: tuple[tuple[str, Setting], ...] = ()
    searched: tuple[Path, ...] = ()
    unread: tuple[tuple[Path, str], ...] = ()
    layers: tuple[LayerSetting, ...] = ()


def load(files: Iterable[Path], environ: Mapping[str, str], *, isolated: bool = False) -> Settings:
    """Read the settings.

    ``files``: later ones win; missing ones set nothing.
    ``isolated``: pip's --isolated, which ignores PIP_* variables.
    Raises SettingError for a wrong value, ConfigurationDamaged for a wrong file.
    """
    found: dict[str, Setting] = {}
    notes: list[str] = []
    files = tuple(files)
    unread: list[tuple[Path, str]] = []
    layers = [_from_file(path, unread) for path in files]
    if not isolated:
        layers.append(_from_environment(environ, ENVIRONMENT_PREFIX, "environment variable {}"))
    layers.append(_from_environment(environ, OPTION_PREFIX, "option --sharedcache-{}"))
    for layer in layers:
        for name, setting in layer.items():
            if name in NAMES:
                found[name] = setting
            else:
                notes.append(f"Unknown setting {SECTION}.{name} ({setting.source}) is ignored")
    values = {} if "dir" in found else _default_directory(files)
    for row in ROWS:
        if places := [layer[row.name] for layer in layers if row.name in layer]:
            values.update(row.merge(row, places))
    values["share_administered"] = "share" in found and found["share"].administered
    return Settings(**values, notes=tuple(notes), chosen=tuple(found.items()), unread=tuple(unread))


def option_variable(name: str) -> str:
    """Return the environment variable that carries the option ``--sharedcache-<name>``."""
    return OPTION_PREFIX + name.replace("-", "_").upper()


def _from_file(path: Path, unread: list[tuple[Path, str]]) -> dict[str, Setting]:
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
        raise ConfigurationDamaged(f"Configuration file {path} cannot be read: {why}") from error
    if not parser.has_section(SECTION):
        return {}
    return {
        key.replace("_", "-").lower(): Setting(value.strip(), str(path), administered)
        for key, value in parser.items(SECTION)
        if value and value.strip()
    }


def _from_environment(environ: Mapping[str, str], prefix: str, words: str) -> dict[str, Setting]:
    found = {}
    for variable, value in environ.items():
        if variable.startswith(prefix) and value.strip():
            name = variable[len(prefix) :].replace("_", "-").lower()
            label = name if prefix == OPTION_PREFIX else variable
            found[name] = Setting(value.strip(), words.format(label))
    return found


def _lines(text: str) -> list[str]:
    """Return the items of ``text``: one on a line, or with os.pathsep between them."""
    return [line.strip() for line in re.split(f"[\n{os.pathsep}]", text) if line.strip()]


def _layers(text: str) -> tuple[LayerSetting, ...]:
    layers: dict[Path, LayerSetting] = {}
    for line in _lines(text) or [""]:
        name, word = line.rsplit(None, 1) if len(line.split()) > 1 else (line, "")
        word = {"readonly": "read-only"}.get(word.lower(), word.lower())
        try:
            policy = Policy(word)
        except ValueError:
            name, policy = line, Policy.PUBLISH
        try:
            path = Path(os.path.expanduser(name.strip()))
        except ValueError:  # no account can have the name, as in "~a\0b"
            path = Path()
        if not path.is_absolute() or "\0" in name:
            raise ValueError(name)
        layers.setdefault(path, LayerSetting(path, policy))
    return tuple(layers.values())


def fixed_files() -> tuple[Path, ...]:
    """Return pip's configuration files for all users, or all users of this interpreter.

    Not those of variables (HOME, XDG_CONFIG_HOME, XDG_CONFIG_DIRS, PIP_CONFIG_FILE).
    """
    return (
        *(Path("/etc/pip.conf"), Path("/etc/xdg/pip/pip.conf"), Path(sys.prefix, "pip.conf")),
        Path("/Library/Application Support/pip/pip.conf"),
    )


def _is_administered(path: Path, status: os.stat_result) -> bool:
    """Return whether only root could have written, or chosen, the open file ``path``.

    Root as owner is not enough: through sudo, a user's variables or links can lead to a file of
    root's with the user's text, such as /proc/PID/cmdline.
    """
    return path in fixed_files() and stat.S_ISREG(status.st_mode) and not is_replaceable(path)


def _prefixes(text: str) -> tuple[str, ...]:
    for prefix in text.split():
        is_path = Path(prefix).is_absolute() and "\0" not in prefix
        if not (urlsplit(prefix).scheme if "://" in prefix else is_path):
            raise ValueError(prefix)
    return tuple(text.split())


def _processes(text: str) -> int:
    if not text.isdecimal() or len(text) > 2 or not 1 <= int(text) <= _MOST_PROCESSES:
        raise ValueError(text)
    return int(text)


def _trusted(text: str) -> tuple[str, ...]:
    return () if text.lower() == "owner" else tuple(text.split())


def _one_of(values: Mapping[str, Any]) -> Callable[[str], Any]:
    """Return the parser of a setting that takes one word of ``values``, in any case."""

    def parse(text: str) -> Any:
        if text.lower() not in values:
            raise ValueError(text)
        return values[text.lower()]

    return parse


def _last(row: Row, places: Sequence[Setting]) -> Mapping[str, Any]:
    return {row.field: row.read(places[-1])}


def _every(row: Row, places: Sequence[Setting]) -> Mapping[str, Any]:
    """Return all values: a later place cannot widen the value of an earlier one."""
    return {row.field: tuple(map(row.read, places))}


def _any(row: Row, places: Sequence[Setting]) -> Mapping[str, Any]:
    return {row.field: True in [row.read(one) for one in places]}


def _unless_barred(row: Row, places: Sequence[Setting]) -> Mapping[str, Any]:
    """Return the last value; for root, False if root's own configuration says so.

    Variables that sudo passes to root must not let a group write the files that root installs.
    """
    values = [row.read(one) for one in places]
    fixed = [value for one, value in zip(places, values) if one.administered]
    barred = fixed[-1:] == [False] and is_root()
    return {row.field: values[-1] and not barred}


def _last_dir(row: Row, places: Sequence[Setting]) -> Mapping[str, Any]:
    named = places[-1]
    layers: tuple[LayerSetting, ...] = row.read(named)
    # HOME gives "~"; through sudo, HOME may be a user's.
    by_home = any(line.partition("/")[0] == "~" for line in _lines(named.value))
    return {
        "dir": next((one.path for one in layers if one.policy.shares), layers[0].path),
        "dir_source": named.source,
        "dir_administered": named.administered and not by_home,
        "layers": layers,
    }


@dataclass(frozen=True)
class Row:
    """All about one setting.

    ``parse``: makes a value from text, or raises ValueError.
    ``default`` and ``help``: its cells in docs/reference.md.
    ``takes``: the correct values, for the error about a wrong one; "" where every text is correct.
    ``merge``: makes fields of Settings from the settings of all places, the last one last.
    """

    name: str
    parse: Callable[[str], Any]
    default: str
    help: str
    takes: str = ""
    merge: Callable[[Row, Sequence[Setting]], Mapping[str, Any]] = _last

    @property
    def field(self) -> str:
        """Return the name of the attribute of Settings that holds the value."""
        return self.name.replace("-", "_")

    def read(self, setting: Setting) -> Any:
        """Return the value of ``setting``. Raises SettingError."""
        try:
            return self.parse(setting.value)
        except ValueError:
            raise SettingError(
                f"{SECTION}.{self.name} = {setting.value!r} ({setting.source}) cannot be used",
                f"it takes {self.takes}",
            ) from None


ROWS = (
    Row(
        "dir",
        _layers,
        "the site's store, else your own",
        "the store, an absolute path; or [several](#several-stores)",
        f"an absolute path, or several, nearest first, each on a line or after a {os.pathsep!r}; "
        f"a path may be followed by {', '.join(one.value for one in Policy)}",
        merge=_last_dir,
    ),
    Row(
        "link-mode",
        _one_of({one.value: one for one in LinkMode}),
        "`reflink`",
        "`reflink`, `hardlink`, `symlink`, `copy`; each falls back to the next that works",
        ", ".join(one.value for one in LinkMode),
    ),
    Row(
        "share",
        _prefixes,
        "none",
        "URL prefixes or absolute paths whose wheels are shared although they came with "
        "credentials or from a local path",
        "URL prefixes or absolute paths",
    ),
    Row(
        "trust",
        _trusted,
        "all of them",
        "`owner`, or accounts and `@groups`, with spaces between them: of the publishers that the "
        "store's owner trusts, only these are trusted; unknown names cause a warning; no later "
        "place widens what an earlier one narrowed",
        merge=_every,
    ),
    Row(
        "verify",
        _one_of({"always": True, "changed": False}),
        "`changed`",
        "`always`: every wheel and every file is hashed before it is placed; `changed`: only a "
        "file whose size or time has changed",
        "always, or changed (only files whose size or time has changed)",
        merge=_any,
    ),
    Row("build-salt", str, "none", "any text: separates builds with different tools"),
    Row(
        "stats",
        _one_of({one: one for one in STATS}),
        "`full`",
        "the record that each installation keeps for `store stats`: `full`, `anonymous` (not which "
        "environment), `off`",
        ", ".join(STATS),
    ),
    Row(
        "processes",
        _processes,
        "one for each processor, at most 8",
        "the number of processes that install in parallel if no file is replaced, "
        f"1 to {_MOST_PROCESSES}",
        f"a number from 1 to {_MOST_PROCESSES}",
    ),
    Row(
        "group-environment",
        _one_of({**dict.fromkeys(_YES, True), **dict.fromkeys(_NO, False)}),
        "`yes`",
        "whether files made in a group-writable, setgid environment may be replaced by the group",
        "yes or no",
        merge=_unless_barred,
    ),
)
NAMES = tuple(row.name for row in ROWS)


def site_store() -> Path:
    """Return the directory of the site's store, which counts if it exists and nothing is set."""
    import platformdirs

    return Path(platformdirs.site_cache_dir(APPLICATION, appauthor=False))


def _default_directory(searched: tuple[Path, ...]) -> dict[str, Any]:
    """Return the fields where no place sets ``dir``: the site's store, else the user's, if any."""
    import platformdirs  # late: most commands of pip do not need it

    try:
        own = Path(platformdirs.user_cache_dir(APPLICATION, appauthor=False))
    except RuntimeError:
        own = Path()
    path = own if own.is_absolute() else None
    source, private = "default: the private store", True
    site = site_store()
    try:
        if (site / "store.json").is_file():
            path, source, private = site, "default: the site's store", False
    except OSError as error:
        source += f", since {site} cannot be read ({reason(error)})"
    return {
        "searched": searched,
        "dir": path,
        "dir_source": source,
        "private": private,
        "layers": () if path is None else (LayerSetting(path, Policy.PUBLISH),),
        # Variables name the user's own store; through sudo, a user may have set those of root.
        "dir_administered": path is not None and not private and not is_replaceable(path.parent),
    }
