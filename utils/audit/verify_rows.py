"""Reading a dataset for `--verify`: every row once, only the columns needed, a bounded number of rows at a time.

Values are compared as hashes in an index on disk (`utils/audit/repeats.py`); of each file a few figures are kept. Audio
is read with `deep` alone.
"""

import re
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from utils.audio.clip import identify
from utils.audio.containers import AudioRejected
from utils.audio.standardize import standardize_audio
from utils.audit.findings import SHOWN, Check, heed
from utils.audit.repeats import HashIndex, Place
from utils.choices import AudioOptions
from utils.dataset.layout import rows_in, source_of
from utils.dataset.target import Snapshot, TargetReader
from utils.known.removals import RemovedList
from utils.rows.ids import Range
from utils.rows.schema import SPEECH, SPLITS, RejectReason, RowSchema

SPLITS_OF_OTHERS = {"dev": "validation", "valid": "validation", "val": "validation", "eval": "test"}
"""What other tools call our splits."""

LENGTH_TOLERANCE_S = 0.001
_LIGHT_COLUMNS = ("ID", "source_id", "length", "audio_hash")
_SHORTEST_S = 0.1


@dataclass
class FileFacts:
    """What the rows of one file come to."""

    path: str
    split: str
    row_schema: RowSchema = SPEECH
    rows: int = 0
    duration_s: float = 0.0
    columns: frozenset[str] = frozenset()
    numbers: list[Range] = field(default_factory=list)
    """Of its IDs of the form S<n> (or as its kind of rows has it), in ranges, sorted."""
    ids_increase: bool = True
    is_readable: bool = False


