"""Which source ids were read: law 7's "every source id once", on disk, in memory that does not grow.

An index of hashes (128 bits) in SQLite, one file a source. It is a cache: the published and staged rows
say the same, and it is made anew from them where it does not reach as far as they do. An entry holds
where its id was first read, so that a clip that is read again after a crash recognizes itself, and
entries ahead of what became durable do no harm.

Opening it costs the same however many ids it holds: whether all its pages are sound is not asked then. A damaged one is
met when it is used: then it is made anew in the middle of a run, with the ids that are not yet durable.
"""

import logging
import sqlite3
from collections.abc import Callable, Iterable
from pathlib import Path

import xxhash

from utils.dataset.ledger import Ledger
from utils.disk.durable import make_folder, step
from utils.known.cache_db import is_damage, is_made_from, note_made_from, open_cache, remove_cache
from utils.rows.schema import Reject, RejectReason, Skip

log = logging.getLogger(__name__)

_TABLES = (
    "CREATE TABLE IF NOT EXISTS seen (id BLOB PRIMARY KEY, revision INTEGER, split TEXT, ordinal INTEGER) "
    "WITHOUT ROWID",
)

PUBLISHED = 0
"""The ordinal of entries made from published rows: before every clip that is still to be read."""


class SeenIds:
    """The source ids of one source, over all its splits and revisions."""

    def __init__(self, path: Path, identity: str, refill: Callable[[], None] = lambda: None) -> None:
        """Open or make the index. One made for another generation (`identity`) is emptied.

        `refill` enters the published and staged ids, where it turns out to be damaged while it is used.
        """
        make_folder(path.parent)
        self._path = path
        self._identity = identity
        self._refill = refill
        self._not_noted: list[tuple[str, int, str, int]] = []
        """What was admitted since, in order: source id, revision, split, ordinal."""
        self._db = open_cache(path, _TABLES)
        try:
            if self._meta("identity") != identity:
                self.clear(identity)
        except BaseException:
            self._db.close()
            raise

    def close(self) -> None:
        """Forgets what was not noted: those clips are not durable, and are read again."""
        self._db.close()

    def clear(self, identity: str) -> None:
        self._identity = identity
        self._not_noted = []
        self._db.close()
        remove_cache(self._path)
        self._db = open_cache(self._path, _TABLES)
        with step("index", self._path), self._db:
            self._db.execute("INSERT INTO meta VALUES ('identity', ?)", (identity,))

    def is_made_from(self, ledger: Ledger) -> bool:
        """Whether the ids that are entered as published are published in this dataset."""
        return is_made_from(self._db, ledger)

    def note_made_from(self, ledger: Ledger) -> None:
        with step("index", self._path), self._db:
            note_made_from(self._db, ledger)

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
        noted = (revision_number, split)
        self._not_noted = [one for one in self._not_noted if one[1:3] != noted or one[3] > ordinal]

    def add_known(self, source_ids: Iterable[str], split: str, revision_number: int) -> None:
        """Enter ids that are published or staged already."""
        rows = ((_hash(source_id), revision_number, split, PUBLISHED) for source_id in source_ids)
        with step("index", self._path), self._db:
            self._db.executemany("INSERT OR IGNORE INTO seen VALUES (?, ?, ?, ?)", rows)

    def admit(
        self, source_id: str, split: str, ordinal: int, revision_number: int, alias: str = ""
    ) -> Skip | Reject | None:
        """Enter an id. None where it is new (or this very clip read again), else what the clip is instead.

        `alias` is the name that this id was published under, if it was refused as taken out.
        """
        self._not_noted.append((source_id, revision_number, split, ordinal))
        try:
            return self._admitted(source_id, split, ordinal, revision_number, alias)
        except sqlite3.DatabaseError as error:
            if not is_damage(error):
                raise
            self._make_anew(error)
            return self._admitted(source_id, split, ordinal, revision_number, alias)

    def _admitted(
        self, source_id: str, split: str, ordinal: int, revision_number: int, alias: str = ""
    ) -> Skip | Reject | None:
        own = (revision_number, split, ordinal)
        key = _hash(source_id)
        cursor = self._db.execute("INSERT OR IGNORE INTO seen VALUES (?, ?, ?, ?)", (key, *own))
        first = None if cursor.rowcount else self._place(key)
        if first is None and alias:
            first = self._place(_hash(alias))
        if first is None or first == own:
            return None
        if first[0] < revision_number:
            return Skip.KNOWN
        return Reject(source_id, RejectReason.REPEATED_SOURCE_ID, "another clip of this source has the same id")

    def _place(self, key: bytes) -> tuple[int, str, int] | None:
        found = self._db.execute("SELECT revision, split, ordinal FROM seen WHERE id = ?", (key,))
        place: tuple[int, str, int] | None = found.fetchone()
        return place

    def _make_anew(self, error: sqlite3.DatabaseError) -> None:
        log.warning("The index of source ids %s is damaged (%s): making it anew", self._path, error)
        not_noted, identity = self._not_noted, self._identity
        self.clear(f"{identity}, half made")  # what ends this in its middle leaves an index that nobody believes
        self._refill()
        for source_id, revision_number, split, ordinal in not_noted:
            self._admitted(source_id, split, ordinal, revision_number)
        with step("index", self._path), self._db:
            self._db.execute("UPDATE meta SET value = ? WHERE name = 'identity'", (identity,))
        self._not_noted, self._identity = not_noted, identity

    def _meta(self, name: str) -> str | None:
        row = self._db.execute("SELECT value FROM meta WHERE name = ?", (name,)).fetchone()
        return row[0] if row else None


def _hash(source_id: str) -> bytes:
    return xxhash.xxh3_128_digest(source_id.encode())
