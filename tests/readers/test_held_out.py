"""Common Voice's validated clips as train: nothing of dev and test leaks, by sentence or speaker; all is counted."""

import io
import tarfile
from pathlib import Path

import pytest

from pipeline.cli import parse
from pipeline.run.source_run import fingerprint
from tests.audit.test_verify import broken, checked
from tests.mirrors import Open, clips_of, opener
from tests.processors.test_mozilla_cv import as_archive
from tests.small_runs import small_run
from tests.support import published_rows, tone
from utils.errors import UsageError
from utils.rows.progress import Progress
from utils.rows.schema import RawClip

SOURCE = "MozillaCommonVoice"
ROOT = "cv-corpus-25.0-2026-03-09/th"
HEADER = "client_id\tpath\tsentence"
DEV = [("ann", "d1.mp3", "ไปไหน"), ("", "d2.mp3", "สวัสดี ครับ!")]
TEST = [("bob", "t1.mp3", "เเม่มา"), ("eve", "t2.mp3", "It's OK."), ("", "t3.mp3", "ชุด ๒๐ บาท")]
TRAIN = [("dan", "v1.mp3", "หนึ่ง")]
OTHERS = [
    ("dan", "v1.mp3", "หนึ่ง"),
    ("ann", "v2.mp3", "เสียงของแอน"),
    ("dan", "v3.mp3", "ไปไหน"),
    ("", "v4.mp3", "สวัสดีครับ"),
    ("fay", "v5.mp3", "แม่มา"),
    ("fay", "v6.mp3", "its ok"),
    ("fay", "v7.mp3", "it's ok"),
    ("", "v8.mp3", "สอง"),
    ("bob", "v9.mp3", "สาม"),
    ("", "v10.mp3", "..."),
    ("", "v11.mp3", "ชุด 20 บาท"),
    ("", "v12.mp3", "ชุด ２０ บาท"),
    ("", "v13.mp3", "ชุด 21 บาท"),
]
"""Beside dev and test in `validated.tsv`."""
LEFT = ["v1", "v6", "v8", "v10", "v13"]
"""Of train. `its` is another word than `it's`."""


def release() -> dict[str, bytes]:
    """An extracted release: `validated.tsv` has dev and test, too; the content of a clip is its own sound."""
    tables = {"train": TRAIN, "dev": DEV, "test": TEST, "validated": [*DEV, *TEST, *OTHERS]}
    files = {
        f"{ROOT}/{name}.tsv": "\n".join([HEADER, *("\t".join(row) for row in rows), ""]).encode()
        for name, rows in tables.items()
    }
    clips = [clip for _, clip, _ in tables["validated"]]
    return {**files, **{f"{ROOT}/clips/{clip}": tone(number, 0.15) for number, clip in enumerate(clips)}}


@pytest.fixture
def opened(tmp_path: Path) -> Open:
    return opener(tmp_path)


@pytest.mark.parametrize("packed", [False, True], ids=["extracted", "archive"])
def test_what_dev_and_test_hold_is_left_out(opened: Open, packed: bool) -> None:
    """Their clips, their speakers' clips and their sentences in whatever spelling; a clip nobody names stays."""
    files = as_archive(release()) if packed else release()

    clips = clips_of(opened(SOURCE, files, split="validated"))

    assert sorted(clip.key for clip in clips if clip.selected) == sorted(LEFT)
    assert len(clips) == len(DEV) + len(TEST) + len(OTHERS)
    assert all(clip.audio is None for clip in clips if not clip.selected)
    assert all(clip.audio for clip in clips if clip.selected)


@pytest.mark.parametrize("packed", [False, True], ids=["extracted", "archive"])
def test_reading_goes_on_from_every_clip(opened: Open, packed: bool) -> None:
    """What is left out has a position, too."""
    files = as_archive(release()) if packed else release()
    processor = opened(SOURCE, files, split="validated")
    whole = clips_of(processor)

    for at, clip in enumerate(whole[:-1]):
        assert list(processor.read("train", clip.position)) == whole[at + 1 :]


def test_the_official_splits_are_as_they_were(opened: Open) -> None:
    """Without the option, and dev and test with it."""
    official, validated = opened(SOURCE, release()), opened(SOURCE, release(), split="validated")

    assert [clip.key for clip in clips_of(official)] == ["v1"]
    for split, names in {"validation": ["d1", "d2"], "test": ["t1", "t2", "t3"]}.items():
        found = [clips_of(processor, split) for processor in (official, validated)]
        assert [[clip.key for clip in clips] for clips in found] == [names, names]
        assert all(clip.selected for clips in found for clip in clips)


def test_the_books_count_what_is_left_out(tmp_path: Path) -> None:
    """As unselected: nothing is wrong with these clips."""
    for name, content in release().items():
        path = tmp_path / "mirrors/common_voice" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content)

    result = small_run(tmp_path, sources=(SOURCE,), source_options={SOURCE: {"split": "validated"}})

    progress: Progress = result.splits[SOURCE, "train"]
    assert (progress.read, progress.kept, progress.unselected) == (18, 5, 13)
    names = [name.split("/")[2] for name in published_rows(tmp_path / "out", ["source_id"])["source_id"].to_pylist()]
    assert sorted(names) == sorted(["d1", "d2", "t1", "t2", "t3", *LEFT])
    assert broken(checked(tmp_path / "out", deep=True)) == {}


def test_the_option_is_part_of_what_a_source_was_begun_with() -> None:
    """In either spelling the same; as it is by default it says nothing."""
    plain, official, ours, long = (
        fingerprint(parse(["--fresh", SOURCE, *given]), SOURCE)
        for given in (
            [],
            ["--cv-split", "official"],
            ["--cv-split", "validated"],
            ["--source-option", f"{SOURCE}.split=validated"],
        )
    )

    assert plain == official
    assert ours == long == {**plain, "option.split": "validated"}
    with pytest.raises(UsageError, match="does not name"):
        parse(["--fresh", "GigaSpeech2", "--cv-split", "validated"])


def test_a_member_behind_the_clips_is_known_before_the_first_clip(opened: Open) -> None:
    """The tables of dev and test may be the last members of an archive."""
    files = release()
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w:gz") as tar:
        for name in sorted(files, key=lambda name: (not name.endswith(".mp3"), name)):
            member = tarfile.TarInfo(name)
            member.size = len(files[name])
            tar.addfile(member, io.BytesIO(files[name]))

    clips: list[RawClip] = clips_of(
        opened(SOURCE, {"cv-corpus-25.0-2026-03-09-th.tar.gz": buffer.getvalue()}, split="validated")
    )

    assert sorted(clip.key for clip in clips if clip.selected) == sorted(LEFT)
