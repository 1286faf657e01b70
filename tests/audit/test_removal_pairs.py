"""Rows other than speech are taken out in the same way, with holes of their own."""

import shutil
from pathlib import Path

import pytest

from pipeline.commands.repair import run_repair
from tests.audit.test_removal import StopRequest, listing, make_target, rejects_of, removal
from tests.audit.test_verify import broken, checked
from tests.damage import state_of
from tests.rows.pairs import PAIRS, SOURCE, register, write_pairs
from tests.rows.test_row_schemas import rows_of
from tests.small_runs import SOURCE as SPEECH_SOURCE
from tests.small_runs import small_options, small_run, write_mirror
from tests.support import published_ids, tree
from utils.dataset.state import State
from utils.rows.schema import DIALOGUE, SPEECH

BOTH = {"sources": (SPEECH_SOURCE, SOURCE)}


@pytest.fixture(autouse=True)
def known(monkeypatch: pytest.MonkeyPatch) -> None:
    """The source of pairs is known."""
    register(monkeypatch)


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A machine that has published clips and pairs."""
    machine = write_pairs(write_mirror(tmp_path_factory.mktemp("made") / "mirrors")).parent
    with pytest.MonkeyPatch.context() as patched:
        register(patched)
        small_run(machine, **BOTH)
    return machine


@pytest.fixture
def machine(made: Path, tmp_path: Path) -> Path:
    for name in ("mirrors", "out"):
        shutil.copytree(made / name, tmp_path / name)
    return tmp_path


def test_pairs_and_clips_go_by_their_ids(machine: Path) -> None:
    """In one commit, each with a hole in its own sequence; nothing of the others changes, and none comes back."""
    out, before = machine / "out", state_of(machine / "out")

    told = removal(machine, remove_ids=listing(machine, "D2", "S3"))

    state = state_of(out)
    assert (state.holes_of(SPEECH), state.holes_of(DIALOGUE)) == (((3, 3),), ((2, 2),))
    assert (state.next_id, state.next_ids) == (before.next_id, before.next_ids)
    assert "S3" not in published_ids(out)
    assert "D2" not in [row["ID"] for split in PAIRS for row in rows_of(out, split)]
    assert ("S3" in told, "D2" in told) == (True, True)
    assert broken(checked(out, deep=True)) == {}
    assert State.from_json(state.to_json()) == state
    write_pairs(machine / "mirrors", {**PAIRS, "train": [*PAIRS["train"], 900]})
    small_run(machine, fresh=False, **BOTH)
    assert "removed" in {row["reason"] for row in rejects_of(out)}
    assert "D2" not in [row["ID"] for split in PAIRS for row in rows_of(out, split)]
    assert broken(checked(out, deep=True)) == {}


def test_a_source_of_pairs_goes_whole(machine: Path) -> None:
    """Speech stays as it was, to the byte; a repair finds nothing to mend."""
    out = machine / "out"
    clips = tree(out, "data")

    removal(machine, remove=(SOURCE,))

    assert tree(out, "data") == clips
    assert tree(out, "dialogue") == {}
    assert broken(checked(out, deep=True)) == {}
    options = small_options(machine, dry_run=True)
    assert "Nothing to repair" in run_repair(options, make_target(options, None, StopRequest()), StopRequest())
