"""The setting offline, for every command of pip: each request fails before it is made."""

from __future__ import annotations

import functools
import importlib
from collections.abc import Callable
from types import ModuleType
from typing import Any

from pip_sharedcache.config import Settings
from pip_sharedcache.errors import SharedCacheError
from pip_sharedcache.pip_adapter.import_hooks import when_imported


def register(settings: Callable[[], Settings]) -> None:
    """Let pip's commands make no request if the setting offline is on.

    ``settings`` reads the settings: only at a request, since most commands need none.
    """

    def is_offline() -> bool:
        try:
            return settings().offline
        except SharedCacheError:
            return False  # an installation reports it

    for module, hook in (
        ("pip._internal.network.session", _refuse_requests),
        ("pip._internal.self_outdated_check", _check_no_version),
    ):
        when_imported(module, functools.partial(hook, is_offline))


def _refuse_requests(is_offline: Callable[[], bool], network: ModuleType) -> None:
    """Let each request fail with pip's InstallationError, which pip reports in one line.

    ``network``: pip's module of its session, just imported. ``is_offline``: asked at a request.
    """
    session_class: Any = network.PipSession
    original = session_class.get_adapter

    def get_adapter(session: Any, url: str) -> Any:
        if url.lower().startswith("file:") or not is_offline():
            return original(session, url)
        exceptions = importlib.import_module("pip._internal.exceptions")
        raise exceptions.InstallationError(f"The setting offline allows no request: {url}")

    session_class.get_adapter = get_adapter


def _check_no_version(is_offline: Callable[[], bool], check: ModuleType) -> None:
    """Let pip not ask whether a newer pip exists. ``check``: its module for that, just imported."""
    for name in (
        "pip_self_version_check",
        "pip_self_version_check_fetch",
    ):  # of older and of newer pips
        original = getattr(check, name, None)
        if original is not None:
            setattr(check, name, functools.partial(_unless_offline, is_offline, original))


def _unless_offline(is_offline: Callable[[], bool], original: Any, *args: Any, **kw: Any) -> Any:
    return None if is_offline() else original(*args, **kw)
