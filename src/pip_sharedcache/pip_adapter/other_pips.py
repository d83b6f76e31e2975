"""The pips that pip starts in other processes: they run through our runner, and so know of us.

pip does so in another interpreter (--python) and in a subprocess (isolated builds).
"""

from __future__ import annotations

import functools
import json
import os
from collections.abc import Callable
from types import ModuleType
from typing import Any

from pip_sharedcache.pip_adapter.bootstrap import RUNNER, RUNNER_VARIABLE, carried
from pip_sharedcache.pip_adapter.import_hooks import when_imported

#: The modules that define get_runnable_pip: the first up to pip 26.1.2, the second from 26.2.
_RUNNABLE = ("pip._internal.build_env", "pip._internal.utils.misc")

#: Called where pip's own runner is started instead; with the error, None if a package is missing.
Unable = Callable[["Exception | None"], None]


def start_with_our_runner(needed: Callable[[], bool], unable: Unable) -> None:
    """Let pip start our runner instead of its own, each time that ``needed`` returns True."""
    for name in _RUNNABLE:
        when_imported(name, functools.partial(_replace_in, needed=needed, unable=unable))


def _replace_in(module: ModuleType, needed: Callable[[], bool], unable: Unable) -> None:
    original = vars(module).get("get_runnable_pip")
    if original is not None and original.__module__ == module.__name__:
        module.get_runnable_pip = functools.wraps(original)(  # type: ignore[attr-defined]
            functools.partial(_runnable, original, needed, unable)
        )


def _runnable(
    original: Callable[..., str],
    needed: Callable[[], bool],
    unable: Unable,
    *args: Any,
    **kw: Any,
) -> str:
    pip = original(*args, **kw)
    if not needed():
        return pip
    try:
        told = carried(pip)
    except Exception as error:
        unable(error)
        return pip
    if told is None:
        unable(None)
        return pip
    os.environ[RUNNER_VARIABLE] = json.dumps(told)
    return str(RUNNER)
