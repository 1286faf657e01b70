"""What a clip is refused for is in the dataset: whatever was stopped, put back from a backup, or lost in between.

An index that knows clips which are published nowhere would lose the recording: the one is not there, the other refused.
"""

import shutil
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from tests.audit.test_verify import broken
from tests.known.two_sources import (
    FIRST,
    Clips,
    another_machine,
    published,
    read_both,
    rejects,
    write_first,
    write_second,
)
from tests.small_runs import SOURCE, StopAfter, small_options
from tests.support import tone
from utils.audit.verify import verify
from utils.choices import Dedup
from utils.dataset.folder import LocalTarget
from utils.known.clips import ClipIndex, Entry, Reached

CLIPS = range(1, 10)


def first(*numbers: int) -> Clips:
    return [(f"0-1-{number}", tone(number), f"ประโยคที่ {number}") for number in numbers]


def second(*numbers: int) -> Clips:
    return [(f"clip_{number}", tone(number), f"ประโยคที่ {number}") for number in numbers]


@pytest.fixture(params=[Dedup.EXACT, Dedup.NEAR])
def mode(request: pytest.FixtureRequest) -> Dedup:
    """Both ways to compare."""
    kind: Dedup = request.param
    return kind


@pytest.fixture
def machine(tmp_path: Path) -> Path:
    """Two sources with the very same recordings, in the split that is read first."""
    write_first(tmp_path, test=first(*CLIPS))
    write_second(tmp_path, test=second(*CLIPS))
    return tmp_path


def assert_all_are_there(machine: Path, scratch: Path, recordings: int = len(CLIPS)) -> None:
    """Each recording once, and every check of `--verify` is content."""
    hashes = [
        one
        for path in (machine / "out/data").rglob("*.parquet")
        for one in pq.read_table(path, partitioning=None)["audio_hash"].to_pylist()
    ]
    assert len(hashes) == len(set(hashes)) == recordings
    assert broken(verify(LocalTarget(machine / "out"), scratch)) == {}


@pytest.mark.parametrize("looks", [2, 5, 8])
def test_a_source_that_was_stopped_before_its_first_commit(
    machine: Path, mode: Dedup, looks: int, tmp_path: Path
) -> None:
    """It is staged here, and nobody says that it will be read on: another source's clips are not refused for it."""
    stopped = read_both(machine, StopAfter(looks), sources=(FIRST,), dedup=mode, upload_batch_size=100)
    assert stopped.interrupted

    read_both(machine, sources=(SOURCE,), resume=True, dedup=mode, upload_batch_size=100)

    assert len(published(machine)["test"]) == len(CLIPS)
    assert {name.split("/")[0] for name in published(machine)["test"]} == {SOURCE}
    assert rejects(machine) == []
    assert_all_are_there(machine, tmp_path / "scratch")
    read_both(machine, resume=True, dedup=mode, upload_batch_size=100)
    assert len(rejects(machine)) == len(CLIPS)
    assert_all_are_there(machine, tmp_path / "again")


@pytest.mark.parametrize("looks", [7, 9, 11])
def test_two_sources_that_were_stopped_before_their_first_commit(
    machine: Path, mode: Dedup, looks: int, tmp_path: Path
) -> None:
    """What was staged as a duplicate of a clip that is not read on is read again."""
    options: dict[str, Any] = {"dedup": mode, "upload_batch_size": 100}
    damage_after(machine, clips=5)
    assert read_both(machine, StopAfter(looks), **options).interrupted
    assert not list((machine / "out/data").rglob("*.parquet"))

    read_both(machine, sources=(SOURCE,), resume=True, **options)

    assert len(published(machine)["test"]) == len(CLIPS)
    assert_all_are_there(machine, tmp_path / "scratch")


