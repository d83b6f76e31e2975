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
        self._links: dict[str, frozenset[str]] = {}
        self._files: Counter[str] = Counter()
        self._directories: set[str] = set()
        self._of: dict[int, tuple[set[str], set[str]]] = {}

    def add(self, number: int, name: str, files: Iterable[str], scripts: Iterable[str]) -> None:
        """Record the paths of the distribution ``name``, which has the number ``number`` here.

        ``files``: names in its wheel.
        ``scripts``: names of the scripts that pip generates.
        """
        self._scheme = self._scheme or self._scheme_of(name)
        above = self._resolve(self._scheme["scripts"])
        claimed = {f"{above}/{script}" for script in scripts}
        parents = {above} if claimed else set()
        known: dict[str, tuple[str, ...]] = {}
        for file in files:
            directory, _, base = file.rpartition("/")
            within = directory or file  # a file of the top directory can be called x.data
            if within not in known:
                known[within] = self._places(name, directory, within)
            claimed.update([place + base for place in known[within]])
        parents.update(place[:-1] for places in known.values() for place in places)
        for path in [path for path in claimed if path.endswith(".pyc")]:
            try:  # pip overwrites this file when it compiles that source, perhaps of another wheel
                source = importlib.util.source_from_cache(path)
            except ValueError:
                continue
            claimed.add(source)
            parents.add(os.path.dirname(source))
        directories: set[str] = set()
        for parent in parents:
            while parent not in directories and parent != "/":
                directories.add(parent)
                parent = os.path.dirname(parent)
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

    def _places(self, name: str, directory: str, within: str) -> tuple[str, ...]:
        """Return the real paths, "/" at the end, of a ``directory`` in the wheel of ``name``.

        ``within``: the same, or a file that is in no directory. Most often one path: the library
        directories are one; only WHEEL tells which of two pip takes.
        """
        top, _, rest = within.partition("/")
        keys = ["purelib", "platlib"]
        if top.endswith(".data"):
            key, _, directory = rest.partition("/")
            keys = [key]
        found: dict[str, None] = {}
        for key in keys:
            scheme = self._scheme_of(name) if key == "headers" else self._scheme
            if key in scheme:
                found[f"{self._resolve(os.path.join(scheme[key], directory))}/"] = None
        return tuple(found)

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
                if self._is_link(above, known):
                    known = os.path.realpath(known)
            self._real[directory] = known
        return known

    def _is_link(self, above: str, path: str) -> bool:
        """Return whether ``path`` in the directory ``above`` is a symlink.

        A library directory is listed: of a file server, each missing name in it is a request.
        """
        if above not in self._scheme.values():
            return os.path.islink(path)
        if above not in self._links:
            try:
                with os.scandir(above) as found:
                    self._links[above] = frozenset(one.name for one in found if one.is_symlink())
            except FileNotFoundError:
                self._links[above] = frozenset()
            except OSError:  # not readable
                return os.path.islink(path)
        return os.path.basename(path) in self._links[above]
