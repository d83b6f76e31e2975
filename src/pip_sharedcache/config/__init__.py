"""The settings: from pip's configuration files, the environment and options; the last one wins.

Section ``[sharedcache]`` of pip's files, in pip's order. Each setting has the place of its value.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Mapping, MutableMapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from pip_sharedcache.config import misspelt
from pip_sharedcache.config.directories import default, directory
from pip_sharedcache.config.places import own_data as own_data
from pip_sharedcache.config.places import own_store as own_store
from pip_sharedcache.config.places import site_has_store as site_has_store
from pip_sharedcache.config.places import site_store as site_store
from pip_sharedcache.config.sources import Setting as Setting
from pip_sharedcache.config.sources import from_environment, from_file
from pip_sharedcache.config.values import (
    MOST_DOWNLOADS,
    MOST_PROCESSES,
    MOST_TIMEOUT,
    SWITCH,
    OneOf,
    WrongPart,
    is_off,
    number_to,
    one_of,
    to_file,
    to_layers,
    to_prefixes,
    to_publishers,
    to_python,
    without_secrets,
)
from pip_sharedcache.config.values import OFF as OFF
from pip_sharedcache.config.values import STATS as STATS
from pip_sharedcache.config.values import WEB_SCHEME as WEB_SCHEME
from pip_sharedcache.config.values import LayerSetting as LayerSetting
from pip_sharedcache.config.values import RemoteSetting as RemoteSetting
from pip_sharedcache.config.values import unnameable as unnameable
from pip_sharedcache.errors import ConfigurationDamaged, SettingError
from pip_sharedcache.model import LinkMode, Policy
from pip_sharedcache.trust.paths import is_root

SECTION = "sharedcache"
ENVIRONMENT_PREFIX = "PIP_SHAREDCACHE_"
#: Begins the variables that carry pip-sharedcache's options to the pip processes that pip starts.
OPTION_PREFIX = "_PIP_SHAREDCACHE_OPTION_"


@dataclass(frozen=True)
class Settings:
    """All settings of one run; ROWS has what each is for.

    ``dir``: the first of ``layers`` (nearest first) that shares, else the first; None if no home.
    ``private``: whether ``dir`` is the user's own, as no place and no site names a store.
    ``off``: whether ``dir`` is "none": plain pip runs.
    ``processes``: the number of processes; 0 for a number that depends on the machine.
    ``trust``: lists of publishers; a trusted publisher is in each of them.
    ``remotes``: the remote stores, nearest first; none is among ``layers``.
    ``notes``: sentences on unknown and misspelt settings.
    ``chosen``: by name, the places that decide a setting; without those that nobody set.
    ``dir_administered``: whether only root could have set ``dir``.
    ``searched``, ``unread``: files without a ``dir``; files that cannot be read, and why.
    """

    dir: Path | None
    dir_source: str
    private: bool = False
    off: bool = False
    link_mode: LinkMode = LinkMode.REFLINK
    share: tuple[str, ...] = ()
    group_environment: bool = True
    processes: int = 0
    downloads: int = 8
    trust: tuple[tuple[str, ...], ...] = ()
    verify: bool = False
    build_salt: str = ""
    stats: str = "full"
    resolutions: bool = True
    offline: bool = False
    signers: Path | None = None
    revoked_signers: Path | None = None
    signing_key: Path | None = None
    remote_timeout: int = 20
    remote_python: Path | None = None
    notes: tuple[str, ...] = ()
    dir_administered: bool = False
    chosen: Mapping[str, Sequence[Setting]] = field(default_factory=dict)
    searched: tuple[Path, ...] = ()
    unread: tuple[tuple[Path, str], ...] = ()
    layers: tuple[LayerSetting, ...] = ()
    remotes: tuple[RemoteSetting, ...] = ()

    def in_force(self) -> dict[str, Setting]:
        """Return the text in force of each of ROWS, by name, and the places that it comes from."""
        found = {row.name: Setting(row.default.strip("`"), "default") for row in ROWS}
        found["dir"] = Setting(str(self.dir or "none"), self.dir_source)
        for name, places in self.chosen.items():
            values, sources = zip(*((one.value, one.source) for one in places))
            if name != "dir":  # whose URLs have none
                values = tuple(" ".join(map(without_secrets, one.split(" "))) for one in values)
            found[name] = Setting("; ".join(values), "; ".join(sources))
        return found


def load(files: Iterable[Path], environ: Mapping[str, str], *, isolated: bool = False) -> Settings:
    """Read the settings.

    ``files``: later ones win; missing ones set nothing.
    ``isolated``: pip's --isolated, which ignores PIP_* variables.
    Raises SettingError for a wrong value, ConfigurationDamaged for a wrong file.
    """
    files = tuple(files)
    unread: list[tuple[Path, str]] = []
    notes: list[str] = []
    layers = [from_file(path, SECTION, unread, notes, NAMES) for path in files]
    if not isolated:
        notes += misspelt.in_environment(environ, SECTION, ENVIRONMENT_PREFIX, NAMES)
    layers += _beside_files(environ, isolated)
    notes += (
        f"Unknown setting {SECTION}.{name} ({setting.source}) is ignored"
        f"{misspelt.meant(name, setting.source, SECTION, ENVIRONMENT_PREFIX, NAMES)}"
        for layer in layers
        for name, setting in layer.items()
        if name not in NAMES
    )
    chosen: dict[str, Sequence[Setting]] = {}
    values: dict[str, Any] = {}
    for row in ROWS:
        if places := [layer[row.name] for layer in layers if row.name in layer]:
            chosen[row.name] = row.deciding(row, places)
            values[row.field] = row.value(chosen[row.name])
    if "dir" in chosen:
        values |= directory(values["dir"], chosen["dir"][-1], files)
    else:
        values |= default(files)
    return Settings(**values, notes=tuple(notes), chosen=chosen, unread=tuple(unread))


def _beside_files(environ: Mapping[str, str], isolated: bool) -> list[dict[str, Setting]]:
    """Return the settings of variables, of which ``isolated`` leaves offline, and of options."""
    variables = from_environment(environ, ENVIRONMENT_PREFIX, "environment variable {1}")
    if isolated:  # what calls pip with --isolated must not make requests that the user forbids
        variables = {name: said for name, said in variables.items() if name == "offline"}
    return [variables, from_environment(environ, OPTION_PREFIX, "option --sharedcache-{}")]


def offline_setting(
    files: Iterable[Path], environ: Mapping[str, str], *, isolated: bool = False
) -> Setting | None:
    """Return the setting that allows no request, whatever the other settings are; None without one.

    A value that cannot be read allows none, nor does a damaged file with the word. As for load.
    """
    layers = []
    for path in files:
        try:
            layers.append(from_file(path, SECTION, [], [], NAMES))
        except ConfigurationDamaged:
            if b"offline" in path.read_bytes():
                layers.append({"offline": Setting("unreadable", str(path))})
    layers += _beside_files(environ, isolated)
    places = [layer["offline"] for layer in layers if "offline" in layer][-1:]
    return next((one for one in places if SWITCH.get(one.value.lower(), True)), None)


def is_switched_off(environ: Mapping[str, str], *, isolated: bool = False) -> bool:
    """Return whether variables and options, without the files, say that plain pip is to run.

    Needs no file and no pip, so that a wrong file does not stop plain pip. ``isolated``: as for
    load.
    """
    names = [option_variable("dir"), *([] if isolated else [f"{ENVIRONMENT_PREFIX}DIR"])]
    return is_off(next(filter(str.strip, (environ.get(name, "") for name in names)), ""))


def switch_off(environ: MutableMapping[str, str]) -> None:
    """Make this pip run plain pip, and so every pip that it starts with ``environ``."""
    environ[option_variable("dir")] = OFF


def option_variable(name: str) -> str:
    """Return the environment variable that carries the option ``--sharedcache-<name>``."""
    return OPTION_PREFIX + name.replace("-", "_").upper()


def _last(row: Row, places: Sequence[Setting]) -> Sequence[Setting]:
    return places[-1:]


def _every(row: Row, places: Sequence[Setting]) -> Sequence[Setting]:
    """Return all places: a later one cannot widen the value of an earlier one."""
    return places


def _first_true(row: Row, places: Sequence[Setting]) -> Sequence[Setting]:
    """Return the first place with True, which no later one takes back; else the last place."""
    values = [row.read(one) for one in places]
    return [one for one, value in zip(places, values) if value][:1] or places[-1:]


def _unless_barred(row: Row, places: Sequence[Setting]) -> Sequence[Setting]:
    """Return the last place; for root, the one of root's own configuration that says False.

    Variables that sudo passes to root must not let a group write the files that root installs.
    """
    values = [row.read(one) for one in places]
    fixed = [(one, value) for one, value in zip(places, values) if one.administered][-1:]
    return [one for one, value in fixed if not value and is_root()] or places[-1:]


@dataclass(frozen=True)
class Row:
    """All about one setting.

    ``parse``: makes a value from text, or raises ValueError or KeyError.
    ``default`` and ``help``: its cells in docs/reference.md.
    ``takes``: the correct values, for the error about a wrong one; "" where every text is correct.
    ``deciding``: returns those of all places, the last one last, that decide the value.
    """

    name: str
    parse: Callable[[str], Any]
    default: str
    help: str
    takes: str = ""
    deciding: Callable[[Row, Sequence[Setting]], Sequence[Setting]] = _last

    @property
    def field(self) -> str:
        """Return the name of the attribute of Settings that holds the value."""
        return self.name.replace("-", "_")

    @property
    def choices(self) -> tuple[str, ...]:
        """Return the words that completion offers for the value."""
        return self.parse.offered if isinstance(self.parse, OneOf) else ()

    def value(self, deciding: Sequence[Setting]) -> Any:
        """Return the value that these places give. Raises SettingError."""
        values = tuple(map(self.read, deciding))
        return values if self.deciding is _every else values[-1]

    def read(self, setting: Setting) -> Any:
        """Return the value of ``setting``. Raises SettingError."""
        try:
            return self.parse(setting.value)
        except (ValueError, KeyError) as error:
            why, use = "", f"use {self.takes}"
            if isinstance(error, WrongPart):
                why, use = f": {error}", error.hint
            shown = without_secrets(setting.value)
            raise SettingError(
                f"{SECTION}.{self.name} = {shown!r} ({setting.source}) cannot be used{why}", use
            ) from None


ROWS = (
    Row(
        "dir",
        to_layers,
        "the site's store, else your own",
        f"the store, an absolute path; or [several](#several-stores), some of them "
        f"[URLs](#remote-stores); or `{OFF}` for plain pip",
        f"an absolute path or a URL; or several, nearest first, each on a line or after a "
        f"{os.pathsep!r}, and with a policy ({', '.join(one.value for one in Policy)}) or none; or "
        f"{OFF} for plain pip",
    ),
    Row(
        "link-mode",
        one_of({one.value: one for one in LinkMode}),
        "`reflink`",
        "`reflink`, `hardlink`, `symlink`, `copy`; each falls back to the next that works",
        ", ".join(one.value for one in LinkMode),
    ),
    Row(
        "share",
        to_prefixes,
        "none",
        "URL prefixes or absolute paths whose wheels are shared although they came with "
        "credentials or from a local path",
        "URL prefixes or absolute paths",
    ),
    Row(
        "trust",
        to_publishers,
        "all of them",
        "`owner`, or accounts and `@groups`, with spaces between them: of the publishers that the "
        "store's owner trusts, only these are trusted; unknown names cause a warning; no later "
        "place widens what an earlier one narrowed",
        deciding=_every,
    ),
    Row(
        "verify",
        one_of({"always": True, "changed": False}),
        "`changed`",
        "`always`: every wheel and every file is hashed before it is placed; `changed`: only a "
        "file whose size or time has changed",
        "always, or changed (only files whose size or time has changed)",
        deciding=_first_true,
    ),
    Row(
        "signers",
        to_file,
        "none",
        "a file of allowed signers (`ssh-keygen`): bytecode and builds that one of them signed are "
        "used, although their publisher is not trusted",
        "an absolute path",
    ),
    Row(
        "revoked-signers",
        to_file,
        "none",
        "a key revocation list, or public keys, one on a line: their signatures do not count",
        "an absolute path",
    ),
    Row(
        "signing-key",
        to_file,
        "none",
        "the key with which `store sign`, and pushes to remote stores, sign: a private "
        "key, or a public one of which the agent "
        "has the private half",
        "an absolute path",
    ),
    Row("build-salt", str, "none", "any text: separates builds with different tools"),
    Row(
        "stats",
        one_of({one: one for one in STATS}),
        "`full`",
        "the record that each installation keeps for `store stats`: `full`, `anonymous` (not which "
        "environment), `off`",
        ", ".join(STATS),
    ),
    Row(
        "resolutions",
        one_of(SWITCH, "on", "off"),
        "`on`",
        "`on`, `off`: whether the run records what pip's resolver chose, and gives it the same "
        "candidates again for the same question",
        "on or off",
    ),
    Row(
        "offline",
        one_of(SWITCH, "yes", "no"),
        "`no`",
        "`yes`, `no`: whether pip finds the wheels of the store alone, and makes no request",
        "yes or no",
    ),
    Row(
        "processes",
        number_to(MOST_PROCESSES),
        "one for each processor, at most 8; at least 4 on a file server",
        "the number of processes that install in parallel if no file is replaced, "
        f"1 to {MOST_PROCESSES}",
        f"a number from 1 to {MOST_PROCESSES}",
    ),
    Row(
        "downloads",
        number_to(MOST_DOWNLOADS),
        "`8`",
        "the number of wheels that pip downloads at the same time, 1 to "
        f"{MOST_DOWNLOADS}; 1: one after another",
        f"a number from 1 to {MOST_DOWNLOADS}",
    ),
    Row(
        "remote-timeout",
        number_to(MOST_TIMEOUT),
        "`20`",
        "the seconds that a remote store may take to answer, 1 to "
        f"{MOST_TIMEOUT}; a slower one is not used for the rest of the run",
        f"a number from 1 to {MOST_TIMEOUT}",
    ),
    Row(
        "remote-python",
        to_python,
        "the one that runs pip-sharedcache",
        "the interpreter that has the client library of remote stores (obstore), an absolute path",
        "an absolute path",
    ),
    Row(
        "group-environment",
        one_of(SWITCH, "yes", "no"),
        "`yes`",
        "whether files made in a group-writable, setgid environment may be replaced by the group",
        "yes or no",
        deciding=_unless_barred,
    ),
)
NAMES = tuple(row.name for row in ROWS)


def row(name: str) -> Row:
    """Return the row of the setting ``name``."""
    return ROWS[NAMES.index(name)]
