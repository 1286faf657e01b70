"""The promises that followed the 240-row accident: each sample is uploaded once, whatever is retried.

The uploader is the real one, against a real folder and against a real Hub server on loopback.
"""

import json
import shutil
from pathlib import Path

import pytest

from tests.hub_server import TOKEN, HubServer
from tests.support import published_ids, sample
from utils.dataset.folder import LocalTarget
from utils.dataset.hub_repo import HubTarget
from utils.errors import Stopped, TargetRefused, UsageError
from utils.streaming import StreamingUploader
from utils.upload.upload_checkpoint import load_uploaded


def uploader(folder: Path, **options: object) -> StreamingUploader:
    """An uploader to the folder `out`, as a script on one machine would make it again and again."""
    return StreamingUploader(
        "me/thai-voice",
        checkpoint_path=folder / "upload_checkpoint.json",
        target=LocalTarget(folder / "out"),
        staging_dir=folder / "staging",
        **options,
    )


def test_uploads_each_sample_exactly_once(tmp_path: Path) -> None:
    """Twelve tries of the same twenty samples make twenty rows, not 240."""
    for _ in range(12):
        again = uploader(tmp_path)
        for number in range(1, 21):
            again.add_sample(sample(number))
        again.flush()

    assert published_ids(tmp_path / "out") == [f"S{number}" for number in range(1, 21)]


def test_checkpoint_tracks_the_uploaded_ids(tmp_path: Path) -> None:
    """After a batch the checkpoint file names its IDs, as the plain list that older programs read."""
    uploader(tmp_path).upload_batch(sample(number) for number in range(1, 6))

    content = json.loads((tmp_path / "upload_checkpoint.json").read_text())
    assert content["uploaded_ids"] == ["S1", "S2", "S3", "S4", "S5"]
    assert (content["samples_uploaded"], content["split"], content["shard_index"]) == (5, "train", 1)


def test_resume_uploads_only_what_is_new(tmp_path: Path) -> None:
    """A second run that offers old and new samples adds the new ones."""
    uploader(tmp_path).upload_batch(sample(number) for number in range(1, 11))

    resumed = uploader(tmp_path)
    added = resumed.upload_batch(sample(number) for number in range(6, 16))

    assert added == 5
    assert published_ids(tmp_path / "out") == [f"S{number}" for number in range(1, 16)]


def test_resume_without_the_checkpoint_file_uploads_nothing_twice(tmp_path: Path) -> None:
    """The target's own rows tell what is uploaded; a lost checkpoint file loses nothing (append mode)."""
    uploader(tmp_path).upload_batch(sample(number) for number in range(1, 11))
    (tmp_path / "upload_checkpoint.json").unlink()

    uploader(tmp_path, append_mode=True).upload_batch(sample(number) for number in range(1, 12))

    assert published_ids(tmp_path / "out") == [f"S{number}" for number in range(1, 12)]


def test_splits_keep_separate_checkpoints(tmp_path: Path) -> None:
    """The same ID in two splits is two samples, each remembered in its split's own file."""
    paths = {split: tmp_path / f"{split}_upload_checkpoint.json" for split in ("train", "test")}
    for split, path in paths.items():
        target = LocalTarget(tmp_path / "out")
        StreamingUploader(
            "me/thai-voice", split=split, checkpoint_path=path, append_mode=True, target=target,
            staging_dir=tmp_path / "staging",
        ).upload_batch([sample(1), sample(2)])  # fmt: skip

    assert {split: list(load_uploaded(path)["uploaded_ids"]) for split, path in paths.items()} == {
        "train": ["S1", "S2"],
        "test": ["S1", "S2"],
    }


def test_samples_of_a_killed_run_wait_in_the_staging_and_are_uploaded_once(tmp_path: Path) -> None:
    """A batch that was made durable but never committed is published by the next run, not lost, not doubled."""
    dying = uploader(tmp_path)
    for number in range(1, 6):
        dying.add_sample(sample(number))
    dying.split_uploader.make_durable(dying.split_uploader.progress)

    uploader(tmp_path, append_mode=True).upload_batch(sample(number) for number in range(1, 8))

    assert sorted(published_ids(tmp_path / "out")) == [f"S{number}" for number in range(1, 8)]


