"""Running pip with our seams in: in this process, and in those that pip starts.

pip is started by runpy, as ``python -m pip`` does. The hooks are registered before anything of
pip is imported, and do nothing for commands that do not install.
"""

from __future__ import annotations

import functools
import gc
import importlib.util
import json
import logging
import os
import re
import runpy
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from types import ModuleType
from typing import Any

from pip_sharedcache import config
from pip_sharedcache.errors import PipMissing, SeamMissing
from pip_sharedcache.interception.configuration import configuration_files
from pip_sharedcache.interception.hooks import when_imported

logger = logging.getLogger(__name__)

#: Tells the runner in another interpreter what to run and where it lies. JSON.
RUNNER_VARIABLE = "_PIP_SHAREDCACHE_RUNNER"
RUNNER = Path(__file__).with_name("__runner__.py")

#: What the other interpreter gets from this one, and nothing else.
_CARRIED = ("pip", "pip_sharedcache", "wrapt", "packaging", "platformdirs")

#: Of these pip brings its own copies, which run wherever that pip does: for interpreters that are
#: too old for ours. What we use of them, and the file that has it.
_BROUGHT_BY_PIP = {
    "packaging": ("utils.py", "def parse_wheel_filename"),
    "platformdirs": ("__init__.py", "def site_cache_dir"),
}

_PYTHON_REQUIRES = re.compile(r"^PYTHON_REQUIRES = \((\d+), (\d+)\)", re.MULTILINE)
_INSTALL = "pip._internal.commands.install"
_UNINSTALL = "pip._internal.commands.uninstall"
_FORCE_REMOVE = "pip._internal.utils.misc"
#: Where get_runnable_pip is defined: the first up to 26.1.2, the second from 26.2.
_RUNNABLE = ("pip._internal.build_env", "pip._internal.utils.misc")


def run_pip(arguments: Sequence[str]) -> None:
    """Run pip with ``arguments``, installing through the store.

    Ends in SystemExit with pip's exit status. Raises SettingError for a wrong value of ours,
    before pip installs anything.
    """
    if importlib.util.find_spec("pip") is None:
        raise PipMissing(f"{sys.executable} has no pip", "python -m ensurepip installs it")
    consulted: list[ModuleType] = []
    settings = functools.cache(functools.partial(_settings, "--isolated" in arguments))

    def put_in(module: ModuleType) -> None:
        consulted.append(module)
        _put_in(settings())

    for module in _RUNNABLE:
        when_imported(module, _answer_with_our_runner)
    when_imported(_FORCE_REMOVE, _spare_foreign_files)
    when_imported(_UNINSTALL, _information_first)
    when_imported(_INSTALL, put_in)
    if "install" in arguments:
        settings()  # what is wrong with them is said first
    sys.argv[1:] = arguments
    # Asked now: pip 26.3 lets nothing be imported, nor looked for, once it has installed.
    elsewhere = "install" in arguments and importlib.util.find_spec(_INSTALL) is None
    try:
        runpy.run_module("pip", run_name="__main__", alter_sys=True)
    except SystemExit as end:
        if elsewhere and not consulted and end.code in (0, None):
            _warn(SeamMissing(f"{_INSTALL} is missing"))
        raise
    finally:
        # The process ends, and its memory with it: to look through all that a resolver has made
        # for cycles would take longer than placing ten thousand files.
        gc.disable()
        gc.freeze()


def look_at_pip() -> tuple[str, str]:
    """The version of this interpreter's pip ("" where it has none), and why its installations
    could not go through the store ("" where they can)."""
    if importlib.util.find_spec("pip") is None:
        return "", f"{sys.executable} has no pip"
    import pip
    from pip_sharedcache.interception import seams

    try:
        seams.check()
    except SeamMissing as error:
        return str(pip.__version__), str(error)
    return str(pip.__version__), ""


def _settings(isolated: bool) -> config.Settings:
    return config.load(configuration_files(isolated=isolated), os.environ, isolated=isolated)


