"""The commands `info` and `list`, which describe a store and its entries."""

from __future__ import annotations

import argparse
import functools
import time
from collections.abc import Iterable, Sequence
from typing import Any

from pip_sharedcache import trust
from pip_sharedcache.cli.output import FINDINGS, FINE, NAMES, Output
from pip_sharedcache.cli.quantities import counted
from pip_sharedcache.cli.stores import main_store, settings_in_use, store_in_use
from pip_sharedcache.config import Settings
from pip_sharedcache.errors import StoreNotMade, StoreUnusable
from pip_sharedcache.maintenance.entries import Contents, read_entries
from pip_sharedcache.maintenance.stores import trusted_names
from pip_sharedcache.model import Policy, megabytes
from pip_sharedcache.store import (
    BYTECODE,
    WHEELS,
    Store,
    StoredEntry,
    open_layers,
    survey,
    usage_marks,
)

#: Cached: a name service can be slow, and a store has thousands of entries.
_user = functools.cache(trust.user_name)


def add(commands: Any) -> None:
    """Register the commands of this module in ``commands``."""
    info = commands.add_parser("info", help="show the store in use, or distributions in it")
    listing = commands.add_parser("list", help="list the entries of the store in use")
    listing.add_argument("--bytecode", action="store_true", help="also list the bytecode")
    for parser, run in ((info, _info), (listing, _list)):
        parser.add_argument("names", metavar="NAME", nargs="*", help=NAMES)
        parser.set_defaults(run=run)


# -- info


def _info(chosen: argparse.Namespace, output: Output) -> int:
    settings = settings_in_use(output)
    store = main_store(settings, output)
    if chosen.names:
        return _info_of(store, chosen.names, output)
    return _info_of_store(store, settings, output)


def _info_of_store(store: Store, settings: Settings, output: Output) -> int:
    entries, size = survey(store)
    writable = store.may_publish() and store.policy is not Policy.READ_ONLY
    in_force = settings.in_force()
    facts: dict[str, Any] = {
        "path": str(store.path),
        "source": settings.dir_source,
        "owner": _user(store.owner),
        "group": store.group or None,
        "trusted": list(store.trusted),
        "you_trust": trusted_names(store),
        "writable": writable,
        "policy": store.policy.value,
        "entries": entries,
        "bytes": size,
        "link_mode": settings.link_mode.value,
        "settings": {
            name: {"value": one.value, "source": one.source} for name, one in in_force.items()
        },
        "layers": _layers(settings),
    }
    output.result(facts)
    output.say(f"Store:     {store.path} ({settings.dir_source})")
    output.say(f"Owner:     {facts['owner']}" + (f", group {store.group}" if store.group else ""))
    output.say(f"Trusted:   {', '.join(facts['you_trust'])}")
    output.say(f"You may:   {_allowed(store, writable=writable)}")
    wheels = counted(entries, "wheel", "wheels")
    output.say(f"Holds:     {wheels}, {megabytes(size)} as wheel files")
    output.say(f"Link mode: {settings.link_mode.value}")
    for name, setting in in_force.items():
        output.detail(f"Setting:   {name} = {setting.value} ({setting.source})")
    if len(settings.layers) > 1:
        for number, layer in enumerate(facts["layers"], 1):
            state = layer["unusable"] or (
                "can be used" if layer["made"] else "the first installation makes it"
            )
            output.say(f"Layer {number}:   {layer['path']} ({layer['policy']}): {state}")
    return FINE


def _allowed(store: Store, *, writable: bool) -> str:
    """Return what this user's installations do with ``store``, and why not more."""
    if store.policy is Policy.READ_ONLY:
        return "install only, since the setting dir calls it read-only"
    if writable:
        private = store.policy is Policy.PRIVATE
        return "install, and keep wheels that are not shared" if private else "install and publish"
    why, remedy = store.missing_directories()
    return f"install only, since {why}; {remedy}" if why else "install only"


def _layers(settings: Settings) -> list[dict[str, Any]]:
    """Return facts about each configured store, nearest first: also whether it can be used."""
    return [
        {
            "path": str(layer.path),
            "policy": layer.policy.value,
            "made": not isinstance(one, StoreNotMade),
            "unusable": str(one)
            if isinstance(one, StoreUnusable) and not isinstance(one, StoreNotMade)
            else None,
        }
        for layer, one in zip(settings.layers, open_layers(settings, make=False))
    ]


