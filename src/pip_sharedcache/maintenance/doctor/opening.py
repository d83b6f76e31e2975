"""The choice and the opening of the store, and the reasons why it cannot be opened."""

from __future__ import annotations

import os
from dataclasses import replace
from pathlib import Path

from pip_sharedcache import trust
from pip_sharedcache.config import OFF, LayerSetting, Settings, site_store
from pip_sharedcache.errors import StoreNotMade, StoreUnusable, reason
from pip_sharedcache.fs.responsiveness import is_responsive
from pip_sharedcache.maintenance.doctor.configuration import check_store_json, explain_bans
from pip_sharedcache.maintenance.doctor.directories import find_blocked_directory
from pip_sharedcache.maintenance.doctor.report import (
    LAYER,
    DoctorReport,
    forget,
    quoted,
    writers_of,
)
from pip_sharedcache.maintenance.doctor.surroundings import mount_of
from pip_sharedcache.model import Policy
from pip_sharedcache.store import (
    PATIENCE,
    Store,
    is_made_later,
    missing_store,
    open_layers,
    open_store,
    refuse_foreign_home,
)
from pip_sharedcache.store.bans import BansUnusable
from pip_sharedcache.store.layers import Layers

_NO_FILES = "pip reads no configuration file, because of PIP_CONFIG_FILE"
_NAME_ONE = "export PIP_SHAREDCACHE_DIR=/the/path/of/a/store"


def look_at_settings(report: DoctorReport, settings: Settings) -> None:
    """Report the settings and their sources."""
    in_force = settings.in_force()
    text = "; ".join(f"{name} = {one.value} ({one.source})" for name, one in in_force.items())
    data = {
        name.replace("-", "_"): {"value": one.value, "source": one.source}
        for name, one in in_force.items()
    }
    report.add_fact("settings", text, data)
    for names, place in zip(settings.trust, settings.chosen.get("trust", ())):
        if unknown := trust.unknown_names(names):
            report.add_finding(
                "unknown-names",
                f"The setting trust names {unknown} ({place.source}): no user is trusted for them",
                forget("trust", place.source),
                "the setting is your choice",
                writers_of(place.source),
            )
    for file, why in settings.unread:
        report.add_finding(
            "configuration-unread",
            f"{file} cannot be read ({why}): its settings apply to other users, and not to you",
            f"chmod a+r {quoted(file)}",
            "it may be for other users only",
            (0, _owner(file) or 0),
        )
    home = os.environ.get("HOME")
    text = home or "HOME is not set: the home directory of the account is used"
    report.add_fact("home", text, home or "")


def _owner(path: Path) -> int | None:
    try:
        return path.stat().st_uid
    except OSError:
        return None


def reach(report: DoctorReport, settings: Settings) -> Store | None:
    """Open the store that ``settings`` name, and return it.

    Return None if the store cannot be opened, which is reported, or if it is this user's private
    store and does not exist yet. Nothing is made.
    """
    path = settings.dir
    if settings.off:
        sentence = f"No store is used: dir is {OFF} ({settings.dir_source})"
        report.add_finding("off", sentence, _NAME_ONE, "the directory is your choice")
        return None
    if path is None:
        sentence = "No setting names a store, and no home directory is known for a private one"
        report.add_finding("home", sentence, _NAME_ONE, "the directory is your choice")
        return None
    report.add_fact("store", f"{path} ({settings.dir_source})", str(path))
    if settings.private:
        files = list(map(str, settings.searched))
        named = f"no store is named in {', '.join(files)}" if files else _NO_FILES
        report.add_fact("searched", f"{named}; the site has no store at {site_store()}", files)
    if not is_responsive(path, PATIENCE):
        _find_hanging(report, path)
        return None
    try:
        path.lstat()
        store = open_store(settings)
    except (FileNotFoundError, NotADirectoryError):
        _missing(report, settings, path)
        return None
    except OSError as error:
        if not find_blocked_directory(report, path):
            _find_unusable(report, f"{path} cannot be used: {reason(error)}")
        return None
    except StoreUnusable as error:
        _explain(report, settings, path, error)
        return None
    if store.replaceable_by and store.replaceable_at is not None:
        _find_replaceable(report, store, store.replaceable_at)
    if trust.user_id() == 0 and not settings.dir_administered and store.owner != 0:
        report.add_fact(
            "root",
            f"root does not trust {trust.user_name(store.owner)}, the store's owner, since the "
            f"store was named by {settings.dir_source}, which another user can have set",
            settings.dir_source,
        )
    return store


