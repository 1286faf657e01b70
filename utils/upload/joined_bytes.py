"""Byte strings one after the other, as Arrow keeps a column of them, in memory that is used again and again."""

import weakref
from typing import Final

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

ROOM_BYTES: Final = 40 * 1000**2
"""A batch of staged audio and the clip that it ends with, unless that is a very long one."""
COPIED_BYTES: Final = 5 * 1000**2
"""What is no more than this has no room for itself: many of them may be kept for long."""
MAX_FREE: Final = 2
"""Rooms that are kept for later, of those that are filled and written in turns."""

_free: list[NDArray[np.uint8]] = []
"""Room that nobody uses."""


class JoinedBytes:
    """Bytes are copied once, when they are added; whoever made them can forget them."""

    def __init__(self) -> None:
        self._room: NDArray[np.uint8] | None = None
        self._ends = [0]

    def add(self, value: bytes) -> None:
        """Add one more."""
        if self._room is None:
            self._room = _some_room()
        begin = self._ends[-1]
        end = begin + len(value)
        if end > len(self._room):
            larger = np.empty(end, np.uint8)
            larger[:begin] = self._room[:begin]
            _give_back(self._room)
            self._room = larger
        self._room[begin:end] = np.frombuffer(value, np.uint8)
        self._ends.append(end)

    def take(self) -> pa.Array:
        """All of them, without a copy unless they are few; what is added next begins a new one. Their memory is used
        again as soon as nobody has the array, or a part of it, any more."""
        ends, self._ends = self._ends, [0]
        places = pa.py_buffer(np.array(ends, np.int32))
        joined = pa.py_buffer(self._taken(ends[-1]))
        return pa.BinaryArray.from_buffers(pa.binary(), len(ends) - 1, [None, places, joined])

    def _taken(self, size: int) -> NDArray[np.uint8]:
        """The first bytes of the room: a copy of them, or the room itself, which is ours no more."""
        if self._room is None:
            return np.empty(0, np.uint8)
        if size <= COPIED_BYTES:
            return self._room[:size].copy()
        room, self._room = self._room, None
        taken = room[:size]
        weakref.finalize(taken, _give_back, room).atexit = False
        return taken


def _some_room() -> NDArray[np.uint8]:
    try:
        return _free.pop()
    except IndexError:
        return np.empty(ROOM_BYTES, np.uint8)


def _give_back(room: NDArray[np.uint8]) -> None:
    if len(_free) < MAX_FREE and len(room) == ROOM_BYTES:
        _free.append(room)
