"""``python -m pip_sharedcache``: see :mod:`pip_sharedcache.cli`."""

import sys

from pip_sharedcache.cli import main

if __name__ == "__main__":
    sys.exit(main())
