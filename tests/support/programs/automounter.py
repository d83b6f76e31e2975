"""An automounter (autofs, protocol 5): python automounter.py POINT NAME SOURCE

Shows the directory SOURCE at POINT/NAME once a process asks for it. There is nothing at any other
name, as where a file server is down. Prints "ready"; ends at the end of its standard input.
"""

from __future__ import annotations

import contextlib
import ctypes
import fcntl
import os
import select
import struct
import subprocess
import sys
from pathlib import Path

_HEADER = struct.Struct("=iiIIQIIIII")  # autofs_v5_packet (linux/auto_fs.h), up to its name
_MISSING_INDIRECT = 3
_READY, _FAIL, _CATATONIC = 0x9360, 0x9361, 0x9362


def main(point: str, name: str, source: str) -> None:
    ours, theirs = os.pipe()
    data = f"fd={theirs},pgrp={os.getpgrp()},minproto=5,maxproto=5,indirect"
    libc = ctypes.CDLL(None, use_errno=True)
    words = (one.encode() for one in ("automounter", point, "autofs"))
    if libc.mount(*words, 0, data.encode()) != 0:
        raise OSError(ctypes.get_errno(), "autofs cannot be mounted")
    os.close(theirs)
    root = os.open(point, os.O_RDONLY | os.O_DIRECTORY)
    try:
        print("ready", flush=True)
        while ours in select.select([ours, sys.stdin], [], [])[0]:
            packet = os.read(ours, 4096)
            _, kind, token, *_, length = _HEADER.unpack_from(packet)
            asked = packet[_HEADER.size : _HEADER.size + length].decode()
            if kind == _MISSING_INDIRECT and asked == name:
                where = Path(point, name)
                where.mkdir(exist_ok=True)
                subprocess.run(["mount", "--bind", source, str(where)], check=True)
                fcntl.ioctl(root, _READY, token)
            else:
                fcntl.ioctl(root, _FAIL, token)
    finally:
        fcntl.ioctl(root, _CATATONIC, 0)
        os.close(root)
        with contextlib.suppress(subprocess.CalledProcessError):
            subprocess.run(["umount", "--recursive", point], check=True)


if __name__ == "__main__":
    main(*sys.argv[1:])
