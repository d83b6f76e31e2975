"""A store made for a group: one user publishes, the others install, and nothing foreign changes."""

from __future__ import annotations

import os
import shutil
import stat
import subprocess
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from support import INDEX_VARIABLES, environments, plain, probes
from support.accounts import Account, Accounts, home_of, run_as, stop_all
from support.environments import Environment
from support.filesystems import mounted, read_only, remove_tree
from support.index import LocalIndex
from support.trees import Node, differences, snapshot
from support.wheels import make_wheel

pytestmark = [
    pytest.mark.multiuser,
    probes.needs(probes.accounts, probes.acl, probes.bind_mounts, probes.tmpfs),
]

UMASKS = (0o022, 0o002, 0o077)
SHARED = ("alpha", "beta")
OTHER = "gamma"

# For a directory whose members write, while everybody else is kept out: too much and too little.
DEFAULT_ACL = "u::rwx,g::r-x,g:pkgshare:rwx,m::rwx,o::---"


@dataclass(frozen=True)
class Status:
    """All of an inode that somebody could have changed."""

    kind: int
    inode: tuple[int, int]
    mode: int
    uid: int
    gid: int
    size: int
    mtime_ns: int
    ctime_ns: int


def inodes(top: Path) -> dict[str, Status]:
    """Every path at and below top, links not followed."""
    found = {}
    for directory, below, files in os.walk(top):
        for path in [directory, *(os.path.join(directory, name) for name in [*below, *files])]:
            status = os.lstat(path)
            found[path] = Status(
                stat.S_IFMT(status.st_mode),
                (status.st_dev, status.st_ino),
                stat.S_IMODE(status.st_mode),
                status.st_uid,
                status.st_gid,
                status.st_size,
                status.st_mtime_ns,
                status.st_ctime_ns,
            )
    return found


def foreign_changes(
    before: Mapping[str, Status], after: Mapping[str, Status], uid: int
) -> list[str]:
    """What became of the inodes that were not uid's, and what was added that is not uid's.

    A directory that got a new name in it has another mtime: that, and its size, is no change.
    """
    gained = {os.path.dirname(path) for path in after if path not in before}
    lines = []
    for path, status in before.items():
        now = after.get(path)
        if status.uid == uid or now == status:
            continue
        if path in gained and now is not None and _but_names(now) == _but_names(status):
            continue
        lines.append(f"{path}: {status} became {now}")
    lines += [
        f"{path}: new, and belongs to uid {status.uid}"
        for path, status in after.items()
        if path not in before and status.uid != uid
    ]
    return lines


def _but_names(status: Status) -> tuple[object, ...]:
    return status.kind, status.inode, status.mode, status.uid, status.gid


