"""The founding document on checkpoints, in its order: what it says of commands, files, fields, classes and advice.

One small run of the program, with the document's own commands, is the witness of most of it.
"""

import json
import re
from dataclasses import dataclass
from inspect import signature
from pathlib import Path
from subprocess import CompletedProcess
from typing import Any

import pytest

from pipeline.cli import parse
from pipeline.options import Options
from processors.base_processor import BaseProcessor
from tests.project.founding import DIFFERS, KEPT, RENAMED, Row
from tests.runs import PROJECT, run
from tests.small_runs import KEPT as PUBLISHED
from tests.small_runs import SOURCE, write_mirror
from tests.support import TonesProcessor, published_ids, tree
from utils.checkpoint import MAX_LISTED_IDS, DamagedCheckpoint, history, load_checkpoint

RESUME = "tests/resume/test_checkpoint_resume.py"
HISTORY = "tests/resume/test_checkpoint_history.py"
FIELDS = "mode samples_processed current_split split_index shard_num last_sample_id processed_ids dataset_specific"

ROWS = (
    Row(
        "an interrupted run goes on without processing a finished sample again",
        KEPT,
        f"{RESUME}::test_seeking_processor_resumes_after_any_sample",
    ),
    Row("one form of checkpoint for regular and for streaming runs", KEPT, "test_streaming_writes_the_same_checkpoint"),
    Row("`mode` is `unified`", KEPT, "test_fields"),
    Row("`samples_processed`", KEPT, "test_fields"),
    Row("`current_split`", KEPT, "test_fields"),
    Row("`split_index`", KEPT, "test_fields"),
    Row("`shard_num`", KEPT, "test_fields"),
    Row("`last_sample_id`", KEPT, "test_fields"),
    Row("`processed_ids`", KEPT, f"{RESUME}::test_processed_ids_are_the_newest_as_plain_strings"),
    Row("`dataset_specific`", KEPT, "test_fields"),
    Row("`timestamp`", KEPT, "test_fields"),
    Row("`processor`, the class", KEPT, "test_fields"),
    Row("a checkpoint every 1000 samples by itself, configurable", KEPT, "test_interval"),
    Row("the split is part of what is tracked", KEPT, f"{RESUME}::test_seed_format_resumes_at_its_split_and_index"),
    Row("older forms load and are converted", KEPT, f"{RESUME}::test_older_formats_resume_after_their_count"),
    Row("a checkpoint on an error", KEPT, f"{RESUME}::test_any_error_is_raised_after_a_checkpoint"),
    Row("the command `--fresh --all`", KEPT, "test_commands"),
    Row("... with `--resume`", KEPT, "test_commands"),
    Row(
        "... with `--checkpoint` and a file of `checkpoints/`",
        DIFFERS,
        "tests/pipeline/test_refusals.py::test_checkpoint_file_ahead_of_what_is_durable_is_reported_never_believed",
        (
            "goes on like `--resume` and says how the file differs from what is durable: a file that is ahead would "
            "leave clips out"
        ),
    ),
    Row("... with `--streaming`", KEPT, "test_commands"),
    Row("... with `--streaming --resume`", KEPT, "test_commands"),
    Row("`process_all_splits(checkpoint_interval=500)`", KEPT, "test_interval"),
    Row("`{processor_name}_unified_checkpoint.json` is the latest", KEPT, "test_files"),
    Row("`{processor_name}_{timestamp}.json` is the history", KEPT, "test_files"),
    Row("saved every N samples", KEPT, "test_interval"),
    Row("saved on completion", KEPT, f"{RESUME}::test_finished_run_has_nothing_left"),
    Row("saved on an error", KEPT, f"{RESUME}::test_any_error_is_raised_after_a_checkpoint"),
    Row("saved by hand: `save_unified_checkpoint()`", KEPT, "test_saving_by_hand"),
    Row("resuming loads the file", KEPT, "test_saving_by_hand"),
    Row("... converts an old form", KEPT, f"{RESUME}::test_older_formats_resume_after_their_count"),
    Row("... goes to its split and position", KEPT, f"{RESUME}::test_splits_under_their_old_names"),
    Row("... continues behind it", KEPT, f"{RESUME}::test_a_resumed_checkpoint_of_the_seed_counts_on"),
    Row("the name of the current split is tracked", KEPT, "test_fields"),
    Row("the position in it is tracked", KEPT, "test_fields"),
    Row("completed splits are passed over", KEPT, f"{RESUME}::test_seed_format_resumes_at_its_split_and_index"),
    Row("the change from one split to the next", KEPT, f"{RESUME}::test_seed_example_resumes_after_any_sample"),
    Row(
        "a processor of one's own that calls `process_all_splits` of `BaseProcessor`",
        KEPT,
        f"{RESUME}::test_seed_example_resumes_after_any_sample",
    ),
    Row(
        "`_process_single_split(split, checkpoint, sample_mode, sample_size)`",
        KEPT,
        f"{RESUME}::test_a_processor_that_takes_all_four_arguments",
    ),
    Row("`load_split_data(split)` and `convert_to_standard_format(sample)`", KEPT, "test_methods_of_the_example"),
    Row("no KeyError for `shard_num`", KEPT, f"{RESUME}::test_older_formats_resume_after_their_count"),
    Row("no duplicates after a resume", KEPT, "test_commands"),
    Row(
        "a resume that begins at the start: look at the file",
        DIFFERS,
        f"{HISTORY}::test_newest_sound_checkpoint_is_used_and_told",
        (
            "where there is one it never begins at the start: a file that can't be read is an error, or the one "
            "before it is used and named"
        ),
    ),
    Row("`--verbose` shows what is done with checkpoints", KEPT, "test_verbose"),
    Row("the files are JSON to look at, as with `jq`", KEPT, "test_files"),
    Row("they are not to be changed by hand", KEPT, "test_changed_by_hand"),
    Row("old ones may be deleted afterwards", KEPT, "test_deleted_checkpoints"),
    Row(
        "the script `test_checkpoint_resume.py` tries resuming",
        RENAMED,
        "test_script",
        "`tests/resume/test_checkpoint_resume.py`, which runs by itself, too",
    ),
    Row("checkpoints show the progress", KEPT, "test_fields"),
    Row(
        "to come: long lists of IDs take less room",
        DIFFERS,
        f"{RESUME}::test_processed_ids_are_the_newest_as_plain_strings",
        "there are none: a hundred IDs at most",
    ),
    Row(
        "to come: checkpoints in the cloud",
        RENAMED,
        "tests/resume/test_kill_and_resume.py::test_each_kill_followed_by_another_machine",
        "the state in the target: what publishes to the Hub goes on anywhere",
    ),
    Row("to come: a check that a file is whole", KEPT, "test_changed_by_hand"),
    Row("to come: old ones are cleaned up", KEPT, f"{HISTORY}::test_last_twenty_outlive_every_jump_of_the_clock"),
)


