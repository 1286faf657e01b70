"""The clips of a source of tables: its rows, each with the clip that it means, and the clips that no row means.

In an index of its own (of the tables' rows and the clips' paths, then of the rows of each split), made anew for each
look at the source.
"""

import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Final

from processors.engine.clip_names import base_name_of
from processors.engine.listed import ListedClip
from processors.listing.packed import Listed, files_listed
from processors.readers.spec import TableSpec, split_of_path
from processors.readers.table_forms import KEY, VALUE, rows_of
from processors.readers.table_names import (
    UNREADABLE,
    RowNames,
    folder_of,
    name_key,
    normal_name,
    without_archive_ending,
    without_ending,
)
from utils.rows.printable import as_text
from utils.rows.schema import SPLITS
from utils.sources.source_files import SourceFiles
from utils.sources.table_index import IndexEntry, TableIndex, open_table_index

CLIPS: Final = "clips"
"""Path -> "1" where it is in a tar.gz."""
NAMED: Final = "named"
"""`name_key` -> path."""
ASIDE: Final = "aside"
_ROWS: Final = "rows"
IN_ORDER: Final = " in order"
"""Behind a split's name: its rows whose clip is in a tar.gz."""
_MOST_OF_ONE_NAME: Final = 10_000


class TableListing:
    """The clips of one source. Close it."""

    def __init__(
        self,
        files: SourceFiles,
        spec: TableSpec,
        scratch: Path,
        deep: bool,
        raise_if_stopped: Callable[[], None],
    ) -> None:
        """NotListed where the source has a tar, unless `deep`."""
        self._files, self._spec, self._deep = files, spec, deep
        self.raise_if_stopped = raise_if_stopped
        self.names = RowNames(spec)
        self.held = self._open(scratch, "held", [CLIPS, NAMED, ASIDE, _ROWS], self._held)
        try:
            self._folders = self._folders_of_clips()
            self._folder_names = {_folder_name(base_name_of(folder)) for folder in self._folders}
            self._meant = self._open(scratch, "meant", [f"{split}{o}" for split in SPLITS for o in _ORDERS], self.meant)
        except BaseException:
            self.held.close()
            raise

    def __enter__(self) -> "TableListing":
        return self

    def __exit__(self, *_: object) -> None:
        self.held.close()
        self._meant.close()

    def clips(self, split: str) -> Iterator[ListedClip]:
        """Those of a split: in the order of a tar.gz, then of the tables, then those that no row means."""
        if self._meant.count(split + IN_ORDER):
            for number, path in self._paths(is_in_order=True):
                if self._is_first(number, path):
                    yield from (ListedClip(row.value) for row in self._meant.every(split + IN_ORDER, path))
        for row in self._meant.rows(split):
            yield ListedClip(row.value)
        yield from self._left_over(split)

    def _left_over(self, split: str) -> Iterator[ListedClip]:
        with_rows = [name for name in SPLITS if any(self._meant.count(name + order) for order in _ORDERS)]
        default = "train" if "train" in with_rows or not with_rows else with_rows[-1]
        for number, path in self._paths():
            meant_by = self._first_row(path, with_rows)
            if meant_by is None:
                named = split_of_path(folder_of(path))
                if split == (named if named in with_rows else default):
                    yield ListedClip(path, selected=False)
            elif meant_by[0] == split and not self._is_first(number, path):
                yield ListedClip(meant_by[1])  # an archive has it twice

    def _first_row(self, path: str, splits: list[str]) -> tuple[str, str] | None:
        """Split and key of the first row that means a clip."""
        for split in splits:
            for order in _ORDERS:
                if row := self._meant.get(split + order, path):
                    return split, row.value
        return None

    def _paths(self, is_in_order: bool | None = None) -> Iterator[tuple[int, str]]:
        for row in self.held.rows(CLIPS):
            self.raise_if_stopped()
            if is_in_order is None or bool(row.value) == is_in_order:
                yield row.number, row.key

    def _is_first(self, number: int, path: str) -> bool:
        first = self.held.get(CLIPS, path)
        return first is None or first.number == number

    # --- what there is -----------------------------------------------------------------------

    def _open(
        self, scratch: Path, label: str, tables: list[str], entries: Callable[[], Iterator[IndexEntry]]
    ) -> TableIndex:
        return open_table_index(scratch, label, f"{label}\n{self._files.revision}", tables, entries)

    def _held(self) -> Iterator[IndexEntry]:
        for file in files_listed(self._files, self._deep, self.raise_if_stopped):
            if file.is_clip:
                yield CLIPS, file.path, "1" if file.comes_in_order else ""
                yield NAMED, name_key(file.path), file.path
            elif self.names.is_aside(file.path):
                yield from self._kaldi(file)
            elif self.names.is_table(file.path):
                yield from self.rows_in(file)

    def _kaldi(self, file: Listed) -> Iterator[IndexEntry]:
        with file.open() as stream:
            for row in rows_of(stream, file.path, "kaldi"):
                yield ASIDE, f"{base_name_of(file.path)} {folder_of(file.path)} {row[KEY]}", str(row[VALUE])

    def rows_in(self, file: Listed) -> Iterator[IndexEntry]:
        """The rows of a table."""
        columns, form = self._spec.columns, self.names.form_of(file.path)
        needed = (*columns.audio, *columns.id, *columns.split, KEY)
        split = self.names.split_of_table(file.path)
        with file.open() as stream:
            for row in rows_of(stream, file.path, form, self._spec.header, self._spec.quoted):
                kept = json.dumps([split, self.names.only(row, needed)], ensure_ascii=False)
                yield _ROWS, file.path, as_text(kept)

    # --- what the rows mean ------------------------------------------------------------------

    def meant(self) -> Iterator[IndexEntry]:
        """The rows of each split, under the paths of their clips."""
        for found in self.held.rows(_ROWS):
            self.raise_if_stopped()
            split, row = json.loads(found.value)
            given = self.names.clip_name(row, found.key, self._said_aside)
            if name := normal_name(given):
                path = self._clip_meant(name, found.key)
                clip = self.held.get(CLIPS, path) if path else None
                of = split or self.names.split(row, given, path, found.key)
                order = IN_ORDER if clip and clip.value else ""
                yield of + order, path, self.names.key(row, name, found.key)

    def _said_aside(self, key: str) -> str | None:
        found = self.held.get(ASIDE, key)
        return found.value if found else None

    def _clip_meant(self, name: str, table: str) -> str:
        """The path of the clip that a row of a table means; "" where that is not there, or not certain."""
        if UNREADABLE in name:
            return ""
        here = folder_of(table)
        scope = here
        while scope and scope not in self._folders:
            scope = folder_of(scope)
        for folder in (here, scope, ""):
            path = f"{folder}/{name}".strip("/")
            if (folder or scope == "" or "/" in name) and self.held.get(CLIPS, path):
                return path
        folders = [_folder_name(part) for part in name.split("/")[:-1]]
        wanted: list[str] = []
        while folders and folders[-1] in self._folder_names:
            wanted.insert(0, folders.pop())
        alike = {
            row.value
            for row in self.held.every(NAMED, name_key(name), _MOST_OF_ONE_NAME)
            if (not scope or row.value.startswith(f"{scope}/")) and _ends_in(row.value, wanted)
        }
        return _most_like(alike, base_name_of(name))

    def _folders_of_clips(self) -> set[str]:
        """Those that have a clip in them or below; the source's own is "" ."""
        folders: set[str] = set()
        for row in self.held.rows(CLIPS):
            parts = row.key.split("/")[:-1]
            while "/".join(parts) not in folders:
                folders.add("/".join(parts))
                parts = parts[:-1]
        return folders


_ORDERS: Final = ("", IN_ORDER)


def _ends_in(path: str, wanted: list[str]) -> bool:
    """Whether a clip's folders end with these."""
    folders = [_folder_name(part) for part in path.split("/")[:-1]]
    return folders[len(folders) - len(wanted) :] == wanted if len(wanted) <= len(folders) else False


def _most_like(paths: set[str], name: str) -> str:
    """The one that is most like a row's name; "" where two are."""
    if without_ending(name) == name:
        alike = list(paths)
    else:
        same = [path for path in paths if base_name_of(path) == name]
        same_but_for_case = [path for path in paths if base_name_of(path).casefold() == name.casefold()]
        alike = same or same_but_for_case or list(paths)
    return alike[0] if len(alike) == 1 else ""


def _folder_name(part: str) -> str:
    return without_archive_ending(part).casefold()
