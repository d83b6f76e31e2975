"""A store that is filled ahead: what pip would install is added without being installed, and
carried from one store to another in one file."""

from __future__ import annotations

import io
import json
import subprocess
import tarfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest

from support import offline
from support.accounts import Accounts, run_as
from support.environments import Environment, EnvironmentFactory, interpreters, make_environment
from support.faults import visible_entries
from support.index import IndexFactory
from support.probes import linux, needs, root
from support.trees import snapshot
from support.wheels import digest, make_wheel

pytestmark = [pytest.mark.pips, needs(linux)]

Variables = dict[str, "str | None"]


@pytest.fixture
def wheels(wheelhouse: Path) -> Path:
    files = {"demo/__init__.py": "", "demo/more.py": "MORE = 1\n"}
    make_wheel(wheelhouse, files=files, requires=["other"])
    make_wheel(wheelhouse, "other")
    make_wheel(wheelhouse, "other", "2.0", tag="cp313-cp313-win_amd64")
    make_wheel(wheelhouse, "unrelated")
    return wheelhouse


@pytest.fixture
def store(tmp_path: Path) -> Path:
    directory = tmp_path / "store"
    directory.mkdir()
    return directory


@pytest.fixture
def env(wheels: Path, store: Path) -> Variables:
    return offline(wheels, store)


@pytest.fixture
def one(environment: EnvironmentFactory) -> Environment:
    return environment("one")


def _store(one: Environment, env: Variables, *arguments: str | Path) -> Any:
    done = run_as(None, one.command("store", "--json", *arguments), env=env)
    assert "Traceback" not in done.stderr
    assert done.returncode in (0, 1), done.stderr
    return json.loads(done.stdout)


def _titles(one: Environment, env: Variables, *arguments: str) -> list[str]:
    return [item["title"] for item in _store(one, env, "list", *arguments)["entries"]]


# -- add


@pytest.mark.parametrize("pip", ["23.0.1", "26.3"])
def test_what_pip_would_install_is_added_and_nothing_installed(
    pip: str, environment: EnvironmentFactory, env: Variables, store: Path
) -> None:
    one = environment("one", pip=pip)
    before = snapshot(one.prefix)
    told = _store(one, env, "add", "demo")
    assert {row["name"]: row["stored"] for row in told["distributions"]} == {
        "demo": True,
        "other": True,
    }
    assert told["new"] == 2
    assert snapshot(one.prefix) == before
    titles = _titles(one, env, "--bytecode")
    assert titles[:2] == ["demo-1.0-py3-none-any.whl", "other-1.0-py3-none-any.whl"]
    assert len(titles) == 4, "with the bytecode of both"
    assert _store(one, env, "add", "demo")["new"] == 0
    done = run_as(None, one.command("install", "demo"), env=env, check=True)
    assert "Shared store: 2 of 2 distributions" in done.stdout


def test_requirements_files_and_pips_own_options(
    one: Environment, env: Variables, tmp_path: Path
) -> None:
    file = tmp_path / "requirements.txt"
    file.write_text("demo\nunrelated\n")
    told = _store(one, env, "add", "-r", file, "--", "--no-deps")
    assert sorted(row["name"] for row in told["distributions"]) == ["demo", "unrelated"]


def test_bytecode_is_made_for_the_interpreters_that_are_named(
    one: Environment, env: Variables
) -> None:
    pythons = [interpreters()[version] for version in sorted(interpreters())[:2]]
    targets: list[str] = []
    for number, python in enumerate(pythons):
        target = make_environment(one.prefix.parent / f"for-{number}", python=python, ours=False)
        targets += ["--python", str(target.python if number else target.prefix)]
    _store(one, env, "add", "other", *targets)
    compiled = [title for title in _titles(one, env, "--bytecode") if title.startswith("cpython")]
    assert len({title.split("-")[1] for title in compiled}) == len(pythons)


