"""Seen from outside, by the system calls that are made: no inode of somebody else is changed."""

from __future__ import annotations

import ast
import os
import re
import shlex
import stat
import subprocess
import textwrap
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import pytest

from multiuser.test_shared_store import Site, entry_of, rich_wheel, running_site
from support import probes
from support.accounts import Account, Accounts, run_as
from support.environments import Environment
from support.trees import differences, snapshot

pytestmark = [
    pytest.mark.multiuser,
    pytest.mark.strace,
    probes.needs(probes.accounts, probes.strace, probes.tmpfs),
]

# -- the system calls that change an inode: where the path is (with its directory), the descriptor

_BY_PATH = {
    "chmod": (None, 0),
    "chown": (None, 0),
    "lchown": (None, 0),
    "utime": (None, 0),
    "utimes": (None, 0),
    "truncate": (None, 0),
    "setxattr": (None, 0),
    "lsetxattr": (None, 0),
    "removexattr": (None, 0),
    "lremovexattr": (None, 0),
    "fchmodat": (0, 1),
    "fchmodat2": (0, 1),
    "fchownat": (0, 1),
    "futimesat": (0, 1),
    "utimensat": (0, 1),
}
_BY_DESCRIPTOR = ("fchmod", "fchown", "ftruncate", "fallocate", "fsetxattr", "fremovexattr")
_OPENS = {"open": (None, 0), "creat": (None, 0), "openat": (0, 1), "openat2": (0, 1)}
_NOT_THROUGH_LINKS = ("lchown", "lsetxattr", "lremovexattr")
_NAMES = (
    *("link", "linkat", "symlink", "symlinkat", "rename", "renameat", "renameat2"),
    *("unlink", "unlinkat", "rmdir", "mkdir", "mkdirat", "mknod", "mknodat"),
)
_PROCESSES = ("chdir", "fchdir", "clone", "clone3", "fork", "vfork")
_TRACED = ",".join(
    f"?{call}" for call in (*_BY_PATH, *_BY_DESCRIPTOR, *_OPENS, *_NAMES, *_PROCESSES)
)
_CALL = re.compile(r"(?P<name>\w+)\((?P<arguments>.*)\)\s+= (?P<result>-?\d+|\?)")
#: The new descriptor at the end of a call that opened something.
_OPENED = re.compile(r"= (?P<descriptor>(?P<number>\d+)<.*>(?:\(deleted\))?)$")
#: A held directory, by the number of its descriptor.
_BY_NUMBER = re.compile(r"/proc/(?P<pid>\d+)/fd/(?P<number>\d+)(?=/|$)")
_DESCRIPTOR = re.compile(r"(?:\d+|AT_FDCWD)<(?P<path>.*?)>(?P<deleted>\(deleted\))?$")


@dataclass(frozen=True)
class Inode:
    """A file, directory or link; those that are made while we watch have no owner yet."""

    number: int
    kind: str
    owner: int | None
    target: str = ""


