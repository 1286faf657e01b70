"""Same source, same order: pinned revisions, newer ones, and options that would mix two kinds of data."""

import json
import os
import shutil
from collections.abc import Iterator
from dataclasses import fields, replace
from pathlib import Path

import pyarrow.parquet as pq
import pytest

from pipeline.options import Options
from pipeline.run.source_run import fingerprint
from processors import describe
from tests.audit.voices import SPOKEN, VOICES, voices_run, write_voices
from tests.damage import put_state, state_of
from tests.hub_server import HubServer
from tests.small_runs import CLIPS, KEPT, SOURCE, StopAfter, StopWhen, ids_of, small_options, small_run, write_mirror
from tests.support import tree
from utils.choices import AudioOptions
from utils.errors import SourceError, TargetRefused
from utils.sources.source_files import SourceChanged


@pytest.fixture(autouse=True)
def quick_disk(monkeypatch: pytest.MonkeyPatch) -> None:
    """Nobody pulls the plug of a test: flushing to the disk would only take time."""
    monkeypatch.setattr(os, "fsync", lambda descriptor: None)


@pytest.fixture
def machine(tmp_path: Path) -> Path:
    """A machine with a mirror."""
    write_mirror(tmp_path / "mirrors")
    return tmp_path


@pytest.mark.parametrize("index", ["kept", "lost"])
@pytest.mark.parametrize("looks", [1000, 1], ids=["at once", "with stops"])
def test_newer_revision_adds_what_is_new_and_nothing_else(machine: Path, index: str, looks: int) -> None:
    """What is published or rejected already is passed over, on any machine; new clips get the next IDs and parts."""
    small_run(machine)
    before = tree(machine / "out", "data", "rejected")
    write_mirror(machine / "mirrors", {**CLIPS, "validation": [*CLIPS["validation"], 40, 41, 43, 44, 47]})

    stops = 0
    while True:
        if index == "lost":
            shutil.rmtree(small_options(machine).staging_dir / "seen", ignore_errors=True)
        if not small_run(machine, StopAfter(looks), fresh=False, resume=stops > 0).interrupted:
            break
        stops += 1
        assert stops < 40, "it reads the same clips again and again"

    after = tree(machine / "out", "data", "rejected")
    books = state_of(machine / "out").sources[SOURCE].splits
    assert {path: after[path] for path in before} == before
    assert ids_of(machine / "out", "validation") == [4, 5, *range(KEPT + 1, KEPT + 5)]
    found = {split: (one.progress.known, one.progress.kept, one.progress.rejected) for split, one in books.items()}
    assert found == {"train": (8, 0, 0), "validation": (3, 4, 1), "test": (4, 0, 0)}
    repeats = [row for path in machine.glob("out/rejected/validation/*") for row in pq.read_table(path).to_pylist()]
    assert sorted(row["reason"] for row in repeats) == ["repeated_source_id", "silent"]
    assert (stops > 0) == (looks == 1)


@pytest.mark.parametrize("looks", [5, 9, 14])
def test_a_table_in_another_order_and_of_the_same_size_is_read_anew(tmp_path: Path, looks: int) -> None:
    """A position in the old table means other clips in the new one: some would come twice, others never."""
    write_voices(tmp_path / "mirrors")
    stopped = small_run(tmp_path, StopAfter(looks), sources=(VOICES,))
    for table in (tmp_path / "mirrors").rglob("*.tsv"):
        header, *rows = table.read_text().splitlines()
        table.write_text("\n".join([header, *reversed(rows), ""]))

    voices_run(tmp_path, fresh=False, resume=True)

    assert stopped.interrupted
    for split, table in (("test", "test"), ("validation", "dev"), ("train", "train")):
        assert sorted(source_ids_of(tmp_path / "out", split)) == sorted(
            f"{VOICES}/{split}/{table}-{number}" for number in range(len(SPOKEN[table]))
        )


def source_ids_of(folder: Path, split: str) -> list[str]:
    shards = (folder / "data" / split).glob("*.parquet")
    return [name for path in shards for name in pq.read_table(path, partitioning=None)["source_id"].to_pylist()]


OTHER_AUDIO = {
    "sample_rate_hz": 8_000,
    "target_dbfs": -23.0,
    "volume_norm": False,
    "standardize": False,
    "audio_format": "wav",
}


