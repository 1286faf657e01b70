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


def test_seed_format_resumes_at_its_split_and_index(tmp_path: Path) -> None:
    """A unified checkpoint as the seed writes it (no exact positions) goes on in its split, after its index."""
    seed = {"mode": "unified", "samples_processed": 12, "current_split": "train", "split_index": 5, "shard_num": 0,
            "last_sample_id": "S12", "processed_ids": ["S11", "S12"], "dataset_specific": {}, "timestamp": 1,
            "processor": "TonesProcessor"}  # fmt: skip

    rest = source_ids(list(TonesProcessor(checkpoint_dir=tmp_path).process_all_splits(checkpoint=seed)))

    assert rest[0] == "Tones/train/train-5"
    assert not any("/test/" in source_id for source_id in rest)


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
