"""The command line: our options and verbs, what is printed, and the exit status."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator, Sequence
from pathlib import Path

import pytest

import pip_sharedcache
from pip_sharedcache import cli, config, interception, linker
from pip_sharedcache.errors import PipMissing
from pip_sharedcache.store import Store, publish
from support.probes import linux, needs, root
from support.process import as_user
from support.wheels import digest, make_wheel

pytestmark = needs(linux)

ALICE, GROUP = 54321, 54399
Captured = pytest.CaptureFixture[str]


@pytest.fixture(autouse=True)
def _own_environment() -> Iterator[None]:
    before = dict(os.environ)
    yield
    os.environ.clear()
    os.environ.update(before)


@pytest.fixture
def passed(monkeypatch: pytest.MonkeyPatch) -> list[list[str]]:
    """What pip would be run with."""
    calls: list[list[str]] = []

    def run_pip(arguments: Sequence[str]) -> None:
        calls.append(list(arguments))

    monkeypatch.setattr(interception, "run_pip", run_pip)
    return calls


def _option(name: str) -> str | None:
    return os.environ.get(config.option_variable(name))


@pytest.mark.parametrize(
    "arguments",
    [
        [],
        ["install", "demo"],
        ["install", "--target", "store", "x"],
        ["list", "store"],
        ["--isolated", "install", "-r", "x"],
        ["-h"],
        ["install", "--sharedcache"],
    ],
    ids=" ".join,
)
def test_pips_arguments_pass_through(arguments: list[str], passed: list[list[str]]) -> None:
    assert cli.main(arguments) == 0
    assert passed == [arguments]


def test_without_arguments_it_takes_those_of_the_process(
    passed: list[list[str]], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("sys.argv", ["pip-sharedcache", "list", "-v"])
    cli.main()
    assert passed == [["list", "-v"]]


@pytest.mark.parametrize(
    "arguments",
    [
        ["install", "--sharedcache-dir=/a=b", "demo"],
        ["install", "--sharedcache-dir", "/a=b", "demo"],
        ["--sharedcache-dir", "/a=b", "install", "demo"],
        ["install", "demo", "--sharedcache-dir=/x", "--sharedcache-dir=/a=b"],
    ],
    ids=" ".join,
)
def test_our_options_are_taken_out_wherever_they_are(
    arguments: list[str], passed: list[list[str]]
) -> None:
    cli.main(arguments)
    assert passed == [["install", "demo"]]
    assert _option("dir") == "/a=b"


def test_what_follows_two_dashes_is_pips(passed: list[list[str]]) -> None:
    cli.main(["install", "--", "--sharedcache-dir=/a"])
    assert passed == [["install", "--", "--sharedcache-dir=/a"]]
    assert _option("dir") is None


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["install", "--sharedcache-mode=copy"], "There is no option --sharedcache-mode"),
        (["install", "--sharedcache-"], "There is no option --sharedcache-"),
        (["install", "--sharedcache-dir"], "--sharedcache-dir needs a value"),
    ],
    ids=["unknown", "no name", "no value"],
)
def test_a_wrong_option_of_ours_is_one_line_and_status_2(
    arguments: list[str], words: str, passed: list[list[str]], capsys: Captured
) -> None:
    assert cli.main(arguments) == 2
    assert passed == []
    shown = capsys.readouterr()
    assert shown.out == ""
    assert shown.err.startswith(f"ERROR: {words}")
    assert shown.err.count("\n") == 1


def test_an_error_of_ours_before_pip_runs_is_status_2(
    monkeypatch: pytest.MonkeyPatch, capsys: Captured
) -> None:
    def no_pip(arguments: Sequence[str]) -> None:
        raise PipMissing("/usr/bin/python has no pip", "python -m ensurepip installs it")

    monkeypatch.setattr(interception, "run_pip", no_pip)
    assert cli.main(["list"]) == 2
    assert capsys.readouterr().err == (
        "ERROR: /usr/bin/python has no pip; python -m ensurepip installs it\n"
    )


@pytest.mark.parametrize("status", [0, 1, 2, 23])
def test_pips_exit_status_is_its_own(status: int, monkeypatch: pytest.MonkeyPatch) -> None:
    def pip(arguments: Sequence[str]) -> None:
        raise SystemExit(status)

    monkeypatch.setattr(interception, "run_pip", pip)
    with pytest.raises(SystemExit) as caught:
        cli.main(["list"])
    assert caught.value.code == status


# -- store init


def test_init_makes_a_store_and_says_how_to_use_it(shared_tmp: Path, capsys: Captured) -> None:
    path = shared_tmp / "store"
    assert cli.main(["store", "init", str(path)]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[0].startswith(f"Store {path} is ready, for ")
    assert lines[1] == f"To use it: pip config --global set sharedcache.dir {path}"
    assert (path / "store.json").exists()


def test_init_takes_a_relative_path(
    shared_tmp: Path, monkeypatch: pytest.MonkeyPatch, capsys: Captured
) -> None:
    monkeypatch.chdir(shared_tmp)
    assert cli.main(["store", "init", "here/../store"]) == 0
    assert f"Store {shared_tmp}/store is ready" in capsys.readouterr().out


@needs(root)
def test_init_for_a_group_says_so(shared_tmp: Path, capsys: Captured) -> None:
    path = shared_tmp / "store"
    assert cli.main(["store", "init", "--group", str(GROUP), str(path)]) == 0
    assert f"for the members of {GROUP}." in capsys.readouterr().out
    assert path.stat().st_gid == GROUP


@needs(root)
def test_init_does_not_promise_a_group_what_the_store_does_not_keep(
    shared_tmp: Path, capsys: Captured
) -> None:
    path = shared_tmp / "store"
    cli.main(["store", "init", str(path)])
    capsys.readouterr()
    status = cli.main(["store", "init", "--group", str(GROUP), str(path)])
    assert (status == 2) is (Store.open(path).group != str(GROUP))


@pytest.mark.parametrize("kind", ["file", "full", "no group", "below a file", "odd group"])
def test_init_that_cannot_be_is_one_line_and_status_2(
    tmp_path: Path, kind: str, capsys: Captured
) -> None:
    (tmp_path / "file").touch()
    path = {"file": tmp_path / "file", "full": tmp_path, "below a file": tmp_path / "file" / "x"}
    group = {"no group": ["--group", "no-such-group"], "odd group": ["--group", "²"]}
    where = str(path.get(kind, tmp_path / "new"))
    assert cli.main(["store", "init", *group.get(kind, []), where]) == 2
    shown = capsys.readouterr()
    assert shown.out == ""
    assert shown.err.startswith("ERROR: ")
    assert shown.err.count("\n") == 1
    assert os.listdir(tmp_path) == ["file"]


@needs(root)
def test_init_where_the_system_refuses_names_the_path(shared_tmp: Path, capsys: Captured) -> None:
    with as_user(ALICE):
        assert cli.main(["store", "init", str(shared_tmp / "a" / "store")]) == 2
    error = capsys.readouterr().err
    assert f"{shared_tmp}/a" in error
    assert "Permission denied" in error


# -- store path, store info


def test_path_prints_the_path_alone(tmp_path: Path, capsys: Captured) -> None:
    assert cli.main(["store", "path", "--sharedcache-dir", str(tmp_path / "x")]) == 0
    assert capsys.readouterr() == (f"{tmp_path / 'x'}\n", "")
    os.environ["PIP_SHAREDCACHE_DIR"] = str(tmp_path / "y")
    assert cli.main(["store", "path"]) == 0
    assert capsys.readouterr().out == f"{tmp_path / 'x'}\n", "the option still wins"


def test_path_reads_pips_configuration_file(tmp_path: Path, capsys: Captured) -> None:
    (tmp_path / "pip.conf").write_text(f"[sharedcache]\ndir = {tmp_path}/x\nzoom = 1\n")
    os.environ["PIP_CONFIG_FILE"] = str(tmp_path / "pip.conf")
    assert cli.main(["store", "path"]) == 0
    shown = capsys.readouterr()
    assert shown.out == f"{tmp_path}/x\n"
    assert shown.err.startswith("WARNING: Unknown setting sharedcache.zoom")


def test_a_wrong_setting_is_one_line_and_status_2(capsys: Captured) -> None:
    os.environ["PIP_SHAREDCACHE_LINK_MODE"] = "zoom"
    assert cli.main(["store", "path"]) == 2
    shown = capsys.readouterr()
    assert shown.out == ""
    assert shown.err.startswith("ERROR: sharedcache.link-mode = 'zoom' (environment variable PIP_")
    assert shown.err.count("\n") == 1


def _store_with_a_wheel(base: Path, monkeypatch: pytest.MonkeyPatch) -> tuple[Store, Path]:
    monkeypatch.setattr(linker, "synchronise", lambda directory, files: None)
    (base / "store").mkdir()
    store = Store.open(base / "store")
    wheel = make_wheel(base / "wheels")
    publish(store, wheel, wheel.name, digest(wheel))  # type: ignore[arg-type]
    os.environ["PIP_SHAREDCACHE_DIR"] = str(store.path)
    return store, wheel


def test_info_as_json_can_be_read_by_a_machine(
    shared_tmp: Path, monkeypatch: pytest.MonkeyPatch, capsys: Captured
) -> None:
    store, wheel = _store_with_a_wheel(shared_tmp, monkeypatch)
    assert cli.main(["store", "info", "--json"]) == 0
    facts = json.loads(capsys.readouterr().out)
    assert facts["path"] == str(store.path)
    assert facts["source"] == "environment variable PIP_SHAREDCACHE_DIR"
    assert facts["owner"] == store.path.owner()
    assert facts["group"] is None
    assert facts["trusted"] == []
    assert facts["writable"] is True
    assert (facts["entries"], facts["bytes"]) == (1, wheel.stat().st_size)
    assert facts["link_mode"] == "reflink"


def test_info_says_the_same_in_words(
    shared_tmp: Path, monkeypatch: pytest.MonkeyPatch, capsys: Captured
) -> None:
    store, _ = _store_with_a_wheel(shared_tmp, monkeypatch)
    os.environ["PIP_SHAREDCACHE_LINK_MODE"] = "copy"
    assert cli.main(["store", "info"]) == 0
    out = capsys.readouterr().out
    assert f"{store.path} (environment variable PIP_SHAREDCACHE_DIR)" in out
    assert "install and publish" in out
    assert "1 wheels" in out
    assert out.rstrip().endswith("copy")


@needs(root)
def test_info_tells_a_reader_that_he_is_one(
    shared_tmp: Path, monkeypatch: pytest.MonkeyPatch, capsys: Captured
) -> None:
    _store_with_a_wheel(shared_tmp, monkeypatch)
    with as_user(ALICE):
        assert cli.main(["store", "info"]) == 0
    assert "install only" in capsys.readouterr().out


@pytest.mark.parametrize("kind", ["missing", "file", "damaged", "newer"])
def test_info_of_what_is_no_store_is_one_line_and_status_2(
    tmp_path: Path, kind: str, capsys: Captured
) -> None:
    path = tmp_path / "store"
    if kind == "file":
        path.touch()
    elif kind != "missing":
        path.mkdir()
        text = '{"format": 99}' if kind == "newer" else "{"
        (path / "store.json").write_text(text)
    os.environ["PIP_SHAREDCACHE_DIR"] = str(path)
    assert cli.main(["store", "info"]) == 2
    shown = capsys.readouterr()
    assert shown.out == ""
    assert shown.err.startswith(f"ERROR: {path}")
    assert shown.err.count("\n") == 1


@pytest.mark.parametrize(
    "arguments",
    [[], ["zoom"], ["init"], ["path", "x"], ["info", "--xml"]],
    ids=["none", "unknown", "no directory", "too many", "unknown option"],
)
def test_wrong_verbs_are_told_with_the_usage(arguments: list[str], capsys: Captured) -> None:
    with pytest.raises(SystemExit) as caught:
        cli.main(["store", *arguments])
    assert caught.value.code == 2
    assert "usage: pip-sharedcache store" in capsys.readouterr().err


def test_the_version_is_ours(capsys: Captured) -> None:
    with pytest.raises(SystemExit) as caught:
        cli.main(["store", "--version"])
    assert caught.value.code == 0
    assert capsys.readouterr().out == f"pip-sharedcache {pip_sharedcache.__version__}\n"
