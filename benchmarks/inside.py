"""Run by the interpreter that has the project: fills stores, and times store operations in them.

    python inside.py fill STORE ENTRIES PUBLISHERS FIRST_UID
    python inside.py use STORE USERS FIRST_UID
    python inside.py time WHEELS ROUNDS STORE ...
    python inside.py record STORE RESOLUTIONS
    python inside.py ask ROUNDS STORE ...

``fill`` gives ENTRIES minimal entries to a store: manifest, a whole tiny wheel, and an empty
directory for what would be unpacked from it. As root, they belong to PUBLISHERS uids in turn, from
FIRST_UID on; no accounts are needed. ``use`` gives each of USERS uids marks of 100 entries, and the
records of 50 runs (as root; else they are all one's own). ``time`` prints JSON: for each store and
operation, the seconds that each of ROUNDS took; stores and operations take turns. WHEELS is a
directory with a tiny wheel for each round, to be published.

``record`` publishes RESOLUTIONS resolutions of 15 pages. ``ask`` prints JSON as ``time`` does: the
seconds of CPU time to look up one that is there and one that is not, and to publish one.
"""

from __future__ import annotations

import hashlib
import io
import json
import os
import random
import sys
import time
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path
from typing import Any

from synthetic import filename, write_wheel

from pip_sharedcache import store as stores
from pip_sharedcache.model import Digest, Installed, Manifest, StoredFile
from pip_sharedcache.store import Store
from pip_sharedcache.store.run_log import Run
from pip_sharedcache.wheel import digest_of

_NAME = "benchmark_entry"
_PUBLISHED = 1_700_000_000  # seconds


def fill(store: Path, entries: int, publishers: int, first_uid: int) -> None:
    """Add ``entries`` entries to ``store``."""
    for number in range(entries):
        uid = first_uid + number % publishers if os.geteuid() == 0 else -1
        _add(store, f"{number}.0", uid)


def _add(store: Path, version: str, uid: int) -> None:
    name, wheel = filename(_NAME, version), io.BytesIO()
    rows = write_wheel(wheel, _NAME, [], version)
    content = wheel.getvalue()
    digest = Digest(hashlib.sha256(content).hexdigest())
    files = tuple(StoredFile(*row, False, _PUBLISHED) for row in rows)
    manifest = Manifest(name, digest, len(content), files).to_json().encode()
    entry = store / "wheels" / digest[:2] / digest
    entry.mkdir()
    (entry / "files").mkdir()
    for path, data in ((entry / name, content), (entry / "entry.json", manifest)):
        descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o444)
        os.write(descriptor, data)
        os.utime(descriptor, (_PUBLISHED, _PUBLISHED))
        os.close(descriptor)
        os.chown(path, uid, -1)
    for directory in (entry / "files", entry):
        os.chmod(directory, 0o555)
        os.chown(directory, uid, -1)


def use(store: Path, users: int, first_uid: int) -> None:
    """Let ``users`` have used ``store``."""
    chance = random.Random(0)
    names = [path.name for path in store.glob("wheels/*/*")]
    titles = [filename(f"benchmark_used{number}") for number in range(200)]
    for number in range(users):
        uid = first_uid + number if os.geteuid() == 0 else os.getuid()
        directory = store / "use" / str(uid)
        directory.mkdir(exist_ok=True)
        for name in chance.sample(names, min(100, len(names))):
            (directory / name).touch()
            os.chown(directory / name, uid, -1)
        lines = []
        for _ in range(50):
            at, chosen = _PUBLISHED + chance.randrange(10**7), chance.sample(titles, 10)
            installed = tuple(Installed(title, 10**6, "found") for title in chosen)
            run = Run(
                at, f"/home/{uid}/env", "reflink", "", 2.0, 10**7, 10**7, 0, 0.0, 0, installed
            )
            lines.append(json.dumps(asdict(run)) + "\n")
        records = directory / f"runs-host{number}"
        records.write_text("".join(lines))
        os.chown(records, uid, -1)
        os.chown(directory, uid, -1)