def test_failed_upload_publishes_its_samples_when_retried(tmp_path: Path) -> None:
    """An ID is not "uploaded" before its commit: a failed flush raises, a second one publishes."""
    with HubServer(tmp_path / "hub") as hub, pytest.MonkeyPatch.context() as environment:
        environment.setenv("HF_ENDPOINT", hub.endpoint)
        target = HubTarget("me/thai-voice", TOKEN, tmp_path, patience_s=0)
        target.open()
        failing = StreamingUploader(
            "me/thai-voice", checkpoint_path=tmp_path / "c.json", target=target, staging_dir=tmp_path / "staging"
        )
        for number in range(1, 4):
            failing.add_sample(sample(number))
        hub.fault("status", step="commit", status=503, times=3)
        with pytest.raises(Stopped):
            failing.flush()
        assert len(failing.uploaded_ids) == 0

        assert failing.flush() == 3

        assert list(failing.uploaded_ids) == ["S1", "S2", "S3"]


def test_checkpoint_is_written_whole_or_not_at_all(tmp_path: Path) -> None:
    """A torn temporary file beside the checkpoint changes nothing: the old content is what loads."""
    uploader(tmp_path).upload_batch([sample(1)])
    (tmp_path / "upload_checkpoint.json.tmp").write_bytes(b'{"uploaded_ids": ["S1", "S')

    assert list(load_uploaded(tmp_path / "upload_checkpoint.json")["uploaded_ids"]) == ["S1"]


@pytest.mark.parametrize("content", ['["S1", "S2", "custom"]', '{"uploaded_ids": ["S1", "S2", "custom"]}'])
def test_older_checkpoints_load(tmp_path: Path, content: str) -> None:
    """A plain list of IDs, bare or in an object, loads."""
    (tmp_path / "old.json").write_text(content)

    assert load_uploaded(tmp_path / "old.json")["uploaded_ids"] == {"S1", "S2", "custom"}


def test_file_of_an_older_program_puts_no_dataset_away(tmp_path: Path) -> None:
    """It was to be gone on with: a dataset without a state is refused, one that has one is added to."""
    (tmp_path / "upload_checkpoint.json").write_text('["S1", "S2"]')
    shard = tmp_path / "out/data/train/train-00000.parquet"
    shard.parent.mkdir(parents=True)
    shard.write_bytes(b"an older program's")
    with pytest.raises(TargetRefused, match="--repair"):
        uploader(tmp_path)
    assert shard.read_bytes() == b"an older program's"

    shutil.rmtree(tmp_path / "out")
    with StreamingUploader("me/x", target=LocalTarget(tmp_path / "out"), staging_dir=tmp_path / "s") as first:
        first.upload_batch([sample(1)])
    (tmp_path / "upload_checkpoint.json").write_text('["S1", "S2"]')
    assert uploader(tmp_path).upload_batch([sample(1), sample(2)]) == 1

    assert published_ids(tmp_path / "out") == ["S1", "S2"]


def test_damaged_checkpoint_is_an_error_not_an_empty_set(tmp_path: Path) -> None:
    """Cannot tell is not empty."""
    (tmp_path / "bad.json").write_text('{"uploaded_ids": [["S9", "S1"]]}')

    with pytest.raises(UsageError, match="damaged"):
        load_uploaded(tmp_path / "bad.json")


def test_ids_of_any_form_are_deduplicated(tmp_path: Path) -> None:
    """IDs need not be S<n>; after a restart they are known from the published rows."""
    uploader(tmp_path).upload_batch([sample(1, ID="clip-ก"), sample(2, ID="../x")])

    assert uploader(tmp_path).upload_batch([sample(3, ID="clip-ก"), sample(4, ID="../x"), sample(5, ID="new")]) == 1
    assert published_ids(tmp_path / "out") == ["clip-ก", "../x", "new"]


def test_sample_without_an_id_is_refused(tmp_path: Path) -> None:
    """Nothing would tell it from its own copy."""
    with pytest.raises(UsageError, match="without an ID"):
        uploader(tmp_path).add_sample({"audio": b"x"})
