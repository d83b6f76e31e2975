"""How our own commands speak: text, JSON, how much of it, and never what steers a terminal."""

from __future__ import annotations

import argparse
import io
import json
import sys

import pytest

from pip_sharedcache.cli.output import Output

Captured = pytest.CaptureFixture[str]
ODD = "a\x1b[2Jb\nc\udcffd\u202ee"


def _speak(output: Output) -> None:
    output.say("said")
    output.find("found")
    output.detail("detail")
    output.table(["head"], [["row"]])
    output.warn("warned")
    output.result({"key": "ü"})


RESULT = '{\n  "schema": 1,\n  "command": "list",\n  "key": "\\u00fc"\n}\n'


@pytest.mark.parametrize(
    ("options", "out"),
    [
        ([], "said\nfound\nhead\nrow\n"),
        (["-v"], "said\nfound\ndetail\nhead\nrow\n"),
        (["-q"], "found\n"),
        (["-q", "-v"], "found\n"),
        (["--json"], RESULT),
        (["--json", "-v"], RESULT),
        (["--json", "-q"], RESULT),
    ],
    ids=lambda options: " ".join(options) or "plain" if isinstance(options, list) else "",
)
def test_each_option_says_so_much(options: list[str], out: str, capsys: Captured) -> None:
    parser = argparse.ArgumentParser()
    parser.set_defaults(command="list")
    Output.add_options(parser)
    _speak(Output.of(parser.parse_args(options)))
    assert capsys.readouterr() == (out, "WARNING: warned\n")


def test_names_from_a_store_do_not_steer_the_terminal(capsys: Captured) -> None:
    output = Output(verbose=True)
    for speak in (output.say, output.find, output.detail, output.warn):
        speak(ODD)
    output.table(["x"], [[ODD]])
    shown = capsys.readouterr()
    assert shown.out.splitlines().count(r"a\x1b[2Jb\nc\udcffd\u202ee") == 4
    assert shown.err == "WARNING: a\\x1b[2Jb\\nc\\udcffd\\u202ee\n"


def test_json_takes_any_name_and_gives_it_back(capsys: Captured) -> None:
    Output(as_json=True, command="list").result({"entries": [ODD]})
    text = capsys.readouterr().out
    assert text.isascii()
    assert "\x1b" not in text
    assert json.loads(text) == {"schema": 1, "command": "list", "entries": [ODD]}


def test_an_encoding_that_lacks_a_character_is_no_error(monkeypatch: pytest.MonkeyPatch) -> None:
    written = io.BytesIO()
    monkeypatch.setattr(sys, "stdout", io.TextIOWrapper(written, encoding="ascii"))
    Output().say("größe")
    sys.stdout.flush()
    assert written.getvalue() == b"gr\\xf6\\xdfe\n"


def test_columns_are_as_wide_as_they_need(capsys: Captured) -> None:
    output = Output()
    output.table(["wheel", "size"], [["a", "1 MB"], ["longer one", "2"]])
    assert capsys.readouterr().out == "wheel       size\na           1 MB\nlonger one  2\n"
    output.table(["wheel", "size"], [])
    assert capsys.readouterr().out == ""


class _Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


@pytest.mark.parametrize("quiet", [False, True])
def test_progress_is_for_terminals_and_not_for_the_quiet(
    quiet: bool, monkeypatch: pytest.MonkeyPatch, capsys: Captured
) -> None:
    output = Output(quiet=quiet)
    assert list(output.progress("abc", "Looked at", 3)) == ["a", "b", "c"]
    assert capsys.readouterr() == ("", "")
    terminal = _Terminal()
    monkeypatch.setattr(sys, "stderr", terminal)
    assert list(output.progress("abc", "Looked at", 3)) == ["a", "b", "c"]
    if quiet:
        assert terminal.getvalue() == ""
    else:
        assert "Looked at 3 of 3" in terminal.getvalue()
        assert terminal.getvalue().endswith("\r\x1b[K"), "nothing of it stays"