class RowChecks:
    """The checks that need rows, filled while file after file is read."""

    def __init__(
        self, target: TargetReader, snapshot: Snapshot, scratch: Path, deep: bool, stop_requested: Callable[[], bool]
    ) -> None:
        self.readable = Check("readable", "every Parquet file opens and its rows can be read")
        self.ids = Check("IDs", "every row has an ID, and no two rows the same")
        self.source_ids = Check("source ids", "every source id once, as a row or as a reject")
        self.splits = Check("splits", "no source id in two splits, none in a split that it does not name")
        self.same_audio = Check("audio in two splits", "clips whose very audio is in another split too", is_advice=True)
        self.audio = Check("audio", "every clip decodes, is not silent, and is what its row says")
        self.files: list[FileFacts] = []
        self.rejects: list[FileFacts] = []
        self.sample_rate_hz: int | None = None
        """Of the published audio; None: not known, or each clip keeps its own form."""
        self.is_ours = False
        """Whether folders say what kind of rows a file has; in datasets of others all are taken for speech."""
        self._target, self._snapshot, self._deep = target, snapshot, deep
        self._stop_requested = stop_requested
        self._all: list[FileFacts] = []
        self._removed = RemovedList()
        self._removed_check: Check | None = None
        self._by_id, self._by_source_id, self._by_audio = (
            HashIndex(scratch / name) for name in ("ids", "source-ids", "audio")
        )
        if not deep:
            self.audio.skip("clips are decoded with --deep")

    def look_for(self, removed: RemovedList, check: Check) -> None:
        """Note in `check` every row that was taken out for good; where the list is empty, don't look."""
        if removed != RemovedList():
            self._removed, self._removed_check = removed, check

    def read_shard(self, path: str) -> None:
        """Read a data file. Damage is noted; what can't be asked (the network) raises."""
        facts = self._begin(path, self.files)
        with self._noting_damage(path):
            decodes = self._deep and facts.row_schema.has_audio
            speakers = ["speaker_id"] if self._removed.speakers else []
            wanted = [*_LIGHT_COLUMNS, *speakers, *(["audio"] if decodes else [])]
            for first, batch in self._batches(facts, wanted):
                self._take_ids(facts, batch, first)
                self._take_source_ids(facts, batch, first)
                self._take_audio_hashes(batch, first)
                self._look_for_removed(facts, batch)
                facts.duration_s += _seconds(batch)
                if decodes:
                    self._decode(facts, batch, first)
            facts.is_readable = True

    def read_rejects(self, path: str) -> None:
        """Read a file of rejects."""
        facts = self._begin(path, self.rejects)
        with self._noting_damage(path):
            for first, batch in self._batches(facts, ["source_id", "reason"]):
                if "source_id" not in batch.schema.names:
                    continue
                values, rows = _texts(batch["source_id"])
                if "reason" in batch.schema.names:
                    reasons = batch["reason"].to_pylist()
                    own = np.array([reasons[row] != RejectReason.REPEATED_SOURCE_ID for row in rows], bool)
                    values, rows = [value for value, keep in zip(values, own, strict=True) if keep], rows[own]
                self._by_source_id.add(values, self._number, rows + np.uint64(first))
            facts.is_readable = True

    def require_columns(self) -> None:
        """Every readable data file has the columns of its kind of rows."""
        for facts in self.files:
            if facts.is_readable and (missing := sorted(set(facts.row_schema.columns) - facts.columns)):
                self.readable.offend(f"{facts.path} has no column {', '.join(missing)}")

    def finish(self) -> None:
        """Look for what comes twice; call once, after the last file."""
        self._look_for_repeated_ids()
        self._look_for_repeated_source_ids()
        self._look_for_audio_in_two_splits()

    # --- one file --------------------------------------------------------------------------

    @property
    def _number(self) -> int:
        return len(self._all) - 1

    def _begin(self, path: str, files: list[FileFacts]) -> FileFacts:
        facts = FileFacts(path, split_of(path), rows_in(path) if self.is_ours else SPEECH)
        files.append(facts)
        self._all.append(facts)
        self.readable.checked += 1
        return facts

    @contextmanager
    def _noting_damage(self, path: str) -> Iterator[None]:
        try:
            yield
        except MemoryError:  # pyarrow's is one of its ArrowExceptions, too, and says nothing of the file
            raise
        except (pa.ArrowException, ValueError, OverflowError) as error:
            self.readable.offend(f"{path}: {_first_line(error)}")
        except OSError as error:
            # Arrow tells of damage with OSErrors too, but those have no number: the disk's own errors do.
            if error.errno is not None:
                raise
            self.readable.offend(f"{path}: {_first_line(error)}")

    def _batches(self, facts: FileFacts, wanted: list[str]) -> Iterator[tuple[int, pa.RecordBatch]]:
        """(number of its first row, batch) with those of the wanted columns that are there."""
        names = self._target.column_names(facts.path, self._snapshot)
        facts.columns = frozenset(names)
        columns = [name for name in wanted if name in names]
        for batch in self._target.batches(facts.path, columns, self._snapshot):
            heed(self._stop_requested)
            first = facts.rows
            facts.rows += batch.num_rows
            yield first, batch

    def _take_ids(self, facts: FileFacts, batch: pa.RecordBatch, first: int) -> None:
        if "ID" not in batch.schema.names:
            return
        values, rows = _texts(batch["ID"])
        self.ids.checked += batch.num_rows
        if missing := batch.num_rows - len(values):
            self.ids.offend(f"{facts.path}: {missing} rows without an ID", missing)
        self._by_id.add(values, self._number, rows + np.uint64(first))
        _note_numbers(facts, batch["ID"])

    def _take_source_ids(self, facts: FileFacts, batch: pa.RecordBatch, first: int) -> None:
        if "source_id" not in batch.schema.names:
            return
        values, rows = _texts(batch["source_id"])
        if missing := batch.num_rows - len(values):
            self.source_ids.offend(f"{facts.path}: {missing} rows without a source id", missing)
        self._by_source_id.add(values, self._number, rows + np.uint64(first))
        self._look_for_other_split(facts, batch["source_id"])

    def _look_for_other_split(self, facts: FileFacts, source_ids: pa.Array) -> None:
        source = re.escape(source_of(facts.path))
        text = _as_text(source_ids)
        names_one = pc.match_substring_regex(text, f"^{source}/({'|'.join(SPLITS)})/")
        names_this = pc.match_substring_regex(text, f"^{source}/{re.escape(facts.split)}/")
        for value in text.filter(pc.and_not(names_one, names_this)).to_pylist():
            self.splits.offend(f"{value} is in {facts.path}")

    def _look_for_removed(self, facts: FileFacts, batch: pa.RecordBatch) -> None:
        if self._removed_check is None or "source_id" not in batch.schema.names:
            return
        self._removed_check.checked += batch.num_rows
        if self._removed.has_source(source_of(facts.path)):
            self._removed_check.offend(f"{facts.path} is of a source that was taken out", batch.num_rows)
            return
        source_ids = _as_text(batch["source_id"]).to_pylist()
        named = "speaker_id" in batch.schema.names
        speakers = _as_text(batch["speaker_id"]).to_pylist() if named else [None] * len(source_ids)
        hashed = self._removed.audio and "audio_hash" in batch.schema.names
        audio = _as_text(batch["audio_hash"]).to_pylist() if hashed else [None] * len(source_ids)
        for source_id, speaker, audio_hash in zip(source_ids, speakers, audio, strict=True):
            if self._removed.means(source_id or "", speaker) or self._removed.means_audio(audio_hash or ""):
                self._removed_check.offend(f"{source_id} in {facts.path} was taken out")

    def _take_audio_hashes(self, batch: pa.RecordBatch, first: int) -> None:
        if "audio_hash" in batch.schema.names:
            values, rows = _texts(batch["audio_hash"])
            self._by_audio.add(values, self._number, rows + np.uint64(first))

    def _decode(self, facts: FileFacts, batch: pa.RecordBatch, first: int) -> None:
        if "audio" not in batch.schema.names:
            self.audio.offend(f"{facts.path} has no column `audio`", batch.num_rows)
            return
        for at, row in enumerate(batch.to_pylist()):
            self.audio.checked += 1
            if problem := problem_of(row, self.sample_rate_hz):
                self.audio.offend(f"{_row_name(row, facts.path, first + at)}: {problem}")

    # --- all files -------------------------------------------------------------------------

    def _look_for_repeated_ids(self) -> None:
        if not self._by_id.count:
            self.ids.skip("there is no column `ID`")
        count, first = self._by_id.first_repeats(SHOWN)
        self.ids.found += count
        self.ids.offenders += [self._told("ID", places) for places in first]

    def _look_for_repeated_source_ids(self) -> None:
        self.source_ids.checked = self.splits.checked = self._by_source_id.count
        if not self._by_source_id.count:
            for check in (self.source_ids, self.splits):
                check.skip("there is no column `source_id`")
        count, first = self._by_source_id.first_repeats(SHOWN)
        self.source_ids.found += count
        self.source_ids.offenders += [self._told("source_id", places) for places in first]
        if count:
            for places in self._by_source_id.repeats():
                if len(self._splits(places)) > 1:
                    told = self._told("source_id", places) if len(self.splits.offenders) < SHOWN else ""
                    self.splits.offend(told)

    def _look_for_audio_in_two_splits(self) -> None:
        self.same_audio.checked = self._by_audio.count
        if not self._by_audio.count:
            self.same_audio.skip("there is no column `audio_hash`")
        for places in self._by_audio.repeats():
            if len(self._splits(places)) > 1:
                told = self._told("ID", places) if len(self.same_audio.offenders) < SHOWN else ""
                self.same_audio.offend(told)

    def _splits(self, places: list[Place]) -> set[str]:
        return {self._all[file].split for file, _ in places}

    def _told(self, column: str, places: list[Place]) -> str:
        """`S7: data/train/X-00000.parquet row 6, data/train/X-00001.parquet row 0`; rows count from 0."""
        where = [f"{self._all[file].path} row {row}" for file, row in places[:3]]
        more = [f"{len(places) - 3} more"] if len(places) > 3 else []
        return f"{self._value(column, places[0])}: {', '.join([*where, *more])}"

    def _value(self, column: str, place: Place) -> str:
        path, row = self._all[place[0]].path, place[1]
        for batch in self._target.batches(path, [column], self._snapshot):
            if row < batch.num_rows:
                value: bytes = _as_text(batch[0].slice(row, 1)).cast(pa.binary())[0].as_py()
                return value.decode(errors="replace")
            row -= batch.num_rows
        raise ValueError(f"{path} has no row {place[1]}")


