"""The rows of Parquet files by name: the column of ids or the paths of the audio, and the audio itself only where rows
are called by it.
"""

from collections.abc import Iterator, Mapping, Sequence
from pathlib import PurePosixPath
from typing import Any, Final

import pyarrow as pa
import pyarrow.compute as pc
import xxhash

from processors.engine.clip_names import key_of, short_key
from processors.engine.listed import ListedClip, NotListed
from processors.engine.unreadable import MAX_CLIP_BYTES, MAX_TEXT_BYTES, damage_explained
from processors.readers.spec import Columns, FoundColumns, ParquetSpec, matches, split_of_path
from utils.formats.parquet_file import ParquetFile
from utils.sources.source_files import SourceFiles

_DAMAGE: Final = (pa.ArrowException, ValueError, OverflowError)
_ROWS: Final = 1024
_LOOKED_AT: Final = 100
"""Rows whose paths say whether paths name clips."""
_BY_CONTENT: Final = "its rows have no ids: to name them, all of their audio is read, with --deep"


def parquet_listed(
    files: SourceFiles, names: Sequence[str], columns: Columns, by_content: bool, deep: bool
) -> Iterator[ListedClip]:
    """The rows of these files, in that order. NotListed where the audio is needed, unless `deep`."""
    places = _places(names)
    for name in names:
        with files.open(name) as stream, damage_explained(name, *_DAMAGE), ParquetFile(stream) as file:
            found = columns.found_in(file.schema.names, name)
            yield from _Rows(file, found, by_content, deep, places[name]).listed()


def files_of_split(names: Sequence[str], spec: ParquetSpec, split: str) -> list[str]:
    """The Parquet files of a split, in the order of their names."""
    ours = [name for name in names if name.endswith(".parquet") and matches(name, [spec.within])]
    if spec.splits:
        return [name for name in ours if matches(name, spec.splits.get(split, ()))]
    return [name for name in ours if (split_of_path(name) or "train") == split]


def _places(names: Sequence[str]) -> Mapping[str, str]:
    """What a row without a name of its own is called by, with its number behind it."""
    stems = [PurePosixPath(name).stem for name in names]
    if len({*stems}) < len(names):
        stems = [name.removesuffix(".parquet") for name in names]
    return dict(zip(names, stems, strict=True))


class _Rows:
    """The rows of one file."""

    def __init__(self, file: ParquetFile, found: FoundColumns, by_content: bool, deep: bool, place: str) -> None:
        self._file, self._found, self._deep, self._place = file, found, deep, place
        self._by_content = by_content
        self._audio = str(found.audio)
        audio = file.schema.field(self._audio).type
        parts = [field.name for field in audio] if pa.types.is_struct(audio) else []
        self._path = f"{self._audio}.path" if "path" in parts else ""
        self._content = f"{self._audio}.bytes" if parts else self._audio
        self._of_texts = [name for name in (found.transcript, found.speaker, found.id, *found.metadata) if name]
        self._paths_name = found.id is not None or self._do_paths_name()

    def listed(self) -> Iterator[ListedClip]:
        number = 0
        for group in range(self._file.groups):
            may_be_too_large = self._may_be_too_large(group)
            for key in self._keys(group):
                place = f"{self._place}-{number}"
                number += 1
                yield ListedClip(key or place, otherwise=place if may_be_too_large else "")
        if number != self._file.rows:
            raise ValueError(f"{number:,} rows came of {self._file.rows:,}")

    def _may_be_too_large(self, group: int) -> bool:
        """Whether one of its rows may be one that is not loaded."""
        limits = {self._content: MAX_CLIP_BYTES, **dict.fromkeys([self._path, *self._of_texts], MAX_TEXT_BYTES)}
        return any(name and self._file.unpacked_bytes(group, [name]) > most for name, most in limits.items())

    def _keys(self, group: int) -> Iterator[str]:
        """The names of a row group's rows; "" for one that has none."""
        reads_audio = self._by_content and self._deep
        wanted = [name for name in (self._found.id, self._path, self._content if reads_audio else "") if name]
        if not wanted:
            if self._by_content:
                raise NotListed(_BY_CONTENT)
            yield from [""] * self._file.rows_in(group)
            return
        if not self._file.rows_in(group):
            return
        for batch in self._file.batches([group], wanted, 1 if reads_audio else _ROWS):
            ids = _texts(batch.column(self._found.id)) if self._found.id else [""] * batch.num_rows
            paths = _texts(self._part(batch, "path")) if self._path else [""] * batch.num_rows
            contents = self._contents(batch) if reads_audio else [None] * batch.num_rows
            yield from map(self._key, ids, paths, contents)

    def _key(self, own: str, path: str, content: bytes | None) -> str:
        if own:
            return short_key(own)
        if not self._by_content:
            return key_of(path) if path and self._paths_name else ""
        if not self._deep:
            raise NotListed(_BY_CONTENT)
        if not content or len(content) > MAX_CLIP_BYTES:
            return ""
        digest = xxhash.xxh3_128_hexdigest(content)
        return f"{key_of(path)}-{digest}" if path else digest

    def _contents(self, batch: pa.RecordBatch) -> list[bytes | None]:
        audio: list[bytes | None] = self._part(batch, "bytes").to_pylist()
        return audio

    def _part(self, batch: pa.RecordBatch, part: str) -> pa.Array:
        audio = batch.column(self._audio)
        return pc.struct_field(audio, part) if pa.types.is_struct(audio.type) else audio

    def _do_paths_name(self) -> bool:
        """False where the first rows, two at least, have all the same path."""
        group = next((number for number in range(self._file.groups) if self._file.rows_in(number)), None)
        if group is None or not self._path:
            return True
        first: list[str] = []
        for batch in self._file.batches([group], [self._path], _LOOKED_AT):
            first += _texts(self._part(batch, "path"))
            if len(first) >= _LOOKED_AT:
                break
        return len(first) < 2 or len(set(first[:_LOOKED_AT])) > 1


def _texts(column: pa.Array) -> list[str]:
    """Values as text; "" for one that is not there."""
    if pa.types.is_dictionary(column.type):
        column = column.dictionary_decode()
    if pa.types.is_string(column.type) or pa.types.is_large_string(column.type):
        column = column.cast(pa.large_binary())
    return [_text(value) for value in column.to_pylist()]


def _text(value: Any) -> str:
    if value is None:
        return ""
    return value.decode(errors="replace") if isinstance(value, bytes) else str(value)
