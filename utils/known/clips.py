"""Which clips a dataset has, published or staged, by their audio: what a new one is looked up in.

One SQLite file on this machine, some 200 bytes a clip, in memory that does not grow. It is a cache: the index files in
the target (`utils/upload/shard_index_files.py`) and the staged rows say the same, and it is made anew from them where
it does not hold just what they do.

Clips are entered in one transaction, which `note_covered` ends: it is called before the clips themselves become
durable. So what a dead run leaves is either just what is durable, or ahead of it by the clips of one checkpoint; those
are taken away when it is opened. Nothing is ever found that was not read before the clip that asks.
"""

import sqlite3
from collections.abc import Collection, Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from utils.dataset.ledger import Ledger
from utils.disk.durable import make_folder, step
from utils.errors import Stopped
from utils.known.cache_db import (
    is_added_to_by_its_run,
    is_damage,
    is_made_from,
    note_made_from,
    open_cache,
    remove_cache,
)
from utils.rows.progress import SplitOfSource


@dataclass(frozen=True)
class Entry:
    """What the index keeps of a clip."""

    source_id: str
    audio_hash: bytes
    """xxh3-128 of its samples."""
    length_ms: int = 0
    transcript: int | None = None
    """The key of its transcript (`utils/known/judge.py`); None: it has none, or near duplicates are not looked for."""
    fingerprint: bytes = b""


@dataclass(frozen=True)
class Known:
    """A clip of the index that may be the one that was asked for."""

    place: SplitOfSource
    source_id: str
    fingerprint: bytes


@dataclass(frozen=True)
class Reached:
    """How far a split of a source is entered: it has all clips up to this one."""

    revision: str
    """With the number of the pass: places in another revision mean nothing in this one."""
    read: int


_NOTHING = Reached("", -1)
"""Not even the clips that were published before it was made, which all have the ordinal 0."""

_TABLES = (
    "CREATE TABLE IF NOT EXISTS place "
    "(number INTEGER PRIMARY KEY, source TEXT, split TEXT, revision TEXT, read INTEGER)",
    "CREATE TABLE IF NOT EXISTS clip (row INTEGER PRIMARY KEY, place INTEGER, ordinal INTEGER, key TEXT, "
    "hash INTEGER, more INTEGER, transcript INTEGER, length_ms INTEGER, fingerprint BLOB)",
)
_INDEXES = (
    "CREATE INDEX IF NOT EXISTS by_hash ON clip (hash)",
    "CREATE INDEX IF NOT EXISTS by_transcript ON clip (transcript) WHERE transcript IS NOT NULL",
)
_FORMAT = 1


