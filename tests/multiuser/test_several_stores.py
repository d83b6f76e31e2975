"""Several stores: a site's that is only read, the group's, one on the node, one of one's own."""

from __future__ import annotations

import errno
import json
import os
import shutil
import stat
from collections.abc import Iterator
from pathlib import Path

import pytest

from multiuser.test_attacks import (
    EVIL,
    attack_as_usera,
    bytecode_of,
    edited_bytecode,
    edited_source,
)
from multiuser.test_shared_store import Site, foreign_changes, inodes, running_site
from support import probes
from support.accounts import Account, Accounts, run_as
from support.damage import rewrite
from support.environments import Environment
from support.filesystems import mounted
from support.fuse import silent
from support.probes import needs
from support.tampering import evil_like
from support.trees import differences, snapshot
from support.wheels import digest, make_wheel

pytestmark = [pytest.mark.multiuser, pytest.mark.pips, needs(probes.accounts)]


@pytest.fixture(scope="module")
def site(accounts: Accounts, public_python: Path) -> Iterator[Site]:
    with running_site(accounts, public_python) as made:
        for name in ("alpha", "beta"):
            make_wheel(made.wheels, name, files={f"{name}/__init__.py": f"NAME = {name!r}\n" * 50})
        yield made


@pytest.fixture
def group(site: Site) -> Path:
    """The group's store, in which there is nothing."""
    return site.make_store(None)


@pytest.fixture
def curated(site: Site) -> Path:
    """root's own store, which only root may write, with alpha in it."""
    store = site.directory(None) / "curated"
    run_as(
        None,
        site.template.command("store", "init", "--layout", "tree", store),
        env=site.settings(),
        check=True,
    )
    site.install(None, site.environment(None), store, "alpha")
    return store


def _layers(*lines: object) -> Path:
    """As the setting names them; Site takes any text for a store."""
    return Path("\n".join(map(str, lines)))


def _install(
    site: Site, account: Account, layers: Path, *names: str, **more: str
) -> tuple[Environment, str]:
    environment = site.environment(account)
    site.index.clear()
    told = site.settings()
    variables = {**told, "PIP_SHAREDCACHE_DIR": str(layers), **more}
    done = run_as(account, environment.command("install", *names), env=variables, check=True)
    return environment, done.stdout + done.stderr


def _names(store: Path) -> list[str]:
    return sorted(
        json.loads((entry / "entry.json").read_text())["filename"] for entry in _of(store)
    )


def _of(store: Path) -> list[Path]:
    return sorted(path.parent for path in store.glob("wheels/??/*/entry.json"))


def _assert_as_plain(site: Site, environment: Environment, *names: str) -> None:
    assert differences(site.plain_tree(0o022, *names), snapshot(environment.prefix)) == []


def test_a_hit_in_any_layer_is_used_and_the_first_that_may_be_written_is_published_to(
    site: Site, group: Path, curated: Path
) -> None:
    userb = site.accounts.userb
    before = inodes(curated)
    layers = _layers(f"{curated} read-only", group)
    environment, said = _install(site, userb, layers, "alpha", "beta")
    assert f"1 of 2 distributions from {curated}, {group}; 1 added to them" in said
    assert site.index.wheel_requests("alpha") == []
    assert _names(group) == ["beta-1.0-py3-none-any.whl"]
    assert {entry.stat().st_uid for entry in _of(group)} == {userb.uid}
    assert inodes(curated) == before
    _assert_as_plain(site, environment, "alpha", "beta")
    environment, said = _install(site, site.accounts.usera, layers, "alpha", "beta")
    assert f"2 of 2 distributions from {curated}, {group}; files" in said
    _assert_as_plain(site, environment, "alpha", "beta")


def test_a_layer_that_may_not_be_written_is_gone_by(site: Site, group: Path, curated: Path) -> None:
    """It is not named read-only, but it is."""
    environment, _ = _install(site, site.accounts.userb, _layers(curated, group), "beta")
    assert _names(group) == ["beta-1.0-py3-none-any.whl"]
    _assert_as_plain(site, environment, "beta")


def test_what_is_only_read_is_not_written_even_by_root(site: Site, curated: Path) -> None:
    environment = site.environment(None)
    before = inodes(curated)
    for layers in (_layers(f"{curated} read-only"), _layers(f"{curated} READ-ONLY")):
        said = site.install(None, environment, layers, "--force-reinstall", "alpha", "beta")
        assert "1 installed by pip alone: the store may only be read" in said
        assert inodes(curated) == before


