"""An index of recorded pages and wheels, in a process of its own.

    python recorded.py DIRECTORY

serves DIRECTORY (see tests/support/index_pages.py) as the public index does. It says its address,
and answers each line of its input with a line: "set DELAY RATE MAX_AGE" and "count", of which the
latter forgets what it counted; all in JSON. ``record`` fills such a directory, once, from the index
that pip is configured for, through pip; ``RecordedIndex`` starts the program.
"""

from __future__ import annotations

import hashlib
import json
import os
import subprocess
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType

from measuring import PROJECT

sys.path.insert(0, str(PROJECT / "tests"))

from support.index import Answer, LocalIndex, Public

#: Without configuration files: a local directory of this machine's is no part of the index.
ALONE = {"PIP_CONFIG_FILE": os.devnull, "PIP_FIND_LINKS": "", "PIP_EXTRA_INDEX_URL": ""}

_ROUNDS = 20


@dataclass(frozen=True)
class Requests:
    """What an index was asked. ``pages``: answered with a body; ``unchanged``: with 304; ``size``:
    bytes of all bodies; ``concurrent``: the most at one time; ``missing``: paths answered 404."""

    all: int
    pages: int
    unchanged: int
    metadata: int
    wheels: int
    size: int
    concurrent: int
    missing: tuple[str, ...]


class RecordedIndex:
    """The program, while in a `with`."""

    def __init__(self, directory: Path) -> None:
        self._command = [sys.executable, str(Path(__file__).resolve()), str(directory)]

    def __enter__(self) -> RecordedIndex:
        self._process = subprocess.Popen(
            self._command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
        )
        self.url = str(self._answer())
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._process.communicate()  # its input ends, and so does it

    @property
    def variables(self) -> dict[str, str]:
        """Variables with which pip and uv use this index alone, and cache what comes from it."""
        host = self.url.partition("://")[2].partition("/")[0]
        return {
            **ALONE,
            "PIP_INDEX_URL": self.url,
            "PIP_TRUSTED_HOST": host,
            "UV_DEFAULT_INDEX": self.url,
            "UV_NO_CONFIG": "1",
        }

    def set(self, delay: float, rate: float, max_age: int) -> None:
        """delay: seconds before each answer; rate: bytes a second of each connection, 0 for no
        limit; max_age: seconds for which a page is fresh."""
        self._ask("set", delay, rate, max_age)

    def count(self) -> Requests:
        """What it was asked since this was called last."""
        counted = self._ask("count")
        assert isinstance(counted, dict)
        return Requests(**{**counted, "missing": tuple(counted["missing"])})

    def _ask(self, *words: object) -> object:
        assert self._process.stdin is not None
        self._process.stdin.write(json.dumps(words) + "\n")
        self._process.stdin.flush()
        return self._answer()

    def _answer(self) -> object:
        assert self._process.stdout is not None
        line = self._process.stdout.readline()
        if not line:
            raise SystemExit("the index has ended")
        return json.loads(line)


def record(
    target: Path, python: str, requirements: Sequence[str], commands: Sequence[Sequence[str]]
) -> None:
    """Record what ``commands`` ask of the index, unless target is there.

    python: with pip. requirements: for the first download. Each command is run against what is
    recorded, with variables for pip and uv, until it misses nothing. Wheels are those for python.
    """
    if target.exists():
        return
    new = target.with_name(f"{target.name}.new")
    (new / "pages").mkdir(parents=True, exist_ok=True)
    _download(new, python, *requirements)
    for _ in range(_ROUNDS):
        with RecordedIndex(new) as index:
            environ = {**os.environ, **index.variables}
            runs = [
                subprocess.run(command, env=environ, capture_output=True, text=True)
                for command in commands
            ]
            missing = index.count().missing
        if not missing:
            for run in runs:
                if run.returncode:
                    raise SystemExit(f"{' '.join(run.args)} failed:\n{run.stdout}{run.stderr}")
            new.rename(target)
            return
        for path in missing:
            _fetch(new, python, path)
    raise SystemExit(f"the index has not: {' '.join(missing)}")


