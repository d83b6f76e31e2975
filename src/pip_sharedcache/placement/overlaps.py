"""Files of one wheel that meet at one path of an environment: of those the last one wins."""

from __future__ import annotations

import importlib.util
import unicodedata
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence


def meeting(names: Sequence[str]) -> frozenset[str]:
    """Those of ``names``, the files of a wheel, that may end where another one does, so that it
    depends on pip's order what is there in the end, and what is compiled: from the top of the wheel
    and from ``.data``, whose data may lead into the library directory, too; or with names that a
    file system takes for the same. Rather too many than too few."""
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
            try:  # pip compiles that source, and writes over it
                yield _folded(importlib.util.source_from_cache(path))
            except (ValueError, NotImplementedError):
                continue


def _tails(path: str) -> Iterable[str]:
    parts = path.split("/")
    return ("/".join(parts[start:]) for start in range(len(parts)))


def _folded(path: str) -> str:
    return path.lower() if path.isascii() else unicodedata.normalize("NFC", path).casefold()