def split_of(path: str) -> str:
    """The split of a data file: its folder; in layouts of others what its name begins with, or a folder further up."""
    *folders, name = PurePosixPath(path).parts
    begins = re.match(r"[a-z]+", name)
    word = begins[0] if begins else ""
    nearest = folders[-1] if folders else ""
    known = [place for place in (nearest, word, *reversed(folders)) if place in (*SPLITS, *SPLITS_OF_OTHERS)]
    return known[0] if known else nearest if len(folders) > 1 else word


def _note_numbers(facts: FileFacts, ids: pa.Array) -> None:
    """Which numbers its IDs have, and whether they increase from row to row."""
    text, prefix = _as_text(ids), facts.row_schema.id_prefix
    numbered = text.filter(pc.fill_null(pc.match_substring_regex(text, f"^{prefix}[1-9][0-9]{{0,17}}$"), False))
    if not len(numbered):
        return
    digits = pc.utf8_slice_codeunits(numbered, len(prefix))
    numbers: NDArray[np.int64] = pc.cast(digits, pa.int64()).to_numpy()
    if (facts.numbers and numbers[0] <= facts.numbers[-1][1]) or (np.diff(numbers) <= 0).any():
        facts.ids_increase = False
    ordered = np.unique(numbers)
    ends = np.flatnonzero(np.diff(ordered) > 1)
    firsts, lasts = ordered[[0, *(ends + 1)]].tolist(), ordered[[*ends, -1]].tolist()
    if facts.numbers and facts.numbers[-1][1] + 1 == firsts[0]:
        firsts[0] = facts.numbers.pop()[0]
    facts.numbers += zip(firsts, lasts, strict=True)


