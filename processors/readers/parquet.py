"""Clips in Parquet files with an audio column: any Hub dataset, its column names by configuration.

Read a few rows at a time, one where they are large: the sizes in a file's footer need not be true, and one value of a
dictionary may stand in every row.
A row group may hold a whole 5.7 GB file; what sets the memory then is Parquet's own unit of reading, the data
page (pyarrow's writer puts 1,024 rows into one, `datasets` 100).
"""

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import islice
from pathlib import PurePosixPath
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc
import xxhash

from processors.engine.clip_names import base_name_of, key_of, short_key
from processors.engine.positions import behind_the_end, file_in, number_in
from processors.engine.unreadable import MAX_CLIP_BYTES, MAX_TEXT_BYTES, damage_explained, too_large
from processors.readers.spec import Columns, lacks_column
from utils.errors import SourceError
from utils.formats.parquet_file import ParquetFile, TooMuchAtOnce
from utils.rows.printable import shown
from utils.rows.schema import Position, RawClip
from utils.sources.source_files import SourceChanged, SourceFiles, one_by_one

_DAMAGE = (pa.ArrowException, ValueError, OverflowError)
"""The last two: values that Arrow can hold and Python can't (text that is not UTF-8 within lists, dates)."""

_ROWS_AT_ONCE = 16

_FOOTERS_READ = 8
"""To say how many clips there will be. Off the network each takes some requests, and the first clip waits for them."""

_NAMES_LOOKED_AT = 100
"""Rows whose audio's path is looked at, to tell whether paths name clips."""


def count_rows(files: SourceFiles, names: Sequence[str]) -> int:
    """The rows of all files, by their footers; of many files about, by some footers and the files' sizes."""
    total = 0
    for name in names[:_FOOTERS_READ]:
        with files.open(name) as stream, damage_explained(name, *_DAMAGE), ParquetFile(stream) as file:
            total += file.rows
    sizes = [files.size_bytes(name) for name in names]
    return total * sum(sizes) // max(1, sum(sizes[:_FOOTERS_READ]))


@dataclass(frozen=True)
class RowNaming:
    """How rows are called that have no id of their own."""

    by_content: bool = False
    """By a digest of their audio, behind the stem of its path where it has one: the name stays when rows move. Else, as
    of old, by that stem, or (there is none, or the file's first rows have all the same one, `audio.wav`) by the place
    where they stand, `{file's stem}-{row in the file}`. So is a row whose audio is missing or not loaded."""
    may_have_moved: bool = False
    """Whether rows were read before in other files: then a place names none of them."""


def read_parquet(
    files: SourceFiles,
    names: Sequence[str],
    columns: Columns,
    position: Position,
    naming: RowNaming = RowNaming(),  # noqa: B008 - a constant
) -> Iterator[RawClip]:
    """The rows of the files `names`, in that order, from a position `{index, file, row_group, row}` on.

    A clip's key is what its column of ids says, where there is one; else `naming` says. SourceChanged where it can't.
    """
    read = number_in(position, "index")
    seeking = "file" in position
    first_file = file_in(position, names) if seeking else 0
    first_group = number_in(position, "row_group") if seeking else 0
    to_pass = number_in(position, "row") if seeking else read
    label_of = _labels(names)
    for name in one_by_one(files, names[first_file:]):
        with files.open(name) as stream, damage_explained(name, *_DAMAGE), ParquetFile(stream) as file:
            source = _SourceFile(file, name, columns, naming.by_content)
            if seeking and not source.has(first_group, to_pass):
                raise behind_the_end(name, position)
            for group in range(first_group, source.groups):
                passed = min(to_pass, source.rows_in(group))
                to_pass -= passed
                place = source.first_row(group)
                for row, cells in enumerate(source.rows(group, passed), start=passed):
                    if naming.may_have_moved and cells.audio and not cells.key:
                        raise _nameless(name)
                    read += 1
                    after: Position = {"index": read, "file": name, "row_group": group, "row": row + 1}
                    yield _clip(cells, f"{label_of[name]}-{place + row}", after)
        seeking, first_group = False, 0
    if to_pass:
        raise behind_the_end("the source", position)


def _labels(names: Sequence[str]) -> Mapping[str, str]:
    """What rows without a name are called by: the stems of their files, or their paths where stems are not enough."""
    stems = {name: PurePosixPath(name).stem for name in names}
    are_unique = len(set(stems.values())) == len(stems)
    return stems if are_unique else {name: name.removesuffix(".parquet") for name in names}


