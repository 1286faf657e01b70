"""A source of tables and clips, put in order on disk: what each split has to read, and where it lies.

Three indexes, each made of the one before, all made again where they are lost:

1. contents: the rows of all tables as they stand there, the place of every clip;
2. rows: those of each split with their clip's place. Rows whose clip can be jumped to, or is not there, come in table
   order; those whose clip is in a tar.gz come in its order;
3. rest: clips that no row of any split means.
"""

import json
import logging
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from processors.configured.archive_links import OTHERS, ClipPlaces
from processors.configured.clip_finder import CLIPS, IN_FOLDERS, NAMES, ClipFinder
from processors.configured.contents import ClipPlace, FileEntry, entries_of, shown_name
from processors.configured.overlooked import refuse_packed_table, tell_unread
from processors.readers.spec import FoundColumns, TableSpec, split_of_path
from processors.readers.table_forms import KEY, VALUE, TableRow, rows_of
from processors.readers.table_names import (
    RowNames,
    first_of,
    folder_of,
    name_in_folder_key,
    name_key,
    normal_name,
    text_of,
)
from processors.readers.whole_clips import refuse_part
from utils.errors import SourceError
from utils.rows.printable import as_text, shown
from utils.rows.schema import SPLITS
from utils.sources.source_files import SourceFiles
from utils.sources.table_index import IndexEntry, Row, TableIndex, open_table_index

log = logging.getLogger(__name__)

_FORMAT: Final = 3
"""Of what the indexes hold: those of another program are made again."""
_ROWS: Final = "rows"
ASIDE: Final = "aside"
"""What Kaldi's other files say: `{file} {folder} {utterance}` -> value."""
IN_ARCHIVE_ORDER: Final = "@"
"""Behind a split's name: its rows whose clip is in a tar.gz, by the clip's path."""
LINKED: Final = "linked"
"""Splits with a row that means a link in a tar.gz, which comes with the member that it names."""
_STOP_CHECK_ROWS: Final = 1000


@dataclass(frozen=True, slots=True)
class ClipRow:
    """A row of a table with its clip."""

    key: str
    name: str
    """Of the clip's file, for messages."""
    transcript: str
    speaker: str | None
    metadata: Mapping[str, Any] | None
    place: ClipPlace | None
    """None: the clip is not there."""
    path: str = ""
    """Of the clip's file, or of the link that is meant; "" where it is not there."""

    def to_json(self) -> str:
        place = self.place.to_json() if self.place else None
        return json.dumps(
            [self.key, self.name, self.transcript, self.speaker, self.metadata, place, self.path], ensure_ascii=False
        )

    @classmethod
    def from_row(cls, row: Row) -> "ClipRow":
        key, name, transcript, speaker, metadata, place, path = json.loads(row.value)
        return cls(key, name, transcript, speaker, metadata, ClipPlace.from_json(place) if place else None, path)


