"""Where the files of distributions end: of two that meet at a path the later one wins, so those
are installed in pip's order.
"""

from __future__ import annotations

import importlib.util
import os
from collections import Counter
from collections.abc import Callable, Iterable, Mapping

#: The directories of an installation, by what pip and wheels call them (sysconfig's scheme, and
#: "headers").
Scheme = Mapping[str, str]


class PathClaims:
    """What each of a set of distributions will write, by real paths: what a wheel calls
    differently may be the same (lib and lib64, headers and data/include).

    ``scheme_of``: the scheme for a distribution of this name, of which only "headers" depends on
    the name.
    """

    def __init__(self, scheme_of: Callable[[str], Scheme]) -> None:
        self._scheme_of = scheme_of
        self._scheme: Scheme = {}
        self._real: dict[str, str] = {}
        self._files: Counter[str] = Counter()
        self._directories: set[str] = set()
        self._of: dict[int, tuple[set[str], set[str]]] = {}

    def add(self, number: int, name: str, files: Iterable[str], scripts: Iterable[str]) -> None:
        """Note that the distribution ``name`` brings ``files``, by their names in its wheel, and
        gets ``scripts``. It is called ``number`` here."""
        self._scheme = self._scheme or self._scheme_of(name)
        claimed = {f"{self._resolve(self._scheme['scripts'])}/{script}" for script in scripts}
        for file in files:
            claimed.update(self._ends(name, file))
        for path in [path for path in claimed if path.endswith(".pyc")]:
            try:  # pip compiles that source, and writes over what the wheel has
                claimed.add(importlib.util.source_from_cache(path))
            except ValueError:
                continue
        directories: set[str] = set()
        for path in claimed:
            above = os.path.dirname(path)
            while above not in directories and above != "/":
                directories.add(above)
                above = os.path.dirname(above)
        # It is renamed as a whole, so nobody else may have put anything in it.
        claimed.update(f"{path}/" for path in directories if path.endswith(".dist-info"))
        self._files.update(claimed)
        self._directories |= directories
        self._of[number] = claimed, directories

    def apart(self, number: int) -> bool:
        """Whether ``number`` meets none of the others: no file of both, none of one where another
        has a directory."""
        files, directories = self._of[number]
        return (
            all(self._files[path] == 1 for path in files)
            and files.isdisjoint(self._directories)
            and not any(path in self._files for path in directories)
        )

    def _ends(self, name: str, file: str) -> Iterable[str]:
        """The path of a file of a wheel; two where it says elsewhere which of them it is."""
        top, _, rest = file.partition("/")
        keys = ["purelib", "platlib"]
        if top.endswith(".data"):
            key, _, rest = rest.partition("/")
            keys = [key]
        else:
            rest = file
        directory, _, base = rest.rpartition("/")
        for key in keys:
            scheme = self._scheme_of(name) if key == "headers" else self._scheme
            if key in scheme:
                yield f"{self._resolve(os.path.join(scheme[key], directory))}/{base}"

    def _resolve(self, directory: str) -> str:
        """Like os.path.realpath; each directory is looked at once."""
        known = self._real.get(directory)
        if known is None:
            above, name = os.path.split(directory)
            if above == directory:
                known = directory
            elif name in ("", ".", ".."):
                known = os.path.realpath(directory)
            else:
                known = os.path.join(self._resolve(above), name)
                if os.path.islink(known):
                    known = os.path.realpath(known)
            self._real[directory] = known
        return known
