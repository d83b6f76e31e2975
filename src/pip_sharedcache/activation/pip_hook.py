"""The hook: files that make pip install through the store.

The pip of one environment, or of all environments of one interpreter. The hook recognises its files
and lines by their text, and changes nothing else.
"""

from __future__ import annotations

import logging
import os
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from pip_sharedcache import resources
from pip_sharedcache.activation import managed_files
from pip_sharedcache.activation.interpreters import Interpreter, bytecode_of
from pip_sharedcache.errors import FileError, SharedCacheError, UsageError

logger = logging.getLogger(__name__)

_MODULE = "_pip_sharedcache"
#: The module's name in a standard library. With the name of the module of an environment, one of
#: the two would hide the other.
_EVERYWHERE = "_pip_sharedcache_everywhere"
#: Modules that Python would find before the new sitecustomize.py, or that it would hide.
_OTHERS = (
    "sitecustomize/__init__.*",
    "sitecustomize.pyc",
    "sitecustomize.*so",
    "sitecustomize.*pyd",
)
_UNTOLD = "TOLD = {}  # type: ignore[var-annotated]\n"
_PTH_NAME, _START_NAME = "pip_sharedcache.pth", "pip_sharedcache.start"

#: The line of the .pth file, which site executes when the interpreter starts. Where the module is
#: missing or damaged, Python must start as before; `store status` reports it.
_PTH = (
    f'import sys; exec("try:\\n    import {_MODULE} as hook\\n    hook.start()\\n'
    'except Exception:\\n    pass")\n'
)
#: The same for Python 3.15 and later, which will not execute such lines any more (PEP 829).
_START = f"{_MODULE}:start\n"

_BEGIN = "\n# >>> pip-sharedcache (taken out by: pip-sharedcache store disable --sitecustomize)\n"
_END = "# <<< pip-sharedcache\n"
_BLOCK = (
    f"{_BEGIN}try:\n    import {_EVERYWHERE}\n\n    {_EVERYWHERE}.start()\n"
    f"except Exception:\n    pass\n{_END}"
)


