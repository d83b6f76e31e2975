"""Compares what pip makes of index pages with what it gets of judged pages in their place.

    PYTHON judged_pages.py DIRECTORY ...

PYTHON has pip and this project. Each DIRECTORY has pages/<project>.json, as Pages reads them. Each
page is read as JSON and as HTML, with each set of options: by pip alone; by pip while its judgement
is kept; and from what was kept. Prints JSON: how many pages, files of these, candidates in all, and
comparisons there were, how many of these were not kept, and the differences.
"""

from __future__ import annotations

import functools
import inspect
import itertools
import json
import logging
import sys
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

from pip._internal.index.collector import IndexContent, LinkCollector
from pip._internal.index.package_finder import PackageFinder
from pip._internal.models.candidate import InstallationCandidate
from pip._internal.models.format_control import FormatControl
from pip._internal.models.search_scope import SearchScope
from pip._internal.models.selection_prefs import SelectionPreferences
from pip._internal.models.target_python import TargetPython
from pip._internal.resolution.resolvelib.factory import Factory
from pip._internal.utils.hashes import Hashes
from pip._vendor.packaging.specifiers import SpecifierSet

import pip
from pip_sharedcache.pip_adapter import questions
from pip_sharedcache.pip_adapter.judging import Judging, sort_key
from pip_sharedcache.session.judged_pages import JudgedPage

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

from support.index_pages import JSON, Pages, as_html, as_json

INDEX = "https://index.test/simple/"
ALL = {":all:"}
PLATFORM = "manylinux2014_x86_64"

#: What pip's command line gives for a finder.
OPTIONS: dict[str, dict[str, Any]] = {
    "none": {},
    "--pre --prefer-binary": {"prefer_binary": True, "pre": True},
    "--only-binary :all:": {"format_control": FormatControl(set(), ALL)},
    "--no-binary :all:": {"format_control": FormatControl(ALL, set())},
    "--ignore-requires-python": {"ignore_requires_python": True},
    **{
        f"--platform {PLATFORM} --python-version {'.'.join(map(str, version))}": {
            "target": {"platforms": [PLATFORM], "py_version_info": version}
        }
        for version in ((3, 8), (3, 8, 5))
    },
}


class Collector(LinkCollector):  # type: ignore[misc]
    """pip's collector in front of one page."""

    content: Any

    def fetch_response(self, location: Any, **_: Any) -> Any:
        return self.content


class Shared:
    """The judged pages of all runs, as they would come back from a store."""

    def __init__(self) -> None:
        self.pages: list[str] = []

    def find(self, question: Any) -> JudgedPage | None:
        for text in self.pages:
            judged = JudgedPage.from_data(json.loads(text))
            if judged is not None and judged.question == json.loads(json.dumps(question)):
                return judged
        return None

    def share(self, judged: JudgedPage, *, private_because: str) -> None:
        self.pages.append(json.dumps(judged.to_data()))

    def record_use(self, judged: JudgedPage) -> None:
        """Do nothing: nothing is collected here."""

    def is_own(self, judged: JudgedPage) -> bool:
        return False


class Requirement:
    """A requirement that no candidate satisfies."""

    def __init__(self, project: str) -> None:
        self.project_name = project

    def __str__(self) -> str:
        return f"{self.project_name}<0"

    def get_candidate_lookup(self) -> tuple[None, None]:
        return None, None


def make_finder(content: Any, options: dict[str, Any]) -> Any:
    """Return pip's finder with some of its options, in front of one page."""
    named = {name: value for name, value in options.items() if name not in ("target", "pre")}
    if options.get("pre"):
        if "allow_all_prereleases" in inspect.signature(SelectionPreferences).parameters:
            named["allow_all_prereleases"] = True
        else:
            control = __import__("pip._internal.models.release_control", fromlist=["*"])
            named["release_control"] = control.ReleaseControl(all_releases=ALL)
    scope = SearchScope.create(find_links=[], index_urls=[INDEX], no_index=False)
    session = SimpleNamespace(is_secure_origin=lambda location: True)
    collector = Collector(session=session, search_scope=scope)
    collector.content = content
    preferences = SelectionPreferences(allow_yanked=True, **named)
    return PackageFinder.create(collector, preferences, TargetPython(**options.get("target", {})))


