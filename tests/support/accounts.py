"""Real accounts: three users, two of them in a group, and commands run as one of them."""

from __future__ import annotations

import os
import signal
import subprocess
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Union

from support import INDEX_VARIABLES, REPOSITORY

GROUP = "pkgshare"

# Each pip starts lsb_release, for the name of the distribution that pip sends to an index. The one
# of the tests takes a tenth of the time. A user who cannot reach it finds the machine's.
_PATH = f"{REPOSITORY}/tests/support/programs"
_PATH += ":/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
_NOWHERE = "/nonexistent"

Argument = Union[str, "os.PathLike[str]"]

_homes: dict[str, Path] = {}
_started: list[subprocess.Popen[str]] = []


@dataclass(frozen=True)
class Account:
    """A user of this machine, with its primary group."""

    name: str
    uid: int
    gid: int


@dataclass(frozen=True)
class Accounts:
    """usera and userb are in the group, userc is not."""

    usera: Account
    userb: Account
    userc: Account
    group_gid: int
    group: str = GROUP


def ensure_accounts() -> Accounts:
    """Make what is missing of the group and its users (root only), and give them."""
    import grp

    _administer("groupadd", "--force", GROUP)
    group = grp.getgrnam(GROUP)
    made = {name: _ensure_account(name) for name in ("usera", "userb", "userc")}
    for name, member in (("usera", True), ("userb", True), ("userc", False)):
        if member and name not in group.gr_mem:
            _administer("usermod", "--append", "--groups", GROUP, name)
        elif not member and name in group.gr_mem:
            _administer("gpasswd", "--delete", name, GROUP)
    return Accounts(made["usera"], made["userb"], made["userc"], group.gr_gid)


def home_of(account: Account, base: Path) -> Path:
    """The account's home below base: made if missing, 0700 and its own; HOME in later runs."""
    home = base / account.name
    home.mkdir(mode=0o700, exist_ok=True)
    os.chown(home, account.uid, account.gid)
    home.chmod(0o700)
    _homes[account.name] = home
    return home


def run_as(
    account: Account | None,
    argv: Sequence[Argument],
    *,
    umask: int = 0o022,
    env: Mapping[str, str | None] | None = None,
    cwd: Argument | None = None,
    check: bool = False,
    timeout: float = 300,
    input: str | None = None,
) -> subprocess.CompletedProcess[str]:
    """Run argv as account (None: as we are) to its end; give exit status, stdout and stderr.

    The environment is a new one: PATH, HOME (see home_of), LANG, no pip configuration files, and
    what reaches the package index; env comes on top, a value of None removes. cwd is / unless
    given. check raises with both outputs in the message; after timeout the whole group is killed.
    """
    process = start_as(account, argv, umask=umask, env=env, cwd=cwd, pipe_input=input is not None)
    try:
        stdout, stderr = process.communicate(input, timeout=timeout)
    except subprocess.TimeoutExpired as error:
        stop(process)
        raise AssertionError(f"{list(map(str, argv))} did not end in {timeout} s") from error
    except BaseException:
        stop(process)
        raise
    _forget(process)
    result = subprocess.CompletedProcess(list(map(str, argv)), process.returncode, stdout, stderr)
    if check and result.returncode:
        who = account.name if account else "the tests' own user"
        raise AssertionError(
            f"{result.args} as {who} exited with {result.returncode}\n"
            f"--- stdout\n{stdout}\n--- stderr\n{stderr}"
        )
    return result


def start_as(
    account: Account | None,
    argv: Sequence[Argument],
    *,
    umask: int = 0o022,
    env: Mapping[str, str | None] | None = None,
    cwd: Argument | None = None,
    pipe_input: bool = False,
) -> subprocess.Popen[str]:
    """Start argv as run_as would, with pipes for its text, and give the process.

    pipe_input: stdin is a pipe to write to, else it is empty. The process leads a group
    of its own; what still runs at a test's end is killed, the group with it.
    """
    command = ["sh", "-c", f'umask {umask:04o}; exec "$@"', "sh", *map(str, argv)]
    if account is not None:
        identity = [f"--reuid={account.uid}", f"--regid={account.gid}", "--init-groups"]
        command = ["setpriv", *identity, "--", *command]
    process = subprocess.Popen(
        command,
        stdin=subprocess.PIPE if pipe_input else subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        encoding="utf-8",
        errors="replace",
        env=_environment(account, env),
        cwd="/" if cwd is None else str(cwd),
        start_new_session=True,
    )
    _started.append(process)
    return process


def stop(process: subprocess.Popen[str]) -> None:
    """Kill a started process and all of its group, and wait for it."""
    try:
        os.killpg(process.pid, signal.SIGKILL)
    except ProcessLookupError:
        # It has ended, and so has everything that it started.
        process.poll()
    process.wait(timeout=30)
    for pipe in (process.stdin, process.stdout, process.stderr):
        if pipe is not None and not pipe.closed:
            try:
                pipe.close()
            except BrokenPipeError:
                continue  # unwritten input of a process that is gone
    _forget(process)


def stop_all() -> None:
    """Stop whatever start_as started and nobody has stopped."""
    while _started:
        stop(_started[-1])


def _environment(
    account: Account | None, changes: Mapping[str, str | None] | None
) -> dict[str, str]:
    import pwd

    if account is None:
        home = os.environ.get("HOME", _NOWHERE)
        name = pwd.getpwuid(os.getuid()).pw_name
    else:
        home = str(_homes.get(account.name, _NOWHERE))
        name = account.name
    environment = {
        "PATH": _PATH,
        "HOME": home,
        "USER": name,
        "LOGNAME": name,
        "LANG": "C.UTF-8",
        "PIP_CONFIG_FILE": os.devnull,
        "PIP_DISABLE_PIP_VERSION_CHECK": "1",
        "PIP_NO_INPUT": "1",
    }
    environment.update(
        {variable: os.environ[variable] for variable in INDEX_VARIABLES if variable in os.environ}
    )
    for variable, value in (changes or {}).items():
        if value is None:
            environment.pop(variable, None)
        else:
            environment[variable] = str(value)
    return environment


def _ensure_account(name: str) -> Account:
    import pwd

    try:
        entry = pwd.getpwnam(name)
    except KeyError:
        _administer("useradd", "--no-create-home", "--home-dir", _NOWHERE, "--user-group", name)
        entry = pwd.getpwnam(name)
    return Account(entry.pw_name, entry.pw_uid, entry.pw_gid)


def _forget(process: subprocess.Popen[str]) -> None:
    if process in _started:
        _started.remove(process)


def _administer(*command: str) -> None:
    done = subprocess.run(command, capture_output=True, text=True)
    if done.returncode:
        raise RuntimeError(f"{' '.join(command)}: {done.stderr.strip()}")