@dataclass(frozen=True)
class Machine:
    """A folder in which the document's commands were typed, one after the other."""

    folder: Path
    ended: dict[str, CompletedProcess[str]]
    """Command -> how it ended."""
    latest: dict[str, dict[str, Any]]
    """Command -> the latest checkpoint after it."""
    shards: dict[str, dict[str, bytes]]
    """Command -> the published shards after it."""


COMMANDS = (
    "--fresh --all",
    "--fresh --all --resume",
    "--fresh --all --streaming",
    "--fresh --all --streaming --resume",
    f"--fresh --all --checkpoint ./checkpoints/{SOURCE}_unified_checkpoint.json",
)


@pytest.fixture(scope="module")
def machine(tmp_path_factory: pytest.TempPathFactory) -> Machine:
    """All sources that are there: a small mirror of one. Everything is said."""
    folder = tmp_path_factory.mktemp("machine")
    write_mirror(folder / "mirrors")
    ended, latest, shards = {}, {}, {}
    for command in COMMANDS:
        ended[command] = run([*command.split(), "--source-dir", "mirrors", "--verbose"], folder)
        latest[command] = json.loads((folder / f"checkpoints/{SOURCE}_unified_checkpoint.json").read_text())
        shards[command] = tree(folder / "data/thai-voice", "data")
    return Machine(folder, ended, latest, shards)


def test_commands(machine: Machine) -> None:
    """Each does what the document says, one after the other: the same clips, each once, streamed or not."""
    assert {command: done.returncode for command, done in machine.ended.items()} == dict.fromkeys(COMMANDS, 0)
    first = machine.shards["--fresh --all"]
    assert first and all(shards == first for shards in machine.shards.values())
    assert sorted(published_ids(machine.folder / "data/thai-voice")) == sorted(
        f"S{number}" for number in range(1, PUBLISHED + 1)
    )


def test_fields(machine: Machine) -> None:
    """All of them, with what the document shows in them."""
    latest = machine.latest["--fresh --all"]
    assert {*FIELDS.split(), "timestamp", "processor"} <= latest.keys()
    assert (latest["mode"], latest["processor"]) == ("unified", f"{SOURCE}Processor")
    assert (latest["current_split"], latest["split_index"], latest["samples_processed"]) == ("train", 8, PUBLISHED)
    assert latest["shard_num"] == 0 and latest["last_sample_id"] == f"S{PUBLISHED}" == latest["processed_ids"][-1]
    assert isinstance(latest["timestamp"], int) and isinstance(latest["dataset_specific"], dict)


