"""Notes when pip's resolver has returned: put this directory on PYTHONPATH.

Whenever ``Resolver.resolve`` returns, in this process or in one that pip starts, a line with
``time.monotonic()`` (seconds; one clock for the whole machine on Linux) is appended to the file
that BENCHMARK_STAMPS names, which must exist. Without that variable nothing is done. Isolated build
environments resolve too: the last line is the one that counts.

Everything is imported here, at start: pip 26.3 lets nothing be imported once it installs.
"""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Sequence
from importlib.machinery import ModuleSpec, PathFinder
from types import ModuleType
from typing import Any

_VARIABLE = "BENCHMARK_STAMPS"
_MODULE = "pip._internal.resolution.resolvelib.resolver"


class _ResolverFinder:
    """Finds pip's resolver as ever, and wraps it once it is loaded."""

    def find_spec(
        self,
        fullname: str,
        path: Sequence[str] | None = None,
        target: ModuleType | None = None,
    ) -> ModuleSpec | None:
        if fullname != _MODULE:
            return None
        spec = PathFinder.find_spec(fullname, path, target)
        if spec is None or spec.loader is None:
            return None
        execute = spec.loader.exec_module

        def exec_module(module: ModuleType) -> None:
            execute(module)
            if module.__name__ == _MODULE:  # a zipimporter loads its other modules too
                _wrap(module)

        spec.loader.exec_module = exec_module  # type: ignore[method-assign]
        return spec


def _wrap(module: ModuleType) -> None:
    original = module.Resolver.resolve

    def resolve(self: Any, *args: Any, **kw: Any) -> Any:
        result = original(self, *args, **kw)
        _stamp()
        return result

    module.Resolver.resolve = resolve


def _stamp() -> None:
    now = time.monotonic()
    try:
        descriptor = os.open(os.environ[_VARIABLE], os.O_WRONLY | os.O_APPEND)
    except OSError:
        return  # the figure is missing then, and pip goes on
    try:
        os.write(descriptor, b"%.9f\n" % now)
    finally:
        os.close(descriptor)


if os.environ.get(_VARIABLE):
    sys.meta_path.insert(0, _ResolverFinder())
