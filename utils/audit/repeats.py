"""Which values come more than once, among more of them than memory holds.

128-bit hashes with the place of each value go to one of 256 files on disk, by their first byte; equal values meet
in the same file. So memory is that of one file (1 MB for ten million values) and of a buffer, and nothing is sorted
but one file at a time.
"""

from collections.abc import Iterator, Sequence
from heapq import nsmallest
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import xxhash
from numpy.typing import NDArray

_BUFFERED = 200_000
"""Entries of 24 bytes held before they are written."""
_ROW_BITS = 32

RowPlace = tuple[int, int]
"""Number of the file, number of the row in it."""
Entries = NDArray[np.uint64]
"""Rows of: hash, hash, place."""


class HashIndex:
    """Values and where they stand; then those that stand in several places."""

    def __init__(self, folder: Path) -> None:
        self.count = 0
        self._folder = folder
        self._waiting: list[Entries] = []
        self._waiting_entries = 0
        folder.mkdir(parents=True)

    def add(self, values: Sequence[bytes], file: int, rows: NDArray[np.uint64]) -> None:
        """Enter values and the rows of `file` that they stand in."""
        if not values:
            return
        entries = np.empty((len(values), 3), np.uint64)
        digests = b"".join(map(xxhash.xxh3_128_digest, values))
        entries[:, :2] = np.frombuffer(digests, "<u8").reshape(-1, 2)
        entries[:, 2] = rows + np.uint64(file << _ROW_BITS)
        self._waiting.append(entries)
        self._waiting_entries += len(entries)
        self.count += len(entries)
        if self._waiting_entries >= _BUFFERED:
            self._spill()

    def repeats(self) -> Iterator[list[RowPlace]]:
        """The places of each value that has several, in order; the values in no order."""
        self._spill()
        for path in sorted(self._folder.iterdir()):
            yield from _repeats_in(np.fromfile(path, np.uint64).reshape(-1, 3))

    def first_repeats(self, count: int) -> tuple[int, list[list[RowPlace]]]:
        """(how many places repeat an earlier one, the first few values by where they are first repeated)."""
        total = 0

        def counted() -> Iterator[list[RowPlace]]:
            nonlocal total
            for places in self.repeats():
                total += len(places) - 1
                yield places

        first = nsmallest(count, counted(), key=lambda places: places[1])
        return total, first

    def held_against(self, other: "HashIndex", *, is_there: bool) -> Iterator[RowPlace]:
        """The places here of the values that another index has (`is_there`), or has not; in no order."""
        self._spill()
        other._spill()
        for path in sorted(self._folder.iterdir()):
            theirs = other._folder / path.name
            known = np.fromfile(theirs, np.uint64) if theirs.exists() else np.empty(0, np.uint64)
            ours = np.fromfile(path, np.uint64).reshape(-1, 3)
            is_known = np.isin(_hashes(ours), _hashes(known.reshape(-1, 3)))
            for place in ours[is_known == is_there, 2].tolist():
                yield _row_place(place)

    def _spill(self) -> None:
        if not self._waiting:
            return
        entries = np.concatenate(self._waiting)
        self._waiting, self._waiting_entries = [], 0
        bucket = (entries[:, 0] & np.uint64(0xFF)).astype(np.uint8)
        order = np.argsort(bucket, kind="stable")
        entries, bucket = entries[order], bucket[order]
        borders = [0, *(np.flatnonzero(np.diff(bucket)) + 1).tolist(), len(bucket)]
        for first, end in pairwise(borders):
            with (self._folder / f"{bucket[first]:02x}").open("ab") as file:
                file.write(entries[first:end].tobytes())


def _repeats_in(entries: Entries) -> Iterator[list[RowPlace]]:
    entries = entries[np.lexsort((entries[:, 2], entries[:, 1], entries[:, 0]))]
    same = (entries[1:, :2] == entries[:-1, :2]).all(axis=1)
    changes: Any = np.diff(same.astype(np.int8), prepend=0, append=0)
    for first, last in zip(np.flatnonzero(changes == 1), np.flatnonzero(changes == -1), strict=True):
        places = entries[first : last + 1, 2].tolist()
        yield [_row_place(place) for place in places]


def _row_place(place: int) -> RowPlace:
    return place >> _ROW_BITS, place & (2**_ROW_BITS - 1)


def _hashes(entries: Entries) -> NDArray[np.void]:
    """Both halves of each hash as one value."""
    return np.ascontiguousarray(entries[:, :2]).view(np.dtype((np.void, 16)))[:, 0]
