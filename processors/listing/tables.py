"""The clips of a source of tables: its rows, each with the clip that it means, and the clips that no row means.

In an index of its own (of the tables' rows and the clips' paths, then of the rows of each split), made anew for each
look at the source.
"""

import json
from collections.abc import Callable, Iterable, Iterator
from functools import cached_property
from pathlib import Path
from typing import Final

from processors.engine.clip_names import base_name_of, ending_of
from processors.engine.listed import ListedClip
from processors.listing.packed import Listed, files_listed
from processors.readers.spec import TableSpec, split_of_path
from processors.readers.table_forms import KEY, VALUE, rows_of
from processors.readers.table_names import (
    UNREADABLE,
    RowNames,
    RowsOfAll,
    SharedFolders,
    folder_key,
    folder_of,
    folders_of,
    name_in_folder_key,
    name_key,
    normal_name,
    without_ending,
)
from utils.rows.printable import as_text
from utils.rows.schema import SPLITS
from utils.sources.source_files import SourceFiles
from utils.sources.table_index import IndexEntry, Row, TableIndex, open_table_index

CLIPS: Final = "clips"
"""Path -> "1" where it is in a tar.gz."""
NAMED: Final = "named"
"""`name_in_folder_key` and `name_key` -> path."""
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
        self._shared = "", SharedFolders()
        self.held = self._open(scratch, "held", [CLIPS, NAMED, ASIDE, _ROWS], self._held)
        try:
            self._folders = self._folders_of_clips()
            self._folder_names = {folder_key(base_name_of(folder)) for folder in self._folders}
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
                yield NAMED, name_in_folder_key(file.path), file.path
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
                path = self._clip_meant(given, found.key)
                clip = self.held.get(CLIPS, path) if path else None
                of = split or self.names.split(row, given, path, found.key)
                order = IN_ORDER if clip and clip.value else ""
                yield of + order, path, self.names.key(row, name, found.key)

    def _said_aside(self, key: str) -> str | None:
        found = self.held.get(ASIDE, key)
        return found.value if found else None

    def _clip_meant(self, given: str, table: str) -> str:
        """The path of the clip that a row of a table means; "" where that is not there, or not certain."""
        name, here = normal_name(given), folder_of(table)
        if UNREADABLE in name:
            return ""
        scope = here
        while scope and scope not in self._folders:
            scope = folder_of(scope)
        for folder in (here, scope, ""):
            path = f"{folder}/{name}".strip("/")
            is_allowed = path.startswith(f"{here}/") or here not in self._folders or not here
            if is_allowed and (folder or scope == "" or "/" in name) and self.held.get(CLIPS, path):
                return path
        return self._most_like(given, table, scope)

    def _most_like(self, given: str, table: str, scope: str) -> str:
        """The clip below `scope` that ends as a row says, if it is one and not another row's."""
        said = folders_of(given)
        left_out = said or folders_of(f"{folder_of(table)[len(scope) :]}/x")
        wanted: list[str] = []
        while left_out and left_out[-1] in self._folder_names:
            *left_out, last = left_out
            wanted.insert(0, last)
        dropped = len(left_out) if said else 0
        if dropped > 0 and dropped > self._shared_by(table).for_name(given):
            return ""
        fits = dict(self._that_fit(normal_name(given), scope, wanted))
        path = _most_like(set(fits), base_name_of(normal_name(given)))
        before = fits.get(path, [])
        if before and dropped and dropped > self._all.shared.for_name(given):
            return ""
        split = self.names.split_of_table(table)
        return "" if any(self._all.has_for_another(folder, table, split) for folder in before) else path

    def _that_fit(self, name: str, scope: str, wanted: list[str]) -> Iterator[tuple[str, list[str]]]:
        """Clips below `scope` in folders that end with `wanted`, each with the folders before these."""
        prefix = f"{scope}/" if scope else ""
        key = f"{wanted[-1]}/{name_key(name)}" if wanted else name_key(name)
        paths = [row.value for row in self.held.every(NAMED, key, -1 if wanted else _MOST_OF_ONE_NAME + 1)]
        if len(paths) > _MOST_OF_ONE_NAME and not wanted:
            right_here = self.held.every(NAMED, name_in_folder_key(prefix + base_name_of(name)))
            paths = [*paths[:-1], *(row.value for row in right_here if folder_of(row.value) == scope)]
        for path in paths:
            folders = folders_of(path)
            before = len(folders) - len(wanted)
            if path.startswith(prefix) and before >= 0 and folders[before:] == wanted:
                yield path, folders[len(folders_of(prefix)) : before]

    def _shared_by(self, table: str) -> SharedFolders:
        if self._shared[0] != table:
            self._shared = table, SharedFolders.of(name for _, name in self._given(self.held.every(_ROWS, table)))
        return self._shared[1]

    @cached_property
    def _all(self) -> RowsOfAll:
        return RowsOfAll.of(self._given(self.held.rows(_ROWS)), self._spec.form)

    def _given(self, rows: Iterable[Row]) -> Iterator[tuple[str, str]]:
        for row in rows:
            yield row.key, self.names.clip_name(json.loads(row.value)[1], row.key, self._said_aside)

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


def _most_like(paths: set[str], name: str) -> str:
    """The one that is most like a row's name; "" where two are."""
    if without_ending(name) == name:
        alike = list(paths)
    else:
        same = [path for path in paths if base_name_of(path) == name]
        same_but_for_case = [path for path in paths if ending_of(path).casefold() == ending_of(name).casefold()]
        alike = same or same_but_for_case or list(paths)
    return alike[0] if len(alike) == 1 else ""
