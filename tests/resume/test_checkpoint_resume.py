"""Resume from checkpoints: old formats load, the right split and position, the seed's example processor.

Runs by itself too: `python tests/resume/test_checkpoint_resume.py`.
"""

import json
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

if __name__ == "__main__":
    sys.path.insert(0, str(Path(__file__).parents[2]))

from processors.base_processor import BaseProcessor
from tests.support import TonesProcessor, tone
from utils.checkpoint import DamagedCheckpoint, history, load_checkpoint
from utils.rows.progress import Progress
from utils.rows.schema import Position, RawClip, Reject


class MyProcessor(BaseProcessor):
    """The custom processor of the seed's documentation, with data to read."""

    def get_available_splits(self) -> list[str]:
        return ["train", "test"]

    def load_split_data(self, split: str) -> Iterator[dict[str, Any]]:
        for index in range(12 if split == "train" else 5):
            yield {"audio": {"bytes": tone(index)}, "transcript": f"{split} {index}"}

    def process_all_splits(self, checkpoint=None, sample_mode=False, sample_size=5):  # type: ignore[no-untyped-def]
        # The base class now handles all checkpoint logic
        # Just call the parent method
        yield from super().process_all_splits(checkpoint, sample_mode, sample_size)

    def _process_single_split(self, split, checkpoint=None, sample_mode=False, sample_size=5):  # type: ignore[no-untyped-def]
        # Implement your split processing logic
        for i, sample in enumerate(self.load_split_data(split)):  # noqa: B007
            # Process sample
            yield self.convert_to_standard_format(sample)


def take(processor: BaseProcessor, count: int, **options: Any) -> list[dict[str, Any]]:
    """The first `count` samples, as a run that then dies would have taken them."""
    samples = processor.process_all_splits(**options)
    return [next(samples) for _ in range(count)]


def source_ids(samples: list[Any]) -> list[str]:
    return [sample["source_id"] for sample in samples]


@pytest.mark.parametrize("died_after", [1, 4, 11, 12, 13, 16])
def test_seed_example_resumes_after_any_sample(tmp_path: Path, died_after: int) -> None:
    """A subclass that overrides only `_process_single_split` loses nothing and repeats at most one interval."""
    whole = source_ids(list(MyProcessor(checkpoint_dir=tmp_path / "whole").process_all_splits()))
    interrupted = MyProcessor(checkpoint_dir=tmp_path)
    samples = BaseProcessor.process_all_splits(interrupted, checkpoint_interval=2)
    seen = source_ids([next(samples) for _ in range(died_after)])

    resumed = MyProcessor(checkpoint_dir=tmp_path)
    rest = source_ids(list(resumed.process_all_splits(checkpoint=resumed.load_unified_checkpoint())))

    assert len(whole) == len(set(whole)) == 17
    assert list(dict.fromkeys(seen + rest)) == whole
    assert len(set(seen) & set(rest)) <= 2


@pytest.mark.parametrize("died_after", [1, 7, 8, 20])
def test_seeking_processor_resumes_after_any_sample(tmp_path: Path, died_after: int) -> None:
    """The same for one that implements `read`; rejects are counted, not repeated."""
    all_samples = list(TonesProcessor(checkpoint_dir=tmp_path / "whole").process_all_splits())
    whole = source_ids(all_samples)
    assert [sample["ID"] for sample in all_samples] == [f"S{number}" for number in range(1, 34)]
    samples = TonesProcessor(checkpoint_dir=tmp_path).process_all_splits(checkpoint_interval=1)
    seen = source_ids([next(samples) for _ in range(died_after)])

    resumed = TonesProcessor(checkpoint_dir=tmp_path)
    checkpoint = resumed.load_unified_checkpoint()
    rest = source_ids(list(resumed.process_all_splits(checkpoint=checkpoint)))

    assert list(dict.fromkeys(seen + rest)) == whole
    assert {split: (books.kept, books.rejected) for split, books in resumed.progress.items()} == {
        "test": (7, 1),
        "train": (26, 4),
    }


def test_finished_run_has_nothing_left(tmp_path: Path) -> None:
    """A checkpoint written on completion resumes to nothing."""
    list(TonesProcessor(checkpoint_dir=tmp_path).process_all_splits())

    resumed = TonesProcessor(checkpoint_dir=tmp_path)

    assert list(resumed.process_all_splits(checkpoint=resumed.load_unified_checkpoint())) == []