def _seconds(batch: pa.RecordBatch) -> float:
    """The sum of `length`, 0 where there is no such column of numbers."""
    if "length" not in batch.schema.names or not pa.types.is_floating(batch["length"].type):
        return 0.0
    return float(pc.sum(batch["length"]).as_py() or 0.0)


def _texts(column: pa.Array) -> tuple[list[bytes], NDArray[np.uint64]]:
    """The values that are not empty, as bytes, and the rows that they stand in."""
    values = _as_text(column).cast(pa.binary()).to_pylist()
    rows = np.array([row for row, value in enumerate(values) if value], np.uint64)
    return [value for value in values if value], rows


def _as_text(column: pa.Array) -> pa.Array:
    return column if pa.types.is_string(column.type) else column.cast(pa.string())


def problem_of(row: dict[str, Any], sample_rate_hz: int | None) -> str | None:
    """What is wrong with a clip, None where nothing is. A length of 0 and an empty hash say nothing."""
    content = row["audio"].get("bytes") if isinstance(row.get("audio"), dict) else row.get("audio")
    if not isinstance(content, bytes):
        return "it has no bytes of audio"
    length = row["length"] if isinstance(row.get("length"), float) else 0.0
    try:
        with identify(content, None) as clip:
            rate_hz, channels = clip.sample_rate_hz, clip.channels
        audio = standardize_audio(content, AudioOptions(standardize=False))
    except AudioRejected as error:
        # A clip of just 0.1 s may have lost a sample when it was brought to another rate.
        was_short = error.reason == RejectReason.TOO_SHORT and length <= _SHORTEST_S + LENGTH_TOLERANCE_S
        return None if was_short else str(error)
    if sample_rate_hz and (rate_hz, channels) != (sample_rate_hz, 1):
        return f"{rate_hz} Hz, {channels} channels; it should be {sample_rate_hz} Hz, 1 channel"
    if length and abs(audio.duration_s - length) > LENGTH_TOLERANCE_S:
        return f"{audio.duration_s:.4f} s of audio, but `length` says {length:.4f} s"
    if row.get("audio_hash") and row["audio_hash"] != audio.audio_hash:
        return "its samples are not those of `audio_hash`"
    return None


def _row_name(row: dict[str, Any], path: str, number: int) -> str:
    return f"{row.get('ID') or row.get('source_id') or 'a row'} ({path} row {number})"


def _first_line(error: BaseException) -> str:
    return str(error).strip().splitlines()[0] if str(error).strip() else type(error).__name__
