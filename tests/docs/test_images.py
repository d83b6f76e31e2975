"""The Dockerfiles in the how-tos are built: each RUN with what the image, the user and the cache
mounts are to it. A stage that begins with another one sees it as the lower layer of an overlay."""

from __future__ import annotations

import re
import shlex
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from support import REPOSITORY, environments, probes
from support.accounts import Accounts, run_as
from support.environments import make_environment
from support.index import LocalIndex
from support.probes import needs
from support.wheels import make_wheel

pytestmark = [pytest.mark.multiuser, pytest.mark.pips]

_BLOCK = re.compile(r"^```dockerfile\n(.*?)^```$", re.MULTILINE | re.DOTALL)
#: What an image of these how-tos has of its own. All else is this machine's.
_IMAGE, _CACHES = "/opt", "/var/cache"


@dataclass
class Run:
    """One RUN: the command, and what BuildKit gives it."""

    command: str
    user: str
    variables: dict[str, str]
    caches: list[dict[str, str]]


@dataclass
class Stage:
    """One FROM with what follows it; ``below``: the number of the stage that it begins with."""

    name: str
    below: int | None
    runs: list[Run] = field(default_factory=list)


def dockerfiles() -> list[str]:
    return _BLOCK.findall((REPOSITORY / "docs" / "howto.md").read_text(encoding="utf-8"))


def stages(text: str) -> list[Stage]:
    """Read a Dockerfile; an instruction that this does not know is an error."""
    found: list[Stage] = []
    user, variables = "0", dict[str, str]()
    kept: dict[str, tuple[str, dict[str, str]]] = {}
    for line in re.sub(r"\\\n\s*", "", text).splitlines():
        word, _, rest = line.partition(" ")
        if not word:
            continue
        if word == "FROM":
            if found:
                kept[found[-1].name] = user, variables
            base, _, name = rest.partition(" AS ")
            below = next((n for n, one in enumerate(found) if one.name == base), None)
            user, variables = ("0", {}) if below is None else (kept[base][0], {**kept[base][1]})
            found.append(Stage(name, below))
        elif word == "ENV":
            name, _, value = rest.partition("=")
            variables[name] = value
        elif word == "USER":
            user = rest
        elif word == "RUN":
            caches = []
            while rest.startswith("--mount="):
                option, _, rest = rest.partition(" ")
                told = dict(part.split("=") for part in option[len("--mount=") :].split(","))
                assert told["type"] == "cache", option
                caches.append(told)
            found[-1].runs.append(Run(rest, user, {**variables}, caches))
        else:
            raise AssertionError(f"unknown instruction: {line}")
    return found


def _script(found: list[Stage], place: Path, index: str, python: Path) -> Iterator[str]:
    yield f"set -eu\nmount -t tmpfs -o mode=755 caches {_CACHES}\n"
    for number, stage in enumerate(found):
        own = place / f"stage{number}"
        if stage.below is None:
            yield f"mkdir -p {own}\nmount --bind {own} {_IMAGE}\n"
        else:
            options = f"lowerdir={place}/stage{stage.below},upperdir={own},workdir={own}.work"
            yield f"mkdir -p {own} {own}.work\nmount -t overlay -o {options} overlay {_IMAGE}\n"
        for step, run in enumerate(stage.runs):
            for cache in run.caches:
                there = place / cache["id"]
                owner = f"{cache.get('uid', 0)}:{cache.get('gid', 0)}"
                yield f"[ -d {there} ] || {{ mkdir {there}; chown {owner} {there}; }}\n"
                yield f"mkdir -p {cache['target']}\nmount --bind {there} {cache['target']}\n"
            variables = {
                "HOME": "/nonexistent",
                "PATH": f"{python.parent}:/usr/bin:/bin",
                "PIP_INDEX_URL": index,
                "PIP_NO_CACHE_DIR": "1",
                "PIP_DISABLE_PIP_VERSION_CHECK": "1",
                "PIP_ROOT_USER_ACTION": "ignore",
                **run.variables,
            }
            words = ["setpriv", "--reuid", run.user, "--regid", run.user, "--clear-groups"]
            words += ["env", "-i", *(f"{name}={value}" for name, value in variables.items())]
            words += ["sh", "-c", run.command]
            yield f"(cd /; {shlex.join(words)}) >{place}/{number}.{step}.out 2>&1\n"
            for cache in reversed(run.caches):
                yield f"umount {cache['target']}\n"
        yield f"umount {_IMAGE}\n"


@pytest.fixture(scope="module")
def wheels(tmp_path_factory: pytest.TempPathFactory) -> Path:
    place = tmp_path_factory.mktemp("wheels")
    for name, version in (("rich", "15.0.0"), ("numpy", "2.4.0")):
        make_wheel(place, name, version, files={f"{name}/__init__.py": "X = 1\n" * 300})
    needed = [environments.our_wheel(), *environments.support_wheels()]
    needed.append(environments.pip_wheel(environments.NEWEST_PIP))
    for wheel in needed:
        (place / wheel.name).write_bytes(wheel.read_bytes())
    return place


