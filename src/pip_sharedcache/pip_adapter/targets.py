"""The target directory of a run of pip, by its options."""

from __future__ import annotations

import os
import site
import sys
from optparse import Values


def environment_of(options: Values) -> str:
    """Return the directory to which a run of pip with ``options`` has installed.

    It is the directory of --target or --prefix, the user's base directory for --user, or else this
    interpreter's prefix; with --root, below that directory. ``options``: pip's, after the run.
    """
    target = getattr(options, "target_dir", None) or getattr(options, "prefix_path", None)
    if target:
        where = os.path.abspath(str(target))
    elif getattr(options, "use_user_site", None):
        where = str(site.getuserbase())
    else:
        where = sys.prefix
    root = getattr(options, "root_path", None)
    return os.path.join(os.path.abspath(str(root)), where.lstrip(os.sep)) if root else where
