"""IDs that a script chose, by the thousand: each uploaded once, on disk, and known again whatever is lost.

`UploadedIds` holds up to 1,000 ranges and names in memory; these tests go beyond that with clips of a few bytes.
"""

import json
import os
from collections.abc import Iterable, Iterator
from dataclasses import replace
from itertools import pairwise
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from tests.small_runs import Failing, watching
from tests.support import published_ids, sample
from utils.audit.repair import plan_repair
from utils.audit.verify import verify
from utils.dataset.folder import LocalTarget
from utils.dataset.state import MAX_OWN_RANGES, SourceState, SplitState, State
from utils.dataset.target import Snapshot
from utils.errors import UsageError
from utils.streaming import StreamingUploader
from utils.upload.upload_checkpoint import load_uploaded, remember_uploaded
from utils.upload.uploaded_ids import HELD_IN_MEMORY


@pytest.fixture(autouse=True)
def quick_disk(monkeypatch: pytest.MonkeyPatch) -> None:
    """Nobody pulls the plug of a test: flushing to the disk would only take time."""
    monkeypatch.setattr(os, "fsync", lambda descriptor: None)


class CountingTarget(LocalTarget):
    """A folder that counts from which shards IDs were read."""

    def __init__(self, folder: Path) -> None:
        super().__init__(folder)
        self.read: list[str] = []

    def read_columns(self, path: str, columns: list[str], snapshot: Snapshot) -> pa.Table:
        self.read.append(path)
        return super().read_columns(path, columns, snapshot)


