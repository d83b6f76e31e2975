"""A store for the whole machine, with nothing in anybody's home: /etc/pip.conf, or that the site's
store is there, is enough, whatever circumstances pip is run in. In a mount namespace with an /etc
and a /var/cache of its own; pip-sharedcache lies in a central place, and is switched on in one
environment."""

from __future__ import annotations

import os
import shlex
import subprocess
from dataclasses import dataclass
from pathlib import Path

import pytest

from support import probes
from support.accounts import Accounts, run_as
from support.environments import Environment, make_environment
from support.wheels import make_wheel

pytestmark = [
    pytest.mark.multiuser,
    probes.needs(probes.accounts, probes.bind_mounts, probes.sudo),
]

SITE = "/var/cache/pip-sharedcache"
PATH = "PATH=/usr/sbin:/usr/bin:/sbin:/bin"
#: What pip is run by, as the user {user}: a login is long ago, and little is left of it.
CIRCUMSTANCES = {
    "nothing but PATH": "{as_user} env -i " + PATH,
    "no PATH either": "{as_user} env -i",
    "cron": "{as_user} env -i HOME=/ LOGNAME={user} SHELL=/bin/sh " + PATH + " /bin/sh -c",
    "a home that is missing": "{as_user} env -i HOME=/nonexistent " + PATH,
    "a home that is not theirs": "{as_user} env -i HOME=/root " + PATH,
    "a home that is no path": "{as_user} env -i HOME= " + PATH,
    "a configuration file of their own": "{as_user} env -i PIP_CONFIG_FILE={own} " + PATH,
    "no configuration": "{as_user} env -i PIP_CONFIG_FILE=/dev/null HOME={home} " + PATH,
    "isolated": "{as_user} env -i PIP_ISOLATED=1 " + PATH,
    "sudo": "{as_user} sudo",
    "sudo -E": "{as_user} env HOME={home} XDG_CACHE_HOME={home}/cache sudo -E",
    "sudo -H -u": "{as_user} sudo -H -u {other}",
}


@dataclass(frozen=True)
class Machine:
    """``etc`` and ``cache`` are what it has as /etc and /var/cache."""

    place: Path
    accounts: Accounts
    central: Environment
    environment: Environment

    @property
    def etc(self) -> Path:
        return self.place / "etc"

    @property
    def cache(self) -> Path:
        return self.place / "cache"

    def run(self, command: str) -> subprocess.CompletedProcess[str]:
        """``command`` in a shell of root's on that machine."""
        mounts = [f"mount --bind {self.etc} /etc", f"mount --bind {self.cache} /var/cache"]
        script = " && ".join([*mounts, "cd /", command])
        environ = {"PATH": "/usr/sbin:/usr/bin:/sbin:/bin", "HOME": "/root"}
        return subprocess.run(
            ["unshare", "--mount", "--propagation", "private", "sh", "-c", script],
            env=environ,
            capture_output=True,
            text=True,
            timeout=120,
        )

    def user(self, circumstances: str, *command: str | Path) -> subprocess.CompletedProcess[str]:
        """``command`` as usera in these circumstances."""
        usera = self.accounts.usera
        setpriv = f"setpriv --reuid {usera.uid} --regid {usera.gid} --init-groups"
        start = CIRCUMSTANCES[circumstances].format(
            as_user=setpriv,
            user=usera.name,
            other=self.accounts.userb.name,
            own=self.place / "own.conf",
            home=self.place / "home",
        )
        words = shlex.join(map(str, command))
        return self.run(f"{start} {shlex.quote(words) if start.endswith('-c') else words}")

    def install(self, circumstances: str) -> subprocess.CompletedProcess[str]:
        target = self.place / f"target-{len(list(self.place.glob('target-*')))}"
        target.mkdir()
        target.chmod(0o777)
        return self.user(
            circumstances,
            *(self.environment.scripts / "pip", "install", "demo", "--target", target),
            *("--no-index", "--find-links", self.place / "wheels"),
        )

    def doctor(self, circumstances: str) -> subprocess.CompletedProcess[str]:
        program = self.central.scripts / "pip-sharedcache"
        return self.user(circumstances, program, "store", "doctor")

    def store(self, path: str) -> None:
        """Make a store for the group on that machine."""
        program = self.central.scripts / "pip-sharedcache"
        done = self.run(f"{program} store init --group {self.accounts.group} {path}")
        assert done.returncode == 0, done.stderr


@pytest.fixture
def machine(shared_tmp: Path, accounts: Accounts, public_python: Path) -> Machine:
    central = make_environment(shared_tmp / "central", python=public_python)
    environment = make_environment(shared_tmp / "environment", python=public_python, ours=False)
    enable = central.command("store", "enable", "--prefix", environment.prefix)
    run_as(None, enable, check=True)
    made = Machine(shared_tmp, accounts, central, environment)
    made.cache.mkdir(mode=0o755)
    subprocess.run(["cp", "-a", "/etc", made.etc], check=True)
    for name in ("pip.conf", "xdg/pip"):
        subprocess.run(["rm", "-rf", made.etc / name], check=True)
    rule = f"{accounts.usera.name} ALL=(ALL) NOPASSWD:SETENV: ALL\n"
    (made.etc / "sudoers.d").mkdir(exist_ok=True)
    (made.etc / "sudoers.d" / "test").write_text(rule)
    (made.etc / "sudoers.d" / "test").chmod(0o440)
    (made.place / "own.conf").write_text("[global]\ntimeout = 60\n")
    home = made.place / "home"
    home.mkdir()
    os.chown(home, accounts.usera.uid, accounts.usera.gid)
    make_wheel(made.place / "wheels")
    return made


