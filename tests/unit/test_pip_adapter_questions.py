"""The question to pip's resolver: what belongs to it, and what makes it another one."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from pip._internal.commands import create_command
from pip._internal.network.session import PipSession
from pip._internal.req.constructors import install_req_from_line

from pip_sharedcache.pip_adapter.questions import question_of

# Old pips warn of what they use of pkg_resources and of packaging.
pytestmark = pytest.mark.filterwarnings("ignore::DeprecationWarning")

Ask = Callable[..., Any]


@pytest.fixture(scope="module")
def ask() -> Ask:
    """Return the question of ``pip install`` with these arguments."""

    def question(*arguments: str) -> Any:
        command: Any = create_command("install")
        options, names = command.parse_args([*arguments])
        finder = command._build_package_finder(options=options, session=PipSession())
        roots = [install_req_from_line(name, user_supplied=True) for name in names]
        return question_of(SimpleNamespace(factory=SimpleNamespace(_finder=finder)), roots, options)

    return question


def test_same_question_is_equal_and_survives_json(ask: Ask) -> None:
    arguments = ("demo>=1", "other[b,a]", "--no-binary", "x,y", "--only-binary", "z")
    assert ask(*arguments) == ask(*arguments)
    assert json.loads(json.dumps(ask(*arguments))) == ask(*arguments)


@pytest.mark.parametrize(
    "arguments",
    [
        ["demo", "other"],
        ["other"],
        ["demo==1"],
        ["demo[extra]"],
        ["demo; os_name == 'posix'"],
        ["demo @ https://index.test/demo-1-py3-none-any.whl"],
        *(
            ["demo", *option.split()]
            for option in (
                "--pre",
                "--no-deps",
                "--upgrade",
                "--upgrade-strategy=eager",
                "--force-reinstall",
                "--ignore-installed",
                "--ignore-requires-python",
                "--require-hashes",
                "--no-binary=demo",
                "--only-binary=:all:",
                "--prefer-binary",
                "--no-build-isolation",
                "--index-url=https://index.test/simple",
                "--extra-index-url=https://index.test/simple",
                "--find-links=https://index.test/links",
                "--no-index",
                "--user",
                "--config-settings=a=b",
            )
        ),
        ["demo", "--platform=win32", "--only-binary=:all:", "--target=x"],
        ["demo", "--python-version=3.9", "--only-binary=:all:", "--target=x"],
    ],
    ids=" ".join,
)
def test_what_selects_candidates_makes_another_question(ask: Ask, arguments: list[str]) -> None:
    assert ask(*arguments) != ask("demo")


@pytest.mark.parametrize(
    "arguments",
    [
        ["--quiet"],
        ["--no-cache-dir"],
        ["--progress-bar=off"],
        ["--proxy=http://me:secret@proxy.test"],
        ["--trusted-host=index.test"],
        ["--timeout=3"],
        ["--no-compile"],
        ["--report=x.json"],
        ["--dry-run"],
        ["--root=/x"],
        ["--prefix=/x"],
    ],
    ids=" ".join,
)
def test_what_selects_no_candidates_is_no_part(ask: Ask, arguments: list[str]) -> None:
    assert ask("demo", *arguments) == ask("demo")


def test_credentials_are_no_part(ask: Ask) -> None:
    question = ask("demo", "--index-url", "https://me:secret@index.test/simple")
    assert question["indexes"] == ["https://index.test/simple"]
    assert "secret" not in json.dumps(question)


@pytest.mark.parametrize(
    ("arguments", "why"),
    [
        (["demo @ https://me:secret@index.test/demo-1-py3-none-any.whl"], "contains credentials"),
        (["demo @ https://index.test/demo-1-py3-none-any.whl?sig=secret"], "or a query"),
        (["demo", "--index-url=https://index.test/simple?token=secret"], "or a query"),
        (["demo", "--find-links=https://index.test/links?token=secret"], "or a query"),
        (["demo", "--find-links=https://me:secret@index.test/links"], "has credentials"),
        (
            [
                "demo",
                "--index-url=https://me:secret@index.test/simple",
                "--extra-index-url=https://you:secret@index.test/simple/",
            ],
            "as different users",
        ),
        (["demo @ git+https://index.test/demo@main"], "not a fixed commit"),
        (["demo @ file:///demo-1-py3-none-any.whl"], "local file"),
    ],
)
def test_what_nobody_else_can_ask_has_a_reason(ask: Ask, arguments: list[str], why: str) -> None:
    assert why in ask(*arguments)
    assert "secret" not in ask(*arguments)


def test_fixed_commit_is_a_question(ask: Ask) -> None:
    assert isinstance(ask(f"demo @ git+https://index.test/demo@{'0' * 40}"), dict)


def test_listing_of_a_local_directory_belongs_to_the_question(ask: Ask, tmp_path: Path) -> None:
    before = ask("demo", f"--find-links={tmp_path}")
    assert before == ask("demo", f"--find-links={tmp_path}")
    (tmp_path / "demo-1.0-py3-none-any.whl").touch()
    assert ask("demo", f"--find-links={tmp_path}") != before
    assert ask("demo", f"--find-links={tmp_path / 'missing'}") != before
