"""What this machine can do: each probe gives None, or the reason why a test cannot run."""

from __future__ import annotations

import functools
import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path

import pytest

from support import SESSION_ENVIRONMENT
from support.environments import interpreters
from support.filesystems import Kind, MountError, limit, mounted, overlaid, read_only

Probe = Callable[[], "str | None"]

_strict = SESSION_ENVIRONMENT.get("PIP_SHAREDCACHE_TESTS_STRICT", "") not in ("", "0")


def set_strict(strict: bool) -> None:
    """Whether a missing capability fails a test instead of skipping it."""
    global _strict
    _strict = strict


def needs(*probes: Probe) -> pytest.MarkDecorator:
    """A mark, for tests, classes or `pytestmark`: skips with the reason of the first that fails.

    The probes run when the first such test is about to start, not at collection.
    """
    return pytest.mark.needs.with_args(*probes)


def require(*probes: Probe) -> None:
    """The same from within a test or a fixture."""
    for probe in probes:
        reason = probe()
        if reason is None:
            continue
        if _strict:
            pytest.fail(f"missing capability: {reason}", pytrace=False)
        pytest.skip(reason)


@functools.cache
def linux() -> str | None:
    """Linux."""
    return None if sys.platform == "linux" else f"needs Linux, this is {sys.platform}"


@functools.cache
def root() -> str | None:
    """The tests run as root."""
    if not hasattr(os, "geteuid"):
        return "needs root, this system has none"
    return None if os.geteuid() == 0 else "needs root"


@functools.cache
def setpriv() -> str | None:
    """Commands can be run as another user."""
    reason = linux() or root() or _program("setpriv")
    if reason:
        return reason
    identity = ["--reuid=65534", "--regid=65534", "--clear-groups"]
    return _works(["setpriv", *identity, "--", "true"])


@functools.cache
def accounts() -> str | None:
    """Users and groups can be made, and commands run as them."""
    reason = setpriv()
    for program in ("useradd", "usermod", "groupadd", "gpasswd"):
        reason = reason or _program(program)
    return reason


@functools.cache
def strace() -> str | None:
    """System calls can be traced."""
    return linux() or _program("strace") or _works(["strace", "-f", "-o", os.devnull, "true"])


@functools.cache
def fakeroot() -> str | None:
    """Programs can be run under fakeroot."""
    return linux() or _program("fakeroot") or _works(["fakeroot", "true"])


@functools.cache
def proot() -> str | None:
    """Programs can be run under proot."""
    return linux() or _program("proot") or _works(["proot", "true"])


@functools.cache
def compiler() -> str | None:
    """Shared libraries can be compiled."""
    return linux() or _program("cc")


@functools.cache
def acl() -> str | None:
    """POSIX access control lists can be set where temporary files are."""
    reason = linux() or _program("setfacl") or _program("getfacl")
    if reason:
        return reason
    with tempfile.TemporaryDirectory() as directory:
        return _works(["setfacl", "-d", "-m", "g::r-x", directory])


@functools.cache
def setcap() -> str | None:
    """Programs can be given capabilities."""
    return linux() or root() or _program("setcap")


@functools.cache
def tmpfs() -> str | None:
    """File systems in memory can be mounted."""
    return _mounts("tmpfs", 8)


@functools.cache
def loop_mounts() -> str | None:
    """Images of file systems can be mounted."""
    return _mounts("ext4", 16)


@functools.cache
def shells() -> str | None:
    """Reason against tests that run other people's shells."""
    missing = [name for name in ("bash", "dash", "zsh", "fish", "tcsh") if not shutil.which(name)]
    return f"{', '.join(missing)} not installed" if missing else None


def sudo() -> str | None:
    """sudo."""
    return None if shutil.which("sudo") else "sudo not installed"


def groff() -> str | None:
    """What formats manual pages."""
    return _program("groff")


def openssl() -> str | None:
    """What makes certificates."""
    return _program("openssl")


@functools.cache
def openssh() -> str | None:
    """Signatures can be made, with keys of files and of an agent."""
    return _program("ssh-keygen") or _program("ssh-agent") or _program("ssh-add")


def chromium() -> str | None:
    """A browser that can be run without a screen."""
    return _program("chromium")


def environment_modules() -> str | None:
    """Environment Modules."""
    there = Path("/usr/share/modules/init/bash").exists()
    return None if there else "environment-modules not installed"


