"""The owner that a file server gives to new files of a user (root_squash in exports(5))."""

from __future__ import annotations

import os
import tempfile
from pathlib import Path

from pip_sharedcache import trust


def mapped_owner(directory: Path) -> int | None:
    """Return the uid that gets the files which this user makes in ``directory``.

    None if this user gets them, or may not make a file there. The file of this test is deleted.
    """
    if not trust.OWNERS_MEAN_SOMETHING:
        return None
    try:
        with tempfile.TemporaryFile(dir=directory) as file:
            owner = os.fstat(file.fileno()).st_uid
    except OSError:
        return None
    return None if owner == trust.user_id() else owner


def mapping_reason(owner: int) -> str:
    """Return words for the mapping of this user to the uid ``owner``."""
    user = trust.user_name(trust.user_id())
    return f"the file server gives the files of {user} to {trust.user_name(owner)} (uid {owner})"
