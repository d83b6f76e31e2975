"""Resolutions: the answer of a replay is plain pip's, and nothing outdated is answered."""

from __future__ import annotations

import hashlib
import json
import re
import shutil
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import pytest

from support.accounts import run_as
from support.environments import NEWEST_PIP, Environment, EnvironmentFactory
from support.index import IndexFactory, LocalIndex, Public
from support.probes import linux, needs
from support.questions import QUESTIONS, Indexes
from support.wheels import make_wheel

pytestmark = [pytest.mark.pips, needs(linux)]

#: Before and after each change of what is stepped into: PEP 658 for JSON pages (23.1), the end of
#: the resolution (25.3), fresh pages (26.2).
PIPS = ("23.0.1", "25.0.1", NEWEST_PIP)

ALL_PIPS = (
    *("23.0.1", "23.1.2", "23.2.1", "23.3.2", "24.0", "24.2", "25.0.1", "25.1.1"),
    *("25.3", "26.0.1", "26.1.2", "26.2", NEWEST_PIP),
)

#: Nothing to record in them: pip fails, asks no index, or what it asks changes by itself.
NEVER = {
    "lock-file",  # pip reads no page
    "local-wheel",
    "installed-all",
    "no-index",
    "find-links-alone",
    "constraint-by-address",  # nothing pins the file at the address
}


def _pips(number: int, since: tuple[int, int]) -> list[str]:
    """Three pips for the question of this number, so that all pips get equally many questions."""
    known = [pip for pip in ALL_PIPS if tuple(map(int, pip.split(".")[:2])) >= since]
    return list(dict.fromkeys(known[(number + step) % len(known)] for step in (0, 4, 9)))


class Runs:
    """Runs of pip that resolve and install nothing, each with a cache of its own."""

    def __init__(self, environment: Environment, tmp_path: Path, env: Mapping[str, str | None]):
        self.environment = environment
        self._base = tmp_path
        self.store = tmp_path / "store"
        self._count = 0
        # A dry run records nothing of its own accord.
        also = {"PIP_SHAREDCACHE_DIR": str(tmp_path / "store"), "_PIP_SHAREDCACHE_WRITES": "yes"}
        self._env = {**env, **also}
        (tmp_path / "store").mkdir(exist_ok=True)

    @property
    def recorded(self) -> list[Path]:
        """The files of the resolutions in the store."""
        return list(self.store.glob("resolutions/*/*/files/resolution.json"))

    def forget(self) -> None:
        """Delete the resolutions, but not the judged pages."""
        for path in self.recorded:
            shutil.rmtree(path.parents[1])

    def __call__(
        self,
        words: Sequence[str],
        *,
        plain: bool = False,
        cache: str = "",
        env: Mapping[str, str] = {},
    ) -> tuple[int, list[str], list[dict[str, Any]]]:
        """Return the exit status, the lines of output, and what is to be installed."""
        self._count += 1
        report = self._base / f"report{self._count}.json"
        make = self.environment.plain if plain else self.environment.command
        done = run_as(
            None,
            make("install", "--dry-run", "--report", report, *words),
            env={
                **self._env,
                "PIP_CACHE_DIR": str(self._base / (cache or f"cache{self._count}")),
                **env,
            },
        )
        answer = json.loads(report.read_text())["install"] if report.exists() else []
        lines = [*done.stdout.splitlines(), *done.stderr.splitlines()]
        return done.returncode, list(map(_stable, lines)), answer


def _stable(line: str) -> str:
    """Return a line of output without what differs in each run."""
    return re.sub(r"/tmp/\S+|report\d+\.json|\d+\.\d [kM]B/s|[\d.]+ seconds?|eta \S+", "*", line)


def _names(answer: Sequence[Mapping[str, Any]]) -> set[str]:
    return {f"{one['metadata']['name']} {one['metadata']['version']}" for one in answer}


@pytest.fixture
def wheels(wheelhouse: Path) -> Path:
    make_wheel(wheelhouse, "demo", "1.0", requires=["part"])
    make_wheel(wheelhouse, "part", "1.0")
    make_wheel(wheelhouse, "part", "1.1")
    return wheelhouse


