"""The places in pip where we step in, and whether this pip has them.

What decides is not pip's version but whether every seam is there and takes the arguments that we
use. One missing: nothing is stepped into, and plain pip runs.
"""

from __future__ import annotations

import functools
import importlib
import inspect
import sys
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from pip_sharedcache.errors import SeamMissing

#: What wrapt calls: the original, the instance or None, positional and keyword arguments.
Original = Callable[..., Any]
Arguments = tuple[Any, ...]
Keywords = dict[str, Any]
Wrapper = Callable[[Original, Any, Arguments, Keywords], Any]


@dataclass(frozen=True)
class Seam:
    """One function or method of pip, and what we rely on about it.

    ``parameters``: those that it must take, by name; methods without ``self``. ``sets``: names
    that it must assign, attributes that we read off its object afterwards. ``beside``: what its
    class must have too. ``importers``: modules that may have imported it by name. ``instead``:
    another attribute of the same module that makes up for this
    one where it is missing.
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
        """For messages: ``pip._internal.network.download.Downloader.__call__``."""
        return f"{self.module}.{self.attribute}"

    def find(self) -> Callable[..., Any] | None:
        """The function as it is now; None where this pip has it not. Imports the module."""
        try:
            found: Any = importlib.import_module(self.module)
        except ImportError:
            return None
        for part in self.attribute.split("."):
            found = inspect.getattr_static(found, part, None)
            if found is None:
                return None
        return found if callable(found) else None

    def problem(self) -> str:
        """Why this seam cannot be used, naming it; "" where it fits."""
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
                return f"{self.name} takes no {name!r}"
        code = getattr(inspect.unwrap(function), "__code__", None)
        for name in self.sets:
            if code is None or name not in code.co_names:
                return f"{self.name} sets no {name!r}"
        owner = inspect.getattr_static(
            sys.modules[self.module], self.attribute.partition(".")[0], None
        )
        for name in self.beside:
            if inspect.getattr_static(owner, name, None) is None:
                return f"{self.module}.{self.attribute.partition('.')[0]} has no {name!r}"
        return ""


_WHEEL = "pip._internal.operations.install.wheel"
_PREPARE = "pip._internal.operations.prepare"
_DOWNLOAD = "pip._internal.network.download"

RUN_INSTALL = Seam("pip._internal.commands.install", "InstallCommand.run", ("options", "args"))
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
    beside=("url", "filename", "file_path", "is_file", "is_wheel", "hash", "hash_name"),
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
#: Where an installation goes. SCHEME_KEYS are the attributes of what it returns.
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
FORCE_REMOVE = Seam("pip._internal.utils.misc", "rmtree_errorhandler", ("func", "path", "exc_info"))

#: All that an installation through the store steps into.
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

#: Built wheels: where pip keeps its own, for which requirement it looks there, and what builds one.
#: Without them none are shared.
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

#: Which paths pip moves aside, in sorted order, before it installs another version.
COMPACT = Seam("pip._internal.req.req_uninstall", "compact", ("paths",))

#: How pip's script maker writes a file; a pip that writes scripts otherwise does without.
WRITE_SCRIPT = Seam("pip._vendor.distlib.util", "FileOperator.write_binary_file", ("path", "data"))

#: Only in pips that recover an installation interrupted by a blocked import (26.3).
WRITE_RECOVERY = Seam(_WHEEL, "_write_recovery_record", ("wheel_zip", "record"))


def check(seams: tuple[Seam, ...] = INSTALL_SEAMS) -> None:
    """Raise SeamMissing, naming the first seam that this pip lacks."""
    for seam in seams:
        if problem := seam.problem():
            raise SeamMissing(problem)


_ANY_NUMBER = (inspect.Parameter.VAR_POSITIONAL, inspect.Parameter.VAR_KEYWORD)


def handed_on(bound: Keywords, seam: Seam) -> Keywords | None:
    """Of the arguments ``bound`` by name, those that the method ``seam`` takes, too: what pip's
    loop hands on to each requirement. None where the method needs others besides."""
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
    """Put ``wrapper`` around ``seam``; nothing where this pip has it not."""
    import wrapt  # late, since it takes long

    if seam.find() is not None:
        wrapt.wrap_function_wrapper(seam.module, seam.attribute, wrapper)


def hand_on(seam: Seam, importer: str) -> None:
    """Let the module ``importer``, if it imported ``seam`` by name, have what is there now
    (pip/_internal/req/req_install.py up to 26.1.2 does so with install_wheel)."""
    module = sys.modules.get(importer)
    name = seam.attribute.rpartition(".")[2]
    if module is not None and hasattr(module, name):
        setattr(module, name, getattr(sys.modules[seam.module], name))


def stand_in(seam: Seam, **functions: Callable[..., Any]) -> None:
    """Give the module of ``seam`` a stand-in for the module that the seam's attribute names
    first, without changing that for everybody else: each of ``functions`` is called there with
    the original in front of its arguments."""
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
    """The call's arguments by name, defaults included; None where they do not fit ``function``."""
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
    # Some of these are called for every file; reading a signature takes as long as placing one.
    return inspect.signature(function)
