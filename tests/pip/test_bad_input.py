"""Stores that cannot be used, settings that nobody knows, values that cannot be: one clear line.

For pip's commands the install goes on without the store; only a wrong value of ours, or our own
command on a store that is not there, ends in exit status 2. Never in a traceback.
"""

from __future__ import annotations

import json
import os
import stat
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from support import probes
from support.accounts import Account, Accounts, home_of, run_as
from support.environments import Environment, make_environment
from support.filesystems import mounted, read_only
from support.index import LocalIndex
from support.probes import bind_mounts, needs, tmpfs
from support.trees import differences, snapshot
from support.wheels import make_wheel

pytestmark = needs(probes.linux)

VARIABLE = "environment variable PIP_SHAREDCACHE_DIR"
OURS = "Shared store:"
Variables = dict[str, "str | None"]


@pytest.fixture(scope="module")
def served(tmp_path_factory: pytest.TempPathFactory) -> Iterator[LocalIndex]:
    directory = tmp_path_factory.mktemp("served")
    make_wheel(directory, "demo", requires=["dep"])
    make_wheel(directory, "dep")
    files = {"big/__init__.py": "", "big/data": os.urandom(3 << 20)}
    make_wheel(directory, "big", files=files, compress=False)
    with LocalIndex(directory) as running:
        yield running


@pytest.fixture(scope="module")
def tool(tmp_path_factory: pytest.TempPathFactory) -> Environment:
    """An environment whose pip installs into --target directories; no test changes it."""
    return make_environment(tmp_path_factory.mktemp("tool") / "environment")


@pytest.fixture
def run(
    tool: Environment, served: LocalIndex, tmp_path: Path
) -> Callable[..., subprocess.CompletedProcess[str]]:
    def command(
        *arguments: str | Path,
        env: Variables | None = None,
        plain: bool = False,
        umask: int = 0o022,
    ) -> subprocess.CompletedProcess[str]:
        argv = tool.plain(*arguments) if plain else tool.command(*arguments)
        variables = {**_variables(served), **(env or {})}
        done = run_as(None, argv, env=variables, cwd=tmp_path, umask=umask)
        assert "Traceback" not in done.stdout + done.stderr, done.stderr
        return done

    return command


Runner = Callable[..., "subprocess.CompletedProcess[str]"]


def _variables(served: LocalIndex) -> Variables:
    return {
        "PIP_INDEX_URL": served.url,
        "PIP_EXTRA_INDEX_URL": None,
        "PIP_NO_CACHE_DIR": "1",
        "NO_PROXY": "127.0.0.1",
    }


def _lines(text: str) -> list[str]:
    return [line for line in text.splitlines() if line.strip()]


def _one_line(done: subprocess.CompletedProcess[str]) -> str:
    (line,) = _lines(done.stderr)
    return line


def _fails_in_one_line(done: subprocess.CompletedProcess[str], *words: object) -> None:
    assert done.returncode == 2, done.stderr
    line = _one_line(done)
    assert line.startswith("ERROR: ")
    for word in words:
        assert str(word) in line
    if "--json" not in done.args:
        assert done.stdout == ""
        return
    told = json.loads(done.stdout)
    assert line == f"ERROR: {told['error']}" + (f"; hint: {told['hint']}" if told["hint"] else "")


def _installs_like_pip(run: Runner, target: Path, **options: object) -> object:
    """Install with plain pip and with ours; compare; give our run."""
    plain = run("install", "--target", target / "plain", "demo", plain=True)
    assert plain.returncode == 0, plain.stderr
    done = run("install", "--target", target / "ours", "demo", **options)
    assert done.returncode == 0, done.stderr
    assert differences(snapshot(target / "plain"), snapshot(target / "ours")) == []
    return done


# -- stores that cannot be used


def _no_store(path: Path) -> None:
    """Leave the path missing."""


def _configured(text: str) -> Callable[[Path], None]:
    def make(path: Path) -> None:
        path.mkdir()
        (path / "store.json").write_text(text)

    return make


_FILE_FIRST = "a file\n"


def _below_a_file(path: Path) -> None:
    path.parent.rmdir()
    path.parent.write_text(_FILE_FIRST)


