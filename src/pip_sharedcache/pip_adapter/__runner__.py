"""The script that runs pip through the shared store in another interpreter.

pip starts the script in place of its own __pip-runner__.py; the environment variable
_PIP_SHAREDCACHE_RUNNER then says what to run. Or the hook of an environment (activation) executes
the script when that environment's Python imports a pip. The script makes only the named packages
importable, and nothing else of the interpreter that they belong to. An interpreter that is too old
for a package gets pip's own copy of the package, or else plain pip with a warning.

The file name prevents an import. The syntax must suit every Python on which pip runs.
"""

import _signal as signal  # type: ignore[import-not-found]  # signal imports enum first
import os


def quiet_exit(number, frame):  # type: ignore[no-untyped-def]
    """End this process after Ctrl-C while its imports run, as pip_sharedcache.interrupts does."""
    os._exit(130)


if __name__ == "__main__" and signal.getsignal(signal.SIGINT) is signal.default_int_handler:
    signal.signal(signal.SIGINT, quiet_exit)

import json  # noqa: E402
import logging  # noqa: E402
import runpy  # noqa: E402
import sys  # noqa: E402
from importlib.machinery import PathFinder  # noqa: E402

#: pip's own copies of these packages run on each Python of that pip, and replace our copies where
#: the interpreter is too old for ours. Values: a file, and a definition in it that we use.
BROUGHT_BY_PIP = {
    "packaging": ("utils.py", "def parse_wheel_filename"),
    "platformdirs": ("__init__.py", "def site_cache_dir"),
}


class CarriedFinder:
    """A finder for the packages that the starting interpreter carries over."""

    def __init__(self, roots):  # type: ignore[no-untyped-def]
        self.roots = roots

    def find_spec(self, fullname, path=None, target=None):  # type: ignore[no-untyped-def]
        root = self.roots.get(fullname)
        return None if root is None else PathFinder.find_spec(fullname, [root], target)


def run():  # type: ignore[no-untyped-def]
    told = json.loads(os.environ["_PIP_SHAREDCACHE_RUNNER"])
    is_first = drop_own_directory(told["pip"])  # type: ignore[no-untyped-call]
    main = ours(told)  # type: ignore[no-untyped-call]
    if main is None:
        raise_again()  # type: ignore[no-untyped-call]
        too_old = list(sys.version_info[:2]) < told["requires"]
        if too_old and told["pip"] and not os.path.exists(told["pip"]):
            # A pip in an archive does not check the version itself.
            needed = ".".join(map(str, told["requires"]))
            sys.exit("ERROR: This pip needs Python " + needed + " or later")
        if is_first:  # as Python does for the script that it runs
            sys.path.insert(0, os.path.dirname(told["pip"] or sys.executable))
        if told["pip"]:
            sys.argv[0] = told["pip"]
            runpy.run_path(told["pip"], run_name="__main__")
        else:
            runpy.run_module("pip", run_name="__main__", alter_sys=True)
        return
    sys.exit(main(as_pip=True))


def raise_again():  # type: ignore[no-untyped-def]
    """Let Ctrl-C raise KeyboardInterrupt again, for a pip that runs by itself."""
    if getattr(signal.getsignal(signal.SIGINT), "__name__", "") == quiet_exit.__name__:
        signal.signal(signal.SIGINT, signal.default_int_handler)


def drop_own_directory(pip):  # type: ignore[no-untyped-def]
    """Remove the directory of this script from sys.path; return whether it was there.

    Python adds that directory, except with -P or -I. Without it, do as pip's __main__: remove the
    first entry if it is the current directory. That applies where ``pip`` is the path of pip's own
    runner, and not where it is "" (pip's script).
    """
    here = os.path.dirname(os.path.abspath(__file__))
    if os.path.abspath(sys.path[0]) == here:
        sys.path.pop(0)
        return True
    try:
        current = os.getcwd()
    except OSError:
        current = ""
    if pip and sys.path[0] in ("", current):
        sys.path.pop(0)
    return False


def ours(told):  # type: ignore[no-untyped-def]
    """Return the function that runs pip through the store; None, with a warning, on failure."""
    finders = list(sys.meta_path)
    if not carry(told, where_pip_is(told)):  # type: ignore[no-untyped-call]
        return None
    try:
        from pip_sharedcache.cli import main
    except Exception as error:  # a damaged pip-sharedcache must not stop the user's pip
        sys.meta_path[:] = finders
        refuse("pip-sharedcache is damaged: %s: %s", type(error).__name__, error)  # type: ignore[no-untyped-call]
        return None
    return main


