"""What a test on several hosts works with: clients, a place on the export, and our command."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from support.accounts import Account, Argument
from support.cluster import Cluster, GuestIndex, Version
from support.environments import Environment
from support.hosts import ACCOUNTS, GUEST, PYTHON, Host, Running
from support.plain import node_from_json
from support.trees import Node, differences
from support.wheels import digest, make_wheel

#: Patterns in a shard: an entry that is being made, one that is visible.
STAGING, VISIBLE = ".new-*", "[0-9a-f]*"


@dataclass(frozen=True)
class Site:
    """Both clients with the export mounted, and ``area``: a new directory there, of usera and the
    group, in which each test has its store and environments."""

    cluster: Cluster
    installer: Environment
    version: Version
    area: Path
    wheels: Path
    _indexes: dict[str, GuestIndex] = field(default_factory=dict)

    @property
    def clients(self) -> tuple[Host, Host]:
        """The two clients."""
        first, second = self.cluster.clients
        return first, second

    def index(self, host: Host) -> GuestIndex:
        """The index of a host, which has the wheels of the test."""
        known = self._indexes.get(host.name)
        if known is None or not known.is_running():
            known = self._indexes[host.name] = GuestIndex(host, self.wheels)
        return known

    def stop(self) -> None:
        """End the indexes."""
        for index in self._indexes.values():
            index.stop()

    @property
    def store(self) -> Path:
        """The path of the test's store on the clients."""
        return self.area / "store"

    def make_wheels(self) -> None:
        """Three wheels of many modules each: enough to be in the middle.

        MooseFS takes ten times as long for a file.
        """
        modules = 30 if self.version == "moosefs" else 150
        for name, requires in (("demo", ["left", "right"]), ("left", []), ("right", [])):
            files = {f"{name}/module{n}.py": f"VALUE = {n}\n" * 20 for n in range(modules)}
            files[f"{name}/__init__.py"] = ""
            make_wheel(self.wheels, name, files=files, requires=requires)

    def wait_for_shard(self, pattern: str) -> None:
        """Wait until the shard of one of the wheels has such a name, which the server sees at once.

        Those of other wheels are not looked at: by FUSE, all 256 take a second.
        """
        shards = {digest(path)[:2] for path in self.wheels.glob("*.whl")}
        _wait_for(
            self.cluster.server, *(f"{self.store}/wheels/{shard}/{pattern}" for shard in shards)
        )

    def wait_for_staging(self) -> None:
        """Wait until an entry is being made."""
        self.wait_for_shard(STAGING)

    def init(
        self,
        host: Host,
        account: Account | None,
        layout: str,
        *options: Argument,
        umask: int = 0o022,
    ) -> str:
        """Make the store of the test for the group, and return what was said."""
        group = ["--group", ACCOUNTS.group, "--layout", layout]
        done = self.run(host, account, "store", "init", *group, *options, self.store, umask=umask)
        return done.stdout + done.stderr

    def ours(self, *args: Argument) -> list[str]:
        """argv that runs our command."""
        return self.installer.command(*args)

    def run(
        self,
        host: Host,
        account: Account | None,
        *args: Argument,
        check: bool = True,
        umask: int = 0o022,
        timeout: float = 600,
        **variables: str | None,
    ) -> subprocess.CompletedProcess[str]:
        """Run our command, with the store of the test."""
        env = {"PIP_SHAREDCACHE_DIR": str(self.store), **variables}
        return host.run(
            self.ours(*args), account, umask=umask, env=env, check=check, timeout=timeout
        )

    def environment(
        self, host: Host, account: Account | None, name: str, umask: int = 0o022
    ) -> Path:
        """Make a virtual environment on the export, and give its path."""
        path = self.area / name
        # A prompt of its own would make each environment's activation scripts different.
        command = [PYTHON, "-m", "venv", "--without-pip", "--prompt", "test", str(path)]
        host.run(command, account, umask=umask)
        return path

    def start(
        self,
        host: Host,
        account: Account | None,
        environment: Path,
        *what: str,
        umask: int = 0o022,
        **others: str | None,
    ) -> Running:
        """Start an installation with our command."""
        python = environment / "bin" / "python"
        command = self.ours("--python", python, "install", *what)
        variables = {
            "PIP_SHAREDCACHE_DIR": str(self.store),
            **self.index(host).variables,
            **others,
        }
        return host.launch(command, account, umask=umask, env=variables)

    def install(
        self,
        host: Host,
        account: Account | None,
        environment: Path,
        *what: str,
        umask: int = 0o022,
        **others: str | None,
    ) -> str:
        """Install, which must succeed, and return both outputs."""
        running = self.start(host, account, environment, *what, umask=umask, **others)
        done = running.wait()
        text = done.stdout + done.stderr
        assert done.returncode == 0, text
        return text

    def plain(
        self,
        host: Host,
        account: Account | None,
        environment: Path,
        *what: str,
        umask: int = 0o022,
    ) -> dict[str, Node]:
        """Install with plain pip, and return what it made of the environment."""
        python = environment / "bin" / "python"
        command = self.installer.plain("--python", python, "install", "--no-cache-dir", *what)
        host.run(command, account, umask=umask, env=self.index(host).variables)
        return self.tree(environment)

    def tree(self, environment: Path) -> dict[str, Node]:
        """What lies in an environment on the export, as the server has it."""
        program = Path(__file__).parent / "guest" / "tree.py"
        found = self.cluster.server.run([PYTHON, program, environment]).stdout
        return {path: node_from_json(node) for path, node in json.loads(found).items()}

    def resolve_links(self, *names: str) -> None:
        """Put a file in place of each link in environments of the test, all with the same mode."""
        script = """
            cp -rL --preserve=timestamps "$1" "$1.new"
            chmod -R u=rwX,go=rX "$1.new"
            rm -rf "$1"
            mv "$1.new" "$1"
        """
        for name in names:
            self.cluster.server.sh(script, self.area / name)

    def differences(self, expected: Mapping[str, Node], *names: str) -> list[str]:
        """What environments of the test have that differs from what is expected of them."""
        return [
            f"{name}/{line}"
            for name in names
            for line in differences(expected, self.tree(self.area / name))
        ]


