"""With every warning of Python's switched on, none is about our own code."""

from __future__ import annotations

import re
from pathlib import Path

from support import offline
from support.accounts import run_as
from support.environments import EnvironmentFactory
from support.probes import linux, needs
from support.wheels import make_wheel

pytestmark = [needs(linux)]

_OURS = re.compile(r".*pip_sharedcache\S*:\d+: \w*Warning.*")


def test_no_command_causes_a_warning_about_our_code(
    environment: EnvironmentFactory, shared_tmp: Path
) -> None:
    one, other = environment("one"), environment("other", ours=False)
    make_wheel(shared_tmp / "wheels", entry_points="[console_scripts]\ndemo = demo:main\n")
    store, archive = shared_tmp / "store", shared_tmp / "all.tar"
    env = offline(
        shared_tmp / "wheels",
        store,
        PYTHONWARNDEFAULTENCODING="1",
        PYTHONWARNINGS="always",
        PYTHONDEVMODE="1",
    )
    lines = [
        f"store init {store}",
        "install demo",
        "install --force-reinstall demo",
        f"--python {other.python} install demo",
        "list",
        "freeze",
        "store info",
        "store info demo",
        "store list",
        "store add demo",
        f"store add --from-env {other.prefix}",
        "store verify --fix",
        "store doctor",
        "store stats",
        f"store report --html {shared_tmp / 'page.html'}",
        f"store export {archive}",
        f"--sharedcache-dir {shared_tmp / 'private'} store import {archive}",
        f"store enable --prefix {other.prefix}",
        f"store status --prefix {other.prefix}",
        f"store disable --prefix {other.prefix}",
        "store shell-init bash",
        "store completion bash",
        "store gc --older-than 90d",
        "uninstall --yes demo",
    ]
    found = {}
    for line in lines:
        argv = [str(one.python), "-b", "-m", "pip_sharedcache", *line.split()]
        done = run_as(None, argv, env=env)
        assert "Traceback" not in done.stderr, done.stderr
        if warnings := [text for text in done.stderr.splitlines() if _OURS.fullmatch(text)]:
            found[line] = warnings
        if line.startswith("store enable"):
            argv = other.plain("install", "--force-reinstall", "demo")
            done = run_as(None, argv, env=env)
            assert "Shared store: 1 of 1" in done.stdout, done.stderr
            assert not [text for text in done.stderr.splitlines() if _OURS.fullmatch(text)]
    assert found == {}
