"""Plain pip gives the answers that the tests expect to their questions."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from support import probes
from support.accounts import run_as
from support.environments import EnvironmentFactory
from support.index import IndexFactory
from support.probes import needs
from support.questions import QUESTIONS, Indexes


@pytest.mark.network
@needs(probes.index)
@pytest.mark.parametrize("name", QUESTIONS)
def test_pip_answers(
    name: str,
    index: IndexFactory,
    environment: EnvironmentFactory,
    tmp_path: Path,
) -> None:
    question, indexes = QUESTIONS[name], Indexes(index, tmp_path)
    made = environment(ours=False)
    variables = {**indexes.variables, "PIP_CACHE_DIR": str(tmp_path / "cache")}
    if question.installed:
        before = indexes.words(question, question.installed)
        run_as(None, made.plain("install", "--no-compile", *before), env=variables, check=True)
    asked = indexes.words(question, question.arguments)
    report = tmp_path / "report.json"
    command = made.plain("install", "--dry-run", "--report", report, *asked)
    done = run_as(None, command, env=variables)
    if question.error:
        assert done.returncode == 1
        assert question.error in done.stdout + done.stderr
        return
    assert done.returncode == 0, done.stderr
    installed = [entry["metadata"] for entry in json.loads(report.read_text())["install"]]
    found = [f"{metadata['name']} {metadata['version']}" for metadata in installed]
    assert sorted(found) == sorted(question.answer)
