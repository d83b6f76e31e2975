"""The tests' own tools: a tool that sees nothing would let every test pass."""

from __future__ import annotations

import os
import shutil
import stat
import subprocess
import sys
import time
import urllib.error
import urllib.request
import zipfile
from pathlib import Path

import pytest

from support import SESSION_ENVIRONMENT, probes
from support.accounts import Accounts, home_of, run_as, start_as
from support.environments import EnvironmentFactory, interpreters
from support.filesystems import (
    Kind,
    mounted,
    mounts_below,
    read_only,
    remove_tree,
    shares_extents,
)
from support.index import IndexFactory, LocalIndex
from support.probes import needs
from support.trees import differences, snapshot
from support.wheels import digest, make_wheel


def _get(url: str, **headers: str) -> tuple[int, bytes]:
    request = urllib.request.Request(url, headers=headers)
    try:
        with urllib.request.urlopen(request) as answer:
            return answer.status, answer.read()
    except urllib.error.HTTPError as error:
        with error:
            return error.code, error.read()


def test_wheel_parts_can_be_overridden(tmp_path: Path) -> None:
    wheel = make_wheel(
        tmp_path,
        "My.Demo",
        "2.0",
        files={"my_demo/__init__.py": "", "my_demo-2.0.data/scripts/run": "#!python\n"},
        executables=["my_demo-2.0.data/scripts/run"],
        record=None,
        dist_info_files={"licenses/LICENSE": b"free"},
        add_directory_entries=True,
    )
    assert wheel.name == "My_Demo-2.0-py3-none-any.whl"
    with zipfile.ZipFile(wheel) as archive:
        modes = {entry.filename: entry.external_attr >> 16 for entry in archive.infolist()}
    assert stat.S_IMODE(modes["my_demo-2.0.data/scripts/run"]) == 0o755
    assert stat.S_IMODE(modes["my_demo/__init__.py"]) == 0o644
    assert stat.S_ISDIR(modes["my_demo/"])
    assert "My_Demo-2.0.dist-info/licenses/LICENSE" in modes
    assert "My_Demo-2.0.dist-info/RECORD" not in modes


def test_index_counts_requests(index: IndexFactory, wheelhouse: Path) -> None:
    wheel = make_wheel(wheelhouse, "My.Demo", "1.0+local")
    served = index(wheelhouse, credentials=("me", "p@ss/word"))
    assert _get(served.url)[0] == 401
    basic = {"Authorization": "Basic bWU6cEBzcy93b3Jk"}
    status, page = _get(f"{served.url}my-demo/", **basic)
    assert status == 200
    assert f"1.0%2Blocal-py3-none-any.whl#sha256={digest(wheel)}".encode() in page
    assert served.wheel_requests() == []
    address = served.url.replace("/simple/", "/files/") + "My_Demo-1.0%2Blocal-py3-none-any.whl"
    assert _get(address, **basic)[1] == wheel.read_bytes()
    assert _get(address, Range="bytes=-10", **basic) == (206, wheel.read_bytes()[-10:])
    assert _get(address + ".metadata", **basic)[1].startswith(b"Metadata-Version")
    assert served.wheel_requests("my_demo") == [f"/files/{wheel.name}"] * 2
    assert served.wheel_requests("other") == []
    assert len(served.metadata_requests()) == 1
    assert served.requests[0] == ("GET", "/simple/", 401)
    served.clear()
    assert served.requests == []


@pytest.fixture
def plain(environment: EnvironmentFactory) -> EnvironmentFactory:
    probes.require(probes.index)
    return environment


