"""Archives with a table, and Parquet, as they are met outside: odd names, odd tables, damage, other columns."""

import gzip
import io
import logging
import random
import subprocess
import sys
import tarfile
from itertools import chain
from pathlib import Path
from typing import Any, BinaryIO

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from processors.engine.positions import file_in
from processors.readers import parquet as parquet_reader
from processors.readers import tar as tars
from processors.readers.parquet import count_rows, read_parquet
from processors.readers.spec import Columns
from tests.mirrors import Open, clips_of, opener
from tests.runs import PROJECT
from utils.errors import SourceError, UsageError
from utils.formats import parquet_file
from utils.formats.parquet_file import ParquetFile
from utils.rows.schema import AUDIO_TYPE, START, Position, RawClip
from utils.sources.source_files import MirrorFiles


@pytest.fixture
def opened(tmp_path: Path) -> Open:
    return opener(tmp_path)


def tar_of(*members: str | tarfile.TarInfo) -> bytes:
    """An uncompressed tar; the content of a file is its base name."""
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w") as tar:
        for member in members:
            content = b""
            if isinstance(member, str):
                content = Path(member).name.encode()
                member = tarfile.TarInfo(member)
                member.size = len(content)
            tar.addfile(member, io.BytesIO(content))
    return buffer.getvalue()


def link_member(name: str, kind: bytes = tarfile.SYMTYPE) -> tarfile.TarInfo:
    member = tarfile.TarInfo(name)
    member.type = kind
    member.linkname = "elsewhere"
    return member


OTHERS = b"another-clip\tx\nbefore\tx\n0-0-0\tx\n"
"""A table that has no clip of these archives."""


def gigaspeech(
    *archives: bytes, table: bytes = OTHERS, raw: bytes = OTHERS, dev: bytes = b"", dev_table: bytes = OTHERS
) -> dict[str, bytes]:
    """GigaSpeech2's files: train archives 0, 1, ..., and dev."""
    return {
        **{f"data/th/train/{number}.tar.gz": content for number, content in enumerate(archives)},
        "data/th/train_refined.tsv": table,
        "data/th/train_raw.tsv": raw,
        "data/th/dev.tar.gz": dev or gzip.compress(tar_of()),
        "data/th/dev.tsv": dev_table,
    }


# --- tar.gz with a table: GigaSpeech2 ------------------------------------------------------------


def test_members_are_matched_by_base_name_and_only_audio_counts(opened: Open) -> None:
    """A leading folder, none, and another case of the ending are all the same clip; other files are passed over."""
    dev = tar_of(
        "dev/0/1/0-1-2.wav", "0-1-3.WAV", "notes.txt", "0/1/._0-1-2.wav", link_member("x.wav", tarfile.DIRTYPE)
    )
    files = gigaspeech(dev=gzip.compress(dev), dev_table="0-1-2\tหนึ่ง\n0-1-3\tสอง\n".encode())

    clips = clips_of(opened("GigaSpeech2", files), "validation")

    assert [(clip.key, clip.transcript, clip.audio) for clip in clips] == [
        ("0-1-2", "หนึ่ง", b"0-1-2.wav"),
        ("0-1-3", "สอง", b"0-1-3.WAV"),
    ]


def test_a_link_in_an_archive_is_a_clip_without_audio(opened: Open) -> None:
    """It is counted and becomes a reject: nothing with a clip's name is dropped silently."""
    files = gigaspeech(
        gzip.compress(tar_of(link_member("0/1/0-1-2.wav"), "0/1/0-1-3.wav")), table=b"0-1-2\ta\n0-1-3\tb\n"
    )

    clips = clips_of(opened("GigaSpeech2", files))

    assert [clip.audio for clip in clips] == [None, b"0-1-3.wav"]


def test_archives_are_read_in_numeric_order(opened: Open) -> None:
    """10 comes after 9, not after 1."""
    files = gigaspeech(*(gzip.compress(tar_of(f"{number}/0/{number}-0-0.wav")) for number in range(12)))

    keys = [clip.key for clip in clips_of(opened("GigaSpeech2", files))]

    assert keys == [f"{number}-0-0" for number in range(12)]


