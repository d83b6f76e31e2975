"""Which environment the script is for: the active one, by variables, PATH and options."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from pip_sharedcache import pip_adapter
from pip_sharedcache.cli.choosing import TargetEnvironment, pip_arguments
from pip_sharedcache.errors import UsageError


@pytest.fixture
def top(tmp_path: Path) -> Path:
    """Three environments, as far as a look at their files tells."""
    for name in ("own", "venv", "conda"):
        (tmp_path / name / "bin").mkdir(parents=True)
        (tmp_path / name / "bin" / "python").touch()
    (tmp_path / "own" / "pyvenv.cfg").touch()
    (tmp_path / "own" / "bin" / "pip-sharedcache").touch()
    (tmp_path / "same").symlink_to("own")
    return tmp_path


def _place(top: Path, *path: str, **variables: str) -> TargetEnvironment:
    environ = {name: str(top / value) for name, value in variables.items()}
    environ["PATH"] = os.pathsep.join(["/usr/bin", *(str(top / one / "bin") for one in path)])
    return TargetEnvironment.of(
        environ, str(top / "own"), str(top / "own" / "bin" / "pip-sharedcache")
    )


_BOTH = {"VIRTUAL_ENV": "venv", "CONDA_PREFIX": "conda"}


@pytest.mark.parametrize(
    ("path", "variables", "chosen"),
    [
        ([], {}, None),
        (["venv"], {"VIRTUAL_ENV": "venv"}, ("venv", "VIRTUAL_ENV")),
        ([], {"CONDA_PREFIX": "conda"}, ("conda", "CONDA_PREFIX")),
        ([], _BOTH, ("venv", "VIRTUAL_ENV")),
        (["venv", "conda"], _BOTH, ("venv", "VIRTUAL_ENV")),
        (["conda", "venv"], _BOTH, ("conda", "CONDA_PREFIX")),
        (["conda"], _BOTH, ("conda", "CONDA_PREFIX")),
        (["own"], {"VIRTUAL_ENV": "own", "CONDA_PREFIX": "conda"}, None),
        ([], {"VIRTUAL_ENV": "same"}, None),
        ([], {"VIRTUAL_ENV": "gone"}, ("gone", "VIRTUAL_ENV")),
    ],
)
def test_the_active_environment_is_the_one_that_comes_first_in_path(
    path: list[str], variables: dict[str, str], chosen: tuple[str, str] | None, top: Path
) -> None:
    place = _place(top, *path, **variables)
    expected = (top / chosen[0], chosen[1]) if chosen else (None, "")
    assert (place.prefix, place.variable, place.reserved) == (*expected, False)


def test_an_active_environment_without_an_interpreter_is_an_error(top: Path) -> None:
    with pytest.raises(UsageError, match=r"VIRTUAL_ENV: .*/gone is not a Python environment"):
        _place(top, VIRTUAL_ENV="gone").executable()


@pytest.mark.parametrize(
    "sign", ["pip-sharedcache.central", "pipx_metadata.json", "uv-receipt.toml"]
)
def test_a_sign_reserves_an_environment(sign: str, top: Path) -> None:
    (top / "own" / sign).touch()
    assert _place(top).reserved
    assert not _place(top, VIRTUAL_ENV="own").reserved


def test_a_link_to_the_script_reserves_a_virtual_environment(top: Path) -> None:
    link = top / "pip-sharedcache"
    link.symlink_to("own/bin/pip-sharedcache")
    own = str(top / "own")
    assert TargetEnvironment.of({}, own, str(link)).reserved
    assert not TargetEnvironment.of({}, own, str(top / "same" / "bin" / "pip-sharedcache")).reserved
    (top / "own" / "pyvenv.cfg").unlink()
    assert not TargetEnvironment.of({}, own, str(link)).reserved


_GOES, _STAYS = True, False


@pytest.mark.parametrize(
    ("arguments", "configured", "goes"),
    [
        ("install demo", {}, _GOES),
        ("list", {}, _GOES),
        ("install --target t demo", {}, _GOES),
        ("--version", {}, _GOES),
        ("install --python-version 3.9 demo", {}, _GOES),
        ("install -- --python", {}, _GOES),
        ("--python other list", {}, _STAYS),
        ("--pyth=other list", {}, _STAYS),
        ("install --python other demo", {}, _STAYS),
        ("list", {"python": "other"}, _STAYS),
        ("help install", {}, _STAYS),
        ("install --help", {}, _STAYS),
        ("", {}, _STAYS),
    ],
)
def test_the_active_interpreter_is_used_unless_one_is_named(
    arguments: str,
    configured: dict[str, str],
    goes: bool,
    top: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.setattr(pip_adapter, "configured", lambda command, isolated: configured)
    words = arguments.split()
    command = next((word for word in words if not word.startswith("-")), "")
    expected = ["--python", str(top / "venv" / "bin" / "python"), *words] if goes else words
    assert pip_arguments(_place(top, VIRTUAL_ENV="venv"), command, words) == expected
    assert capsys.readouterr().err == ""


@pytest.mark.parametrize(
    ("arguments", "configured", "refused"),
    [
        ("install demo", {}, True),
        ("uninstall -y demo", {}, True),
        ("install demo", {"user": "false"}, True),
        ("install --root-user-action=ignore demo", {}, True),
        ("install -rtest.txt", {}, True),
        ("install -- --target", {}, True),
        ("install --target t demo", {}, False),
        ("install -Ut t demo", {}, False),
        ("install --prefix=p demo", {}, False),
        ("install --root r demo", {}, False),
        ("install --user demo", {}, False),
        ("install --python other demo", {}, False),
        ("install demo", {"target": "t"}, False),
        ("install demo", {"user": "1"}, False),
        ("install demo", {"python": "other"}, False),
        ("list", {}, False),
        ("download demo", {}, False),
    ],
)
def test_a_reserved_environment_is_changed_only_where_a_target_is_named(
    arguments: str,
    configured: dict[str, str],
    refused: bool,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(pip_adapter, "configured", lambda command, isolated: configured)
    words = arguments.split()
    if refused:
        with pytest.raises(UsageError, match="No environment is active"):
            pip_arguments(TargetEnvironment(reserved=True), words[0], words)
    else:
        assert pip_arguments(TargetEnvironment(reserved=True), words[0], words) == words