_STORES: dict[str, Callable[[Path], None]] = {
    "missing": _no_store,
    "a-file": lambda path: _write(path, _FILE_FIRST),
    "below-a-file": _below_a_file,
    "dangling-symlink": lambda path: path.symlink_to("nowhere"),
    "symlink-loop": lambda path: path.symlink_to(path.name),
    "a-pipe": lambda path: os.mkfifo(path),
    "newer-format": _configured('{"format": 99, "group": null, "trusted": []}'),
    "garbage": _configured("\x00\x01"),
    "truncated": _configured('{"format": 1, "gro'),
    "empty-configuration": _configured(""),
    "a-list": _configured("[]"),
    "a-number": _configured("7"),
    "no-format": _configured("{}"),
    "odd-trusted": _configured('{"format": 1, "group": null, "trusted": 7}'),
    "odd-format": _configured('{"format": [], "group": null, "trusted": []}'),
}


def _write(path: Path, text: str) -> None:
    path.write_text(text)


@pytest.mark.parametrize("kind", _STORES)
def test_a_store_that_cannot_be_used_is_named_and_pip_installs(
    run: Runner, tmp_path: Path, kind: str
) -> None:
    store = tmp_path / "above" / "store"
    store.parent.mkdir()
    if kind == "missing":  # an empty directory of root's may be a mount point
        (store.parent / "other").touch()
    _STORES[kind](store)
    done = _installs_like_pip(run, tmp_path, env={"PIP_SHAREDCACHE_DIR": str(store)})
    line = _one_line(done)
    assert str(store) in line
    assert VARIABLE in line
    assert OURS not in done.stdout
    if kind == "missing":
        assert f"store init {store}" in line
        assert not store.exists()
    if kind in ("a-file", "below-a-file"):
        assert (store if kind == "a-file" else store.parent).read_text() == _FILE_FIRST


@pytest.mark.parametrize("kind", _STORES)
@pytest.mark.parametrize("options", [[], ["--json"]], ids=["text", "json"])
def test_store_info_of_such_a_store_fails(
    run: Runner, tmp_path: Path, kind: str, options: list[str]
) -> None:
    store = tmp_path / "above" / "store"
    store.parent.mkdir()
    _STORES[kind](store)
    done = run("store", "info", *options, env={"PIP_SHAREDCACHE_DIR": str(store)})
    _fails_in_one_line(done, store)


def test_a_store_that_is_too_long_a_name(run: Runner, tmp_path: Path) -> None:
    store = tmp_path / ("n" * 300)
    done = _installs_like_pip(run, tmp_path, env={"PIP_SHAREDCACHE_DIR": str(store)})
    assert str(store) in _one_line(done)


@pytest.mark.parametrize("source", ["file", "variable", "option"])
def test_the_line_names_where_the_directory_was_set(
    run: Runner, tmp_path: Path, source: str
) -> None:
    store = tmp_path / "missing"
    configuration = tmp_path / "pip.conf"
    configuration.write_text(f"[sharedcache]\ndir = {store}\n")
    options: dict[str, tuple[list[str], Variables, str]] = {
        "file": ([], {"PIP_CONFIG_FILE": str(configuration)}, str(configuration)),
        "variable": ([], {"PIP_SHAREDCACHE_DIR": str(store)}, VARIABLE),
        "option": ([f"--sharedcache-dir={store}"], {}, "option --sharedcache-dir"),
    }
    words, env, named = options[source]
    done = run("install", "--target", tmp_path / "target", "dep", *words, env=env)
    assert done.returncode == 0
    assert f"({named})" in _one_line(done)


def test_quiet_does_not_hide_the_line(run: Runner, tmp_path: Path) -> None:
    env = {"PIP_SHAREDCACHE_DIR": str(tmp_path / "missing")}
    done = run("install", "-q", "--target", tmp_path / "target", "dep", env=env)
    assert done.returncode == 0
    assert str(tmp_path / "missing") in _one_line(done)
    assert done.stdout == ""


@pytest.mark.parametrize("arguments", [["list"], ["check"], ["install", "--help"]])
def test_other_commands_do_not_look_at_the_store(
    run: Runner, tmp_path: Path, arguments: list[str]
) -> None:
    env = {"PIP_SHAREDCACHE_DIR": str(tmp_path / "missing")}
    done, plain = run(*arguments, env=env), run(*arguments, env=env, plain=True)
    assert (done.returncode, done.stdout, done.stderr) == (0, plain.stdout, plain.stderr)