def test_a_clip_that_the_table_leaves_out_is_unselected_and_not_loaded(opened: Open) -> None:
    """The refined table leaves clips out on purpose; the raw one has them."""
    files = gigaspeech(
        gzip.compress(tar_of("0-1-2.wav", "0-1-3.wav")), table=b"0-1-2\ta\n", raw=b"0-1-2\tA\n0-1-3\tB\n"
    )

    refined = clips_of(opened("GigaSpeech2", files))
    raw = clips_of(opened("GigaSpeech2", files, transcripts="raw"))

    assert [(clip.selected, clip.audio) for clip in refined] == [(True, b"0-1-2.wav"), (False, None)]
    assert [(clip.selected, clip.transcript) for clip in raw] == [(True, "A"), (True, "B")]


def test_an_unknown_choice_of_transcripts_is_refused(opened: Open) -> None:
    """The message names the two that there are."""
    with pytest.raises(UsageError, match="refined or raw"):
        clips_of(opened("GigaSpeech2", gigaspeech(gzip.compress(tar_of())), transcripts="best"))


@pytest.mark.parametrize(
    ("table", "transcript"),
    [
        ("\ufeff0-1-2\tสวัสดี\n", "สวัสดี"),
        ("0-1-2\tสวัสดี\r\n", "สวัสดี"),
        ("0-1-2\tสวัสดี", "สวัสดี"),
        ('0-1-2\t"เขา" ว่า "ไป\n', '"เขา" ว่า "ไป'),
        ("0-1-2\ta\tb\n", "a\tb"),
        ("0-1-2\tfirst\n0-1-2\tsecond\n", "first"),
        ("\n\nno tab\n\tno id\n0-1-2\tok\n", "ok"),
        ("0-1-2\t\n", ""),
    ],
    ids=["BOM", "CRLF", "no line end", "quotes", "tabs", "repeated", "malformed", "empty"],
)
def test_a_table_is_read_as_it_stands(opened: Open, table: str, transcript: str) -> None:
    """No quoting, no surprises by line ends or marks; the first row of an id wins."""
    files = gigaspeech(gzip.compress(tar_of("0-1-2.wav")), table=table.encode())

    assert clips_of(opened("GigaSpeech2", files))[0].transcript == transcript


def test_a_line_too_long_or_not_utf8_is_counted_and_said_once(opened: Open, caplog: pytest.LogCaptureFixture) -> None:
    """Neither stops the source: the long one is left out, bad bytes are replaced."""
    table = b"0-1-2\t" + b"x" * 3_000_000 + b"\n0-1-3\tab\xff\n0-1-4\tok\n" + b"y" * 1_500_000
    files = gigaspeech(gzip.compress(tar_of("0-1-2.wav", "0-1-3.wav", "0-1-4.wav")), table=table)

    with caplog.at_level(logging.WARNING):
        clips = clips_of(opened("GigaSpeech2", files))

    assert [(clip.selected, clip.transcript) for clip in clips] == [(False, ""), (True, "ab\ufffd"), (True, "ok")]
    assert [record.getMessage().partition(": ")[2] for record in caplog.records] == [
        "2 malformed lines were left out",
        "1 lines hold bytes that are not UTF-8; replaced",
    ]


def test_a_split_without_clips_is_empty_and_no_error(opened: Open) -> None:
    """An archive that was packed with nothing in it is whole."""
    assert clips_of(opened("GigaSpeech2", gigaspeech(gzip.compress(tar_of())))) == []


def test_train_archives_that_are_not_numbered_are_refused(opened: Open) -> None:
    """A layout that is not the known one is an error: guessing would lose data."""
    files = {**gigaspeech(gzip.compress(tar_of())), "data/th/train/extra.tar.gz": b""}

    with pytest.raises(SourceError, match=r"extra\.tar\.gz"):
        clips_of(opened("GigaSpeech2", files))


def test_no_train_archive_at_all_is_an_error(opened: Open) -> None:
    """It names the first one that should be there."""
    with pytest.raises(SourceError, match=r"data/th/train/0\.tar\.gz"):
        clips_of(opened("GigaSpeech2", gigaspeech()))