def test_streaming_writes_the_same_checkpoint(machine: Machine) -> None:
    """But for the times."""
    plain, streamed = (machine.latest[command] for command in ("--fresh --all", "--fresh --all --streaming"))

    assert {**streamed, "timestamp": 0, "checksum": ""} == {**plain, "timestamp": 0, "checksum": ""}


def test_interval(tmp_path: Path) -> None:
    """1000 unless another one is given, on the command line or to the method; the last one at the end."""
    assert Options().checkpoint_interval == parse(["--fresh", "--all"]).checkpoint_interval == 1000
    assert signature(BaseProcessor.process_all_splits).parameters["checkpoint_interval"].default == 1000

    list(TonesProcessor(checkpoint_dir=tmp_path).process_all_splits(checkpoint_interval=10))

    reached = [
        (each["current_split"], each["split_index"]) for each in map(load_checkpoint, history(tmp_path, "Tones"))
    ]
    assert reached == [("test", 8), ("train", 10), ("train", 20), ("train", 30), ("train", 30)]


def test_files(machine: Machine) -> None:
    """Two kinds, in one folder, and both are JSON."""
    names = sorted(path.name for path in (machine.folder / "checkpoints").glob(f"{SOURCE}*.json"))

    assert names[-1] == f"{SOURCE}_unified_checkpoint.json" and len(names) > 1
    assert all(re.fullmatch(rf"{SOURCE}_\d{{10}}(_\d+)?\.json", name) for name in names[:-1])
    for name in names:
        assert json.loads((machine.folder / "checkpoints" / name).read_text())["mode"] == "unified"


def test_saving_by_hand(tmp_path: Path) -> None:
    """What was saved is loaded, by its name or as the latest."""
    processor = TonesProcessor(checkpoint_dir=tmp_path)
    path = processor.save_unified_checkpoint(
        12, "train", 5, shard_num=2, last_sample_id="S12", processed_ids=["S11", "S12"], dataset_specific={"mine": 1}
    )

    assert Path(path) == tmp_path / "Tones_unified_checkpoint.json"
    for loaded in (processor.load_unified_checkpoint(path), processor.load_unified_checkpoint()):
        assert loaded is not None
        assert [loaded[name] for name in FIELDS.split()] == [
            *("unified", 12, "train", 5, 2, "S12", ["S11", "S12"], {"mine": 1})
        ]


def test_methods_of_the_example(tmp_path: Path) -> None:
    """Raw clips from a split's start, and one of them as a row."""
    processor = TonesProcessor(checkpoint_dir=tmp_path)

    first = next(iter(processor.load_split_data("train")))

    row = processor.convert_to_standard_format(first)
    assert isinstance(row, dict) and row["transcript"] == "ประโยค 0"
    assert not isinstance(processor.convert_to_standard_format({"audio": b"none", "transcript": "ก"}), dict)


def test_verbose(machine: Machine) -> None:
    """What is saved, and what is read where a file is named."""
    first, named = machine.ended[COMMANDS[0]], machine.ended[COMMANDS[-1]]

    assert "checkpoint saved: " in first.stderr + first.stdout
    assert "checkpoint read: " in named.stderr + named.stdout


def test_changed_by_hand(tmp_path: Path) -> None:
    """Nobody goes on from a number that somebody typed."""
    path = Path(TonesProcessor(checkpoint_dir=tmp_path).save_unified_checkpoint(12, "train", 5))
    path.write_text(path.read_text().replace("12", "13"))

    with pytest.raises(DamagedCheckpoint, match="Nothing was changed"):
        load_checkpoint(path)


def test_deleted_checkpoints(machine: Machine) -> None:
    """The next resume has nothing to do all the same."""
    for path in (machine.folder / "checkpoints").glob("*.json"):
        path.unlink()

    done = run(["--fresh", "--all", "--source-dir", "mirrors", "--resume"], machine.folder)

    assert done.returncode == 0 and "Nothing to do" in done.stdout
    assert tree(machine.folder / "data/thai-voice", "data") == machine.shards[COMMANDS[0]]


def test_script() -> None:
    """It is there, and calls its tests where it is run."""
    script = (PROJECT / RESUME).read_text()

    assert "pytest.main([__file__" in script and MAX_LISTED_IDS == 100
