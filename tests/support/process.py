"""What this very process may do: be another user for a while, write no large files."""

from __future__ import annotations

import os
import resource
from collections.abc import Iterator, Sequence
from contextlib import contextmanager


@contextmanager
def as_user(uid: int, gid: int = 54300, groups: Sequence[int] = ()) -> Iterator[None]:
    """Be user uid with group gid and these further groups, the kernel's checks included.

    Needs root, which comes back at the end. No account is needed.
    """
    before = os.getgroups()
    os.setgroups(list(groups))
    os.setresgid(gid, gid, 0)
    os.setresuid(uid, uid, 0)
    try:
        yield
    finally:
        os.setresuid(0, 0, 0)
        os.setresgid(0, 0, 0)
        os.setgroups(before)


@contextmanager
def file_size_limit(size: int) -> Iterator[None]:
    """No file can grow beyond size bytes: write(2) gives EFBIG, as a full disk gives ENOSPC."""
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