def broken_header(tar: bytes) -> bytes:
    """The second member's header overwritten: tarfile would call that the end."""
    return tar[:1024] + b"\xff" * 512 + tar[1536:]


def bad_checksum(packed: bytes) -> bytes:
    return packed[:-8] + bytes([packed[-8] ^ 1]) + packed[-7:]


def broken_last_header(tar: bytes) -> bytes:
    """The header of an empty last clip overwritten: only zeros come after it."""
    end = len(tar.rstrip(b"\0")) // 512 * 512
    return tar[:end] + b"\xff" * 512 + tar[end + 512 :]


WHOLE = tar_of(*(f"0-0-{number}.wav" for number in range(20)))


def endless_field() -> bytes:
    """An extended header whose first field claims a length that no computer counts to."""
    claim = b"99999999999999999999999 path=0-0-1.wav\n"
    header = tarfile.TarInfo("extended")
    header.type, header.size = tarfile.XHDTYPE, len(claim)
    return WHOLE[:1024] + header.tobuf() + claim.ljust(512, b"\0") + WHOLE[1024:]


@pytest.mark.parametrize(
    "archive",
    [
        b"",
        b"<html>503</html>",
        gzip.compress(WHOLE)[:-20],
        gzip.compress(WHOLE, 0)[: 512 * 21],
        gzip.compress(broken_header(WHOLE)),
        gzip.compress(endless_field()),
        gzip.compress(broken_last_header(tar_of("0-0-0.wav", tarfile.TarInfo("0-0-1.wav")))),
        gzip.compress(WHOLE[: 512 * 3 + 100]),
        gzip.compress(WHOLE[:700]),
        bad_checksum(gzip.compress(WHOLE)),
        gzip.compress(WHOLE + WHOLE),
        gzip.compress(WHOLE) + b"garbage",
    ],
    ids=[
        "empty file", "web page", "cut gzip", "cut gzip at a member", "damaged header", "endless field",
        "damaged last header",
        "cut within a header", "cut within a clip", "wrong checksum", "two in one", "garbage behind",
    ],
)  # fmt: skip
def test_a_damaged_archive_is_never_taken_for_its_end(opened: Open, archive: bytes) -> None:
    """The error names the archive and how far it was whole; what came before it has been handed out."""
    files = gigaspeech(gzip.compress(tar_of("before.wav")), archive)
    clips = []

    with pytest.raises(SourceError, match=r"data/th/train/1\.tar\.gz is damaged or was cut short after \d+ members"):
        for clip in opened("GigaSpeech2", files).read("train", dict(START)):
            clips.append(clip)

    whole = ["before", *(f"0-0-{number}" for number in range(20))]
    assert [clip.key for clip in clips] == whole[: len(clips)]
    assert clips


def test_an_archive_without_an_end_mark_but_with_a_whole_gzip_stream_is_whole(opened: Open) -> None:
    """Some writers leave the mark out; the gzip trailer vouches for the bytes."""
    files = gigaspeech(gzip.compress(WHOLE[: 512 * 40]))

    assert len(clips_of(opened("GigaSpeech2", files))) == 20


def test_an_archive_that_was_gzipped_in_several_pieces_is_read_to_its_end(opened: Open) -> None:
    """Parallel packers write many gzip streams one after the other."""
    files = gigaspeech(gzip.compress(WHOLE[:3000]) + gzip.compress(WHOLE[3000:]))

    assert len(clips_of(opened("GigaSpeech2", files))) == 20


def test_a_position_behind_an_archive_is_refused(opened: Open) -> None:
    """It must not go on in the next one: the archive is not the one that the position was made in."""
    archive = gzip.compress(tar_of("0-0-0.wav", "0-0-1.wav"))
    processor = opened("GigaSpeech2", gigaspeech(archive, archive))

    with pytest.raises(SourceError, match="behind the end"):
        list(processor.read("train", {"index": 3, "file": "data/th/train/0.tar.gz", "member": 3}))