def test_checkpoint_has_the_documented_fields(tmp_path: Path) -> None:
    """The fields of the seed's format, plus version and checksum; one latest file and one of the history."""
    take(TonesProcessor(checkpoint_dir=tmp_path), 12, checkpoint_interval=5)

    content = json.loads((tmp_path / "Tones_unified_checkpoint.json").read_text())
    assert set(content) == {
        "mode", "version", "samples_processed", "current_split", "split_index", "shard_num", "last_sample_id",
        "processed_ids", "dataset_specific", "timestamp", "processor", "checksum",
    }  # fmt: skip
    assert (content["mode"], content["processor"]) == ("unified", "TonesProcessor")
    assert len(history(tmp_path, "Tones")) >= 2


def test_checkpoint_never_runs_ahead_of_durable_data(tmp_path: Path) -> None:
    """What was yielded is made durable before each checkpoint file is written."""
    processor = TonesProcessor(checkpoint_dir=tmp_path)
    durable: list[int] = []
    latest = tmp_path / "Tones_unified_checkpoint.json"

    def make_durable(split: str, progress: Any) -> None:
        recorded = json.loads(latest.read_text())["samples_processed"] if latest.exists() else 0
        assert recorded <= sum(durable[-1:])
        durable.append(sum(books.kept for books in processor.progress.values()))

    processor.merge.make_durable = make_durable  # type: ignore[method-assign]
    list(processor.process_all_splits(checkpoint_interval=3))

    assert json.loads(latest.read_text())["samples_processed"] == durable[-1] == 33


REGULAR = {
    "processed_count": 10,
    "current_index": 10,
    "processed_ids": [f"S{number}" for number in range(1, 11)],
    "timestamp": 1,
    "metadata": {"processor": "TonesProcessor", "version": "1.0"},
}
STREAMING = {
    "mode": "streaming",
    "shard_num": 2,
    "samples_processed": 10,
    "last_sample_id": "S10",
    "dataset_specific": {},
    "timestamp": 1,
    "processor": "TonesProcessor",
}


OLD_FORMATS = [
    REGULAR,
    STREAMING,
    *(
        {key: value for key, value in STREAMING.items() if key != missing}
        for missing in STREAMING
        if missing != "samples_processed"
    ),
]


@pytest.mark.parametrize("old", OLD_FORMATS)
def test_older_formats_resume_after_their_count(tmp_path: Path, old: dict[str, Any]) -> None:
    """Version 1 and streaming checkpoints convert; any key but the count may be missing."""
    path = tmp_path / "old.json"
    path.write_text(json.dumps(old))
    whole = source_ids(list(TonesProcessor(checkpoint_dir=tmp_path / "whole").process_all_splits()))

    resumed = TonesProcessor(checkpoint_dir=tmp_path / "new")

    assert source_ids(list(resumed.process_all_splits(checkpoint=str(path)))) == whole[10:]


SEED = {"mode": "unified", "samples_processed": 12, "current_split": "train", "split_index": 5, "shard_num": 0,
        "last_sample_id": "S12", "processed_ids": ["S11", "S12"], "dataset_specific": {}, "timestamp": 1,
        "processor": "TonesProcessor"}  # fmt: skip
"""A unified checkpoint as the seed writes it: no exact positions."""


def test_seed_format_resumes_at_its_split_and_index(tmp_path: Path) -> None:
    """It goes on in its split, after its index, and its IDs after its count. Whether other splits were read the file
    does not say: so they are, and no clip is left out."""
    samples = list(TonesProcessor(checkpoint_dir=tmp_path).process_all_splits(checkpoint=SEED))

    rest = source_ids(samples)
    assert [name for name in rest if "/train/" in name][0] == "Tones/train/train-5"
    assert len([name for name in rest if "/test/" in name]) == 7
    assert [sample["ID"] for sample in samples] == [f"S{number}" for number in range(13, 13 + len(samples))]


@pytest.mark.parametrize("old", ["val", "dev", "valid", "validation"])
def test_splits_under_their_old_names(tmp_path: Path, old: str) -> None:
    """`val` and `dev` are our `validation`."""

    class WithValidation(TonesProcessor):
        sizes = {"validation": 5, "train": 3}

    rest = WithValidation(checkpoint_dir=tmp_path).process_all_splits(checkpoint={**SEED, "current_split": old})

    assert source_ids(list(rest)) == [f"Tones/train/train-{index}" for index in range(3)]


