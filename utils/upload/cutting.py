"""Build: staged rows -> parts (a shard and its rejects), cut and numbered by the data alone.

A shard closes at a number of rows or of bytes of audio (of text, where rows have no audio), whichever is
first, wherever the borders of segments lie; the end of a split closes the last one. So an interrupted and resumed run
writes the same files. IDs go on from the state that the part extends; `ShardWriter` gives them.
"""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from itertools import chain
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from utils.dataset.layout import REJECTED_FOLDER, part_name
from utils.dataset.state import Part, SplitState, State
from utils.disk.durable import NewFile, make_folder
from utils.rows.progress import Progress
from utils.rows.schema import REJECTED_SCHEMA
from utils.upload.segments import Segment, StagingKey
from utils.upload.shard_writer import NOTHING_WRITTEN, ShardWriter


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
    rows: int


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
    rows = total = 0
    for segment in segments:
        if not segment.rows or segment.progress.read <= done.read:
            continue  # passing over known clips leaves thousands of segments without a row
        index = segment.rows_index
        first = int(np.searchsorted(index["_ordinal"].to_numpy(), done.read, "right"))
        more = index["_audio_bytes"].to_numpy()[first:]
        ends = total + np.cumsum(more)
        # As soon as it has so many rows, or so many bytes.
        closing = min(limits.max_rows - rows - 1, int(np.searchsorted(ends, limits.max_bytes)))
        if closing < len(more):
            progress = index["_progress"][first + closing].as_py()
            return Cut(done.read, Progress(**json.loads(progress)), rows + closing + 1)
        rows, total = rows + len(more), total + int(more.sum())
    last = segments[-1].progress if segments else done
    if (last.finished and not done.finished) or (flush and last.read > done.read):
        return Cut(done.read, last, rows)
    return None


def begin_shard(key: StagingKey, state: State, folder: Path) -> ShardWriter:
    """The shard of the part that extends `state`, to be written ahead: rows that no cut holds yet will all be in it."""
    published, rows = state.split(key.source, key.split), state.sources[key.source].row_schema
    path = _local_path(folder, rows.folder, key, published.parts)
    return ShardWriter(path, published.progress.read, state.next_id_of(rows), state.sample_rate_hz, rows)


def build_part(
    cut: Cut, segments: Sequence[Segment], state: State, folder: Path, ahead: ShardWriter | None = None
) -> BuiltPart:
    """Write the files of the part that extends `state` into `folder` and describe it. `segments` hold all its clips.

    `ahead` is what is written of its shard already; where it is another's it is dropped.
    """
    key = segments[0].key
    number, rows = state.split(key.source, key.split).parts, state.sources[key.source].row_schema
    shard, rejected = (_local_path(folder, kind, key, number) for kind in (rows.folder, REJECTED_FOLDER))
    begin = cut.first_ordinal, state.next_id_of(rows)
    if ahead and (ahead.begin != begin or ahead.end > cut.progress.read or not cut.rows):
        ahead.drop()
        ahead = None
    written = NOTHING_WRITTEN
    if cut.rows:
        with ahead or begin_shard(key, state, folder) as writer:
            writer.take(segments, cut.progress.read)
            if writer.rows_taken != cut.rows:
                raise AssertionError(f"the shard of {key.source} has {writer.rows_taken} rows, its part {cut.rows}")
            written = writer.finish()
    has_rejects = _write_rejects(rejected, cut, segments)
    part = Part(
        source=key.source,
        split=key.split,
        number=number,
        progress=cut.progress,
        rows=cut.rows,
        ids=written.ids,
        duration_s=written.duration_s,
        size_bytes=shard.stat().st_size if cut.rows else 0,
        has_rejects=has_rejects,
        row_schema=rows,
    )
    files = {path: local for path, local in ((part.shard_path, shard), (part.rejected_path, rejected)) if path}
    return BuiltPart(part, files, {str(part.shard_path): written.sha256} if cut.rows else {})


def _local_path(folder: Path, kind: str, key: StagingKey, number: int) -> Path:
    return folder / f"{kind}-{key.split}-{part_name(key.source, number)}"


def _write_rejects(path: Path, cut: Cut, segments: Sequence[Segment]) -> bool:
    """Write the rejects of a cut; False where there are none (and no file)."""
    rejects = [
        {"source_id": staged.reject.source_id, "reason": staged.reject.reason, "detail": staged.reject.detail}
        for staged in chain.from_iterable(segment.rejects for segment in segments)
        if cut.first_ordinal < staged.ordinal <= cut.progress.read
    ]
    if rejects:
        make_folder(path.parent)
        with NewFile(path) as new:
            pq.write_table(pa.Table.from_pylist(rejects, schema=REJECTED_SCHEMA), new, compression="zstd")
    return bool(rejects)