def test_a_clip_too_large_is_not_loaded(opened: Open, monkeypatch: pytest.MonkeyPatch) -> None:
    """Its reject says how large it is."""
    monkeypatch.setattr(tars, "MAX_CLIP_BYTES", 600)
    large = tarfile.TarInfo("0-0-0.wav")
    large.size = 5000
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w:gz") as tar:
        tar.addfile(large, io.BytesIO(bytes(5000)))
    processor = opened("GigaSpeech2", gigaspeech(buffer.getvalue(), table=b"0-0-0\ta\n"))

    (clip,) = clips_of(processor)

    assert clip.audio is None
    assert "5,000 bytes" in processor.convert_to_standard_format(clip).detail  # type: ignore[union-attr]


def test_names_that_are_not_utf8_become_valid_text(opened: Open) -> None:
    """A source id is published: it must be text."""
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w:gz", format=tarfile.GNU_FORMAT) as tar:
        tar.addfile(tarfile.TarInfo("0-0-\udcff.wav"))

    whole = gzip.compress(tar_of("before.wav"))
    _, clip = clips_of(opened("GigaSpeech2", gigaspeech(whole, buffer.getvalue())))

    assert clip.key == "0-0-\ufffd"


# --- Parquet: ProcessedVoiceTH -------------------------------------------------------------------


def parquet_of(table: pa.Table, **options: object) -> bytes:
    sink = io.BytesIO()
    pq.write_table(table, sink, **options)
    return sink.getvalue()


def voice_table(rows: int) -> pa.Table:
    schema = pa.schema([("audio", AUDIO_TYPE), ("sentence", pa.string())])
    audio = [{"bytes": f"{row}".encode(), "path": f"a/b/clip{row}.mp3"} for row in range(rows)]
    return pa.table({"audio": audio, "sentence": [f"ข้อ {row}" for row in range(rows)]}, schema=schema)


def test_a_missing_column_is_named_with_those_that_are_there(opened: Open) -> None:
    """The message is enough to see which layout it is."""
    table = voice_table(3).rename_columns(["audio", "text"])

    with pytest.raises(SourceError, match=r"train-0\.parquet has no column 'sentence'; its columns are audio, text"):
        clips_of(opened("ProcessedVoiceTH", {"data/train-0.parquet": parquet_of(table)}))


def test_a_column_that_holds_no_encoded_audio_is_refused(opened: Open) -> None:
    """Decoded arrays are another layout."""
    table = pa.table({"audio": [[0.1, 0.2]], "sentence": ["a"]})

    with pytest.raises(SourceError, match="not encoded audio"):
        clips_of(opened("ProcessedVoiceTH", {"data/train-0.parquet": parquet_of(table)}))


def test_validation_files_may_go_by_either_name(opened: Open) -> None:
    """`dev-*` and `validation-*` are the same split."""
    files = {"data/validation-00000-of-00001.parquet": parquet_of(voice_table(2))}

    assert [clip.key for clip in clips_of(opened("ProcessedVoiceTH", files), "validation")] == ["clip0", "clip1"]


def test_empty_files_and_empty_row_groups_are_passed_over(opened: Open) -> None:
    """Positions after them still fit."""
    files = {
        "data/train-00000-of-00003.parquet": parquet_of(voice_table(0)),
        "data/train-00001-of-00003.parquet": parquet_of(voice_table(5), row_group_size=2),
        "data/train-00002-of-00003.parquet": parquet_of(voice_table(0)),
    }
    processor = opened("ProcessedVoiceTH", files)

    clips = clips_of(processor)

    assert len(clips) == 5
    assert [list(processor.read("train", clip.position)) for clip in clips] == [clips[n:] for n in range(1, 6)]


class WatchedFiles(MirrorFiles):
    """A mirror that remembers the largest piece that was read of a file."""

    largest_read = 0

    def open(self, name: str) -> BinaryIO:
        watcher = self

        class Watched(io.FileIO):
            def read(self, size: int | None = -1) -> bytes:
                content = super().read(-1 if size is None else size)
                watcher.largest_read = max(watcher.largest_read, len(content))
                return content

        with super().open(name) as file:
            return Watched(file.name)  # type: ignore[return-value]