@pytest.fixture
def served(index: IndexFactory, wheels: Path) -> LocalIndex:
    return index(wheels, public=Public())


@pytest.fixture
def pip() -> str:
    """The pip of a test that does not choose others."""
    return NEWEST_PIP


@pytest.fixture
def runs(environment: EnvironmentFactory, tmp_path: Path, served: LocalIndex, pip: str) -> Runs:
    return Runs(environment(pip=pip), tmp_path, served.variables)


def _many(wheels: Path, *versions: str, number: int = 12) -> list[str]:
    """Make wheels of as many projects, each in these versions; return the projects' names."""
    names = [f"of-{one}" for one in range(number)]
    for name in names:
        for version in versions:
            make_wheel(wheels, name, version)
    return names


@pytest.mark.parametrize(
    ("pip", "name"),
    [
        (pip, name)
        for number, (name, question) in enumerate(QUESTIONS.items())
        for pip in _pips(number, question.since)
    ],
)
def test_replayed_answer_is_plain_pips(
    environment: EnvironmentFactory, tmp_path: Path, index: IndexFactory, name: str, pip: str
) -> None:
    question = QUESTIONS[name]
    indexes = Indexes(index, tmp_path)
    runs = Runs(environment(pip=pip), tmp_path, indexes.variables)
    if question.installed:
        words = indexes.words(question, question.installed)
        run_as(
            None,
            runs.environment.plain("install", *words),
            env={**indexes.variables, "PIP_NO_CACHE_DIR": "1"},
            check=True,
        )
    words = indexes.words(question, question.arguments)
    plain = runs(words, plain=True)
    assert (plain[0] == 0) != bool(question.error), plain[1]
    assert question.error in "\n".join(plain[1])
    recorded = runs(words)
    indexes.main.clear()
    replayed = runs(words)
    runs.forget()
    indexes.main.clear()
    judged = runs(words)
    assert recorded == plain
    assert replayed == plain
    assert judged == plain, "from the judged pages"
    assert plain[0] or _names(plain[2]) == set(question.answer)
    if not question.error and name not in NEVER:
        assert not indexes.main.count("page", 200), "pages are confirmed, not sent again"
        assert indexes.main.count("page", 304)


@pytest.mark.parametrize("pip", PIPS)
def test_same_user_makes_only_the_requests_that_pip_would_make(
    runs: Runs, served: LocalIndex, pip: str
) -> None:
    """pip 26.2 and later do not ask for a page that the index called fresh."""
    runs(["demo"])
    for fresh in (False, True):
        served.clear()
        runs(["demo"], cache="second")  # confirmed first, then known to be fresh
        expected = 0 if fresh and pip == NEWEST_PIP else 2
        assert (served.count("page"), served.count("page", 304)) == (expected, expected)
    runs(["demo", "--no-cache-dir"])
    assert served.count("page") == expected + 2


def _new_release(served: LocalIndex, wheels: Path) -> None:
    make_wheel(wheels, "part", "1.2")


def _withdrawn(served: LocalIndex, wheels: Path) -> None:
    served.pages.withdraw("part-1.1-py3-none-any.whl")


def _yanked(served: LocalIndex, wheels: Path) -> None:
    served.pages.yank("part-1.1-py3-none-any.whl", "broken")


def _other_dependencies(served: LocalIndex, wheels: Path) -> None:
    make_wheel(wheels, "demo", "1.0", requires=["part<1.1"])


def _other_etag(served: LocalIndex, wheels: Path) -> None:
    served.new_etag("part")


CHANGES: dict[str, tuple[Callable[[LocalIndex, Path], None], str]] = {
    "new-release": (_new_release, "part 1.2"),
    "withdrawn": (_withdrawn, "part 1.0"),
    "yanked": (_yanked, "part 1.0"),
    "other-dependencies": (_other_dependencies, "part 1.0"),
    "other-etag": (_other_etag, "part 1.1"),
}


