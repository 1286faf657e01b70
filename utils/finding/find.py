"""Look for a name, words or a recording in all that a target and this machine's staging have of its sources.

    staged segments -> head, state, list -> shards -> rejects -> what staged and published rejects repeat of it

What is staged is listed first: what is published until the head is read is then found there, and a segment that goes
later, whose rows the revision that is looked through may not have, is told. Shards are streamed, a batch at a time.
Audio is read only for a recording, and not where the shard's index file (`utils/upload/shard_index_files.py`) tells
what its clips sound like. What can't be read is told, and passed over.
"""

from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import suppress
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any, Final

from utils.audio.standardize import AudioRejected, audio_fingerprint
from utils.audit.findings import heed
from utils.audit.near_names import NearNames
from utils.audit.scan import Row, Scanner, audio_bytes, text_of
from utils.choices import Dedup
from utils.dataset.layout import (
    REJECTED_FOLDER,
    REMOVED_PATH,
    STATE_FOLDER,
    index_path,
    parse_part_path,
    rows_in,
    source_of,
)
from utils.dataset.state import State
from utils.dataset.target import Snapshot, TargetReader
from utils.errors import TargetRefused, UsageError
from utils.finding.wanted import ALIKE, BY_REPEATED, BY_SAMPLES, BY_SOUND, SPEAKERS, TEXTS, Name, Sound
from utils.known.clips import Entry
from utils.known.judge import repeated_clip
from utils.known.removals import RemovedList
from utils.rows.schema import Reject, RejectReason
from utils.upload.segments import FINGERPRINT_COLUMN, Segment, of_older_version, read_segments
from utils.upload.shard_index_files import from_bytes

MOST_HELD: Final = 10_000
"""Clips that are told; all are counted."""

ROW, REJECT, STAGED, STAGED_REJECT = "row", "reject", "staged", "staged reject"

_TRIES: Final = 20

_TOLD: Final = ("ID", "source_id", *SPEAKERS, "length", *TEXTS)


@dataclass(frozen=True)
class Hit:
    """A row or a reject that is meant."""

    ID: str
    """"" of a reject, and of a row that is only staged: IDs are given when it is published."""
    source_id: str
    speaker_id: str
    length_s: float | None
    text: str
    """Its transcript; of a reject, what it was refused for."""
    found_by: tuple[str, ...]
    likeness: float | None
    """Of a recording, 0 to 1."""
    kind: str
    file: str

    def as_json(self) -> dict[str, Any]:
        return {**asdict(self), "found_by": list(self.found_by)}


@dataclass
class Found:
    """All that was found."""

    revision: str = ""
    hits: list[Hit] = field(default_factory=list)
    """The first `MOST_HELD`; of a recording, those most like it first."""
    total: int = 0
    rows_looked_at: int = 0
    told_of_list: list[str] = field(default_factory=list)
    source: str = ""
    """The source that is called so."""
    near: str = ""
    """Of a name that nothing has: what may be meant."""
    not_read: list[str] = field(default_factory=list)
    """Files that could not be read, and why."""

    @property
    def is_known(self) -> bool:
        """Whether there is anything of it: in a file, or on the list of what was taken out."""
        return bool(self.total or self.told_of_list)


@dataclass(frozen=True)
class Place:
    """Where to look."""

    target: TargetReader
    staging: Path
    """The target's staging folder on this machine."""
    scratch: Path
    sources: tuple[str, ...] = ()
    """Nowhere else; none: everywhere. As a person types them."""
    on_file: Callable[[str, int, int], None] = lambda path, number, total: None
    """Told (path, number, total) before each file of the target is read."""
    stop_requested: Callable[[], bool] = lambda: False