@dataclass
class Site:
    """A machine's part for one test module: accounts, an index, and environments for anybody."""

    base: Path
    accounts: Accounts
    index: LocalIndex
    template: Environment
    more_settings: dict[str, str | None] = field(default_factory=dict)
    _plain: dict[tuple[int, tuple[str, ...]], dict[str, Node]] = field(default_factory=dict)
    _bare: dict[str, Node] = field(default_factory=dict)
    _environments: list[Path] = field(default_factory=list)
    _number: int = 0

    @property
    def wheels(self) -> Path:
        """The directory that the index serves."""
        return self.index.directory

    def account(self, name: str) -> Account | None:
        """An account by name; None for root."""
        found: Account | None = getattr(self.accounts, name, None)
        return found

    def directory(self, owner: Account | None = None, mode: int = 0o755) -> Path:
        """A new directory that everybody can reach, of this owner."""
        self._number += 1
        path = self.base / f"{owner.name if owner else 'root'}-{self._number}"
        path.mkdir()
        if owner is not None:
            os.chown(path, owner.uid, owner.gid)
        path.chmod(mode)
        return path

    def settings(self, store: Path | None = None, **changes: str | None) -> dict[str, str | None]:
        """Environment variables: only the local index, only this store."""
        return {
            **dict.fromkeys((*INDEX_VARIABLES, "PIP_FIND_LINKS", "PIP_CONSTRAINT")),
            "PIP_INDEX_URL": self.index.url,
            "PIP_NO_CACHE_DIR": "1",
            "PIP_SHAREDCACHE_DIR": str(store) if store else None,
            **self.more_settings,
            **changes,
        }

    def environment(self, owner: Account | None, path: Path | None = None) -> Environment:
        """A new environment of this owner, made at umask 022."""
        prefix = path or self.directory(owner) / "environment"
        self._environments.append(prefix)
        subprocess.run(["cp", "-a", self.template.prefix, prefix], check=True)
        if owner is not None:
            subprocess.run(["chown", "-hR", f"{owner.uid}:{owner.gid}", prefix], check=True)
        old = self.template.prefix
        return Environment(
            prefix,
            prefix / self.template.python.relative_to(old),
            prefix / self.template.site_packages.relative_to(old),
            prefix / self.template.scripts.relative_to(old),
        )

    def filled_store(self, *arguments: str, layout: str = "tree") -> Path:
        """A store for the group in which usera has published what he installed."""
        store, usera = self.make_store(None, layout=layout), self.accounts.usera
        self.install(usera, self.environment(usera), store, *arguments)
        return store

    def make_store(
        self,
        maker: Account | None,
        *,
        umask: int = 0o022,
        default_acl: str = "",
        group: str = "pkgshare",
        layout: str = "tree",
    ) -> Path:
        """A store made by `store init --group`."""
        parent = self.directory(maker)
        if default_acl:
            subprocess.run(["setfacl", "-d", "-m", default_acl, parent], check=True)
        store = parent / "store"
        how = ["--group", group, "--layout", layout]
        command = self.template.command("store", "init", "--layout", "tree", *how, store)
        run_as(maker, command, umask=umask, env=self.settings(), check=True)
        return store

    def install(
        self,
        account: Account | None,
        environment: Environment,
        store: Path,
        *arguments: str,
        umask: int = 0o022,
        **changes: str | None,
    ) -> str:
        """Run our install, which must succeed; gives all that it said."""
        with ExitStack() as stack:
            chosen = self.settings(store)
            if not account:
                chosen = stack.enter_context(self.administered(environment, store))
            done = run_as(
                account,
                environment.command("install", *arguments),
                umask=umask,
                env={**chosen, **changes},
                check=True,
            )
        return done.stdout + done.stderr

    @contextmanager
    def administered(
        self, environment: Environment, store: Path, more: str = ""
    ) -> Iterator[dict[str, str | None]]:
        """As `settings`, but the store is named where only root may have done so, which is in the
        environment's own pip.conf for a while: root believes the owner of no other one."""
        file = environment.prefix / "pip.conf"
        file.write_text(f"[sharedcache]\ndir = {store}\n{more}")
        try:
            yield {**self.settings(), "PIP_CONFIG_FILE": None, "HOME": "/nonexistent"}
        finally:
            file.unlink()

    def remove_environments(self) -> None:
        """Remove all environments that were made here."""
        while self._environments:
            remove_tree(self._environments.pop())

    def plain_tree(self, umask: int, *arguments: str) -> dict[str, Node]:
        """What plain pip makes of an environment of userb's, run by him at this umask."""
        key = (umask, arguments)
        if key not in self._plain:
            self._plain[key] = self._kept_plain_tree(umask, arguments)
        return self._plain[key]

    def _kept_plain_tree(self, umask: int, arguments: tuple[str, ...]) -> dict[str, Node]:
        userb = self.accounts.userb

        def install() -> dict[str, Node]:
            environment = self.environment(userb)
            command = environment.plain("install", *arguments)
            run_as(userb, command, umask=umask, env=self.settings(), check=True)
            return snapshot(environment.prefix)

        if any("/" in argument for argument in arguments):
            return install()
        if not self._bare:
            self._bare.update(snapshot(self.environment(userb).prefix))
        inputs = [umask, *arguments]
        return plain.tree_after(
            self._bare, self.template.python, self.wheels, inputs, __file__, install
        )


