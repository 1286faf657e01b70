"""Pointers of Git LFS and web pages where a clip, a table or a Parquet file should be: told as what they are."""

import io
from collections.abc import Callable, Mapping
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from pipeline.run.run import RunResult
from tests.corpus_mirrors import tar_of, write_files, zip_of
from tests.hub_server import HubServer
from tests.mirrors import clips_of, opener
from tests.processors.test_own_sources import load, source
from tests.small_runs import small_run
from tests.support import published_rows, tone
from utils.errors import SourceError
from utils.rows.schema import AUDIO_TYPE

POINTER = b"version https://git-lfs.github.com/spec/v1\noid sha256:" + b"0" * 64 + b"\nsize 12345\n"
PAGE = b"<!DOCTYPE html>\n<html><title>Please log in</title></html>"
NAMES = [f"clips/{number}.wav" for number in range(4)]
TABLE = "file,sentence\n" + "".join(f"{name},ข้อที่ {name}\n" for name in NAMES)
SOUND = {name: tone(number) for number, name in enumerate(NAMES)} | {"train.csv": TABLE.encode()}
POINTERS = dict.fromkeys(NAMES, POINTER) | {"train.csv": TABLE.encode()}

Files = Mapping[str, bytes]
PACKED: dict[str, Callable[[Files], Files]] = {
    "loose": lambda files: files,
    "zip": lambda files: {"corpus.zip": zip_of(files)},
    "tar": lambda files: {"corpus.tar": tar_of(files)},
    "tar.gz": lambda files: {"corpus.tar.gz": tar_of(files, "w:gz")},
}


def read(machine: Path, files: Files, reader: str = "table", location: str = "corpus") -> RunResult:
    if location == "corpus":
        write_files(machine / "corpus", files)
        location = str(machine / "corpus")
    own = load(machine, source(location, reader=reader))
    return small_run(machine, sources=("MyCorpus",), own_sources=own, source_dir=None)


def parquet(*audio: bytes) -> bytes:
    sink = io.BytesIO()
    clips = pa.array([{"bytes": content, "path": None} for content in audio], AUDIO_TYPE)
    pq.write_table(pa.table({"audio": clips, "text": [f"ข้อที่ {number}" for number in range(len(audio))]}), sink)
    return sink.getvalue()


@pytest.mark.parametrize("packed", PACKED)
@pytest.mark.parametrize("what", ["clips", "table"])
def test_a_corpus_of_pointers_is_no_green_run(tmp_path: Path, packed: str, what: str) -> None:
    """Loose or in archives that were packed of them: it stops, nothing is published, and the command is named."""
    files = POINTERS if what == "clips" else SOUND | {"train.csv": POINTER}

    (failure,) = read(tmp_path, PACKED[packed](files)).failures.values()

    assert "is a Git LFS pointer" in failure and "`git lfs pull`" in failure and "--resume" in failure
    assert not list((tmp_path / "out").rglob("*.parquet"))


WHOLE = {
    "a Parquet file": {"train.parquet": POINTER},
    "the clips in one": {"train.parquet": parquet(POINTER, POINTER)},
    "an archive": {"c.zip": POINTER},
}


@pytest.mark.parametrize("what", WHOLE)
def test_whole_files_that_are_pointers_are_told_as_that(tmp_path: Path, what: str) -> None:
    """Whoever cloned the corpus without its contents."""
    files = WHOLE[what]
    (failure,) = read(tmp_path, files, "parquet" if "train.parquet" in files else "table").failures.values()

    assert "is a Git LFS pointer" in failure and "git lfs pull" in failure


@pytest.mark.parametrize("streaming", [False, True])
def test_pointers_that_a_repo_has_as_its_files_are_told_as_that(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, streaming: bool
) -> None:
    """Somebody pushed a clone without its contents."""
    write_files(tmp_path / "repo", POINTERS)
    with HubServer(tmp_path / "hub") as hub:
        hub.add_dataset("me/corpus", tmp_path / "repo")
        monkeypatch.setenv("HF_ENDPOINT", hub.endpoint)
        own = load(tmp_path, source("me/corpus"))
        result = small_run(tmp_path, sources=("MyCorpus",), own_sources=own, source_dir=None, streaming=streaming)

    (failure,) = result.failures.values()
    assert "is a Git LFS pointer" in failure


@pytest.mark.parametrize("packed", ["zip", "tar", "tar.gz"])
@pytest.mark.parametrize(
    ("content", "says"), [(POINTER, "a Git LFS pointer"), (PAGE, "a web page")], ids=["pointer", "page"]
)
def test_one_in_an_archive_of_sound_clips_is_a_reject_that_says_so(
    tmp_path: Path, packed: str, content: bytes, says: str
) -> None:
    """Nobody can mend somebody else's archive: the other clips are published."""
    result = read(tmp_path, PACKED[packed](SOUND | {NAMES[2]: content}))

    assert not result.failures
    assert len(published_rows(tmp_path / "out")) == len(NAMES) - 1
    (rejects,) = (tmp_path / "out").rglob("rejected/**/*.parquet")
    ((reason, detail),) = {(row["reason"], row["detail"]) for row in pq.read_table(rejects).to_pylist()}
    assert reason == "undecodable" and detail.startswith(says)


@pytest.mark.parametrize(
    ("name", "files"),
    [
        ("GigaSpeech2", ("data/th/train_refined.tsv", "data/th/train/0.tar.gz")),
        ("ProcessedVoiceTH", ("data/train-00000-of-00001.parquet",)),
        ("MozillaCommonVoice", ("cv-corpus-25.0-2026-03-09-th.tar.gz",)),
        ("MozillaCommonVoice", ("cv-corpus-25.0-2026-03-09/th/train.tsv", "cv-corpus-25.0-2026-03-09/th/clips/a.mp3")),
    ],
)
def test_mirrors_of_pointers_are_told_as_that(tmp_path: Path, name: str, files: tuple[str, ...]) -> None:
    """A clone of a source's repo, in whatever layout."""
    processor = opener(tmp_path)(name, dict.fromkeys(files, POINTER))

    with pytest.raises(SourceError, match="is a Git LFS pointer"):
        clips_of(processor)
