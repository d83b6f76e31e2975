"""pip run as ever, in an environment where the hook is on: every way to start it, pips and Pythons
of all ages, and that switching it off leaves nothing behind."""

from __future__ import annotations

import json
import os
import re
import shutil
import stat
import subprocess
import sys
import tarfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from support import offline
from support.accounts import Accounts, run_as
from support.environments import (
    Environment,
    EnvironmentFactory,
    interpreters,
    make_environment,
    own_python,
    pip_wheel,
    python_version,
)
from support.faults import visible_entries
from support.probes import linux, needs, root
from support.trees import differences, snapshot
from support.wheels import BACKEND, digest, make_wheel

pytestmark = [pytest.mark.pips, needs(linux)]

RUNPY = "import runpy, sys; sys.argv[0] = 'pip'; runpy.run_module('pip', None, '__main__', True)"
#: How pip is started: what stands before its arguments.
WAYS: dict[str, tuple[str, ...]] = {
    "script": ("{scripts}/pip",),
    "module": ("{python}", "-m", "pip"),
    "isolated": ("{python}", "-I", "-m", "pip"),
    "no variables": ("{python}", "-E", "-m", "pip"),
    "runpy": ("{python}", "-c", RUNPY),
    "archive": ("{python}", "{archive}/pip"),
}
#: The corners of pip x Python.
CELLS = (
    *(("23.0.1", "3.11"), ("24.0", "3.12"), ("25.3", "3.9"), ("25.3", "3.13")),
    *(("26.3", "3.10"), ("26.3", "3.13")),
)


@pytest.fixture
def wheels(shared_tmp: Path) -> Path:
    return make_wheel(shared_tmp / "wheels").parent


@pytest.fixture
def store(shared_tmp: Path) -> Path:
    directory = shared_tmp / "store"
    directory.mkdir()
    return directory


@pytest.fixture
def env(wheels: Path, store: Path) -> dict[str, str | None]:
    return offline(wheels, store, PIP_DISABLE_PIP_VERSION_CHECK="1")


def _switch(command: str, environment: Environment, *more: str) -> subprocess.CompletedProcess[str]:
    """Ours is not installed there: it lies where the tests run."""
    ours = [sys.executable, "-m", "pip_sharedcache", "store", command]
    return run_as(None, [*ours, "--python", environment.prefix, *more])


def _enable(environment: Environment, *more: str) -> list[Path]:
    done = _switch("enable", environment, "--json", *more)
    assert done.returncode == 0, done.stdout + done.stderr
    return [Path(path) for path in json.loads(done.stdout)["written"]]


def _is_enabled(environment: Environment, *more: str) -> bool:
    done = _switch("status", environment, "--json", *more)
    assert done.returncode in (0, 1), done.stderr
    assert bool(json.loads(done.stdout)["pip_sharedcache"]) is (done.returncode == 0)
    return done.returncode == 0


def _start(environment: Environment, way: str, archive: Path | None = None) -> list[str]:
    places = {
        "python": str(environment.python),
        "scripts": str(environment.scripts),
        "archive": str(archive),
    }
    return [part.format(**places) for part in WAYS[way]]


# -- every way that pip is started


@pytest.mark.parametrize("way", WAYS)
def test_pip_installs_through_the_store_however_it_is_started(
    way: str, environment: EnvironmentFactory, env: dict[str, str | None]
) -> None:
    one = environment(ours=False)
    _enable(one)
    pip = _start(one, way, pip_wheel("25.3"))
    # Without variables (-E, -I) Python looks at none, pip at its own.
    run_as(None, [*pip, "install", "demo"], env=env, check=True)
    done = run_as(None, [*pip, "install", "--force-reinstall", "demo"], env=env, check=True)
    assert "Shared store: 1 of 1 distributions" in done.stdout
    assert done.stderr == ""


@pytest.mark.network
@pytest.mark.parametrize(("pip", "python"), CELLS)
def test_pips_and_pythons_of_all_ages(
    pip: str, python: str, environment: EnvironmentFactory, env: dict[str, str | None]
) -> None:
    if python not in interpreters():
        pytest.skip(f"no Python {python} here")
    plain, hooked = (
        environment(name, python=interpreters()[python], pip=pip, ours=False)
        for name in ("plain", "hooked")
    )
    _enable(hooked)
    assert _is_enabled(hooked)
    assert not _is_enabled(plain)
    for one in (plain, hooked):
        done = run_as(None, one.plain("install", "demo"), env=env, check=True)
    assert "Shared store: 0 of 1 distributions" in done.stdout
    assert _switch("disable", hooked).returncode == 0
    assert differences(snapshot(plain.prefix), snapshot(hooked.prefix)) == []