@contextmanager
def running_site(accounts: Accounts, python: Path) -> Iterator[Site]:
    """A Site whose index has nothing yet; all of it goes at the end."""
    outer = Path(tempfile.mkdtemp(prefix="pip-sharedcache-", dir=environments.public_directory()))
    outer.chmod(0o755)
    try:
        # In memory: each publication syncs the whole file system it is on, busy disks included.
        with mounted("tmpfs", outer, size_mb=1024) as base:
            for account in (accounts.usera, accounts.userb, accounts.userc):
                home_of(account, base)
            wheels = base / "wheels"
            wheels.mkdir()
            template = environments.make_environment(base / "template", python=python)
            with LocalIndex(wheels) as index:
                try:
                    yield Site(base, accounts, index, template)
                finally:
                    stop_all()
    finally:
        remove_tree(outer)


def rich_wheel(directory: Path, name: str, version: str = "1.0", requires: str = "") -> Path:
    """A small wheel with a file of every kind: programs, scripts, data, an empty file."""
    data = f"{name}-{version}.data"
    return make_wheel(
        directory,
        name,
        version,
        files={
            f"{name}/__init__.py": f'__version__ = "{version}"\n\n\ndef main():\n    print("hi")\n',
            f"{name}/empty.py": "",
            f"{name}/deep/er/__init__.py": f"NAME = {name!r}\n",
            f"{name}/data.txt": f"{name} {version}\n" * 50,
            f"{name}/bin/tool": "#!/bin/sh\necho tool\n",
            f"{data}/scripts/{name}-script": "#!python\nprint('script')\n",
            f"{data}/data/share/{name}/notes.txt": f"notes of {name} {version}\n",
        },
        executables=[f"{name}/bin/tool", f"{data}/scripts/{name}-script"],
        entry_points=f"[console_scripts]\n{name} = {name}:main\n",
        requires=[requires] if requires else [],
    )


def entries(store: Path) -> list[Path]:
    """The visible entries of a store; anything else in its shards is an error."""
    found = sorted((store / "wheels").glob("*/*")) + sorted((store / "wheels").glob("*/.*"))
    assert not [path for path in found if path.name.startswith(".")], "left over in a shard"
    return found


def entry_of(store: Path, wheel: str) -> Path:
    """The one entry that has the wheel whose file name starts so."""
    (found,) = [entry for entry in entries(store) if any(entry.glob(f"{wheel}-*.whl"))]
    return found


@pytest.fixture(scope="module")
def site(accounts: Accounts, public_python: Path) -> Iterator[Site]:
    with running_site(accounts, public_python) as found:
        rich_wheel(found.wheels, "alpha", requires="beta")
        rich_wheel(found.wheels, "beta")
        rich_wheel(found.wheels, OTHER)
        yield found


class Published:
    """Stores in which usera has published what is shared, at some umask; made when asked for."""

    def __init__(self, site: Site) -> None:
        self._site = site
        self._stores: dict[tuple[str, str, int], Path] = {}

    def __call__(self, maker: str, default_acl: str, umask: int) -> Path:
        key = (maker, default_acl, umask)
        if key not in self._stores:
            site = self._site
            store = site.make_store(site.account(maker), umask=umask, default_acl=default_acl)
            usera = site.accounts.usera
            environment = site.environment(usera)
            site.install(usera, environment, store, "--no-compile", "alpha", umask=umask)
            expected = site.plain_tree(umask, "--no-compile", "alpha")
            assert differences(expected, snapshot(environment.prefix)) == []
            assert {entry.stat().st_uid for entry in entries(store)} == {usera.uid}
            assert len(entries(store)) == len(SHARED)
            self._stores[key] = store
        return self._stores[key]


