"""The part of the large products that a run takes."""

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
PAIR = ("argument", "status", "pip")
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
    ("cells", "sampled"),
    [(PRODUCT, ()), (PRODUCT, ("way",)), (PAIRS, ()), (PAIRS, ("argument",)), (PAIRS, tuple(PAIR))],
)


@CHOICES
def test_slices_of_a_function_together_are_all_of_it(
    cells: dict[str, dict[str, int]], sampled: tuple[str, ...]
) -> None:
    parts = [taken(cells, Slice(number, RUNS), sampled) for number in range(1, RUNS + 1)]
    assert set().union(*parts) == cells.keys()
    # Only what every run takes is in two of them.
    always = covering(cells, sampled)
    assert all(one & other == always for one, other in itertools.combinations(parts, 2))
    assert max(map(len, parts)) - min(map(len, parts)) <= 1


@CHOICES
def test_slice_of_a_function_has_each_value_that_is_not_sampled(
    cells: dict[str, dict[str, int]], sampled: tuple[str, ...]
) -> None:
    expected = {(p, value) for cell in cells.values() for p, value in cell.items()}
    for number in range(1, RUNS + 1):
        chosen = taken(cells, Slice(number, RUNS), sampled)
        found = {(p, value) for name in chosen for p, value in cells[name].items()}
        # The status follows from the argument.
        assert {p for p, _ in expected - found} <= {*sampled, *(["status"] if sampled else [])}
        assert chosen


def test_covering_of_five_parameters_has_few_cells() -> None:
    assert len(covering(PRODUCT)) <= 5


def test_covering_where_all_is_sampled_is_one_cell() -> None:
    assert len(covering(PAIRS, tuple(PAIR))) == 1


def test_covering_of_two_parameters_has_every_value_and_mixes_them() -> None:
    chosen = [PAIRS[name] for name in covering(PAIRS)]
    assert sorted(cell["argument"] for cell in chosen) == list(range(30))
    assert 5 < sum(cell["pip"] for cell in chosen) < 25


def test_covering_is_the_same_in_every_order_of_the_cells() -> None:
    assert covering(dict(reversed(PRODUCT.items()))) == covering(PRODUCT)


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
    items, few = list(range(100)), list(range(10))
    assert slices.places(items) == items
    slices.choose(Slice(2, 8))
    assert slices.places(items) == items[1::8]
    assert slices.places(few) == few
