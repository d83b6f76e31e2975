"""The link mode that was asked for, the one in force, and the reasons."""

from __future__ import annotations

import pytest

from pip_sharedcache.model import LinkMode
from pip_sharedcache.placement import LinkChoice


@pytest.mark.parametrize("mode", list(LinkMode), ids=lambda mode: mode.value)
def test_choice_without_refusal_is_in_force(mode: LinkMode) -> None:
    choice = LinkChoice(mode)
    assert choice.in_force is mode
    assert (choice.refused, choice.summary()) == ("", "")
    assert choice.places_symlinks is (mode is LinkMode.SYMLINK)
    assert choice.clones is (mode is LinkMode.REFLINK)


def test_symlinks_given_up_are_replaced_by_reflinks() -> None:
    choice = LinkChoice(LinkMode.SYMLINK)
    choice.give_up_symlinks("")
    assert choice.places_symlinks
    choice.give_up_symlinks("others may move the store")
    choice.give_up_symlinks("a later reason")
    assert (choice.asked, choice.in_force) == (LinkMode.SYMLINK, LinkMode.REFLINK)
    assert choice.summary() == " (no symlink here: others may move the store)"


def test_other_modes_are_not_given_up_for_symlinks() -> None:
    choice = LinkChoice(LinkMode.HARDLINK)
    choice.give_up_symlinks("others may move the store")
    assert (choice.in_force, choice.refusals) == (LinkMode.HARDLINK, {})


def test_failed_reflinks_do_not_clone() -> None:
    choice = LinkChoice(LinkMode.REFLINK)
    choice.refusals[LinkMode.REFLINK] = "Operation not supported"
    assert not choice.clones
    assert choice.summary() == " (no reflink here: Operation not supported)"
