"""Mount points at which nothing is mounted."""

from __future__ import annotations

from pathlib import Path

import pytest

from pip_sharedcache.trust import mounts
from support.probes import linux, needs


@needs(linux)
def test_units_of_the_administrator_name_mount_points(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As systemd-escape --path writes them."""
    for name in (r"mnt-my\x2dstore-b\xc3\xa4r.mount", "srv.mount", "srv-x.automount", "a.service"):
        (tmp_path / name).touch()
    monkeypatch.setattr(mounts, "_UNITS", tmp_path)
    assert mounts.unmounted_point(Path("/mnt/my-store/bär/pip")) == "/mnt/my-store/bär"
    assert mounts.unmounted_point(Path("/srv/pip")) == "/srv"
    assert mounts.unmounted_point(Path("/mnt/other")) == ""


@needs(linux)
def test_the_mount_point_of_a_path_that_is_not_there_is_that_of_what_is_above_it() -> None:
    assert mounts.mount_point_of(Path("/proc/nothing/here")) == "/proc"
    assert mounts.mount_point_of(Path("/no/such/path")) == "/"
