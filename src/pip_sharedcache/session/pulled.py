"""The sums of what remote stores gave in one run, for one line of each store at its end."""

from __future__ import annotations

import os
from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass, field

from pip_sharedcache.model import Digest, megabytes


@dataclass
class _Given:
    """What one remote store gave: the bytes of wheels and of bytecode, by the wheels' digests."""

    wheels: dict[Digest, int] = field(default_factory=dict)
    bytecode: dict[Digest, int] = field(default_factory=dict)


class PulledSums:
    """The sums of one run. Worker processes leave them to the process that made them."""

    def __init__(self) -> None:
        self._by_url: dict[str, _Given] = {}
        self._process = os.getpid()

    def add_wheel(self, url: str, digest: Digest, size: int) -> None:
        """Add the wheel ``digest`` of ``size`` bytes, which the store ``url`` gave."""
        self._by_url.setdefault(url, _Given()).wheels[digest] = size

    def add_bytecode(self, url: str, digest: Digest, size: int) -> None:
        """Add the bytecode of the wheel ``digest``, as ``add_wheel``."""
        self._by_url.setdefault(url, _Given()).bytecode[digest] = size

    def take_lines(self, refused: Collection[Digest]) -> Iterator[str]:
        """Yield and forget a line for each store that gave something.

        ``refused``: the wheels whose bytecode has no signature that counts.
        """
        given, self._by_url = self._by_url, {}
        for url, one in given.items() if os.getpid() == self._process else ():
            codes = {key: size for key, size in one.bytecode.items() if key not in refused}
            parts = list(filter(None, (_wheels(one.wheels, codes), _others(one.wheels, codes))))
            if parts:
                yield f"Pulled {', and '.join(parts)} from {url}"


def counted_wheels(count: int) -> str:
    """Return the number of wheels in words."""
    return "1 wheel" if count == 1 else f"{count} wheels"


def counted_bytecode(count: int) -> str:
    """Return the number of wheels whose bytecode is meant, in words."""
    return f"the bytecode of {counted_wheels(count)}"


def _wheels(wheels: Mapping[Digest, int], codes: Mapping[Digest, int]) -> str:
    with_them = [size for key, size in codes.items() if key in wheels]
    size = megabytes(sum(wheels.values()) + sum(with_them))
    also = " with bytecode" if with_them else ""
    return f"{counted_wheels(len(wheels))} ({size}{also})" if wheels else ""


def _others(wheels: Mapping[Digest, int], codes: Mapping[Digest, int]) -> str:
    """Return the bytecode of wheels that a local store had."""
    alone = [size for key, size in codes.items() if key not in wheels]
    return f"{counted_bytecode(len(alone))} ({megabytes(sum(alone))})" if alone else ""
