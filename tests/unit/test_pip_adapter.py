"""The boundary to pip: whether a seam fits, what is read of pip, what another interpreter gets."""

from __future__ import annotations

import importlib
import importlib.metadata
import importlib.util
import inspect
import json
import os
import runpy
import subprocess
import sys
import zipfile
from collections.abc import Callable, Iterator
from pathlib import Path
from types import FunctionType, MemberDescriptorType, ModuleType, SimpleNamespace
from typing import Any, ClassVar

import pytest

from pip_sharedcache.config import Settings
from pip_sharedcache.errors import PipMissing, SeamMissing
from pip_sharedcache.pip_adapter import (
    bootstrap,
    configuration_files,
    downloads,
    import_hooks,
    links,
    other_pips,
    run_pip,
    safety_wrappers,
    seams,
    wheel_checks,
)
from pip_sharedcache.pip_adapter.seams import Seam
from pip_sharedcache.session.session import Session
from pip_sharedcache.store.layers import Layers
from support.probes import linux, needs, root

DIGEST = "0123456789abcdef" * 4
OTHER = "fedcba9876543210" * 4


@pytest.fixture
def module(monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    """A module with a function, a class and things that cannot be called."""
    made = ModuleType("made_for_seams")

    class Thing:
        def method(self, path: str, mode: int = 0) -> tuple[str, int]:
            return path, mode

        @staticmethod
        def plain(path: str) -> str:
            return path

    made.Thing = Thing  # type: ignore[attr-defined]
    made.function = lambda name, *, kind="x": (name, kind)  # type: ignore[attr-defined]
    made.number = 7  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, made.__name__, made)
    return made


def _seam(attribute: str, *parameters: str, instead: str = "") -> Seam:
    return Seam("made_for_seams", attribute, parameters, instead)


@pytest.mark.parametrize(
    ("seam", "words"),
    [
        (_seam("function", "name", "kind"), ""),
        (_seam("Thing.method", "path"), ""),
        (_seam("Thing.method", "self", "mode"), ""),
        (_seam("Thing.method", "path", "dry_run"), "has no parameter 'dry_run'"),
        (_seam("Thing.missing"), "is missing"),
        (_seam("Missing.method"), "is missing"),
        (_seam("number"), "is missing"),
        (_seam("Thing.missing", "x", instead="Thing.method"), ""),
        (_seam("Thing.missing", "x", instead="Thing.gone"), "is missing"),
        (_seam("Thing.method", "x", instead="Thing.plain"), "has no parameter 'x'"),
        (Seam("no_such_module_here", "function", ()), "is missing"),
        (Seam("builtins", "type.__call__", ("no_such",)), "type.__call__"),
    ],
    ids=lambda value: value.name + "+" + value.instead if isinstance(value, Seam) else None,
)
def test_a_seam_fits_or_says_why_not(module: ModuleType, seam: Seam, words: str) -> None:
    problem = seam.problem()
    assert words in problem
    assert bool(problem) is bool(words)
    if words:
        assert problem.startswith(seam.name)


@pytest.fixture
def things(monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    """A module with a class that has attributes, and a function that sets others."""
    made = ModuleType("made_for_seams")

    class Base:
        inherited = 1

    class Thing(Base):
        declared = 0

        def __init__(self, link: str) -> None:
            self.link = link
            self.original_link = link

        @property
        def name(self) -> str:
            raise AssertionError("looking whether it is there must not run it")

    made.Thing = Thing  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, made.__name__, made)
    return made


def _setting(*sets: str) -> Seam:
    return Seam("made_for_seams", "Thing.__init__", ("link",), sets=sets)


def _beside(*beside: str) -> Seam:
    return Seam("made_for_seams", "Thing.__init__", ("link",), beside=beside)


