"""Checkpoints on any clock, and damaged ones: names go up, the newest sound one is found, nothing collides."""

import json
import logging
import time
from pathlib import Path

import pytest

from pipeline.options import Options
from pipeline.run.run import archive_local
from pipeline.terminal.logs import set_up_logging
from tests.runs import run, run_until
from tests.support import TonesProcessor, published_ids, tree
from utils.checkpoint import (
    DamagedCheckpoint,
    history,
    latest_path,
    load_latest,
    save_checkpoint,
    superseded_history,
    unified,
)
from utils.disk.retention import DAY_S, KEPT_LAST
from utils.upload.upload_checkpoint import upload_checkpoint_path

NOW = 1_700_000_000
YEAR_S = 365 * DAY_S


def save(folder: Path, samples: int, now_s: int, source: str = "Tones") -> Path:
    """A checkpoint after so many samples, by a clock that says `now_s`."""
    content = {**unified(f"{source}Processor", samples, "train", samples), "timestamp": now_s}
    return save_checkpoint(folder, source, content)


def counts(folder: Path, source: str = "Tones") -> list[int]:
    """The samples in each checkpoint of the history, in its order."""
    return [json.loads(path.read_bytes())["samples_processed"] for path in history(folder, source)]


# --- clocks ----------------------------------------------------------------------------------


def test_checkpoints_in_one_second_do_not_collide(tmp_path: Path) -> None:
    """Each has a file of its own, in the order of writing, also from the tenth on."""
    for samples in range(12):
        save(tmp_path, samples, NOW)

    assert counts(tmp_path) == list(range(12))


@pytest.mark.parametrize(
    "clock",
    [
        [NOW, NOW + 5, NOW - YEAR_S, NOW - YEAR_S + 1, NOW + 5, NOW + 6],
        [NOW, NOW + 10 * YEAR_S, NOW + 1, NOW + 2, NOW + 10 * YEAR_S],
        [NOW, 0, 1, NOW + 1],
        [NOW, -5, NOW + 1],
        [-5, 0, NOW],
    ],
    ids=["back", "forward and back", "1970", "before 1970", "begins before 1970"],
)
def test_order_of_the_history_is_that_of_writing(tmp_path: Path, clock: list[int]) -> None:
    """Wherever the clock jumps, the newest is the last, and it is what a damaged latest one is replaced by."""
    for samples, now_s in enumerate(clock):
        save(tmp_path, samples, now_s)
        assert counts(tmp_path) == list(range(samples + 1))
    latest_path(tmp_path, "Tones").write_bytes(b"{")

    found = load_latest(tmp_path, "Tones")

    assert found is not None
    assert found["samples_processed"] == len(clock) - 1


@pytest.mark.parametrize("jump_s", [-50 * YEAR_S, -YEAR_S, -3600, 0, 3600, YEAR_S, 50 * YEAR_S])
def test_last_twenty_outlive_every_jump_of_the_clock(tmp_path: Path, jump_s: int) -> None:
    """Whichever way it goes, the twenty that were written last are there."""
    for samples in range(30):
        save(tmp_path, samples, NOW + 60 * samples)
    for samples in range(30, 35):
        save(tmp_path, samples, NOW + jump_s + samples)

    assert counts(tmp_path)[-KEPT_LAST:] == list(range(35 - KEPT_LAST, 35))


def test_one_a_day_stays_in_the_history(tmp_path: Path) -> None:
    """Of the days of a month, beside the last twenty; older ones are deleted when the next is saved."""
    first_day = NOW - NOW % DAY_S
    for day in range(40):
        for hour in (1, 2):
            save(tmp_path, 100 * day + hour, first_day + day * DAY_S + hour * 3600)

    last_twenty = [100 * day + hour for day in range(30, 40) for hour in (1, 2)]
    assert counts(tmp_path) == [*(100 * day + 2 for day in range(9, 30)), *last_twenty]


def test_history_of_an_older_program_stays(tmp_path: Path) -> None:
    """Its files are called like ours, and nobody has read them yet."""
    old = [tmp_path / f"Tones_{NOW - YEAR_S + number}.json" for number in range(3)]
    for path in old:
        path.write_text('{"mode": "streaming", "samples_processed": 10}')

    for samples in range(30):
        save(tmp_path, samples, NOW + samples)

    assert superseded_history(tmp_path, NOW + YEAR_S) == []
    assert history(tmp_path, "Tones")[:3] == old and len(history(tmp_path, "Tones")) == 3 + KEPT_LAST


