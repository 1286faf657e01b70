"""What `--repair` would do, found by reading every row once; nothing is written here.

Rows are compared by hashes on disk (`utils/audit/repeats.py`). In this order, each step among the rows that the one
before left: the same source id and audio; the same ID and audio; with `same_audio`, the same audio. The first row
stays. Of rows that then still share an ID, or have none, all but the first get a new one. "The same audio" is the same
bytes.
"""

from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import xxhash

from utils.audio.clip import identify
from utils.audio.rejected import AudioRejected
from utils.audit.files_read import split_of
from utils.audit.findings import heed
from utils.audit.repeats import HashIndex, RowPlace
from utils.audit.row_checks import problem_of
from utils.dataset.target import Snapshot, TargetReader
from utils.errors import TargetRefused
from utils.formats.damage import is_damage
from utils.rows.ids import IdSet, id_of

Row = dict[str, Any]


@dataclass
class Scan:
    """All rows of some data files, and which of them have to go or need another ID."""

    paths: list[str]
    dropped: set[RowPlace] = field(default_factory=set)
    renamed: dict[RowPlace, str] = field(default_factory=dict)
    """New IDs."""
    told: list[str] = field(default_factory=list)
    """Each row that gets another ID, in words."""
    unsettled: int = 0
    """Rows that share a source id with an earlier one, but have other audio: they stay."""
    rows: list[int] = field(default_factory=list)
    """Of each file."""
    old_ids: dict[str, IdSet] = field(default_factory=lambda: defaultdict(IdSet))
    """Split -> the IDs before."""
    kept_ids: IdSet = field(default_factory=IdSet)
    """IDs that stand for the same row as before, or for its first copy."""
    forms: set[tuple[int, int]] = field(default_factory=set)
    """Rates and numbers of channels of the clips."""

    @property
    def touched(self) -> set[int]:
        """Numbers of the files that have to be written again."""
        return {file for file, _ in (*self.dropped, *self.renamed)}


