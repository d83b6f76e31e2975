"""Remote stores that fail in every manner: pip's result, at most one line, nothing half-made."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import time
from dataclasses import replace
from pathlib import Path

import pytest

from support.faults import visible_entries
from support.index import LocalIndex
from support.index_server import make_certificate
from support.machines import Machine, MachineFactory
from support.object_server import Fault, ObjectServer
from support.probes import linux, needs
from support.wheels import digest, make_wheel

pytestmark = [pytest.mark.pips, needs(linux)]

NAMES = ("one", "two", "three", "four", "five")
LIMIT = 2  # seconds, the setting remote-timeout
_PUT = ("PUT", "POST")

#: Faults of a server that has all wheels, and what the only warning has.
PULLS = {
    "401": (Fault(401), "refuses access (status 401)"),
    "403": (
        Fault(403),
        "refuses access (status 403); hint: check your credentials, and that they may read there",
    ),
    "409": (Fault(409), "refuses the request (status 409)"),
    "412": (Fault(412), "refuses the request (status 412)"),
    "429": (Fault(429, {"Retry_After": "60"}), "answers no more requests now (status 429)"),
    "500": (Fault(500), "the server fails (status 500)"),
    "503": (Fault(503, {"Retry_After": "60"}), "the server fails (status 503)"),
    "301": (Fault(301), "it is in another region"),
    "404": (Fault(404), ""),
    "latency": (Fault(hang=0.3), ""),
    "reset": (Fault(reset_after=2000), "the connection breaks"),
    "cut": (Fault(cut_after=2000), "the connection breaks"),
    "truncated": (Fault(other=b"PK\x03\x04 the beginning"), "is not the wheel"),
    "other object": (Fault(other=b"another object" * 500), "is not the wheel"),
    "one reset": (Fault(reset_after=2000, times=1), "the connection breaks"),
    "hanging": (Fault(hang=60), f"gave no answer in {LIMIT} seconds"),
}
PUSHES = {
    "403": (
        Fault(403, verbs=_PUT),
        "refuses access (status 403); hint: check your credentials, and that they may put objects",
    ),
    "404": (Fault(404, verbs=_PUT), "does not exist (status 404)"),
    "409": (Fault(409, verbs=_PUT), "refuses the request (status 409)"),
    "412": (Fault(412, verbs=_PUT), "refuses the request (status 412)"),
    "429": (Fault(429, {"Retry_After": "60"}, verbs=_PUT), "(status 429)"),
    "500": (Fault(500, verbs=_PUT), "the server fails (status 500)"),
    "full": (Fault(507, verbs=_PUT), "it is full (status 507)"),
    "hanging": (
        Fault(hang=60, verbs=_PUT),
        "the time limit is over; hint: pip-sharedcache store push",
    ),
}


@pytest.fixture
def wheels(wheelhouse: Path) -> Path:
    for name in NAMES:
        make_wheel(wheelhouse, name, files={f"{name}/data": os.urandom(9000)})
    return wheelhouse


@pytest.fixture
def one(
    machine: MachineFactory, server: ObjectServer, pages: LocalIndex, tmp_path: Path
) -> Machine:
    variables: dict[str, str | None] = {**pages.variables, **server.variables}
    temporary = tmp_path / "temporary"
    temporary.mkdir()
    variables["TMPDIR"] = str(temporary)
    variables["PIP_SHAREDCACHE_REMOTE_TIMEOUT"] = str(LIMIT)
    return machine("one", server.url, variables=variables)


def _fresh(one: Machine, name: str) -> Machine:
    """The same machine with an empty store and an environment without the wheels."""
    store = one.store.with_name(f"store-{name.replace(' ', '-')}")
    store.mkdir()
    made = Machine(one.environment, store, one.home, dict(one.variables))
    made.name_remote(one.remote)
    return made


def _problems(one: Machine, plain: object, expected: str) -> list[str]:
    """What is wrong after an installation of all wheels."""
    done = one.attempt("install", *NAMES)
    found = []
    if done.returncode:
        found.append(f"pip fails ({done.returncode}): {done.stdout}{done.stderr}")
    if one.installed(*NAMES) != plain:
        found.append("another result than plain pip's")
    warnings = [line for line in done.stderr.splitlines() if line.startswith("WARNING")]
    told = [line for line in warnings if expected and expected in line]
    if warnings != told or len(warnings) != bool(expected):
        found.append(f"warnings: {done.stderr!r}")
    if "Traceback" in done.stdout + done.stderr:
        found.append(done.stderr)
    if len(visible_entries(one.store)) < len(NAMES):
        found.append(f"not all is published: {visible_entries(one.store)}")
    if left := os.listdir(str(one.variables["TMPDIR"])):
        found.append(f"left: {left}")
    if processes := _helpers(one):
        found.append(f"processes left: {processes}")
    one.check_no_secrets()
    _uninstall(one)
    return found


def _uninstall(one: Machine) -> None:
    """Delete what is installed: pip takes a second for it."""
    for path in one.environment.site_packages.iterdir():
        if path.name.startswith(NAMES):
            shutil.rmtree(path)


def _helpers(one: Machine) -> list[str]:
    """The machine's processes of clients, which end within a moment of their parents' end."""
    home = f"HOME={one.home}\0".encode()
    for _ in range(20):
        found = []
        for path in Path("/proc").glob("[0-9]*/cmdline"):
            try:
                text = path.read_bytes()
                if b"remote/helper.py" in text and home in (path.parent / "environ").read_bytes():
                    found.append(text.replace(b"\0", b" ").decode())
            except OSError:
                continue
        if not found:
            return []
        time.sleep(0.05)
    return found


def _plain(one: Machine) -> object:
    """What plain pip installs."""
    one.run("--no-sharedcache", "install", *NAMES)
    found = one.installed(*NAMES)
    _uninstall(one)
    assert found
    return found


def test_pull_from_a_failing_server_costs_a_line_at_most(
    one: Machine, server: ObjectServer, wheels: Path
) -> None:
    plain, failures = _plain(one), []
    for path in wheels.glob("*.whl"):
        server.objects[f"pip/wheels/{digest(path)}"] = path.read_bytes()
    for name, (fault, expected) in PULLS.items():
        verbs = fault.verbs if fault.status == 404 else (*fault.verbs, *_PUT)
        kept = replace(fault, verbs=verbs)
        server.fault = lambda key, kept=kept: kept  # type: ignore[misc]
        failures += [f"{name}: {one}" for one in _problems(_fresh(one, name), plain, expected)]
    assert not failures, "\n".join(failures)


def test_pull_from_a_failing_web_server_costs_a_line_at_most(
    one: Machine, wheels: Path, tmp_path: Path
) -> None:
    plain, failures = _plain(one), []
    certificate = make_certificate(tmp_path / "certificate")
    one.variables["REQUESTS_CA_BUNDLE"] = str(certificate.authority)
    with ObjectServer(certificate=certificate) as server:
        for path in wheels.glob("*.whl"):
            server.objects[f"pip/wheels/{digest(path)}"] = path.read_bytes()
        for name in ("403", "404", "429", "500", "reset", "cut", "other object", "hanging"):
            fault, expected = PULLS[name]
            server.fault = lambda key, fault=fault: fault  # type: ignore[misc]
            fresh = _fresh(one, name)
            fresh.name_remote(server.web_url)
            failures += [f"{name}: {one}" for one in _problems(fresh, plain, expected)]
        untrusted = _fresh(one, "untrusted")
        untrusted.name_remote(server.web_url)
        untrusted.variables["REQUESTS_CA_BUNDLE"] = None
        failures += _problems(untrusted, plain, "does not accept its certificate")
    assert not failures, "\n".join(failures)


def test_push_to_a_failing_server_costs_a_line_at_most(one: Machine, server: ObjectServer) -> None:
    plain, failures = _plain(one), []
    for name, (fault, expected) in PUSHES.items():
        server.fault = lambda key, fault=fault: fault  # type: ignore[misc]
        failures += [f"{name}: {one}" for one in _problems(_fresh(one, name), plain, expected)]
        assert server.keys() == []
    assert not failures, "\n".join(failures)


def test_wrong_object_is_replaced_by_the_run_that_meets_it(
    one: Machine, server: ObjectServer, wheels: Path
) -> None:
    """Its size is right: only who has got it knows."""
    sound = {f"pip/wheels/{digest(path)}": path.read_bytes() for path in wheels.glob("*.whl")}
    server.objects.update({key: bytes(len(data)) for key, data in sound.items()})
    done = one.run("install", *NAMES)
    assert done.stderr.count("is not the wheel") == 1
    assert server.objects == sound


@pytest.mark.parametrize("pip", ["23.0.1", "26.3"])
def test_interrupted_push_leaves_what_is_installed(
    pip: str, machine: MachineFactory, server: ObjectServer, pages: LocalIndex
) -> None:
    """One line, and the status of a command that was interrupted."""
    variables = {**pages.variables, **server.variables}
    one = machine("one", server.url, variables=variables, pip=pip)
    hanging = Fault(hang=60, verbs=_PUT, times=1000)
    server.fault = lambda key: hanging
    given = {**os.environ, **one.variables}
    with subprocess.Popen(
        one.environment.command("install", *NAMES),
        env={name: value for name, value in given.items() if value is not None},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    ) as process:
        while hanging.times == 1000 and process.poll() is None:
            time.sleep(0.05)
        os.killpg(process.pid, signal.SIGINT)
        stdout, stderr = process.communicate()
    assert process.returncode == 130, stdout + stderr
    assert f"Successfully installed {NAMES[0]}" not in stderr
    assert "Successfully installed" in stdout
    assert stderr == (
        "WARNING: The push to the remote stores was interrupted; what was installed stays; "
        "hint: pip-sharedcache store push\n"
    )
    assert "cancelled" not in stdout
    assert _helpers(one) == []
    assert len(visible_entries(one.store)) == len(NAMES)
    assert {path.partition("/")[0] for path in one.installed(*NAMES)} >= set(NAMES)
    server.fault = lambda key: None
    assert one.told("push")["pushed"] == len(NAMES)


def test_what_is_no_file_in_a_directory_is_not_waited_for(
    one: Machine, wheels: Path, tmp_path: Path
) -> None:
    """To open a FIFO would wait for its writer."""
    bucket = tmp_path / "bucket"
    (bucket / "wheels").mkdir(parents=True)
    one.name_remote(f"file://{bucket}")
    paths = [bucket / "wheels" / digest(path) for path in sorted(wheels.glob("*.whl"))]
    os.mkfifo(paths[0])
    shutil.copy(sorted(wheels.glob("*.whl"))[1], paths[1])
    found = one.told("verify", "--remote")
    assert (found["checked"], found["problem"]) == (1, None)
    done = one.run("install", *NAMES)
    assert done.stderr == ""
    assert "Pulled 1 wheel (" in done.stdout
    assert "Pushed 4 wheels (" in done.stdout
    assert all(path.is_file() for path in paths)


@pytest.mark.parametrize(
    ("python", "expected"),
    [
        ("/nonexistent/python", "cannot be started: No such file or directory"),
        ("/bin/true", "has ended"),
        ("/bin/cat", "has ended"),
    ],
)
def test_helper_that_does_not_work_costs_one_line(
    one: Machine, server: ObjectServer, python: str, expected: str
) -> None:
    one.variables["PIP_SHAREDCACHE_REMOTE_PYTHON"] = python
    assert _problems(one, _plain(one), expected) == []


def test_interpreter_without_the_library_is_told_what_to_install(one: Machine) -> None:
    del one.variables["PIP_SHAREDCACHE_REMOTE_PYTHON"]
    expected = f"{one.environment.python} has no obstore; hint: "
    expected += f"{one.environment.python} -m pip install obstore"
    assert _problems(one, _plain(one), expected) == []


def test_unreachable_server_costs_one_line(one: Machine, server: ObjectServer) -> None:
    one.variables["AWS_ENDPOINT_URL"] = "http://127.0.0.1:9"
    assert _problems(one, _plain(one), "cannot be reached") == []
    again = _fresh(one, "missing")
    again.name_remote("s3://missing/pip")
    again.variables["AWS_ENDPOINT_URL"] = server.variables["AWS_ENDPOINT_URL"]
    assert _problems(again, _plain(one), "it does not exist (status 404)") == []