@pytest.mark.network
def test_interpreter_too_old_for_a_dependency_is_reported(
    environment: EnvironmentFactory, env: dict[str, str | None]
) -> None:
    """The packages are those of the newest Python; this pip brings none that would do."""
    newest, oldest = (list(interpreters())[number] for number in (-1, 0))
    if (newest, oldest) < ("3.11", "3.9") or oldest != "3.9":
        pytest.skip("no Python 3.9 beside a new one")
    central = environment("central", python=interpreters()[newest])
    one = environment("one", python=interpreters()[oldest], pip="23.0.1", ours=False)
    done = run_as(None, central.command("store", "enable", "--prefix", one.prefix))
    assert done.returncode == 1
    assert "installs without the store (WARNING: Installing without the" in done.stderr
    done = run_as(None, one.plain("install", "demo"), env=env, check=True)
    said = r"without the shared store: the package \w+ of pip-sharedcache needs Python 3\."
    assert re.search(said, done.stderr), done.stderr


def test_our_options_are_taken_out_of_pips_command_line(
    environment: EnvironmentFactory, env: dict[str, str | None], tmp_path: Path
) -> None:
    one, other = environment(ours=False), tmp_path / "other"
    other.mkdir()
    _enable(one)
    command = one.plain("install", "--sharedcache-dir", other, "demo")
    done = run_as(None, command, env=env, check=True)
    assert f"from {other}" in done.stdout
    wrong = run_as(None, one.plain("install", "--sharedcache-foo=1", "demo"), env=env)
    assert wrong.returncode == 2
    (line,) = wrong.stderr.splitlines()
    assert line.startswith("ERROR: Unknown option: --sharedcache-foo; ")


def test_what_an_isolated_build_requires_comes_from_the_store(
    environment: EnvironmentFactory, wheels: Path, store: Path, env: dict[str, str | None]
) -> None:
    backend = make_wheel(wheels, "backend", files={"backend.py": BACKEND})
    project = wheels.parent / "built-1.0"
    project.mkdir()
    (project / "pyproject.toml").write_text(
        '[build-system]\nrequires = ["backend"]\nbuild-backend = "backend"\n'
    )
    (project / "PKG-INFO").write_text("Metadata-Version: 2.1\nName: built\nVersion: 1.0\n")
    with tarfile.open(wheels / "built-1.0.tar.gz", "w:gz") as archive:
        archive.add(project, "built-1.0")
    one = environment(ours=False)
    _enable(one)
    run_as(None, one.plain("install", "built"), env=env, check=True)
    assert [entry.name for entry in visible_entries(store)] == [digest(backend)]


def test_pip_for_another_interpreter(
    environment: EnvironmentFactory, env: dict[str, str | None]
) -> None:
    """The hook is on where pip is started, or where it installs."""
    hooked, other = environment("hooked", ours=False), environment("other", ours=False)
    _enable(hooked)
    for starts, target in ((hooked, other), (other, hooked)):
        argv = starts.plain("--python", target.python, "install", "--force-reinstall", "demo")
        done = run_as(None, argv, env=env, check=True)
        assert "Shared store: " in done.stdout


@pytest.mark.network
def test_pip_upgrades_itself_and_goes_on(
    environment: EnvironmentFactory, wheels: Path, env: dict[str, str | None]
) -> None:
    for version in ("25.3", "23.0.1"):
        shutil.copy(pip_wheel(version), wheels)
    one = environment(pip="24.0", ours=False)
    _enable(one)
    for requirement in ("pip==25.3", "pip==23.0.1"):
        run_as(None, one.plain("install", requirement), env=env, check=True)
        done = run_as(None, one.plain("install", "--force-reinstall", "demo"), env=env, check=True)
        assert "Shared store: " in done.stdout
        assert _is_enabled(one)


# -- what must not happen


def test_nothing_is_imported_before_pip_is(environment: EnvironmentFactory) -> None:
    one = environment(ours=False)
    show = [one.python, "-c", "import sys; print('\\n'.join(sys.modules))"]
    before = set(run_as(None, show, check=True).stdout.split())
    _enable(one)
    after = set(run_as(None, show, check=True).stdout.split())
    assert after - before == {"_pip_sharedcache"}