class Names:
    """Which name below some directories leads to which inode: as they were, then as system calls
    change them. What lies elsewhere is looked at when asked for."""

    def __init__(self, *tops: Path) -> None:
        self._tops = [os.path.realpath(top) for top in tops]
        self._known: dict[str, Inode] = {}
        self._gone: dict[str, Inode] = {}
        self._next = -1
        for top in self._tops:
            for directory, below, files in os.walk(top):
                for name in (".", *below, *files):
                    path = os.path.normpath(os.path.join(directory, name))
                    self._known[path] = _inode_at(path)

    def resolve(self, path: str, *, follow: bool = True, depth: int = 0) -> str:
        """An absolute path without links and dots (follow: the last component's link, too)."""
        if depth > 40:
            return path
        parts = [part for part in path.split("/") if part not in ("", ".")]
        done = ""
        for position, part in enumerate(parts):
            if part == "..":
                done = os.path.dirname(done)
                continue
            done = f"{done}/{part}"
            inode = self.at(done)
            last = position == len(parts) - 1
            if inode is not None and inode.kind == "link" and (follow or not last):
                rest = "/".join(parts[position + 1 :])
                target = os.path.join(os.path.dirname(done), inode.target, rest)
                return self.resolve(target, follow=follow, depth=depth + 1)
        return done or "/"

    def at(self, path: str, *, deleted: bool = False) -> Inode | None:
        """The inode at a resolved path; deleted: the one that was there before it was unlinked."""
        if deleted:
            return self._gone.get(path)
        if self._watches(path):
            return self._known.get(path)
        try:
            return _inode_at(path)
        except OSError:
            return None

    def make(self, path: str, kind: str, target: str = "") -> None:
        """Something new appears."""
        if self._watches(path) and path not in self._known:
            self._known[path] = Inode(self._next, kind, None, target)
            self._next -= 1

    def link(self, old: str, new: str) -> None:
        inode = self.at(old)
        if inode is not None and self._watches(new):
            self._known[new] = inode

    def remove(self, path: str) -> None:
        for below in self._below(path):
            self._gone[below] = self._known.pop(below)

    def rename(self, old: str, new: str) -> None:
        if old == new:
            return
        self.remove(new)
        for below in self._below(old):
            self._known[new + below[len(old) :]] = self._known.pop(below)

    def _below(self, path: str) -> list[str]:
        return [name for name in self._known if name == path or name.startswith(path + "/")]

    def _watches(self, path: str) -> bool:
        return any(path == top or path.startswith(top + "/") for top in self._tops)


def _inode_at(path: str) -> Inode:
    status = os.lstat(path)
    kinds = {stat.S_IFREG: "file", stat.S_IFDIR: "directory", stat.S_IFLNK: "link"}
    kind = kinds.get(stat.S_IFMT(status.st_mode), "special")
    target = os.readlink(path) if kind == "link" else ""
    return Inode(status.st_ino, kind, status.st_uid, target)