@pytest.mark.parametrize("verify", ["changed", "always"])
def test_what_is_found_farther_away_is_kept_nearer_with_its_bytecode(
    site: Site, group: Path, curated: Path, verify: str
) -> None:
    userb = site.accounts.userb
    near = site.directory(userb) / "near"
    run_as(
        userb,
        site.template.command("store", "init", "--layout", "tree", near),
        env=site.settings(),
        check=True,
    )
    layers = _layers(f"{near} backfill", f"{group} backfill", f"{curated} read-only")
    before = inodes(curated)
    environment, said = _install(site, userb, layers, "alpha", PIP_SHAREDCACHE_VERIFY=verify)
    assert site.index.wheel_requests("alpha") == []
    _assert_as_plain(site, environment, "alpha")
    assert "1 of 1 distributions" in said
    assert _names(near) == ["alpha-1.0-py3-none-any.whl"]
    assert _names(group) == [], "only the nearest"
    assert inodes(curated) == before
    (compiled,) = near.glob("bytecode/??/*")
    (origin,) = curated.glob("bytecode/??/*")
    for path in (origin / "files").rglob("*.pyc"):
        assert (compiled / path.relative_to(origin)).read_bytes() == path.read_bytes()
    # The nearest alone does it now.
    shutil.move(curated, f"{curated}.away")
    environment, said = _install(site, userb, _layers(near), "alpha")
    assert site.index.wheel_requests("alpha") == []
    _assert_as_plain(site, environment, "alpha")


def test_a_backfilled_edit_is_no_edit(site: Site, curated: Path, group: Path) -> None:
    """Nothing but the wheel's own bytes is taken over from farther away."""
    userb = site.accounts.userb
    published = site.make_store(None)
    site.install(site.accounts.usera, site.environment(site.accounts.usera), published, "alpha")
    (entry,) = _of(published)
    edited_source(entry)
    near = site.directory(userb) / "near"
    run_as(
        userb,
        site.template.command("store", "init", "--layout", "tree", near),
        env=site.settings(),
        check=True,
    )
    layers = _layers(f"{near} backfill", published)
    environment, _ = _install(site, userb, layers, "--no-compile", "alpha")
    _assert_as_plain(site, environment, "--no-compile", "alpha")


def test_bytecode_of_the_overflow_uid_is_not_published_by_another_user(site: Site) -> None:
    """Who is believed where it lies may not be where it would be kept, and nobody can check it."""
    usera, userb = site.accounts.usera, site.accounts.userb
    far = site.make_store(None)
    site.install(usera, site.environment(usera), far, "alpha")
    with_evil(site, far)
    near = site.directory(userb) / "near"
    run_as(
        userb,
        site.template.command("store", "init", "--layout", "tree", near),
        env=site.settings(),
        check=True,
    )
    for _ in range(2):
        _install(site, userb, _layers(f"{near} backfill", far), "alpha")
    compiled = list(near.glob("bytecode/*/*/files/**/*.pyc"))
    assert compiled and not [path for path in compiled if EVIL[:20] in path.read_bytes()]


def with_evil(site: Site, store: Path) -> None:
    """usera has put evil into the bytecode that he has published."""
    attack_as_usera(site, edited_bytecode, store)


def test_edit_by_the_overflow_uid_is_not_compiled_for_other_users(site: Site) -> None:
    """userb believes usera where the entry lies, and has compiled what usera has edited there."""
    usera, userb = site.accounts.usera, site.accounts.userb
    far = site.make_store(None)
    site.install(usera, site.environment(usera), far, "--no-compile", "alpha")
    attack_as_usera(site, _edit_unseen, far)
    environment, _ = _install(site, userb, far, "alpha")
    assert _evil_in(environment.site_packages) == 1, "who is believed is"
    assert _evil_in(far) == 1
    near = site.directory(userb) / "near"
    run_as(
        userb,
        site.template.command("store", "init", "--layout", "tree", near),
        env=site.settings(),
        check=True,
    )
    environment, _ = _install(site, userb, _layers(f"{near} backfill", far), "alpha")
    assert list(near.glob("bytecode/*/*/files/**/*.pyc"))
    assert _evil_in(near) == _evil_in(environment.site_packages) == 0


def _edit_unseen(entry: Path) -> None:
    """Keeping size and time."""
    source = entry / "files" / "alpha" / "__init__.py"
    rewrite(source, evil_like(source))