@pytest.mark.parametrize("change", CHANGES)
@pytest.mark.parametrize("pip", [PIPS[0], NEWEST_PIP])
def test_changed_index_gives_the_new_answer(
    runs: Runs, served: LocalIndex, wheels: Path, change: str
) -> None:
    runs(["demo"])
    make, answer = CHANGES[change]
    make(served, wheels)
    served.clear()
    now = runs(["demo"])
    pages = served.count("page")
    assert now == runs(["demo"], plain=True)
    assert _names(now[2]) == {"demo 1.0", answer}
    assert pages <= 4, "each page once with a condition, and once for its content"
    served.clear()
    again = runs(["demo"])
    assert again == now
    assert not served.count("page", 200), "the new answer is recorded"


def test_confirmed_etag_counts_as_in_pips_cache(
    runs: Runs, served: LocalIndex, wheels: Path
) -> None:
    """An index that confirms the ETag of a page that it changed misleads plain pip, too."""
    runs(["demo"])
    served.keep_etag("part")
    make_wheel(wheels, "part", "1.2")
    assert "part 1.1" in _names(runs(["demo"])[2])


@pytest.mark.parametrize("status", [404, 500, 0])
def test_page_that_cannot_be_had_gives_pips_own_error(
    runs: Runs, served: LocalIndex, status: int
) -> None:
    runs(["demo"])
    served.fail("part", status)
    said = "\n".join(runs(["demo", "--retries", "0", "-vv"])[1])
    assert f"The resolution is not reused: Abandoned: {served.url}part/ cannot be fetched" in said
    words = ["demo", "--retries", "0"]
    replayed = runs(words)
    assert replayed == runs(words, plain=True)
    assert replayed[0] == 1
    assert "No matching distribution found for part" in "\n".join(replayed[1])


def test_other_question_is_not_replayed(runs: Runs) -> None:
    runs(["demo"])
    others = (["demo", "part"], ["demo", "--pre"], ["demo", "--no-deps"], ["demo>=1"])
    for number, words in enumerate(others, 2):
        runs(words)
        assert len(runs.recorded) == number


@pytest.mark.parametrize("pip", PIPS)
def test_new_question_gets_no_known_page_again(
    runs: Runs, served: LocalIndex, wheels: Path
) -> None:
    make_wheel(wheels, "more", "1.0", requires=["demo>=0.5"])
    runs(["demo"])
    served.clear()
    answer = runs(["more"])
    assert (served.count("page", 200), served.count("page", 304)) == (1, 2)
    assert answer == runs(["more"], plain=True)


def test_page_with_files_of_several_projects_serves_each(runs: Runs, tmp_path: Path) -> None:
    (tmp_path / "more").mkdir()
    wheels = [make_wheel(tmp_path / "more", name, "1.0") for name in ("one", "two")]
    links = tmp_path / "links.html"
    links.write_text("".join(f'<a href="{wheel.as_uri()}">x</a>' for wheel in wheels))
    words = ["--find-links", links.as_uri(), "one", "demo", "two"]
    plain = runs(words, plain=True)
    assert _names(plain[2]) == {"one 1.0", "two 1.0", "demo 1.0", "part 1.1"}
    for _ in range(2):
        assert runs(words) == plain
        assert runs(words) == plain
        runs.forget()


def test_file_that_pip_refused_is_in_its_error(runs: Runs, wheels: Path) -> None:
    make_wheel(wheels, "old", "1.0", metadata_lines=["Requires-Python: <3"])
    for _ in range(2):
        answer = runs(["old"])
        assert answer == runs(["old"], plain=True)
        assert "1.0 Requires-Python <3" in "\n".join(answer[1])


@pytest.mark.parametrize("option", ["-v", "-vv"])
def test_pip_says_what_it_thinks_of_each_file(runs: Runs, wheels: Path, option: str) -> None:
    make_wheel(wheels, "part", "0.9", metadata_lines=["Requires-Python: <3"])
    runs(["demo"])
    runs.forget()
    said = [
        [line for line in runs(["demo", option], plain=plain)[1] if "part-0.9" in line]
        for plain in (False, True)
    ]
    assert said[0] == said[1] != []


