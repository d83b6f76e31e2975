"""store.json: the group that shares a store, and the publishers that its owner lists."""

from __future__ import annotations

import json
import os
import shlex
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pip_sharedcache import trust
from pip_sharedcache.errors import StoreUnusable, reason
from pip_sharedcache.fs import Directory
from pip_sharedcache.model import FORMAT, PACKED_FORMAT
from pip_sharedcache.trust import access_lists

STORE_JSON = "store.json"

#: The values of "layout": how entries keep their files.
TREE, PACKED = "tree", "packed"
#: Keys of each store.json that pip-sharedcache wrote, beside "format".
ALWAYS = ("group", "trusted")
_MOST_NAMES = 1000  # each opening of the store looks up every name


def layout_name(packed: bool) -> str:
    """Return the value of "layout" in store.json."""
    return PACKED if packed else TREE


@dataclass(frozen=True)
class StoreJson:
    """The content of store.json.

    ``group``: the name of the group that shares the store, or "".
    ``trusted``: the publishers that the store's owner lists.
    ``builds``: whether the owner shares the wheels that users build.
    ``packed``: whether new entries are packed.
    ``may_have_packs``: whether any entry may be packed. Versions that do not know packs refuse such
        a store: they would regard packs as damage.
    """

    group: str = ""
    trusted: tuple[str, ...] = ()
    builds: bool = False
    packed: bool = False
    may_have_packs: bool = False

    def to_json(self) -> str:
        """Return the text of store.json."""
        packs = self.packed or self.may_have_packs
        head = {"format": PACKED_FORMAT if packs else FORMAT, "group": self.group or None}
        rest = {"trusted": self.trusted, "builds": self.builds}
        layout = {"layout": layout_name(self.packed)} if packs else {}
        return json.dumps({**head, **rest, **layout}, indent=2) + "\n"

    @classmethod
    def read(cls, path: Path, top: Directory) -> StoreJson | None:
        """Return the content for the store ``path``, which is open as ``top``.

        None if others than root and the store's owner could have changed it. Raises
        FileNotFoundError, StoreUnusable, and OSError if an access list cannot be read.
        """
        try:
            text, status = top.read(STORE_JSON)
        except FileNotFoundError:
            raise
        except OSError as error:
            why = f"{path / STORE_JSON} cannot be read: {reason(error)}"
            raise StoreUnusable(why) from error
        whole = top.status()
        if status.st_uid not in (0, whole.st_uid) or others_may_change(top, STORE_JSON, status):
            return None
        return cls.parse(path, text)

    @classmethod
    def parse(cls, path: Path, text: bytes, required: Iterable[str] = ()) -> StoreJson:
        """Return the content that ``text`` is for the store ``path``; raise StoreUnusable.

        ``required``: keys that must be there, beside "format".
        """
        try:
            data: Any = json.loads(text)
            if not isinstance(data, dict):
                raise TypeError("it is no JSON object")
            if "format" not in data:
                raise TypeError("format is missing")
            version, group = data["format"], data.get("group") or ""
            layout = data.get("layout", TREE)
            names = data.get("trusted", [])
            if missing := [key for key in required if key not in data]:
                raise TypeError(f"{missing[0]} is missing")
            if not isinstance(names, list) or len(names) > _MOST_NAMES:
                raise TypeError(f"trusted is no list of up to {_MOST_NAMES} names")
        except (ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
            raise StoreUnusable(f"{path / STORE_JSON} is damaged: {error}") from error
        if (version, layout) == (FORMAT, PACKED):
            raise StoreUnusable(
                f'{path / STORE_JSON} has "layout": "{PACKED}" with "format": {FORMAT}, which '
                "versions without packed entries read",
                trust.hint_for(f'write "format": {PACKED_FORMAT} there', *_owner_of(path), verb=""),
            )
        known = (TREE,) if version == FORMAT else (TREE, PACKED)
        if version not in (FORMAT, PACKED_FORMAT) or layout not in known:
            kind = f"format {version!r:.40}"
            kind += f" with the layout {layout!r:.40}" if layout != TREE else ""
            raise StoreUnusable(
                f"{path} is a store of {kind}, this is for formats {FORMAT} and {PACKED_FORMAT}",
                "upgrade pip-sharedcache",
            )
        builds, packs = data.get("builds") is True, version == PACKED_FORMAT
        return cls(str(group), tuple(map(str, names)), builds, layout == PACKED, packs)


def ignored(path: Path, owner: int) -> str:
    """Return the warning for the store ``path`` of ``owner``, for which ``StoreJson.read`` is None.

    The hint is for this user, who may lack the rights to follow it.
    """
    command = f"PIP_SHAREDCACHE_DIR={shlex.quote(str(path))} pip-sharedcache store doctor --fix"
    return (
        f"store.json is not used: {path / STORE_JSON}: others could have changed it; its group, "
        f"publishers and layout do not count; hint: {trust.hint_for(command, owner)}"
    )


def _owner_of(path: Path) -> tuple[int, ...]:
    """Return the uid that owns ``path``; () where the system does not tell."""
    try:
        return (path.stat().st_uid,)
    except OSError:
        return ()


def others_may_change(top: Directory, name: str, status: os.stat_result) -> bool:
    """Return whether modes or access lists let others change, or replace, a file of the store.

    ``status``: that of the file ``name`` in ``top``, whose owner counts as trusted here. Raises
    OSError.
    """
    if trust.writable_by_others(status):
        return True
    if access_lists.foreign_writers(top.where, top.status().st_mode):
        return True
    descriptor = top.open_file(name)
    try:
        return bool(access_lists.foreign_writers(descriptor, os.fstat(descriptor).st_mode))
    finally:
        os.close(descriptor)