def test_histories_of_two_sources_are_apart(tmp_path: Path) -> None:
    """Though the name of one begins like the other's, and goes on in digits."""
    for samples in range(25):
        save(tmp_path, samples, NOW + samples, "Corpus")
        save(tmp_path, samples, NOW + samples, "Corpus_2")

    assert counts(tmp_path, "Corpus") == counts(tmp_path, "Corpus_2") == list(range(25 - KEPT_LAST, 25))


def test_archives_of_one_stamp_overwrite_nothing(tmp_path: Path) -> None:
    """A clock that says the same second twice: both generations' files are kept."""
    options = Options(sources=("Tones",), checkpoint_dir=tmp_path / "checkpoints", data_dir=tmp_path / "data")
    upload = upload_checkpoint_path(options.checkpoint_dir, options.target_name, "train")
    now = time.gmtime(NOW)
    for generation in ("first", "second", "third"):
        for path in (latest_path(options.checkpoint_dir, "Tones"), upload, options.staging_dir / "Tones/train/segment"):
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(f"{generation} {path.name}")
        archive_local(options, now)

    kept = sorted(tree(tmp_path, "checkpoints", "data").values())
    names = ("Tones_unified_checkpoint.json", upload.name, "segment")
    assert kept == sorted(f"{at} {name}".encode() for at in ("first", "second", "third") for name in names)


def test_run_logs_of_one_second_are_both_kept(tmp_path: Path) -> None:
    """A clock that says the same second twice appends; it never empties what a run has told."""
    root = logging.getLogger()
    before, level = list(root.handlers), root.level
    try:
        for told in ("one", "two"):
            set_up_logging(tmp_path, verbose=False, quiet=True, secrets=[])
            root.warning(told)
    finally:
        for handler in [handler for handler in root.handlers if handler not in before]:
            root.removeHandler(handler)
            handler.close()
        root.setLevel(level)

    assert all(told in "".join(path.read_text() for path in tmp_path.glob("run-*.log")) for told in ("one", "two"))


# --- damage ----------------------------------------------------------------------------------


def test_newest_sound_checkpoint_is_used_and_told(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """The damaged ones are named, and so is the one that is used."""
    for samples in range(5):
        save(tmp_path, samples, NOW + samples)
    damaged = [latest_path(tmp_path, "Tones"), *history(tmp_path, "Tones")[-2:]]
    for path in damaged:
        path.write_text(path.read_text().replace('"split_index": ', '"split_index": 9'))

    found = load_latest(tmp_path, "Tones")

    assert found is not None
    assert found["samples_processed"] == 2
    assert all(f"Checkpoint {path} is damaged" in caplog.text for path in damaged)
    assert f"Going on from {tmp_path / f'Tones_{NOW + 2}.json'}" in caplog.text


def test_all_damaged_is_an_error_that_says_what_to_type(tmp_path: Path) -> None:
    """Never a start at zero: a processor by itself stops, and points to what needs no checkpoint."""
    for samples in range(3):
        save(tmp_path, samples, NOW + samples)
    for path in tmp_path.glob("*.json"):
        path.write_bytes(path.read_bytes()[:50])

    with pytest.raises(DamagedCheckpoint, match="--resume"):
        TonesProcessor(checkpoint_dir=tmp_path).load_unified_checkpoint()


def test_run_goes_on_from_the_targets_state_where_all_checkpoints_are_damaged(tmp_path: Path) -> None:
    """They are mirrors: a resume neither reads nor believes them, and writes them anew."""
    few = ["ProcessedVoiceTH", "--demo", "--output", "out", "--upload-batch-size", "10", "--checkpoint-interval", "5"]
    whole = run(["--fresh", *few], tmp_path / "undisturbed")
    killed = ["--fresh", *few, "--no-overlap"]  # or it may have read all by the time it has published a little
    run_until(killed, tmp_path, lambda: any(tmp_path.glob("out/data/train/*-00001.parquet")))
    damaged = list((tmp_path / "checkpoints").glob("*.json"))
    for path in damaged:
        path.write_bytes(b"\0" * 100)

    resumed = run(["--fresh", *few, "--resume"], tmp_path)

    assert len(damaged) > 2
    assert (whole.returncode, resumed.returncode) == (0, 0), resumed.stderr
    assert tree(tmp_path / "out", "data", "rejected") == tree(tmp_path / "undisturbed/out", "data", "rejected")
    assert published_ids(tmp_path / "out")
    assert json.loads((tmp_path / "checkpoints/ProcessedVoiceTH_unified_checkpoint.json").read_bytes())["checksum"]
