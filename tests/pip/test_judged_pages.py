"""Judged pages: pip gets the same of them as of the index pages themselves.

The program of this test reads any directory of recorded pages, too: see its first lines.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest

from support import REPOSITORY
from support.accounts import run_as
from support.environments import NEWEST_PIP, NEWEST_PIP_FOR_39, EnvironmentFactory, interpreters
from support.probes import linux, needs, require

pytestmark = [pytest.mark.pips, needs(linux)]

PROGRAM = REPOSITORY / "tests" / "support" / "programs" / "judged_pages.py"
PLATFORM = "manylinux_2_17_x86_64.manylinux2014_x86_64"

PAGES: dict[str, Sequence[str | dict[str, Any]]] = {
    "empty": [],
    "nothing-fits": ["nothing_fits-1.0-cp27-none-any.whl", "nothing-fits-1.0.exe"],
    "versions": [
        f"versions-{version}-py3-none-any.whl"
        for version in (
            *("1.0", "1.0.0", "1.0.post1", "1.1a1", "1.1rc2", "2!0.1", "1.0+local.1", "1.2.dev3"),
            *("10.0", "9.0", "0.0.0", "1.0_bad", "not.a.version", "1.01"),
        )
    ],
    "sources": [
        f"sources-{version}{end}"
        for version in ("1.0", "1.1", "2.0b1")
        for end in (".tar.gz", ".zip", "-py3-none-any.whl", ".tar.bz2", ".egg", "-py3.9.egg")
    ],
    "tags": [
        f"tags-{version}-{tag}.whl"
        for version in ("1.0", "1.1-1", "1.1-2", "1.1-2b", "1.1")
        for tag in (
            *(
                "py2.py3-none-any",
                "py3-none-any",
                f"cp39-cp39-{PLATFORM}",
                "cp38-abi3-linux_x86_64",
            ),
            *(f"cp311-cp311-{PLATFORM}", f"cp313-cp313-{PLATFORM}", "cp313-cp313t-linux_x86_64"),
            *("cp311-cp311-win_amd64", "cp311-cp311-macosx_11_0_arm64", "pp39-pypy39_pp73-any"),
        )
    ],
    "pythons": [
        {"filename": f"pythons-{number}.0-py3-none-any.whl", "requires-python": text}
        for number, text in enumerate(
            (
                "",
                ">=3.9",
                "<3",
                "!=3.8.5",
                ">=3.12",
                "<3.10",
                "==3.11.*",
                "!=3.11.2,>=3",
                ">=3.*",
                "three",
                "é",
            )
        )
    ],
    "yanked": [
        {"filename": f"yanked-{number}.0-py3-none-any.whl", "yanked": reason}
        for number, reason in enumerate((False, True, "broken", "<b>&amp; \"quoted\" '1'", "é\n"))
    ],
    "others": [
        "other-1.0-py3-none-any.whl",
        "others_more-1.0.tar.gz",
        "Others-1.0-py3-none-any.whl",
        "others-more-1.0.tar.gz",
        "oth-ers-1.0.tar.gz",
        "others-1.0-py3-none-any.whl.metadata",
        "others.whl",
        "README",
    ],
    "twice": ["twice-1.0-py3-none-any.whl", "twice-1.0.tar.gz"] * 2,
    "addresses": [
        {"filename": f"addresses-{number}.0-py3-none-any.whl", "url": f"/{path}/{number}/a b%2Bc"}
        for number, path in enumerate(("f", "f/../g", "é", "a%20b"))
    ]
    + [{"filename": "addresses-9.0-py3-none-any.whl", "url": "/x/addresses-9.0-py3-none-any.whl"}],
    "hashes": [
        {"filename": f"hashes-{number}.0-py3-none-any.whl", "hashes": hashes}
        for number, hashes in enumerate(
            ({}, {"md5": "0" * 32}, {"sha256": "1" * 64}, {"sha256": "1" * 64, "md5": "0" * 32})
        )
    ],
    "facts": [
        {
            "filename": "facts-1.0-py3-none-any.whl",
            "core-metadata": {"sha256": "2" * 64},
            "upload-time": "2024-01-02T03:04:05.678901Z",
            "size": 12345,
            "provenance": "https://index.test/provenance",
        },
        {"filename": "facts-1.1-py3-none-any.whl", "core-metadata": False, "size": None},
    ],
}


@pytest.fixture
def pages(tmp_path: Path) -> Path:
    (tmp_path / "pages").mkdir()
    for name, files in PAGES.items():
        entries = []
        for one in files:
            entry = {"filename": one} if isinstance(one, str) else one
            entries.append({"hashes": {"sha256": f"{len(entry['filename']):064x}"}, **entry})
        (tmp_path / "pages" / f"{name}.json").write_text(json.dumps({"files": entries}))
    return tmp_path


@pytest.mark.parametrize(
    ("python", "pip"),
    [("3.9", NEWEST_PIP_FOR_39), ("3.11", "23.0.1"), ("3.11", "25.0.1"), ("3.13", NEWEST_PIP)],
)
def test_pip_gets_the_same_of_judged_pages(
    environment: EnvironmentFactory, pages: Path, python: str, pip: str
) -> None:
    require(lambda: None if python in interpreters() else f"no Python {python}")
    made = environment(python=interpreters()[python], pip=pip)
    done = run_as(None, [str(made.python), str(PROGRAM), str(pages)], check=True)
    found = json.loads(done.stdout)
    assert found.pop("differences") == []
    assert found["pages"] == len(PAGES)
    assert found["not kept"] == 0