def test_rows_are_counted_by_some_footers_and_the_files_sizes(tmp_path: Path) -> None:
    """Of many files only the first ones are opened; of few all of them, and then the number is exact."""
    for number in range(30):
        table = pa.table({"audio": [bytes(10_000)] * (20 + number % 2)})
        pq.write_table(table, tmp_path / f"{number:02d}.parquet", compression="none", use_dictionary=False)
    files = Opened(tmp_path)

    assert count_rows(files, files.names()[:5]) == 20 + 21 + 20 + 21 + 20
    assert count_rows(files, files.names()) == pytest.approx(15 * 41, rel=0.02)
    assert len(files.opened) == 5 + 8
    assert count_rows(files, []) == 0


class Opened(MirrorFiles):
    """Notes which files are opened."""

    def __init__(self, folder: Path) -> None:
        super().__init__(folder)
        self.opened: list[str] = []

    def open(self, name: str) -> BinaryIO:
        self.opened.append(name)
        return super().open(name)


def test_a_large_row_group_is_read_from_any_row_without_being_loaded_whole(tmp_path: Path) -> None:
    """Of 48 MB in one row group a batch's worth is held at a time, however many clips are taken."""
    audio = pa.array([{"bytes": bytes([row]) * 1_500_000, "path": f"{row}.wav"} for row in range(32)], AUDIO_TYPE)
    table = pa.table({"audio": audio, "sentence": ["x"] * 32})
    path = tmp_path / "a.parquet"
    pq.write_table(table, path, compression="none", use_dictionary=False, write_batch_size=1)
    del table, audio
    files = WatchedFiles(tmp_path)
    baseline = pa.total_allocated_bytes()

    for first in (0, 17, 31):
        position = {"index": first, "file": "a.parquet", "row_group": 0, "row": first}
        expected = first
        for clip in read_parquet(files, ["a.parquet"], Columns(), position):
            assert clip.audio and clip.audio[0] == expected
            assert pa.total_allocated_bytes() - baseline < 30_000_000
            expected += 1
        assert expected == 32
    assert files.largest_read < 4_000_000


def test_rows_without_a_path_are_named_by_their_place_in_the_file(tmp_path: Path) -> None:
    """Across row groups, and the same when reading begins in the middle."""
    audio = pa.array([{"bytes": b"x", "path": None}] * 7, AUDIO_TYPE)
    pq.write_table(pa.table({"audio": audio, "sentence": ["x"] * 7}), tmp_path / "x.parquet", row_group_size=3)

    clips = list(read_parquet(MirrorFiles(tmp_path), ["x.parquet"], Columns(), dict(START)))
    later = list(read_parquet(MirrorFiles(tmp_path), ["x.parquet"], Columns(), clips[3].position))

    assert [clip.key for clip in clips] == [f"x-{row}" for row in range(7)]
    assert later == clips[4:]


def test_other_column_names_and_kinds_are_a_matter_of_configuration(tmp_path: Path) -> None:
    """Bytes without a struct, dictionary-encoded speakers, metadata of any kind, text that is not UTF-8."""
    text = pa.array([b"\xff", "ข".encode()]).view(pa.binary()).cast(pa.binary())
    table = pa.table(
        {
            "wav": pa.array([b"one", None]),
            "text": pa.Array.from_buffers(pa.string(), 2, text.buffers()),
            "who": pa.array(["a", None]).dictionary_encode(),
            "votes": [3, 4],
        }
    )
    pq.write_table(table, tmp_path / "x.parquet")
    columns = Columns(audio=("wav",), transcript=("text",), speaker=("who",), metadata=("votes",))

    first, second = read_parquet(MirrorFiles(tmp_path), ["x.parquet"], columns, dict(START))

    assert (first.key, first.audio, first.transcript, first.speaker, first.metadata) == (
        "x-0", b"one", "\ufffd", "a", {"votes": 3},
    )  # fmt: skip
    assert (second.key, second.audio, second.transcript, second.speaker) == ("x-1", None, "ข", None)


@pytest.mark.parametrize("row_group, row", [(9, 0), (0, 99)])
def test_a_position_behind_the_row_groups_is_refused(opened: Open, row_group: int, row: int) -> None:
    """The file is not the one that the position was made in."""
    processor = opened("ProcessedVoiceTH", {"data/train-0.parquet": parquet_of(voice_table(3))})
    position = {"index": 1, "file": "data/train-0.parquet", "row_group": row_group, "row": row}

    with pytest.raises(SourceError, match="behind the end"):
        list(processor.read("train", position))