@pytest.mark.parametrize(
    ("seam", "problem"),
    [
        (_setting("link"), ""),
        (_setting("link", "original_link"), ""),
        (_setting("link", "gone"), "made_for_seams.Thing.__init__ sets no attribute 'gone'"),
        (_setting("declared"), "made_for_seams.Thing.__init__ sets no attribute 'declared'"),
        (_beside("name"), ""),
        (_beside("name", "declared", "inherited", "__init__"), ""),
        (_beside("name", "gone"), "made_for_seams.Thing has no attribute 'gone'"),
        (_beside("link"), "made_for_seams.Thing has no attribute 'link'"),
    ],
    ids=[
        "one",
        "two",
        "one is missing",
        "not set",
        "property",
        "all kinds",
        "missing",
        "not there",
    ],
)
def test_what_is_read_off_an_object_is_checked_too(
    things: ModuleType, seam: Seam, problem: str
) -> None:
    assert seam.problem() == problem


def test_what_a_wrapped_function_sets_is_still_seen(things: ModuleType) -> None:
    seams.wrap(_setting("link"), lambda original, instance, args, kw: original(*args, **kw))
    assert _setting("link", "original_link").problem() == ""
    assert "sets no attribute 'gone'" in _setting("gone").problem()
    assert things.Thing("x").link == "x"


def test_what_has_no_code_sets_nothing(things: ModuleType, monkeypatch: pytest.MonkeyPatch) -> None:
    class Called:
        def __call__(self, link: str) -> None: ...

    monkeypatch.setattr(things, "function", Called(), raising=False)
    assert Seam("made_for_seams", "function", ("link",)).problem() == ""
    seam = Seam("made_for_seams", "function", ("link",), sets=("link",))
    assert seam.problem() == "made_for_seams.function sets no attribute 'link'"


READ = [
    (seam, kind, name)
    for seam in seams.INSTALL_SEAMS
    for kind in ("sets", "beside")
    for name in getattr(seam, kind)
]


@pytest.mark.parametrize(
    ("seam", "kind", "name"), READ, ids=[f"{seam.attribute} {kind} {n}" for seam, kind, n in READ]
)
def test_each_thing_that_is_read_off_pips_objects_is_needed(
    seam: Seam, kind: str, name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    class_name, _, method = seam.attribute.partition(".")
    holder: Any = importlib.import_module(seam.module)
    real = getattr(holder, class_name)
    made: Any
    if kind == "sets":
        init = getattr(real, method)
        names = tuple("_" if each == name else each for each in init.__code__.co_names)
        changed = FunctionType(
            init.__code__.replace(co_names=names),
            init.__globals__,
            method,
            init.__defaults__,
            init.__closure__,
        )
        changed.__kwdefaults__ = init.__kwdefaults__
        made = type(class_name, (real,), {method: changed})
    else:
        kept = {
            key: inspect.getattr_static(real, key)
            for key in dir(real)
            if key not in (name, "__dict__", "__weakref__", "__slots__")
            and not isinstance(inspect.getattr_static(real, key), MemberDescriptorType)
        }
        made = type(class_name, (), kept)
    monkeypatch.setattr(holder, class_name, made)
    assert name in seam.problem()
    with pytest.raises(SeamMissing, match=seam.module):
        seams.check()


def test_the_first_seam_that_does_not_fit_is_named(module: ModuleType) -> None:
    seams.check((_seam("function", "name"),))
    with pytest.raises(SeamMissing, match=r"made_for_seams\.gone is missing"):
        seams.check((_seam("function"), _seam("gone"), _seam("gone_too")))


def test_the_pip_of_these_tests_has_every_seam() -> None:
    seams.check()


@pytest.mark.parametrize("seam", seams.INSTALL_SEAMS, ids=lambda seam: seam.name)
def test_each_seam_is_needed(seam: Seam, monkeypatch: pytest.MonkeyPatch) -> None:
    seams.check()  # imports all modules: with one seam missing, the import of others fails
    path, _, name = seam.attribute.rpartition(".")
    holder: Any = importlib.import_module(seam.module)
    for part in path.split(".") if path else ():
        holder = getattr(holder, part)
    monkeypatch.delattr(holder, name, raising=False)
    if seam.find() is not None:  # what a base class has, takes other arguments
        monkeypatch.setattr(holder, name, lambda self: None, raising=False)
    if seam.instead:
        return
    with pytest.raises(SeamMissing, match=seam.module):
        seams.check()


def test_a_wrapped_function_is_wrapped_and_a_missing_one_left(module: ModuleType) -> None:
    def twice(original: Callable[..., Any], instance: Any, args: Any, kw: Any) -> Any:
        return original(*args, **kw), original(*args, **kw)

    seams.wrap(_seam("Thing.method"), twice)
    seams.wrap(_seam("Thing.gone"), twice)
    thing = module.Thing()
    assert thing.method("a", mode=1) == (("a", 1), ("a", 1))
    assert not hasattr(thing, "gone")
    assert _seam("Thing.method", "path", "mode").problem() == "", "a wrapped one fits as before"


def test_who_imported_by_name_gets_what_is_there_now(
    module: ModuleType, monkeypatch: pytest.MonkeyPatch
) -> None:
    importer = ModuleType("made_importer")
    importer.function = module.function  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "made_importer", importer)
    module.function = lambda: "new"  # type: ignore[attr-defined]
    seams.hand_on(_seam("function"), "made_importer")
    assert importer.function() == "new"
    seams.hand_on(_seam("number"), "made_importer")
    assert not hasattr(importer, "number"), "what it had not imported it does not get"
    seams.hand_on(_seam("function"), "never_imported")


