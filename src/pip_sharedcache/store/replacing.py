"""One entry in the place of another."""

from __future__ import annotations

import os
import secrets
from pathlib import Path

from pip_sharedcache import linker
from pip_sharedcache.store.layout import DEAD


def put_in_place(staging: Path, target: Path) -> Path:
    """Give ``staging`` the name of the entry ``target``; return where that is now, out of sight.

    Symlinks that lead to the name would break in between, so both are exchanged at once; only where
    the system cannot, there is nothing of that name for a moment. Raises OSError.
    """
    dead = target.with_name(f"{DEAD}{target.name}-{secrets.token_hex(4)}")
    if linker.exchange(staging, target):
        os.rename(staging, dead)
        return dead
    os.rename(target, dead)
    try:
        os.rename(staging, target)
    except OSError:
        if not os.path.lexists(target):
            os.rename(dead, target)
        raise
    return dead
