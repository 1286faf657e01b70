"""Clips in Parquet files with an audio column: any Hub dataset, its column names by configuration.

Read row group by row group, and within one in batches of about 16 MB. A row group may hold a whole
5.7 GB file; what sets the memory then is Parquet's own unit of reading, the data page (pyarrow's
writer puts 1,024 rows into one, `datasets` 100).
"""

import logging
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import PurePosixPath
from typing import Any, BinaryIO

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from processors.reading import behind_the_end, damage_explained, file_in, number_in
from utils.errors import SourceError
from utils.schema import Position, RawClip
from utils.sources import SourceFiles

log = logging.getLogger(__name__)

BATCH_BYTES = 16 * 1000**2
MAX_BATCH_ROWS = 1000
_READ_BYTES = 1024**2
"""How much of a column is read at a time. Without a size pyarrow loads a row group's whole column."""

_NUMBERED = re.compile(r"-\d+-of-(\d+)\.parquet$")


@dataclass(frozen=True)
class ParquetColumns:
    """The names of the columns. `audio` is a struct<bytes, path>, or the bytes themselves."""

    audio: str = "audio"
    transcript: str = "sentence"
    speaker: str | None = None
    metadata: tuple[str, ...] = ()

    @property
    def names(self) -> list[str]:
        return [self.audio, self.transcript, *([self.speaker] if self.speaker else []), *self.metadata]


def split_files(names: Sequence[str], prefixes: tuple[str, ...]) -> list[str]:
    """The Parquet files that begin with one of `prefixes`, in name order. SourceError where there is none."""
    found = sorted(name for name in names if name.startswith(prefixes) and name.endswith(".parquet"))
    if not found:
        wanted = " or ".join(f"{prefix}*.parquet" for prefix in prefixes)
        raise SourceError(
            f"No file {wanted} in the source; it has {', '.join(names[:5])}. Put the missing files there, "
            "then run again with --resume."
        )
    totals = {int(match[1]) for name in found if (match := _NUMBERED.search(name))}
    if totals and sum(totals) != len(found):
        log.warning("%s: %d files are there, but by their names there should be %d", found[0], len(found), sum(totals))
    return found


def count_rows(files: SourceFiles, names: Sequence[str]) -> int:
    """The rows of all files, from their footers."""
    total = 0
    for name in names:
        with files.open(name) as stream, damage_explained(name, pa.ArrowException):
            total += pq.ParquetFile(stream).metadata.num_rows
    return total


def read_parquet(
    files: SourceFiles, names: Sequence[str], columns: ParquetColumns, position: Position
) -> Iterator[RawClip]:
    """The rows of the files `names`, in that order, from a position `{index, file, row_group, row}` on.

    A clip's key is the stem of its audio's path, or `{file's stem}-{row in the file}` where it has none.
    """
    read = number_in(position, "index")
    seeking = "file" in position
    first_file = file_in(position, names) if seeking else 0
    first_group = number_in(position, "row_group") if seeking else 0
    to_pass = number_in(position, "row") if seeking else read
    for name in names[first_file:]:
        with files.open(name) as stream, damage_explained(name, pa.ArrowException):
            shard = _Shard(stream, name, columns)
            if seeking and not shard.has(first_group, to_pass):
                raise behind_the_end(name, position)
            for group in range(first_group, shard.groups):
                passed = min(to_pass, shard.rows_in(group))
                to_pass -= passed
                place = shard.first_row(group)
                for row, cells in enumerate(shard.rows(group, passed), start=passed):
                    read += 1
                    after: Position = {"index": read, "file": name, "row_group": group, "row": row + 1}
                    yield _clip(cells, f"{PurePosixPath(name).stem}-{place + row}", after)
        seeking, first_group = False, 0
    if to_pass:
        raise behind_the_end("the source", position)


@dataclass(frozen=True, slots=True)
class _Cells:
    """One row, as Python values."""

    audio: bytes | None
    path: str
    transcript: str
    speaker: str | None
    metadata: dict[str, Any] | None


def _clip(cells: _Cells, place: str, after: Position) -> RawClip:
    path = PurePosixPath(cells.path)
    return RawClip(
        key=path.stem or place,
        position=after,
        audio=cells.audio,
        audio_name=path.name or place,
        transcript=cells.transcript,
        speaker=cells.speaker,
        metadata=cells.metadata,
    )


