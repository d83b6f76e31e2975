"""Each wheel that did not come from the store says why, and misspelt settings are named."""

from __future__ import annotations

import os
import tarfile
from pathlib import Path

import pytest

from support import offline
from support.accounts import run_as
from support.environments import Environment, EnvironmentFactory
from support.faults import visible_entries
from support.index import IndexFactory
from support.probes import linux, needs, root
from support.wheels import BACKEND, make_wheel

pytestmark = [pytest.mark.pips, needs(linux)]

Env = dict[str, "str | None"]
STRANGER = 54321  # no such account


@pytest.fixture
def store(shared_tmp: Path) -> Path:
    directory = shared_tmp / "store"
    directory.mkdir()
    return directory


def _sdist(directory: Path) -> None:
    project = directory.parent / "built-1.0"
    project.mkdir()
    (project / "pyproject.toml").write_text(
        '[build-system]\nrequires = []\nbuild-backend = "backend"\nbackend-path = ["."]\n'
    )
    (project / "backend.py").write_text(BACKEND)
    (project / "PKG-INFO").write_text("Metadata-Version: 2.1\nName: built\nVersion: 1.0\n")
    with tarfile.open(directory / "built-1.0.tar.gz", "w:gz") as archive:
        archive.add(project, "built-1.0")


def _said(environment: Environment, env: Env, *words: object) -> list[str]:
    argv = environment.command("install", "--force-reinstall", *map(str, words))
    return run_as(None, argv, env=env, check=True).stdout.splitlines()


def _whl(name: str) -> str:
    return f"{name}-1.0-py3-none-any.whl"


@needs(root)
def test_each_wheel_says_why_it_did_not_come_from_the_store_and_the_summary_counts(
    environment: EnvironmentFactory, shared_tmp: Path, store: Path
) -> None:
    wheels = shared_tmp / "wheels"
    for name in ("found", "new", "damaged", "foreign"):
        make_wheel(wheels, name)
    make_wheel(wheels, "strange", files={"strange/__init__.py": "", "strange/a:b": "x"})
    local = make_wheel(shared_tmp / "elsewhere", "local")
    _sdist(wheels)
    one, env = environment(), offline(wheels, store)
    _said(one, env, "found", "damaged", "foreign")
    for entry in visible_entries(store):
        if (entry / _whl("damaged")).exists():
            (entry / "entry.json").unlink()
        if (entry / _whl("foreign")).exists():
            for path in (entry, *entry.rglob("*")):
                os.chown(path, STRANGER, STRANGER)
    words = ["found", "new", "damaged", "foreign", "strange", local, "built"]
    lines = _said(one, env, "-v", *words)
    reasons = {
        "new": "added to the shared store: the store did not have it",
        "damaged": "added to the shared store: its entry is damaged",
        "foreign": "added to the shared store: its publisher is not trusted",
        "strange": "installed by pip alone: it is unusual",
        "local": "installed by pip alone: pip took it from a local path",
        "built": "installed by pip alone: it was built here",
    }
    for name, why in reasons.items():
        assert lines.count(f"{_whl(name)} was {why}") == 1, (name, lines)
    assert not [line for line in lines if "found-1.0" in line and " was " in line]
    (summary,) = (line for line in lines if line.startswith("Shared store: 1 of 7"))
    assert "; 3 added to it; 3 installed by pip alone: " in summary
    for why in ("1 it is unusual", "1 pip took it from a local path", "1 it was built here"):
        assert why in summary


def test_without_v_the_summary_alone_counts(
    environment: EnvironmentFactory, shared_tmp: Path, store: Path
) -> None:
    wheels = shared_tmp / "wheels"
    make_wheel(wheels, "new")
    locals_ = [make_wheel(shared_tmp / "elsewhere", name) for name in ("here", "there")]
    lines = _said(environment(), offline(wheels, store), "new", *locals_)
    assert not [line for line in lines if ".whl was " in line]
    (summary,) = (line for line in lines if line.startswith("Shared store: "))
    assert "; 2 installed by pip alone: pip took them from a local path; " in summary


