"""The code's own order: who may import whom, who may print, who may touch modes and links."""

from __future__ import annotations

import ast
import functools
import pkgutil
import re
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from support import REPOSITORY

ROOT = REPOSITORY / "src" / "pip_sharedcache"
PACKAGE = "pip_sharedcache"
MODULES = sorted(path.relative_to(ROOT).as_posix() for path in ROOT.rglob("*.py"))

#: The rows of the map: floor, part, and its modules.
_ROW = re.compile(r"\| (\d+) \| `(\w+)` \|[^|]*\| ?([^|]*)\|")


def read_map() -> tuple[dict[str, int], dict[str, tuple[str, ...]]]:
    """The map in docs/architecture.md: the floor of each part, and the modules of each part that
    is a package, from the bottom to the top."""
    floors: dict[str, int] = {}
    inside: dict[str, tuple[str, ...]] = {}
    text = (REPOSITORY / "docs" / "architecture.md").read_text(encoding="utf-8")
    for floor, part, modules in _ROW.findall(text):
        floors[part] = int(floor)
        if (ROOT / part).is_dir():
            inside[part] = (*re.findall(r"`([\w.]+)`", modules), "__init__")
    return floors, inside


FLOORS, INSIDE = read_map()
TOP = ("__main__", "pip_adapter/__runner__")
#: The parts that a module of the lowest floors may import.
BASE = ("errors", "interrupts", "resources", "trust", "model", "config", "wheel")
DEPENDENCIES = {"pip", "packaging", "wrapt", "platformdirs"}

#: Calls that link, clone, copy, or set an owner, a mode or a time. umask: only asked by trust.
TOUCHES = {
    "os": {
        *("link", "symlink", "chmod", "fchmod", "lchmod", "chown", "fchown", "lchown", "utime"),
        *("truncate", "ftruncate", "copy_file_range", "sendfile", "setxattr", "removexattr"),
    },
    "shutil": {
        *("copy", "copy2", "copyfile", "copyfileobj", "copymode", "copystat", "copytree"),
        *("move", "chown", "rmtree"),
    },
    "fcntl": {"ioctl"},
}
PATH_METHODS = {"chmod", "lchmod", "hardlink_to", "link_to", "symlink_to", "touch", "write_bytes"}


def each_module(check: Callable[[str], None]) -> Callable[[], None]:
    """Make one test of a check of a module; it lists all modules that fail.

    2,000 tests of a millisecond each take longer to collect and report than to run.
    """

    def test_of_all() -> None:
        failures = []
        for module in MODULES:
            try:
                check(module)
            except AssertionError as error:
                failures.append(f"{module}: {error}")
        assert not failures, "\n".join(failures)

    return test_of_all


@functools.cache
def tree(module: str) -> ast.Module:
    return ast.parse((ROOT / module).read_text(encoding="utf-8"), filename=module)


def name_of(module: str) -> str:
    """The part of the map that a module belongs to: the top package or file, without .py."""
    stem = module[: -len(".py")]
    return stem if stem in TOP else stem.split("/")[0]


def below(dotted: str) -> str:
    """The name of a module inside its part: "doctor.trials", "__init__"."""
    rest = dotted.split(".", 1)[1] if "." in dotted else "__init__"
    return rest.removesuffix(".__init__") if rest.count(".") else rest


def layer(name: str) -> int:
    if name in TOP:
        return max(FLOORS.values()) + 1
    assert name in FLOORS, f"{name} is not on the map in docs/architecture.md"
    return FLOORS[name]


def imports(module: str) -> Iterator[tuple[str, str]]:
    """(module, name) of every import, at any depth of the file; name "" for a plain import."""
    for node in ast.walk(tree(module)):
        if isinstance(node, ast.Import):
            for alias in node.names:
                yield alias.name, ""
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{module} imports relatively"
            for alias in node.names:
                yield node.module or "", alias.name


