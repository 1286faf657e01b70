"""Reading, converting and publishing at the same time: the same dataset, byte for byte, as one after the other."""

import threading
from collections.abc import Callable, Iterator
from pathlib import Path

import pyarrow as pa
import pytest

from tests.small_runs import SOURCE, StopWhen, ids_of, small_run, watching, write_mirror
from tests.support import tree
from utils.disk.durable import Effect
from utils.errors import Stopped
from utils.upload.segments import Segment

CLIPS = {"train": range(40), "validation": range(50, 53), "test": range(60, 64)}


def shards(machine: Path) -> dict[str, bytes]:
    return tree(machine / "out", "data", "rejected")


@pytest.fixture(scope="module")
def plain(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run that does one thing at a time."""
    machine = tmp_path_factory.mktemp("plain")
    write_mirror(machine / "mirrors", CLIPS)
    small_run(machine)
    return machine


@pytest.fixture
def machine(tmp_path: Path) -> Path:
    write_mirror(tmp_path / "mirrors", CLIPS)
    return tmp_path


@pytest.fixture(autouse=True)
def few_rows_at_a_time(monkeypatch: pytest.MonkeyPatch) -> None:
    """So that rows come to their shard from memory while their segment is still open."""
    monkeypatch.setattr("utils.upload.segments.BATCH_ROWS", 3)


@pytest.mark.parametrize("workers", [1, 2, 8])
def test_any_number_of_workers_publishes_the_same_bytes(plain: Path, machine: Path, workers: int) -> None:
    """Shards, rejects, IDs, order, books."""
    result = small_run(machine, overlap=True, num_workers=workers)

    assert shards(machine) == shards(plain)
    assert result.state.sources[SOURCE].finished
    assert not list((machine / "data/staging").rglob("*.arrow"))


@pytest.mark.parametrize(("workers", "threads"), [(1, set()), (2, {"read ahead", "publish"})])
def test_one_worker_with_files_at_hand_does_all(
    machine: Path, monkeypatch: pytest.MonkeyPatch, workers: int, threads: set[str]
) -> None:
    """No other thread, where nothing is waited for: turns between threads take CPU and win no time."""
    started: set[str] = set()
    start = threading.Thread.start

    def note_and_start(thread: threading.Thread) -> None:
        started.add(thread.name)
        start(thread)

    monkeypatch.setattr(threading.Thread, "start", note_and_start)
    small_run(machine, overlap=True, num_workers=workers)

    assert started & {"read ahead", "publish"} == threads


def test_what_is_staged_goes_into_its_shard_from_memory(
    plain: Path, machine: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """No row is read again, wherever the segments end. (But where a shard ends.)"""
    read_again: list[int] = []
    from_disk = Segment.batches_between

    def note_and_read(segment: Segment, after: int, last: int) -> Iterator[pa.Table]:
        for rows in from_disk(segment, after, last):
            read_again.append(rows.num_rows)
            yield rows

    monkeypatch.setattr(Segment, "batches_between", note_and_read)
    small_run(machine, overlap=True, num_workers=1, checkpoint_interval=7, upload_batch_size=1000)
    assert read_again == []

    small_run(machine, overlap=True, num_workers=1, checkpoint_interval=7, output=machine / "another")
    assert read_again != []
    assert tree(machine / "another", "data", "rejected") == shards(plain)


@pytest.mark.parametrize("at", [1, 4, 9])
def test_a_stopped_run_goes_on_to_the_same_bytes(plain: Path, machine: Path, at: int) -> None:
    """Stopped once so many segments were made, wherever publishing was then; resumed with another number of workers."""
    count = SegmentsClosed()
    with watching(count):
        stopped = small_run(machine, StopWhen(lambda: count.segments >= at), overlap=True, num_workers=3)
    small_run(machine, overlap=True, num_workers=2, fresh=False, resume=True)

    assert stopped.interrupted
    assert shards(machine) == shards(plain)


class SegmentsClosed:
    """Counts segments as they get their names."""

    def __init__(self) -> None:
        self.segments = 0

    def before(self, effect: Effect) -> None:
        """Nothing yet."""

    def after(self, effect: Effect) -> None:
        self.segments += effect.kind == "rename" and effect.path.suffix == ".arrow" and "staging" in effect.path.parts


class HeldBack:
    """Lets the first commit to be uploaded wait until something has happened so many times beside it; or gives up."""

    def __init__(self, counts: Callable[[Effect], bool], wanted: int) -> None:
        self._counts, self._wanted, self._seen = counts, wanted, 0
        self._enough, self._begun = threading.Event(), threading.Event()
        self.overlapped = False

    def before(self, effect: Effect) -> None:
        is_commit = effect.path.name == "state.json" and "out" in effect.path.parts
        if is_commit and threading.current_thread().name == "upload":
            self._begun.set()
            self.overlapped = self.overlapped or self._enough.wait(20)

    def after(self, effect: Effect) -> None:
        self._seen += self._begun.is_set() and self._counts(effect)
        if self._seen >= self._wanted:
            self._enough.set()


def is_segment(effect: Effect) -> bool:
    return effect.kind == "rename" and effect.path.suffix == ".arrow" and "staging" in effect.path.parts


def is_write_into_a_shard(effect: Effect) -> bool:
    return effect.kind == "create" and effect.path.parent.name == "built" and "data-" in effect.path.name


@pytest.mark.parametrize(("counts", "wanted"), [(is_segment, 3), (is_write_into_a_shard, 1)])
def test_reading_and_building_go_on_while_a_commit_waits(
    machine: Path, counts: Callable[[Effect], bool], wanted: int
) -> None:
    """A slow target: segments are staged, and the next shard is written, behind the commit that is under way."""
    held = HeldBack(counts, wanted)
    with watching(held):
        small_run(machine, overlap=True, num_workers=2, upload_batch_size=5)
    small_run(plain_of_five := machine / "plain", source_dir=machine / "mirrors", upload_batch_size=5)

    assert held.overlapped
    assert shards(machine) == shards(plain_of_five)


def test_reading_waits_where_too_much_is_staged(plain: Path, machine: Path) -> None:
    """A bound of nothing: each part is published before the next segment is begun."""
    most = MostStaged(machine / "data/staging")
    with watching(most):
        small_run(machine, overlap=True, num_workers=2, max_staging_gb=1e-9)

    assert shards(machine) == shards(plain)
    assert most.segments <= 3


class MostStaged:
    """The most segments that were there at once."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self.segments = 0

    def before(self, effect: Effect) -> None:
        """Nothing yet."""

    def after(self, effect: Effect) -> None:
        if effect.kind == "rename":
            self.segments = max(self.segments, len(list(self._folder.glob(f"*/{SOURCE}/*/0*.arrow"))))


class TargetGone:
    """Every commit fails from the second part on."""

    def before(self, effect: Effect) -> None:
        if (
            effect.kind in ("link", "rename")
            and effect.path.name == f"{SOURCE}-00001.parquet"
            and "out" in effect.path.parts
        ):
            raise Stopped("the target is away")

    def after(self, effect: Effect) -> None:
        """It happened."""


def test_a_failed_commit_stops_the_run_and_loses_nothing_of_what_was_read(plain: Path, machine: Path) -> None:
    """Its error comes out; what was converted meanwhile is staged; resumed, the dataset is the same."""
    with watching(TargetGone()), pytest.raises(Stopped, match="the target is away"):
        small_run(machine, overlap=True, num_workers=2)
    assert not list((machine / "data/staging").rglob("segment.tmp"))

    small_run(machine, overlap=True, num_workers=2, fresh=False, resume=True)

    assert shards(machine) == shards(plain)
    assert ids_of(machine / "out", "test")[0] == 1
