"""The man page names every command, option and setting, and is sound."""

from __future__ import annotations

import argparse
import re
import subprocess

from pip_sharedcache import config
from pip_sharedcache.cli import commands
from support import REPOSITORY
from support.probes import groff, needs

PAGE = REPOSITORY / "docs" / "pip-sharedcache.1"


def _text() -> str:
    return PAGE.read_text(encoding="ascii").replace("\\-", "-")


def _parsers() -> dict[str, argparse.ArgumentParser]:
    return dict(commands._parser()[1])


def test_every_command_and_option_is_there() -> None:
    text = _text()
    for name, parser in _parsers().items():
        assert re.search(rf"^\.(B|BI) \"?{name}\b", text, re.MULTILINE), name
        for action in parser._actions:
            for option in action.option_strings:
                if option not in ("-h", "--help"):
                    assert re.search(rf"(?<![\w-]){option}(?![\w-])", text), f"{name} {option}"


def test_every_setting_is_there() -> None:
    for name in config.NAMES:
        assert re.search(rf"^\.B {name}$", _text(), re.MULTILINE), name


@needs(groff)
def test_it_is_sound() -> None:
    done = subprocess.run(
        ["groff", "-man", "-ww", "-Tutf8", str(PAGE)], capture_output=True, text=True
    )
    assert (done.returncode, done.stderr) == (0, "")
    assert "all commands and options are pip's" in " ".join(done.stdout.lower().split())


def test_the_reference_names_them_too() -> None:
    text = (REPOSITORY / "docs" / "reference.md").read_text(encoding="utf-8")
    for name in (*_parsers(), *config.NAMES):
        assert re.search(rf"`[^`]*(?<![\w-]){name}(?![\w-])[^`]*`", text), name
