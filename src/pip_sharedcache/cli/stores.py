"""Making a store, and saying which one is in use: init, path."""

from __future__ import annotations

import argparse
import os
import shlex
from pathlib import Path
from typing import Any

from pip_sharedcache import config, fs, pip_adapter, trust
from pip_sharedcache.cli.output import FINE, Output
from pip_sharedcache.errors import FileError, StoreNotMade, StoreUnusable, UsageError
from pip_sharedcache.model import Policy
from pip_sharedcache.placement import try_making_as
from pip_sharedcache.store import (
    BYTECODE,
    SHARDS,
    WHEELS,
    Store,
    directories,
    exchanged_by,
    open_store,
)
from pip_sharedcache.store.layers import Layers
from pip_sharedcache.trust import access_lists


def add(commands: Any) -> None:
    """Name the commands of this module."""
    init = commands.add_parser("init", help="make a store, for a group or for yourself")
    init.add_argument("directory", metavar="DIR", type=Path)
    init.add_argument("--group", default="", help="the group whose members share the store")
    init.add_argument("--builds", action="store_true", help="share what its users build, too")
    path = commands.add_parser("path", help="print where the store in use lies")
    for parser, run in ((init, _init), (path, _path)):
        parser.set_defaults(run=run)


def settings_in_use(output: Output) -> config.Settings:
    """The settings that pip's configuration and the environment give; odd ones are warned of.
    Raises SettingError."""
    settings = config.load(pip_adapter.configuration_files(), os.environ)
    for note in settings.notes:
        output.warn(note)
    return settings


def store_in_use(output: Output) -> Store:
    """The store that a pip started here would publish to. Raises SettingError, StoreUnusable."""
    return main_store(settings_in_use(output), output)


def store_to_change(output: Output, *, make: bool = False) -> Store:
    """The same, for what writes there. Raises StoreUnusable where its policy is only to read it.
    ``make`` as for store.open_layers."""
    store = main_store(settings_in_use(output), output, make=make)
    if store.trust.unknown:
        raise StoreUnusable(
            f"{store.path} is only read here: file owners cannot be known, since "
            f"{store.trust.unknown}",
            "run it without that",
        )
    if store.policy is Policy.READ_ONLY:
        raise StoreUnusable(
            f"{store.path} is only read here, as dir has it, and no other store is published to",
            f"--sharedcache-dir {shlex.quote(str(store.path))} speaks of it alone",
        )
    return store


def store_to_fill(output: Output) -> Store:
    """The same, for what publishes there; it is made if it is the user's own. Raises StoreUnusable
    where this user may not publish."""
    store = store_to_change(output, make=True)
    if not store.may_publish():
        why, remedy = store.lacks()
        raise StoreUnusable(
            f"You may not publish in {store.path}{why and f': {why}'}",
            remedy or "PIP_SHAREDCACHE_DIR names another store",
        )
    return store


def main_store(settings: config.Settings, output: Output, *, make: bool = False) -> Store:
    """Of several stores, the one that a run would publish to; it is told which cannot be used.
    ``make`` as for store.open_layers. Raises StoreUnusable where there is none."""
    layers, unusable = Layers.of_settings(settings, make=make)
    main = layers.main
    if main is None:
        raise unusable[0]
    for one in (one for one in unusable if not isinstance(one, StoreNotMade)):
        output.warn(f"Done without one of the shared stores: {one}")
    return main


def _init(chosen: argparse.Namespace, output: Output) -> int:
    if chosen.directory == Path():
        raise UsageError("store init needs a directory")
    directory = Path(os.path.abspath(chosen.directory))
    try:
        store = Store.make(directory, chosen.group, builds=chosen.builds)
    except OSError as error:
        where = error.filename or directory
        raise FileError.of(directory, f"made: {where}", error) from error
    group = chosen.group
    whose = f"for the members of {group}" if group else f"for {trust.user_name(store.owner)}"
    # Only root may write the configuration of all.
    level = "--global" if trust.user_id() == 0 else "--user"
    command = f"pip config {level} set sharedcache.dir {shlex.quote(str(store.path))}"
    output.say(f"Store {store.path} is ready, {whose}.")
    output.say(f"To use it: {command}")
    _warn_of_exchange(store, output)
    if group:
        _try_group(store, output)
    output.detail(f"Trusted there: {', '.join(believed(store))}")
    output.result({"path": str(store.path), "group": group or None, "to_use": command})
    return FINE


def _try_group(store: Store, output: Output) -> None:
    """Warn where others than the group may publish, or members may not: a list that the directory
    above passes on (NFSv4) decides, whatever the mode says."""
    doctor = f"PIP_SHAREDCACHE_DIR={shlex.quote(str(store.path))} pip-sharedcache store doctor"
    for relative, _ in directories(shared=True):
        if theirs := access_lists.publishing_objection(store.path / relative):
            output.warn(
                f"Members of {store.group} are not trusted in {store.path}: "
                f"{store.path / relative} {theirs}; {doctor} names the commands that help"
            )
            break
    gid, member = trust.group_id(store.group), trust.member_of(store.group)
    if trust.user_id() != 0 or not fs.can_fork() or gid is None or member is None:
        return  # nobody else can act as a member
    for area in (WHEELS, BYTECODE):
        shard = store.path / area / SHARDS[0]
        if why := try_making_as(member, gid, shard):
            output.warn(
                f"{trust.user_name(member)}, a member of {store.group}, cannot publish: "
                f"{shard}: {why}; {doctor} names the commands that help"
            )
            return


def _warn_of_exchange(store: Store, output: Output) -> None:
    found = exchanged_by(store)
    if found is None:
        return
    where, gids = found
    if gids is not None and all(gid == trust.group_id(store.group) for gid in gids):
        return  # whoever may is believed in any case
    output.warn(
        f"Others may rename in {where}, and put another store in place of this one: its owner is "
        f"not believed for that, and wheels are copied before they are used; "
        f"chmod +t {shlex.quote(str(where))} prevents it"
    )


def believed(store: Store) -> list[str]:
    """Whom the caller believes in ``store``, by name."""
    owner = trust.user_name(store.owner)
    return list(dict.fromkeys(["root", owner, "yourself", *store.trusted]))


def _path(chosen: argparse.Namespace, output: Output) -> int:
    settings = settings_in_use(output)
    one = settings.dir if len(settings.layers) < 2 else main_store(settings, output).path
    path = str(one or open_store(settings).path)
    output.find(path)
    output.detail(f"from {settings.dir_source}")
    output.result({"path": path, "source": settings.dir_source})
    return FINE
