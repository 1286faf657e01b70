"""Which of a source's clips a row of a table means.

Tables name clips in many ways: from the table's folder or the source's, from a folder of the machine that they were
made on, with backslashes, without an ending, with one in other case. What is meant must be one clip for certain, as
part of a corpus may be lacking: a row never gets a clip of the same name from a folder that is another's.

1. The very path, from the table's folder, the nearest above it with clips, or the source's.
2. Else what ends as the row says. Folders in front that are not there may be left out where all rows of the table have
   them; where the clip then lies in a folder that the row does not name, all rows of the source.
3. A folder that the row does not name is none that is called like another table or split.
4. Where two clips fit, none is taken.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import cached_property
from typing import Final, TypeAlias

from processors.engine.clip_names import base_name_of, ending_of
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
from utils.sources.table_index import TableIndex

CLIPS: Final = "clips"
"""The index's table of clips: path -> place."""
NAMES: Final = "names"
"""The index's table of their names: `name_key` -> path."""
IN_FOLDERS: Final = "in folders"
"""The same, by `name_in_folder_key`."""

NamesOfRows: TypeAlias = Callable[[str | None], Iterator[tuple[str, str]]]
"""(table, what it calls its clip) of each row of a table; None: of all tables."""

_MAX_OF_ONE_NAME: Final = 10_000


@dataclass(frozen=True)
class Found:
    """The clip that a row means: its path, or why there is none."""

    path: str | None
    why_not: str = ""


class ClipFinder:
    """Finds clips in an index with the tables `CLIPS`, `NAMES` and `IN_FOLDERS`."""

    def __init__(self, index: TableIndex, names: RowNames, rows: NamesOfRows) -> None:
        """`rows` gives those of a table, or of all, anew each time."""
        self._index, self._names, self._rows = index, names, rows
        self._folders: set[str] = set()
        """Every folder that has a clip in it or below."""
        for row in index.rows(CLIPS):
            folder = folder_of(row.key)
            while folder not in self._folders:
                self._folders.add(folder)
                folder = folder_of(folder)
        self._folder_names = {folder_key(base_name_of(folder)) for folder in self._folders}
        self._scopes: dict[str, str] = {}
        self._shared = "", SharedFolders()

    def find(self, given: str, table: str) -> Found:
        """The clip that a row of `table` means by `given`."""
        name = normal_name(given)
        if UNREADABLE in name:  # which bytes stood there is not known: several names look like this
            return Found(None, name)
        here = folder_of(table)
        scope = self._scope(here)
        for folder in (here, scope, *([""] if "/" in name else [])):
            path = f"{folder}/{name}".strip("/")
            if (scope != here or _is_below(path, scope)) and self._index.get(CLIPS, path):
                return Found(path)
        found = self._searched(given, table, scope)
        return found if found.path or found.why_not else Found(None, base_name_of(name))

    def _scope(self, folder: str) -> str:
        """The nearest folder, `folder` itself or one above it, that has clips."""
        if folder not in self._scopes:
            nearest = folder
            while nearest not in self._folders and nearest:
                nearest = folder_of(nearest)
            self._scopes[folder] = nearest
        return self._scopes[folder]

    def _searched(self, given: str, table: str, scope: str) -> Found:
        """The one below `scope`, in the folders that the row names as far as there are such folders."""
        folders = folders_of(given)
        parts = folders or [folder_key(part) for part in folder_of(table).removeprefix(scope).split("/") if part]
        unknown = next((at for at in range(len(parts) + 1) if self._folder_names.issuperset(parts[at:])), len(parts))
        wanted = parts[unknown:]
        dropped = unknown if folders else 0
        if dropped and dropped > self._shared_in(table).for_name(given):
            return Found(None)
        found = self._best(list(self._candidates(normal_name(given), scope, wanted)), base_name_of(normal_name(given)))
        if not found.path:
            return found
        above = len(folders_of(f"{scope}/x"))
        unnamed = folders_of(found.path)[above : -len(wanted) or None]
        if dropped and unnamed and dropped > self._all.shared.for_name(given):
            return Found(None)
        split = self._names.split_of_table(table)
        if any(self._all.has_for_another(folder, table, split) for folder in unnamed):
            return Found(None)
        return found

    def _candidates(self, name: str, scope: str, wanted: list[str]) -> Iterator[str]:
        if wanted:
            there = self._index.every(IN_FOLDERS, f"{wanted[-1]}/{name_key(name)}")
        else:
            there = self._index.every(NAMES, name_key(name), _MAX_OF_ONE_NAME + 1)
        for number, row in enumerate(there):
            if number == _MAX_OF_ONE_NAME and not wanted:  # then those right in the table's folder have to do
                here = self._index.every(IN_FOLDERS, name_in_folder_key(f"{scope}/{base_name_of(name)}"))
                yield from (row.value for row in here if folder_of(row.value) == scope)
                return
            folders = folders_of(row.value)
            if _is_below(row.value, scope) and folders[len(folders) - len(wanted) :] == wanted:
                yield row.value

    def _shared_in(self, table: str) -> SharedFolders:
        if self._shared[0] != table:
            self._shared = table, SharedFolders.of(name for _, name in self._rows(table))
        return self._shared[1]

    @cached_property
    def _all(self) -> RowsOfAll:
        return RowsOfAll.of(self._rows(None), self._names.spec.form)

    def _best(self, paths: list[str], name: str) -> Found:
        """The one whose ending is most like the row's; none where two are."""
        has_ending = without_ending(name) != name
        ending = ending_of(name).casefold()
        ranked: dict[int, list[str]] = {}
        for path in dict.fromkeys(paths):
            there = base_name_of(path)
            rank = 0 if not has_ending or there == name else 1 if ending_of(there).casefold() == ending else 2
            ranked.setdefault(rank, []).append(path)
        if not ranked:
            return Found(None, name)
        best = ranked[min(ranked)]
        return (
            Found(best[0]) if len(best) == 1 else Found(None, f"{name} ({len(best)} files fit: {', '.join(best[:3])})")
        )


def _is_below(path: str, folder: str) -> bool:
    return not folder or path.startswith(f"{folder}/")
