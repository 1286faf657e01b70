"""A folder as a target: files, then the card, then the state, whose rename is the commit. Death at every step."""

import contextlib
import errno
import os
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from unittest.mock import patch

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from tests.support import begun_state, change, tree
from utils.dataset import folder as folder_module
from utils.dataset.folder import LocalTarget
from utils.dataset.layout import CARD_PATH, STATE_PATH
from utils.dataset.state import State
from utils.dataset.target import Change, Snapshot, published_files
from utils.errors import Stopped, TargetMoved, TargetRefused
from utils.upload.publisher import open_publisher


@pytest.fixture(autouse=True)
def quick_disk(monkeypatch: pytest.MonkeyPatch) -> None:
    """Nobody pulls the plug of a test: that and when a file is flushed counts, not the flushing."""
    monkeypatch.setattr(os, "fsync", lambda descriptor: None)


class Died(OSError):
    """Stands for the end of the process."""


@contextlib.contextmanager
def dying_at(number: int | None, *, before: bool = True) -> Iterator[list[str]]:
    """Die before, or after, the so-manieth step that makes something durable; yields the steps taken."""
    taken: list[str] = []

    def dying(name: str, act: Callable[..., object]) -> Callable[..., object]:
        def step(*arguments: object) -> object:
            dies = len(taken) == number
            taken.append(f"{name} {_shown(arguments[-1])}")
            if dies and before:
                raise Died(errno.EIO, "died")
            result = act(*arguments)
            if dies:
                raise Died(errno.EIO, "died")
            return result

        return step

    acts = {name: dying(name, getattr(os, name)) for name in ("fsync", "replace", "rename")}
    with patch.multiple(os, **acts):
        yield taken


def _shown(what: object) -> str:
    return Path(f"/proc/self/fd/{what}").readlink().name if isinstance(what, int) else Path(str(what)).name


def begun(folder: Path) -> tuple[LocalTarget, Snapshot]:
    """A target whose generation has begun."""
    target = LocalTarget(folder / "out")
    return target, target.begin(Change("Begin", begun_state()), target.snapshot())


def with_parts(folder: Path, count: int) -> tuple[LocalTarget, Snapshot]:
    target, snapshot = begun(folder)
    for _ in range(count):
        snapshot = target.commit(change(folder / "built", snapshot.state), snapshot)
    return target, snapshot


def steps_of(act: Callable[[], object]) -> int:
    with dying_at(None) as taken:
        act()
    return len(taken)


def assert_whole(folder: Path, state: State) -> None:
    """The folder holds what the state names, and nothing else that looks like data."""
    files = tree(folder, "data", "rejected")
    assert sorted(files) == sorted(published_files(state))
    assert all(content == path.encode() + b" rows" for path, content in files.items())
    assert State.from_json((folder / STATE_PATH).read_bytes()) == state


def test_part_is_published_whole(tmp_path: Path) -> None:
    """Its shard, its rejects, the card and the state that names them."""
    target, snapshot = with_parts(tmp_path, 2)

    assert_whole(tmp_path / "out", snapshot.state)
    assert target.snapshot() == snapshot
    assert "4" in (tmp_path / "out" / CARD_PATH).read_text()
    assert not list(tmp_path.rglob("*.tmp"))


def test_state_is_last_and_everything_is_durable_before_it(tmp_path: Path) -> None:
    """Each file: fsync, rename, fsync of its folder; the state's rename comes after all of them."""
    target, snapshot = with_parts(tmp_path, 1)
    planned = change(tmp_path / "built", snapshot.state)

    with dying_at(None) as taken:
        target.commit(planned, snapshot)

    names = [*(Path(path).name for path in planned.files), CARD_PATH, "state.previous.json", "state.json"]
    assert [step for step in taken if step.startswith("replace")] == [f"replace {name}" for name in names]
    renames = [at for at, step in enumerate(taken) if step.startswith("replace")]
    assert all(taken[at - 1].startswith("fsync") and taken[at + 1].startswith("fsync") for at in renames)
    assert len(taken) == 3 * len(names)


