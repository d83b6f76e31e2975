"""The fields of Settings that the setting ``dir`` decides, or its absence."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from pip_sharedcache.config.places import own_store, site_has_store, site_store
from pip_sharedcache.config.sources import Setting
from pip_sharedcache.config.values import LayerSetting, RemoteSetting, to_lines
from pip_sharedcache.errors import reason
from pip_sharedcache.model import Policy
from pip_sharedcache.trust.paths import is_replaceable


def default(searched: tuple[Path, ...]) -> dict[str, Any]:
    """Return the fields where no place sets ``dir``: the site's store, else the user's, if any."""
    path = own_store()
    source, private = "default: the private store", True
    site = site_store()
    try:
        if site_has_store():
            path, source, private = site, "default: the site's store", False
    except OSError as error:
        source += f", since {site} cannot be read ({reason(error)})"
    return {
        "searched": searched,
        "dir": path,
        "dir_source": source,
        "private": private,
        "layers": () if path is None else (LayerSetting(path, Policy.PUBLISH),),
        # Variables name the user's own store; through sudo, a user may have set those of root.
        "dir_administered": path is not None and not private and not is_replaceable(path.parent),
    }


def directory(
    stores: Sequence[LayerSetting | RemoteSetting], named: Setting, files: tuple[Path, ...]
) -> dict[str, Any]:
    """Return the fields of Settings that ``dir`` decides.

    Where it names remote stores alone, the local one is that of ``default``.
    """
    if not stores:
        return {"dir": None, "dir_source": named.source, "off": True}
    remotes = tuple(one for one in stores if isinstance(one, RemoteSetting))
    layers = tuple(one for one in stores if isinstance(one, LayerSetting))
    if not layers:
        return {**default(files), "remotes": remotes}
    # HOME gives "~"; through sudo, HOME may be a user's.
    by_home = any(line.partition("/")[0] == "~" for line in to_lines(named.value))
    return {
        "dir": next((one.path for one in layers if one.policy.shares), layers[0].path),
        "dir_source": named.source,
        "dir_administered": named.administered and not by_home,
        "layers": layers,
        "remotes": remotes,
    }
