"""Where a run of pip installs to, by its options."""

from __future__ import annotations

import os
import site
import sys
from typing import Any


def environment_of(options: Any) -> str:
    """The directory that a run with ``options`` (pip's, after it has run) has installed to: that
    of --target or --prefix, the user's base directory for --user, else this interpreter's prefix;
    below --root where that is given."""
    target = getattr(options, "target_dir", None) or getattr(options, "prefix_path", None)
    if target:
        where = os.path.abspath(str(target))
    elif getattr(options, "use_user_site", None):
        where = str(site.getuserbase())
    else:
        where = sys.prefix
    root = getattr(options, "root_path", None)
    return os.path.join(os.path.abspath(str(root)), where.lstrip(os.sep)) if root else where