class Watcher:
    """Reads a trace, and notes each attempt to change an inode that was there and is not uid's."""

    def __init__(self, names: Names, uid: int, cwd: str) -> None:
        self.names = names
        self.violations: list[str] = []
        self.seen = 0
        self._uid = uid
        self._cwd: dict[str, str] = {}
        self._opened: dict[tuple[str, str], str] = {}
        self._first_cwd = cwd
        self._starting: str | None = None
        self._last = ""

    def read(self, trace: str) -> None:
        unfinished: dict[str, str] = {}
        for line in trace.splitlines():
            pid, _, text = line.partition(" ")
            text = text.strip()
            if pid not in self._cwd:
                self._cwd[pid] = self._cwd.get(self._starting or self._last, self._first_cwd)
            if text.endswith("<unfinished ...>"):
                unfinished[pid] = text[: -len("<unfinished ...>")].rstrip()
                if text.startswith(("clone", "fork", "vfork")):
                    self._starting = pid
                continue
            if text.startswith("<... "):
                text = unfinished.pop(pid) + text.partition("resumed>")[2]
            self._last = pid
            match = _CALL.match(text)
            if match is not None:
                self.seen += 1
                arguments = _split(match["arguments"])
                done = match["result"] not in ("?",) and int(match["result"]) >= 0
                self._take(pid, match["name"], arguments, done, text)

    def _take(self, pid: str, name: str, arguments: list[str], done: bool, text: str) -> None:
        if name in _BY_PATH:
            directory, path = _BY_PATH[name]
            follow = name not in _NOT_THROUGH_LINKS and "AT_SYMLINK_NOFOLLOW" not in text
            self._check(self._inode(pid, arguments, directory, path, follow=follow), text)
        elif name in _BY_DESCRIPTOR:
            self._check(self._of_descriptor(arguments[0]), text)
        elif name in _OPENS:
            self._take_open(pid, name, arguments, done, text)
        elif name in _NAMES and done:
            self._take_names(pid, name, arguments, text)
        elif name == "chdir" and done:
            self._cwd[pid] = self.names.resolve(self._path(pid, arguments, None, 0))
        elif name == "fchdir" and done:
            self._cwd[pid] = _path_of_descriptor(arguments[0])[0]

    def _take_open(self, pid: str, name: str, arguments: list[str], done: bool, text: str) -> None:
        directory, path = _OPENS[name]
        opened = _OPENED.search(text)
        if opened is not None:
            self._opened[pid, opened["number"]] = _path_of_descriptor(opened["descriptor"])[0]
        flags = "O_WRONLY|O_CREAT|O_TRUNC" if name == "creat" else arguments[path + 1]
        words = set(re.findall(r"O_\w+", flags))
        if not words & {"O_WRONLY", "O_RDWR", "O_TRUNC", "O_CREAT"} or "__O_TMPFILE" in words:
            return
        if "O_TMPFILE" in words:
            return
        follow = "O_NOFOLLOW" not in words and not {"O_CREAT", "O_EXCL"} <= words
        place = self.names.resolve(self._path(pid, arguments, directory, path), follow=follow)
        inode = self.names.at(place)
        if inode is None:
            if done and "O_CREAT" in words:
                self.names.make(place, "file")
        elif not {"O_CREAT", "O_EXCL"} <= words and words & {"O_WRONLY", "O_RDWR", "O_TRUNC"}:
            self._check(inode, text)

    def _take_names(self, pid: str, name: str, arguments: list[str], text: str) -> None:
        at = name.endswith(("at", "at2"))

        def place(directory: int, path: int, follow: bool = False) -> str:
            plain = self._path(pid, arguments, directory if at else None, path)
            return self.names.resolve(plain, follow=follow)

        if name.startswith("link"):
            old = place(0, 1, "AT_SYMLINK_FOLLOW" in text) if at else place(0, 0)
            self.names.link(old, place(2, 3) if at else place(0, 1))
        elif name.startswith("symlink"):
            target = _text(arguments[0])
            self.names.make(place(1, 2) if at else place(0, 1), "link", target)
        elif name.startswith("rename"):
            old = place(0, 1) if at else place(0, 0)
            new = place(2, 3) if at else place(0, 1)
            assert "RENAME_EXCHANGE" not in text, "not followed here"
            self.names.rename(old, new)
        elif name.startswith(("unlink", "rmdir")):
            self.names.remove(place(0, 1) if at else place(0, 0))
        else:
            kind = "directory" if name.startswith("mkdir") else "special"
            self.names.make(place(0, 1) if at else place(0, 0), kind)

    def _inode(
        self, pid: str, arguments: list[str], directory: int | None, path: int, *, follow: bool
    ) -> Inode | None:
        if directory is not None and arguments[path] in ("NULL", '""'):
            return self._of_descriptor(arguments[directory])
        plain = self._path(pid, arguments, directory, path)
        if re.match(r"/proc/[^/]+/fd/", plain):
            return Inode(0, "file", -1)  # cannot be told from the trace: nobody may do this
        return self.names.at(self.names.resolve(plain, follow=follow))

    def _of_descriptor(self, argument: str) -> Inode | None:
        path, deleted = _path_of_descriptor(argument)
        if not path.startswith("/"):
            return None  # a pipe or a socket
        return self.names.at(path, deleted=deleted)

    def _path(self, pid: str, arguments: list[str], directory: int | None, path: int) -> str:
        base = self._cwd[pid]
        if directory is not None:
            base = _path_of_descriptor(arguments[directory])[0] or base
        plain = os.path.join(base, _text(arguments[path]))
        match = _BY_NUMBER.match(plain)
        held = match and self._opened.get((match["pid"], match["number"]))
        return held + plain[match.end() :] if match and held else plain

    def _check(self, inode: Inode | None, text: str) -> None:
        if inode is None or inode.kind == "special":
            return
        if inode.owner is not None and inode.owner != self._uid:
            self.violations.append(text)


