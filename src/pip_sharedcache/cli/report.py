"""One page on what a store holds and saves: report."""

from __future__ import annotations

import argparse
import os
import shutil
import time
from pathlib import Path
from typing import Any

from pip_sharedcache import fs, trust
from pip_sharedcache.cli.files import written
from pip_sharedcache.cli.output import FINDINGS, FINE, Output
from pip_sharedcache.cli.quantities import entries
from pip_sharedcache.cli.stores import store_in_use
from pip_sharedcache.maintenance import html_report
from pip_sharedcache.maintenance.doctor import mount_of
from pip_sharedcache.maintenance.stats import Savings
from pip_sharedcache.maintenance.svg import Point
from pip_sharedcache.model import megabytes
from pip_sharedcache.store import Store, inventory, run_log


def add(commands: Any) -> None:
    """Name the command of this module."""
    parser = commands.add_parser(
        "report",
        help="make a page on what the store holds and saves",
        description="Writes one file that needs nothing else, for a browser. The same as numbers: "
        "pip-sharedcache store stats.",
    )
    parser.add_argument("--html", metavar="FILE", type=Path, required=True, help="the file")
    parser.set_defaults(run=_report)


def _report(chosen: argparse.Namespace, output: Output) -> int:
    store = store_in_use(output)
    now = time.time()
    unread: list[tuple[Path, str]] = []
    items = output.progress(inventory(store, {}, unread), "Looked at")
    holdings = html_report.Holdings().add(items, now)
    savings = Savings.of(store, ["package", "user", "environment"])
    collections = [
        Point(one.at, one.size) for _, one in sorted(run_log.collections(store), key=_when)
    ]
    text = html_report.page(str(store.path), holdings, savings, collections, _room(store), now)
    with written(chosen.html) as file:
        file.write(text.encode("utf-8", "backslashreplace"))
    output.result({"file": str(chosen.html), "bytes": len(text), "entries": holdings.entries})
    output.say(f"Wrote {chosen.html}, on {entries(holdings.entries)} of {store.path}.")
    for path, why in unread:
        output.find(f"{path} cannot be read, and is not on it: {why}")
    return FINDINGS if unread else FINE


def _when(told: tuple[int, run_log.Collection]) -> int:
    return told[1].at


def _room(store: Store) -> dict[str, str]:
    """What the file system and a quota leave, in words."""
    facts = {"free": megabytes(shutil.disk_usage(store.path).free)}
    status = os.statvfs(store.path) if hasattr(os, "statvfs") else None
    if status is not None and status.f_files:  # btrfs makes inodes as they are needed
        facts["inodes free"] = f"{status.f_favail:,} of {status.f_files:,}"
    mount = mount_of(store.path)
    quota = fs.quota(mount.source, trust.user_id()) if mount else None
    if quota is not None and quota.most_inodes:
        facts["inodes of your quota"] = f"{quota.inodes:,} of {quota.most_inodes:,}"
    if quota is not None and quota.most_bytes:
        facts["your quota"] = f"{megabytes(quota.bytes)} of {megabytes(quota.most_bytes)}"
    return facts
