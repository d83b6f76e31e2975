"""The man page names every command, option and setting, and is sound."""

from __future__ import annotations

import argparse
import re
import subprocess

import pytest

from pip_sharedcache import config
from pip_sharedcache.cli import commands, completion
from pip_sharedcache.config import Settings
from pip_sharedcache.model import Policy
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
        shown = (one for one in parser._actions if one.help != argparse.SUPPRESS)
        for action in shown:  # not the older names of options
            for option in action.option_strings:
                if option not in ("-h", "--help"):
                    assert re.search(rf"(?<![\w-]){option}(?![\w-])", text), f"{name} {option}"


def _shown(row: config.Row) -> str:
    """What the man page says of a setting, without fonts."""
    _, _, after = _text().partition(f"\n.B {row.name}\n")
    text = re.split(r"^\.", after, maxsplit=1, flags=re.MULTILINE)[0]
    return " ".join(re.sub(r"\\f[BR]", "", text).split())


@pytest.mark.parametrize("row", config.ROWS, ids=lambda row: row.name)
def test_man_page_says_of_a_setting_what_its_row_says(row: config.Row) -> None:
    text = re.sub(r"\[([^]]*)\]\([^)]*\)", r"\1", row.help).replace("`", "")
    shown = _shown(row)
    assert shown.lower().startswith(text.lower())
    assert shown.endswith(f"Default: {row.default.replace('`', '')}.")


def test_man_page_names_the_policies_of_a_store() -> None:
    shown = _shown(next(row for row in config.ROWS if row.name == "dir"))
    assert ", ".join(policy.value for policy in Policy) in shown


def test_settings_in_the_man_page_are_in_the_order_of_the_rows() -> None:
    section = _text().partition(".SH SETTINGS")[2].partition(".SH")[0]
    assert tuple(re.findall(r"^\.TP\n\.B (\S+)$", section, re.MULTILINE)) == config.NAMES


def test_table_of_the_reference_has_the_rows() -> None:
    text = (REPOSITORY / "docs" / "reference.md").read_text(encoding="utf-8")
    table = text.partition("| name | value | default |\n| --- | --- | --- |\n")[2]
    rows = [f"| `{row.name}` | {row.help} | {row.default} |" for row in config.ROWS]
    assert table.partition("\n\n")[0].splitlines() == rows


@pytest.mark.parametrize("row", config.ROWS, ids=lambda row: row.name)
def test_default_in_a_row_is_the_one_in_force(row: config.Row) -> None:
    field = Settings.__dataclass_fields__[row.field]
    if row.default.startswith("`"):
        assert row.parse(row.default.strip("`")) == field.default
    elif row.name != "dir":
        assert not field.default


def test_completion_offers_every_setting() -> None:
    found = completion.beside_pip(["install"], "--sharedcache-")
    assert found == sorted(f"--sharedcache-{row.name}=" for row in config.ROWS)
    assert completion.beside_pip(["install"], "--no-sh") == ["--no-sharedcache"]


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