def own_imports(module: str) -> Iterator[str]:
    """The own modules that it imports, as dotted names below the package."""
    for source, name in imports(module):
        if source == PACKAGE and name != "__version__":
            yield name
        elif source.startswith(PACKAGE + "."):
            below = source[len(PACKAGE) + 1 :]
            path = ROOT.joinpath(*below.split("."))
            is_module = (path / f"{name}.py").exists() or (path / name).is_dir()
            yield f"{below}.{name}" if is_module else below


def test_all_modules_are_looked_at() -> None:
    assert {"cli/__init__.py", "session/session.py", "placement/linker.py"} <= set(MODULES)


def test_the_map_names_every_module_and_no_other() -> None:
    there = {name_of(module) for module in MODULES} - {"__init__", *TOP}
    assert set(FLOORS) == there
    for part, modules in INSIDE.items():
        dotted = (module[: -len(".py")].replace("/", ".") for module in MODULES)
        mine = {below(one) for one in dotted if one.split(".")[0] == part}
        assert set(modules) == mine - {"__runner__"}, part


def test_the_names_in_the_walks_exist() -> None:
    text = (REPOSITORY / "docs" / "architecture.md").read_text(encoding="utf-8")
    parts = "|".join(INSIDE) + "|config"
    names = re.findall(rf"`((?:{parts})(?:\.\w+)+)`", text[text.index("## The walk") :])
    assert len(names) > 20
    for name in names:
        pkgutil.resolve_name(f"{PACKAGE}.{name}")


@pytest.mark.parametrize("module", [one for one in MODULES if one.startswith("pip_adapter/")])
def test_adapter_uses_documented_parts_of_a_session_only(module: str) -> None:
    (session,) = (
        node
        for node in tree("session/session.py").body
        if isinstance(node, ast.ClassDef) and node.name == "Session"
    )
    parts = set(re.findall(r"^``(\w+)``:", ast.get_docstring(session) or "", re.MULTILINE))
    assert {"lookup", "wheels"} <= parts
    for node in ast.walk(tree(module)):
        if isinstance(node, ast.Attribute) and isinstance(node.value, ast.Attribute):
            owner = node.value.value
            if getattr(owner, "id", getattr(owner, "attr", "")) in ("session", "_session"):
                assert node.value.attr in parts, f"line {node.lineno}"
                assert not node.attr.startswith("_"), f"line {node.lineno}"


@each_module
def test_imports_go_in_one_direction(module: str) -> None:
    if module == "__init__.py":
        assert list(own_imports(module)) == []
        return
    mine = name_of(module)
    for imported in own_imports(module):
        other = imported.split(".")[0]
        if other == mine and mine in INSIDE:
            order = INSIDE[mine]
            here = below(module[: -len(".py")].replace("/", "."))
            assert order.index(below(imported)) < order.index(here), f"{module} imports {imported}"
        else:
            assert layer(other) < layer(mine), f"{module} imports {imported}"


@each_module
def test_the_base_imports_nothing_above_it(module: str) -> None:
    if name_of(module) in BASE:
        assert {imported.split(".")[0] for imported in own_imports(module)} <= set(BASE)


@each_module
def test_package_root_is_imported_for_its_version_only(module: str) -> None:
    for source, name in imports(module):
        if source == PACKAGE:
            path = ROOT / name
            is_own = path.with_suffix(".py").exists() or path.is_dir()
            assert name and (name == "__version__" or is_own), f"{module}: {source} {name}"


@each_module
def test_runner_is_imported_by_no_module(module: str) -> None:
    assert not [found for found in imports(module) if "__runner__" in ".".join(found)]


@each_module
def test_only_the_adapter_imports_pip_and_wrapt(module: str) -> None:
    if name_of(module).split("/")[0] == "pip_adapter":
        return
    for source, _ in imports(module):
        assert source.split(".")[0] not in ("pip", "wrapt"), f"{module} imports {source}"


@each_module
def test_what_is_imported_is_declared(module: str) -> None:
    allowed = DEPENDENCIES | {PACKAGE} | set(getattr(sys, "stdlib_module_names", ()))
    if not hasattr(sys, "stdlib_module_names"):
        pytest.skip("this Python does not list its standard library")
    if module == "activation/_sitecustomize.py":
        allowed = allowed | {
            "_pip_sharedcache_everywhere"
        }  # it lies beside that one, where it is put
    if module == "remote/helper.py":
        allowed = allowed | {"obstore"}  # of the interpreter that runs it, by the extra `remote`
    for source, _ in imports(module):
        assert source.split(".")[0] in allowed, f"{module} imports {source}"