def where_pip_is(told):  # type: ignore[no-untyped-def]
    """Return the directory of the carried pip, or else of the interpreter's own pip."""
    if "pip" in told["roots"]:
        return os.path.join(told["roots"]["pip"], "pip")
    spec = PathFinder.find_spec("pip")
    places = spec.submodule_search_locations if spec else None
    return next(iter(places)) if places else ""


def join(told):  # type: ignore[no-untyped-def]
    """Connect the pip that is being imported to the store."""
    if "pip_sharedcache.pip_adapter.run" in sys.modules:
        return  # pip-sharedcache started this pip
    path = getattr(sys.modules.get("pip"), "__path__", None) or [""]
    finders = list(sys.meta_path)
    if not carry(told, path[0]):  # type: ignore[no-untyped-call]
        return
    try:
        from pip_sharedcache.cli import join_pip

        join_pip()
    except Exception as error:
        sys.meta_path[:] = finders
        raise_again()  # type: ignore[no-untyped-call]
        reason = "pip-sharedcache cannot run here, or is damaged: %s: %s"
        refuse(reason, type(error).__name__, error)  # type: ignore[no-untyped-call]


def carry(told, pip):  # type: ignore[no-untyped-def]
    """Make the packages that ``told`` names importable, and return whether that succeeded.

    ``pip``: the directory of the pip that runs. Where a package is missing or this interpreter is
    too old, the function warns, changes nothing and returns False.
    """
    needed, what = told["requires"], "pip-sharedcache"
    roots = dict(told["roots"])
    version = list(sys.version_info[:2])
    for name, since in told["since"].items():
        if version >= since:
            continue
        vendored = os.path.join(pip, "_vendor")
        if is_brought(name, vendored):  # type: ignore[no-untyped-call]
            roots[name] = vendored
        elif since > needed and version >= told["requires"]:
            needed, what = since, "the package " + name + " of pip-sharedcache"
    if version < needed:
        refuse("%s needs Python %s or later", what, ".".join(map(str, needed)))  # type: ignore[no-untyped-call]
        return False
    for name, root in roots.items():
        if PathFinder.find_spec(name, [root]) is None:
            refuse("package %s is missing in %s", name, root)  # type: ignore[no-untyped-call]
            return False
    sys.meta_path.insert(0, CarriedFinder(roots))  # type: ignore[no-untyped-call]
    return True


def is_brought(name, vendored):  # type: ignore[no-untyped-def]
    """Return whether pip's own copy of the package ``name`` can replace ours."""
    file, needed = BROUGHT_BY_PIP.get(name, ("", ""))
    spec = PathFinder.find_spec(name, [vendored])
    try:
        loader = spec.loader  # type: ignore[union-attr]
        text = loader.get_data(os.path.join(vendored, name, file)).decode()  # type: ignore[union-attr]
    except (AttributeError, OSError, ValueError):
        return False
    return bool(file) and needed in text


def refuse(why, *values):  # type: ignore[no-untyped-def]
    """Warn that pip installs by itself, and why, unless the user asked for that.

    Ends this process where the user allows no request: pip by itself would make some. The text
    contains its label, because no logging is set up yet.
    """
    logger = logging.getLogger("pip_sharedcache")
    commands = ("install", "download", "wheel", "lock", "index", "search")
    if any(name in sys.argv for name in commands) and is_offline():  # type: ignore[no-untyped-call]
        logger.error("ERROR: No request is made, by the setting offline: " + why, *values)
        sys.exit(2)
    if "install" in sys.argv and not is_switched_off():  # type: ignore[no-untyped-call]
        logger.warning("WARNING: Installing without the shared store: " + why, *values)


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


def is_switched_off():  # type: ignore[no-untyped-def]
    """Return whether the user asked for plain pip; remove the option, which pip does not know.

    The same as config.is_switched_off, where that cannot be imported.
    """
    end = sys.argv.index("--") if "--" in sys.argv else len(sys.argv)
    if "--no-sharedcache" in sys.argv[:end]:
        sys.argv[1:end] = [one for one in sys.argv[1:end] if one != "--no-sharedcache"]
        return True
    names = ("_PIP_SHAREDCACHE_OPTION_DIR", "PIP_SHAREDCACHE_DIR")
    values = [os.environ.get(name, "").strip().lower() for name in names]
    return next(filter(None, values), "") == "none"


if __name__ == "__main__":
    run()  # type: ignore[no-untyped-call]
