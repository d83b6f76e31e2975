"""The places in pip's code where pip-sharedcache adds its own code, and checks of these.

A supported pip (pip_versions) fits if it has every seam, with the arguments that we use. If one
seam is missing, no seam is wrapped, and plain pip runs.
"""

from __future__ import annotations

import functools
import importlib
import inspect
import sys
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, NamedTuple, TypeVar

from pip_sharedcache.errors import SeamMissing

#: wrapt's calling convention: the original, the instance or None, positional, keyword arguments.
Original = Callable[..., Any]
Arguments = tuple[Any, ...]
Keywords = dict[str, Any]
Wrapper = Callable[[Original, Any, Arguments, Keywords], Any]

State = TypeVar("State")


@dataclass(frozen=True)
class Seam:
    """One function or method of pip, and its properties that we use.

    ``module``: the module that looks the function up.
    ``attribute``: the path of the function in that module.
    ``parameters``: names of required parameters; methods without ``self``.
    ``instead``: another attribute of the module, which makes up for this one where it is missing.
    ``sets``: names that the function must assign: attributes of its object that we read later.
    ``beside``: names that the class of the method must have, too.
    ``importers``: modules that may have imported the function by name.
    """

    module: str
    attribute: str
    parameters: tuple[str, ...]
    instead: str = ""
    sets: tuple[str, ...] = ()
    beside: tuple[str, ...] = ()
    importers: tuple[str, ...] = ()

    @property
    def name(self) -> str:
        """The name for messages: ``pip._internal.network.download.Downloader.__call__``."""
        return f"{self.module}.{self.attribute}"

    def find(self) -> Callable[..., Any] | None:
        """Import the module and return the present function; None where this pip lacks it."""
        try:
            found: Any = importlib.import_module(self.module)
        except ImportError:
            return None
        for part in self.attribute.split("."):
            found = inspect.getattr_static(found, part, None)
            if found is None:
                return None
        if isinstance(found, classmethod):
            found = found.__func__
        return found if callable(found) else None

    def problem(self) -> str:
        """Return why this seam cannot be used, with its name; "" where it fits."""
        function = self.find()
        if function is None:
            if self.instead and Seam(self.module, self.instead, ()).find() is not None:
                return ""
            return f"{self.name} is missing"
        try:
            parameters = inspect.signature(function).parameters
        except (TypeError, ValueError):
            return f"{self.name} has no signature"
        for name in self.parameters:
            if name not in parameters:
                return f"{self.name} has no parameter {name!r}"
        code = getattr(inspect.unwrap(function), "__code__", None)
        for name in self.sets:
            if code is None or name not in code.co_names:
                return f"{self.name} sets no attribute {name!r}"
        owner = inspect.getattr_static(
            sys.modules[self.module], self.attribute.partition(".")[0], None
        )
        for name in self.beside:
            if inspect.getattr_static(owner, name, None) is None:
                return f"{self.module}.{self.attribute.partition('.')[0]} has no attribute {name!r}"
        return ""


_WHEEL = "pip._internal.operations.install.wheel"
_PREPARE = "pip._internal.operations.prepare"
_DOWNLOAD = "pip._internal.network.download"

