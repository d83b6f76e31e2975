"""The command line: our options and verbs, what is printed, and the exit status."""

from __future__ import annotations

import errno
import json
import os
import subprocess
import sys
import time
import venv
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

import pip_sharedcache
from pip_sharedcache import cli, config, fs, pip_adapter, trust
from pip_sharedcache.cli import quantities
from pip_sharedcache.cli.quantities import moment
from pip_sharedcache.errors import PipMissing
from pip_sharedcache.model import Compiled, Digest, Entry
from pip_sharedcache.placement import reflinks_within
from pip_sharedcache.store import (
    Spools,
    Store,
    find,
    list_entries,
    make_visible,
    publish,
    stage_bytecode,
    symlink_registry,
    usage_marks,
)
from support.lists import RECORDED, serve
from support.probes import linux, needs, root
from support.process import as_user
from support.wheels import digest, make_wheel

pytestmark = [needs(linux), pytest.mark.usefixtures("own_environment")]

ALICE, GROUP = 54321, 54399
OLD = 1_600_000_000  # 2020-09-13
OBJECTION = (
    "is not trusted by root in a store that was named by environment variable PIP_SHAREDCACHE_DIR"
)
Captured = pytest.CaptureFixture[str]


@dataclass(frozen=True)
class Kept:
    """A store, and the paths of what is in it."""

    store: Store
    demo: Path
    other: Path
    bytecode: Path


@pytest.fixture
def passed(monkeypatch: pytest.MonkeyPatch) -> list[list[str]]:
    """What pip would be run with."""
    calls: list[list[str]] = []

    def run_pip(arguments: Sequence[str]) -> None:
        calls.append(list(arguments))

    monkeypatch.setattr(pip_adapter, "run_pip", run_pip)
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
        ["--help", "store"],
        ["--log", "store", "install", "x"],
        ["--proxy", "store"],
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
        (["install", "--sharedcache-mode=copy"], "Unknown option: --sharedcache-mode"),
        (["install", "--sharedcache-"], "Unknown option: --sharedcache-"),
        (["install", "--sharedcache-dir"], "--sharedcache-dir needs a value"),
    ],
    ids=["unknown", "no name", "no value"],
)
def test_wrong_sharedcache_option_prints_one_line_and_exits_2(
    arguments: list[str], words: str, passed: list[list[str]], capsys: Captured
) -> None:
    assert cli.main(arguments) == 2
    assert passed == []
    shown = capsys.readouterr()
    assert shown.out == ""
    assert shown.err.startswith(f"ERROR: {words}")
    assert shown.err.count("\n") == 1


def test_sharedcache_error_before_pip_runs_exits_2(
    monkeypatch: pytest.MonkeyPatch, capsys: Captured
) -> None:
    def no_pip(arguments: Sequence[str]) -> None:
        raise PipMissing("/usr/bin/python has no pip", "python -m ensurepip installs it")

    monkeypatch.setattr(pip_adapter, "run_pip", no_pip)
    assert cli.main(["list"]) == 2
    assert capsys.readouterr().err == (
        "ERROR: /usr/bin/python has no pip; hint: python -m ensurepip installs it\n"
    )


@pytest.mark.parametrize(
    "arguments",
    [
        ["-q", "store", "path"],
        ["store", "-q", "path"],
        ["--quiet", "--sharedcache-dir", "/a", "store", "path"],
        ["-qv", "store", "path", "--sharedcache-dir=/a"],
    ],
    ids=" ".join,
)
def test_options_may_stand_before_our_commands_as_before_pips(
    arguments: list[str], passed: list[list[str]], capsys: Captured
) -> None:
    os.environ["PIP_SHAREDCACHE_DIR"] = "/a"
    assert cli.main(arguments) == 0
    assert capsys.readouterr().out == "/a\n"
    assert passed == []


@pytest.mark.parametrize(
    ("before", "named"),
    [(["--isolated"], "--isolated"), (["-v", "--proxy", "p"], "--proxy"), (["--xyz"], "--xyz")],
    ids=lambda value: " ".join(value),
)
def test_options_of_pips_before_our_commands_are_named(
    before: list[str], named: str, passed: list[list[str]], capsys: Captured
) -> None:
    assert cli.main([*before, "store", "path"]) == 2
    assert passed == []
    assert capsys.readouterr().err == (
        f"ERROR: Option that cannot stand before store: {named}; "
        "hint: only -q, -v and --json can stand there: write it behind the command\n"
    )


@pytest.mark.parametrize(
    ("arguments", "code", "error"),
    [
        (["store", "info", "--json"], "store-unusable", "/nowhere does not exist"),
        (["--json", "store", "info"], "store-unusable", "/nowhere does not exist"),
        (["store", "--json", "list"], "store-unusable", "/nowhere does not exist"),
        (["store", "gc", "--json"], "store-unusable", "/nowhere does not exist"),
        (["store", "verify", "--json", "x"], "store-unusable", "/nowhere does not exist"),
        (["store", "init", "--json", "/proc/x"], "io-error", "/proc/x cannot be made"),
        (["store", "doctor", "--json", "--environment", "/nil"], "usage", "/nil is not a direc"),
        (["store", "path", "--json", "--sharedcache-x=1"], "usage", "Unknown option"),
        (["--isolated", "store", "path", "--json"], "usage", "Option that cannot stand"),
        (["store", "path", "--json", "--sharedcache-dir=a"], "setting", "sharedcache.dir = 'a'"),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, list) else "",
)
def test_json_of_a_failed_action_has_the_error(
    arguments: list[str], code: str, error: str, capsys: Captured
) -> None:
    os.environ["PIP_SHAREDCACHE_DIR"] = "/nowhere"
    assert cli.main(arguments) == 2
    shown = capsys.readouterr()
    told = json.loads(shown.out)
    assert told["code"] == code
    assert told["error"].startswith(error)
    assert told["hint"] or error.startswith("/proc")
    (command,) = {"info", "list", "gc", "verify", "init", "doctor", "path"} & set(arguments)
    assert told["command"] == command
    assert shown.err.startswith(f"ERROR: {told['error']}")


