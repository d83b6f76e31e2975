"""The part of the tests with parameters that a run takes."""

from __future__ import annotations

import itertools
from collections.abc import Iterator

import pytest

from support import slices
from support.slices import RUNS, Slice, covering, taken

PARAMETERS = {"maker": 2, "acl": 2, "first": 3, "second": 3, "way": 3}
PRODUCT = {
    "-".join(map(str, values)): dict(zip(PARAMETERS, values))
    for values in itertools.product(*map(range, PARAMETERS.values()))
}
#: The status follows from the argument.
PAIRS = {
    f"{one}-{other}": {"argument": one, "status": one % 3, "pip": other}
    for one in range(30)
    for other in range(2)
}


@pytest.fixture
def _restored_slice() -> Iterator[None]:
    yield
    slices.choose(None)


CHOICES = pytest.mark.parametrize(
    ("cells", "every"),
    [
        (PRODUCT, ()),
        (PRODUCT, ("way",)),
        (PRODUCT, tuple(PARAMETERS)),
        (PAIRS, ()),
        (PAIRS, ("pip",)),
        (PAIRS, ("argument", "status", "pip")),
    ],
)


@CHOICES
def test_slices_of_a_function_together_are_all_of_it(
    cells: dict[str, dict[str, int]], every: tuple[str, ...]
) -> None:
    parts = [taken(cells, Slice(number, RUNS), every) for number in range(1, RUNS + 1)]
    assert set().union(*parts) == cells.keys()
    # Only what every run takes is in two of them.
    always = covering(cells, every)
    assert all(one & other == always for one, other in itertools.combinations(parts, 2))
    assert max(map(len, parts)) - min(map(len, parts)) <= 1


@pytest.mark.parametrize("number_of_cells", range(1, 2 * RUNS))
def test_slices_of_a_function_with_few_cells_have_each_of_them(number_of_cells: int) -> None:
    cells = {f"cell-{number}": {"pip": number} for number in range(number_of_cells)}
    parts = [taken(cells, Slice(number, RUNS)) for number in range(1, RUNS + 1)]
    assert set().union(*parts) == cells.keys()
    assert all(parts)
    assert len(parts[0]) <= 2


@CHOICES
def test_each_slice_of_a_function_has_a_cell_and_each_value_that_is_to_be_in_every_run(
    cells: dict[str, dict[str, int]], every: tuple[str, ...]
) -> None:
    for number in range(1, RUNS + 1):
        chosen = taken(cells, Slice(number, RUNS), every)
        assert chosen
        for parameter in every:
            values = {cell[parameter] for cell in cells.values()}
            assert {cells[name][parameter] for name in chosen} == values


def test_covering_of_five_parameters_has_few_cells() -> None:
    assert len(covering(PRODUCT, PARAMETERS)) <= 5


def test_covering_of_two_parameters_has_every_value_and_mixes_them() -> None:
    chosen = [PAIRS[name] for name in covering(PAIRS, ("argument", "pip"))]
    assert sorted(cell["argument"] for cell in chosen) == list(range(30))
    assert 5 < sum(cell["pip"] for cell in chosen) < 25


def test_covering_is_the_same_in_every_order_of_the_cells() -> None:
    assert covering(dict(reversed(PRODUCT.items())), PARAMETERS) == covering(PRODUCT, PARAMETERS)


def test_slice_is_parsed_and_a_wrong_one_refused() -> None:
    assert slices.parse("3/8") == Slice(3, 8)
    rotating = slices.parse("rotating")
    assert rotating.of == RUNS and 1 <= rotating.number <= RUNS
    for wrong in ("0/8", "9/8", "8", "", "a/b"):
        with pytest.raises(ValueError, match="not K/N"):
            slices.parse(wrong)


def test_equal_values_of_a_parameter_have_one_number() -> None:
    cells = {"a": {"pip": "1", "steps": ["x"]}, "b": {"pip": "2", "steps": ["x"]}}
    assert slices.numbered(cells) == {"a": {"pip": 0, "steps": 0}, "b": {"pip": 1, "steps": 0}}


@pytest.mark.usefixtures("_restored_slice")
def test_places_are_all_without_a_slice_and_divided_with_one() -> None:
    items, few = list(range(100)), list(range(7))
    assert slices.places(items) == items
    slices.choose(Slice(2, 8))
    assert slices.places(items) == items[1::8]
    assert slices.places(few) == few


@pytest.mark.usefixtures("_restored_slice")
def test_share_is_all_without_a_slice_and_at_least_once_with_one() -> None:
    assert slices.share(4000) == 4000
    slices.choose(Slice(2, 8))
    assert slices.share(4000) == 500
    assert slices.share(3) == 1
