"""The option --remote of the commands `list`, `stats`, `verify` and `gc`."""

from __future__ import annotations

import argparse
from collections import Counter
from collections.abc import Collection, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

from pip_sharedcache.cli.output import FINDINGS, FINE, Output
from pip_sharedcache.cli.quantities import counted, moment
from pip_sharedcache.cli.stores import settings_in_use
from pip_sharedcache.config import RemoteSetting, Settings
from pip_sharedcache.errors import StoreUnusable, UsageError
from pip_sharedcache.maintenance.remote_gc import RemoteCollection, collect_remote
from pip_sharedcache.maintenance.remote_verify import CheckedObject, check_objects, delete_objects
from pip_sharedcache.maintenance.remotes import (
    chosen_remotes,
    is_web,
    open_remote,
    read_local_use,
    select_objects,
)
from pip_sharedcache.model import megabytes
from pip_sharedcache.remote.inventory import KINDS, RemoteObject, read_inventory
from pip_sharedcache.remote.stores import RemoteStore
from pip_sharedcache.store import BUILDS, BYTECODE, RESOLUTIONS, WHEELS, signers_of
from pip_sharedcache.store.layers import Layers

_SHORT = 12  # digits of a digest

#: The keys of a JSON result, by the kind of an object; the words for one and for many.
_WORDS = {
    WHEELS: ("wheels", "wheel", "wheels"),
    BYTECODE: ("bytecode", "bytecode", "bytecode"),
    BUILDS: ("build_records", "build record", "build records"),
    RESOLUTIONS: ("resolutions", "resolution", "resolutions"),
}


def add_remote_option(parser: argparse.ArgumentParser, what: str) -> None:
    """Add --remote to ``parser``; ``what``: the effect, which the help says."""
    parser.add_argument("--remote", metavar="URL", nargs="?", const="", default=None, help=what)


def list_remote(chosen: argparse.Namespace, output: Output) -> int:
    """Run `list --remote`, and return the exit status."""
    settings, url, names = _begin(chosen, output)
    kinds = [RESOLUTIONS] if chosen.resolutions else [WHEELS]
    kinds += [BYTECODE] if chosen.bytecode else []
    titles = read_local_use(settings, uses=False).titles
    problems: list[str] = []
    told: list[dict[str, Any]] = []
    for setting in _remotes(settings, url, "list", output):
        with _opened(settings, setting) as store:
            found = read_inventory(store, kinds)
        problems += _failures(store, "listed", partly=bool(found.objects))
        shown, useless = select_objects(found.objects, names, titles)
        problems += [f"Not in {setting.url}: {name}" for name in useless if not store.failure]
        shown = _sorted(shown, titles, chosen.sort)
        facts = [_facts(one, titles) for one in shown]
        rest = {"missing": useless, "ignored": found.ignored}
        told.append({**_head(store), "objects": facts, **rest})
        width = 5 if output.verbose else 3
        rows = [
            [_title(one, titles), megabytes(one.size), _day(one), str(one.digest), one.key][:width]
            for one in shown
        ]
        output.table(["wheel", "size", "put", "sha256", "object"][:width], rows)
        if store.failure is None:
            _tell_sums(output, setting, shown, found.ignored)
    output.result({"remotes": told})
    output.find_or_warn(problems)
    return FINDINGS if problems else FINE


def stats_remote(chosen: argparse.Namespace, output: Output) -> int:
    """Run `stats --remote`, and return the exit status."""
    settings, url, _ = _begin(chosen, output)
    problems: list[str] = []
    told: list[dict[str, Any]] = []
    for setting in _remotes(settings, url, "count", output):
        with _opened(settings, setting) as store:
            found = read_inventory(store)
        problems += _failures(store, "counted")
        facts: dict[str, Any] = {}
        for kind in KINDS:
            some, (key, _, _) = found.of(kind), _WORDS[kind]
            facts[key] = len(some)
            facts[f"{key}_stored"] = sum(one.size for one in some)
        told.append({**_head(store), **facts, "ignored": found.ignored})
        if store.failure is None:
            _tell_sums(output, setting, found.objects, found.ignored)
    output.result({"remotes": told})
    output.find_or_warn(problems)
    return FINDINGS if problems else FINE