def test_a_position_in_a_file_that_is_gone_is_refused() -> None:
    """Reading would have to begin somewhere else."""
    with pytest.raises(SourceError, match="does not have"):
        file_in({"index": 1, "file": "b"}, ["a"])


def mixed_rows() -> pa.Table:
    """Small clips, one of 30 KB, one without audio, one without a text, one whose text is too long."""
    sizes = [10, 10, 30_000, 10, 10, 10, 10, 10, 10, 10, 10]
    audio = [{"bytes": bytes([at]) * size, "path": f"{at}.wav"} for at, size in enumerate(sizes)]
    audio[4] = {"bytes": None, "path": "4.wav"}
    texts = [f"คำ {at}" for at in range(len(sizes))]
    texts[7] = "ก" * (parquet_reader.MAX_TEXT_BYTES // 3 + 1)
    return pa.table(
        {"audio": pa.array(audio, AUDIO_TYPE), "sentence": pa.array([*texts[:5], None, *texts[6:]]), "age": range(11)}
    )


@pytest.mark.parametrize("compression", ["none", "zstd"])
def test_rows_read_together_are_those_read_one_by_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, compression: str
) -> None:
    """Also where one of them can't be loaded, from any row on, and where pages turn out to be too large for many."""
    monkeypatch.setattr(parquet_reader, "_ROWS_AT_ONCE", 8)  # two batches for a group
    # A page for each row.
    a_page_each = {"data_page_size": 1, "write_batch_size": 1, "use_dictionary": False}
    pq.write_table(mixed_rows(), tmp_path / "x.parquet", row_group_size=10, compression=compression, **a_page_each)

    def read(position: Position) -> list[RawClip]:
        columns = Columns(metadata=("age",))
        return list(read_parquet(MirrorFiles(tmp_path), ["x.parquet"], columns, position))

    together = read(dict(START))
    asked: list[int] = []
    batches = ParquetFile.batches

    def counted(self: ParquetFile, groups: Any, columns: Any, most_rows: int, is_bounded: bool = False) -> Any:
        asked.append(most_rows)
        return batches(self, groups, columns, most_rows, is_bounded)

    monkeypatch.setattr(ParquetFile, "batches", counted)
    assert read(dict(START)) == together
    assert set(asked) == {8, 1}, "the first look at the paths is one by one, the rows are not"

    monkeypatch.setattr(parquet_file, "WHOLE_BYTES", 0)
    assert read(dict(START)) == together
    monkeypatch.setattr(parquet_file, "AT_ONCE_BYTES", 20_000)
    asked.clear()
    assert read(dict(START)) == together
    assert asked[1:] == [8, 1, 8], "the first group one by one, from its large row on"
    for clip in together:
        assert read(clip.position) == together[clip.position["index"] :]
    assert [clip.audio is None for clip in together] == [at in (4, 7) for at in range(11)]
    assert together[5].transcript == ""
    assert [clip.metadata for clip in together[:2]] == [{"age": 0}, {"age": 1}]


class Reads(io.BytesIO):
    """Notes how much is read at a time."""

    def __init__(self, content: bytes) -> None:
        super().__init__(content)
        self.sizes: list[int] = []

    def read(self, size: int | None = -1, /) -> bytes:
        content = super().read(size)
        self.sizes.append(len(content))
        return content


@pytest.mark.parametrize(("whole_bytes", "most"), [(10**9, 3_000_000), (1000, parquet_file._BUFFER_BYTES)])
def test_columns_of_small_row_groups_are_read_in_one_piece(
    monkeypatch: pytest.MonkeyPatch, whole_bytes: int, most: int
) -> None:
    """Arrow copies what it is given in pieces. Of large ones no more is held than it works on."""
    monkeypatch.setattr(parquet_file, "WHOLE_BYTES", whole_bytes)
    clips = [random.Random(at).randbytes(30_000) for at in range(200)]
    out = io.BytesIO()
    small_pages = {"data_page_size": 100_000, "write_batch_size": 4, "use_dictionary": False}
    pq.write_table(pa.table({"a": clips}), out, row_group_size=100, compression="none", **small_pages)
    stream = Reads(out.getvalue())

    with ParquetFile(stream) as file:
        stream.sizes.clear()
        read = [batch["a"].to_pylist() for group in (0, 1) for batch in file.batches([group], ["a"], 16)]

    assert list(chain.from_iterable(read)) == clips
    assert most <= max(stream.sizes) <= 1.01 * most


