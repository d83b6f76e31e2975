"""Settings: from pip's configuration files, the environment and the command line; later wins.

Every setting knows where it came from. Reading is plain configparser on the files that pip reads
(the caller names them, in pip's own order), section ``[sharedcache]``.
"""

from __future__ import annotations

import configparser
import os
import re
import stat
import sys
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from urllib.parse import urlsplit

from pip_sharedcache.errors import ConfigurationDamaged, SettingError, reason
from pip_sharedcache.model import LinkMode, Policy
from pip_sharedcache.trust.paths import is_root, may_be_moved

SECTION = "sharedcache"
ENVIRONMENT_PREFIX = "PIP_SHAREDCACHE_"
#: Carries the options of our command line to the pips that pip starts.
OPTION_PREFIX = "_PIP_SHAREDCACHE_OPTION_"
APPLICATION = "pip-sharedcache"

NAMES = (
    "dir",
    "link-mode",
    "share",
    "group-environment",
    "processes",
    "trust",
    "verify",
    "build-salt",
    "stats",
)

#: What a record of a run tells: also the environment's path, all but that, nothing.
STATS = ("full", "anonymous", "off")

_YES = {"1", "true", "yes", "y", "on"}
_MOST_PROCESSES = 64
_NO = {"0", "false", "no", "n", "off"}


@dataclass(frozen=True)
class Setting:
    """A value as text, and where it was found, in words for messages; ``administered``: whether
    only root could write it there, and no variable led there."""

    value: str
    source: str
    administered: bool = False


@dataclass(frozen=True)
class Layer:
    """One of the stores to use: the directory, and what is done there besides looking."""

    path: Path
    policy: Policy


@dataclass(frozen=True)
class Settings:
    """All settings of one run.

    ``layers``: the stores, nearest first; ``dir``: the one of them that commands speak of, the
    first that is published to. It is None for a user without a home directory. ``private`` is
    whether nobody named a store and the site has none, so that it is the user's own, made where it
    is missing; ``dir_administered``, that nobody but root could have named it.
    ``share`` are URL prefixes; ``share_administered``, that nobody but root could have named them.
    ``processes`` is how many install side by side, 0 for what the machine has. ``trust``: of those
    whom the store's owner named, only those are believed who are in each of these. ``verify``:
    whether everything is hashed before it is placed, as any layer may ask. ``build_salt`` keeps
    apart what is built with different tools. ``stats``: what records say of
    a run, one of STATS. ``notes`` are sentences on settings that nobody knows.
    ``chosen``: what was set, by name, as it was found. ``searched``: where ``dir`` was looked for
    in vain. ``unread``: files that are there and cannot be read, and why: as for pip, they say
    nothing.
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
    layers: tuple[Layer, ...] = ()


def load(files: Iterable[Path], environ: Mapping[str, str], *, isolated: bool = False) -> Settings:
    """Read the settings.

    ``files`` in the order in which later ones win; files that do not exist are skipped.
    ``isolated`` is pip's --isolated: PIP_* variables are not looked at. Raises SettingError for a
    value that cannot be used, naming its source; ConfigurationDamaged for such a file.
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
    # No later layer widens what an earlier one has narrowed.
    trusted = tuple(
        () if layer["trust"].value.lower() == "owner" else tuple(layer["trust"].value.split())
        for layer in layers
        if "trust" in layer
    )
    verify = {_verifies(layer["verify"]) for layer in layers if "verify" in layer}
    grouped = _group_environment(layer for layer in layers if "group-environment" in layer)
    settings = _build(found, trusted, True in verify, grouped, tuple(notes))
    searched = () if "dir" in found else files
    return replace(settings, searched=searched, unread=tuple(unread))


def option_variable(name: str) -> str:
    """The environment variable that carries our option ``--sharedcache-<name>``."""
    return OPTION_PREFIX + name.replace("-", "_").upper()


def _from_file(path: Path, unread: list[tuple[Path, str]]) -> dict[str, Setting]:
    parser = configparser.RawConfigParser()
    try:
        with path.open(encoding="utf-8") as file:
            administered = _is_administered(path, os.fstat(file.fileno()))
            parser.read_file(file)
    except OSError as error:
        # As pip: a file that cannot be opened says nothing. Whether there is one below a home
        # that is not ours nobody can see.
        if os.path.lexists(path):
            unread.append((path, reason(error)))
        return {}
    except (configparser.Error, UnicodeDecodeError) as error:
        # Of some errors, only the second line has the number of the line in the file.
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


def _verifies(when: Setting) -> bool:
    if when.value.lower() not in ("always", "changed"):
        raise _wrong("verify", when, "always, or changed (what size and time tell)")
    return when.value.lower() == "always"


def _group_environment(layers: Iterable[Mapping[str, Setting]]) -> bool:
    """What the last of ``layers`` says; but where root's own configuration says no, nothing that
    root may have been handed by sudo lets a group write what root installs."""
    grouped, barred = True, False
    for layer in layers:
        setting = layer["group-environment"]
        if setting.value.lower() not in _YES | _NO:
            raise _wrong("group-environment", setting, "yes or no")
        grouped = setting.value.lower() in _YES
        if setting.administered:
            barred = not grouped
    return grouped and not (barred and is_root())


