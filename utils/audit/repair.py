"""`--repair`: a damaged dataset, or one of an older tool, made what this program promises, in one commit.

    read state, ledger, listing -> refuse what can't be mended (lost rows, damaged clips: never a guess)
    scan all rows (`scan`) -> which go, which get another ID
    write the files concerned (`rewrite`) -> plan the state, the ledger, the card -> Target.mend: one commit

With a state, only the shards with a row that goes or changes are written again; rows with a new ID move to a new part
at the end, so that IDs still increase in published order. Without one, all rows are written again, with all columns, as
the source `samples`, which is the one that a script's uploader goes on with.

Only speech is mended: what copies are, its audio tells. Files of other rows, their books and their lines in the ledger
stay as they are, so that `--verify` goes on to say what is wrong with them.
"""

from collections.abc import Callable, Iterable
from dataclasses import dataclass, field, replace
from functools import partial
from itertools import islice
from pathlib import Path

from utils.audit.files_read import SPLITS_OF_OTHERS, split_of
from utils.audit.rewrite import Figures, Rewriter, WrittenShard
from utils.audit.scan import Scan, Scanner
from utils.audit.verify_state import audio_left_over, kept_in_all, split_books
from utils.dataset.card import render_card
from utils.dataset.layout import (
    CARD_PATH,
    LEDGER_PATH,
    REJECTED_FOLDER,
    STATE_FOLDER,
    STATE_PATH,
    part_name,
    part_path,
    rows_in,
    source_of,
)
from utils.dataset.ledger import FileRecord, Ledger
from utils.dataset.libraries import library_versions
from utils.dataset.state import SourceState, SplitState, State
from utils.dataset.target import Change, Snapshot, StoredFile, Target, published_files
from utils.errors import TargetRefused
from utils.known.removals import carried_over
from utils.rows.ids import Range, merge_ranges, subtract
from utils.rows.progress import Progress
from utils.rows.schema import SPEECH, SPLITS
from utils.streaming import ABOUT_SAMPLES, StreamingUploader
from utils.upload.cutting import ShardLimits
from utils.upload.publisher import begun_state, utc_now

LIMITS = ShardLimits()


@dataclass(frozen=True)
class Repair:
    """What a repair does; `change` is None where there is nothing to do."""

    change: Change | None
    snapshot: Snapshot
    rows_before: int = 0
    rows_after: int = 0
    rewritten: tuple[str, ...] = ()
    renamed: tuple[str, ...] = ()
    """Rows that get another ID, in words."""
    unsettled: int = 0
    holes: tuple[Range, ...] = ()
    mends_books: bool = False
    adopts: bool = False
    """Gives a dataset its state."""
    changed_files: tuple[str, ...] = ()
    """Files that are not as they were committed, but whose clips are: taken as they are."""
    left_alone: tuple[str, ...] = ()
    """Files of rows other than speech."""


@dataclass
class _Draft:
    """Files of a repair, as they come to be."""

    files: dict[str, Path | bytes] = field(default_factory=dict)
    records: dict[str, FileRecord] = field(default_factory=dict)
    shards: dict[str, WrittenShard] = field(default_factory=dict)


def plan_repair(
    target: Target,
    scratch: Path,
    *,
    same_audio: bool = False,
    repo_id: str | None = None,
    stop_requested: Callable[[], bool] = lambda: False,
) -> Repair:
    """Read the target and write what replaces its damaged files into `scratch`; the target stays as it is."""
    snapshot = target.snapshot()
    scanner = Scanner(target, snapshot, scratch / "indexes", stop_requested)
    stored = {file.path: file for file in target.stored_files(snapshot)}
    if snapshot.state is None:
        if LEDGER_PATH in stored:
            raise TargetRefused(
                f"{target.name} has {LEDGER_PATH}, but the {STATE_PATH} that signed it is gone: it was made by this "
                "program, and where its sources were read to can't be told from its rows. Nothing was changed. "
                f"--verify says how to restore it; without a backup, delete {LEDGER_PATH}, and --repair treats all "
                "rows as samples of unknown sources."
            )
        begun, _ = carried_over(partial(target.read_file, snapshot=snapshot), None, begun_state(None))
        return _adopt(snapshot, scanner, stored, scratch, same_audio, begun)
    return _Mending(target, snapshot, snapshot.state, scanner, stored, scratch, same_audio, repo_id).plan()


# --- a dataset of an older tool --------------------------------------------------------------


