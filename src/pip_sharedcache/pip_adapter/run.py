"""The start of pip with our seams in place: in this process, and in those that pip starts.

runpy starts pip, as ``python -m pip`` does. The hooks are registered before the first import of
pip, and do nothing for commands that do not install.
"""

from __future__ import annotations

import atexit
import functools
import gc
import importlib.util
import logging
import os
import runpy
import sys
from collections.abc import Callable, Sequence
from optparse import Values
from types import ModuleType
from typing import TYPE_CHECKING, Any

from pip_sharedcache import config
from pip_sharedcache.errors import (
    ConfigurationDamaged,
    SeamMissing,
    SettingError,
    SharedCacheError,
    without_store,
)
from pip_sharedcache.pip_adapter import no_requests
from pip_sharedcache.pip_adapter.bootstrap import leave_archive
from pip_sharedcache.pip_adapter.config_files import configuration_files
from pip_sharedcache.pip_adapter.import_hooks import Hook, forget, when_imported
from pip_sharedcache.pip_adapter.other_pips import start_with_our_runner
from pip_sharedcache.pip_adapter.pip_versions import (
    own_library,
    pip_missing,
    require_supported,
    unfit,
)

if TYPE_CHECKING:
    from pip_sharedcache.pip_adapter.seams import Seam

logger = logging.getLogger(__name__)

_INSTALL = "pip._internal.commands.install"
#: The other commands that take wheels from the store. The names can be those of distributions, too.
_FETCHING = ("download", "wheel", "lock")
_COMMANDS = (_INSTALL, *(f"pip._internal.commands.{name}" for name in _FETCHING))
_UNINSTALL = "pip._internal.commands.uninstall"
_FORCE_REMOVE = "pip._internal.utils.misc"
#: New objects between two searches for cycles while pip is imported. Python's own number is 700 to
#: 2000; this one bounds the memory of a pip command that goes on without install.
_MANY_OBJECTS = 200_000


def run_pip(arguments: Sequence[str]) -> None:
    """Run pip with ``arguments``, installing through the store.

    Ends in SystemExit with pip's exit status. Raises, before pip installs anything, PipMissing, and
    SettingError for a wrong value of a pip-sharedcache setting.
    """
    if importlib.util.find_spec("pip") is None:
        raise pip_missing()
    leave_archive()
    consulted: list[ModuleType] = []
    settings = functools.cache(functools.partial(_settings, "--isolated" in arguments))

    collect_again = _collect_less() if _uses_store(arguments) else lambda: None

    asked = no_requests.register("--isolated" in arguments)

    def put_in(module: ModuleType) -> None:
        consulted.append(module)
        try:
            _put_in(settings(), asked, lambda options: False)
        finally:
            collect_again()

    _when_pip_comes(asked, put_in)
    if _uses_store(arguments):
        try:
            settings()  # a wrong setting must stop the run before pip starts
        except ConfigurationDamaged:
            logger.debug("pip reads this file, too, and reports the error", exc_info=True)
        except SettingError:
            raise
        except Exception:  # put_in gets the same error, and warns
            logger.debug("The settings cannot be read", exc_info=True)
    sys.argv[1:] = arguments
    # Before pip starts: pip 26.3 blocks imports and their search once it has installed.
    missing = None
    if "install" in arguments and importlib.util.find_spec(_INSTALL) is None:
        missing = _unfit(SeamMissing(f"{_INSTALL} is missing"))
    _keep_path_until_pip_comes()
    try:
        runpy.run_module("pip", run_name="__main__", alter_sys=True)
    except SystemExit as end:
        if missing is not None and not consulted and end.code in (0, None):
            _warn(missing)
        raise
    finally:
        # The end of the process frees the memory. A search for cycles in the data of a resolver
        # would take longer than placing ten thousand files.
        gc.disable()
        _freeze()


def run_plain_pip(arguments: Sequence[str]) -> None:
    """Run pip with ``arguments`` as ``python -m pip`` does, without the store.

    Ends in SystemExit with pip's exit status. Raises PipMissing.
    """
    if importlib.util.find_spec("pip") is None:
        raise pip_missing()
    leave_archive()
    join_plain_pip(arguments)
    sys.argv[1:] = arguments
    _keep_path_until_pip_comes()
    runpy.run_module("pip", run_name="__main__", alter_sys=True)


