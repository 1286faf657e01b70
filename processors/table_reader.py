"""Clips with a table, as a folder of files or in one tar.gz: Common Voice, and what is laid out like it.

Folder: rows in table order, the position seeks by byte offset. Archive: a first pass puts its tables and the
names of its clips into an index on disk, since the tables may lie behind the clips; then a split's clips
come in archive order, and after them, in table order, the rows that have no clip of their own there.

A name from a table is only ever compared with names that are there; it never becomes a path of its own.
"""

import json
import math
from bisect import bisect_left
from collections.abc import Callable, Generator, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import BinaryIO, TypeAlias

from processors.reading import MAX_CLIP_BYTES, behind_the_end, damage_explained, key_of, number_in, too_large
from processors.tar_reader import TarGz, audio_name, base_name, entering, is_audio
from utils.errors import SourceError
from utils.schema import Position, RawClip
from utils.seek_points import SeekPoint, SeekPoints
from utils.shown import shown
from utils.sources import SourceFiles
from utils.table_index import Entry, Row, TableIndex
from utils.tsv import TextLines

TableRow: TypeAlias = Mapping[str, str]

CLIPS = "clips"
"""The index's table of the clips that an archive holds: file name -> ''."""
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
            yield _clip(row, layout, durations, {"index": read, "offset": end}, audio, shown)
    if to_pass:
        raise behind_the_end(table, position)


def count_rows(files: SourceFiles, table: str, layout: TableLayout) -> int:
    """The rows of a table that is a file of its own."""
    with files.open(table) as stream, damage_explained(table):
        return sum(1 for _ in table_rows(stream, table, (layout.clip, layout.transcript)))


def read_archive(
    files: SourceFiles,
    archive: str,
    split: str,
    layout: TableLayout,
    index: TableIndex,
    position: Position,
    raise_if_stopped: Callable[[], None],
    seek_points: SeekPoints | None = None,
) -> Iterator[RawClip]:
    """The clips of the index's table `split`, from a position `{index, member}` or `{index, row}` on.

    `member` counts the archive's clips, those of other splits included; `row` is the next row, in the pass
    over the rows without a clip.
    """
    read = number_in(position, "index")
    with_clip = index.count_also_in(CLIPS, split)
    if "row" not in position and read < with_clip:
        points = seek_points or SeekPoints()
        point = points.before(read, archive, number_in(position, "member"))
        clips = partial(_clips_in_archive, files, archive, split, layout, index, raise_if_stopped, points)
        for clip in entering(clips, position, point):
            yield clip
            read = clip.position["index"]
            if read == with_clip:
                break
        position = {"index": read}
    yield from _rows_without_clip(split, layout, index, position, max(0, read - with_clip))


def _clips_in_archive(
    files: SourceFiles,
    archive: str,
    split: str,
    layout: TableLayout,
    index: TableIndex,
    raise_if_stopped: Callable[[], None],
    points: SeekPoints,
    position: Position,
    point: SeekPoint | None,
) -> Generator[RawClip, None, None]:
    read = number_in(position, "index")
    first = reached = number_in(position, "member")
    to_pass = 0 if "member" in position else read
    with files.open(archive) as stream, TarGz(stream, archive, point) as tar:
        for number, member in enumerate(tar.audio_members(), start=point.clips if point else 0):
            # Behind clips of other splits, which are behind our position, it is of use to our next one.
            tar.leave_points(points, read + (number > reached), number)
            found = None if number < first else index.get(split, base_name(member))
            if found is None or to_pass:
                raise_if_stopped()
                to_pass -= found is not None
                continue
            read, reached = read + 1, number + 1
            after: Position = {"index": read, "member": reached}
            yield _clip(_row(found), layout, index, after, tar.audio_of(member), audio_name(member))


def _rows_without_clip(
    split: str, layout: TableLayout, index: TableIndex, position: Position, to_pass: int
) -> Iterator[RawClip]:
    """Rows whose clip is not in the archive, and rows that repeat an earlier one's clip: both without audio."""
    read = number_in(position, "index")
    if "row" in position:
        to_pass = 0
    for found in index.rows(split, number_in(position, "row")):
        first = index.get(split, found.key)
        if first and first.number == found.number and index.get(CLIPS, found.key):
            continue
        if to_pass:
            to_pass -= 1
            continue
        read += 1
        yield _clip(_row(found), layout, index, {"index": read, "row": found.number + 1}, None, found.key)
    if to_pass:
        raise behind_the_end(f"the split {split}", position)


def archive_entries(
    files: SourceFiles,
    archive: str,
    tables: Mapping[str, str],
    layout: TableLayout,
    raise_if_stopped: Callable[[], None],
) -> Iterator[Entry]:
    """One pass over an archive for its index. `tables`: file name of a table -> its name in the index."""
    missing = dict(tables)
    with files.open(archive) as stream, TarGz(stream, archive) as tar:
        for member in tar:
            raise_if_stopped()
            name = base_name(member)
            if name in missing and member.isreg():
                with tar.open(member) as table:
                    yield from _split_entries(table, f"{archive}: {member.name}", missing.pop(name), layout)
            elif name == layout.durations_table and member.isreg():
                with tar.open(member) as table:
                    yield from _durations(table, f"{archive}: {member.name}", layout)
            elif is_audio(member):
                yield CLIPS, name, ""
    if missing:
        raise SourceError(
            f"{archive} holds no {' and no '.join(missing)}. This is not the layout that the source is known by: "
            "nothing was read from it."
        )


def duration_entries(files: SourceFiles, table: str, layout: TableLayout) -> Iterator[Entry]:
    """The declared durations of an extracted release, for its index."""
    with files.open(table) as stream, damage_explained(table):
        yield from _durations(stream, table, layout)


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
        stream.seek(offset)
        lines = TextLines(stream, name, offset)
        rows = iter(lines)
    for text, end in rows:
        row = dict(zip(header, text.split("\t"), strict=False))  # a short line lacks its last columns
        if row.get(needed[0]):
            yield row, end
        else:
            lines.malformed += 1
    lines.report()


def _split_entries(stream: BinaryIO, name: str, table: str, layout: TableLayout) -> Iterator[Entry]:
    columns = (layout.clip, layout.transcript, layout.speaker, *layout.metadata)
    for row, _ in table_rows(stream, name, (layout.clip, layout.transcript)):
        filled = {column: row[column] for column in columns if column and row.get(column)}
        yield table, row[layout.clip], json.dumps(filled, ensure_ascii=False)


def _durations(stream: BinaryIO, name: str, layout: TableLayout) -> Iterator[Entry]:
    for row, _ in table_rows(stream, name, (layout.durations_clip, layout.durations_ms)):
        yield DURATIONS, row[layout.durations_clip], row.get(layout.durations_ms, "")


def _row(found: Row) -> TableRow:
    row: dict[str, str] = json.loads(found.value)
    return row


def _clip(
    row: TableRow, layout: TableLayout, durations: TableIndex, after: Position, audio: bytes | None, shown: str
) -> RawClip:
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
