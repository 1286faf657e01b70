"""`--remove`, `--remove-speaker`, `--remove-id`: clips out of a dataset for good, in one commit.

    read state, ledger, list -> which rows go (three columns of each shard) -> write the shards concerned without them
    -> plan the state (holes, counts), the ledger, the list (utils/known/removals.py) -> Target.take_out: one commit

Shards without such a row stay as they are; one that loses all its rows goes. IDs of rows that go become holes, and are
never used again. What a source has told of itself (its books, where reading stopped, its rejects) stays.

A clip may have copies that nobody named: rows of the very same audio, whatever they are called, and where a clip is a
`duplicate` among the rejects, the row that it repeats. They are told, and go where that is asked for (`with_copies`):
two people may have read out one announcement, a jingle is in many recordings. What the list keeps of the audio that
went keeps other copies from coming, but for audio that rows which stay have, too.
"""

import re
from collections import Counter, defaultdict
from collections.abc import Callable, Mapping, Sequence
from collections.abc import Set as AbstractSet
from dataclasses import dataclass, field, replace
from functools import partial
from itertools import islice
from pathlib import Path

import pyarrow as pa
import pyarrow.compute as pc

from utils.audio.rejected import AudioRejected
from utils.audio.standardize import audio_fingerprint
from utils.audit.near_names import NearNames
from utils.audit.rewrite import Figures, RowWriter
from utils.audit.scan import Row, Scanner, audio_bytes, text_of
from utils.dataset.layout import (
    DATA_FOLDERS,
    HEARD_PATH,
    LEDGER_PATH,
    REJECTED_FOLDER,
    REMOVED_PATH,
    STATE_FOLDER,
    STATE_PATH,
    is_seek_file,
    parse_part_path,
    rows_in,
)
from utils.dataset.ledger import FileRecord, Ledger
from utils.dataset.libraries import library_versions
from utils.dataset.state import State, TakenOut
from utils.dataset.target import Change, Snapshot, StoredFile, Target
from utils.disk.durable import make_folder
from utils.errors import TargetRefused
from utils.known.clips import Entry
from utils.known.judge import entry_of, repeated_clip
from utils.known.removals import RemovedList
from utils.rows.ids import IdSet, Range, merge_ranges, number_of, subtract
from utils.rows.progress import SplitOfSource
from utils.rows.schema import ROW_SCHEMAS, SPEECH, RejectReason, RowSchema, published_schema
from utils.upload.publisher import utc_now

MOST_NEAR = 1000
"""Names that others are looked for that may be meant."""

_NAMES = ("ID", "source_id", "speaker_id")
"""The columns that tell which rows are meant."""


@dataclass(frozen=True)
class Wishes:
    """What is to go."""

    sources: frozenset[str] = frozenset()
    speakers: frozenset[str] = frozenset()
    """As in the column `speaker_id`."""
    spelt: Mapping[str, str] = field(default_factory=dict)
    """The id of a speaker's name in another spelling -> the one in `speakers` that it is, too."""
    clips: frozenset[str] = frozenset()
    """Source ids, and IDs."""
    with_copies: bool = False
    """Rows go, too, that nobody named and that have the same recording."""
    source_only: bool = False
    """Of the sources their names are listed, and not their recordings: others may have them."""

    @property
    def all_speakers(self) -> AbstractSet[str]:
        return self.speakers | self.spelt.keys()


@dataclass(frozen=True)
class Copy:
    """A row that nobody named, of a recording that goes."""

    ID: str
    source_id: str
    speaker_id: str
    transcript: str


@dataclass(frozen=True)
class Removal:
    """What a removal does; `change` is None where there is nothing to do."""

    change: Change | None
    snapshot: Snapshot
    rows: Mapping[SplitOfSource, int] = field(default_factory=dict)
    """Rows that go."""
    duration_s: float = 0.0
    rewritten: tuple[str, ...] = ()
    removed: tuple[str, ...] = ()
    holes: Mapping[str, tuple[Range, ...]] = field(default_factory=dict)
    """Kind of rows -> the IDs that stand for nothing from now on."""
    listed: int = 0
    """Names that are new on the list of what is never collected again."""
    unknown: tuple[str, ...] = ()
    """Wishes that no row answers to, and never did."""
    near: Mapping[str, str] = field(default_factory=dict)
    """Of those, what may be meant."""
    copies: tuple[Copy, ...] = ()
    """Rows that stay, as nobody named them."""
    speakerless: int = 0
    """Where speakers are meant: duplicates among the rejects, which don't tell whose they are."""
    clips_left: int = 0
    """Rows of the dataset afterwards."""
    foreign: tuple[str, ...] = ()
    """Files among those of the dataset that are none of it: what is in them is not looked at."""

    @property
    def total(self) -> int:
        return sum(self.rows.values())


