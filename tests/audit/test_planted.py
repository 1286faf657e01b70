"""Omissions and inventions that a dataset by itself can't tell: its IDs, books, ledger and card fit. `--verify` calls
each of them sound; held against the sources, each is found by its name.
"""

import shutil
from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest

from tests.audit.test_against_sources import assert_sound, verified
from tests.audit.test_verify import broken, checked
from tests.corpus_mirrors import write_corpus_mirrors
from tests.damage import change_rows, change_split, settle
from tests.small_runs import small_run
from utils.rows.progress import Progress
from utils.rows.schema import RejectReason

LOOSE, PACKED = "Gowajee", "TSync1"
"""Files with Kaldi's tables in three splits; a tar.gz."""


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run of both: `out`, made from `mirrors`."""
    machine = tmp_path_factory.mktemp("made")
    write_corpus_mirrors(machine / "mirrors")
    small_run(machine, sources=(LOOSE, PACKED), upload_batch_size=5, checkpoint_interval=100)
    assert assert_sound(machine) == 60
    return machine


@pytest.fixture
def mirrors(made: Path) -> Path:
    return made / "mirrors"


@pytest.fixture
def dataset(made: Path, tmp_path: Path) -> Path:
    """A copy of the dataset, to be changed."""
    return Path(shutil.copytree(made / "out", tmp_path / "out"))


Rows = list[dict[str, Any]]
Plant = Callable[[Path], str]
"""Changes a dataset; returns what is to be said of it."""


def shard(name: str, split: str, number: int = 0, folder: str = "data") -> str:
    return f"{folder}/{split}/{name}-{number:05}.parquet"


def rows_of(folder: Path, path: str) -> Rows:
    rows: Rows = pq.read_table(folder / path, partitioning=None).to_pylist()
    return rows


def without(path: str, at: int) -> Plant:
    """A row, or a reject, that is not there any more."""

    def plant(folder: Path) -> str:
        gone: str = rows_of(folder, path)[at]["source_id"]
        change_rows(folder, path, lambda rows: [row for row in rows if row["source_id"] != gone])
        return f"{gone}: the source has it, and the dataset neither a row nor a reject of it"

    return plant


def with_one_more(path: str, **columns: Any) -> Plant:
    """A row, or a reject, of a clip that the source has not."""

    def plant(folder: Path) -> str:
        change_rows(folder, path, lambda rows: [*rows, {**rows[0], **columns}])
        return f"{columns['source_id']}: the dataset has it, and the source not"

    return plant


def renamed(path: str, at: int) -> Plant:
    """A row, or a reject, under another name."""

    def plant(folder: Path) -> str:
        was: str = rows_of(folder, path)[at]["source_id"]

        def rename(rows: Rows) -> Rows:
            return [{**row, "source_id": f"{was}b"} if row["source_id"] == was else row for row in rows]

        change_rows(folder, path, rename)
        return f"{was}b: the dataset has it, and the source not"

    return plant


def a_shard_lost(folder: Path) -> str:
    """All rows of a shard, at once."""
    path = shard(LOOSE, "train", 1)
    gone = sorted(row["source_id"] for row in rows_of(folder, path))
    change_rows(folder, path, lambda rows: [])
    return f"{gone[0]}: the source has it, and the dataset neither a row nor a reject of it"


def in_another_split(folder: Path) -> str:
    """A clip of test, in train and named so."""
    (row, *_) = rows_of(folder, shard(LOOSE, "test"))
    change_rows(folder, shard(LOOSE, "test"), lambda rows: rows[1:])
    moved = row["source_id"].replace("/test/", "/train/")
    change_rows(folder, shard(LOOSE, "train"), lambda rows: [*rows, {**row, "source_id": moved}])
    return f"{moved}: the dataset has it, and the source not"


def as_what_is_counted_only(which: str) -> Plant:
    """A row that is not there, and is counted as left out by the tables, or as known from before."""

    def plant(folder: Path) -> str:
        gone = rows_of(folder, shard(PACKED, "train"))[2]["source_id"]

        def count(progress: Progress) -> Progress:
            # The row is taken out of the books by `settle`.
            return replace(progress, **{which: getattr(progress, which) + 1, "read": progress.read + 1})

        change_rows(folder, shard(PACKED, "train"), lambda rows: [*rows[:2], *rows[3:]])
        change_split(folder, PACKED, "train", lambda books: replace(books, progress=count(books.progress)))
        return f"{gone}: the source has it, and the dataset neither"

    return plant


def left_out_and_not_counted(folder: Path) -> str:
    """A clip that the tables leave out, which the reader did not come by."""

    def count(progress: Progress) -> Progress:
        return replace(progress, unselected=progress.unselected - 1, read=progress.read - 1)

    change_split(folder, PACKED, "train", lambda books: replace(books, progress=count(books.progress)))
    return f"{PACKED}/train: the source's tables leave out 1 of its clips, the state counts 0"


def a_repetition_not_rejected(folder: Path) -> str:
    """A second clip of one name, which is not there."""
    for path in sorted(folder.glob(f"rejected/train/{PACKED}-*.parquet")):
        name = path.relative_to(folder).as_posix()
        repeated = [row for row in rows_of(folder, name) if row["reason"] == RejectReason.REPEATED_SOURCE_ID]
        if repeated:
            change_rows(folder, name, lambda rows: [row for row in rows if row not in repeated])  # noqa: B023
            return f"{repeated[0]['source_id']}: the source has it 2 times, the dataset 1 times"
    raise AssertionError("the demo has one")


PLANTED: Mapping[str, Plant] = {
    "a row is gone": without(shard(LOOSE, "train"), 3),
    "a row of an archive is gone": without(shard(PACKED, "train"), 2),
    "a reject is gone": without(shard(LOOSE, "train", 2, "rejected"), 1),
    "a repetition is gone": a_repetition_not_rejected,
    "a shard is gone": a_shard_lost,
    "a row is invented": with_one_more(shard(LOOSE, "validation"), source_id=f"{LOOSE}/validation/never"),
    "a reject is invented": with_one_more(
        shard(PACKED, "train", folder="rejected"),
        source_id=f"{PACKED}/train/never",
        reason=RejectReason.SILENT,
    ),
    "a row has another name": renamed(shard(PACKED, "train"), 4),
    "a reject has another name": renamed(shard(LOOSE, "test", 2, "rejected"), 0),
    "a row is in another split": in_another_split,
    "a clip is counted as left out": as_what_is_counted_only("unselected"),
    "a clip is counted as known": as_what_is_counted_only("known"),
    "a clip that is left out is not counted": left_out_and_not_counted,
}


@pytest.mark.parametrize("what", PLANTED)
def test_what_was_planted_is_found_by_its_name(what: str, dataset: Path, mirrors: Path, tmp_path: Path) -> None:
    """And by nothing else: the dataset fits together."""
    says = PLANTED[what](dataset)
    settle(dataset)
    assert broken(checked(dataset)) == {}

    checks, code = verified(tmp_path, source_dir=mirrors)

    assert code == 7
    assert says in " | ".join(told for check in checks.values() for told in check["first"])
    assert sum(check["result"] == "not sound" for check in checks.values()) == 1


def test_what_was_settled_without_a_plant_is_sound(dataset: Path, mirrors: Path, tmp_path: Path) -> None:
    """Else what the tests above find might be the tests' own."""
    settle(dataset)

    assert broken(checked(dataset)) == {}
    assert_sound(tmp_path, source_dir=mirrors)