class Script:
    """A script that is run again and again on one machine, and what it published."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.out = folder / "out"
        self.index = folder / "staging/me_x/ids/train"
        self.checkpoint = folder / "c.json"

    def start(self, **options: Any) -> StreamingUploader:
        self.target = CountingTarget(self.out)
        return StreamingUploader(
            "me/x",
            checkpoint_path=self.checkpoint,
            target=self.target,
            staging_dir=self.folder / "staging",
            **options,
        )

    def upload(self, *batches: Iterable[str], **options: Any) -> int:
        """Upload batches of samples with these IDs, each as a shard; returns how many rows were new."""
        with self.start(**options) as uploader:
            return sum(uploader.upload_batch(map(clip, batch)) for batch in batches)

    @property
    def split(self) -> SplitState:
        return self.state.split("samples", "train")

    @property
    def state(self) -> State:
        return State.from_json((self.out / ".ingest/state.json").read_bytes())

    @property
    def told(self) -> dict[str, Any]:
        return json.loads(self.checkpoint.read_bytes())


@pytest.fixture
def script(tmp_path: Path) -> Script:
    return Script(tmp_path)


def clip(sample_id: str) -> dict[str, Any]:
    return {"ID": sample_id, "audio": b"sound", "length": 0.5}


def names(first: int, end: int) -> list[str]:
    return [f"clip-{number}-ก" for number in range(first, end)]


def numbers(first: int, end: int, every: int = 1) -> list[str]:
    return [f"S{number}" for number in range(first, end, every)]


MANY = HELD_IN_MEMORY + 200


def test_thousands_of_names_are_uploaded_once_and_known_again(script: Script) -> None:
    """Old ones and new ones, offered again by the next run: only the new ones are uploaded."""
    assert script.upload(names(0, 700), names(600, MANY)) == MANY

    assert script.upload(names(500, MANY + 5), names(0, MANY)) == 5

    assert published_ids(script.out) == names(0, MANY + 5)
    assert script.target.read == []
    assert sum(path.stat().st_size for path in script.index.iterdir()) <= 16 * (MANY + 5)


def test_uploaded_ids_are_a_set_of_all_of_them(script: Script) -> None:
    """Length, membership and, from the published rows, each of them; nothing that only waits."""
    with script.start() as uploader:
        uploader.upload_batch(map(clip, names(0, MANY)))
        uploader.add_sample(clip("waits"))

        assert len(uploader.uploaded_ids) == MANY
        assert names(7, 8)[0] in uploader.uploaded_ids
        assert {"waits", 7, None}.isdisjoint(uploader.uploaded_ids)
        assert list(uploader.uploaded_ids) == names(0, MANY)
        assert uploader.uploaded_ids & {"waits", *names(3, 4)} == set(names(3, 4))


def test_lost_index_is_made_anew_from_the_shards(script: Script) -> None:
    """It is a cache: without it, nothing is uploaded twice and nothing is left out."""
    script.upload(names(0, 700), names(700, MANY))
    for path in script.index.iterdir():
        path.unlink()

    assert script.upload(names(0, MANY + 1)) == 1

    assert len(script.target.read) == 2
    assert published_ids(script.out) == names(0, MANY + 1)


def test_damaged_index_is_made_anew_from_the_shards(script: Script) -> None:
    """A changed byte in it claims no ID and loses none."""
    script.upload(names(0, MANY))
    (path,) = script.index.iterdir()
    path.write_bytes(path.read_bytes().replace(path.read_bytes()[80:81], b"?"))

    assert script.upload(names(0, MANY + 1)) == 1
    assert published_ids(script.out) == names(0, MANY + 1)


@pytest.mark.parametrize("kind, ending", [("create", "train/new.tmp"), ("rename", ".ids")], ids=["create", "rename"])
@pytest.mark.parametrize("restarted", [False, True], ids=["same process", "restarted"])
def test_commit_that_landed_before_its_ids_were_entered(
    script: Script, kind: str, ending: str, restarted: bool
) -> None:
    """The disk fails, or the run dies, right after the commit: its IDs are known all the same, from then on."""
    script.upload(names(0, MANY))
    uploader = script.start()
    for late in map(clip, names(MANY, MANY + 300)):
        uploader.add_sample(late)
    with watching(Failing(kind, ending)), pytest.raises(OSError, match="Input/output"):
        uploader.flush()
    assert len(uploader.uploaded_ids) == MANY
    if restarted:
        uploader.close()
        uploader = script.start()
        assert script.target.read == ["data/train/samples-00001.parquet"]
    assert uploader.flush() == 0
    assert len(uploader.uploaded_ids) == MANY + 300

    assert uploader.upload_batch(map(clip, names(MANY - 5, MANY + 301))) == 1

    assert len(uploader.uploaded_ids) == MANY + 301
    assert published_ids(script.out) == names(0, MANY + 301)
    assert script.told["samples_uploaded"] == MANY + 301
    uploader.close()


def test_failed_commit_enters_nothing(script: Script) -> None:
    """Commit first, then remember, for IDs of any form and number."""
    script.upload(names(0, MANY))
    before = {path: path.read_bytes() for path in script.index.iterdir()}
    with script.start() as uploader:
        for late in map(clip, names(MANY, MANY + 10)):
            uploader.add_sample(late)
        with watching(Failing("rename", "state.json")), pytest.raises(OSError, match="Input/output"):
            uploader.flush()
        assert {path: path.read_bytes() for path in script.index.iterdir()} == before
        assert names(MANY, MANY + 1)[0] not in uploader.uploaded_ids

        assert uploader.flush() == 10


def test_index_of_a_dataset_that_was_replaced_is_not_believed(script: Script) -> None:
    """A script that begins anew uploads all of its samples again."""
    script.upload(names(0, MANY))
    script.checkpoint.unlink()

    assert script.upload(names(0, 10)) == 10
    assert list(script.index.iterdir()) == []


def test_numbers_are_known_without_reading_a_shard(script: Script) -> None:
    """The state has them as ranges: nothing is read at the start, nothing is written beside it."""
    script.upload(numbers(1, 801), numbers(801, 1601))

    assert script.upload(numbers(1, 1602)) == 1
    assert script.target.read == []
    assert not script.index.exists()


def test_names_that_come_after_many_numbers(script: Script) -> None:
    """What was known as ranges goes into the index, without reading a shard."""
    script.upload(numbers(1, MANY))
    many_names = names(0, MANY)

    assert script.upload(many_names) == MANY
    assert script.target.read == []
    assert script.upload(numbers(1, MANY + 1), [*many_names, "new"]) == 2


def test_state_does_not_grow_with_scattered_numbers(script: Script) -> None:
    """A range for each number would make the state as large as the dataset: beyond 64 it names none, for good."""
    script.upload(numbers(1, 3 * MANY, 3))
    size = len(script.state.to_json())
    assert script.split.ids == ()

    assert script.upload(numbers(1, 6 * MANY, 3)) == MANY

    assert script.split.ids == ()
    assert abs(len(script.state.to_json()) - size) < 20
    assert script.state.next_id == 6 * MANY - 1
    assert script.upload(numbers(1, 6 * MANY, 3), ["S2"]) == 1


def test_few_ranges_are_named_by_the_state(script: Script) -> None:
    """The bound is where it is said to be."""
    bound = numbers(1, 2 * MAX_OWN_RANGES, 2)
    script.upload(bound)
    assert len(script.split.ids) == MAX_OWN_RANGES

    for late in ("S1001", "S1002"):
        script.upload([late])
        assert script.split.ids == ()


def test_ranges_of_a_run_are_never_left_out() -> None:
    """Only a script scatters its IDs; those of a source are what its holes are told from."""
    scattered = [(number, number) for number in range(1, 1000, 2)]

    assert SourceState("r", {"a": 1}, {}).ids_named("train", scattered) == tuple(scattered)
    assert SourceState("", {}, {}).ids_named("train", scattered) == ()


def test_scattered_numbers_are_sound_and_need_no_repair(script: Script, tmp_path: Path) -> None:
    """What the state leaves to the shards is no fault of theirs."""
    script.upload(numbers(1, 400, 2), ["name"])
    (tmp_path / "verify").mkdir()
    (tmp_path / "repair").mkdir()

    verdict = verify(LocalTarget(script.out), tmp_path / "verify")
    repair = plan_repair(LocalTarget(script.out), tmp_path / "repair")

    assert [(check.name, check.offenders) for check in verdict.checks if check.found] == []
    assert repair.change is None


def test_repaired_shards_are_read_again(script: Script, tmp_path: Path) -> None:
    """What the index had of shards that `--repair` wrote anew (a row stood in both) does not count any more."""
    script.upload(names(0, MANY))
    with script.start() as uploader:
        for batch in ("ab", "cd"):
            uploader.upload_batch(sample(ord(letter), ID=letter) for letter in batch)
    first, second = (script.out / f"data/train/samples-0000{number}.parquet" for number in (1, 2))
    row = pq.read_table(second, partitioning=None).slice(0, 1)
    pq.write_table(pa.concat_tables([pq.read_table(first, partitioning=None), row]), first)
    (tmp_path / "repair").mkdir()
    target = LocalTarget(script.out)
    repair = plan_repair(target, tmp_path / "repair")
    target.mend(repair.change, repair.snapshot)

    assert script.upload([*"abcde", *names(0, 5)]) == 1
    assert script.target.read == ["data/train/samples-00001.parquet", "data/train/samples-00002.parquet"]


# --- the checkpoint --------------------------------------------------------------------------


def test_few_names_are_listed_in_the_checkpoint(script: Script) -> None:
    """For people and older tools: every ID, a string each."""
    script.upload(["clip-ก", *numbers(1, 6), "../x"])

    assert script.told["uploaded_ids"] == [*numbers(1, 6), "../x", "clip-ก"]
    assert load_uploaded(script.checkpoint)["uploaded_ids"] == {"clip-ก", "../x", *numbers(1, 6)}


def test_checkpoint_says_where_many_ids_are_and_stays_small(script: Script) -> None:
    """Their number, and the column that has them; asking it for one of them is an error, never a no."""
    script.upload(names(0, MANY))

    assert script.told["uploaded_ids"] == {"count": MANY, "listed_in": "data/train/*.parquet, column ID"}
    assert script.checkpoint.stat().st_size < 1000
    loaded = load_uploaded(script.checkpoint)
    assert (len(loaded["uploaded_ids"]), loaded["samples_uploaded"]) == (MANY, MANY)
    for question in (lambda ids: "clip-1-ก" in ids, lambda ids: list(ids)):
        with pytest.raises(UsageError, match="uploaded_ids"):
            question(loaded["uploaded_ids"])


def test_checkpoint_stays_small_with_many_ranges(tmp_path: Path) -> None:
    """A source of which thousands of rows were removed: the ranges are in the state, the file points to the rows."""
    ranges = tuple((number, number + 1) for number in range(1, 9000, 3))
    split = SplitState(published=6000, parts=1, ids=ranges)
    state = State("g").with_source("Corpus", SourceState("r", {"a": 1}, {}, {"train": split}))
    remember_uploaded(tmp_path / "c.json", state, "train", "out")
    assert (tmp_path / "c.json").stat().st_size < 1000
    assert len(load_uploaded(tmp_path / "c.json")["uploaded_ids"]) == 6000

    for ids, count, listed in ((ranges[:500], 1000, 1000), (((1, 1001),), 1001, 1)):  # strings, then ranges
        few = state.with_split("Corpus", "train", replace(split, published=count, ids=ids))
        remember_uploaded(tmp_path / "c.json", few, "train", "out")

        assert len(json.loads((tmp_path / "c.json").read_bytes())["uploaded_ids"]) == listed
        assert len(load_uploaded(tmp_path / "c.json")["uploaded_ids"]) == count


def test_checkpoint_never_lists_a_part_of_the_ids(tmp_path: Path) -> None:
    """Where the state can't name all of them (a script's names beside a run's numbers), it lists none."""
    run = SourceState("r", {"a": 1}, {}, {"train": SplitState(published=10, parts=1, ids=((1, 10),))})
    script = SourceState("", {}, {}, {"train": SplitState(published=3, parts=1)})
    state = State("g").with_source("Corpus", run).with_source("samples", script)

    remember_uploaded(tmp_path / "c.json", state, "train", "out")

    assert json.loads((tmp_path / "c.json").read_bytes())["uploaded_ids"]["count"] == 13


