"""Runs in this process on a few clips: what a run promises, wherever it was stopped and whoever else writes.

Most of it has its counterpart in real processes (`tests/resume/test_kill_and_resume.py`,
`tests/pipeline/test_refusals.py`); here it is quick enough to be asked of every mutant.
"""

import errno
import json
import os
import re
import shutil
import stat
from collections.abc import Callable, Iterator
from pathlib import Path

import pyarrow.parquet as pq
import pytest

from processors.base_processor import BaseProcessor
from tests.damage import state_of
from tests.small_runs import KEPT, SOURCE, StopAfter, ids_of, small_options, small_run, write_mirror
from tests.support import TonesProcessor, published_ids, published_rows, sample, tone, tree
from utils.checkpoint import DamagedCheckpoint
from utils.dataset.folder import LocalTarget
from utils.errors import Stopped, TargetRefused
from utils.rows.progress import Progress
from utils.rows.schema import Position, RawClip
from utils.streaming import StreamingUploader
from utils.upload.upload_checkpoint import load_uploaded

REPO = "me/thai-voice"


@pytest.fixture(autouse=True)
def quick_disk(monkeypatch: pytest.MonkeyPatch) -> None:
    """Nobody pulls the plug of a test: flushing to the disk would only take time."""
    monkeypatch.setattr(os, "fsync", lambda descriptor: None)


@pytest.fixture
def machine(tmp_path: Path) -> Path:
    """A machine with a mirror."""
    write_mirror(tmp_path / "mirrors")
    return tmp_path


# --- a run and its books ---------------------------------------------------------------------


@pytest.mark.parametrize("is_demo", [False, True])
def test_made_up_clips_and_real_ones_are_kept_apart(machine: Path, is_demo: bool) -> None:
    """A first corpus of one's own, appended after the demo, goes to the same folder unless that is said."""
    small_run(machine, demo=is_demo)

    with pytest.raises(TargetRefused, match="made-up clips|the demo's do not belong"):
        small_run(machine, fresh=False, demo=not is_demo)


def test_every_clip_once_and_the_books_balance(machine: Path) -> None:
    """Each clip is a row or a reject, once; IDs are 1..n; what was read is what was kept and rejected."""
    state = small_run(machine).state

    rows = published_rows(machine / "out", ["ID", "source_id"])
    rejects = [row for path in machine.glob("out/rejected/*/*.parquet") for row in pq.read_table(path).to_pylist()]
    assert sorted(int(name[1:]) for name in rows["ID"].to_pylist()) == list(range(1, KEPT + 1))
    assert len(set(rows["source_id"].to_pylist())) == KEPT
    assert sorted((row["source_id"].rpartition("/")[2], row["reason"]) for row in rejects) == [
        ("clip_1", "repeated_source_id"), ("clip_2", "silent"), ("clip_22", "silent"), ("clip_32", "silent"),
    ]  # fmt: skip
    books = {split: found.progress for split, found in state.sources[SOURCE].splits.items()}
    assert {split: (found.read, found.kept, found.rejected) for split, found in books.items()} == {
        "train": (8, 6, 2), "validation": (3, 2, 1), "test": (4, 3, 1),
    }  # fmt: skip


def test_test_clips_are_published_before_train_clips(machine: Path) -> None:
    """So that a clip of a test split never comes into train afterwards: test, validation, train."""
    small_run(machine)

    ids = [number for split in ("test", "validation", "train") for number in ids_of(machine / "out", split)]
    assert ids == list(range(1, KEPT + 1))


@pytest.mark.parametrize("apart", [1, 2, 3])
def test_run_stopped_after_any_clip_ends_at_the_same_bytes(machine: Path, apart: int) -> None:
    """Stopped after every clip, or every few of them, and resumed: the undisturbed run's shards and rejects."""
    small_run(machine, output=machine / "undisturbed")
    stops = 0
    while small_run(machine, StopAfter(apart), resume=stops > 0).interrupted:
        stops += 1
        assert stops < 30, "it reads the same clips again and again"

    ours, undisturbed = (tree(machine / name, "data", "rejected") for name in ("out", "undisturbed"))
    assert ours == undisturbed
    assert stops >= 15 // apart - 1


