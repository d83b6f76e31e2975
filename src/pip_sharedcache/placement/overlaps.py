"""Files of one wheel that have the same destination, where the last file wins."""

from __future__ import annotations

import importlib.util
import unicodedata
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence


def meeting(names: Sequence[str]) -> frozenset[str]:
    """Return those of a wheel's files ``names`` that may have the same destination as another one.

    For these files, pip's order decides which file stays and which source is compiled. Files at
    the top of the wheel can meet files in ``.data``, whose data can also lead into the library
    directory; and a file system can regard different names as equal. Uncertain cases are included.
    """
    ends = {name: set(_ends(name)) for name in names}
    count = Counter(end for all_of_one in ends.values() for end in all_of_one)
    return frozenset(name for name, some in ends.items() if any(count[end] > 1 for end in some))


def _ends(name: str) -> Iterator[str]:
    top, _, rest = name.partition("/")
    if not top.endswith(".data"):
        yield _folded(name)
        return
    key, _, rest = rest.partition("/")
    for path in (rest,) if key in ("purelib", "platlib") else _tails(rest):
        yield _folded(path)
        if path.endswith(".pyc"):
            try:  # pip compiles that source, and overwrites this file
                yield _folded(importlib.util.source_from_cache(path))
            except (ValueError, NotImplementedError):
                continue


def _tails(path: str) -> Iterable[str]:
    parts = path.split("/")
    return ("/".join(parts[start:]) for start in range(len(parts)))


def _folded(path: str) -> str:
    return path.lower() if path.isascii() else unicodedata.normalize("NFC", path).casefold()
