"""A release of clips with tables that is one tar.gz: Common Voice, and what is laid out like it.

The tables may lie behind the clips. So a first pass puts them, and where each clip lies, into an index on disk, and
unpacks the clips beside it where there is room (`utils/sources/clip_spool.py`). Then a split's clips come in archive
order, from the spool or else from the archive, and after them, in table order, the rows that have no clip of their own
there.
"""

import json
from collections.abc import Callable, Generator, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from processors.engine.positions import behind_the_end, number_in
from processors.readers.release_folder import (
    TableLayout,
    TableRow,
    clip_of,
    durations_in,
    split_entries,
)
from processors.readers.tar import TarGz, audio_name, base_name, entering, is_audio
from utils.errors import SourceError
from utils.formats.seek_points import SeekPoint, SeekPoints
from utils.rows.schema import Position, RawClip
from utils.sources.clip_spool import ClipSpool, SpoolDamaged, SpooledClip, SpoolWriter, remove_spool
from utils.sources.source_files import SourceFiles
from utils.sources.table_index import IndexEntry, Row, TableIndex

CLIPS = "clips"
"""The index's table of the clips that an archive holds, in its order: file name -> `SpooledClip`, "" where it was not
unpacked."""


@dataclass(frozen=True)
class Archive:
    """One archive, how its tables look, and where its clips are unpacked."""

    files: SourceFiles
    name: str
    layout: TableLayout
    spool: Path
    raise_if_stopped: Callable[[], None]
    is_unpacked: bool = False
    """Whether to unpack its clips while it is read for its index."""

    def entries(self, tables: Mapping[str, str]) -> Iterator[IndexEntry]:
        """One pass over it for its index. `tables`: file name of a table -> its name in the index."""
        missing = dict(tables)
        size_bytes = self.files.size_bytes(self.name)
        with (
            self.files.open(self.name) as stream,
            TarGz(stream, self.name) as tar,
            SpoolWriter(self.spool, size_bytes, self.is_unpacked) as spool,
        ):
            for member in tar:
                self.raise_if_stopped()
                name, place = base_name(member), f"{self.name}: {member.name}"
                if name in missing and member.isreg():
                    with tar.open(member) as table:
                        yield from split_entries(table, place, missing.pop(name), self.layout)
                elif name == self.layout.durations_table and member.isreg():
                    with tar.open(member) as table:
                        yield from durations_in(table, place, self.layout)
                elif is_audio(member):
                    is_kept = spool.is_open
                    yield CLIPS, name, spool.add(tar.audio_of(member), audio_name(member)).to_json() if is_kept else ""
            spool.finish()
        if missing:
            raise SourceError(
                f"{self.name} holds no {' and no '.join(missing)}. This is not the layout that the source is known "
                "by: nothing was read from it."
            )

    def clips(
        self, split: str, index: TableIndex, position: Position, seek_points: SeekPoints | None = None
    ) -> Iterator[RawClip]:
        """The clips of the index's table `split`, from a position `{index, member}` or `{index, row}` on.

        `member` counts the archive's clips, those of other splits included; `row` is the next row, in the pass
        over the rows without a clip.
        """
        return _Reading(self, split, index, seek_points or SeekPoints()).clips(position)


@dataclass
class _Reading:
    """The clips of one split."""

    archive: Archive
    split: str
    index: TableIndex
    points: SeekPoints
    with_clip: int = field(init=False)

    def __post_init__(self) -> None:
        self.with_clip = self.index.count_also_in(CLIPS, self.split)

    def clips(self, position: Position) -> Iterator[RawClip]:
        read = number_in(position, "index")
        if "row" not in position and read < self.with_clip:
            for clip in self._unpacked_or_packed(position):
                yield clip
                read = clip.position["index"]
                if read == self.with_clip:
                    break
            position = {"index": read}
        yield from self._rows_without_clip(position, max(0, read - self.with_clip))

    def _unpacked_or_packed(self, position: Position) -> Iterator[RawClip]:
        """What the spool has, and from where that fails what the archive has."""
        spool = ClipSpool.opened(self.archive.spool)
        if spool is not None:
            try:
                with spool:
                    for clip in self._unpacked(spool, position):
                        yield clip
                        position = clip.position
                return
            except SpoolDamaged:
                remove_spool(self.archive.spool)
        point = self.points.before(number_in(position, "index"), self.archive.name, number_in(position, "member"))
        yield from entering(self._packed, position, point)

    def _unpacked(self, spool: ClipSpool, position: Position) -> Iterator[RawClip]:
        passing = _Passing(position)
        for number, row in enumerate(self.index.rows(CLIPS, skip=passing.first), start=passing.first):
            found = self.index.get(self.split, row.key)
            if passing.passes(found):
                self.archive.raise_if_stopped()
                continue
            assert found is not None  # noqa: S101 - else it is passed over
            place = SpooledClip.from_json(row.value)
            yield self._clip(found, passing.after(number), spool.read(place), place.shown)

    def _packed(self, position: Position, point: SeekPoint | None) -> Generator[RawClip, None, None]:
        passing = _Passing(position)
        with self.archive.files.open(self.archive.name) as stream, TarGz(stream, self.archive.name, point) as tar:
            for number, member in enumerate(tar.audio_members(), start=point.clips if point else 0):
                # Behind clips of other splits, which are behind our position, it is of use to our next one.
                tar.leave_points(self.points, passing.read + (number > passing.reached), number)
                found = None if number < passing.first else self.index.get(self.split, base_name(member))
                if passing.passes(found):
                    self.archive.raise_if_stopped()
                    continue
                assert found is not None  # noqa: S101 - else it is passed over
                yield self._clip(found, passing.after(number), tar.audio_of(member), audio_name(member))

    def _rows_without_clip(self, position: Position, to_pass: int) -> Iterator[RawClip]:
        """Rows whose clip is not in the archive, and rows that repeat an earlier one's clip: both without audio."""
        read = number_in(position, "index")
        if "row" in position:
            to_pass = 0
        for found in self.index.rows(self.split, number_in(position, "row")):
            first = self.index.get(self.split, found.key)
            if first and first.number == found.number and self.index.get(CLIPS, found.key):
                continue
            if to_pass:
                to_pass -= 1
                continue
            read += 1
            yield self._clip(found, {"index": read, "row": found.number + 1}, None, found.key)
        if to_pass:
            raise behind_the_end(f"the split {self.split}", position)

    def _clip(self, found: Row, after: Position, audio: bytes | None, shown: str) -> RawClip:
        row: TableRow = json.loads(found.value)
        return clip_of(row, self.archive.layout, self.index, after, audio, shown)


class _Passing:
    """Which of an archive's clips come before a position or are not of its split."""

    def __init__(self, position: Position) -> None:
        self.read = number_in(position, "index")
        self.first = self.reached = number_in(position, "member")
        self._to_pass = 0 if "member" in position else self.read

    def passes(self, found: Row | None) -> bool:
        """Whether the next clip is passed over; `found` is its row, None where no row of the split means it."""
        if found is None:
            return True
        self._to_pass -= (passed := self._to_pass > 0)
        return passed

    def after(self, number: int) -> Position:
        """The position behind the archive's clip `number`, which is read."""
        self.read, self.reached = self.read + 1, number + 1
        return {"index": self.read, "member": self.reached}
