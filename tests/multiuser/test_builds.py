"""Wheels that pip built: shared where the store's owner allows it, from trusted publishers only."""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import subprocess
import tarfile
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from multiuser.test_shared_store import Site, entries, running_site
from support.accounts import Account, Accounts, run_as
from support.damage import rewrite
from support.environments import Environment
from support.keys import NAMESPACES, make_key, public
from support.probes import needs, openssh, setpriv, tmpfs
from support.process import as_user
from support.tampering import evil_like
from support.trees import differences, snapshot

pytestmark = [pytest.mark.multiuser, needs(tmpfs, setpriv)]

_BACKEND = """
import os, zipfile


def build_wheel(wheel_directory, config_settings=None, metadata_directory=None):
    with open(os.environ["BUILD_LOG"], "a") as log:
        log.write("built\\n")
    filename = "built-1.0-py3-none-any.whl"
    with zipfile.ZipFile(os.path.join(wheel_directory, filename), "w") as archive:
        archive.writestr("built.py", "SETTINGS = %r\\n" % (config_settings,))
        archive.writestr(
            "built-1.0.dist-info/METADATA", "Metadata-Version: 2.1\\nName: built\\nVersion: 1.0\\n"
        )
        archive.writestr(
            "built-1.0.dist-info/WHEEL",
            "Wheel-Version: 1.0\\nRoot-Is-Purelib: true\\nTag: py3-none-any\\n",
        )
        archive.writestr("built-1.0.dist-info/RECORD", "")
    return filename
"""
_PROJECT = '[build-system]\nrequires = []\nbuild-backend = "backend"\nbackend-path = ["."]\n'


class Workshop:
    """A site whose index has an sdist, and a note of how often that was built."""

    def __init__(self, site: Site) -> None:
        self.site = site
        self.log = site.base / "built"
        self.project = site.base / "project"
        self.project.mkdir()
        (self.project / "pyproject.toml").write_text(_PROJECT)
        (self.project / "backend.py").write_text(_BACKEND)
        self.sdist = site.wheels / "built-1.0.tar.gz"
        with tarfile.open(self.sdist, "w:gz") as archive:
            archive.add(self.project, "built-1.0")

    def make_store(self, maker: Account | None, *options: str) -> Path:
        store = self.site.directory(maker) / "store"
        command = self.site.template.command(
            "store", "init", "--layout", "tree", "--group", "pkgshare", *options, store
        )
        run_as(maker, command, env=self.site.settings(), check=True)
        return store

    def install(
        self, account: Account | None, store: Path | None, *arguments: str, **changes: str | None
    ) -> tuple[Environment, str, int]:
        """Install in a new environment: that, what was said, and how often it was built for it.
        Without a store: by plain pip. pip's own cache is new, too."""
        environment = self.site.environment(account)
        self.log.write_text("")
        self.log.chmod(0o666)
        words = ("install", *(arguments or ("built",)))
        command = environment.command(*words) if store else environment.plain(*words)
        cache = self.site.directory(account) / "cache"
        caching = {"PIP_NO_CACHE_DIR": None, "PIP_CACHE_DIR": str(cache)}
        env = self.site.settings(store, **{"BUILD_LOG": str(self.log), **caching, **changes})
        done = run_as(account, command, env=env, check=True)
        return environment, done.stdout + done.stderr, self.log.read_text().count("built")


@pytest.fixture(scope="module")
def workshop(accounts: Accounts, public_python: Path) -> Iterator[Workshop]:
    with running_site(accounts, public_python) as site:
        yield Workshop(site)


@pytest.fixture(autouse=True)
def _environments_removed(workshop: Workshop) -> Iterator[None]:
    yield
    workshop.site.remove_environments()


