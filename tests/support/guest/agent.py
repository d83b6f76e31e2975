"""The process of a host that runs commands: started by boot.sh, standard library only.

Orders arrive at the serial line: "run N", or "kill N", "stop N" and "cont N" for the whole process
group. The file N.json of the directory named on the command line describes order N: argv, cwd, env.
Its output goes to N.out and N.err there; the answer at the serial line is "end N STATUS".
"""

from __future__ import annotations

import ctypes
import json
import os
import signal
import subprocess
import sys
import threading
import tty
from pathlib import Path
from typing import BinaryIO

_LINE = "/dev/ttyS0"
_POWER_OFF = 0x4321FEDC  # reboot(2)
_SIGNALS = {"kill": signal.SIGKILL, "stop": signal.SIGSTOP, "cont": signal.SIGCONT}


def main() -> None:
    """Say that the host is up, and obey until it ends."""
    directory = Path(sys.argv[1])
    line = os.open(_LINE, os.O_RDWR | os.O_NOCTTY)
    tty.setraw(line)
    running: dict[str, subprocess.Popen[bytes]] = {}
    answering = threading.Lock()

    def answer(text: str) -> None:
        with answering:
            os.write(line, f"{text}\n".encode())

    def run(number: str) -> None:
        order = json.loads((directory / f"{number}.json").read_text(encoding="utf-8"))
        out, err = directory / f"{number}.out", directory / f"{number}.err"
        status = 127
        with out.open("wb") as stdout, err.open("wb") as stderr:
            try:
                process = subprocess.Popen(
                    order["argv"],
                    stdin=subprocess.DEVNULL,
                    stdout=stdout,
                    stderr=stderr,
                    cwd=order["cwd"],
                    env=order["env"],
                    start_new_session=True,
                )
                running[number] = process
                status = process.wait()
            except OSError as error:
                stderr.write(f"{order['argv'][0]}: {error}\n".encode())
            running.pop(number, None)
        answer(f"end {number} {status}")

    answer("up")
    with os.fdopen(os.dup(line), "rb", buffering=0) as orders:
        rest = b""
        while True:
            data = _read(orders)
            if not data:  # the tests have ended, or were killed: nobody else would end this host
                ctypes.CDLL(None).reboot(_POWER_OFF)
            *lines, rest = (rest + data).split(b"\n")
            for text in lines:
                what, _, number = text.decode().partition(" ")
                if what == "run":
                    threading.Thread(target=run, args=(number,), daemon=True).start()
                elif what in _SIGNALS and number in running:
                    os.killpg(running[number].pid, _SIGNALS[what])


def _read(orders: BinaryIO) -> bytes:
    try:
        return orders.read(4096)
    except OSError:  # hung up
        return b""


if __name__ == "__main__":
    main()
