"""The files that `--verify` has read: a few figures of each, and how places in them are told."""

import re
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import PurePosixPath

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from utils.audit.repeats import RowPlace
from utils.dataset.target import Snapshot, TargetReader
from utils.rows.ids import Range
from utils.rows.schema import SPEECH, SPLITS, RowSchema

SPLITS_OF_OTHERS = {"dev": "validation", "valid": "validation", "val": "validation", "eval": "test"}
"""What other tools call our splits."""


@dataclass
class FileFacts:
    """What the rows of one file come to."""

    path: str
    split: str
    row_schema: RowSchema = SPEECH
    number: int = 0
    """Among all files that are read."""
    rows: int = 0
    duration_s: float = 0.0
    columns: frozenset[str] = frozenset()
    numbers: list[Range] = field(default_factory=list)
    """Of its IDs of the form S<n> (or as its kind of rows has it), in ranges, sorted."""
    ids_increase: bool = True
    is_readable: bool = False

    def note_ids(self, ids: pa.Array) -> None:
        """Which numbers its next rows' IDs have, and whether they increase from row to row."""
        text, prefix = as_text(ids), self.row_schema.id_prefix
        numbered = text.filter(pc.fill_null(pc.match_substring_regex(text, f"^{prefix}[1-9][0-9]{{0,17}}$"), False))
        if not len(numbered):
            return
        digits = pc.utf8_slice_codeunits(numbered, len(prefix))
        numbers: NDArray[np.int64] = pc.cast(digits, pa.int64()).to_numpy()
        if (self.numbers and numbers[0] <= self.numbers[-1][1]) or (np.diff(numbers) <= 0).any():
            self.ids_increase = False
        ordered = np.unique(numbers)
        ends = np.flatnonzero(np.diff(ordered) > 1)
        firsts, lasts = ordered[[0, *(ends + 1)]].tolist(), ordered[[*ends, -1]].tolist()
        if self.numbers and self.numbers[-1][1] + 1 == firsts[0]:
            firsts[0] = self.numbers.pop()[0]
        self.numbers += zip(firsts, lasts, strict=True)


class FilesRead:
    """All files in the order of reading: a `RowPlace` counts in them."""

    def __init__(self, target: TargetReader, snapshot: Snapshot) -> None:
        self.files: list[FileFacts] = []
        self._target, self._snapshot = target, snapshot

    def are_in_two_splits(self, places: Sequence[RowPlace]) -> bool:
        return len({self.files[file].split for file, _ in places}) > 1

    def told(self, column: str, places: Sequence[RowPlace]) -> str:
        """`S7: data/train/X-00000.parquet row 6, data/train/X-00001.parquet row 0`; rows count from 0.

        What stands before the places is read again: the first one's value of `column`.
        """
        where = [f"{self.files[file].path} row {row}" for file, row in places[:3]]
        more = [f"{len(places) - 3} more"] if len(places) > 3 else []
        return f"{self.value(column, places[0])}: {', '.join([*where, *more])}"

    def value(self, column: str, place: RowPlace) -> str:
        """What a row has in a column, as text."""
        path, row = self.files[place[0]].path, place[1]
        for batch in self._target.batches(path, [column], self._snapshot):
            if row < batch.num_rows:
                value: bytes = as_text(batch[0].slice(row, 1)).cast(pa.binary())[0].as_py()
                return value.decode(errors="replace")
            row -= batch.num_rows
        raise ValueError(f"{path} has no row {place[1]}")


def split_of(path: str) -> str:
    """The split of a data file: its folder; in layouts of others what its name begins with, or a folder further up."""
    *folders, name = PurePosixPath(path).parts
    begins = re.match(r"[a-z]+", name)
    word = begins[0] if begins else ""
    nearest = folders[-1] if folders else ""
    known = [place for place in (nearest, word, *reversed(folders)) if place in (*SPLITS, *SPLITS_OF_OTHERS)]
    return known[0] if known else nearest if len(folders) > 1 else word


def as_text(column: pa.Array) -> pa.Array:
    return column if pa.types.is_string(column.type) else column.cast(pa.string())
