"""Only what is true for everybody is shared: no bytecode that one process's limits or rights
made."""

from __future__ import annotations

import json
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from multiuser.test_shared_store import Site, entries, running_site
from support.accounts import Accounts, run_as
from support.environments import Environment
from support.probes import needs, setcap, setpriv, tmpfs
from support.trees import differences, snapshot
from support.wheels import make_wheel

pytestmark = [pytest.mark.multiuser, needs(setpriv, tmpfs)]

_LINE = "VALUE = [1, 2, 3]  # " + "x" * 978 + "\n"
_ROWS = ",\n".join(f"({n}, 'k{n}', {n}.5)" for n in range(250_000))


@pytest.fixture(scope="module")
def site(accounts: Accounts, public_python: Path) -> Iterator[Site]:
    with running_site(accounts, public_python) as found:
        # Enough for several processes to compile.
        large = {f"large/m{n}.py": _LINE * 100 for n in range(4)}
        make_wheel(found.wheels, "large", files={"large/__init__.py": "", **large})
        table = {"table/__init__.py": "", "table/bad.py": "no Python\n"}
        make_wheel(found.wheels, "table", files={**table, "table/rows.py": f"X = [{_ROWS}]\n"})
        yield found


def _has_all(site: Site, environment: Environment, name: str) -> None:
    assert differences(site.plain_tree(0o022, name), snapshot(environment.prefix)) == []


def test_what_does_not_compile_for_want_of_memory_is_compiled_and_shared_by_the_next(
    site: Site,
) -> None:
    usera, userb, store = site.accounts.usera, site.accounts.userb, site.make_store(None)
    environment = site.environment(usera)
    command = ["prlimit", f"--as={250_000 * 1024}", *environment.command("install", "table")]
    done = run_as(usera, command, env=site.settings(store), check=True)
    line = "Installed without sharing bytecode: this process cannot compile all of"
    assert f"{line} table-1.0-py3-none-any.whl: table/rows.py: MemoryError" in done.stderr
    assert (len(entries(store)), list(store.glob("bytecode/*/*"))) == (1, [])
    for _ in range(2):
        environment = site.environment(userb)
        assert "WARNING" not in site.install(userb, environment, store, "table")
        _has_all(site, environment, "table")
    (manifest,) = store.glob("bytecode/*/*/entry.json")
    told = json.loads(manifest.read_text())
    assert (len(told["files"]), told["failed"]) == (2, ["table/bad.py"])


@needs(setcap)
def test_an_interpreter_with_capabilities_shares_all_bytecode(site: Site) -> None:
    """Others, its own children among them, may not look at its descriptors in /proc."""
    usera, userb, store = site.accounts.usera, site.accounts.userb, site.make_store(None)
    environment = site.environment(usera)
    python = environment.python.resolve()
    copy = environment.prefix / "bin" / python.name
    copy.unlink(missing_ok=True)
    shutil.copy(python, copy)
    subprocess.run(["setcap", "cap_net_bind_service+ep", copy], check=True)
    environment.python.unlink(missing_ok=True)
    environment.python.symlink_to(copy.name)
    code = "import os; print(os.stat('/proc/self/fd').st_uid)"
    owner = run_as(usera, [str(environment.python), "-c", code], check=True).stdout
    assert owner.strip() == "0", "the kernel closes what is there"
    site.install(usera, environment, store, "large")
    (manifest,) = store.glob("bytecode/*/*/entry.json")
    assert len(json.loads(manifest.read_text())["files"]) == 5
    environment = site.environment(userb)
    assert "WARNING" not in site.install(userb, environment, store, "large")
    _has_all(site, environment, "large")


def test_bytecode_without_its_files_is_made_anew_once(site: Site) -> None:
    """As it was published by an interpreter that could not reach what it was to compile."""
    usera, userb, store = site.accounts.usera, site.accounts.userb, site.filled_store("large")
    (manifest,) = store.glob("bytecode/*/*/entry.json")
    told = json.loads(manifest.read_text())
    times = manifest.stat()
    manifest.write_text(json.dumps({**told, "files": []}))
    subprocess.run(["touch", "-d", f"@{int(times.st_mtime)}", manifest], check=True)
    for user, warns in ((userb, True), (userb, False), (usera, False)):
        environment = site.environment(user)
        said = site.install(user, environment, store, "large")
        assert ("Damaged bytecode in the shared store is compiled anew" in said) is warns, said
        _has_all(site, environment, "large")
