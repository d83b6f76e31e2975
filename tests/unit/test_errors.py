"""Errors are values: one line each, a stable code, and they survive being passed around."""

from __future__ import annotations

import errno
import pickle

import pytest

from pip_sharedcache import errors
from pip_sharedcache.errors import SharedCacheError, reason

KINDS = sorted(
    (
        kind
        for kind in vars(errors).values()
        if isinstance(kind, type) and issubclass(kind, SharedCacheError)
    ),
    key=lambda kind: kind.__name__,
)
KIND = pytest.mark.parametrize("kind", KINDS, ids=lambda kind: kind.__name__)


@KIND
def test_a_hint_follows_the_message(kind: type[SharedCacheError]) -> None:
    assert str(kind("/a is full", "make room")) == "/a is full; hint: make room"
    assert str(kind("/a is full")) == "/a is full"


@KIND
def test_it_survives_pickling(kind: type[SharedCacheError]) -> None:
    again = pickle.loads(pickle.dumps(kind("/a is full", "make room")))
    assert type(again) is kind
    assert (again.message, again.hint, again.code) == ("/a is full", "make room", kind.code)


@KIND
def test_it_can_be_shown_to_a_developer(kind: type[SharedCacheError]) -> None:
    assert repr(kind("a", "b")) == f"{kind.__name__}('a', 'b')"


@KIND
def test_fields_survive_pickling(kind: type[SharedCacheError]) -> None:
    error = kind("/a cannot be read", path="/a", errno=errno.EACCES)
    again = pickle.loads(pickle.dumps(error))
    assert (again.path, again.errno) == ("/a", errno.EACCES)
    assert (kind("a").path, kind("a").errno) == (None, None)


def test_file_error_carries_path_and_number_of_the_cause() -> None:
    cause = OSError(errno.EACCES, "Permission denied", "/other")
    error = errors.FileError.of("/a", "written", cause)
    assert str(error) == "/a cannot be written: Permission denied"
    assert (error.path, error.errno, error.code) == ("/a", errno.EACCES, "io-error")


def test_every_kind_has_a_code_of_its_own() -> None:
    assert len({kind.code for kind in KINDS}) == len(KINDS)


def test_a_store_that_may_not_be_written_is_one_that_was_not_published_to() -> None:
    assert issubclass(errors.NotWritable, errors.NotPublished)


def test_the_systems_own_words_are_given_without_the_path() -> None:
    assert reason(OSError(errno.EACCES, "Permission denied", "/secret")) == "Permission denied"


def test_an_error_without_words_is_named() -> None:
    assert reason(OSError()) == "OSError"
    assert reason(BlockingIOError("odd")) == "BlockingIOError"
