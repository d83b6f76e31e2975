"""Where a store is if no place names one."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator
from pathlib import Path

_APPLICATION = "pip-sharedcache"


@contextlib.contextmanager
def _absolute_variables() -> Iterator[None]:
    """Remove relative paths from the variables XDG_… for the block.

    The XDG Base Directory Specification demands that programs ignore them; old versions of
    platformdirs do not.
    """
    wrong = {
        name: value
        for name, value in os.environ.items()
        if name.startswith("XDG_") and name.endswith("_HOME") and not os.path.isabs(value)
    }
    for name in wrong:
        del os.environ[name]
    try:
        yield
    finally:
        os.environ.update(wrong)


def site_store() -> Path:
    """Return the directory of the site's store, which counts if it exists and nothing is set."""
    import platformdirs  # late: most commands of pip do not need it

    return Path(platformdirs.site_cache_dir(_APPLICATION, appauthor=False))


def own_data() -> Path:
    """Return the directory for this user's data that is no cache."""
    import platformdirs

    with _absolute_variables():
        return Path(platformdirs.user_data_dir(_APPLICATION, appauthor=False))


def site_has_store() -> bool:
    """Return whether an administrator made the site's store. Raises OSError."""
    return (site_store() / "store.json").is_file()


def own_store() -> Path | None:
    """Return the directory of this user's own store; None without a home directory."""
    import platformdirs

    with contextlib.suppress(RuntimeError), _absolute_variables():
        own = Path(platformdirs.user_cache_dir(_APPLICATION, appauthor=False))
        return own if own.is_absolute() else None
    return None
