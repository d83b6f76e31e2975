"""The output of the store commands, as text for people or as JSON."""

from __future__ import annotations

import argparse
import errno
import json
import os
import sys
import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, TypeVar

from pip_sharedcache.errors import SharedCacheError

#: Exit statuses: success; findings, or an incomplete result; failure.
FINE, FINDINGS, CANNOT = 0, 1, 2


#: The help of an argument that names entries of a store (maintenance.entries).
NAMES = "select by distribution (demo, demo==1.0), wheel file name, or beginning of a digest"

#: The version of the JSON results. A change that can break a program that reads them raises it; a
#: new key does not.
SCHEMA = 1

_EVERY = 0.1  # seconds between two states of a progress line

Piece = TypeVar("Piece")


def wants_json(arguments: Iterable[str]) -> bool:
    """Return whether ``arguments`` ask for JSON, also where the parser refuses them.

    Accepts abbreviations of --json, as argparse does.
    """
    return any(len(one) > 2 and "--json".startswith(one) for one in arguments)


def reasons(some: Iterable[tuple[object, str]]) -> list[dict[str, str]]:
    """Return the paths and reasons in ``some`` for a JSON result."""
    return [{"path": str(path), "reason": reason} for path, reason in some]


def numbers(key: str, some: Mapping[str, int]) -> list[dict[str, Any]]:
    """Return the names and numbers in ``some`` for a JSON result; ``key``: of the names."""
    return [{key: name, "number": number} for name, number in some.items()]


@dataclass
class Output:
    """The output of one command: the result to standard output, all else to standard error.

    ``as_json``: whether the result is JSON.
    ``command``: the name of the command; "" while it is not known.
    ``quiet``: whether to print only findings and warnings.
    ``verbose``: whether to print details.
    ``draws``: whether to show progress on a terminal.
    """

    as_json: bool = False
    quiet: bool = False
    verbose: bool = False
    draws: bool = True
    command: str = ""
    _drawn: bool = False
    _told: bool = False

    @staticmethod
    def add_options(parser: argparse.ArgumentParser) -> None:
        """Add the options that every command takes."""
        parser.add_argument("--json", action="store_true", help="print the result as JSON")
        parser.add_argument("-q", "--quiet", action="store_true", help="print only findings")
        parser.add_argument("-v", "--verbose", action="store_true", help="print more")
        default = os.environ.get("PIP_PROGRESS_BAR", "on")
        what = "show progress on a terminal: on or off, as in pip"
        parser.add_argument(
            "--progress-bar", choices=("on", "off", "raw"), default=default, help=what
        )
        parser.add_argument(
            "--no-color",
            action="store_true",
            help="accept pip's option: store commands print no colours",
        )

    @classmethod
    def of(cls, chosen: argparse.Namespace) -> Output:
        """Return the output that the options in ``chosen`` ask for."""
        drawn = chosen.progress_bar == "on" and os.environ.get("TERM") != "dumb"
        return cls(chosen.json, chosen.quiet, chosen.verbose, drawn, chosen.command)

    def result(self, data: Mapping[str, Any]) -> None:
        """Print the whole result as JSON; nothing without --json.

        docs/reference.md has the keys of each command.
        """
        if self.as_json:
            self._told = True
            head = {"schema": SCHEMA, "command": self.command or None}
            print(json.dumps({**head, **data}, indent=2))

    def tell_programs(self, error: SharedCacheError) -> None:
        """Print ``error`` as the JSON result; nothing after a result: two of them are no JSON.

        Keys: ``error``, ``code`` (the kind of error), ``hint`` (what the user can do), ``path`` and
        ``errno`` (its name). The last three can be null.
        """
        if not self._told:
            result = {"error": error.message, "code": error.code, "hint": error.hint or None}
            number = None if error.errno is None else errno.errorcode.get(error.errno)
            self.result({**result, "path": error.path, "errno": number})

    def fail(self, error: SharedCacheError) -> int:
        """Print ``error`` for people and as JSON; return the exit status."""
        print(f"ERROR: {plain(str(error), sys.stderr.encoding)}", file=sys.stderr)
        try:
            self.tell_programs(error)
            sys.stdout.flush()
        except OSError:
            self.give_up()
        return CANNOT

    @staticmethod
    def give_up() -> None:
        """Send the rest of standard output to the null device.

        For a closed pipe or a full disk: Python would write again at exit, and print an error.
        """
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())

    def say(self, line: str) -> None:
        """Print a line for people, unless --quiet is given."""
        if not self.quiet:
            self.find(line)

    def script(self, shell: str, text: str) -> None:
        """Print the script ``text``, which ``shell`` evaluates, as the whole result."""
        for line in text.splitlines():
            self.find(line)
        self.result({"shell": shell, "text": text})

    def find(self, line: str) -> None:
        """Print a finding for people, also with --quiet; nothing with --json."""
        if not self.as_json:
            self._clear()
            print(plain(line, sys.stdout.encoding))

    def value(self, path: str) -> None:
        """Print ``path`` for a program, byte for byte; on a terminal, and as JSON, as ``find``."""
        if self.as_json or sys.stdout.isatty():
            self.find(path)
            return
        sys.stdout.flush()
        sys.stdout.buffer.write(os.fsencode(path) + b"\n")

    def find_or_warn(self, lines: Iterable[str]) -> None:
        """Print findings that are not in the JSON result: with --json, as warnings."""
        for line in lines:
            (self.warn if self.as_json else self.find)(line)

    def detail(self, line: str) -> None:
        """Print a line for people, only with --verbose."""
        if self.verbose:
            self.say(line)

    def warn(self, line: str) -> None:
        """Print a warning to standard error."""
        self._clear()
        print(f"WARNING: {plain(line, sys.stderr.encoding)}", file=sys.stderr)

    def table(self, head: Sequence[str], rows: Iterable[Sequence[str]]) -> None:
        """Print columns for people; nothing where ``rows`` is empty."""
        lines = [head, *rows]
        widths = [max(map(len, column)) for column in zip(*lines)]
        for line in lines if len(lines) > 1 else ():
            cells = (cell.ljust(width) for cell, width in zip(line, widths))
            self.say("  ".join(cells).rstrip())

    def progress(
        self, pieces: Iterable[Piece], what: str, total: int | None = None
    ) -> Iterator[Piece]:
        """Yield each of ``pieces``, and show a line with their number on a terminal.

        ``what``: the text before the number; ``total``: the number of all, None where unknown.
        """
        shown = self.draws and not self.quiet and sys.stderr.isatty()
        of_all = "" if total is None else f" of {total}"
        last = 0.0
        for number, piece in enumerate(pieces, 1):
            now = time.monotonic()
            if shown and (now - last >= _EVERY or number == total):
                print(f"\r{what} {number}{of_all}", end="", file=sys.stderr, flush=True)
                last, self._drawn = now, True
            yield piece
        self._clear()

    def _clear(self) -> None:
        """Erase the progress line, so that other text does not mix with it."""
        if self._drawn:
            self._drawn = False
            print("\r\x1b[K", end="", file=sys.stderr, flush=True)


def plain(line: str, encoding: str | None) -> str:
    """Return ``line`` with escapes for unprintable characters and those outside ``encoding``.

    Names in a store can contain any character: some would control the user's terminal, others
    would raise UnicodeEncodeError. ``encoding``: None for ASCII.
    """
    shown = "".join(char if char.isprintable() else ascii(char)[1:-1] for char in line)
    encoding = encoding or "ascii"
    return shown.encode(encoding, "backslashreplace").decode(encoding)