def test_a_resumed_checkpoint_of_the_seed_counts_on(tmp_path: Path) -> None:
    """What is saved then has the samples of before in its count, and the newest IDs as plain strings."""
    processor = TonesProcessor(checkpoint_dir=tmp_path)
    samples = list(processor.process_all_splits(checkpoint=SEED))

    saved = json.loads((tmp_path / "Tones_unified_checkpoint.json").read_text())

    assert saved["samples_processed"] == 12 + len(samples)
    assert saved["last_sample_id"] == samples[-1]["ID"] == saved["processed_ids"][-1]
    again = TonesProcessor(checkpoint_dir=tmp_path)
    assert list(again.process_all_splits(checkpoint=again.load_unified_checkpoint())) == []


def test_processed_ids_are_the_newest_as_plain_strings(tmp_path: Path) -> None:
    """A bounded number, newest last; ranges of earlier versions load as strings, too."""
    processor = TonesProcessor(checkpoint_dir=tmp_path)
    path = Path(processor.save_unified_checkpoint(5000, "train", processed_ids=[f"S{n}" for n in range(1, 5001)]))
    assert json.loads(path.read_text())["processed_ids"] == [f"S{n}" for n in range(4901, 5001)]

    path.write_text(json.dumps({**SEED, "processed_ids": [["S1", "S5000"], "mine"]}))
    assert load_checkpoint(path)["processed_ids"] == [*(f"S{n}" for n in range(4902, 5001)), "mine"]


def test_a_processor_that_takes_all_four_arguments(tmp_path: Path) -> None:
    """As the seed's own signature has them, without defaults."""
    told: list[tuple[Any, ...]] = []

    class Strict(MyProcessor):
        def _process_single_split(self, split, checkpoint, sample_mode, sample_size):  # type: ignore[no-untyped-def]
            told.append((split, checkpoint, sample_mode, sample_size))
            yield from super()._process_single_split(split)

    list(Strict(checkpoint_dir=tmp_path).process_all_splits(sample_mode=True, sample_size=4))

    assert told == [("train", None, True, 4), ("test", None, True, 4)]


def test_rows_of_the_old_eight_columns(tmp_path: Path) -> None:
    """Made by hand, without `source_id` and what came later: taken, and named by split and ID."""

    class ByHand(MyProcessor):
        def _process_single_split(self, split, checkpoint=None, sample_mode=False, sample_size=5):  # type: ignore[no-untyped-def]
            for number in range(3):
                yield {"ID": f"S{number + 1}", "Language": "th", "audio": {"bytes": tone(number), "path": "a.wav"},
                       "transcript": "สวัสดี", "length": 9.9, "dataset_name": "ByHand", "speaker_id": "SPK_00001",
                       "confidence_score": 0.5}  # fmt: skip
            yield {"ID": "S4", "audio": {"bytes": b"no audio", "path": "a.wav"}, "transcript": ""}

    processor = ByHand(checkpoint_dir=tmp_path)
    samples = list(processor.process_all_splits())

    assert source_ids(samples) == [f"ByHand/{split}/S{n}" for split in ("train", "test") for n in (1, 2, 3)]
    assert {(row["speaker_id"], row["confidence_score"], row["transcript_raw"]) for row in samples} == {
        ("SPK_00001", 0.5, "สวัสดี")
    }
    assert all(row["audio_hash"] and row["length"] < 9 for row in samples)
    assert {split: books.rejected for split, books in processor.progress.items()} == {"train": 1, "test": 1}


def test_any_error_is_raised_after_a_checkpoint(tmp_path: Path) -> None:
    """Also one of a processor's own code: what it has yielded is not read again."""

    class Broken(TonesProcessor):
        def read(self, split: str, position: Position) -> Iterator[RawClip]:
            for clip in super().read(split, position):
                if clip.key == "train-5":
                    raise ZeroDivisionError
                yield clip

    with pytest.raises(ZeroDivisionError):
        list(Broken(checkpoint_dir=tmp_path).process_all_splits(checkpoint_interval=1000))

    saved = load_checkpoint(tmp_path / "Tones_unified_checkpoint.json")
    assert (saved["current_split"], saved["split_index"], saved["samples_processed"]) == ("train", 5, 12)


