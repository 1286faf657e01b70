"""Staging: the rename is the checkpoint, and recovery takes over exactly what continues the published state."""

import io
import logging
import os
import re
from dataclasses import replace
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest

from tests.support import row, steps
from utils.errors import TargetRefused
from utils.formats.gzip_stream import GzipPlace
from utils.formats.seek_points import SeekPoint, to_text
from utils.rows.progress import Progress, Step
from utils.upload.segments import Segment, StagingKey, read_segments, staged_key
from utils.upload.staging import KEPT_SEEK_POINT, Staging, refuse_other_fingerprint

KEY = StagingKey("generation", "Corpus", "train", "revision", {"audio.sample_rate_hz": 16_000})


def staging(folder: Path, published: Progress | None = None, key: StagingKey = KEY) -> Staging:
    """The staging as a new run finds it."""
    recovered = Staging(folder, key)
    recovered.recover(published or Progress())
    return recovered


def stage(folder: Path, *segments: str, finished: bool = False, key: StagingKey = KEY) -> list[Step]:
    """Close a segment for each word of outcomes; returns all steps."""
    open_staging, taken = staging(folder, key=key), []
    for outcomes in segments:
        for step in steps(outcomes, taken[-1].progress if taken else None):
            open_staging.add(step)
            taken.append(step)
        open_staging.close(taken[-1].progress)
    if finished:
        open_staging.close(replace(taken[-1].progress, finished=True))
    return taken


def plain(name: str) -> str:
    """A segment's name without its digest."""
    return re.sub(r"-[0-9a-f]{16}(?=\.arrow)", "", name)


def names(folder: Path) -> list[str]:
    return sorted(plain(path.name) for path in (folder / "Corpus" / "train").iterdir())


def kept_aside(folder: Path) -> list[str]:
    return sorted(plain(path.name) for path in (folder / "set-aside").glob("*"))


def segment_file(folder: Path, first: int, last: int) -> Path:
    (found,) = (folder / "Corpus" / "train").glob(f"{first:012d}-{last:012d}-*.arrow")
    return found


def ordinals(segments: list[Segment]) -> list[int]:
    return [ordinal for segment in segments for ordinal in segment.rows_index["_ordinal"].to_pylist()]


def test_rows_rejects_and_progress_survive_reopening(tmp_path: Path) -> None:
    """What was added before `close` is there for the next run, each row and each reject with its own place."""
    taken = stage(tmp_path, "kkruk", "rkn")

    found = staging(tmp_path)

    rows = [clip for segment in found.segments for table in segment.batches() for clip in table.to_pylist()]
    samples = [{key: value for key, value in clip.items() if not key.startswith("_")} for clip in rows]
    rejects = [
        (staged.ordinal, staged.position, staged.reject) for segment in found.segments for staged in segment.rejects
    ]
    assert samples == [row(number) for number in (1, 2, 5, 7)]
    assert [clip["_ordinal"] for clip in rows] == [1, 2, 5, 7]
    assert [clip["_audio_bytes"] for clip in rows] == [40] * 4
    assert rejects == [(at, taken[at - 1].progress.position, taken[at - 1].outcome) for at in (3, 6)]
    assert found.segments[-1].progress == taken[-1].progress
    assert found.segments[0].source_ids() == [f"Corpus/train/{number}" for number in (1, 2, 5, 3)]


def test_a_segment_that_was_deleted_meanwhile_takes_no_room(tmp_path: Path) -> None:
    """The thread that publishes deletes segments while another one counts what is staged."""
    stage(tmp_path, "kkr", "rk")
    found = staging(tmp_path)

    found.segments[0].path.unlink()

    assert found.size_bytes == found.segments[1].path.stat().st_size


def test_recovery_goes_on_after_the_last_segment(tmp_path: Path) -> None:
    """The progress to read on from is that of the last closed segment."""
    taken = stage(tmp_path, "kkruk", "rkn")

    assert Staging(tmp_path, KEY).recover(Progress()) == taken[-1].progress