def test_arguments_are_found_by_name_with_defaults(module: ModuleType) -> None:
    assert seams.arguments(module.function, ("a",), {}) == {"name": "a", "kind": "x"}
    assert seams.arguments(module.Thing().method, ("a",), {"mode": 2}) == {"path": "a", "mode": 2}


@pytest.mark.parametrize(("args", "kw"), [((), {}), (("a", "b"), {}), (("a",), {"other": 1})])
def test_a_call_that_does_not_fit_has_no_arguments(
    module: ModuleType, args: tuple[Any, ...], kw: dict[str, Any]
) -> None:
    assert seams.arguments(module.function, args, kw) is None


def test_what_has_no_signature_has_no_arguments() -> None:
    assert seams.arguments(object(), (), {}) is None  # type: ignore[arg-type]


# -- pip's configuration files


class _Files:
    """Stands for pip's Configuration."""

    kinds: ClassVar[list[tuple[Any, list[str]]]] = []

    def __init__(self, isolated: bool) -> None:
        self.isolated = isolated

    def iter_config_files(self) -> Iterator[tuple[Any, list[str]]]:
        yield from self.kinds


@pytest.fixture
def pips_files(monkeypatch: pytest.MonkeyPatch) -> type[_Files]:
    made = ModuleType("pip._internal.configuration")
    made.Configuration = _Files  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, made.__name__, made)
    monkeypatch.setattr(_Files, "kinds", [])
    return _Files


@pytest.mark.parametrize("enumeration", [False, True], ids=["strings", "members"])
def test_files_come_in_the_order_in_which_the_last_wins(
    pips_files: type[_Files], enumeration: bool
) -> None:
    names = {"env": ["e"], "user": ["u1", "u2"], "site": ["s"], "global": ["g1", "g2"]}
    prefix = "Kind." if enumeration else ""
    pips_files.kinds = [(f"{prefix}{name.upper()}", files) for name, files in names.items()]
    assert [str(path) for path in configuration_files()] == ["g1", "g2", "u1", "u2", "s", "e"]


def test_no_file_is_read_where_pip_reads_none(pips_files: type[_Files]) -> None:
    pips_files.kinds = [("global", ["g"]), ("env", [os.devnull])]
    assert configuration_files() == []


def test_an_unknown_kind_is_not_read(pips_files: type[_Files]) -> None:
    pips_files.kinds = [("global", ["g"]), ("env-var", ["x"]), ("project", ["p"])]
    assert configuration_files() == [Path("g")]


