"""Build: staged rows -> parts (a shard and its rejects), cut and numbered by the data alone.

A shard closes at a number of rows or of bytes of audio (of text, where rows have no audio), whichever is
first, wherever the borders of segments lie; the end of a split closes the last one. Its bytes depend on
nothing but the rows, their IDs and the library versions: an interrupted and resumed run writes the same
files. IDs are given here, from the state that the part extends.
"""

import hashlib
import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import chain
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from utils.durable import NewFile, make_folder
from utils.ids import IdSet, Range, id_of
from utils.schema import REJECTED_FOLDER, REJECTED_SCHEMA, SPEECH, RowSchema, published_schema
from utils.staging import Segment
from utils.state import Part, Progress, SplitState, part_name

ROW_GROUP_ROWS = 100
ROW_GROUP_BYTES = 32 * 1000**2
"""Audio (or text) a row group holds at most (but for a single longer clip)."""
ROWS_AT_ONCE = 8
"""Between two looks of Parquet's writer at whether its page has reached 1 MB."""


@dataclass(frozen=True)
class ShardLimits:
    """When a shard closes: at this many rows, or this much audio or text."""

    max_rows: int = 5000
    max_bytes: int = 400 * 1000**2


@dataclass(frozen=True)
class Cut:
    """A part to be: the clips after `first_ordinal` up to `progress.read`."""

    first_ordinal: int
    progress: Progress
    row_sizes: tuple[int, ...]
    """Bytes of payload of each row."""


@dataclass(frozen=True)
class BuiltPart:
    """A part with its local files, ready to be committed."""

    part: Part
    files: dict[str, Path]
    """Path in the target -> local file."""
    sha256: Mapping[str, str] = field(default_factory=dict)
    """Of the bytes that were written, by path in the target, where it is known: those need not be read again."""
    unlisted: Mapping[str, bytes] = field(default_factory=dict)
    """Path in the target -> content of files that go in with it and follow from it: the ledger does not list them."""


def next_cut(
    segments: Sequence[Segment], published: SplitState, limits: ShardLimits, flush: bool = False
) -> Cut | None:
    """The next part that the staged segments hold in full, or None.

    The last of a finished split takes what is left, were it only rejects. `flush` closes a part now.
    """
    done = published.progress
    sizes: list[int] = []
    total = 0
    for segment in segments:
        if not segment.rows or segment.progress.read <= done.read:
            continue  # passing over known clips leaves thousands of segments without a row
        index = segment.rows_index
        first = int(np.searchsorted(index["_ordinal"].to_numpy(), done.read, "right"))
        more = index["_audio_bytes"].to_numpy()[first:]
        ends = total + np.cumsum(more)
        # As soon as it has so many rows, or so many bytes.
        closing = min(limits.max_rows - len(sizes) - 1, int(np.searchsorted(ends, limits.max_bytes)))
        sizes += more[: closing + 1].tolist()
        if closing < len(more):
            progress = index["_progress"][first + closing].as_py()
            return Cut(done.read, Progress(**json.loads(progress)), tuple(sizes))
        total += int(more.sum())
    last = segments[-1].progress if segments else done
    if (last.finished and not done.finished) or (flush and last.read > done.read):
        return Cut(done.read, last, tuple(sizes))
    return None


def build_part(
    cut: Cut,
    segments: Sequence[Segment],
    published: SplitState,
    next_id: int,
    sample_rate_hz: int | None,
    folder: Path,
    rows: RowSchema = SPEECH,
) -> BuiltPart:
    """Write the part's files into `folder` and describe it. `segments` hold all its clips."""
    key = segments[0].key
    name = part_name(key.source, published.parts)
    make_folder(folder)
    shard, rejected = (folder / f"{kind}-{key.split}-{name}" for kind in (rows.folder, REJECTED_FOLDER))
    has_rows = bool(cut.row_sizes)
    written = _write_shard(shard, cut, segments, next_id, sample_rate_hz, rows) if has_rows else _NOTHING_WRITTEN
    has_rejects = _write_rejects(rejected, cut, segments)
    part = Part(
        source=key.source,
        split=key.split,
        number=published.parts,
        progress=cut.progress,
        rows=len(cut.row_sizes),
        ids=written.ids,
        duration_s=written.duration_s,
        size_bytes=shard.stat().st_size if has_rows else 0,
        has_rejects=has_rejects,
        row_schema=rows,
    )
    files = {path: local for path, local in ((part.shard_path, shard), (part.rejected_path, rejected)) if path}
    return BuiltPart(part, files, {str(part.shard_path): written.sha256} if has_rows else {})


@dataclass(frozen=True)
class _Written:
    ids: tuple[Range, ...]
    duration_s: float
    sha256: str


_NOTHING_WRITTEN = _Written((), 0.0, "")


def _write_shard(
    path: Path, cut: Cut, segments: Sequence[Segment], next_id: int, sample_rate_hz: int | None, rows: RowSchema
) -> _Written:
    schema = published_schema(sample_rate_hz, rows)
    ids, duration_s, digest = IdSet(prefix=rows.id_prefix), 0.0, hashlib.sha256()
    with NewFile(path, on_write=digest.update) as new, pq.ParquetWriter(new, schema, **shard_options(schema)) as writer:
        for group in _regroup(_staged_rows(cut, segments), group_sizes(cut.row_sizes)):
            carried = group["ID"].to_pylist()
            named = _with_ids(group, carried, next_id, rows)
            _note_ids(ids, carried, next_id)
            next_id += group.num_rows
            if rows.has_audio:
                duration_s += sum(named["length"].to_pylist())
            # Borders of chunks change the bytes that Parquet writes: one chunk a group, always.
            writer.write_table(named.select(schema.names).cast(schema).combine_chunks(), row_group_size=group.num_rows)
    return _Written(tuple(ids.ranges), duration_s, digest.hexdigest())