@pytest.mark.parametrize("pip", PIPS)
def test_confirmed_pages_are_left_alone_in_pips_cache(
    runs: Runs, tmp_path: Path, served: LocalIndex, wheels: Path
) -> None:
    """All but the first: pip asks for that one itself."""
    names = _many(wheels, "1.0", number=8)
    served.public = Public(max_age=0)
    runs(names, cache="cache")
    files = {path: path.stat() for path in (tmp_path / "cache").rglob("*") if path.is_file()}
    served.clear()
    assert _names(runs(names, cache="cache")[2]) == {f"{name} 1.0" for name in names}
    assert served.count("page", 304) == len(names)
    changed = [path for path, status in files.items() if path.stat().st_ino != status.st_ino]
    assert len([path for path in changed if "pages" not in path.name]) <= 1


def test_pages_are_asked_for_side_by_side(runs: Runs, served: LocalIndex, wheels: Path) -> None:
    """Those of the requirements, and those of what a distribution requires."""
    names = _many(wheels, "1.0")
    make_wheel(wheels, "all", "1.0", requires=names)
    served.delay = 0.1
    for words in (names, ["all"]):
        served.clear()
        runs(words)
        pages = [answer for answer in served.answers if answer.kind == "page"]
        assert len(pages) == len(names) + (words == ["all"])
        assert 2 <= max(answer.concurrent for answer in pages) <= 8


@pytest.mark.parametrize("pip", PIPS[1:])
def test_metadata_is_asked_for_side_by_side(runs: Runs, served: LocalIndex, wheels: Path) -> None:
    """That of what pip will look at, and none in vain; other releases are not asked for."""
    names = _many(wheels, "1.0", "1.1")
    make_wheel(wheels, "all", "1.0", requires=[f"{name}<1.1" for name in names])
    served.delay = 0.1
    for words, version in ((names, "1.1"), (["all"], "1.0")):
        served.clear()
        answer = runs(words)
        got = [answer for answer in served.answers if answer.kind == "metadata"]
        assert len(got) == len(names) + (words == ["all"])
        assert 2 <= max(answer.concurrent for answer in served.answers) <= 8
        assert {f"{name} {version}" for name in names} <= _names(answer[2])
        assert answer == runs(words, plain=True)


def test_page_that_pip_did_not_come_to_is_not_in_its_error(
    runs: Runs, served: LocalIndex, wheels: Path
) -> None:
    """pip judges it while it waits for the metadata of what comes before the missing one."""
    make_wheel(wheels, "old", "1.0", metadata_lines=["Requires-Python: <3"])
    served.delay = 0.1
    words = ["demo", "part", "missing", "old"]
    answer = runs(words)
    assert answer == runs(words, plain=True)
    assert "Requires-Python" not in "\n".join(answer[1])
    answer = runs(["demo", "part", "old"])
    assert "1.0 Requires-Python <3" in "\n".join(answer[1])


@pytest.mark.parametrize("status", [0, 403, 404, 429, 500])
def test_metadata_that_cannot_be_had_gives_pips_own_error(
    runs: Runs, served: LocalIndex, wheels: Path, status: int
) -> None:
    names = _many(wheels, "1.0", number=6)
    served.delay = 0.05
    served.fail("/files/of_4-1.0-py3-none-any.whl.metadata", status)
    words = [*names, "--retries", "0"]
    plain = runs(words, plain=True)
    assert plain[0] == 1
    assert runs(words) == plain


def test_installed_requirement_costs_no_request(
    environment: EnvironmentFactory, tmp_path: Path, served: LocalIndex
) -> None:
    runs = Runs(environment(), tmp_path, served.variables)
    runs(["demo"])
    run_as(None, runs.environment.plain("install", "demo"), env=served.variables, check=True)
    served.clear()
    runs(["demo"])
    assert not served.answers


def test_judged_page_that_makes_no_sense_is_judged_by_pip(runs: Runs) -> None:
    """A trusted publisher's can name other versions, as a resolution can, but causes no error."""
    runs(["demo"])
    plain = runs(["demo"], plain=True)
    for old, new in (
        ('"1.1"]', '"not a version"]'),
        ('"version_at":', '"version_at":9'),
        ('"order":[[', '"order":[["x",'),
        ('"files":["', '"files":["["],"more":["'),
    ):
        runs.forget()
        for file in runs.store.glob("resolutions/*/*/files/page.json"):
            _overwrite(file, file.read_text().replace(old, new))
        assert runs(["demo"]) == plain


