"""A corpus of clips with tables as pure configuration: loose files, or zip, tar and tar.gz archives, or some of each.

Reading goes in three passes, each of which seeks: clips in tar.gz archives as they stand there; then, in table order,
rows whose clip can be jumped to and rows without one; then clips that no table names, which are only counted.
"""

from collections.abc import Generator, Iterator
from functools import partial
from pathlib import Path, PurePosixPath

from processors.configured.clip_tables import IN_ARCHIVE_ORDER, LINKED, ClipRow, ClipTables
from processors.configured.configured_source import ConfiguredSource
from processors.configured.contents import ClipAudio
from processors.engine.clip_names import short_key
from processors.engine.listed import ListedClip
from processors.engine.positions import behind_the_end, number_in
from processors.listing.tables import TableListing
from processors.readers.spec import TableSpec
from processors.readers.table_names import path_of_member, without_ending
from processors.readers.tar import TarGz, entering
from utils.formats.seek_points import SeekPoint, SeekPoints
from utils.rows.schema import Position, RawClip
from utils.sources.source_files import SourceChanged


class TableSource(ConfiguredSource):
    """Position: `{index, file, member}` in a tar.gz (with `rows` of that member, where several rows mean it); then
    `{index, row}`; then `{index, rest}`."""

    spec: TableSpec
    tables_class: type[ClipTables] = ClipTables
    listing_class: type[TableListing] = TableListing

    def read(self, split: str, position: Position) -> Iterator[RawClip]:
        with self._tables() as tables:
            yield from _Reading(self, tables, split, position).clips()

    def listed(self, split: str, scratch: Path, deep: bool) -> Iterator[ListedClip]:
        with self.listing_class(self.files, self.spec, scratch, deep, self.raise_if_stopped) as listing:
            yield from listing.clips(split)

    def expected_clips(self, split: str) -> int | None:
        with self._tables() as tables:
            return tables.count(split)

    def _tables(self) -> ClipTables:
        folder = Path(self.config.access.cache_dir) / "index"
        return self.tables_class(self.name, self.files, self.spec, folder, self.raise_if_stopped)


