"""No clip is published twice, whatever source and split it comes from; and what dies changes nothing of that."""

import shutil
from contextlib import suppress
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq
import pytest

from pipeline.run.known_clips import warn_of_pairs
from pipeline.run.run import RunResult
from pipeline.terminal.report import summary
from tests.kills import Killed, KilledAt
from tests.known.two_sources import (
    FIRST,
    Clips,
    another_machine,
    dataset,
    published,
    read_both,
    rejects,
    write_first,
)
from tests.small_runs import SOURCE, StopAfter, small_run, watching, write_mirror
from tests.support import tone, tree
from utils.audit.verify import verify
from utils.choices import Dedup
from utils.dataset.folder import LocalTarget
from utils.dataset.ledger import Ledger
from utils.errors import Stopped, TargetRefused
from utils.known.clips import ClipIndex, Entry, Reached
from utils.rows.schema import DUPLICATE_OF_TRAIN
from utils.upload.shard_index_files import to_bytes

BEFORE, AFTER = Ledger(b"one\n"), Ledger(b"one\ntwo\n")


def tones(*numbers: int, prefix: str = "") -> Clips:
    """The tones of these numbers."""
    return [(f"{prefix}{number}", tone(number), f"ประโยคที่ {number}") for number in numbers]


@pytest.fixture
def machine(tmp_path: Path) -> Path:
    """Clips 3 and 4 are in both trains; 30 is in one test and the other's train, as 31 is the other way round."""
    write_first(tmp_path, test=tones(30, 33, prefix="900-1-"), train=tones(1, 3, 4, 31, prefix="0-1-"))
    write_mirror(tmp_path / "mirrors", {"train": [3, 4, 5, 6, 30], "validation": [20], "test": [31, 34]})
    return tmp_path


def both(machine: Path, **options: Any) -> RunResult:
    return read_both(machine, **{"dedup": Dedup.EXACT, **options})


