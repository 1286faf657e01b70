"""A shard's file: staged rows go in, row groups come out, whatever the borders of batches and segments.

Its bytes depend on nothing but the rows, their IDs and the library versions. So it can be written ahead, while the
split is still being read: when the shard is full, or the split ends, only its last row group is missing.
"""

import hashlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import pyarrow as pa
import pyarrow.parquet as pq

from utils.disk.durable import NewFile, make_folder, remove
from utils.rows.ids import IdSet, Range, id_of
from utils.rows.schema import RowSchema, published_schema
from utils.upload.segments import FreshRows, Segment

ROW_GROUP_ROWS = 100
ROW_GROUP_BYTES = 32 * 1000**2
"""Audio (or text) a row group holds at most (but for a single longer clip)."""
ROWS_AT_ONCE = 8
"""Between two looks of Parquet's writer at whether its page has reached 1 MB."""


@dataclass(frozen=True)
class Written:
    """What a shard holds, once it is whole."""

    ids: tuple[Range, ...]
    duration_s: float
    sha256: str


NOTHING_WRITTEN = Written((), 0.0, "")


class ShardFile:
    """The file that any shard is written to, row group by row group: where they end, and how they are written.

    `finish` it or `abandon` it.
    """

    def __init__(self, path: Path, schema: pa.Schema, on_write: Callable[[Any], None] | None = None) -> None:
        self._schema = schema
        self._new = NewFile(path, on_write=on_write)
        self._parquet = pq.ParquetWriter(self._new, schema, **shard_options(schema))
        self._rows = self._bytes = 0

    def is_full_with(self, size_bytes: int) -> bool:
        """Count another row of the row group, of so much audio or text; True where it is the last of the group."""
        self._rows, self._bytes = self._rows + 1, self._bytes + size_bytes
        return self._rows >= ROW_GROUP_ROWS or self._bytes >= ROW_GROUP_BYTES

    def write_group(self, group: pa.Table) -> None:
        """Write the rows that were counted."""
        self._rows = self._bytes = 0
        # Borders of chunks change the bytes that Parquet writes: one chunk a group, always.
        whole = group.select(self._schema.names).cast(self._schema).combine_chunks()
        self._parquet.write_table(whole, row_group_size=group.num_rows)

    def finish(self) -> None:
        """The file is whole, and durable, when this returns."""
        self._parquet.close()
        self._new.finish()

    def abandon(self) -> None:
        self._new.abandon()
        self._parquet.close()  # writes its footer whatever happened: to a file that drops it


class ShardWriter:
    """Writes the shard that begins behind clip `first_ordinal` of a split and numbers its rows from `next_id` on.

    `finish` it or `drop` it.
    """

    def __init__(
        self, path: Path, first_ordinal: int, next_id: int, sample_rate_hz: int | None, rows: RowSchema
    ) -> None:
        self.path = path
        self.begin = first_ordinal, next_id
        self.end = first_ordinal
        """The last clip that was taken; its rows may still wait for their group to be full."""
        self.rows_taken = self.bytes_taken = 0
        """Of the clips up to that one; bytes of audio, or text."""
        self._next_id, self._rows = next_id, rows
        self._ids, self._duration_s, self._digest = IdSet(prefix=rows.id_prefix), 0.0, hashlib.sha256()
        make_folder(path.parent)
        self._file = ShardFile(path, published_schema(sample_rate_hz, rows), on_write=self._digest.update)
        self._waiting: list[pa.Table] = []

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """After an error it is of no use any more; its file is overwritten, or goes when the next run begins."""
        if kind is not None:
            self._abandon()

    def take(self, segments: Sequence[Segment], last_ordinal: int) -> None:
        """Take the rows of all clips up to that one. `segments` hold them."""
        for segment in segments:
            if self.end < segment.progress.read and segment.first_ordinal < last_ordinal:
                for rows in segment.batches_between(self.end, last_ordinal):
                    self._take(rows)
        self.end = last_ordinal

    def take_fresh(self, fresh: FreshRows) -> None:
        """Take rows that follow the clips up to `end`."""
        self._take(pa.Table.from_batches([fresh.rows]))
        self.end = fresh.last

    def finish(self) -> Written:
        """Write what waits; the file is whole, and durable, when this returns."""
        if self._waiting:
            self._write_group()
        self._file.finish()
        return Written(tuple(self._ids.ranges), self._duration_s, self._digest.hexdigest())

    def drop(self) -> None:
        """Close and delete what there is of the file."""
        self._abandon()
        remove(self.path)

    def _abandon(self) -> None:
        self._waiting.clear()
        self._file.abandon()

    def _take(self, table: pa.Table) -> None:
        first, sizes = 0, table["_audio_bytes"].to_pylist()
        self.rows_taken, self.bytes_taken = self.rows_taken + len(sizes), self.bytes_taken + sum(sizes)
        for end, size in enumerate(sizes, start=1):
            if self._file.is_full_with(size):
                self._waiting.append(table.slice(first, end - first))
                self._write_group()
                first = end
        if first < table.num_rows:
            self._waiting.append(table.slice(first))

    def _write_group(self) -> None:
        group = pa.concat_tables(self._waiting)
        self._waiting = []
        carried = group["ID"].to_pylist()
        named = _with_ids(group, carried, self._next_id, self._rows)
        _note_ids(self._ids, carried, self._next_id)
        self._next_id += group.num_rows
        if self._rows.has_audio:
            self._duration_s += sum(named["length"].to_pylist())
        self._file.write_group(named)