@pytest.mark.parametrize("before", [True, False], ids=["before", "after"])
def test_death_at_any_step_of_a_commit_is_healed(tmp_path: Path, before: bool) -> None:
    """The state tells old or new; its files are whole; leftovers are set aside; the same commit then goes through."""
    target, snapshot = with_parts(tmp_path / "count", 1)
    count = steps_of(lambda: target.commit(change(tmp_path / "count", snapshot.state), snapshot))
    outcomes = set()
    for number in range(count):
        machine = tmp_path / str(number)
        target, old = with_parts(machine, 1)
        planned = change(machine / "built", old.state)
        with pytest.raises(Died), dying_at(number, before=before):
            target.commit(planned, old)

        next_run = LocalTarget(machine / "out")
        now = next_run.snapshot()
        next_run.heal(now)

        assert now.state in (old.state, planned.planned)
        assert_whole(machine / "out", now.state)
        outcomes.add(now.state == planned.planned)
        if now.state == old.state:
            now = next_run.commit(change(machine / "built", old.state), now)
        assert_whole(machine / "out", planned.planned)
        assert tree(machine / "out", "") == tree(tmp_path / "count" / "out", "")
    assert outcomes == {True, False}


@pytest.mark.parametrize("before", [True, False], ids=["before", "after"])
def test_commit_that_failed_can_be_repeated_at_once(tmp_path: Path, before: bool) -> None:
    """A failing disk that works again: the same process repeats the commit, though its state may have landed."""
    target, snapshot = with_parts(tmp_path / "count", 1)
    count = steps_of(lambda: target.commit(change(tmp_path / "count", snapshot.state), snapshot))
    for number in range(count):
        machine = tmp_path / str(number)
        target, old = with_parts(machine, 1)
        with pytest.raises(Died), dying_at(number, before=before):
            target.commit(change(machine / "built", old.state), old)

        again = change(machine / "built", old.state)
        landed = target.commit(replace(again, planned=replace(again.planned, committed_at="later")), old)

        assert landed.state.same_dataset(again.planned)
        assert_whole(machine / "out", landed.state)


@pytest.mark.parametrize("before", [True, False], ids=["before", "after"])
def test_death_at_any_step_of_a_first_start_does_not_block_the_next(tmp_path: Path, before: bool) -> None:
    """Whatever is left, `--resume` and `--fresh` both begin (running again is always the right answer)."""
    (tmp_path / "count").mkdir()
    count = steps_of(lambda: begun(tmp_path / "count"))
    for number in range(count):
        for fresh in (False, True):
            machine = tmp_path / f"{number}-{fresh}"
            machine.mkdir()
            with pytest.raises(Died), dying_at(number, before=before):
                begun(machine)

            publisher = open_publisher(LocalTarget(machine / "out"), fresh, 16_000)

            assert publisher.state == LocalTarget(machine / "out").snapshot().state


@pytest.mark.parametrize("before", [True, False], ids=["before", "after"])
def test_death_at_any_step_of_a_fresh_start_keeps_the_old_dataset(tmp_path: Path, before: bool) -> None:
    """It is whole, in its place or renamed aside, and the next start goes through."""
    target, old = with_parts(tmp_path / "count", 1)
    count = steps_of(lambda: target.begin(Change("Begin", begun_state("new")), old))
    for number in range(count):
        machine = tmp_path / str(number)
        target, old = with_parts(machine, 1)
        with pytest.raises(Died), dying_at(number, before=before):
            target.begin(Change("Begin", begun_state("new")), old)

        again = LocalTarget(machine / "out")
        with again.lock():
            open_publisher(again, True, 16_000)

        kept = [path for path in machine.glob("out.before-fresh-*") if (path / "data").exists()]
        assert len(kept) == 1
        assert_whole(kept[0], old.state)


def test_healing_that_dies_is_healed(tmp_path: Path) -> None:
    """Setting leftovers aside is done in steps as well."""
    target, snapshot = with_parts(tmp_path, 1)
    leftovers = ["data/train/Corpus-00001.parquet", "rejected/train/Corpus-00001.parquet", "data/train/x.parquet.tmp"]
    for path in leftovers:
        (tmp_path / "out" / path).write_bytes(b"left")

    for number in range(20):
        with contextlib.suppress(Died), dying_at(number):
            target.heal(snapshot)

    assert_whole(tmp_path / "out", snapshot.state)
    assert sorted(tree(tmp_path / "out.set-aside", "")) == sorted(leftovers)


def test_leftovers_are_set_aside_never_deleted(tmp_path: Path) -> None:
    """A name that is taken there gets another one: nothing is overwritten."""
    target, snapshot = with_parts(tmp_path, 1)
    for content in (b"first", b"second"):
        (tmp_path / "out/data/train/Corpus-00001.parquet").write_bytes(content)
        target.heal(snapshot)

    assert set(tree(tmp_path / "out.set-aside", "").values()) == {b"first", b"second"}