def join_plain_pip(arguments: Sequence[str]) -> None:
    """Let the pip with ``arguments``, which runs without the store, make no request if offline.

    It ends (status 2) at a command that would take wheels from the store.
    """
    asked = no_requests.register("--isolated" in arguments)
    for name in _COMMANDS:
        when_imported(name, _unless_damaged(lambda _: no_requests.end_if_off(asked())))
    # pip's own runner would start a pip in another interpreter that knows nothing of offline.
    start_with_our_runner(lambda: asked() is not None, functools.partial(_unable, asked))


def _collect_less() -> Callable[[], None]:
    """Search for cycles less often until the returned function is called: after the imports.

    Modules stay, so there is nothing to find in them; the searches take a tenth of pip's start.
    """
    if not hasattr(gc, "set_threshold"):  # PyPy
        return lambda: None
    before = gc.get_threshold()
    gc.set_threshold(max(before[0], _MANY_OBJECTS), *before[1:])

    def as_before() -> None:
        _freeze()
        gc.set_threshold(*before)

    return as_before


def _keep_path_until_pip_comes() -> None:
    """Undo the removal of the current directory from sys.path by pip's __main__.

    pip's __main__ removes the first entry if that is the current directory. Our entry points have
    done this already, each where the same entry point of pip does it. The entry that is first now
    may come from PYTHONPATH, and pip reads its distributions.
    """
    path, getcwd = list(sys.path), os.getcwd

    def restore(_: ModuleType) -> None:
        sys.path[:], os.getcwd = path, getcwd

    try:
        os.getcwd()
    except OSError:  # pip's __main__, unlike pip's script, fails without a current directory
        os.getcwd = lambda: ""
    when_imported("pip._internal", restore)


def join_pip() -> None:
    """Connect the pip that this process is importing to the store.

    The user started plain pip, in an environment where the hook is active (activation).
    """
    collect_again = _collect_less() if _uses_store(sys.argv[1:]) else lambda: None
    settings = functools.cache(functools.partial(_settings, "--isolated" in sys.argv))
    asked = no_requests.register("--isolated" in sys.argv)

    def put_in(_: ModuleType) -> None:
        try:
            known = settings()
            _put_in(known, asked, lambda options: _wants_nothing_kept(known, options))
        except SettingError as error:
            if asked() is not None:  # plain pip would make requests
                no_requests.end(error)
            # A wrong value in a shared configuration must not stop the pip of all users.
            logger.warning("WARNING: %s: %s", without_store(), error)
        else:
            atexit.register(_freeze)  # as in run_pip
        finally:
            collect_again()

    _when_pip_comes(asked, put_in)


def _freeze() -> None:
    """Exempt all present data from garbage collection; PyPy has no such function."""
    if hasattr(gc, "freeze"):
        gc.freeze()


def _wants_nothing_kept(settings: config.Settings, options: Values) -> bool:
    """Return whether pip keeps no cache, as in images, and only the user's own store is there."""
    return settings.private and not getattr(options, "cache_dir", True)


def _when_pip_comes(asked: no_requests.Asked, put_in: Hook) -> None:
    start_with_our_runner(lambda: True, functools.partial(_unable, asked))
    when_imported(_FORCE_REMOVE, _unless_damaged(_spare_foreign_files))
    when_imported(_UNINSTALL, _unless_damaged(_information_first))
    begun: list[ModuleType] = []

    def once(module: ModuleType) -> None:
        """Call ``put_in`` for the command alone: it imports the module of install by itself."""
        if not begun:
            begun.append(module)
            put_in(module)

    for module in _COMMANDS:
        when_imported(module, _unless_damaged(once))


def _uses_store(arguments: Sequence[str]) -> bool:
    """Return whether ``arguments`` most likely call a command of pip that uses the store."""
    first = next((one for one in arguments if not one.startswith("-")), "")
    return "install" in arguments or first in _FETCHING


def _unless_damaged(hook: Hook) -> Hook:
    """Return ``hook`` without its exceptions, except SettingError.

    A damaged or incomplete pip-sharedcache, or a Python that lacks something, must not stop a pip
    that would run by itself.
    """

    def guarded(module: ModuleType) -> None:
        try:
            hook(module)
        except SettingError:
            raise
        except Exception as error:
            _warn_of_damage(error)

    return guarded