def xfs() -> str | None:
    """xfs with reflinks can be mounted."""
    return _mounts("xfs", 320)


@functools.cache
def btrfs() -> str | None:
    """btrfs can be mounted."""
    return _mounts("btrfs", 160)


@functools.cache
def quotas() -> str | None:
    """A file system can be given a quota: btrfs, the one that needs no kernel option for it."""
    reason = btrfs() or _program("btrfs")
    if reason:
        return reason
    with tempfile.TemporaryDirectory() as directory:
        try:
            with mounted("btrfs", Path(directory), size_mb=160) as place:
                limit(place, 16)
                return None
        except MountError as error:
            return f"no quotas: {error}"


@functools.cache
def reflink() -> str | None:
    """Some file system with reflinks can be mounted."""
    reason = xfs()
    return reason and btrfs() and f"no file system with reflinks: {reason}"


@functools.cache
def fuse() -> str | None:
    """File systems that a process answers for can be mounted."""
    return linux() or root() or (None if os.path.exists("/dev/fuse") else "no /dev/fuse here")


@functools.cache
def autofs() -> str | None:
    """The kernel has an automounter."""
    known = Path("/proc/filesystems")
    there = known.exists() and "\tautofs\n" in known.read_text()
    return linux() or root() or (None if there else "this kernel has no autofs")


@functools.cache
def bind_mounts() -> str | None:
    """A directory can be shown read-only at another place."""
    reason = linux() or root() or _program("mount")
    if reason:
        return reason
    with tempfile.TemporaryDirectory() as directory:
        try:
            with read_only(Path(directory), Path(directory, "view")):
                return None
        except MountError as error:
            return f"no bind mounts: {error}"


@functools.cache
def overlays() -> str | None:
    """A directory can be shown with a layer above it for changes (overlayfs)."""
    reason = tmpfs()
    if reason:
        return reason
    with tempfile.TemporaryDirectory() as directory:
        try:
            # An overlay cannot have its upper layer on another one, as / is in a container.
            with mounted("tmpfs", Path(directory)) as above, overlaid(Path(directory), above):
                return None
        except MountError as error:
            return f"no overlays: {error}"


@functools.cache
def rootless_overlays() -> str | None:
    """Users can have namespaces with several users in them, and overlays there (fuse-overlayfs)."""
    reason = fuse() or accounts() or _program("fuse-overlayfs") or _program("newuidmap")
    return reason or _works(["unshare", "--map-root-user", "--mount", "true"])


@functools.cache
def protected_hardlinks() -> str | None:
    """The kernel refuses links to files of others."""
    setting = Path("/proc/sys/fs/protected_hardlinks")
    if not setting.exists():
        return "needs fs.protected_hardlinks, this kernel has no such setting"
    return None if setting.read_text().strip() == "1" else "fs.protected_hardlinks is off"


@functools.cache
def index() -> str | None:
    """The package index can be reached."""
    options = ["--no-input", "--disable-pip-version-check", "--retries", "1", "--timeout", "15"]
    command = [sys.executable, "-m", "pip", *options, "index", "versions", "wrapt"]
    try:
        done = subprocess.run(
            command, capture_output=True, text=True, env=SESSION_ENVIRONMENT, timeout=90
        )
    except subprocess.TimeoutExpired:
        return "the package index does not answer"
    if done.returncode:
        last = (done.stderr.strip().splitlines() or ["no message"])[-1]
        return f"the package index cannot be reached: {last}"
    return None


@functools.cache
def python(version: str) -> Probe:
    """A probe for an interpreter: needs(python("3.9"))."""

    def available() -> str | None:
        return None if version in interpreters() else f"no Python {version} here"

    return available


def _program(name: str) -> str | None:
    return None if shutil.which(name) else f"{name} is not installed"


def _works(command: list[str]) -> str | None:
    done = subprocess.run(command, capture_output=True, text=True)
    if done.returncode == 0:
        return None
    return f"{command[0]} does not work here: {done.stderr.strip() or done.returncode}"


def _mounts(kind: Kind, size_mb: int) -> str | None:
    reason = linux() or root() or _program("mount")
    if reason is None and kind != "tmpfs":
        reason = _program(f"mkfs.{kind}")
    if reason:
        return reason
    with tempfile.TemporaryDirectory() as directory:
        try:
            with mounted(kind, Path(directory), size_mb=size_mb):
                return None
        except MountError as error:
            return f"{kind} cannot be mounted: {error}"