_READ_ALL = """
import sys
from pathlib import Path
import pyarrow as pa
from utils.formats.parquet_file import ParquetFile
for path in sorted(Path(sys.argv[1]).iterdir()):
    try:
        with path.open("rb") as stream, ParquetFile(stream) as file:
            print(sum(batch.num_rows for batch in file.batches([0], ["audio", "sentence"], 16)))
    except (pa.ArrowException, OSError):
        print("refused")
"""


def test_a_footer_that_contradicts_itself_ends_no_process(tmp_path: Path) -> None:
    """A column that may be null by its statistics, and may not by the schema: pyarrow dies of it when it is asked."""
    content = parquet_of(voice_table(3))
    footer = len(content) - 8 - int.from_bytes(content[-8:-4], "little")
    optional, required = b"\x02", b"\x00"
    places = [at for at in range(footer, len(content) - 8) if content[at : at + 1] == optional]
    for at in places:
        (tmp_path / f"{at:06d}").write_bytes(content[:at] + required + content[at + 1 :])

    done = subprocess.run(
        [sys.executable, "-c", _READ_ALL, str(tmp_path)], cwd=PROJECT, capture_output=True, text=True, check=False
    )

    assert done.returncode == 0, done.stderr
    assert len(done.stdout.split()) == len(places)
    assert "refused" in done.stdout


@pytest.mark.parametrize("whole_bytes", [10**9, 0])
def test_rows_before_a_damaged_page_are_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, whole_bytes: int) -> None:
    """Also where its column comes in one piece, whose pages are all looked at before the first row."""
    monkeypatch.setattr(parquet_file, "WHOLE_BYTES", whole_bytes)
    rows = [{"audio": {"bytes": random.Random(at).randbytes(100_000), "path": f"{at}.wav"}} for at in range(60)]
    table = pa.Table.from_pylist([{**row, "sentence": "คำ"} for row in rows])
    pages = {"data_page_size": 200_000, "write_batch_size": 2, "use_dictionary": False}
    pq.write_table(table, tmp_path / "x.parquet", compression="none", **pages)
    content = bytearray((tmp_path / "x.parquet").read_bytes())
    clip = content.index(rows[40]["audio"]["bytes"])
    content[clip - 30 : clip] = b"\xff" * 30  # the header of its page ends just before it
    (tmp_path / "x.parquet").write_bytes(content)

    read: list[RawClip] = []
    with pytest.raises(SourceError, match="damaged"):
        for clip in read_parquet(MirrorFiles(tmp_path), ["x.parquet"], Columns(), {"index": 0}):
            read.append(clip)

    assert [clip.audio for clip in read] == [row["audio"]["bytes"] for row in rows[: len(read)]]
    assert 16 <= len(read) < 40


def test_rows_before_damage_come_once() -> None:
    """Of several row groups at a time, when some are given already."""
    clips = [random.Random(at).randbytes(100_000) for at in range(60)]
    out = io.BytesIO()
    pages = {"data_page_size": 200_000, "write_batch_size": 2, "use_dictionary": False}
    pq.write_table(pa.table({"a": clips}), out, row_group_size=20, compression="none", **pages)
    content = bytearray(out.getvalue())
    damaged = content.index(clips[50])
    content[damaged - 30 : damaged] = b"\xff" * 30

    read: list[bytes] = []
    with ParquetFile(io.BytesIO(bytes(content))) as file, pytest.raises(pa.ArrowInvalid):
        for batch in file.batches([0, 1, 2], ["a"], 16):
            read.extend(batch["a"].to_pylist())

    assert len(read) >= 32
    assert read == clips[: len(read)]