@pytest.mark.network
def test_pip_installs_from_the_index(
    plain: EnvironmentFactory, index: IndexFactory, wheelhouse: Path
) -> None:
    make_wheel(wheelhouse, "base", "1.0")
    make_wheel(
        wheelhouse,
        requires=["base>=1"],
        entry_points="[console_scripts]\ndemo = demo:main\n",
    )
    served = index(wheelhouse, credentials=("me", "p@ss/word"))
    one, other = plain("one", ours=False), plain("other", ours=False)
    for made in (one, other):
        install = made.plain("install", "-i", served.authenticated_url, "demo")
        run_as(None, install, check=True)
        assert run_as(None, [made.scripts / "demo"], check=True).stdout == "demo 1.0\n"
    assert served.wheel_requests("demo") != []
    assert served.metadata_requests() != []
    # base was compiled by pip; running demo has compiled nothing more.
    assert differences(snapshot(one.prefix), snapshot(other.prefix)) == []
    frozen = run_as(None, one.plain("freeze", "--all"), check=True).stdout
    assert "@" not in frozen


@pytest.mark.network
def test_snapshots_differ_where_trees_do(plain: EnvironmentFactory, tmp_path: Path) -> None:
    made = plain("one", ours=False)
    run_as(None, made.plain("install", "--no-index", make_wheel(tmp_path)), check=True)
    before = snapshot(made.prefix)
    package = made.site_packages / "demo"
    (package / "data.txt").chmod(0o600)
    source = package / "part" / "__init__.py"
    times = source.stat()
    source.write_text("ANSWER = 430\n")
    os.utime(source, ns=(times.st_atime_ns, times.st_mtime_ns))
    (package / "new").symlink_to("data.txt")
    os.utime(package / "__init__.py", (1, 1))
    record = made.site_packages / "demo-1.0.dist-info" / "RECORD"
    record.write_text(record.read_text().replace("demo/data.txt", "demo/other.txt"))
    found = "\n".join(differences(before, snapshot(made.prefix)))
    for expected in (
        "demo/data.txt: mode 0600, expected 0644",
        "demo/part/__init__.py: content",
        "demo/new: unexpected symlink",
        "made for mtime",
        "made for size",
        "RECORD: missing row demo/data.txt",
        "RECORD: unexpected row demo/other.txt",
    ):
        assert expected in found
    assert "mode" not in "\n".join(
        differences(snapshot(made.prefix, modes=False), snapshot(made.prefix, modes=False))
    )


@pytest.mark.network
def test_environments_are_quick_and_readable(plain: EnvironmentFactory) -> None:
    plain("first", ours=False)
    os.umask(0o077)
    start = time.monotonic()
    made = plain("second", ours=False)
    assert time.monotonic() - start < 5
    assert os.umask(0o022) == 0o077
    for path in made.prefix.rglob("*"):
        if not path.is_symlink():
            assert path.stat().st_mode & stat.S_IROTH, path


def test_interpreters_run() -> None:
    assert "{}.{}".format(*sys.version_info[:2]) in interpreters()
    for version, python in interpreters().items():
        command = [str(python), "-c", "import sys; print('%d.%d' % sys.version_info[:2])"]
        assert subprocess.run(command, capture_output=True, text=True).stdout.strip() == version


@pytest.mark.multiuser
@needs(probes.accounts)
def test_commands_run_as_another_user(
    accounts: Accounts, shared_tmp: Path, public_python: Path
) -> None:
    home = home_of(accounts.usera, shared_tmp)
    script = 'id -u; id -G; umask; echo "$HOME $X-$LANG"; touch "$HOME/made"; cat'
    done = run_as(
        accounts.usera,
        ["sh", "-c", script],
        umask=0o027,
        env={"X": "x", "LANG": None},
        input="said",
        check=True,
    )
    uid, groups, umask, surroundings, said = done.stdout.splitlines()
    assert int(uid) == accounts.usera.uid
    assert str(accounts.group_gid) in groups.split()
    assert umask == "0027"
    assert (surroundings, said) == (f"{home} x-", "said")
    made = (home / "made").stat()
    assert (made.st_uid, stat.S_IMODE(made.st_mode)) == (accounts.usera.uid, 0o640)
    assert run_as(accounts.userb, ["ls", home]).returncode
    assert str(accounts.group_gid) not in run_as(accounts.userc, ["id", "-G"]).stdout.split()
    assert run_as(accounts.userc, [public_python, "-c", "import ssl"]).returncode == 0
    with pytest.raises(AssertionError, match="did not end"):
        run_as(accounts.userc, ["sh", "-c", "sleep 60 & sleep 60"], timeout=0.5)


