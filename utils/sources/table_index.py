"""Tables of (key, value) rows on disk: a transcript of ten million is found without holding them in memory.

One SQLite file holds the tables of one file of a source at one revision. It is a cache: made from the source
when it is first needed, the same every time, and made again where it is lost or damaged. It is built
under a lock, in a temporary file: bulk insert, then CREATE INDEX (sorted on disk), fsync, rename.
"""

import fcntl
import os
import sqlite3
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple, TypeAlias

import xxhash

from utils.disk.durable import TEMPORARY_SUFFIX, make_folder, publish_file, remove, step
from utils.errors import SourceError, Stopped

IndexEntry: TypeAlias = tuple[str, str, str]
"""Table, key, value."""

_FORMAT = 1
_CACHE_KIB = 16_000
_SCHEMA = """
PRAGMA journal_mode = OFF;
PRAGMA synchronous = OFF;
PRAGMA temp_store = FILE;
CREATE TABLE meta (name TEXT PRIMARY KEY, value TEXT NOT NULL);
CREATE TABLE entry (row INTEGER PRIMARY KEY, tbl INTEGER NOT NULL, key TEXT NOT NULL, value TEXT NOT NULL);
"""

_UNDER_KEY = "SELECT row, key, value FROM entry WHERE key = ? AND tbl = ? ORDER BY row LIMIT ?"


class Row(NamedTuple):
    """A row of a table. `number` is stable, grows in table order, and may skip."""

    number: int
    key: str
    value: str


def open_table_index(
    folder: Path,
    label: str,
    identity: str,
    tables: Sequence[str],
    entries: Callable[[], Iterable[IndexEntry]],
) -> "TableIndex":
    """The index of what `identity` names (source, revision, file), built from `entries` where there is none.

    `label` begins the file's name; `entries` yields the rows of all `tables`, each table's in its order.
    What `entries` raises is passed on, and leaves no index behind. Raises Stopped where the disk is full.
    """
    identity = f"{_FORMAT}\n{identity}\n{','.join(tables)}"
    path = folder / f"{label}-{xxhash.xxh3_64_hexdigest(identity.encode())}.sqlite"
    existing = _open_sound(path, identity, tables)
    if existing is not None:
        return existing
    make_folder(folder)
    with _lock(path.with_suffix(".lock")):
        existing = _open_sound(path, identity, tables)  # another process may have built it while we waited
        if existing is not None:
            return existing
        _build(path, identity, tables, entries)
    return TableIndex(path, tables)


class TableIndex:
    """Read-only tables of rows. Close it. A damaged one removes itself and raises SourceError."""

    def __init__(self, path: Path, tables: Sequence[str]) -> None:
        self._path = path
        self._numbers: Mapping[str, int] = {table: number for number, table in enumerate(tables)}
        # A processor may be read in another thread than the one that closes it, never in two at once.
        self._db = sqlite3.connect(f"{path.resolve().as_uri()}?mode=ro&immutable=1", uri=True, check_same_thread=False)

    def __enter__(self) -> "TableIndex":
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        self._db.close()

    def get(self, table: str, key: str) -> Row | None:
        """The first row of a table under `key`; None where there is none."""
        try:
            found = self._db.execute(_UNDER_KEY, (key, self._numbers[table], 1)).fetchone()
        except sqlite3.DatabaseError as error:
            raise self._removed(error) from error
        return None if found is None else Row(*found)

    def every(self, table: str, key: str, most: int = -1) -> Iterator[Row]:
        """The rows of a table under `key`, in its order; the first `most` of them where that is not negative."""
        return map(Row._make, self._query(_UNDER_KEY, key, self._numbers[table], most))

    def rows(self, table: str, first: int = 0, skip: int = 0) -> Iterator[Row]:
        """The rows of a table in its order, from row number `first` on, without the first `skip` of them."""
        found = self._query(
            "SELECT row, key, value FROM entry WHERE row >= ? AND tbl = ? ORDER BY row LIMIT -1 OFFSET ?",
            first,
            self._numbers[table],
            skip,
        )
        return map(Row._make, found)

    def count(self, table: str) -> int:
        ((count,),) = self._query("SELECT count(*) FROM entry WHERE tbl = ?", self._numbers[table])
        return int(count)

    def count_also_in(self, table: str, other: str) -> int:
        """How many rows of `table` have a key that `other` has, too."""
        ((count,),) = self._query(
            "SELECT count(*) FROM entry AS one WHERE tbl = ? AND EXISTS "
            "(SELECT 1 FROM entry AS two WHERE two.key = one.key AND two.tbl = ?)",
            self._numbers[table],
            self._numbers[other],
        )
        return int(count)

    def _query(self, statement: str, *parameters: object) -> Iterator[tuple[Any, ...]]:
        try:
            yield from self._db.execute(statement, parameters)
        except sqlite3.DatabaseError as error:
            raise self._removed(error) from error

    def _removed(self, error: sqlite3.DatabaseError) -> SourceError:
        self._db.close()
        remove(self._path)
        return SourceError(
            f"The transcript index {self._path} is damaged ({error}) and was removed. What was read before is "
            "safe. Run again with --resume: the index is made anew."
        )