_REPETITIVE = ("dataset_name", "speaker_id", "Language", "query", "author_hash", "language")
"""Columns of few values, each in many rows."""


def shard_options(schema: pa.Schema) -> dict[str, Any]:
    """Audio is already compressed: plain, without statistics. All else zstd. Page index for the viewer.

    A page of audio is closed at 1 MB and looked at every few rows: who wants one clip does not read a hundred, and
    Parquet moves pages that fit its caches.
    """
    leaves = [name for name in schema.names if name != "audio"]
    audio = {"audio.bytes": "none", "audio.path": "zstd"} if "audio" in schema.names else {}
    return {
        "compression": {**dict.fromkeys(leaves, "zstd"), **audio},
        "use_dictionary": [name for name in _REPETITIVE if name in schema.names],
        "write_statistics": leaves,
        "write_page_index": True,
        "write_batch_size": ROWS_AT_ONCE,
    }


def group_sizes(row_sizes: Sequence[int]) -> list[int]:
    """Rows in each row group: 100, or fewer where their audio or text reaches 32 MB."""
    groups: list[int] = []
    rows = size = 0
    for row_size in row_sizes:
        rows, size = rows + 1, size + row_size
        if rows >= ROW_GROUP_ROWS or size >= ROW_GROUP_BYTES:
            groups.append(rows)
            rows = size = 0
    return [*groups, rows] if rows else groups


def _staged_rows(cut: Cut, segments: Sequence[Segment]) -> Iterator[pa.Table]:
    """The staged rows of a cut, in order, in tables of any size."""
    for segment in segments:
        if segment.progress.read <= cut.first_ordinal or segment.first_ordinal >= cut.progress.read:
            continue
        for table in segment.batches():
            ordinals = table["_ordinal"]
            if ordinals[0].as_py() > cut.first_ordinal and ordinals[-1].as_py() <= cut.progress.read:
                yield table  # whole, as most are: choosing rows copies their audio
                continue
            inside = pc.and_(pc.greater(ordinals, cut.first_ordinal), pc.less_equal(ordinals, cut.progress.read))
            chosen = table.filter(inside)
            if chosen.num_rows:
                yield chosen


def _regroup(tables: Iterable[pa.Table], sizes: Iterable[int]) -> Iterator[pa.Table]:
    """The same rows in tables of the given numbers of rows."""
    source = iter(tables)
    pending: list[pa.Table] = []
    have = 0
    for size in sizes:
        while have < size:
            pending.append(next(source))
            have += pending[-1].num_rows
        merged = pa.concat_tables(pending)
        yield merged.slice(0, size)
        pending, have = [merged.slice(size)], have - size


def _note_ids(ids: IdSet, carried: Sequence[str], next_id: int) -> None:
    """Add the IDs of rows that carry these ("": it is given one here)."""
    if not any(carried):
        ids.add_numbers(next_id, next_id + len(carried) - 1)
        return
    for at, own in enumerate(carried):
        if own:
            ids.add(own)
        else:
            ids.add_numbers(next_id + at, next_id + at)


def _with_ids(group: pa.Table, carried: Sequence[str], next_id: int, rows: RowSchema) -> pa.Table:
    """The rows with their IDs (given here unless they carry their own), the audio's path named after them."""
    ids = [own or id_of(next_id + at, rows.id_prefix) for at, own in enumerate(carried)]
    with_id = group.set_column(group.schema.get_field_index("ID"), "ID", pa.array(ids, pa.string()))
    if not rows.has_audio:
        return with_id
    chunks = group["audio"]
    audio = chunks.chunk(0) if chunks.num_chunks == 1 else chunks.combine_chunks()  # which copies one chunk, too
    endings = (path.rpartition(".")[2] for path in audio.field("path").to_pylist())
    paths = [f"{audio_file_name(sample_id)}.{ending}" for sample_id, ending in zip(ids, endings, strict=True)]
    named = pa.StructArray.from_arrays([audio.field("bytes"), pa.array(paths, pa.string())], ["bytes", "path"])
    return with_id.set_column(with_id.schema.get_field_index("audio"), "audio", named)


def audio_file_name(sample_id: str) -> str:
    """An ID as a file name: IDs that somebody else chose never become paths."""
    if sample_id.isalnum():
        return sample_id[:100]
    return "".join(letter if letter.isalnum() or letter in "-_" else "_" for letter in sample_id)[:100]


def _write_rejects(path: Path, cut: Cut, segments: Sequence[Segment]) -> bool:
    """Write the rejects of a cut; False where there are none (and no file)."""
    rejects = [
        {"source_id": staged.reject.source_id, "reason": staged.reject.reason, "detail": staged.reject.detail}
        for staged in chain.from_iterable(segment.rejects for segment in segments)
        if cut.first_ordinal < staged.ordinal <= cut.progress.read
    ]
    if rejects:
        with NewFile(path) as new:
            pq.write_table(pa.Table.from_pylist(rejects, schema=REJECTED_SCHEMA), new, compression="zstd")
    return bool(rejects)