@dataclass
class _Gone(Figures):
    """The rows of one shard that go."""

    nameless: int = 0
    """Those whose ID is no number."""
    source_ids: list[str] = field(default_factory=list)
    recordings: list[Entry] = field(default_factory=list)
    shared: list[str] = field(default_factory=list)
    """Source ids of those whose recording rows that stay have, too."""

    def take(self, row: Row, rows: RowSchema) -> None:
        self.add(row, rows)
        self.nameless += number_of(text_of(row.get("ID")), rows.id_prefix) is None
        self.source_ids.append(text_of(row.get("source_id")))


def plan_removal(
    target: Target,
    scratch: Path,
    wishes: Wishes,
    stop_requested: Callable[[], bool] = lambda: False,
) -> Removal:
    """Read the target, and write what replaces its shards into `scratch`; the target stays as it is."""
    snapshot = target.snapshot()
    if snapshot.state is None:
        raise TargetRefused(
            f"{target.name} has no {STATE_PATH}: it was not made by this program, or by an older version. Nothing was "
            "changed. Give it its state first, with --repair."
        )
    if snapshot.state.replaces_old_data:
        raise TargetRefused(
            f"A fresh dataset was begun in {target.name}, and the old data still stands. Nothing was changed. Go on "
            "with --fresh --resume until its first shard has replaced it, then repeat this."
        )
    if unknown := sorted(wishes.sources - set(snapshot.state.sources)):
        raise TargetRefused(
            f"{target.name} holds no source {', '.join(unknown)}. Nothing was changed. It holds: "
            f"{', '.join(snapshot.state.sources) or 'none'}."
        )
    scanner = Scanner(target, snapshot, scratch / "indexes", stop_requested)
    make_folder(scratch / "built")
    return _Plan(target, snapshot, snapshot.state, scanner, scratch / "built", wishes).made()


