"""The rows of a release of clips with tables, extracted or as its tar.gz, and the clips of archives whose transcripts
stand in tables apart.
"""

import json
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import BinaryIO, Final, cast

from processors.engine.clip_names import base_name_of, is_audio_name, key_of, stem_of
from processors.engine.listed import TAKES_DEEP, ListedClip, NotListed
from processors.engine.unreadable import damage_explained
from processors.listing.packed import tar_members
from processors.readers.held_out import HELD_OUT, held_out_entries
from processors.readers.release_folder import TableLayout
from utils.formats.tsv import TextLines
from utils.sources.source_files import SourceFiles
from utils.sources.table_index import IndexEntry, TableIndex, open_table_index

_CLIPS: Final = "clips"
_TEXTS: Final = "texts"
TableRow = tuple[str, str, str]
"""Clip, sentence, speaker."""


def rows_of_table(stream: BinaryIO, name: str, layout: TableLayout) -> Iterator[TableRow]:
    """The rows of a table of clips that name one."""
    lines = (line.split("\t") for line, _ in TextLines(stream, name))
    header = next(lines, [])
    at = [header.index(column) if column in header else None for column in _columns(layout)]
    for fields in lines:
        clip, sentence, speaker = (fields[n] if n is not None and n < len(fields) else "" for n in at)
        if clip:
            yield clip, sentence, speaker


def _columns(layout: TableLayout) -> tuple[str, str, str]:
    return layout.clip, layout.transcript, layout.speaker or ""


class ReleaseListing:
    """The clips of one release. `tables`: file name of a table -> its split; close it."""

    def __init__(
        self,
        files: SourceFiles,
        layout: TableLayout,
        tables: Mapping[str, str],
        held_out_by: Sequence[str],
        raise_if_stopped: Callable[[], None],
    ) -> None:
        """`held_out_by`: the splits whose sentences and speakers are left out of train."""
        self._files, self._layout, self._tables = files, layout, tables
        self._held_out_by = held_out_by
        self._raise_if_stopped = raise_if_stopped

    def extracted(self, folder: str, split: str, scratch: Path) -> Iterator[ListedClip]:
        """A split of a release that is a folder of files."""
        with self._index(scratch / split, lambda: self._rows_in(folder, split)) as index:
            for row in index.rows(split):
                yield self._listed(index, split, row.key, row.value)

    def archived(self, archive: str, split: str, scratch: Path, deep: bool) -> Iterator[ListedClip]:
        """A split of a release that is a tar.gz: clips in its order, then rows without a clip of their own there."""
        if not deep:
            raise NotListed(TAKES_DEEP.format(archive))
        with self._index(scratch, lambda: self._members_of(archive)) as index:
            for clip in index.rows(_CLIPS):
                if row := index.get(split, clip.key):
                    yield self._listed(index, split, row.key, row.value)
            for row in index.rows(split):
                first = index.get(split, row.key)
                is_repeated = first is not None and first.number != row.number
                if is_repeated or index.get(_CLIPS, row.key) is None:
                    yield self._listed(index, split, row.key, row.value)

    def _index(self, scratch: Path, entries: Callable[[], Iterator[IndexEntry]]) -> TableIndex:
        tables = [*self._tables.values(), _CLIPS, HELD_OUT]
        return open_table_index(scratch, "release", self._files.revision, tables, entries)

    def _rows_in(self, folder: str, split: str) -> Iterator[IndexEntry]:
        """Only of the tables that decide on this split: another one may be missing, as it may for a run."""
        for table, of_split in self._tables.items():
            if of_split == split or of_split in self._held_out_by:
                name = f"{folder}/{table}"
                with self._files.open(name) as stream, damage_explained(name):
                    yield from self._entries(stream, name, of_split)

    def _members_of(self, archive: str) -> Iterator[IndexEntry]:
        left = dict(self._tables)
        for member, extract in tar_members(self._files, archive):
            self._raise_if_stopped()
            name = base_name_of(member.name)
            if name in left and member.isreg():
                yield from self._entries(cast(BinaryIO, extract()), name, left.pop(name))
            elif is_audio_name(member.name):
                yield _CLIPS, name, ""

    def _entries(self, stream: BinaryIO, name: str, split: str) -> Iterator[IndexEntry]:
        for clip, sentence, speaker in rows_of_table(stream, name, self._layout):
            self._raise_if_stopped()
            yield split, clip, json.dumps([sentence, speaker])
            if split in self._held_out_by:
                yield from held_out_entries(sentence, speaker)

    def _listed(self, index: TableIndex, split: str, clip: str, said: str) -> ListedClip:
        is_left_out = split == "train" and any(
            index.get(HELD_OUT, key) for _, key, _ in (held_out_entries(*json.loads(said)) if self._held_out_by else ())
        )
        return ListedClip(key_of(clip) or clip, selected=not is_left_out)


def archives_listed(
    files: SourceFiles,
    archives: Iterable[str],
    table: str,
    scratch: Path,
    deep: bool,
    raise_if_stopped: Callable[[], None],
) -> Iterator[ListedClip]:
    """The clips of tar.gz archives, in that order; those that have no line in `table` (name, tab, text) are left out
    by it."""
    if not deep:
        raise NotListed(TAKES_DEEP.format("a tar archive"))
    with open_table_index(scratch, Path(table).stem, files.revision, [_TEXTS], lambda: _texts(files, table)) as texts:
        for archive in archives:
            for member, _ in tar_members(files, archive):
                raise_if_stopped()
                if is_audio_name(member.name):
                    selected = texts.get(_TEXTS, stem_of(member.name)) is not None
                    yield ListedClip(key_of(member.name), selected)


def _texts(files: SourceFiles, table: str) -> Iterator[IndexEntry]:
    with files.open(table) as stream, damage_explained(table):
        for line, _ in TextLines(stream, table):
            name, tab, _ = line.partition("\t")
            if name and tab:
                yield _TEXTS, name, ""
