"""How our own commands speak: as text for people or as JSON, and how much of it."""

from __future__ import annotations

import argparse
import json
import sys
import time
from collections.abc import Iterable, Iterator, Sequence
from typing import Any, TypeVar

from pip_sharedcache.errors import SharedCacheError

#: Exit statuses: all is well; something was found, or not all could be done; it cannot be done.
FINE, FINDINGS, CANNOT = 0, 1, 2

_EVERY = 0.1  # seconds between two states of a progress line

Piece = TypeVar("Piece")


def wants_json(arguments: Iterable[str]) -> bool:
    """Whether a command that cannot be done, or not even be read, was asked to speak JSON."""
    return any(len(one) > 2 and "--json".startswith(one) for one in arguments)


def tell_programs(arguments: Iterable[str], error: SharedCacheError) -> None:
    """Say on standard output as JSON why a command with ``arguments`` cannot be done, where these
    ask for JSON: ``error``, what kind it is (``code``), and what the user can do (``hint``)."""
    if wants_json(arguments):
        told = {"error": error.message, "code": error.code, "hint": error.hint or None}
        print(json.dumps(told, indent=2))


class Output:
    """What one command prints: its result to standard output, all else to standard error."""

    def __init__(self, *, as_json: bool = False, quiet: bool = False, verbose: bool = False):
        self.as_json = as_json
        self.quiet = quiet
        self.verbose = verbose

    @staticmethod
    def add_options(parser: argparse.ArgumentParser) -> None:
        """The options that every command takes."""
        parser.add_argument("--json", action="store_true", help="print the result as JSON")
        parser.add_argument("-q", "--quiet", action="store_true", help="print findings only")
        parser.add_argument("-v", "--verbose", action="store_true", help="print more")

    @classmethod
    def of(cls, chosen: argparse.Namespace) -> Output:
        """As the options ask for."""
        return cls(as_json=chosen.json, quiet=chosen.quiet, verbose=chosen.verbose)

    def result(self, data: Any) -> None:
        """The whole result, for programs."""
        if self.as_json:
            print(json.dumps(data, indent=2))

    def say(self, line: str) -> None:
        """A line for people."""
        if not self.quiet:
            self.find(line)

    def find(self, line: str) -> None:
        """A finding, for people: quiet or not."""
        if not self.as_json:
            print(_plain(line, sys.stdout.encoding))

    def detail(self, line: str) -> None:
        """A line for people who asked for more."""
        if self.verbose:
            self.say(line)

    def warn(self, line: str) -> None:
        """What went wrong on the way."""
        print(f"WARNING: {_plain(line, sys.stderr.encoding)}", file=sys.stderr)

    def table(self, head: Sequence[str], rows: Iterable[Sequence[str]]) -> None:
        """Columns for people; nothing where there are no rows."""
        lines = [head, *rows]
        if len(lines) == 1:
            return
        widths = [max(len(line[column]) for line in lines) for column in range(len(head))]
        for line in lines:
            cells = (cell.ljust(width) for cell, width in zip(line, widths))
            self.say("  ".join(cells).rstrip())

    def progress(self, pieces: Iterable[Piece], what: str, total: int) -> Iterator[Piece]:
        """Go through ``pieces``, ``total`` of them; on a terminal a line tells how far it is."""
        shown = not self.quiet and sys.stderr.isatty()
        last = 0.0
        for number, piece in enumerate(pieces, 1):
            now = time.monotonic()
            if shown and (now - last >= _EVERY or number == total):
                print(f"\r{what} {number} of {total}", end="", file=sys.stderr, flush=True)
                last = now
            yield piece
        if shown and last:
            print("\r\x1b[K", end="", file=sys.stderr, flush=True)


def _plain(line: str, encoding: str | None) -> str:
    """``line`` without what would steer a terminal, or cannot be shown there: names in a store are
    anybody's choice."""
    shown = "".join(char if char.isprintable() else ascii(char)[1:-1] for char in line)
    encoding = encoding or "ascii"
    return shown.encode(encoding, "backslashreplace").decode(encoding)
