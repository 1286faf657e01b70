"""The checks of `--verify` that need rows: each takes batch after batch, and has its last word after the last file.

A check names the columns that it needs. Values are compared as hashes in an index on disk (`utils/audit/repeats.py`).
"""

import re
from itertools import chain
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from utils.audio.clip import identify
from utils.audio.rejected import AudioRejected
from utils.audio.standardize import standardize_audio
from utils.audit.files_read import FileFacts, FilesRead, as_text
from utils.audit.findings import SHOWN, Check
from utils.audit.repeats import HashIndex
from utils.choices import AudioOptions
from utils.dataset.layout import source_of
from utils.dataset.state import State
from utils.known.judge import repeated_clip
from utils.known.removals import RemovedList
from utils.rows.schema import SPLITS, RejectReason, RowSchema

LENGTH_TOLERANCE_S = 0.001
_SHORTEST_S = 0.1


class RowCheck:
    """Looks at rows as they come by."""

    columns: tuple[str, ...] = ()
    """What it needs. A batch has those of them that its file has, and those of other checks."""

    def is_for(self, rows: RowSchema) -> bool:
        """Whether it is given files of such rows."""
        return True

    def take(self, file: FileFacts, batch: pa.RecordBatch, first: int) -> None:
        """The next rows of a file; `first` is the number of the first of them in it."""

    def finish(self, read: FilesRead) -> None:
        """All files were read. Called once."""


class Ids(RowCheck):
    """IDs are there, and unlike each other. Their numbers are noted with the file."""

    columns = ("ID",)

    def __init__(self, scratch: Path) -> None:
        self.check = Check("IDs", "every row has an ID, and no two rows the same")
        self._seen = _Values("ID", scratch / "ids")

    def take(self, file: FileFacts, batch: pa.RecordBatch, first: int) -> None:
        if "ID" not in batch.schema.names:
            return
        entered = self._seen.add(file, batch["ID"], first)
        self.check.checked += batch.num_rows
        if missing := batch.num_rows - entered:
            self.check.offend(f"{file.path}: {missing} rows without an ID", missing)
        file.note_ids(batch["ID"])

    def finish(self, read: FilesRead) -> None:
        self._seen.skip_without(self.check)
        self._seen.find_repeats(self.check, read)


class SourceIds(RowCheck):
    """Source ids are there, unlike each other and those of rejects, and in the one split that they name."""

    columns = ("source_id",)

    def __init__(self, scratch: Path) -> None:
        self.check = Check("source ids", "every source id once, as a row or as a reject")
        self.splits = Check("splits", "no source id in two splits, none in a split that it does not name")
        self.seen = _Values("source_id", scratch / "source-ids")
        """Of all rows and rejects."""
        self.of_rejects = RejectedSourceIds(self.seen)

    def take(self, file: FileFacts, batch: pa.RecordBatch, first: int) -> None:
        if "source_id" not in batch.schema.names:
            return
        if missing := batch.num_rows - self.seen.add(file, batch["source_id"], first):
            self.check.offend(f"{file.path}: {missing} rows without a source id", missing)
        source, text = re.escape(source_of(file.path)), as_text(batch["source_id"])
        names_one = pc.match_substring_regex(text, f"^{source}/({'|'.join(SPLITS)})/")
        names_this = pc.match_substring_regex(text, f"^{source}/{re.escape(file.split)}/")
        for value in text.filter(pc.and_not(names_one, names_this)).to_pylist():
            self.splits.offend(f"{value} is in {file.path}")

    def finish(self, read: FilesRead) -> None:
        self.check.checked = self.splits.checked = self.seen.count
        self.seen.skip_without(self.check, self.splits)
        if self.seen.find_repeats(self.check, read):
            self.seen.find_in_two_splits(self.splits, read, "source_id")