class ClipTables:
    """The rows of all splits of one source, in order. Close it."""

    def __init__(
        self,
        name: str,
        files: SourceFiles,
        spec: TableSpec,
        folder: Path,
        raise_if_stopped: Callable[[], None],
    ) -> None:
        """Opens the indexes in `folder`, made first where they are not there. SourceError where they can't be made."""
        self.name, self._files, self._spec = name, files, spec
        self._names = RowNames(spec)
        self.raise_if_stopped = raise_if_stopped
        self._folder = folder
        columns = spec.columns
        names = (*columns.audio, *columns.transcript, *columns.speaker, *columns.id, *columns.split, *columns.metadata)
        self._removed = {ord(mark): None for mark in spec.remove}
        self._needed = tuple(dict.fromkeys((*names, KEY, VALUE)))
        with ExitStack() as opened:
            tables = [_ROWS, ASIDE, CLIPS, NAMES, IN_FOLDERS, OTHERS]
            self.contents = opened.enter_context(self._open(tables, self._read_contents))
            self.places = ClipPlaces(self.contents)
            splits = [LINKED, *(f"{split}{order}" for split in SPLITS for order in ("", IN_ARCHIVE_ORDER))]
            self.rows = opened.enter_context(self._open(splits, self.placed_rows))
            self.rest = opened.enter_context(self._open(list(SPLITS), self._find_rest))
            self._opened = opened.pop_all()

    def __enter__(self) -> "ClipTables":
        return self

    def __exit__(self, *_: object) -> None:
        self._opened.close()

    def count(self, split: str) -> int:
        """How many clips reading a split comes to."""
        return self.rows.count(split) + self.rows.count(split + IN_ARCHIVE_ORDER) + self.rest.count(split)

    def _open(self, tables: list[str], entries: Callable[[], Iterator[IndexEntry]]) -> TableIndex:
        identity = f"{self.name}\n{self._files.as_found}\n{self._spec!r}\n{entries.__name__}\n{_FORMAT}"
        return open_table_index(self._folder, self.name, identity, tables, entries)

    # --- contents ----------------------------------------------------------------------------

    def _read_contents(self) -> Iterator[IndexEntry]:
        log.info("%s: reading its tables, and where its clips are", self.name)
        tables = 0
        tell_unread(self._files.names())
        for entry in entries_of(self._files, self.raise_if_stopped):
            if entry.is_clip:
                yield CLIPS, entry.path, entry.place.to_json()
                yield NAMES, name_key(entry.path), entry.path
                yield IN_FOLDERS, name_in_folder_key(entry.path), entry.path
            elif self._names.is_aside(entry.path):
                yield from self._aside(entry)
            elif self._names.is_table(entry.path):
                tables += 1
                yield from self.table_entries(entry)
            else:
                refuse_packed_table(entry.path, self._names)
                if entry.place.kind != "file":
                    yield OTHERS, entry.path, entry.place.to_json()
        if not tables:
            raise SourceError(
                f"{self.name} has no table {' or '.join(self._names.patterns)}; it has "
                f"{shown(', '.join(self._files.names()[:5]))}. Put it there, then run again with --resume."
            )

    def table_entries(self, entry: FileEntry) -> Iterator[IndexEntry]:
        form = self._names.form_of(entry.path)
        split = self._names.split_of_table(entry.path)
        found: FoundColumns | None = None
        with entry.open() as stream:
            for number, row in enumerate(rows_of(stream, entry.path, form, self._spec.header, self._spec.quoted)):
                if number % _STOP_CHECK_ROWS == 0:
                    self.raise_if_stopped()
                found = found or self._columns(row, entry.path)
                refuse_part(row, entry.path, self._needed)
                yield (
                    _ROWS,
                    entry.path,
                    as_text(json.dumps([split, self._names.only(row, self._needed)], ensure_ascii=False)),
                )

    def _columns(self, row: TableRow, path: str) -> FoundColumns:
        """Looks whether a table's first row has what is needed: if that has not, none has."""
        if self._spec.form == "kaldi":
            return FoundColumns(KEY, VALUE, None, KEY, None)
        return self._spec.columns.found_in(list(row), path)

    def _aside(self, entry: FileEntry) -> Iterator[IndexEntry]:
        folder, _, name = entry.path.rpartition("/")
        if name == "segments":
            raise SourceError(
                f"{entry.path}: utterances that are cut out of longer recordings are not read. Cut them first, and "
                "leave that file out. Nothing was read."
            )
        with entry.open() as stream:
            for row in rows_of(stream, entry.path, "kaldi"):
                yield ASIDE, f"{name} {folder} {row[KEY]}", str(row[VALUE])

    # --- rows --------------------------------------------------------------------------------

    def placed_rows(self) -> Iterator[IndexEntry]:
        finder = ClipFinder(self.contents, self._names, self._names_of_rows)
        nameless = 0
        first_lost = ""
        has_clips = False
        for number, found in enumerate(self.contents.rows(_ROWS)):
            if number % _STOP_CHECK_ROWS == 0:
                self.raise_if_stopped()
            split, row = json.loads(found.value)
            given = self._names.clip_name(row, found.key, self._said_aside)
            name = normal_name(given)
            if not name:
                nameless += 1
                continue
            place, path, file = self._place_of(finder, given, found.key)
            has_clips = has_clips or place is not None
            first_lost = first_lost or name
            clip = self._clip_row(row, name, path, place, found.key)
            where = split or self._names.split(row, given, path if place else "", found.key)
            yield from self.placed(where, clip, file)
        if nameless:
            log.warning("%s: %d rows that name no clip were left out", self.name, nameless)
        if first_lost and not has_clips:
            raise self._no_clips(first_lost)
        if not first_lost and self.contents.count(CLIPS):
            raise SourceError(
                f"{self.name}: no row of its tables names a clip ({nameless:,} rows were read), and there are clips. "
                "Nothing was read. Look whether the tables are whole, and their columns those that the source's "
                "definition names; then run again with --resume."
            )

    def placed(self, split: str, row: ClipRow, file: str) -> Iterator[IndexEntry]:
        """The entries of a row in its split: under the clip's path, in a tar.gz under that of the `file` itself, with
        which it comes."""
        in_archive = row.place is not None and row.place.kind == "tar.gz"
        yield f"{split}{IN_ARCHIVE_ORDER if in_archive else ''}", file if in_archive else row.path, row.to_json()
        if in_archive and file != row.path:
            yield LINKED, split, ""

    def _no_clips(self, name: str) -> SourceError:
        """One clip that is missing is a reject; where all are, it is not the corpus that is wrong."""
        there = next(self.contents.rows(CLIPS), None)
        has = f"the first clip there is {shown(there.key)}" if there else "there are no clips at all"
        return SourceError(
            f"{self.name}: not one row of its tables has its clip. The first names {shown(name)}; {has}. Nothing was "
            "read. Put the clips where the table says (or name the right folder or column), then run again with "
            "--resume."
        )

    def _names_of_rows(self, table: str | None) -> Iterator[tuple[str, str]]:
        rows = self.contents.rows(_ROWS) if table is None else self.contents.every(_ROWS, table)
        for row in rows:
            yield row.key, self._names.clip_name(json.loads(row.value)[1], row.key, self._said_aside)

    def _place_of(self, finder: ClipFinder, given: str, table: str) -> tuple[ClipPlace | None, str, str]:
        """Where a row's clip is, its path, and that of the file itself; where it is not, why."""
        found = finder.find(given, table)
        there = self.places.of(found.path) if found.path else None
        return (there[0], str(found.path), there[1]) if there else (None, found.why_not, "")

    def _clip_row(self, row: TableRow, name: str, path: str, place: ClipPlace | None, table: str) -> ClipRow:
        columns = self._spec.columns
        transcript = self._names.transcript(row, table)
        speaker = self._said_aside(f"utt2spk {folder_of(table)} {row.get(KEY)}") if self._spec.form == "kaldi" else None
        return ClipRow(
            key=self._names.key(row, name, table),
            name=shown_name(path, place) if place else path,
            transcript=transcript.translate(self._removed) if self._removed else transcript,
            speaker=text_of(first_of(row, columns.speaker)) or speaker,
            metadata={name: row[name] for name in columns.metadata if name in row} or None,
            place=place,
            path=path if place else "",
        )

    def _said_aside(self, key: str) -> str | None:
        found = self.contents.get(ASIDE, key)
        return found.value if found else None

    # --- rest --------------------------------------------------------------------------------

    def _find_rest(self) -> Iterator[IndexEntry]:
        """Clips that no row means: of the split that their folders name, else of train, or of the only one there is."""
        with_rows = [split for split in SPLITS if self.rows.count(split) or self.rows.count(split + IN_ARCHIVE_ORDER)]
        default = "train" if "train" in with_rows or not with_rows else with_rows[-1]
        for number, clip in enumerate(self.contents.rows(CLIPS)):
            if number % _STOP_CHECK_ROWS == 0:
                self.raise_if_stopped()
            meant_by = self._row_of(clip.key, with_rows)
            if meant_by is None:
                named = split_of_path(folder_of(clip.key))
                yield named if named in with_rows else default, clip.key, ""
            elif (first := self.contents.get(CLIPS, clip.key)) and first.number != clip.number:
                # An archive has it twice: the second one is a repetition of the first.
                yield meant_by[0], clip.key, ClipRow.from_row(meant_by[1]).key

    def _row_of(self, path: str, splits: list[str]) -> tuple[str, Row] | None:
        there = self.places.of(path)
        for split in splits:
            if row := self.rows.get(split, path):
                return split, row
            for row in self.rows.every(split + IN_ARCHIVE_ORDER, there[1] if there else path):
                if ClipRow.from_row(row).path == path:
                    return split, row
        return None