def test_what_one_built_the_next_one_has(workshop: Workshop) -> None:
    site = workshop.site
    usera, userb = site.accounts.usera, site.accounts.userb
    store = workshop.make_store(None, "--builds")
    _, _, built = workshop.install(usera, store)
    assert built == 1
    expected, _, _ = workshop.install(userb, None)
    environment, said, built = workshop.install(userb, store)
    assert built == 0
    assert f"built-1.0-py3-none-any.whl from the shared store, built by {usera.name}" in said
    assert differences(snapshot(expected.prefix), snapshot(environment.prefix)) == []
    (note,) = (store / "builds").glob("*/*/files/build.json")
    details = json.loads(note.read_text())["details"]
    assert details["by"] == usera.name
    assert details["source"].endswith("/built-1.0.tar.gz")
    assert {"on", "at", "python"} <= details.keys()
    assert note.stat().st_uid == usera.uid


def test_the_owner_must_allow_it(workshop: Workshop) -> None:
    site = workshop.site
    store = workshop.make_store(None)
    for _ in range(2):
        assert workshop.install(site.accounts.usera, store)[2] == 1
    assert entries(store) == []
    assert list((store / "builds").glob("*/*")) == []


@pytest.mark.parametrize(
    ("arguments", "changes"),
    [
        (["built"], {"PIP_SHAREDCACHE_BUILD_SALT": "other-mpi"}),
        (["built"], {"CFLAGS": "-march=native"}),
        (["built"], {"WRAPT_INSTALL_EXTENSIONS": "false"}),
        (["built"], {"CPATH": "/opt/include"}),
        (["built"], {"NOBODY_KNOWS": "what for"}),
        (["--no-binary", "built", "built"], {}),
        (["-C", "fast=yes", "built"], {}),
    ],
    ids=["salt", "flags", "extensions", "headers", "anything", "no binary", "config settings"],
)
def test_another_build_is_not_taken_for_it(
    workshop: Workshop, arguments: list[str], changes: dict[str, str]
) -> None:
    site = workshop.site
    store = workshop.make_store(None, "--builds")
    assert workshop.install(site.accounts.usera, store)[2] == 1
    for expected in (1, 0):
        environment, _, built = workshop.install(site.accounts.userb, store, *arguments, **changes)
        assert built == expected
        wanted = "SETTINGS = {'fast': 'yes'}\n" if "-C" in arguments else "SETTINGS = None\n"
        assert (environment.site_packages / "built.py").read_text() in (
            wanted,
            wanted.replace("None", "{}"),
        )


def test_what_makes_no_difference_makes_none(workshop: Workshop) -> None:
    site = workshop.site
    store = workshop.make_store(None, "--builds")
    assert workshop.install(site.accounts.usera, store)[2] == 1
    harmless = {
        "LANG": "de_DE.UTF-8",
        "SSH_CONNECTION": "1 2 3 4",
        "TERM": "xterm",
        "LC_ALL": "C",
        "SLURM_JOB_ID": "17",
        "VIRTUAL_ENV": "/home/b/env",
        "PIP_RETRIES": "1",
        "LAB_API_TOKEN": "hidden",
        "PYTHONHASHSEED": "1",
    }
    _, said, built = workshop.install(site.accounts.userb, store, "-vv", "built", **harmless)
    assert built == 0
    assert "Shared builds depend on these environment variables: BUILD_LOG" in said
    (note,) = (store / "builds").glob("*/*/files/build.json")
    assert json.loads(note.read_text())["details"]["variables"] == ["BUILD_LOG"]


@pytest.mark.parametrize("name", [".pydistutils.cfg", ".cargo/config.toml"])
def test_a_users_own_configuration_of_compilers_is_another_build(
    workshop: Workshop, name: str
) -> None:
    site = workshop.site
    usera, userb = site.accounts.usera, site.accounts.userb
    home = site.directory(userb)
    (home / name).parent.mkdir(exist_ok=True)
    (home / name).write_text("[build_ext]\nlibraries = other\n")
    store = workshop.make_store(None, "--builds")
    assert workshop.install(usera, store)[2] == 1
    assert workshop.install(userb, store, HOME=str(home))[2] == 1
    assert workshop.install(userb, store, HOME=str(site.directory(userb)))[2] == 0