def with_judging(finder: Any, shared: Shared, content: Any) -> tuple[Any, Judging]:
    """Let a finder use and keep judged pages, as pip_adapter.recording does."""
    question = {
        "pip": pip.__version__,
        "tags": questions._tags(finder.target_python),
        "preferences": questions.plain(finder._candidate_prefs),
    }
    judging = Judging(finder, question, shared)  # type: ignore[arg-type]
    process, evaluator_of = finder.process_project_url, finder.make_candidate_evaluator

    def judged(project_url: Any, link_evaluator: Any) -> Any:
        known = judging.known(project_url.url, link_evaluator.project_name)
        if known is not None:
            served = judging.serve(known, "", link_evaluator)
            assert served is not None, "what pip wrote makes sense"
            return served.candidates
        proceed = functools.partial(process, project_url, link_evaluator)
        judgement = judging.judge(project_url.url, content, "", link_evaluator, proceed)
        judging.accept(judgement)
        return judgement.candidates

    def make_evaluator(*args: Any, **kw: Any) -> Any:
        evaluator = evaluator_of(*args, **kw)
        if not kw.get("hashes"):
            evaluator._sort_key = functools.partial(sort_key, evaluator._sort_key)
        return evaluator

    finder.process_project_url, finder.make_candidate_evaluator = judged, make_evaluator
    return finder, judging


def slots(kind: type) -> list[str]:
    return [name for one in kind.__mro__ for name in getattr(one, "__slots__", ())]


def facts(one: Any, names: list[str]) -> dict[str, str]:
    found = {name: repr(getattr(one, name, None)) for name in names if name != "_compare_key"}
    return {"": str(one), **found}


class Log(logging.Handler):
    """What pip says."""

    def __init__(self) -> None:
        super().__init__()
        self.texts: list[str] = []

    def emit(self, record: logging.LogRecord) -> None:
        self.texts.append(f"{record.levelname} {record.getMessage()}")


def answers(finder: Any, project: str) -> Iterator[tuple[str, object]]:
    """Yield what pip's resolver can see of a page, with a name for each."""
    logging.getLogger().handlers = [log := Log()]
    candidates = finder.find_all_candidates(project)
    names = slots(InstallationCandidate)
    yield "candidates", [facts(one, names) for one in candidates]
    yield "links", [facts(one.link, slots(type(one.link))) for one in candidates]
    yield "refused", finder.requires_python_skipped_reasons()
    versions = sorted({one.version for one in candidates})
    chosen = ["", ">=0.dev0"]
    if versions:
        chosen += [f"<{versions[-1].public}", f"=={versions[len(versions) // 2]}"]
    digests = [one.link.hash for one in candidates if one.link.hash_name == "sha256"]
    hashes = [None, Hashes({"sha256": digests[:1]})] if digests else [None]
    for specifier, allowed in itertools.product(chosen, hashes):
        evaluator = finder.make_candidate_evaluator(
            project, specifier=SpecifierSet(specifier), hashes=allowed
        )
        fitting = evaluator.get_applicable_candidates(candidates)
        yield f"{specifier!r} {allowed and 'hash'}", [one.link.url for one in fitting]
        best = evaluator.sort_best_candidate(fitting)
        yield f"best of {specifier!r} {allowed and 'hash'}", best and best.link.url
    error = Factory._report_single_requirement_conflict(
        SimpleNamespace(_finder=finder), Requirement(project), None
    )
    yield "error", str(error)
    yield "log", log.texts


def compare(directory: Path, counts: Counter[str]) -> Iterator[str]:
    """Yield the differences for all pages of a directory."""
    pages = Pages(directory)
    for path in sorted(directory.glob("pages/*.json")):
        project, page = path.stem, pages.page(path.stem)
        assert page is not None
        counts["pages"] += 1
        counts["files"] += len(page["files"])
        bodies = ((JSON, as_json(page)), ("text/html", as_html(page)))
        for kind, body in bodies:
            content = IndexContent(body, kind, None, f"{INDEX}{project}/", False)
            shared = Shared()
            for name, options in OPTIONS.items():
                where = f"{directory}: {project}: {kind}: {name}"
                expected = dict(answers(make_finder(content, options), project))
                counts["comparisons"] += 1
                counts["candidates"] += len(expected["candidates"])  # type: ignore[arg-type]
                kept = len(shared.pages)
                for how in ("while it is judged", "from the judged page"):
                    finder, judging = with_judging(make_finder(content, options), shared, content)
                    found = dict(answers(finder, project))
                    judging.share(lambda served: (), lambda page: "")
                    for key, value in expected.items():
                        if found.get(key) != value:
                            yield f"{where}: {how}: {key}: {first_of(value, found.get(key))}"
                counts["not kept"] += len(shared.pages) == kept
                if len(shared.pages) > kept + 1:
                    yield f"{where}: it was not found"


def first_of(expected: object, found: object) -> str:
    """Return where two values differ first."""
    if isinstance(expected, list) and isinstance(found, list):
        for one, other in itertools.zip_longest(expected, found):
            if one != other:
                return f"{one!r} is {other!r}"
    return f"{expected!r} is {found!r}"


if __name__ == "__main__":
    counts: Counter[str] = Counter()
    found = [line for name in sys.argv[1:] for line in compare(Path(name), counts)]
    print(json.dumps({**counts, "differences": found}))
