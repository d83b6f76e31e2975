"""Hooks that pip-sharedcache runs after the import of a module of pip.

wrapt has such hooks, too. But its import takes about half as long as a whole ``pip --version``, so
these hooks delay that import until pip is going to install.
"""

from __future__ import annotations

import importlib.util
import sys
import types
from collections.abc import Callable, Iterable, Sequence
from importlib.abc import Loader, MetaPathFinder
from importlib.machinery import ModuleSpec
from types import ModuleType

Hook = Callable[[ModuleType], None]

#: The type of a name whose import waits for the first use (PEP 810, Python 3.15).
_LAZY = getattr(types, "LazyImportType", None)


class _Finder(MetaPathFinder):
    """A finder that asks the other finders for a module with hooks, and wraps its loader."""

    def __init__(self) -> None:
        self.waiting: dict[str, list[Hook]] = {}
        self._asking = ""

    def find_spec(
        self, fullname: str, path: Sequence[str] | None = None, target: ModuleType | None = None
    ) -> ModuleSpec | None:
        """Return the module's own spec, with a loader that calls the hooks after the import."""
        if fullname not in self.waiting or fullname == self._asking:
            return None
        self._asking = fullname  # else this search would call itself without end
        try:
            spec = importlib.util.find_spec(fullname)
        finally:
            self._asking = ""
        if spec is not None and spec.loader is not None:
            spec.loader = _Loader(spec.loader, self.waiting)
        return spec


class _Loader(Loader):
    def __init__(self, original: Loader, waiting: dict[str, list[Hook]]) -> None:
        self._original = original
        self._waiting = waiting

    def create_module(self, spec: ModuleSpec) -> ModuleType | None:
        """Create the module as the original loader does."""
        if self._is_old():
            return None
        return self._original.create_module(spec)

    def exec_module(self, module: ModuleType) -> None:
        """Execute the module as the original loader does, then call the hooks.

        The module names the original loader as its own from then on.
        """
        if module.__spec__ is not None:
            module.__spec__.loader = self._original
        module.__loader__ = self._original
        if self._is_old():
            self._original.load_module(module.__name__)  # uses the module in sys.modules
        else:
            self._original.exec_module(module)
        for hook in self._waiting.pop(module.__name__, ()):
            hook(module)

    def _is_old(self) -> bool:
        """Return whether the loader is older than PEP 451, like that of Python 3.9 for archives."""
        return not hasattr(self._original, "exec_module")


_finder = _Finder()


def when_imported(name: str, hook: Hook) -> None:
    """Call ``hook`` with the module ``name`` after its import, at once if it is imported.

    The import raises the exceptions of ``hook``.
    """
    module = sys.modules.get(name)
    if module is not None:
        hook(module)
        return
    if _finder not in sys.meta_path:
        sys.meta_path.insert(0, _finder)
    _finder.waiting.setdefault(name, []).append(hook)


def forget() -> None:
    """Remove all hooks, so that later imports call none."""
    _finder.waiting.clear()


def resolve_lazy_imports(packages: Iterable[str]) -> None:
    """Perform the lazy imports (PEP 810) of ``packages`` and of modules that they name.

    pip refuses imports once it installs, and resolves only its own lazy imports before.
    """
    if _LAZY is None:
        return
    wanted = set(packages)
    waiting = [module for name, module in sys.modules.items() if name.partition(".")[0] in wanted]
    seen: set[int] = set()
    while waiting:
        module = waiting.pop()
        if id(module) in seen or not isinstance(module, ModuleType):
            continue
        seen.add(id(module))
        for name, value in list(vars(module).items()):
            if type(value) is _LAZY:
                try:
                    value = getattr(module, name)
                except Exception:
                    continue  # the code that uses this name gets the error again
            if isinstance(value, (type, types.FunctionType)):
                value = sys.modules.get(getattr(value, "__module__", ""))
            if isinstance(value, ModuleType):
                waiting.append(value)