def _evil_in(place: Path) -> int:
    """How many files of bytecode there have been made of evil sources."""
    found = place.glob("**/alpha/__pycache__/*.pyc")
    return sum(b"of the attacker" in path.read_bytes() for path in found)


def test_private_wheel_is_not_published_elsewhere_if_the_private_store_is_full(
    site: Site, group: Path
) -> None:
    """A wheel from where others may not read may be kept in one's own store, and nowhere else."""
    userb = site.accounts.userb
    hidden = site.directory(userb) / "wheels"
    make_wheel(hidden, "mine")
    hidden.chmod(0o700)
    shutil.chown(hidden, userb.uid, userb.gid)
    with mounted("tmpfs", site.directory(None), size_mb=1) as small:
        small.chmod(0o777)
        own = small / "own"
        run_as(
            userb,
            site.template.command("store", "init", "--layout", "tree", own),
            env=site.settings(),
            check=True,
        )
        _fill(small)
        more = {"PIP_FIND_LINKS": str(hidden)}
        environment, _ = _install(site, userb, _layers(own, group), "mine", **more)
    assert (environment.site_packages / "mine").is_dir()
    assert _names(group) == []


def _fill(directory: Path) -> None:
    with (directory / "filler").open("wb", buffering=0) as file:
        try:
            while True:
                file.write(b"\0" * 4096)
        except OSError:
            pass


def test_a_store_that_may_be_listed_and_not_entered_is_no_traceback(
    site: Site, curated: Path
) -> None:
    (curated / "wheels").chmod(0o700)
    environment, said = _install(site, site.accounts.userb, curated, "alpha")
    _assert_as_plain(site, environment, "alpha")
    assert "Traceback" not in said


def test_what_is_only_read_is_changed_by_no_command(site: Site, curated: Path) -> None:
    env = {**site.settings(), "PIP_SHAREDCACHE_DIR": f"{curated} read-only"}
    before = inodes(curated)
    for words in (["add", "beta"], ["gc"], ["verify", "--fix"], ["import", "/dev/null"]):
        done = run_as(None, site.template.command("store", *words), env=env)
        assert done.returncode == 2, done.stdout
        assert f"Cannot change the store: {curated}: " in done.stderr
    for words in (["gc", "--dry-run"], ["list"], ["stats"], ["verify"]):
        run_as(None, site.template.command("store", *words), env=env, check=True)
    (curated / "wheels" / "00").chmod(0o777)
    before = inodes(curated)
    for words in (["doctor"], ["doctor", "--fix"]):
        done = run_as(None, site.template.command("store", *words), env=env)
        assert "not tried: the settings call the store read-only" in done.stdout
    assert "the settings call the store read-only; --sharedcache-dir" in done.stdout
    told = run_as(None, site.template.command("store", "info"), env=env, check=True)
    assert "You may:   install only, since the setting dir calls it read-only" in told.stdout
    assert inodes(curated) == before


def test_a_missing_private_layer_is_made_by_no_command_that_looks(site: Site, group: Path) -> None:
    userb = site.accounts.userb
    own = site.directory(userb) / "own"
    env = {**site.settings(), "PIP_SHAREDCACHE_DIR": f"{own} private:{group}"}
    for words in (["info"], ["list"], ["path"], ["stats"], ["verify"], ["gc"], ["doctor"]):
        done = run_as(userb, site.template.command("store", *words), env=env)
        assert (done.stderr, own.exists()) == ("", False), words
        assert done.returncode == 0, done.stdout
    alone = {**env, "PIP_SHAREDCACHE_DIR": f"{own} private"}
    done = run_as(userb, site.template.command("store", "info"), env=alone)
    assert done.stderr == f"ERROR: {own} is not made yet; the first installation makes it\n"
    doctor = run_as(userb, site.template.command("store", "doctor"), env=alone, check=True)
    assert "not made yet: the first installation makes it" in doctor.stdout
    assert not own.exists()


def test_root_reads_one_line_of_all_publishers_it_does_not_trust(site: Site, group: Path) -> None:
    for user, name in (("usera", "alpha"), ("userb", "beta")):
        account = site.account(user)
        site.install(account, site.environment(account), group, name)
    for option, lines in (("--no-input", 1), ("-q", 0)):
        said = site.install(None, site.environment(None), group, option, "alpha", "beta")
        assert said.count("are checked in a copy") == lines
    assert said == ""


