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
    except OSError as error:
        end_if_offline(f"{runner} cannot be read: {error.strerror}")  # type: ignore[no-untyped-call]
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
        what = f"the package of {runner} is damaged: {type(error).__name__}: {error}"
        what = " ".join(what.split())
        end_if_offline(what)  # type: ignore[no-untyped-call]
        if "install" in sys.argv:
            import logging

            line = "WARNING: Installing without the shared store: " + what
            logging.getLogger("pip_sharedcache").warning(line)
    finally:
        if signal.getsignal(signal.SIGINT) is quiet_exit:  # else pip's command ends it
            signal.signal(signal.SIGINT, signal.default_int_handler)


def end_if_offline(why):  # type: ignore[no-untyped-def]
    """End this process where the user allows no request: pip by itself would make some."""
    import os
    import sys

    commands = ("install", "download", "wheel", "lock", "index", "search")
    if any(name in sys.argv for name in commands) and is_offline():  # type: ignore[no-untyped-call]
        line = "ERROR: No request is made, by the setting offline: " + why + "\n"
        os.write(2, line.encode("utf-8", "backslashreplace"))
        sys.exit(2)


def is_offline():  # type: ignore[no-untyped-def]
    """Return whether a place of settings allows no request, or has a value that cannot be read.

    The same as config.offline_setting, where that cannot be imported. The files are those of pip
    on Linux and macOS. The runner, the hook and the launcher have this function, since each can be
    all that is left of pip-sharedcache.
    """
    import configparser
    import os
    import sys

    names = ("_PIP_SHAREDCACHE_OPTION_OFFLINE", "PIP_SHAREDCACHE_OFFLINE")
    values = [os.environ.get(name, "") for name in names]
    end = sys.argv.index("--") if "--" in sys.argv else len(sys.argv)
    if "--offline" in sys.argv[:end]:
        return True
    named = os.environ.get("PIP_CONFIG_FILE", "")
    home = os.path.expanduser("~")
    own = os.environ.get("XDG_CONFIG_HOME") or os.path.join(home, ".config")
    mac = os.path.join("Library", "Application Support", "pip", "pip.conf")
    files = [os.path.join(sys.prefix, "pip.conf"), os.path.join(own, "pip", "pip.conf")]
    files += [os.path.join(home, mac), os.path.join(home, ".pip", "pip.conf")]
    files += ["/etc/pip.conf", "/etc/xdg/pip/pip.conf", os.path.join("/", mac)]
    for file in [named] * bool(named) + ([] if named == os.devnull else files):
        parser = configparser.RawConfigParser()
        try:
            parser.read(file, encoding="utf-8")
            values.append(parser.get("sharedcache", "offline", fallback="") or "")
        except (configparser.Error, ValueError):
            continue  # pip stops there, too
    value = next(filter(str.strip, values), "no").strip().lower()
    return value not in ("0", "false", "no", "n", "off")
