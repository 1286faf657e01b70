"""`--fresh` over a dataset that dies at any step, then the advised `--resume`: never old and new in one dataset."""

import shutil
from contextlib import suppress
from pathlib import Path

import pytest

from tests.hub_server import TOKEN, HubServer
from tests.kills import Killed, KilledAt
from tests.runs import run
from tests.small_runs import CLIPS, SOURCE, StopAfter, small_options, small_run, watching, write_mirror
from tests.support import published_rows
from utils.disk.file_names import staging_name
from utils.errors import SourceError, TargetRefused

NEW = {"train": range(103, 107), "validation": [123], "test": [133]}


@pytest.fixture
def first(tmp_path: Path) -> Path:
    """A machine with a dataset, the mirror of which has other clips now."""
    machine = tmp_path / "first"
    write_mirror(machine / "mirrors", CLIPS)
    small_run(machine)
    write_mirror(machine / "mirrors", NEW)
    return machine


def transcripts(machine: Path) -> set[str]:
    return set(published_rows(machine / "out")["transcript"].to_pylist())


def test_a_fresh_start_killed_anywhere_never_goes_on_with_the_old_dataset(first: Path, tmp_path: Path) -> None:
    """Once its wish is on the disk, which is the first thing that it does there, its resume has the new clips alone."""
    old, new = transcripts(first), {f"ประโยคที่ {clip}" for clips in NEW.values() for clip in clips}
    number, killed, wished_at = 0, True, 0
    while killed:
        machine = tmp_path / str(number)
        shutil.copytree(first, machine)
        death = KilledAt(number)
        with watching(death), suppress(Killed):
            small_run(machine)
        killed = death.died
        if not wished_at and (small_options(machine).staging_dir / "fresh-since").exists():
            wished_at = number

        if wished_at:
            small_run(machine, resume=True)

        assert transcripts(machine) == (new if wished_at else old), number
        shutil.rmtree(machine)
        number += 1 if number < 12 else 13
    assert number > 60
    assert wished_at <= 8, "folders, the lock, a temporary file, its content, its name"


def test_a_fresh_start_killed_while_it_looks_at_its_sources(first: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Which may take long, and leaves nothing on the disk: its wish is there already."""

    def dies(*arguments: object) -> None:
        raise Killed

    with monkeypatch.context() as patched, suppress(Killed):
        patched.setattr("pipeline.run.run.refuse_unreadable_sources", dies)
        small_run(first)
    small_run(first, resume=True)

    assert transcripts(first) == {f"ประโยคที่ {clip}" for clips in NEW.values() for clip in clips}


def test_a_fresh_start_that_was_refused_is_not_resumed(first: Path) -> None:
    """Nothing was changed, and it is said so: then the old dataset is what there is."""
    with pytest.raises(SourceError, match="no new dataset was begun"):
        small_run(first, source_dir=first / "nowhere")

    assert not (small_options(first).staging_dir / "fresh-since").exists()


def test_a_refused_fresh_start_leaves_the_mark_of_one_that_died(first: Path) -> None:
    """That one has begun a dataset whose sources were never opened: its resume has to know."""
    mark = small_options(first).staging_dir / "fresh-since"
    mark.write_bytes(b"the head before it")

    with pytest.raises(SourceError, match="no new dataset was begun"):
        small_run(first, source_dir=first / "nowhere")

    assert mark.read_bytes() == b"the head before it"


def test_one_that_died_before_its_repo_was_there_is_resumed(tmp_path: Path) -> None:
    """Its wish is on the disk, and on the Hub nothing has a head that it could be held against."""
    write_mirror(tmp_path / "mirrors", CLIPS)
    mark = tmp_path / "data/staging" / staging_name("me/new", on_hub=True) / "fresh-since"
    mark.parent.mkdir(parents=True)
    mark.write_text("not looked at yet")
    command = ["--fresh", SOURCE, "--source-dir", "mirrors", "--hf-repo", "me/new", "--resume"]

    with HubServer(tmp_path / "hub") as hub:
        done = run(command, tmp_path, {"HF_ENDPOINT": hub.endpoint, "HF_TOKEN": TOKEN})

        assert done.returncode == 0, done.stderr
        assert "data/train/ProcessedVoiceTH-00000.parquet" in hub.files("me/new")


def test_what_is_to_be_resumed_is_asked_where_nobody_can_tell(first: Path) -> None:
    """`--fresh --resume` on a dataset of other sources, which no fresh start here has begun: the choice is named."""
    shutil.rmtree(first / "data")
    before = sorted(first.rglob("*"))

    with pytest.raises(TargetRefused, match=rf"11 rows with {SOURCE}.*--append GigaSpeech2.*--fresh GigaSpeech2, with"):
        small_run(first, sources=("GigaSpeech2",), resume=True)

    assert {path for path in first.rglob("*") if "data" not in path.relative_to(first).parts[:1]} == {
        path for path in before if "data" not in path.relative_to(first).parts[:1]
    }


def test_what_was_begun_here_is_resumed_with_fewer_sources(tmp_path: Path) -> None:
    """A fresh start of several sources goes on with one of them, on the machine that began it."""
    write_mirror(tmp_path / "mirrors", CLIPS)
    stopped = small_run(tmp_path, StopAfter(9), sources=(SOURCE, "LOTUS"))
    assert stopped.interrupted

    done = small_run(tmp_path, resume=True)

    assert done.state.rows == 11
