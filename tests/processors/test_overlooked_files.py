"""Files that hold clips of a source and that its reader would pass over: refused or told, never left out in silence."""

import bz2
import gzip
import io
import math
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from processors.base_processor import ProcessorConfig
from processors.configured.own_source import OwnSource
from processors.readers.spec import Columns, ParquetSpec, TableSpec
from processors.source_info import Location
from tests.corpus_mirrors import tar_of, write_files, zip_of
from tests.processors.test_own_sources import parquet
from tests.processors.test_table_source import INFO, SPEC, Files
from tests.support import tone
from utils.errors import SourceError
from utils.rows.schema import AUDIO_TYPE, START, RawClip
from utils.sources.source_files import SourceAccess

COLUMNS = Columns(audio=("speech",), transcript=("words",))
PARQUET = ParquetSpec(COLUMNS)


def read(folder: Path, files: Files, spec: ParquetSpec | TableSpec, split: str = "train") -> list[RawClip]:
    write_files(folder / "source", files)
    own = OwnSource("Corpus", INFO, spec, Location(str(folder / "source")))
    processor = own.processor_class()(ProcessorConfig(access=SourceAccess(cache_dir=folder / "cache")))
    return list(processor.read(split, dict(START)))


@pytest.mark.parametrize("split", ["train", "test"])
def test_a_parquet_file_of_two_splits_is_refused(tmp_path: Path, split: str) -> None:
    """A clip of test would be in train as well."""
    files = {"train-0.parquet": parquet(range(2)), "test-0.parquet": parquet(range(2, 3))}
    spec = ParquetSpec(COLUMNS, {"train": ("*.parquet",), "test": ("test-*.parquet",)})

    with pytest.raises(SourceError, match=r"test-0\.parquet is a file of train and of test"):
        read(tmp_path, files, spec, split)


@pytest.mark.parametrize(
    "other", ["train-1.PARQUET", "x/train-1.parq", "train-1.pq", "train-1.parquet.gz", "more.zip/d/train-1.parquet"]
)
def test_parquet_that_is_not_called_so_is_refused(tmp_path: Path, other: str) -> None:
    """Half of a corpus would be missing, and nothing would say so."""
    archive, _, member = other.rpartition(".zip/")
    content = parquet(range(2, 4))
    files = {f"{archive}.zip": zip_of({member: content})} if archive else {other: content}
    spec = ParquetSpec(COLUMNS, {"train": ("train-*.parquet",)})

    for each in (PARQUET, spec):
        with pytest.raises(SourceError, match=f"{other} seems to be a Parquet file"):
            read(tmp_path, {"train-0.parquet": parquet(range(2)), **files}, each)


def test_what_is_none_of_the_corpus_is_passed_over(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """By the patterns of its definition; what can't be told is said."""
    others = {
        "old.parq": b"x",
        "notes.zip": zip_of({"a.txt": b"x"}),
        "raw.tar": tar_of({"a.wav": b"x"}),
        "bad.zip": b"x",
    }
    spec = ParquetSpec(COLUMNS, {"train": ("train-*.parquet",)})

    assert len(read(tmp_path, {"train-0.parquet": parquet(range(2)), **others}, spec)) == 2

    assert "1 files are not looked into: raw.tar" in caplog.text
    assert "bad.zip can't be looked into" in caplog.text


@pytest.mark.parametrize("ending", ["gz", "bz2"])
@pytest.mark.parametrize("is_packed", [False, True])
def test_a_packed_table_is_refused(tmp_path: Path, ending: str, is_packed: bool) -> None:
    """Its clips would be counted as in no table."""
    pack = {"gz": gzip.compress, "bz2": bz2.compress}[ending]
    name, content = f"train.csv.{ending}", pack(b"path,text\na.wav,one\n")
    files = {"c.zip": zip_of({name: content})} if is_packed else {name: content}

    with pytest.raises(SourceError, match=rf"train\.csv\.{ending} seems to be a table that is packed"):
        read(tmp_path, {**files, "a.wav": b"A", "test.csv": b"path,text\nb.wav,two\n", "b.wav": b"B"}, SPEC)


def test_sheets_and_archives_that_are_not_read_are_told(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """A row of what is in them is a reject that says it is missing."""
    files = {"x.tar.bz2": tar_of({"b.wav": b"B"}, "w:bz2"), "notes.xlsx": b"x", "readme.txt.gz": gzip.compress(b"x")}

    found = read(tmp_path, {**files, "t.csv": b"path,text\na.wav,one\nb.wav,two\n", "a.wav": b"A"}, SPEC)

    assert [clip.audio for clip in found] == [b"A", None]
    assert "1 files are not taken apart: x.tar.bz2" in caplog.text
    assert "1 files are not read as tables: notes.xlsx" in caplog.text


def with_texts(texts: pa.Array, speakers: pa.Array | None = None) -> bytes:
    audio = pa.array([{"bytes": tone(number), "path": f"{number}.wav"} for number in range(len(texts))], AUDIO_TYPE)
    buffer = io.BytesIO()
    pq.write_table(pa.table({"speech": audio, "words": texts, "who": speakers or texts}), buffer)
    return buffer.getvalue()


@pytest.mark.parametrize("texts", [pa.array([["a", "b"]]), pa.array([{"th": "a"}]), pa.array([False])])
def test_a_transcript_of_parquet_that_is_no_text_is_an_error(tmp_path: Path, texts: pa.Array) -> None:
    """It was published as `['a', 'b']` or `False`."""
    with pytest.raises(SourceError, match=r"its column 'words' is .*, no text"):
        read(tmp_path, {"train-0.parquet": with_texts(texts)}, PARQUET)


def test_what_is_no_number_is_no_text_of_parquet(tmp_path: Path) -> None:
    """pandas writes NaN for a value that is missing, a speaker's too."""
    spec = ParquetSpec(Columns(audio=("speech",), transcript=("words",), speaker=("who",)))
    content = with_texts(pa.array([1.5, math.nan, None]), pa.array([math.nan, 2.0, None]))

    found = read(tmp_path, {"train-0.parquet": content}, spec)

    assert [(clip.transcript, clip.speaker) for clip in found] == [("1.5", None), ("", "2.0"), ("", None)]
