"""Which clips are being converted right now, noted where it outlives the process that a crashing codec ends."""

import hashlib
import mmap
import threading
from collections import Counter
from collections.abc import Callable
from typing import Final, TypeVar

T = TypeVar("T")

_NOTE_BYTES: Final = 16
MAX_THREADS: Final = 256
TRIED: Final = 2
"""A clip behind so many crashes is not tried any more."""


class InFlight:
    """A note for each thread, in memory that is shared with whoever this process is forked from or forks.

    `crashes`: note -> how many runs that crashed had left it.
    """

    def __init__(self) -> None:
        self._notes = mmap.mmap(-1, MAX_THREADS * _NOTE_BYTES)
        self._places = threading.local()
        self._next_place = 0
        self._lock = threading.Lock()
        self.crashes: Counter[bytes] = Counter()

    def during(self, source_id: str, convert: Callable[[], T]) -> T:
        """What `convert()` gives; the clip is noted meanwhile."""
        first = self._place() * _NOTE_BYTES
        self._notes[first : first + _NOTE_BYTES] = note_of(source_id)
        try:
            return convert()
        finally:
            self._notes[first : first + _NOTE_BYTES] = bytes(_NOTE_BYTES)

    def crashes_at(self, source_id: str) -> int:
        """How many runs have crashed while they converted this clip, perhaps among others."""
        return self.crashes[note_of(source_id)] if self.crashes else 0

    def take_notes(self) -> frozenset[bytes]:
        """The clips that are noted; forgets them."""
        content = self._notes[:]
        self._notes[:] = bytes(len(content))
        notes = (content[first : first + _NOTE_BYTES] for first in range(0, len(content), _NOTE_BYTES))
        return frozenset(note for note in notes if any(note))

    def _place(self) -> int:
        place: int | None = getattr(self._places, "number", None)
        if place is None:
            with self._lock:
                # Threads come and go, a pool for each split: a place that is taken twice loses a note, no clip.
                place = self._places.number = self._next_place % MAX_THREADS
                self._next_place += 1
        return place


def note_of(source_id: str) -> bytes:
    return hashlib.blake2b(source_id.encode(errors="surrogatepass"), digest_size=_NOTE_BYTES).digest()