@pytest.mark.parametrize("upload_batch_size", [3, 100], ids=["published", "staged"])
def test_lost_index_of_source_ids_lets_no_repeat_through(machine: Path, upload_batch_size: int) -> None:
    """It is made anew from what is published and from what is staged: clip 7, which has the name of clip 1, is told."""
    small_run(machine, output=machine / "undisturbed", upload_batch_size=upload_batch_size)
    stops = 0
    while small_run(machine, StopAfter(3), resume=stops > 0, upload_batch_size=upload_batch_size).interrupted:
        stops += 1
        shutil.rmtree(small_options(machine).staging_dir / "seen")

    ours, undisturbed = (tree(machine / name, "data", "rejected") for name in ("out", "undisturbed"))
    assert ours == undisturbed
    assert stops >= 4


class Selective(BaseProcessor):
    """A source whose table leaves out every third clip."""

    def get_available_splits(self) -> list[str]:
        return ["train"]

    def read(self, split: str, position: Position) -> Iterator[RawClip]:
        for index in range(position["index"], 6):
            yield RawClip(str(index), {"index": index + 1}, tone(index), selected=index % 3 != 0)


class Unreachable(BaseProcessor):
    """A source that can't go on after its third clip."""

    def read(self, split: str, position: Position) -> Iterator[RawClip]:
        for index in range(position["index"], 3):
            yield RawClip(str(index), {"index": index + 1}, tone(index))
        raise Stopped("nobody answers")


def test_source_that_can_not_go_on_loses_no_clip_that_it_gave(tmp_path: Path) -> None:
    """What was read is made durable and in the checkpoint before the error is heard of."""
    processor = Unreachable(checkpoint_dir=tmp_path)
    durable = []
    processor.merge.make_durable = lambda split, progress: durable.append(progress.read)  # type: ignore[method-assign]

    with pytest.raises(Stopped, match="nobody answers"):
        list(processor.process_split("train", Progress()))

    checkpoint = processor.load_unified_checkpoint()
    assert durable == [3]
    assert checkpoint is not None and checkpoint["samples_processed"] == 3


class OpenEnded(Selective):
    """A source of which there may be more another time."""

    is_open_ended = True


def test_split_that_may_grow_is_never_finished(tmp_path: Path) -> None:
    """So that a later run looks again."""
    ends = []
    for kind in (Selective, OpenEnded):
        processor = kind(checkpoint_dir=tmp_path)
        list(processor.process_split("train", Progress()))
        ends.append(processor.progress["train"])

    assert [(end.read, end.finished) for end in ends] == [(6, True), (6, False)]


def test_clips_that_a_source_leaves_out_are_counted(tmp_path: Path) -> None:
    """They are neither kept nor rejected, but they were read."""
    processor = Selective(checkpoint_dir=tmp_path)

    kept = [row["source_id"].rpartition("/")[2] for row in processor.process_all_splits()]

    books = processor.progress["train"]
    assert kept == ["1", "2", "4", "5"]
    assert (books.read, books.kept, books.rejected, books.unselected) == (6, 4, 0, 2)


def test_processor_whose_checkpoints_are_all_damaged_does_not_start_at_zero(tmp_path: Path) -> None:
    """Cannot tell is not empty: an error that names the file, not "nothing to resume"."""
    list(TonesProcessor(checkpoint_dir=tmp_path).process_all_splits(checkpoint_interval=10))
    for path in tmp_path.glob("*.json"):
        path.write_bytes(path.read_bytes()[:-9])

    with pytest.raises(DamagedCheckpoint, match="Tones_unified_checkpoint.json"):
        TonesProcessor(checkpoint_dir=tmp_path).load_unified_checkpoint()


# --- who is believed -------------------------------------------------------------------------


def test_checkpoint_file_ahead_of_the_state_skips_nothing(machine: Path) -> None:
    """A file that claims a thousand samples decides nothing (law 3)."""
    claim = machine / "claim.json"
    claim.write_text(json.dumps({"mode": "streaming", "samples_processed": 1000, "processor": SOURCE}))

    small_run(machine, StopAfter(3))
    small_run(machine, checkpoint=claim, resume=True)

    assert len(published_ids(machine / "out")) == KEPT


