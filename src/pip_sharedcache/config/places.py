"""Where a store is if no place names one."""

from __future__ import annotations

import contextlib
from pathlib import Path

_APPLICATION = "pip-sharedcache"


def site_store() -> Path:
    """Return the directory of the site's store, which counts if it exists and nothing is set."""
    import platformdirs  # late: most commands of pip do not need it

    return Path(platformdirs.site_cache_dir(_APPLICATION, appauthor=False))


def site_has_store() -> bool:
    """Return whether an administrator made the site's store. Raises OSError."""
    return (site_store() / "store.json").is_file()


def own_store() -> Path | None:
    """Return the directory of this user's own store; None without a home directory."""
    import platformdirs

    with contextlib.suppress(RuntimeError):
        own = Path(platformdirs.user_cache_dir(_APPLICATION, appauthor=False))
        return own if own.is_absolute() else None
    return None
