"""Shards are cut and numbered by the data alone: neither checkpoints nor restarts show in a published byte."""

import io
import os
import tempfile
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from unittest.mock import patch

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from tests.support import row, steps
from utils.dataset.folder import LocalTarget
from utils.dataset.state import SourceState, SplitState, State
from utils.rows.progress import Progress, Step
from utils.rows.schema import REJECTED_SCHEMA, published_schema
from utils.streaming import StreamingUploader
from utils.upload.cutting import ShardLimits, begin_shard, build_part, next_cut
from utils.upload.next_shard import NextShard
from utils.upload.segments import BATCH_ROWS, Segment, StagingKey
from utils.upload.shard_writer import ShardWriter
from utils.upload.staging import Staging

KEY = StagingKey("generation", "Corpus", "train", "revision", {})
MANY = ShardLimits(max_rows=1000)


@pytest.fixture(autouse=True, scope="module")
def quick_disk() -> Iterator[None]:
    """Nobody pulls the plug of a test: flushing to the disk would only take time."""
    with patch.object(os, "fsync", lambda descriptor: None):
        yield


@dataclass
class Published:
    """What came out: the files in the order of their publication, and the state after them."""

    files: dict[str, bytes]
    state: State

    @property
    def split(self) -> SplitState:
        return self.state.split("Corpus", "train")

    def table(self, path: str) -> pa.Table:
        return pq.read_table(pa.BufferReader(self.files[path]))

    def column(self, folder: str, name: str) -> list[object]:
        """A column of all shards (`data`) or all rejects (`rejected`)."""
        return [value for path in self.files if path.startswith(folder) for value in self.table(path)[name].to_pylist()]


def publish(
    taken: list[Step],
    limits: ShardLimits,
    *,
    borders: Iterable[int] = (),
    restarts: Iterable[int] = (),
    batch_rows: int = BATCH_ROWS,
    missed: Iterable[int] = (),
    late: Iterable[int] = (),
    finished: bool = True,
    flush: bool = False,
) -> Published:
    """Run the steps through staging and build. A checkpoint after each of `borders` (clip numbers), death before each
    of `restarts`: what is not staged by then is read again. Rows come to the next shard from memory, `batch_rows` at a
    time, but not where one of the clips `missed` is the last of them; where one of `late` is, when what is ready by
    then is published."""
    with tempfile.TemporaryDirectory() as name, patch("utils.upload.segments.BATCH_ROWS", batch_rows):
        folder, out = Path(name), Published({}, State("generation", 16_000, next_id=101))
        out.state = out.state.with_source("Corpus", SourceState("revision", {}, {}))
        staging, at, deaths = Staging(folder, KEY), 0, set(restarts)
        ahead = NextShard(folder / "built", KEY, limits)
        staging.recover(out.split.progress)
        while at < len(taken):
            if at in deaths:
                deaths.remove(at)
                staging, ahead = Staging(folder, KEY), NextShard(folder / "built", KEY, limits)
                at = staging.recover(out.split.progress).read
                continue
            fresh = staging.add(taken[at])
            at += 1
            if fresh and fresh.last not in {*missed, *late}:
                ahead.take_fresh(fresh, staging.segments, out.state)
            if at in set(borders):
                last_fresh = staging.close(taken[at - 1].progress)
                if last_fresh and last_fresh.last not in set(missed):
                    ahead.take_fresh(last_fresh, staging.segments, out.state)
                _publish_ready(staging, out, limits, folder, ahead)
            if fresh and fresh.last in set(late):
                ahead.take_fresh(fresh, staging.segments, out.state)
        last = taken[-1].progress if taken else Progress()
        staging.close(replace(last, finished=finished))
        _publish_ready(staging, out, limits, folder, ahead, flush)
        ahead.drop()
        return out


def _publish_ready(
    staging: Staging, out: Published, limits: ShardLimits, folder: Path, ahead: NextShard, flush: bool = False
) -> None:
    """Publish what is staged in full; what is staged of the next shard goes into it."""
    while cut := next_cut(staging.segments, out.split, limits, flush):
        built = build_part(cut, staging.segments, out.state, folder / "built", ahead.given_up())
        assert not set(built.files) & set(out.files)
        out.files.update({path: local.read_bytes() for path, local in built.files.items()})
        out.state = out.state.after(built.part)
        staging.drop_published(out.split.progress)
    ahead.take_closed(staging.segments, out.state)


