"""Healing: a damaged entry is made anew from its own wheel, or taken out of sight."""

from __future__ import annotations

import os
import tempfile
from pathlib import Path

from pip_sharedcache import trust
from pip_sharedcache.errors import NotPublished, SharedCacheError, UnusualWheel, reason
from pip_sharedcache.model import Digest, Entry, Manifest
from pip_sharedcache.store.collect import take_out_of_sight
from pip_sharedcache.store.layout import Store
from pip_sharedcache.store.lookup import copy_wheel
from pip_sharedcache.store.publish import publish
from pip_sharedcache.store.verify import Verdict


def heal(store: Store, verdict: Verdict) -> tuple[bool, str]:
    """Mend the damaged entry of ``verdict``: it is made anew from its own wheel if that is sound,
    else taken out of sight. Whether that was done, and what was, or why not, in words for people.

    Only an owner may: of the entry, of its shard, or root. Installations that hold the entry open
    go on with it undisturbed.
    """
    item = verdict.item
    who = trust.user_name(item.publisher)
    try:
        above = os.lstat(item.path.parent).st_uid
        if trust.user_id() not in (0, item.publisher, above):
            return False, f"{who} can heal it with the same command, as root can"
        if not verdict.wheel:
            return _take_away(verdict)
        return _make_anew(store, verdict)
    except OSError as error:
        return False, f"it cannot be healed: {reason(error)}"
    except SharedCacheError as error:
        return False, f"it cannot be healed: {error}"


def _take_away(verdict: Verdict) -> tuple[bool, str]:
    status = os.lstat(verdict.item.path)
    if verdict.identity not in (None, (status.st_dev, status.st_ino)):
        return True, "somebody else has replaced it"
    take_out_of_sight(verdict.item.path)
    return True, "taken out of sight; the next installation that needs it publishes a sound one"


def _make_anew(store: Store, verdict: Verdict) -> tuple[bool, str]:
    item, digest = verdict.item, Digest(verdict.item.digest)
    assert verdict.identity is not None
    own = Manifest(verdict.wheel, digest, 0, ())
    entry = Entry(item.path, item.publisher, verdict.identity, own)
    with tempfile.TemporaryDirectory(prefix="pip-sharedcache-") as temporary:
        copy = Path(temporary, verdict.wheel)
        if not copy_wheel(entry, copy):
            return False, "its wheel changes while it is read"
        done, how = _take_away(verdict)
        if not done or os.path.lexists(item.path):
            return done, how
        try:
            new = publish(store, copy, verdict.wheel, digest)
        except (NotPublished, UnusualWheel) as error:
            return True, f"taken out of sight, but not made anew: {error}"
    whose = "" if new.publisher == item.publisher else f", now of {trust.user_name(new.publisher)}"
    return True, f"made anew from its own wheel{whose}"
