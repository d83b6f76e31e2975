"""Our own commands, ``pip-sharedcache store ...``. Only this package prints.

Exit status: 0 fine, 2 when it cannot be done.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from pip_sharedcache import __version__, config, interception, trust
from pip_sharedcache.errors import UsageError, reason
from pip_sharedcache.install import open_store
from pip_sharedcache.model import megabytes
from pip_sharedcache.store import Store, survey


def store_command(arguments: Sequence[str]) -> int:
    """Run ``store`` with ``arguments`` and return the exit status. Raises SharedCacheError."""
    parser = argparse.ArgumentParser(
        prog="pip-sharedcache store", description="Look after the shared store of wheels."
    )
    parser.add_argument("--version", action="version", version=f"pip-sharedcache {__version__}")
    commands = parser.add_subparsers(dest="command", required=True, metavar="COMMAND")
    init = commands.add_parser("init", help="make a store, for a group or for yourself")
    init.add_argument("directory", metavar="DIR", type=Path)
    init.add_argument("--group", default="", help="the group whose members share the store")
    commands.add_parser("path", help="print where the store in use lies")
    info = commands.add_parser("info", help="say what the store in use is and holds")
    info.add_argument("--json", action="store_true", help="as JSON")
    chosen = parser.parse_args(arguments)
    if chosen.command == "init":
        if chosen.directory == Path():
            raise UsageError("store init needs a directory")
        return _init(Path(os.path.abspath(chosen.directory)), chosen.group)
    settings = config.load(interception.configuration_files(), os.environ)
    for note in settings.notes:
        print(f"WARNING: {note}", file=sys.stderr)
    if chosen.command == "path":
        print(settings.dir or open_store(settings).path)
        return 0
    return _info(settings, as_json=chosen.json)


def _init(directory: Path, group: str) -> int:
    try:
        store = Store.make(directory, group)
    except OSError as error:
        where = error.filename or directory
        raise UsageError(f"{directory} cannot be made: {where}: {reason(error)}") from error
    whose = f"for the members of {group}" if group else f"for {trust.user_name(store.owner)}"
    print(f"Store {store.path} is ready, {whose}.")
    print(f"To use it: pip config --global set sharedcache.dir {store.path}")
    return 0


def _info(settings: config.Settings, *, as_json: bool) -> int:
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
    if as_json:
        print(json.dumps(facts, indent=2))
        return 0
    named = ", ".join(dict.fromkeys(["root", facts["owner"], "yourself", *store.trusted]))
    print(f"Store:     {store.path} ({settings.dir_source})")
    print(f"Owner:     {facts['owner']}" + (f", group {store.group}" if store.group else ""))
    print(f"Trusted:   {named}")
    print(f"You may:   {'install and publish' if facts['writable'] else 'install only'}")
    print(f"Holds:     {entries} wheels, {megabytes(size)} as wheels")
    print(f"Link mode: {settings.link_mode.value}")
    return 0