def _build(
    found: Mapping[str, Setting],
    trusted: tuple[tuple[str, ...], ...],
    verify: bool,
    grouped: bool,
    notes: tuple[str, ...],
) -> Settings:
    directory = found.get("dir")
    path: Path | None
    if directory is not None:
        layers = _layers(directory)
        path = _main(layers)
        source, private = directory.source, False
        # "~" is what HOME says, which may be a user's through sudo.
        by_home = any(line.partition("/")[0] == "~" for line in _lines(directory.value))
        administered = directory.administered and not by_home
    else:
        path, source, private = _default_directory()
        layers = () if path is None else (Layer(path, Policy.PUBLISH),)
        # One's own is found by variables; root need not have set those.
        administered = path is not None and not private and not may_be_moved(path.parent)
    link_mode = LinkMode.REFLINK
    if mode := found.get("link-mode"):
        try:
            link_mode = LinkMode(mode.value.lower())
        except ValueError:
            raise _wrong("link-mode", mode, ", ".join(m.value for m in LinkMode)) from None
    share: tuple[str, ...] = ()
    if prefixes := found.get("share"):
        share = tuple(prefixes.value.split())
        for prefix in share:
            if not _is_prefix(prefix):
                raise _wrong("share", prefixes, "URL prefixes or absolute paths")
    stats = found["stats"].value.lower() if "stats" in found else STATS[0]
    if stats not in STATS:
        raise _wrong("stats", found["stats"], ", ".join(STATS))
    processes = 0
    if number := found.get("processes"):
        if (
            not number.value.isdecimal()
            or len(number.value) > 2
            or not 1 <= int(number.value) <= _MOST_PROCESSES
        ):
            raise _wrong("processes", number, f"a number from 1 to {_MOST_PROCESSES}")
        processes = int(number.value)
    return Settings(
        dir=path,
        dir_source=source,
        layers=layers,
        dir_administered=administered,
        private=private,
        link_mode=link_mode,
        share=share,
        share_administered="share" in found and found["share"].administered,
        group_environment=grouped,
        processes=processes,
        trust=trusted,
        verify=verify,
        build_salt=found["build-salt"].value if "build-salt" in found else "",
        stats=stats,
        notes=notes,
        chosen=tuple(found.items()),
    )


def _lines(text: str) -> list[str]:
    """What ``text`` names, each on a line or behind a separator as in PATH."""
    return [line.strip() for line in re.split(f"[\n{os.pathsep}]", text) if line.strip()]


def _layers(directory: Setting) -> tuple[Layer, ...]:
    layers: dict[Path, Layer] = {}
    for line in _lines(directory.value) or [""]:
        name, word = line.rsplit(None, 1) if len(line.split()) > 1 else (line, "")
        word = {"readonly": "read-only"}.get(word.lower(), word.lower())
        try:
            policy = Policy(word)
        except ValueError:
            name, policy = line, Policy.PUBLISH
        try:
            path = Path(os.path.expanduser(name.strip()))
        except ValueError:  # no account has such a name, as with "~a\0b"
            path = Path()
        if not path.is_absolute() or "\0" in name:
            policies = ", ".join(one.value for one in Policy)
            wanted = "an absolute path, or several, nearest first, each on a line or behind a "
            raise _wrong(
                "dir", directory, f"{wanted}{os.pathsep!r}; behind a path may stand {policies}"
            )
        layers.setdefault(path, Layer(path, policy))
    return tuple(layers.values())


def _main(layers: tuple[Layer, ...]) -> Path:
    """The store that commands speak of."""
    meant = (one.path for one in layers if one.policy.shares)
    return next(meant, layers[0].path)


def fixed_files() -> tuple[Path, ...]:
    """Where pip's configuration lies that is for all, or for all who use this interpreter: as pip
    finds it, but for the places that a variable could name (HOME, XDG_CONFIG_HOME,
    XDG_CONFIG_DIRS, PIP_CONFIG_FILE)."""
    return (
        *(Path("/etc/pip.conf"), Path("/etc/xdg/pip/pip.conf"), Path(sys.prefix, "pip.conf")),
        Path("/Library/Application Support/pip/pip.conf"),
    )


def _is_administered(path: Path, status: os.stat_result) -> bool:
    """Whether nobody but root could have written, or chosen, the open file ``path``. Root's own
    mark on a file is not enough: through sudo a user's variables or links may lead to one of root's
    that says what the user wants, as /proc/PID/cmdline does."""
    return path in fixed_files() and stat.S_ISREG(status.st_mode) and not may_be_moved(path)


def _is_prefix(text: str) -> bool:
    if "://" not in text:
        return Path(text).is_absolute() and "\0" not in text
    try:
        return bool(urlsplit(text).scheme)
    except ValueError:
        return False


def _wrong(name: str, setting: Setting, wanted: str) -> SettingError:
    return SettingError(
        f"{SECTION}.{name} = {setting.value!r} ({setting.source}) cannot be used",
        f"it takes {wanted}",
    )


def site_store() -> Path:
    """Where a store is used if one is there, with nothing set."""
    import platformdirs

    return Path(platformdirs.site_cache_dir(APPLICATION, appauthor=False))


def _default_directory() -> tuple[Path | None, str, bool]:
    """The site's store if an administrator made one, else the user's own, if there is a home; where
    that comes from; and whether it is the user's own."""
    import platformdirs  # late: most commands of pip have no need of it

    try:
        own = Path(platformdirs.user_cache_dir(APPLICATION, appauthor=False))
    except RuntimeError:
        own = Path()
    private = own if own.is_absolute() else None
    site = site_store()
    try:
        if (site / "store.json").is_file():
            return site, "default: the site's store", False
    except OSError as error:
        unread = f"default: the user's own, since {site} cannot be read ({reason(error)})"
        return private, unread, True
    return private, "default: the user's own", True
