"""Bytecode: what it is called, what it depends on, and that it is what Python would write."""

from __future__ import annotations

import errno
import functools
import hashlib
import importlib.util
import json
import marshal
import os
import py_compile
import resource
import struct
import subprocess
import sys
import warnings
import zlib
from collections.abc import Mapping
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from pip_sharedcache import bytecode
from pip_sharedcache.bytecode import worker
from pip_sharedcache.errors import DamagedEntry
from pip_sharedcache.fs import Directory
from pip_sharedcache.model import Compiled, Digest, Entry, Manifest, StoredFile
from pip_sharedcache.store import Source, compiled_path
from pip_sharedcache.store.spools import open_spools
from support.probes import linux, needs

pytestmark = needs(linux)

MTIME = 1_600_000_000
WORKER = Path(worker.__file__)

GOOD = {
    "demo/__init__.py": b"ANSWER = 42\n",
    "demo/empty.py": b"",
    "demo/deep/er/module.py": b"def f():\n    return 1\n",
    "top.py": "# -*- coding: utf-8 -*-\nX = 'ü'\n".encode(),
    "demo/latin.py": "# coding: latin-1\nX = 'ü'\n".encode("latin-1"),
    "demo/bom.py": b"\xef\xbb\xbfX = 1\n",
    "demo/dos.py": b"X = 1\r\nY = 2\r\n",
    "demo/two words.py": b"X = 1\n",
    "demo/\u00fc\u4e2d.py": b"X = 1\n",
    "demo-1.0.data/purelib/data_module.py": b"X = 1\n",
}
BAD = {
    "demo/syntax.py": b"this is no Python\n",
    "demo/python2.py": b"print 'hello'\n",
    "demo/zero.py": b"X = 1\0\n",
    "demo/not_utf8.py": b"X = '\xff'\n",
    "demo/tabs.py": b"if 1:\n\tx = 1\n        y = 2\n",
}
CODECS = {
    "demo/cp1252.py": b"# coding: cp1252\nX = 1\n",
    "demo/koi8.py": b"#!/usr/bin/python\n# vim: set fileencoding=koi8-r :\nX = 1\n",
    "demo/unknown.py": b"# coding: no-such-codec\nX = 1\n",
    "demo/utf7.py": b"# coding=utf-7\nX = 1\n",
}
OTHERS = {"demo/data.txt": b"X = 1\n", "demo/stub.pyi": b"X: int\n", "demo/old.pyc": b"x"}


def _entry(base: Path, files: Mapping[str, bytes], mtime: int = MTIME) -> Entry:
    """An entry as the store has it."""
    rows = []
    for path, data in files.items():
        stored = base / "files" / path
        stored.parent.mkdir(parents=True, exist_ok=True)
        stored.write_bytes(data)
        stored.chmod(0o444)
        os.utime(stored, (mtime, mtime))
        rows.append(StoredFile(path, len(data), hashlib.sha256(data).hexdigest(), False, mtime))
    base.mkdir(exist_ok=True)
    manifest = Manifest("demo-1.0-py3-none-any.whl", Digest("ab" * 32), 1, tuple(rows))
    status = base.stat()
    return Entry(base, status.st_uid, (status.st_dev, status.st_ino), manifest)


def _compile(base: Path, files: Mapping[str, bytes]) -> tuple[set[str], set[str]]:
    """The sources that did compile, and those that did not; the bytecode lies in base/target."""
    done = _compile_all(_entry(base / "entry", files), base / "target")
    made = {one.path for one in done.made}
    assert len(made) == len(done.made)
    assert not done.untried
    return {path for path in files if compiled_path(path) in made}, set(done.left)


def _compile_all(entry: Entry, target: Path, *, hashes: bool = False) -> Compiled:
    """The bytecode lies below ``target`` afterwards."""
    with Source.of(entry, Directory.open(entry.path)) as source, open_spools() as spools:
        done = bytecode.compile_all(entry, source, spools, hashes=hashes)
        for made in done.made:
            data = os.pread(made.spool, made.size, made.start)
            assert (zlib.crc32(data), hashlib.sha256(data).hexdigest()) == (made.crc, made.sha256)
            path = target / made.path
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(data)
    return done


