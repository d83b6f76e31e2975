"""The scripts that conda runs when it activates or deactivates an environment.

One pair for each kind of shell. While the environment is active, `pip` is a function of the shell
itself; PATH stays as conda sets it.
"""

from __future__ import annotations

import hashlib
import re
import shlex
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from pip_sharedcache.activation import managed_files
from pip_sharedcache.activation.interpreters import Interpreter
from pip_sharedcache.activation.shells import KINDS, NAMES, definition, guarded
from pip_sharedcache.errors import UsageError

_TEMPLATES = Path(__file__).with_name("templates")
_WHENS = ("activate", "deactivate")
_KINDS = (*KINDS, "xsh")
_EACH = re.compile(r"^ *# each\n(.*?)^ *# end\n", re.MULTILINE | re.DOTALL)

#: The condition for xonsh, which takes over an alias from bash and keeps it after deactivation.
_ACTIVE = 'test -n "${_PIP_SHAREDCACHE_IN-}" && '


class Activation(managed_files.Switch):
    """The switch that writes scripts for conda into the environment of ``interpreter``."""

    def __init__(self, interpreter: Interpreter) -> None:
        self.prefix = interpreter.prefix
        self.directory = self.prefix / "etc" / "conda"

    def switch_on(self, told: Mapping[str, Any]) -> list[Path]:
        """Write the scripts (see Switch). Raises UsageError where conda did not make ``prefix``."""
        if not (self.prefix / "conda-meta").is_dir():
            raise UsageError(f"{self.prefix} is not a conda environment: conda-meta is missing")
        files = {
            self._path(when, kind): self._text(when, kind, told).encode()
            for when in _WHENS
            for kind in _KINDS
        }
        managed_files.write(files, lambda path, _: _is_ours(path), self.prefix)
        return list(files)

    def _remove(self, files: list[Path]) -> None:
        for path in files:
            path.unlink()
        # Only directories that held a removed file: others existed before enable.
        above = (self.directory, self.directory.parent) if files else ()
        for directory in (*{path.parent for path in files}, *above):
            managed_files.remove_if_empty(directory)

    def _written(self) -> Iterator[Path]:
        for when in _WHENS:
            for kind in _KINDS:
                path = self._path(when, kind)
                if _is_ours(path):
                    yield path
            yield from managed_files.leftovers(self.directory / f"{when}.d")

    def _path(self, when: str, kind: str) -> Path:
        return self.directory / f"{when}.d" / f"pip-sharedcache.{kind}"

    def _text(self, when: str, kind: str, told: Mapping[str, Any]) -> str:
        """Return the script for shells of ``kind``.

        The part of the template between "each" and "end" is repeated for each name of pip.
        """
        template = (_TEMPLATES / f"{when}.{kind}").read_text(encoding="utf-8")

        def for_each_name(found: re.Match[str]) -> str:
            return "".join(_named(found[1], kind, name, told) for name in NAMES)

        # Identifies this environment: several can be active in a shell, one on top of another.
        token = hashlib.sha256(str(self.prefix).encode("utf-8", "surrogateescape")).hexdigest()
        text = _EACH.sub(for_each_name, template).replace("@TOKEN@", token[:16])
        aliases = {name: guarded(name, told) for name in NAMES}
        return text.replace("@GUARDED@", repr(aliases))


def _named(text: str, kind: str, name: str, told: Mapping[str, Any]) -> str:
    function = definition(kind, name, told) if kind in KINDS else ""
    if kind == "sh":
        function = shlex.quote(function)
        alias = shlex.quote(shlex.join(guarded(name, told, _ACTIVE)))
        text = text.replace("@GUARDED@", alias)
    return text.replace("@NAME@", name).replace("@FUNCTION@", function)


def _is_ours(path: Path) -> bool:
    text = managed_files.read_own(path)
    return text is not None and managed_files.OURS in text