def test_a_checkpoint_that_fails_is_not_tried_again(tmp_path: Path) -> None:
    """A disk that could not keep it says yes the second time, and has lost what it did not keep."""
    processor = TonesProcessor(checkpoint_dir=tmp_path)
    tries: list[int] = []

    def make_durable(split: str, progress: Any) -> None:
        tries.append(progress.read)
        raise OSError(5, "Input/output error")

    processor.merge.make_durable = make_durable  # type: ignore[method-assign]
    with pytest.raises(OSError, match="Input/output error"):
        list(processor.process_all_splits(checkpoint_interval=3))

    assert tries == [3]


def test_a_processor_with_splits_of_the_old_names(tmp_path: Path) -> None:
    """Its own `val` is no other split."""

    class Old(TonesProcessor):
        sizes = {"val": 5, "train": 3}

    rest = Old(checkpoint_dir=tmp_path).process_all_splits(
        checkpoint={**SEED, "current_split": "val", "split_index": 2}
    )

    assert source_ids(list(rest))[:3] == [f"Tones/val/val-{index}" for index in (2, 3, 4)]


def test_a_row_by_hand_that_names_itself_keeps_its_name(tmp_path: Path) -> None:
    """Kept or refused."""

    class ByHand(MyProcessor):
        def _process_single_split(self, split, checkpoint=None, sample_mode=False, sample_size=5):  # type: ignore[no-untyped-def]
            yield {"source_id": f"mine/{split}/a", "audio": {"bytes": tone(1)}, "transcript": "ก"}
            yield {"source_id": f"mine/{split}/b", "audio": {"bytes": b"none"}, "transcript": "ข"}

    outcomes = [step.outcome for step in ByHand(checkpoint_dir=tmp_path).process_split("train", Progress())]

    assert isinstance(outcomes[0], dict) and outcomes[0]["source_id"] == "mine/train/a"
    assert isinstance(outcomes[1], Reject) and outcomes[1].source_id == "mine/train/b"


def test_verbose_tells_each_checkpoint_and_where_it_goes_on(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """Saved, read, converted, resumed: a line each."""
    (tmp_path / "old.json").write_text(json.dumps(STREAMING))
    with caplog.at_level("DEBUG"):
        take(TonesProcessor(checkpoint_dir=tmp_path), 14, checkpoint_interval=5)
        resumed = TonesProcessor(checkpoint_dir=tmp_path)
        list(resumed.process_all_splits(checkpoint=resumed.load_unified_checkpoint()))
        load_checkpoint(tmp_path / "old.json")

    told = "\n".join(record.getMessage() for record in caplog.records)
    for line in (
        "checkpoint saved: ",
        "checkpoint read: ",
        "older format (streaming): converted",
        "going on behind clip ",
    ):
        assert line in told


@pytest.mark.parametrize("content", [b"", b"{", b"[]", b"{}", b'{"mode": "unified"}', b'{"samples_processed": "x"}',
                         b'{"mode": "unified", "samples_processed": -1}'])  # fmt: skip
def test_unreadable_checkpoint_is_an_error_not_a_start_at_zero(tmp_path: Path, content: bytes) -> None:
    """Cannot tell is not empty."""
    (tmp_path / "bad.json").write_bytes(content)

    with pytest.raises(DamagedCheckpoint):
        load_checkpoint(tmp_path / "bad.json")


def test_damaged_latest_falls_back_to_the_newest_sound_one(tmp_path: Path) -> None:
    """A changed byte is noticed by the checksum; the history has the same checkpoint."""
    take(TonesProcessor(checkpoint_dir=tmp_path), 12, checkpoint_interval=5)
    latest = tmp_path / "Tones_unified_checkpoint.json"
    sound = json.loads(latest.read_text())
    latest.write_text(latest.read_text().replace('"samples_processed": ', '"samples_processed": 9'))

    assert TonesProcessor(checkpoint_dir=tmp_path).load_unified_checkpoint()["timestamp"] == sound["timestamp"]


def test_no_checkpoint_at_all_is_none(tmp_path: Path) -> None:
    """Only the absence of every file means that there is nothing to resume."""
    assert TonesProcessor(checkpoint_dir=tmp_path).load_unified_checkpoint() is None


def test_sample_mode_spreads_over_the_splits_train_the_most(tmp_path: Path) -> None:
    """Five samples of a source with two splits: one of test, four of train."""
    five = source_ids(list(TonesProcessor(checkpoint_dir=tmp_path).process_all_splits(sample_mode=True, sample_size=5)))

    assert [source_id.split("/")[1] for source_id in five] == ["test", "train", "train", "train", "train"]


if __name__ == "__main__":
    sys.exit(pytest.main([__file__, "-q"]))