def _fetch(target: Path, python: str, path: str) -> None:
    """Get what is at a path of the index: a page, or a wheel."""
    name = path.rstrip("/").rpartition("/")[2]
    if path.startswith("/simple/"):
        _download(target, python, name)
    elif name.endswith((".whl", ".whl.metadata")):
        project, version = name.split("-")[:2]
        _download(target, python, f"{project}=={version}")
    else:
        raise SystemExit(f"not recorded: {path}")


def _download(target: Path, python: str, *requirements: str) -> None:
    """Download wheels, those of what they need as well if there are several; keep the pages."""
    pages = target / "pages"
    alone = ["--no-deps", "--pre"] if len(requirements) == 1 else []
    hook = str(PROJECT / "benchmarks" / "hook")
    configured = subprocess.run(
        [python, "-m", "pip", "config", "get", "global.index-url"], capture_output=True, text=True
    ).stdout.strip()
    index = {"PIP_INDEX_URL": configured} if configured else {}
    environ = {**os.environ, **index, **ALONE, "BENCHMARK_PAGES": str(pages), "PYTHONPATH": hook}
    words = [python, "-m", "pip", "download", "--only-binary", ":all:", *alone, "-d", str(target)]
    done = subprocess.run([*words, *requirements], env=environ, capture_output=True, text=True)
    if done.returncode:
        raise SystemExit(f"{' '.join(words)} failed:\n{done.stdout}{done.stderr}")
    for page in pages.glob("*.html"):
        raise SystemExit(f"the index gives its pages in HTML only: {page.stem}")
    for page in pages.glob("*.json"):
        _complete(page)


def _complete(page: Path) -> None:
    """Let a page be as long as the public index's, if a mirror leaves out that wheels' metadata
    can be had: nobody asks for it where the wheel is not recorded."""
    content = json.loads(page.read_bytes())
    for entry in content["files"]:
        if entry["filename"].endswith(".whl") and not entry.get("core-metadata"):
            digest = hashlib.sha256(entry["filename"].encode()).hexdigest()
            entry["core-metadata"] = entry["data-dist-info-metadata"] = {"sha256": digest}
    page.write_text(json.dumps(content), encoding="utf-8")


def links(target: Path) -> tuple[int, int]:
    """How many pages are recorded, and how many files they name. They are not parsed: a peak below
    this process's own cannot be told."""
    pages = list((target / "pages").glob("*.json"))
    return len(pages), sum(page.read_bytes().count(b'"filename":') for page in pages)


def serve(directory: Path) -> None:
    """Serve until the input ends."""
    with LocalIndex(directory, public=Public()) as index:
        for project in index.pages.projects():
            index.project_page(project, in_json=True)
        verbs: dict[str, Callable[..., object]] = {
            "set": lambda *values: _set(index, *values),
            "count": lambda: _count(index),
        }
        print(json.dumps(index.url), flush=True)
        for line in sys.stdin:
            verb, *values = json.loads(line)
            print(json.dumps(verbs[verb](*values)), flush=True)


def _set(index: LocalIndex, delay: float, rate: float, max_age: int) -> None:
    index.delay = delay
    index.public = Public(rate=rate, max_age=max_age)


def _count(index: LocalIndex) -> dict[str, object]:
    answers = index.answers
    index.clear()

    def number(kind: str, *statuses: int) -> int:
        return sum(answer.kind == kind and answer.status in statuses for answer in answers)

    def missing(answer: Answer) -> bool:
        return answer.status == 404

    return {
        "all": len(answers),
        "pages": number("page", 200),
        "unchanged": number("page", 304),
        "metadata": number("metadata", 200),
        "wheels": number("file", 200, 206),
        "size": sum(answer.size for answer in answers),
        "concurrent": max((answer.concurrent for answer in answers), default=0),
        "missing": sorted({answer.path for answer in filter(missing, answers)}),
    }


if __name__ == "__main__":
    serve(Path(sys.argv[1]))
