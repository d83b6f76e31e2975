"""The JSON results: one schema for all commands, as the reference has it."""

from __future__ import annotations

import datetime
import json
import os
import re
import subprocess
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest

from pip_sharedcache.cli.output import SCHEMA
from support import REPOSITORY, offline
from support.accounts import run_as
from support.environments import Environment, make_environment
from support.keys import make_key, public
from support.probes import linux, needs, openssh
from support.wheels import make_wheel

pytestmark = [pytest.mark.pips, needs(linux, openssh)]

#: Keys whose value is a map from data (paths, users, reasons, …) to something.
_TIMES = {"published", "used", "at", "recorded"}

_MAY_ADOPT = os.geteuid() == 0  # only root can give a store to another user


def _documented() -> dict[str, set[str]]:
    """The keys of each command, in the table of the reference."""
    text = (REPOSITORY / "docs" / "reference.md").read_text(encoding="utf-8")
    table = text.partition("| command | keys of its JSON result |\n| --- | --- |\n")[2]
    rows = [line.split(" | ") for line in table.partition("\n\n")[0].splitlines()]
    return {
        re.findall(r"`([^`]*)`", names)[0]: set(re.findall(r"`(\w+)`", keys))
        for names, keys in rows
    }


@pytest.fixture(scope="module")
def results(tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, dict[str, Any]]]:
    """What each command prints with --json."""
    base = tmp_path_factory.mktemp("json")
    one = make_environment(base / "environment")
    make_wheel(base / "wheels", "demo", files={"demo.py": "N = 1\n"})
    make_wheel(base / "wheels", "other")
    env = offline(base / "wheels", base / "store")
    env["PIP_SHAREDCACHE_SIGNING_KEY"] = str(make_key(base, "key"))
    (base / "allowed").write_text(f"alice@example.org {public(base / 'key')}\n")
    # root uses no file that another user could have named.
    (one.prefix / "pip.conf").write_text(f"[sharedcache]\nsigners = {base / 'allowed'}\n")
    found = {}
    for name, words in _commands(base, one).items():
        if name == "adopt":  # the store of another user
            subprocess.run(["chown", "-R", "12345", base / "store"], check=True)
        more: dict[str, str | None] = {"PIP_CONFIG_FILE": None} if "--signatures" in words else {}
        if (
            name in ("push", "pull") or "--remote" in words
        ):  # without the client library, it has problems to tell
            more["PIP_SHAREDCACHE_DIR"] = f"{base / 'store'}:file://{base}/bucket"
        found[name] = _run(one, {**env, **more}, words)
    yield found


def _commands(base: Path, one: Environment) -> dict[str, list[str]]:
    return {
        "init": ["init", str(base / "store")],
        "setup": ["setup", "--dry-run", str(base / "store")],
        "add": ["add", "demo", "other"],
        "path": ["path"],
        "info": ["info"],
        "info NAME": ["info", "demo"],
        "list": ["list", "--bytecode"],
        "list --resolutions": ["list", "--resolutions"],
        "stats": ["stats", "--by", "user"],
        "report": ["report", "--html", str(base / "page.html")],
        "export": ["export", str(base / "all.tar")],
        "import": ["import", str(base / "all.tar")],
        "push": ["push"],
        "pull": ["pull", "--all"],
        "list --remote": ["list", "--remote"],
        "gc --remote": ["gc", "--remote", "--older-than", "1d", "--dry-run"],
        "repack": ["repack"],
        **({"adopt": ["adopt"]} if _MAY_ADOPT else {}),
        "gc": ["gc", "--older-than", "0"],
        "verify": ["verify"],
        "sign": ["sign", "demo"],
        "verify --signatures": ["verify", "--signatures"],
        "doctor": ["doctor"],
        "enable": ["enable"],
        "status": ["status"],
        "status --all": ["status", "--all"],
        "disable": ["disable"],
        "shell-init": ["shell-init", "sh"],
        "completion": ["completion", "bash"],
        "remove": ["remove", "--dry-run", "demo"],
        "who-has": ["who-has", "demo==1.0"],
        "ban": ["ban", "demo==1.0"],
        "ban --list": ["ban", "--list"],
        "ban --lift": ["ban", "--lift", "demo==1.0"],
        "clean": ["clean", "--yes"],
        "an error": ["info"],
    }


def _run(one: Environment, env: dict[str, str | None], words: list[str]) -> dict[str, Any]:
    done = run_as(None, one.command("store", *words, "--json"), env=env)
    assert "Traceback" not in done.stderr, done.stderr
    told: dict[str, Any] = json.loads(done.stdout)
    return told


def _keys(data: Any, where: str = "") -> Iterator[tuple[str, str, Any]]:
    """Each key of the objects in ``data``, with the key of its object and its value."""
    for one in data if isinstance(data, list) else ():
        yield from _keys(one, where)
    for key, value in data.items() if isinstance(data, Mapping) else ():
        yield where, key, value
        yield from _keys(value, key)


def test_each_result_names_schema_and_command(results: dict[str, dict[str, Any]]) -> None:
    for name, told in results.items():
        command = "info" if name == "an error" else name.split()[0]
        assert list(told)[:2] == ["schema", "command"], name
        assert (told["schema"], told["command"]) == (SCHEMA, command)
    assert results["an error"]["code"] == "store-unusable", "clean has deleted it"


def test_names_are_in_snake_case_and_times_in_iso_8601(
    results: dict[str, dict[str, Any]],
) -> None:
    times = 0
    for name, told in results.items():
        for where, key, value in _keys(told):
            assert re.fullmatch(r"[a-z][a-z0-9_]*", key), f"{name}: {where}.{key}"
            if key == "bytes" or key.endswith("_bytes"):
                assert isinstance(value, int), f"{name}: {where}.{key}"
            if key in _TIMES and where not in ("doctor", "facts"):
                times += 1
                moment = datetime.datetime.strptime(value, "%Y-%m-%dT%H:%M:%SZ")
                assert moment.year > 2000, f"{name}: {where}.{key}"
    assert times > 4


def test_the_reference_has_the_keys_of_each_command(results: dict[str, dict[str, Any]]) -> None:
    documented = _documented()
    without = set() if _MAY_ADOPT else {"adopt"}
    assert documented.keys() - without == results.keys()
    for name, told in results.items():
        assert documented[name] == told.keys() - {"schema", "command"}, name


def test_the_reference_has_the_keys_of_an_entry(results: dict[str, dict[str, Any]]) -> None:
    text = (REPOSITORY / "docs" / "reference.md").read_text(encoding="utf-8")
    table = text.partition("| key of an entry | value |\n| --- | --- |\n")[2]
    documented = set(re.findall(r"^\| (`.*?`) \|", table.partition("\n\n")[0], re.MULTILINE))
    named = {key for cell in documented for key in re.findall(r"`(\w+)`", cell)}
    (entry,) = results["info NAME"]["entries"]
    assert entry.keys() == named
    assert results["list"]["entries"][0].keys() == named - {"uses", "bytecode"}