class RejectedSourceIds(RowCheck):
    """Source ids of rejects, held against those of rows, but for those that repeat one on purpose."""

    columns = ("source_id", "reason")

    def __init__(self, seen: "_Values") -> None:
        self._seen = seen

    def take(self, file: FileFacts, batch: pa.RecordBatch, first: int) -> None:
        if "source_id" not in batch.schema.names:
            return
        source_ids = as_text(batch["source_id"])
        if "reason" in batch.schema.names:
            own = [reason != RejectReason.REPEATED_SOURCE_ID for reason in batch["reason"].to_pylist()]
            source_ids = pc.if_else(pa.array(own, pa.bool_()), source_ids, "")
        self._seen.add(file, source_ids, first)


class Duplicates(RowCheck):
    """What a duplicate repeats is there: as a row, or refused as a duplicate itself; or it was taken out for good.

    It is not asked of a source's split that is not read to its end: that clip may be staged somewhere.
    """

    columns = ("source_id", "reason", "detail")

    def __init__(self, scratch: Path, source_ids: SourceIds, state: State | None, removed: RemovedList) -> None:
        self.check = Check("duplicates", "every clip that was refused as a duplicate repeats one of the dataset")
        self._there = source_ids.seen
        self._named = _Values("detail", scratch / "named")
        self._refused = _Values("source_id", scratch / "refused")
        self._removed = removed
        self._unfinished = tuple(
            f"{name}/{split}/"
            for name, source in (state.sources.items() if state else ())
            for split, books in source.splits.items()
            if not books.progress.finished
        )
        if state is None:
            self.check.skip("there is no state")

    def take(self, file: FileFacts, batch: pa.RecordBatch, first: int) -> None:
        if not set(self.columns) <= set(batch.schema.names):
            return
        reasons, details = batch["reason"].to_pylist(), as_text(batch["detail"]).to_pylist()
        named = [self._to_be_found(reason, detail or "") for reason, detail in zip(reasons, details, strict=True)]
        self.check.checked += self._named.add(file, pa.array(named, pa.string()), first)
        otherwise = pa.array([reason not in _AS_DUPLICATES for reason in reasons], pa.bool_())
        self._refused.add(file, pc.if_else(otherwise, as_text(batch["source_id"]), ""), first)

    def finish(self, read: FilesRead) -> None:
        nowhere = self._named.index.held_against(self._there.index, is_there=False)
        otherwise = self._named.index.held_against(self._refused.index, is_there=True)
        for place in chain(nowhere, otherwise):
            told = ""
            if len(self.check.offenders) < SHOWN:
                told = (
                    f"{read.value('source_id', place)} is refused as {read.value('detail', place)}, which is not there"
                )
            self.check.offend(told)

    def _to_be_found(self, reason: str, detail: str) -> str:
        """The source id of the clip that a reject repeats; "" where there is none, or it need not be there."""
        name = repeated_clip(detail) if reason == RejectReason.DUPLICATE else ""
        if not name or name.startswith(self._unfinished):
            return ""
        is_gone = self._removed.has_source(name.partition("/")[0]) or self._removed.means(name, None)
        return "" if is_gone else name


_AS_DUPLICATES = (RejectReason.DUPLICATE, RejectReason.REMOVED, RejectReason.REPEATED_SOURCE_ID)


class SameAudio(RowCheck):
    """Notes clips whose hash is in another split too."""

    columns = ("audio_hash",)

    def __init__(self, scratch: Path) -> None:
        self.check = Check("audio in two splits", "clips whose very audio is in another split too", is_advice=True)
        self._seen = _Values("audio_hash", scratch / "audio")

    def take(self, file: FileFacts, batch: pa.RecordBatch, first: int) -> None:
        if "audio_hash" in batch.schema.names:
            self._seen.add(file, batch["audio_hash"], first)

    def finish(self, read: FilesRead) -> None:
        self.check.checked = self._seen.count
        self._seen.skip_without(self.check)
        self._seen.find_in_two_splits(self.check, read, "ID")


