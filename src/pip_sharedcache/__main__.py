"""``python -m pip_sharedcache``: see :mod:`pip_sharedcache.cli`."""

import os
import sys
from typing import NoReturn

if sys.version_info < (3, 9):  # noqa: UP036 - an archive is run by any
    sys.exit("ERROR: pip-sharedcache needs Python 3.9 or later")

try:
    here = os.getcwd()
except OSError:  # somebody has removed it
    here = ""
# As pip's own __main__, the first entry only: a wrapt.py or packaging.py that lies in the current
# directory is somebody else's code, and must not run in our place.
if sys.path[0] in ("", here):
    sys.path.pop(0)

from pip_sharedcache.cli import main, script


def run() -> NoReturn:
    """What an archive of Python's starts (zipapp --main pip_sharedcache.__main__:run): the same as
    the script."""
    sys.exit(script())


if __name__ == "__main__":
    sys.exit(main())