class Search:
    """One look through a target and its staging."""

    def __init__(self, place: Place) -> None:
        """UsageError where a source that is named is none of the target's, nor staged."""
        self._place = place
        self.found = Found()
        self._segments = list(self._staged())
        self._snapshot = self._read_snapshot()
        self.found.revision = self._snapshot.head
        self.state: State | None = self._snapshot.state
        self.removed = self._read_removed()
        self._scanner = Scanner(place.target, self._snapshot, place.scratch, place.stop_requested)
        self._sizes = {
            file.path: file.size_bytes
            for file in place.target.stored_files(self._snapshot)
            if file.path.endswith(".parquet") and not file.path.startswith(f"{STATE_FOLDER}/")
        }
        self.sources = self._asked_for()
        """Those that are looked through."""
        if place.sources:
            self._segments = [one for one in self._segments if one.key.source in self.sources]
            self._sizes = {path: size for path, size in self._sizes.items() if source_of(path) in self.sources}

    def by_name(self, name: Name) -> Found:
        """Look for a name or words."""
        self.found.told_of_list = name.told_of_list(self.state)
        self._add(self._named(name))
        self.found.source = next((one for one in self.sources if one.lower() == name.what.lower()), "")
        if not self.found.is_known:
            self.found.near = self._near(name.what)
        return self.found

    def by_sound(self, sound: Sound) -> Found:
        """Look for a recording."""
        self.found.told_of_list = sound.told_of_list()
        self._add(self._rows(lambda path: self._alike_rows(path, sound), lambda one: _staged_alike(one, sound)))
        self._add(self._rejects(None))
        self.found.hits.sort(key=lambda hit: -(hit.likeness or 0))
        return self.found

    def first_called(self, name: Name) -> Hit | None:
        """One that has that name."""
        first = next(self._named(replace(name, is_words=False)), None)
        self.found.rows_looked_at = 0
        return first

    # --- in order --------------------------------------------------------------------------

    def _add(self, hits: Iterable[Hit]) -> None:
        for hit in hits:
            self.found.total += 1
            if len(self.found.hits) < MOST_HELD:
                self.found.hits.append(hit)

    def _named(self, name: Name) -> Iterator[Hit]:
        yield from self._rows(lambda path: self._named_rows(path, name), lambda one: _staged_named(one, name))
        yield from self._rejects(name)

    def _rows(
        self, of_file: Callable[[str], Iterable[Hit]], of_segment: Callable[[Segment], Iterable[Hit]]
    ) -> Iterator[Hit]:
        for segment in self._segments:
            heed(self._place.stop_requested)
            try:
                yield from of_segment(segment)
            except FileNotFoundError:
                self._note_not_read(f"{segment.path}: a run has published it meanwhile; repeat this command")
        shards = [path for path in self._sizes if not _is_of_rejects(path)]
        for number, path in enumerate(shards):
            self._place.on_file(path, number, len(shards))
            try:
                yield from of_file(path)
            except TargetRefused as error:
                self._note_not_read(str(error))

    def _rejects(self, name: Name | None) -> Iterator[Hit]:
        """Rejects by name, and those that repeat a clip that was found."""
        found = {hit.source_id for hit in self.found.hits}
        for segment in self._segments:
            for staged in segment.rejects:
                yield from _reject(staged.reject, name, found, STAGED_REJECT, str(segment.path))
        for path in filter(_is_of_rejects, self._sizes):
            try:
                for _, row in self._scanner.rows_of(path, ["source_id", "reason", "detail"]):
                    told = Reject(*(text_of(row.get(column)) for column in ("source_id", "reason", "detail")))
                    yield from _reject(told, name, found, REJECT, path)
            except TargetRefused as error:
                self._note_not_read(str(error))

    def _note_not_read(self, why: str) -> None:
        if why not in self.found.not_read:
            self.found.not_read.append(why)

    # --- published rows --------------------------------------------------------------------

    def _named_rows(self, path: str, name: Name) -> Iterator[Hit]:
        for _, row in self._scanner.rows_of(path, _TOLD):
            self.found.rows_looked_at += 1
            if by := name.found_by(row):
                yield _hit(row, by, None, ROW, path)

    def _alike_rows(self, path: str, sound: Sound) -> Iterator[Hit]:
        if not rows_in(path).has_audio:
            return
        if (alike := self._alike_by_index(path, sound)) is not None:
            for number, row in self._scanner.rows_of(path, _TOLD) if alike else ():
                if number in alike:
                    yield _hit(row, (_how(alike[number]),), alike[number], ROW, path)
            return
        for _, row in self._scanner.rows_of(path, [*_TOLD, "audio_hash", "audio"]):
            self.found.rows_looked_at += 1
            if (likeness := _likeness(sound, row)) >= ALIKE:
                yield _hit(row, (_how(likeness),), likeness, ROW, path)

    def _alike_by_index(self, path: str, sound: Sound) -> Mapping[int, float] | None:
        """Numbers of rows that are like it, from the shard's index file; None where that tells nothing."""
        entries = self._entries(path)
        if entries is None:
            return None
        self.found.rows_looked_at += len(entries)
        likenesses = ((at, sound.likeness(one.audio_hash.hex(), one.fingerprint)) for at, one in enumerate(entries))
        return {at: likeness for at, likeness in likenesses if likeness >= ALIKE}

    def _entries(self, path: str) -> list[Entry] | None:
        """What the index file says of a shard's rows, where it is of just that shard."""
        try:
            part = parse_part_path(path)
        except ValueError:
            return None
        raw = self._place.target.read_file(index_path(part.source, part.split, part.number), self._snapshot)
        if raw is None:
            return None
        names = [text_of(row.get("source_id")) for _, row in self._scanner.rows_of(path, ["source_id"])]
        entries = from_bytes(raw, Dedup.NEAR, len(names), self._sizes[path])
        return entries if entries and [one.source_id for one in entries] == names else None

    # --- where to look ---------------------------------------------------------------------

    def _asked_for(self) -> tuple[str, ...]:
        of_files = {source_of(path) for path in self._sizes}
        known = {*(self.state.sources if self.state else ()), *of_files, *(one.key.source for one in self._segments)}
        there = {name.lower(): name for name in sorted(filter(None, known))}
        unknown = [name for name in self._place.sources if name.lower() not in there]
        if unknown:
            raise UsageError(
                f"{self._place.target.name} holds no source {', '.join(unknown)}. Nothing was looked for. It holds: "
                f"{', '.join(there.values()) or 'none'}."
            )
        return tuple(there[name.lower()] for name in self._place.sources) or tuple(there.values())

    def _staged(self) -> Iterator[Segment]:
        for folder in (*sorted(self._place.staging.glob("*/*/")), self._place.staging / "set-aside"):
            segments, damaged = _read_folder(folder)
            yield from segments
            self.found.not_read += damaged
        for path in sorted(of_older_version(self._place.staging)):
            self.found.not_read.append(f"{path}: an older version of this program has staged it")

    def _read_snapshot(self) -> Snapshot:
        """The target's; where its state can't be read, without one."""
        try:
            return self._place.target.snapshot()
        except TargetRefused as error:
            snapshot = Snapshot(self._place.target.head(), None, holds_data=True)
            self.found.not_read.append(str(error))
            return snapshot

    def _read_removed(self) -> RemovedList:
        try:
            return RemovedList.checked(self._place.target.read_file(REMOVED_PATH, self._snapshot), self.state)
        except TargetRefused as error:
            self.found.not_read.append(str(error))
            return RemovedList()

    def _near(self, what: str) -> str:
        """What may be meant by a name that nothing has."""
        near = NearNames([what])
        for segment in self._segments:
            with suppress(FileNotFoundError):  # told already
                near.look_at(segment.source_ids())
        for path in self._sizes:
            columns = ["source_id"] if _is_of_rejects(path) else ["ID", "source_id", "speaker_id"]
            try:
                for _, row in self._scanner.rows_of(path, columns):
                    near.look_at(filter(None, map(text_of, row.values())))
            except TargetRefused:  # told already
                continue
        return near.found.get(what, "")


