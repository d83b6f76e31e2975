"""The command `doctor`, which finds faults of the store in use, and fixes them."""

from __future__ import annotations

import argparse
import functools
import os
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from pip_sharedcache import pip_adapter
from pip_sharedcache.activation import Hook, Interpreter
from pip_sharedcache.cli.choosing import add_python_option
from pip_sharedcache.cli.files import path_argument
from pip_sharedcache.cli.output import FINDINGS, FINE, Output
from pip_sharedcache.cli.quantities import key
from pip_sharedcache.cli.stores import settings_in_use
from pip_sharedcache.config import Settings
from pip_sharedcache.errors import SharedCacheError, UsageError
from pip_sharedcache.maintenance.doctor import DoctorReport, Finding, Outcome, examine, fix_all
from pip_sharedcache.maintenance.doctor.report import LAYER, REMOTE, quoted

HELP = "find faults, and name the commands that fix them"
DESCRIPTION = (
    "Try every function of the store, and name the command that fixes each fault. "
    "Change nothing without --fix."
)

#: The facts that doctor prints without -v.
_SHORT = (
    "store",
    "searched",
    "root",
    "state",
    "filesystem",
    "free",
    "entries",
    "publishing",
    "signers",
    "link-mode",
    "resolutions",
)


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the arguments of this command to ``parser``."""
    what = "try what can be linked into this environment (default: the active one)"
    add_python_option(parser, what)
    parser.add_argument("--environment", metavar="DIR", type=path_argument, help=argparse.SUPPRESS)
    parser.add_argument(
        "--fix", action="store_true", help="fix the faults that you may fix without loss of data"
    )


def run(chosen: argparse.Namespace, output: Output) -> int:
    """Run the command, and return the exit status."""
    here = chosen.place.interpreter(chosen.python, output.verbose)
    environment = (chosen.environment or here.library).absolute()
    if not environment.is_dir():
        raise UsageError(f"{environment} is not a directory", "name one with --python")
    settings = settings_in_use(output)
    look = functools.partial(_examine, settings, environment, here)
    outcome = fix_all(look) if chosen.fix else Outcome(look())
    _show(output, outcome, bool(settings.notes))
    return FINDINGS if outcome.report.has_faults else FINE


def _examine(settings: Settings, environment: Path, here: Interpreter) -> DoctorReport:
    report = examine(settings, environment, pip_adapter.open_web)
    pip, problem = pip_adapter.examine_pip()
    if problem is not None:
        command = f"{quoted(sys.executable)} -m pip install 'pip<=26.3'"
        if not pip or pip_adapter.is_too_old(pip):
            command = problem.hint
        report.add_finding(
            "pip",
            f"{problem.message}: nothing can be installed through the store",
            command,
            "the version of pip is your choice",
            () if os.access(here.library, os.W_OK) else (0, os.stat(here.library).st_uid),
        )
    report.add_fact("pip", pip or "none")
    if problem is None:
        report.add_fact("resolutions", *_resolutions(settings, report))
    report.add_fact("python", f"{sys.version.split()[0]} ({sys.executable})")
    _look_at_hook(report, here)
    return report


def _resolutions(settings: Settings, report: DoctorReport) -> tuple[str, bool]:
    """Return what a run does with resolutions, and whether it records and reuses them.

    ``report``: says whether the store can be used, and whether this user can publish there.
    """
    if not settings.resolutions:
        return "neither recorded nor reused: resolutions = off", False
    if settings.offline:
        return "neither recorded nor reused: offline = yes", False
    if problem := pip_adapter.resolver_problem():
        return f"neither recorded nor reused with this pip: {problem}", False
    facts = {fact.name: fact for fact in report.facts}
    if "publishing" not in facts and "state" not in facts:
        return "neither recorded nor reused: no store can be used", False
    if "publishing" in facts and not facts["publishing"].value:
        why = f"publishing {facts['publishing'].text}"
        return f"reused from trusted publishers; not recorded ({why})", False
    return "recorded and reused", True


def _look_at_hook(report: DoctorReport, here: Interpreter) -> None:
    """Add the fact which commands of the environment of ``here`` install through the store."""
    try:
        files = [*Hook(here, everywhere=False).files(), *Hook(here, everywhere=True).files()]
    except SharedCacheError as error:
        report.add_fact("hooked", f"unknown: {error}", None)
        return
    text = "no command: call pip-sharedcache in place of pip, or see pip-sharedcache store enable"
    if files:
        text = f"pip of {here.prefix} ({', '.join(map(str, files))})"
    report.add_fact("hooked", text, list(map(str, files)))


def _show(output: Output, outcome: Outcome, noted: bool) -> None:
    """Print ``outcome``. ``noted``: whether warnings named parts of the configuration."""
    report, fixed, left = outcome.report, outcome.fixed, outcome.left
    listed = {"layers": LAYER, "remotes": REMOTE}
    single = (one for one in report.facts if not one.name.startswith(tuple(listed.values())))
    facts = {key(one.name): one.value for one in single}
    for name, beginning in listed.items():
        facts[name] = [one.value for one in report.facts if one.name.startswith(beginning)]
    output.result(
        {
            "facts": facts,
            "findings": [_as_data(finding, left) for finding in report.findings],
            "fixed": [_as_data(finding, {}) for finding in fixed],
        }
    )
    width = max(len(fact.name) for fact in report.facts) + 1
    for fact in report.facts:
        shown = fact.name in _SHORT or fact.name.startswith(REMOTE)
        say = output.say if shown else output.detail
        say(f"{(fact.name + ':').ljust(width)} {fact.text}")
    for finding in fixed:
        output.find(f"Fixed: {finding.sentence}")
    for finding in report.findings:
        output.find(f"{finding.sentence}.")
        who = f" (as {finding.whose})" if finding.whose else ""
        output.find(f"    hint{who}: {finding.command}")
        if why := left.get(finding.sentence):
            output.find(f"    not fixed: {why}")
    if not report.has_faults:
        what = "Nothing else is wrong" if report.findings else "Nothing is wrong"
        what = "Nothing else is wrong than the warnings say" if noted else what
        output.say(f"{what}. (pip-sharedcache store verify checks the content of entries.)")


def _as_data(finding: Finding, left: Mapping[str, str]) -> dict[str, Any]:
    return {
        "name": finding.name,
        "sentence": finding.sentence,
        "command": finding.command,
        "by": finding.whose or None,
        "minor": finding.minor,
        "left": left.get(finding.sentence) or None,
    }