# -- full and read-only disks


@pytest.mark.filesystem
@needs(tmpfs)
@pytest.mark.parametrize("options", ["", "nr_inodes=6"], ids=["blocks", "inodes"])
def test_full_store_is_reported_and_left_clean(
    run: Runner, tmp_path: Path, shared_tmp: Path, options: str
) -> None:
    with mounted("tmpfs", shared_tmp, size_mb=2, options=options) as store:
        env = {"PIP_SHAREDCACHE_DIR": str(store)}
        done = run(
            "install", "--no-compile", "--target", tmp_path / "target", "big", "dep", env=env
        )
        assert done.returncode == 0, done.stderr
        lines = _lines(done.stderr)
        assert lines
        assert all(str(store) in line and "No space left" in line for line in lines)
        assert len(lines) == len(set(lines))
        assert not list(store.glob("wheels/*/.*"))
        visible = {path.name for path in store.glob("wheels/*/*/*.whl")}
        assert visible == (set() if options else {"dep-1.0-py3-none-any.whl"})
    assert (tmp_path / "target" / "big" / "data").stat().st_size == 3 << 20
    assert (tmp_path / "target" / "dep" / "data.txt").exists()


@pytest.mark.filesystem
@needs(bind_mounts)
def test_a_read_only_store_gives_what_it_has_without_a_word(
    run: Runner, served: LocalIndex, tmp_path: Path
) -> None:
    store = tmp_path / "store"
    store.mkdir()
    first = run(
        *("install", "--target", tmp_path / "first", "dep"), env={"PIP_SHAREDCACHE_DIR": str(store)}
    )
    assert first.returncode == 0
    with read_only(store, tmp_path / "view") as view:
        served.clear()
        env = {"PIP_SHAREDCACHE_DIR": str(view)}
        done = _installs_like_pip(run, tmp_path, env=env)
        assert done.stderr == ""
        assert f"{OURS} 1 of 2 distributions from {view}; 1 installed by pip alone" in done.stdout
        # plain pip's one request, and none of ours
        assert served.wheel_requests("dep") == ["/files/dep-1.0-py3-none-any.whl"]
        facts = json.loads(run("store", "info", "--json", env=env).stdout)
        assert (facts["writable"], facts["wheels"]) == (False, 1)


@pytest.mark.filesystem
@needs(bind_mounts)
def test_an_empty_read_only_directory_installs_like_pip(run: Runner, tmp_path: Path) -> None:
    store = tmp_path / "store"
    store.mkdir()
    with read_only(store, tmp_path / "view") as view:
        done = _installs_like_pip(run, tmp_path, env={"PIP_SHAREDCACHE_DIR": str(view)})
    assert f"{OURS} 0 of 2 distributions" in done.stdout
    assert done.stderr == ""


# -- as somebody without privileges


@pytest.fixture
def as_usera(
    accounts: Accounts, shared_tmp: Path, public_python: Path, served: LocalIndex
) -> tuple[Account, Path, Runner]:
    """usera, the home, and a function that runs our command (or plain pip) as usera."""
    user = accounts.usera
    home = home_of(user, shared_tmp)
    environment = make_environment(shared_tmp / "environment", python=public_python)

    def command(
        *arguments: str | Path, env: Variables | None = None, plain: bool = False
    ) -> subprocess.CompletedProcess[str]:
        argv = environment.plain(*arguments) if plain else environment.command(*arguments)
        done = run_as(user, argv, env={**_variables(served), **(env or {})})
        assert "Traceback" not in done.stdout + done.stderr, done.stderr
        return done

    return user, home, command


@pytest.mark.multiuser
@pytest.mark.parametrize(
    ("mode", "above"),
    [
        pytest.param(0o700, 0o755, id="closed"),
        pytest.param(0o711, 0o755, id="not-listed"),
        pytest.param(0o744, 0o755, id="not-entered"),
        pytest.param(0o755, 0o700, id="parent-closed"),
    ],
)
def test_a_store_that_may_not_be_read(
    as_usera: tuple[Account, Path, Runner], shared_tmp: Path, mode: int, above: int
) -> None:
    _, home, run = as_usera
    store = shared_tmp / "above" / "store"
    store.mkdir(parents=True)
    store.chmod(mode)
    store.parent.chmod(above)
    env = {"PIP_SHAREDCACHE_DIR": str(store)}
    done = _installs_like_pip(run, home, env=env)
    line = _one_line(done)
    assert str(store) in line and VARIABLE in line and "Permission denied" in line
    _fails_in_one_line(run("store", "info", env=env), store, "Permission denied")