def test_who_imports_pip_and_installs_nothing_notices_nothing(
    environment: EnvironmentFactory, env: dict[str, str | None]
) -> None:
    one = environment(ours=False)
    _enable(one)
    code = "import pip._internal.req.req_file, pip._internal.cli.main; print('fine')"
    done = run_as(None, [one.python, "-c", code], env=env, check=True)
    assert (done.stdout, done.stderr) == ("fine\n", "")
    for command in (["list"], ["freeze"], ["check"], ["--version"], ["inspect"]):
        with_hook = run_as(None, one.plain(*command), env=env, check=True)
        assert "store" not in with_hook.stdout + with_hook.stderr or command == ["inspect"]


@pytest.mark.parametrize("gone", ["all", "wrapt"])
def test_where_the_packages_are_gone_pip_installs_by_itself(
    gone: str, shared_tmp: Path, environment: EnvironmentFactory, env: dict[str, str | None]
) -> None:
    central, one = environment("central"), environment("one", ours=False)
    enable = central.command("store", "enable", "--prefix", one.prefix)
    run_as(None, enable, check=True)
    assert _is_enabled(one)
    shutil.rmtree(central.prefix if gone == "all" else central.site_packages / gone)
    done = run_as(None, one.plain("install", "demo"), env=env, check=True)
    assert "Shared store" not in done.stdout
    if gone == "all":
        assert done.stderr == ""
    else:
        (line,) = done.stderr.splitlines()
        assert line.startswith(
            "WARNING: Installing without the shared store: package wrapt is missing in "
        )
    assert not _is_enabled(one)
    assert run_as(None, [one.python, "-c", ""]).stderr == ""


DAMAGE = {
    "an empty runner": ("pip_sharedcache/pip_adapter/__runner__.py", ""),
    "a runner that is cut off": ("pip_sharedcache/pip_adapter/__runner__.py", "def join(told"),
    "a module that is cut off": ("pip_sharedcache/model.py", "class Mani"),
    "a module of no text": ("pip_sharedcache/cli/__init__.py", "\udcff\udcfe"),
    "a dependency": ("wrapt/__init__.py", "raise RuntimeError('no\\nwrapt')"),
}


@pytest.mark.parametrize("how", DAMAGE)
def test_where_pip_sharedcache_is_damaged_pip_installs_by_itself_and_says_so(
    how: str, environment: EnvironmentFactory, env: dict[str, str | None]
) -> None:
    central, one = environment("central"), environment("one", ours=False)
    enable = central.command("store", "enable", "--prefix", one.prefix)
    run_as(None, enable, check=True)
    name, text = DAMAGE[how]
    (central.site_packages / name).write_bytes(text.encode("utf-8", "surrogateescape"))
    done = run_as(None, one.plain("install", "demo"), env=env, check=True)
    assert "Successfully installed demo" in done.stdout
    assert "Shared store" not in done.stdout
    (line,) = done.stderr.splitlines()
    assert line.startswith("WARNING: Installing without the shared store: ")
    assert re.search(r"damaged(: | \()", line)
    done = run_as(None, one.plain("--version"), env=env, check=True)
    assert done.stderr == ""

    runner = central.site_packages / "pip_sharedcache" / "pip_adapter" / "__runner__.py"
    if runner != central.site_packages / name:  # what the shell's function runs
        argv = [one.python, runner, "install", "--force-reinstall", "demo"]
        told = {"_PIP_SHAREDCACHE_RUNNER": json.dumps(_told(one))}
        done = run_as(None, argv, env={**env, **told}, check=True)
        assert "Successfully installed demo" in done.stdout
        assert "Traceback" not in done.stderr
        assert "WARNING: Installing without the shared store: " in done.stderr


def _told(environment: Environment) -> dict[str, object]:
    """What the hook of an environment tells."""
    names = {"__name__": "hook"}
    text = (environment.site_packages / "_pip_sharedcache.py").read_text()
    exec(text, names)
    told: dict[str, object] = names["TOLD"]  # type: ignore[assignment]
    return told