def staged(folder: Path, taken: list[Step]) -> Sequence[Segment]:
    """The segments of a split with these steps, in one go to its end."""
    staging = Staging(folder, KEY)
    staging.recover(Progress())
    for step in taken:
        staging.add(step)
    staging.close(replace(taken[-1].progress, finished=True))
    return staging.segments


def begun(next_id: int, split: SplitState | None = None) -> State:
    """A state whose next row is `S<next_id>`, with so much published of the split."""
    source = SourceState("revision", {}, {}, {"train": split or SplitState()})
    return State("generation", 16_000, next_id=next_id).with_source("Corpus", source)


def data(number: int) -> str:
    return f"data/train/Corpus-{number:05d}.parquet"


def rejected(number: int) -> str:
    return f"rejected/train/Corpus-{number:05d}.parquet"


clip_numbers = st.sets(st.integers(1, 24), max_size=8)
NONE: set[int] = set()


@settings(max_examples=80, deadline=None, derandomize=True, database=None)
@given(
    st.text("kkkrun", max_size=24),
    clip_numbers,
    clip_numbers,
    st.integers(1, 8),
    st.integers(1, 400),
    st.integers(1, 4),
    clip_numbers,
    clip_numbers,
)
@example("kkkkkkkkkkkk", set(range(1, 13)), {2, 5, 12}, 4, 400, 100, NONE, NONE)
@example("kkkkrrrr", {4, 8}, {8}, 4, 400, 100, NONE, NONE)
@example("rrrr", {2}, {3}, 4, 400, 100, NONE, NONE)
@example("kkkkkkkk", {6}, NONE, 8, 4000, 1, {2}, NONE)  # the first of a segment is taken, the second never comes
@example("kkkkkkkk", {6}, NONE, 8, 4000, 1, {1}, NONE)
@example("kkkkkkkk", {2, 6}, NONE, 8, 4000, 2, {2}, NONE)
@example("kkkkk", {1, 2}, NONE, 2, 4000, 1, NONE, {2})  # it comes when its part is published already
@example("kkkkkkkk", {2}, NONE, 8, 4000, 2, NONE, {2})  # it comes when it is in the shard already
@example("kkrrkkrr", {4, 8}, NONE, 4, 4000, 1, NONE, NONE)
@example("rrkkrr", {2, 4}, NONE, 4, 4000, 1, NONE, NONE)
def test_same_data_same_bytes(
    outcomes: str,
    borders: set[int],
    restarts: set[int],
    rows: int,
    size: int,
    batch_rows: int,
    missed: set[int],
    late: set[int],
) -> None:
    """Whatever the checkpoint interval, wherever a run died, and whichever rows came from memory: the same files, byte
    for byte, and the same state."""
    taken, limits = steps(outcomes), ShardLimits(max_rows=rows, max_bytes=size)

    undisturbed = publish(taken, limits)
    disturbed = publish(
        taken, limits, borders=borders, restarts=restarts, batch_rows=batch_rows, missed=missed, late=late
    )

    assert list(disturbed.files) == list(undisturbed.files)
    assert disturbed.files == undisturbed.files
    assert disturbed.state == undisturbed.state


@settings(max_examples=40, deadline=None, derandomize=True, database=None)
@given(st.text("kkkrun", max_size=24), clip_numbers, st.integers(1, 8))
def test_every_clip_once(outcomes: str, borders: set[int], rows: int) -> None:
    """Each kept clip is one row, each reject one line, in reading order, with consecutive IDs; the books agree."""
    out = publish(steps(outcomes), ShardLimits(max_rows=rows), borders=borders)

    def named(letter: str) -> list[str]:
        return [f"Corpus/train/{at}" for at, found in enumerate(outcomes, start=1) if found == letter]

    kept = named("k")
    assert out.column("data", "source_id") == kept
    assert out.column("data", "ID") == [f"S{number}" for number in range(101, 101 + len(kept))]
    assert out.column("rejected", "source_id") == named("r")
    assert out.split.published == out.split.progress.kept == len(kept)
    assert out.split.progress == replace(steps(outcomes)[-1].progress if outcomes else Progress(), finished=True)
    assert out.split.ids == (((101, 100 + len(kept)),) if kept else ())


