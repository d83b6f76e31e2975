"""Run pip through the shared store in another interpreter, which needs nothing installed.

Started by pip as a script in place of its own __pip-runner__.py. What to run lies in the
environment variable _PIP_SHAREDCACHE_RUNNER; only those packages are found there, and nothing
else of the interpreter that they come from. An interpreter that is too old for one of them gets
pip's own copy of that, or else plain pip, and that is said.

The name keeps it from being imported. Syntax: any Python that pip itself still runs on.
"""

import json
import logging
import os
import runpy
import sys
from importlib.machinery import PathFinder


class CarriedFinder:
    """Finds the packages that the starting interpreter carries over."""

    def __init__(self, roots):  # type: ignore[no-untyped-def]
        self.roots = roots

    def find_spec(self, fullname, path=None, target=None):  # type: ignore[no-untyped-def]
        root = self.roots.get(fullname)
        return None if root is None else PathFinder.find_spec(fullname, [root], target)


def run():  # type: ignore[no-untyped-def]
    told = json.loads(os.environ["_PIP_SHAREDCACHE_RUNNER"])
    here = os.path.dirname(os.path.abspath(__file__))
    sys.path[:] = [path for path in sys.path if os.path.abspath(path) != here]
    version = list(sys.version_info[:2])
    for name, other in told["older"].items():
        if version < other["since"]:
            told["roots"][name] = other["root"]
    if version < told["requires"]:
        if "install" in sys.argv:
            # Seen as it is: nobody has set up logging yet.
            logging.getLogger("pip_sharedcache").warning(
                "WARNING: Installing without the shared store: it needs Python %s or later",
                ".".join(map(str, told["requires"])),
            )
        sys.argv[0] = told["pip"]
        runpy.run_path(told["pip"], run_name="__main__")
        return
    sys.meta_path.insert(0, CarriedFinder(told["roots"]))  # type: ignore[no-untyped-call]
    from pip_sharedcache.cli import main

    sys.exit(main())


if __name__ == "__main__":
    run()  # type: ignore[no-untyped-call]