def _info_of(store: Store, names: Sequence[str], output: Output) -> int:
    """Print the facts about the entries of the distributions ``names``; return the exit status."""
    contents = read_entries(store, names)
    wheels, compiled = _sorted(contents, WHEELS), _sorted(contents, BYTECODE)
    facts = []
    now = time.time()
    for item in wheels:
        uses = item.uses(usage_marks.uses(store, item.path.name), now)
        bytecode = [one for one in compiled if one.digest == item.digest]
        fact = _facts(item)
        fact["uses"] = [{"user": _user(use.user), "at": int(use.when)} for use in uses]
        fact["bytecode"] = [_facts(one) for one in bytecode]
        facts.append(fact)
        output.say(item.title)
        output.say(f"  Path:      {item.path}")
        output.say(f"  Publisher: {_user(item.publisher)}, {_day(item.published)}")
        output.say(f"  Trusted:   {_trusted(item)}")
        output.say(f"  Holds:     {_files(item)}, {megabytes(item.size)} with the wheel")
        for one in bytecode:
            output.say(
                f"  Bytecode:  {one.title}: {_files(one)}, {megabytes(one.size)}, by "
                f"{_user(one.publisher)}, used {_day(one.used(now))}"
            )
        # With -v the last use by each user, else only the latest use.
        for use in uses if output.verbose else uses[:1]:
            output.say(f"  Used:      {_day(use.when)} by {_user(use.user)}")
    output.result(facts)
    return _findings(output, [*wheels, *compiled], contents)


# -- list


def _list(chosen: argparse.Namespace, output: Output) -> int:
    store = store_in_use(output)
    contents = read_entries(store, chosen.names)
    shown = _sorted(contents, WHEELS) + (_sorted(contents, BYTECODE) if chosen.bytecode else [])
    output.result([_facts(item) for item in shown])
    head = ["wheel", "files", "size", "publisher", "published", "last used"]
    more = ["trusted", "path"] if output.verbose else []
    now = time.time()
    rows = [
        [
            *(item.title, str(item.files), megabytes(item.size), _user(item.publisher)),
            *(_day(item.published), _day(item.used(now))),
            *((_trusted(item), str(item.path)) if more else ()),
        ]
        for item in shown
        if not item.damage
    ]
    output.table([*head, *more], rows)
    if not contents.whole and not contents.unread:
        output.say(f"{store.path} holds no wheels yet.")
    return _findings(output, shown, contents)


# -- both


def _sorted(contents: Contents, area: str) -> list[StoredEntry]:
    items = contents.of_area(area)
    return sorted(items, key=lambda item: (item.title.lower(), item.path.name))


def _findings(output: Output, items: Iterable[StoredEntry], contents: Contents) -> int:
    """Report damaged entries and other problems, and return the exit status."""
    lines = [
        f"Damaged entry of {_user(item.publisher)}: {item.path}: {item.damage}"
        for item in items
        if item.damage
    ]
    lines += contents.problems()
    output.find_or_warn(lines)
    return FINDINGS if lines else FINE


def _facts(item: StoredEntry) -> dict[str, Any]:
    last = item.last(time.time())
    return {
        "path": str(item.path),
        "area": item.area,
        "title": item.title,
        "sha256": item.digest,
        "publisher": _user(item.publisher),
        "trusted": not item.distrust_reason,
        "distrust_reason": item.distrust_reason or None,
        "files": item.files,
        "bytes": item.size,
        "published": int(item.published),
        "used": int(last.when),
        "used_by": _user(last.user),
        "damage": item.damage or None,
    }


def _files(item: StoredEntry) -> str:
    return counted(item.files, "file", "files")


def _trusted(item: StoredEntry) -> str:
    if not item.distrust_reason:
        return "yes"
    return f"no, since {_user(item.publisher)} {item.distrust_reason}"


def _day(seconds: float) -> str:
    try:
        return time.strftime("%Y-%m-%d", time.localtime(seconds))
    except (ValueError, OverflowError, OSError):
        return "unknown"  # a file can have a timestamp that localtime refuses
