"""Clips unpacked once for all splits of an archive: the same clips, the archive read once, nothing left behind."""

import errno
import os
import shutil
from collections import namedtuple
from dataclasses import replace
from functools import partial
from pathlib import Path
from random import Random

import pytest

from main import main
from processors import describe
from processors.base_processor import BaseProcessor
from processors.mozilla_cv import MozillaCommonVoiceProcessor
from tests.corpus_mirrors import write_files
from tests.mirrors import Open, clips_of, opener
from tests.processors.test_mozilla_cv import CV_HEADER, RELEASE, as_archive
from utils.dataset.folder import LocalTarget
from utils.dataset.target import Change, Snapshot
from utils.rows.progress import Progress
from utils.rows.schema import START, RawClip
from utils.sources import clip_spool
from utils.sources.table_index import clear_indexes

COMMIT = LocalTarget.commit
SPLITS = ("test", "validation", "train")
TABLES = {"test": "test.tsv", "validation": "dev.tsv", "train": "train.tsv"}


@pytest.fixture
def opened(tmp_path: Path) -> Open:
    return opener(tmp_path)


def release(clips_of_split: int = 4, size_bytes: int = 1000) -> dict[str, bytes]:
    """An archive whose tables lie behind its clips, those of the splits in turns; one row of each has no clip."""
    root = f"{RELEASE}/th"
    files: dict[str, bytes] = {}
    for at, split in enumerate(SPLITS):
        names = [f"{3 * number + at:04d}.mp3" for number in range(clips_of_split)]
        rows = [f"s\t{name}\tคำ\t" for name in (*names, f"gone{at}.mp3")]
        files[f"{root}/{TABLES[split]}"] = "\n".join([CV_HEADER, *rows, ""]).encode()
        files |= {f"{root}/clips/{name}": Random(name).randbytes(size_bytes) for name in names}
    return as_archive(files)


def unpacking(processor: BaseProcessor) -> BaseProcessor:
    processor.config = replace(processor.config, access=replace(processor.config.access, unpack_archives=True))
    return processor


def spools(processor: BaseProcessor) -> list[Path]:
    return sorted(processor.config.access.cache_dir.rglob("*.clips*"))


def read_all(processor: BaseProcessor) -> dict[str, list[RawClip]]:
    return {split: list(processor.read(split, dict(START))) for split in SPLITS}


def bytes_of_archive(processor: BaseProcessor) -> int:
    (name,) = processor.files.names()
    return processor.files.size_bytes(name)


def test_unpacked_clips_are_those_of_the_archive(opened: Open) -> None:
    """Keys, positions, audio, in the same order; and from any position on, be it noted by the one or the other."""
    packed = read_all(opened("MozillaCommonVoice", release()))
    unpacked = unpacking(opened("MozillaCommonVoice", release()))
    clear_indexes(unpacked.config.access.cache_dir / "index")

    assert {split: clips_of(unpacked, split) for split in SPLITS[:2]} == {s: packed[s] for s in SPLITS[:2]}
    assert spools(unpacked)
    for clip in packed["train"]:
        processor = unpacking(opened("MozillaCommonVoice", release()))
        assert list(processor.read("train", clip.position)) == packed["train"][clip.position["index"] :]
        assert (
            list(processor.read("train", {"index": clip.position["index"]}))
            == (packed["train"][clip.position["index"] :])
        )


def test_an_archive_is_read_once_for_all_splits(opened: Open) -> None:
    """Not once for its index and once for each split."""
    processor = unpacking(opened("MozillaCommonVoice", release()))
    read = read_all(processor)
    assert [len(clips) for clips in read.values()] == [5, 5, 5]
    assert processor.files.bytes_read == bytes_of_archive(processor)


def test_the_spool_goes_when_all_splits_are_finished(opened: Open) -> None:
    """Not when the last clip was read: a run that dies before that one is durable would unpack the archive again."""
    processor = unpacking(opened("MozillaCommonVoice", release()))
    for split in SPLITS:
        steps = processor.process_split(split, Progress())
        read = [next(steps) for _ in range(5)]
        assert len(read) == 5
        assert spools(processor), "all are read, and not yet durable"
        assert list(steps) == []
    processor.close()
    assert spools(processor) == []


def test_an_unfinished_run_leaves_the_spool_to_its_resume(opened: Open) -> None:
    """Whichever split it was at."""
    processor = unpacking(opened("MozillaCommonVoice", release()))
    assert list(processor.process_split("test", Progress()))
    next(processor.process_split("train", Progress()))
    processor.close()
    assert spools(processor)