@dataclass(frozen=True, slots=True)
class _Cells:
    """One row, as Python values."""

    audio: bytes | None
    key: str
    """"" where the row has no name of its own."""
    path: str
    transcript: str
    speaker: str | None
    metadata: dict[str, Any] | None
    too_large: str
    """Why the row was not loaded; empty where it was."""


def _clip(cells: _Cells, place: str, after: Position) -> RawClip:
    name = base_name_of(cells.path) or place
    return RawClip(
        key=cells.key or place,
        position=after,
        audio=cells.audio,
        audio_name=cells.too_large or name,
        transcript=cells.transcript,
        speaker=cells.speaker,
        metadata=cells.metadata,
    )


class _SourceFile:
    """One Parquet file. Raises SourceError where it lacks a column that is needed."""

    def __init__(self, file: ParquetFile, name: str, columns: Columns, by_content: bool) -> None:
        self._file = file
        self._by_content = by_content
        found = columns.found_in(file.schema.names, name)
        self._audio = found.audio or ""
        self._transcript, self._speaker, self._id = found.transcript, found.speaker, found.id
        self._metadata = found.metadata
        texts = (found.transcript, found.speaker, found.id, *found.metadata)
        self._texts = list(dict.fromkeys(text for text in texts if text))
        self._audio_parts = self._checked_audio_parts(name)
        self._paths_are_names = self._do_paths_name_clips()

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
        reached = first
        try:
            for batch, number in self._batches(group, _ROWS_AT_ONCE):
                if number + batch.num_rows > reached:
                    for cells in self._cells_in(batch.slice(reached - number)):
                        reached += 1
                        yield cells
        except TooMuchAtOnce:
            for row, number in self._batches(group, 1):
                if number >= reached:
                    yield from self._cells_in(row)

    def _batches(self, group: int, most_rows: int) -> Iterator[tuple[pa.RecordBatch, int]]:
        """The rows of a row group, so many at a time, each batch with the number of its first row."""
        leaves = [f"{self._audio}.{part}" for part in self._audio_parts] or [self._audio]
        number = 0
        for batch in self._file.batches([group], [*leaves, *self._texts], most_rows, is_bounded=True):
            yield batch, number
            number += batch.num_rows

    def _cells_in(self, batch: pa.RecordBatch) -> Iterator[_Cells]:
        """The rows of a batch: all at once, or one by one where one of them is not as it should be."""
        audio, path = self._audio_and_path(batch)
        texts = {name: _readable(batch.column(name)) for name in self._texts}
        is_one = batch.num_rows == 1
        reason = _reason_not_to_load(audio, {**texts, **({} if path is None else {self._audio: path})})
        if not reason:
            try:
                loaded = self._loaded(audio, path, texts)
            except _DAMAGE:
                if is_one:
                    raise
            else:
                yield from loaded
                return
        if is_one:
            yield _Cells(None, "", "", "", None, None, reason)
        else:
            for at in range(batch.num_rows):
                yield from self._cells_in(batch.slice(at, 1))

    def _loaded(self, audio: pa.Array, path: pa.Array | None, texts: Mapping[str, pa.Array]) -> list[_Cells]:
        columns = {name: [_plain(value) for value in column.to_pylist()] for name, column in texts.items()}
        for name in texts.keys() & {self._transcript, self._speaker}:  # pandas writes NaN for what is missing
            if pa.types.is_floating(texts[name].type):
                columns[name] = [value if isinstance(value, float) else None for value in columns[name]]
        names = [""] * len(audio) if path is None else [_as_text(_plain(name)) for name in path.to_pylist()]
        rows = ({column: values[at] for column, values in columns.items()} for at in range(len(audio)))
        return [
            _Cells(
                audio=clip,
                key=self._key(_as_text(row[self._id]) if self._id else "", name, clip),
                path=name,
                transcript=_as_text(row[self._transcript]) if self._transcript else "",
                speaker=_as_text(row[self._speaker]) or None if self._speaker else None,
                metadata={column: row[column] for column in self._metadata} or None,
                too_large="",
            )
            for clip, name, row in zip(audio.to_pylist(), names, rows, strict=True)
        ]

    def _audio_and_path(self, rows: pa.RecordBatch) -> tuple[pa.Array, pa.Array | None]:
        audio = rows.column(self._audio)
        if not self._audio_parts:
            return audio, None
        parts = _parts_of(audio)
        return parts["bytes"], _readable(parts["path"]) if "path" in parts else None

    def _key(self, own: str, path: str, audio: bytes | None) -> str:
        if own:
            return short_key(own)
        if not self._by_content:
            return key_of(path) if self._paths_are_names else ""
        if not audio:
            return ""
        digest = xxhash.xxh3_128_hexdigest(audio)
        return f"{key_of(path)}-{digest}" if path else digest

    def _do_paths_name_clips(self) -> bool:
        """False where the first rows, two at least, have all the same path."""
        if self._id or self._by_content or "path" not in self._audio_parts:
            return True
        group = next((number for number in range(self.groups) if self.rows_in(number)), None)
        if group is None:
            return True
        batches = self._file.batches([group], [f"{self._audio}.path"], most_rows=1)
        first = [
            _text(_readable(_parts_of(batch.column(self._audio))["path"]))
            for batch in islice(batches, _NAMES_LOOKED_AT)
        ]
        return len(first) < 2 or len(set(first)) > 1

    def _checked_audio_parts(self, name: str) -> list[str]:
        """Which children of the audio struct to read; none where the column is the bytes themselves."""
        schema = self._file.schema
        if wrong := [column for column in (self._audio, *self._texts) if schema.names.count(column) != 1]:
            problem = "no" if wrong[0] not in schema.names else "more than one"
            raise lacks_column(name, wrong, schema.names, problem)
        if self._transcript and not _is_text(text := schema.field(self._transcript).type):
            raise SourceError(
                f"{shown(name)}: its column {self._transcript!r} is {shown(text)}, no text: nothing was read from it. "
                "Say in a file of --sources which column has the transcripts, with `columns: {transcript: NAME}`."
            )
        audio = schema.field(self._audio).type
        parts = [field.name for field in audio if field.name in ("bytes", "path")] if _is_struct(audio) else []
        encoded = audio.field("bytes").type if parts.count("bytes") == 1 and parts.count("path") <= 1 else audio
        if not _is_binary(encoded):
            raise SourceError(
                f"{shown(name)}: its column {self._audio!r} is {shown(audio)}, not encoded audio "
                "(struct<bytes, path>): nothing was read from it."
            )
        return parts