@pytest.mark.parametrize(
    "text", ["", "\nx = (", '\n"""\nraise RuntimeError\n'], ids=["empty", "cut", "raises"]
)
def test_a_hook_that_is_damaged_is_noticed_by_no_python(
    text: str, environment: EnvironmentFactory
) -> None:
    one = environment(ours=False)
    before = snapshot(one.prefix)
    _enable(one)
    module = one.site_packages / "_pip_sharedcache.py"
    damaged = text and module.read_text()[:200] + text
    module.write_text(damaged)
    done = run_as(None, [one.python, "-c", ""])
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")
    _enable(one)
    assert _is_enabled(one)
    module.write_text(damaged)
    assert _switch("disable", one).returncode == 0
    assert snapshot(one.prefix) == before


def test_who_wants_nothing_kept_gets_no_store_of_their_own(
    environment: EnvironmentFactory, env: dict[str, str | None], shared_tmp: Path
) -> None:
    """--no-cache-dir, while nobody has named a store: in an image that is built, say."""
    one = environment(ours=False)
    _enable(one)
    unnamed = {**env, "PIP_SHAREDCACHE_DIR": None, "HOME": str(shared_tmp), "XDG_CACHE_HOME": None}
    done = run_as(None, one.plain("install", "demo"), env=unnamed, check=True)
    assert "Shared store" not in done.stdout + done.stderr
    assert not (shared_tmp / ".cache").exists()
    unnamed["PIP_NO_CACHE_DIR"] = None
    argv = one.plain("install", "--force-reinstall", "demo")
    done = run_as(None, argv, env=unnamed, check=True)
    assert f"distributions from {shared_tmp}/.cache/pip-sharedcache" in done.stdout


@pytest.mark.parametrize("name", ["said.pth", "sitecustomize.py"])
def test_what_others_print_at_the_start_is_no_answer(
    name: str, environment: EnvironmentFactory
) -> None:
    one = environment(ours=False)
    text = "import sys; print('{}'); sys.stdout.write('x')\n"
    (one.site_packages / name).write_text(text)
    _enable(one)
    assert _is_enabled(one)
    assert _switch("disable", one).returncode == 0


def test_the_module_alone_is_gone(environment: EnvironmentFactory) -> None:
    one = environment(ours=False)
    for path in _enable(one):
        if path.suffix == ".py":
            path.unlink()
    done = run_as(None, [one.python, "-c", ""])
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")


def test_a_wrong_setting_does_not_stop_everybodys_pip(
    environment: EnvironmentFactory, env: dict[str, str | None]
) -> None:
    one = environment(ours=False)
    _enable(one)
    wrong = {**env, "PIP_SHAREDCACHE_LINK_MODE": "mirror"}
    done = run_as(None, one.plain("install", "demo"), env=wrong, check=True)
    assert "Successfully installed demo" in done.stdout
    (line,) = done.stderr.splitlines()
    assert line.startswith("WARNING: Installing without the shared store: sharedcache.link-mode")


# -- its files


def test_enable_reports_written_files_and_disable_removes_just_those(
    environment: EnvironmentFactory,
) -> None:
    one = environment(ours=False)
    before = snapshot(one.prefix)
    written = _enable(one)
    (compiled,) = (path for path in written if path.parent.name == "__pycache__")
    assert {path.name for path in written} == {
        *("_pip_sharedcache.py", "pip_sharedcache.pth", "pip_sharedcache.start", compiled.name),
    }
    assert stat.S_IMODE(compiled.stat().st_mode) == 0o644
    run_as(None, [one.python, "-c", ""], check=True)
    changed = {
        one.prefix / line.split(":")[0] for line in differences(before, snapshot(one.prefix))
    }
    assert changed - {compiled.parent} == set(written)
    assert _enable(one) == written, "once more is as once"
    removed = json.loads(_switch("disable", one, "--json").stdout)["removed"]
    assert {*map(Path, removed)} == {*written}
    assert differences(before, snapshot(one.prefix)) == []
    assert json.loads(_switch("disable", one, "--json").stdout)["removed"] == []


def test_written_modules_are_compiled_for_users_without_write_permission(
    environment: EnvironmentFactory,
) -> None:
    """At each start it would be, which takes longer than all that it does."""
    one = environment(ours=False)
    _enable(one)
    verbose = run_as(None, [one.python, "-v", "-c", ""], check=True).stderr
    (used,) = (
        line for line in verbose.splitlines() if "_pip_sharedcache" in line and "code" in line
    )
    assert "code object from" in used
    assert ".pyc" in used
    assert "wrote" not in verbose


