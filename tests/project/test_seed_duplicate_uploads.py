"""The founding document on duplicate uploads, in its order: the class for scripts, its file, and what was promised."""

import json
from collections.abc import Set
from inspect import signature
from pathlib import Path

import pytest

from tests.project.founding import DIFFERS, KEPT, RENAMED, Row
from tests.support import published_ids, sample
from utils.dataset.folder import LocalTarget
from utils.streaming import StreamingUploader
from utils.upload.split_uploader import SplitUploader

FIX = "tests/upload/test_checkpoint_duplication_fix.py"
IDS = "tests/upload/test_uploaded_ids.py"

ROWS = (
    Row(
        "twenty samples are twenty rows, however often they are tried: not 240",
        KEPT,
        f"{FIX}::test_uploads_each_sample_exactly_once",
    ),
    Row(
        "`StreamingUploader` knows which IDs are uploaded",
        KEPT,
        f"{FIX}::test_resume_without_the_checkpoint_file_uploads_nothing_twice",
    ),
    Row("`uploaded_ids`", KEPT, "test_uploaded_ids_are_asked_like_a_set"),
    Row("the parameter `checkpoint_path`", KEPT, "test_constructor_of_the_document"),
    Row("its file is saved and loaded", KEPT, f"{FIX}::test_checkpoint_tracks_the_uploaded_ids"),
    Row(
        "what the file lists counts as uploaded",
        DIFFERS,
        f"{FIX}::test_file_of_an_older_program_puts_no_dataset_away",
        (
            "what the target holds does: a file of another dataset, or of an older program, would keep samples out. "
            "With a file of an older program nothing is put away: a dataset of it gets its state with `--repair` "
            "first"
        ),
    ),
    Row("it is written atomically", KEPT, f"{FIX}::test_checkpoint_is_written_whole_or_not_at_all"),
    Row("`add_sample()` looks for the ID first", KEPT, "test_add_sample_and_upload_batch_pass_over_what_is_there"),
    Row(
        "`upload_batch()` leaves out what is uploaded", KEPT, "test_add_sample_and_upload_batch_pass_over_what_is_there"
    ),
    Row("the file is saved after each upload that worked", KEPT, f"{FIX}::test_checkpoint_tracks_the_uploaded_ids"),
    Row("`main.py` makes the file's path of the repo's name", KEPT, "test_files_name"),
    Row(
        "`StreamingUploader(..., checkpoint_path=...)` in `utils/streaming.py`",
        KEPT,
        "test_constructor_of_the_document",
    ),
    Row(
        "an ID counts as uploaded before its upload has ended",
        DIFFERS,
        f"{FIX}::test_failed_upload_publishes_its_samples_when_retried",
        "after its commit has landed: if the upload fails, the sample would be lost",
    ),
    Row(
        "a sample without an `ID` gets its number",
        DIFFERS,
        f"{FIX}::test_sample_without_an_id_is_refused",
        "it is refused: nothing would tell it from its own copy",
    ),
    Row(
        "`checkpoints/{repo, _ for /}_upload_checkpoint.json`",
        RENAMED,
        "test_files_name",
        (
            "the split's name stands before `_upload_checkpoint`; a path that is given is taken as it is, and one of "
            "the old form is kept in `archive/`"
        ),
    ),
    Row(
        "`StreamingUploader(repo_id, token, private, append_mode, checkpoint_path)`",
        KEPT,
        "test_constructor_of_the_document",
    ),
    Row(
        "`main.py` makes a `StreamingUploader`",
        DIFFERS,
        "test_class_and_run_share_an_uploader",
        (
            "the class is for scripts; a run has the part below it, `utils/upload/split_uploader.py`, as it gives IDs"
            " and the class keeps those of its samples"
        ),
    ),
    Row(
        "the tests `test_checkpoint_duplication_fix.py`",
        RENAMED,
        f"{FIX}::test_uploads_each_sample_exactly_once",
        "`tests/upload/test_checkpoint_duplication_fix.py`",
    ),
    Row("they try: each sample once", KEPT, f"{FIX}::test_uploads_each_sample_exactly_once"),
    Row("... the files name the uploaded IDs", KEPT, f"{IDS}::test_checkpoint_says_where_many_ids_are_and_stays_small"),
    Row("... a resume uploads nothing again", KEPT, f"{FIX}::test_resume_uploads_only_what_is_new"),
    Row("... splits have files of their own", KEPT, f"{FIX}::test_splits_keep_separate_checkpoints"),
    Row("... a torn write damages nothing", KEPT, f"{FIX}::test_checkpoint_is_written_whole_or_not_at_all"),
    Row(
        "no duplicates, in whatever case",
        KEPT,
        f"{FIX}::test_samples_of_a_killed_run_wait_in_the_staging_and_are_uploaded_once",
    ),
    Row("uploads are resumed", KEPT, f"{FIX}::test_resume_uploads_only_what_is_new"),
    Row("what was before goes on working", KEPT, f"{FIX}::test_older_checkpoints_load"),
    Row(
        "asking for an ID takes no time: a set",
        RENAMED,
        f"{IDS}::test_thousands_of_names_are_uploaded_once_and_known_again",
        "ranges in memory, names in an index on the disk: memory does not grow with the samples",
    ),
    Row("nothing of existing code has to change", KEPT, "test_constructor_of_the_document"),
    Row("a file appears in `checkpoints/`", KEPT, "test_files_name"),
    Row("all uploaded IDs are tracked", KEPT, f"{IDS}::test_uploaded_ids_are_a_set_of_all_of_them"),
    Row("what was uploaded is passed over", KEPT, "test_add_sample_and_upload_batch_pass_over_what_is_there"),
    Row("the next run knows of it", KEPT, f"{IDS}::test_thousands_of_names_are_uploaded_once_and_known_again"),
)