@pytest.mark.parametrize("interval", [1, 7, 100, 99])
def test_interval_changes_no_byte_of_a_large_shard(interval: int) -> None:
    """Row groups, pages and encodings do not follow the segments' borders."""
    taken = steps("kkkkr" * 60, size=3000)

    cut_often = publish(taken, ShardLimits(max_rows=220), borders=range(interval, 300, interval))

    assert cut_often.files == publish(taken, ShardLimits(max_rows=220)).files


def test_interval_does_not_show_where_a_row_group_has_many_pages() -> None:
    """Parquet looks whether a page is full at the end of each piece that it is given: it is given whole row groups."""
    taken = [
        Step(step.progress, {**step.outcome, "transcript_raw": f"{step.ordinal} " * 10_000})
        for step in steps("k" * 110, size=30_000)
    ]

    assert publish(taken, MANY, borders=range(1, 110)).files == publish(taken, MANY).files


def test_rows_are_published_as_they_were_converted() -> None:
    """All columns pass unchanged, but for the ID and the audio's file name, which is named after it."""
    out = publish(steps("kk"), MANY)

    expected = [
        {**row(at), "ID": f"S{100 + at}", "audio": {**row(at)["audio"], "path": f"S{100 + at}.flac"}} for at in (1, 2)
    ]
    assert out.table(data(0)).to_pylist() == expected
    assert out.table(data(0)).schema.equals(published_schema(16_000), check_metadata=True)


def test_shard_closes_at_the_row_limit() -> None:
    """Full shards have exactly so many rows; the end of the split closes the last one."""
    out = publish(steps("kkkkkkk"), ShardLimits(max_rows=3))

    assert [out.table(data(number)).num_rows for number in range(3)] == [3, 3, 1]


def test_shard_closes_at_the_byte_limit() -> None:
    """The row that reaches the limit is the last one in."""
    out = publish(steps("kkkkkkk", size=40), ShardLimits(max_bytes=120))
    almost = publish(steps("kkkkkkk", size=40), ShardLimits(max_bytes=121))

    assert [out.table(data(number)).num_rows for number in range(3)] == [3, 3, 1]
    assert [almost.table(data(number)).num_rows for number in range(2)] == [4, 3]


def test_nothing_is_cut_before_a_shard_is_full() -> None:
    """Rows wait in the staging until their shard is full or their split ends."""
    out = publish(steps("kkkkk"), ShardLimits(max_rows=3), finished=False)

    assert list(out.files) == [data(0)]
    assert out.split.progress == steps("kkk")[-1].progress


def test_flush_publishes_what_waits() -> None:
    """On demand a shard is closed now, the split not."""
    out = publish(steps("kkkkr"), ShardLimits(max_rows=3), finished=False, flush=True)

    assert [out.table(data(number)).num_rows for number in range(2)] == [3, 1]
    assert out.split.progress == steps("kkkkr")[-1].progress


def test_rejects_go_with_the_shard_that_follows_them() -> None:
    """A part has the rejects since the last shard's last row; one without rejects has no such file."""
    out = publish(steps("rkrkkkrkr"), ShardLimits(max_rows=2))

    assert list(out.files) == [data(0), rejected(0), data(1), data(2), rejected(2)]
    assert out.table(rejected(0)).to_pylist() == [
        {"source_id": f"Corpus/train/{at}", "reason": "silent", "detail": f"clip {at}"} for at in (1, 3)
    ]
    assert out.table(rejected(2))["source_id"].to_pylist() == ["Corpus/train/7", "Corpus/train/9"]
    assert out.table(rejected(0)).schema.equals(REJECTED_SCHEMA)


def test_rejects_after_the_last_full_shard_are_a_part_of_their_own() -> None:
    """The tail is published though no row follows."""
    out = publish(steps("kkrr"), ShardLimits(max_rows=2))

    assert list(out.files) == [data(0), rejected(1)]
    assert (out.split.parts, out.split.published, out.split.rejected) == (2, 2, 2)


