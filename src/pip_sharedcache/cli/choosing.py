"""The choice of the target environment: the active one, for the script and for the archive.

``python -m pip_sharedcache`` does not use this module: its target is its own interpreter.
"""

from __future__ import annotations

import argparse
import os
import re
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pip_sharedcache import pip_adapter
from pip_sharedcache.activation import Interpreter, executable_of, interpreter_of
from pip_sharedcache.cli.files import path_argument
from pip_sharedcache.cli.output import plain
from pip_sharedcache.errors import SharedCacheError, UsageError

#: Variables in which a tool names the environment that it activated. Where PATH does not show which
#: of two environments was activated last, the first variable counts.
VARIABLES = ("VIRTUAL_ENV", "CONDA_PREFIX")

#: Files in an environment that reserve it for pip-sharedcache alone: those of
#: examples/central.sh, of pipx and of uv.
SIGNS = ("pip-sharedcache.central", "pipx_metadata.json", "uv-receipt.toml")

#: Options of pip that name the target of an installation, with the abbreviations that pip accepts.
_PYTHON = re.compile(r"--(py|pyt|pyth|pytho|python)(=.*)?", re.DOTALL)
_TARGET = re.compile(
    r"--(ta|tar|targ|targe|target|prefi|prefix|root|user)(=.*)?|-[IUqv]*t.*", re.DOTALL
)
_TARGETS = ("target", "prefix", "root", "user")
_NO = frozenset({"", "0", "n", "no", "f", "false", "off"})

_VERBOSE = re.compile(r"-[IUqv]*v[IUqv]*|--verbose")
_HELP = frozenset({"-h", "--help"})
#: Commands of pip that use no environment.
_ANYWHERE = frozenset({"help", "completion"})
_CHANGES = frozenset({"install", "uninstall"})


def add_python_option(
    parser: argparse._ActionsContainer, what: str, *synonyms: str, **more: Any
) -> None:
    """Add --python, which names an environment as pip's own option does, to ``parser``.

    ``what``: the help. ``synonyms``: older names of the option, besides --prefix; none of them is
    shown. ``more``: further arguments of add_argument.
    """
    for name in ("--python", "--prefix", *synonyms):
        text = what if name == "--python" else argparse.SUPPRESS
        parser.add_argument(
            name, dest="python", metavar="ENV", type=path_argument, help=text, **more
        )


@dataclass(frozen=True)
class TargetEnvironment:
    """The environment that a command is for.

    ``prefix``: the active environment; None where this process runs in it, or none is active.
    ``variable``: the name of the environment variable that gives ``prefix``; "" without one.
    ``reserved``: whether none is active, and this process's own is for pip-sharedcache alone.
    """

    prefix: Path | None = None
    variable: str = ""
    reserved: bool = False

    @classmethod
    def of(cls, environ: Mapping[str, str], own: str, program: str) -> TargetEnvironment:
        """Return the target of the script or archive ``program`` in the environment at ``own``."""
        named = [(Path(environ[name]), name) for name in VARIABLES if environ.get(name)]
        if not named:
            return cls(reserved=_is_reserved(own, program))
        prefix, variable = min(named, key=lambda one: _rank(one[0], environ.get("PATH", "")))
        prefix = prefix.absolute()
        return cls() if _same(prefix, own) else cls(prefix, variable)

    def executable(self, option: str = "--python") -> Path:
        """Return the interpreter of the active environment. Raises UsageError or FileError.

        ``option``: the option that the hint of the error names.
        """
        assert self.prefix is not None
        try:
            return executable_of(self.prefix)
        except SharedCacheError as error:
            raise type(error)(
                f"Cannot use the active environment: {self.variable}: {error.message}",
                f"name another one with {option}, or run `unset {self.variable}`",
                path=error.path,
                errno=error.errno,
            ) from error

    def interpreter(self, prefix: Path | None, verbose: bool) -> Interpreter:
        """Return the interpreter of ``prefix``, else of the active environment, else this one.

        Raises UsageError or FileError.
        """
        if prefix is None and self.prefix is not None:
            executable = self.executable()
            if verbose:
                self.tell(executable)
            prefix = self.prefix
        return interpreter_of(prefix)

    def tell(self, executable: Path) -> None:
        """Print which environment is used."""
        line = f"Using the Python of the active environment: {executable} ({self.variable})"
        print(plain(line, sys.stderr.encoding), file=sys.stderr)

    def refuse(self, option: str = "--python ENV/bin/python") -> None:
        """Raise UsageError where this process's environment is reserved.

        The caller checks first that the user named no environment. ``option``: the option that the
        hint names.
        """
        if self.reserved:
            raise UsageError(
                f"No environment is active: {sys.prefix} is reserved for pip-sharedcache, which "
                "changed nothing in it",
                f"activate an environment, or name one with {option}; "
                f"`{sys.executable} -m pip_sharedcache` works on the reserved environment",
            )