def test_what_another_version_wrote_is_ours(environment: EnvironmentFactory) -> None:
    one = environment(ours=False)
    before = snapshot(one.site_packages)
    for command in ("enable", "disable"):
        _enable(one)
        for name in ("pip_sharedcache.pth", "pip_sharedcache.start"):
            path = one.site_packages / name
            path.write_text(path.read_text().replace("_pip_sharedcache", "_pip_sharedcache "))
        assert _switch(command, one).returncode == 0
    assert differences(before, snapshot(one.site_packages)) == []


def test_what_a_killed_one_left_is_taken_away(environment: EnvironmentFactory) -> None:
    one = environment(ours=False)
    before = snapshot(one.site_packages)
    _enable(one)
    for name in (".new-0123456789abcdef", "__pycache__/.new-0123456789abcdef"):
        (one.site_packages / name).write_bytes(b"")
    _switch("disable", one)
    assert differences(before, snapshot(one.site_packages)) == []


def test_a_name_that_the_locale_cannot_tell(environment: EnvironmentFactory) -> None:
    one = environment("\xfcml\xe4ut", ours=False)
    ours = [sys.executable, "-m", "pip_sharedcache", "store"]
    locale = {"PYTHONUTF8": "0", "PYTHONCOERCECLOCALE": "0", "LC_ALL": "POSIX"}
    done = run_as(None, [*ours, "enable", "--prefix", one.prefix], env=locale)
    assert (done.returncode, done.stderr) == (0, "")
    assert _is_enabled(one)


@pytest.mark.multiuser
@needs(root)
def test_pycache_of_another_user_is_kept(
    accounts: Accounts, public_python: Path, shared_tmp: Path
) -> None:
    one = make_environment(shared_tmp / "one", python=public_python)
    pycache = one.site_packages / "__pycache__"
    pycache.mkdir(exist_ok=True)
    os.chown(one.site_packages, accounts.usera.uid, accounts.usera.gid)
    done = run_as(accounts.usera, one.command("store", "enable"), check=True)
    assert "pip_sharedcache.pth" in done.stdout
    assert "__pycache__" not in done.stdout
    run_as(None, [one.python, "-c", ""], check=True)
    assert list(pycache.glob("_pip_sharedcache.*"))
    done = run_as(accounts.usera, one.command("store", "disable"), check=True)
    assert not list(one.site_packages.glob("*pip_sharedcache.*"))


@pytest.mark.multiuser
@needs(root)
def test_root_leaves_nothing_in_an_environment_that_its_owner_cannot_remove(
    accounts: Accounts, public_python: Path, shared_tmp: Path
) -> None:
    user = accounts.usera
    one = make_environment(shared_tmp / "one", python=public_python)
    shutil.rmtree(one.site_packages / "__pycache__", ignore_errors=True)
    for path in [one.prefix, *one.prefix.rglob("*")]:
        os.chown(path, user.uid, user.gid, follow_symlinks=False)
    run_as(None, one.command("store", "enable"), check=True)
    assert not (one.site_packages / "__pycache__").exists()
    run_as(user, one.command("store", "disable"), check=True)
    run_as(user, one.command("store", "enable"), check=True)
    assert (one.site_packages / "__pycache__").stat().st_uid == user.uid
    run_as(None, one.command("store", "enable"), check=True)
    os.chown(one.prefix.parent, user.uid, user.gid)
    run_as(user, ["rm", "-r", one.prefix], check=True)


@pytest.mark.multiuser
@needs(root)
def test_in_an_environment_of_a_group_all_its_members_may_compile(
    accounts: Accounts, public_python: Path, shared_tmp: Path
) -> None:
    one = make_environment(shared_tmp / "one", python=public_python)
    shutil.rmtree(one.site_packages / "__pycache__", ignore_errors=True)
    os.chown(one.site_packages, accounts.usera.uid, accounts.group_gid)
    one.site_packages.chmod(0o2775)
    run_as(accounts.usera, one.command("store", "enable"), umask=0o077, check=True)
    status = (one.site_packages / "__pycache__").stat()
    assert (stat.S_IMODE(status.st_mode), status.st_gid) == (0o2775, accounts.group_gid)
    run_as(accounts.userb, one.command("store", "disable"), check=True)
    assert not list(one.site_packages.glob("*pip_sharedcache.*"))
    assert not list(one.site_packages.glob("__pycache__/*sharedcache*"))


