"""A release of clips with tables: Common Voice, and what is laid out like it. Here its tables, and a release that is a
folder of files, whose rows come in table order; the position seeks by byte offset. (`archive.py` reads one that
is a tar.gz.)

A name from a table is only ever compared with names that are there; it never becomes a path of its own.
"""

import json
import math
from bisect import bisect_left
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import BinaryIO, TypeAlias

from processors.engine.clip_names import key_of
from processors.engine.positions import behind_the_end, number_in
from processors.engine.unreadable import MAX_CLIP_BYTES, damage_explained, too_large
from utils.errors import SourceError
from utils.formats.tsv import TextLines
from utils.rows.printable import shown
from utils.rows.schema import Position, RawClip
from utils.sources.source_files import SourceFiles
from utils.sources.table_index import IndexEntry, Row, TableIndex

TableRow: TypeAlias = Mapping[str, str]

DURATIONS = "durations"
"""The index's table of declared durations: file name -> milliseconds."""


@dataclass(frozen=True)
class TableLayout:
    """The column names of a clip table, and the table of declared durations, which may be missing."""

    clip: str
    """The column with the clip's file name."""
    transcript: str
    speaker: str | None = None
    metadata: tuple[str, ...] = ()
    """Columns that a table may lack."""
    durations_table: str = ""
    """Its file name."""
    durations_clip: str = ""
    durations_ms: str = ""


def read_folder(
    files: SourceFiles, table: str, clips: str, layout: TableLayout, durations: TableIndex, position: Position
) -> Iterator[RawClip]:
    """The rows of `table`, with their audio from the folder `clips`, from a position `{index, offset}` on."""
    read = number_in(position, "index")
    offset = number_in(position, "offset")
    to_pass = 0 if "offset" in position else read
    if offset > files.size_bytes(table) + 1:  # one more where the last line has no line feed
        raise behind_the_end(table, position)
    with files.open(table) as stream, damage_explained(table):
        for row, end in table_rows(stream, table, (layout.clip, layout.transcript), offset):
            if to_pass:
                to_pass -= 1
                continue
            read += 1
            audio, shown = _audio_in(files, clips, row[layout.clip])
            yield clip_of(row, layout, durations, {"index": read, "offset": end}, audio, shown)
    if to_pass:
        raise behind_the_end(table, position)


def count_rows(files: SourceFiles, table: str, layout: TableLayout) -> int:
    """The rows of a table that is a file of its own."""
    with files.open(table) as stream, damage_explained(table):
        return sum(1 for _ in table_rows(stream, table, (layout.clip, layout.transcript)))


def duration_entries(files: SourceFiles, table: str, layout: TableLayout) -> Iterator[IndexEntry]:
    """The declared durations of an extracted release, for its index."""
    with files.open(table) as stream, damage_explained(table):
        yield from durations_in(stream, table, layout)


def table_rows(stream: BinaryIO, name: str, needed: tuple[str, ...], offset: int = 0) -> Iterator[tuple[TableRow, int]]:
    """The rows of a tab-separated table with a header line, each with the byte offset after it.

    Starts at `offset` where it is not 0. A row whose first `needed` column is empty is malformed: left
    out, counted, logged. SourceError where the header lacks a needed column.
    """
    lines = TextLines(stream, name)
    rows = iter(lines)
    header = next(rows, ("", 0))[0].split("\t")
    lacking = [column for column in needed if column not in header]
    if lacking:
        raise SourceError(
            f"{shown(name)} has no column {' or '.join(map(repr, lacking))}; its columns are "
            f"{shown(', '.join(header[:50]))}. "
            "This is not the layout that the source is known by: nothing was read from it."
        )
    if offset:
        lines = lines.from_offset(offset)
        rows = iter(lines)
    for text, end in rows:
        row = dict(zip(header, text.split("\t"), strict=False))  # a short line lacks its last columns
        if row.get(needed[0]):
            yield row, end
        else:
            lines.malformed += 1
    lines.report()


def split_entries(stream: BinaryIO, name: str, table: str, layout: TableLayout) -> Iterator[IndexEntry]:
    """The rows of a table of clips, for the index's table `table`."""
    columns = (layout.clip, layout.transcript, layout.speaker, *layout.metadata)
    for row, _ in table_rows(stream, name, (layout.clip, layout.transcript)):
        filled = {column: row[column] for column in columns if column and row.get(column)}
        yield table, row[layout.clip], json.dumps(filled, ensure_ascii=False)


def durations_in(stream: BinaryIO, name: str, layout: TableLayout) -> Iterator[IndexEntry]:
    """The declared durations of a table of them, for the index."""
    for row, _ in table_rows(stream, name, (layout.durations_clip, layout.durations_ms)):
        yield DURATIONS, row[layout.durations_clip], row.get(layout.durations_ms, "")


def clip_of(
    row: TableRow, layout: TableLayout, durations: TableIndex, after: Position, audio: bytes | None, shown: str
) -> RawClip:
    """The clip that a row means; `shown` is its name for messages."""
    name = row[layout.clip]
    return RawClip(
        key=key_of(name) or name,
        position=after,
        audio=audio,
        audio_name=shown,
        transcript=row.get(layout.transcript, ""),
        speaker=row.get(layout.speaker) or None if layout.speaker else None,
        metadata={column: row[column] for column in layout.metadata if row.get(column)} or None,
        declared_duration_s=_declared_s(durations.get(DURATIONS, name)),
    )


def _declared_s(duration: Row | None) -> float | None:
    """Seconds from a row of milliseconds; None where it is no sensible number."""
    try:
        milliseconds = float(duration.value) if duration else 0.0
    except ValueError:
        return None
    return milliseconds / 1000 if 0 < milliseconds < math.inf else None


def _audio_in(files: SourceFiles, clips: str, name: str) -> tuple[bytes | None, str]:
    """The bytes of a clip in the folder `clips`, None where it has none of that name; and the name to show."""
    path = f"{clips}/{name}"
    if "/" in name or not _is_in(path, files.names()):
        return None, name
    size_bytes = files.size_bytes(path)
    if size_bytes > MAX_CLIP_BYTES:
        return None, too_large(name, size_bytes)
    with files.open(path) as stream, damage_explained(path):
        return stream.read(), name


def _is_in(name: str, sorted_names: Sequence[str]) -> bool:
    at = bisect_left(sorted_names, name)
    return at < len(sorted_names) and sorted_names[at] == name