def test_another_machines_wheels_are_added_without_bytecode(
    one: Environment, env: Variables
) -> None:
    _store(one, env, "add", "other", "--python-version", "3.13", "--platform", "win_amd64")
    assert _titles(one, env, "--bytecode") == ["other-2.0-cp313-cp313-win_amd64.whl"]


@pytest.mark.parametrize(
    "options",
    ["--installed --python {0.prefix}", "--installed --python {0.python}", "--from-env {0.prefix}"],
)
def test_what_is_installed_elsewhere_is_added(
    one: Environment, env: Variables, environment: EnvironmentFactory, wheels: Path, options: str
) -> None:
    source = environment("source", ours=False)
    run_as(None, source.plain("install", "--no-deps", "demo"), env=env, check=True)
    local = wheels / "unrelated-1.0-py3-none-any.whl"
    run_as(None, source.plain("install", local), env=env, check=True)
    command = one.command("store", "add", *options.format(source).split())
    done = run_as(None, command, env=env)
    assert done.returncode == 0, done.stderr
    assert "Not added: unrelated @ file://" in done.stderr
    assert _titles(one, env) == ["demo-1.0-py3-none-any.whl"]


def test_wheel_that_is_not_shared_is_reported(
    one: Environment, env: Variables, index: IndexFactory, wheels: Path
) -> None:
    server = index(wheels, credentials=("me", "secret"))
    private = {
        **env,
        "PIP_NO_INDEX": None,
        "PIP_FIND_LINKS": None,
        "PIP_INDEX_URL": server.authenticated_url,
    }
    done = run_as(None, one.command("store", "add", "other"), env=private)
    assert done.returncode == 1
    assert ": other 1.0: from " in done.stdout
    assert "secret" not in done.stdout + done.stderr


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        ([], "needs requirements, -r or"),
        (["nowhere-to-be-found"], "pip cannot resolve or install the requirements"),
        (
            ["demo", "--for", "/usr/bin/env", "--platform", "any"],
            "exclude --python and --installed",
        ),
        (["--from-env", "/nonexistent"], "is not a Python environment"),
    ],
)
def test_what_cannot_be_added(
    arguments: Sequence[str], said: str, one: Environment, env: Variables, store: Path
) -> None:
    done = run_as(None, one.command("store", "add", *arguments), env=env)
    assert done.returncode == 2
    assert said in done.stderr
    assert "Traceback" not in done.stderr
    assert not visible_entries(store)


@pytest.mark.parametrize(
    "arguments",
    [
        ["other", "--python-version", "3.13", "--abi", "cp313", "--platform", "win_amd64"],
        ["other", "--python-version=3.13", "--platform=win_amd64", "--", "--abi=cp313"],
    ],
)
def test_tags_are_handed_to_pip_as_what_they_are(
    arguments: list[str], one: Environment, env: Variables
) -> None:
    _store(one, env, "add", *arguments)
    assert _titles(one, env) == ["other-2.0-cp313-cp313-win_amd64.whl"]


def test_nothing_behind_the_dashes_leads_elsewhere(
    one: Environment, env: Variables, tmp_path: Path
) -> None:
    elsewhere = tmp_path / "elsewhere"
    _store(one, env, "add", "other", "--", "--target", elsewhere, "--report", tmp_path / "told")
    assert not elsewhere.exists() and not (tmp_path / "told").exists()
    done = run_as(None, one.command("store", "add", "other", "--", "--help"), env=env)
    assert done.returncode == 2
    assert "not all of them were added" in done.stderr


def test_what_was_built_is_not_said_to_be_there(
    one: Environment, env: Variables, tmp_path: Path, environment: EnvironmentFactory
) -> None:
    source = tmp_path / "source"
    source.mkdir()
    (source / "pyproject.toml").write_text(
        "[build-system]\nrequires = []\nbuild-backend = 'backend'\nbackend-path = ['.']\n"
    )
    wheel = make_wheel(tmp_path / "made", "built")
    (source / "backend.py").write_text(
        "import shutil\n"
        "def build_wheel(directory, *_):\n"
        f"    return shutil.copy({str(wheel)!r}, directory).rpartition('/')[2]\n"
        "build_editable = build_wheel\n"
    )
    done = run_as(None, one.command("store", "add", source), env=env)
    assert done.returncode == 1, done.stderr
    assert ": built 1.0: " in done.stdout and "built here, and not shared" in done.stdout
    assert "0 distributions are in" in done.stdout
    other = environment("other", ours=False)
    run_as(None, other.plain("install", "--editable", source), env=env, check=True)
    done = run_as(None, one.command("store", "add", "--from-env", other.prefix), env=env)
    assert ": no index has it" in done.stderr, done.stderr


