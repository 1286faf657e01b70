"""A folder that is a mount point (a volume, a disk): it can't be renamed, and nothing moves between it and the rest."""

import errno
import os
import shutil
from contextlib import suppress
from pathlib import Path

import pytest

from tests.audit.test_verify import broken
from tests.kills import Killed, KilledAt
from tests.small_runs import CLIPS, KEPT, StopAfter, small_run, watching, write_mirror
from tests.support import published_rows, tree
from utils.audit.verify import verify
from utils.dataset import folder as folder_module
from utils.dataset.folder import LocalTarget
from utils.dataset.layout import STATE_PATH
from utils.dataset.target import Change
from utils.errors import TargetRefused

NEW = {"train": range(103, 107), "validation": [123], "test": [133]}


@pytest.fixture
def machine(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A machine whose target is mounted, on a disk that has a folder of its own there."""
    machine = tmp_path / "machine"
    write_mirror(machine / "mirrors", CLIPS)
    (machine / "out/lost+found").mkdir(parents=True)
    mount(monkeypatch, machine / "out")
    return machine


def mount(monkeypatch: pytest.MonkeyPatch, place: Path) -> None:
    """Let renames answer as the kernel does for a mount point."""
    renamed = Path.rename

    def rename(old: Path, new: Path) -> Path:
        if old == place or Path(new) == place:
            raise OSError(errno.EBUSY, os.strerror(errno.EBUSY))
        if old.is_relative_to(place) != Path(new).is_relative_to(place):
            raise OSError(errno.EXDEV, os.strerror(errno.EXDEV))
        return renamed(old, new)

    monkeypatch.setattr(Path, "rename", rename)
    monkeypatch.setattr(folder_module, "is_mount_point", lambda folder: folder == place)


def transcripts(machine: Path) -> set[str]:
    return set(published_rows(machine / "out")["transcript"].to_pylist())


def test_a_run_that_is_killed_twice_is_resumed(machine: Path) -> None:
    """What a commit that died left is set aside where it is, and nobody reads it."""
    for number in (40, 55, 70, 85):
        with watching(KilledAt(number)), suppress(Killed):
            small_run(machine, resume=number > 40)

    small_run(machine, resume=True)

    assert len(transcripts(machine)) == KEPT
    assert broken(verify(LocalTarget(machine / "out"), machine / "scratch")) == {}


def test_fresh_keeps_the_old_dataset_under_a_hidden_name(machine: Path) -> None:
    """And begins anew in the same place; `--remove` knows where it lies."""
    small_run(machine)
    before = tree(machine / "out", "data", "rejected")
    write_mirror(machine / "mirrors", NEW)

    small_run(machine)

    (kept,) = (machine / "out").glob(".before-fresh-*")
    assert tree(kept, "data", "rejected") == before
    assert len(transcripts(machine)) == 6
    assert broken(verify(LocalTarget(machine / "out"), machine / "scratch")) == {}
    assert LocalTarget(machine / "out").put_away() == [kept]
    assert (machine / "out/lost+found").is_dir()


def test_fresh_that_is_killed_anywhere_mixes_nothing(
    machine: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Every file of the old dataset is kept, and the new one has its own clips alone."""
    small_run(machine)
    shards = set(tree(machine / "out", "data").values())
    write_mirror(machine / "mirrors", NEW)
    number, killed = 12, True
    while killed:
        other = tmp_path / f"killed-{number}"
        shutil.copytree(machine, other)
        with monkeypatch.context() as mounted:
            mount(mounted, other / "out")
            death = KilledAt(number)
            with watching(death), suppress(Killed):
                small_run(other)
            killed = death.died

            small_run(other, resume=True)

            assert len(transcripts(other)) == 6, number
            kept = {path.read_bytes() for path in (other / "out").glob(".before-*/data/*/*.parquet")}
            assert kept == shards, number
        shutil.rmtree(other)
        number += 5 if number < 60 else 40


def test_fresh_that_dies_right_after_the_old_dataset_is_put_away(machine: Path) -> None:
    """There is no state then, and there are empty folders: they are no data that nobody made."""
    small_run(machine)
    write_mirror(machine / "mirrors", NEW)
    death = DiesWithoutAState(machine / "out" / STATE_PATH)
    with watching(death), suppress(Killed):
        small_run(machine)
    assert death.died

    small_run(machine, resume=True)

    assert len(transcripts(machine)) == 6
    assert broken(verify(LocalTarget(machine / "out"), machine / "scratch")) == {}


class DiesWithoutAState(KilledAt):
    """Dies before the first step after the state has gone."""

    def __init__(self, state: Path) -> None:
        super().__init__(0)
        self._state, self._was_there = state, False

    def is_due(self) -> bool:
        self._was_there = self._was_there or self._state.exists()
        self._left = -1 if self._was_there and not self._state.exists() else 1
        return self._left < 0


def test_a_repair_or_a_removal_is_refused_in_words(machine: Path) -> None:
    """Nothing is changed, nothing is left behind."""
    small_run(machine)
    before = tree(machine / "out", "data", "rejected", ".ingest")
    target = LocalTarget(machine / "out")
    snapshot = target.snapshot()
    assert snapshot.state is not None
    for change_it in (target.mend, target.take_out):
        with pytest.raises(TargetRefused, match="is a mount point.*Nothing was changed.*--output COPY"):
            change_it(Change("Mend", snapshot.state), snapshot)

    assert tree(machine / "out", "data", "rejected", ".ingest") == before
    assert not list(machine.glob("out.*"))


def test_a_stopped_first_start_on_a_new_disk(machine: Path) -> None:
    """`lost+found` is no dataset that would have to be put away."""
    assert small_run(machine, StopAfter(3)).interrupted

    small_run(machine, resume=True)

    assert not list((machine / "out").glob(".before-*"))
    assert len(transcripts(machine)) == KEPT


def test_what_was_put_away_before_is_not_overwritten(machine: Path) -> None:
    """The same dataset put away twice (a backup was put back): both are kept."""
    small_run(machine)
    head = LocalTarget(machine / "out").head()
    shard = min((machine / "out/data").rglob("*.parquet"))
    earlier = machine / f"out/.before-fresh-{head[:12]}" / shard.relative_to(machine / "out")
    earlier.parent.mkdir(parents=True)
    earlier.write_bytes(b"of another day")
    content = shard.read_bytes()

    small_run(machine)

    assert earlier.read_bytes() == b"of another day"
    assert earlier.with_name(f"{earlier.name}-2").read_bytes() == content
