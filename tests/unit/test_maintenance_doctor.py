"""store doctor: what it says and how, that it changes nothing, and what it reads off the system."""

from __future__ import annotations

import json
import os
import pwd
import shutil
import signal
import stat
import subprocess
import sys
import sysconfig
from pathlib import Path
from typing import Any

import pytest

from pip_sharedcache import cli, fs
from pip_sharedcache.fs import Directory, Quota
from pip_sharedcache.maintenance.doctor.surroundings import mount_of
from pip_sharedcache.placement import try_writing
from pip_sharedcache.store import Store, publish
from pip_sharedcache.store.stale_staging import sweep
from support import REPOSITORY, probes
from support.filesystems import mounted, read_only
from support.probes import linux, needs, root
from support.process import as_user
from support.trees import snapshot
from support.wheels import digest, make_wheel

pytestmark = [needs(linux), pytest.mark.usefixtures("own_environment")]

ALICE, GROUP = 54321, 54399
Captured = pytest.CaptureFixture[str]


@pytest.fixture
def store(shared_tmp: Path) -> Store:
    """A store for one user, the one in use."""
    os.environ["PIP_SHAREDCACHE_DIR"] = str(shared_tmp / "store")
    return Store.make(shared_tmp / "store")


@pytest.fixture
def environment(shared_tmp: Path) -> Path:
    path = shared_tmp / "environment"
    path.mkdir()
    return path


def doctor(environment: Path, *arguments: str) -> int:
    return cli.main(["store", "doctor", "--environment", str(environment), *arguments])


def said(capsys: Captured) -> dict[str, Any]:
    data: dict[str, Any] = json.loads(capsys.readouterr().out)
    return data


def test_a_sound_store_gets_the_facts_and_one_word(
    store: Store, environment: Path, capsys: Captured
) -> None:
    assert doctor(environment) == 0
    lines = capsys.readouterr().out.splitlines()
    assert f"{store.path} (environment variable PIP_SHAREDCACHE_DIR)" in lines[0]
    assert lines[-1].startswith("Nothing is wrong.")
    assert not any(line.startswith("umask:") for line in lines)


