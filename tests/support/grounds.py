"""Grounds on which the same installation goes wrong again and again, each time elsewhere."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from support import slices
from support.accounts import Argument, run_as, start_as, stop
from support.environments import NEWEST_PIP, Environment, make_environment
from support.faults import (
    Call,
    faults_of_distribution,
    faults_of_store,
    leftovers,
    run_with_fault,
    trace,
    visible_entries,
)
from support.trees import snapshot

#: What `pip list` asks, for each line of the input. Each answer comes from a new process, which has
#: pip's modules from the first one and has seen nothing of the environment before.
_LIST = """
import json, os, sys
from pip._internal.metadata import get_default_environment
import pip._internal.metadata.importlib
for line in sys.stdin:
    if os.fork() == 0:
        found = get_default_environment().iter_installed_distributions(local_only=False)
        print(json.dumps({one.canonical_name: str(one.version) for one in found}), flush=True)
        os._exit(0)
    if os.wait()[1]:
        print("null", flush=True)
"""
_KILLED = (-9, 128 + 9)


class Ground:
    """One environment and one store that are put back to their beginning for every fault.

    What is installed there is the distribution "demo", from the wheels in a directory.
    ``layout``: of its store, "tree" or "packed".
    """

    def __init__(
        self, directory: Path, environment: Environment, wheels: Path, layout: str = "tree"
    ) -> None:
        self.directory = directory
        self.environment = environment
        self.store = directory / "store"
        self._new_store = directory / "new-store"
        self.layout = layout
        self.mode = "copy"
        self.other_settings: dict[str, str | None] = {}
        self._lister: subprocess.Popen[str] | None = None
        self._wheels = wheels
        self._saved = directory / "saved"
        self._places = {"library": environment.site_packages, "bin": environment.scripts}
        for name, place in self._places.items():
            (self._saved / name).mkdir(parents=True)
            for path in place.iterdir():
                (self._saved / name / path.name).touch()
        self.fresh_store()

    @property
    def settings(self) -> dict[str, str | None]:
        return {
            "PIP_NO_CACHE_DIR": "1",
            "PIP_NO_INDEX": "1",
            "PIP_INDEX_URL": None,
            "PIP_EXTRA_INDEX_URL": None,
            "PIP_FIND_LINKS": str(self._wheels),
            "PIP_SHAREDCACHE_DIR": str(self.store),
            "PIP_SHAREDCACHE_LINK_MODE": self.mode,
            "TMPDIR": str(self.temporary),
            **self.other_settings,
        }

    @property
    def temporary(self) -> Path:
        """pip's temporary directories: killed ones stay."""
        directory = self.directory / "temporary"
        directory.mkdir(exist_ok=True)
        return directory

    def install(self, *arguments: str) -> list[str]:
        return self.environment.command("install", *arguments)

    def succeed(self, argv: Sequence[str]) -> None:
        run_as(None, argv, env=self.settings, check=True)

    def fresh_store(self) -> None:
        """A new store; one of trees is completed by the first installation."""
        if self.store.exists():
            shutil.rmtree(self.store)
        if self.layout == "tree":
            self.store.mkdir(mode=0o755)
            return
        if not self._new_store.exists():
            how = ["--layout", self.layout, str(self._new_store)]
            self.succeed(self.environment.command("store", "init", *how))
        subprocess.run(["cp", "-a", self._new_store, self.store], check=True)

    def remember(self) -> None:
        """What the distribution has put there now comes back with every restore."""
        for name, place in self._places.items():
            for path in place.iterdir():
                saved = self._saved / name / path.name
                if not saved.exists():
                    if path.is_dir():
                        shutil.copytree(path, saved, symlinks=True)
                    else:
                        shutil.copy2(path, saved)

    def restore(self) -> None:
        """The environment as it was, apart from what nothing here touches."""
        for name, place in self._places.items():
            for path in place.iterdir():
                saved = self._saved / name / path.name
                if saved.is_dir() or not saved.exists():
                    if path.is_dir():
                        shutil.rmtree(path)
                    else:
                        path.unlink()
            for saved in (self._saved / name).iterdir():
                if saved.is_dir():
                    shutil.copytree(saved, place / saved.name, symlinks=True)
                elif saved.stat().st_size:
                    shutil.copy2(saved, place / saved.name)

    def tree(self) -> dict[str, object]:
        """Names of everything, and the content of what the distribution brings."""
        found: dict[str, object] = {}
        for name, place in self._places.items():
            # What pip itself puts aside when it uninstalls is left to pip.
            for path in place.iterdir():
                if not path.name.startswith("~"):
                    found[f"{name}/{path.name}"] = ""
                if path.is_dir() and "demo" in path.name and not path.name.startswith("~"):
                    nodes = snapshot(path)
                    found.update({f"{name}/{path.name}/{key}": nodes[key] for key in nodes})
        script = self.environment.scripts / "demo"
        if script.exists():
            found["script"] = (script.read_bytes(), script.stat().st_mode)
        return found

    def plain_tree(self, *requirement: str) -> dict[str, object]:
        """The tree that plain pip makes here."""
        self.restore()
        self.succeed(self.environment.plain("install", *requirement))
        tree = self.tree()
        self.restore()
        return tree

    def listed(self) -> str | None:
        """The version that plain pip lists, if any."""
        if self._lister is None or self._lister.poll() is not None:
            argv: list[Argument] = [self.environment.python, "-c", _LIST]
            self._lister = start_as(None, argv, env=self.settings, pipe_input=True)
        asked, answers = self._lister.stdin, self._lister.stdout
        assert asked is not None and answers is not None
        asked.write("list\n")
        asked.flush()
        line = answers.readline()
        if not line or line == "null\n":
            stop(self._lister)
            raise AssertionError("pip cannot list what is installed")
        listed: dict[str, str] = json.loads(line)
        return listed.get("demo")

    def calls(self, argv: Sequence[str], *others: Path) -> list[Call]:
        """All calls of this run from the first access to the store to the end, or from the first
        change of something in the store or in ``others`` if nothing else is done there."""
        calls = trace(argv, self.directory / "trace", env=self.settings)
        places = (self.store, *others)
        first = next(
            number
            for number, call in enumerate(calls)
            if call.touches(self.store) or (call.changes and call.touches(*places))
        )
        self.restore()
        return calls[first:]

    def changing(self, calls: Sequence[Call]) -> list[Call]:
        """Those that change something in the store or in the environment."""
        places = (self.store, self.environment.prefix)
        return [call for call in calls if call.changes and call.touches(*places)]