@pytest.mark.parametrize("existing", [False, True], ids=["new", "existing"])
def test_what_root_sets_up_with_umask_077_is_read_by_all(machine: Machine, existing: bool) -> None:
    configuration = machine.etc / "pip.conf"
    if existing:
        configuration.write_text("[global]\ntimeout = 60\n")
        configuration.chmod(0o600)
    program, group = machine.central.scripts / "pip-sharedcache", machine.accounts.group
    command = f"umask 077; {program} store setup --group {group} /var/cache/elsewhere"
    done = machine.run(command)
    assert done.returncode == 0, done.stderr
    assert configuration.stat().st_mode & 0o777 == (0o600 if existing else 0o644)
    if not existing:
        assert done.stderr == ""
        assert "from /var/cache/elsewhere" in machine.install("nothing but PATH").stdout
        return
    for each in (done, machine.run(command)):  # a second time, the file names the store already
        (line,) = each.stderr.splitlines()
        assert line.startswith("WARNING: Other users do not find the store: /etc/pip.conf: ")
        assert line.endswith("hint: chmod o+r /etc/pip.conf")


def test_setup_without_a_directory_keeps_a_user_on_the_sites_store(machine: Machine) -> None:
    machine.store(SITE)
    program = machine.central.scripts / "pip-sharedcache"
    circumstances = "a configuration file of their own"
    for options in (["--dry-run"], []):
        done = machine.user(circumstances, program, "store", "setup", *options)
        assert (done.returncode, done.stdout) == (2, "")
        assert done.stderr == (
            f"ERROR: No store is set up: you use the site's store already: {SITE}; hint: "
            "pip-sharedcache install REQUIREMENT; pip-sharedcache store setup DIR makes another "
            "store, for you alone\n"
        )
    assert (machine.place / "own.conf").read_text() == "[global]\ntimeout = 60\n"
    assert f"from {SITE}" in machine.install(circumstances).stdout
    other = machine.place / "home" / "store"
    done = machine.user(circumstances, program, "store", "setup", "--dry-run", other)
    assert done.stdout.startswith(f"Would make {other}, for you.\n"), done.stderr


def test_setup_of_the_sites_store_again_needs_no_group(machine: Machine) -> None:
    program, group = machine.central.scripts / "pip-sharedcache", machine.accounts.group
    done = machine.run(f"{program} store setup --group {group}")
    assert done.stdout.startswith(f"Made {SITE} "), done.stderr
    for options in ("--dry-run", "", f"--group {group}"):
        done = machine.run(f"{program} store setup {options}")
        assert done.returncode == 0, done.stderr
        assert done.stdout.startswith(f"{SITE} is there already")
        assert f", for the members of {group}.\n" in done.stdout
    done = machine.run(f"{program} store setup --group daemon")
    assert (done.returncode, done.stdout) == (2, "")
    assert f"{SITE} is a store of group {group} already" in done.stderr


@pytest.mark.parametrize(
    ("how", "circumstances"),
    [
        *(("pip.conf", name) for name in CIRCUMSTANCES if name != "no configuration"),
        *(("site", name) for name in ("nothing but PATH", "a home that is missing", "sudo")),
    ],
)
def test_every_pip_finds_the_store(machine: Machine, how: str, circumstances: str) -> None:
    store = SITE if how == "site" else "/var/cache/elsewhere"
    machine.store(store)
    if how == "pip.conf":
        (machine.etc / "pip.conf").write_text(f"[sharedcache]\ndir = {store}\n")
    for found in ("0 of 1", "1 of 1"):
        done = machine.install(circumstances)
        print(done.stdout, done.stderr)
        assert done.returncode == 0
        assert f"Shared store: {found} distributions from {store}" in done.stdout
    assert len([path for path in machine.cache.glob("*/wheels/*/*") if path.is_dir()]) == 1
    doctor = machine.doctor(circumstances)
    print(doctor.stdout, doctor.stderr)
    assert doctor.returncode == 0
    assert store in doctor.stdout


def test_where_nothing_names_a_store_doctor_says_so(machine: Machine) -> None:
    store = "/var/cache/elsewhere"
    machine.store(store)
    (machine.etc / "pip.conf").write_text(f"[sharedcache]\ndir = {store}\n")
    doctor = machine.doctor("no configuration")
    own = machine.place / "home" / ".cache" / "pip-sharedcache"
    assert f"{own} (default: the private store)" in doctor.stdout
    assert "pip reads no configuration file, because of PIP_CONFIG_FILE" in doctor.stdout
    assert f"the site has no store at {SITE}" in doctor.stdout
    assert (
        f"Shared store: 0 of 1 distributions from {own}"
        in machine.install("no configuration").stdout
    )

    (machine.etc / "pip.conf").write_text("[global]\ntimeout = 60\n")
    doctor = machine.doctor("a home that is missing")
    (line,) = [line for line in doctor.stdout.splitlines() if line.startswith("searched:")]
    assert "no store is named in " in line
    assert "/etc/pip.conf" in line
    assert "/nonexistent/.cache/pip-sharedcache cannot be made" in doctor.stdout
