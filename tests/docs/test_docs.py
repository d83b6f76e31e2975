"""Every command in docs/ is run, by the users that it names, on a machine that is set up by them
alone: /etc, /home, /srv, /mnt and /media are its own. What is shown of their output is compared."""

from __future__ import annotations

import os
import re
import shlex
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from support import REPOSITORY, environments, probes
from support.index import LocalIndex
from support.probes import needs
from support.wheels import make_wheel

pytestmark = [pytest.mark.multiuser, pytest.mark.pips]

#: Distributions that the documents speak of, small enough for a test.
WHEELS = {"rich": "15.0.0", "numpy": "2.4.0", "torch": "2.9.0"}
_PROMPT = re.compile(r"(\w+)(?:@\w+)?([$#]) (.*)")
_STATUS = re.compile(r"\s+# status (\d)$")


@dataclass(frozen=True)
class Command:
    """What ``user`` types, the status that it ends with, and what is shown of its output."""

    line: int
    user: str
    text: str
    status: int
    shown: tuple[str, ...]


def commands(document: Path) -> Iterator[Command]:
    """Those of the console blocks of ``document``, and of its hidden ones, in order."""
    lines = document.read_text(encoding="utf-8").splitlines()
    inside = False
    number = 0
    while number < len(lines):
        text = lines[number]
        number += 1
        if text in ("```console", "<!-- before"):
            inside = True
        elif text in ("```", "-->"):
            inside = False
        elif inside and (prompt := _PROMPT.fullmatch(text)):
            start, typed = number, prompt[3]
            while typed.endswith("\\"):
                typed = f"{typed[:-1]} {lines[number].strip()}"
                number += 1
            shown = []
            while not _PROMPT.fullmatch(lines[number]) and lines[number] not in ("```", "-->"):
                shown.append(lines[number])
                number += 1
            status = _STATUS.search(typed)
            yield Command(
                start,
                prompt[1],
                _STATUS.sub("", typed),
                int(status[1]) if status else 0,
                tuple(shown),
            )


_BEGIN = r"""
set -eu
place=$1
cp -a /etc "$place/etc"
rm -f "$place/etc/pip.conf" "$place/etc/xdg/pip/pip.conf"
mount --bind "$place/etc" /etc
for directory in /home /srv /mnt /media; do
    mount -t tmpfs -o mode=755 documents "$directory"
done
mkdir -m 700 /home/root
for user in alice bob carol; do
    ! id "$user" >/dev/null 2>&1 || userdel "$user"
done
cd /
"""

_STEP = """
if {run} >{out} 2>&1 </dev/null; then echo 0; else echo $?; fi >{status}
"""


@pytest.fixture(scope="module")
def wheels(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """What pip finds: ours, what that needs, and WHEELS."""
    place = environments.public_directory() / f"pip-sharedcache-docs-{os.getpid()}"
    place.mkdir(mode=0o755)
    try:
        for name, version in WHEELS.items():
            make_wheel(place, name, version, files={f"{name}/__init__.py": "X = 1\n" * 300})
        needed = [environments.our_wheel(), *environments.support_wheels()]
        needed.append(environments.pip_wheel(environments.NEWEST_PIP))
        for wheel in needed:
            (place / wheel.name).write_bytes(wheel.read_bytes())
        yield place
    finally:
        for path in place.iterdir():
            path.unlink()
        place.rmdir()


def _script(found: list[Command], place: Path, index: str, python: Path) -> str:
    parts = [_BEGIN]
    for number, command in enumerate(found):
        home = f"/home/{command.user}"
        variables = {
            "HOME": home,
            "PATH": f"/srv/bin:{python.parent}:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin",
            "PIP_INDEX_URL": index,
            "PIP_NO_CACHE_DIR": "1",
            "PIP_DISABLE_PIP_VERSION_CHECK": "1",
            "LANG": "C.UTF-8",
            "COLUMNS": "200",
        }
        words = ["env", "-i", *(f"{name}={value}" for name, value in variables.items())]
        if command.user != "root":
            group = f"$(id -g {command.user})"
            words = ["setpriv", "--reuid", command.user, "--regid", group, "--init-groups", *words]
        quoted = " ".join(one if one.startswith("$(") else shlex.quote(one) for one in words)
        run = f"{quoted} sh -c {shlex.quote(f'cd {home} && {command.text}')}"
        parts.append(
            _STEP.format(run=run, out=place / f"{number}.out", status=place / f"{number}.status")
        )
    return "".join(parts)


def _faults(command: Command, said: str, status: int) -> list[str]:
    faults = []
    if status != command.status:
        faults.append(f"status {status}, not {command.status}")
    left = [line.rstrip() for line in said.splitlines()]
    for line in command.shown:
        if line.strip() == "…":
            continue
        pattern = re.compile(".*".join(map(re.escape, re.split(r"\s*…\s*", line.strip()))))
        while left and not pattern.fullmatch(left[0].strip()):
            left.pop(0)
        if not left:
            faults.append(f"does not show {line!r}")
            break
        left.pop(0)
    return faults


DOCUMENTS = ["tutorial.md", "howto.md", "reference.md", "why.md"]


@pytest.mark.parametrize("name", DOCUMENTS)
@needs(probes.root, probes.setpriv, probes.bind_mounts, probes.tmpfs)
def test_every_command_does_what_it_shows(
    name: str, tmp_path: Path, wheels: Path, public_python: Path
) -> None:
    found = list(commands(REPOSITORY / "docs" / name))
    script = tmp_path / "script"
    with LocalIndex(wheels) as index:
        script.write_text(_script(found, tmp_path, index.url, public_python))
        done = subprocess.run(
            ["unshare", "--mount", "--propagation", "private", "sh", str(script), str(tmp_path)],
            capture_output=True,
            text=True,
            timeout=900,
        )
    assert done.returncode == 0, done.stderr
    wrong = []
    for number, command in enumerate(found):
        said = (tmp_path / f"{number}.out").read_text(encoding="utf-8", errors="replace")
        status = int((tmp_path / f"{number}.status").read_text())
        faults = _faults(command, said, status)
        if faults:
            told = "\n".join(f"  {line}" for line in said.splitlines()[-40:])
            wrong.append(f"{name}:{command.line}: {command.text}\n{faults}\n{told}")
    assert not wrong, "\n\n".join(wrong)


def test_the_documents_have_commands_and_no_other_blocks() -> None:
    # Data, and what needs a service that no test has; test_images.py runs the last.
    allowed = {"console", "", "ini", "json", "text", "dockerfile"}
    for name in DOCUMENTS:
        text = (REPOSITORY / "docs" / name).read_text(encoding="utf-8")
        assert set(re.findall(r"^```(\w*)$", text, re.MULTILINE)) <= allowed
    assert sum(len(list(commands(REPOSITORY / "docs" / name))) for name in DOCUMENTS) >= 60


def test_links_lead_somewhere() -> None:
    documents = [REPOSITORY / "README.md", *sorted((REPOSITORY / "docs").glob("*.md"))]
    headings = {
        path: {
            re.sub(r"[^\w\- ]", "", line.lstrip("# ").lower()).replace(" ", "-")
            for line in path.read_text(encoding="utf-8").splitlines()
            if line.startswith("#")
        }
        for path in documents
    }
    for path in documents:
        for link in re.findall(r"\]\(([^)\s]+)\)", path.read_text(encoding="utf-8")):
            if "://" in link:
                continue
            file, _, anchor = link.partition("#")
            target = (path.parent / file).resolve() if file else path
            assert target.exists(), f"{path}: {link}"
            if anchor:
                assert anchor in headings[target], f"{path}: {link}"
