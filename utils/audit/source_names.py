"""A dataset held against the names of its sources, on disk: nothing is missing, nothing is invented.

    rows, rejects    --read-->        table `published`     (with all other checks: utils/audit/verify.py)
    a source's clips --listed anew--> table `listed`        (who calls `hold` lists them: nothing here knows a source)
    both, sorted by name, one beside the other  -->  a Check

A name stands as often in the dataset as the source has it: once as a row or a reject, each further time as a reject for
that. Clips that are only counted have no name there, so their number is compared. What an earlier revision published
need not be in this one, and accounts for a clip that is. Of clips that were taken out, a name that the list of these
knows accounts for itself. SQLite sorts in files, so memory does not grow with names.
"""

import re
import sqlite3
from collections.abc import Iterable, Iterator
from itertools import islice
from pathlib import Path
from typing import Final, TypeAlias

import pyarrow as pa

from utils.audit.files_read import FileFacts, FilesRead, as_text
from utils.audit.findings import Check
from utils.audit.row_checks import RowCheck
from utils.dataset.layout import parse_part_path
from utils.dataset.state import SplitState, State
from utils.known.removals import RemovedList

ListedName: TypeAlias = tuple[str | None, str]
"""A clip that a source has: its source id, None where the source's own tables leave it out; and the one that it has
instead where it is too large to be loaded, "" where that is no other one."""

_SCHEMA: Final = """
PRAGMA journal_mode = OFF;
PRAGMA synchronous = OFF;
PRAGMA temp_store = FILE;
PRAGMA cache_size = -16000;
CREATE TABLE published (place TEXT, key TEXT, name TEXT, earlier INTEGER);
"""
_LISTED: Final = """
DROP TABLE IF EXISTS listed;
CREATE TABLE listed (key TEXT, name TEXT, otherwise TEXT);
CREATE INDEX by_otherwise ON listed (otherwise) WHERE otherwise <> '';
"""
_UNEQUAL: Final = """
SELECT ifnull(max(listed), ''), ifnull(max(published), ''), count(listed), count(published), max(otherwise) FROM (
    SELECT key, name AS listed, NULL AS published, 0 AS earlier, otherwise FROM listed
    UNION ALL
    SELECT key, NULL, name, earlier, '' FROM published WHERE place = ?
) GROUP BY key HAVING max(earlier) = 0 AND count(listed) <> count(published)
"""
_STANDS_FOR_ONE: Final = re.compile(r".+/removed-[0-9a-f]{32}")


class PublishedNames(RowCheck):
    """The source ids of all rows and rejects, held against those that sources have."""

    columns = ("source_id",)

    def __init__(self, scratch: Path) -> None:
        """`scratch` is a folder that is there."""
        self.state: State | None = None
        self.removed = RemovedList()
        self._unreadable: set[str] = set()
        self._db = sqlite3.connect(scratch / "names.sqlite")
        self._db.executescript(_SCHEMA)

    def begin(self, state: State | None, removed: RemovedList) -> None:
        """What is known of the dataset before its rows are read."""
        self.state, self.removed = state, removed

    def close(self) -> None:
        self._db.close()

    # --- what is published -------------------------------------------------------------------

    def take(self, file: FileFacts, batch: pa.RecordBatch, first: int) -> None:
        place = _place_of(file.path)
        if self.state is None or place is None or "source_id" not in batch.schema.names:
            return
        source, split, number = place
        books = self.state.split(source, split)
        if number >= books.parts:  # a leftover of a run that died, and none of the dataset
            return
        is_earlier = number < books.pass_first_part
        names = (name for name in as_text(batch["source_id"]).to_pylist() if name)
        rows = ((f"{source}/{split}", self._key(name), name, is_earlier) for name in names)
        with self._db:
            self._db.executemany("INSERT INTO published VALUES (?, ?, ?, ?)", rows)

    def finish(self, read: FilesRead) -> None:
        for file in read.files:
            place = _place_of(file.path)
            if place and not file.is_readable:
                self._unreadable.add(f"{place[0]}/{place[1]}")
        self._db.execute("CREATE INDEX IF NOT EXISTS by_name ON published (place, key)")

    # --- what there should be ----------------------------------------------------------------

    def hold(
        self, check: Check, source: str, split: str, books: SplitState, listed: Iterable[ListedName], is_whole: bool
    ) -> None:
        """Hold a split against its clips, `listed` in the order of reading: all of them, or (not `is_whole`) as many as
        the state counts."""
        place = f"{source}/{split}"
        if place in self._unreadable:
            check.skip(f"a published file of {place} can't be read")
            return
        self._db.executescript(_LISTED)
        counts = _Counts()
        taken = iter(listed) if is_whole else islice(listed, books.progress.read)
        with self._db:
            self._db.executemany("INSERT INTO listed VALUES (?, ?, ?)", self._selected(taken, counts))
        check.checked += counts.all
        found = check.found
        for name, times, published, times_published in self._unequal(place):
            told = f"{published or name}: the source has it {times} times, the dataset {times_published} times"
            if not published:
                told = f"{name}: the source has it, and the dataset neither a row nor a reject of it"
            elif not name:
                told = f"{published}: the dataset has it, and the source{'' if is_whole else ', as far as read,'} not"
            check.offend(told, abs(times - times_published))
        if counts.unselected != books.progress.unselected:
            check.offend(
                f"{place}: the source's tables leave out {counts.unselected:,} of its clips, the state counts "
                f"{books.progress.unselected:,}"
            )
        elif found == check.found and counts.all != books.progress.read:
            check.offend(f"{place}: the source has {counts.all:,} clips, the state counts {books.progress.read:,}")

    def _selected(self, listed: Iterable[ListedName], counts: "_Counts") -> Iterator[tuple[str, str, str]]:
        for name, otherwise in listed:
            counts.all += 1
            if name is None:
                counts.unselected += 1
            else:
                yield self._key(name), name, self._key(otherwise) if otherwise else ""

    def _unequal(self, place: str) -> Iterator[tuple[str, int, str, int]]:
        """What is not accounted for: name and times in the source, name and times in the dataset; "" for none."""
        for name, published, times, times_published, otherwise in self._db.execute(_UNEQUAL, (place,)):
            if times > times_published:
                is_explained = self.removed.means(name, None) or self._is_published(place, otherwise)
            else:
                is_explained = not times and self._is_one_not_loaded(self._key(published))
            if not is_explained:
                yield name, times, published, times_published

    def _is_published(self, place: str, key: str) -> bool:
        found = "SELECT 1 FROM published WHERE place = ? AND key = ? AND key <> ''"
        return self._db.execute(found, (place, key)).fetchone() is not None

    def _is_one_not_loaded(self, key: str) -> bool:
        """Whether it is what a listed clip has for a name where it is too large."""
        found = "SELECT 1 FROM listed WHERE otherwise = ? AND otherwise <> ''"
        return self._db.execute(found, (key,)).fetchone() is not None

    def _key(self, name: str) -> str:
        """What a name is compared by: where clips were taken out, what stands for it among the rejects."""
        if not self.removed.key or _STANDS_FOR_ONE.fullmatch(name):
            return name
        return self.removed.stands_for(name)


class _Counts:
    """What a listing came to."""

    def __init__(self) -> None:
        self.all = self.unselected = 0


def _place_of(path: str) -> tuple[str, str, int] | None:
    """Source, split and number of a part; None for another file."""
    try:
        part = parse_part_path(path)
    except ValueError:
        return None
    return part.source, part.split, part.number