@pytest.mark.parametrize("state", ["broken", "gone"])
def test_an_environment_whose_interpreter_is_gone_can_be_switched_off(
    state: str, environment: EnvironmentFactory
) -> None:
    """Its Python was upgraded, or removed: the environment is to be repaired, or is another's."""
    one = environment(ours=False)
    before = snapshot(one.site_packages)
    written = _enable(one)
    for name in one.scripts.glob("python*"):
        name.unlink()
    if state == "broken":
        one.python.write_text(
            "#!/bin/sh\necho 'error while loading shared libraries' >&2; exit 127\n"
        )
        one.python.chmod(0o755)
    done = _switch("disable", one, "--json")
    assert done.returncode == 0, done.stderr
    assert {*map(Path, json.loads(done.stdout)["removed"])} == {*written}
    assert differences(before, snapshot(one.site_packages)) == []
    assert _switch("enable", one).returncode == 2


@pytest.mark.parametrize("name", ["_pip_sharedcache.py", "pip_sharedcache.pth"])
@pytest.mark.parametrize("kind", ["file", "symlink"])
def test_file_of_another_user_is_not_replaced(
    name: str, kind: str, environment: EnvironmentFactory, tmp_path: Path
) -> None:
    one = environment(ours=False)
    path = one.site_packages / name
    if kind == "file":
        path.write_text("# mine\n")
    else:
        path.symlink_to(tmp_path / "elsewhere")
    before = snapshot(one.prefix)
    done = _switch("enable", one)
    assert done.returncode == 2
    assert f"{path} of root was not written by pip-sharedcache; hint: move the file" in done.stderr
    assert differences(before, snapshot(one.prefix)) == []
    assert not (tmp_path / "elsewhere").exists()


def test_an_environment_that_has_ours_in_it_may_be_copied(
    environment: EnvironmentFactory, env: dict[str, str | None], tmp_path: Path
) -> None:
    one = environment("one")
    run_as(None, one.command("store", "enable"), check=True)
    (module,) = one.site_packages.glob("_pip_sharedcache.py")
    assert str(one.prefix) not in module.read_text()
    copy = tmp_path / "copy"
    shutil.copytree(one.prefix, copy, symlinks=True)
    shutil.rmtree(one.prefix)
    argv = [copy / "bin" / "python", "-m", "pip", "install", "demo"]
    assert "Shared store: " in run_as(None, argv, env=env, check=True).stdout


@pytest.mark.parametrize("what", ["nothing", "old Python"])
def test_what_is_no_environment_for_it_is_refused(what: str, tmp_path: Path) -> None:
    target = tmp_path / "target"
    (target / "bin").mkdir(parents=True)
    expected = "is not a Python environment"
    if what == "old Python":
        python = target / "bin" / "python"
        answer = '{"version": [3, 8], "prefix": "", "library": "", "standard": ""}'
        python.write_text(f"#!/bin/sh\necho 'pip-sharedcache: {answer}'\n")
        python.chmod(0o755)
        expected = "is Python 3.8: 3.9 or later is needed"
    ours = [sys.executable, "-m", "pip_sharedcache", "store", "enable", "--prefix", target]
    done = run_as(None, ours)
    assert done.returncode == 2
    assert expected in done.stderr
    assert "Traceback" not in done.stderr


# -- all environments of one interpreter


