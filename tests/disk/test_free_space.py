"""The floor of free space: a run stops before the disk is full, with all that is staged, and goes on from there."""

import json
from collections import namedtuple
from collections.abc import Callable
from pathlib import Path

import pytest

from pipeline.cli import parse
from tests.runs import run
from tests.support import begun_state, published_ids, steps, tree
from utils.dataset.folder import LocalTarget
from utils.dataset.target import Change
from utils.disk.free_space import DEFAULT_FLOOR_GB, GB, DiskFloor, default_floor_bytes
from utils.errors import Stopped
from utils.upload.cutting import ShardLimits
from utils.upload.publisher import Publisher
from utils.upload.split_uploader import SplitUploader

Usage = namedtuple("Usage", "total free")


def disk(free_gb: float, total_gb: float = 1000) -> Callable[[Path], Usage]:
    """A disk of which so much is free."""
    return lambda folder: Usage(int(total_gb * GB), int(free_gb * GB))


# --- the floor itself ------------------------------------------------------------------------


def test_message_says_what_is_safe_and_what_to_type(tmp_path: Path) -> None:
    """The folder, what is free, the floor; exit 5."""
    with pytest.raises(Stopped) as stopped:
        DiskFloor([tmp_path], 2, disk(1.25)).check()

    assert stopped.value.exit_code == 5
    for said in (str(tmp_path), "1.25 GB free", "2 GB", "--min-free-gb", "Nothing is lost", "--prune", "--resume"):
        assert said in str(stopped.value)


@pytest.mark.parametrize(("free_gb", "floor_gb", "stops"), [
    (1.99, 2, True), (2, 2, False), (0, 0, False), (0.001, 0, False), (4, 4.5, True),
    (1.99, None, True), (2.01, None, False),
])  # fmt: skip
def test_stops_below_the_floor(tmp_path: Path, free_gb: float, floor_gb: float | None, stops: bool) -> None:
    """At it a run goes on; 0 is no floor; without one of the user's it is 2 GB."""
    try:
        DiskFloor([tmp_path], floor_gb, disk(free_gb)).check()
    except Stopped:
        assert stops
    else:
        assert not stops


def test_small_disks_have_a_small_floor() -> None:
    """A tenth of them, so that the demo runs on a memory disk of some hundred MB; never more than 2 GB."""
    assert default_floor_bytes(256 * 10**6) == 25.6 * 10**6
    assert default_floor_bytes(20 * GB) == default_floor_bytes(8000 * GB) == DEFAULT_FLOOR_GB * GB


def test_every_folder_is_asked_for_also_before_it_is_there(tmp_path: Path) -> None:
    """The staging and the target may lie on two disks; of a folder that is still to be made, the one above counts."""
    asked: list[Path] = []

    def usage(folder: Path) -> Usage:
        asked.append(folder)
        return Usage(1000 * GB, 10 * GB if len(asked) == 1 else 0)

    with pytest.raises(Stopped, match=f"{tmp_path}/not/yet"):
        DiskFloor([tmp_path, tmp_path / "not/yet"], 2, usage).check()

    assert asked == [tmp_path, tmp_path]


def test_real_disks_can_be_asked(tmp_path: Path) -> None:
    """No folder, no floor; of a real one, what the system says."""
    DiskFloor().check()
    DiskFloor([tmp_path], 0).check()
    with pytest.raises(Stopped):
        DiskFloor([tmp_path], 10**9).check()


def test_option_is_zero_or_more() -> None:
    """Left out, it is what utils/disk/free_space.py says."""
    assert parse(["--fresh", "--all"]).min_free_gb is None
    assert parse(["--fresh", "--all", "--min-free-gb", "0"]).min_free_gb == 0
    for wrong in ("-1", "nan", "much"):
        with pytest.raises(SystemExit):
            parse(["--fresh", "--all", "--min-free-gb", wrong])


# --- in a run --------------------------------------------------------------------------------


class Filling:
    """A disk that is full from the so-manieth time on that it is asked for."""

    def __init__(self, full_from: int) -> None:
        self.asked = 0
        self._full_from = full_from

    def __call__(self, folder: Path) -> Usage:
        self.asked += 1
        return Usage(1000 * GB, 0 if self.asked >= self._full_from else 10 * GB)


