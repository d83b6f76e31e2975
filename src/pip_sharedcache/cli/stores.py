"""The store that a command uses, according to the settings."""

from __future__ import annotations

import os

from pip_sharedcache import config, pip_adapter
from pip_sharedcache.cli.output import Output
from pip_sharedcache.maintenance.stores import open_main, require_publishable, require_writable
from pip_sharedcache.store import Store


def settings_in_use(output: Output) -> config.Settings:
    """Return the settings from pip's configuration files and the environment variables.

    Warns of unknown settings. Raises SettingError.
    """
    settings = config.load(pip_adapter.configuration_files(), os.environ)
    for note in settings.notes:
        output.warn(note)
    return settings


def store_in_use(output: Output) -> Store:
    """Return the store to which pip would publish here. Raises SettingError, StoreUnusable."""
    return main_store(settings_in_use(output), output)


def store_to_change(output: Output) -> Store:
    """Return the store in use, for a command that changes it.

    Raises SettingError; StoreUnusable, also where this process may only read the store.
    """
    store = store_in_use(output)
    require_writable(store)
    return store


def store_to_fill(output: Output) -> Store:
    """Return the store in use, for a command that publishes; make a missing private store.

    Raises SettingError; StoreUnusable, also where this user may not publish.
    """
    store = main_store(settings_in_use(output), output, make=True)
    require_publishable(store)
    return store


def main_store(settings: config.Settings, output: Output, *, make: bool = False) -> Store:
    """Return the store of maintenance.stores.open_main; warn of stores that cannot be used."""
    store, unusable = open_main(settings, make=make)
    for one in unusable:
        output.warn(f"One of the shared stores is not used: {one}")
    for line in store.bans.ignored:
        output.warn(line)
    return store
