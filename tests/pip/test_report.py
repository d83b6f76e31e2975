"""The page on a store, made of real installations and opened in a real browser."""

from __future__ import annotations

import json
import os
from pathlib import Path

import pytest
from PIL import Image

from support import offline
from support.accounts import run_as
from support.environments import EnvironmentFactory
from support.faults import visible_entries
from support.probes import chromium, linux, needs
from support.wheels import make_wheel

pytestmark = [pytest.mark.pips, needs(linux)]

#: Headless, and asking nothing of any network.
BROWSER = (
    *("chromium", "--headless", "--no-sandbox", "--disable-gpu", "--disable-quic"),
    *("--no-first-run", "--disable-background-networking", "--disable-component-update"),
    *("--disable-sync", "--hide-scrollbars", "--disable-dev-shm-usage"),
)
LIGHT, DARK = "1", "0"  # as Blink counts them


@pytest.fixture
def report(environment: EnvironmentFactory, wheelhouse: Path, tmp_path: Path) -> Path:
    for name in ("demo", "other", "a-name-that-is-far-too-long-for-a-line-on-any-phone"):
        module = name.replace("-", "_")
        make_wheel(wheelhouse, name, files={f"{module}/__init__.py": "X = 1\n" * 1000})
    (tmp_path / "store").mkdir()
    one, two = environment("one"), environment("two")
    env = offline(wheelhouse, tmp_path / "store", PIP_SHAREDCACHE_LINK_MODE="copy")
    long = "a-name-that-is-far-too-long-for-a-line-on-any-phone"
    run_as(None, one.command("install", "other"), env=env, check=True)
    for entry in visible_entries(tmp_path / "store"):
        os.utime(entry, (1_700_000_000, 1_700_000_000))
    run_as(None, one.command("store", "gc", "--older-than", "30d"), env=env, check=True)
    run_as(None, one.command("install", "demo", long), env=env, check=True)
    run_as(None, two.command("install", "demo"), env=env, check=True)
    page = tmp_path / "page.html"
    done = run_as(None, one.command("store", "report", "--html", page), env=env, check=True)
    told = run_as(None, one.command("store", "stats", "--json"), env=env)
    facts = json.loads(told.stdout)
    assert facts["wheels"] + facts["bytecode"] == 5
    assert f"with {facts['entries']} entries of {tmp_path / 'store'}." in done.stdout
    told = run_as(None, one.command("store", "report", "--json", "--html", page), env=env)
    assert json.loads(told.stdout)["entries"] == facts["entries"]
    return page


def _open(page: Path, *arguments: object) -> str:
    profile = f"--user-data-dir={page.parent / 'profile'}"
    env = {"HOME": str(page.parent)}
    return run_as(None, [*BROWSER, profile, *arguments, page.as_uri()], env=env, check=True).stdout


def _picture(page: Path, width: int, scheme: str) -> Image.Image:
    file = page.with_suffix(".png")
    size = f"--window-size={width},1600"
    _open(page, size, f"--blink-settings=preferredColorScheme={scheme}", f"--screenshot={file}")
    with Image.open(file) as image:
        return image.convert("RGB")


def _colours(image: Image.Image) -> dict[object, int]:
    return {colour: count for count, colour in image.getcolors(image.width * image.height) or ()}


@needs(chromium)
def test_a_browser_shows_it_by_day_and_night_and_on_a_phone(report: Path) -> None:
    """Nothing is wider than the screen, and both schemes have their bars."""
    for width, scheme, paper, bar in (
        (1000, LIGHT, (255, 255, 255), (0x1F, 0x6F, 0xB2)),
        (500, LIGHT, (255, 255, 255), (0x1F, 0x6F, 0xB2)),
        (500, DARK, (0x14, 0x18, 0x1C), (0x66, 0xAE, 0xE8)),
    ):
        image = _picture(report, width, scheme)
        colours = _colours(image)
        assert max(colours, key=lambda colour: colours[colour]) == paper
        assert colours[bar] > 1000, "bars"
        for left in (0, width - 8):
            margin = _colours(image.crop((left, 0, left + 8, image.height)))
            assert set(margin) == {paper}, f"something leaves a page of {width} pixels"


@needs(chromium)
def test_a_browser_reads_all_of_it(report: Path) -> None:
    shown = _open(report, "--dump-dom")
    assert "<polyline" in shown and "<rect" in shown
    assert "a-name-that-is-far-too-long" in shown
    assert "25 % of 4" in shown
    assert "garbage collections" in shown
    pdf = report.with_suffix(".pdf")
    _open(report, f"--print-to-pdf={pdf}", "--no-pdf-header-footer")
    assert pdf.read_bytes().startswith(b"%PDF")