def test_what_is_added_counts_as_no_installation(one: Environment, env: Variables) -> None:
    _store(one, env, "add", "demo")
    assert _store(one, env, "stats")["runs"] == 0


def test_what_a_nearer_store_has_is_added_all_the_same(
    one: Environment, env: Variables, store: Path, other: Path
) -> None:
    _store(one, env, "add", "other")
    layers = {**env, "PIP_SHAREDCACHE_DIR": f"{store} read-only:{other}"}
    told = _store(one, layers, "add", "other")
    assert (told["store"], told["new"]) == (str(other), 1)


@pytest.mark.multiuser
@needs(root)
def test_missing_permission_to_publish_is_reported_before_pip_starts(
    accounts: Accounts, public_python: Path, shared_tmp: Path
) -> None:
    one = make_environment(shared_tmp / "one", python=public_python)
    store = shared_tmp / "store"
    run_as(None, one.command("store", "init", "--layout", "tree", store), check=True)
    done = run_as(accounts.usera, one.command("store", "add", "demo"), env=offline(store, store))
    assert done.returncode == 2
    assert done.stdout == ""
    assert f"Cannot publish in the store: {store}: " in done.stderr


# -- export, import


@pytest.fixture
def other(tmp_path: Path) -> Path:
    directory = tmp_path / "other store"
    directory.mkdir()
    return directory


def test_wheels_go_from_one_store_to_another(
    one: Environment, env: Variables, other: Path, tmp_path: Path
) -> None:
    file = tmp_path / "wheels.tar"
    _store(one, env, "add", "demo", "unrelated")
    assert _store(one, env, "export", file, "demo", "other")["wheels"] == 2
    there = {**env, "PIP_SHAREDCACHE_DIR": str(other)}
    told = _store(one, there, "import", file)
    assert [(row["title"].split("-")[0], row["new"]) for row in told["wheels"]] == [
        ("demo", True),
        ("other", True),
    ]
    assert [row["new"] for row in _store(one, there, "import", file)["wheels"]] == [False, False]
    assert run_as(None, one.command("store", "verify"), env=there).returncode == 0
    done = run_as(None, one.command("install", "demo"), env=there, check=True)
    assert "Shared store: 2 of 2 distributions" in done.stdout


def test_through_a_pipe(one: Environment, env: Variables, other: Path) -> None:
    _store(one, env, "add", "demo", "unrelated")
    argv = one.command("store", "export", "-")
    packed = subprocess.run(argv, env=_merged(env), capture_output=True, check=True)
    again = subprocess.run(argv, env=_merged(env), capture_output=True, check=True)
    assert packed.stdout == again.stdout, "the same wheels make the same file"
    there = {**env, "PIP_SHAREDCACHE_DIR": str(other)}
    argv = one.command("store", "import", "-")
    done = subprocess.run(argv, env=_merged(there), input=packed.stdout, capture_output=True)
    assert done.returncode == 0, done.stderr
    assert b"3 of 3 wheels are new" in done.stdout


def _merged(env: Variables) -> dict[str, str]:
    return {"PATH": "/usr/bin:/bin", **{name: value for name, value in env.items() if value}}


