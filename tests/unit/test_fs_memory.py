"""The free memory of this process: given back, and in one arena."""

from __future__ import annotations

import subprocess
import sys

import pytest

from pip_sharedcache.fs.libc import c_function

pytestmark = pytest.mark.skipif(c_function("mallopt") is None, reason="no malloc of glibc here")

RSS = """
def rss():
    with open("/proc/self/statm") as file:
        return int(file.read().split()[1]) * 4096
"""


def _printed(program: str) -> list[int]:
    command = [sys.executable, "-c", program]
    done = subprocess.run(command, check=True, capture_output=True, text=True)
    return [int(word) for word in done.stdout.split()]


def test_free_memory_is_given_back() -> None:
    """Above it there is memory in use: free() alone gives none back."""
    program = f"""
from pip_sharedcache.fs import give_back
{RSS}
blocks = [bytes(2000) for _ in range(30_000)]
blocks[:-1] = []
before = rss()
give_back()
print(before - rss())
"""
    (given,) = _printed(program)
    assert given > 30_000_000


@pytest.mark.parametrize("one", [True, False])
def test_threads_allocate_in_one_arena(one: bool) -> None:
    """An arena of a thread is a heap of 64 MB, most of which is only reserved."""
    program = f"""
import threading
from pip_sharedcache.fs import use_one_arena
if {one}:
    use_one_arena()
kept, all_there = [], threading.Barrier(4)
def work():
    all_there.wait()
    kept.append([bytes(2000) for _ in range(100)])
    all_there.wait()
threads = [threading.Thread(target=work) for _ in range(4)]
for thread in threads: thread.start()
for thread in threads: thread.join()
with open("/proc/self/maps") as file:
    spans = [line.split()[0].split("-") for line in file if " ---p " in line]
print(sum(32 << 20 < int(end, 16) - int(start, 16) < 64 << 20 for start, end in spans))
"""
    (arenas,) = _printed(program)
    assert (arenas == 0) is one