def examine_pip() -> tuple[str, SharedCacheError | None]:
    """Return the version of this interpreter's pip, and why it cannot install through the store.

    The version is "" where there is no pip; the reason is None where pip fits. The hooks, which
    would change the examined functions, are removed: pip must not install in this process later.
    """
    if importlib.util.find_spec("pip") is None:
        return "", pip_missing()
    import pip
    from pip_sharedcache.pip_adapter import seams

    forget()
    try:
        require_supported(pip.__version__)
        seams.check()
    except SeamMissing as error:
        return str(pip.__version__), _unfit(error)
    except Exception as error:  # a pip that cannot be imported on this Python
        why = SeamMissing(" ".join(f"{type(error).__name__}: {error}".split()))
        return str(pip.__version__), _unfit(why)
    return str(pip.__version__), None


def resolver_problem() -> str:
    """Return why no resolution is recorded or reused with this interpreter's pip, or "".

    To be asked after examine_pip, of a pip that can install through the store.
    """
    from pip_sharedcache.pip_adapter import resolver_seams

    return resolver_seams.problem(resolver_seams.ALL)


def _unfit(error: SeamMissing) -> SeamMissing:
    version = getattr(sys.modules.get("pip"), "__version__", "of this version")
    # Outside of an environment, pip installs for the user alone where the user may do no more.
    library = own_library() if sys.prefix != sys.base_prefix else ""
    return unfit(version, sys.executable, error.message, library)


def _settings(isolated: bool) -> config.Settings:
    return config.load(configuration_files(isolated=isolated), os.environ, isolated=isolated)


def _put_in(
    settings: config.Settings, asked: no_requests.Asked, declines: Callable[[Values], bool]
) -> None:
    """Wrap the seams of pip, if it has them, before pip installs, unless the store is off.

    The imports are in this function, so that other commands do not wait for them. ``declines``
    returns whether plain pip makes the run with these options of pip. ``asked``: no_requests.Asked.
    """
    if settings.off:
        no_requests.end_if_off(asked())
        return
    if settings.offline:
        # Also where this pip does not fit, or the store cannot be used.
        os.environ["PIP_NO_INDEX"] = "1"
    try:
        from pip_sharedcache.pip_adapter import seams
        from pip_sharedcache.pip_adapter.install import InstallWrappers
        from pip_sharedcache.session.session import Session

        require_supported(getattr(sys.modules.get("pip"), "__version__", ""))
        seams.check()
        InstallWrappers(functools.partial(Session.start, settings), declines).put_in()
    except SeamMissing as error:
        _warn(_unfit(error))


_warned: list[str] = []


def _unable(asked: no_requests.Asked, error: Exception | None) -> None:
    """Warn that another pip runs without us; end this process if plain pip must not run there."""
    why = "a package that it needs is missing" if error is None else f"{error}"
    no_requests.end_if_asked(asked(), f"pip-sharedcache cannot run in another process: {why}")
    if error is not None:
        _warn_of_damage(error)


def _warn_of_damage(error: Exception) -> None:
    """Warn once, in a command that installs, that pip goes on by itself."""
    if _uses_store(sys.argv[1:]) and not _warned:
        _warned.append(str(error))
        # Before pip has set up logging, a line appears without its level.
        label = "" if logging.getLogger().handlers else "WARNING: "
        logger.warning(
            "%s%s: pip-sharedcache cannot run here, or is damaged: %s: %s",
            label,
            without_store(),
            type(error).__name__,
            " ".join(str(error).split()),
        )


def _warn(error: SeamMissing) -> None:
    logger.warning("WARNING: %s: %s", without_store(), error)


def _spare_foreign_files(_: ModuleType) -> None:
    from pip_sharedcache.pip_adapter.safety_wrappers import spare_foreign_files
    from pip_sharedcache.pip_adapter.seams import FORCE_REMOVE

    _guard(FORCE_REMOVE, spare_foreign_files)


def _information_first(_: ModuleType) -> None:
    """Wrap pip's uninstallation with safety_wrappers.information_first."""
    from pip_sharedcache.pip_adapter.safety_wrappers import information_first
    from pip_sharedcache.pip_adapter.seams import COMPACT

    _guard(COMPACT, information_first(lambda: True))


def _guard(seam: Seam, wrapper: Callable[..., Any]) -> None:
    """Put ``wrapper`` around ``seam``, a function of a module; do nothing where this pip lacks it.

    The function does not use wrapt, whose import takes longer than a short command of pip.
    """
    original = seam.find()
    if original is None:
        return

    @functools.wraps(original)
    def guarded(*args: Any, **kw: Any) -> Any:
        return wrapper(original, None, args, kw)

    setattr(sys.modules[seam.module], seam.attribute, guarded)