def look_at_layers(report: DoctorReport, settings: Settings) -> Settings:
    """Report the layers that cannot be used, and return the settings with one layer as ``dir``.

    This layer is the store to which a run would publish, if there is one. All other findings are
    about this store, as a fact says. With fewer than two layers, the settings are returned
    unchanged.
    """
    if len(settings.layers) < 2:
        return settings
    opened = list(open_layers(settings, make=False))
    main = Layers([one for one in opened if isinstance(one, Store)]).main
    if main is not None:
        settings = replace(settings, dir=main.path)
    for number, (layer, one) in enumerate(zip(settings.layers, opened), 1):
        named = f"{layer.path} ({layer.policy.value})"
        facts = {"store": str(layer.path), "policy": layer.policy.value}
        report.add_fact(f"{LAYER}{number}", named, facts)
        if isinstance(one, (Store, StoreNotMade)) or layer.path == settings.dir:
            continue  # the first installation makes a missing private store
        sentence = f"{one.message}: pip installs without this layer"
        look = f"pip-sharedcache --sharedcache-dir {quoted(layer.path)} store doctor"
        report.add_finding("layer", sentence, look, "that command examines this layer alone")
    others = [layer.path for layer in settings.layers if layer.path != settings.dir]
    text = f"all other lines are about {settings.dir}; --sharedcache-dir names another store"
    report.add_fact("others", text, list(map(str, others)))
    return settings


def _find_hanging(report: DoctorReport, path: Path) -> None:
    # Do not resolve the path: this would hang, too.
    mount = mount_of(Path(os.path.abspath(path)))
    point = quoted(mount.point if mount else path)
    report.add_finding(
        "hanging",
        f"{path} does not answer for {PATIENCE:g} seconds: its file system may be unreachable; pip "
        "installs without the store",
        f"umount -l {point} && mount {point}",
        "other users may use that file system",
        (0,),
    )


def _find_replaceable(report: DoctorReport, store: Store, where: Path) -> None:
    owner = where.lstat().st_uid
    sentence = (
        f"Others may replace files below {where}: pip-sharedcache copies wheels before it uses them"
    )
    if store.owner not in (0, trust.user_id()):
        sentence += f", and {trust.user_name(store.owner)}, the store's owner, is not trusted"
    trusted = owner in (0, store.owner, trust.user_id())
    # In a sticky directory, others can still add files.
    command = f"chmod +t {quoted(where)}" if trusted else _NAME_ONE
    left = "other users may work in that directory"
    report.add_finding("replaceable", sentence, command, left, (0, owner) if trusted else ())


def _missing(report: DoctorReport, settings: Settings, path: Path) -> None:
    above = next(above for above in path.parents if above.exists())
    hidden = LayerSetting(path, Policy.PRIVATE) in settings.layers
    near = LayerSetting(path, Policy.BACKFILL)
    if near in settings.layers and is_made_later(near):
        report.add_fact("state", "not made yet: the first installation makes it", None)
    elif not settings.private and not hidden:
        what, command = missing_store(path)
        left = "the directory, and the group that shares it (--group), are your choice"
        if "store init" not in command:
            left = "a store that is made now would be hidden by the file system"
        report.add_finding(
            "missing",
            f"{what} ({settings.dir_source}): pip installs without the store",
            command,
            left,
            (0, above.stat().st_uid),
        )
    elif not os.access(above, os.W_OK | os.X_OK):
        _find_home(report, f"{path} cannot be made: you may not write {above}")
    else:
        try:
            refuse_foreign_home(path)
        except StoreUnusable as error:
            _find_home(report, error.message)
        else:
            report.add_fact("state", "not made yet: the first installation makes it", None)


def _explain(report: DoctorReport, settings: Settings, path: Path, error: StoreUnusable) -> None:
    """Report why an existing store cannot be opened; ``error`` is the one that was raised."""
    if isinstance(error, BansUnusable):
        explain_bans(report, error)
    elif settings.private and error.hint:
        _find_home(report, error.message)
    elif not path.is_dir():
        report.add_finding(
            "no-directory",
            f"{path} is not a directory ({settings.dir_source})",
            f"mv {quoted(path, f'{path}.old')} && pip-sharedcache store init {quoted(path)}",
            "it may be a file that somebody needs",
            (0, path.lstat().st_uid),
        )
    elif not find_blocked_directory(report, path):
        before = len(report.findings)
        check_store_json(report, path)
        if len(report.findings) == before:
            _find_unusable(report, str(error))


def _find_unusable(report: DoctorReport, sentence: str) -> None:
    report.add_finding("unusable", sentence, _NAME_ONE, "the cause is not known")


def _find_home(report: DoctorReport, sentence: str) -> None:
    """Report that the home directory in use is not suitable for a private store."""
    uid = trust.user_id()
    account = Path(os.path.expanduser(f"~{trust.user_name(uid)}"))
    command = _NAME_ONE
    if str(account) != os.environ.get("HOME") and account.is_dir() and _owner(account) == uid:
        unset = "unset XDG_CACHE_HOME; " if "XDG_CACHE_HOME" in os.environ else ""
        command = f"{unset}export HOME={quoted(account)}"
    left = "the shell that starts pip-sharedcache sets it"
    report.add_finding("home", sentence, command, left, (uid,))