def opened(folder: Path, usage: Callable[[Path], Usage]) -> SplitUploader:
    """An uploader of shards of three rows that goes on from what is there."""
    target = LocalTarget(folder / "out")
    before = target.snapshot()
    snapshot = before if before.state else target.begin(Change("Begin", begun_state()), before)
    floor = DiskFloor([folder], 2, usage)
    return SplitUploader(
        Publisher(target, snapshot), "Corpus", "train", folder / "staging", folder / "x.json", ShardLimits(3), floor
    )


def publish(folder: Path, usage: Callable[[Path], Usage]) -> None:
    """Publish eleven clips, a checkpoint every two; goes on from what is there."""
    uploader = opened(folder, usage)
    try:
        uploader.publish_ready()
        for step in steps("kkrkkukkkrk")[uploader.progress.read :]:
            uploader.add_step(step)
            if step.ordinal % 2 == 0:
                uploader.make_durable(step.progress)
                uploader.publish_ready()
        uploader.make_durable(uploader.progress)
        uploader.publish_ready(flush=True)
    finally:
        uploader.drop_ahead()


def test_wherever_the_disk_fills_nothing_is_lost(tmp_path: Path) -> None:
    """Stopped at each place in turn; what was staged is still there; the resumed run ends at the same bytes."""
    counting = Filling(10**9)
    publish(tmp_path / "undisturbed", counting)
    undisturbed = tree(tmp_path / "undisturbed/out", "data", "rejected")
    assert len(undisturbed) >= 4

    for full_from in range(1, counting.asked + 1):
        folder = tmp_path / str(full_from)
        with pytest.raises(Stopped):
            publish(folder, Filling(full_from))
        staged = tree(folder, "staging")
        assert not any(path.endswith(".tmp") for path in staged)
        with pytest.raises(Stopped):
            publish(folder, Filling(1))
        assert tree(folder, "staging") == staged

        publish(folder, disk(10))

        assert tree(folder / "out", "data", "rejected") == undisturbed
        assert tree(folder, "staging") == {}


def test_no_segment_is_begun_below_the_floor(tmp_path: Path) -> None:
    """The floor is asked for before the first clip is staged, not only when there is something to publish."""
    with pytest.raises(Stopped):
        publish(tmp_path, Filling(1))

    assert tree(tmp_path, "staging") == {}


def test_what_is_written_ahead_waits_where_there_is_no_room(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Clips are taken, and made durable, all the same: the run stops with nothing of them lost, and no shard begun."""
    monkeypatch.setattr("utils.upload.segments.BATCH_ROWS", 2)
    uploader = opened(tmp_path, Filling(2))
    for step in steps("kkkkk"):
        uploader.add_step(step)
    assert not list((tmp_path / "staging/built").glob("*"))
    uploader.make_durable(uploader.progress)

    with pytest.raises(Stopped):
        uploader.publish_ready()

    assert opened(tmp_path, disk(10)).progress.read == 5


def test_no_part_is_built_below_the_floor(tmp_path: Path) -> None:
    """Though all of it is staged already."""
    uploader = opened(tmp_path, disk(10))
    for step in steps("kkkk"):
        uploader.add_step(step)
    uploader.make_durable(uploader.progress)
    staged = tree(tmp_path, "staging")

    with pytest.raises(Stopped):
        opened(tmp_path, disk(1)).publish_ready()

    assert staged
    assert tree(tmp_path, "staging") == staged
    assert tree(tmp_path / "out", "data") == {}


def test_run_stops_with_5_and_resumes(tmp_path: Path) -> None:
    """The command that is printed goes on; the dataset is the one that an undisturbed run makes."""
    few = ["ProcessedVoiceTH", "--demo", "--sample", "--sample-size", "3"]

    stopped = run(["--fresh", *few, "--output", "out", "--min-free-gb", "1000000"], tmp_path)
    published = published_ids(tmp_path / "out")
    resumed = run(["--fresh", *few, "--output", "out", "--resume", "--min-free-gb", "0"], tmp_path)

    assert stopped.returncode == 5
    assert "--min-free-gb" in stopped.stderr and "Traceback" not in stopped.stderr
    assert published == []
    assert resumed.returncode == 0, resumed.stderr
    assert len(published_ids(tmp_path / "out")) == 3
    assert json.loads((tmp_path / "out/.ingest/state.json").read_bytes())["next_id"] == 4