RUN_INSTALL = Seam("pip._internal.commands.install", "InstallCommand.run", ("options", "args"))
#: pip imports only the module of its command. ``lock`` came with pip 25.1.
RUN_FETCHING = tuple(
    Seam(f"pip._internal.commands.{name}", f"{name.title()}Command.run", ("options", "args"))
    for name in ("download", "wheel", "lock")
)
#: Copies a file to the directory of pip download or pip wheel.
KEEP_FILE = Seam(_PREPARE, "RequirementPreparer.save_linked_requirement", ("req",))
PREPARER = Seam(
    _PREPARE,
    "RequirementPreparer.__init__",
    ("download_dir", "session"),
    sets=("download_dir", "finder", "_download"),
)
FETCH_METADATA = Seam(_PREPARE, "RequirementPreparer._fetch_metadata_only", ("req",))
DOWNLOAD = Seam(_DOWNLOAD, "Downloader.__call__", ("link", "location"))
DOWNLOAD_BATCH = Seam(
    _DOWNLOAD, "BatchDownloader.__call__", ("links", "location"), instead="Downloader.batch"
)
#: Only in pips without BatchDownloader (from 25.2).
DOWNLOAD_IN_TURN = Seam(_DOWNLOAD, "Downloader.batch", ("links", "location"))
#: pip makes a temporary directory for each download, and deletes the directory at its end.
GET_FILE = Seam(_PREPARE, "get_http_url", ("link", "download", "download_dir", "hashes"))
CHECK_HASHES = Seam(
    "pip._internal.utils.hashes",
    "Hashes.check_against_path",
    ("path",),
    beside=("is_hash_allowed",),
)
LINK = Seam(
    "pip._internal.models.link",
    "Link.__init__",
    ("url", "comes_from"),
    sets=("comes_from",),
    beside=(
        *("url", "filename", "file_path", "is_file", "is_wheel", "hash", "hash_name"),
        "metadata_link",
    ),
)
REQUIREMENT = Seam(
    "pip._internal.req.req_install",
    "InstallRequirement.__init__",
    ("link",),
    sets=("link", "original_link", "hash_options"),
)
WHEEL_DISTRIBUTION = Seam(
    "pip._internal.metadata",
    "get_wheel_distribution",
    ("wheel", "canonical_name"),
    importers=("pip._internal.distributions.wheel", _WHEEL),
)
ENTRY_POINTS = Seam("pip._internal.metadata.base", "BaseDistribution.iter_entry_points", ())
INSTALL_ALL = Seam(
    "pip._internal.req",
    "install_given_reqs",
    ("requirements",),
    importers=("pip._internal.commands.install",),
)
INSTALL_ONE = Seam(
    "pip._internal.req.req_install",
    "InstallRequirement.install",
    ("root", "home", "prefix", "warn_script_location", "use_user_site", "pycompile"),
)
#: The target directories of an installation. SCHEME_KEYS are the attributes of the result.
SCHEME = Seam(
    "pip._internal.locations",
    "get_scheme",
    ("dist_name", "user", "home", "root", "isolated", "prefix"),
)
SCHEME_KEYS = ("platlib", "purelib", "headers", "scripts", "data")
INSTALL_WHEEL = Seam(
    _WHEEL,
    "install_wheel",
    ("name", "wheel_path", "scheme", "req_description"),
    importers=("pip._internal.req.req_install",),
)
PARSE_WHEEL = Seam(_WHEEL, "parse_wheel", ("wheel_zip", "name"))
NEW_FILE = Seam(
    _WHEEL,
    "ZipBackedFile.__init__",
    ("src_record_path", "dest_path", "zip_file"),
    sets=("src_record_path", "dest_path"),
)
SAVE_FILE = Seam(_WHEEL, "ZipBackedFile.save", ())
ENSURE_DIRECTORY = Seam(_WHEEL, "ensure_dir", ("path",))
COMPILE = Seam(_WHEEL, "compileall.compile_file", ("fullname", "force", "quiet"))
FLUSH = Seam("pip._internal.utils.filesystem", "os.fsync", ("fd",))
#: Starts git and the like, for pip's own clones and updates.
OBTAIN = Seam("pip._internal.vcs.versioncontrol", "VersionControl.obtain", ("url",))
FORCE_REMOVE = Seam("pip._internal.utils.misc", "rmtree_errorhandler", ("func", "path", "exc_info"))

#: The seams that an installation through the store requires.
INSTALL_SEAMS = (
    RUN_INSTALL,
    PREPARER,
    FETCH_METADATA,
    DOWNLOAD,
    DOWNLOAD_BATCH,
    CHECK_HASHES,
    LINK,
    REQUIREMENT,
    WHEEL_DISTRIBUTION,
    ENTRY_POINTS,
    INSTALL_ALL,
    INSTALL_ONE,
    SCHEME,
    INSTALL_WHEEL,
    PARSE_WHEEL,
    NEW_FILE,
    SAVE_FILE,
    ENSURE_DIRECTORY,
    COMPILE,
    FLUSH,
    FORCE_REMOVE,
)

#: Built wheels: pip's cache of them, the requirement for which pip searches it, and the build.
#: Without these seams no built wheels are shared.
BUILT = Seam(
    "pip._internal.cache",
    "WheelCache.get_cache_entry",
    ("link", "package_name", "supported_tags"),
)
CANDIDATE = Seam(
    "pip._internal.resolution.resolvelib.candidates", "LinkCandidate.__init__", ("link", "template")
)
BUILD = Seam(
    "pip._internal.wheel_builder", "_build_one", ("req", "output_dir", "verify", "editable")
)

#: The paths that pip moves aside, in sorted order, before it installs another version.
COMPACT = Seam("pip._internal.req.req_uninstall", "compact", ("paths",))

#: The write function of pip's script maker. A pip without it gets no wrapper here.
WRITE_SCRIPT = Seam("pip._vendor.distlib.util", "FileOperator.write_binary_file", ("path", "data"))

