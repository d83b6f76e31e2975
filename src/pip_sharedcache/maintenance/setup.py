"""The set-up of a store in one step: where it is, and the line of configuration that names it."""

from __future__ import annotations

import os
import re
import shlex
import stat
import subprocess
from dataclasses import dataclass
from pathlib import Path

from pip_sharedcache import config, trust
from pip_sharedcache.errors import FileError, UsageError
from pip_sharedcache.maintenance.add import ourselves
from pip_sharedcache.maintenance.stores import Made, make_store
from pip_sharedcache.store import STORE_JSON, Store

_SETTING = f"{config.SECTION}.dir"
#: The error in the traceback that pip prints.
_ERRNO = re.compile(r"\[Errno \d+\] (.+?): (['\"])(.*)\2$", re.MULTILINE)
_WRITING = re.compile(r"^Writing to (.+)$", re.MULTILINE)


def level() -> str:
    """Return the option of `pip config` for the file: of all users for root, else own.

    Only root may write the configuration of all users, and some settings count for root only there.
    """
    return "--global" if trust.user_id() == 0 else "--user"


@dataclass(frozen=True)
class Plan:
    """What ``set_up`` does.

    ``path``: the directory of the store.
    ``group``: the group that shares it, or "".
    ``named_by``: why no line of configuration is needed; "" if one is.
    ``file``: the source of the setting that names the store already, or "".
    ``for_all``: whether all users of this machine find the store without a line of their own.
    """

    path: Path
    group: str
    named_by: str = ""
    file: str = ""
    for_all: bool = False

    @property
    def level(self) -> str:
        """Return the option of `pip config` for the file (see the function ``level``)."""
        return level()

    @property
    def configuration(self) -> str:
        """Return the command that writes the line, or "" if none is needed."""
        if self.named_by:
            return ""
        return f"pip config {self.level} set {_SETTING} {shlex.quote(str(self.path))}"

    @property
    def members_command(self) -> str:
        """Return the command for each member of the group, or "" if members need none."""
        if not self.group or self.for_all or self.level == "--global":
            return ""
        return f"pip config --user set {_SETTING} {shlex.quote(str(self.path))}"


@dataclass(frozen=True)
class SetUp:
    """A store that was set up.

    ``made``: the store, and the problems of its place.
    ``file``: the configuration file that was written; "" if none was.
    ``hidden``: root's configuration file that other users cannot read; "" if there is none.
    """

    made: Made
    file: str
    hidden: str = ""


def plan(settings: config.Settings, directory: Path | None = None, group: str = "") -> Plan:
    """Return the plan for a store in ``directory``, with the ``settings`` in force.

    Without a directory, root makes the site's store, and another user a store of their own, unless
    there is a site's store. Without a group, a store that is there keeps its group. Raise
    UsageError if a group's store has no directory, or if the settings name another store;
    StoreUnusable if the store that is there cannot be opened.
    """
    named = settings.chosen.get("dir")
    if directory is None and not named and not group and trust.user_id() != 0:
        _refuse_beside_the_sites()
    path = Path(os.path.abspath(directory)) if directory is not None else _place(group)
    if not group and (path / STORE_JSON).is_file():
        group = Store.open(path).group
    if not named:
        defaults = {config.site_store(): "users find the site's store without a setting"}
        if not config.site_has_store() and (own := config.own_store()) is not None:
            defaults[own] = "you find your own store without a setting"
        return Plan(path, group, defaults.get(path, ""), for_all=path == config.site_store())
    source = named[-1].source
    if settings.dir == path:
        return Plan(path, group, f"{source} names it already", source, named[-1].administered)
    there = ", ".join(str(layer.path) for layer in settings.layers) or config.OFF
    raise UsageError(
        f"{path} is not set up: {source} names another store: {there}",
        f"set up that one, or {_removed(source)}" if _may_change(source) else _beside(path),
    )


def _refuse_beside_the_sites() -> None:
    """Refuse a user's own store if the site has one: the user would leave it. Raises UsageError."""
    if config.site_has_store():
        raise UsageError(
            f"No store is set up: you use the site's store already: {config.site_store()}",
            "pip-sharedcache install REQUIREMENT; pip-sharedcache store setup DIR makes another "
            "store, for you alone",
        )


def _may_change(source: str) -> bool:
    """Return whether this user can follow what ``_removed`` says of ``source``."""
    return not os.path.isabs(source) or os.access(source, os.W_OK)


def _beside(path: Path) -> str:
    """Return what a user does who may not change the configuration for all: theirs comes later."""
    quoted = shlex.quote(str(path))
    own = f"pip config --user set {_SETTING} {quoted}"
    return f"use that one, or pip-sharedcache store init {quoted} && {own}"


def _removed(source: str) -> str:
    """Return what a user does so that ``source`` names no store any more."""
    if source.startswith("environment variable "):
        return f"unset {source.split()[-1]}"
    return f"leave it out: {source}" if source.startswith("option ") else f"remove {_SETTING} there"


def _place(group: str) -> Path:
    if trust.user_id() == 0:
        return config.site_store()
    if group:
        raise UsageError(
            f"The store of {group} needs a directory that its members reach",
            f"pip-sharedcache store setup --group {shlex.quote(group)} DIR",
        )
    own = config.own_store()
    if own is None:
        raise UsageError("No home directory is known to keep a store in", "name a directory")
    return own


def set_up(planned: Plan, *, builds: bool = False, packed: bool | None = None) -> SetUp:
    """Make the store of ``planned``, and let pip write the line of configuration.

    ``builds``, ``packed``: as for make_store. Raise UsageError, FileError.
    """
    made = make_store(planned.path, planned.group, builds=builds, packed=packed)
    if planned.named_by:
        return SetUp(made, "", _hidden(planned.file))
    done = subprocess.run(
        [*ourselves(), "config", planned.level, "set", _SETTING, str(planned.path)],
        capture_output=True,
        encoding="utf-8",
        errors="replace",
        # A new file for all users is for them to read; else it is as private as its user wishes.
        umask=0o022 if planned.level == "--global" else -1,
    )
    found = _WRITING.search(done.stdout)
    file = found[1] if found else "pip's configuration"
    if done.returncode:
        variable = f"{config.ENVIRONMENT_PREFIX}DIR={shlex.quote(str(planned.path))}"
        raise FileError(
            f"{planned.path} is ready, but {_SETTING} is not set: {_why_not(file, done.stderr)}",
            f"repair this and type: {planned.configuration}; or, without a file: export {variable}",
        )
    return SetUp(made, file, _hidden(file))


def _why_not(file: str, said: str) -> str:
    """Return why pip, which ``said`` this, did not write ``file``."""
    if failed := _ERRNO.findall(said):
        reason, _, where = failed[-1]
        return f"{file} cannot be written: {reason if where == file else f'{where}: {reason}'}"
    if os.environ.get("PIP_CONFIG_FILE") == os.devnull:
        return f"pip uses no configuration file, since PIP_CONFIG_FILE is {os.devnull}"
    errors = [line for line in said.splitlines() if line.startswith("ERROR: ")]
    return errors[0][len("ERROR: ") :] if errors else "pip config failed"


def _hidden(file: str) -> str:
    """Return ``file`` if it is a file of root whose mode lets no other user read it, else ""."""
    try:
        mode = os.stat(file).st_mode if os.path.isabs(file) and trust.user_id() == 0 else 0o444
    except OSError:  # its text came from elsewhere
        return ""
    return "" if mode & stat.S_IROTH else file