def _split(arguments: str) -> list[str]:
    """The arguments of a call: at the commas that are in no string, path or structure."""
    parts, depth, start, quoted, position = [], 0, 0, False, 0
    while position < len(arguments):
        letter = arguments[position]
        if letter == "\\":
            position += 1
        elif letter == '"':
            quoted = not quoted
        elif not quoted and letter in "{[<":
            depth += 1
        elif not quoted and (letter in "}]" or (letter == ">" and arguments[position - 1] != "=")):
            depth -= 1
        elif not quoted and letter == "," and depth == 0:
            parts.append(arguments[start:position].strip())
            start = position + 1
        position += 1
    return [*parts, arguments[start:].strip()]


def _text(argument: str) -> str:
    assert argument.startswith('"') and argument.endswith('"'), f"not a whole string: {argument}"
    return os.fsdecode(ast.literal_eval("b" + argument))


def _path_of_descriptor(argument: str) -> tuple[str, bool]:
    """The path of a descriptor, and whether it is unlinked; "" where strace tells none."""
    match = _DESCRIPTOR.match(argument)
    if match is None:
        return "", False
    escaped = match["path"].replace('"', '\\"')
    return os.fsdecode(ast.literal_eval(f'b"{escaped}"')), match["deleted"] is not None


def watched(
    account: Account, top: Path, script: str, env: dict[str, str | None], *, cwd: Path | None = None
) -> Watcher:
    """Run a shell script as account, which must succeed, and give what was seen of it."""
    trace = top / f"trace-{account.name}"
    trace.unlink(missing_ok=True)
    trace.touch()
    os.chown(trace, account.uid, account.gid)
    watcher = Watcher(Names(top), account.uid, str(cwd or "/"))
    command = ["strace", "-f", "-y", "-s", "8192", "-e", f"trace={_TRACED}", "-o", str(trace)]
    run_as(account, [*command, "sh", "-ec", script], env=env, cwd=cwd, check=True)
    watcher.read(trace.read_text())
    assert watcher.seen > 3
    return watcher


@pytest.fixture(scope="module")
def site(accounts: Accounts, public_python: Path) -> Iterator[Site]:
    with running_site(accounts, public_python) as found:
        for version in ("1.0", "2.0"):
            rich_wheel(found.wheels, "alpha", version)
        for name in ("beta", "gamma", "delta"):
            rich_wheel(found.wheels, name)
        yield found


# -- the watcher itself

