"""The entry of ``python -m pip_sharedcache``: see :mod:`pip_sharedcache.cli`."""

import sys

if sys.version_info < (3, 9):  # noqa: UP036 - any Python can start an archive
    sys.exit("ERROR: pip-sharedcache needs Python 3.9 or later")

from pip_sharedcache import interrupts

interrupts.exit_quietly()  # before any other import
import os  # noqa: E402
from typing import NoReturn  # noqa: E402

try:
    here = os.getcwd()
except OSError:  # another process has removed the directory
    here = ""
# As pip's own __main__ does, remove the first entry only: code of others in the current directory,
# such as a wrapt.py or packaging.py, must not run in place of the installed package.
if sys.path[0] in ("", here):
    sys.path.pop(0)

try:
    from pip_sharedcache.cli import main, script
finally:
    interrupts.raise_again()


def run() -> NoReturn:
    """Run the script: the entry of an archive (zipapp --main pip_sharedcache.__main__:run)."""
    sys.exit(script())


if __name__ == "__main__":
    sys.exit(main())
