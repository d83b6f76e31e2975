"""The hook that makes pip install through the shared store.

Written by `pip-sharedcache store enable`, removed by `pip-sharedcache store disable`. Imports
nothing until pip is imported.
"""

import sys

TOLD = {}  # type: ignore[var-annotated]


class Waiting:
    """A finder that finds no module, and notices the import of pip."""

    def find_spec(self, fullname, path=None, target=None):  # type: ignore[no-untyped-def]
        if fullname == "pip._internal" and self in sys.meta_path:
            sys.meta_path.remove(self)
            step_in()  # type: ignore[no-untyped-call]


def start():  # type: ignore[no-untyped-def]
    """Wait for the import of pip.

    When the interpreter starts, site calls this for the .pth or .start file beside this module, or
    sitecustomize calls it.
    """
    if not any(type(finder).__name__ == "Waiting" for finder in sys.meta_path):
        sys.meta_path.insert(0, Waiting())


def step_in():  # type: ignore[no-untyped-def]
    """Make pip install through the store; without the runner, pip installs as plain pip does."""
    import _signal as signal  # type: ignore[import-not-found]  # signal imports enum first
    import os

    def quiet_exit(number, frame):  # type: ignore[no-untyped-def]
        os._exit(130)  # after Ctrl-C while the imports run, as pip_sharedcache.interrupts does

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
    if signal.getsignal(signal.SIGINT) is signal.default_int_handler:
        try:  # noqa: SIM105
            signal.signal(signal.SIGINT, quiet_exit)
        except ValueError:
            pass  # not the main thread
    try:
        exec(compile(text, runner, "exec"), names)
        names["join"](told)  # type: ignore[operator]
    except Exception as error:  # damaged packages must not stop the pip of every user
        sys.meta_path[:] = finders
        if "install" in sys.argv:
            import logging

            what = f"the package of {runner} is damaged: {type(error).__name__}: {error}"
            line = "WARNING: Installing without the shared store: " + " ".join(what.split())
            logging.getLogger("pip_sharedcache").warning(line)
    finally:
        if signal.getsignal(signal.SIGINT) is quiet_exit:  # else pip's command ends it
            signal.signal(signal.SIGINT, signal.default_int_handler)