@pytest.fixture
def undisturbed(machine: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What a run makes of the same mirrors that nothing disturbs."""
    other = tmp_path_factory.mktemp("undisturbed")
    shutil.copytree(machine / "mirrors", other / "mirrors")
    both(other)
    return other


def test_a_clip_of_another_source_is_a_reject_that_names_it(machine: Path) -> None:
    """Same audio, once: the clip that is read first stays."""
    both(machine)

    assert rejects(machine) == [
        ("GigaSpeech2/train/0-1-31", "duplicate", "the same audio as ProcessedVoiceTH/test/clip_31"),
        ("ProcessedVoiceTH/train/clip_3", "duplicate", "the same audio as GigaSpeech2/train/0-1-3"),
        ("ProcessedVoiceTH/train/clip_4", "duplicate", "the same audio as GigaSpeech2/train/0-1-4"),
        ("ProcessedVoiceTH/train/clip_30", "duplicate", "the same audio as GigaSpeech2/test/900-1-30"),
    ]


def test_each_recording_is_in_one_place(machine: Path) -> None:
    """Over all sources and splits; a clip of an evaluation split is never also in train."""
    both(machine)
    hashes = [
        one
        for path in (machine / "out/data").rglob("*.parquet")
        for one in pq.read_table(path, partitioning=None)["audio_hash"].to_pylist()
    ]

    assert len(hashes) == len(set(hashes)) == 10
    assert published(machine)["train"] == [
        *("GigaSpeech2/train/0-1-1", "GigaSpeech2/train/0-1-3", "GigaSpeech2/train/0-1-4"),
        *("ProcessedVoiceTH/train/clip_5", "ProcessedVoiceTH/train/clip_6"),
    ]


def test_the_books_balance_and_the_dataset_is_sound(machine: Path, tmp_path: Path) -> None:
    """Duplicates are rejects like others: counted by reason, and known to `--verify`."""
    result = both(machine)

    books = result.splits[SOURCE, "train"]
    assert (books.read, books.kept, books.rejected) == (5, 2, 3)
    assert result.reasons[SOURCE, "train"] == {"duplicate": 3}
    assert verify(LocalTarget(machine / "out"), tmp_path / "scratch", deep=True).is_sound


def test_within_one_source_the_same_audio_is_a_duplicate_too(tmp_path: Path) -> None:
    """Under another name, in the same split or in another one."""
    write_mirror(tmp_path / "mirrors", {"train": [1, 3, 17], "validation": [], "test": [3]})
    shutil.copy(
        next((tmp_path / "mirrors").rglob("train-*.parquet")),
        next((tmp_path / "mirrors").rglob("validation-*.parquet")),
    )
    small_run(tmp_path, dedup=Dedup.EXACT)

    assert published(tmp_path) == {
        "test": ["ProcessedVoiceTH/test/clip_3"],
        "validation": ["ProcessedVoiceTH/validation/clip_1", "ProcessedVoiceTH/validation/clip_11"],
    }


def test_off_publishes_all(machine: Path) -> None:
    """And keeps no index, here or in the target; what the dataset was begun with says nothing of it, as of old."""
    result = both(machine, dedup=Dedup.OFF)

    assert rejects(machine) == []
    assert not [path for path in machine.rglob("*") if path.name == "dedup" or path.name.startswith("clips.")]
    assert all("dedup" not in source.fingerprint for source in result.state.sources.values())


def test_shards_without_duplicates_are_the_same_in_any_mode(tmp_path: Path) -> None:
    """What clips are compared by is in files of its own."""
    made = []
    for mode in Dedup:
        write_mirror(tmp_path / mode / "mirrors")
        small_run(tmp_path / mode, dedup=mode)
        made.append(tree(tmp_path / mode / "out", "data", "rejected", ".ingest/files.jsonl"))

    assert made[0] == made[1] == made[2]


@pytest.mark.parametrize("workers", [1, 3])
def test_any_number_of_workers_rejects_the_same_clips(machine: Path, undisturbed: Path, workers: int) -> None:
    """Clips are judged in the order of reading, whoever converts them, whenever parts are committed."""
    both(machine, overlap=True, num_workers=workers)

    assert dataset(machine) == dataset(undisturbed)


@pytest.mark.parametrize("at", range(3, 140, 17))
def test_a_run_that_is_killed_goes_on_to_the_same_bytes(
    machine: Path, undisturbed: Path, tmp_path_factory: pytest.TempPathFactory, at: int
) -> None:
    """Here, and on another machine that has the target alone; index files too."""
    with watching(KilledAt(at)), suppress(Killed):
        both(machine)
    elsewhere = another_machine(machine, tmp_path_factory.mktemp("elsewhere"))
    for place in (elsewhere, machine):
        both(place, resume=True)

        assert dataset(place) == dataset(undisturbed)


@pytest.mark.parametrize("looks", range(2, 16, 3))
def test_a_stopped_run_goes_on_without_its_index(machine: Path, undisturbed: Path, looks: int) -> None:
    """It is made anew from the target and from what is staged."""
    both(machine, stop=StopAfter(looks))
    for path in machine.rglob("clips.sqlite*"):
        path.unlink()
    both(machine, resume=True)

    assert dataset(machine) == dataset(undisturbed)


@pytest.mark.parametrize("damage", [b"", b"no index file", None])
def test_an_index_file_that_is_no_good_is_made_up_for_by_its_shard(
    machine: Path, tmp_path_factory: pytest.TempPathFactory, damage: bytes | None
) -> None:
    """Cut, of another kind, or gone: the rows of the shard say the same."""
    small_run(machine, sources=(FIRST,), dedup=Dedup.EXACT)
    both(machine, fresh=False)
    wanted = rejects(machine)
    small_run(machine, sources=(FIRST,), dedup=Dedup.EXACT)
    for path in (machine / "out/.ingest/dedup").rglob("*.arrow"):
        path.unlink() if damage is None else path.write_bytes(damage or path.read_bytes()[:-9])
    elsewhere = another_machine(machine, tmp_path_factory.mktemp("elsewhere"))
    both(elsewhere, fresh=False)

    assert rejects(elsewhere) == wanted != []


def test_a_damaged_index_here_is_made_anew(machine: Path, undisturbed: Path) -> None:
    """A file that is no database is as good as none."""
    both(machine, stop=StopAfter(9))
    (index,) = machine.rglob("clips.sqlite")
    index.write_bytes(b"no database" * 1000)
    both(machine, resume=True)

    assert dataset(machine) == dataset(undisturbed)


def test_a_test_clip_that_train_has_is_rejected_and_reported(machine: Path) -> None:
    """An append can't move what is published: the test clip stays out, and the summary says so."""
    small_run(machine, sources=(SOURCE,), dedup=Dedup.EXACT)
    result = both(machine, fresh=False)

    assert ("GigaSpeech2/test/900-1-30", "duplicate", "the same audio as ProcessedVoiceTH/train/clip_30") in rejects(
        machine
    )
    assert result.reasons[FIRST, "test"] == {DUPLICATE_OF_TRAIN: 1}
    told = summary(result.state, "out", result.splits, reasons=result.reasons)
    assert "In train already" in told
    assert "1 of GigaSpeech2/test" in told


def test_what_another_machine_published_meanwhile_is_not_published_again(
    machine: Path, tmp_path_factory: pytest.TempPathFactory
) -> None:
    """Staged clips were judged by what was known then: they are judged again once there is more."""
    small_run(machine, sources=(FIRST,), dedup=Dedup.EXACT, upload_batch_size=100, stop=StopAfter(7))
    elsewhere = another_machine(machine, tmp_path_factory.mktemp("elsewhere"))
    small_run(elsewhere, sources=(SOURCE,), dedup=Dedup.EXACT, fresh=False, upload_batch_size=100)
    shutil.rmtree(machine / "out")
    shutil.copytree(elsewhere / "out", machine / "out")
    small_run(machine, sources=(FIRST,), dedup=Dedup.EXACT, resume=True, fresh=False, upload_batch_size=100)

    assert published(machine)["train"] == [
        "GigaSpeech2/train/0-1-1",
        *(f"ProcessedVoiceTH/train/clip_{number}" for number in (3, 4, 5, 6)),
    ]
    assert list((machine / "data/staging").glob("*/set-aside/*"))


def test_staged_clips_of_a_source_that_is_not_read_count_too(machine: Path) -> None:
    """They are published when that source goes on: until then no other source may bring the same."""
    small_run(machine, sources=(FIRST,), dedup=Dedup.EXACT, upload_batch_size=100, stop=StopAfter(6))
    for path in machine.rglob("clips.sqlite*"):
        path.unlink()
    small_run(machine, sources=(SOURCE,), dedup=Dedup.EXACT, fresh=False, upload_batch_size=100)
    both(machine, fresh=False, upload_batch_size=100)

    assert "ProcessedVoiceTH/train/clip_3" not in published(machine)["train"]
    assert "GigaSpeech2/train/0-1-3" in published(machine)["train"]


@pytest.mark.parametrize("begun", [Dedup.OFF, Dedup.EXACT, Dedup.NEAR])
def test_a_dataset_keeps_the_mode_that_it_was_begun_with(machine: Path, begun: Dedup) -> None:
    """Nothing said: that mode. Another one: refused, with both named, and nothing changed."""
    small_run(machine, sources=(FIRST,), dedup=begun)
    other = Dedup.EXACT if begun is not Dedup.EXACT else Dedup.NEAR
    before = tree(machine / "out", "data", ".ingest")
    with pytest.raises(TargetRefused, match=f"dedup: it was '{begun}', now '{other}'"):
        both(machine, fresh=False, dedup=other)

    assert tree(machine / "out", "data", ".ingest") == before
    assert bool(both(machine, fresh=False, dedup=None).reasons[SOURCE, "train"]) == (begun is not Dedup.OFF)


@pytest.mark.parametrize(("mode", "warned"), [(Dedup.EXACT, True), (Dedup.NEAR, False)])
def test_sources_that_share_recordings_are_named(mode: Dedup, warned: bool, caplog: pytest.LogCaptureFixture) -> None:
    """Who takes both with a mode that does not see it is told."""
    warn_of_pairs(mode, ["ProcessedVoiceTH", "MozillaCommonVoice", "GigaSpeech2"])

    assert ("ProcessedVoiceTH is made from MozillaCommonVoice" in caplog.text) == warned


def entries_of(count: int) -> list[Entry]:
    """Clips as they are: names of some length, hashes, fingerprints."""
    random = np.random.default_rng(1)
    return [
        Entry(
            f"Corpus/train/common_voice_th_{number}",
            random.bytes(16),
            5000,
            int(random.integers(2**62)),
            random.bytes(98),
        )
        for number in range(count)
    ]


def index_of(path: Path, entries: list[Entry]) -> ClipIndex:
    """An index that has all of them, a checkpoint every thousand."""
    index = ClipIndex(path, "test")
    index.finish()
    for first in range(0, len(entries), 1000):
        index.add(("Corpus", "train"), first + 1000, entries[first : first + 1000])
        index.note_covered(("Corpus", "train"), Reached("0/r", first + 1000))
    index.note_made_from(BEFORE, "ours")
    return index


def test_an_index_that_turns_out_damaged_while_it_is_used_stops_the_run(tmp_path: Path) -> None:
    """It is removed, so that `--resume` makes it anew: nobody is told that a clip is new who can't know."""
    path, entries = tmp_path / "clips.sqlite", entries_of(2000)
    index_of(path, entries).close()
    content = bytearray(path.read_bytes())
    half = len(content) // 2
    content[half:] = bytes(len(content) - half)
    path.write_bytes(content)
    index = ClipIndex(path, "test")
    with pytest.raises(Stopped, match="--resume"):
        for entry in entries:
            index.same_audio(entry.audio_hash)
    index.close()

    assert not path.exists()


def test_what_is_ahead_of_the_clips_is_taken_away(tmp_path: Path) -> None:
    """A run that died after the index and before its clips left it so; what is behind them is made anew."""
    entries, place = entries_of(2000), ("Corpus", "train")
    index = index_of(tmp_path / "clips.sqlite", entries)

    assert index.holds({place: Reached("0/r", 1000), ("Other", "test"): Reached("0/s", 0)}, BEFORE)
    assert index.same_audio(entries[999].audio_hash) is not None
    assert index.same_audio(entries[1500].audio_hash) is None
    assert not index.holds({place: Reached("0/r", 1001)}, BEFORE)
    assert not index.holds({place: Reached("0/another", 1000)}, BEFORE)
    assert not index.holds({place: Reached("0/r", 1000), ("Other", "test"): Reached("0/s", 1)}, BEFORE)
    assert index.holds({}, BEFORE)
    assert index.same_audio(entries[999].audio_hash) is None
    index.close()


@pytest.mark.parametrize(
    ("ledger", "last_run", "holds"),
    [
        (AFTER, "ours", True),
        (AFTER, "another", False),
        (AFTER, "", False),
        (BEFORE, "another", True),
        (Ledger(), "ours", False),
        (Ledger(b"another, and longer\n"), "ours", False),
    ],
)
def test_an_index_that_was_made_from_another_dataset_is_not_believed(
    tmp_path: Path, ledger: Ledger, last_run: str, holds: bool
) -> None:
    """Only from what its own run has made this one: not from what a backup, or a repair, took back, nor another run."""
    index = index_of(tmp_path / "clips.sqlite", entries_of(1000))

    assert index.holds({("Corpus", "train"): Reached("0/r", 1000)}, ledger, last_run) is holds
    index.close()


def test_an_index_is_of_the_dataset_that_it_was_last_held_against(tmp_path: Path) -> None:
    """What came since it was made belongs to it."""
    index, reached = index_of(tmp_path / "clips.sqlite", entries_of(1000)), {("Corpus", "train"): Reached("0/r", 1000)}

    assert index.holds(reached, AFTER, "ours")
    assert not index.holds(reached, BEFORE, "ours")
    index.close()


def test_what_was_not_noted_is_forgotten(tmp_path: Path) -> None:
    """Clips since the last checkpoint are read again."""
    entries = entries_of(3)
    index = index_of(tmp_path / "clips.sqlite", entries[:2])
    index.add(("Corpus", "train"), 3, entries[2:])
    index.close()
    again = ClipIndex(tmp_path / "clips.sqlite", "test")

    assert [again.same_audio(entry.audio_hash) is not None for entry in entries] == [True, True, False]
    again.close()


def test_the_index_takes_at_most_256_bytes_a_clip(tmp_path: Path) -> None:
    """With names and fingerprints as long as they are; and the files in the target too."""
    entries = entries_of(20_000)
    index_of(tmp_path / "clips.sqlite", entries).close()

    assert (tmp_path / "clips.sqlite").stat().st_size / len(entries) <= 256
    assert len(to_bytes(entries, "near", 1)) / len(entries) <= 256