def test_healing_leaves_what_is_not_data(tmp_path: Path) -> None:
    """Files that people put beside the data stay where they are."""
    target, snapshot = with_parts(tmp_path, 1)
    (tmp_path / "out/LICENSE").write_text("mine")

    target.heal(snapshot)

    assert (tmp_path / "out/LICENSE").read_text() == "mine"
    assert not (tmp_path / "out.set-aside").exists()


def test_somebody_elses_commit_is_never_overwritten(tmp_path: Path) -> None:
    """The target moved while we ran: refused, and it is as the other one left it."""
    target, snapshot = with_parts(tmp_path, 1)
    other = LocalTarget(tmp_path / "out")
    other.commit(change(tmp_path / "other", replace(snapshot.state, next_id=50)), snapshot)
    before = tree(tmp_path / "out", "")

    with pytest.raises(TargetMoved, match="somebody else.*Nothing|somebody else.*safe") as moved:
        target.commit(change(tmp_path / "built", snapshot.state), snapshot)

    assert moved.value.exit_code == 6
    assert tree(tmp_path / "out", "") == before


def test_lost_state_is_a_moved_target(tmp_path: Path) -> None:
    """Somebody removed the folder or its state while we ran: nothing is written onto an unknown state."""
    target, snapshot = with_parts(tmp_path, 1)
    (tmp_path / "out" / STATE_PATH).unlink()

    with pytest.raises(TargetMoved):
        target.commit(change(tmp_path / "built", snapshot.state), snapshot)


def test_fresh_renames_the_old_dataset_aside(tmp_path: Path) -> None:
    """Twice in one second as well: each old dataset keeps a folder of its own, whole."""
    kept = []
    for generation in ("one", "two", "three"):
        target = LocalTarget(tmp_path / "out")
        before = tree(tmp_path / "out", "")
        snapshot = target.begin(Change("Begin", begun_state(generation)), target.snapshot())
        kept.append(before)
        target.commit(change(tmp_path / "built", snapshot.state), snapshot)

    aside = [tree(path, "") for path in sorted(tmp_path.glob("out.before-fresh-*"))]
    assert sorted(map(sorted, aside)) == sorted(map(sorted, kept[1:]))
    assert all(content in aside for content in kept[1:])
    assert target.snapshot().state.generation == "three"


def test_working_folder_is_never_renamed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """`--fresh --output .`, or a folder above, would pull the floor away."""
    with_parts(tmp_path, 1)
    (tmp_path / "out" / "below").mkdir()
    for here in (tmp_path / "out", tmp_path / "out" / "below"):
        monkeypatch.chdir(here)
        target = LocalTarget(tmp_path / "out")
        with pytest.raises(TargetRefused, match="working folder"):
            target.begin(Change("Begin", begun_state("new")), target.snapshot())

    assert target.snapshot().state.generation == "generation"


def test_folder_that_is_no_dataset_is_never_renamed(tmp_path: Path) -> None:
    """A mistyped --output must not move somebody's pictures."""
    (tmp_path / "out").mkdir()
    (tmp_path / "out/holiday.jpg").write_bytes(b"sea")
    target = LocalTarget(tmp_path / "out")

    with pytest.raises(TargetRefused, match="not a dataset"):
        target.begin(Change("Begin", begun_state()), target.snapshot())
    with pytest.raises(TargetRefused, match="no .ingest/state.json"):
        open_publisher(target, False, 16_000)

    assert tree(tmp_path, "") == {"out/holiday.jpg": b"sea"}


def test_file_in_place_of_the_folder_is_refused(tmp_path: Path) -> None:
    """With a message rather than a crash."""
    (tmp_path / "out").write_text("a file")

    with pytest.raises(TargetRefused, match="is a file"):
        LocalTarget(tmp_path / "out").snapshot()


@pytest.mark.parametrize("content", [b"", b"{}", b'{"version": 1'])
def test_damaged_state_is_refused_never_empty(tmp_path: Path, content: bytes) -> None:
    """Cannot tell is not empty: neither a resume nor a fresh start goes over it."""
    target, _ = with_parts(tmp_path, 1)
    (tmp_path / "out" / STATE_PATH).write_bytes(content)

    for fresh in (False, True):
        with pytest.raises(TargetRefused, match="damaged"):
            open_publisher(target, fresh, 16_000)


