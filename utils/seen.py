"""Which source ids were read: law 7's "every source id once", on disk, in memory that does not grow.

An index of hashes (128 bits) in SQLite, one file a source. It is a cache: the published and staged rows
say the same, and it is made anew from them where it does not reach as far as they do. An entry holds
where its id was first read, so that a clip that is read again after a crash recognizes itself, and
entries ahead of what became durable do no harm.
"""

import sqlite3
from collections.abc import Iterable
from pathlib import Path

import xxhash

from utils.durable import make_folder, remove, step
from utils.schema import Reject, RejectReason, Skip

PUBLISHED = 0
"""The ordinal of entries made from published rows: before every clip that is still to be read."""


class SeenIds:
    """The source ids of one source, over all its splits and revisions."""

    def __init__(self, path: Path, identity: str) -> None:
        """Open or make the index. One made for another generation (`identity`) is emptied."""
        make_folder(path.parent)
        self._path = path
        self._db = _open(path)
        if self._meta("identity") != identity:
            self.clear(identity)

    def close(self) -> None:
        self._db.commit()
        self._db.close()

    def clear(self, identity: str) -> None:
        with step("index", self._path), self._db:
            self._db.execute("DELETE FROM seen")
            self._db.execute("DELETE FROM meta")
            self._db.execute("INSERT INTO meta VALUES ('identity', ?)", (identity,))

    def covers(self, split: str, ordinal: int, revision_number: int) -> bool:
        """Whether the index holds all clips of a split up to `ordinal` of that revision."""
        covered = self._meta(f"covered/{revision_number}/{split}")
        # Not noted is not "up to 0": a new index lacks the ids of earlier revisions too.
        return covered is not None and int(covered) >= ordinal

    def note_covered(self, split: str, ordinal: int, revision_number: int) -> None:
        """Make the entries durable; they reach up to `ordinal`. Call before the clips themselves become durable."""
        with step("index", self._path), self._db:
            self._db.execute(
                "INSERT OR REPLACE INTO meta VALUES (?, ?)",
                (f"covered/{revision_number}/{split}", str(ordinal)),
            )

    def add_known(self, source_ids: Iterable[str], split: str, revision_number: int) -> None:
        """Enter ids that are published or staged already."""
        rows = ((_hash(source_id), revision_number, split, PUBLISHED) for source_id in source_ids)
        with step("index", self._path), self._db:
            self._db.executemany("INSERT OR IGNORE INTO seen VALUES (?, ?, ?, ?)", rows)

    def admit(self, source_id: str, split: str, ordinal: int, revision_number: int) -> Skip | Reject | None:
        """Enter an id. None where it is new (or this very clip read again), else what the clip is instead."""
        own = (revision_number, split, ordinal)
        key = _hash(source_id)
        cursor = self._db.execute("INSERT OR IGNORE INTO seen VALUES (?, ?, ?, ?)", (key, *own))
        if cursor.rowcount:
            return None
        first = self._db.execute("SELECT revision, split, ordinal FROM seen WHERE id = ?", (key,)).fetchone()
        if first == own:
            return None
        if first[0] < revision_number:
            return Skip.KNOWN
        return Reject(source_id, RejectReason.REPEATED_SOURCE_ID, "another clip of this source has the same id")

    def _meta(self, name: str) -> str | None:
        row = self._db.execute("SELECT value FROM meta WHERE name = ?", (name,)).fetchone()
        return row[0] if row else None


def _open(path: Path) -> sqlite3.Connection:
    """The index in `path`; a file that is no sound index is replaced: it can be made anew."""
    try:
        return _connect(path)
    except sqlite3.DatabaseError:
        for leftover in path.parent.glob(f"{path.name}*"):
            remove(leftover)
        return _connect(path)


def _connect(path: Path) -> sqlite3.Connection:
    db = sqlite3.connect(path)
    try:
        _prepare(db)
    except sqlite3.DatabaseError:
        db.close()
        raise
    return db


def _prepare(db: sqlite3.Connection) -> None:
    """Tables and settings; DatabaseError where the file is damaged. Checking takes 2 s for ten million ids."""
    db.execute("PRAGMA journal_mode = WAL")
    db.execute("PRAGMA synchronous = NORMAL")
    db.execute("PRAGMA cache_size = -16000")
    db.execute("CREATE TABLE IF NOT EXISTS meta (name TEXT PRIMARY KEY, value TEXT)")
    db.execute(
        "CREATE TABLE IF NOT EXISTS seen (id BLOB PRIMARY KEY, revision INTEGER, split TEXT, ordinal INTEGER) "
        "WITHOUT ROWID"
    )
    if db.execute("PRAGMA quick_check(1)").fetchone() != ("ok",):
        raise sqlite3.DatabaseError("a page is damaged")


def _hash(source_id: str) -> bytes:
    return xxhash.xxh3_128_digest(source_id.encode())