def test_a_wheel_with_credentials_and_a_store_that_is_only_read(
    environment: EnvironmentFactory, index: IndexFactory, shared_tmp: Path, store: Path
) -> None:
    make_wheel(shared_tmp / "wheels", "secret")
    served = index(shared_tmp / "wheels", credentials=("user", "pass"))
    env: Env = {
        "PIP_INDEX_URL": served.authenticated_url,
        "PIP_EXTRA_INDEX_URL": None,
        "PIP_NO_CACHE_DIR": "1",
        "NO_PROXY": "127.0.0.1",
        "PIP_SHAREDCACHE_DIR": str(store),
    }
    one = environment()
    lines = _said(one, env, "-v", "secret")
    why = "pip downloaded it with credentials"
    assert f"{_whl('secret')} was installed by pip alone: {why}" in lines
    private = shared_tmp / "private"
    env["PIP_SHAREDCACHE_DIR"] = f"{store}:{private} private"
    lines = _said(one, env, "-v", "secret")
    assert f"{_whl('secret')} was added to the shared store: kept for you, since {why}" in lines
    env = offline(shared_tmp / "wheels", None, PIP_SHAREDCACHE_DIR=f"{store} read-only")
    lines = _said(one, env, "-v", "secret")
    assert f"{_whl('secret')} was installed by pip alone: the store may only be read" in lines
    assert any("1 installed by pip alone: the store may only be read;" in line for line in lines)


@pytest.mark.parametrize(
    ("text", "line"),
    [
        ("[shared-cache]\ndir = {store}\n", "Section [shared-cache] of {file} is ignored; hint: "),
        ("[SharedCache]\ndir = {store}\n", "Section [SharedCache] of {file} is ignored; hint: "),
        ("[sharedcahce]\ndir = {store}\n", "Section [sharedcahce] of {file} is ignored; hint: "),
        (
            "[global]\nsharedcache-dir = {store}\n",
            "Option sharedcache-dir in section [global] of {file} is ignored; hint: write dir in "
            "section [sharedcache]",
        ),
        (
            "[install]\nshared_cache.link-mode = copy\n",
            "Option shared_cache.link-mode in section [install] of {file} is ignored; hint: write "
            "link-mode in section [sharedcache]",
        ),
        (
            "[global]\noffline = no\n",
            "Option offline in section [global] of {file} is ignored; hint: write offline in "
            "section [sharedcache]",
        ),
    ],
)
def test_misspelt_settings_are_one_line(
    text: str, line: str, environment: EnvironmentFactory, shared_tmp: Path, store: Path
) -> None:
    make_wheel(shared_tmp / "wheels")
    file = shared_tmp / "pip.conf"
    file.write_text(text.format(store=store))
    env = offline(shared_tmp / "wheels", store, PIP_CONFIG_FILE=str(file))
    one = environment()
    done = run_as(None, one.command("install", "demo"), env=env, check=True)
    (said,) = done.stderr.splitlines()
    assert said.startswith("WARNING: " + line.format(file=file))
    done = run_as(None, one.command("store", "info"), env=env, check=True)
    assert done.stderr.splitlines() == [said]


@pytest.mark.parametrize(
    ("variable", "right"),
    [
        ("PIP_SHARED_CACHE_LINK_MODE", "PIP_SHAREDCACHE_LINK_MODE"),
        ("PIP_NO_SHAREDCACHE", "PIP_SHAREDCACHE_DIR=none"),
        ("PIP_OFFLINE", "PIP_SHAREDCACHE_OFFLINE"),
    ],
)
def test_a_misspelt_variable_is_one_line(
    variable: str, right: str, environment: EnvironmentFactory, shared_tmp: Path, store: Path
) -> None:
    make_wheel(shared_tmp / "wheels")
    env = {**offline(shared_tmp / "wheels", store), variable: "copy"}
    done = run_as(None, environment().command("install", "demo"), env=env, check=True)
    assert done.stderr == f"WARNING: Variable {variable} is ignored; hint: write {right}\n"


def test_sections_and_options_of_pip_are_no_misspelt_ones(
    environment: EnvironmentFactory, shared_tmp: Path, store: Path
) -> None:
    make_wheel(shared_tmp / "wheels")
    file = shared_tmp / "pip.conf"
    sections = ("global", "install", "cache", "search", "download", "show", "other-tool", "cached")
    text = "".join(f"[{section}]\ncache-dir = {shared_tmp}/c\n" for section in sections)
    file.write_text(text)
    env = offline(shared_tmp / "wheels", store, PIP_CONFIG_FILE=str(file), PIP_CACHE_DIR=None)
    done = run_as(None, environment().command("install", "demo"), env=env, check=True)
    assert done.stderr == ""