def measure(wheels: Path, rounds: int, paths: list[Path]) -> dict[str, dict[str, list[float]]]:
    """Time looking up what is there and what is not, and publishing (sync included)."""
    names = sorted(wheels.glob("*.whl"))[:rounds]
    known = [(name, digest_of(name)[0]) for name in names]
    chance = random.Random(0)
    opened = {str(path): Store.open(path) for path in paths}
    present = {where: _some_of(store, rounds, chance) for where, store in opened.items()}
    times: dict[str, dict[str, list[float]]] = {
        where: {"hit": [], "miss": [], "publish": []} for where in opened
    }
    for number, (wheel, digest) in enumerate(known):
        absent = Digest(f"{chance.getrandbits(256):064x}")
        for where, store in opened.items():
            there, name = present[where][number]
            taken, found = _timed(stores.find, store, there, name)
            times[where]["hit"].append(taken)
            taken, missed = _timed(stores.find, store, absent, name)
            times[where]["miss"].append(taken)
            taken, _ = _timed(stores.publish, store, wheel, wheel.name, digest)
            times[where]["publish"].append(taken)
            if found.entry is None or missed.entry is not None:
                raise SystemExit(
                    f"{where} does not hold what was put into it: {found.distrust_reasons}"
                )
    return times


def _some_of(store: Store, number: int, chance: random.Random) -> list[tuple[Digest, str]]:
    """``number`` entries, digest and file name, over and over if there are fewer."""
    found = sorted((store.path / "wheels").glob("*/*"))
    entries = chance.sample(found, min(number, len(found)))
    named = [(Digest(path.name), next(path.glob("*.whl")).name) for path in entries]
    return [named[index % len(named)] for index in range(number)]


def record(store: Path, resolutions: int) -> None:
    """Publish ``resolutions`` resolutions in ``store``."""
    opened, at_once = Store.open(store), 500
    for start in range(0, resolutions, at_once):
        numbers = range(start, min(start + at_once, resolutions))
        staged = [
            stores.stage_resolution(opened, stores.key_of(_question(number)), _resolution(number))
            for number in numbers
        ]
        for outcome in stores.make_visible(opened, staged):
            if isinstance(outcome, Exception):
                raise SystemExit(str(outcome))


def _question(number: int) -> dict[str, Any]:
    return {"requirements": [{"requirement": f"benchmark-question=={number}"}]}


def _resolution(number: int) -> dict[str, Any]:
    pages = [f"https://index.test/simple/project{one}/" for one in range(15)]
    links = '<a href="project-1.0-py3-none-any.whl#sha256=' + "0" * 64 + '"></a>'
    return {
        "question": _question(number),
        "pages": [
            {
                "url": url,
                "digest": "1" * 64,
                "etag": '"1"',
                "location": url,
                "content_type": "text/html",
                "encoding": "utf-8",
                "links": links,
            }
            for url in pages
        ],
        "candidates": {f"{url}project-1.0-py3-none-any.whl": "2" * 64 for url in pages},
        "installed": {},
        "host": "",
        "result": [f"project {url}project-1.0-py3-none-any.whl" for url in pages],
        "requests": 30,
        "seconds": 1.0,
    }


def _publish(store: Store, key: Digest, number: int) -> None:
    stores.make_visible(store, [stores.stage_resolution(store, key, _resolution(number))])


def ask(rounds: int, paths: list[Path]) -> dict[str, dict[str, list[float]]]:
    """Time looking up resolutions that are there and that are not, and publishing."""
    chance = random.Random(0)
    times: dict[str, dict[str, list[float]]] = {
        str(path): {"hit": [], "miss": [], "publish": []} for path in paths
    }
    opened = {str(path): Store.open(path) for path in paths}
    present = {
        str(path): sorted(found.name for found in path.glob("resolutions/*/*")) for path in paths
    }
    for number in range(rounds):
        absent = stores.key_of(_question(-1 - number))
        for where, store in opened.items():
            taken, found = _timed(
                stores.find_resolutions,
                store,
                Digest(chance.choice(present[where])),
                clock=time.process_time,
            )
            times[where]["hit"].append(taken)
            taken, missed = _timed(stores.find_resolutions, store, absent, clock=time.process_time)
            times[where]["miss"].append(taken)
            if not found or missed:
                raise SystemExit(f"{where} does not hold what was put into it")
            taken, _ = _timed(_publish, store, absent, number, clock=time.process_time)
            times[where]["publish"].append(taken)
    return times


def _timed(
    operation: Callable[..., Any],
    *arguments: object,
    clock: Callable[[], float] = time.perf_counter,
) -> tuple[float, Any]:
    """Call it; how many seconds that took, and what it returned."""
    start = clock()
    outcome = operation(*arguments)
    return clock() - start, outcome


if __name__ == "__main__":
    verb, first, second, *rest = sys.argv[1:]
    if verb == "fill":
        fill(Path(first), int(second), *map(int, rest))
    elif verb == "use":
        use(Path(first), int(second), *map(int, rest))
    elif verb == "record":
        record(Path(first), int(second))
    elif verb == "ask":
        print(json.dumps(ask(int(first), [Path(path) for path in (second, *rest)])))
    else:
        print(json.dumps(measure(Path(first), int(second), [Path(path) for path in rest])))