class Hook(managed_files.Switch):
    """The hook of the environment of ``interpreter``.

    With ``everywhere``: of all environments that share its standard library.
    """

    def __init__(self, interpreter: Interpreter, *, everywhere: bool) -> None:
        self._interpreter = interpreter
        self._everywhere = everywhere
        self.directory = interpreter.standard if everywhere else interpreter.library
        self.prefix = interpreter.prefix
        if everywhere and not self.directory.is_relative_to(self.prefix):
            # An environment's interpreter: .../lib/python3.11, or ...\\Lib.
            self.prefix = self.directory.parents[0 if self.directory.name == "Lib" else 1]
        self._module = self.directory / f"{_EVERYWHERE if everywhere else _MODULE}.py"

    def switch_on(self, told: Mapping[str, Any]) -> list[Path]:
        files = {self._module: self._text(told)}
        if self._everywhere:
            path, text = self._customized()
            files[path] = text
        else:
            files[self.directory / _START_NAME] = _START.encode()
            files[self.directory / _PTH_NAME] = _PTH.encode()
        # The module first: the files that import it must not exist without it.
        managed_files.write(
            files, lambda path, text: _is_ours(path) or _BEGIN.encode() in text, self.prefix
        )
        whole = [path for path in files if _is_source(path) and managed_files.OURS in files[path]]
        return [*files, *self._compile(whole)]

    def _compile(self, sources: list[Path]) -> list[Path]:
        """Write the bytecode of ``sources``, and return its paths.

        Most users of the interpreter may not write the bytecode themselves.
        """
        compiled = []
        for path, text in bytecode_of(self._interpreter, sources).items():
            try:
                managed_files.refuse_way_out(path, self.prefix)
                managed_files.make_as_above(path.parent)
                managed_files.replace(path, text)
            except SharedCacheError as error:  # another user's: the hook works without bytecode
                logger.debug("Compiled whenever an interpreter starts: %s", error)
            else:
                compiled.append(path)
        return compiled

    def _remove(self, files: list[Path]) -> None:
        for path in files:
            text = path.read_bytes()
            if _BEGIN.encode() in text:
                managed_files.replace(path, _without_block(text))
            else:
                path.unlink()
        managed_files.remove_if_empty(self.directory / "__pycache__")

    def _written(self) -> Iterator[Path]:
        """Yield each file of the hook that exists: those that import the module come before it."""
        for name in ("sitecustomize.py",) if self._everywhere else (_PTH_NAME, _START_NAME):
            path = self.directory / name
            if _is_ours(path):
                yield path
                yield from self._bytecode_beside(path)
        if _is_ours(self._module):
            yield self._module
            yield from self._bytecode_beside(self._module)
        for directory in (self.directory, self.directory / "__pycache__"):
            if directory == self.directory or not directory.is_symlink():
                yield from managed_files.leftovers(directory)

    def _bytecode_beside(self, path: Path) -> list[Path]:
        """Return the bytecode of ``path``, where pip-sharedcache wrote the whole file."""
        directory = path.parent / "__pycache__"
        if not _is_source(path) or _BEGIN.encode() in path.read_bytes() or directory.is_symlink():
            return []
        # Bytecode that may not be removed does no harm: Python ignores it without its source.
        return sorted(directory.glob(f"{path.stem}.*.pyc")) if os.access(directory, os.W_OK) else []

    def lines_elsewhere(self) -> str:
        """Return a sentence where sitecustomize.py links to a file with lines of this package.

        switch_off does not remove those lines. Returns "" otherwise.
        """
        link = self.directory / "sitecustomize.py"
        try:
            text = managed_files.read(link) if link.is_symlink() else None
        except OSError:
            return ""
        if not self._everywhere or text is None or not _has_lines(text):
            return ""
        target = os.path.realpath(link)
        return (
            f"{link} leads to {target}{managed_files.owned(target)}, which has lines of "
            "pip-sharedcache: they stay there, as another Python may use that file"
        )

    def _text(self, told: Mapping[str, Any]) -> bytes:
        """Return the text of the module, with the paths of the packages.

        Paths inside the environment are relative, so that the environment can be moved.
        """
        roots = {name: self._as_seen(Path(root)) for name, root in told["roots"].items()}
        hook = {**told, "roots": roots, "runner": self._as_seen(Path(told["runner"]))}
        template = _template(_MODULE).decode()
        assert template.count(_UNTOLD) == 1
        return template.replace(_UNTOLD, f"TOLD = {hook!r}\n").encode()

    def _as_seen(self, path: Path) -> str:
        if path.is_relative_to(self._interpreter.prefix) and not self._everywhere:
            return os.path.relpath(path, self.directory)
        return str(path)

    def _customized(self) -> tuple[Path, bytes]:
        """Return path and text of the standard library's sitecustomize.py.

        The text is the template, or the present text with pip-sharedcache's lines at its end.
        Raises UsageError or FileError.
        """
        path = self.directory / "sitecustomize.py"
        if path.is_symlink():
            target = os.path.realpath(path)
            raise UsageError(
                f"{path} leads to {target}{managed_files.owned(target)}, which another Python may "
                "use: nothing was changed",
                "enable the store in each environment, without --sitecustomize",
            )
        for other in _OTHERS:
            if found := sorted(self.directory.glob(other)):
                raise UsageError(
                    f"{found[0]} is a sitecustomize, to which no lines can be added",
                    "enable the store in each environment",
                )
        with FileError.where_not("read", path):
            text = managed_files.read(path)
        if text is None or managed_files.OURS in text:
            return path, _template("_sitecustomize")
        return path, _without_block(text) + _BLOCK.encode()


def _template(module: str) -> bytes:
    return resources.path_of("activation", f"{module}.py").read_bytes()


def _is_source(path: Path) -> bool:
    return path.suffix == ".py"


def _is_ours(path: Path) -> bool:
    text = managed_files.read_own(path)
    if text is None:
        return False
    if _has_lines(text):
        return True
    if path.name in (_PTH_NAME, _START_NAME) and _MODULE.encode() in text:
        return True  # another version of pip-sharedcache may have written it
    # Names that only pip-sharedcache uses: also the beginning of a file that was cut off.
    whole = {_PTH_NAME: _PTH.encode(), _START_NAME: _START.encode()}
    whole[f"{_MODULE}.py"] = whole[f"{_EVERYWHERE}.py"] = _template(_MODULE)
    return path.name in whole and whole[path.name].startswith(text)


def _has_lines(text: bytes) -> bool:
    return managed_files.OURS in text or _BEGIN.encode() in text


def _without_block(text: bytes) -> bytes:
    before, begin, rest = text.partition(_BEGIN.encode())
    return before + rest.partition(_END.encode())[2] if begin else text