def _put_in(settings: config.Settings) -> None:
    """pip is going to install: step into its seams, if it has them. All that this needs is
    imported only now, so that no other command waits for it."""
    from pip_sharedcache.install import Session
    from pip_sharedcache.interception import seams
    from pip_sharedcache.interception.swap import Swap

    try:
        seams.check()
    except SeamMissing as error:
        _warn(error)
    else:
        Swap(lambda: Session.start(settings)).put_in()


def _warn(error: SeamMissing) -> None:
    version = getattr(sys.modules.get("pip"), "__version__", "of this version")
    logger.warning(
        "WARNING: Installing without the shared store: pip %s is built differently (%s)",
        version,
        error,
    )


def _spare_foreign_files(module: ModuleType) -> None:
    from pip_sharedcache.interception.guards import spare_foreign_files

    _guard(module, "rmtree_errorhandler", spare_foreign_files)


def _information_first(_: ModuleType) -> None:
    """pip is going to uninstall: see guards.information_first."""
    from pip_sharedcache.interception.guards import information_first
    from pip_sharedcache.interception.seams import COMPACT

    if COMPACT.find() is not None:
        _guard(sys.modules[COMPACT.module], COMPACT.attribute, information_first(lambda: True))


def _guard(module: ModuleType, name: str, wrapper: Callable[..., Any]) -> None:
    """Put ``wrapper`` around a function of ``module``, if there is one of that name; without
    wrapt, which takes longer to import than a short command of pip's runs."""
    original = getattr(module, name, None)
    if original is None:
        return

    @functools.wraps(original)
    def guarded(*args: Any, **kw: Any) -> Any:
        return wrapper(original, None, args, kw)

    setattr(module, name, guarded)


def _answer_with_our_runner(module: ModuleType) -> None:
    """Have pip start our runner where it starts itself in another interpreter (--python) or in a
    subprocess (isolated builds)."""
    original = vars(module).get("get_runnable_pip")
    if original is not None and original.__module__ == module.__name__:
        module.get_runnable_pip = functools.wraps(original)(  # type: ignore[attr-defined]
            functools.partial(_runnable, original)
        )


def _requires(runner: str) -> list[int]:
    """The oldest Python that this pip's own runner lets pip run on; [3, 9], ours, at least."""
    try:
        found = _PYTHON_REQUIRES.search(Path(runner).read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError):
        found = None
    return max([3, 9], [int(found[1]), int(found[2])] if found else [])


def _since(name: str) -> list[int]:
    """The oldest Python 3 that the installed distribution ``name`` says it runs on."""
    import importlib.metadata  # late: most commands of pip have no need of it

    from packaging.specifiers import InvalidSpecifier, SpecifierSet

    try:
        says = SpecifierSet(importlib.metadata.metadata(name)["Requires-Python"] or "")
    except (importlib.metadata.PackageNotFoundError, InvalidSpecifier):
        return [3, 0]
    return [3, next((minor for minor in range(100) if says.contains(f"3.{minor}.99")), 0)]


def _instead(name: str, root: str) -> str:
    """Where pip's own copy of ``name`` is found, if the pip below ``root`` has one that will do."""
    if name not in _BROUGHT_BY_PIP:
        return ""
    file, needed = _BROUGHT_BY_PIP[name]
    vendored = Path(root, "pip", "_vendor")
    try:
        text = (vendored / name / file).read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError):
        return ""
    return str(vendored) if needed in text else ""


def _runnable(original: Callable[..., str], *args: Any, **kw: Any) -> str:
    pip = original(*args, **kw)
    roots: dict[str, str] = {}
    for name in _CARRIED:
        spec = importlib.util.find_spec(name)
        if spec is None or spec.origin is None or not os.path.isfile(spec.origin):
            return pip  # inside an archive: another interpreter gets plain pip
        roots[name] = os.path.dirname(os.path.dirname(spec.origin))
    if not RUNNER.is_file():
        return pip
    requires, older = _requires(pip), {}
    for name in ("wrapt", "packaging", "platformdirs"):
        since = _since(name)
        if since <= requires:
            continue
        if instead := _instead(name, roots["pip"]):
            older[name] = {"since": since, "root": instead}
        else:
            requires = since
    told = {"pip": pip, "roots": roots, "requires": requires, "older": older}
    os.environ[RUNNER_VARIABLE] = json.dumps(told)
    return str(RUNNER)
