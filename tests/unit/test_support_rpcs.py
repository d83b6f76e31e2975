"""The counter of RPCs reads what a kernel shows of its mounts."""

from __future__ import annotations

from pathlib import Path

import pytest

from support.rpcs import parse

TEXT = """\
device proc mounted on /proc with fstype proc
device 10.0.1.1:/other mounted on /data/below with fstype nfs statvers=1.1
\tper-op statistics
\t     GETATTR: 9 9 0 356 448 0 0 0 0

device 10.0.1.1:/ mounted on /data with fstype nfs4 statvers=1.1
\topts:\trw,vers=4.2
\tevents:\t3 7 0 3 1 1
\txprt:\ttcp 0 0 2 0 0 36 36 0 36 0 2 0 0
\tper-op statistics
\t        NULL: 1 1 0 44 24 0 0 0 0
\t        READ: 0 0 0 0 0 0 0 0 0
\t OPEN_NOATTR: 12 13 0 240 324 0 0 0 0

device 10.0.1.1:/last mounted on /last with fstype nfs statvers=1.1
\tper-op statistics
\t       WRITE: 5 5 0 0 0 0 0 0 0
"""


def test_rpcs_are_calls_of_one_mount() -> None:
    assert parse(TEXT, Path("/data")) == {"NULL": 1, "OPEN_NOATTR": 12}


@pytest.mark.parametrize("path", ["/proc", "/nowhere"])
def test_rpcs_of_another_file_system_are_refused(path: str) -> None:
    with pytest.raises(LookupError):
        parse(TEXT, Path(path))
