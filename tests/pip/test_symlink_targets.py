"""Symlinks into entries, by the options that choose where pip installs: each is registered."""

from __future__ import annotations

import json
import os
from pathlib import Path

import pytest

from support import offline
from support.accounts import run_as
from support.environments import NEWEST_PIP, EnvironmentFactory
from support.probes import linux, needs
from support.wheels import make_wheel

pytestmark = [pytest.mark.pips, needs(linux)]

Env = dict[str, "str | None"]


@pytest.fixture
def env(shared_tmp: Path) -> Env:
    make_wheel(shared_tmp / "wheels")
    (shared_tmp / "home").mkdir()
    names = {
        "PIP_SHAREDCACHE_LINK_MODE": "symlink",
        "HOME": str(shared_tmp / "home"),
        "PYTHONUSERBASE": str(shared_tmp / "home" / "base"),
    }
    return offline(shared_tmp / "wheels", shared_tmp / "store", **names)


def _links(top: Path) -> list[Path]:
    return [path for path in top.rglob("*") if path.is_symlink() and "wheels" in os.readlink(path)]


@pytest.mark.parametrize("pip", ["23.0.1", NEWEST_PIP])
@pytest.mark.parametrize("way", ["target", "prefix", "root", "user", "environment"])
def test_symlinks_are_registered_where_they_are(
    way: str, pip: str, environment: EnvironmentFactory, env: Env, shared_tmp: Path
) -> None:
    one, there, store = environment("one", pip=pip), shared_tmp / "there", shared_tmp / "store"
    if way == "user":  # pip refuses --user in an environment that does not see it
        configuration = one.prefix / "pyvenv.cfg"
        text = configuration.read_text().replace(
            "include-system-site-packages = false", "include-system-site-packages = true"
        )
        configuration.write_text(text)
    made = one.command("store", "init", "--layout", "tree", str(store))
    run_as(None, made, env=env, check=True)
    options = {"user": ["--user"], "environment": []}.get(way, [f"--{way}", str(there)])
    argv = one.command("install", *options, "--force-reinstall", "demo")
    top = {"user": shared_tmp / "home", "environment": one.prefix}.get(way, there)
    for _ in range(2):  # as the publisher, and from the store
        done = run_as(None, argv, env=env, check=True)
    records = [
        json.loads(line)
        for record in (store / "use").glob("*/links-*")
        for line in record.read_text().splitlines()
    ]
    if way == "target":
        # pip installs into a temporary directory, and moves the files when the run is over.
        assert "(no symlink here: pip moves what it installs with --target)" in done.stdout
        assert (_links(top), records) == ([], [])
        assert (there / "demo" / "__init__.py").is_file()
        return
    assert "symlinked" in done.stdout
    libraries = {row["library"] for row in records if isinstance(row, dict)}
    paths = {Path(row[1]) for row in records if isinstance(row, list)}
    assert len(libraries) == 1
    assert all(Path(library).is_dir() for library in libraries)
    assert paths
    assert paths <= set(_links(top))
    argv = one.command("store", "who-has", "--json", "demo")
    found = run_as(None, argv, env={**env, "PIP_SHAREDCACHE_DIR": str(store)}, check=True).stdout
    assert str(top) in found
