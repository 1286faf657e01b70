"""Caches in SQLite: indexes that can be rebuilt, so a file that is no sound one is replaced, and never believed."""

import sqlite3
from collections.abc import Sequence
from pathlib import Path

from utils.dataset.ledger import Ledger
from utils.disk.durable import remove


def open_cache(path: Path, tables: Sequence[str]) -> sqlite3.Connection:
    """The cache in `path`, made with the statements `tables` where it is new, cut short or none of ours.

    Not all pages are looked at (1.5 s for ten million ids): a damaged one is met when it is used (`is_damage`).
    """
    try:
        return _connect(path, tables)
    except sqlite3.DatabaseError:
        remove_cache(path)
        return _connect(path, tables)


def remove_cache(path: Path) -> None:
    """Delete the file and what SQLite keeps beside it."""
    for leftover in path.parent.glob(f"{path.name}*"):
        remove(leftover)


def is_damage(error: sqlite3.DatabaseError) -> bool:
    """Whether the file is damaged; a full disk and the like are not its fault."""
    return getattr(error, "sqlite_errorcode", 0) & 0xFF in (sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB)


def is_made_from(db: sqlite3.Connection, ledger: Ledger) -> bool:
    """Whether all published clips in it were published in this dataset: it was made from what has become this ledger.

    Not so where a backup of the dataset was put back: then it may know clips that are published nowhere.
    """
    mark = _noted(db, "ledger")
    return mark is not None and ledger.extends(mark)


def is_added_to_by_its_run(db: sqlite3.Connection, ledger: Ledger, last_run: str) -> bool:
    """Whether what was published since it was noted is by the run that noted it, which entered it here. `last_run` has
    committed last; nobody else has in between, as a run commits only onto what it knows."""
    return _noted(db, "ledger") == ledger.mark or bool(last_run and _noted(db, "run") == last_run)


def note_made_from(db: sqlite3.Connection, ledger: Ledger, run: str = "") -> None:
    """`run`: who uses it from now on, and enters what it publishes."""
    db.executemany("INSERT OR REPLACE INTO meta VALUES (?, ?)", [("ledger", ledger.mark), ("run", run)])


def _noted(db: sqlite3.Connection, name: str) -> str | None:
    found = db.execute("SELECT value FROM meta WHERE name = ?", (name,)).fetchone()
    return None if found is None else str(found[0])


def _connect(path: Path, tables: Sequence[str]) -> sqlite3.Connection:
    db = sqlite3.connect(path)
    try:
        db.execute("PRAGMA journal_mode = WAL")
        db.execute("PRAGMA synchronous = NORMAL")
        db.execute("PRAGMA cache_size = -16000")
        db.execute("CREATE TABLE IF NOT EXISTS meta (name TEXT PRIMARY KEY, value TEXT)")
        for statement in tables:
            db.execute(statement)
        db.execute("SELECT * FROM meta").fetchall()
    except BaseException:
        db.close()
        raise
    return db