def _adopt(
    snapshot: Snapshot,
    scanner: Scanner,
    stored: dict[str, StoredFile],
    scratch: Path,
    same_audio: bool,
    begun: State,
) -> Repair:
    paths = [
        path
        for path in stored
        if path.endswith(".parquet") and path.split("/")[0] not in (REJECTED_FOLDER, STATE_FOLDER)
    ]
    if not paths:
        raise TargetRefused("There is no Parquet file in it, so there is nothing to repair. Nothing was changed.")
    _refuse_rows_without_audio(scanner, [path for path in paths if rows_in(path) is not SPEECH])
    found = scanner.scan(paths, 1, same_audio=same_audio, suspects=set())
    (form,) = found.forms if len(found.forms) == 1 else [(0, 0)]
    state = replace(begun, sample_rate_hz=form[0] if form[1] == 1 else None)
    draft, holes = _Draft(), _vanished(found)
    rewriter = Rewriter(scanner, found, scratch / "built", state.sample_rate_hz)
    splits = _adopted_splits(found, rewriter, draft, holes)
    source = SourceState(revision="", fingerprint={}, about=ABOUT_SAMPLES, splits=splits)
    ids = merge_ranges([ids for books in splits.values() for ids in books.ids])
    highest = max((last for _, last in (*ids, *holes)), default=0)
    named = {split: replace(books, ids=source.ids_named(split, books.ids)) for split, books in splits.items()}
    source = replace(source, splits=named)
    state = replace(state, next_id=highest + 1, holes=tuple(holes)).with_source(StreamingUploader.SOURCE, source)
    removed = tuple(path for path in paths if path not in draft.files)
    change = _change("Repair: give the dataset its state", state, draft, removed)
    rows = sum(books.published for books in splits.values())
    return Repair(
        change, snapshot, sum(found.rows), rows, tuple(paths), tuple(rewriter.told), found.unsettled, state.holes,
        mends_books=True, adopts=True,
    )  # fmt: skip


def _refuse_rows_without_audio(scanner: Scanner, paths: list[str]) -> None:
    """Of a dataset of ours that has lost its state: as clips, such rows would make no sense."""
    for path in paths:
        if not any("audio" in row for _, row in islice(scanner.rows_of(path, ["audio"]), 1)):
            raise TargetRefused(
                f"{path} has no audio, and --repair mends clips alone. Nothing was changed. Move the folder "
                f"{path.split('/')[0]}/ out of the dataset, then repeat this command."
            )


def _split(path: str) -> str:
    """One of our splits; `train` for what has the name of none."""
    name = SPLITS_OF_OTHERS.get(split_of(path), split_of(path))
    return name if name in SPLITS else "train"


def _vanished(found: Scan) -> list[Range]:
    """Numbers that stood for rows, and do so no more."""
    before = merge_ranges(ids for split in found.old_ids.values() for ids in split.ranges)
    return subtract(before, found.kept_ids.ranges)


def _lost_here(found: Scan, files: list[int], gone: list[Range], holes: list[Range]) -> list[Range]:
    mine = {split_of(found.paths[file]) for file in files}
    before = merge_ranges(ids for split in mine for ids in found.old_ids[split].ranges)
    return subtract(subtract(before, subtract(before, holes)), gone)


def _adopted_splits(found: Scan, rewriter: Rewriter, draft: _Draft, holes: list[Range]) -> dict[str, SplitState]:
    """The books of each split; its rows are written again, into `draft`."""
    splits: dict[str, SplitState] = {}
    gone: list[Range] = []
    for split in SPLITS:
        files = [number for number, path in enumerate(found.paths) if _split(path) == split]
        if not files:
            continue
        shards = rewriter.write_all(files, StreamingUploader.SOURCE, split, LIMITS)
        lost = _lost_here(found, files, gone, holes)
        splits[split] = _adopted_split(shards, sum(last - first + 1 for first, last in lost))
        gone = list(merge_ranges([*gone, *lost]))
        _take(draft, shards, split)
    return splits


def _adopted_split(shards: list[WrittenShard], lost: int) -> SplitState:
    """Its books: what was read is what is published, and what was removed."""
    rows = sum(shard.rows for shard in shards)
    return SplitState(
        Progress({"index": rows + lost}, read=rows + lost, kept=rows + lost),
        parts=len(shards),
        published=rows,
        ids=merge_ranges(ids for shard in shards for ids in shard.ids),
        duration_s=round(sum(shard.duration_s for shard in shards), 6),
        size_bytes=sum(shard.local.stat().st_size for shard in shards),
    )


# --- a dataset with a state ------------------------------------------------------------------


