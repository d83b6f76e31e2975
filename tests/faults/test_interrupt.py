"""Ctrl-C at the moments that matter most: around the rename that makes a distribution visible."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
from pathlib import Path

import pytest

from support.accounts import run_as
from support.environments import NEWEST_PIP, make_environment
from support.trees import differences, snapshot
from support.wheels import make_wheel

#: Runs our command with one function of the system wrapped: SIGINT to itself before or after it.
INTERRUPTED = """
import os, signal, sys
when, name = sys.argv[1:3]
original = getattr(os, name)
def interrupted(*args, **kw):
    hit = not done and marks(args)
    if hit and when == "before":
        done.append(1)
        os.kill(os.getpid(), signal.SIGINT)
    result = original(*args, **kw)
    if hit and when == "after":
        done.append(1)
        os.kill(os.getpid(), signal.SIGINT)
    return result
def marks(args):
    if name == "rename":
        return str(args[0]).endswith(".installing")
    return visible()
def visible():
    import glob
    return bool(glob.glob(sys.prefix + "/lib/python3*/site-packages/demo-2.0.dist-info"))
done = []
setattr(os, name, interrupted)
from pip_sharedcache.cli import main
sys.exit(main(sys.argv[3:]))
"""


@pytest.mark.parametrize("pip", [NEWEST_PIP, "23.0.1"])
@pytest.mark.parametrize("moment", ["before rename", "after rename", "before close", "after close"])
@pytest.mark.parametrize("upgrade", [False, True], ids=["fresh", "upgrade"])
def test_ctrl_c_around_the_rename_leaves_nothing_half_listed(
    tmp_path: Path, wheelhouse: Path, pip: str, moment: str, upgrade: bool
) -> None:
    for version in ("1.0", "2.0"):
        make_wheel(wheelhouse, "demo", version, files={"demo.py": f"VERSION = {version!r}\n"})
    store = tmp_path / "store"
    store.mkdir()
    env = {"PIP_NO_INDEX": "1", "PIP_FIND_LINKS": str(wheelhouse), "PIP_NO_CACHE_DIR": "1"}
    env["PIP_SHAREDCACHE_DIR"] = str(store)
    plain, ours = (make_environment(tmp_path / name, pip=pip) for name in ("plain", "ours"))
    if upgrade:
        assert run_as(None, ours.command("install", "demo==1.0"), env=env).returncode == 0

    script = [str(ours.python), "-c", INTERRUPTED, *moment.split()]
    interrupted = run_as(None, [*script, "install", "demo==2.0"], env=env)

    assert interrupted.returncode != 0, "the signal was not noticed"
    state = run_as(None, ours.plain("list", "--format=freeze"), env=env).stdout
    check = [str(ours.python), "-c", "import demo; print(demo.VERSION)"]
    for version in ("1.0", "2.0"):
        if f"demo=={version}" in state:
            assert run_as(None, check).stdout.strip() == version
    assert run_as(None, ours.command("install", "demo==2.0"), env=env).returncode == 0
    assert run_as(None, plain.plain("install", "demo==2.0"), env=env).returncode == 0
    left = [
        line
        for line in differences(snapshot(plain.prefix), snapshot(ours.prefix))
        # pip leaves what it moved aside of the old version where it is interrupted itself.
        if "/~" not in line
    ]
    assert not left


#: Runs when an interpreter starts: notes each search for a module, and sends SIGINT at one of them.
AT_AN_IMPORT = """
import os, signal, sys
class Finder:
    count = 0
    @classmethod
    def find_spec(cls, name, path=None, target=None):
        with open(os.environ["NOTES"], "a") as notes:
            notes.write(name + chr(10))
        if str(cls.count) == os.environ.get("AT"):
            os.kill(os.getpid(), signal.SIGINT)
        cls.count += 1
if "NOTES" in os.environ:
    sys.meta_path.insert(0, Finder)