def test_another_compiler_is_another_build(workshop: Workshop) -> None:
    site = workshop.site
    store = workshop.make_store(None, "--builds")
    assert workshop.install(site.accounts.usera, store)[2] == 1
    tools = site.directory()
    (tools / "mpicc").write_text("#!/bin/sh\n")
    (tools / "mpicc").chmod(0o755)
    path = f"{tools}:/usr/local/bin:/usr/bin:/bin"
    assert workshop.install(site.accounts.userb, store, PATH=path)[2] == 1
    (tools / "mpicc").rename(tools / "editor")
    assert workshop.install(site.accounts.userb, store, PATH=path)[2] == 0


@pytest.mark.parametrize(
    ("arguments", "changes"),
    [
        (["--no-build-isolation", "built"], {}),
        (["--no-cache-dir", "built"], {}),
        (["built"], {"PIP_NO_CACHE_DIR": "1"}),
    ],
    ids=["no isolation", "no cache", "no cache variable"],
)
def test_who_wants_a_build_of_their_own_gives_and_takes_none(
    workshop: Workshop, arguments: list[str], changes: dict[str, str]
) -> None:
    site = workshop.site
    usera, userb = site.accounts.usera, site.accounts.userb
    store = workshop.make_store(None, "--builds")
    assert workshop.install(usera, store, *arguments, **changes)[2] == 1
    assert entries(store) == []
    assert workshop.install(usera, store)[2] == 1, "nothing was given"
    assert workshop.install(userb, store)[2] == 0
    assert workshop.install(userb, store, *arguments, **changes)[2] == 1


def test_settings_of_one_requirement_are_its_own(workshop: Workshop) -> None:
    """In a requirements file, where pip has that."""
    site = workshop.site
    usera, userb = site.accounts.usera, site.accounts.userb
    store = workshop.make_store(None, "--builds")
    wanted = site.directory() / "requirements.txt"
    wanted.write_text('built --config-settings "fast=yes"\n')
    assert workshop.install(usera, store)[2] == 1
    environment, _, built = workshop.install(usera, store, "-r", str(wanted))
    assert built == 1
    assert "yes" in (environment.site_packages / "built.py").read_text()
    environment, _, built = workshop.install(userb, store, "-r", str(wanted))
    assert built == 0
    assert "yes" in (environment.site_packages / "built.py").read_text()


@pytest.mark.parametrize("who", ["the same", "another"])
def test_a_build_whose_wheel_was_collected_is_built_once_more_and_shared(
    workshop: Workshop, who: str
) -> None:
    site = workshop.site
    usera, userb = site.accounts.usera, site.accounts.userb
    store = workshop.make_store(None, "--builds")
    assert workshop.install(usera, store)[2] == 1
    (entry,) = entries(store)
    shutil.rmtree(entry)
    assert workshop.install(usera if who == "the same" else userb, store)[2] == 1
    for account in (usera, userb):
        assert workshop.install(account, store)[2] == 0


def test_notes_of_builds_are_collected_after_their_wheels(workshop: Workshop) -> None:
    site = workshop.site
    store = workshop.make_store(None, "--builds")
    workshop.install(site.accounts.usera, store)
    gc = [site.template.command("store", "gc"), site.settings(store)]

    def collected() -> list[Path]:
        run_as(None, gc[0], env=gc[1], check=True)
        return list((store / "builds").glob("*/[0-9a-f]*"))

    (note,) = collected()
    os.utime(note, (1_700_000_000, 1_700_000_000))
    assert collected() == [note], "its wheel is there"
    (entry,) = entries(store)
    shutil.rmtree(entry)
    assert collected() == []
    (dead,) = (store / "builds").glob("*/.dead-*")
    assert dead.stat().st_uid == site.accounts.usera.uid


