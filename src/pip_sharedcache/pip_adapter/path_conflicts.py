"""The paths that distributions write, and the conflicts between them.

If two distributions write the same path, the later one wins: both are installed in pip's order.
"""

from __future__ import annotations

import importlib.util
import os
from collections import Counter
from collections.abc import Callable, Iterable, Mapping

#: The directories of an installation, by their names in pip and in wheels (sysconfig's scheme, and
#: "headers").
Scheme = Mapping[str, str]


class PathClaims:
    """The real paths that each of a set of distributions writes.

    Different paths in wheels may be the same real path (lib and lib64, headers and data/include).

    ``scheme_of``: returns the scheme of a distribution; only "headers" depends on its name.
    """

    def __init__(self, scheme_of: Callable[[str], Scheme]) -> None:
        self._scheme_of = scheme_of
        self._scheme: Scheme = {}
        self._real: dict[str, str] = {}
        self._files: Counter[str] = Counter()
        self._directories: set[str] = set()
        self._of: dict[int, tuple[set[str], set[str]]] = {}

    def add(self, number: int, name: str, files: Iterable[str], scripts: Iterable[str]) -> None:
        """Record the paths of the distribution ``name``, which has the number ``number`` here.

        ``files``: names in its wheel.
        ``scripts``: names of the scripts that pip generates.
        """
        self._scheme = self._scheme or self._scheme_of(name)
        claimed = {f"{self._resolve(self._scheme['scripts'])}/{script}" for script in scripts}
        for file in files:
            claimed.update(self._ends(name, file))
        for path in [path for path in claimed if path.endswith(".pyc")]:
            try:  # pip overwrites this file when it compiles that source, perhaps of another wheel
                claimed.add(importlib.util.source_from_cache(path))
            except ValueError:
                continue
        directories: set[str] = set()
        for path in claimed:
            above = os.path.dirname(path)
            while above not in directories and above != "/":
                directories.add(above)
                above = os.path.dirname(above)
        # The commit renames .dist-info as a whole: files of another wheel in it would be lost.
        claimed.update(f"{path}/" for path in directories if path.endswith(".dist-info"))
        self._files.update(claimed)
        self._directories |= directories
        self._of[number] = claimed, directories

    def apart(self, number: int) -> bool:
        """Return whether ``number`` conflicts with no other distribution.

        A conflict is the same file in both, or a file of one where the other has a directory.
        """
        files, directories = self._of[number]
        return (
            all(self._files[path] == 1 for path in files)
            and files.isdisjoint(self._directories)
            and not any(path in self._files for path in directories)
        )

    def _ends(self, name: str, file: str) -> Iterable[str]:
        """Yield the path of a wheel's file: both library paths, since only WHEEL tells which."""
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
        """Return os.path.realpath of ``directory``, with one lookup for each directory."""
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
