"""Public IDs: `S1, S2, ...`, and sets of IDs that stay small at ten million of them.

Other kinds of rows (`utils/rows/schema.py`) have another letter than `S`, and numbers of their own.
"""

import re
from bisect import bisect_right
from collections.abc import Iterable, Iterator, MutableSet, Sequence
from functools import cache

Range = tuple[int, int]
"""First and last number, both included."""


def id_of(number: int, prefix: str = "S") -> str:
    return f"{prefix}{number}"


def number_of(sample_id: str, prefix: str = "S") -> int | None:
    """The number of an ID of the form `S<n>`, None for any other."""
    match = _numbered(prefix).fullmatch(sample_id)
    return int(match[1]) if match else None


@cache
def _numbered(prefix: str) -> re.Pattern[str]:
    return re.compile(rf"{prefix}([1-9][0-9]{{0,17}})")


def merge_ranges(ranges: Iterable[Range]) -> tuple[Range, ...]:
    """The same numbers in sorted ranges, those that overlap or touch made one."""
    return tuple(IdSet(ranges=ranges).ranges)


def subtract(ranges: Iterable[Range], taken: Iterable[Range]) -> list[Range]:
    """The numbers of `ranges` that are not in `taken`; both in sorted ranges that do not overlap."""
    left: list[Range] = []
    others = list(taken)
    at = 0
    for first, last in ranges:
        while at < len(others) and others[at][1] < first:
            at += 1
        step = at
        while step < len(others) and others[step][0] <= last:
            if first < others[step][0]:
                left.append((first, others[step][0] - 1))
            first = max(first, others[step][1] + 1)
            step += 1
        if first <= last:
            left.append((first, last))
    return left


def ranges_text(ranges: Sequence[Range], prefix: str = "S") -> str:
    """`S1 to S20, S25`; the first few of many."""
    told = [" to ".join(id_of(number, prefix) for number in sorted({*ends})) for ends in ranges[:3]]
    more = [f"{len(ranges) - 3} more ranges"] if len(ranges) > 3 else []
    return ", ".join([*told, *more]) or "none"


class IdSet(MutableSet[str]):
    """A set of IDs: sorted ranges for `S<n>` (or another `prefix`), a plain set for IDs of any other form."""

    def __init__(self, ids: Iterable[str] = (), ranges: Iterable[Range] = (), prefix: str = "S") -> None:
        self._prefix = prefix
        self._starts: list[int] = []
        self._ends: list[int] = []
        self._others: set[str] = set()
        for first, last in ranges:
            self._add_range(first, last)
        for sample_id in ids:
            self.add(sample_id)

    def __contains__(self, sample_id: object) -> bool:
        if not isinstance(sample_id, str):
            return False
        number = number_of(sample_id, self._prefix)
        if number is None:
            return sample_id in self._others
        at = bisect_right(self._starts, number) - 1
        return at >= 0 and number <= self._ends[at]

    def __iter__(self) -> Iterator[str]:
        for first, last in self.ranges:
            yield from (id_of(number, self._prefix) for number in range(first, last + 1))
        yield from self.others

    def __len__(self) -> int:
        return sum(last - first + 1 for first, last in self.ranges) + len(self._others)

    def __repr__(self) -> str:
        return f"IdSet({self.to_json()!r})"

    @property
    def ranges(self) -> list[Range]:
        return list(zip(self._starts, self._ends, strict=True))

    @property
    def others(self) -> list[str]:
        """The IDs that are no `S<n>`, sorted."""
        return sorted(self._others)

    @property
    def weight(self) -> int:
        """What its size follows: ranges, and other IDs."""
        return len(self._starts) + len(self._others)

    def add(self, value: str) -> None:
        number = number_of(value, self._prefix)
        if number is None:
            self._others.add(value)
        else:
            self._add_range(number, number)

    def add_numbers(self, first: int, last: int) -> None:
        """Add the IDs with the numbers `first` to `last`."""
        self._add_range(first, last)

    def discard(self, value: str) -> None:
        number = number_of(value, self._prefix)
        if number is None:
            self._others.discard(value)
            return
        if value not in self:
            return
        at = bisect_right(self._starts, number) - 1
        first, last = self._starts.pop(at), self._ends.pop(at)
        for piece_first, piece_last in ((first, number - 1), (number + 1, last)):
            if piece_first <= piece_last:
                self._add_range(piece_first, piece_last)

    def _add_range(self, first: int, last: int) -> None:
        """Insert a range, merging all that it overlaps or touches."""
        low = bisect_right(self._starts, first) - 1
        if low < 0 or self._ends[low] < first - 1:
            low += 1
        high = bisect_right(self._starts, last + 1)
        if low < high:
            first = min(first, self._starts[low])
            last = max(last, self._ends[high - 1])
        self._starts[low:high] = [first]
        self._ends[low:high] = [last]

    def to_json(self) -> list[str | list[str]]:
        """Ranges as `["S1", "S5000"]`, other IDs as plain strings."""
        return [*([id_of(first, self._prefix), id_of(last, self._prefix)] for first, last in self.ranges), *self.others]

    @classmethod
    def from_json(cls, items: Iterable[object], prefix: str = "S") -> "IdSet":
        """Read `to_json`'s form, or the plain list of IDs that older versions wrote. ValueError on anything else."""
        result = cls(prefix=prefix)
        for item in items:
            if isinstance(item, str):
                result.add(item)
                continue
            match item:
                case [str() as first_id, str() as last_id]:
                    first, last = number_of(first_id, prefix), number_of(last_id, prefix)
                case _:
                    first = last = None
            if first is None or last is None or last < first:
                raise ValueError(f"not an ID or a range of IDs: {item!r}")
            result._add_range(first, last)
        return result