@pytest.mark.parametrize(
    "broken", ["missing", "no class", "no method", "other arguments", "other result"]
)
def test_a_pip_that_does_not_tell_has_no_files(
    broken: str, pips_files: type[_Files], monkeypatch: pytest.MonkeyPatch
) -> None:
    module = sys.modules["pip._internal.configuration"]
    if broken == "missing":
        monkeypatch.setitem(sys.modules, module.__name__, None)  # type: ignore[arg-type]
    elif broken == "no class":
        monkeypatch.delattr(module, "Configuration")
    elif broken == "no method":
        monkeypatch.setattr(module, "Configuration", lambda isolated: object())
    elif broken == "other arguments":
        monkeypatch.setattr(module, "Configuration", lambda: None)
    else:
        pips_files.kinds = [("a", ["b"], "c")]  # type: ignore[list-item]
    assert configuration_files() == []


def test_the_pip_of_these_tests_tells_its_files(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert configuration_files() == [], "PIP_CONFIG_FILE is the null device in tests"
    (tmp_path / "pip.conf").write_text("[sharedcache]\n")
    monkeypatch.setenv("PIP_CONFIG_FILE", str(tmp_path / "pip.conf"))
    files = configuration_files()
    assert files[-1] == tmp_path / "pip.conf"
    assert len(files) > 1


# -- running


def test_interpreter_without_pip_is_reported_with_a_hint(monkeypatch: pytest.MonkeyPatch) -> None:
    find = importlib.util.find_spec
    monkeypatch.setattr(
        importlib.util, "find_spec", lambda name, *rest: None if name == "pip" else find(name)
    )
    with pytest.raises(PipMissing, match="has no pip") as caught:
        run_pip(["list"])
    assert "ensurepip" in caught.value.hint


@pytest.mark.parametrize(
    ("start", "processes"),
    [
        ("run.run_pip(['install', '--help'])", "2"),
        ("run.join_pip(); runpy.run_module('pip', run_name='__main__', alter_sys=True)", "2"),
        ("run.join_pip(); runpy.run_module('pip', run_name='__main__', alter_sys=True)", "wrong"),
    ],
    ids=["run", "join", "join with a wrong setting"],
)
def test_python_searches_for_cycles_as_before_once_pip_is_imported(
    start: str, processes: str
) -> None:
    program = (
        "import gc, runpy, sys\n"
        "from pip_sharedcache.pip_adapter import run\n"
        "from pip_sharedcache.pip_adapter.import_hooks import when_imported\n"
        "before, during = gc.get_threshold(), []\n"
        "note = lambda module: during.append(gc.get_threshold())\n"
        "when_imported('pip._internal.cli.base_command', note)\n"
        "sys.argv[1:] = ['install', '--help']\n"
        "try:\n"
        f"    {start}\n"
        "except SystemExit as end:\n"
        "    assert not end.code, end.code\n"
        "assert during[0][0] > before[0], (during, before)\n"
        "assert gc.get_threshold() == before, gc.get_threshold()\n"
    )
    environ = {**os.environ, "PIP_SHAREDCACHE_PROCESSES": processes}
    subprocess.run([sys.executable, "-c", program], env=environ, check=True, capture_output=True)


def test_another_interpreter_is_given_our_runner_and_five_packages(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv(bootstrap.RUNNER_VARIABLE, "")
    given = other_pips._runnable(lambda: "/pip/__pip-runner__.py", lambda: True, pytest.fail)
    assert given == str(bootstrap.RUNNER)
    told = json.loads(os.environ[bootstrap.RUNNER_VARIABLE])
    assert told["pip"] == "/pip/__pip-runner__.py"
    assert set(told["roots"]) == {"pip", "pip_sharedcache", "wrapt", "packaging", "platformdirs"}
    for name, place in told["roots"].items():
        assert (Path(place) / name / "__init__.py").is_file()


@pytest.mark.parametrize(
    ("says", "since"),
    [
        (">=3.9", [3, 9]),
        ("", [3, 0]),
        (">=3.10.2,!=3.11.*", [3, 10]),
        (">=3", [3, 0]),
        ("?", [3, 0]),
    ],
)
def test_since_when_a_package_runs_on_which_python(
    says: str, since: list[int], tmp_path: Path
) -> None:
    information = tmp_path / "packaging-1.0.dist-info"
    information.mkdir()
    requires = f"Requires-Python: {says}\n" if says else ""
    text = f"Metadata-Version: 2.1\nName: packaging\nVersion: 1.0\n{requires}"
    (information / "METADATA").write_text(text, encoding="utf-8")
    assert bootstrap._since("packaging", str(tmp_path)) == since
    assert bootstrap._since("wrapt", str(tmp_path)) == [3, 0]


@pytest.mark.parametrize("brings", [True, False])
def test_an_older_interpreter_is_given_what_pip_brings_or_plain_pip(
    brings: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(bootstrap.RUNNER_VARIABLE, "")
    newest = {"packaging": [3, 12], "platformdirs": [3, 13], "wrapt": [3, 8]}
    monkeypatch.setattr(bootstrap, "_since", lambda name, root: newest[name])
    other_pips._runnable(lambda: "/pip/__pip-runner__.py", lambda: True, pytest.fail)
    told = json.loads(os.environ[bootstrap.RUNNER_VARIABLE])
    assert (told["requires"], told["since"]) == ([3, 9], newest)
    runner = runpy.run_path(str(bootstrap.RUNNER), run_name="runner")
    # The pip of Python 3.9 and 3.10, and of Debian 12, brings an older platformdirs.
    runner["BROUGHT_BY_PIP"]["platformdirs"] = ("__init__.py", "def user_cache_dir")
    if not brings:
        runner["BROUGHT_BY_PIP"]["packaging"] = ("utils.py", "def missing")
    monkeypatch.setattr(sys, "version_info", (3, 11, 0))
    monkeypatch.setattr(sys, "meta_path", list(sys.meta_path))
    assert runner["carry"](told, os.path.join(told["roots"]["pip"], "pip")) is brings
    if brings:
        roots = sys.meta_path[0].roots  # type: ignore[attr-defined]
        for name in ("packaging", "platformdirs"):
            assert (Path(roots[name]) / name / "__init__.py").is_file()
            assert Path(roots[name]).name == "_vendor"
        assert roots["wrapt"] == told["roots"]["wrapt"]


@pytest.mark.parametrize("kind", ["gone", "no origin", "nowhere", "no runner"])
def test_what_cannot_be_carried_over_leaves_plain_pip(
    kind: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv(bootstrap.RUNNER_VARIABLE, raising=False)
    find = importlib.util.find_spec
    spec = {
        "gone": None,
        "no origin": SimpleNamespace(origin=None),
        "nowhere": SimpleNamespace(origin="/x/pip.whl/wrapt/__init__.py"),
    }
    if kind == "no runner":
        monkeypatch.setattr(bootstrap, "RUNNER", Path("/nonexistent"))
    else:
        monkeypatch.setattr(
            importlib.util,
            "find_spec",
            lambda name, *rest: spec[kind] if name == "wrapt" else find(name),
        )
    told: list[Exception | None] = []
    assert other_pips._runnable(lambda: "plain", lambda: True, told.append) == "plain"
    assert len(told) == 1
    assert bootstrap.RUNNER_VARIABLE not in os.environ


def test_our_runner_is_answered_only_where_pip_defines_its_own() -> None:
    defines, imports = ModuleType("made_defines"), ModuleType("made_imports")
    exec("def get_runnable_pip(): return 'plain'", defines.__dict__)
    imports.get_runnable_pip = defines.get_runnable_pip  # type: ignore[attr-defined]
    before = imports.get_runnable_pip
    for module in (imports, ModuleType("made_empty"), defines):
        other_pips._replace_in(module, lambda: True, lambda error: None)
    assert imports.get_runnable_pip is before
    assert defines.get_runnable_pip is not before


def test_the_runner_finds_what_is_carried_and_nothing_else(tmp_path: Path) -> None:
    for name in ("carried", "neighbour"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "__init__.py").touch()
    made = runpy.run_path(str(bootstrap.RUNNER), run_name="runner")
    finder = made["CarriedFinder"]({"carried": str(tmp_path)})
    found = finder.find_spec("carried")
    assert found.origin == str(tmp_path / "carried" / "__init__.py")
    assert finder.find_spec("neighbour") is None
    assert finder.find_spec("carried.below", found.submodule_search_locations) is None


def test_the_runner_can_be_read_by_old_interpreters() -> None:
    import ast

    ast.parse(bootstrap.RUNNER.read_text(encoding="utf-8"), feature_version=(3, 4))


# -- what pip knows of a wheel


def _link(url: str, **hashes: str) -> Any:
    name = next(iter(hashes), None)
    return SimpleNamespace(url=url, hash_name=name, hash=hashes.get(name) if name else None)


def test_the_indexs_own_digest_comes_first() -> None:
    requirement = SimpleNamespace(hash_options={"sha256": [OTHER]})
    assert links.digests_of(_link("u", sha256=DIGEST.upper()), requirement) == (DIGEST,)


@pytest.mark.parametrize(
    ("hashes", "options", "expected"),
    [
        ({}, {}, ()),
        ({}, {"sha256": [DIGEST, OTHER]}, (DIGEST, OTHER)),
        ({"md5": "ab" * 16}, {"sha256": [DIGEST]}, (DIGEST,)),
        ({"sha256": "no digest"}, {"sha256": ["short", DIGEST]}, (DIGEST,)),
        ({"sha512": "ab" * 64}, {"sha512": ["ab" * 64]}, ()),
    ],
    ids=["none", "options", "md5", "malformed", "sha512"],
)
def test_else_it_is_that_of_the_requirement(
    hashes: dict[str, str], options: dict[str, list[str]], expected: tuple[str, ...]
) -> None:
    requirement = SimpleNamespace(hash_options=options)
    assert links.digests_of(_link("u", **hashes), requirement) == expected
    assert links.digests_of(_link("u")) == ()


def test_a_find_links_directory_is_known_as_path_and_as_url(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    place = tmp_path / "my wheels"
    place.mkdir()
    (tmp_path / "link").symlink_to(place)
    monkeypatch.chdir(tmp_path)
    for text in (str(place), str(place) + "/", "my wheels", "link", place.as_uri()):
        assert links.local_directory(text) == os.path.realpath(place), text
    assert links.local_directory("https://index/simple") == ""


@pytest.fixture
def swapped(tmp_path: Path) -> downloads.Downloads:
    made = downloads.Downloads()
    made.session = Session(Settings(tmp_path, "test"), Layers([]), 0o022)
    return made


@pytest.mark.parametrize(
    ("url", "page", "private"),
    [
        ("https://files/demo.whl", "https://index/simple/demo/", False),
        ("https://me:secret@files/demo.whl", None, True),
        ("https://files/demo.whl", "https://me@index/simple/demo/", True),
        ("https://asked/demo.whl", None, True),
        ("https://asked/demo.whl#sha256=x", None, True),
        ("https://files/demo.whl", "https://asked/demo.whl", True),
    ],
)
def test_what_came_with_credentials_is_private(
    swapped: downloads.Downloads, url: str, page: str | None, private: bool
) -> None:
    request = SimpleNamespace(url="https://asked/demo.whl", headers={"Authorization": "x"})
    swapped.responses._note(SimpleNamespace(request=request))
    anonymous = SimpleNamespace(url="https://files/demo.whl", headers={})
    swapped.responses._note(SimpleNamespace(request=anonymous))
    swapped.responses._note(SimpleNamespace(request=None))
    for comes_from in (page, SimpleNamespace(url=page)):
        link = SimpleNamespace(url=url, comes_from=comes_from)
        assert bool(swapped.responses.private(None, link)) is private


def test_what_came_with_a_client_certificate_is_private(swapped: downloads.Downloads) -> None:
    link = SimpleNamespace(url="https://files/demo.whl", comes_from=None)
    assert swapped.responses.private(SimpleNamespace(cert="/my.pem"), link)
    assert not swapped.responses.private(SimpleNamespace(cert=None), link)


# -- what pip makes writable because it cannot delete it


def _force(seen: list[str]) -> Callable[..., Any]:
    def rmtree_errorhandler(func: Any, path: str, exc_info: Any, *, onexc: Any = None) -> None:
        seen.append(path)

    return rmtree_errorhandler


def _spared(path: Path, onexc: Any = None) -> bool:
    seen: list[str] = []
    error = PermissionError("not this one")
    info = (PermissionError, error, None)
    try:
        kw = {} if onexc is None else {"onexc": onexc}
        safety_wrappers.spare_foreign_files(_force(seen), None, (os.unlink, str(path), info), kw)
    except PermissionError as raised:
        assert raised is error
    return not seen


@needs(linux)
def test_own_file_may_be_made_writable(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    (tmp_path / "directory").mkdir()
    assert not _spared(tmp_path / "file")
    assert not _spared(tmp_path / "directory")
    assert not _spared(tmp_path / "gone")


@needs(linux)
def test_what_is_linked_is_spared(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    os.link(tmp_path / "file", tmp_path / "hard")
    (tmp_path / "soft").symlink_to("file")
    assert _spared(tmp_path / "hard")
    assert _spared(tmp_path / "soft")


@needs(root)
def test_files_of_other_users_are_spared(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    os.chown(tmp_path / "file", 54321, 54399)
    assert _spared(tmp_path / "file")
    told: list[Any] = []
    assert _spared(tmp_path / "file", lambda *given: told.append(given))
    assert told[0][1] == str(tmp_path / "file")


# -- hooks for modules of pip


class Importable:
    """Modules that can be imported, and which hooks were called with them."""

    def __init__(self, base: Path) -> None:
        self.base = base
        self.told: list[tuple[str, bool]] = []

    def write(self, name: str, text: str = "VALUE = 1\n") -> str:
        package, _, last = name.rpartition(".")
        directory = self.base / package
        directory.mkdir(exist_ok=True)
        if package:
            (directory / "__init__.py").touch()
        (directory / f"{last}.py").write_text(text)
        return name

    def hook(self, module: ModuleType) -> None:
        self.told.append((module.__name__, hasattr(module, "VALUE")))


@pytest.fixture
def importable(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Importable]:
    monkeypatch.setattr(import_hooks, "_finder", import_hooks._Finder())
    monkeypatch.setattr(sys, "meta_path", list(sys.meta_path))
    monkeypatch.setattr(sys, "dont_write_bytecode", True)
    monkeypatch.syspath_prepend(tmp_path)
    before = set(sys.modules)
    yield Importable(tmp_path)
    for name in set(sys.modules) - before:
        del sys.modules[name]


def test_a_hook_is_called_when_its_module_is_complete(importable: Importable) -> None:
    name = importable.write("made_hooked")
    import_hooks.when_imported(name, importable.hook)
    assert importable.told == []
    module = importlib.import_module(name)
    assert importable.told == [(name, True)]
    importlib.import_module(name)
    assert len(importable.told) == 1
    assert module.VALUE == 1


def test_a_hook_for_a_module_that_is_there_is_called_at_once(importable: Importable) -> None:
    name = importable.write("made_hooked")
    importlib.import_module(name)
    import_hooks.when_imported(name, importable.hook)
    assert importable.told == [(name, True)]


def test_several_hooks_are_called_in_their_order(importable: Importable) -> None:
    name = importable.write("made_package.below")
    called: list[int] = []
    for number in range(3):
        import_hooks.when_imported(name, lambda _, number=number: called.append(number))
    importlib.import_module("made_package")
    assert called == []
    importlib.import_module(name)
    assert called == [0, 1, 2]
    assert len([finder for finder in sys.meta_path if finder is import_hooks._finder]) == 1


def test_a_module_that_imports_another_that_is_waited_for(importable: Importable) -> None:
    importable.write("made_package.first", "import made_package.second\nVALUE = 1\n")
    importable.write("made_package.second")
    for name in ("made_package.first", "made_package.second"):
        import_hooks.when_imported(name, importable.hook)
    importlib.import_module("made_package.first")
    assert importable.told == [("made_package.second", True), ("made_package.first", True)]


def test_a_hooked_module_is_as_any_other_afterwards(importable: Importable) -> None:
    name, other = importable.write("made_hooked", "def f():\n    return 1\n"), "made_other"
    importable.write(other)
    import_hooks.when_imported(name, importable.hook)
    module, plain = importlib.import_module(name), importlib.import_module(other)
    assert module.__spec__ is not None
    assert type(module.__spec__.loader) is type(module.__loader__) is type(plain.__loader__)
    assert inspect.getsource(module.f).startswith("def f")
    assert importlib.reload(module) is module
    assert importable.told == [(name, False)]


def test_a_hook_that_raises_makes_the_import_raise(importable: Importable) -> None:
    name = importable.write("made_hooked")

    def refuse(_: ModuleType) -> None:
        raise PipMissing("no", "such")

    import_hooks.when_imported(name, refuse)
    with pytest.raises(PipMissing):
        importlib.import_module(name)
    assert name not in sys.modules


def test_looking_whether_a_module_is_there_calls_no_hook(importable: Importable) -> None:
    name = importable.write("made_hooked")
    import_hooks.when_imported(name, importable.hook)
    import_hooks.when_imported("made_missing", importable.hook)
    assert importlib.util.find_spec(name) is not None
    assert importlib.util.find_spec("made_missing") is None
    with pytest.raises(ModuleNotFoundError, match="made_missing"):
        importlib.import_module("made_missing")
    assert importable.told == []
    importlib.import_module(name)
    assert importable.told == [(name, True)]


def test_a_module_that_fails_calls_no_hook_and_may_come_later(importable: Importable) -> None:
    name = importable.write("made_hooked", "raise ValueError('broken')\n")
    import_hooks.when_imported(name, importable.hook)
    with pytest.raises(ValueError, match="broken"):
        importlib.import_module(name)
    assert importable.told == []
    importable.write(name)
    importlib.invalidate_caches()
    importlib.import_module(name)
    assert importable.told == [(name, True)]


# -- a module's function, replaced for one importer alone


def test_a_stand_in_is_seen_by_its_importer_alone(
    module: ModuleType, monkeypatch: pytest.MonkeyPatch
) -> None:
    importer = ModuleType("made_importer")
    importer.tools = module  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "made_importer", importer)
    before = module.function
    seam = Seam("made_importer", "tools.function", ("name",))
    seams.stand_in(seam, function=lambda original, *args, **kw: ("instead", original(*args, **kw)))
    assert importer.tools.function("a", kind="b") == ("instead", ("a", "b"))
    assert importer.tools.number == 7
    assert module.function is before
    assert module.function("a") == ("a", "x")
    with pytest.raises(AttributeError, match="gone"):
        _ = importer.tools.gone


def test_where_there_is_nothing_to_stand_in_for_nothing_is_done(module: ModuleType) -> None:
    seams.stand_in(Seam("never_imported", "os.fsync", ()), fsync=lambda original: None)
    seams.stand_in(Seam("made_for_seams", "os.fsync", ()), fsync=lambda original: None)
    assert not hasattr(module, "os")


def test_importing_the_command_does_not_import_pip() -> None:
    code = (
        "import sys, pip_sharedcache.cli;"
        "sys.exit(any(name.startswith('pip._internal') for name in sys.modules))"
    )
    assert subprocess.run([sys.executable, "-c", code]).returncode == 0


def test_a_wheel_that_cannot_be_read_is_known_in_pips_words() -> None:
    """pip 23 to 26 put it into an error of their own, raised while the first was handled."""
    torn = zipfile.BadZipFile("Bad magic number for file header")
    told = ValueError("has an invalid wheel")
    told.__context__ = KeyError("WHEEL")
    assert not wheel_checks.is_torn(told)
    told.__context__.__cause__ = torn
    assert wheel_checks.is_torn(told)
    assert wheel_checks.is_torn(torn)


def test_the_own_metadata_directory_is_moved_before_a_vendored_one() -> None:
    """Killed in between, nothing is listed that lacks files."""
    paths = ["/lib/aaa/_vendor/other-2.0.dist-info/", "/lib/bin", "/lib/zzz-1.0.dist-info/"]
    first = safety_wrappers.information_first(lambda: True)(set, None, (paths,), {})
    assert sorted(first) == [paths[2], paths[0], paths[1]]
