"""`--verify` and `--repair` of what small runs publish: parts without a file, IDs that are never given again, tags."""

import os
from dataclasses import replace
from pathlib import Path

import pytest

from tests.audit.test_repair import older, older_row, repaired
from tests.audit.test_verify import broken, checked
from tests.damage import change_rows, change_split, put_state, state_of
from tests.hub_server import TOKEN, HubServer
from tests.small_runs import CLIPS, KEPT, SOURCE, small_run, write_mirror
from tests.support import published_ids, published_rows, tree
from utils.audit.repair import plan_repair
from utils.dataset.folder import LocalTarget
from utils.dataset.hub_repo import HubTarget
from utils.dataset.layout import STATE_PATH
from utils.errors import TargetMoved, TargetRefused

REPO = "me/thai-voice"


@pytest.fixture(autouse=True)
def quick_disk(monkeypatch: pytest.MonkeyPatch) -> None:
    """Nobody pulls the plug of a test: flushing to the disk would only take time."""
    monkeypatch.setattr(os, "fsync", lambda descriptor: None)


@pytest.fixture
def machine(tmp_path: Path) -> Path:
    """A machine with a mirror."""
    write_mirror(tmp_path / "mirrors")
    return tmp_path


@pytest.mark.parametrize("test_clips", [range(30, 32), range(32, 33), range(0)], ids=["full", "a reject", "empty"])
def test_split_whose_last_part_has_no_file_is_sound(tmp_path: Path, test_clips: range) -> None:
    """A split that fills its last shard to the row, or has no clip at all, ends with a part of nothing."""
    write_mirror(tmp_path / "mirrors", {**CLIPS, "test": test_clips})
    small_run(tmp_path, upload_batch_size=2)

    assert broken(checked(tmp_path / "out", deep=True)) == {}
    assert not repaired(tmp_path / "out")
    next((tmp_path / "out/data/train").glob("*-00000.parquet")).unlink()
    assert broken(checked(tmp_path / "out"))["files"] == [f"data/train/{SOURCE}-00000.parquet is missing"]
    with pytest.raises(TargetRefused, match="lacks 1 published files"):
        repaired(tmp_path / "out")


def test_id_of_a_removed_row_is_never_given_again(machine: Path) -> None:
    """Also where it was the last one: the next clip gets the ID after it."""
    small_run(machine)
    last = sorted((machine / "out/data/train").glob("*.parquet"))[-1].relative_to(machine / "out").as_posix()
    first = published_rows(machine / "out").to_pylist()[-2]
    same = {name: first[name] for name in ("audio", "audio_hash", "length")}
    change_rows(machine / "out", last, lambda rows: [*rows[:-1], {**rows[-1], **same}])

    assert repaired(machine / "out", same_audio=True)

    state = state_of(machine / "out")
    assert (state.next_id, state.holes) == (KEPT + 1, ((KEPT, KEPT),))
    assert f"S{KEPT}" not in published_ids(machine / "out")


def test_id_of_a_row_removed_from_an_older_dataset_is_never_given_again(tmp_path: Path) -> None:
    """An adopted dataset goes on after the highest ID that it ever had."""
    folder = older(tmp_path / "out", [older_row(1), older_row(2), older_row(3, audio=1)])

    assert repaired(folder, same_audio=True)

    state = state_of(folder)
    assert (state.next_id, state.holes) == (4, ((3, 3),))


def test_repair_planned_on_another_state_is_refused(machine: Path) -> None:
    """What was planned fits what was read, and nothing else."""
    small_run(machine)
    out = machine / "out"
    change_split(out, SOURCE, "test", lambda books: replace(books, published=99))
    repair = plan_repair(LocalTarget(out), machine / "scratch")
    put_state(out, replace(state_of(out), sequence=99))
    before = tree(machine, "out")

    with pytest.raises(TargetMoved):
        LocalTarget(out).mend(repair.change, repair.snapshot)
    assert tree(machine, "out") == before


def test_repair_on_the_hub_tags_the_dataset_as_it_was(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The tag is told, and leads to every file as it was."""
    with HubServer(tmp_path / "server") as hub:
        monkeypatch.setenv("HF_ENDPOINT", hub.endpoint)
        old_head = hub.add_dataset(REPO, older(tmp_path / "old", [older_row(1), older_row(1), older_row(2)]))
        files = hub.files(REPO)
        target = HubTarget(REPO, TOKEN, tmp_path, patience_s=0.4, first_pause_s=0.02)

        repair = plan_repair(target, tmp_path / "scratch", repo_id=REPO)
        told = target.mend(repair.change, repair.snapshot)

        tag = f"before-repair-{old_head[:12]}"
        assert tag in told
        assert hub.head(REPO, tag) == old_head
        assert hub.files(REPO, tag) == files
        assert STATE_PATH in hub.files(REPO)


def test_repo_that_changed_while_it_was_repaired_is_left_alone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Somebody pushed to it since it was read: their rows are not removed with those that were."""
    with HubServer(tmp_path / "server") as hub:
        monkeypatch.setenv("HF_ENDPOINT", hub.endpoint)
        hub.add_dataset(REPO, older(tmp_path / "old", [older_row(1), older_row(1)]))
        target = HubTarget(REPO, TOKEN, tmp_path, patience_s=0.4, first_pause_s=0.02)
        repair = plan_repair(target, tmp_path / "scratch", repo_id=REPO)
        pushed = hub.add_dataset(REPO, older(tmp_path / "more", [older_row(1), older_row(1), older_row(2)]))

        with pytest.raises(TargetMoved):
            target.mend(repair.change, repair.snapshot)
        assert hub.head(REPO) == pushed