def test_build_of_an_untrusted_publisher_is_used_by_no_other_user(workshop: Workshop) -> None:
    site = workshop.site
    store = workshop.make_store(site.accounts.usera, "--builds")
    assert workshop.install(site.accounts.userb, store)[2] == 1
    assert workshop.install(None, store)[2] == 1, "root believes no member"
    other = workshop.make_store(None, "--builds")
    assert workshop.install(site.accounts.userb, other)[2] == 1
    narrow = {"PIP_SHAREDCACHE_TRUST": "owner"}
    assert workshop.install(site.accounts.usera, other, **narrow)[2] == 1
    assert workshop.install(site.accounts.usera, other, **narrow)[2] == 0, "his own"


@needs(openssh)
def test_build_of_an_untrusted_publisher_is_used_if_an_allowed_signer_signed_it(
    workshop: Workshop,
) -> None:
    """The wheel is copied and has the signed digest; a wheel in its place is refused."""
    site = workshop.site
    usera, userb, store = site.accounts.usera, site.accounts.userb, workshop.make_store(None)
    (store / "store.json").write_text((store / "store.json").read_text().replace("false", "true"))
    assert workshop.install(usera, store)[2] == 1
    keys = site.directory(usera)
    with as_user(usera.uid, usera.gid):
        key = make_key(keys, "key")
    allowed = site.directory() / "allowed"
    allowed.write_text(f"ci {NAMESPACES} {public(key)}\n")
    signing = site.settings(store, PIP_SHAREDCACHE_SIGNING_KEY=str(key))
    done = run_as(usera, site.template.command("store", "sign", "built"), env=signing, check=True)
    assert "Signed 2 entries" in done.stdout
    # The signer's word is enough: neither the owner of the store nor usera is trusted.
    changes = {"PIP_SHAREDCACHE_TRUST": "owner", "PIP_SHAREDCACHE_SIGNERS": str(allowed)}
    subprocess.run(["cp", "-a", store, store.with_name("copy")], check=True)
    expected, _, _ = workshop.install(userb, None)
    environment, said, built = workshop.install(userb, store, **changes)
    assert built == 0
    assert "Using built-1.0-py3-none-any.whl from the shared store, a build that ci signed" in said
    assert differences(snapshot(expected.prefix), snapshot(environment.prefix)) == []
    assert len(entries(store)) == 2, "userb's copy"

    store = store.with_name("copy")
    (wheel,) = entries(store)[0].glob("*.whl")
    with as_user(usera.uid, usera.gid):
        rewrite(wheel, evil_like(wheel))
    _, said, built = workshop.install(userb, store, **changes)
    assert built == 1
    assert "is not the wheel it says it is (published by usera)" in said


def test_with_required_hashes_it_is_built(workshop: Workshop) -> None:
    site = workshop.site
    store = workshop.make_store(None, "--builds")
    workshop.install(site.accounts.usera, store)
    digest = hashlib.sha256(workshop.sdist.read_bytes()).hexdigest()
    wanted = site.directory() / "requirements.txt"
    wanted.write_text(f"built==1.0 --hash=sha256:{digest}\n")
    _, _, built = workshop.install(
        site.accounts.userb, store, "--require-hashes", "-r", str(wanted)
    )
    assert built == 1


