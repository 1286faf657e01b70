"""Whether a state or a progress that was read from a file makes sense: what its checksum can't tell.

A checksum finds damage. Who writes a state of their own can make one that fits; and a name in it becomes a path, a
count the length of a list.
"""

from collections.abc import Iterable
from dataclasses import fields
from typing import TYPE_CHECKING, Final

from utils.checked_types import check_types
from utils.shown import shown

if TYPE_CHECKING:
    from utils.ids import Range
    from utils.state import Progress, SplitState, State

MOST_PARTS: Final = 500_000
"""Of all splits together. The Hub takes 100,000 files a repo."""
LONGEST_NAME: Final = 200


def check_progress(progress: "Progress", name: str) -> None:
    """ValueError where the progress of a split can't be one."""
    check_types(progress, type(progress), name)
    counts = (getattr(progress, field.name) for field in fields(progress) if field.type in (int, "int"))
    index = progress.position.get("index")
    check_types(index, int, f"{name}.position.index")
    if min(*counts, index) < 0:
        raise ValueError(f"{shown(name)} counts less than nothing")


def check_state(state: "State") -> None:
    """ValueError where a state can't be one."""
    check_types(state, type(state), "the state")
    _check_ranges(state.holes, "holes")
    if state.taken_out:
        for kind, holes in state.taken_out.holes.items():
            _check_ranges(holes, f"the holes of {kind}")
        if min(state.taken_out.nameless.values(), default=0) < 0:
            raise ValueError("it counts less than nothing")
    for name, source in state.sources.items():
        _check_name(name)
        for split, books in source.splits.items():
            _check_name(split)
            _check_split(books, f"{name}/{split}")
    if sum(books.parts for source in state.sources.values() for books in source.splits.values()) > MOST_PARTS:
        raise ValueError(f"it names more than {MOST_PARTS:,} parts")
    if (
        min(state.next_id - 1, *(number - 1 for number in state.next_ids.values()), state.ledger_bytes, state.sequence)
        < 0
    ):
        raise ValueError("it counts less than nothing")


def check_path(path: str) -> None:
    """ValueError where the path of a published file leads anywhere but into the target."""
    if not path.isprintable() or set(path.split("/")) & {"", ".", ".."}:
        raise ValueError(f"{shown(ascii(path))} is no path of a published file")


def _check_split(books: "SplitState", name: str) -> None:
    for progress in (books.progress, *books.earlier):
        check_progress(progress, name)
    _check_ranges(books.ids, f"{name}.ids")
    if min(books.parts, books.published, books.size_bytes, books.duration_s, books.pass_first_part) < 0:
        raise ValueError(f"{shown(name)} counts less than nothing")


def _check_ranges(ranges: "Iterable[Range]", name: str) -> None:
    for first, last in ranges:
        if not 1 <= first <= last:
            raise ValueError(f"{shown(name)} has the range {first} to {last}")


def _check_name(name: str) -> None:
    """A source or a split: part of the names of files."""
    is_plain = name.isprintable() and not name.startswith(".") and not set(name) & set("/\\")
    if not (is_plain and 0 < len(name) <= LONGEST_NAME):
        raise ValueError(f"{shown(ascii(name))} is no name of a source or a split")
