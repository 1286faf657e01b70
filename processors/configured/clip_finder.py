"""Which of a source's clips a row of a table means.

Tables name clips in many ways: from the table's folder or the source's, from a folder of the machine that they were
made on, with backslashes, without an ending, with one in other case. What is meant must be one clip for certain: a
row of one split never gets a clip of the same name from elsewhere, and where two clips fit, none is taken.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final

from processors.engine.clip_names import base_name_of
from processors.readers.table_names import (
    UNREADABLE,
    folder_of,
    name_key,
    normal_name,
    without_archive_ending,
    without_ending,
)
from utils.sources.table_index import TableIndex

CLIPS: Final = "clips"
"""The index's table of clips: path -> place."""
NAMES: Final = "names"
"""The index's table of their names: name without ending, in one case -> path."""

_MAX_OF_ONE_NAME: Final = 10_000


@dataclass(frozen=True)
class Found:
    """The clip that a row means: its path, or why there is none."""

    path: str | None
    why_not: str = ""


class ClipFinder:
    """Finds clips in an index with the tables `CLIPS` and `NAMES`."""

    def __init__(self, index: TableIndex) -> None:
        self._index = index
        self._folders: set[str] = set()
        """Every folder that has a clip in it or below."""
        for row in index.rows(CLIPS):
            folder = folder_of(row.key)
            while folder not in self._folders:
                self._folders.add(folder)
                folder = folder_of(folder)
        self._folder_names = {_folder_name(base_name_of(folder)) for folder in self._folders}
        self._scopes: dict[str, str] = {}

    def find(self, name: str, table: str) -> Found:
        """The clip that a row of `table` means by `name`."""
        name = normal_name(name)
        if UNREADABLE in name:  # which bytes stood there is not known: several names look like this
            return Found(None, name)
        scope = self._scope(folder_of(table))
        for folder in (folder_of(table), scope, *([""] if "/" in name else [])):
            if self._index.get(CLIPS, f"{folder}/{name}".strip("/")):
                return Found(f"{folder}/{name}".strip("/"))
        return self._best(list(self._candidates(name, scope)), base_name_of(name))

    def _scope(self, folder: str) -> str:
        """The nearest folder, `folder` itself or one above it, that has clips."""
        if folder not in self._scopes:
            nearest = folder
            while nearest not in self._folders and nearest:
                nearest = folder_of(nearest)
            self._scopes[folder] = nearest
        return self._scopes[folder]

    def _candidates(self, name: str, scope: str) -> Iterator[str]:
        """The clips of that name below `scope`, in the folders that the row names as far as there are such folders."""
        parts = [_folder_name(part) for part in name.split("/")[:-1]]
        known = next((at for at in range(len(parts) + 1) if all(part in self._folder_names for part in parts[at:])), 0)
        wanted = parts[known:]
        for row in self._index.every(NAMES, name_key(name), _MAX_OF_ONE_NAME):
            folders = [_folder_name(part) for part in row.value.split("/")[:-1]]
            if (not scope or row.value.startswith(f"{scope}/")) and folders[len(folders) - len(wanted) :] == wanted:
                yield row.value

    def _best(self, paths: list[str], name: str) -> Found:
        """The one whose ending is most like the row's; none where two are."""
        has_ending = without_ending(name) != name
        ranked: dict[int, list[str]] = {}
        for path in dict.fromkeys(paths):
            there = base_name_of(path)
            rank = 0 if not has_ending or there == name else 1 if there.casefold() == name.casefold() else 2
            ranked.setdefault(rank, []).append(path)
        if not ranked:
            return Found(None, name)
        best = ranked[min(ranked)]
        return (
            Found(best[0]) if len(best) == 1 else Found(None, f"{name} ({len(best)} files fit: {', '.join(best[:3])})")
        )


def _folder_name(part: str) -> str:
    return without_archive_ending(part).casefold()
