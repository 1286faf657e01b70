"""Segments: immutable Arrow files with the samples read since the last checkpoint.

Every row carries the progress after it; what lies behind the rows carries the progress after the last clip read, and
the rejects. So the position travels inside the data it describes, and one rename makes both durable: *the rename is
the checkpoint*.

    rows -> segment.tmp (batch by batch) -> fsync -> rename to <first>-<last>-<digest>.arrow -> fsync folder

Arrow's own format, not Parquet: audio goes in and comes out as it lies in memory, in one piece, where Parquet copies
it three times each way.
"""

import json
import logging
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import xxhash

from utils.disk.durable import NewFile, remove
from utils.formats.damage import is_damage
from utils.formats.seek_points import SeekPoint, from_text
from utils.rows.checked_types import check_types
from utils.rows.printable import shown
from utils.rows.progress import Progress, Step, check_progress
from utils.rows.schema import AUDIO_TYPE, Reject, Row, RowSchema, published_schema
from utils.upload.joined_bytes import JoinedBytes

log = logging.getLogger(__name__)

FOOTER_KEY = b"ingest"
SEEK_POINTS_KEY = b"seek_points"
BATCH_ROWS = 100
BATCH_BYTES = 32 * 1000**2
"""Audio (or text) a batch holds at most (but for a single longer clip): what bounds our memory."""
ENDING = ".arrow"
ENDING_BEFORE = ".parquet"
"""Of segments that an older version has staged."""
_READ_ERRORS = (pa.ArrowException, OSError, KeyError, ValueError, TypeError, AttributeError, RecursionError)
"""What comes up where a segment is read; from the third on where its footer is none of ours."""


_OWN_COLUMNS = {"ID", "source_id", "_ordinal", "_audio_bytes", "_progress"}
"""What is asked of every segment."""


_INDEX = ["_ordinal", "_audio_bytes", "_progress"]
"""What is to be known of all rows to cut them into parts."""
FINGERPRINT_COLUMN = "_fingerprint"
"""What finds the same recording again (`utils/audio/fingerprint.py`), where near duplicates are looked for."""
_NOT_OF_ROW = {"audio", "_ordinal", "_audio_bytes", "_progress", FINGERPRINT_COLUMN}
"""Columns that are more than a row's value under their name."""


def staged_schema(rows: RowSchema, with_fingerprints: bool = False) -> pa.Schema:
    """The columns of a segment: those that are published, the audio last, and ours.

    `_audio_bytes` is the payload of whatever kind.
    """
    return pa.schema(
        [
            *(column for column in published_schema(None, rows) if column.name != "audio"),
            *([("audio", AUDIO_TYPE)] if rows.has_audio else []),
            ("_ordinal", pa.int64()),
            ("_audio_bytes", pa.int64()),
            ("_progress", pa.string()),
            *([(FINGERPRINT_COLUMN, pa.binary())] if with_fingerprints else []),
        ]
    )


@dataclass(frozen=True)
class StagingKey:
    """What segments must agree in with the run that goes on from them."""

    generation: str
    source: str
    split: str
    revision: str
    fingerprint: Mapping[str, Any]
    removed: str = ""
    """Names the list of what is never collected again (`State.list_of_removed`) that its clips were held against."""

    @property
    def has_fingerprints(self) -> bool:
        """Whether rows carry what finds the same recording again."""
        return self.fingerprint.get("dedup") == "near"


@dataclass(frozen=True)
class StagedReject:
    """A reject with its read ordinal and the position after it."""

    ordinal: int
    position: Mapping[str, Any]
    reject: Reject


@dataclass(frozen=True)
class FreshRows:
    """Rows that were just written to the open segment, and are still in memory: those of the clips behind `after`, up
    to `last`. Not durable before the segment is closed."""

    after: int
    last: int
    is_first: bool
    """Of their segment: what comes before them is in closed ones, or published."""
    rows: pa.RecordBatch

    @property
    def payload_bytes(self) -> int:
        """Of audio, or text."""
        return int(self.rows["_audio_bytes"].to_numpy().sum())