@pytest.mark.multiuser
def test_an_entry_that_may_not_be_read_is_named(
    as_usera: tuple[Account, Path, Runner], shared_tmp: Path, run: Runner
) -> None:
    _, home, usera = as_usera
    store = shared_tmp / "store"
    store.mkdir()
    env = {"PIP_SHAREDCACHE_DIR": str(store)}
    assert run("install", "--target", shared_tmp / "first", "dep", env=env).returncode == 0
    (entry,) = (path.parent for path in store.glob("wheels/*/*/entry.json"))
    entry.chmod(0o500)
    done = usera("install", "--target", home / "target", "dep", env=env)
    assert done.returncode == 0
    assert str(entry) in _one_line(done)
    assert (home / "target" / "dep").is_dir()


@pytest.mark.multiuser
def test_a_store_that_may_not_be_written_is_no_warning(
    as_usera: tuple[Account, Path, Runner], shared_tmp: Path
) -> None:
    _, home, run = as_usera
    store = shared_tmp / "store"
    (store / "wheels").mkdir(parents=True)
    done = _installs_like_pip(run, home, env={"PIP_SHAREDCACHE_DIR": str(store)})
    assert done.stderr == ""
    assert "you may not write the store" in done.stdout


@pytest.mark.multiuser
def test_store_init_where_one_may_not(
    as_usera: tuple[Account, Path, Runner], shared_tmp: Path
) -> None:
    _, _, run = as_usera
    closed = shared_tmp / "closed"
    closed.mkdir(mode=0o755)
    _fails_in_one_line(
        run("store", "init", closed / "store"), closed / "store", "Permission denied"
    )
    foreign = shared_tmp / "foreign"
    foreign.mkdir(mode=0o755)
    done = run("store", "init", foreign)
    _fails_in_one_line(done, foreign)
    assert list(foreign.iterdir()) == []


@pytest.mark.multiuser
def test_a_home_that_cannot_be_written(
    as_usera: tuple[Account, Path, Runner], shared_tmp: Path
) -> None:
    """With nothing set the store is one's own: where it cannot be made, pip installs."""
    _, home, run = as_usera
    env = {"HOME": "/nonexistent", "PIP_NO_CACHE_DIR": "1"}
    done = run("install", "--target", home / "target", "dep", env=env)
    assert done.returncode == 0
    assert "/nonexistent" in _one_line(done)


# -- settings


@pytest.mark.parametrize("level", ["named", "user", "site"])
def test_an_unknown_setting_of_a_file_is_one_warning(
    run: Runner, tool: Environment, tmp_path: Path, level: str
) -> None:
    places = {
        "named": tmp_path / "pip.conf",
        "user": tmp_path / ".config" / "pip" / "pip.conf",
        "site": tool.prefix / "pip.conf",
    }
    configuration = places[level]
    configuration.parent.mkdir(parents=True, exist_ok=True)
    configuration.write_text("[sharedcache]\ncolour = red\nlink_mode = copy\n")
    env: Variables = {"PIP_CONFIG_FILE": None, "HOME": str(tmp_path)}
    if level == "named":
        env["PIP_CONFIG_FILE"] = str(configuration)
    try:
        done = run("install", "--target", tmp_path / "target", "dep", env=env)
    finally:
        if level == "site":
            configuration.unlink()
    assert done.returncode == 0
    line = _one_line(done)
    assert line.startswith("WARNING: ")
    assert "colour" in line and str(configuration) in line
    assert OURS in done.stdout


def test_an_unknown_setting_of_the_environment_is_one_warning(run: Runner, tmp_path: Path) -> None:
    env = {"PIP_SHAREDCACHE_COLOUR": "red", "HOME": str(tmp_path)}
    done = run("install", "--target", tmp_path / "target", "dep", env=env)
    assert done.returncode == 0
    assert "environment variable PIP_SHAREDCACHE_COLOUR" in _one_line(done)
    assert OURS in done.stdout