class ClipIndex:
    """The clips of a dataset. Used by one thread; a damaged one removes itself and raises Stopped."""

    def __init__(self, path: Path, identity: str) -> None:
        """Open or make the index. One made for another dataset or mode (`identity`) is emptied."""
        make_folder(path.parent)
        self._path = path
        self._identity = f"{_FORMAT}/{identity}"
        self._numbers: dict[SplitOfSource, int] = {}
        self._db = open_cache(path, _TABLES)
        try:
            if not self._is_ours():
                self.clear()
            self._numbers = {(row[1], row[2]): row[0] for row in self._ask("SELECT number, source, split FROM place")}
        except BaseException:
            self._db.close()
            raise

    def close(self) -> None:
        """Forgets what was not noted: those clips are not durable, and are read again."""
        self._db.close()  # which rolls back; of a damaged one that was removed, nothing

    def clear(self) -> None:
        """Empty it. It is slow to look up in until `finish` is called, so that many clips can be entered at once."""
        self._db.close()
        remove_cache(self._path)
        self._db = open_cache(self._path, _TABLES)
        self._numbers = {}

    def note_made_from(self, ledger: Ledger, run: str = "") -> None:
        """All published clips that are entered are named by this ledger. What `run` publishes from now on is, too."""
        with self._explained(), step("index", self._path), self._db:
            note_made_from(self._db, ledger, run)

    def missing(self, source_ids: Collection[str]) -> set[str]:
        """Those of these clips that it does not have. Looks through all of it."""
        if not source_ids:
            return set()
        with self._explained():
            self._db.execute("CREATE TEMP TABLE wanted (key TEXT, place INTEGER, name TEXT)")
            try:
                wanted = (one for name in source_ids for one in self._ways_to_keep(name))
                self._db.executemany("INSERT INTO wanted VALUES (?, ?, ?)", wanted)
                self._db.execute("CREATE INDEX temp.by_key ON wanted (key)")
                found = self._db.execute(
                    "SELECT DISTINCT name FROM clip JOIN wanted ON wanted.key = clip.key AND "
                    "(wanted.place IS NULL OR wanted.place = clip.place)"
                ).fetchall()
            finally:
                self._db.execute("DROP TABLE temp.wanted")
        return set(source_ids) - {name for (name,) in found}

    def _ways_to_keep(self, source_id: str) -> Iterator[tuple[str, int | None, str]]:
        """(key, number of the place or None for any, source id): how a clip of that name may be entered."""
        source, _, rest = source_id.partition("/")
        split, _, key = rest.partition("/")
        if (source, split) in self._numbers:
            yield key, self._numbers[source, split], source_id
        yield _WHOLE + source_id, None, source_id

    def finish(self) -> None:
        """All that is published is entered."""
        with self._explained(), step("index", self._path), self._db:
            for statement in _INDEXES:
                self._db.execute(statement)
            self._db.execute("INSERT OR REPLACE INTO meta VALUES ('identity', ?)", (self._identity,))

    def flush(self) -> None:
        """Write what was entered, before `finish`: nobody believes it yet."""
        with self._explained(), step("index", self._path):
            self._db.commit()

    def holds(
        self, reached: Mapping[SplitOfSource, Reached], ledger: Ledger, last_run: str = "", run: str = ""
    ) -> bool:
        """Whether it has all clips up to there, and no others: those ahead of them, and of places that are not named,
        are taken away. `ledger`: of what is published, at last by `last_run`; `run` is the one that asks.

        What another run has published is not what was staged here under the same numbers: each judges by what it knows.
        """
        if not self._is_ours() or not self._is_made_from(ledger, last_run):
            return False
        for place in set(self._numbers) - set(reached):
            if self.reached(place) != _NOTHING:
                self.forget_behind(place, _NOTHING)
        for place, wanted in reached.items():
            known = self.reached(place)
            if known is None and wanted.read == 0:
                continue
            if known is None or known.revision != wanted.revision or known.read < wanted.read:
                return False
            if known.read > wanted.read:
                self.forget_behind(place, wanted)
        self.note_made_from(ledger, run)
        return True

    def reached(self, place: SplitOfSource) -> Reached | None:
        """How far a place is entered; None where nothing is known of it."""
        found = self._ask("SELECT revision, read FROM place WHERE source = ? AND split = ?", *place)
        return next((Reached(*row) for row in found if row[0] is not None), None)

    def add(self, place: SplitOfSource, ordinal: int, entries: Iterable[Entry]) -> None:
        """Enter clips of a split. `ordinal`: the place in it of the last one; durable with `note_covered`."""
        number = self._number(place)
        with self._explained():
            self._db.executemany(
                "INSERT INTO clip (place, ordinal, key, hash, more, transcript, length_ms, fingerprint) "
                "VALUES (?, ?, ?, ?, ?, ?, ?, ?)",
                ((number, ordinal, *_columns(entry, place)) for entry in entries),
            )

    def note_covered(self, place: SplitOfSource, reached: Reached) -> None:
        """Make the entries durable. Call before the clips themselves become durable."""
        number = self._number(place)
        with self._explained(), step("index", self._path), self._db:
            self._db.execute("UPDATE place SET revision = ?, read = ? WHERE number = ?", (*_values(reached), number))

    def same_audio(self, audio_hash: bytes) -> Known | None:
        """A clip with this very audio; of several the one whose name comes first."""
        lead, more = _halves(audio_hash)
        found = self._known("hash = ? AND more = ?", lead, more)
        return min(found, key=lambda known: known.source_id, default=None)

    def same_words(self, transcript: int, from_ms: int, to_ms: int) -> list[Known]:
        """The clips with this transcript that are that long."""
        return list(self._known("transcript = ? AND length_ms BETWEEN ? AND ?", transcript, from_ms, to_ms))

    def _known(self, condition: str, *values: object) -> Iterator[Known]:
        columns = "source, split, key, fingerprint FROM clip JOIN place ON place.number = clip.place"
        found = self._ask(f"SELECT {columns} WHERE {condition}", *values)  # noqa: S608 - one of the two above
        return (Known((row[0], row[1]), _source_id(row[2], (row[0], row[1])), row[3] or b"") for row in found)

    def forget_behind(self, place: SplitOfSource, wanted: Reached) -> None:
        """Take the clips behind that one away."""
        number = self._number(place)
        with self._explained(), step("index", self._path), self._db:
            self._db.execute("DELETE FROM clip WHERE place = ? AND ordinal > ?", (number, wanted.read))
            self._db.execute("UPDATE place SET revision = ?, read = ? WHERE number = ?", (*_values(wanted), number))

    def _number(self, place: SplitOfSource) -> int:
        if place not in self._numbers:
            number = len(self._numbers)
            with self._explained():
                self._db.execute("INSERT INTO place (number, source, split) VALUES (?, ?, ?)", (number, *place))
            self._numbers[place] = number
        return self._numbers[place]

    def _is_made_from(self, ledger: Ledger, last_run: str) -> bool:
        with self._explained():
            return is_made_from(self._db, ledger) and is_added_to_by_its_run(self._db, ledger, last_run)

    def _is_ours(self) -> bool:
        """Whether it was finished for this dataset and mode; a damaged one was not."""
        try:
            found = self._db.execute("SELECT value FROM meta WHERE name = 'identity'").fetchone()
        except sqlite3.DatabaseError:
            return False
        return bool(found == (self._identity,))

    def _ask(self, statement: str, *values: object) -> list[tuple[Any, ...]]:
        with self._explained():
            return self._db.execute(statement, values).fetchall()

    @contextmanager
    def _explained(self) -> Iterator[None]:
        try:
            yield
        except sqlite3.DatabaseError as error:
            if not is_damage(error):
                raise
            self._db.close()
            remove_cache(self._path)
            raise Stopped(
                f"The index of clips {self._path} is damaged ({error}) and was removed. Nothing is lost. Run again "
                "with --resume: it is made anew from what is published."
            ) from error


_WHOLE = "\n"
"""Before a source id that does not begin with its source and split: a script's may not."""


def _columns(entry: Entry, place: SplitOfSource) -> tuple[object, ...]:
    prefix = f"{place[0]}/{place[1]}/"
    key = entry.source_id.removeprefix(prefix)
    key = key if key != entry.source_id else _WHOLE + key
    transcript = entry.transcript if entry.fingerprint else None
    return (key, *_halves(entry.audio_hash), transcript, entry.length_ms, entry.fingerprint or None)


def _source_id(key: object, place: SplitOfSource) -> str:
    text = str(key)
    return text[1:] if text.startswith(_WHOLE) else f"{place[0]}/{place[1]}/{text}"


def _halves(audio_hash: bytes) -> tuple[int, int]:
    """As SQLite has numbers: of 64 bits, with a sign."""
    return int.from_bytes(audio_hash[:8], "big", signed=True), int.from_bytes(audio_hash[8:], "big", signed=True)


def _values(reached: Reached) -> tuple[str, int]:
    return reached.revision, reached.read