@dataclass(frozen=True)
class Segment:
    """A closed segment: the clips with ordinals `first_ordinal` + 1 to `progress.read`."""

    path: Path
    key: StagingKey
    first_ordinal: int
    rows: int
    progress: Progress
    """After the last clip read."""
    rejects: tuple[StagedReject, ...] = field(repr=False)
    written_index: pa.Table | None = field(default=None, repr=False, compare=False)
    """`rows_index` of a segment of this run."""

    @cached_property
    def size_bytes(self) -> int:
        try:
            return self.path.stat().st_size
        except FileNotFoundError:  # the thread that publishes has just deleted it
            return 0

    @cached_property
    def rows_index(self) -> pa.Table:
        """Ordinal, size and progress of each row, a chunk for each batch; reads no payload. Kept: it is asked for at
        every checkpoint."""
        return self.columns(_INDEX) if self.written_index is None else self.written_index

    def has_rows_between(self, after: int, last: int) -> bool:
        """Whether a clip behind `after`, up to `last`, has a row."""
        ordinals = self.rows_index["_ordinal"].to_numpy()
        return bool(np.searchsorted(ordinals, after, "right") < np.searchsorted(ordinals, last, "right"))

    @property
    def seek_points(self) -> list[SeekPoint]:
        """The places that its clips' archives can be entered at. Not kept: each has some 30 KB."""
        with _reader_of(self.path) as reader:
            raw = _behind_the_rows(reader).get(SEEK_POINTS_KEY)
        return from_text(raw, self.key.revision) if raw else []

    @property
    def has_audio(self) -> bool:
        """Whether its rows are of speech."""
        return "rows" not in self.key.fingerprint

    def batches(self) -> Iterator[pa.Table]:
        """The rows, some at a time."""
        with _reader_of(self.path) as reader:
            for number in range(reader.num_record_batches - 1):
                yield pa.Table.from_batches([reader.get_batch(number)])

    def batches_between(self, after: int, last: int) -> Iterator[pa.Table]:
        """The rows of the clips behind `after`, up to `last`, some at a time. Nothing else is read."""
        ordinals = [chunk.to_numpy() for chunk in self.rows_index["_ordinal"].chunks]
        with _reader_of(self.path) as reader:
            for number, of_batch in enumerate(ordinals):
                begin, end = (int(np.searchsorted(of_batch, ordinal, "right")) for ordinal in (after, last))
                if begin < end:
                    yield pa.Table.from_batches([reader.get_batch(number).slice(begin, end - begin)])

    def ids(self) -> list[str]:
        """The IDs that its rows carry ("" where they are given at build)."""
        return self.columns(["ID"])["ID"].to_pylist()  # type: ignore[no-any-return]

    def source_ids(self) -> list[str]:
        """The source ids of its rows and rejects."""
        rows = self.columns(["source_id"])["source_id"].to_pylist()
        return [*rows, *(staged.reject.source_id for staged in self.rejects)]

    def columns(self, names: list[str]) -> pa.Table:
        """These columns of all rows; of names that it does not have there are none."""
        with _reader_of(self.path) as reader:
            numbers = [number for number, name in enumerate(reader.schema.names) if name in names]
        with _reader_of(self.path, numbers) as reader:
            return reader.read_all().select([name for name in reader.schema.names if name in names])


def read_segments(folder: Path, damaged: Any) -> Iterator[Segment]:
    """The segments in a folder, in reading order; one that can't be read goes to `damaged(path, why)`."""
    for path in sorted(folder.glob(f"*{ENDING}")):
        try:
            yield _read_segment(path)
        except _READ_ERRORS as error:
            if not is_damage(error):
                raise
            damaged(path, f"it is damaged ({shown(error)})")


def of_older_version(folder: Path) -> list[Path]:
    """The segments below a staging folder that an older version has staged: what is in them is not known."""
    return list(folder.glob(f"*/*/*{ENDING_BEFORE}"))


def forget_segment(segment: Segment) -> None:
    """Delete a segment that was staged before clips were taken out of the dataset: they may be in it, so not kept."""
    remove(segment.path)
    log.info("Deleted %s, staged before clips were taken out of the dataset. The others are read again.", segment.path)


def staged_key(folder: Path, source: str, generation: str) -> StagingKey | None:
    """What an earlier run pinned for a source, from its staged segments; None where it staged nothing."""
    for split_folder in sorted((folder / source).glob("*")):
        for segment in read_segments(split_folder, lambda path, why: None):
            if segment.key.generation == generation:
                return segment.key
    return None


def segment_footer(key: StagingKey, first: int, progress: Progress, rejects: list[StagedReject]) -> dict[str, Any]:
    of_key = {name: value for name, value in asdict(key).items() if name != "removed" or value}
    return {
        "key": of_key,
        "first_ordinal": first,
        "progress": asdict(progress),
        "rejects": [_without_empty(asdict(staged)) for staged in rejects],
    }


def _without_empty(staged: dict[str, Any]) -> dict[str, Any]:
    """As it was written before rejects had a recording."""
    if not staged["reject"]["recording"]:
        del staged["reject"]["recording"]
    return staged


def _digest(path: Path) -> str:
    """Of all of a segment's bytes: part of its name, so that a changed one is noticed before it is used."""
    with path.open("rb") as file:
        hasher = xxhash.xxh3_64()
        while block := file.read(2**20):
            hasher.update(block)
    return hasher.hexdigest()


def _read_segment(path: Path) -> Segment:
    if path.stem.rpartition("-")[2] != _digest(path):
        raise ValueError("its bytes are not those that were written")
    with _reader_of(path) as reader:
        names = reader.schema.names
        footer = json.loads(_behind_the_rows(reader)[FOOTER_KEY])
    rejects = tuple(
        StagedReject(staged["ordinal"], staged["position"], Reject(**staged["reject"])) for staged in footer["rejects"]
    )
    segment = Segment(
        path,
        StagingKey(**footer["key"]),
        footer["first_ordinal"],
        footer["rows"],
        Progress(**footer["progress"]),
        rejects,
    )
    check_types(segment, Segment, "the segment")
    check_progress(segment.progress, "its progress")
    if _OWN_COLUMNS - set(names):
        raise ValueError("it lacks columns")
    return segment