@each_module
def test_only_the_command_line_prints(module: str) -> None:
    if name_of(module) == "cli":
        return
    for node in ast.walk(tree(module)):
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Name):
            assert node.func.id not in ("print", "input"), f"{module}:{node.lineno}"
        if isinstance(node, ast.Attribute) and isinstance(node.value, ast.Name):
            named = f"{node.value.id}.{node.attr}"
            assert named not in ("sys.stdout", "sys.stderr", "warnings.warn"), (
                f"{module}:{node.lineno}: {named}"
            )


@each_module
def test_only_fs_and_placement_link_copy_and_set_modes(module: str) -> None:
    if name_of(module) in ("fs", "placement"):
        return
    for node in ast.walk(tree(module)):
        if isinstance(node, ast.ImportFrom) and node.module in TOUCHES:
            names = {alias.name for alias in node.names}
            assert not names & TOUCHES[node.module], f"{module}:{node.lineno}"
        if not isinstance(node, ast.Attribute):
            continue
        if isinstance(node.value, ast.Name) and node.value.id in TOUCHES:
            assert node.attr not in TOUCHES[node.value.id], (
                f"{module}:{node.lineno}: {node.value.id}.{node.attr}"
            )
        else:
            assert node.attr not in PATH_METHODS, f"{module}:{node.lineno}: .{node.attr}"


@each_module
def test_only_fs_and_placement_ask_which_system_this_is(module: str) -> None:
    if name_of(module) in ("fs", "placement"):
        return
    for node in ast.walk(tree(module)):
        if isinstance(node, ast.Attribute) and isinstance(node.value, ast.Name):
            named = f"{node.value.id}.{node.attr}"
            assert named not in ("os.name", "sys.platform"), f"{module}:{node.lineno}"
    assert "platform" not in {source for source, _ in imports(module)}


@each_module
def test_the_umask_is_asked_in_one_place_and_set_in_one(module: str) -> None:
    if module in ("trust/publishers.py", "fs/dirfd.py"):
        return
    assert "umask" not in {
        node.attr
        for node in ast.walk(tree(module))
        if isinstance(node, ast.Attribute)
        and isinstance(node.value, ast.Name)
        and node.value.id == "os"
    }


def _is_text_without_encoding(call: ast.Call) -> bool:
    """Whether ``call`` opens text, or reads that of a process, in the locale's encoding."""
    given = {word.arg: word.value for word in call.keywords}
    if "encoding" in given:
        return False
    if {"text", "universal_newlines", "errors"} & set(given):
        return True
    function = call.func
    name = getattr(function, "id", getattr(function, "attr", ""))
    if name == "write_text":
        return len(call.args) < 2
    if name == "read_text":
        return not call.args
    if ast.unparse(function) == "os.open":
        return False
    is_method = isinstance(function, ast.Attribute) and name == "open"
    if name not in ("open", "fdopen"):
        return False
    others = isinstance(function, ast.Attribute) and "fileobj" in given  # tarfile.open
    if others or (is_method and call.args and not isinstance(call.args[0], ast.Constant)):
        return False  # os.open, Directory.open and the like
    modes = [*call.args[0 if is_method else 1 :][:1], given.get("mode")]
    return not any(isinstance(mode, ast.Constant) and "b" in str(mode.value) for mode in modes)


@each_module
def test_text_names_its_encoding(module: str) -> None:
    """Else Python warns, with -X warn_default_encoding, and it depends on the user's locale."""
    for node in ast.walk(tree(module)):
        if isinstance(node, ast.Call):
            assert not _is_text_without_encoding(node), f"{module}:{node.lineno}"


