"""Making a store, and saying what the one in use is and holds: init, path, info, list."""

from __future__ import annotations

import argparse
import os
import time
from pathlib import Path
from typing import Any

from pip_sharedcache import config, interception, trust
from pip_sharedcache.cli.output import FINDINGS, FINE, Output
from pip_sharedcache.errors import UsageError, reason
from pip_sharedcache.model import megabytes
from pip_sharedcache.store import Item, Store, inventory, open_store, survey, used


def add(commands: Any) -> None:
    """Name the commands of this module."""
    init = commands.add_parser("init", help="make a store, for a group or for yourself")
    init.add_argument("directory", metavar="DIR", type=Path)
    init.add_argument("--group", default="", help="the group whose members share the store")
    init.add_argument("--builds", action="store_true", help="share what its users build, too")
    path = commands.add_parser("path", help="print where the store in use lies")
    info = commands.add_parser("info", help="say what the store in use is and holds")
    listing = commands.add_parser("list", help="list what the store in use holds")
    listing.add_argument("--bytecode", action="store_true", help="list the bytecode, too")
    for parser, run in ((init, _init), (path, _path), (info, _info), (listing, _list)):
        Output.add_options(parser)
        parser.set_defaults(run=run)


def settings_in_use(output: Output) -> config.Settings:
    """The settings that pip's configuration and the environment give; odd ones are warned of.
    Raises SettingError."""
    settings = config.load(interception.configuration_files(), os.environ)
    for note in settings.notes:
        output.warn(note)
    return settings


def store_in_use(output: Output) -> Store:
    """The store that a pip started here would use. Raises SettingError, StoreUnusable."""
    return open_store(settings_in_use(output))


def _init(chosen: argparse.Namespace, output: Output) -> int:
    if chosen.directory == Path():
        raise UsageError("store init needs a directory")
    directory = Path(os.path.abspath(chosen.directory))
    try:
        store = Store.make(directory, chosen.group, builds=chosen.builds)
    except OSError as error:
        where = error.filename or directory
        raise UsageError(f"{directory} cannot be made: {where}: {reason(error)}") from error
    group = chosen.group
    whose = f"for the members of {group}" if group else f"for {trust.user_name(store.owner)}"
    output.say(f"Store {store.path} is ready, {whose}.")
    output.say(f"To use it: pip config --global set sharedcache.dir {store.path}")
    output.result({"path": str(store.path), "group": chosen.group or None})
    return FINE


def _path(chosen: argparse.Namespace, output: Output) -> int:
    settings = settings_in_use(output)
    path = str(settings.dir or open_store(settings).path)
    output.find(path)
    output.result({"path": path})
    return FINE


def _info(chosen: argparse.Namespace, output: Output) -> int:
    settings = settings_in_use(output)
    store = open_store(settings)
    entries, size = survey(store)
    facts: dict[str, Any] = {
        "path": str(store.path),
        "source": settings.dir_source,
        "owner": trust.user_name(store.owner),
        "group": store.group or None,
        "trusted": list(store.trusted),
        "writable": store.may_publish(),
        "entries": entries,
        "bytes": size,
        "link_mode": settings.link_mode.value,
    }
    output.result(facts)
    named = ", ".join(dict.fromkeys(["root", facts["owner"], "yourself", *store.trusted]))
    output.say(f"Store:     {store.path} ({settings.dir_source})")
    output.say(f"Owner:     {facts['owner']}" + (f", group {store.group}" if store.group else ""))
    output.say(f"Trusted:   {named}")
    output.say(f"You may:   {'install and publish' if facts['writable'] else 'install only'}")
    output.say(f"Holds:     {entries} wheels, {megabytes(size)} as wheels")
    output.say(f"Link mode: {settings.link_mode.value}")
    return FINE


def _list(chosen: argparse.Namespace, output: Output) -> int:
    store = store_in_use(output)
    items = [
        item for item in inventory(store, used(store)) if chosen.bytecode or item.area == "wheels"
    ]
    items.sort(key=lambda item: (item.title.lower(), item.path.name))
    output.result([_facts(item) for item in items])
    head = ["wheel", "size", "publisher", "published", "last used"]
    rows = [
        [
            item.title,
            megabytes(item.size),
            trust.user_name(item.publisher),
            _day(item.published),
            _day(item.used),
        ]
        for item in items
        if not item.damage
    ]
    output.table(head, rows)
    damaged = [item for item in items if item.damage]
    for item in damaged:
        output.find(f"{item.path} of {trust.user_name(item.publisher)} is damaged: {item.damage}")
    return FINDINGS if damaged else FINE


def _facts(item: Item) -> dict[str, Any]:
    return {
        "path": str(item.path),
        "area": item.area,
        "title": item.title,
        "sha256": item.digest,
        "publisher": trust.user_name(item.publisher),
        "bytes": item.size,
        "published": item.published,
        "used": item.used,
        "damage": item.damage or None,
    }


def _day(seconds: int) -> str:
    return time.strftime("%Y-%m-%d", time.localtime(seconds))