def test_unknown_setting_is_reported_once_with_another_interpreter(
    run: Runner, tmp_path: Path
) -> None:
    other = make_environment(tmp_path / "other", ours=False)
    env = {"PIP_SHAREDCACHE_COLOUR": "red", "HOME": str(tmp_path)}
    done = run("--python", other.python, "install", "dep", env=env)
    assert done.returncode == 0
    assert "PIP_SHAREDCACHE_COLOUR" in _one_line(done)


def test_an_unknown_setting_is_no_matter_for_other_commands(run: Runner) -> None:
    done = run("list", env={"PIP_SHAREDCACHE_COLOUR": "red"})
    assert (done.returncode, done.stderr) == (0, "")


_WRONG = [
    pytest.param("dir", "relative/path", id="relative-dir"),
    pytest.param("dir", "~nobody-of-this-name/store", id="unknown-home"),
    pytest.param("link-mode", "teleport", id="link-mode"),
    pytest.param("group-environment", "perhaps", id="group-environment"),
    pytest.param("share", "example", id="share"),
]


@pytest.mark.parametrize("source", ["file", "variable", "option", "option-equals"])
@pytest.mark.parametrize(("name", "value"), _WRONG)
def test_a_wrong_value_is_refused_with_its_source(
    run: Runner, tmp_path: Path, name: str, value: str, source: str
) -> None:
    configuration = tmp_path / "pip.conf"
    configuration.write_text(f"[sharedcache]\n{name} = {value}\n")
    variable = f"PIP_SHAREDCACHE_{name.replace('-', '_').upper()}"
    options: dict[str, tuple[list[str], Variables, str]] = {
        "file": ([], {"PIP_CONFIG_FILE": str(configuration)}, str(configuration)),
        "variable": ([], {variable: value}, variable),
        "option": ([f"--sharedcache-{name}", value], {}, f"--sharedcache-{name}"),
        "option-equals": ([f"--sharedcache-{name}={value}"], {}, f"--sharedcache-{name}"),
    }
    words, env, named = options[source]
    done = run("install", "--target", tmp_path / "target", "dep", *words, env=env)
    _fails_in_one_line(done, value, named)
    assert not (tmp_path / "target").exists()
    _fails_in_one_line(run(*words, "store", "path", env=env), value, named)


@pytest.mark.parametrize(
    "words",
    [
        pytest.param(["install", "dep", "--sharedcache-colour", "red"], id="unknown"),
        pytest.param(["install", "dep", "--sharedcache-dir"], id="no-value"),
        pytest.param(["--sharedcache-", "x", "install", "dep"], id="no-name"),
    ],
)
def test_a_wrong_option_is_refused(run: Runner, tmp_path: Path, words: list[str]) -> None:
    _fails_in_one_line(run(*words, "--target=target") if "dir" not in words[-1] else run(*words))
    assert not (tmp_path / "target").exists()


_NO_CONFIGURATION = {
    "option twice": b"[global]\ntimeout = 3\ntimeout = 4\n",
    "no section": b"timeout = 3\n",
    "not in the encoding": b"[global]\ntimeout = \xff\n",
}


@pytest.mark.parametrize("kind", _NO_CONFIGURATION)
def test_pip_reports_a_configuration_file_that_it_cannot_read_in_its_own_words(
    run: Runner, tmp_path: Path, kind: str
) -> None:
    configuration = tmp_path / "pip.conf"
    configuration.write_bytes(_NO_CONFIGURATION[kind])
    env = {"PIP_CONFIG_FILE": str(configuration)}
    words = ("install", "--target", tmp_path / "target", "dep")
    done, plain = run(*words, env=env), run(*words, env=env, plain=True)
    assert plain.returncode != 0 and str(configuration) in plain.stderr + plain.stdout
    expected = (plain.returncode, plain.stdout, plain.stderr)
    assert (done.returncode, done.stdout, done.stderr) == expected
    _fails_in_one_line(run("store", "path", env=env), configuration)