@pytest.mark.parametrize("which", ["cache mount", "layer"])
@needs(probes.root, probes.setpriv, probes.bind_mounts, probes.tmpfs, probes.overlays)
def test_images_take_wheels_from_the_store(
    which: str, wheels: Path, shared_tmp: Path, public_python: Path
) -> None:
    found = stages(dockerfiles()[["cache mount", "layer"].index(which)])
    assert not public_python.is_relative_to(_IMAGE)
    results = []
    for build in ("first", "second"):  # nothing is left of the first build but the caches
        place = shared_tmp / "build"
        place.mkdir(exist_ok=True)
        place.chmod(0o755)
        script = shared_tmp / "script"
        with LocalIndex(wheels) as index:
            script.write_text("".join(_script(found, place, index.url, public_python)))
            done = subprocess.run(
                ["unshare", "--mount", "--propagation", "private", "sh", str(script)],
                capture_output=True,
                text=True,
                timeout=600,
            )
            asked = [path for path in index.wheel_requests() if "rich" in path or "numpy" in path]
        outputs = {path.stem: path.read_text() for path in sorted(place.glob("*.out"))}
        assert done.returncode == 0, (build, done.stderr, outputs)
        results.append((outputs, asked))
        for stage in place.glob("stage*"):
            stage.rename(shared_tmp / f"{build}-{stage.name}")
    (first, first_asked), (second, second_asked) = results
    store = "/var/cache/pip-store/store" if which == "cache mount" else "/opt/store"
    if which == "cache mount":
        assert f"Shared store: 0 of 1 distributions from {store}; 1 added" in first["0.1"]
        assert f"Shared store: 1 of 1 distributions from {store}" in second["0.1"]
        assert f"Shared store: 1 of 2 distributions from {store}" in second["1.1"]
        assert "you may not write the store" in second["1.1"]
        assert set(second_asked) == {"/files/numpy-2.4.0-py3-none-any.whl"}
    else:
        assert f"Shared store: 2 of 2 distributions from {store}" in second["1.1"]
        assert sorted(set(first_asked)) == sorted(set(second_asked)), "of store add, in each build"
        assert len(set(second_asked)) == 2
    assert not any("WARNING" in text for text in (*first.values(), *second.values()))


@needs(probes.root, probes.setpriv, probes.rootless_overlays)
def test_rootless_container_with_fuse_overlayfs(
    accounts: Accounts, wheels: Path, shared_tmp: Path, public_python: Path
) -> None:
    """Its root is usera, and its user 1000 is one of usera's subordinate uids."""
    usera = accounts.usera
    environment = make_environment(shared_tmp / "tools", python=public_python)
    home = shared_tmp / "home"
    home.mkdir()
    for name in ("lower", "upper", "work", "mount"):
        (home / name).mkdir()
    subprocess.run(["chown", "-R", f"{usera.uid}:{usera.gid}", home], check=True)
    mine = ["rich", "numpy"]
    with LocalIndex(wheels) as index:
        env = {**index.variables, "PIP_NO_CACHE_DIR": "1", "HOME": str(home)}
        lower = {**env, "PIP_SHAREDCACHE_DIR": f"{home}/lower/store"}
        for words in (["store", "init", f"{home}/lower/store"], ["store", "add", "rich"]):
            run_as(usera, environment.command(*words), env=lower, check=True)
        index.clear()
        install = shlex.join(environment.command("install", *mine))
        text = f"""
        fuse-overlayfs -o lowerdir=lower,upperdir=upper,workdir=work mount
        export PIP_SHAREDCACHE_DIR={home}/mount/store
        {install} --target one
        {install} --target two
        install -d -o 1000 -g 1000 theirs
        cd theirs
        HOME=$PWD setpriv --reuid 1000 --regid 1000 --clear-groups {install} --target three
        cd ..
        {shlex.join(environment.command("store", "verify"))}
        umount mount
        """
        container = ["unshare", "--map-root-user", "--map-auto", "--mount", "sh", "-ec", text]
        done = run_as(usera, container, env=env, cwd=home)
        asked = index.wheel_requests()
    assert done.returncode == 0, done.stdout + done.stderr
    lines = [line for line in done.stdout.splitlines() if line.startswith("Shared store:")]
    where = f"distributions from {home}/mount/store"
    assert [line.partition(";")[0] for line in lines] == [
        f"Shared store: {number} of 2 {where}" for number in (1, 2, 2)
    ]
    assert asked == ["/files/numpy-2.4.0-py3-none-any.whl"]
    assert "all are sound" in done.stdout
    assert {path.stat().st_uid for path in (home / "theirs").rglob("*")} != {usera.uid}
    subprocess.run(["rm", "-rf", home], check=True)
