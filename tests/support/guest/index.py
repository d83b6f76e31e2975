"""A package index on a host: serves a directory as the public index does (support/index.py).

    python index.py DIRECTORY

The first line of its output is its address, each other one an answer: method, status, path.
"""

from __future__ import annotations

import os
import sys
import threading
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

from support.index import LocalIndex
from support.index_server import Answer, Public


class _Index(LocalIndex):
    def note(self, answer: Answer) -> None:
        """Print an answer: into a file that the machine reads, which sees it after fsync(2)."""
        _say(f"{answer.method} {answer.status} {answer.path}")


def _say(line: str) -> None:
    os.write(1, f"{line}\n".encode())
    os.fsync(1)


def main() -> None:
    """Serve until the process is killed."""
    with _Index(Path(sys.argv[1]), public=Public()) as index:
        _say(index.url)
        threading.Event().wait()


if __name__ == "__main__":
    main()