_REPETITIVE = ("dataset_name", "speaker_id", "Language", "query", "author_hash", "language")
"""Columns of few values, each in many rows."""


def shard_options(schema: pa.Schema) -> dict[str, Any]:
    """Audio is already compressed: plain, without statistics. All else zstd. Page index for the viewer.

    A page of audio is closed at 1 MB and looked at every few rows: who wants one clip does not read a hundred, and
    Parquet moves pages that fit its caches.
    """
    leaves = [name for name in schema.names if name != "audio"]
    audio = {"audio.bytes": "none", "audio.path": "zstd"} if "audio" in schema.names else {}
    return {
        "compression": {**dict.fromkeys(leaves, "zstd"), **audio},
        "use_dictionary": [name for name in _REPETITIVE if name in schema.names],
        "write_statistics": leaves,
        "write_page_index": True,
        "write_batch_size": ROWS_AT_ONCE,
    }


def _note_ids(ids: IdSet, carried: Sequence[str], next_id: int) -> None:
    """Add the IDs of rows that carry these ("": it is given one here)."""
    if not any(carried):
        ids.add_numbers(next_id, next_id + len(carried) - 1)
        return
    for at, own in enumerate(carried):
        if own:
            ids.add(own)
        else:
            ids.add_numbers(next_id + at, next_id + at)


def _with_ids(group: pa.Table, carried: Sequence[str], next_id: int, rows: RowSchema) -> pa.Table:
    """The rows with their IDs (given here unless they carry their own), the audio's path named after them."""
    ids = [own or id_of(next_id + at, rows.id_prefix) for at, own in enumerate(carried)]
    with_id = group.set_column(group.schema.get_field_index("ID"), "ID", pa.array(ids, pa.string()))
    if not rows.has_audio:
        return with_id
    chunks = group["audio"]
    audio = chunks.chunk(0) if chunks.num_chunks == 1 else chunks.combine_chunks()  # which copies one chunk, too
    endings = (path.rpartition(".")[2] for path in audio.field("path").to_pylist())
    paths = [f"{audio_file_name(sample_id)}.{ending}" for sample_id, ending in zip(ids, endings, strict=True)]
    named = pa.StructArray.from_arrays([audio.field("bytes"), pa.array(paths, pa.string())], ["bytes", "path"])
    return with_id.set_column(with_id.schema.get_field_index("audio"), "audio", named)


def audio_file_name(sample_id: str) -> str:
    """An ID as a file name: IDs that somebody else chose never become paths."""
    if sample_id.isalnum():
        return sample_id[:100]
    return "".join(letter if letter.isalnum() or letter in "-_" else "_" for letter in sample_id)[:100]