def pip_arguments(place: TargetEnvironment, command: str, arguments: Sequence[str]) -> list[str]:
    """Return pip's ``arguments``, with ``--python`` where the target is another environment.

    ``command``: pip's command in ``arguments``, or "". Raises UsageError or FileError.
    """
    options = _options(arguments)
    if not arguments or command in _ANYWHERE or _HELP.intersection(options):
        return [*arguments]
    if place.prefix is None and not (place.reserved and command in _CHANGES):
        return [*arguments]
    if any(_PYTHON.fullmatch(option) for option in options):
        return [*arguments]
    configured = pip_adapter.configured(command, isolated="--isolated" in options)
    if configured.get("python"):
        return [*arguments]
    if place.prefix is not None:
        executable = place.executable()
        if _is_on(configured.get("verbose")) or any(map(_VERBOSE.fullmatch, options)):
            place.tell(executable)
        return ["--python", str(executable), *arguments]
    named = any(_TARGET.fullmatch(option) for option in options)
    if not named and not any(_is_on(configured.get(name)) for name in _TARGETS):
        place.refuse()
    return [*arguments]


def _options(arguments: Sequence[str]) -> list[str]:
    end = arguments.index("--") if "--" in arguments else len(arguments)
    return [argument for argument in arguments[:end] if argument.startswith("-")]


def _is_on(value: str | None) -> bool:
    return (value or "").strip().lower() not in _NO


def _rank(prefix: Path, path: str) -> int:
    """Return the index in ``path`` of the first directory with programs of ``prefix``.

    Returns the number of directories where none has such programs.
    """
    directories = path.split(os.pathsep)
    found = [
        number
        for number, directory in enumerate(directories)
        if directory and any(_same(place, directory) for place in _programs(prefix))
    ]
    return min(found, default=len(directories))


def _programs(prefix: Path) -> list[Path]:
    return [prefix / "bin", prefix / "Scripts"]


def _same(one: Path, other: str) -> bool:
    return os.path.normcase(os.path.realpath(one)) == os.path.normcase(os.path.realpath(other))


def _is_reserved(own: str, program: str) -> bool:
    """Return whether the environment at ``own`` is for pip-sharedcache alone.

    The installed distributions do not show this: a user's new environment has the same ones. A file
    of SIGNS shows it, or a link to the script from outside, as administrators, pipx and uv make it.
    """
    if any(os.path.lexists(os.path.join(own, sign)) for sign in SIGNS):
        return True
    if not os.path.isfile(os.path.join(own, "pyvenv.cfg")):
        return False  # not a venv: links from elsewhere to its programs (pip, for one) are usual
    script = os.path.realpath(program)
    inside = any(_same(place, os.path.dirname(script)) for place in _programs(Path(own)))
    return inside and not _same(Path(script).parent, os.path.dirname(os.path.abspath(program)))
