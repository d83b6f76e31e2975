"""The command `pull`, which gets wheels from the remote stores into the local one."""

from __future__ import annotations

import argparse
from typing import Any

from pip_sharedcache import pip_adapter
from pip_sharedcache.cli.output import FINDINGS, FINE, NAMES, Output
from pip_sharedcache.cli.quantities import counted
from pip_sharedcache.cli.stores import main_store, settings_in_use
from pip_sharedcache.config import RemoteSetting
from pip_sharedcache.errors import UsageError
from pip_sharedcache.maintenance.pull import Pull, is_digest
from pip_sharedcache.maintenance.remotes import is_web, open_bucket, read_local_use
from pip_sharedcache.maintenance.stores import require_publishable
from pip_sharedcache.model import megabytes
from pip_sharedcache.remote.access import Access
from pip_sharedcache.store import may_relay_signed, signers_of

HELP = "get wheels from the remote stores into the store"
DESCRIPTION = (
    "Get wheels, and their signed bytecode for this interpreter, from the remote stores of the "
    "setting dir. A digest selects best: a remote store knows no names, so that a name selects "
    "only wheels that another local store has. Use `store add` for wheels that the index names."
)


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the arguments of this command to ``parser``."""
    parser.add_argument("--all", action="store_true", help="get all wheels of the remote stores")
    parser.add_argument("names", nargs="*", metavar="NAME", help=NAMES)


def run(chosen: argparse.Namespace, output: Output) -> int:
    """Run the command, and return the exit status."""
    if bool(chosen.names) == chosen.all:
        raise UsageError(
            "store pull needs either digests of wheels, or --all",
            "pip-sharedcache store list --remote shows the digests; "
            "pip-sharedcache store add NAME gets wheels that the index names",
        )
    settings = settings_in_use(output)
    remotes = list(settings.remotes)
    if not remotes:
        raise UsageError("Cannot pull: the setting dir names no remote store")
    if settings.offline:
        raise UsageError("Cannot pull: the setting offline allows no request")
    if not all(map(is_digest, chosen.names)) or chosen.all:
        web = [one.url for one in remotes if is_web(one)]
        remotes = [one for one in remotes if not is_web(one)]
        if not remotes:
            raise UsageError(
                f"Cannot pull: {web[0]}: a web server lists nothing",
                "give whole digests; pip-sharedcache store add gets wheels by name",
            )
        for url in web:
            output.say(f"{url} is left out: a web server lists nothing.")
    store = main_store(settings, output, make=True)
    require_publishable(store)
    signers = signers_of(settings, [store])
    if signers is not None and not may_relay_signed(settings, store):
        signers = None
        output.detail(
            f"No bytecode is pulled: others use {store.path}, and the configuration for all users "
            "names no signers"
        )

    def access(setting: RemoteSetting) -> Access:
        if is_web(setting):
            return pip_adapter.open_web(setting.url, float(settings.remote_timeout))
        return open_bucket(settings, setting)

    titles = read_local_use(settings, uses=False).titles
    pull = Pull(store, chosen.names, titles, signers)
    problems: list[str] = []
    told: list[dict[str, Any]] = []
    for done in pull.from_remotes(remotes, access):
        problems += [f"Not pulled: {done.url}: {problem}" for problem in done.problems]
        counts = {"pulled": done.wheels, "bytecode": done.bytecode, "bytes": done.size}
        told.append({"url": done.url, **counts})
        what = counted(done.wheels, "wheel", "wheels")
        if done.bytecode:
            what += f", and bytecode of {counted(done.bytecode, 'wheel', 'wheels')}"
        output.say(f"Pulled {what} ({megabytes(done.size)}) from {done.url}.")
    if present := len(pull.unneeded):
        output.say(f"{counted(present, 'wheel was', 'wheels were')} in {store.path} before.")
    hint = "hint: pip-sharedcache store add gets wheels that the index names"
    for name in pull.missing:
        end = "" if is_digest(name) else f"; {hint}"
        problems.append(f"No remote store has a wheel that is known as {name}{end}")
    output.find_or_warn(problems)
    result = {"store": str(store.path), "remotes": told, "present": present}
    output.result({**result, "missing": pull.missing, "problems": problems})
    return FINDINGS if problems else FINE