@pytest.fixture(scope="module")
def published(site: Site) -> Published:
    return Published(site)


@contextmanager
def access(store: Path, way: str) -> Iterator[Path]:
    """The store as userb meets it."""
    if way == "read-only-mount":
        with read_only(store, store.parent / "view") as view:
            yield view
        return
    shards = [*(store / "wheels").iterdir(), store / "use"]
    if way == "read-only-mode":
        for shard in shards:
            shard.chmod(0o2755)
    try:
        yield store
    finally:
        if way == "read-only-mode":
            for shard in shards:
                shard.chmod(0o3775)


def owners(prefix: Path) -> set[tuple[int, int]]:
    """(uid, gid) of all that is at and below a directory."""
    return {(status.uid, status.gid) for status in inodes(prefix).values()}


def _octal(umask: int) -> str:
    return f"{umask:03o}"


makers = pytest.mark.parametrize("maker", ["root", "usera"], ids=["root-store", "usera-store"])
parents = pytest.mark.parametrize("default_acl", ["", DEFAULT_ACL], ids=["no-acl", "default-acl"])


@makers
@parents
@pytest.mark.parametrize("first_umask", UMASKS, ids=lambda mask: f"first-{mask:03o}")
@pytest.mark.parametrize("second_umask", UMASKS, ids=lambda mask: f"second-{mask:03o}")
@pytest.mark.parametrize("way", ["writable", "read-only-mode", "read-only-mount"])
@pytest.mark.product
def test_second_user_downloads_nothing_and_changes_nothing_foreign(
    site: Site,
    published: Published,
    maker: str,
    default_acl: str,
    first_umask: int,
    second_umask: int,
    way: str,
) -> None:
    store = published(maker, default_acl, first_umask)
    userb = site.accounts.userb
    environment = site.environment(userb)
    expected = site.plain_tree(second_umask, "--no-compile", "alpha", OTHER)
    with access(store, way) as seen:
        before = inodes(store)
        site.index.clear()
        said = site.install(
            userb, environment, seen, "--no-compile", "alpha", OTHER, umask=second_umask
        )
        after = inodes(store)
        requested = {name: site.index.wheel_requests(name) for name in (*SHARED, OTHER)}
        new = [entry for entry in entries(store) if str(entry) not in before]
    try:
        assert requested["alpha"] == requested["beta"] == []
        assert len(requested[OTHER]) == 1
        assert f"2 of 3 distributions from {seen}" in said
        assert foreign_changes(before, after, userb.uid) == []
        if way == "writable":
            assert [entry.stat().st_uid for entry in new] == [userb.uid]
            assert "1 added to it" in said
            assert_sealed(new[0])
        else:
            # What is his own he may write to where others have taken the right to publish away.
            own = f"{store}/use/{userb.uid}" if way == "read-only-mode" else "\0"
            assert [
                path for path in after if after[path] != before.get(path) and own not in path
            ] == []
            assert before.keys() <= after.keys()
            assert "1 installed by pip alone: you may not write the store" in said
        assert differences(expected, snapshot(environment.prefix)) == []
        assert owners(environment.prefix) == {(userb.uid, userb.gid)}
    finally:
        for entry in new:
            shutil.rmtree(entry)


@pytest.mark.parametrize("umask", UMASKS, ids=_octal)
def test_second_user_has_pips_bytecode(site: Site, published: Published, umask: int) -> None:
    store = published("root", "", 0o077)
    userb = site.accounts.userb
    environment = site.environment(userb)
    before = inodes(store)
    site.install(userb, environment, store, "alpha", umask=umask)
    assert foreign_changes(before, inodes(store), userb.uid) == []
    expected = site.plain_tree(umask, "alpha")
    assert any(node.kind == "bytecode" for node in expected.values())
    assert differences(expected, snapshot(environment.prefix)) == []
    assert owners(environment.prefix) == {(userb.uid, userb.gid)}


