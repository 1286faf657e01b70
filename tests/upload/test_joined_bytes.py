"""Byte strings gathered in memory that is used again: what is in it is what was added."""

import numpy as np
import pyarrow as pa
import pytest

from utils.upload import joined_bytes
from utils.upload.joined_bytes import COPIED_BYTES, MAX_FREE, ROOM_BYTES, JoinedBytes

MANY = COPIED_BYTES + 1
"""Bytes that are not copied once more."""


@pytest.fixture(autouse=True)
def nothing_free(monkeypatch: pytest.MonkeyPatch) -> None:
    """What other tests have left is not used."""
    monkeypatch.setattr(joined_bytes, "_free", [])


def joined(*values: bytes) -> JoinedBytes:
    made = JoinedBytes()
    for value in values:
        made.add(value)
    return made


def address(array: pa.Array) -> int:
    return int(array.buffers()[2].address)


def test_what_was_added_comes_out_in_its_order() -> None:
    """Also nothing at all, and empty strings."""
    made = JoinedBytes()
    assert made.take().to_pylist() == []
    for value in (b"a", b"", b"bcd"):
        made.add(value)
    assert made.take().to_pylist() == [b"a", b"", b"bcd"]


def test_taken_it_begins_anew() -> None:
    """Nothing of what was there before comes out."""
    made = joined(b"long ago")
    made.take()
    made.add(b"now")
    assert made.take().to_pylist() == [b"now"]


def test_what_somebody_has_stays_as_it_is() -> None:
    """Were it only a slice of it, or made into another array."""
    made = joined(b"first", b"second")
    slice_of_it = made.take().slice(1)
    made.add(b"third")
    struct = pa.StructArray.from_arrays([made.take()], ["bytes"])
    made.add(b"fourth")
    assert made.take().to_pylist() == [b"fourth"]
    assert slice_of_it.to_pylist() == [b"second"]
    assert struct.to_pylist() == [{"bytes": b"third"}]


def test_memory_is_used_again_when_nobody_has_it() -> None:
    """New memory comes page by page, each cleared by the kernel."""
    made = joined(bytes(MANY))
    first = made.take()
    where = address(first)
    made.add(bytes(MANY))
    second = made.take()
    assert address(second) != where
    del first
    made.add(bytes(MANY))
    assert address(made.take()) == where


def test_it_is_not_while_somebody_has_a_part_of_it() -> None:
    """A slice, a child of a struct, numpy's view of the buffer."""
    ones, twos = b"\1" * MANY, b"\2" * MANY
    made = joined(ones)
    struct = pa.StructArray.from_arrays([made.take()], ["bytes"])
    child = struct.field("bytes")
    del struct
    made.add(twos)
    view = np.frombuffer(made.take().buffers()[2], np.uint8)
    for _ in range(4):
        made.add(b"\3" * MANY)
        made.take()
    assert child.to_pylist() == [ones]
    assert view.tobytes() == twos


def test_only_so_much_is_kept() -> None:
    """However many were in use at a time."""
    taken = [joined(bytes(MANY)).take() for _ in range(MAX_FREE + 2)]
    del taken
    assert len(joined_bytes._free) == MAX_FREE


def test_few_bytes_keep_no_room() -> None:
    """They may be kept for long, and be many: a checkpoint after every clip has a batch for each."""
    made = JoinedBytes()
    taken = []
    for _ in range(20):
        made.add(b"short")
        taken.append(made.take())
    assert {array.buffers()[2].size for array in taken} == {5}
    assert made._room is not None and not joined_bytes._free


def test_a_very_long_one_fits_and_its_room_is_given_back() -> None:
    """One clip may be longer than a whole row group."""
    long = np.arange(ROOM_BYTES + 1, dtype=np.uint32).astype(np.uint8).tobytes()
    made = joined(b"before", long)
    assert made.take().to_pylist() == [b"before", long]
    made.add(b"after")
    assert made.take().to_pylist() == [b"after"]
    assert all(len(room) == ROOM_BYTES for room in joined_bytes._free)


def test_two_at_a_time_have_memory_of_their_own() -> None:
    """And so has one that takes over the memory of one that is gone, when a third comes."""
    first = joined(b"first")
    del first
    second, third = joined(b"second"), joined(b"third")
    assert (second.take().to_pylist(), third.take().to_pylist()) == ([b"second"], [b"third"])
