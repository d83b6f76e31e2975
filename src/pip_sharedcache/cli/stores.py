"""The commands `init` and `path`, and the store that other commands use."""

from __future__ import annotations

import argparse
import os
import shlex
from pathlib import Path
from typing import Any

from pip_sharedcache import config, pip_adapter, trust
from pip_sharedcache.cli.output import FINE, Output
from pip_sharedcache.errors import UsageError
from pip_sharedcache.maintenance.stores import (
    Made,
    make_store,
    open_main,
    require_publishable,
    require_writable,
)
from pip_sharedcache.store import Store, open_store


def add(commands: Any) -> None:
    """Register the commands of this module in ``commands``."""
    init = commands.add_parser("init", help="make a store, for a group or for yourself")
    init.add_argument("directory", metavar="DIR", type=Path, help="make it in this directory")
    init.add_argument("--group", default="", help="share the store with this group")
    init.add_argument("--builds", action="store_true", help="also share wheels that users build")
    path = commands.add_parser("path", help="print the path of the store in use")
    for parser, run in ((init, _init), (path, _path)):
        parser.set_defaults(run=run)


def settings_in_use(output: Output) -> config.Settings:
    """Return the settings from pip's configuration files and the environment variables.

    Warns of unknown settings. Raises SettingError.
    """
    settings = config.load(pip_adapter.configuration_files(), os.environ)
    for note in settings.notes:
        output.warn(note)
    return settings


def store_in_use(output: Output) -> Store:
    """Return the store to which pip would publish here. Raises SettingError, StoreUnusable."""
    return main_store(settings_in_use(output), output)


def store_to_change(output: Output) -> Store:
    """Return the store in use, for a command that changes it.

    Raises SettingError; StoreUnusable, also where this process may only read the store.
    """
    store = store_in_use(output)
    require_writable(store)
    return store


def store_to_fill(output: Output) -> Store:
    """Return the store in use, for a command that publishes; make a missing private store.

    Raises SettingError; StoreUnusable, also where this user may not publish.
    """
    store = main_store(settings_in_use(output), output, make=True)
    require_publishable(store)
    return store


def main_store(settings: config.Settings, output: Output, *, make: bool = False) -> Store:
    """Return the store of maintenance.stores.open_main; warn of stores that cannot be used."""
    store, unusable = open_main(settings, make=make)
    for one in unusable:
        output.warn(f"One of the shared stores is not used: {one}")
    return store


def _init(chosen: argparse.Namespace, output: Output) -> int:
    if chosen.directory == Path():
        raise UsageError("store init needs a directory")
    group = chosen.group
    made = make_store(chosen.directory, group, builds=chosen.builds)
    store = made.store
    whose = f"for the members of {group}" if group else f"for {trust.user_name(store.owner)}"
    # Only root may write pip's configuration for all users.
    level = "--global" if trust.user_id() == 0 else "--user"
    command = f"pip config {level} set sharedcache.dir {shlex.quote(str(store.path))}"
    output.say(f"Store {store.path} is ready, {whose}.")
    output.say(f"To use it: {command}")
    _warn(made, output)
    owner = trust.user_name(store.owner)
    trusted = dict.fromkeys(["root", owner, "yourself", *store.trusted])  # by its users
    output.detail(f"Trusted publishers: {', '.join(trusted)}")
    output.result({"path": str(store.path), "group": group or None, "to_use": command})
    return FINE


def _warn(made: Made, output: Output) -> None:
    store = made.store
    doctor = f"PIP_SHAREDCACHE_DIR={shlex.quote(str(store.path))} pip-sharedcache store doctor"
    if made.replaceable_in is not None:
        output.warn(
            f"Others can replace the store: {made.replaceable_in}: others can rename files in this "
            "directory; pip-sharedcache does not trust the store's owner, and copies wheels before "
            f"it uses them; hint: chmod +t {shlex.quote(str(made.replaceable_in))}"
        )
    if made.distrusted is not None:
        directory, why = made.distrusted
        output.warn(
            f"Members of {store.group} are not trusted in {store.path}: {directory} {why}; "
            f"hint: {doctor}"
        )
    if made.refused is not None:
        member, shard, why = made.refused
        output.warn(
            f"{trust.user_name(member)}, a member of {store.group}, cannot publish: "
            f"{shard}: {why}; hint: {doctor}"
        )


def _path(chosen: argparse.Namespace, output: Output) -> int:
    settings = settings_in_use(output)
    one = settings.dir if len(settings.layers) < 2 else main_store(settings, output).path
    path = str(one or open_store(settings).path)
    output.find(path)
    output.detail(f"from {settings.dir_source}")
    output.result({"path": path, "source": settings.dir_source})
    return FINE
