"""What would be read wrongly or not at all, without a word: changed files of the same size, lists that end early."""

import struct
from collections.abc import Callable
from pathlib import Path

import pytest

from processors.configured.own_source import OwnSource
from tests.corpus_mirrors import tar_of, write_files, zip_of
from tests.processors.test_own_sources import CORPUS, SPLITS, clips, load, source
from tests.runs import run, run_until
from tests.small_runs import SOURCE, write_mirror
from utils.errors import SourceError


def own(folder: Path, location: str, *lines: str) -> OwnSource:
    return load(folder, source(location, *lines))["MyCorpus"]


@pytest.mark.parametrize("way", ["{}", "file://{}"])
@pytest.mark.parametrize("packed", [None, tar_of, zip_of], ids=["loose", "tar", "zip"])
def test_a_file_that_changed_and_kept_its_size_is_read_anew(
    tmp_path: Path, packed: Callable[..., bytes] | None, way: str
) -> None:
    """What an earlier run has noted of a corpus is of the files that it saw: of a table, and of where clips lie."""
    turned = {**CORPUS, "train.tsv": CORPUS["train.tsv"].replace("ข้อ 1".encode(), "ข้อ 9".encode())}
    folder = tmp_path / "corpus"

    def put(content: dict[str, bytes]) -> None:
        if packed is None:
            write_files(folder, content)
        else:
            write_files(folder, {"all" + (".tar" if packed is tar_of else ".zip"): packed(content)})

    put(CORPUS)
    before = clips(own(tmp_path, way.format(folder), SPLITS), tmp_path)
    put(dict(reversed(turned.items())))
    after = clips(own(tmp_path, way.format(folder), SPLITS), tmp_path)

    assert [clip.transcript for clip in before] == ["ข้อ 0", "ข้อ 1", "ข้อ 2", "ข้อ 3"]
    assert [clip.transcript for clip in after] == ["ข้อ 0", "ข้อ 9", "ข้อ 2", "ข้อ 3"]
    assert [clip.audio for clip in after] == [clip.audio for clip in before]


def test_another_corpus_with_files_of_the_same_names_and_sizes_is_another(tmp_path: Path) -> None:
    other = CORPUS["train.tsv"].replace("ข้อ".encode(), "คำบ".encode())
    for name, content in (("one", CORPUS), ("two", {**CORPUS, "train.tsv": other})):
        write_files(tmp_path / name, content)

    first = clips(own(tmp_path, "one", SPLITS), tmp_path)
    second = clips(own(tmp_path, "two", SPLITS), tmp_path)

    assert [clip.transcript for clip in first] != [clip.transcript for clip in second]


def test_archives_that_were_joined_are_refused(tmp_path: Path) -> None:
    """Behind the end of the first one nobody looks; zeros alone may stand there."""
    first, second = tar_of(CORPUS), tar_of({"clips/c7.wav": b"more"})
    (tmp_path / "c.tar").write_bytes(first + bytes(50_000))
    assert len(clips(own(tmp_path, "c.tar", SPLITS), tmp_path)) == 4
    (tmp_path / "c.tar").write_bytes(first + second)

    with pytest.raises(SourceError, match="more data after its end mark"):
        clips(own(tmp_path, "c.tar", SPLITS), tmp_path)


def test_a_zip_whose_list_has_more_than_it_says_is_refused(tmp_path: Path) -> None:
    whole = zip_of(CORPUS)
    at = whole.rfind(b"PK\x05\x06")
    (tmp_path / "c.zip").write_bytes(whole[: at + 8] + struct.pack("<HH", 4, 4) + whole[at + 12 :])

    with pytest.raises(SourceError, match="more members than the 4"):
        clips(own(tmp_path, "c.zip", SPLITS), tmp_path)


@pytest.mark.parametrize(
    "table", ["", "path\tsentence\n", "path\tsentence\n\tข้อ 1\n"], ids=["empty", "header", "nameless"]
)
def test_tables_that_name_no_clip_beside_clips_are_no_corpus(tmp_path: Path, table: str) -> None:
    """Else all clips were left out, and the run was green."""
    write_files(tmp_path / "corpus", {**CORPUS, **dict.fromkeys(("train.tsv", "dev.tsv", "test.tsv"), table.encode())})

    with pytest.raises(SourceError, match="no row of its tables names a clip"):
        clips(own(tmp_path, "corpus", SPLITS), tmp_path)


def test_a_table_of_two_splits_is_refused(tmp_path: Path) -> None:
    """The first pattern had it: test clips went into train."""
    write_files(tmp_path / "corpus", CORPUS)

    with pytest.raises(SourceError, match="test.tsv is a table of train and of test"):
        clips(own(tmp_path, "corpus", 'splits: {train: "*.tsv", test: test.tsv}'), tmp_path)


def test_a_target_that_was_moved_away_meanwhile_is_not_called_whole(tmp_path: Path) -> None:
    """Files that an earlier commit of the run has put there are gone: exit 6 with their names."""
    write_mirror(tmp_path / "mirrors", {"test": range(3), "validation": range(10, 13), "train": range(100, 400)})
    command = ["--fresh", SOURCE, "--source-dir", "mirrors", "--output", "out", "--upload-batch-size", "3"]

    def reached() -> bool:
        shards = sorted((tmp_path / "out/data/train").glob("*.parquet"))
        if len(shards) > 3:
            shards[0].unlink()
        return len(shards) > 3

    done = run_until(command, tmp_path, reached, send=0)

    assert done.returncode == 6
    assert "data/train" in done.stderr
    assert run([*command, "--resume"], tmp_path).returncode == 6
