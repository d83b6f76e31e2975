"""Machines that have a remote store in common, and nothing else."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from pip_sharedcache.model import Digest
from support.accounts import run_as
from support.environments import Environment
from support.object_server import SECRETS
from support.trees import snapshot

#: The wheels of the fixture ``wheels``; fewer than that need no head start.
FIVE = ("one", "two", "three", "four", "five")
#: The key of the build record of the fixture ``full``.
BUILD_KEY = Digest("d" * 64)


@dataclass
class Machine:
    """A machine with a store of its own, which has a remote store in common with others.

    outputs: what all commands printed.
    """

    environment: Environment
    store: Path
    home: Path
    variables: dict[str, str | None]
    outputs: list[str] = field(default_factory=list)

    @property
    def remote(self) -> str:
        """The lines of the setting dir after the store."""
        return str(self.variables["PIP_SHAREDCACHE_DIR"]).partition("\n")[2]

    def name_remote(self, *lines: str) -> None:
        """Let the setting dir have the store, and these lines."""
        self.variables["PIP_SHAREDCACHE_DIR"] = "\n".join([str(self.store), *lines])

    def run(
        self, *arguments: str | Path, **variables: str | None
    ) -> subprocess.CompletedProcess[str]:
        """Run our command; it must succeed."""
        done = self.attempt(*arguments, **variables)
        assert done.returncode == 0, done.stdout + done.stderr
        return done

    def attempt(
        self, *arguments: str | Path, **variables: str | None
    ) -> subprocess.CompletedProcess[str]:
        """Run our command."""
        log = self.home / "pip.log"
        env = {**self.variables, "PIP_LOG": str(log), **variables}
        done = run_as(None, self.environment.command(*arguments), env=env)
        self.outputs += [done.stdout, done.stderr]
        if log.exists():
            self.outputs.append(log.read_text(encoding="utf-8", errors="replace"))
        return done

    def told(self, *arguments: str, status: int = 0) -> Any:
        """Return the JSON result of a store command for the only remote store."""
        done = self.attempt("store", *arguments, "--json")
        assert done.returncode == status, done.stdout + done.stderr
        (remote,) = json.loads(done.stdout)["remotes"]
        return remote

    def python(self, *arguments: str) -> subprocess.CompletedProcess[str]:
        """Run the interpreter of the environment; it must succeed."""
        return run_as(None, [str(self.environment.python), *arguments], check=True)

    def installed(self, *names: str) -> dict[str, Any]:
        """What is in the environment's site-packages of these distributions."""
        found = snapshot(self.environment.site_packages)
        of_one = tuple(f"{name}{end}" for name in names for end in ("/", "-"))
        return {path: node for path, node in found.items() if path.startswith(of_one)}

    def check_no_secrets(self) -> None:
        """No credentials are in any output, nor in the store, nor at home."""
        texts = {"output": "\n".join(self.outputs).encode()}
        for top in (self.store, self.home):
            for path in top.rglob("*"):
                if path.is_file() and not path.is_symlink():
                    texts[str(path)] = path.read_bytes()
        for secret in SECRETS.values():
            found = [name for name, text in texts.items() if secret.encode() in text]
            assert not found, secret


MachineFactory = Callable[..., Machine]
SigningFactory = Callable[..., Machine]