_DEEDS = {
    "chmod": "os.chmod(victim, 0o600)",
    "chmod-relative": "os.chdir(os.path.dirname(victim)); os.chmod('victim', 0o600)",
    "chmod-at": "d = os.open(os.path.dirname(victim), 0); os.chmod('victim', 0o600, dir_fd=d)",
    "chmod-by-number": (
        "d = os.open(os.path.dirname(victim), 0);"
        "os.chmod(f'/proc/{os.getpid()}/fd/{d}/victim', 0o600)"
    ),
    "chmod-in-a-child": (
        "import subprocess; os.chdir(os.path.dirname(victim));"
        "subprocess.run(['chmod', '600', 'victim'])"
    ),
    "fchmod": "os.fchmod(os.open(victim, 0), 0o600)",
    "chown": "os.chown(victim, os.getuid(), -1)",
    "lchown": "os.lchown(victim, os.getuid(), -1)",
    "fchown": "os.fchown(os.open(victim, 0), os.getuid(), -1)",
    "utime": "os.utime(victim)",
    "utime-of-a-descriptor": "os.utime(os.open(victim, 0))",
    "utime-with-times": "os.utime(victim, (1, 1))",
    "truncate": "os.truncate(victim, 1)",
    "ftruncate": "os.ftruncate(os.open(victim, 0), 1)",
    "open-to-write": "open(victim, 'w')",
    "open-to-append": "open(victim, 'a')",
    "open-to-update": "open(victim, 'r+')",
    "open-in-a-thread": (
        "import threading; t = threading.Thread(target=open, args=(victim, 'a'));"
        "t.start(); t.join()"
    ),
    "through-a-link": "os.symlink(victim, own + '/l'); open(own + '/l', 'a')",
    "through-a-link-to-its-directory": (
        "os.symlink(os.path.dirname(victim), own + '/l'); open(own + '/l/victim', 'a')"
    ),
    "through-a-relative-link": "open(os.path.dirname(victim) + '/link', 'a')",
    "through-another-name": "open(os.path.dirname(victim) + '/another', 'a')",
    "after-a-rename": (
        "os.rename(os.path.dirname(victim) + '/another', own + '/a'); open(own + '/a', 'a')"
    ),
    "after-its-directory-was-renamed": (
        "d = os.path.dirname(victim) + '/loose'; os.rename(d, own + '/d');"
        "open(own + '/d/file', 'a')"
    ),
    "after-unlink": (
        "p = os.path.dirname(victim) + '/another'; f = os.open(p, 0); os.unlink(p); os.fchmod(f, 0)"
    ),
    "chmod-of-a-directory": "os.chmod(os.path.dirname(victim), 0o700)",
    "extended-attribute": "os.setxattr(victim, 'user.x', b'1')",
}
_HARMLESS = {
    "read": "open(victim).read(); os.listdir(os.path.dirname(victim)); os.stat(victim)",
    "unlink-and-make-anew": (
        "p = os.path.dirname(victim) + '/another'; os.unlink(p); open(p, 'w'); os.chmod(p, 0o600)"
    ),
    "replace-by-rename": (
        "p = os.path.dirname(victim) + '/another'; open(own + '/n', 'w'); os.chmod(own + '/n', 1);"
        "os.rename(own + '/n', p); os.utime(p)"
    ),
    "exclusive-creation": (
        "import contextlib\nwith contextlib.suppress(FileExistsError): open(victim, 'x')"
    ),
    "own-files": (
        "open(own + '/o', 'w').close(); os.truncate(own + '/o', 0); os.mkdir(own + '/d', 0o700);"
        "os.chmod(own + '/d', 0o755); os.rename(own + '/d', own + '/e'); open(own + '/e/f', 'w')"
    ),
    "by-number": (
        "open(own + '/b', 'w'); d = os.open(own, 0); os.chmod(f'/proc/{os.getpid()}/fd/{d}/b', 1)"
    ),
    "devices": "open(os.devnull, 'w')",
}


def _deed(site: Site, deed: str) -> Watcher:
    """userb does this deed to a file of usera's that everybody may write."""
    usera, userb = site.accounts.usera, site.accounts.userb
    top = site.directory()
    place, own = top / "place", top / "own"
    for directory, account in ((place, usera), (own, userb), (place / "loose", usera)):
        directory.mkdir()
        os.chown(directory, account.uid, account.gid)
        directory.chmod(0o777)
    for path in (place / "victim", place / "loose" / "file"):
        path.write_text("of usera")
        os.chown(path, usera.uid, usera.gid)
        path.chmod(0o666)
    os.link(place / "victim", place / "another")
    (place / "link").symlink_to("../place/victim")
    code = textwrap.dedent(f"""\
        import contextlib, os
        victim, own = {str(place / "victim")!r}, {str(own)!r}
        with contextlib.suppress(PermissionError, OSError):
        """) + textwrap.indent(deed, "    ")
    script = shlex.join([str(site.template.python), "-c", code])
    return watched(userb, top, script, {})


@pytest.mark.parametrize("deed", list(_DEEDS))
def test_watcher_sees_what_is_done_to_a_foreign_file(site: Site, deed: str) -> None:
    violations = _deed(site, _DEEDS[deed]).violations
    assert len(violations) == 1, violations


@pytest.mark.parametrize("deed", list(_HARMLESS))
def test_watcher_has_nothing_against_what_is_allowed(site: Site, deed: str) -> None:
    assert _deed(site, _HARMLESS[deed]).violations == []


# -- the real thing

link_modes = pytest.mark.parametrize("link_mode", ["reflink", "hardlink", "symlink", "copy"])