@pytest.fixture(scope="module")
def base(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An interpreter of our own, whose standard library may be added to."""
    return own_python(tmp_path_factory.mktemp("base") / "python")


@pytest.fixture
def child(base: Path, tmp_path: Path) -> Iterator[Environment]:
    """A virtual environment made from ``base``."""
    yield make_environment(tmp_path / "child", python=base, ours=False)
    (_standard(base) / "sitecustomize.py").unlink(missing_ok=True)


def _standard(base: Path) -> Path:
    return base.parent.parent / "lib" / f"python{python_version(base)}"


@pytest.mark.parametrize("existing", ["none", "behind", "there"])
def test_sitecustomize_serves_every_environment_and_others_keep_theirs(
    existing: str, base: Path, child: Environment, env: dict[str, str | None]
) -> None:
    standard = _standard(base)
    theirs = {"behind": child.site_packages, "there": standard}.get(existing)
    if theirs is not None:
        (theirs / "sitecustomize.py").write_text("import sys\nsys.theirs = __name__, __file__")
    said = "import sys, sitecustomize; print(*getattr(sys, 'theirs', ()), sitecustomize.__file__)"
    before = snapshot(standard)
    expected = existing != "none" and run_as(None, [child.python, "-c", said], check=True).stdout

    written = _enable(child, "--sitecustomize")
    assert {path.parent for path in written} == {standard, standard / "__pycache__"}
    assert _is_enabled(child)
    done = run_as(None, child.plain("install", "demo"), env=env, check=True)
    assert "Shared store: " in done.stdout
    if expected:
        assert run_as(None, [child.python, "-c", said], check=True).stdout == expected
    isolated = run_as(None, [child.python, "-I", "-c", said], check=True)
    assert isolated.stderr == ""

    _switch("disable", child, "--sitecustomize")
    assert not _is_enabled(child)
    assert not list((standard / "__pycache__").glob("*sharedcache*"))
    assert [
        line for line in differences(before, snapshot(standard)) if "__pycache__" not in line
    ] == []


SEEN = "import sys; m = sys.modules['sitecustomize']; print(m.__name__, m.__file__, m.__cached__, "
SEEN += "m.__package__, getattr(m, '__path__', ''), m.__spec__.name, m.X)"


@pytest.mark.parametrize("kind", ["module", "package"])
def test_another_sitecustomize_is_loaded_as_python_would(
    kind: str, base: Path, child: Environment
) -> None:
    place = child.site_packages / "sitecustomize"
    if kind == "module":
        place.with_suffix(".py").write_text("X = __cached__, __spec__.origin")
    else:
        place.mkdir()
        (place / "__init__.py").write_text("from . import sub\nX = sub.__name__\n")
        (place / "sub.py").write_text("")
    expected = run_as(None, [child.python, "-c", SEEN], check=True).stdout
    _enable(child, "--sitecustomize")
    try:
        done = run_as(None, [child.python, "-c", SEEN], check=True)
        assert (done.stdout, done.stderr) == (expected, "")
    finally:
        _switch("disable", child, "--sitecustomize")


CHAINING = """
import importlib.util, os, sys
sys.runs = getattr(sys, "runs", 0) + 1
here = os.path.dirname(__file__)
path = [place for place in sys.path if os.path.abspath(place) != here]
for finder in sys.meta_path:
    spec = finder.find_spec("sitecustomize", path)
    if spec is not None and spec.loader is not None:
        module = importlib.util.module_from_spec(spec)
        spec.loader.exec_module(module)
        break
"""


def test_one_that_does_as_ours_does_not_run_for_ever(child: Environment, tmp_path: Path) -> None:
    (tmp_path / "sitecustomize.py").write_text(CHAINING)
    before = {"PYTHONPATH": str(tmp_path)}
    _enable(child, "--sitecustomize")
    try:
        argv = [child.python, "-c", "import sys; print(sys.runs)"]
        done = run_as(None, argv, env=before, check=True)
        assert (done.stdout, done.stderr) == ("1\n", "")
    finally:
        _switch("disable", child, "--sitecustomize")


@needs(root)
def test_a_sitecustomize_keeps_its_mode_and_group(base: Path, child: Environment) -> None:
    path = _standard(base) / "sitecustomize.py"
    path.write_text("X = 1\n")
    path.chmod(0o640)
    os.chown(path, 0, 50)
    for command in ("enable", "disable"):
        _switch(command, child, "--sitecustomize")
        status = path.stat()
        assert (stat.S_IMODE(status.st_mode), status.st_gid) == (0o640, 50)


@pytest.mark.parametrize("kind", ["sourceless", "package", "link to nothing"])
def test_a_sitecustomize_that_takes_no_lines_is_left_alone(
    kind: str, base: Path, child: Environment, tmp_path: Path
) -> None:
    standard = _standard(base)
    place = {
        "sourceless": standard / "sitecustomize.pyc",
        "package": standard / "sitecustomize" / "__init__.py",
        "link to nothing": standard / "sitecustomize.py",
    }[kind]
    place.parent.mkdir(exist_ok=True)
    if kind == "link to nothing":
        place.symlink_to(tmp_path / "nowhere" / "sc.py")
    else:
        place.touch()
    before = snapshot(standard)
    done = _switch("enable", child, "--sitecustomize")
    assert done.returncode == 2
    assert str(place) in done.stderr
    assert differences(before, snapshot(standard)) == []
    assert not (tmp_path / "nowhere").exists()
    place.unlink()
    if kind == "package":
        place.parent.rmdir()


def test_a_sitecustomize_that_is_a_link_is_left_alone(
    base: Path, child: Environment, tmp_path: Path
) -> None:
    """Debian's leads to a file of /etc."""
    theirs, link = tmp_path / "theirs.py", _standard(base) / "sitecustomize.py"
    theirs.write_text("X = 1\n")
    link.symlink_to(theirs)
    before = snapshot(_standard(base))
    for command in ("enable", "disable"):
        done = _switch(command, child, "--sitecustomize")
        assert f"{link} leads to {theirs} of root" in done.stderr or command == "disable"
        assert done.returncode == {"enable": 2, "disable": 0}[command]
        assert theirs.read_text() == "X = 1\n"
        assert differences(before, snapshot(_standard(base))) == []

    link.unlink()
    _enable(child, "--sitecustomize")
    link.rename(theirs)
    link.symlink_to(theirs)
    written = theirs.read_text()
    done = _switch("status", child, "--sitecustomize")
    assert f"{link} leads to {theirs} of root, which has lines of pip-sharedcache" in done.stderr
    done = _switch("disable", child, "--sitecustomize")
    assert "which has lines of pip-sharedcache: they stay there" in done.stderr
    assert theirs.read_text() == written
    assert not list(_standard(base).glob("*sharedcache*"))


@pytest.mark.parametrize("name", ["lib", "site-packages", "__pycache__"])
def test_nothing_is_written_where_a_link_leads_out_of_the_environment(
    name: str, environment: EnvironmentFactory, tmp_path: Path
) -> None:
    one = environment(ours=False)
    link = {
        "lib": one.prefix / "lib",
        "site-packages": one.site_packages,
        "__pycache__": one.site_packages / "__pycache__",
    }[name]
    link.mkdir(exist_ok=True)
    theirs = tmp_path / "theirs"
    shutil.copytree(link, theirs, symlinks=True)
    shutil.rmtree(link)
    link.symlink_to(theirs)
    before = snapshot(theirs)
    done = _switch("enable", one)
    if name == "__pycache__":  # bytecode may be missing
        assert done.returncode == 0, done.stderr
        assert _switch("disable", one).returncode == 0
    else:
        assert done.returncode == 2
        assert f"{link} leads to {theirs} of root, outside {one.prefix}" in done.stderr
    assert differences(before, snapshot(theirs)) == []


def test_a_prefix_whose_python_is_that_of_another_prefix_is_refused(
    environment: EnvironmentFactory, tmp_path: Path
) -> None:
    one, named = environment(ours=False), tmp_path / "named"
    (named / "bin").mkdir(parents=True)
    (named / "bin" / "python").write_text(f'#!/bin/sh\nexec {one.python} "$@"\n')
    (named / "bin" / "python").chmod(0o755)
    before = snapshot(one.prefix)
    ours = [sys.executable, "-m", "pip_sharedcache", "store", "enable", "--prefix", named]
    done = run_as(None, ours)
    assert done.returncode == 2
    assert f"name it with --python {one.prefix}" in done.stderr
    assert differences(before, snapshot(one.prefix)) == []


def test_an_environments_own_hook_counts_where_there_is_one_for_all(
    base: Path, child: Environment, env: dict[str, str | None]
) -> None:
    _enable(child, "--sitecustomize")
    try:
        (module,) = _standard(base).glob("_pip_sharedcache*.py")
        module.write_text(module.read_text().replace("__runner__.py", "elsewhere.py"))
        assert not _is_enabled(child)
        _enable(child)
        assert _is_enabled(child)
    finally:
        _switch("disable", child, "--sitecustomize")
    assert _is_enabled(child)


def test_an_environment_is_made_without_a_store_in_anybodys_home(
    base: Path, env: dict[str, str | None], shared_tmp: Path
) -> None:
    """ensurepip, which venv runs, hides all settings from the pip that it runs."""
    interpreter = Environment(base.parent.parent, base, base.parent, base.parent)
    _enable(interpreter, "--sitecustomize")
    try:
        home = {**env, "HOME": str(shared_tmp), "XDG_CACHE_HOME": None}
        run_as(None, [base, "-m", "venv", shared_tmp / "made"], env=home, check=True)
        assert (shared_tmp / "made" / "bin" / "pip").exists()
        assert not (shared_tmp / ".cache").exists()
        made = Environment(shared_tmp / "made", base, base.parent, base.parent)
        done = _switch("disable", made)
        assert "pip still installs through the store" in done.stdout
    finally:
        _switch("disable", interpreter, "--sitecustomize")
