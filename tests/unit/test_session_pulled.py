"""The lines on what remote stores gave."""

from __future__ import annotations

import os

from pip_sharedcache.model import Digest
from pip_sharedcache.session.pulled import PulledSums

A, B, C = (Digest(letter * 64) for letter in "abc")


def _sums() -> PulledSums:
    sums = PulledSums()
    sums.add_wheel("s3://near", A, 1_000_000)
    sums.add_bytecode("s3://near", A, 500_000)
    sums.add_wheel("s3://far", B, 2_000_000)
    sums.add_bytecode("s3://far", C, 3_000_000)
    return sums


def test_each_store_has_one_line() -> None:
    sums = _sums()
    assert list(sums.take_lines(())) == [
        "Pulled 1 wheel (1.5 MB with bytecode) from s3://near",
        "Pulled 1 wheel (2.0 MB), and the bytecode of 1 wheel (3.0 MB) from s3://far",
    ]
    assert list(sums.take_lines(())) == []


def test_refused_bytecode_does_not_count() -> None:
    assert list(_sums().take_lines({A, C})) == [
        "Pulled 1 wheel (1.0 MB) from s3://near",
        "Pulled 1 wheel (2.0 MB) from s3://far",
    ]
    alone = PulledSums()
    alone.add_bytecode("s3://near", A, 500_000)
    assert list(alone.take_lines({A})) == []


def test_worker_process_leaves_the_lines_to_its_parent() -> None:
    sums = _sums()
    child = os.fork()
    if not child:
        os._exit(len(list(sums.take_lines(()))))
    assert os.waitpid(child, 0)[1] == 0
    assert len(list(sums.take_lines(()))) == 2