def test_a_changed_checkpoint_is_refused(script: Script) -> None:
    """Its checksum tells; older ones, which have none, load."""
    script.upload(["S1", "S2"])
    sound = script.checkpoint.read_bytes()

    script.checkpoint.write_bytes(sound.replace(b'"samples_uploaded": 2', b'"samples_uploaded": 3'))
    with pytest.raises(UsageError, match="checksum"):
        load_uploaded(script.checkpoint)
    without = {name: value for name, value in json.loads(sound).items() if name != "checksum"}
    script.checkpoint.write_text(json.dumps(without))

    assert load_uploaded(script.checkpoint)["uploaded_ids"] == {"S1", "S2"}


@pytest.mark.parametrize("ids", [{"count": "many", "listed_in": ""}, {"count": 3}, {}, 7], ids=str)
def test_damaged_reference_is_refused(tmp_path: Path, ids: object) -> None:
    """Cannot tell is not empty."""
    (tmp_path / "c.json").write_text(json.dumps({"uploaded_ids": ids}))

    with pytest.raises(UsageError, match="damaged"):
        load_uploaded(tmp_path / "c.json")


def test_index_grows_by_small_batches_without_growing_files(script: Script) -> None:
    """Shard after shard: a few files, each much larger than the next."""

    def batches() -> Iterator[list[str]]:
        yield names(0, MANY)
        yield from (names(first, end) for first, end in pairwise(range(MANY, MANY + 130, 10)))

    script.upload(*batches())

    sizes = [path.stat().st_size for path in sorted(script.index.iterdir())]
    assert len(sizes) <= 3
    assert sizes == sorted(sizes, reverse=True)
