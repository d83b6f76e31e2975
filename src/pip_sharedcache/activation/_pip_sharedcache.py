"""Has pip install through the shared store. Written by `pip-sharedcache store enable`, taken away
by `pip-sharedcache store disable`. Imports nothing before pip is imported.
"""

import sys

TOLD = {}  # type: ignore[var-annotated]


class Waiting:
    """Finds nothing: notices that pip is being imported."""

    def find_spec(self, fullname, path=None, target=None):  # type: ignore[no-untyped-def]
        if fullname == "pip._internal" and self in sys.meta_path:
            sys.meta_path.remove(self)
            step_in()  # type: ignore[no-untyped-call]


def start():  # type: ignore[no-untyped-def]
    """Called when an interpreter starts: by site, for the .pth or .start file beside this one, or
    by sitecustomize."""
    if not any(type(finder).__name__ == "Waiting" for finder in sys.meta_path):
        sys.meta_path.insert(0, Waiting())


def step_in():  # type: ignore[no-untyped-def]
    """Tell pip of the store; where the packages are gone that do it, pip goes on as ever."""
    import os

    here = os.path.dirname(os.path.abspath(__file__))
    told = dict(TOLD)
    told["roots"] = {name: os.path.join(here, root) for name, root in TOLD["roots"].items()}
    runner = os.path.join(here, TOLD["runner"])
    try:
        with open(runner, encoding="utf-8") as file:
            text = file.read()
    except OSError:
        return
    names = {"__name__": "_pip_sharedcache_runner", "__file__": runner}
    finders = list(sys.meta_path)
    try:
        exec(compile(text, runner, "exec"), names)
        names["join"](told)  # type: ignore[operator]
    except Exception as error:  # whatever is damaged there must not stop everybody's pip
        sys.meta_path[:] = finders
        if "install" in sys.argv:
            import logging

            what = f"what {runner} belongs to is damaged ({type(error).__name__}: {error})"
            line = "WARNING: Installing without the shared store: " + " ".join(what.split())
            logging.getLogger("pip_sharedcache").warning(line)