# --- staged rows -----------------------------------------------------------------------------


def _read_folder(folder: Path) -> tuple[list[Segment], list[str]]:
    """The segments of a folder, and what is damaged. Read again where one was published meanwhile, and is gone."""
    for _ in range(_TRIES):
        with suppress(FileNotFoundError):
            return _segments_in(folder)
    return _segments_in(folder)


def _segments_in(folder: Path) -> tuple[list[Segment], list[str]]:
    damaged: list[str] = []
    return list(read_segments(folder, lambda path, why: damaged.append(f"{path}: {why}"))), damaged


def _staged_named(segment: Segment, name: Name) -> Iterator[Hit]:
    for row in segment.columns([*_TOLD]).to_pylist():
        if by := name.found_by(row):
            yield _hit(row, by, None, STAGED, str(segment.path))


def _staged_alike(segment: Segment, sound: Sound) -> Iterator[Hit]:
    if not segment.has_audio:
        return
    for row in _rows_that_sound(segment):
        if (likeness := _likeness(sound, row)) >= ALIKE:
            yield _hit(row, (_how(likeness),), likeness, STAGED, str(segment.path))


def _rows_that_sound(segment: Segment) -> Iterator[Row]:
    """Rows with their fingerprints; where they have none, with their audio."""
    if segment.key.has_fingerprints:
        yield from segment.columns([*_TOLD, "audio_hash", FINGERPRINT_COLUMN]).to_pylist()
        return
    for table in segment.batches():
        yield from table.to_pylist()


def _likeness(sound: Sound, row: Row) -> float:
    audio_hash = text_of(row.get("audio_hash"))
    if FINGERPRINT_COLUMN in row:
        return sound.likeness(audio_hash, row[FINGERPRINT_COLUMN] or b"")
    if audio_hash in sound.audio_hashes:
        return 1.0
    try:
        return sound.likeness(audio_hash, audio_fingerprint(audio_bytes(row)).stored)
    except AudioRejected:
        return 0.0


def _reject(reject: Reject, name: Name | None, found: set[str], kind: str, file: str) -> Iterator[Hit]:
    by = name.reject_found_by(reject) if name else ()
    if not by and reject.reason == RejectReason.DUPLICATE and repeated_clip(reject.detail) in found:
        by = (BY_REPEATED,)
    if by:
        text = ", ".join(filter(None, (f"refused: {reject.reason}", reject.detail)))
        yield Hit("", reject.source_id, "", None, text, by, None, kind, file)


def _how(likeness: float) -> str:
    return BY_SAMPLES if likeness == 1.0 else BY_SOUND


def _hit(row: Row, by: tuple[str, ...], likeness: float | None, kind: str, file: str) -> Hit:
    length = row.get("length")
    return Hit(
        text_of(row.get("ID")),
        text_of(row.get("source_id")),
        next((text_of(row[name]) for name in SPEAKERS if row.get(name)), ""),
        float(length) if isinstance(length, (int, float)) else None,
        " / ".join(text_of(row[name]) for name in TEXTS if row.get(name)),
        by,
        likeness,
        kind,
        file,
    )


def _is_of_rejects(path: str) -> bool:
    return path.startswith(f"{REJECTED_FOLDER}/")
