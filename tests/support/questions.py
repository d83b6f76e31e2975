"""Questions of every kind to pip's resolver, and the projects that answer them.

indexes = Indexes(index, tmp_path)      # two running indexes and a directory of links
for question in QUESTIONS.values():     # by name
    pip install *question.installed, in an environment, if there are any
    pip install *question.arguments     # both with indexes.words(...) and indexes.variables
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from support.index import IndexFactory, LocalIndex, Public
from support.wheels import digest, make_sdist, make_wheel


@dataclass(frozen=True)
class Question:
    """What is asked of ``pip install``.

    ``arguments`` and ``files`` (requirements and the like, by name) may name ``{files}``, where
    these lie; ``{index}`` and ``{other}``, the addresses of the indexes, ``{main}``, of the main
    index's files, ``{links}``, a directory of wheels, and ``{sha256:NAME}``, of a wheel's digest.
    ``answer``: what is installed by it, "name version"; empty where pip fails with ``error`` in its
    output. ``installed``: arguments of an installation before it. ``since``: the oldest pip that
    knows the options.
    """

    arguments: Sequence[str]
    answer: Sequence[str] = ()
    error: str = ""
    installed: Sequence[str] = ()
    files: Mapping[str, str] = field(default_factory=dict)
    since: tuple[int, int] = (23, 0)


_BACKTRACKED = ("top 1.0", "side 1.0", "shared 1.5")
_APP = ("app 2.0", "lib 2.0")

QUESTIONS: dict[str, Question] = {
    # One project, its dependencies, and what selects their candidates.
    "simple": Question(["app"], _APP),
    "pinned": Question(["app==1.0"], ["app 1.0", "lib 2.0"]),
    "several": Question(["app", "lib<2", "marked"], ["app 1.0", "lib 1.1", "marked 1.0"]),
    "extras": Question(["app[fast]"], [*_APP, "speed 1.0"]),
    "extra-of-extras": Question(["app[all]"], [*_APP, "speed 1.0", "marked 1.0"]),
    "unknown-extra": Question(["app[none]"], _APP),
    "markers": Question(["marked"], ["marked 1.0", "lib 2.0"]),
    "marker-of-a-requirement": Question(
        ['app ; python_version < "3"', "lib"],
        ["lib 2.0"],
    ),
    "no-deps": Question(["--no-deps", "app"], ["app 2.0"]),
    "requires-python": Question(["modern"], ["modern 1.0"]),
    "tags": Question(["tagged"], ["tagged 1.0"]),
    # Requirements and constraints in files.
    "requirements-file": Question(
        ["-r", "{files}/requirements.txt"],
        [*_APP, "speed 1.0"],
        files={"requirements.txt": "app[fast]\n-r more.txt\n", "more.txt": "lib>=1.1\n"},
    ),
    "constraints": Question(
        ["-c", "{files}/constraints.txt", "app"],
        ["app 1.0", "lib 1.1"],
        files={"constraints.txt": "lib<2\napp<99\nunused==7\n"},
    ),
    "constraint-by-address": Question(
        ["-c", "{files}/constraints.txt", "app<2"],
        ["app 1.0", "lib 1.0"],
        files={"constraints.txt": "lib @ {main}lib-1.0-py3-none-any.whl\n"},
    ),
    "constraints-that-do-not-fit": Question(
        ["-c", "{files}/constraints.txt", "app>=2"],
        error="conflicting dependencies",
        files={"constraints.txt": "lib<2\n"},
    ),
    "hashes": Question(
        ["--require-hashes", "-r", "{files}/requirements.txt"],
        _APP,
        files={
            "requirements.txt": "app==2.0 --hash=sha256:{sha256:app-2.0-py3-none-any.whl}\n"
            "lib==2.0 --hash=sha256:{sha256:lib-2.0-py3-none-any.whl}\n"
        },
    ),
    "wrong-hash": Question(
        ["--require-hashes", "-r", "{files}/requirements.txt"],
        error="DO NOT MATCH THE HASHES",
        files={"requirements.txt": f"lib==2.0 --hash=sha256:{'0' * 64}\n"},
    ),
    "lock-file": Question(
        ["-r", "{files}/pylock.toml"],
        ["app 1.0", "lib 1.1"],
        files={
            "pylock.toml": 'lock-version = "1.0"\ncreated-by = "tests"\n'
            + "".join(
                f'[[packages]]\nname = "{name}"\nversion = "{version}"\n'
                f'[[packages.wheels]]\nname = "{wheel}"\nurl = "{{main}}{wheel}"\n'
                f'hashes = {{ sha256 = "{{sha256:{wheel}}}" }}\n'
                for name, version, wheel in (
                    ("app", "1.0", "app-1.0-py3-none-any.whl"),
                    ("lib", "1.1", "lib-1.1-py3-none-any.whl"),
                )
            )
        },
        since=(26, 1),
    ),
    # Pre-releases and yanked files.
    "pre-releases": Question(["--pre", "app"], ["app 2.0", "lib 2.1rc1"]),
    "pre-release-asked-for": Question(["lib>=2.1rc1"], ["lib 2.1rc1"]),
    "nothing-but-pre-releases": Question(["early"], ["early 0.2b1"]),
    "yanked": Question(["pulled"], ["pulled 1.0"]),
    "yanked-and-pinned": Question(["pulled==1.1"], ["pulled 1.1"]),
    "all-yanked": Question(["gone"], error="No matching distribution found for gone"),
    # Going back, and failing.
    "backtracking": Question(["top", "side"], _BACKTRACKED),
    "backtracking-in-the-other-order": Question(["side", "top"], _BACKTRACKED),
    "impossible": Question(["top==6.0", "side==1.0"], error="conflicting dependencies"),
    "impossible-after-going-back": Question(
        ["top>=3", "side"],
        error="conflicting dependencies",
    ),
    "unknown-version": Question(["lib>=99"], error="No matching distribution found for lib>=99"),
    "unknown-project": Question(["unheard"], error="No matching distribution found for unheard"),
    "unknown-dependency": Question(["broken"], error="No matching distribution found for unheard"),
    # Where candidates come from.
    "two-indexes": Question(["--extra-index-url", "{other}", "twice"], ["twice 2.0"]),
    "two-indexes-the-same-version": Question(
        ["--extra-index-url", "{other}", "same"],
        ["same 1.0"],
    ),
    "the-other-index": Question(
        ["--index-url", "{other}", "same", "twice<2"], error="found for twice<2"
    ),
    "find-links": Question(["--find-links", "{links}", "linked", "lib"], ["linked 1.0", "lib 3.0"]),
    "find-links-alone": Question(
        ["--no-index", "--find-links", "{links}", "linked"], ["linked 1.0", "lib 3.0"]
    ),
    "direct-address": Question(
        ["app @ {main}app-1.0-py3-none-any.whl#sha256={sha256:app-1.0-py3-none-any.whl}"],
        ["app 1.0", "lib 2.0"],
    ),
    "local-wheel": Question(["{links}/lib-3.0-py3-none-any.whl", "app"], ["lib 3.0", "app 2.0"]),
    # Sources.
    "sdist": Question(["source"], ["source 1.0", "lib 1.1"]),
    "wheel-or-sdist": Question(["both"], ["both 1.1"]),
    "only-binary": Question(["--only-binary", ":all:", "both"], ["both 1.0"]),
    "only-binary-and-no-wheel": Question(
        ["--only-binary", "source", "source"], error="No matching distribution found for source"
    ),
    "no-binary": Question(["--no-binary", "both", "both==1.0"], ["both 1.0"]),
    "prefer-binary": Question(["--prefer-binary", "both"], ["both 1.0"]),
    # What is installed.
    "installed-older": Question(["app<2"], ["app 1.0"], installed=["lib==1.0"]),
    "installed-older-does-not-fit": Question(["app"], _APP, installed=["lib==1.0"]),
    "installed-newer": Question(["app"], ["app 2.0"], installed=["--pre", "lib"]),
    "installed-the-same": Question(["app", "lib"], ["app 2.0"], installed=["lib==2.0"]),
    "installed-all": Question(["app"], [], installed=["app"]),
    "installed-from-elsewhere": Question(
        ["app<2"], ["app 1.0"], installed=["lib @ {main}lib-1.1-py3-none-any.whl"]
    ),
    "installed-not-in-any-index": Question(
        ["app", "linked"],
        ["app 2.0"],
        installed=["--no-index", "--find-links", "{links}", "linked"],
    ),
    "upgrade": Question(["--upgrade", "app"], _APP, installed=["app==1.0", "lib==1.0"]),
    "upgrade-keeps-what-fits": Question(
        ["--upgrade", "app<2"], ["app 1.0"], installed=["lib==1.0"]
    ),
    "upgrade-eager": Question(
        ["--upgrade", "--upgrade-strategy", "eager", "app<2"],
        ["app 1.0", "lib 2.0"],
        installed=["lib==1.0"],
    ),
    "force-reinstall": Question(["--force-reinstall", "app"], _APP, installed=["app", "lib==2.0"]),
    "ignore-installed": Question(["--ignore-installed", "app"], _APP, installed=["lib==2.0"]),
    "installed-conflicts": Question(
        ["side"], ["side 1.0", "shared 1.5"], installed=["shared==6.0"]
    ),
}


class Indexes:
    """The projects that QUESTIONS ask for: two running indexes, ``main`` (pip's index) and
    ``other``, and ``links``, a directory of wheels; all below ``base``."""

    def __init__(
        self, index: IndexFactory, base: Path, *, public: Public | None = None, delay: float = 0
    ) -> None:
        self.base = base
        self.links = _make(base / "links", _make_links)
        public = public or Public()
        self.main: LocalIndex = index(_make(base / "main", _make_main), public=public, delay=delay)
        self.other: LocalIndex = index(
            _make(base / "other", _make_other), public=public, delay=delay
        )
        self.main.pages.yank("pulled-1.1-py3-none-any.whl", "it was too good")
        self.main.pages.yank("gone-1.0-py3-none-any.whl")

    @property
    def variables(self) -> dict[str, str | None]:
        """Variables with which pip asks the main index, and trusts both."""
        hosts = f"{self.main.host} {self.other.host}"
        return {**self.main.variables, "PIP_TRUSTED_HOST": hosts}

    def words(self, question: Question, arguments: Sequence[str]) -> list[str]:
        """Arguments of a question with all names filled in, its files written."""
        files = self.base / "files"
        files.mkdir(exist_ok=True)
        for name, content in question.files.items():
            (files / name).write_text(self._filled(content), encoding="utf-8")
        return [self._filled(word) for word in arguments]

    def _filled(self, text: str) -> str:
        for wheel in self.main.directory.glob("*.whl"):
            if wheel.name in text:
                text = text.replace(f"{{sha256:{wheel.name}}}", digest(wheel))
        for name, value in {
            "files": str(self.base / "files"),
            "index": self.main.url,
            "main": self.main.url.replace("/simple/", "/files/"),
            "other": self.other.url,
            "links": str(self.links),
        }.items():
            text = text.replace(f"{{{name}}}", value)
        return text


def _make_main(directory: Path) -> None:
    app = ["Provides-Extra: fast", "Provides-Extra: all"]
    extras = ["speed; extra == 'fast'", "app[fast]; extra == 'all'", "marked; extra == 'all'"]
    make_wheel(directory, "app", "1.0", requires=["lib", *extras], metadata_lines=app)
    make_wheel(directory, "app", "2.0", requires=["lib>=2", *extras], metadata_lines=app)
    for version in ("1.0", "1.1", "2.0", "2.1rc1"):
        make_wheel(directory, "lib", version)
    make_wheel(directory, "speed")
    never = ["unheard; python_version < '3'", "unheard; extra == 'none'"]
    make_wheel(directory, "marked", requires=["lib>=1; os_name == 'posix'", *never])
    make_wheel(directory, "modern", "1.0")
    make_wheel(directory, "modern", "2.0", metadata_lines=["Requires-Python: >=99"])
    make_wheel(directory, "tagged", "1.0")
    make_wheel(directory, "tagged", "2.0", tag="cp27-cp27m-win32")
    for version in ("0.1a1", "0.2b1"):
        make_wheel(directory, "early", version)
    for version in ("1.0", "1.1"):
        make_wheel(directory, "pulled", version)
    make_wheel(directory, "gone")
    for number in range(1, 7):
        make_wheel(directory, "top", f"{number}.0", requires=[f"shared>={number}"])
        for version in (f"{number}.0", f"{number}.5"):
            make_wheel(directory, "shared", version)
    make_wheel(directory, "side", requires=["shared<2"])
    make_wheel(directory, "broken", requires=["unheard"])
    make_wheel(directory, "twice", "1.0")
    make_wheel(directory, "same", files={"same.py": "INDEX = 'main'\n"})
    make_sdist(directory, "source", requires=["lib<2"])
    make_wheel(directory, "both", "1.0")
    for version in ("1.0", "1.1"):
        make_sdist(directory, "both", version)


def _make_other(directory: Path) -> None:
    make_wheel(directory, "twice", "2.0")
    make_wheel(directory, "same", files={"same.py": "INDEX = 'other'\n"})


def _make_links(directory: Path) -> None:
    make_wheel(directory, "linked", requires=["lib>=3"])
    make_wheel(directory, "lib", "3.0")


def _make(directory: Path, fill: Callable[[Path], None]) -> Path:
    if not directory.exists():
        directory.mkdir(parents=True)
        fill(directory)
    return directory