def uploader(folder: Path, checkpoint: Path, append: bool = True) -> StreamingUploader:
    return StreamingUploader(
        "me/x",
        append_mode=append,
        checkpoint_path=checkpoint,
        target=LocalTarget(folder / "out"),
        staging_dir=folder / "staging",
    )


def test_uploaded_ids_are_those_of_the_published_rows(tmp_path: Path) -> None:
    """A local checkpoint that is lost, or that tells of more than there is, changes nothing."""
    checkpoint = tmp_path / "c.json"
    with uploader(tmp_path, checkpoint) as first:
        first.upload_batch([sample(1), sample(2, ID="clip-ก")])

    for wrong in (None, '["S1", "S2", "S3"]'):
        checkpoint.unlink()
        if wrong:
            checkpoint.write_text(wrong)
        with uploader(tmp_path, checkpoint) as again:
            assert set(again.uploaded_ids) == {"S1", "clip-ก"}

    with uploader(tmp_path, checkpoint) as last:
        assert last.upload_batch([sample(1), sample(2, ID="clip-ก"), sample(3)]) == 1


def test_stale_uploaded_ids_are_written_again_from_the_state(tmp_path: Path) -> None:
    """A run that died between its commit and the checkpoint leaves one that is behind: the next start mends it."""
    checkpoint = tmp_path / "c.json"
    with uploader(tmp_path, checkpoint) as first:
        first.upload_batch([sample(1)])
        behind = checkpoint.read_bytes()
        first.upload_batch([sample(2)])
    checkpoint.write_bytes(behind)

    uploader(tmp_path, checkpoint).close()

    assert list(load_uploaded(checkpoint)["uploaded_ids"]) == ["S1", "S2"]


def test_checkpoint_of_another_generation_is_not_gone_on_with(tmp_path: Path) -> None:
    """Only the run that began a dataset goes on with it unasked; any other begins anew, the old one kept."""
    for name in ("one", "two"):
        with uploader(tmp_path / name, tmp_path / name / "c.json", append=False) as first:
            first.upload_batch([sample(1)])
    generation = state_of(tmp_path / "one/out").generation

    uploader(tmp_path / "one", tmp_path / "one/c.json", append=False).close()
    assert state_of(tmp_path / "one/out").generation == generation
    uploader(tmp_path / "one", tmp_path / "two/c.json", append=False).close()

    assert state_of(tmp_path / "one/out").generation != generation
    (kept,) = (tmp_path / "one").glob("out.before-fresh-*")
    assert published_ids(kept) == ["S1"]


# --- other writers, other data ---------------------------------------------------------------


def test_run_that_finds_the_target_locked_changes_nothing(machine: Path) -> None:
    """The lock comes before the first look at the target."""
    small_run(machine)
    before = tree(machine, "out", "checkpoints")

    with (
        LocalTarget(machine / "out").lock(),
        pytest.raises(TargetRefused, match="Another run"),
    ):
        small_run(machine)

    assert tree(machine, "out", "checkpoints") == before


def test_two_names_of_one_folder_have_one_lock(tmp_path: Path) -> None:
    """A link is no way around it."""
    (tmp_path / "real").mkdir()
    (tmp_path / "link").symlink_to("real")

    with (
        LocalTarget(tmp_path / "real").lock(),
        pytest.raises(TargetRefused, match="Another run"),
        LocalTarget(tmp_path / "link").lock(),
    ):
        pytest.fail("two held the lock")


def test_dataset_that_lacks_a_published_file_is_not_added_to(machine: Path) -> None:
    """Named, and nothing is changed."""
    small_run(machine, StopAfter(12))
    lost = next((machine / "out").glob("data/test/*.parquet"))
    lost.unlink()
    before = tree(machine, "out")

    with pytest.raises(TargetRefused, match=f"lacks 1 published files.*{lost.name}"):
        small_run(machine, resume=True)
    assert tree(machine, "out") == before