@makers
@parents
@pytest.mark.parametrize("umask", UMASKS, ids=_octal)
def test_store_has_its_modes_whatever_the_umask(
    site: Site, published: Published, maker: str, default_acl: str, umask: int
) -> None:
    store = published(maker, default_acl, umask)
    account = site.account(maker)
    uid, gid = (account.uid if account else 0), site.accounts.group_gid
    assert _seen(store) == (0o2755, uid, gid)
    assert _seen(store / "wheels") == (0o2755, uid, gid)
    shards = list((store / "wheels").iterdir())
    assert len(shards) == 256
    assert {_seen(shard) for shard in shards} == {(0o3775, uid, gid)}
    for name in ("store.json", "CACHEDIR.TAG"):
        assert _seen(store / name)[:2] == (0o644, uid)
    for entry in entries(store):
        assert_sealed(entry)
    for path in inodes(store):
        assert not set(os.listxattr(path)) & {"system.posix_acl_access", "system.posix_acl_default"}


def assert_sealed(entry: Path) -> None:
    """Everybody may read the entry, nobody may write it; programs are executable."""
    for path, status in inodes(entry).items():
        if status.kind == stat.S_IFDIR or path.endswith(("/bin/tool", "-script")):
            assert oct(status.mode) == oct(0o555), path
        else:
            assert status.kind == stat.S_IFREG, path
            assert oct(status.mode) == oct(0o444), path


def _seen(path: Path) -> tuple[int, int, int]:
    status = path.lstat()
    return stat.S_IMODE(status.st_mode), status.st_uid, status.st_gid


@makers
@parents
@pytest.mark.parametrize("first_umask", UMASKS, ids=_octal)
def test_outsider_installs_and_adds_nothing(
    site: Site, published: Published, maker: str, default_acl: str, first_umask: int
) -> None:
    store = published(maker, default_acl, first_umask)
    userc = site.accounts.userc
    environment = site.environment(userc)
    before = inodes(store)
    site.index.clear()
    said = site.install(userc, environment, store, "--no-compile", "alpha", OTHER)
    assert inodes(store) == before
    assert site.index.wheel_requests("alpha") == site.index.wheel_requests("beta") == []
    assert "1 installed by pip alone: you may not write the store" in said
    expected = site.plain_tree(0o022, "--no-compile", "alpha", OTHER)
    assert differences(expected, snapshot(environment.prefix)) == []
    assert owners(environment.prefix) == {(userc.uid, userc.gid)}


@makers
def test_root_takes_a_checked_copy_of_what_a_member_published(
    site: Site, published: Published, maker: str
) -> None:
    store = published(maker, "", 0o022)
    environment = site.environment(None)
    before = inodes(store)
    site.index.clear()
    said = site.install(None, environment, store, "--no-compile", "alpha")
    assert site.index.wheel_requests() == []
    assert ("Using a checked copy" in said) == (maker == "root")
    assert foreign_changes(before, inodes(store), 0) == []
    expected = site.plain_tree(0o022, "--no-compile", "alpha")
    assert differences(expected, snapshot(environment.prefix)) == []
    for entry in entries(store):
        if str(entry) not in before:
            shutil.rmtree(entry)


def test_member_cannot_remove_or_replace_a_colleagues_entry(
    site: Site, published: Published
) -> None:
    """What the sticky shards are for: the checks above would mean little without it."""
    store = published("root", "", 0o002)
    entry = entry_of(store, "alpha")
    for command in (["rm", "-rf", entry], ["mv", entry, f"{entry}.away"], ["chmod", "755", entry]):
        assert run_as(site.accounts.userb, command).returncode != 0
    assert entry.is_dir()
    assert_sealed(entry)
