"""A folder that is a mount point (a volume, a disk): all commands work on it, by changes in place."""

import errno
import json
import shutil
from collections.abc import Callable
from contextlib import suppress
from dataclasses import replace
from pathlib import Path

import pytest

from pipeline.commands.remove import run_removal
from pipeline.commands.repair import run_repair
from pipeline.commands.status import run_status
from pipeline.commands.verify import run_verify
from pipeline.interrupts import StopRequest
from pipeline.options import Command, Options
from tests.audit.test_verify import broken
from tests.kills import Killed, KilledAt
from tests.mounts import mount
from tests.small_runs import CLIPS, KEPT, SOURCE, Seen, StopAfter, small_options, small_run, watching, write_mirror
from tests.support import published_rows, tree
from utils.audit.verify import verify
from utils.dataset.folder import LocalTarget
from utils.dataset.in_place import CHANGING
from utils.dataset.layout import CARD_PATH, STATE_PATH
from utils.errors import TargetRefused

NEW = {"train": range(103, 107), "validation": [123], "test": [133]}
WITHDRAWN = "S2"
PARTS = ("data", "rejected", ".ingest", CARD_PATH)


@pytest.fixture
def machine(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A machine whose target is mounted, on a disk that has a folder of its own there."""
    machine = tmp_path / "machine"
    write_mirror(machine / "mirrors", CLIPS)
    (machine / "out/lost+found").mkdir(parents=True)
    mount(machine / "out", monkeypatch)
    return machine


def transcripts(machine: Path) -> set[str]:
    return set(published_rows(machine / "out")["transcript"].to_pylist())


def assert_sound(machine: Path) -> None:
    assert broken(verify(LocalTarget(machine / "out"), machine / "scratch")) == {}


def dataset(folder: Path) -> dict[str, bytes]:
    """Path -> content of what the dataset consists of."""
    return tree(folder, *PARTS[:3]) | {CARD_PATH: (folder / CARD_PATH).read_bytes()}


def hidden(machine: Path) -> list[str]:
    """What lies in the folder and is no part of the dataset."""
    return sorted(path.name for path in (machine / "out").glob(".*") if path.name != ".ingest")


def test_a_run_that_is_killed_twice_is_resumed(machine: Path) -> None:
    """What a commit that died left is set aside where it is, and nobody reads it."""
    for number in (40, 55, 70, 85):
        with watching(KilledAt(number)), suppress(Killed):
            small_run(machine, resume=number > 40)

    small_run(machine, resume=True)

    assert len(transcripts(machine)) == KEPT
    assert_sound(machine)


def test_fresh_keeps_the_old_dataset_under_a_hidden_name(machine: Path) -> None:
    """And begins anew in the same place; `--remove` knows where it lies."""
    small_run(machine)
    before = dataset(machine / "out")
    write_mirror(machine / "mirrors", NEW)

    small_run(machine)

    (kept,) = (machine / "out").glob(".before-fresh-*")
    assert dataset(kept) == before
    assert len(transcripts(machine)) == 6
    assert_sound(machine)
    assert LocalTarget(machine / "out").put_away() == [kept]
    assert (machine / "out/lost+found").is_dir()


def test_fresh_that_is_killed_anywhere_mixes_nothing(
    machine: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Every file of the old dataset is kept, and the new one has its own clips alone."""
    small_run(machine)
    before = dataset(machine / "out")
    write_mirror(machine / "mirrors", NEW)
    number, killed = 12, True  # the first steps are locks and the mark of the wish: before it nothing was begun
    while killed:
        other = tmp_path / f"killed-{number}"
        shutil.copytree(machine, other)
        with monkeypatch.context() as mounted:
            mount(other / "out", mounted)
            death = KilledAt(number)
            with watching(death), suppress(Killed):
                small_run(other)
            killed = death.died

            small_run(other, resume=True)

            assert len(transcripts(other)) == 6, number
            (kept,) = (other / "out").glob(".before-*")
            assert dataset(kept) == before, number
        shutil.rmtree(other)
        number += 11 if number < 90 else 40


def test_a_stopped_first_start_on_a_new_disk(machine: Path) -> None:
    """`lost+found` is no dataset that would have to be put away."""
    assert small_run(machine, StopAfter(3)).interrupted

    small_run(machine, resume=True)

    assert not list((machine / "out").glob(".before-*"))
    assert len(transcripts(machine)) == KEPT


def test_what_was_put_away_before_is_not_overwritten(machine: Path) -> None:
    """Twice in one second, or under a name that somebody else has given."""
    small_run(machine)
    before = []
    for _ in range(3):
        before.append(dataset(machine / "out"))
        small_run(machine)

    kept = [dataset(folder) for folder in (machine / "out").glob(".before-fresh-*")]
    assert len(kept) == 3 and all(content in kept for content in before)


# --- repair and removal -------------------------------------------------------------------------


def withdrawing(machine: Path, keep_old: bool = False) -> Options:
    (machine / "withdrawn.txt").write_text(f"{WITHDRAWN}\n")
    listed = machine / "withdrawn.txt"
    return small_options(machine, command=Command.REMOVE, fresh=False, remove_ids=listed, keep_old=keep_old)


def withdraw(machine: Path, keep_old: bool = False) -> str:
    return run_removal(withdrawing(machine, keep_old), LocalTarget(machine / "out"), StopRequest())


def repair(machine: Path) -> str:
    options = small_options(machine, command=Command.REPAIR, fresh=False)
    return run_repair(options, LocalTarget(machine / "out"), StopRequest())


def spoil_the_books(machine: Path) -> None:
    """Something for a repair: a copy of a row, in a shard that says the same of itself."""
    target = LocalTarget(machine / "out")
    state = target.snapshot().state
    assert state is not None
    source = state.sources[SOURCE]
    books = replace(source.splits["train"], duration_s=1.0)
    spoilt = replace(state, sources={SOURCE: replace(source, splits={**source.splits, "train": books})})
    (machine / "out" / STATE_PATH).write_bytes(spoilt.to_json())


def test_a_removal_keeps_no_old_copy(machine: Path) -> None:
    """What is to go is not in the volume any more; what was kept there earlier is named."""
    small_run(machine)
    before = transcripts(machine)

    told = withdraw(machine)

    assert len(transcripts(machine)) == len(before) - 1
    assert hidden(machine) == []
    assert "No copy of the dataset as it was is kept" in told and "--keep-old" in told
    assert "Done" in told
    assert_sound(machine)


def test_a_removal_keeps_the_old_dataset_where_it_is_asked_for(machine: Path) -> None:
    """All of it, under a hidden name, and told as what still holds the clips."""
    small_run(machine)
    before = dataset(machine / "out")

    told = withdraw(machine, keep_old=True)

    (kept,) = (machine / "out").glob(".before-removal-*")
    assert dataset(kept) == before
    assert f"rm -r {kept}" in told
    assert len(transcripts(machine)) == KEPT - 1
    assert_sound(machine)


def test_a_repair_keeps_the_old_dataset_under_a_hidden_name(machine: Path) -> None:
    """All of it, and --verify says how to go back to it."""
    small_run(machine)
    spoil_the_books(machine)
    before = dataset(machine / "out")

    told = repair(machine)

    (kept,) = (machine / "out").glob(".before-repair-*")
    assert str(kept) in told
    assert dataset(kept) == before
    assert_sound(machine)
    (way,) = (
        way for way in LocalTarget(machine / "out").earlier(STATE_PATH, snapshot_of(machine)) if way.name == str(kept)
    )
    assert way.restore == (f"cp -a --remove-destination {kept}/. {machine / 'out'}",)
    assert way.content == before[STATE_PATH]


def snapshot_of(machine: Path) -> object:
    return LocalTarget(machine / "out").snapshot()


COMMANDS: dict[str, Callable[[Path], object]] = {
    "again": withdraw,
    "--verify": lambda machine: run_verify(
        small_options(machine, command=Command.VERIFY), LocalTarget(machine / "out"), None, StopRequest()
    ),
    "--append": lambda machine: small_run(machine, fresh=False, resume=True),
    "--repair": repair,
    "--fresh": small_run,
}
"""What may come after a death, whatever died."""


@pytest.mark.parametrize(
    ("after", "keep_old", "stride"),
    [
        *(("again", False, 5), ("again", True, 7), ("--verify", False, 13), ("--append", True, 13)),
        *(("--repair", True, 13), ("--fresh", False, 13)),
    ],
)
def test_a_removal_that_is_killed_anywhere_is_whole_or_not_at_all(
    machine: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, after: str, keep_old: bool, stride: int
) -> None:
    """Whichever command comes next: it finds the dataset as it was, or finishes the change; readers are told."""
    small_run(machine)
    before = dataset(machine / "out")
    outcomes = set()
    number, killed = 0, True
    while killed:
        other = tmp_path / f"killed-{number}"
        shutil.copytree(machine, other)
        with monkeypatch.context() as mounted:
            mount(other / "out", mounted)
            death = KilledAt(number)
            with watching(death), suppress(Killed):
                withdraw(other, keep_old)
            killed = death.died
            is_decided = (other / "out" / CHANGING / "intent.json").exists()
            if is_decided:
                with pytest.raises(TargetRefused, match="died in its middle.*Nothing is lost.*--verify"):
                    run_status(small_options(other), LocalTarget(other / "out"))
            else:
                assert "Dataset" in run_status(small_options(other), LocalTarget(other / "out"))
                outcomes.add(dataset(other / "out") == before)

            COMMANDS[after](other)

            assert_sound(other)
            rows = len(transcripts(other))
            went = is_decided or rows != KEPT
            assert rows == (KEPT - 1 if went else KEPT)
            assert rows == KEPT - 1 or after in ("--verify", "--append", "--repair", "--fresh")
            assert CHANGING not in hidden(other)
            for kept in (other / "out").glob(".before-removal-*"):
                assert dataset(kept) == before
        shutil.rmtree(other)
        number += stride
    assert outcomes == {True, False}


def test_a_decision_on_another_state_is_not_carried_out(machine: Path) -> None:
    """A backup that was put back over a change that died: it says so, and deletes nothing."""
    small_run(machine)
    died = DiesDecided(machine / "out")
    with watching(died), suppress(Killed):
        withdraw(machine)
    spoil = json.loads((machine / "out" / STATE_PATH).read_bytes())
    (machine / "out" / STATE_PATH).write_text(json.dumps(spoil, indent=3))
    before = dataset(machine / "out")

    with pytest.raises(TargetRefused, match="its .ingest/state.json is another one since.*Nothing was changed"):
        small_run(machine, fresh=False, resume=True)

    assert dataset(machine / "out") == before


class DiesDecided(KilledAt):
    """Dies at the first step after a change was decided."""

    def __init__(self, folder: Path) -> None:
        super().__init__(0)
        self._intent = folder / CHANGING / "intent.json"

    def is_due(self) -> bool:
        self._left = -1 if self._intent.exists() else 1
        return self._left < 0


def test_the_decision_comes_first_and_goes_for_good(machine: Path) -> None:
    """All that comes is durable before it, nothing is exchanged before it; and no power cut brings it back."""
    small_run(machine)
    with watching(Seen(machine / "out")) as seen:
        withdraw(machine)

    steps = [
        f"{effect.kind} {seen.name(effect.path)}"
        for effect in seen.effects
        if effect.path.is_relative_to(machine / "out")
    ]
    decided = steps.index(f"rename {CHANGING}/intent.json")
    exchanged = [at for at, step in enumerate(steps) if step.split()[0] == "rename" and CHANGING not in step]
    made = [at for at, step in enumerate(steps) if f"{CHANGING}/new" in step and step.split()[0] in ("write", "fsync")]
    over = steps.index(f"delete {CHANGING}/intent.json")
    assert max(made) < decided < min(exchanged)
    assert steps[exchanged[-1]] == f"rename {STATE_PATH}" and exchanged[-1] < over
    assert steps[over + 1 :] == [f"fsync {CHANGING}", f"delete {CHANGING}", "delete .lock"]


def test_what_is_half_made_ready_is_forgotten(machine: Path) -> None:
    """A change that died before its decision leaves nothing for ever."""
    small_run(machine)
    (machine / "out" / CHANGING / "new").mkdir(parents=True)
    (machine / "out" / CHANGING / "new/half").write_bytes(b"half")

    small_run(machine, fresh=False, resume=True)

    assert hidden(machine) == []


def test_no_room_for_the_change_leaves_the_dataset_as_it_was(machine: Path) -> None:
    """A full disk while it is made ready: nothing is decided."""
    small_run(machine)
    before = dataset(machine / "out")

    with watching(NoRoom()), pytest.raises(OSError, match="No space left"):
        withdraw(machine)

    assert dataset(machine / "out") == before
    assert_sound(machine)


class NoRoom:
    """No new file finds room in a change."""

    def before(self, effect: object) -> None:
        path = str(getattr(effect, "path", ""))
        if getattr(effect, "kind", "") == "write" and CHANGING in path:
            raise OSError(errno.ENOSPC, "No space left on device", path)

    def after(self, effect: object) -> None:
        """It happened."""
