"""Byte strings gathered in memory that is used again: what is in it is what was added."""

import numpy as np

from utils.joined_bytes import ROOM_BYTES, JoinedBytes


def test_what_was_added_comes_out_in_its_order() -> None:
    """Also nothing at all, and empty strings."""
    joined = JoinedBytes()
    assert joined.as_array().to_pylist() == []
    for value in (b"a", b"", b"bcd"):
        joined.add(value)
    assert joined.as_array().to_pylist() == [b"a", b"", b"bcd"]


def test_cleared_it_begins_anew() -> None:
    """Nothing of what was there before comes out."""
    joined = JoinedBytes()
    joined.add(b"long ago")
    joined.clear()
    joined.add(b"now")
    assert joined.as_array().to_pylist() == [b"now"]


def test_a_very_long_one_fits_and_its_room_is_given_back() -> None:
    """One clip may be longer than a whole row group."""
    joined = JoinedBytes()
    joined.add(b"before")
    long = np.arange(ROOM_BYTES + 1, dtype=np.uint32).astype(np.uint8).tobytes()
    joined.add(long)
    assert joined.as_array().to_pylist() == [b"before", long]
    joined.clear()
    joined.add(b"after")
    assert joined.as_array().to_pylist() == [b"after"]
    assert len(joined._room) == ROOM_BYTES


def test_two_at_a_time_have_memory_of_their_own() -> None:
    """And so has one that takes over the memory of one that is gone, when a third comes."""
    first = JoinedBytes()
    first.add(b"first")
    del first
    second, third = JoinedBytes(), JoinedBytes()
    second.add(b"second")
    third.add(b"third")
    assert (second.as_array().to_pylist(), third.as_array().to_pylist()) == ([b"second"], [b"third"])