@dataclass
class _Mending:
    target: Target
    snapshot: Snapshot
    state: State
    scanner: Scanner
    stored: dict[str, StoredFile]
    scratch: Path
    same_audio: bool
    repo_id: str | None

    def plan(self) -> Repair:
        if self.state.replaces_old_data:
            raise TargetRefused(
                f"A fresh dataset was begun in {self.target.name}, and the old data still stands. Nothing was changed. "
                "Go on with --fresh --resume: its first shard replaces what is there."
            )
        ledger = Ledger.checked(self.target.read_file(LEDGER_PATH, self.snapshot), self.state)
        old = {record.path: record for record in ledger.records()}
        paths = self._published_paths(old)
        data = [path for path in paths if path.split("/")[0] != REJECTED_FOLDER]
        shards = [path for path in data if rows_in(path) is SPEECH]
        left_alone = tuple(path for path in data if path not in set(shards))
        now = {path: self._record(path, old.get(path)) for path in paths}
        suspects = {path for path in shards if now[path] != old.get(path)}
        found = self.scanner.scan(shards, self.state.next_id, same_audio=self.same_audio, suspects=suspects)
        self._refuse_lost_rows(found)
        rewriter = Rewriter(self.scanner, found, self.scratch / "built", self.state.sample_rate_hz)
        draft = _Draft(records=now)
        for number in sorted(found.touched):
            shard = rewriter.write_again(number)
            draft.files[shards[number]] = shard.local
            draft.records[shards[number]] = FileRecord.of(shards[number], shard.local)
        extra = self._write_renamed(rewriter, found, draft)
        planned = self._planned(found, rewriter, draft, extra)
        self._refuse_disorder(found, rewriter)
        repair = self._repair(found, rewriter, draft, planned)
        return replace(repair, changed_files=tuple(sorted(suspects & set(old))), left_alone=left_alone)

    def _published_paths(self, old: dict[str, FileRecord]) -> list[str]:
        """The published files in published order. TargetRefused where one is missing."""
        named = published_files(self.state)  # a part may have neither; `old` knows
        named = [*old, *(path for path in named if path in self.stored and path not in old)]
        if missing := [path for path in named if path not in self.stored]:
            raise TargetRefused(
                f"{self.target.name} lacks {len(missing)} published files: {', '.join(missing[:3])}. Nothing was "
                "changed: --repair can't bring rows back. Put them back (from the target's history or a backup), then "
                "repeat this."
            )
        return named

    def _record(self, path: str, old: FileRecord | None) -> FileRecord:
        file = self.stored[path]
        if old and rows_in(path) is not SPEECH:
            return old
        sha256 = file.sha256 or self.target.sha256(path, self.snapshot)
        if old and (old.size_bytes, old.sha256) == (file.size_bytes, sha256):
            return old
        rows = sum(1 for _ in self.scanner.rows_of(path, ["source_id"]))
        return FileRecord(path, rows, file.size_bytes, sha256)

    def _refuse_lost_rows(self, found: Scan) -> None:
        there = merge_ranges(ids for split in found.old_ids.values() for ids in split.ranges)
        named = merge_ranges(ids for _, _, books in _books_of_speech(self.state) for ids in books.ids)
        if lost := subtract(named, there):
            raise TargetRefused(
                f"Published rows are gone from {self.target.name}, S{lost[0][0]} first. Nothing was changed: --repair "
                "can't bring rows back. Put their files back (from the target's history or a backup), then repeat this."
            )

    def _write_renamed(self, rewriter: Rewriter, found: Scan, draft: _Draft) -> dict[tuple[str, str], WrittenShard]:
        """Rows with a new ID go to a part of their own at the end of their split."""
        extra: dict[tuple[str, str], WrittenShard] = {}
        for source, split, books in _books_of_speech(self.state):
            mine = {_shard(source, split, at) for at in range(books.parts)}
            places = [place for place in sorted(found.renamed) if found.paths[place[0]] in mine]
            if places:
                path = _shard(source, split, books.parts)
                extra[source, split] = shard = rewriter.write_renamed(places, part_name(source, books.parts), split)
                draft.files[path] = shard.local
                draft.records[path] = FileRecord.of(path, shard.local)
        return extra

    def _planned(
        self, found: Scan, rewriter: Rewriter, draft: _Draft, extra: dict[tuple[str, str], WrittenShard]
    ) -> State:
        state = self.state
        figures = {path: rewriter.figures(number) for number, path in enumerate(found.paths)}
        for source, split, books in _books_of_speech(self.state):
            paths = [_shard(source, split, at) for at in range(books.parts)]
            mine: list[Figures] = [figures[path] for path in paths if path in figures]
            if (source, split) in extra:
                mine.append(extra[source, split])
                paths.append(_shard(source, split, books.parts))
            mended = replace(
                books,
                parts=len(paths),
                published=sum(one.rows for one in mine),
                ids=self.state.sources[source].ids_named(split, (ids for one in mine for ids in one.ids)),
                duration_s=_duration_s(mine, books.duration_s),
                size_bytes=sum(draft.records[path].size_bytes for path in paths if path in draft.records),
            )
            state = state.with_split(source, split, mended)
        ranges = [*(books.ids for _, _, books in _books_of_speech(state)), *(shard.ids for shard in extra.values())]
        highest = max((last for ids in ranges for _, last in ids), default=0)
        holes = merge_ranges([*self.state.holes, *_vanished(found)])
        state = replace(state, next_id=max(self.state.next_id, highest + 1), holes=holes)
        self._refuse_wrong_books(state)
        return state

    def _refuse_disorder(self, found: Scan, rewriter: Rewriter) -> None:
        """Shards that stand for each other are all there, but to sign them so would make a lie of the order."""
        own = {name for name, source in self.state.sources.items() if source.carries_own_ids}
        last = 0
        for number, path in enumerate(found.paths):
            ids = rewriter.figures(number).ids
            if source_of(path) in own or not ids:
                continue
            if ids[0][0] <= last:
                raise TargetRefused(
                    f"{path} has IDs that were published before those of the file before it: files were exchanged or "
                    "renamed. Nothing was changed. Put them back (from the target's history or a backup), then "
                    "repeat this."
                )
            last = ids[-1][1]

    def _refuse_wrong_books(self, state: State) -> None:
        books = [books for _, _, books in _books_of_speech(state)]
        kept = sum(map(kept_in_all, books))
        published, holes = sum(one.published for one in books), _count(state.holes)
        holes += state.taken_out.nameless.get(SPEECH.name, 0) if state.taken_out else 0
        if kept != published + holes:
            raise TargetRefused(
                f"{self.target.name} was read to {kept:,} kept clips, but without its duplicates it has {published:,} "
                f"rows, and {holes:,} removed ones: where the others come from can't be told. Nothing was changed. "
                "`--verify` names what does not fit; restore the target from its history or a backup."
            )

    def _repair(self, found: Scan, rewriter: Rewriter, draft: _Draft, planned: State) -> Repair:
        mended_ledger = Ledger.of(draft.records.values())
        planned = mended_ledger.signed(planned) if mended_ledger.raw else planned
        mends_books = not planned.same_dataset(self.state)
        repair = Repair(
            None, self.snapshot, sum(found.rows), sum(found.rows) - len(found.dropped), tuple(sorted(draft.files)),
            tuple(rewriter.told), found.unsettled, tuple(subtract(planned.holes, self.state.holes)), mends_books,
        )  # fmt: skip
        left_over = tuple(audio_left_over(self.stored.values(), self.target, self.snapshot))
        if not (mends_books or draft.files or left_over or self._card_is_stale()):
            return repair
        stamped = replace(
            planned, libraries=library_versions(), sequence=self.state.sequence + 1, committed_at=utc_now()
        )
        return replace(repair, change=_change("Repair the dataset", stamped, draft, left_over))

    def _card_is_stale(self) -> bool:
        raw = self.target.read_file(CARD_PATH, self.snapshot)
        text = raw.decode(errors="replace") if raw is not None else None
        return bool(self.stored) and render_card(self.state, text, self.repo_id) != text


def _books_of_speech(state: State) -> list[tuple[str, str, SplitState]]:
    speech = state.sources_of(SPEECH)
    return [(source, split, books) for source, split, books in split_books(state) if source in speech]


def _shard(source: str, split: str, number: int) -> str:
    return part_path(SPEECH.folder, source, split, number)


def _take(draft: _Draft, shards: Iterable[WrittenShard], split: str) -> None:
    for shard in shards:
        path = f"{SPEECH.folder}/{split}/{shard.name}"
        draft.files[path] = shard.local
        draft.records[path] = FileRecord.of(path, shard.local)


def _change(message: str, state: State, draft: _Draft, removed: tuple[str, ...]) -> Change:
    ledger = Ledger.of(draft.records.values())
    files = {**draft.files, LEDGER_PATH: ledger.raw}
    return Change(message, ledger.signed(state), files, removed, only_since=True)


def _count(ranges: Iterable[Range]) -> int:
    return sum(last - first + 1 for first, last in ranges)


def _duration_s(shards: Iterable[Figures], before: float) -> float:
    """The seconds of these shards; as they were `before` where only the order of the sum is another."""
    summed = round(sum(shard.duration_s for shard in shards), 6)
    return before if abs(summed - before) < 0.001 else summed