@dataclass
class _Plan:
    target: Target
    snapshot: Snapshot
    state: State
    scanner: Scanner
    built: Path
    wishes: Wishes
    stored: dict[str, StoredFile] = field(default_factory=dict)
    before: dict[str, FileRecord] = field(default_factory=dict)
    """The ledger as it is."""
    records: dict[str, FileRecord] = field(default_factory=dict)
    """And as it comes to be."""
    gone: dict[str, _Gone] = field(default_factory=dict)
    """Shard -> what goes of it."""
    written: dict[str, Path] = field(default_factory=dict)
    """Shard -> what takes its place."""
    answered: set[str] = field(default_factory=set)
    """Wishes that a row answered to."""
    repeated: set[str] = field(default_factory=set)
    """Source ids of rows that repeat, as the rejects say, clips that are meant."""
    audio: set[str] = field(default_factory=set)
    """The hashes of the audio of clips that are meant."""
    copies: list[Copy] = field(default_factory=list)
    shared: set[str] = field(default_factory=set)
    """The hashes of the audio of those: it may come again."""
    duplicates: int = 0
    """Rejects that repeat a row and are not meant themselves."""

    def made(self) -> Removal:
        ledger = Ledger.checked(self.target.read_file(LEDGER_PATH, self.snapshot), self.state)
        listed = RemovedList.read(partial(self.target.read_file, snapshot=self.snapshot), self.state)
        self.before = {record.path: record for record in ledger.records()}
        self.records = dict(self.before)
        self.stored = {file.path: file for file in self.target.stored_files(self.snapshot)}
        self._refuse_missing()
        self._look_for_copies()
        for path in self.before:
            if not path.startswith(_REJECTED):
                self._take_from(path)
        extended = self._extended(listed)
        removal = self._removal(listed, extended)
        removal = replace(removal, near=self._near(removal.unknown))
        extended = extended.leaving_recordings_of(name for gone in self.gone.values() for name in gone.shared)
        if not self.gone and extended == listed:
            return removal
        return replace(removal, change=self._change(extended))

    def _refuse_missing(self) -> None:
        if missing := [path for path in self.before if path not in self.stored]:
            raise TargetRefused(
                f"{self.target.name} lacks {len(missing)} published files: {', '.join(missing[:3])}. Nothing was "
                "changed. Put them back (from the target's history or a backup), then repeat this."
            )

    def _refuse_damaged(self, path: str) -> None:
        """What is written again is signed again: damage must not be."""
        file, record = self.stored[path], self.before[path]
        sha256 = file.sha256 or self.target.sha256(path, self.snapshot)
        if (file.size_bytes, sha256) != (record.size_bytes, record.sha256):
            raise TargetRefused(
                f"{path} is not the file that was committed. Nothing was changed. Put it back (from the target's "
                "history or a backup), or see what --verify --deep and --repair make of it, then repeat this."
            )

    # --- which rows ------------------------------------------------------------------------

    def _look_for_copies(self) -> None:
        """Note what repeats the clips that are meant, wherever their recordings are."""
        for path in self.before:
            if path.startswith(_REJECTED):
                for _, reject in self.scanner.rows_of(path, ["source_id", "reason", "detail"]):
                    name, repeats = text_of(reject.get("source_id")), reject.get("reason") == RejectReason.DUPLICATE
                    self.answered |= {name} & self.wishes.clips
                    if name in self.wishes.clips or self._goes_with_recordings(path):
                        self.repeated.add(repeated_clip(text_of(reject.get("detail"))) if repeats else "")
                    else:
                        self.duplicates += repeats
        for path in self.before:
            rows = rows_in(path)
            if path.startswith(_REJECTED) or not rows.has_audio:
                continue
            if not (self._goes_with_recordings(path) or self._has_any(path, rows)):
                continue
            for _, row in self.scanner.rows_of(path, [*_NAMES, "audio_hash"]):
                if self._is_named(row) or self._goes_with_recordings(path):
                    self.audio.add(text_of(row.get("audio_hash")))
        self.audio.discard("")
        self.repeated.discard("")
        if not self.wishes.with_copies:
            self._keep_copies()

    def _keep_copies(self) -> None:
        for path in self.before:
            rows = rows_in(path)
            if path.startswith(_REJECTED) or not rows.has_audio or self._goes_whole(path):
                continue
            if not self._has_any(path, rows):
                continue
            for _, row in self.scanner.rows_of(path, [*_NAMES, "audio_hash", "transcript"]):
                if self._is_copy(row) and not self._is_named(row):
                    self.copies.append(Copy(*(text_of(row.get(name)) for name in (*_NAMES, "transcript"))))
                    self.shared.add(text_of(row.get("audio_hash")))
        self.audio, self.repeated = set(), set()

    def _take_from(self, path: str) -> None:
        """Note which rows of a shard go, and write it again without them."""
        rows, goes_whole = rows_in(path), self._goes_whole(path)
        if not goes_whole and not self._has_any(path, rows):
            return
        gone = _Gone(numbers=IdSet(prefix=rows.id_prefix))
        known_by = [*_NAMES, "audio_hash"] if rows.has_audio else _NAMES
        for _, row in self.scanner.rows_of(path, [name for name in (*known_by, "length") if name in rows.columns]):
            if self._is_meant(row) or goes_whole:
                gone.take(row, rows)
        if self.shared and rows.has_audio:
            gone.shared = [
                text_of(row.get("source_id"))
                for _, row in self.scanner.rows_of(path, known_by)
                if text_of(row.get("audio_hash")) in self.shared and (goes_whole or self._is_meant(row))
            ]
        if rows.has_audio and (not self._goes_by_name_alone(path) or self._has_any(path, rows)):
            gone.recordings = self._recordings(path)
        self.gone[path] = gone
        if gone.rows < self.records[path].rows:
            self.written[path] = local = self._written_again(path, rows)
            self.records[path] = FileRecord.of(path, local)
        else:
            del self.records[path]

    def _has_any(self, path: str, rows: RowSchema) -> bool:
        """Whether a shard has a row that goes. Quick: nearly all have none."""
        wanted: dict[str, AbstractSet[str]] = {
            "ID": self.wishes.clips,
            "source_id": self.wishes.clips | self.repeated,
            "speaker_id": self.wishes.all_speakers,
            "audio_hash": self.audio,
        }
        asked = {
            name: pa.array(sorted(values), pa.string())
            for name, values in wanted.items()
            if values and name in rows.columns
        }
        return bool(asked) and any(
            pc.any(pc.is_in(batch[name].cast(pa.string()), value_set=asked[name])).as_py()
            for batch in self.scanner.batches_of(path, list(asked))
            for name in batch.schema.names
        )

    def _is_meant(self, row: Row) -> bool:
        return self._is_named(row) or self._is_copy(row)

    def _is_named(self, row: Row) -> bool:
        answered = {text_of(row.get("ID")), text_of(row.get("source_id"))} & self.wishes.clips
        speaker = text_of(row.get("speaker_id"))
        answered |= {self.wishes.spelt.get(speaker, speaker)} & self.wishes.speakers
        self.answered |= answered
        return bool(answered)

    def _is_copy(self, row: Row) -> bool:
        return text_of(row.get("source_id")) in self.repeated or text_of(row.get("audio_hash")) in self.audio

    def _recordings(self, path: str) -> list[Entry]:
        """What the list keeps of the audio of the rows that go."""
        columns = [*_NAMES, "audio_hash", "length", "transcript", "audio"]
        all_of_it = self._goes_with_recordings(path)
        went = (row for _, row in self.scanner.rows_of(path, columns) if all_of_it or self._is_meant(row))
        return [_entry(row) for row in went if text_of(row.get("audio_hash")) not in self.shared]

    def _goes_whole(self, path: str) -> bool:
        return _place(path)[0] in self.wishes.sources

    def _goes_with_recordings(self, path: str) -> bool:
        return self._goes_whole(path) and not self.wishes.source_only

    def _goes_by_name_alone(self, path: str) -> bool:
        return self._goes_whole(path) and self.wishes.source_only

    def _written_again(self, path: str, rows: RowSchema) -> Path:
        self._refuse_damaged(path)
        local = self.built / path.replace("/", "-")
        schema = published_schema(self.state.sample_rate_hz, rows)
        with RowWriter(local, path.rpartition("/")[2], schema, rows) as writer:
            for _, row in self.scanner.rows_of(path):
                if not self._is_meant(row):
                    writer.add(row)
        return local

    # --- what it comes to ------------------------------------------------------------------

    def _extended(self, listed: RemovedList) -> RemovedList:
        """The list afterwards: with all clips that went for themselves or for their speaker, by their source ids.

        A source that goes by another name of a speaker one day must not bring those clips back.
        """
        went = [name for path, gone in self.gone.items() if not self._goes_whole(path) for name in gone.source_ids]
        return listed.with_more(
            self.state.generation,
            sources=self.wishes.sources,
            speakers=self.wishes.all_speakers,
            ids=[*filter(None, went), *filter(_is_source_id, self.wishes.clips)],
            recordings=[one for gone in self.gone.values() for one in gone.recordings],
        )

    def _removal(self, before: RemovedList, after: RemovedList) -> Removal:
        rows: Counter[SplitOfSource] = Counter()
        holes: dict[str, tuple[Range, ...]] = defaultdict(tuple)
        for path, gone in self.gone.items():
            rows[_place(path)] += gone.rows
            holes[rows_in(path).name] = merge_ranges([*holes[rows_in(path).name], *gone.ids])
        wished = self.wishes.speakers | self.wishes.clips
        return Removal(
            None,
            self.snapshot,
            rows=rows,
            duration_s=sum(gone.duration_s for gone in self.gone.values()),
            rewritten=tuple(self.written),
            removed=tuple(path for path in self.gone if path not in self.written),
            holes=holes,
            listed=sum(map(len, (after.sources, after.speakers, after.ids)))
            - sum(map(len, (before.sources, before.speakers, before.ids))),
            unknown=tuple(name for name in sorted(wished - self.answered) if not self._went_before(name, before)),
            copies=tuple(self.copies),
            speakerless=self.duplicates if self.wishes.speakers else 0,
            foreign=tuple(
                path for path in self.stored if path.split("/")[0] in DATA_FOLDERS and path not in self.before
            ),
            clips_left=sum(record.rows for path, record in self.records.items() if not path.startswith(_REJECTED)),
        )

    def _near(self, unknown: Sequence[str]) -> Mapping[str, str]:
        """What may be meant by names that no row has."""
        near = NearNames(islice(unknown, MOST_NEAR))
        for path in self.before if unknown else ():
            rows = rows_in(path) if not path.startswith(_REJECTED) else None
            for batch in self.scanner.batches_of(path, list(_NAMES) if rows else ["source_id"]):
                for name in batch.schema.names:
                    near.look_at(filter(None, batch[name].cast(pa.string()).to_pylist()))
        return near.found

    def _went_before(self, name: str, listed: RemovedList) -> bool:
        if name in self.wishes.speakers:
            return listed.means("", name)
        if _is_source_id(name):
            return listed.means(name, None)
        numbers = ((number_of(name, rows.id_prefix), self.state.holes_of(rows)) for rows in ROW_SCHEMAS.values())
        return any(first <= number <= last for number, holes in numbers if number for first, last in holes)

    def _change(self, listed: RemovedList) -> Change:
        ledger = Ledger.of(self.records.values())
        planned = replace(
            listed.signed(ledger.signed(self._planned())),
            libraries=library_versions(),
            sequence=self.state.sequence + 1,
            committed_at=utc_now(),
        )
        removed = [path for path in self.gone if path not in self.written]
        shards = {path.partition("/")[2].removesuffix(".parquet") for path in self.gone}
        beside = [path for path in self.stored if self._tells_of_what_goes(path, shards)]
        files: dict[str, Path | bytes] = {**self.written, LEDGER_PATH: ledger.raw, REMOVED_PATH: listed.to_json()}
        total = sum(gone.rows for gone in self.gone.values())
        return Change(f"Take out {total:,} rows", planned, files, (*removed, *beside), only_since=True)

    def _tells_of_what_goes(self, path: str, shards: set[str]) -> bool:
        """Whether a file beside the state is about a shard that changes, and named like it, or may hold audio, or is in
        the list by now.

        Without it all is the same, only later. `shards`: `<split>/<name>`.
        """
        folder, _, name = path.rpartition("/")
        split, stem = folder.rpartition("/")[2], Path(name).stem
        if not path.startswith(f"{STATE_FOLDER}/"):
            return False
        return path == HEARD_PATH or is_seek_file(path) or f"{split}/{stem}" in shards

    def _planned(self) -> State:
        """The state without the rows that go: their IDs are holes, all counts those of what stays."""
        state, taken = self.state, self.state.taken_out or TakenOut("")
        holes, other_holes, nameless = state.holes, dict(taken.holes), Counter(taken.nameless)
        for path, gone in self.gone.items():
            kind = rows_in(path)
            state = self._without(state, path, gone)
            nameless[kind.name] += gone.nameless
            if kind is SPEECH:
                holes = merge_ranges([*holes, *gone.ids])
            elif gone.ids:
                other_holes[kind.name] = merge_ranges([*other_holes.get(kind.name, ()), *gone.ids])
        taken = replace(taken, holes=other_holes, nameless={kind: count for kind, count in nameless.items() if count})
        return replace(state, holes=holes, taken_out=taken)

    def _without(self, state: State, path: str, gone: _Gone) -> State:
        source, split = _place(path)
        books = state.split(source, split)
        left = books.published - gone.rows
        size_bytes = books.size_bytes - self.before[path].size_bytes
        size_bytes += self.records[path].size_bytes if path in self.records else 0
        mended = replace(
            books,
            published=left,
            ids=state.sources[source].ids_named(split, subtract(books.ids, gone.ids)),
            duration_s=round(books.duration_s - gone.duration_s, 6) if left else 0.0,
            size_bytes=size_bytes,
        )
        return state.with_split(source, split, mended)


def _entry(row: Row) -> Entry:
    """What finds a clip that goes again: as far as its row, which may be a script's, and its audio have it."""
    audio_hash = text_of(row.get("audio_hash"))
    known = {
        "source_id": text_of(row.get("source_id")),
        "audio_hash": audio_hash if _AUDIO_HASH.fullmatch(audio_hash) else "",
        "length": row.get("length") or 0.0,
        "transcript": text_of(row.get("transcript")),
    }
    try:
        return entry_of(known, audio_fingerprint(audio_bytes(row)).stored)
    except AudioRejected:
        return entry_of(known, b"")


_AUDIO_HASH = re.compile("(?:[0-9a-f]{2})+")
_REJECTED = f"{REJECTED_FOLDER}/"


def _place(path: str) -> SplitOfSource:
    """Source and split of a shard."""
    part = parse_part_path(path)
    return part.source, part.split


def _is_source_id(name: str) -> bool:
    return "/" in name