def test_nothing_is_a_checkpoint_before_the_rename(tmp_path: Path) -> None:
    """Steps that were taken but not closed leave a `segment.tmp`, which the next run drops and reads again."""
    taken = stage(tmp_path, "kk")
    dying = staging(tmp_path)
    for step in steps("k" * 250, taken[-1].progress):
        dying.add(step)
    assert "segment.tmp" in names(tmp_path)

    assert Staging(tmp_path, KEY).recover(Progress()) == taken[-1].progress
    assert names(tmp_path) == ["000000000000-000000000002.arrow"]


def test_bytes_are_on_the_disk_before_the_rename_and_the_name_after(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """fsync of the file, rename, fsync of its folder: in this order."""
    done: list[str] = []
    fsync, rename = os.fsync, Path.replace

    def noting_fsync(descriptor: int) -> None:
        done.append(f"fsync {Path(f'/proc/self/fd/{descriptor}').readlink().name}")
        fsync(descriptor)

    def noting_rename(path: Path, target: Path) -> Path:
        done.append(f"rename {path.name} {plain(Path(target).name)}")
        return rename(path, target)

    open_staging = staging(tmp_path)
    for step in steps("kr"):
        open_staging.add(step)
    monkeypatch.setattr(os, "fsync", noting_fsync)
    monkeypatch.setattr(Path, "replace", noting_rename)
    open_staging.close(step.progress)

    assert done == ["fsync segment.tmp", "rename segment.tmp 000000000000-000000000002.arrow", "fsync train"]


def test_closing_without_anything_new_writes_nothing(tmp_path: Path) -> None:
    """A checkpoint right after another one leaves one segment."""
    open_staging = staging(tmp_path)
    taken = steps("kk")
    for step in taken:
        open_staging.add(step)
    open_staging.close(taken[-1].progress)
    open_staging.close(taken[-1].progress)

    assert len(names(tmp_path)) == 1


def test_clips_without_rows_or_rejects_move_the_position(tmp_path: Path) -> None:
    """A stretch of unselected and known clips is a segment too: it is not read again."""
    taken = stage(tmp_path, "uunn")

    found = staging(tmp_path)
    assert (found.segments[0].rows, found.segments[0].progress) == (0, taken[-1].progress)


def test_end_of_a_split_is_remembered(tmp_path: Path) -> None:
    """That the split is finished is a segment of its own where the last clip was staged already."""
    taken = stage(tmp_path, "kkr", finished=True)

    finished = Staging(tmp_path, KEY).recover(Progress())

    assert finished == replace(taken[-1].progress, finished=True)
    assert names(tmp_path) == ["000000000000-000000000003.arrow", "000000000003-000000000003-end.arrow"]


def test_end_of_an_empty_split_is_remembered(tmp_path: Path) -> None:
    """A split without a clip is finished, too."""
    staging(tmp_path).close(Progress(finished=True))

    assert Staging(tmp_path, KEY).recover(Progress()) == Progress(finished=True)


def test_segments_that_the_state_covers_are_deleted(tmp_path: Path) -> None:
    """Published clips need no copy; partly covered segments stay, and reading goes on after the last one."""
    taken = stage(tmp_path, "kk", "kk", "kk")

    found = staging(tmp_path, published=taken[2].progress)

    assert names(tmp_path) == ["000000000002-000000000004.arrow", "000000000004-000000000006.arrow"]
    assert ordinals(found.segments) == [3, 4, 5, 6]


@pytest.mark.parametrize("covered", [1, 2, 3])
def test_dropping_keeps_what_is_not_published(tmp_path: Path, covered: int) -> None:
    """Law 1's other half: a segment is deleted once the state covers its last clip, no earlier."""
    taken = stage(tmp_path, "kk", "kk")
    found = staging(tmp_path)

    found.drop_published(taken[covered - 1].progress)

    assert ordinals(found.segments) == ([1, 2, 3, 4] if covered < 2 else [3, 4])
    assert len(names(tmp_path)) == len(found.segments)


def test_end_marker_stays_until_the_state_says_finished(tmp_path: Path) -> None:
    """All rows published is not the split finished: the marker goes only with the state's own word."""
    taken = stage(tmp_path, "kk", finished=True)
    published = taken[-1].progress

    assert Staging(tmp_path, KEY).recover(published).finished
    assert names(tmp_path) == ["000000000002-000000000002-end.arrow"]

    found = staging(tmp_path, published=replace(published, finished=True))
    assert (found.segments, names(tmp_path)) == ((), [])


@pytest.mark.parametrize(
    "other",
    [
        replace(KEY, generation="another"),
        replace(KEY, revision="another"),
        replace(KEY, fingerprint={"audio.sample_rate_hz": 8_000}),
        replace(KEY, fingerprint={}),
    ],
    ids=["generation", "revision", "changed option", "missing option"],
)
def test_segments_of_other_data_are_set_aside_with_a_warning(
    tmp_path: Path, other: StagingKey, caplog: pytest.LogCaptureFixture
) -> None:
    """They are neither taken over nor deleted, and the log says where they are."""
    stage(tmp_path, "kk", "kr", key=other)

    with caplog.at_level(logging.WARNING):
        assert Staging(tmp_path, KEY).recover(Progress()) == Progress()

    assert names(tmp_path) == []
    assert kept_aside(tmp_path) == [
        "Corpus-train-000000000000-000000000002.arrow",
        "Corpus-train-000000000002-000000000004.arrow",
    ]
    assert all(str(path) in caplog.text for path in (tmp_path / "set-aside").glob("*"))


def test_segments_after_a_gap_are_set_aside(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """A lost segment is read again, and so is what came after it: never a hole, never a clip twice."""
    taken = stage(tmp_path, "kk", "kk", "kk")
    segment_file(tmp_path, 2, 4).unlink()

    found = staging(tmp_path)

    assert (ordinals(found.segments), found.segments[-1].progress) == ([1, 2], taken[1].progress)
    assert kept_aside(tmp_path) == ["Corpus-train-000000000004-000000000006.arrow"]
    assert "does not continue clip 2" in caplog.text


def test_segments_ahead_of_an_older_state_are_set_aside(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """The target's state wins: where it went back (somebody restored it), reading starts from there."""
    taken = stage(tmp_path, "kk", "kk")
    staging(tmp_path, published=taken[1].progress)

    assert Staging(tmp_path, KEY).recover(taken[0].progress) == taken[0].progress
    assert len(kept_aside(tmp_path)) == 1


def test_segment_that_ended_the_split_too_early_is_set_aside(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """The state says that there are more clips than the staging thinks: the position never goes back."""
    stage(tmp_path, "kk", finished=True)
    further = steps("kkk")[-1].progress

    assert Staging(tmp_path, KEY).recover(further) == further
    assert kept_aside(tmp_path) == ["Corpus-train-000000000002-000000000002-end.arrow"]


def damaged_files(raw: bytes) -> list[bytes]:
    """Ways in which a segment can be damaged, by a single bit or by much."""
    no_footer_of_ours = raw.replace(b'"first_ordinal"', b'"first_ordinax"')
    cut = [raw[:length] for length in range(0, len(raw), len(raw) // 12)]
    flipped = [raw[:at] + bytes([raw[at] ^ 1]) + raw[at + 1 :] for at in range(4, len(raw), 97)]
    return [no_footer_of_ours, bytes(len(raw)), *cut, *flipped]


def test_damaged_segments_are_set_aside_and_read_again(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """Whatever way it is damaged, a segment is kept aside; it never stops a run, and is never believed."""
    taken = stage(tmp_path, "kk", "kk")
    second = segment_file(tmp_path, 2, 4)
    raw = second.read_bytes()

    for number, damaged in enumerate(damaged_files(raw)):
        second.write_bytes(damaged)

        found = staging(tmp_path)

        assert not second.exists()
        assert found.segments[-1].progress == taken[1].progress, number
    assert len(kept_aside(tmp_path)) > 12
    assert "it is damaged" in caplog.text


def test_unreadable_disk_is_not_a_damaged_segment(tmp_path: Path) -> None:
    """Cannot tell is not damaged: an error of the file system stops the run."""
    folder = tmp_path / "Corpus" / "train"
    folder.mkdir(parents=True)
    (folder / "000000000000-000000000002.arrow").symlink_to("000000000000-000000000002.arrow")

    with pytest.raises(OSError, match="symbolic links"):
        staging(tmp_path)

    assert kept_aside(tmp_path) == []


def test_what_an_older_version_staged_is_put_aside(tmp_path: Path) -> None:
    """Its segments were Parquet files. Their clips are read again; nothing lies there for good."""
    stage(tmp_path, "kk")
    (tmp_path / "Corpus/train/000000000002-000000000004-0123456789abcdef.parquet").write_bytes(b"PAR1")

    assert staging(tmp_path).segments[-1].progress.read == 2
    assert names(tmp_path) == ["000000000000-000000000002.arrow"]
    assert kept_aside(tmp_path) == ["Corpus-train-000000000002-000000000004-0123456789abcdef.parquet"]


def test_what_an_older_version_staged_goes_where_clips_were_taken_out(tmp_path: Path) -> None:
    """They may be in it, and are not to be kept."""
    removed = replace(KEY, removed="a list")
    stage(tmp_path, "kk", key=removed)
    (tmp_path / "Corpus/train/000000000002-000000000004-0123456789abcdef.parquet").write_bytes(b"PAR1")

    assert staging(tmp_path, key=removed).segments[-1].progress.read == 2
    assert names(tmp_path) == ["000000000000-000000000002.arrow"]
    assert kept_aside(tmp_path) == []


def test_a_seek_point_from_before_a_removal_goes(tmp_path: Path) -> None:
    """There may be audio of what was taken out in it; of the same list it is kept."""
    path = tmp_path / KEY.source / KEY.split / KEPT_SEEK_POINT
    path.parent.mkdir(parents=True)
    place = GzipPlace(100, 0, "block", 1000, 0, 4, "f", b"audio before it")
    text = to_text([SeekPoint(0, "a.tar.gz", place, 3, 1, 1024, "h")], f"{KEY.revision} {KEY.removed}")

    path.write_bytes(text)
    Staging(tmp_path, KEY).recover(Progress())
    assert path.read_bytes() == text
    Staging(tmp_path, replace(KEY, removed="of another list")).recover(Progress())
    assert not path.exists()


def test_the_index_of_rows_is_had_without_their_audio(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """It is asked for at every checkpoint, of segments of many megabytes."""
    filled = staging(tmp_path)
    for step in steps("k" * 20, size=100_000):
        filled.add(step)
    filled.close(step.progress)
    (segment,) = filled.segments
    (found,) = read_segments(filled.folder, pytest.fail)
    read: list[int] = []

    class Watched(io.FileIO):
        def readinto(self, buffer: Any) -> int:
            read.append(super().readinto(buffer) or 0)
            return read[-1]

        def read(self, size: int | None = -1) -> bytes:
            content = super().read(size)
            read.append(len(content))
            return content

    monkeypatch.setattr(pa, "OSFile", Watched)
    assert segment.rows_index["_audio_bytes"].to_pylist() == [100_000] * 20
    assert not read, "of a segment of its own a run knows it"
    assert found.rows_index == segment.rows_index
    assert 0 < sum(read) < 100_000


def test_recovery_is_idempotent(tmp_path: Path) -> None:
    """A run that dies while it recovers is recovered from: the second time finds what the first one left."""
    taken = stage(tmp_path, "kk", "kr", "kk", finished=True)
    (tmp_path / "Corpus/train/segment.tmp").write_bytes(b"torn")

    first, second = (staging(tmp_path, published=taken[1].progress) for _ in range(2))

    assert first.segments == second.segments
    assert ordinals(second.segments) == [3, 5, 6]


def test_splits_and_sources_do_not_touch_each_other(tmp_path: Path) -> None:
    """Each has its own folder."""
    stage(tmp_path, "kk")
    stage(tmp_path, "kkk", key=replace(KEY, split="test"))
    stage(tmp_path, "kkkk", key=replace(KEY, source="Other"))

    kept = [staging(tmp_path, key=key).segments[0].progress.read for key in (KEY, replace(KEY, split="test"))]
    assert kept == [2, 3]
    assert staged_key(tmp_path, "Other", "generation") == replace(KEY, source="Other")


def test_what_a_dead_run_pinned_is_told_by_its_segments(tmp_path: Path) -> None:
    """The revision and options of a source that published nothing yet; another generation's tell nothing."""
    stage(tmp_path, "kk")

    assert staged_key(tmp_path, "Corpus", "generation") == KEY
    assert staged_key(tmp_path, "Corpus", "another") is None
    assert staged_key(tmp_path, "Nobody", "generation") is None


def test_rows_are_written_in_bounded_batches(tmp_path: Path) -> None:
    """Of 100, or fewer where their audio reaches 32 MB: what a run holds in memory."""
    stage(tmp_path, "k" * 250)
    assert group_rows(tmp_path) == [100, 100, 50]

    large = staging(tmp_path, key=replace(KEY, split="large"))
    long_clip = {"bytes": bytes(16_000_000), "path": "clip.flac"}
    for step in steps("kkk"):
        large.add(replace(step, outcome={**step.outcome, "audio": long_clip}))
    large.close(step.progress)
    assert group_rows(tmp_path, "large") == [2, 1]


def group_rows(folder: Path, split: str = "train") -> list[int]:
    (segment,) = read_segments(folder / "Corpus" / split, lambda path, why: pytest.fail(why))
    return [table.num_rows for table in segment.batches()]


@pytest.mark.parametrize(
    ("after", "last", "expected"),
    [
        (0, 260, [100, 100, 50]),
        (0, 101, [99]),
        (101, 102, [1]),
        (102, 203, [100]),
        (150, 210, [52, 5]),
        (102, 102, []),
        (0, 2, []),
        (260, 300, []),
    ],
)
def test_some_rows_of_a_segment(tmp_path: Path, after: int, last: int, expected: list[int]) -> None:
    """Those of the clips in between; a batch that has none of them is not read."""
    stage(tmp_path, "rr" + "k" * 200 + "rrr" + "k" * 50 + "rrrrr")
    (segment,) = read_segments(tmp_path / "Corpus" / "train", lambda path, why: pytest.fail(why))

    tables = list(segment.batches_between(after, last))

    ordinals = [ordinal for table in tables for ordinal in table["_ordinal"].to_pylist()]
    assert ordinals == [one for one in [*range(3, 203), *range(206, 256)] if after < one <= last]
    assert [table.num_rows for table in tables] == expected


def test_reading_segments_changes_nothing(tmp_path: Path) -> None:
    """Looking (for a status report, say) is not recovering."""
    stage(tmp_path, "kk", "kk")
    (tmp_path / "Corpus/train/segment.tmp").write_bytes(b"torn")
    before = names(tmp_path)

    assert [segment.rows for segment in read_segments(tmp_path / "Corpus/train", lambda path, why: None)] == [2, 2]
    assert names(tmp_path) == before


def test_other_options_are_refused_each_difference_named() -> None:
    """What changed is said with both values, and what to do."""
    begun, now = {"rate": 16_000, "limit": 5000, "same": 1}, {"rate": 8_000, "same": 1, "extra": "x"}

    with pytest.raises(TargetRefused) as refusal:
        refuse_other_fingerprint("Corpus", now, begun)

    message = str(refusal.value)
    assert "rate: it was 16000, now 8000" in message
    assert "limit: it was 5000, now None" in message
    assert "extra: it was None, now 'x'" in message
    assert "same" not in message.replace("these would", "")
    assert "--fresh" in message
    refuse_other_fingerprint("Corpus", begun, dict(begun))