@pytest.mark.multiuser
@needs(probes.accounts)
def test_started_processes_are_stopped(accounts: Accounts) -> None:
    process = start_as(accounts.usera, ["sleep", "600"])
    assert process.poll() is None


@pytest.mark.filesystem
@needs(probes.tmpfs)
def test_mounts_kept_apart_are_invisible_to_other_processes(tmp_path: Path) -> None:
    code = f"""
import subprocess
from pathlib import Path
from support.filesystems import keep_mounts_apart
keep_mounts_apart()
subprocess.run(["mount", "-t", "tmpfs", "tmpfs", {str(tmp_path)!r}], check=True)
print({str(tmp_path)!r} in Path("/proc/self/mounts").read_text())
"""
    tests = str(Path(__file__).parent.parent)
    done = subprocess.run(
        [sys.executable, "-c", code],
        env={**os.environ, "PYTHONPATH": tests},
        stdout=subprocess.PIPE,
    )
    assert done.stdout == b"True\n"
    assert str(tmp_path) not in Path("/proc/self/mounts").read_text()


@pytest.mark.filesystem
@pytest.mark.parametrize("kind", ["ext4", "xfs", "btrfs", "tmpfs"])
def test_mounted_and_extents(kind: Kind, shared_tmp: Path) -> None:
    probe = {"ext4": probes.loop_mounts, "tmpfs": probes.tmpfs}.get(kind)
    probes.require(probe or getattr(probes, kind))
    with mounted(kind, shared_tmp) as point:
        assert stat.S_IMODE(point.stat().st_mode) == 0o755
        original, clone, copy = point / "original", point / "clone", point / "copy"
        original.write_bytes(os.urandom(3 << 20))
        copy.write_bytes(original.read_bytes())
        reflink = ["cp", "--reflink=always", str(original), str(clone)]
        can = kind in ("xfs", "btrfs")
        assert (subprocess.run(reflink, capture_output=True).returncode == 0) == can
        assert not shares_extents(original, copy)
        if can:
            assert shares_extents(original, clone)
            with clone.open("r+b") as stream:
                stream.write(b"changed")
            assert not shares_extents(original, clone)
        (point / "small").write_bytes(b"x")
        shutil.copyfile(point / "small", point / "small2")
        assert not shares_extents(point / "small", point / "small2")
        with (
            read_only(point, shared_tmp / "view") as view,
            pytest.raises(OSError, match="Read-only"),
        ):
            (view / "new").touch()
        (point / "sealed").mkdir(mode=0o555)
    assert mounts_below(shared_tmp) == []
    assert list(shared_tmp.iterdir()) == []


@pytest.mark.filesystem
@needs(probes.bind_mounts)
def test_removing_a_tree_spares_what_is_mounted_in_it(shared_tmp: Path) -> None:
    precious = shared_tmp / "precious"
    precious.mkdir()
    (precious / "file").touch()
    tree = shared_tmp / "tree"
    (tree / "with space").mkdir(parents=True)
    mount = ["mount", "--bind", str(precious), str(tree / "with space")]
    subprocess.run(mount, check=True)
    remove_tree(tree)
    assert (precious / "file").exists()
    assert not tree.exists()


def test_surroundings_are_throw_away() -> None:
    assert str(Path.home()) != SESSION_ENVIRONMENT["HOME"]
    assert os.environ["PIP_CONFIG_FILE"] == os.devnull
    assert not [name for name in os.environ if name.startswith("PIP_SHAREDCACHE")]


def test_an_index_ends_with_its_block(wheelhouse: Path) -> None:
    with LocalIndex(wheelhouse) as served:
        address = served.url
        assert _get(address)[0] == 200
    with pytest.raises(urllib.error.URLError):
        _get(address)