class _Reading:
    """The clips of one split from one position on."""

    def __init__(self, source: TableSource, tables: ClipTables, split: str, position: Position) -> None:
        self._source, self._tables, self._split, self._position = source, tables, split, position
        self._points = source.facts.seek_points.get(split) or SeekPoints()
        self._in_archives = tables.rows.count(split + IN_ARCHIVE_ORDER)
        index = number_in(position, "index")
        is_count = not {"member", "row", "rest"} & position.keys()
        self._read, self._to_pass = (0, index) if is_count else (index, 0)
        if index > tables.count(split):
            raise behind_the_end(f"the split {split}", position)
        # Only where it makes a difference, so that other positions stay what they were.
        self._order = {"links": 1} if tables.rows.get(LINKED, split) else {}
        if "member" in position and position.get("links") != self._order.get("links"):
            raise SourceChanged(
                f"{source.name}/{split} was begun by another version of this program, which read links in an archive "
                "at another place: going on could lose or repeat clips. What is published is safe. Go on with that "
                "version, or begin anew with --fresh."
            )

    def clips(self) -> Iterator[RawClip]:
        with ClipAudio(self._source.files) as audio:
            if not {"row", "rest"} & self._position.keys():
                yield from self._clips_in_archives()
            if "rest" not in self._position:
                yield from self._rows(audio)
            yield from self._rest()

    # --- clips in tar.gz archives ------------------------------------------------------------

    def _clips_in_archives(self) -> Iterator[RawClip]:
        """As many as there are: `member` counts the clips of the archive, those of other splits included."""
        if self._to_pass >= self._in_archives:  # all of them were read before
            self._to_pass -= self._in_archives
            self._read += self._in_archives
        if self._read >= self._in_archives:
            return
        archives = [name for name in self._source.files.names() if name.lower().endswith((".tar.gz", ".tgz"))]
        first = self._first_archive(archives)
        at: Position = {"index": self._read, "member": 0}
        if "member" in self._position:
            at = {**self._position, "index": self._read}
        for archive in archives[first:]:
            point = self._points.before(self._read, archive, number_in(at, "member")) if not self._to_pass else None
            for clip in entering(partial(self._in_archive, archive), at, point):
                yield clip
                if self._read == self._in_archives:
                    return
            at = {"index": self._read, "member": 0}
        raise behind_the_end(f"the archives of the split {self._split}", self._position)

    def _first_archive(self, archives: list[str]) -> int:
        if "member" not in self._position:
            return 0
        if self._position.get("file") not in archives:
            raise behind_the_end(f"the split {self._split}", self._position)
        return archives.index(self._position["file"])

    def _in_archive(self, archive: str, position: Position, point: SeekPoint | None) -> Generator[RawClip, None, None]:
        self._read = self._read if self._to_pass else number_in(position, "index")
        first = reached = number_in(position, "member")
        rows_read = number_in(position, "rows")
        with self._source.files.open(archive) as stream, TarGz(stream, archive, point) as tar:
            for number, member in enumerate(tar.audio_members(), start=point.clips if point else 0):
                # Behind clips of other splits, which are behind our position, it is of use to our next one.
                tar.leave_points(self._points, self._read + (number > reached), number)
                rows = self._rows_of(path_of_member(archive, member.name), number) if number >= first else []
                audio = tar.audio_of(member) if len(rows) > self._to_pass else None
                for nth, row in enumerate(rows, start=1):
                    if number == first and nth <= rows_read:
                        continue
                    if self._passed():
                        continue
                    self._read += 1
                    reached = number + 1
                    is_last = nth == len(rows)
                    where = {"member": number + 1} if is_last else {"member": number, "rows": nth}
                    after: Position = {"index": self._read, "file": archive, **where, **self._order}
                    yield _clip(row, after, audio)
                if not rows:
                    self._source.raise_if_stopped()

    def _rows_of(self, path: str, number: int) -> list[ClipRow]:
        """The rows that mean an archive's clip `number`; none where an earlier one has its path, too."""
        rows = [ClipRow.from_row(row) for row in self._tables.rows.every(self._split + IN_ARCHIVE_ORDER, path)]
        return [row for row in rows if row.place and row.place.at == number]

    # --- rows in table order, and the rest ---------------------------------------------------

    def _rows(self, audio: ClipAudio) -> Iterator[RawClip]:
        for found in self._tables.rows.rows(self._split, number_in(self._position, "row")):
            if self._passed():
                continue
            row = ClipRow.from_row(found)
            self._read += 1
            after: Position = {"index": self._read, "row": found.number + 1}
            yield _clip(row, after, audio.at(row.place) if row.place else None)

    def _rest(self) -> Iterator[RawClip]:
        for found in self._tables.rest.rows(self._split, number_in(self._position, "rest")):
            if self._passed():
                continue
            self._read += 1
            after: Position = {"index": self._read, "rest": found.number + 1}
            name = PurePosixPath(found.key).name
            if found.value:  # an archive has it twice: under its name it is a repetition
                yield RawClip(found.value, after, None, name)
            else:
                yield RawClip(short_key(without_ending(found.key)), after, None, name, selected=False)

    def _passed(self) -> bool:
        """Whether the next clip was read before, by a position that only counts."""
        if not self._to_pass:
            return False
        self._source.raise_if_stopped()
        self._to_pass -= 1
        self._read += 1
        return True


def _clip(row: ClipRow, after: Position, audio: bytes | None) -> RawClip:
    return RawClip(
        key=row.key,
        position=after,
        audio=audio,
        audio_name=row.name,
        transcript=row.transcript,
        speaker=row.speaker,
        metadata=row.metadata,
    )