def test_later_settings_win(run: Runner, tmp_path: Path) -> None:
    file, variable, option = (tmp_path / name for name in ("file", "variable", "option"))
    configuration = tmp_path / "pip.conf"
    configuration.write_text(f"[sharedcache]\ndir = {file}\n")
    env = {"PIP_CONFIG_FILE": str(configuration)}
    assert run("store", "path", env=env).stdout == f"{file}\n"
    env["PIP_SHAREDCACHE_DIR"] = str(variable)
    assert run("store", "path", env=env).stdout == f"{variable}\n"
    done = run("store", "path", "--sharedcache-dir", option, env=env)
    assert done.stdout == f"{option}\n"


def test_isolated_looks_at_no_variable(run: Runner, served: LocalIndex, tmp_path: Path) -> None:
    env = {"PIP_SHAREDCACHE_LINK_MODE": "teleport", "HOME": str(tmp_path)}
    words = ("--no-cache-dir", "-i", served.url, "--target", tmp_path / "target", "dep")
    done = run("install", "--isolated", *words, env=env)
    assert done.returncode == 0, done.stderr
    assert OURS in done.stdout


# -- our own commands


def _modes(path: Path) -> tuple[int, set[int]]:
    shards = {stat.S_IMODE(shard.stat().st_mode) for shard in (path / "wheels").iterdir()}
    return stat.S_IMODE(path.stat().st_mode), shards


LAYOUTS = {"tree": {"format": 1}, "packed": {"format": 2, "layout": "packed"}}


@pytest.mark.parametrize(
    ("umask", "layout"),
    [(0o022, "tree"), (0o002, "packed"), (0o077, "tree")],
    ids=["022", "002", "077"],
)
def test_store_init_makes_a_private_store(
    run: Runner, tmp_path: Path, umask: int, layout: str
) -> None:
    store = tmp_path / "new" / "store"
    done = run("store", "init", "--layout", layout, store, umask=umask)
    assert (done.returncode, done.stderr) == (0, "")
    assert str(store) in done.stdout
    assert _modes(store) == (0o755, {0o755})
    assert len(list((store / "wheels").iterdir())) == 256
    assert (store / "CACHEDIR.TAG").read_text().startswith("Signature: 8a477f597d28d172789f06886")
    configuration = json.loads((store / "store.json").read_text())
    common = {"group": None, "trusted": [], "builds": False}
    assert configuration == {**common, **LAYOUTS[layout]}
    assert stat.S_IMODE((store / "store.json").stat().st_mode) == 0o644


@pytest.mark.multiuser
@pytest.mark.parametrize("umask", [0o022, 0o077], ids=oct)
def test_store_init_makes_a_group_store(
    run: Runner, accounts: Accounts, shared_tmp: Path, umask: int
) -> None:
    store = shared_tmp / "store"
    done = run("store", "init", "--group", accounts.group, store, umask=umask)
    assert (done.returncode, done.stderr) == (0, "")
    assert _modes(store) == (0o2755, {0o3775})
    assert {path.stat().st_gid for path in (store / "wheels").iterdir()} == {accounts.group_gid}
    facts = json.loads(
        run("store", "info", "--json", env={"PIP_SHAREDCACHE_DIR": str(store)}).stdout
    )
    assert (facts["group"], facts["trusted"]) == (accounts.group, [f"@{accounts.group}"])


def test_store_init_twice_keeps_what_is_there(run: Runner, tmp_path: Path) -> None:
    store = tmp_path / "store"
    env = {"PIP_SHAREDCACHE_DIR": str(store)}
    assert run("store", "init", store).returncode == 0
    assert run("install", "--target", tmp_path / "target", "demo", env=env).returncode == 0
    before = snapshot(store)
    assert run("store", "init", store).returncode == 0
    assert differences(before, snapshot(store)) == []


def test_store_init_takes_a_relative_path(run: Runner, tmp_path: Path) -> None:
    assert run("store", "init", "here").returncode == 0
    assert (tmp_path / "here" / "store.json").is_file()


@pytest.mark.parametrize("kind", ["a-file", "below-a-file", "not-empty", "dangling", "no-group"])
def test_store_init_refuses(run: Runner, tmp_path: Path, kind: str) -> None:
    store = tmp_path / "above" / "store"
    store.parent.mkdir()
    options: list[str] = []
    if kind == "a-file":
        store.write_text(_FILE_FIRST)
    elif kind == "below-a-file":
        _below_a_file(store)
    elif kind == "not-empty":
        store.mkdir()
        (store / "thesis.tex").write_text("mine\n")
    elif kind == "dangling":
        store.symlink_to("nowhere")
    else:
        options = ["--group", "no-group-of-this-name"]
    before = snapshot(tmp_path)
    _fails_in_one_line(
        run("store", "init", *options, store), "no-group-of-this-name" if options else store
    )
    assert differences(before, snapshot(tmp_path)) == []