class Scanner:
    """Reads rows of a target, for a scan and for writing them again."""

    def __init__(
        self,
        target: TargetReader,
        snapshot: Snapshot,
        scratch: Path,
        stop_requested: Callable[[], bool] = lambda: False,
    ) -> None:
        self._target, self._snapshot, self._scratch = target, snapshot, scratch
        self._stop_requested = stop_requested

    def rows_of(self, path: str, columns: Sequence[str] | None = None) -> Iterator[tuple[int, Row]]:
        """(number, row) of a file. TargetRefused where it is damaged: what can't be read can't be mended."""
        number = 0
        for batch in self.batches_of(path, columns):
            with _refusing_damage(path):
                rows = batch.to_pylist()
            for row in rows:
                yield number, row
                number += 1

    def batches_of(self, path: str, columns: Sequence[str] | None = None) -> Iterator[pa.RecordBatch]:
        """The same, some rows at a time."""
        with _refusing_damage(path):
            names = self._target.column_names(path, self._snapshot)
            batches = self._target.batches(path, [one for one in columns or names if one in names], self._snapshot)
        while True:
            with _refusing_damage(path):
                batch = next(batches, None)
            heed(self._stop_requested)
            if batch is None:
                return
            yield batch

    def scan(self, paths: Sequence[str], next_id: int, *, same_audio: bool, suspects: set[str]) -> Scan:
        """Read all rows. Each clip of the files in `suspects` is decoded too: TargetRefused where one is damaged."""
        found = Scan(list(paths))
        indexes = {name: HashIndex(self._scratch / name) for name in ("source", "id", "audio", "ids", "source-ids")}
        for file, path in enumerate(paths):
            self._scan_file(found, indexes, file, path, path in suspects)
        _drop_copies(found, [indexes[name] for name in ("source", "id", *(["audio"] if same_audio else []))])
        for places in indexes["source-ids"].repeats():
            found.unsettled += max(0, sum(place not in found.dropped for place in places) - 1)
        _rename_clashes(found, indexes["ids"], next_id)
        for file, path in enumerate(paths):
            for number, row in self.rows_of(path, ["ID"]):
                if row.get("ID") and (file, number) not in found.dropped and (file, number) not in found.renamed:
                    found.kept_ids.add(text_of(row["ID"]))
        return found

    def _scan_file(self, found: Scan, indexes: dict[str, HashIndex], file: int, path: str, is_suspect: bool) -> None:
        split, count = split_of(path), 0
        for number, row in self.rows_of(path, ["ID", "source_id", "audio", "length", "audio_hash"]):
            count += 1
            if is_suspect and (problem := problem_of(row, None)):
                raise TargetRefused(
                    f"{path} is not the file that was committed, and its row {number} is damaged: {problem}. Nothing "
                    "was changed. Put the file back as it was (from the target's history or a backup), then repeat "
                    "this command."
                )
            content = audio_bytes(row)
            self._note_form(found, content)

            def with_audio(
                names: list[bytes], audio: bytes = xxhash.xxh3_128_digest(content), has_audio: bool = bool(content)
            ) -> list[bytes]:
                # Where the audio is not in the row, nobody can say that two rows are the same.
                return [name + b"\0" + audio for name in names] if has_audio else []

            sample_id, source_id = text_of(row.get("ID")), text_of(row.get("source_id"))
            at = np.array([number], np.uint64)
            if sample_id:
                found.old_ids[split].add(sample_id)
                indexes["ids"].add([sample_id.encode()], file, at)
                indexes["id"].add(with_audio([sample_id.encode()]), file, at)
            else:
                found.renamed[file, number] = ""
            if source_id:
                indexes["source-ids"].add([source_id.encode()], file, at)
                indexes["source"].add(with_audio([source_id.encode()]), file, at)
            indexes["audio"].add(with_audio([b""]), file, at)
        found.rows.append(count)

    def _note_form(self, found: Scan, content: bytes) -> None:
        try:
            with identify(content, None) as clip:
                found.forms.add((clip.sample_rate_hz, clip.channels))
        except AudioRejected:
            found.forms.add((0, 0))


def audio_bytes(row: Row) -> bytes:
    """The bytes of a row's clip; none where it has none."""
    cell = row.get("audio")
    content = cell.get("bytes") if isinstance(cell, dict) else cell
    return content if isinstance(content, bytes) else b""


def text_of(value: object) -> str:
    return "" if value is None else str(value)


@contextmanager
def _refusing_damage(path: str) -> Iterator[None]:
    """TargetRefused for what a damaged Parquet file raises. All other errors are passed on (`is_damage`)."""
    try:
        yield
    except (pa.ArrowException, UnicodeDecodeError, OSError) as error:
        if not is_damage(error):
            raise
        raise _unreadable(path, error) from error


def _unreadable(path: str, error: BaseException) -> TargetRefused:
    return TargetRefused(
        f"{path} can't be read ({str(error).splitlines()[0] if str(error) else type(error).__name__}). Nothing was "
        "changed: what can't be read can't be mended. Put the file back (from the target's history or a backup), then "
        "repeat this."
    )


def _drop_copies(found: Scan, indexes: Iterable[HashIndex]) -> None:
    """Of rows that are the same by one of the indexes the first stays."""
    for index in indexes:
        for places in index.repeats():
            found.dropped.update([place for place in places if place not in found.dropped][1:])


def _rename_clashes(found: Scan, by_id: HashIndex, next_id: int) -> None:
    """Rows that stay, but have no ID or that of another row, get new ones: above all that there are."""
    clashes = {
        place for places in by_id.repeats() for place in [place for place in places if place not in found.dropped][1:]
    }
    highest = max((ids.ranges[-1][1] for ids in found.old_ids.values() if ids.ranges), default=0)
    without_id = {place for place in found.renamed if place not in found.dropped}
    numbered = enumerate(sorted(clashes | without_id), start=max(next_id, highest + 1))
    found.renamed = {place: id_of(number) for number, place in numbered}
