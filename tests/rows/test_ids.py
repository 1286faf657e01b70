"""IDs and sets of them: a set like any other, that stays small and survives JSON."""

import json

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule

from utils.rows.ids import IdSet, id_of, merge_ranges, number_of

numbers = st.integers(min_value=1, max_value=30)
other_ids = st.sampled_from(["S0", "S01", "s1", "S", "S-1", "clip-ก", "S1 ", "", "S" + "9" * 19])
ids = st.one_of(numbers.map(id_of), other_ids)
ranges = st.tuples(numbers, st.integers(0, 8)).map(lambda start: (start[0], start[0] + start[1]))


class AgainstASet(RuleBasedStateMachine):
    """Whatever is done to an `IdSet` and to a plain set, both hold the same."""

    def __init__(self) -> None:
        super().__init__()
        self.ours, self.model = IdSet(), set()

    @rule(sample_id=ids)
    def add(self, sample_id: str) -> None:
        self.ours.add(sample_id)
        self.model.add(sample_id)

    @rule(sample_id=ids)
    def discard(self, sample_id: str) -> None:
        self.ours.discard(sample_id)
        self.model.discard(sample_id)

    @rule(added=st.lists(ranges, max_size=3))
    def unite(self, added: list[tuple[int, int]]) -> None:
        self.ours |= IdSet(ranges=added)
        self.model |= {id_of(number) for first, last in added for number in range(first, last + 1)}

    @rule(sample_id=ids)
    def holds_the_same(self, sample_id: str) -> None:
        assert (sample_id in self.ours) == (sample_id in self.model)

    @invariant()
    def equal(self) -> None:
        assert self.ours == self.model
        assert len(self.ours) == len(self.model)
        assert sorted(self.ours) == sorted(self.model)

    @invariant()
    def ranges_are_sorted_and_apart(self) -> None:
        found = self.ours.ranges
        assert all(first <= last for first, last in found)
        assert all(before[1] + 1 < after[0] for before, after in zip(found, found[1:], strict=False))


AgainstASet.TestCase.settings = settings(
    max_examples=60, stateful_step_count=25, deadline=None, derandomize=True, database=None
)
TestIdSetAgainstASet = AgainstASet.TestCase


@settings(max_examples=60, deadline=None, derandomize=True, database=None)
@given(st.sets(ids))
def test_survives_json(members: set[str]) -> None:
    """What is written as JSON reads back as the same set."""
    written = json.dumps(IdSet(members).to_json(), ensure_ascii=False)

    assert IdSet.from_json(json.loads(written)) == members


def test_plain_list_of_an_older_version_loads() -> None:
    """Older checkpoints hold every ID by itself."""
    assert IdSet.from_json(["S2", "S1", "S3", "custom"]).to_json() == [["S1", "S3"], "custom"]


@pytest.mark.parametrize(
    "item", [["S5", "S1"], ["S1"], ["S1", "S2", "S3"], ["a", "b"], ["S1", 2], ["S01", "S2"], 7, None, {"S1": "S2"}]
)
def test_what_is_no_id_and_no_range_is_refused(item: object) -> None:
    """Cannot tell is not empty: a damaged set never loads as a smaller one."""
    with pytest.raises(ValueError, match="not an ID or a range"):
        IdSet.from_json(["S1", item])


def test_ten_million_ids_are_one_range() -> None:
    """Size follows the number of ranges, not of IDs: consecutive IDs are two numbers, in memory and in JSON."""
    many = IdSet(ranges=[(1, 10_000_000)])
    many.add("S10000001")
    many.discard("S5000000")

    assert many.to_json() == [["S1", "S4999999"], ["S5000001", "S10000001"]]
    assert len(many) == 10_000_000
    assert "S5000000" not in many


def test_ids_added_one_by_one_in_any_order_become_one_range() -> None:
    """Neighbours merge from either side."""
    scattered = IdSet(id_of(number) for number in [*range(2, 2001, 2), *range(1999, 0, -2)])

    assert scattered.ranges == [(1, 2000)]


@settings(max_examples=60, deadline=None, derandomize=True, database=None)
@given(st.lists(ranges, max_size=6))
def test_merged_ranges_hold_the_same_numbers(given_ranges: list[tuple[int, int]]) -> None:
    """Sorted, and neither overlapping nor touching."""
    merged = merge_ranges(given_ranges)

    def held(some: object) -> list[int]:
        return sorted({number for first, last in some for number in range(first, last + 1)})

    assert held(merged) == held(given_ranges)
    assert all(before[1] + 1 < after[0] for before, after in zip(merged, merged[1:], strict=False))


def test_only_the_public_form_is_a_number() -> None:
    """`S<n>` without leading zeros, n from 1; anything else stands for itself."""
    assert [number_of(some) for some in ("S1", "S120", "S0", "S01", "s1", "S1\n", "1", "S-1", "S１")] == [
        *(1, 120),
        *[None] * 7,
    ]