def test_the_spool_goes_with_the_resume_of_a_run_that_had_read_all(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It died while it published what it had read: the resume reads nothing, and leaves nothing behind."""
    monkeypatch.chdir(tmp_path)
    write_files(tmp_path / "mirrors" / describe("MozillaCommonVoice").mirror, release())
    of_run = ["MozillaCommonVoice", "--source-dir", "mirrors", "--output", "out", "--quiet"]
    left = partial(tmp_path.rglob, "*.clips*")

    with monkeypatch.context() as dying:
        dying.setattr(LocalTarget, "commit", fails_at_the_last_split)
        dying.setattr(MozillaCommonVoiceProcessor, "close", BaseProcessor.close)  # killed, it does not come to that
        assert main(["--fresh", *of_run]) != 0
    assert list(left())

    assert main(["--fresh", *of_run, "--resume"]) == 0
    assert not list(left())


def fails_at_the_last_split(target: LocalTarget, change: Change, since: Snapshot) -> Snapshot:
    if any("/train/" in path for path in change.files):
        raise OSError(errno.EIO, "the disk fails")
    return COMMIT(target, change, since)


def test_the_spool_outlives_the_run_that_made_it(opened: Open) -> None:
    """A resume reads nothing of the archive."""
    first = unpacking(opened("MozillaCommonVoice", release()))
    begun = clips_of(first, "test")
    again = unpacking(opened("MozillaCommonVoice", release()))
    assert list(again.read("test", begun[1].position)) == begun[2:]
    assert again.files.bytes_read == 0


@pytest.mark.parametrize("how", ["changed", "cut", "gone"])
def test_a_damaged_spool_costs_no_clip(opened: Open, how: str) -> None:
    """From the damage on the archive is read, which has the last word."""
    whole = clips_of(opened("MozillaCommonVoice", release()), "validation")
    processor = unpacking(opened("MozillaCommonVoice", release()))
    clear_indexes(processor.config.access.cache_dir / "index")
    clips_of(processor, "test")
    (spool,) = spools(processor)
    content = spool.read_bytes()
    damaged = content[:7500] + bytes([content[7500] ^ 1]) + content[7501:] if how == "changed" else content[:7500]
    spool.unlink()
    if how != "gone":
        spool.write_bytes(damaged)

    assert clips_of(processor, "validation") == whole
    assert spools(processor) == []


def test_a_spool_is_made_only_where_the_disk_has_room(opened: Open, monkeypatch: pytest.MonkeyPatch) -> None:
    """A cache that saves time must not fill the disk."""
    usage = namedtuple("usage", "total used free")  # noqa: PYI024 - as shutil's
    free = clip_spool.SPARE_DISK_BYTES + 100
    monkeypatch.setattr(shutil, "disk_usage", lambda folder: usage(10**12, 0, free))
    processor = unpacking(opened("MozillaCommonVoice", release()))
    assert [len(clips) for clips in read_all(processor).values()] == [5, 5, 5]
    assert spools(processor) == []
    assert processor.files.bytes_read == 4 * bytes_of_archive(processor)


@pytest.mark.parametrize("after_bytes", [0, 5000])
def test_a_disk_that_fails_the_spool_costs_no_clip(
    opened: Open, monkeypatch: pytest.MonkeyPatch, after_bytes: int
) -> None:
    """It is given up; an older spool beside an index that tells of none is not believed."""
    whole = read_all(opened("MozillaCommonVoice", release()))
    processor = unpacking(opened("MozillaCommonVoice", release()))
    clear_indexes(processor.config.access.cache_dir / "index")
    monkeypatch.setattr(clip_spool, "_BUFFER_BYTES", 1000)
    written = 0

    def write(descriptor: int, data: memoryview) -> int:
        nonlocal written
        written += len(data)
        if written > after_bytes:
            raise OSError(28, "No space left on device")
        return len(data)

    with monkeypatch.context() as disk:
        disk.setattr(os, "write", write)
        assert clips_of(processor, "test") == whole["test"]
    assert spools(processor) == []

    (index,) = (processor.config.access.cache_dir / "index").glob("*.sqlite")
    (processor.config.access.cache_dir / "index" / _spool_name(processor)).write_bytes(b"x" * 12_000)
    assert index.exists()
    assert {split: clips_of(processor, split) for split in SPLITS} == whole


def _spool_name(processor: BaseProcessor) -> str:
    path = processor._spool(processor._release())  # type: ignore[attr-defined]
    assert isinstance(path, Path)
    return path.name


def test_clearing_the_cache_takes_the_spool(opened: Open) -> None:
    """And says how much it freed."""
    processor = unpacking(opened("MozillaCommonVoice", release()))
    clips_of(processor, "test")
    (spool,) = spools(processor)
    size_bytes = spool.stat().st_size
    assert size_bytes == 12 * 1000
    assert clear_indexes(processor.config.access.cache_dir / "index") > size_bytes
    assert spools(processor) == []
