"""The HTML page with the content and the savings of a store, from the store's own data."""

from __future__ import annotations

import os
import shutil
import time
from dataclasses import dataclass
from pathlib import Path

from pip_sharedcache import fs, trust
from pip_sharedcache.maintenance import html_report
from pip_sharedcache.maintenance.doctor.surroundings import mount_of
from pip_sharedcache.maintenance.entries import Track, read_entries
from pip_sharedcache.maintenance.stats import Savings
from pip_sharedcache.maintenance.svg import Point
from pip_sharedcache.model import megabytes
from pip_sharedcache.store import AREAS, Store, run_log


@dataclass(frozen=True)
class Page:
    """An HTML page.

    ``text``: the HTML.
    ``entries``: the number of entries on the page.
    ``unread``: the paths that cannot be read, each with the reason.
    """

    text: str
    entries: int
    unread: tuple[tuple[Path, str], ...]


def make_page(store: Store, *, track: Track = iter) -> Page:
    """Return the page with the content and the savings of ``store`` at present; raise OSError."""
    now = time.time()
    contents = read_entries(store, areas=AREAS, uses=False, track=track)
    holdings = html_report.Inventory(unread=len(contents.unread)).add(contents.items, now)
    savings = Savings.of(store, ["package", "user", "environment"])
    collections = [Point(one.at, one.size) for _, one in run_log.collections(store)]
    collections.sort(key=lambda point: point.at)
    text = html_report.page(str(store.path), holdings, savings, collections, _room(store), now)
    return Page(text, holdings.entries, contents.unread)


def _room(store: Store) -> dict[str, str]:
    """Return the free space of the file system and the limits of a quota, in words."""
    facts = {"free": megabytes(shutil.disk_usage(store.path).free)}
    status = os.statvfs(store.path) if hasattr(os, "statvfs") else None
    if status is not None and status.f_files:  # btrfs has no fixed number of inodes
        facts["inodes free"] = f"{status.f_favail:,} of {status.f_files:,}"
    mount = mount_of(store.path)
    quota = fs.quota(mount.source, trust.user_id()) if mount else None
    if quota is not None and quota.most_inodes:
        facts["inodes of your quota"] = f"{quota.inodes:,} of {quota.most_inodes:,}"
    if quota is not None and quota.most_bytes:
        facts["your quota"] = f"{megabytes(quota.bytes)} of {megabytes(quota.most_bytes)}"
    return facts