class RemovedRows(RowCheck):
    """Notes in `check` rows that were taken out for good."""

    def __init__(self, removed: RemovedList, check: Check) -> None:
        self.columns = ("source_id", "audio_hash", *(["speaker_id"] if removed.speakers else []))
        self._removed, self._check = removed, check

    def is_for(self, rows: RowSchema) -> bool:
        return self._removed != RemovedList()

    def take(self, file: FileFacts, batch: pa.RecordBatch, first: int) -> None:
        if "source_id" not in batch.schema.names:
            return
        self._check.checked += batch.num_rows
        if self._removed.has_source(source_of(file.path)):
            self._check.offend(f"{file.path} is of a source that was taken out", batch.num_rows)
            return
        source_ids = as_text(batch["source_id"]).to_pylist()
        named = "speaker_id" in batch.schema.names
        speakers = as_text(batch["speaker_id"]).to_pylist() if named else [None] * len(source_ids)
        hashed = self._removed.audio and "audio_hash" in batch.schema.names
        audio = as_text(batch["audio_hash"]).to_pylist() if hashed else [None] * len(source_ids)
        for source_id, speaker, audio_hash in zip(source_ids, speakers, audio, strict=True):
            if self._removed.means(source_id or "", speaker) or self._removed.means_audio(audio_hash or ""):
                self._check.offend(f"{source_id} in {file.path} was taken out")


class Lengths(RowCheck):
    """Adds up the seconds of each file, which the state's are held against."""

    columns = ("length",)

    def take(self, file: FileFacts, batch: pa.RecordBatch, first: int) -> None:
        if "length" in batch.schema.names and pa.types.is_floating(batch["length"].type):
            file.duration_s += float(pc.sum(batch["length"]).as_py() or 0.0)


class Clips(RowCheck):
    """Decodes each clip, where it is asked to."""

    columns = ("audio", "length", "audio_hash", "ID", "source_id")

    def __init__(self, deep: bool, sample_rate_hz: int | None) -> None:
        self.check = Check("audio", "every clip decodes, is not silent, and is what its row says")
        self._deep = deep
        self._sample_rate_hz = sample_rate_hz
        if not deep:
            self.check.skip("clips are decoded with --deep")

    def is_for(self, rows: RowSchema) -> bool:
        return self._deep and rows.has_audio

    def take(self, file: FileFacts, batch: pa.RecordBatch, first: int) -> None:
        if "audio" not in batch.schema.names:
            self.check.offend(f"{file.path} has no column `audio`", batch.num_rows)
            return
        for number, row in enumerate(batch.to_pylist(), start=first):
            self.check.checked += 1
            if problem := problem_of(row, self._sample_rate_hz):
                name = row.get("ID") or row.get("source_id") or "a row"
                self.check.offend(f"{name} ({file.path} row {number}): {problem}")


class _Values:
    """The values of a column, but for empty ones, and the places where they stand."""

    def __init__(self, column: str, folder: Path) -> None:
        self._column, self.index = column, HashIndex(folder)

    @property
    def count(self) -> int:
        return self.index.count

    def add(self, file: FileFacts, column: pa.Array, first: int) -> int:
        """Enter those of the next rows of a file; returns how many there are."""
        values = as_text(column).cast(pa.binary()).to_pylist()
        rows = np.array([row for row, value in enumerate(values, start=first) if value], np.uint64)
        self.index.add([value for value in values if value], file.number, rows)
        return len(rows)

    def skip_without(self, *checks: Check) -> None:
        """These can't say anything where there is no value at all."""
        for check in checks if not self.count else ():
            check.skip(f"there is no column `{self._column}`")

    def find_repeats(self, check: Check, read: FilesRead) -> int:
        """Values that come twice break the promise; returns how often that is."""
        count, first = self.index.first_repeats(SHOWN)
        check.found += count
        check.offenders += [read.told(self._column, places) for places in first]
        return count

    def find_in_two_splits(self, check: Check, read: FilesRead, told_by: str) -> None:
        """So do values in two splits, told by another column of the first row that has each."""
        for places in self.index.repeats():
            if read.are_in_two_splits(places):
                check.offend(read.told(told_by, places) if len(check.offenders) < SHOWN else "")


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