def test_every_option_that_changes_the_data_is_in_the_fingerprint(tmp_path: Path) -> None:
    """A resume with another one is refused; what does not change the data may change."""
    options = Options(sources=(SOURCE,))
    ours = fingerprint(options, SOURCE)
    assert set(OTHER_AUDIO) == {field.name for field in fields(AudioOptions)}

    changing = [
        *({"audio": replace(options.audio, **{name: value})} for name, value in OTHER_AUDIO.items()),
        {"upload_batch_size": 10},
        {"max_shard_mb": 10},
        {"sample_size": 5},
        {"demo": True},
        {"source_options": {SOURCE: {"transcripts": "raw"}}},
    ]
    found = [fingerprint(replace(options, **one), SOURCE) for one in changing]
    assert all(other != ours for other in found)
    texts = {json.dumps(fingerprint(replace(options, source_options={SOURCE: {"transcripts": text}}), SOURCE))
             for text in ("raw", "refined")}  # fmt: skip
    assert len(texts) == 2

    free = [{"checkpoint_interval": 7}, {"streaming": True}, {"output": tmp_path}, {"source_dir": tmp_path},
            {"sources": (SOURCE, "GigaSpeech2")}, {"resume": True}, {"max_cache_gb": 1.0}]  # fmt: skip
    assert all(fingerprint(replace(options, **one), SOURCE) == ours for one in free)


def test_source_at_another_sample_rate_is_not_added(machine: Path) -> None:
    """A dataset has one rate, over all its sources."""
    small_run(machine)
    before = tree(machine, "out")

    with pytest.raises(TargetRefused, match="audio.sample_rate_hz: it was 16000, now 8000"):
        small_run(machine, fresh=False, sources=("GigaSpeech2",), audio=AudioOptions(sample_rate_hz=8_000))
    assert tree(machine, "out") == before


def test_fresh_start_without_a_source_puts_no_good_dataset_away(machine: Path) -> None:
    """A mistyped --source-dir: nothing was begun, and nothing is renamed."""
    small_run(machine)
    before = tree(machine, "out", "checkpoints", "data")

    with pytest.raises(SourceError, match="no new dataset was begun"):
        small_run(machine, source_dir=machine / "mistyped")
    assert tree(machine, "out", "checkpoints", "data") == before
    assert not list(machine.glob("out.before-fresh-*"))


@pytest.fixture
def hub(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[HubServer]:
    """A Hub that has the source."""
    with HubServer(tmp_path / "server") as server:
        monkeypatch.setenv("HF_ENDPOINT", server.endpoint)
        push(server, tmp_path / "first", range(8))
        yield server


def push(hub: HubServer, folder: Path, train: range) -> None:
    """A new revision of the source."""
    write_mirror(folder, {"train": train, "validation": range(20, 23), "test": range(30, 34)})
    hub.add_dataset(describe(SOURCE).repo_id, folder / describe(SOURCE).mirror)


@pytest.mark.parametrize("upload_batch_size", [3, 100], ids=["published", "staged"])
def test_source_on_the_hub_that_moved_on_is_read_at_the_revision_that_was_begun(
    hub: HubServer, tmp_path: Path, upload_batch_size: int
) -> None:
    """Pinned by the state, or by what is staged: a resume never mixes two revisions."""
    from_hub = {"source_dir": None, "upload_batch_size": upload_batch_size}
    small_run(tmp_path, output=tmp_path / "undisturbed", **from_hub)
    begun = "out/data/*/*.parquet" if upload_batch_size == 3 else f"data/staging/*/{SOURCE}/*/0*.arrow"
    earlier = set(tmp_path.glob(begun))
    interrupted = small_run(tmp_path, StopWhen(lambda: bool(set(tmp_path.glob(begun)) - earlier)), **from_hub)
    assert interrupted.interrupted
    assert (SOURCE in interrupted.state.sources) == (upload_batch_size == 3)

    push(hub, tmp_path / "second", range(40, 48))
    small_run(tmp_path, resume=True, **from_hub)

    ours, undisturbed = (tree(tmp_path / name, "data", "rejected") for name in ("out", "undisturbed"))
    assert ours == undisturbed


def test_source_whose_revision_is_gone_from_the_hub_is_refused(hub: HubServer, tmp_path: Path) -> None:
    """Its owner rewrote the history: nothing is read in the old revision's place, and nothing is lost."""
    out = tmp_path / "out"
    small_run(tmp_path, StopWhen(lambda: any(out.glob("data/*/*.parquet"))), source_dir=None)
    state = state_of(out)
    source = replace(state.sources[SOURCE], revision="0" * 40)
    put_state(out, state.with_source(SOURCE, source))
    before = tree(out, "data", "rejected", ".ingest")

    with pytest.raises(SourceChanged, match="no longer on the Hub"):
        small_run(tmp_path, resume=True, source_dir=None)
    assert tree(out, "data", "rejected", ".ingest") == before