def contents(top: Path, *, but_of: int = -1) -> dict[str, tuple[object, ...]]:
    """Bytes, mode, owner and time of every file at and below top (but this uid's)."""
    found: dict[str, tuple[object, ...]] = {}
    for path in sorted(top.rglob("*")):
        status = path.lstat()
        if "use" in path.relative_to(top).parts[:2]:
            continue  # each user's own marks
        if status.st_uid != but_of and stat.S_ISREG(status.st_mode):
            found[str(path)] = (
                path.read_bytes(),
                stat.S_IMODE(status.st_mode),
                status.st_uid,
                status.st_gid,
                status.st_mtime_ns,
            )
    return found


def script_of(*commands: Sequence[str]) -> str:
    return "\n".join(shlex.join(command) for command in commands)


def shared(site: Site, environment: Environment) -> None:
    """Give an environment to the group."""
    prefix = environment.prefix
    subprocess.run(["chgrp", "-hR", "pkgshare", prefix], check=True)
    subprocess.run(["chmod", "-R", "g+w", prefix], check=True)
    subprocess.run(["find", prefix, "-type", "d", "-exec", "chmod", "g+ws", "{}", "+"], check=True)


@link_modes
@pytest.mark.parametrize("whose", ["own", "shared"])
def test_installs_upgrades_and_uninstalls_change_no_foreign_inode(
    site: Site, link_mode: str, whose: str
) -> None:
    usera, userb = site.accounts.usera, site.accounts.userb
    store = site.make_store(None)
    top = store.parent
    mode = {"PIP_SHAREDCACHE_LINK_MODE": link_mode}
    publisher = site.environment(usera)
    for requirement in ("alpha==1.0", "alpha==2.0", "beta"):
        site.install(usera, publisher, store, requirement, **mode)
    site.install(None, site.environment(None), store, "delta", **mode)
    owner = usera if whose == "shared" else userb
    inside = top / "inside"
    inside.mkdir()
    os.chown(inside, userb.uid, userb.gid)
    environment = site.environment(owner, inside / "environment")
    if whose == "shared":
        shared(site, environment)
        site.install(usera, environment, store, "alpha==1.0", "beta", **mode)
    before = contents(store, but_of=userb.uid)
    assert len(before) > 40

    run = environment.command
    script = script_of(
        run("install", "alpha==1.0", "beta", "gamma", "delta"),
        run("install", "-U", "alpha"),
        run("install", "--force-reinstall", "alpha", "beta", "gamma", "delta"),
        run("install", "alpha==1.0"),
        run("install", "--ignore-installed", "gamma"),
        run("install", "--target", inside / "target", "alpha", "gamma"),
        run("install", "--target", inside / "target", "--upgrade", "alpha", "gamma"),
        run("uninstall", "-y", "alpha", "beta", "gamma", "delta"),
    )
    site.index.clear()
    watcher = watched(userb, top, script, site.settings(store, **mode))

    assert watcher.violations == []
    assert watcher.seen > 1000
    assert contents(store, but_of=userb.uid) == before
    assert site.index.wheel_requests() == ["/files/gamma-1.0-py3-none-any.whl"]
    assert not list(environment.site_packages.glob("*alpha*"))
    assert (inside / "target" / "alpha" / "data.txt").read_text().startswith("alpha 2.0")


# -- what is at the destination already

_SEEDED = (
    "lib/alpha/__init__.py",
    "lib/alpha/empty.py",
    "lib/alpha/data.txt",
    "lib/alpha/bin/tool",
    "share/alpha/notes.txt",
    "bin/alpha-script",
    "bin/alpha",
)


@dataclass(frozen=True)
class Seeds:
    """Destinations in the environment, and what each leads to."""

    destinations: list[Path]
    targets: list[Path]


