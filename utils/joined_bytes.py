"""Byte strings one after the other, as Arrow keeps a column of them, in memory that is used again and again."""

from typing import Final

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

ROOM_BYTES: Final = 40 * 1000**2
"""A row group of audio and the clip that it ends with, unless that is a very long one."""

_free: list[NDArray[np.uint8]] = []
"""Room that nobody uses: of many that are filled in turns one is enough."""


class JoinedBytes:
    """Bytes are copied once, when they are added; whoever made them can forget them."""

    def __init__(self) -> None:
        try:
            self._room = _free.pop()
        except IndexError:
            self._room = np.empty(ROOM_BYTES, np.uint8)
        self._ends = [0]

    def __del__(self) -> None:
        if not _free and len(self._room) == ROOM_BYTES:
            _free.append(self._room)

    def add(self, value: bytes) -> None:
        """Add one more."""
        begin = self._ends[-1]
        end = begin + len(value)
        if end > len(self._room):
            larger = np.empty(end, np.uint8)
            larger[:begin] = self._room[:begin]
            self._room = larger
        self._room[begin:end] = np.frombuffer(value, np.uint8)
        self._ends.append(end)

    def as_array(self) -> pa.Array:
        """All of them, without a copy: good until the next `clear`."""
        ends = pa.py_buffer(np.array(self._ends, np.int32))
        joined = pa.py_buffer(self._room[: self._ends[-1]])
        return pa.BinaryArray.from_buffers(pa.binary(), len(self._ends) - 1, [None, ends, joined])

    def clear(self) -> None:
        """Begin anew in the same memory; less of it where a very long one had made it larger."""
        self._ends = [0]
        if len(self._room) > ROOM_BYTES:
            self._room = np.empty(ROOM_BYTES, np.uint8)
