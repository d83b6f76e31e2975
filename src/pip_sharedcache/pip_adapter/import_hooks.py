"""Being called when a module of pip has been imported.

wrapt has such hooks too, but importing wrapt takes as long as a whole ``pip --version`` does for
half of its work: so it is imported when pip is going to install, and these hooks tell of that.
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

#: A name whose import waits for its first use (PEP 810, Python 3.15).
_LAZY = getattr(types, "LazyImportType", None)


class _Finder(MetaPathFinder):
    """Finds nothing itself: has the other finders find a module that somebody waits for."""

    def __init__(self) -> None:
        self.waiting: dict[str, list[Hook]] = {}
        self._asking = ""

    def find_spec(
        self, fullname: str, path: Sequence[str] | None = None, target: ModuleType | None = None
    ) -> ModuleSpec | None:
        """The module's own spec, with a loader that calls the hooks afterwards."""
        if fullname not in self.waiting or fullname == self._asking:
            return None
        self._asking = fullname  # the others are asked through the same list
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
        """As the original."""
        if self._is_old():
            return None
        return self._original.create_module(spec)

    def exec_module(self, module: ModuleType) -> None:
        """As the original, which the module names as its loader from then on; then the hooks."""
        if module.__spec__ is not None:
            module.__spec__.loader = self._original
        module.__loader__ = self._original
        if self._is_old():
            self._original.load_module(module.__name__)  # into the one that is there
        else:
            self._original.exec_module(module)
        for hook in self._waiting.pop(module.__name__, ()):
            hook(module)

    def _is_old(self) -> bool:
        """Whether it is one of before PEP 451, as Python 3.9 has for archives."""
        return not hasattr(self._original, "exec_module")


_finder = _Finder()


def when_imported(name: str, hook: Hook) -> None:
    """Call ``hook`` with the module ``name`` once it is imported; at once if it is already. What
    ``hook`` raises comes out of the import."""
    module = sys.modules.get(name)
    if module is not None:
        hook(module)
        return
    if _finder not in sys.meta_path:
        sys.meta_path.insert(0, _finder)
    _finder.waiting.setdefault(name, []).append(hook)


def forget() -> None:
    """Call no hook for what is imported from now on."""
    _finder.waiting.clear()


def resolve_lazy_imports(packages: Iterable[str]) -> None:
    """Import now what the modules of ``packages``, and the modules that these name, would import at
    the first use (PEP 810): pip refuses imports once it installs, and resolves only its own."""
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
                    continue  # whoever uses that name meets it again
            if isinstance(value, (type, types.FunctionType)):
                value = sys.modules.get(getattr(value, "__module__", ""))
            if isinstance(value, ModuleType):
                waiting.append(value)
