"""The command `info`, which shows a store, or distributions in it."""

from __future__ import annotations

import argparse
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from pip_sharedcache import signing
from pip_sharedcache.cli.list_ import (
    day,
    facts_of,
    report_problems,
    sorted_items,
    trusted,
    user_name,
)
from pip_sharedcache.cli.output import FINE, NAMES, Output, reasons
from pip_sharedcache.cli.quantities import counted, key, moment
from pip_sharedcache.cli.stores import main_store, settings_in_use
from pip_sharedcache.config import Settings
from pip_sharedcache.errors import CannotCheck, SettingError, StoreNotMade, StoreUnusable
from pip_sharedcache.maintenance.entries import read_entries
from pip_sharedcache.maintenance.stores import trusted_names
from pip_sharedcache.model import Digest, Policy, megabytes
from pip_sharedcache.signing import Signers, bytecode_key
from pip_sharedcache.store import (
    BYTECODE,
    WHEELS,
    Store,
    StoredEntry,
    find_signed,
    layout_name,
    open_layers,
    signers_of,
    survey,
    usage_marks,
)

HELP = "show the store in use, or distributions in it"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the arguments of this command to ``parser``."""
    parser.add_argument("names", metavar="NAME", nargs="*", help=NAMES)


def run(chosen: argparse.Namespace, output: Output) -> int:
    """Run the command, and return the exit status."""
    settings = settings_in_use(output)
    store = main_store(settings, output)
    if chosen.names:
        return _info_of(store, settings, chosen.names, output)
    return _info_of_store(store, settings, output)


def _info_of_store(store: Store, settings: Settings, output: Output) -> int:
    number, size = survey(store)
    writable = store.may_publish() and store.policy is not Policy.READ_ONLY
    owner, mode, layers = user_name(store.owner), settings.link_mode.value, _layers(settings)
    in_force, you_trust = settings.in_force(), trusted_names(store)
    output.result(
        {
            "store": str(store.path),
            "source": settings.dir_source,
            "owner": owner,
            "group": store.group or None,
            "trusted": list(store.trusted),
            "you_trust": you_trust,
            "writable": writable,
            "policy": store.policy.value,
            "layout": layout_name(store.packed),
            "wheels": number,
            "bytes": size,
            "link_mode": mode,
            "settings": {
                key(name): {"value": one.value, "source": one.source}
                for name, one in in_force.items()
            },
            "layers": layers,
        }
    )
    output.say(f"Store:     {store.path} ({settings.dir_source})")
    output.say(f"Owner:     {owner}" + (f", group {store.group}" if store.group else ""))
    output.say(f"Trusted:   {', '.join(you_trust)}")
    output.say(f"You may:   {_allowed(store, writable=writable)}")
    wheels = counted(number, "wheel", "wheels")
    output.say(f"Holds:     {wheels}, {megabytes(size)} as wheel files")
    output.say(f"Layout:    {layout_name(store.packed)}")
    output.say(f"Link mode: {mode}{'; files in packs are copied' if store.packed else ''}")
    for name, setting in in_force.items():
        output.detail(f"Setting:   {name} = {setting.value} ({setting.source})")
    for number, layer in enumerate(layers if len(layers) > 1 else (), 1):
        usable = "can be used" if layer["made"] else "the first installation makes it"
        state = layer["unusable"] or usable
        output.say(f"Layer {number}:   {layer['store']} ({layer['policy']}): {state}")
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
            "store": str(layer.path),
            "policy": layer.policy.value,
            "made": (made := not isinstance(one, StoreNotMade)),
            "unusable": str(one) if made and isinstance(one, StoreUnusable) else None,
        }
        for layer, one in zip(settings.layers, open_layers(settings, make=False))
    ]


def _info_of(store: Store, settings: Settings, names: Sequence[str], output: Output) -> int:
    """Print the facts about the entries of the distributions ``names``; return the exit status."""
    contents = read_entries(store, names)
    wheels, compiled = sorted_items(contents, WHEELS), sorted_items(contents, BYTECODE)
    facts = []
    try:
        signers = signers_of(settings, [store])
    except SettingError as error:
        output.warn(f"No signature counts: {error}")
        signers = None
    now = time.time()
    for item in wheels:
        uses = item.uses(usage_marks.uses(store, item.path.name), now)
        bytecode = [one for one in compiled if one.digest == item.digest]
        signed_by = _signers_of(store, signers, bytecode, output)
        facts.append(
            {
                **facts_of(item),
                "uses": [{"user": user_name(use.user), "at": moment(use.when)} for use in uses],
                "bytecode": [
                    {**facts_of(one), "signed_by": signed_by.get(one.path)} for one in bytecode
                ],
            }
        )
        output.say(item.title)
        output.say(f"  Path:      {item.path}")
        output.say(f"  Publisher: {user_name(item.publisher)}, {day(item.published)}")
        output.say(f"  Trusted:   {trusted(item)}")
        output.say(f"  Holds:     {_size(item)} with the wheel")
        for one in bytecode:
            publisher, used = user_name(one.publisher), day(one.used(now))
            signed = f", signed by {signed_by[one.path]}" if one.path in signed_by else ""
            size = _size(one)
            output.say(f"  Bytecode:  {one.title}: {size}, by {publisher}{signed}, used {used}")
        # With -v the last use by each user, else only the latest use.
        for use in uses if output.verbose else uses[:1]:
            output.say(f"  Used:      {day(use.when)} by {user_name(use.user)}")
    output.result(
        {
            "store": str(store.path),
            "entries": facts,
            "missing": list(contents.missing),
            "unread": reasons(contents.unread),
        }
    )
    return report_problems(output, store, [*wheels, *compiled], contents)


def _signers_of(
    store: Store, signers: Signers | None, items: Sequence[StoredEntry], output: Output
) -> dict[Path, str]:
    """Return who signed each of the bytecode entries ``items``, if an allowed signer did.

    The bytes are not checked: store verify --signatures does that.
    """
    found: dict[Path, str] = {}
    if signers is None:
        return found
    for item in items:
        tag, magic, *_ = [*item.title.rsplit("-", 3)[:2], "", ""]
        key = bytecode_key(Digest(item.digest), tag, magic)
        try:
            signed = find_signed(store, signing.BYTECODE, key, signers, [])
        except CannotCheck as error:
            output.warn(f"No signature counts: {error}")
            break
        if signed is not None:
            found[item.path] = signed[1].principal
    return found


def _size(item: StoredEntry) -> str:
    return f"{counted(item.files, 'file', 'files')}, {megabytes(item.size)}"