def test_last_line_does_not_contradict_warnings_of_the_configuration(
    store: Store, environment: Path, capsys: Captured, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PIP_SHAREDCACHE_ZOOM", "1")
    assert doctor(environment) == 0
    shown = capsys.readouterr()
    assert shown.err.startswith("WARNING: Unknown setting sharedcache.zoom")
    assert shown.out.splitlines()[-1].startswith("Nothing else is wrong than the warnings say.")


def test_empty_packed_store_copies(
    shared_tmp: Path, environment: Path, capsys: Captured, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its probe is a tree, and could be linked; what will be there could not."""
    store = Store.make(shared_tmp / "packed", packed=True)
    monkeypatch.setenv("PIP_SHAREDCACHE_DIR", str(store.path))
    assert doctor(environment, "--json") == 0
    told = said(capsys)["facts"]["link_mode"]
    assert told["gets"] == "copy"
    links = {mode: why for mode, why in told["refusals"].items() if mode != "copy"}
    modes = ("reflink", "hardlink", "symlink")
    assert links == dict.fromkeys(modes, "files are packed in the store")


def test_half_made_store_is_reported_and_finished(
    shared_tmp: Path, environment: Path, capsys: Captured
) -> None:
    """init was killed: without store.json it would be a store that was made by hand."""
    top = shared_tmp / "store"
    os.environ["PIP_SHAREDCACHE_DIR"] = str(top)
    killed = (
        "import os, sys\n"
        "from pip_sharedcache import cli, fs\n"
        "make = fs.make_directory\n"
        "def until_the_middle(path, *how):\n"
        "    os.kill(os.getpid(), 9) if path.name == '80' else make(path, *how)\n"
        "fs.make_directory = until_the_middle\n"
        "cli.main(['store', 'init', sys.argv[1]])\n"
    )
    assert subprocess.run([sys.executable, "-c", killed, str(top)]).returncode == -9
    assert doctor(environment, "--json") == 1
    (finding,) = said(capsys)["findings"]
    assert "is missing" in finding["sentence"]
    assert finding["command"] == f"pip-sharedcache store init {top}"
    assert cli.main(["store", "init", str(top)]) == 0
    assert doctor(environment) == 0


@needs(root)
def test_unreadable_configuration_is_reported(
    shared_tmp: Path, environment: Path, capsys: Captured
) -> None:
    """pip passes over it without a word: the group's store would be missed, and nobody know why."""
    file = shared_tmp / "pip.conf"
    file.write_text("[sharedcache]\ndir = /group/store\n")
    file.chmod(0o600)
    os.environ["PIP_CONFIG_FILE"] = str(file)
    Store.make(shared_tmp / "store")
    os.environ["PIP_SHAREDCACHE_DIR"] = str(shared_tmp / "store")
    with as_user(ALICE):
        doctor(environment, "--json")
    (finding,) = [one for one in said(capsys)["findings"] if one["name"] == "configuration-unread"]
    assert f"{file} cannot be read (Permission denied)" in finding["sentence"]
    assert finding["command"] == f"chmod a+r {file}"


def test_symlink_in_place_of_wheels_is_reported(
    shared_tmp: Path, environment: Path, capsys: Captured
) -> None:
    """Also of a store that was made by hand: installations do not follow it."""
    top, elsewhere = shared_tmp / "store", shared_tmp / "elsewhere"
    os.environ["PIP_SHAREDCACHE_DIR"] = str(top)
    top.mkdir()
    elsewhere.mkdir()
    (top / "wheels").symlink_to(elsewhere)
    assert doctor(environment, "--json") == 1
    data = said(capsys)
    (finding,) = data["findings"]
    assert f"{top / 'wheels'} of root is not a directory" in finding["sentence"]
    assert finding["command"] == f"rm {top / 'wheels'}"
    assert list(elsewhere.iterdir()) == []
    assert cli.main(["store", "gc"]) == 1
    out = capsys.readouterr().out
    shard = top / "wheels" / "00"
    assert f"Cannot read a directory of the store: {shard}: Not a directory; gc collected" in out
    assert "Cannot retire or delete" not in out


def test_more_is_said_on_request(store: Store, environment: Path, capsys: Captured) -> None:
    assert doctor(environment, "-v") == 0
    text = capsys.readouterr().out
    for name in ("umask", "id-mapping", "protected-hardlinks", "settings", "pip", "python"):
        assert f"\n{name}:" in text
    assert f"hooked:{'':14}no command: call pip-sharedcache" in text


def test_quiet_says_findings_only_each_with_its_command(
    store: Store, environment: Path, capsys: Captured
) -> None:
    assert doctor(environment, "-q") == 0
    assert capsys.readouterr().out == ""
    store.path.chmod(0o777)
    assert doctor(environment, "-q") == 1
    first, second = capsys.readouterr().out.splitlines()
    assert first == (
        f"{store.path} has mode 0777, not 0755: all users may add files, and rename "
        "those of others."
    )
    assert second.startswith("    hint (as ")
    assert second.endswith(f": chmod 0755 {store.path}")


def test_programs_get_the_same(store: Store, environment: Path, capsys: Captured) -> None:
    (store.path / "wheels" / "00").rmdir()
    assert doctor(environment, "--json") == 1
    data = said(capsys)
    assert data["facts"]["store"] == str(store.path)
    assert data["facts"]["directories"] == {"expected": 1030, "differing": 1}
    assert data["facts"]["link_mode"]["refusals"]["copy"] is None
    (finding,) = data["findings"]
    assert finding["name"] == "missing"
    assert finding["command"] == f"pip-sharedcache store init {store.path}"
    assert doctor(environment, "--json", "--fix") == 0
    data = said(capsys)
    assert [finding["name"] for finding in data["fixed"]] == ["missing"]
    assert data["findings"] == []


@needs(root)
def test_finding_that_is_not_fixed_has_the_reason(
    store: Store, environment: Path, capsys: Captured
) -> None:
    os.chown(store.path / "wheels", ALICE, -1)
    assert doctor(environment, "--fix") == 1
    text = capsys.readouterr().out
    assert "not fixed: store init did not make it" in text
    assert f"hint (as root): chown root {store.path}/wheels" in text


def test_fix_that_the_system_refuses_is_reported(
    store: Store, environment: Path, capsys: Captured, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*_: object, **__: object) -> None:
        raise PermissionError(1, "Operation not permitted")

    store.path.chmod(0o700)
    monkeypatch.setattr(fs, "ensure_directory", refuse)
    assert doctor(environment, "--fix") == 1
    assert "    not fixed: Operation not permitted" in capsys.readouterr().out


def test_nothing_is_changed_and_nothing_left(
    store: Store, environment: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(fs, "synchronise", lambda directory, files: None)
    wheel = make_wheel(store.path.parent / "wheels")
    publish(store, wheel, wheel.name, digest(wheel))  # type: ignore[arg-type]
    before = snapshot(store.path)
    assert doctor(environment) == 0
    assert snapshot(store.path) == before
    assert os.listdir(environment) == []
    assert os.listdir(environment.parent) and not list(environment.parent.glob(".*"))


@pytest.mark.parametrize("function", ["write", "rename", "link", "symlink", "unlink"])
def test_ctrl_c_leaves_nothing_either(
    store: Store,
    environment: Path,
    function: str,
    monkeypatch: pytest.MonkeyPatch,
    capsys: Captured,
) -> None:
    """Interrupted while a probe is made, renamed, placed or removed."""
    original = getattr(os, function)
    done = False

    def interrupted(*args: Any, **kw: Any) -> Any:
        nonlocal done
        result = original(*args, **kw)
        if not done:
            done = True
            signal.raise_signal(signal.SIGINT)
        return result

    monkeypatch.setattr(os, function, interrupted)
    before = snapshot(store.path)
    assert doctor(environment) == 130
    assert done
    assert capsys.readouterr().err == "WARNING: Interrupted\n"
    assert snapshot(store.path) == before
    assert os.listdir(environment) == []


def test_what_a_killed_doctor_leaves_is_cleared_by_the_next_publisher(store: Store) -> None:
    shard = store.path / "wheels" / "00"
    process = os.fork()
    if not process:
        with try_writing(shard, 10**9):
            os._exit(0)
    os.waitpid(process, 0)
    assert len(list(shard.iterdir())) == 1
    with Directory.open(shard) as held:
        sweep(held)
    assert list(shard.iterdir()) == []


def test_store_behind_a_symlink_is_fixed_at_its_real_path(
    store: Store, environment: Path, capsys: Captured
) -> None:
    link = store.path.with_name("link")
    link.symlink_to(store.path)
    store.path.chmod(0o1777)
    os.environ["PIP_SHAREDCACHE_DIR"] = str(link)
    assert doctor(environment, "--fix") == 0
    assert stat.S_IMODE(store.path.stat().st_mode) == 0o755


def test_commands_quote_what_a_shell_would_split(
    shared_tmp: Path, environment: Path, capsys: Captured
) -> None:
    store = Store.make(shared_tmp / "a store; of 'ours'")
    os.environ["PIP_SHAREDCACHE_DIR"] = str(store.path)
    for shard in store.path.glob("*/??"):
        shard.chmod(0o3700)
    assert doctor(environment, "--json") == 1
    (finding,) = said(capsys)["findings"]
    assert "1024 directories differ" in finding["sentence"]
    assert len(finding["command"]) < 400
    subprocess.run(["sh", "-c", finding["command"]], check=True)
    assert doctor(environment) == 0


def test_a_directory_that_is_not_there_is_a_wrong_argument(
    store: Store, environment: Path, capsys: Captured
) -> None:
    assert doctor(environment / "x") == 2
    assert "name one with --python" in capsys.readouterr().err


@needs(root)
def test_an_environment_that_one_may_not_write_is_said(
    store: Store, environment: Path, capsys: Captured
) -> None:
    for path in (environment, environment.parent):
        path.chmod(0o755)
    sysconfig.get_paths()  # a part of the standard library that is read late, and is root's here
    with as_user(ALICE):
        assert doctor(environment, "--json") == 0
    facts = said(capsys)["facts"]
    assert facts["publishing"] is False
    assert facts["link_mode"] is None


def test_a_pip_that_is_built_differently_is_named(
    store: Store, environment: Path, capsys: Captured, monkeypatch: pytest.MonkeyPatch
) -> None:
    from pip._internal.operations.install.wheel import ZipBackedFile

    monkeypatch.delattr(ZipBackedFile, "save")
    assert doctor(environment, "--json") == 1
    (finding,) = said(capsys)["findings"]
    assert "ZipBackedFile.save is missing" in finding["sentence"]
    assert finding["command"].startswith(f"{sys.executable} -m pip install")


def test_a_setting_that_cannot_be_used_is_status_2(environment: Path, capsys: Captured) -> None:
    os.environ["PIP_SHAREDCACHE_DIR"] = "relative"
    assert doctor(environment) == 2
    assert "PIP_SHAREDCACHE_DIR" in capsys.readouterr().err


@needs(root)
def test_users_unknown_in_a_namespace_cause_no_finding(shared_tmp: Path, environment: Path) -> None:
    """In it the group and the publishers appear as 65534 (user_namespaces(7))."""
    store = Store.make(shared_tmp / "store", str(GROUP))
    entry = store.path / "wheels" / "00" / ("00" * 32)
    entry.mkdir(mode=0o555)
    os.chown(entry, ALICE, GROUP)
    command = ["unshare", "--user", "--map-root-user", sys.executable, "-m", "pip_sharedcache"]
    arguments = ["store", "doctor", "--json", "--environment", str(environment)]
    variables = {**os.environ, "PIP_SHAREDCACHE_DIR": str(store.path)}
    if subprocess.run([*command[:3], "true"], capture_output=True).returncode:
        pytest.skip("no user namespaces here")
    done = subprocess.run([*command, *arguments], env=variables, capture_output=True, text=True)
    data = json.loads(done.stdout)
    assert data["facts"]["id_mapping"] is True
    assert data["facts"]["entries"] == [
        {"publisher": "nobody", "distrust_reason": "may be anyone", "entries": 1}
    ]
    assert data["findings"] == []


# -- what is read off the system


@pytest.mark.parametrize("kind", ["ext4", "tmpfs"])
def test_the_file_system_of_a_path_is_found(kind: Any, tmp_path: Path) -> None:
    probes.require(probes.loop_mounts if kind == "ext4" else probes.tmpfs)
    base = tmp_path / "with space\tand tab"
    base.mkdir()
    with mounted(kind, base, size_mb=16) as point:
        found = mount_of(point / "a" / "b")
        assert found is not None
        assert (found.point, found.kind, found.read_only) == (str(point), kind, False)
        beside = mount_of(point.with_name("mountx"))
        assert beside is not None
        assert beside.point != str(point)
        with read_only(point, base / "view") as view:
            seen = mount_of(view)
            assert seen is not None
            assert (seen.point, seen.kind, seen.source) == (str(view), kind, found.source)
            assert (seen.read_only, seen.view_is_read_only) == (True, True)


def test_the_uppermost_of_two_mounts_in_one_place_counts(tmp_path: Path) -> None:
    probes.require(probes.tmpfs, probes.bind_mounts)
    with mounted("tmpfs", tmp_path, size_mb=8) as point, read_only(tmp_path, point):
        found = mount_of(point)
        assert found is not None
        assert found.read_only


def test_file_system_without_a_quota_gives_none(tmp_path: Path) -> None:
    assert fs.quota("tmpfs", os.getuid()) is None
    assert fs.quota(str(tmp_path / "no-device"), os.getuid()) is None


_QUOTACTL = """
#include <errno.h>
#include <string.h>
#include <sys/quota.h>
int quotactl(int command, const char *device, int uid, char *address) {
    if (command != (int)QCMD(Q_GETQUOTA, USRQUOTA) || strcmp(device, "/dev/some") || uid != 1234) {
        errno = EINVAL;
        return -1;
    }
    struct dqblk answer = {0};
    answer.dqb_bhardlimit = 2000;
    answer.dqb_curspace = 1048576;
    answer.dqb_ihardlimit = 500;
    answer.dqb_curinodes = 17;
    memcpy(address, &answer, sizeof answer);
    return 0;
}
"""


@pytest.mark.skipif(shutil.which("cc") is None, reason="needs a C compiler")
def test_a_quota_is_read_as_the_systems_own_header_lays_it_out(tmp_path: Path) -> None:
    (tmp_path / "quota.c").write_text(_QUOTACTL)
    library = tmp_path / "quota.so"
    subprocess.run(["cc", "-shared", "-fPIC", "-o", library, tmp_path / "quota.c"], check=True)
    ask = "from pip_sharedcache import fs; print(*fs.quota('/dev/some', 1234))"
    done = subprocess.run(
        [sys.executable, "-c", ask],
        env={"LD_PRELOAD": str(library), "PYTHONPATH": str(REPOSITORY / "src")},
        capture_output=True,
        text=True,
        check=True,
    )
    assert done.stdout == "1048576 2048000 17 500\n"


@pytest.mark.parametrize(
    ("quota", "found"),
    [
        (Quota(10**9, 0, 10, 0), False),
        (Quota(10**9, 2 * 10**9, 10, 10**6), False),
        (Quota(10**9, 10**9 + 5, 10, 0), True),
        (Quota(0, 0, 9999, 10000), True),
    ],
    ids=["no limit", "far", "bytes", "inodes"],
)
def test_a_quota_that_is_nearly_used_up_is_a_finding(
    store: Store,
    environment: Path,
    quota: Quota,
    found: bool,
    monkeypatch: pytest.MonkeyPatch,
    capsys: Captured,
) -> None:
    monkeypatch.setattr(fs, "quota", lambda device, uid: quota)
    assert doctor(environment, "--json") == (1 if found else 0)
    data = said(capsys)
    assert data["facts"]["quota"] == quota._asdict()
    whose = pwd.getpwuid(os.geteuid()).pw_name
    assert not found or f"are used by {whose}" in data["findings"][0]["sentence"]