def _open_sound(path: Path, identity: str, tables: Sequence[str]) -> TableIndex | None:
    """The index in `path` if it is whole and ours, else None."""
    if not path.is_file():
        return None
    try:
        db = sqlite3.connect(f"{path.resolve().as_uri()}?mode=ro&immutable=1", uri=True)
        try:
            stored = db.execute("SELECT value FROM meta WHERE name = 'identity'").fetchone()
        finally:
            db.close()
    except sqlite3.DatabaseError:  # SQLite holds the file's size against its header, too
        return None
    return TableIndex(path, tables) if stored == (identity,) else None


def _build(path: Path, identity: str, tables: Sequence[str], entries: Callable[[], Iterable[IndexEntry]]) -> None:
    temporary = path.with_name(path.name + TEMPORARY_SUFFIX)
    remove(temporary)  # a killed run's; the lock says that nobody writes it now
    try:
        with step("index", temporary):
            _fill(temporary, identity, tables, entries)
        publish_file(temporary, path)
    except (sqlite3.Error, OSError) as error:
        raise Stopped(
            f"The transcript index {path} can't be written ({error}). Nothing is lost. Make room on that disk or "
            "choose another cache folder, then run again with --resume."
        ) from error
    finally:
        remove(temporary)


def clear_indexes(folder: Path) -> int:
    """Delete the indexes in a folder, and the clips unpacked for them; returns the bytes freed.

    They are made anew when they are needed.
    """
    freed = 0
    kept = [path for pattern in ("*.sqlite*", "*.clips*") for path in folder.glob(pattern)] if folder.is_dir() else []
    for path in sorted(kept):
        freed += path.stat().st_size
        remove(path)
    return freed


def _fill(path: Path, identity: str, tables: Sequence[str], entries: Callable[[], Iterable[IndexEntry]]) -> None:
    numbers = {table: number for number, table in enumerate(tables)}
    db = sqlite3.connect(path)
    try:
        db.executescript(_SCHEMA)
        db.execute(f"PRAGMA cache_size = -{_CACHE_KIB}")
        db.executemany(
            "INSERT INTO entry (tbl, key, value) VALUES (?, ?, ?)",
            ((numbers[table], key, value) for table, key, value in entries()),
        )
        db.execute("CREATE INDEX by_key ON entry (key, tbl)")
        db.execute("INSERT INTO meta VALUES ('identity', ?)", (identity,))
        db.commit()
    finally:
        db.close()


@contextmanager
def _lock(path: Path) -> Iterator[None]:
    """Wait for the lock file; the kernel releases it when its holder dies, however it dies."""
    descriptor = os.open(path, os.O_RDWR | os.O_CREAT, 0o644)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX)
        yield
    finally:
        os.close(descriptor)