def damage_after(machine: Path, clips: int) -> None:
    """The archive of `FIRST` ends in its middle."""
    archive = next((machine / "mirrors").rglob("test.tar.gz"))
    whole = archive.read_bytes()
    archive.write_bytes(whole[: len(whole) * clips // len(CLIPS)])


def test_a_source_that_fails_in_its_middle_and_is_read_on_by_another_machine(
    machine: Path, mode: Dedup, tmp_path: Path
) -> None:
    """The others' duplicates of its staged clips wait for it; it loses none of them, whoever reads it."""
    whole = next((machine / "mirrors").rglob("test.tar.gz")).read_bytes()
    damage_after(machine, clips=6)
    failed = read_both(machine, dedup=mode, upload_batch_size=100)
    assert FIRST in failed.failures
    assert broken(verify(LocalTarget(machine / "out"), tmp_path / "scratch")) == {}

    other = another_machine(machine, tmp_path / "other")
    next((other / "mirrors").rglob("test.tar.gz")).write_bytes(whole)
    read_both(other, resume=True, dedup=mode, upload_batch_size=100)

    assert_all_are_there(other, tmp_path / "again")


def test_a_backup_that_was_put_back_knows_nothing_of_what_came_after_it(
    machine: Path, mode: Dedup, tmp_path: Path
) -> None:
    """Sources that it does not name have no clips, whatever the index on this machine has."""
    write_first(machine, test=first(*range(1, 5)))
    write_second(machine, test=second(*range(5, 10)))
    read_both(machine, sources=(FIRST,), dedup=mode)
    shutil.copytree(machine / "out", tmp_path / "backup")
    read_both(machine, fresh=False, sources=(SOURCE,), dedup=mode)
    shutil.rmtree(machine / "out")
    shutil.copytree(tmp_path / "backup", machine / "out")

    write_first(machine, test=first(*CLIPS))
    read_both(machine, fresh=False, sources=(FIRST,), dedup=mode)

    assert rejects(machine) == []
    assert_all_are_there(machine, tmp_path / "scratch")


@pytest.mark.parametrize("lost", [False, True], ids=["with its indexes", "indexes made anew meanwhile"])
def test_a_backup_from_the_middle_of_a_source(machine: Path, mode: Dedup, lost: bool, tmp_path: Path) -> None:
    """Its clips behind that point are new again, under their own names too."""
    options: dict[str, Any] = {"sources": (SOURCE,), "dedup": mode}
    read_both(machine, StopAfter(3), **options)
    shutil.copytree(machine / "out", tmp_path / "backup")
    read_both(machine, StopAfter(3), resume=True, **options)
    if lost:
        staging = small_options(machine).staging_dir
        shutil.rmtree(staging / "seen")
        (staging / "clips.sqlite").unlink()
    assert read_both(machine, StopAfter(1), resume=True, **options).interrupted
    shutil.rmtree(machine / "out")
    shutil.copytree(tmp_path / "backup", machine / "out")

    read_both(machine, resume=True, **options)

    assert rejects(machine) == []
    assert_all_are_there(machine, tmp_path / "scratch")


def test_verify_finds_a_duplicate_of_a_clip_that_is_not_there(machine: Path, tmp_path: Path) -> None:
    """Named with what it repeats; in a split that is not read to its end such a clip may still come."""
    read_both(machine, dedup=Dedup.EXACT)
    (path,) = (machine / "out/rejected/test").glob(f"{SOURCE}-*.parquet")
    table = pq.read_table(path, partitioning=None)
    details = table["detail"].to_pylist()
    details[3] = f"the same audio as {FIRST}/test/0-1-404"
    column = table.schema.get_field_index("detail")
    pq.write_table(table.set_column(column, "detail", pa.array(details, pa.string())), path)

    verdict = verify(LocalTarget(machine / "out"), tmp_path / "scratch")

    (told,) = broken(verdict)["duplicates"]
    assert f"{SOURCE}/test/clip_4 is refused as the same audio as {FIRST}/test/0-1-404" in told


def test_the_index_says_which_clips_it_lacks(tmp_path: Path) -> None:
    """By their names, whether or not those begin with the source and split that they are of."""
    index = ClipIndex(tmp_path / "clips.sqlite", "here")
    for number, name in enumerate(("A/train/1", "A/train/2", "of a script")):
        index.add(("A", "train"), number + 1, [Entry(name, bytes(16))])
    index.add(("B", "test"), 1, [Entry("A/train/x/1", bytes(16))])
    index.note_covered(("A", "train"), Reached("r", 3))

    asked = {"A/train/1", "A/train/3", "of a script", "of another", "A/train/x/1", "B/test/1", "C/train/1"}

    assert index.missing(asked) == {"A/train/3", "of another", "B/test/1", "C/train/1"}
    assert index.missing(set()) == set()
    index.close()