def test_other_installed_version_is_not_replayed(runs: Runs, served: LocalIndex) -> None:
    runs(["demo"])
    install = runs.environment.plain("install", "part==1.0")
    run_as(None, install, env=served.variables, check=True)
    served.clear()
    now = runs(["demo"])
    assert now == runs(["demo"], plain=True)
    assert _names(now[2]) == {"demo 1.0"}
    uninstall = runs.environment.plain("uninstall", "--yes", "part")
    run_as(None, uninstall, env=served.variables, check=True)
    served.clear()
    assert _names(runs(["demo"])[2]) == {"demo 1.0", "part 1.1"}
    assert not served.count("page", 200), "the one with less installed stays"


@pytest.mark.parametrize("pip", [PIPS[0], NEWEST_PIP])
def test_installed_distribution_without_a_page_is_compared(
    environment: EnvironmentFactory, tmp_path: Path, index: IndexFactory, wheelhouse: Path, pip: str
) -> None:
    """pip reads no page for a requirement that is satisfied, but its dependencies count."""
    for version in ("2.0", "3.0"):
        make_wheel(wheelhouse, "base", version)
    make_wheel(wheelhouse, "user", "1.0", requires=["base"])
    make_wheel(wheelhouse, "there", "1.0", requires=["base<3"])
    make_wheel(wheelhouse, "there", "1.1")
    served = index(wheelhouse, public=Public())
    runs = Runs(environment(pip=pip), tmp_path, served.variables)
    for version, base in (("1.0", "2.0"), ("1.1", "3.0")):
        install = runs.environment.plain("install", "--no-deps", f"there=={version}")
        run_as(None, install, env=served.variables, check=True)
        answer = runs(["there", "user"])
        assert answer == runs(["there", "user"], plain=True)
        assert _names(answer[2]) == {"user 1.0", f"base {base}"}


@pytest.mark.parametrize("status", [403, 429])
def test_index_that_limits_requests_gives_the_answer_after_all(
    runs: Runs, served: LocalIndex, status: int
) -> None:
    runs(["demo"])
    served.fail("part", status, times=1)
    assert _names(runs(["demo"])[2]) == {"demo 1.0", "part 1.1"}


@pytest.mark.parametrize("pip", PIPS)
def test_index_that_answers_one_request_at_a_time_is_enough(
    runs: Runs, served: LocalIndex, wheels: Path
) -> None:
    names = _many(wheels, "1.0")
    make_wheel(wheels, "all", "1.0", requires=names)
    served.delay, served.limit = 0.05, 1
    for words in (names, ["all"], names):
        served.clear()
        answer = runs(words)
        assert 0 < served.count("page", 429) <= 8, "threads were refused, and ask no more"
        assert answer == runs(words, plain=True)
        assert answer[0] == 0


def test_secrets_are_in_no_store(
    runs: Runs, served: LocalIndex, wheels: Path, tmp_path: Path
) -> None:
    wheel = next(wheels.glob("demo-*.whl"))
    links = tmp_path / "links.html"
    links.write_text(f'<a href="{wheel.as_uri()}?token=secret">demo</a>')
    address = served.url.replace("simple", "files") + wheel.name
    for words in (
        [f"demo @ {address}?token=secret"],
        ["--find-links", links.as_uri(), "demo"],
        ["--find-links", f"{served.url}demo/?token=secret", "demo"],
        ["--index-url", f"{served.url}?token=secret", "demo"],
    ):
        runs(words)
    recorded = (tmp_path / "store").glob("resolutions/*/*/files/*")
    assert not [path for path in recorded if b"=secret" in path.read_bytes()]


def test_resolutions_off_records_and_replays_nothing(
    runs: Runs, served: LocalIndex, tmp_path: Path
) -> None:
    off = {"PIP_SHAREDCACHE_RESOLUTIONS": "off"}
    runs(["demo"], env=off)
    assert not list((tmp_path / "store").glob("resolutions/*/*"))
    runs(["demo"])
    served.clear()
    runs(["demo"], env=off)
    assert served.count("page", 200) == 2