def _nameless(name: str) -> SourceChanged:
    return SourceChanged(
        f"The rows of {shown(name)} have no names (neither a column of ids nor a path each). Those that are published "
        "are known by their places, and in this newer revision they may have moved: nobody can tell which are new. "
        "What is published is safe. Leave this source out, or begin anew with --fresh: then rows are known by their "
        "content."
    )


def _reason_not_to_load(audio: pa.Array, texts: Mapping[str, pa.Array]) -> str:
    """Why a row, or several together, are too much for our memory; empty where they are not."""
    if _is_over(audio, MAX_CLIP_BYTES):
        return too_large("its audio", _size_bytes(audio))
    too_long = {name: _size_bytes(text) for name, text in texts.items() if _is_over(text, MAX_TEXT_BYTES)}
    return "; ".join(
        f"its column {name!r} has {size_bytes:,} bytes; over {MAX_TEXT_BYTES:,} are not loaded"
        for name, size_bytes in too_long.items()
    )


def _is_over(column: pa.Array, most_bytes: int) -> bool:
    """Whether its values have more bytes. Counted only where they may: all that Arrow has of them is quickly told."""
    return bool(column.nbytes > most_bytes) and _size_bytes(column) > most_bytes


def _size_bytes(column: pa.Array) -> int:
    """Of its values; where those are not bytes, of what Arrow has of them."""
    return (pc.sum(pc.binary_length(column)).as_py() or 0) if _is_binary(column.type) else int(column.nbytes)


def _is_text(kind: pa.DataType) -> bool:
    """Whether a column's values may be read as texts, numbers among them."""
    plain = kind.value_type if pa.types.is_dictionary(kind) else kind
    return not (pa.types.is_nested(plain) or pa.types.is_boolean(plain))


def _is_struct(kind: pa.DataType) -> bool:
    return bool(pa.types.is_struct(kind))


def _is_binary(kind: pa.DataType) -> bool:
    return bool(pa.types.is_binary(kind) or pa.types.is_large_binary(kind))


def _parts_of(struct: pa.StructArray) -> dict[str, pa.Array]:
    """Its children by name, each null where the struct is."""
    return dict(zip((field.name for field in struct.type), struct.flatten(), strict=True))


def _readable(column: pa.Array) -> pa.Array:
    """The column with its text as bytes: pyarrow would raise at the first string that is not UTF-8."""
    if pa.types.is_dictionary(column.type):
        column = column.dictionary_decode()
    if pa.types.is_string(column.type):
        return column.view(pa.binary())
    return column.view(pa.large_binary()) if pa.types.is_large_string(column.type) else column


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
    return _as_text(_plain(cell[0].as_py()))


def _as_text(plain: Any) -> str:
    return "" if plain is None else str(plain)
