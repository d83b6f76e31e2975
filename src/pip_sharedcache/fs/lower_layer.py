"""Lower layers of overlays, for example the image of a container."""

from __future__ import annotations

import contextlib
import errno
import os
from pathlib import Path

from pip_sharedcache.fs.temporary import sweep_temporary, temporary_name
from pip_sharedcache.trust import mounts


def is_in_lower_layer(directory: Path) -> bool:
    """Return whether ``directory`` is in a lower layer of an overlay, so that it cannot be renamed.

    The trial is a rename onto a directory that is not empty, which always fails: the kernel reports
    a lower layer (EXDEV) before it looks into that directory. Return False where this user may not
    make the other directory, which is removed again.
    """
    if mounts.kind_of(directory) != "overlay":
        return False
    sweep_temporary(directory.parent)
    other = directory.parent / f".{temporary_name()}"
    try:
        os.mkdir(other)
        (other / "file").touch()
        os.rename(directory, other)
    except OSError as error:
        return error.errno == errno.EXDEV
    finally:
        # Not a whole tree: nothing but what was made here.
        with contextlib.suppress(OSError):
            os.unlink(other / "file")
        with contextlib.suppress(OSError):
            os.rmdir(other)
    os.rename(other, directory)  # another process has emptied the other directory
    return False