@contextmanager
def _reader_of(path: Path, columns: Sequence[int] = ()) -> Iterator[pa.ipc.RecordBatchFileReader]:
    """A segment's reader, of these columns alone where any are named: nothing else of the file is read."""
    options = pa.ipc.IpcReadOptions(included_fields=list(columns), use_threads=False)
    with pa.OSFile(str(path)) as file, pa.ipc.open_file(file, options=options) as reader:
        yield reader


def _behind_the_rows(reader: pa.ipc.RecordBatchFileReader) -> Mapping[bytes, bytes]:
    """What stands at the last batch, which has no rows: what is known only once they are written."""
    return dict(reader.get_batch_with_custom_metadata(reader.num_record_batches - 1).custom_metadata)


class OpenSegment:
    """The segment that is being written, batch by batch, of the clips behind `first_ordinal`."""

    def __init__(self, path: Path, first_ordinal: int, rows: RowSchema, with_fingerprints: bool) -> None:
        self.path = path
        self.rows_written = 0
        self._written_to = first_ordinal
        self.rejects: list[StagedReject] = []
        self._row_schema, self._schema = rows, staged_schema(rows, with_fingerprints)
        self._hasher = xxhash.xxh3_64()
        self._new = NewFile(path, on_write=self._hasher.update)
        self._writer = pa.ipc.new_file(self._new, self._schema)
        self._behind_the_rows: dict[bytes, bytes | str] = {}
        self._audio = JoinedBytes() if rows.has_audio else None
        self._columns: dict[str, list[Any]] = {name: [] for name in self._schema.names}
        self._of_row = [name for name in self._schema.names if name not in _NOT_OF_ROW]
        self._rows = self._bytes = 0
        self._indexes: list[pa.RecordBatch] = []

    @property
    def digest(self) -> str:
        """Of all its bytes: part of its name, so that a changed segment is noticed before it is used."""
        return self._hasher.hexdigest()

    def add(self, step: Step) -> FreshRows | None:
        if isinstance(step.outcome, Reject):
            self.rejects.append(StagedReject(step.ordinal, step.progress.position, step.outcome))
        elif isinstance(step.outcome, dict):
            self._add_row(step.outcome, step.progress)
            if self._rows >= BATCH_ROWS or self._bytes >= BATCH_BYTES:
                return self._write_rows()
        return None

    def _add_row(self, row: Row, progress: Progress) -> None:
        size, columns = self._row_schema.payload_bytes(row), self._columns
        values: Mapping[str, Any] = row
        for name in self._of_row:
            columns[name].append(values[name])
        if self._audio is not None:
            audio = values["audio"]
            self._audio.add(audio["bytes"])
            columns["audio"].append(audio["path"])
        if FINGERPRINT_COLUMN in columns:
            columns[FINGERPRINT_COLUMN].append(_stored(values))
        columns["_ordinal"].append(progress.read)
        columns["_audio_bytes"].append(size)
        columns["_progress"].append(progress.as_json())
        self._rows += 1
        self._bytes += size

    def _write_rows(self) -> FreshRows:
        """Write what waits. After an error it can't be tried again: the run ends, and its clips are read again."""
        batch, last = self._batch(), self._columns["_ordinal"][-1]
        self._writer.write_batch(batch)
        self._indexes.append(batch.select(_INDEX))
        fresh = FreshRows(self._written_to, last, self.rows_written == 0, batch)
        self._written_to = last
        self.rows_written += self._rows
        for values in self._columns.values():
            values.clear()
        self._rows = self._bytes = 0
        return fresh

    def _batch(self) -> pa.RecordBatch:
        columns = [self._column(column.name, column.type) for column in self._schema]
        return pa.RecordBatch.from_arrays(columns, schema=self._schema)

    def _column(self, name: str, kind: pa.DataType) -> pa.Array:
        values = self._columns[name]
        if name != "audio" or self._audio is None:
            return pa.array(values, kind)
        return pa.StructArray.from_arrays([self._audio.take(), pa.array(values, pa.string())], fields=list(kind))

    def index(self) -> pa.Table:
        """Of the rows that are written: `Segment.rows_index`."""
        return pa.Table.from_batches(self._indexes, pa.schema([self._schema.field(name) for name in _INDEX]))

    def add_seek_points(self, text: bytes) -> None:
        self._behind_the_rows[SEEK_POINTS_KEY] = text

    def finish(self, footer: Mapping[str, Any]) -> FreshRows | None:
        """Write the rest and the footer, and fsync; returns the last rows, where there were some left."""
        fresh = self._write_rows() if self._rows else None
        self._behind_the_rows[FOOTER_KEY] = json.dumps({**footer, "rows": self.rows_written}, ensure_ascii=False)
        self._writer.write_batch(self._batch(), custom_metadata=self._behind_the_rows)
        self._writer.close()
        self._new.finish()
        return fresh


def _stored(row: Mapping[str, Any]) -> bytes:
    """The fingerprint as it is kept; b"" where a row has none, as of a clip that is too short for it."""
    given = row.get("fingerprint") or b""
    return given if isinstance(given, bytes) else given.stored