@pytest.mark.parametrize("change", [lambda raw: raw[:-50], lambda raw: raw + b"more", lambda raw: b""])
def test_dataset_with_a_file_that_is_not_as_it_was_committed_is_not_added_to(
    machine: Path, change: Callable[[bytes], bytes]
) -> None:
    """Another size says so at no cost: a run that went on would be green over rows that can't be read."""
    small_run(machine, StopAfter(12))
    shard = next((machine / "out").glob("data/test/*.parquet"))
    whole = shard.read_bytes()
    shard.write_bytes(change(whole))

    with pytest.raises(TargetRefused, match=f"not as they were committed: .*{shard.name}.*Put them back"):
        small_run(machine, resume=True)

    shard.write_bytes(whole)
    assert small_run(machine, resume=True).state.rows == KEPT


def test_fresh_start_archives_what_the_old_generation_left_here(machine: Path) -> None:
    """Staged segments and checkpoints are put away, whole; nothing of them comes into the new dataset."""
    small_run(machine, StopAfter(6))
    options = small_options(machine)
    staged = [path.read_bytes() for path in options.staging_dir.glob(f"{SOURCE}/*/*.arrow")]
    latest = (machine / f"checkpoints/{SOURCE}_unified_checkpoint.json").read_bytes()
    assert staged

    small_run(machine)

    archived = [path.read_bytes() for path in machine.glob("*/**/archive/**/*") if path.is_file()]
    archived += [path.read_bytes() for path in machine.glob("checkpoints/archive/**/*") if path.is_file()]
    assert all(content in archived for content in (*staged, latest))
    assert not list(options.staging_dir.glob("set-aside/*"))
    assert len(published_ids(machine / "out")) == KEPT


@pytest.mark.parametrize(
    "content", [b'{"mode": "unified", "samples_processed": 7, "current_split": "train"}', b"not JSON"]
)
def test_a_checkpoint_of_an_older_program_is_kept(
    tmp_path: Path, content: bytes, caplog: pytest.LogCaptureFixture
) -> None:
    """Ours would overwrite the only trace of its run: it is put away, and said."""
    write_mirror(tmp_path / "mirrors")
    latest = tmp_path / "checkpoints" / f"{SOURCE}_unified_checkpoint.json"
    latest.parent.mkdir()
    latest.write_bytes(content)

    small_run(tmp_path, resume=True)

    (kept,) = (tmp_path / "checkpoints/archive").rglob("*_unified_checkpoint.json*")
    assert kept.read_bytes() == content
    assert "was not written by this program: it is kept as" in caplog.text
    assert json.loads(latest.read_text())["samples_processed"] == KEPT


def test_a_checkpoint_names_the_last_shard_and_the_last_published_id(tmp_path: Path) -> None:
    """`shard_num` and `last_sample_id`, as the dataset has them."""
    write_mirror(tmp_path / "mirrors")
    small_run(tmp_path)

    saved = json.loads((tmp_path / f"checkpoints/{SOURCE}_unified_checkpoint.json").read_text())
    shards = sorted((tmp_path / "out/data/train").glob("*.parquet"))

    assert saved["current_split"] == "train"
    assert saved["shard_num"] == len(shards) - 2, "the last one is committed behind the last checkpoint"
    assert saved["last_sample_id"] == f"S{ids_of(tmp_path / 'out', 'train')[saved['shard_num'] * 3 + 2]}"


@pytest.mark.parametrize("number", [errno.EINVAL, errno.ENOTSUP, errno.ENOSYS])
def test_a_share_that_can_not_make_folders_durable(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture, number: int
) -> None:
    """The run goes on, with one warning; a file that can't be made durable stops it as ever."""
    write_mirror(tmp_path / "mirrors")
    of_files = os.fsync

    def fsync(descriptor: int) -> None:
        if stat.S_ISDIR(os.fstat(descriptor).st_mode):
            raise OSError(number, os.strerror(number))
        of_files(descriptor)

    monkeypatch.setattr(os, "fsync", fsync)
    monkeypatch.setattr("utils.disk.durable._told_of", set())

    assert small_run(tmp_path).state.rows == KEPT
    assert caplog.text.count("can't make folders durable") == 1
    monkeypatch.setattr(os, "fsync", lambda descriptor: (_ for _ in ()).throw(OSError(number, os.strerror(number))))
    with pytest.raises(Stopped, match=re.escape(os.strerror(number))):
        small_run(tmp_path, output=tmp_path / "other")