@pytest.mark.parametrize(
    "line",
    [
        *("open(a)", "open(a, 'w')", "os.fdopen(a)", "a.open()", "a.read_text()"),
        *("a.write_text(b)", "subprocess.run(a, text=True)", "a.open('r')", "open(a, mode='w')"),
    ],
)
def test_text_without_an_encoding_is_seen(line: str) -> None:
    call = ast.parse(line, mode="eval").body
    assert isinstance(call, ast.Call)
    assert _is_text_without_encoding(call)


@each_module
def test_no_module_is_too_long(module: str) -> None:
    assert len((ROOT / module).read_text(encoding="utf-8").splitlines()) <= 400


def test_no_tracked_file_is_a_symlink() -> None:
    """A link leads elsewhere in every clone."""
    command = ["git", "-C", str(REPOSITORY), "ls-files", "--stage"]
    done = subprocess.run(command, stdout=subprocess.PIPE, text=True)
    if done.returncode:
        pytest.skip("not a clone")
    assert [line for line in done.stdout.splitlines() if line.startswith("120000")] == []


def test_the_package_says_that_it_is_typed() -> None:
    assert (ROOT / "py.typed").is_file()


@pytest.mark.parametrize("path", [Path("x/y.py"), Path("a.py")], ids=str)
def test_these_checks_see_what_they_look_for(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    source = "import os\nfrom pip_sharedcache.cli import main\nprint(os.chmod('a', 0))\n"
    monkeypatch.setitem(globals(), "MODULES", [path.as_posix()])
    monkeypatch.setitem(globals(), "tree", lambda module: ast.parse(source))
    monkeypatch.setitem(globals(), "layer", lambda name: {"cli": 9}.get(name, 1))
    for check in (
        test_imports_go_in_one_direction,
        test_only_the_command_line_prints,
        test_only_fs_and_placement_link_copy_and_set_modes,
    ):
        with pytest.raises(AssertionError):
            check()


#: Modules that a Python may be built without, and pip runs on it all the same.
OPTIONAL = {
    *("_ctypes", "ctypes", "fcntl", "grp", "pwd", "resource", "ssl", "bz2", "lzma", "sqlite3"),
    *("readline", "curses", "mmap", "multiprocessing", "_posixsubprocess", "_hashlib"),
}
#: Attributes that PyPy, another C library or another kernel lacks.
RARE = {
    "gc": {"freeze", "unfreeze"},
    "os": {"copy_file_range", "sched_getaffinity", "posix_fadvise", "pidfd_open", "memfd_create"},
}


@each_module
def test_what_a_python_may_lack_is_done_without(module: str) -> None:
    parsed = tree(module)
    guarded = {
        node
        for attempt in ast.walk(parsed)
        if isinstance(attempt, ast.Try)
        and any("ImportError" in ast.unparse(one.type) for one in attempt.handlers if one.type)
        for part in attempt.body
        for node in ast.walk(part)
    }
    asked = {ast.unparse(node) for node in ast.walk(parsed) if isinstance(node, ast.Call)}
    for node in ast.walk(parsed):
        if isinstance(node, ast.Import):
            names = {alias.name.partition(".")[0] for alias in node.names}
            assert node in guarded or not names & OPTIONAL, f"line {node.lineno}"
        elif isinstance(node, ast.ImportFrom):
            name = (node.module or "").partition(".")[0]
            assert node in guarded or name not in OPTIONAL, f"line {node.lineno}"
        elif isinstance(node, ast.Attribute) and isinstance(node.value, ast.Name):
            where = node.value.id
            if node.attr in RARE.get(where, ()):
                assert f"hasattr({where}, '{node.attr}')" in asked, f"line {node.lineno}"


def test_copies_of_a_function_are_the_same() -> None:
    """Each of these files can be all that is left of pip-sharedcache, and imports nothing of it."""
    files = ("pip_adapter/__runner__.py", "activation/_pip_sharedcache.py", "activation/_launch.py")
    for name, modules in (("is_offline", files), ("end_if_offline", files[1:])):
        copies = {
            ast.dump(node)
            for module in modules
            for node in tree(module).body
            if isinstance(node, ast.FunctionDef) and node.name == name
        }
        assert len(copies) == 1, name