def test_data_without_a_state_is_not_added_to(tmp_path: Path) -> None:
    """Refused with exit 6, naming what can be done; `--fresh` keeps it aside."""
    (tmp_path / "out/data").mkdir(parents=True)
    (tmp_path / "out/data/train-0.parquet").write_bytes(b"old")
    target = LocalTarget(tmp_path / "out")

    with pytest.raises(TargetRefused, match="--repair"):
        open_publisher(target, False, 16_000)
    open_publisher(target, True, 16_000)

    assert [path.read_bytes() for path in tmp_path.glob("out.before-fresh-*/data/*")] == [b"old"]


def test_folder_that_cannot_be_listed_raises(tmp_path: Path) -> None:
    """Cannot tell is not empty: an unreadable folder never looks like one without files."""
    target, snapshot = with_parts(tmp_path, 1)
    denied = PermissionError(errno.EACCES, "Permission denied")

    with patch.object(os, "scandir", side_effect=denied), pytest.raises(PermissionError):
        target.stored_files(snapshot)

    assert LocalTarget(tmp_path / "elsewhere").stored_files(snapshot) == []


def test_hand_written_text_of_the_card_is_kept(tmp_path: Path) -> None:
    """Commits and healing rewrite our block and nothing else."""
    target, snapshot = with_parts(tmp_path, 1)
    card = tmp_path / "out" / CARD_PATH
    card.write_text("# เขียนด้วยมือ\n\n" + card.read_text().split("---\n", 2)[2] + "\nThe end, by hand.\n")

    target.commit(change(tmp_path / "built", snapshot.state), snapshot)
    target.heal(target.snapshot())

    assert "# เขียนด้วยมือ\n" in card.read_text()
    assert card.read_text().endswith("\nThe end, by hand.\n")


def test_stale_card_is_written_again(tmp_path: Path) -> None:
    """A run that died between the card and the state leaves a card that is ahead."""
    target, snapshot = with_parts(tmp_path, 1)
    card = tmp_path / "out" / CARD_PATH
    expected = card.read_bytes()
    planned = change(tmp_path / "built", snapshot.state)
    target.commit(planned, snapshot)
    ahead = card.read_bytes()
    (tmp_path / "out" / STATE_PATH).write_bytes(snapshot.state.to_json())

    target.heal(target.snapshot())

    assert ahead != expected
    assert card.read_bytes() == expected


def test_built_files_come_over_a_file_system_border(tmp_path: Path) -> None:
    """Where a rename can't cross, the file is copied under a temporary name, flushed, then renamed."""
    target, snapshot = begun(tmp_path)
    planned = change(tmp_path / "built", snapshot.state)
    original = os.replace

    def bordered(source: Path, destination: Path) -> None:
        if "built" in Path(source).parts:
            raise OSError(errno.EXDEV, "Invalid cross-device link")
        original(source, destination)

    with patch.object(os, "replace", bordered):
        target.commit(planned, snapshot)

    assert_whole(tmp_path / "out", planned.planned)


def test_columns_are_read_without_the_others(tmp_path: Path) -> None:
    """What the index of source ids is made from."""
    target, snapshot = begun(tmp_path)
    (tmp_path / "out/data/train").mkdir(parents=True)
    pq.write_table(pa.table({"ID": ["S1"], "source_id": ["x"]}), tmp_path / "out/data/train/Corpus-00000.parquet")

    table = target.read_columns("data/train/Corpus-00000.parquet", ["source_id"], snapshot)

    assert table.to_pydict() == {"source_id": ["x"]}


def test_second_run_is_refused_while_one_holds_the_target(tmp_path: Path) -> None:
    """One lock a folder, beside it: it does not become part of the dataset, and exists before the folder does."""
    with LocalTarget(tmp_path / "out").lock():
        with pytest.raises(TargetRefused, match="Another run"), LocalTarget(tmp_path / "out").lock():
            pytest.fail("two held the lock")
        with LocalTarget(tmp_path / "other").lock():
            pass
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize("loss", ["cut", "gone"])
def test_a_disk_that_does_not_keep_what_it_is_given_is_not_believed(tmp_path: Path, loss: str) -> None:
    """What was just written is looked at before the state names it, and before anything is forgotten."""
    target, snapshot = begun(tmp_path)
    planned = change(tmp_path / "built", snapshot.state)
    shard = tmp_path / "out" / next(path for path in planned.files if path.startswith("data/"))
    moved = folder_module.publish_file

    def lossy(local: Path, final: Path) -> None:
        moved(local, final)
        if final == shard:
            final.write_bytes(final.read_bytes()[:-1]) if loss == "cut" else final.unlink()

    with patch.object(folder_module, "publish_file", lossy), pytest.raises(Stopped, match="does not keep"):
        target.commit(planned, snapshot)

    assert target.snapshot() == snapshot