@pytest.fixture(autouse=True)
def _in_a_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Scripts write below the folder that they are run in."""
    monkeypatch.chdir(tmp_path)


def uploader(**options: object) -> StreamingUploader:
    return StreamingUploader("me/thai-voice", target=LocalTarget(Path("out")), **options)  # type: ignore[arg-type]


def test_constructor_of_the_document() -> None:
    """Its five parameters by name, all but the repo with a default; scripts of before work as they are."""
    parameters = signature(StreamingUploader).parameters

    for name in ("repo_id", "token", "private", "append_mode", "checkpoint_path"):
        assert name in parameters
    made = uploader(token="hf_none", private=True, append_mode=False, checkpoint_path="checkpoints/mine.json")
    assert made.add_sample(sample(1)) and made.flush() == 1
    assert json.loads(Path("checkpoints/mine.json").read_text())["uploaded_ids"] == ["S1"]


def test_uploaded_ids_are_asked_like_a_set() -> None:
    """Empty until a commit has landed."""
    made = uploader()
    made.add_sample(sample(1))
    assert isinstance(made.uploaded_ids, Set) and "S1" not in made.uploaded_ids

    made.flush()

    assert "S1" in made.uploaded_ids and list(made.uploaded_ids) == ["S1"]


def test_add_sample_and_upload_batch_pass_over_what_is_there() -> None:
    """Within a batch, of an earlier batch, and of an earlier run."""
    made = uploader()
    assert [made.add_sample(sample(number)) for number in (1, 2, 1)] == [True, True, False]
    assert made.upload_batch([sample(2), sample(3)]) == 3
    assert not made.add_sample(sample(3))
    made.close()

    with uploader(append_mode=True) as again:
        assert again.upload_batch([sample(3), sample(4)]) == 1
    assert published_ids(Path("out")) == ["S1", "S2", "S3", "S4"]


@pytest.mark.parametrize("old", ['["S1", "S2"]', '{"uploaded_ids": ["S1"], "samples_uploaded": 1}'])
def test_files_name(old: str) -> None:
    """By the repo and the split, in `checkpoints/`; what an older program wrote there is put away, not replaced."""
    path = Path("checkpoints/me_thai-voice_train_upload_checkpoint.json")
    path.parent.mkdir()
    path.write_text(old)

    uploader().upload_batch([sample(1)])

    assert json.loads(path.read_text())["uploaded_ids"] == ["S1"]
    assert (path.parent / "archive/of-an-older-version" / path.name).read_text() == old


def test_class_and_run_share_an_uploader() -> None:
    """What a run publishes with is what the class has inside."""
    assert isinstance(uploader().split_uploader, SplitUploader)