def seed(site: Site, environment: Environment, entry: Path, how: str, top: Path) -> Seeds:
    """Put links into an environment of userb's, where the files of alpha will go."""
    usera, userb = site.accounts.usera, site.accounts.userb
    victims = top / "victims"
    victims.mkdir()
    os.chown(victims, usera.uid, usera.gid)
    victims.chmod(0o777)
    destinations, targets = [], []
    for number, name in enumerate(_SEEDED):
        place, _, inside = name.partition("/")
        roots = {"lib": environment.site_packages, "bin": environment.scripts}
        destination = roots.get(place, environment.prefix / place) / inside
        destination.parent.mkdir(parents=True, exist_ok=True)
        if how.endswith("store"):
            target = entry / "files" / (inside if place == "lib" else "alpha/data.txt")
        else:
            target = victims / f"victim-{number}"
            if how != "dangling":
                target.write_text(f"precious {number}\n")
                os.chown(target, usera.uid, usera.gid)
                target.chmod(0o666)
                os.utime(target, (1_600_000_000, 1_600_000_000))
        if how.startswith("hardlink"):
            os.link(target, destination)
        else:
            destination.symlink_to(target)
            os.lchown(destination, userb.uid, userb.gid)
        destinations.append(destination)
        targets.append(target)
    for directory, below, _ in os.walk(environment.prefix):
        for path in (directory, *(os.path.join(directory, name) for name in below)):
            os.lchown(path, userb.uid, userb.gid)
    return Seeds(destinations, targets)


@link_modes
@pytest.mark.parametrize(
    ("how", "publisher"),
    [
        ("hardlink-to-foreign", "usera"),
        ("symlink-to-foreign", "usera"),
        ("dangling", "usera"),
        ("hardlink-to-store", "usera"),
        ("symlink-to-store", "usera"),
        ("hardlink-to-store", "userb"),
        ("symlink-to-store", "userb"),
    ],
    ids=lambda value: str(value),
)
def test_link_at_the_destination_is_replaced_and_its_target_kept(
    site: Site, link_mode: str, how: str, publisher: str
) -> None:
    userb = site.accounts.userb
    store = site.make_store(None)
    top = store.parent
    account = site.account(publisher)
    site.install(account, site.environment(account), store, "alpha==1.0")
    environment = site.environment(userb, top / "environment")
    seeds = seed(site, environment, entry_of(store, "alpha"), how, top)
    kept = {**contents(store), **contents(top / "victims")}
    assert len(kept) >= len(_SEEDED)

    settings = site.settings(store, PIP_SHAREDCACHE_LINK_MODE=link_mode)
    watcher = watched(userb, top, script_of(environment.command("install", "alpha==1.0")), settings)

    assert {**contents(store), **contents(top / "victims")} == kept
    assert watcher.violations == []
    installed = site.plain_tree(0o022, "alpha==1.0")
    for destination, target in zip(seeds.destinations, seeds.targets):
        assert destination.is_file()
        if link_mode in ("reflink", "copy"):
            assert not destination.is_symlink()
            assert destination.stat().st_nlink == 1
        if how.endswith("foreign"):
            assert not os.path.samefile(destination, target)
    if link_mode in ("reflink", "copy"):
        assert differences(installed, snapshot(environment.prefix)) == []
    for path, data in _placed_bytes(site, environment).items():
        assert path.read_bytes() == data

    watched(userb, top, script_of(environment.command("uninstall", "-y", "alpha")), settings)
    assert {**contents(store), **contents(top / "victims")} == kept


def _placed_bytes(site: Site, environment: Environment) -> dict[Path, bytes]:
    """What the wheel says is in the files that are placed unchanged, and in the scripts."""
    python = os.fsencode(environment.python)
    return {
        environment.site_packages / "alpha/__init__.py": (
            b'__version__ = "1.0"\n\n\ndef main():\n    print("hi")\n'
        ),
        environment.site_packages / "alpha/empty.py": b"",
        environment.site_packages / "alpha/data.txt": b"alpha 1.0\n" * 50,
        environment.site_packages / "alpha/bin/tool": b"#!/bin/sh\necho tool\n",
        environment.prefix / "share/alpha/notes.txt": b"notes of alpha 1.0\n",
        environment.scripts / "alpha-script": b"#!" + python + b"\nprint('script')\n",
    }
