"""The language that STYLE.md asks for, as far as a test can hold it."""

from __future__ import annotations

import ast
import functools
import re
from pathlib import Path

import pytest

from support import REPOSITORY

ROOT = REPOSITORY / "src" / "pip_sharedcache"
MODULES = sorted(path.relative_to(ROOT).as_posix() for path in ROOT.rglob("*.py"))
DOCUMENTS = [
    *(
        REPOSITORY / name
        for name in ("README.md", "CHANGELOG.md", "CONTRIBUTING.md", "SECURITY.md")
    ),
    *sorted((REPOSITORY / "docs").rglob("*.md")),
    REPOSITORY / "docs" / "pip-sharedcache.1",
]

#: Text that is not prose: blocks of code, hidden blocks, code inside a line.
_NOT_PROSE = re.compile(r"^```.*?^```$|^<!-- .*?-->$|`[^`]*`", re.MULTILINE | re.DOTALL)


def _section(text: str, heading: str) -> str:
    """Return the part of a document that stands under a heading of the second level."""
    return text.split(f"\n## {heading}\n", 1)[1].split("\n## ", 1)[0]


def _words() -> list[str]:
    """Return the words in the first column of the table "Words" in STYLE.md."""
    style = (REPOSITORY / "STYLE.md").read_text(encoding="utf-8")
    rows = re.findall(r"^\| ([^|]+) \| [^|]+ \|$", _section(style, "Words"), re.MULTILINE)
    return [word.strip() for row in rows[2:] for word in row.split(",")]


@functools.cache
def _pattern() -> re.Pattern[str]:
    """Return a pattern that matches each word of STYLE.md's list, also across a line's end."""
    each = (r"\s+".join(map(re.escape, word.split())) for word in _words())
    return re.compile(rf"\b(?:{'|'.join(each)})\b", re.IGNORECASE)


def _found(text: str, line: int = 1) -> list[str]:
    """Return each word of the list in a text that begins at a line, with the word's line."""
    return [
        f"{line + text.count(chr(10), 0, match.start())}: {' '.join(match[0].split())}"
        for match in _pattern().finditer(text)
    ]


def _prose(path: Path) -> str:
    """Return a document without code, but with as many lines."""
    text = path.read_text(encoding="utf-8")
    return _NOT_PROSE.sub(lambda match: "`" + "\n" * match[0].count("\n"), text)


def _in_module(module: str) -> list[str]:
    """Return each word of the list in the docstrings and other strings of a module."""
    tree = ast.parse((ROOT / module).read_text(encoding="utf-8"))
    return [
        found
        for node in ast.walk(tree)
        if isinstance(node, ast.Constant) and isinstance(node.value, str)
        for found in _found(node.value, node.lineno)
    ]


def test_style_lists_words() -> None:
    words = _words()
    assert len(words) >= 30
    assert len(set(words)) == len(words)
    assert "is told" in words


@pytest.mark.parametrize("text", ["It IS\n  told so.", "Nobody is believed.", "(as ever)"])
def test_pattern_matches_case_and_line_ends(text: str) -> None:
    assert _found(text)


@pytest.mark.parametrize("text", ["It is toldest.", "unbelieved", "The user trusts it."])
def test_pattern_matches_whole_words_only(text: str) -> None:
    assert not _found(text)


@pytest.mark.parametrize("path", DOCUMENTS, ids=lambda path: str(path.relative_to(REPOSITORY)))
def test_document_has_no_listed_word(path: Path) -> None:
    assert not _found(_prose(path))


@pytest.mark.parametrize("module", MODULES)
def test_module_has_no_listed_word(module: str) -> None:
    assert not _in_module(module)


def test_readme_is_short_and_begins_with_the_installation() -> None:
    text = (REPOSITORY / "README.md").read_text(encoding="utf-8")
    assert len(text.splitlines()) < 120
    commands = re.findall(r"^\$ (.*?)(?: +#.*)?$", text, re.MULTILINE)
    assert commands[:3] == [
        "python3 -m pip install .",
        "sh examples/quickstart.sh",
        "sh tests/run.sh",
    ]


def test_changelog_has_sections_of_keep_a_changelog() -> None:
    text = (REPOSITORY / "CHANGELOG.md").read_text(encoding="utf-8")
    order = ["Added", "Changed", "Deprecated", "Removed", "Fixed", "Security"]
    for release in text.split("\n## ")[1:]:
        sections = re.findall(r"^### (.*)$", release, re.MULTILINE)
        assert sections, release.splitlines()[0]
        assert sections == sorted(sections, key=order.index)