def test_what_others_may_not_see_is_not_kept_where_they_may(site: Site, group: Path) -> None:
    userb = site.accounts.userb
    site.install(userb, site.environment(userb), group, "alpha")
    group.chmod(0o2750)
    near = site.directory(userb) / "near"
    run_as(
        userb,
        site.template.command("store", "init", "--layout", "tree", near),
        env=site.settings(),
        check=True,
    )
    _install(site, userb, _layers(f"{near} backfill", group), "alpha")
    assert _names(near) == []
    near.chmod(0o700)
    _install(site, userb, _layers(f"{near} backfill", group), "alpha")
    assert _names(near) == ["alpha-1.0-py3-none-any.whl"]


def test_what_came_in_private_is_kept_nowhere_else(site: Site, group: Path, curated: Path) -> None:
    """The same wheel is shared farther away, but this one came from a local path."""
    userb = site.accounts.userb
    local = site.directory(userb) / "alpha-1.0-py3-none-any.whl"
    shutil.copyfile(site.wheels / local.name, local)
    local.chmod(0o644)
    _install(site, userb, _layers(f"{group} backfill", f"{curated} read-only"), str(local))
    assert _names(group) == []


def test_private_wheel_is_a_hit_the_second_time_for_its_user_only(site: Site, group: Path) -> None:
    userb = site.accounts.userb
    ours = site.directory(None)
    ours.chmod(0o1777)
    own = ours / "own"  # as on a node's disk: below a directory of root's
    local = make_wheel(site.directory(userb), "mine")
    layers = _layers(group, f"{own} private")
    environment, said = _install(site, userb, layers, str(local), "alpha")
    assert _names(own) == ["mine-1.0-py3-none-any.whl"]
    assert _names(group) == ["alpha-1.0-py3-none-any.whl"]
    assert stat.S_IMODE(own.stat().st_mode) == 0o700
    assert list(group.glob("bytecode/??/*")) and list(own.glob("bytecode/??/*"))
    environment, said = _install(site, userb, layers, str(local), "alpha")
    assert "2 of 2 distributions" in said
    assert (environment.site_packages / "mine").is_dir()
    for path in group.rglob("*"):
        assert "mine" not in path.name
        if path.name.startswith("run-"):
            assert "mine" not in path.read_text(), "others read the records"


@pytest.mark.parametrize("nearest", ["own", "group"])
def test_what_is_private_is_never_kept_nearer(site: Site, group: Path, nearest: str) -> None:
    userb = site.accounts.userb
    own = site.directory(userb) / "own"
    local = make_wheel(site.directory(userb), "mine")
    lines = [f"{group} backfill", f"{own} private"]
    layers = _layers(*(lines if nearest == "group" else reversed(lines)))
    for _ in range(2):
        _install(site, userb, layers, str(local))
    assert _names(own) == ["mine-1.0-py3-none-any.whl"]
    assert _names(group) == []
    assert not list(group.glob("bytecode/??/*"))


def test_a_private_layer_that_others_may_read_is_none(site: Site, group: Path) -> None:
    userb = site.accounts.userb
    own = site.directory(userb) / "own"
    run_as(
        userb,
        site.template.command("store", "init", "--layout", "tree", own),
        env=site.settings(),
        check=True,
    )
    local = make_wheel(site.directory(userb), "mine")
    environment, said = _install(site, userb, _layers(group, f"{own} private"), str(local), "alpha")
    assert f"{own} is not private: others than its owner may use it; hint: chmod 700 {own}" in said
    assert (_names(own), _names(group)) == ([], ["alpha-1.0-py3-none-any.whl"])
    assert (environment.site_packages / "mine").is_dir()


def test_private_layer_of_another_user_is_not_used(site: Site, group: Path) -> None:
    usera, userb = site.accounts.usera, site.accounts.userb
    own = site.directory(usera) / "own"
    run_as(usera, ["mkdir", own], check=True)
    _, said = _install(site, userb, _layers(f"{own} private", group), "alpha")
    assert said.count("Installing without one of the shared stores") == 1
    assert (os.listdir(own), _names(group)) == ([], ["alpha-1.0-py3-none-any.whl"])


def _no_store(path: Path) -> str:
    path.mkdir(mode=0o755)
    (path / "notes.txt").touch()
    return "is no store"


def _newer(path: Path) -> str:
    path.mkdir(mode=0o755)
    (path / "store.json").write_text('{"format": 9}')
    return "is a store of format 9"


def _missing(_: Path) -> str:
    return "does not exist"