def test_abandoned_replay_leaves_no_output(runs: Runs) -> None:
    """A resolution by a trusted publisher with the wrong answer costs time, and nothing else."""
    plain = runs(["demo"], plain=True)
    runs(["demo"])
    (file,) = runs.recorded
    changed = file.read_text().replace("part-1.1-py3", "part-1.0-py3")
    assert changed != file.read_text()
    _overwrite(file, changed)
    assert runs(["demo"]) == plain


@pytest.mark.parametrize("pip", PIPS)
def test_resolution_with_a_file_that_nothing_pins_is_not_recorded(
    environment: EnvironmentFactory, tmp_path: Path, index: IndexFactory, wheels: Path, pip: str
) -> None:
    """The file can be another one under the same page: pip must download it to see that."""
    served = index(wheels, hashes=False, metadata=False, public=Public())
    runs = Runs(environment(pip=pip), tmp_path, served.variables)
    answer = runs(["demo"])
    assert answer == runs(["demo"], plain=True)
    assert not runs.recorded
    make_wheel(wheels, "demo", "1.0", requires=["part<1.1"])
    served.clear()
    answer = runs(["demo"])
    assert len(served.wheel_requests()) == 2
    assert answer == runs(["demo"], plain=True)
    assert _names(answer[2]) == {"demo 1.0", "part 1.0"}
    said = "\n".join(runs(["demo", "-vv"])[1])
    assert "not recorded: " in said
    assert "has neither a hash nor metadata" in said


def test_resolution_with_such_a_file_that_an_older_version_recorded_is_not_replayed(
    environment: EnvironmentFactory, tmp_path: Path, index: IndexFactory, wheels: Path
) -> None:
    # In HTML, the page says nothing of a file's size either.
    served = index(wheels, hashes=False, metadata=False, public=Public(json=False))
    older = environment("older")
    module = older.site_packages / "pip_sharedcache" / "pip_adapter" / "recording.py"
    text = module.read_text()
    condition = "if not pinned and _can_change(link):"
    assert condition in text
    module.unlink()  # other environments can have the same file
    module.write_text(text.replace(condition, "if False:"))
    before = Runs(older, tmp_path, served.variables)
    before(["demo"], cache="older")
    assert before.recorded
    runs = Runs(environment(), tmp_path, served.variables)
    said = "\n".join(runs(["demo", "-vv"])[1])
    assert "The resolution is not reused: Abandoned: " in said
    assert "has neither a hash nor metadata" in said
    make_wheel(wheels, "demo", "1.0", requires=["part<1.1"])
    assert runs(["demo"]) == runs(["demo"], plain=True)


def test_file_that_the_user_pins_is_recorded(
    environment: EnvironmentFactory, tmp_path: Path, index: IndexFactory, wheels: Path
) -> None:
    served = index(wheels, hashes=False, metadata=False, public=Public())
    runs = Runs(environment(), tmp_path, served.variables)
    (part,) = wheels.glob("part-1.1-*.whl")
    pinned = tmp_path / "requirements.txt"
    sha256 = hashlib.sha256(part.read_bytes()).hexdigest()
    pinned.write_text(f"part==1.1 --hash=sha256:{sha256}\n")
    words = ["-r", str(pinned)]
    answers = [runs(words), runs(words), runs(words, plain=True)]
    assert answers[0] == answers[1] == answers[2]
    assert runs.recorded


def test_question_of_another_key_is_ignored(runs: Runs, served: LocalIndex) -> None:
    runs(["demo"])
    (file,) = runs.recorded
    _overwrite(file, file.read_text().replace('"demo"', '"part"'))
    served.clear()
    assert runs(["demo"]) == runs(["demo"], plain=True)
    assert served.count("page", 200) >= 2


def _overwrite(file: Path, text: str) -> None:
    """Change a resolution as its publisher can, with a manifest that fits."""
    manifest = file.parents[1] / "entry.json"
    data = json.loads(manifest.read_text())
    content = text.encode()
    data["files"][0][1:3] = len(content), hashlib.sha256(content).hexdigest()
    for path, changed in ((file, content), (manifest, json.dumps(data).encode())):
        path.chmod(0o644)
        path.write_bytes(changed)
        path.chmod(0o444)