def wait_for_files(host: Host, environment: Path) -> None:
    """Wait until a host sees the first modules of ``Site.make_wheels`` in an environment."""
    _wait_for(host, f"{environment}/lib/python3*/site-packages/*/module1*.py")


def _wait_for(host: Host, *patterns: str) -> None:
    # One process: a shell would start another one for each pause, which costs a host 10 ms.
    program = """if True:
        import glob, sys, time
        end = time.monotonic() + 300
        while not any(map(glob.glob, sys.argv[1:])):
            if time.monotonic() > end:
                sys.exit("none of these: " + " ".join(sys.argv[1:]))
            time.sleep(0.005)
    """
    host.run([PYTHON, "-I", "-S", "-c", program, *patterns])


def local_environment(host: Host, account: Account, name: str) -> Path:
    """Make an environment that is not on the export."""
    path = Path("/home", account.name, name)
    # One of an earlier test may be there.
    host.run([PYTHON, "-m", "venv", "--clear", "--without-pip", "--prompt", "test", path], account)
    return path


def local_tree(host: Host, environment: Path) -> dict[str, Node]:
    """What lies in such an environment."""
    found = host.run([PYTHON, GUEST / "tree.py", environment]).stdout
    return {path: node_from_json(node) for path, node in json.loads(found).items()}


def plain_tree(site: Site, host: Host, account: Account) -> dict[str, Node]:
    """What plain pip makes of one."""
    environment = local_environment(host, account, "plain")
    python = environment / "bin" / "python"
    command = site.installer.plain("--python", python, "install", "--no-cache-dir", "demo")
    host.run(command, account, env=site.index(host).variables)
    return local_tree(host, environment)