@pytest.mark.parametrize(
    ("arguments", "path", "number"),
    [
        (["init", "/proc/x"], "/proc/x", "ENOENT"),
        (["import", "/nil/archive"], "/nil/archive", "ENOENT"),
        (["import", "/"], "/", "EISDIR"),
        (["export", "/proc/archive"], "/proc/archive", "ENOENT"),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, list) else "",
)
def test_file_that_cannot_be_used_is_no_wrong_usage(
    arguments: list[str], path: str, number: str, tmp_path: Path, capsys: Captured
) -> None:
    os.environ["PIP_SHAREDCACHE_DIR"] = str(tmp_path / "store")
    assert cli.main(["store", "init", "-q", str(tmp_path / "store")]) == 0
    capsys.readouterr()
    assert cli.main(["store", *arguments, "--json"]) == 2
    told = json.loads(capsys.readouterr().out)
    assert (told["code"], told["path"], told["errno"]) == ("io-error", path, number)
    assert told["error"].startswith(f"{path} cannot be ")


@pytest.mark.parametrize(
    "arguments",
    [["zoom", "--json"], ["--json"], ["info", "--json", "--xml"], ["gc", "--json", "--max-size=x"]],
    ids=" ".join,
)
def test_json_of_an_unreadable_store_has_the_error(arguments: list[str], capsys: Captured) -> None:
    with pytest.raises(SystemExit) as caught:
        cli.main(["store", *arguments])
    assert caught.value.code == 2
    shown = capsys.readouterr()
    told = json.loads(shown.out)
    assert told["code"] == "usage"
    assert f"error: {told['error']}" in shown.err
    assert told["hint"].startswith("usage: pip-sharedcache store")


@pytest.mark.parametrize("status", [0, 1, 2, 23])
def test_pips_exit_status_is_its_own(status: int, monkeypatch: pytest.MonkeyPatch) -> None:
    def pip(arguments: Sequence[str]) -> None:
        raise SystemExit(status)

    monkeypatch.setattr(pip_adapter, "run_pip", pip)
    with pytest.raises(SystemExit) as caught:
        cli.main(["list"])
    assert caught.value.code == status


# -- store init


