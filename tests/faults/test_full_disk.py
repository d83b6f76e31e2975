"""Disks that are full, over quota, read-only or dying, on the store's side and on ours."""

from __future__ import annotations

import errno
import os
import random
from collections.abc import Iterator
from pathlib import Path

import pytest

from support import offline
from support.accounts import run_as
from support.environments import Environment, EnvironmentFactory, make_environment
from support.faults import (
    Call,
    faults_of_distribution,
    faults_of_store,
    leftovers,
    run_with_fault,
    spread,
    visible_entries,
)
from support.filesystems import Kind, limit, mounted
from support.grounds import Ground, compare, everywhere, make_grounds
from support.index import IndexFactory
from support.probes import loop_mounts, needs, quotas, strace, tmpfs
from support.trees import differences, snapshot
from support.wheels import make_wheel

MEGABYTE = 1 << 20
SCRIPT = "[console_scripts]\ndemo = demo:main\n"
FULL = os.strerror(errno.ENOSPC)

full_store = [pytest.mark.filesystem, needs(tmpfs, loop_mounts)]


@pytest.fixture(scope="module")
def wheels(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """demo: a small one. large: 6 MB in six files that do not compress, and a second version."""
    directory = tmp_path_factory.mktemp("wheels")
    for version in ("1.0", "2.0"):
        files = {
            "demo/__init__.py": f"VERSION = {version!r}\n\n\ndef main():\n    print(VERSION)\n",
            "demo/part/__init__.py": f"PART = {version!r}\n",
            "demo/data.txt": f"data of {version}\n",
        }
        make_wheel(directory, "demo", version, files=files, entry_points=SCRIPT)
    noise = random.Random(7)
    size = {"1.0": MEGABYTE // 4, "2.0": MEGABYTE}
    for version in ("1.0", "2.0"):
        blobs = {f"large/blob{n}.bin": noise.randbytes(size[version]) for n in range(6)}
        code = {"large/__init__.py": f"def main():\n    print({version!r})\n"}
        make_wheel(
            directory,
            "large",
            version,
            files={**code, **blobs},
            entry_points="[console_scripts]\nlarge = large:main\n",
        )
    blobs = {f"other/blob{n}.bin": noise.randbytes(MEGABYTE) for n in range(6)}
    make_wheel(directory, "other", files=blobs)
    return directory


def _settings(wheels: Path, store: Path, mode: str = "copy") -> dict[str, str | None]:
    return offline(wheels, store, PIP_SHAREDCACHE_LINK_MODE=mode)


def _naming(store: Path, *outputs: str) -> list[str]:
    return [line for text in outputs for line in text.splitlines() if str(store) in line]


# -- the store's disk


@pytest.mark.parametrize(
    ("kind", "size_mb", "options"),
    [
        pytest.param("tmpfs", 3, "", marks=full_store, id="tmpfs-full-in-the-wheel"),
        pytest.param("tmpfs", 9, "", marks=full_store, id="tmpfs-full-in-its-files"),
        pytest.param("tmpfs", 64, "nr_inodes=10", marks=full_store, id="tmpfs-no-inodes"),
        pytest.param("ext4", 12, "", marks=full_store, id="ext4-full"),
    ],
)
def test_full_store_is_said_in_one_line_and_the_install_succeeds(
    kind: Kind,
    size_mb: int,
    options: str,
    environment: EnvironmentFactory,
    wheels: Path,
    tmp_path: Path,
) -> None:
    one = environment()
    with mounted(kind, tmp_path, size_mb=size_mb, options=options) as store:
        env = _settings(wheels, store)
        both = ("large==2.0", "other")
        run_as(None, one.plain("install", *both), env=env, check=True)
        expected = snapshot(one.prefix)
        run_as(None, one.plain("uninstall", "-y", "large", "other"), env=env, check=True)

        result = run_as(None, one.command("install", *both), env=env)

        assert result.returncode == 0, result.stderr
        assert "Successfully installed large-2.0 other-1.0" in result.stdout
        said = _naming(store, result.stderr)
        assert len(said) == 1, result.stderr
        assert FULL in said[0]
        assert differences(expected, snapshot(one.prefix)) == []
        assert not leftovers(store)
        assert not visible_entries(store)


@pytest.mark.filesystem
@needs(quotas)
@pytest.mark.parametrize("size_mb", [3, 9], ids=["in the wheel", "in its files"])
def test_a_quota_on_the_store_is_said_in_one_line_and_the_install_succeeds(
    size_mb: int, environment: EnvironmentFactory, wheels: Path, tmp_path: Path
) -> None:
    one = environment()
    with mounted("btrfs", tmp_path, size_mb=256) as store:
        limit(store, size_mb)
        env = _settings(wheels, store)
        result = run_as(None, one.command("install", "large==2.0"), env=env)
        assert result.returncode == 0, result.stderr
        said = _naming(store, result.stderr)
        assert len(said) == 1, result.stderr
        assert os.strerror(errno.EDQUOT) in said[0]
        assert not leftovers(store)
        assert not visible_entries(store)
        assert faults_of_distribution(one.site_packages, "large-2.0.dist-info") == []


PUBLISHING = {
    "no-directory-quota": ("mkdir", "/.new-", 0, "EDQUOT"),
    "read-only-at-start": ("mkdir", "/.new-", 0, "EROFS"),
    "wheel-not-created": ("openat", ".whl", 0, "ENOSPC"),
    "wheel-not-written": ("pwrite64", ".whl", 0, "EIO"),
    "quota-at-write": ("write", "/files/", -1, "EDQUOT"),
    "quota-at-close-of-wheel": ("close", ".whl", 0, "EDQUOT"),
    "quota-at-close-of-file": ("close", "/files/", 0, "EDQUOT"),
    "error-at-close-of-manifest": ("close", "/entry.json", 0, "EIO"),
    "mode-not-set": ("fchmod", "/files/", 1, "EIO"),
    "time-not-set": ("utimensat", "/files/", 0, "EIO"),
    "read-only-before-the-rename": ("rename", "/.new-", 0, "EROFS"),
    "error-at-the-rename": ("rename", "/.new-", 0, "EIO"),
}


@pytest.fixture(scope="module")
def ground(tmp_path_factory: pytest.TempPathFactory, wheels: Path) -> Ground:
    (made,) = make_grounds(tmp_path_factory.mktemp("injected"), wheels, number=1)
    return made


@pytest.fixture(scope="module")
def cold_calls(ground: Ground) -> list[Call]:
    """What an install does that publishes."""
    return ground.calls(ground.install("demo==1.0"))


@pytest.fixture(scope="module")
def plain_tree(ground: Ground) -> dict[str, object]:
    return ground.plain_tree("demo==1.0")


def _call(calls: list[Call], name: str, part: str, position: int, store: Path) -> Call:
    """A call on a staging directory for wheels: the position-th of those with this part."""
    fitting = [
        call
        for call in calls
        if call.name == name
        # By its name, or (mkdir) by that of its held shard, which is told below /proc.
        and (call.touches(store / "wheels") or "/proc/" in call.text)
        and "/.new-" in call.text
        and part in call.text
        and (name != "openat" or "O_CREAT" in call.text)
    ]
    return fitting[position]


@pytest.mark.strace
@needs(strace)
@pytest.mark.parametrize("what", PUBLISHING)
def test_failure_while_publishing_is_said_in_one_line_and_the_install_is_right(
    what: str, ground: Ground, cold_calls: list[Call], plain_tree: dict[str, object]
) -> None:
    name, part, position, error = PUBLISHING[what]
    ground.restore()
    ground.fresh_store()
    call = _call(cold_calls, name, part, position, ground.store)

    result = run_with_fault(
        ground.install("demo==1.0"), call, f"error={error}", env=ground.settings
    )

    assert result.returncode == 0, result.stderr
    assert compare(plain_tree, ground.tree()) == []
    assert not visible_entries(ground.store)
    assert not leftovers(ground.store)
    assert "Traceback" not in result.stderr
    said = _naming(ground.store, result.stderr)
    if error == "EROFS" and name == "mkdir":
        # Nothing is wrong with a store that one may only read.
        assert not said
        assert any(
            "installed by pip alone: you may not" in line
            for line in _naming(ground.store, result.stdout)
        )
    else:
        assert len(said) == 1, result.stderr
        assert os.strerror(getattr(errno, error)) in said[0]


@pytest.mark.strace
@needs(strace)
@pytest.mark.parametrize(
    "part",
    ["/entry.json", "/files/demo/__init__.py", "-none-any.whl"],
    ids=["manifest", "file", "wheel"],
)
def test_store_that_cannot_be_read_is_said_and_the_install_is_right(
    part: str,
    ground: Ground,
    plain_tree: dict[str, object],
    index: IndexFactory,
    wheels: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    # From an index pip is handed the store's own wheel. Each run makes the same calls: none replays
    # what the run before recorded.
    server = index(wheels)
    other = {"PIP_NO_INDEX": None, "PIP_FIND_LINKS": None, "PIP_INDEX_URL": server.url}
    other["PIP_SHAREDCACHE_RESOLUTIONS"] = "off"
    monkeypatch.setattr(ground, "other_settings", other)
    ground.restore()
    ground.fresh_store()
    argv = ground.install("demo==1.0")
    ground.succeed(argv)
    ground.restore()
    call = next(
        call
        for call in ground.calls(argv)
        if call.name == "openat"
        and call.text.endswith(f"{part}>")
        and call.touches(ground.store / "wheels")
    )

    result = run_with_fault(argv, call, "error=EIO", env=ground.settings)

    assert result.returncode == 0, result.stderr
    assert compare(plain_tree, ground.tree()) == []
    assert os.strerror(errno.EIO) in "".join(_naming(ground.store, result.stderr))
    assert not faults_of_store(ground.store)
    assert not leftovers(ground.store)


# -- one disk for both


@pytest.mark.filesystem
@needs(tmpfs, loop_mounts)
@pytest.mark.parametrize("free", [9, 15, 22], ids=lambda free: f"{free}MB")
@pytest.mark.parametrize("mode", ["reflink", "copy"])
def test_where_store_and_environment_do_not_both_fit_the_environment_does(
    mode: str, free: int, small_disk: Path, wheels: Path
) -> None:
    """large takes 6 MB as a wheel, 6 MB in the store, 6 MB in the environment."""
    one = make_environment(small_disk / "environment")
    store = small_disk / "store"
    store.mkdir()
    env = _settings(wheels, store, mode)
    run_as(None, one.plain("install", "large==2.0"), env=env, check=True)
    expected = snapshot(one.prefix)
    run_as(None, one.plain("uninstall", "-y", "large"), env=env, check=True)
    _fill(small_disk, free=free * MEGABYTE)

    result = run_as(None, one.command("install", "large==2.0"), env=env)

    assert not leftovers(store)
    assert not faults_of_store(store)
    assert result.returncode == 0, result.stderr
    assert differences(expected, snapshot(one.prefix)) == []
    assert len(visible_entries(store)) == (free > 18)
    if not visible_entries(store):
        (said,) = _naming(store, result.stderr)
        assert "Installed without publishing" in said


@pytest.mark.filesystem
@needs(tmpfs, loop_mounts)
def test_what_copies_have_staged_makes_room_for_the_environment(
    small_disk: Path, wheels: Path, tmp_path: Path
) -> None:
    """One process has staged and placed large, 18 MB, when another comes to what is in the store
    already, and takes 6 MB in the environment."""
    noise = random.Random(8)
    blobs = {f"common/blob{n}.bin": noise.randbytes(MEGABYTE) for n in range(6)}
    # These two share a path, so the first process installs them, at the end.
    make_wheel(tmp_path / "more", "a", "1.0", files={"common/a.txt": "", **blobs})
    make_wheel(tmp_path / "more", "b", "1.0", files={"common/a.txt": ""})
    many = {f"many/{n}.txt": str(n) for n in range(500)}
    make_wheel(tmp_path / "more", "many", "1.0", files=many)
    one = make_environment(small_disk / "environment")
    store = small_disk / "store"
    store.mkdir()
    env = {**_settings(wheels, store), "PIP_SHAREDCACHE_PROCESSES": "2"}
    env["PIP_FIND_LINKS"] = f"{wheels} {tmp_path / 'more'}"
    names = ["large==2.0", "a", "b", "many"]
    run_as(None, one.plain("install", *names), env=env, check=True)
    expected = snapshot(one.prefix)
    run_as(None, one.plain("uninstall", "-y", "large", "a", "b", "many"), env=env, check=True)
    run_as(None, one.command("install", "a"), env=env, check=True)
    run_as(None, one.plain("uninstall", "-y", "a"), env=env, check=True)
    _fill(small_disk, free=25 * MEGABYTE)

    result = run_as(None, one.command("install", *names), env=env)

    assert result.returncode == 0, result.stderr
    assert differences(expected, snapshot(one.prefix)) == []
    assert not leftovers(store)
    assert not faults_of_store(store)
    assert len(visible_entries(store)) == 1
    (said,) = _naming(store, result.stderr)
    assert said.endswith(f"Installed without publishing: {store}: no free space is left")


@pytest.mark.filesystem
@needs(tmpfs, loop_mounts)
@pytest.mark.parametrize("free", [10, 11, 13], ids=lambda free: f"{free}MB")
def test_bytecode_that_does_not_fit_the_store_takes_no_room_from_the_environment(
    free: int, small_disk: Path, tmp_path: Path
) -> None:
    """code takes 2 MB as a wheel, 6 MB unpacked, and 5 MB compiled; in the store it stops at the
    bytecode, before anything is placed. Two processes come to that side by side."""
    noise = random.Random(9)
    words = "\n".join(f'"{noise.randbytes(500).hex()}"' for _ in range(100))
    for name in ("code", "more"):
        files = {f"{name}/m{n}.py": f"X = [\n{n}\n]\nTEXT = (\n{words})\n" for n in range(30)}
        many = {f"{name}/{n}.txt": str(n) for n in range(200)}
        make_wheel(tmp_path / "code", name, "1.0", files={**files, **many})
    one = make_environment(small_disk / "environment")
    store = small_disk / "store"
    store.mkdir()
    env = {**_settings(tmp_path / "code", store), "PIP_SHAREDCACHE_PROCESSES": "2"}
    for names in (["code"], ["code", "more"]):
        run_as(None, one.plain("install", *names), env=env, check=True)
        expected = snapshot(one.prefix)
        used = sum(path.lstat().st_blocks * 512 for path in one.prefix.rglob("*"))
        run_as(None, one.plain("uninstall", "-y", *names), env=env, check=True)
        used -= sum(path.lstat().st_blocks * 512 for path in one.prefix.rglob("*"))
        assert used < free * len(names) * MEGABYTE
        _fill(small_disk, free=free * len(names) * MEGABYTE)

        result = run_as(None, one.command("install", *names), env=env)

        assert result.returncode == 0, result.stderr
        assert differences(expected, snapshot(one.prefix)) == []
        assert not leftovers(store)
        assert not faults_of_store(store)
        assert _naming(store, result.stderr)
        run_as(None, one.plain("uninstall", "-y", *names), env=env, check=True)
        (small_disk / "ballast").unlink()


# -- the environment's disk


@pytest.fixture(params=["tmpfs", "ext4"])
def small_disk(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Path]:
    """A disk that takes an environment and little more."""
    with mounted(request.param, tmp_path, size_mb=72) as place:
        yield place


def _fill(disk: Path, free: int) -> None:
    """Leave about this many bytes for others."""
    status = os.statvfs(disk)
    with (disk / "ballast").open("wb") as stream:
        os.posix_fallocate(stream.fileno(), 0, status.f_bfree * status.f_frsize - free)


def _without_scripts(environment: Environment, *names: str) -> None:
    """Scripts that pip has generated are its own to take back: some versions leave them."""
    for name in names:
        (environment.scripts / name).unlink(missing_ok=True)


@pytest.mark.filesystem
@needs(tmpfs, loop_mounts)
@pytest.mark.parametrize("mode", ["reflink", "copy"])
def test_full_environment_gives_pips_error_and_nothing_of_the_distribution_stays(
    mode: str, small_disk: Path, wheels: Path, tmp_path: Path
) -> None:
    one = make_environment(small_disk / "environment")
    store = tmp_path / "store"
    store.mkdir()
    env = _settings(wheels, store, mode)
    # Cold and warm: in the second run the entry is there already.
    _fill(small_disk, free=3 * MEGABYTE)
    before = snapshot(one.prefix)
    for _ in range(2):
        result = run_as(None, one.command("install", "large==2.0"), env=env)
        assert result.returncode == 1, result.stdout + result.stderr
        assert FULL in result.stderr
        assert "Traceback" not in result.stderr
        _without_scripts(one, "large")
        assert differences(before, snapshot(one.prefix)) == []
        assert not faults_of_store(store)
        assert len(visible_entries(store)) == 1
    (small_disk / "ballast").unlink()
    run_as(None, one.command("install", "large==2.0"), env=env, check=True)
    assert not faults_of_distribution(one.site_packages, "large-2.0.dist-info")


@pytest.mark.filesystem
@needs(tmpfs, loop_mounts)
def test_upgrade_in_a_full_environment_rolls_back_to_the_old_version(
    small_disk: Path, wheels: Path, tmp_path: Path
) -> None:
    one = make_environment(small_disk / "environment")
    store = tmp_path / "store"
    store.mkdir()
    env = _settings(wheels, store)
    run_as(None, one.command("install", "large==1.0"), env=env, check=True)
    _fill(small_disk, free=3 * MEGABYTE)
    before = snapshot(one.prefix)

    result = run_as(None, one.command("install", "large==2.0"), env=env)

    assert result.returncode == 1, result.stdout + result.stderr
    assert FULL in result.stderr
    assert differences(before, snapshot(one.prefix)) == []
    assert not faults_of_distribution(one.site_packages, "large-1.0.dist-info")
    script = run_as(None, [str(one.scripts / "large")], check=True)
    assert script.stdout == "1.0\n"


def _environment_calls(ground: Ground, argv: list[str]) -> list[Call]:
    """Calls by which the environment's disk may show that it is full."""
    growing = {"openat", "mkdir", "write", "rename", "link", "symlink", "close"}
    return [
        call
        for call in ground.calls(argv)
        if call.name in growing
        and (call.changes or call.name == "close")
        and call.touches(ground.environment.prefix)
        and not call.touches(ground.store)
        # What is only read is closed as well.
        and (call.name != "close" or "demo" in call.text)
    ]


def _aborted(ground: Ground, result_code: int, output: str, before: dict[str, object]) -> list[str]:
    """What is wrong after an install that may fail, but only cleanly."""
    if result_code == 0:
        version = ground.listed()
        library = ground.environment.site_packages
        return faults_of_distribution(library, f"demo-{version}.dist-info")
    found = []
    if result_code != 1 or FULL not in output:
        found.append(f"ended with {result_code}: {output}")
    now = ground.tree()
    if "bin/demo" not in before:
        now.pop("bin/demo", None)
        now.pop("script", None)
    return found + [f"is not as before: {what}" for what in compare(before, now)]


@pytest.mark.strace
@needs(strace)
@pytest.mark.parametrize("pip", ["26.3", "23.0.1"])
@pytest.mark.product
def test_no_space_at_any_point_of_placing_takes_back_what_was_placed(
    pip: str, wheels: Path, tmp_path: Path
) -> None:
    grounds = make_grounds(tmp_path, wheels, pip)
    before = {}
    for ground in grounds:
        before[ground] = ground.tree()
        for _ in range(2):  # the entry is there, and noted as used
            ground.succeed(ground.install("demo==1.0"))
            ground.restore()
    calls = _environment_calls(grounds[0], grounds[0].install("demo==1.0"))
    assert calls

    def check(ground: Ground, call: Call) -> list[str]:
        ground.restore()
        argv = ground.install("demo==1.0")
        result = run_with_fault(argv, call, "error=ENOSPC", env=ground.settings)
        return _aborted(ground, result.returncode, result.stderr, before[ground])

    wrong = everywhere(grounds, spread(calls, 14), check)
    assert not wrong, "\n".join(wrong)


@pytest.mark.strace
@needs(strace)
def test_no_space_at_any_point_of_an_upgrade_leaves_the_old_version_whole(
    wheels: Path, tmp_path: Path
) -> None:
    grounds = make_grounds(tmp_path, wheels)
    before = {}
    for ground in grounds:
        ground.succeed(ground.install("demo==2.0"))  # the entry is there
        ground.restore()
        ground.succeed(ground.install("demo==1.0"))
        ground.remember()
        before[ground] = ground.tree()
    calls = _environment_calls(grounds[0], grounds[0].install("demo==2.0"))
    # Renames before the new version's first file put the old one aside: pip's own.
    first = next(number for number, call in enumerate(calls) if "O_CREAT" in call.text)

    def check(ground: Ground, call: Call) -> list[str]:
        ground.restore()
        argv = ground.install("demo==2.0")
        result = run_with_fault(argv, call, "error=ENOSPC", env=ground.settings)
        return _aborted(ground, result.returncode, result.stderr, before[ground])

    wrong = everywhere(grounds, spread(calls[first:], 14), check)
    assert not wrong, "\n".join(wrong)