@pytest.mark.filesystem
@needs(bind_mounts)
def test_store_init_on_a_read_only_disk(run: Runner, tmp_path: Path) -> None:
    (tmp_path / "disk").mkdir()
    with read_only(tmp_path / "disk", tmp_path / "view") as view:
        _fails_in_one_line(run("store", "init", view / "store"), view / "store", "Read-only")
        _fails_in_one_line(run("store", "init", view), view, "Read-only")


@pytest.mark.filesystem
@needs(tmpfs)
def test_store_init_on_a_full_disk(run: Runner, shared_tmp: Path) -> None:
    with mounted("tmpfs", shared_tmp, size_mb=1, options="nr_inodes=50") as disk:
        _fails_in_one_line(run("store", "init", disk / "store"), disk / "store", "No space left")


def test_store_path_is_the_path_alone(run: Runner, tmp_path: Path) -> None:
    env: Variables = {"HOME": str(tmp_path)}
    own = f"{tmp_path}/.cache/pip-sharedcache\n"
    done = run("store", "path", env=env)
    assert (done.returncode, done.stdout, done.stderr) == (0, own, "")
    env["PIP_SHAREDCACHE_COLOUR"] = "red"
    done = run("store", "path", env=env)
    assert (done.returncode, done.stdout) == (0, own)
    assert "PIP_SHAREDCACHE_COLOUR" in _one_line(done)
    env["PIP_SHAREDCACHE_DIR"] = "~/elsewhere"
    assert run("store", "path", env=env).stdout == f"{tmp_path}/elsewhere\n"
    assert list(tmp_path.iterdir()) == []


def test_store_info_says_what_a_store_holds(
    run: Runner, served: LocalIndex, tmp_path: Path
) -> None:
    store = tmp_path / "store"
    env = {"PIP_SHAREDCACHE_DIR": str(store), "PIP_SHAREDCACHE_LINK_MODE": "copy"}
    assert run("store", "init", store).returncode == 0
    assert run("install", "--target", tmp_path / "target", "demo", env=env).returncode == 0
    done = run("store", "info", "--json", env=env)
    assert (done.returncode, done.stderr) == (0, "")
    facts = json.loads(done.stdout)
    wheels = list(served.directory.glob("d*.whl"))
    expected = {
        "store": str(store),
        "source": VARIABLE,
        "group": None,
        "trusted": [],
        "writable": True,
        "wheels": 2,
        "bytes": sum(wheel.stat().st_size for wheel in wheels),
        "link_mode": "copy",
    }
    assert {name: facts[name] for name in expected} == expected
    text = run("store", "info", env=env).stdout
    assert str(store) in text and VARIABLE in text and "2 wheels" in text


def test_store_info_of_the_default_store(run: Runner, tmp_path: Path) -> None:
    done = run("store", "info", "--json", env={"HOME": str(tmp_path)})
    assert (done.returncode, done.stderr) == (0, "")
    facts = json.loads(done.stdout)
    assert facts["store"] == f"{tmp_path}/.cache/pip-sharedcache"
    assert facts["wheels"] == 0


@pytest.mark.parametrize(
    ("words", "status"),
    [
        pytest.param(["store"], 2, id="no-command"),
        pytest.param(["store", "burn"], 2, id="unknown-command"),
        pytest.param(["store", "init"], 2, id="no-directory"),
        pytest.param(["store", "info", "--colour"], 2, id="unknown-option"),
        pytest.param(["store", "path", "more"], 2, id="too-much"),
        pytest.param(["store", "--help"], 0, id="help"),
        pytest.param(["store", "init", "--help"], 0, id="help-of-init"),
        pytest.param(["store", "--version"], 0, id="version"),
    ],
)
def test_usage_of_our_commands(run: Runner, words: list[str], status: int) -> None:
    done = run(*words)
    assert done.returncode == status
    assert done.stdout if status == 0 else "usage: pip-sharedcache store" in done.stderr