def test_split_with_only_rejects_has_no_shard() -> None:
    """Nothing kept is no data file, and no ID is used."""
    out = publish(steps("rur"), MANY)

    assert list(out.files) == [rejected(0)]
    assert (out.state.next_id, out.split.progress.finished, out.split.size_bytes) == (101, True, 0)


def test_empty_split_is_finished_without_a_file() -> None:
    """That there is nothing is published too: in the state."""
    out = publish([], MANY)

    assert (out.files, out.split.progress, out.split.parts) == ({}, Progress(finished=True), 1)


def test_totals_are_those_of_the_rows() -> None:
    """Durations add up over parts; sizes are the shards'."""
    out = publish(steps("kkrkk"), ShardLimits(max_rows=3))

    assert out.split.duration_s == pytest.approx(sum(out.column("data", "length")))
    assert out.split.duration_s == pytest.approx((1 + 2 + 4 + 5) / 8)
    assert out.split.size_bytes == sum(len(content) for path, content in out.files.items() if path.startswith("data"))


def test_row_groups_have_a_hundred_rows() -> None:
    """What the dataset viewer wants; counted within the shard, whatever the segments were."""
    out = publish(steps("k" * 250), MANY, borders=range(30, 250, 30))

    metadata = pq.read_metadata(pa.BufferReader(out.files[data(0)]))
    assert [metadata.row_group(number).num_rows for number in range(3)] == [100, 100, 50]
    assert out.column("data", "ID") == [f"S{number}" for number in range(101, 351)]


def test_a_clip_is_read_without_its_row_group() -> None:
    """Its page of the audio is some megabyte, where the group has twenty."""
    shard = publish(steps("k" * 100, size=200_000), MANY).files[data(0)]
    read: list[int] = []

    class Watched(io.BytesIO):
        def read(self, size: int | None = -1) -> bytes:
            content = super().read(size)
            read.append(len(content))
            return content

    with pq.ParquetFile(Watched(shard), pre_buffer=False, buffer_size=65536) as file:
        first = next(file.iter_batches(1, columns=["audio"], use_threads=False))

    assert len(first["audio"][0].as_py()["bytes"]) == 200_000
    assert sum(read) < 3_000_000 < len(shard) / 6


@pytest.mark.parametrize(
    ("sizes", "groups"), [([10_000_000] * 10, [4, 4, 2]), ([1, 50_000_000, 1, 1], [2, 2]), ([1] * 250, [100, 100, 50])]
)
def test_row_groups_hold_100_rows_or_32_mb(tmp_path: Path, sizes: list[int], groups: list[int]) -> None:
    """Of audio, or one longer clip; wherever segments end."""
    staging = Staging(tmp_path, KEY)
    staging.recover(Progress())
    progress = Progress()
    for number, size in enumerate(sizes, start=1):
        clip = row(number)
        clip["audio"] = {"bytes": bytes(size), "path": "clip.flac"}
        progress = progress.after({"index": number}, clip)
        staging.add(Step(progress, clip))
        if number % 3 == 0:
            staging.close(progress)
    staging.close(replace(progress, finished=True))

    out = Published({}, State("generation", 16_000).with_source("Corpus", SourceState("revision", {}, {})))
    limits = ShardLimits(max_bytes=10**9)
    _publish_ready(staging, out, limits, tmp_path, NextShard(tmp_path / "built", KEY, limits))

    metadata = pq.ParquetFile(pa.BufferReader(out.files[data(0)])).metadata
    assert [metadata.row_group(number).num_rows for number in range(metadata.num_row_groups)] == groups


def test_what_was_written_ahead_of_another_shard_is_dropped(tmp_path: Path) -> None:
    """Of other IDs, or of more clips than the part has: the part is written anew, as if there had been none."""
    segments, split = staged(tmp_path, steps("kkkk")), SplitState()

    def built(next_id: int, limits: ShardLimits, ahead: ShardWriter | None = None) -> bytes:
        cut = next_cut(segments, split, limits)
        part = build_part(cut, segments, begun(next_id), tmp_path / "built", ahead)
        return part.files[data(0)].read_bytes()

    def ahead(next_id: int) -> ShardWriter:
        shard = begin_shard(KEY, begun(next_id), tmp_path / "built")
        shard.take(segments, 4)
        return shard

    assert built(7, MANY, ahead(7)) == built(7, MANY)
    assert built(7, MANY, ahead(1)) == built(7, MANY)
    assert built(7, ShardLimits(max_rows=2), ahead(7)) == built(7, ShardLimits(max_rows=2))