def test_a_wheel_that_is_damaged_is_left_out(
    one: Environment, env: Variables, store: Path, tmp_path: Path
) -> None:
    _store(one, env, "add", "demo")
    (damaged,) = store.glob("wheels/*/*/demo-1.0-py3-none-any.whl")
    damaged.chmod(0o644)
    damaged.write_bytes(damaged.read_bytes()[:-1] + b"x")
    file = tmp_path / "wheels.tar"
    done = run_as(None, one.command("store", "export", file), env=env)
    assert done.returncode == 1
    assert f"Damaged wheel: {damaged}: its bytes do not match its digest" in done.stderr
    with tarfile.open(file) as archive:
        assert [name.split("/")[1] for name in archive.getnames()] == ["other-1.0-py3-none-any.whl"]


@pytest.fixture
def archive(tmp_path: Path, wheels: Path) -> Path:
    """Made by somebody else: with what is sound, and with what is not."""
    path = tmp_path / "foreign.tar"
    wheel = wheels / "other-1.0-py3-none-any.whl"
    evil = wheels / "unrelated-1.0-py3-none-any.whl"
    with tarfile.open(path, "w") as archive:
        for name, data in (
            (f"{digest(evil)}/{evil.name}", wheel.read_bytes()),
            (f"../../{digest(evil)}/{evil.name}", evil.read_bytes()),
            (f"{digest(evil)}/../{evil.name}", evil.read_bytes()),
            ("/etc/passwd", b"x"),
            (f"{'0' * 64}/\x1b[2Jx.whl", b""),
            (f"{digest(wheel)}/wrong-name.whl", wheel.read_bytes()),
            (f"{digest(wheel)}/{wheel.name}", wheel.read_bytes()),
        ):
            member = tarfile.TarInfo(name)
            member.size = len(data)
            archive.addfile(member, io.BytesIO(data))
        for name in ("other\x9b31m-1.0-py3-none-any.whl", "x" * 300 + "-1.0-py3-none-any.whl"):
            member = tarfile.TarInfo(f"{'1' * 64}/{name}")
            archive.addfile(member)
        for kind in (tarfile.SYMTYPE, tarfile.LNKTYPE, tarfile.FIFOTYPE, tarfile.CHRTYPE):
            member = tarfile.TarInfo(f"{digest(evil)}/{evil.name}")
            member.type, member.linkname = kind, "/etc/passwd"
            archive.addfile(member)
    return path


def test_only_what_has_its_digest_comes_in(
    one: Environment, env: Variables, archive: Path, store: Path
) -> None:
    done = run_as(None, one.command("store", "import", archive), env=env)
    assert done.returncode == 1
    assert "1 of 13 wheels are new" in done.stdout
    assert "\x1b" not in done.stdout + done.stderr
    assert "Traceback" not in done.stderr
    assert _titles(one, env) == ["other-1.0-py3-none-any.whl"]


def test_an_archive_of_holes_fills_no_disk(
    one: Environment, env: Variables, tmp_path: Path
) -> None:
    """4 TB in 10 kB."""
    hole = tmp_path / ("0" * 64) / "hole-1.0-py3-none-any.whl"
    hole.parent.mkdir()
    with hole.open("wb") as file:
        file.truncate(4 << 40)
    archive = tmp_path / "sparse.tar"
    command = ["tar", "--sparse", "--create", "--file", archive, "--directory", tmp_path]
    subprocess.run([*command, f"{hole.parent.name}/{hole.name}"], check=True)
    assert archive.stat().st_size < 100_000
    done = run_as(None, one.command("store", "import", archive), env=env, timeout=60)
    assert done.returncode == 1
    assert "not a wheel that store export writes" in done.stdout


@pytest.mark.parametrize("size", [0, 100, 1500], ids=["empty", "in the head", "in a wheel"])
def test_truncated_archive_is_reported(
    size: int, one: Environment, env: Variables, tmp_path: Path
) -> None:
    file = tmp_path / "wheels.tar"
    _store(one, env, "add", "demo")
    _store(one, env, "export", file)
    file.write_bytes(file.read_bytes()[:size])
    done = run_as(None, one.command("store", "import", file), env=env)
    assert done.returncode == 2
    assert "Cannot read the archive" in done.stderr
    assert "Traceback" not in done.stderr