#: Only in pips that recover an installation after a blocked import (26.3).
WRITE_RECOVERY = Seam(_WHEEL, "_write_recovery_record", ("wheel_zip", "record"))


def check(seams: tuple[Seam, ...] = INSTALL_SEAMS) -> None:
    """Raise SeamMissing, naming the first seam that this pip lacks."""
    for seam in seams:
        if problem := seam.problem():
            raise SeamMissing(problem)


_ANY_NUMBER = (inspect.Parameter.VAR_POSITIONAL, inspect.Parameter.VAR_KEYWORD)


def handed_on(bound: Keywords, seam: Seam) -> Keywords | None:
    """Return the arguments in ``bound`` that the method ``seam`` takes, too, by name.

    pip's loop hands these on to each requirement. None where the method requires others.
    """
    function = seam.find()
    if function is None:
        return None
    handed: Keywords = {}
    for name, parameter in list(_signature(function).parameters.items())[1:]:
        if name in bound:
            handed[name] = bound[name]
        elif parameter.default is parameter.empty and parameter.kind not in _ANY_NUMBER:
            return None
    return handed


def wrap(seam: Seam, wrapper: Wrapper) -> None:
    """Put ``wrapper`` around ``seam``; do nothing where this pip lacks the seam."""
    import wrapt  # late: the import is slow, and commands that do not install would wait for it

    if seam.find() is not None:
        wrapt.wrap_function_wrapper(seam.module, seam.attribute, wrapper)


class Call(NamedTuple):
    """One call of a wrapped function of pip.

    ``original``: pip's function.
    ``instance``: the object whose method it is; else None.
    ``args``: the positional arguments.
    ``kw``: the keyword arguments.
    ``named``: all arguments by name, with defaults.
    """

    original: Original
    instance: Any
    args: Arguments
    kw: Keywords
    named: Keywords

    def proceed(self) -> Any:
        """Call pip's function with the same arguments, and return its result."""
        return self.original(*self.args, **self.kw)


def during(state: Callable[[], State | None], handle: Callable[[State, Call], Any]) -> Wrapper:
    """Return a wrapper that calls ``handle`` with the present state and the call.

    While ``state`` returns None, or if the arguments do not fit, pip's function runs unchanged.
    """

    def wrapper(original: Original, instance: Any, args: Arguments, kw: Keywords) -> Any:
        present = state()
        named = None if present is None else arguments(original, args, kw)
        if present is None or named is None:
            return original(*args, **kw)
        return handle(present, Call(original, instance, args, kw, named))

    return wrapper


def hand_on(seam: Seam, importer: str) -> None:
    """Give the wrapped ``seam`` to the module ``importer``, if it imported the seam by name.

    pip/_internal/req/req_install.py does so with install_wheel, up to pip 26.1.2.
    """
    module = sys.modules.get(importer)
    name = seam.attribute.rpartition(".")[2]
    if module is not None and hasattr(module, name):
        setattr(module, name, getattr(sys.modules[seam.module], name))


def stand_in(seam: Seam, **functions: Callable[..., Any]) -> None:
    """Replace ``functions`` of a module, only for the module of ``seam``.

    The attribute of the seam begins with the name of the replaced module, which all other code uses
    unchanged. Each function gets the original before its other arguments.
    """
    module = sys.modules.get(seam.module)
    name = seam.attribute.partition(".")[0]
    original = getattr(module, name, None)
    if module is not None and original is not None:
        setattr(module, name, _StandIn(original, functions))


class _StandIn:
    """A module with some functions replaced."""

    def __init__(self, original: Any, functions: dict[str, Callable[..., Any]]) -> None:
        self._original = original
        for name, function in functions.items():
            setattr(self, name, functools.partial(function, getattr(original, name)))

    def __getattr__(self, name: str) -> Any:
        return getattr(self._original, name)


def arguments(
    function: Callable[..., Any], args: tuple[Any, ...], kwargs: dict[str, Any]
) -> dict[str, Any] | None:
    """Return the arguments of a call by name, with defaults; None where they do not fit."""
    method = getattr(function, "__func__", None)
    try:
        if method is None:
            bound = _signature(function).bind(*args, **kwargs)
        else:
            bound = _signature(method).bind(function.__self__, *args, **kwargs)  # type: ignore[attr-defined]
    except (TypeError, ValueError):
        return None
    bound.apply_defaults()
    named = dict(bound.arguments)
    if method is not None:
        del named[next(iter(named))]
    return named


@functools.cache
def _signature(function: Callable[..., Any]) -> inspect.Signature:
    # Cached: some seams are called for every file, and reading a signature takes as long as
    # placing a file.
    return inspect.signature(function)