def _closed(path: Path) -> str:
    path.mkdir(mode=0o700)
    return "cannot be used: Permission denied"


@pytest.mark.parametrize("break_it", [_no_store, _newer, _missing, _closed])
def test_unusable_layer_is_reported_in_one_line(
    site: Site, group: Path, curated: Path, break_it: object
) -> None:
    assert callable(break_it)
    broken = site.directory(None) / "broken"
    why = break_it(broken)
    layers = _layers(broken, f"{curated} read-only", group)
    environment, said = _install(site, site.accounts.userb, layers, "alpha", "beta")
    (line,) = [line for line in said.splitlines() if line.startswith("WARNING")]
    assert line.startswith(f"WARNING: Installing without one of the shared stores: {broken} {why}")
    assert _names(group) == ["beta-1.0-py3-none-any.whl"]
    _assert_as_plain(site, environment, "alpha", "beta")


@pytest.mark.filesystem
@needs(probes.fuse)
def test_a_layer_that_hangs_is_waited_for_once(site: Site, group: Path) -> None:
    away = site.directory(None) / "away"
    away.mkdir()
    with silent(away):
        layers = _layers(away / "store", group)
        environment, said = _install(site, site.accounts.userb, layers, "alpha", "beta")
    assert said.count("does not answer for 10 seconds") == 1
    assert len(_names(group)) == 2
    _assert_as_plain(site, environment, "alpha", "beta")


@pytest.mark.filesystem
@needs(probes.tmpfs)
def test_full_layer_is_reported_once_and_the_next_one_published_to(site: Site, group: Path) -> None:
    userb = site.accounts.userb
    with mounted("tmpfs", site.directory(None), size_mb=1) as small:
        small.chmod(0o777)
        store = small / "store"
        run_as(
            userb,
            site.template.command("store", "init", "--layout", "tree", store),
            env=site.settings(),
            check=True,
        )
        _fill(small)
        environment, said = _install(site, userb, _layers(store, group), "alpha", "beta")
        (line,) = [line for line in said.splitlines() if "without publishing" in line]
        assert (
            f"WARNING: Installed without publishing: {store}: {os.strerror(errno.ENOSPC)}" in line
        )
        assert _names(group) == ["alpha-1.0-py3-none-any.whl", "beta-1.0-py3-none-any.whl"]
        assert _names(store) == []
        assert not list(store.glob("*/??/.new-*"))
        _assert_as_plain(site, environment, "alpha", "beta")


def test_each_layer_has_its_own_trust(site: Site, group: Path, curated: Path) -> None:
    """A member of the group is believed in its store, and not in that of somebody else."""
    userc = site.accounts.userc  # in no group
    site.install(site.accounts.usera, site.environment(site.accounts.usera), group, "alpha", "beta")
    narrowed = json.loads((group / "store.json").read_text())
    (group / "store.json").write_text(json.dumps({**narrowed, "trusted": []}))
    attack_as_usera(site, edited_source, group)
    layers = _layers(group, f"{curated} read-only")
    environment, _ = _install(site, userc, layers, "--no-compile", "alpha", "beta")
    assert site.index.wheel_requests("alpha") == []
    _assert_as_plain(site, environment, "--no-compile", "alpha", "beta")


def test_what_is_damaged_in_a_layer_that_is_only_read_is_published_anew_in_another(
    site: Site, group: Path, curated: Path
) -> None:
    (entry,) = _of(curated)
    (source,) = (entry / "files" / "alpha").glob("__init__.py")
    rewrite(source, b"X = 1\n")
    before = inodes(curated)
    layers = _layers(f"{curated} read-only", group)
    environment, said = _install(site, site.accounts.userb, layers, "alpha")
    _assert_as_plain(site, environment, "alpha")
    assert "Damaged entry of root in the shared store is not used" in said
    assert "a sound one was published" in said
    assert _names(group) == ["alpha-1.0-py3-none-any.whl"]
    assert inodes(curated) == before


def test_bytecode_that_a_layer_lacks_is_kept_in_another(
    site: Site, group: Path, curated: Path
) -> None:
    (entry,) = _of(curated)
    shutil.rmtree(bytecode_of(entry))
    layers = _layers(f"{curated} read-only", group)
    for number in (0, 1):
        environment, _ = _install(site, site.accounts.userb, layers, "alpha")
        _assert_as_plain(site, environment, "alpha")
        assert len(list(group.glob("bytecode/??/*"))) == 1, number
    assert _of(group) == []