@pytest.mark.parametrize("limits", [ShardLimits(max_rows=4), ShardLimits(max_bytes=160)])
def test_nothing_is_written_ahead_in_vain(limits: ShardLimits) -> None:
    """Rows in memory that are too many for a shard, or may be, wait for their segment: no shard is dropped."""
    with patch.object(ShardWriter, "drop", lambda shard: pytest.fail("written in vain")):
        for batch_rows in (1, 2, 3):
            out = publish(steps("k" * 20, size=40), limits, borders={7, 14}, batch_rows=batch_rows)
            assert [len(out.table(path)) for path in out.files] == [4] * 5


def test_a_shard_of_other_rows_than_its_part_is_not_published(tmp_path: Path) -> None:
    """The books would contradict it. It takes a bug of ours; the next run builds it anew."""
    segments = staged(tmp_path, steps("kkkk"))
    shard = begin_shard(KEY, begun(1), tmp_path / "built")
    shard.take(segments, 2)
    shard.end = 0
    cut = next_cut(segments, SplitState(), MANY)

    with pytest.raises(AssertionError, match="has 6 rows, its part 4"):
        build_part(cut, segments, begun(1), tmp_path / "built", shard)

    assert build_part(cut, segments, begun(1), tmp_path / "built").part.rows == 4


def test_source_that_goes_on_in_a_newer_revision_continues_the_numbers() -> None:
    """The parts of a newer revision follow those of the earlier ones."""
    split = SplitState(parts=3, earlier=(Progress(read=9, kept=9, finished=True),), published=9, pass_first_part=3)
    with tempfile.TemporaryDirectory() as name:
        staging = Staging(Path(name), KEY)
        staging.recover(split.progress)
        for step in steps("nnk"):
            staging.add(step)
        staging.close(replace(step.progress, finished=True))
        cut = next_cut(staging.segments, split, MANY)
        built = build_part(cut, staging.segments, begun(10, split), Path(name) / "built")

    assert list(built.files) == [data(3)]
    assert built.part.ids == ((10, 10),)


def test_built_files_of_a_dead_run_do_not_pile_up(tmp_path: Path) -> None:
    """What was built and not deleted goes at the next start; another split's files are not touched."""
    built = tmp_path / "staging" / "built"
    built.mkdir(parents=True)
    for name in (
        "data-train-samples-00003.parquet",
        "rejected-train-samples-00003.parquet",
        "data-test-samples-0.parquet",
    ):
        (built / name).write_bytes(b"left")

    StreamingUploader(
        "x", target=LocalTarget(tmp_path / "out"), staging_dir=tmp_path / "staging", clean_name=lambda name: ".",
        checkpoint_path=tmp_path / "c.json",
    )  # fmt: skip

    assert [path.name for path in built.iterdir()] == ["data-test-samples-0.parquet"]


def test_reject_at_the_border_is_published_once(tmp_path: Path) -> None:
    """A part that ended at a reject (it was flushed) has it; the next part, cut from the same segment, has not."""
    taken = steps("kkrk")
    segments = staged(tmp_path, taken)
    split = SplitState(progress=taken[2].progress, parts=1, published=2)

    built = build_part(next_cut(segments, split, MANY), segments, begun(3, split), tmp_path / "built")

    assert list(built.files) == [data(1)]


def test_rows_that_carry_their_own_ids_keep_them() -> None:
    """IDs that somebody else chose are published as they are, and never become paths."""
    named = [
        Step(step.progress, {**step.outcome, "ID": own})
        for step, own in zip(steps("kkk"), ("S7", "../../etc/x", "S8"), strict=True)
    ]
    out = publish(named, MANY)

    assert out.column("data", "ID") == ["S7", "../../etc/x", "S8"]
    assert [audio["path"] for audio in out.column("data", "audio")] == ["S7.flac", "______etc_x.flac", "S8.flac"]
    assert (out.split.ids, out.split.published) == (((7, 8),), 3)
