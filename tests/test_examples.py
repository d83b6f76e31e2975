"""The examples run as the README says."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from support import REPOSITORY, SESSION_ENVIRONMENT, probes
from support.probes import needs


def _run(script: str, *arguments: str, env: dict[str, str]) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        ["sh", str(REPOSITORY / "examples" / script), *arguments],
        env=env,
        capture_output=True,
        text=True,
        timeout=600,
    )


@pytest.mark.network
@needs(probes.index)
def test_quickstart_fills_the_store_and_then_installs_from_it(tmp_path: Path) -> None:
    env = {
        **SESSION_ENVIRONMENT,
        "HOME": str(tmp_path / "home"),
        "XDG_CACHE_HOME": str(tmp_path / "home" / "cache"),
        "PYTHON": sys.executable,
    }
    for name in [name for name in env if name.startswith("PIP_SHAREDCACHE_")]:
        del env[name]
    (tmp_path / "home").mkdir()

    done = _run("quickstart.sh", "six", env=env)

    assert done.returncode == 0, done.stderr
    lines = [line for line in done.stdout.splitlines() if line.startswith("Shared store:")]
    assert "0 of 1 distributions" in lines[0]
    assert "1 added to it" in lines[0]
    assert "1 of 1 distributions" in lines[1]
    assert (tmp_path / "home" / "cache" / "pip-sharedcache" / "wheels").is_dir()
    (work,) = (tmp_path / "home" / "cache").glob("quickstart.*")
    assert f"The environments are in {work}." in done.stdout
    assert (work / "second" / "pyvenv.cfg").is_file()
    assert "Not downloaded: " in done.stdout
    assert "Seconds: first " in done.stdout


def _group_store(tmp_path: Path, store: Path, **env: str) -> subprocess.CompletedProcess[str]:
    """Run the script in a mount namespace of its own, with copies of /etc and /opt."""
    (tmp_path / "opt").mkdir(exist_ok=True)
    if not (tmp_path / "etc").exists():
        subprocess.run(["cp", "-a", "/etc", str(tmp_path / "etc")], check=True)
    script = REPOSITORY / "examples" / "group-store.sh"
    mounts = "for one in etc opt; do mount --bind $0/$one /$one || exit; done"
    return subprocess.run(
        [
            *("unshare", "--mount", "sh", "-c", f'{mounts}; exec sh "$@"'),
            *(str(tmp_path), str(script), "pkgshare", str(store)),
        ],
        env={"PATH": "/usr/sbin:/usr/bin:/sbin:/bin", "HOME": str(tmp_path), **env},
        capture_output=True,
        text=True,
        timeout=120,
    )


@needs(probes.root, probes.accounts, probes.bind_mounts)
def test_group_store_finds_the_central_place(
    shared_tmp: Path, tmp_path: Path, accounts: object
) -> None:
    """The script works after central.sh, which changes no PATH."""
    done = _group_store(tmp_path, shared_tmp / "store")
    assert (done.returncode, done.stdout) == (2, "")
    assert "pip-sharedcache is not installed" in done.stderr
    assert f"hint: sh {REPOSITORY}/examples/central.sh" in done.stderr
    done = _group_store(
        tmp_path, shared_tmp / "one", PROGRAM=str(Path(sys.executable).parent / "pip-sharedcache")
    )
    assert done.returncode == 0, done.stdout + done.stderr
    (tmp_path / "etc" / "pip.conf").unlink()
    (tmp_path / "opt" / "pip-sharedcache").symlink_to(sys.prefix)
    done = _group_store(tmp_path, shared_tmp / "two")
    assert done.returncode == 0, done.stdout + done.stderr
    assert (shared_tmp / "two" / "store.json").is_file()


@needs(probes.root, probes.accounts, probes.bind_mounts)
def test_group_store_is_made_and_announced(
    shared_tmp: Path, tmp_path: Path, accounts: object
) -> None:
    """The script sets up the whole machine."""
    scripts = Path(sys.executable).parent
    store = shared_tmp / "store"
    path = f"{scripts}{os.pathsep}{os.environ['PATH']}"
    done = _group_store(tmp_path, store, PATH=path)

    assert done.returncode == 0, done.stdout + done.stderr
    assert "for the members of pkgshare" in done.stdout
    assert f"Store:     {store} (" in done.stdout
    assert (store / "wheels" / "00").stat().st_mode & 0o7777 == 0o3775
    assert str(store) in (tmp_path / "etc" / "pip.conf").read_text()
