"""The setting offline, for every command of pip: each request fails before it is made.

The other settings do not matter: neither a wrong one nor a store that is switched off lifts it.
"""

from __future__ import annotations

import functools
import importlib
import logging
import os
import sys
from collections.abc import Callable
from types import ModuleType
from typing import Any, NoReturn

from pip_sharedcache import config
from pip_sharedcache.errors import SettingError, SharedCacheError, UsageError
from pip_sharedcache.pip_adapter.config_files import configuration_files
from pip_sharedcache.pip_adapter.import_hooks import when_imported

logger = logging.getLogger(__name__)

#: The commands of pip that make requests.
_REQUESTING = ("install", "download", "wheel", "lock", "index", "search")

#: Returns the setting that allows no request, or None.
Asked = Callable[[], "config.Setting | None"]


def register(isolated: bool) -> Asked:
    """Let pip's commands make no request if the setting offline is on, or cannot be read.

    ``isolated``: as for config.load. Returns the function that reads the setting: only at a
    request, since most commands make none.
    """

    @functools.cache
    def asked() -> config.Setting | None:
        files = configuration_files(isolated=isolated)
        return config.offline_setting(files, os.environ, isolated=isolated)

    for module, hook in (
        ("pip._internal.network.session", _refuse_requests),
        ("pip._internal.self_outdated_check", _check_no_version),
    ):
        when_imported(module, functools.partial(hook, asked))
    return asked


def end(error: SharedCacheError) -> NoReturn:
    """End this process with the text of ``error`` and status 2, before pip has set up logging."""
    logger.error("ERROR: %s", error)
    raise SystemExit(2)


def end_if_asked(setting: config.Setting | None, why: str) -> None:
    """End this process if ``setting`` allows no request, and pip is to run by itself elsewhere.

    ``why``: why pip-sharedcache cannot run there. Commands that make no request go on.
    """
    if setting is not None and any(name in sys.argv for name in _REQUESTING):
        end(UsageError(f"No request is made, by the setting offline: {why}"))


def end_if_off(setting: config.Setting | None) -> None:
    """End this process if ``setting`` allows no request, since plain pip would make requests."""
    if setting is None:
        return
    try:
        config.row("offline").read(setting)
    except SettingError as error:
        end(error)
    option = "--offline" if setting.source.startswith("option ") else ""
    end(
        UsageError(
            f"{option or f'offline = {setting.value} ({setting.source})'} takes wheels from the "
            "store, which is switched off",
            "use neither --no-sharedcache nor --sharedcache-dir=none or PIP_SHAREDCACHE_DIR=none; "
            "or allow requests with --sharedcache-offline=no",
        )
    )


def _refuse_requests(asked: Asked, network: ModuleType) -> None:
    """Let each request fail with pip's InstallationError, which pip reports in one line.

    ``network``: pip's module of its session, just imported. ``asked``: called at a request.
    """
    session_class: Any = network.PipSession
    original = session_class.get_adapter

    def get_adapter(session: Any, url: str) -> Any:
        setting = None if url.lower().startswith("file:") else asked()
        if setting is None:
            return original(session, url)
        exceptions = importlib.import_module("pip._internal.exceptions")
        try:
            config.row("offline").read(setting)
        except SettingError as error:
            raise exceptions.InstallationError(f"No request is made to {url}: {error}") from None
        raise exceptions.InstallationError(f"The setting offline allows no request: {url}")

    session_class.get_adapter = get_adapter


def _check_no_version(asked: Asked, check: ModuleType) -> None:
    """Let pip not ask whether a newer pip exists. ``check``: its module for that, just imported."""
    for name in (
        "pip_self_version_check",
        "pip_self_version_check_fetch",
    ):  # of older and of newer pips
        original = getattr(check, name, None)
        if original is not None:
            setattr(check, name, functools.partial(_unless_offline, asked, original))


def _unless_offline(asked: Asked, original: Any, *args: Any, **kw: Any) -> Any:
    return original(*args, **kw) if asked() is None else None