def make_grounds(
    base: Path,
    wheels: Path,
    pip: str = NEWEST_PIP,
    number: int | None = None,
    layout: str = "tree",
) -> list[Ground]:
    """As many as there are processors, so that faults run beside each other.

    A run with a slice has few faults for each test, and other tests for the other processors: one.
    """
    made = []
    for one in range(number or (1 if slices.current() else min(4, os.cpu_count() or 1))):
        place = base / f"ground{one}"
        place.mkdir(parents=True)
        environment = make_environment(place / "environment", pip=pip)
        made.append(Ground(place, environment, wheels, layout))
    return made


def everywhere(
    grounds: Sequence[Ground], points: Sequence[Call], check: Callable[[Ground, Call], list[str]]
) -> list[str]:
    """Check a fault at each of these calls, the grounds beside each other; all that is wrong.

    Of many calls a run with a slice takes its part.
    """
    free = list(grounds)

    def one(call: Call) -> list[str]:
        ground = free.pop()
        try:
            return [f"at {call}: {what}" for what in check(ground, call)]
        finally:
            free.append(ground)

    with ThreadPoolExecutor(len(grounds)) as pool:
        return [what for found in pool.map(one, slices.places(points)) for what in found]


def compare(expected: dict[str, object], actual: dict[str, object]) -> list[str]:
    """What two trees of grounds differ in; [] if in nothing."""
    lines = [f"{name}: missing" for name in expected.keys() - actual.keys()]
    lines += [f"{name}: unexpected" for name in actual.keys() - expected.keys()]
    both = expected.keys() & actual.keys()
    lines += [
        f"{name}: {actual[name]}, expected {expected[name]}"
        for name in both
        if expected[name] != actual[name]
    ]
    return sorted(lines)


# -- a run that is killed, and the one after it


def kill(ground: Ground, argv: Sequence[str], call: Call) -> list[str]:
    """Run it and kill it just before this call; what is wrong with that."""
    result = run_with_fault(argv, call, "signal=SIGKILL", env=ground.settings)
    if result.returncode in _KILLED:
        return []
    return [f"was not killed but ended with {result.returncode}: {result.stderr}"]


def store_faults(ground: Ground) -> list[str]:
    return [f"visible in the store: {fault}" for fault in faults_of_store(ground.store)]


def mended(
    ground: Ground, version: str, listed: str | None, expected: dict[str, object]
) -> list[str]:
    """Install again what was killed: what is not as it should be after that."""
    # What is installed already is not installed again unless one insists.
    insist = ["--force-reinstall"] if listed == version else []
    again = run_as(None, ground.install(f"demo=={version}", *insist), env=ground.settings)
    found = []
    if again.returncode:
        found.append(f"the next install ended with {again.returncode}: {again.stderr}")
    found += [f"the next install gives another tree: {x}" for x in compare(expected, ground.tree())]
    if left := leftovers(ground.store):
        found.append(f"left in the store: {left}")
    if not visible_entries(ground.store):
        found.append("nothing is in the store")
    return found + store_faults(ground)


def listed(ground: Ground) -> tuple[str | None, list[str]]:
    """The version that plain pip lists, and what it lacks."""
    version = ground.listed()
    if version is None:
        return None, []
    library = ground.environment.site_packages
    faults = faults_of_distribution(library, f"demo-{version}.dist-info")
    return version, [f"pip lists {version}: {fault}" for fault in faults]