"""

#: Modules that Python imports before any code of pip-sharedcache can handle a signal.
BEFORE = ("__future__",)


@pytest.mark.parametrize(
    ("way", "last", "pip"),
    [
        ("module", "pip_sharedcache.session.session", NEWEST_PIP),
        ("module", "pip_sharedcache.session.session", "23.0.1"),
        ("script", "pip_sharedcache.session.session", NEWEST_PIP),
        ("hook", "pip_sharedcache.session.session", NEWEST_PIP),
        ("hook", "pip_sharedcache.session.session", "23.0.1"),
        ("child", "pip_sharedcache.session.session", NEWEST_PIP),
        ("child", "pip_sharedcache.session.session", "23.0.1"),
        ("list", "pip._internal.commands.list", NEWEST_PIP),
        ("store", "pip_sharedcache.cli.verify", NEWEST_PIP),
    ],
)
def test_ctrl_c_while_modules_are_imported_is_quiet(
    way: str, last: str, pip: str, tmp_path: Path
) -> None:
    environment = make_environment(tmp_path / "one", pip=pip)
    python = [str(environment.python), "-m"]
    install = ["install", "--no-index", "--find-links", str(tmp_path), "demo"]
    make_wheel(tmp_path, "demo", files={"demo.py": ""})
    command = {
        "module": [*python, "pip_sharedcache", *install],
        "script": [str(environment.python.with_name("pip-sharedcache")), *install],
        "hook": [*python, "pip", *install],
        "list": [*python, "pip_sharedcache", "list"],
        "store": [*python, "pip_sharedcache", "store", "path"],
    }.get(way, [])
    if way == "hook":
        subprocess.run(environment.command("store", "enable"), check=True, stdout=subprocess.PIPE)
    if way == "child":
        central = make_environment(tmp_path / "two", pip=pip)
        command = central.command("--python", str(environment.python), *install)
    (environment.site_packages / "interrupting.py").write_text(AT_AN_IMPORT)
    (environment.site_packages / "0.pth").write_text("import interrupting\n")
    notes = tmp_path / "notes"
    settings = {"PATH": os.environ["PATH"], "HOME": str(tmp_path), "NOTES": str(notes)}

    def run(**changes: str) -> subprocess.CompletedProcess[str]:
        notes.unlink(missing_ok=True)
        return subprocess.run(
            command, env={**settings, **changes}, capture_output=True, text=True, check=False
        )

    assert run().returncode == 0
    names = notes.read_text().splitlines()
    first = names.index("json" if way in ("hook", "child") else "pip_sharedcache.interrupts") + 1
    until = names.index(last) + 1
    places = [place for place in range(first, until) if names[place] not in BEFORE]
    assert len(places) > 10
    for place in [*places[:: len(places) // 9 + 1], places[-1]]:
        done = run(AT=str(place))
        assert (done.returncode, done.stderr) == (130, ""), names[place]


def test_ctrl_c_while_one_pip_waits_for_another_is_no_traceback(tmp_path: Path) -> None:
    """As newer pips have it."""
    central, target = (make_environment(tmp_path / name, pip="23.0.1") for name in ("one", "two"))
    with socket.create_server(("127.0.0.1", 0)) as index:  # it takes calls, and answers none
        where = f"http://127.0.0.1:{index.getsockname()[1]}/"
        install = ["--python", str(target.python), "install", "--index-url", where, "demo"]
        process = subprocess.Popen(
            central.command(*install),
            env={"PATH": os.environ["PATH"], "HOME": str(tmp_path)},
            stderr=subprocess.PIPE,
            stdout=subprocess.DEVNULL,
            text=True,
            start_new_session=True,
        )
        index.settimeout(120)
        index.accept()[0].close()  # now the other one is at work
        os.killpg(process.pid, signal.SIGINT)
        said = process.communicate()[1]
    assert process.returncode == 1
    assert "ERROR: Operation cancelled by user" in said
    assert "Traceback" not in said