class _Shard:
    """One Parquet file. Raises SourceError where it lacks a column that is needed."""

    def __init__(self, stream: BinaryIO, name: str, columns: ParquetColumns) -> None:
        self._file = pq.ParquetFile(stream, buffer_size=_READ_BYTES, pre_buffer=False)
        self._columns = columns
        self._audio_parts = self._checked_audio_parts(name)

    @property
    def groups(self) -> int:
        return int(self._file.num_row_groups)

    def rows_in(self, group: int) -> int:
        return int(self._file.metadata.row_group(group).num_rows)

    def first_row(self, group: int) -> int:
        """The number in the file of the row group's first row."""
        return sum(map(self.rows_in, range(group)))

    def has(self, group: int, row: int) -> bool:
        """Whether `row` rows of that group can have been read."""
        return group < self.groups and row <= self.rows_in(group)

    def rows(self, group: int, first: int) -> Iterator[_Cells]:
        """The rows of a row group from `first` on."""
        if first >= self.rows_in(group):
            return
        to_pass = first
        audio, *others = self._columns.names
        leaves = [f"{audio}.{part}" for part in self._audio_parts] or [audio]
        batches = self._file.iter_batches(self._batch_rows(group), row_groups=[group], columns=[*leaves, *others])
        for batch in batches:
            passed = min(to_pass, batch.num_rows)
            to_pass -= passed
            yield from self._cells(batch.slice(passed))

    def _cells(self, batch: pa.RecordBatch) -> Iterator[_Cells]:
        names = self._columns
        audio = batch.column(names.audio)
        paths = None
        if self._audio_parts:
            paths = _readable(pc.struct_field(audio, "path")) if "path" in self._audio_parts else None
            audio = pc.struct_field(audio, "bytes")
        texts = {name: _readable(batch.column(name)) for name in names.names[1:]}
        for row in range(batch.num_rows):
            yield _Cells(
                audio=audio[row].as_py(),
                path=_text(paths[row].as_py()) if paths is not None else "",
                transcript=_text(texts[names.transcript][row].as_py()),
                speaker=_text(texts[names.speaker][row].as_py()) or None if names.speaker else None,
                metadata={name: _plain(texts[name][row].as_py()) for name in names.metadata} or None,
            )

    def _checked_audio_parts(self, name: str) -> list[str]:
        """Which children of the audio struct to read; none where the column is the bytes themselves."""
        schema = self._file.schema_arrow
        missing = [column for column in self._columns.names if column not in schema.names]
        if missing:
            raise SourceError(
                f"{name} has no column {' or '.join(map(repr, missing))}; its columns are {', '.join(schema.names)}. "
                "This is not the layout that the source is known by: nothing was read from it."
            )
        audio = schema.field(self._columns.audio).type
        parts = [field.name for field in audio if field.name in ("bytes", "path")] if _is_struct(audio) else []
        if "bytes" not in parts and not _is_binary(audio):
            raise SourceError(
                f"{name}: its column {self._columns.audio!r} is {audio}, not encoded audio "
                "(struct<bytes, path>): nothing was read from it."
            )
        return parts

    def _batch_rows(self, group: int) -> int:
        metadata = self._file.metadata.row_group(group)
        fitting = BATCH_BYTES * int(metadata.num_rows) // max(1, int(metadata.total_byte_size))
        return max(1, min(MAX_BATCH_ROWS, fitting))


def _is_struct(kind: pa.DataType) -> bool:
    return bool(pa.types.is_struct(kind))


def _is_binary(kind: pa.DataType) -> bool:
    return bool(pa.types.is_binary(kind) or pa.types.is_large_binary(kind))


def _readable(column: pa.Array) -> pa.Array:
    """The column with its text as bytes: pyarrow would raise at the first string that is not UTF-8."""
    if pa.types.is_dictionary(column.type):
        column = column.dictionary_decode()
    if pa.types.is_string(column.type) or pa.types.is_large_string(column.type):
        return column.cast(pa.large_binary())
    return column


def _plain(value: Any) -> Any:
    return value.decode(errors="replace") if isinstance(value, bytes) else value


def _text(value: Any) -> str:
    return "" if value is None else str(_plain(value))