def test_a_fixed_commit_is_shared_with_its_direct_url(workshop: Workshop) -> None:
    if not shutil.which("git"):
        pytest.skip("git is not installed")
    site = workshop.site
    repository = site.directory() / "repository"
    shutil.copytree(workshop.project, repository)
    identity = ["-c", "user.name=t", "-c", "user.email=t@example.invalid"]
    for words in (["init", "-q", "."], ["add", "."], [*identity, "commit", "-qm", "one"]):
        subprocess.run(["git", *words], cwd=repository, check=True)
    head = subprocess.run(
        ["git", "rev-parse", "HEAD"], cwd=repository, check=True, capture_output=True, text=True
    ).stdout.strip()
    believing = repository.parent / "gitconfig"
    believing.write_text("[safe]\n\tdirectory = *\n")
    everybody = {"GIT_CONFIG_GLOBAL": str(believing)}
    store = workshop.make_store(None, "--builds")
    usera, userb = site.accounts.usera, site.accounts.userb
    moving, fixed = (f"built @ git+{repository.as_uri()}{at}" for at in ("", f"@{head}"))
    assert workshop.install(usera, store, moving, **everybody)[2] == 1
    assert workshop.install(userb, store, moving, **everybody)[2] == 1, "it may be another one"
    assert workshop.install(usera, store, fixed, **everybody)[2] == 1
    expected, _, _ = workshop.install(userb, None, fixed, **everybody)
    environment, _, built = workshop.install(userb, store, fixed, **everybody)
    assert built == 0
    urls = [
        next(one.site_packages.glob("built-*/direct_url.json")).read_text()
        for one in (expected, environment)
    ]
    assert urls[0] == urls[1]
    assert differences(snapshot(expected.prefix), snapshot(environment.prefix)) == []


def test_a_commit_of_what_others_may_not_read_is_not_shared(workshop: Workshop) -> None:
    if not shutil.which("git"):
        pytest.skip("git is not installed")
    usera = workshop.site.accounts.usera
    repository = workshop.site.directory(usera) / "private" / "repository"
    shutil.copytree(workshop.project, repository)
    identity = ["-c", "user.name=t", "-c", "user.email=t@example.invalid"]
    for words in (["init", "-q", "."], ["add", "."], [*identity, "commit", "-qm", "one"]):
        subprocess.run(["git", *words], cwd=repository, check=True)
    head = subprocess.run(
        ["git", "rev-parse", "HEAD"], cwd=repository, check=True, capture_output=True, text=True
    ).stdout.strip()
    subprocess.run(["chown", "-R", f"{usera.uid}:{usera.gid}", repository.parent], check=True)
    repository.parent.chmod(0o700)
    store = workshop.make_store(None, "--builds")
    for _ in range(2):
        fixed = f"built @ git+{repository.as_uri()}@{head}"
        assert workshop.install(usera, store, fixed)[2] == 1
    assert entries(store) == []
    assert list((store / "builds").glob("*/*")) == []


def test_a_damaged_note_costs_a_build_and_no_more(workshop: Workshop) -> None:
    site = workshop.site
    store = workshop.make_store(None, "--builds")
    workshop.install(site.accounts.usera, store)
    (note,) = (store / "builds").glob("*/*/files/build.json")
    note.chmod(0o644)
    for text in ("{", "[]", '{"sha256": "x", "filename": "../x.whl", "details": {}}'):
        note.write_text(text)
        os.utime(note, (1, 1))
        assert workshop.install(site.accounts.userb, store)[2] == 1
        for own in (store / "builds").glob(f"*/*.{site.accounts.userb.uid}"):
            shutil.rmtree(own)


@pytest.mark.parametrize("form", ["digest", "version"])
def test_build_record_does_not_bring_a_banned_wheel_back(workshop: Workshop, form: str) -> None:
    site = workshop.site
    usera, userb = site.accounts.usera, site.accounts.userb
    store = workshop.make_store(None, "--builds")
    workshop.install(usera, store)
    (wheel,) = entries(store)
    word = wheel.name if form == "digest" else "built==1.0"
    command = site.template.command("store", "ban", word)
    run_as(None, command, env=site.settings(store), check=True)
    time.sleep(2)  # a zip keeps even seconds
    _, said, built = workshop.install(userb, store)
    assert built == 1
    assert wheel.name not in os.listdir(wheel.parent)
    # The new wheel has other times in it, and so another digest.
    assert said.count("built-1.0-py3-none-any.whl is banned in ") == (form == "version")
    assert workshop.install(userb, store)[2] == (form == "version")