def _many(files: Mapping[str, bytes]) -> dict[str, bytes]:
    """With so much source beside them that it is worth several processes."""
    line = b"VALUE = [1, 2, 3]  # " + b"x" * 978 + b"\n"
    return {**files, **{f"big/module{number}.py": line * 100 for number in range(4)}}


@pytest.fixture(params=["here", "several processes"])
def several(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> bool:
    monkeypatch.setattr(bytecode, "cpus", lambda: 3)
    return bool(request.param != "here")


# -- what it is called


def test_the_tag_is_that_of_the_interpreter() -> None:
    assert bytecode.tag() == sys.implementation.cache_tag


@pytest.mark.parametrize(("flag", "ending"), [("-O", ".opt-1"), ("-OO", ".opt-2"), ("-B", "")])
def test_the_tag_tells_the_optimisation_level(flag: str, ending: str) -> None:
    code = "from pip_sharedcache import bytecode; print(bytecode.tag())"
    output = subprocess.run(
        [sys.executable, flag, "-c", code], check=True, capture_output=True, text=True
    ).stdout
    assert output.strip() == f"{sys.implementation.cache_tag}{ending}"
    name = importlib.util.cache_from_source("x.py", optimization=ending[-1:] or "")
    assert f".{output.strip()}.pyc" in name, "as in the names of the files"


@pytest.mark.parametrize(
    ("module", "name", "value", "reason"),
    [
        (sys, "implementation", SimpleNamespace(cache_tag=None), "this interpreter has no tag"),
        (sys, "pycache_prefix", "/elsewhere", "PYTHONPYCACHEPREFIX is set"),
        (os, "environ", {"SOURCE_DATE_EPOCH": "0"}, "SOURCE_DATE_EPOCH is set"),
        (bytecode, "_WORKER", Path("/none.py"), "pip-sharedcache runs from an archive"),
    ],
    ids=["no tag", "prefix", "epoch", "archive"],
)
def test_reason_names_why_no_bytecode_is_shared(
    module: object, name: str, value: object, reason: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, name, value)
    assert bytecode.not_shared_because().startswith(reason)
    assert bytecode.tag() == ""


def test_pypy_shares_its_bytecode(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "implementation", SimpleNamespace(name="pypy", cache_tag="pypy310"))
    assert bytecode.not_shared_because() == ""
    assert bytecode.tag() == "pypy310"


@pytest.mark.parametrize("value", ["1700000000", "0", ""])
def test_where_pip_writes_hash_based_bytecode_none_is_shared(
    value: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SOURCE_DATE_EPOCH", value)
    assert bytecode.tag() == ""


@pytest.mark.parametrize("tag", [None, ""], ids=repr)
def test_an_interpreter_without_a_tag_shares_none(
    tag: str | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    made = type("Implementation", (), {"cache_tag": tag})
    monkeypatch.setattr(sys, "implementation", made)
    assert bytecode.tag() == ""


def test_inside_an_archive_none_is_shared(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(bytecode, "_WORKER", WORKER / "none.py")
    assert bytecode.tag() == ""


def test_with_a_prefix_for_bytecode_nothing_is_made_elsewhere(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """PYTHONPYCACHEPREFIX: the interpreter would look for no bytecode beside its sources."""
    monkeypatch.setattr(sys, "pycache_prefix", str(tmp_path / "prefix"))
    if bytecode.tag():
        made, _ = _compile(tmp_path, GOOD)
        assert made == set(GOOD)
    assert not (tmp_path / "prefix").exists()


def test_bytecode_depends_on_magic_number_tag_and_time(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    one = bytecode.fits(_entry(tmp_path / "one", GOOD))
    assert one == bytecode.fits(_entry(tmp_path / "two", GOOD))
    assert one != bytecode.fits(_entry(tmp_path / "three", GOOD, MTIME + 1))
    assert bytecode.tag() in one
    assert importlib.util.MAGIC_NUMBER.hex() in one
    monkeypatch.setattr(importlib.util, "MAGIC_NUMBER", b"\0\1\r\n")
    assert one != bytecode.fits(_entry(tmp_path / "four", GOOD))


def test_an_entry_without_files_has_a_key_too(tmp_path: Path) -> None:
    assert bytecode.fits(_entry(tmp_path / "one", {}))


# -- compiling


def test_what_compiles_and_what_does_not(tmp_path: Path, several: bool) -> None:
    files = {**GOOD, **BAD, **CODECS, **OTHERS}
    files = _many(files) if several else files
    made, left = _compile(tmp_path, files)
    assert made == {path for path in files if path in GOOD or path.startswith("big/")}
    assert left == {*BAD, *CODECS}, "pip tries those: it compiles what needs a codec, or not"


@pytest.mark.parametrize(
    ("path", "trouble"),
    [
        ("demo/table.py", "MemoryError"),
        ("demo/deep.py", "RecursionError"),
        ("demo/closed.py", "PermissionError"),
    ],
)
def test_what_this_process_cannot_compile_is_not_called_a_fault_of_the_source(
    shared_tmp: Path, path: str, trouble: str
) -> None:
    """In a process with little memory, a low recursion limit, or without the right to read."""
    if trouble == "RecursionError" and sys.version_info >= (3, 12):
        pytest.skip("the compiler of this Python heeds no recursion limit")
    lines = ",\n".join(f"({n}, 'k{n}', {n}.5)" for n in range(150_000))
    files = {
        "demo/table.py": f"X = [{lines}]\n".encode(),
        "demo/deep.py": b"X = a" + b".b" * 2000 + b"\n",
        "demo/closed.py": b"X = 1\n",
        "demo/bad.py": b"this is no Python\n",
        "demo/good.py": b"X = 1\n",
    }
    wanted = {name: files[name] for name in (path, "demo/bad.py", "demo/good.py")}
    entry = _entry(shared_tmp / "entry", wanted)
    for name in wanted:
        if name == "demo/closed.py":
            (entry.path / "files" / name).chmod(0)
    code = f"""if True:
        import os, resource, runpy, sys
        worker = runpy.run_path({str(WORKER)!r})
        if {trouble == "PermissionError"} and os.geteuid() == 0:
            os.seteuid(65534)
        if {trouble == "RecursionError"}:
            sys.setrecursionlimit(150)
        if {trouble == "MemoryError"}:
            size = int(open("/proc/self/statm").read().split()[0]) * resource.getpagesize()
            resource.setrlimit(resource.RLIMIT_AS, (size + 30_000_000, size + 30_000_000))
        for path in {list(wanted)!r}:
            file = worker["File"](path, 1, 1, -1, "")
            done, _ = worker["compile_source"]({str(entry.path / "files")!r}, file)
            print(done.outcome, done.why, sep="|")
    """
    output = subprocess.run(
        [sys.executable, "-c", code.strip()], check=True, capture_output=True, text=True
    ).stdout.splitlines()
    assert output[0].startswith(f"untried|{trouble}")
    assert output[1:] == ["left|", "compiled|"]


def test_a_limit_on_long_numbers_makes_no_source_bad_for_everybody(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """PYTHONINTMAXSTRDIGITS: a worker process, which heeds no such variable, compiles."""
    if not hasattr(sys, "set_int_max_str_digits"):
        pytest.skip("this Python has no such limit")
    before = sys.get_int_max_str_digits()
    sys.set_int_max_str_digits(640)
    try:
        made, left = _compile(tmp_path, {"demo/__init__.py": b"X = " + b"7" * 1000 + b"\n"})
    finally:
        sys.set_int_max_str_digits(before)
    assert (made, left) == ({"demo/__init__.py"}, set())


def test_a_name_that_is_too_long_with_its_tag_is_left_to_pip(tmp_path: Path) -> None:
    long = f"demo/{'n' * 245}.py"
    made, left = _compile(tmp_path, {"demo/__init__.py": b"X = 1\n", long: b"X = 1\n"})
    assert (made, left) == ({"demo/__init__.py"}, {long})


def test_every_header_names_time_and_size_of_its_source(tmp_path: Path, several: bool) -> None:
    files = _many(GOOD) if several else GOOD
    _compile(tmp_path, files)
    for path, data in files.items():
        header = (tmp_path / "target" / compiled_path(path)).read_bytes()[:16]
        assert header[:4] == importlib.util.MAGIC_NUMBER
        assert struct.unpack("<III", header[4:]) == (0, MTIME, len(data)), path


def test_the_code_is_that_of_the_source(tmp_path: Path, several: bool) -> None:
    files = _many(GOOD) if several else GOOD
    _compile(tmp_path, files)
    for path in files:
        data = (tmp_path / "target" / compiled_path(path)).read_bytes()
        direct = tmp_path / "direct.pyc"
        source = str(tmp_path / "entry" / "files" / path)
        py_compile.compile(source, str(direct), dfile=path, doraise=True)
        assert data[:16] == direct.read_bytes()[:16], path
        assert marshal.loads(data[16:]) == marshal.loads(direct.read_bytes()[16:]), path
        assert marshal.loads(data[16:]).co_filename == path, "no path of the store is told"


def test_python_takes_it_for_placed_sources(tmp_path: Path) -> None:
    """Wherever the source lies: with bytecode of other content, it is that which is run."""
    source = {"demo/__init__.py": b"ANSWER = 42\n"}
    _compile(tmp_path, source)
    library = tmp_path / "library" / "demo"
    (library / "__pycache__").mkdir(parents=True)
    (library / "__init__.py").write_bytes(b"ANSWER = 13\n")  # as long, and of the same time
    os.utime(library / "__init__.py", (MTIME, MTIME))
    compiled = compiled_path("demo/__init__.py")
    (tmp_path / "library" / compiled).write_bytes((tmp_path / "target" / compiled).read_bytes())
    code = "import demo; print(demo.ANSWER, demo.__file__)"
    output = subprocess.run(
        [sys.executable, "-c", code],
        cwd=library.parent,
        check=True,
        capture_output=True,
        text=True,
    ).stdout.split()
    assert output == ["42", str(library / "__init__.py")]


def test_one_small_wheel_starts_no_process(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(bytecode, "cpus", lambda: 64)
    monkeypatch.delattr(subprocess, "Popen")
    assert _compile(tmp_path, GOOD)[0] == set(GOOD)


def test_a_large_wheel_starts_no_process_on_one_cpu(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(bytecode, "cpus", lambda: 1)
    monkeypatch.delattr(subprocess, "Popen")
    files = _many(GOOD)
    assert _compile(tmp_path, files)[0] == set(files)


@pytest.mark.parametrize("cpus", [2, 3, 64])
def test_a_large_wheel_is_dealt_out_once(
    tmp_path: Path, cpus: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(bytecode, "cpus", lambda: cpus)
    order, jobs = bytecode._order, []

    def noted(one: Any, source: Any, files: Any) -> Any:
        jobs.append([file.path for file in files])
        return order(one, source, files)

    monkeypatch.setattr(bytecode, "_order", noted)
    files = _many({**GOOD, **BAD})
    made, failed = _compile(tmp_path, files)
    assert (made, failed) == (set(files) - set(BAD), set(BAD))
    assert len(jobs) == min(cpus, 4), "no more than the source is worth"
    assert sorted(path for job in jobs for path in job) == sorted(files)
    assert all(any(path.startswith("big/") for path in job) for job in jobs)


def test_no_process_waits_for_another_to_end(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The results of 2,000 sources are more than a pipe holds: 64 KiB."""
    monkeypatch.setattr(bytecode, "cpus", lambda: 2)
    order, orders = bytecode._order, []

    def second_first(one: Any, source: Any, files: Any) -> None:
        """The first process gets its job when the second has ended."""
        orders.append((one, source, files))
        if len(orders) == 2:
            order(*orders[1])
            orders[1][0].process.wait(60)
            order(*orders[0])

    monkeypatch.setattr(bytecode, "_order", second_first)
    files = {f"m{number}.py": b"X = 1\n" for number in range(2000)}
    assert _compile(tmp_path, files)[0] == set(files)


@pytest.mark.parametrize("asked", [False, True], ids=["plain", "with -X"])
def test_where_no_process_can_be_started_only_what_is_for_all_is_compiled(
    tmp_path: Path, asked: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(bytecode, "cpus", lambda: 2)
    monkeypatch.setattr(bytecode, "can_start_threads", lambda threads: False)
    if asked:
        monkeypatch.setenv("PYTHONNODEBUGRANGES", "1")
        with pytest.raises(BlockingIOError):
            _compile(tmp_path, _many(GOOD))
    else:
        files = _many(GOOD)
        assert _compile(tmp_path, files)[0] == set(files)


def test_the_optimisation_level_is_that_of_the_interpreter(tmp_path: Path) -> None:
    """In the processes beside it too, which take nothing from the environment."""
    files = _many({"demo/__init__.py": b'"""Words."""\nassert False\n'})
    entry = _entry(tmp_path / "entry", files)
    rows = [[f.path, f.size, f.mtime] for f in entry.manifest.files]
    code = f"""if True:
        import os
        from pathlib import Path
        from pip_sharedcache import bytecode
        from pip_sharedcache.fs import Directory
        from pip_sharedcache.model import Entry, Manifest, StoredFile
        from pip_sharedcache.store import Source
        from pip_sharedcache.store.spools import open_spools
        bytecode.cpus = lambda: 2
        files = tuple(StoredFile(p, s, "", False, t) for p, s, t in {rows!r})
        entry = Entry(Path({str(entry.path)!r}), 0, (0, 0), Manifest("x", "y", 1, files))
        with Source.of(entry, Directory.open(entry.path)) as source, open_spools() as spools:
            done = bytecode.compile_all(entry, source, spools)
            assert len(done.made) == len(files) and not done.left
            (small,) = [made for made in done.made if made.path.startswith("demo/")]
            Path({str(tmp_path / "found")!r}).write_bytes(
                small.path.encode() + b"|" + os.pread(small.spool, small.size, small.start)
            )
    """
    subprocess.run([sys.executable, "-OO", "-c", code.strip()], check=True)
    compiled = importlib.util.cache_from_source("demo/__init__.py", optimization=2)
    path, _, data = (tmp_path / "found").read_bytes().partition(b"|")
    assert path.decode() == compiled
    loaded = marshal.loads(data[16:])
    assert "AssertionError" not in loaded.co_names
    assert "Words." not in loaded.co_consts


def _killed_after_one(tmp_path: Path) -> Path:
    killed = tmp_path / "killed.py"
    killed.write_text(
        "import json, os, runpy, sys\n"
        "job = json.load(sys.stdin)\n"
        f"worker = runpy.run_path({str(WORKER)!r})\n"
        "source, (_, spool) = worker['_inherited'](*job['source']), job['spool']\n"
        "files = [worker['File'](*job['files'][0])]\n"
        "(done,) = worker['compile_all'](source, spool, files)\n"
        "os.write(spool, b'half of a second')\n"
        "os.write(1, json.dumps(done).encode() + b'\\n[\"half')\n"
        "os.kill(os.getpid(), 9)\n"
    )
    return killed


@pytest.mark.parametrize("asked", [False, True], ids=["for everybody", "asked"])
def test_what_a_killed_process_left_is_compiled_here_where_that_is_right_for_everybody(
    tmp_path: Path, asked: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(bytecode, "cpus", lambda: 2)
    monkeypatch.setattr(bytecode, "_WORKER", _killed_after_one(tmp_path))
    monkeypatch.setattr(sys, "warnoptions", ["error"] if asked else [])
    files = _many({**GOOD, **BAD})
    entry = _entry(tmp_path / "entry", files)
    done = _compile_all(entry, tmp_path / "target")
    if asked:
        assert len(done.made) == 2
        assert len(done.untried) == len(files) - 2
        assert set(done.untried.values()) == {"its process has ended"}
    else:
        made = {one.path for one in done.made}
        assert {compiled_path(path) for path in files if path not in BAD} == made
        assert (set(done.left), done.untried) == (set(BAD), {})


def test_where_no_process_can_be_started_all_is_compiled_here(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(bytecode, "cpus", lambda: 2)
    monkeypatch.setattr(sys, "executable", "")
    files = _many(GOOD)
    assert _compile(tmp_path, files) == (set(files), set())


def test_a_source_that_vanished_is_untried(tmp_path: Path) -> None:
    entry = _entry(tmp_path / "entry", GOOD)
    (tmp_path / "entry" / "files" / "top.py").unlink()
    done = _compile_all(entry, tmp_path / "target")
    assert (done.left, list(done.untried)) == ([], ["top.py"])
    assert len(done.made) == len(GOOD) - 1
    assert compiled_path("top.py") not in {made.path for made in done.made}


def test_warnings_of_a_source_do_not_keep_it_from_the_others(
    tmp_path: Path, several: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """pip ignores warnings while it compiles, whatever PYTHONWARNINGS says."""
    monkeypatch.setenv("PYTHONWARNINGS", "error")
    files = {"demo/__init__.py": b"X = 1 is 1\nY = '\\d'\n"}
    files = _many(files) if several else files
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        made, failed = _compile(tmp_path, files)
    assert (made, failed) == (set(files), set())


# -- the worker as a script


def _work(job: Mapping[str, object], *options: str, **how: Any) -> list[list[object]]:
    done = subprocess.run(
        [sys.executable, *options, str(WORKER)],
        input=json.dumps(job),
        capture_output=True,
        text=True,
        check=True,
        **how,
    )
    assert done.stderr == ""
    return [json.loads(line) for line in done.stdout.splitlines()]


@pytest.mark.parametrize("options", [(), ("-I", "-S", "-B")], ids=["plain", "isolated"])
def test_the_worker_writes_a_line_for_what_it_tried(
    tmp_path: Path, options: tuple[str, ...]
) -> None:
    files = {**GOOD, **BAD, **CODECS}
    entry = _entry(tmp_path / "entry", files)
    none = StoredFile("demo/none.py", 1, "", False, MTIME)
    lines = _work(_job(tmp_path, entry, none), *options)
    last = lines.pop()
    found = {path: outcome for path, outcome, *_ in lines}
    assert found == {path: "compiled" if path in GOOD else "left" for path in files}
    assert (last[0], last[1]) == ("demo/none.py", "untried")
    assert str(last[2]).startswith("FileNotFoundError: ")
    data, end = (tmp_path / "spool").read_bytes(), 0
    for _, outcome, why, start, size, crc, sha256 in lines:
        assert why == ""
        if outcome == "compiled":
            one, end = data[start : start + size], end + size
            assert (zlib.crc32(one), hashlib.sha256(one).hexdigest()) == (crc, sha256)
    assert len(data) == end


def _job(directory: Path, entry: Entry, *more: StoredFile) -> dict[str, object]:
    """A job of the worker; the bytecode goes to the file "spool" of ``directory``."""
    spool = directory / "spool"
    spool.touch()
    files = [bytecode._row(file, False) for file in (*entry.manifest.files, *more)]
    return {
        "source": (str(entry.path / "files"), None),
        "spool": (str(spool), None),
        "files": files,
    }


def _allow_4096_bytes_a_file() -> None:
    resource.setrlimit(resource.RLIMIT_FSIZE, (4096, 4096))


def test_the_worker_ends_where_a_file_was_written_in_part(tmp_path: Path) -> None:
    """As on a full disk: importlib makes one write(2), and a short one is no error."""
    long = (
        b"X = [\n"
        + b"".join(b"'a string of its own, number %d',\n" % n for n in range(500))
        + b"]\n"
    )
    entry = _entry(tmp_path / "entry", {"a.py": b"X = 1\n", "b.py": long, "c.py": b"X = 1\n"})
    job = _job(tmp_path, entry)
    lines = _work(job, preexec_fn=_allow_4096_bytes_a_file)
    assert [line[:2] for line in lines] == [["a.py", "compiled"], [None, errno.ENOSPC]]


@pytest.mark.parametrize("beside", [True, False])
def test_bytecode_is_not_shared_from_a_full_disk(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, beside: bool
) -> None:
    entry = _entry(tmp_path / "entry", {f"m{n}.py": b"X = 1\n" for n in range(20)})
    if beside:
        monkeypatch.setattr(sys, "warnoptions", ["ignore"])  # one process more is started for it
        popen = functools.partial(subprocess.Popen, preexec_fn=_allow_no_bytes)
        monkeypatch.setattr(subprocess, "Popen", popen)
        with pytest.raises(OSError) as raised:
            _compile_all(entry, tmp_path / "target")
    else:
        before = resource.getrlimit(resource.RLIMIT_FSIZE)
        resource.setrlimit(resource.RLIMIT_FSIZE, (40, before[1]))
        try:
            with pytest.raises(OSError) as raised:
                _compile_all(entry, tmp_path / "target")
        finally:
            resource.setrlimit(resource.RLIMIT_FSIZE, before)
    assert raised.value.errno == errno.ENOSPC


def _allow_no_bytes() -> None:
    resource.setrlimit(resource.RLIMIT_FSIZE, (40, 40))


def test_what_python_warns_of_is_not_shown(tmp_path: Path) -> None:
    """pip compiles without a word, too."""
    entry = _entry(tmp_path / "entry", {"a.py": b"X = '\\d' is 5\n"})
    with warnings.catch_warnings(record=True) as seen:
        warnings.simplefilter("always")
        done = _compile_all(entry, tmp_path / "target")
    assert done.made
    assert seen == []


def test_the_worker_with_nothing_to_do_writes_nothing(tmp_path: Path) -> None:
    job = {"source": (str(tmp_path), None), "spool": (str(tmp_path / "spool"), None), "files": []}
    assert _work(job) == []
    assert os.listdir(tmp_path) == []


def test_the_worker_imports_nothing_of_the_project(tmp_path: Path) -> None:
    (tmp_path / "pip_sharedcache.py").write_text("raise SystemExit('imported')")
    copy = tmp_path / "worker.py"
    copy.write_text(WORKER.read_text(encoding="utf-8"), encoding="utf-8")
    job = json.dumps({"source": ("", None), "spool": ("", None), "files": []})
    done = subprocess.run([sys.executable, "-S", str(copy)], input=job, text=True, cwd=tmp_path)
    assert done.returncode == 0


@pytest.mark.parametrize("kind", ["symlink", "fifo", "directory"])
def test_what_took_the_place_of_a_source_is_not_read(
    tmp_path: Path, kind: str, several: bool
) -> None:
    """And not waited for: nobody may write to the FIFO."""
    files = _many(GOOD) if several else GOOD
    entry = _entry(tmp_path / "entry", files)
    path = entry.path / "files" / "top.py"
    path.unlink()
    if kind == "symlink":
        path.symlink_to("demo/empty.py")
    elif kind == "fifo":
        os.mkfifo(path)
    else:
        path.mkdir()
    done = _compile_all(entry, tmp_path / "target")
    assert (len(done.made), list(done.untried)) == (len(files) - 1, ["top.py"])


@pytest.mark.parametrize("data", [b"X = 1\n", b"Y = 12\n"], ids=["other", "longer"])
def test_sources_are_compared_where_that_is_asked(
    tmp_path: Path, data: bytes, several: bool
) -> None:
    files = {"edited.py": b"Y = 1\n", **(_many(GOOD) if several else GOOD)}
    entry = _entry(tmp_path / "entry", files)
    assert len(_compile_all(entry, tmp_path / "target", hashes=True).made) == len(files)
    path = entry.path / "files" / "edited.py"
    path.unlink()
    path.write_bytes(data)
    with pytest.raises(
        DamagedEntry, match=r"files/edited\.py: has other bytes than were published"
    ):
        _compile_all(entry, tmp_path / "target", hashes=True)


# -- PEP 263


@pytest.mark.parametrize(
    ("head", "needs_codec"),
    [
        (b"", False),
        (b"X = 1\n", False),
        (b"# coding: utf-8\n", False),
        (b"# coding: UTF-8\n", False),
        (b"# coding: utf_8\n", False),
        (b"# -*- coding: latin-1 -*-\n", False),
        (b"# coding=ascii\n", False),
        (b"# coding: iso-8859-1\n", False),
        (b"# coding: iso-8859-15\n", True),
        (b"# -*- coding: cp1252 -*-\n", True),
        (b" \t\f# vim: fileencoding=euc-jp\n", True),
        (b"#!/usr/bin/python\n# coding: shift_jis\n", True),
        (b"\n\n# coding: shift_jis\n", False),
        (b"X = 1  # coding: shift_jis\n", False),
        (b"# encoding of this: see below\n", False),
        (b"# its encoding: unknown\n", True),
        (b"'''coding: shift_jis'''\n", False),
    ],
)
def test_whether_a_codec_is_needed_is_read_off_the_first_two_lines(
    tmp_path: Path, head: bytes, needs_codec: bool
) -> None:
    (tmp_path / "source").mkdir()
    (tmp_path / "source" / "module.py").write_bytes(head + b"pass\n")
    file = worker.File("module.py", 0, MTIME, -1, "")
    done, data = worker.compile_source(str(tmp_path / "source"), file)
    assert (done.outcome, done.why) == ("left" if needs_codec else "compiled", "")
    assert (data == b"") is needs_codec


@pytest.mark.parametrize("kind", ["missing", "directory"])
def test_what_cannot_be_tried_is_left_to_pip(tmp_path: Path, kind: str) -> None:
    if kind == "directory":
        (tmp_path / "module.py").mkdir()
    done, _ = worker.compile_source(str(tmp_path), worker.File("module.py", 0, MTIME, -1, ""))
    assert done.outcome == "untried"
    assert done.why