def verify_remote(chosen: argparse.Namespace, output: Output) -> int:
    """Run `verify --remote`, and return the exit status."""
    settings, url, names = _begin(chosen, output)
    signers = signers_of(settings, Layers.of_settings(settings, make=False)[0])
    titles = read_local_use(settings, uses=False).titles
    problems: list[str] = []
    told: list[dict[str, Any]] = []
    findings = 0
    for setting in _remotes(settings, url, "verify", output, changes=chosen.fix):
        with _opened(settings, setting) as store:
            found = read_inventory(store)
            some, useless = select_objects(found.objects, names, titles)
            problems += [f"Not in {setting.url}: {name}" for name in useless if not store.failure]
            results: list[CheckedObject] = []
            checks = check_objects(store, some, signers)
            for one in output.progress(checks, "Checked", len(some)):
                if one is not None:  # else it has vanished meanwhile
                    results.append(one)
                    _tell_check(one, setting, titles, output)
            failed = _failures(store, "checked", partly=bool(results))
            bad = [one for one in results if one.is_useless]
            deleted = delete_objects(store, [one.object for one in bad]) if chosen.fix else []
        if store.failure is not None and not failed:
            failed = [f"Not all of these objects were deleted: {setting.url}: {store.failure}"]
        problems += failed
        findings += len(bad)
        unread = [one for one in results if one.unread]
        problems += [f"Not checked: {setting.url}/{x.object.key}: {x.unread}" for x in unread]
        unsigned = 0
        if signers is None:
            unsigned = sum(x.object.kind != WHEELS and not x.unread for x in results)
        gone = {one.key for one in deleted}
        for one in bad:
            if one.object.key in gone:
                output.detail(f"Deleted {setting.url}/{one.object.key}")
        told.append(
            {
                **_head(store),
                "checked": len(results) - len(unread),
                "signatures_not_checked": unsigned,
                "damaged": [
                    {**_facts_of_check(one, titles, gone), "damage": one.damage}
                    for one in bad
                    if one.damage
                ],
                "not_counted": [
                    {**_facts_of_check(one, titles, gone), "reason": one.refusal}
                    for one in bad
                    if not one.damage
                ],
                "unread": [{"key": one.object.key, "reason": one.unread} for one in unread],
                "missing": useless,
                "ignored": found.ignored,
            }
        )
        _tell_checked(chosen, output, store, results, len(some), len(gone))
        if unsigned:
            number = counted(unsigned, "signature", "signatures")
            hint = "pip config set sharedcache.signers /path/to/allowed_signers"
            output.say(f"{number} not checked, since no signers are named; hint: {hint}")
    output.result({"remotes": told})
    output.find_or_warn(problems)
    return FINDINGS if findings or problems else FINE


def _tell_checked(
    chosen: argparse.Namespace,
    output: Output,
    store: RemoteStore,
    results: Sequence[CheckedObject],
    wanted: int,
    deleted: int,
) -> None:
    """Print the sums of a check of ``wanted`` objects."""
    checked = sum(not one.unread for one in results)
    number = counted(checked, "object", "objects")
    if store.failure is not None and len(results) < wanted:
        number = f"{checked:,} of {counted(wanted, 'object', 'objects')}"
    line = f"Checked {number} of {store.url}"
    damaged = sum(bool(one.damage) for one in results)
    refused = sum(bool(one.refusal) for one in results)
    parts = [f"{damaged:,} damaged"] if damaged else []
    parts += [f"{refused:,} with a signature that does not count"] if refused else []
    parts += [f"{deleted:,} of them deleted"] if parts and chosen.fix else []
    if checked:
        line += f": {', '.join(parts) or 'all are sound'}"
    output.say(f"{line}.")
    if refused and not chosen.fix:
        output.say("hint: --fix deletes damaged objects, and those whose signature does not count")


def _facts_of_check(
    one: CheckedObject, titles: dict[str, str], deleted: Collection[str]
) -> dict[str, Any]:
    """Return the facts about an object that is of no use; ``deleted``: the keys of deleted ones."""
    facts = _facts(one.object, titles)
    return {**facts, "signed_by": one.by or None, "deleted": one.object.key in deleted}


def _tell_check(
    one: CheckedObject, setting: RemoteSetting, titles: dict[str, str], output: Output
) -> None:
    title = titles.get(one.object.digest, "")
    about = f" ({title})" if title and one.object.kind in (WHEELS, BYTECODE) else ""
    by = f", signed by {one.by}" if one.by else ""
    where = f"{setting.url}/{one.object.key}"
    if one.damage:
        output.find(f"Damaged object: {where}{about}{by}: {one.damage}")
    elif one.refusal:
        output.find(f"Signature does not count: {where}{about}: {one.refusal}")
    elif not one.unread:
        output.detail(f"{where}{about}{by} is sound")


def gc_remote(chosen: argparse.Namespace, output: Output) -> int:
    """Run `gc --remote`, and return the exit status."""
    settings, url, _ = _begin(chosen, output)
    settings_of = _remotes(settings, url, "delete objects", output, changes=True)
    local = read_local_use(settings)
    if local.problems:
        raise StoreUnusable(
            f"No object is deleted, since what is in use here is not known: {local.problems[0]}"
        )
    problems: list[str] = []
    told: list[dict[str, Any]] = []
    for setting in settings_of:
        with _opened(settings, setting) as store:
            done = collect_remote(
                *(store, local),
                older_than=chosen.older_than,
                max_size=chosen.max_size,
                dry_run=chosen.dry_run,
            )
        told.append(_tell_collection(chosen, output, store, done, local.titles))
        problems += _failures(store, "collected", partly=bool(done.deleted))
    output.result({"dry_run": chosen.dry_run, "remotes": told})
    output.find_or_warn(problems)
    return FINDINGS if problems else FINE


