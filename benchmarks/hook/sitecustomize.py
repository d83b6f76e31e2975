"""Notes when pip's resolver has returned, and what the pages were: put this on PYTHONPATH.

Whenever ``Resolver.resolve`` returns, in this process or in one that pip starts, a line with
``time.monotonic()`` (seconds; one clock for the whole machine on Linux) is appended to the file
that BENCHMARK_STAMPS names, which must exist. Without that variable nothing is done. Isolated build
environments resolve too: the last line is the one that counts.

Each index page that pip gets is written to the directory that BENCHMARK_PAGES names, as
``<project>.json``, if the index gives it in JSON, else as ``<project>.html``.

Everything is imported here, at start: pip 26.3 lets nothing be imported once it installs.
"""

from __future__ import annotations

import functools
import os
import sys
import time
from collections.abc import Callable, Sequence
from importlib.machinery import ModuleSpec, PathFinder
from types import ModuleType
from typing import Any

_STAMPS, _PAGES = "BENCHMARK_STAMPS", "BENCHMARK_PAGES"
_RESOLVER = "pip._internal.resolution.resolvelib.resolver"
_COLLECTOR = "pip._internal.index.collector"


class _Finder:
    """Finds a module of pip as usual, and wraps it once it is loaded."""

    def __init__(self, name: str, wrap: Callable[[Any], None]) -> None:
        self._name = name
        self._wrap = wrap

    def find_spec(
        self,
        fullname: str,
        path: Sequence[str] | None = None,
        target: ModuleType | None = None,
    ) -> ModuleSpec | None:
        if fullname != self._name:
            return None
        spec = PathFinder.find_spec(fullname, path, target)
        if spec is None or spec.loader is None:
            return None
        execute = spec.loader.exec_module

        def exec_module(module: ModuleType) -> None:
            execute(module)
            if module.__name__ == self._name:  # a zipimporter loads its other modules too
                self._wrap(module)

        spec.loader.exec_module = exec_module  # type: ignore[method-assign]
        return spec


def _note_the_end(module: Any) -> None:
    original = module.Resolver.resolve

    @functools.wraps(original)  # who looks at its arguments sees pip's
    def resolve(self: Any, *args: Any, **kw: Any) -> Any:
        result = original(self, *args, **kw)
        _stamp()
        return result

    module.Resolver.resolve = resolve


def _stamp() -> None:
    now = time.monotonic()
    try:
        descriptor = os.open(os.environ[_STAMPS], os.O_WRONLY | os.O_APPEND)
    except OSError:
        return  # the figure is missing then, and pip goes on
    try:
        os.write(descriptor, b"%.9f\n" % now)
    finally:
        os.close(descriptor)


def _keep_pages(module: Any) -> None:
    original = module._get_simple_response

    @functools.wraps(original)
    def get(url: str, *args: Any, **kw: Any) -> Any:
        response = original(url, *args, **kw)
        kind = "json" if "json" in response.headers.get("Content-Type", "") else "html"
        path = os.path.join(os.environ[_PAGES], f"{url.rstrip('/').rpartition('/')[2]}.{kind}")
        with open(path, "wb") as stream:
            stream.write(response.content)
        return response

    module._get_simple_response = get


if os.environ.get(_STAMPS):
    sys.meta_path.insert(0, _Finder(_RESOLVER, _note_the_end))
if os.environ.get(_PAGES):
    sys.meta_path.insert(0, _Finder(_COLLECTOR, _keep_pages))