def test_init_makes_a_store_and_says_how_to_use_it(shared_tmp: Path, capsys: Captured) -> None:
    path = shared_tmp / "store"
    assert cli.main(["store", "init", str(path)]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[0].startswith(f"Store {path} is ready, for ")
    assert lines[1] == f"Layout: {'tree' if reflinks_within(shared_tmp) else 'packed'}"
    assert lines[2] == f"To use it: pip config --global set sharedcache.dir {path}"
    assert (path / "store.json").exists()


def test_init_takes_a_relative_path(
    shared_tmp: Path, monkeypatch: pytest.MonkeyPatch, capsys: Captured
) -> None:
    monkeypatch.chdir(shared_tmp)
    assert cli.main(["store", "init", "here/../store"]) == 0
    assert f"Store {shared_tmp}/store is ready" in capsys.readouterr().out


@needs(root)
def test_init_warns_where_an_access_list_lets_others_publish(
    shared_tmp: Path, capsys: Captured, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = shared_tmp / "store"
    assert cli.main(["store", "init", "--group", str(GROUP), str(path)]) == 0
    assert "not trusted" not in capsys.readouterr().err
    serve(monkeypatch, {path / "wheels" / "00": RECORDED})
    assert cli.main(["store", "init", "--group", str(GROUP), str(path)]) == 0
    said = capsys.readouterr().err
    assert f"{path / 'wheels' / '00'} has an access list that lets others write" in said
    assert "pip-sharedcache store doctor" in said
    assert cli.main(["store", "doctor", "--sharedcache-dir", str(path), "--json"]) == 1
    (finding,) = json.loads(capsys.readouterr().out)["findings"]
    assert finding["name"] == "nfs4-access-list"
    assert finding["command"].startswith("nfs4_setfacl -s A::OWNER@:")
    assert finding["command"].endswith(f"&& chmod 3775 {path / 'wheels' / '00'}")


@needs(root)
def test_init_for_a_group_says_so(shared_tmp: Path, capsys: Captured) -> None:
    path = shared_tmp / "store"
    assert cli.main(["store", "init", "--group", str(GROUP), str(path)]) == 0
    assert f"for the members of {GROUP}." in capsys.readouterr().out
    assert path.stat().st_gid == GROUP
    assert cli.main(["store", "init", "-v", "--group", str(GROUP), str(path)]) == 0
    assert f"Trusted publishers: root, yourself, @{GROUP}" in capsys.readouterr().out


@needs(root)
def test_init_by_a_user_names_a_configuration_that_they_may_write(
    shared_tmp: Path, capsys: Captured
) -> None:
    (shared_tmp / "my own").mkdir()
    os.chown(shared_tmp / "my own", ALICE, -1)
    with as_user(ALICE):
        assert cli.main(["store", "init", "--json", str(shared_tmp / "my own")]) == 0
    assert json.loads(capsys.readouterr().out) == {
        "schema": 1,
        "command": "init",
        "store": f"{shared_tmp}/my own",
        "group": None,
        "layout": "tree" if reflinks_within(shared_tmp) else "packed",
        "to_use": f"pip config --user set sharedcache.dir '{shared_tmp}/my own'",
    }


@needs(root)
@needs(root)
@pytest.mark.parametrize(
    ("mode", "group", "warns"),
    [(0o755, False, False), (0o777, True, True), (0o2775, True, False), (0o2775, False, True)],
)
def test_init_names_users_that_can_replace_the_store(
    shared_tmp: Path, capsys: Captured, mode: int, group: bool, warns: bool
) -> None:
    above = shared_tmp / "above"
    above.mkdir()
    os.chown(above, -1, GROUP)
    above.chmod(mode)
    options = ["--group", str(GROUP)] if group else []
    assert cli.main(["store", "init", *options, str(above / "store")]) == 0
    said = capsys.readouterr().err
    assert (f"Others can replace the store: {above}: " in said) is warns
    assert (f"chmod +t {above}" in said) is warns


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


@pytest.mark.parametrize("name", ["a\tb", "a\x1b[1mb", "a\udce4b"])
def test_path_prints_the_path_byte_for_byte_to_a_program(
    tmp_path: Path, capfdbinary: pytest.CaptureFixture[bytes], name: str
) -> None:
    assert cli.main(["store", "path", "--sharedcache-dir", str(tmp_path / name)]) == 0
    assert capfdbinary.readouterr().out == os.fsencode(tmp_path / name) + b"\n"


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
    monkeypatch.setattr(fs, "synchronise", lambda directory, files: None)
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
    assert facts["store"] == str(store.path)
    assert facts["source"] == "environment variable PIP_SHAREDCACHE_DIR"
    assert facts["owner"] == store.path.owner()
    assert facts["group"] is None
    assert facts["trusted"] == []
    assert facts["writable"] is True
    assert (facts["wheels"], facts["bytes"]) == (1, wheel.stat().st_size)
    assert facts["link_mode"] == "reflink"


@needs(root)
def test_info_names_the_publishers_that_its_user_trusts(
    shared_tmp: Path, monkeypatch: pytest.MonkeyPatch, capsys: Captured
) -> None:
    store = Store.make(shared_tmp / "store", str(GROUP))
    monkeypatch.setenv("PIP_SHAREDCACHE_DIR", str(store.path))

    def trusted() -> str:
        assert cli.main(["store", "info"]) == 0
        lines = capsys.readouterr().out.splitlines()
        return next(line for line in lines if line.startswith("Trusted:")).split(None, 1)[1]

    assert trusted() == "root, yourself", "root trusts no member"
    with as_user(ALICE):
        assert trusted() == f"root, yourself, @{GROUP}"
        monkeypatch.setenv("PIP_SHAREDCACHE_TRUST", "owner")
        assert trusted() == "root, yourself"
        monkeypatch.setenv("PIP_SHAREDCACHE_TRUST", "54322")
        assert trusted() == "root, yourself, uid 54322", "of the group, only this member"
    monkeypatch.delenv("PIP_SHAREDCACHE_TRUST")
    os.chown(store.path, ALICE, -1)
    assert trusted() == "root, yourself", "a variable named the store of this owner"


@pytest.mark.parametrize("command", ["info", "doctor"])
def test_info_and_doctor_show_every_setting_with_its_source(
    command: str, shared_tmp: Path, monkeypatch: pytest.MonkeyPatch, capsys: Captured
) -> None:
    _store_with_a_wheel(shared_tmp, monkeypatch)
    monkeypatch.setenv("PIP_SHAREDCACHE_STATS", "off")
    cli.main(["store", command, "--json"])
    data = _json(capsys)
    shown = (data["facts"] if command == "doctor" else data)["settings"]
    assert tuple(shown) == tuple(name.replace("-", "_") for name in config.NAMES)
    in_force = config.load([], os.environ).in_force()
    assert shown["stats"] == {
        "value": "off",
        "source": "environment variable PIP_SHAREDCACHE_STATS",
    }
    assert shown == {
        name.replace("-", "_"): {"value": one.value, "source": one.source}
        for name, one in in_force.items()
    }
    cli.main(["store", command, "-v"])
    out = capsys.readouterr().out
    for row in config.ROWS:
        assert f"{row.name} = {in_force[row.name].value} ({in_force[row.name].source})" in out


def test_info_says_the_same_in_words(
    shared_tmp: Path, monkeypatch: pytest.MonkeyPatch, capsys: Captured
) -> None:
    store, _ = _store_with_a_wheel(shared_tmp, monkeypatch)
    os.environ["PIP_SHAREDCACHE_LINK_MODE"] = "copy"
    assert cli.main(["store", "info"]) == 0
    out = capsys.readouterr().out
    assert f"{store.path} (environment variable PIP_SHAREDCACHE_DIR)" in out
    assert "install and publish" in out
    assert "Holds:     1 wheel, " in out
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


# -- the exit status of all commands

#: Where the arguments of a command are of the store ``kept``; {0} is a directory of the test's own.
IN_STORE = [
    *(("path", 0), ("info", 0), ("info demo", 0), ("info absent", 1), ("list", 0)),
    *(("list demo", 0), ("list demo absent", 1), ("verify demo absent", 1), ("verify absent", 1)),
    *(("export {0}/a.tar absent", 1), ("export {0}/b.tar demo absent", 1)),
    *(("export {0}/c.tar demo", 0), ("export {0}/no/d.tar demo", 2), ("import {0}/no.tar", 2)),
    *(("import {0}/junk.tar", 2), ("gc", 0), ("gc --older-than=1x", 2), ("stats", 0)),
    *(("stats --by=colour", 2), ("report --html={0}/page.html", 0), ("report", 2)),
    *(("report --html={0}/no/page.html", 2), ("add", 2), ("add absent -- --no-index -q", 2)),
    *(("remove demo", 0), ("remove demo absent", 1), ("remove", 2), ("remove absent --dry-run", 1)),
    *(("ban demo==1.0", 0), ("ban demo", 2), ("ban", 2), ("ban --list", 0), ("ban --list x", 2)),
    *(("ban --lift demo==1.0", 1), ("who-has absent", 1), ("who-has", 2)),
    *(("clean", 2), ("clean --yes {0}", 2), ("clean --yes {0}/no", 2), ("clean --yes", 0)),
    *(("doctor --environment={0}/no", 2), ("init {0}/new", 0), ("init {0}/junk.tar", 2)),
    *(
        ("status --prefix={0}/env", 1),
        ("enable --prefix={0}/env", 0),
        ("list --sharedcache-x=1", 2),
    ),
    *(("disable --prefix={0}/env", 0), ("status --prefix={0}/no", 2), ("shell-init bash", 0)),
    *(("shell-init dos", 2), ("completion bash", 0), ("completion", 2), ("zoom", 2)),
]
NO_STORE = [
    *(("path", 0), ("info", 2), ("list", 2), ("verify", 2), ("export {0}/a.tar", 2), ("gc", 2)),
    *(("remove demo", 2), ("clean", 2), ("clean --yes {0}", 2)),
    *(("import {0}/junk.tar", 2), ("stats", 2), ("report --html={0}/page.html", 2), ("add x", 2)),
    ("doctor --environment={0}", 1),
]


@pytest.mark.parametrize("as_json", [False, True], ids=["text", "json"])
@pytest.mark.parametrize(
    ("where", "line", "wanted"),
    [("kept", *one) for one in IN_STORE] + [("none", *one) for one in NO_STORE],
)
def test_exit_status_of_every_command_follows_one_rule(
    kept: Kept,
    tmp_path: Path,
    where: str,
    line: str,
    wanted: int,
    as_json: bool,
    capfd: pytest.CaptureFixture[str],
) -> None:
    """0: done. 1: done, and something was found or is missing. 2: not done, and only then there is
    an error, for programs, too."""
    (tmp_path / "junk.tar").write_text("junk")
    if "/env" in line:
        venv.create(tmp_path / "env", with_pip=False)
    if where == "none":
        os.environ["PIP_SHAREDCACHE_DIR"] = "/nowhere"
    arguments = ["store", *line.format(tmp_path).split()]
    arguments[2:2] = ["--json"] * as_json
    try:
        status = cli.main(arguments)
    except SystemExit as end:  # of argparse
        assert isinstance(end.code, int)
        status = end.code
    shown = capfd.readouterr()
    assert status == wanted, shown
    assert ("ERROR: " in shown.err or "error: " in shown.err) is (status == 2)
    if as_json:
        told = json.loads(shown.out)
        assert (isinstance(told, dict) and "error" in told) is (status == 2)
    if status:
        assert shown.out or shown.err
    if status == 2 or line.endswith("absent"):
        left = set(os.listdir(tmp_path)) - {"junk.tar", "b.tar", "env"}
        assert left == set(), "nothing half-made"


# -- store list, store info NAME, store gc


@pytest.fixture
def kept(shared_tmp: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Kept]:
    """A store with demo and its bytecode, and other, published long ago."""
    store, _ = _store_with_a_wheel(shared_tmp, monkeypatch)
    other = make_wheel(shared_tmp / "wheels", "other-name")
    publish(store, other, other.name, Digest(digest(other)))
    found = {item.title.partition("-")[0]: item for item in list_entries(store, {}, [])}
    entry = find(store, Digest(found["demo"].digest), found["demo"].title).entry
    assert entry is not None
    sources = [file.path for file in entry.manifest.files if file.path.endswith(".py")]

    def compiled(spools: Spools) -> Compiled:
        return Compiled([spools.add("x.pyc", b"compiled")], sources)

    stage = stage_bytecode(store, entry, "cpython-313", "cpython-313-key", compiled)
    (bytecode,) = make_visible(store, [stage])
    assert isinstance(bytecode, Entry)
    for path in (found["demo"].path, found["other_name"].path, bytecode.path):
        os.utime(path, (OLD, OLD))
    yield Kept(store, found["demo"].path, found["other_name"].path, bytecode.path)


def _json(capsys: Captured) -> Any:
    return json.loads(capsys.readouterr().out)


def test_list_tells_of_each_wheel_in_a_table(kept: Kept, capsys: Captured) -> None:
    assert cli.main(["store", "list"]) == 0
    head, demo, other, total = capsys.readouterr().out.splitlines()
    assert total.startswith("Total: 2 wheels, ")
    assert head.split("  ")[0] == "wheel"
    owner = kept.store.path.owner()
    assert demo.split()[0] == "demo-1.0-py3-none-any.whl"
    assert demo.split()[-3:] == [owner, "2020-09-13", "2020-09-13"]
    assert other.split()[0] == "other_name-1.0-py3-none-any.whl"
    assert cli.main(["store", "list", "-v", "Other.Name"]) == 0
    (_, line, total) = capsys.readouterr().out.splitlines()
    assert total.startswith("Total: 1 wheel, ")
    assert line.endswith(f"  yes      {kept.other}")
    assert kept.other.name in line, "the digest"
    assert cli.main(["store", "list", "-q"]) == 0
    assert capsys.readouterr() == ("", "")


def test_list_as_json_has_apparent_bytes_and_the_last_use(kept: Kept, capsys: Captured) -> None:
    usage_marks.mark_used(kept.store, [kept.demo.name])
    assert cli.main(["store", "list", "--json", "--bytecode", "demo"]) == 0
    told = _json(capsys)
    wheel, bytecode = told["entries"]
    assert (told["store"], told["missing"], told["unread"]) == (str(kept.store.path), [], [])
    assert told["totals"] == [
        {"area": one["area"], "entries": 1, "bytes": one["bytes"], "damaged": 0}
        for one in told["entries"]
    ]
    files = [path for path in kept.demo.rglob("*") if path.is_file()]
    sizes = sum(path.stat().st_size for path in files if path.name != "entry.json")
    assert (wheel["files"], wheel["bytes"]) == (len(files) - 2, sizes)
    assert wheel["sha256"] == bytecode["sha256"] == kept.demo.name
    assert wheel["path"] == str(kept.demo)
    assert (wheel["published"], wheel["used_by"]) == (moment(OLD), kept.store.path.owner())
    assert wheel["used"] > moment(OLD)
    assert (wheel["trusted"], wheel["distrust_reason"], wheel["damage"]) == (True, None, None)
    assert (bytecode["area"], bytecode["title"]) == ("bytecode", "cpython-313-key")
    assert (bytecode["used"], bytecode["used_by"]) == (moment(OLD), kept.store.path.owner())


@pytest.mark.parametrize("verb", ["list", "info"])
def test_a_distribution_that_is_not_there_is_a_finding(
    kept: Kept, verb: str, capsys: Captured
) -> None:
    assert cli.main(["store", verb, "demo", "absent"]) == 1
    out = capsys.readouterr().out
    assert "demo-1.0" in out
    assert out.endswith("Not in the store: absent\n")
    assert cli.main(["store", verb, "--json", "absent"]) == 1
    shown = capsys.readouterr()
    told = json.loads(shown.out)
    assert (told["entries"], told["missing"], told["unread"]) == ([], ["absent"], [])
    assert shown.err == "WARNING: Not in the store: absent\n"


@pytest.mark.parametrize("verb", ["list", "info", "verify", "export"])
def test_names_in_any_spelling_mean_the_same_to_all_commands(
    kept: Kept, shared_tmp: Path, verb: str, capsys: Captured
) -> None:
    versioned = make_wheel(shared_tmp / "wheels", "foo_bar", "1!2.0+local.1")
    publish(kept.store, versioned, versioned.name, Digest(digest(versioned)))
    (entry,) = kept.store.path.glob("wheels/*/*/foo_bar*")
    alike = ("Foo_Bar", "foo-bar", "FOO.bar", "foo-bar==1!2.0+local.1", "foo_bar==1!2", "foo-bar>1")
    for name in (*alike, versioned.name, entry.parent.name[:12]):
        arguments = [str(shared_tmp / "x.tar")] if verb == "export" else []
        assert cli.main(["store", verb, "--json", *arguments, name]) == 0, name
        told = _json(capsys)
        found = {"verify": "checked", "export": "wheels"}.get(verb)
        assert (told[found] if found else len(told["entries"])) == 1, name
    for name in ("foo", "foo-bar==2.0", "foo-bar-1!2.0", "../x"):
        arguments = [str(shared_tmp / "x.tar")] if verb == "export" else []
        assert cli.main(["store", verb, *arguments, name]) == 1, name
        shown = capsys.readouterr()
        assert f"Not in the store: {name}\n" in shown.out + shown.err
    arguments = [str(shared_tmp / "x.tar")] if verb == "export" else []
    assert cli.main(["store", verb, *arguments, ""]) == 2
    assert capsys.readouterr().err.startswith("ERROR: An empty NAME selects nothing; hint: ")


def test_damage_is_a_finding_that_names_path_and_publisher(kept: Kept, capsys: Captured) -> None:
    (kept.other / "other_name-1.0-py3-none-any.whl").unlink()
    assert cli.main(["store", "list", "-q"]) == 1
    owner = kept.store.path.owner()
    line = f"Damaged entry of {owner}: {kept.other} lacks its wheel\n"
    assert capsys.readouterr().out == line
    assert cli.main(["store", "list", "--json"]) == 1
    shown = capsys.readouterr()
    assert line in shown.err
    assert [fact["damage"] for fact in json.loads(shown.out)["entries"]] == [
        None,
        f"{kept.other} lacks its wheel",
    ]


@needs(root)
def test_untrusted_publisher_is_reported_with_the_reason(kept: Kept, capsys: Captured) -> None:
    for path in [kept.other, *kept.other.rglob("*")]:
        os.chown(path, ALICE, -1)
    assert cli.main(["store", "list", "--json"]) == 0
    trusted = {
        fact["publisher"]: (fact["trusted"], fact["distrust_reason"])
        for fact in _json(capsys)["entries"]
    }
    assert trusted[f"uid {ALICE}"] == (False, OBJECTION)
    assert trusted[kept.store.path.owner()] == (True, None)
    assert cli.main(["store", "info", "other-name"]) == 0
    out = capsys.readouterr().out
    assert f"Trusted:   no, since uid {ALICE} {OBJECTION}" in out


def test_info_of_a_distribution_tells_all_about_it(kept: Kept, capsys: Captured) -> None:
    usage_marks.mark_used(kept.store, [kept.demo.name])
    today = time.strftime("%Y-%m-%d")
    owner = kept.store.path.owner()
    assert cli.main(["store", "info", "DEMO"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[0] == "demo-1.0-py3-none-any.whl"
    assert lines[1] == f"  Path:      {kept.demo}"
    assert lines[2] == f"  Publisher: {owner}, 2020-09-13"
    assert lines[3] == "  Trusted:   yes"
    assert lines[4].startswith("  Holds:     6 files, ")
    assert lines[5].startswith("  Bytecode:  cpython-313-key: 1 file, 8 bytes, by ")
    assert lines[6:] == [f"  Used:      {today} by {owner}"]
    assert cli.main(["store", "info", "--json", "demo"]) == 0
    (fact,) = _json(capsys)["entries"]
    assert [use["user"] for use in fact["uses"]] == [owner]
    assert [one["path"] for one in fact["bytecode"]] == [str(kept.bytecode)]


def test_info_of_an_unmarked_entry_has_the_last_use_of_list(kept: Kept, capsys: Captured) -> None:
    assert cli.main(["store", "info", "demo"]) == 0
    assert f"  Used:      2020-09-13 by {kept.store.path.owner()}" in capsys.readouterr().out
    assert cli.main(["store", "list", "demo", "--json"]) == 0
    (listed,) = _json(capsys)["entries"]
    assert cli.main(["store", "info", "demo", "--json"]) == 0
    (told,) = _json(capsys)["entries"]
    (use,) = told["uses"]
    assert (use["at"], use["user"]) == (told["used"], told["used_by"])
    assert (use["at"], use["user"]) == (moment(OLD), listed["used_by"])
    assert cli.main(["store", "gc", "--older-than", "30d", "--dry-run", "--json"]) == 0
    assert str(kept.demo) in _json(capsys)["retired"]


def test_gc_takes_away_what_is_old_and_says_what(kept: Kept, capsys: Captured) -> None:
    usage_marks.mark_used(kept.store, [kept.demo.name, kept.bytecode.name])
    assert cli.main(["store", "gc", "--older-than", "30d", "--dry-run", "--json"]) == 0
    fact = _json(capsys)
    assert (fact["dry_run"], fact["retired"]) == (True, [str(kept.other)])
    assert kept.other.exists()
    assert cli.main(["store", "gc", "--older-than", "30d", "-v"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[0].endswith(f", {kept.other}")
    assert lines[1].startswith("Retired 1 entry of ")
    assert lines[2] == ("Deleted 0 entries retired at least 60 minutes ago; 1 is kept until then.")
    assert not kept.other.exists()
    assert kept.demo.exists()
    assert kept.bytecode.exists()
    assert cli.main(["store", "gc", "-q"]) == 0
    assert capsys.readouterr() == ("", "")


def test_gc_deletes_after_the_hour(
    kept: Kept, monkeypatch: pytest.MonkeyPatch, capsys: Captured
) -> None:
    assert cli.main(["store", "gc", "--older-than", "30d"]) == 0
    later = usage_marks.now(kept.store) + 3700
    monkeypatch.setattr(usage_marks, "now", lambda store: later)
    assert cli.main(["store", "gc", "--json"]) == 0
    fact = json.loads(capsys.readouterr().out.partition("\n{")[2].join(["{", ""]))
    assert (fact["deleted"], fact["kept"]) == (3, 0)
    assert not list(kept.store.path.glob("*/*/.dead-*"))


@needs(root)
def test_gc_names_owners_of_kept_entries_and_users_that_can_delete_them(
    kept: Kept, capsys: Captured
) -> None:
    with as_user(ALICE):
        assert cli.main(["store", "gc", "--older-than", "30d"]) == 1
        out = capsys.readouterr().out
        assert cli.main(["store", "gc", "--older-than", "30d", "--json"]) == 1
    owner, refused = kept.store.path.owner(), _json(capsys)["refused"]
    refused = [one["path"] for one in refused]
    assert out.splitlines()[2] == (
        f"Cannot retire or delete 3 entries of {owner}: {refused[0]}: Permission denied; "
        f"hint: {' or '.join(dict.fromkeys([owner, 'root']))} can run the same command"
    )
    assert set(refused) == {
        str(kept.demo),
        str(kept.other),
        str(kept.bytecode),
    }


@needs(root)
def test_gc_tells_of_a_squatted_place_for_marks(kept: Kept, capsys: Captured) -> None:
    usage_marks.mark_used(kept.store, [])
    place = kept.store.path / "use" / str(ALICE)
    place.mkdir()
    assert cli.main(["store", "gc", "-q"]) == 1
    line = f"Usage marks of uid {ALICE} ignored: {place}: belongs to "
    assert capsys.readouterr().out.startswith(line)


@pytest.mark.parametrize(
    "option",
    [
        *(
            "--older-than=x",
            "--older-than=-1d",
            "--older-than=3y",
            "--older-than=",
            "--max-size=5X",
        ),
        *("--max-size=1e3", "--max-size=M"),
    ],
)
def test_gc_says_what_an_age_and_a_size_look_like(option: str, capsys: Captured) -> None:
    with pytest.raises(SystemExit) as caught:
        cli.main(["store", "gc", option])
    assert caught.value.code == 2
    name, _, value = option.partition("=")
    assert f"argument {name}: {value!r} is not a" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("text", "wanted"),
    [
        *(("200", 200), ("200B", 200), ("200 bytes", 200), ("2k", 2000), ("2 KB", 2000)),
        *(("2KiB", 2048), ("2Ki", 2048), ("1.5M", 1_500_000), ("1.5 mib", 1_572_864)),
        *(("200GiB", 200 << 30), ("200G", 200 * 10**9), ("3tb", 3 * 10**12), ("3TiB", 3 << 40)),
    ],
)
def test_size_in_any_spelling_is_bytes(text: str, wanted: int) -> None:
    assert quantities.size(text) == wanted


@pytest.mark.parametrize(
    ("text", "hours"),
    [("30", 720), ("30d", 720), ("30 Days", 720), ("12h", 12), ("90 min", 1.5), ("8W", 1344)],
)
def test_age_in_any_spelling_is_seconds(text: str, hours: float) -> None:
    assert quantities.age(text) == hours * 3600


def test_gc_that_takes_nothing_says_why(kept: Kept, capsys: Captured) -> None:
    assert cli.main(["store", "gc"]) == 0
    assert "No limit is given; hint: add --older-than AGE or --max-size" in capsys.readouterr().out
    assert cli.main(["store", "gc", "--max-size=1G"]) == 0
    assert "are left, not more than --max-size." in capsys.readouterr().out
    assert cli.main(["store", "gc", "--older-than=5000w"]) == 0
    assert "No entry is unused for so long.\n" in capsys.readouterr().out
    usage_marks.mark_used(kept.store, [kept.demo.name, kept.bytecode.name])
    symlink_registry.register(kept.store, [_link_into(kept.other)])
    assert cli.main(["store", "gc", "--max-size=1"]) == 0
    out = capsys.readouterr().out
    assert "Retired 0 entries of 0 bytes." in out
    assert "are left, more than --max-size.\nKept 2 entries of " in out
    user = trust.user_name(os.getuid())
    assert (
        f" (1 wheel, 1 bytecode): used or published within the last hour (by {user} 2)\n"
        "Kept 1 entry of "
    ) in out
    assert f": symlinks lead there from an environment (by {user} 1)\n" in out
    assert cli.main(["store", "gc", "--older-than=0h", "--json"]) == 0
    fact = _json(capsys)
    assert (fact["retired"], fact["used_within_the_hour"]["entries"]) == ([], 2)
    assert fact["kept_for_symlinks"]["entries"] == 1
    kinds = [{"kind": "wheels", "number": 1}, {"kind": "bytecode", "number": 1}]
    assert fact["used_within_the_hour"]["kinds"] == kinds
    assert [one["kinds"] for one in fact["kept_because"]] == [kinds, kinds[:1]]


def test_gc_that_takes_nothing_says_for_whom_it_keeps_each_entry(
    kept: Kept, monkeypatch: pytest.MonkeyPatch, capsys: Captured
) -> None:
    """An environment of another host, one on a disk that is not mounted, and a use last week."""
    day = 24 * 3600
    later = time.time() + 7 * day
    monkeypatch.setattr(usage_marks, "now", lambda store: later)
    for entry, host in ((kept.demo, "node7"), (kept.other, fs.HOST_NAME)):
        path = f"/nowhere/{host}/lib"
        way = [fs.DirIdentity(1, 1)]
        line = json.dumps({"library": path, "host": host, "way": way})
        line += "\n" + json.dumps([entry.name, f"{path}/module.py"]) + "\n"
        with kept.store.own_usage_marks() as held:
            held.replace(f"links-{host}", line.encode())
    user = trust.user_name(os.getuid())
    assert cli.main(["store", "gc", "--older-than=30d"]) == 0
    first, *lines = capsys.readouterr().out.splitlines()[1:-1]
    assert first == "No entry is unused for so long."
    hint = "; hint: run the same command where the environment can be seen"
    may = "symlinks may lead there from an environment"
    told = [line.partition(": ")[2] for line in lines]
    assert told == [
        f"{may} of host node7 (by {user} 2){hint}",
        f"{may} that cannot be read here: The disk of this path is not mounted (by {user} 1){hint}",
    ]
    (kept.store.path / "use" / str(os.getuid()) / "links-node7").unlink()
    assert cli.main(["store", "gc", "--older-than=5000w", "--json"]) == 0
    facts = _json(capsys)["kept_because"]
    assert [(one["reason"], one["entries"], one["users"]) for one in facts] == [
        ("used since then", 2, [{"user": user, "number": 2}]),
        (
            f"{may} that cannot be read here: The disk of this path is not mounted",
            1,
            [{"user": user, "number": 1}],
        ),
    ]
    assert all(one["bytes"] for one in facts)


def test_gc_that_retires_says_what_it_kept_on_request(
    kept: Kept, monkeypatch: pytest.MonkeyPatch, capsys: Captured
) -> None:
    later = time.time() + 7 * 24 * 3600
    monkeypatch.setattr(usage_marks, "now", lambda store: later)
    symlink_registry.register(kept.store, [_link_into(kept.other)])
    assert cli.main(["store", "gc", "--older-than=1d", "--dry-run"]) == 0
    assert "Kept" not in capsys.readouterr().out
    assert cli.main(["store", "gc", "--older-than=1d", "--dry-run", "-v"]) == 0
    assert "\nKept 1 entry of " in capsys.readouterr().out


def _link_into(entry: Path) -> symlink_registry.Link:
    """A link to a file of ``entry`` in an environment beside the store."""
    library = entry.parents[3] / "environment"
    library.mkdir()
    (library / "link").symlink_to(entry / "entry.json")
    return symlink_registry.Link(entry.name, str(library / "link"), str(library))


@pytest.mark.parametrize(
    ("option", "taken"),
    [
        *(("--older-than=12h", 3), ("--older-than=8W", 3), ("--older-than=4000d", 0)),
        *(("--older-than=2000", 3), ("--max-size=5GB", 0), ("--max-size=4.5k", 2)),
        *(("--max-size=0", 3), ("--max-size=1T", 0)),
    ],
)
def test_gc_reads_ages_and_sizes(kept: Kept, option: str, taken: int, capsys: Captured) -> None:
    now = 1_700_000_000.0 if option != "--older-than=2000" else OLD + 2001 * 24 * 3600.0
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(usage_marks, "now", lambda store: now)
        assert cli.main(["store", "gc", "--dry-run", "--json", option]) == 0
    assert len(_json(capsys)["retired"]) == taken


#: Runs our command, and sends SIGINT to itself where a module of that name is to be imported.
INTERRUPTED = """
import os, signal, sys
class Finder:
    def find_spec(self, name, path=None, target=None):
        if name == sys.argv[1]:
            sys.meta_path.remove(self)
            os.kill(os.getpid(), signal.SIGINT)
signal.signal(signal.SIGINT, signal.default_int_handler)
sys.meta_path.insert(0, Finder())
from pip_sharedcache.cli import main
sys.exit(main(sys.argv[2:]))
"""


@pytest.mark.parametrize(
    ("module", "command"),
    [
        ("platformdirs", "list"),
        ("pip_sharedcache.store.layout", "list"),
        ("pip_sharedcache.cli.output", "gc"),
    ],
)
def test_ctrl_c_while_a_store_command_is_imported_is_quiet(module: str, command: str) -> None:
    words = [sys.executable, "-c", INTERRUPTED, module, "store", command]
    done = subprocess.run(words, capture_output=True, text=True)
    assert (done.returncode, done.stdout, done.stderr) == (130, "", "")


@pytest.mark.parametrize("verb", ["list", "gc", "info"])
def test_a_disk_that_fails_is_one_line_and_status_2(
    kept: Kept, verb: str, monkeypatch: pytest.MonkeyPatch, capsys: Captured
) -> None:
    def broken(*_: object) -> None:
        raise OSError(errno.EIO, os.strerror(errno.EIO), str(kept.store.path))

    monkeypatch.setattr(usage_marks, "last_uses", broken)
    assert cli.main(["store", verb, *(["demo"] if verb == "info" else [])]) == 2
    shown = capsys.readouterr()
    path = kept.store.path
    assert shown == ("", f"ERROR: Cannot use the store: {path}: Input/output error\n")


def test_who_stops_reading_gets_no_traceback(kept: Kept) -> None:
    command = [sys.executable, "-m", "pip_sharedcache", "store", "list", "--json"]
    reading, writing = os.pipe()
    os.close(reading)
    process = subprocess.run(command, stdout=writing, stderr=subprocess.PIPE, text=True)
    os.close(writing)
    assert (process.returncode, process.stderr) == (2, "")


@pytest.mark.parametrize("unbuffered", ["", "1"])
@pytest.mark.parametrize("options", [[], ["--json"]], ids=["text", "json"])
def test_output_to_a_full_disk_reports_the_error(options: list[str], unbuffered: str) -> None:
    command = [sys.executable, "-m", "pip_sharedcache", "store", "path", *options]
    env = {**os.environ, "PYTHONUNBUFFERED": unbuffered}
    with open("/dev/full", "w") as full:
        process = subprocess.run(command, stdout=full, stderr=subprocess.PIPE, text=True, env=env)
    assert process.stderr == "ERROR: Cannot use the store: No space left on device\n"
    assert process.returncode == 2


def test_a_result_is_not_followed_by_another(
    kept: Kept, monkeypatch: pytest.MonkeyPatch, capsys: Captured
) -> None:
    def broken(*_: object) -> None:
        raise OSError(errno.EIO, os.strerror(errno.EIO), str(kept.store.path))

    monkeypatch.setattr(usage_marks, "squatters", broken)
    assert cli.main(["store", "gc", "--json"]) == 2
    shown = capsys.readouterr()
    assert json.loads(shown.out)["retired"] == []
    assert "Input/output error" in shown.err


def test_interrupt_is_reported_without_a_traceback(
    kept: Kept, monkeypatch: pytest.MonkeyPatch, capsys: Captured
) -> None:
    def interrupted(*_: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(symlink_registry, "linked", interrupted)
    assert cli.main(["store", "gc"]) == 130
    assert capsys.readouterr().err == "WARNING: Interrupted\n"


@pytest.mark.parametrize(
    "arguments",
    [[], ["zoom"], ["init"], ["path", "x"], ["info", "--xml"]],
    ids=["none", "unknown", "no directory", "too many", "unknown option"],
)
def test_wrong_verb_prints_the_usage(arguments: list[str], capsys: Captured) -> None:
    with pytest.raises(SystemExit) as caught:
        cli.main(["store", *arguments])
    assert caught.value.code == 2
    assert "usage: pip-sharedcache store" in capsys.readouterr().err


def test_the_version_is_ours(capsys: Captured) -> None:
    with pytest.raises(SystemExit) as caught:
        cli.main(["store", "--version"])
    assert caught.value.code == 0
    assert capsys.readouterr().out == f"pip-sharedcache {pip_sharedcache.__version__}\n"


# -- order and totals


def test_list_sorts_by_name_size_and_use_and_has_totals(kept: Kept, capsys: Captured) -> None:
    large = make_wheel(kept.store.path.parent, "zoo", files={"zoo.py": "X = 1\n" * 5000})
    publish(kept.store, large, large.name, Digest(digest(large)))
    usage_marks.mark_used(kept.store, [kept.other.name])

    def listed(*options: str) -> list[str]:
        assert cli.main(["store", "list", *options]) == 0
        lines = capsys.readouterr().out.splitlines()
        assert lines[-1].startswith("Total: 3 wheels, ")
        return [line.partition("-")[0] for line in lines[1:-1]]

    assert listed() == listed("--sort", "name") == ["demo", "other_name", "zoo"]
    assert listed("--sort", "size")[0] == "zoo"
    assert listed("--sort=used")[-1] == "demo", "published long ago, and used by nobody"
    assert cli.main(["store", "list", "--bytecode", "demo"]) == 0
    total = capsys.readouterr().out.splitlines()[-1]
    assert total.startswith("Total: 1 wheel, ")
    assert "; 1 bytecode, " in total


# -- which environment


@pytest.mark.parametrize("word", ["{0}", "{0}/bin/python"])
@pytest.mark.parametrize("option", ["--python", "--prefix"])
def test_environment_is_named_by_its_directory_or_its_interpreter(
    tmp_path: Path, option: str, word: str, capsys: Captured
) -> None:
    environment = tmp_path / "env"
    venv.create(environment, with_pip=False)
    for command in ("enable", "status", "disable"):
        cli.main(["store", command, option, word.format(environment), "--json"])
        assert _json(capsys)["prefix"] == str(environment)


@pytest.mark.parametrize("option", ["--python", "--prefix"])
def test_missing_environment_is_refused_by_all_commands_that_take_one(
    tmp_path: Path, option: str, capsys: Captured
) -> None:
    missing = str(tmp_path / "missing")
    store = os.environ["PIP_SHAREDCACHE_DIR"] = str(tmp_path / "store")
    assert cli.main(["store", "init", "-q", store]) == 0
    capsys.readouterr()
    for words in (["enable"], ["disable"], ["status"], ["doctor"], ["add", "--installed"]):
        assert cli.main(["store", *words, option, missing]) == 2, words
        assert f"{missing} is not a Python environment" in capsys.readouterr().err, words


def test_help_shows_one_option_for_the_environment(capsys: Captured) -> None:
    for command in ("enable", "disable", "status", "doctor", "add"):
        with pytest.raises(SystemExit):
            cli.main(["store", command, "--help"])
        text = capsys.readouterr().out
        assert "--python ENV" in text
        assert not [
            old for old in ("--prefix", "--environment", "--from-env", "--for ") if old in text
        ]


@pytest.mark.parametrize(
    "words",
    ["init", "setup", "clean --yes", "adopt", "export", "import", "add --python", "report --html"],
)
def test_an_empty_path_and_a_url_are_no_path(
    words: str, capsys: pytest.CaptureFixture[str]
) -> None:
    """The first comes of an unset variable in a script, and is not the current directory."""
    refused = {"": "an empty path names nothing", "s3://bucket/pip": "is a URL, not a path"}
    for text, why in refused.items():
        with pytest.raises(SystemExit) as end:
            cli.main(["store", *words.split(), text])
        assert end.value.code == 2
        assert why in capsys.readouterr().err


@pytest.mark.parametrize(
    ("words", "why"),
    [
        (["--no-sharedcache=1", "install", "x"], "--no-sharedcache takes no value"),
        (["install", "x", "--offline=yes"], "--offline takes no value"),
        (["store", "status", "--all", "--python", sys.executable], "it excludes --python"),
        (["store", "list", "--resolutions", "--bytecode"], "--resolutions lists no wheels"),
    ],
)
def test_options_that_would_be_ignored_are_refused(words: list[str], why: str) -> None:
    done = subprocess.run(
        [sys.executable, "-m", "pip_sharedcache", *words], capture_output=True, text=True
    )
    assert done.returncode == 2
    (line,) = done.stderr.splitlines()
    assert line.startswith("ERROR: ")
    assert why in line


@pytest.mark.parametrize(
    ("arguments", "command"),
    [
        (["store", "list", "--json", "--nope"], "list"),
        (["--json", "store", "who-has"], "who-has"),
        (["store", "import", "--json"], "import"),
        (["store", "nothing", "--json"], None),
        (["store", "--json"], None),
    ],
)
def test_json_of_wrong_arguments_names_the_command(
    arguments: list[str], command: str | None, capsys: Captured
) -> None:
    with pytest.raises(SystemExit) as end:
        cli.main(arguments)
    assert end.value.code == 2
    shown = json.loads(capsys.readouterr().out)
    assert (shown["command"], shown["code"]) == (command, "usage")