def _tell_collection(
    chosen: argparse.Namespace,
    output: Output,
    store: RemoteStore,
    done: RemoteCollection,
    titles: dict[str, str],
) -> dict[str, Any]:
    """Print what was deleted; return it for the JSON result."""
    some = done.chosen if chosen.dry_run else done.deleted
    for one in some:
        output.detail(f"{_title(one, titles)}, {store.url}/{one.key}")
    if store.failure is not None and done.chosen:
        what = f"{len(done.chosen):,} chosen objects ({megabytes(done.left)} are left)"
        output.say(f"Deleted {_sums(some)} of {store.url}, of {what}; then it failed.")
    if store.failure is None:
        verb = "Would delete" if chosen.dry_run else "Deleted"
        end = f"{megabytes(done.left)} are left"
        output.say(f"{verb} {_sums(some)} of {store.url}; {end}.")
        if done.used:
            number = counted(done.used, "old object", "old objects")
            output.say(f"Kept {number} that your local stores have used since then.")
        if chosen.older_than is chosen.max_size is None:
            output.say("No limit is given; hint: add --older-than AGE or --max-size SIZE.")
    return {
        **_head(store),
        "deleted": [_facts(one, titles) for one in some],
        "bytes": sum(one.size for one in some),
        "left": done.left,
        "used_here": done.used,
        "ignored": done.ignored,
    }


def _begin(chosen: argparse.Namespace, output: Output) -> tuple[Settings, str, list[str]]:
    """Return the settings, the URL of --remote ("" for all), and the names that select objects.

    A word behind --remote that is no URL is a name, if the command takes some.
    """
    names = list(getattr(chosen, "names", ()))
    url = chosen.remote
    if url and "://" not in url:
        if not hasattr(chosen, "names"):
            raise UsageError(f"--remote takes a URL, and this is none: {url}")
        names.insert(0, url)
        url = ""
    return settings_in_use(output), url, names


def _remotes(
    settings: Settings, url: str, doing: str, output: Output, *, changes: bool = False
) -> Sequence[RemoteSetting]:
    """Return the remote stores to work on; a line names those on web servers, which are not."""
    found = chosen_remotes(settings, url, doing, changes=changes)
    for one in settings.remotes if not url else ():
        if is_web(one):
            output.say(f"{one.url} is left out: a web server lists nothing.")
    return found


@contextmanager
def _opened(settings: Settings, setting: RemoteSetting) -> Iterator[RemoteStore]:
    """Open a remote store, and end it; ``failure`` says whether it failed."""
    store = open_remote(settings, setting)
    try:
        yield store
    finally:
        store.end()


def _failures(store: RemoteStore, done: str, *, partly: bool = False) -> list[str]:
    """Return the line for a store that failed; none for one that works.

    ``done``: what the command does. ``partly``: whether it was done to some objects before.
    """
    how = "only partly" if partly else "not"
    line = f"Remote store is {how} {done}: {store.url}: {store.failure}"
    return [line] if store.failure is not None else []


def _head(store: RemoteStore) -> dict[str, Any]:
    failure = None if store.failure is None else str(store.failure)
    return {"url": store.url, "policy": store.setting.policy.value, "problem": failure}


def _facts(one: RemoteObject, titles: dict[str, str]) -> dict[str, Any]:
    of_wheel = one.kind in (WHEELS, BYTECODE)
    return {
        "key": one.key,
        "area": one.kind,
        "sha256": one.digest if of_wheel else None,
        "title": titles.get(one.digest) if of_wheel else None,
        "bytes": one.size,
        "modified": moment(one.modified),
    }


def _title(one: RemoteObject, titles: dict[str, str]) -> str:
    title = titles.get(one.digest, one.digest[:_SHORT])
    return f"{title}, {one.tag}" if one.kind == BYTECODE else title


def _day(one: RemoteObject) -> str:
    return (moment(one.modified) or "unknown")[:10]


def _sorted(
    objects: Sequence[RemoteObject], titles: dict[str, str], sort: str
) -> list[RemoteObject]:
    by_name = sorted(objects, key=lambda one: (_title(one, titles).lower(), one.key))
    if sort == "size":
        return sorted(by_name, key=lambda one: -one.size)
    if sort == "used":
        return sorted(by_name, key=lambda one: -one.modified)
    return by_name


def _sums(objects: Sequence[RemoteObject]) -> str:
    """Return the number of ``objects`` of each kind, and their size, in words."""
    kinds = Counter(one.kind for one in objects)
    parts = [counted(kinds[kind], *_WORDS[kind][1:]) for kind in KINDS if kinds[kind]]
    size = megabytes(sum(one.size for one in objects))
    return f"{', '.join(parts) or 'no object'} ({size})"


def _tell_sums(
    output: Output, setting: RemoteSetting, objects: Sequence[RemoteObject], ignored: int
) -> None:
    """Print the totals of a remote store."""
    more = ""
    if ignored:
        more = f"; {counted(ignored, 'object has', 'objects have')} another name, and is ignored"
        more = more.replace("and is", "and are") if ignored > 1 else more
    output.say(f"{setting.url}: {_sums(objects)}{more}")