def test_symlinks_lead_only_where_they_can_be_noted(site: Site, group: Path, curated: Path) -> None:
    userb = site.accounts.userb
    own = site.directory(userb) / "own store"
    run_as(
        userb,
        site.template.command("store", "init", "--layout", "tree", own),
        env=site.settings(),
        check=True,
    )
    layers = _layers(own, f"{curated} read-only")
    more = {"PIP_SHAREDCACHE_LINK_MODE": "symlink"}
    environment, _ = _install(site, userb, layers, "beta", **more)
    assert (environment.site_packages / "beta" / "__init__.py").is_symlink()
    environment, said = _install(site, userb, layers, "alpha", **more)
    assert not (environment.site_packages / "alpha" / "__init__.py").is_symlink()
    assert "links are not registered in a read-only store" in said
    hidden = site.directory(userb) / "hidden"
    local = make_wheel(site.directory(userb), "mine")
    environment, said = _install(site, userb, _layers(own, f"{hidden} private"), str(local), **more)
    assert not (environment.site_packages / "mine" / "__init__.py").is_symlink()
    assert "others may not follow links" in said
    assert len(_names(hidden)) == 1


@pytest.mark.parametrize("options", [["--require-hashes"], []], ids=["hashed", "plain"])
def test_nothing_of_others_is_changed(
    site: Site, group: Path, curated: Path, options: list[str]
) -> None:
    usera, userb = site.accounts.usera, site.accounts.userb
    site.install(usera, site.environment(usera), group, "beta")
    before = {**inodes(group), **inodes(curated)}
    names = ["alpha", "beta"]
    if options:
        requirements = site.directory(userb) / "requirements.txt"
        lines = [f"{name}==1.0 --hash=sha256:{_digest(site, name)}" for name in names]
        requirements.write_text("\n".join(lines))
        requirements.chmod(0o644)
        names = ["-r", str(requirements)]
    layers = _layers(f"{group} backfill", f"{curated} read-only")
    environment, _ = _install(site, userb, layers, *options, *names)
    after = {**inodes(group), **inodes(curated)}
    assert foreign_changes(before, after, userb.uid) == []
    assert site.index.wheel_requests("alpha") == site.index.wheel_requests("beta") == []
    _assert_as_plain(site, environment, "alpha", "beta")


def _digest(site: Site, name: str) -> str:
    return digest(site.wheels / f"{name}-1.0-py3-none-any.whl")


def test_commands_tell_of_all_layers(site: Site, group: Path, curated: Path) -> None:
    userb = site.accounts.userb
    layers = f"{curated} read-only:{group}:/nowhere"
    env = {**site.settings(), "PIP_SHAREDCACHE_DIR": layers}
    info = run_as(userb, site.template.command("store", "info", "--json"), env=env, check=True)
    told = json.loads(info.stdout)
    assert told["store"] == str(group), "the one that is published to"
    assert [(one["store"], one["policy"], bool(one["unusable"])) for one in told["layers"]] == [
        (str(curated), "read-only", False),
        (str(group), "publish", False),
        ("/nowhere", "publish", True),
    ]
    odd = {**env, "PIP_SHAREDCACHE_DIR": f"/nowhere:{curated}:{group}"}
    for words in (["info", "--json"], ["path", "--json"]):
        told = run_as(userb, site.template.command("store", *words), env=odd, check=True)
        assert json.loads(told.stdout)["store"] == str(group), "where a run would publish"
        assert told.stderr.count("/nowhere does not exist") == 1
    shown = run_as(userb, site.template.command("store", "info"), env=env, check=True).stdout
    assert f"Layer 1:   {curated} (read-only): can be used" in shown
    doctor = run_as(userb, site.template.command("store", "doctor", "-v"), env=env)
    assert doctor.returncode == 1
    assert "/nowhere does not exist: pip installs without this layer" in doctor.stdout
    assert f"all other lines are about {group}" in doctor.stdout
    doctor = run_as(userb, site.template.command("store", "doctor", "--json"), env=env)
    assert json.loads(doctor.stdout)["facts"]["layers"] == [
        {"store": str(curated), "policy": "read-only"},
        {"store": str(group), "policy": "publish"},
        {"store": "/nowhere", "policy": "publish"},
    ]
    one = [*site.template.command("--sharedcache-dir", f"{curated} read-only")]
    path = run_as(userb, [*one, "store", "path"], env=site.settings(), check=True)
    assert path.stdout.strip() == str(curated)
