"""Clips in Parquet files with an audio column: any Hub dataset, its column names by configuration.

Read row by row: the sizes in a file's footer need not be true, and one value of a dictionary may stand in every row.
A row group may hold a whole 5.7 GB file; what sets the memory then is Parquet's own unit of reading, the data
page (pyarrow's writer puts 1,024 rows into one, `datasets` 100).
"""

import logging
import math
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import zip_longest
from pathlib import PurePosixPath
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc

from processors.reading import (
    MAX_CLIP_BYTES,
    MAX_TEXT_BYTES,
    behind_the_end,
    damage_explained,
    file_in,
    key_of,
    number_in,
    too_large,
)
from utils.errors import SourceError
from utils.parquet_file import ParquetFile
from utils.schema import Position, RawClip
from utils.shown import shown
from utils.sources import SourceFiles

log = logging.getLogger(__name__)

_DAMAGE = (pa.ArrowException, ValueError, OverflowError)
"""The last two: values that Arrow can hold and Python can't (text that is not UTF-8 within lists, dates)."""

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
        with files.open(name) as stream, damage_explained(name, *_DAMAGE), ParquetFile(stream) as file:
            total += file.rows
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
    for name, following in zip_longest(names[first_file:], names[first_file + 1 :]):
        if following:
            files.expect(following)
        with files.open(name) as stream, damage_explained(name, *_DAMAGE), ParquetFile(stream) as file:
            shard = _Shard(file, name, columns)
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
    too_large: str
    """Why the row was not loaded; empty where it was."""


def _clip(cells: _Cells, place: str, after: Position) -> RawClip:
    name = PurePosixPath(cells.path).name or place
    return RawClip(
        key=key_of(cells.path) or place,
        position=after,
        audio=cells.audio,
        audio_name=cells.too_large or name,
        transcript=cells.transcript,
        speaker=cells.speaker,
        metadata=cells.metadata,
    )


class _Shard:
    """One Parquet file. Raises SourceError where it lacks a column that is needed."""

    def __init__(self, file: ParquetFile, name: str, columns: ParquetColumns) -> None:
        self._file = file
        self._columns = columns
        self._audio_parts = self._checked_audio_parts(name)

    @property
    def groups(self) -> int:
        return self._file.groups

    def rows_in(self, group: int) -> int:
        return self._file.rows_in(group)

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
        audio, *others = self._columns.names
        leaves = [f"{audio}.{part}" for part in self._audio_parts] or [audio]
        for number, row in enumerate(self._file.batches([group], [*leaves, *others], most_rows=1)):
            if number >= first:
                yield self._cells(row)

    def _cells(self, row: pa.RecordBatch) -> _Cells:
        columns = self._columns
        audio, path = row.column(columns.audio), None
        if self._audio_parts:
            path = _readable(pc.struct_field(audio, "path")) if "path" in self._audio_parts else None
            audio = pc.struct_field(audio, "bytes")
        texts = {name: _readable(row.column(name)) for name in columns.names[1:]}
        if reason := _reason_not_to_load(audio, {**texts, **({columns.audio: path} if path is not None else {})}):
            return _Cells(None, "", "", None, None, reason)
        return _Cells(
            audio=audio[0].as_py(),
            path=_text(path) if path is not None else "",
            transcript=_text(texts[columns.transcript]),
            speaker=_text(texts[columns.speaker]) or None if columns.speaker else None,
            metadata={name: _plain(texts[name][0].as_py()) for name in columns.metadata} or None,
            too_large="",
        )

    def _checked_audio_parts(self, name: str) -> list[str]:
        """Which children of the audio struct to read; none where the column is the bytes themselves."""
        schema = self._file.schema
        wrong = [column for column in self._columns.names if schema.names.count(column) != 1]
        if wrong:
            problem = "no" if wrong[0] not in schema.names else "more than one"
            raise SourceError(
                f"{shown(name)} has {problem} column {' or '.join(map(repr, wrong))}; its columns are "
                f"{shown(', '.join(schema.names[:50]))}. This is not the layout that the source is known by: nothing "
                "was read from it."
            )
        audio = schema.field(self._columns.audio).type
        parts = [field.name for field in audio if field.name in ("bytes", "path")] if _is_struct(audio) else []
        encoded = audio.field("bytes").type if parts.count("bytes") == 1 and parts.count("path") <= 1 else audio
        if not _is_binary(encoded):
            raise SourceError(
                f"{shown(name)}: its column {self._columns.audio!r} is {shown(audio)}, not encoded audio "
                "(struct<bytes, path>): nothing was read from it."
            )
        return parts


def _reason_not_to_load(audio: pa.Array, texts: Mapping[str, pa.Array]) -> str:
    """Why a row is too much for our memory; empty where it is not."""
    if audio.nbytes > MAX_CLIP_BYTES:
        return too_large("its audio", audio.nbytes)
    too_long = {name: text.nbytes for name, text in texts.items() if text.nbytes > MAX_TEXT_BYTES}
    return "; ".join(
        f"its column {name!r} has {size_bytes:,} bytes; over {MAX_TEXT_BYTES:,} are not loaded"
        for name, size_bytes in too_long.items()
    )


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
    """A value for JSON: text, numbers, lists and mappings of them, or whatever else as its text."""
    if isinstance(value, bytes):
        return value.decode(errors="replace")
    if isinstance(value, list):
        return [_plain(item) for item in value]
    if isinstance(value, dict):
        return {key: _plain(item) for key, item in value.items()}
    is_number = isinstance(value, int) or (isinstance(value, float) and math.isfinite(value))
    return value if value is None or is_number else str(value)


def _text(cell: pa.Array) -> str:
    """The one value of an array, as text."""
    plain = _plain(cell[0].as_py())
    return "" if plain is None else str(plain)
