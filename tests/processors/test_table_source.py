"""Tables and clips as they are met outside: odd tables, odd names, damaged archives, clips that are there twice."""

import io
import json
import logging
import os
import struct
import tarfile
import zipfile
from collections import deque
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import pytest

from processors.base_processor import ProcessorConfig
from processors.configured import contents
from processors.configured.own_source import OwnSource
from processors.readers.spec import Columns, TableSpec, matches, split_of_path
from processors.readers.table_forms import rows_of
from processors.source_info import Location, SourceInfo
from tests.corpus_mirrors import tar_of, write_files, zip_of
from tests.mirrors import clips_of, opener
from tests.support import tone
from utils.errors import SourceError
from utils.formats.zip_members import ZipDamaged, open_member, zip_members
from utils.rows.schema import START, RawClip
from utils.sources.source_files import SourceAccess

INFO = SourceInfo("t", "https://example.org", "other", "other", "1", "")
SPEC = TableSpec(Columns(audio=("path",), transcript=("text",)))
KALDI = TableSpec(form="kaldi")
Files = Mapping[str, bytes]


def clips(
    folder: Path, files: Files, split: str = "train", spec: TableSpec = SPEC, position: dict[str, Any] | None = None
) -> list[RawClip]:
    write_files(folder / "source", files)
    own = OwnSource("Corpus", INFO, spec, Location(str(folder / "source")))
    config = ProcessorConfig(checkpoint_dir=folder, access=SourceAccess(cache_dir=folder / "cache"))
    processor = own.processor_class()(config)
    return list(processor.read(split, position)) if position else clips_of(processor, split)


def rows(content: str | bytes, name: str, **options: Any) -> list[Mapping[str, Any]]:
    raw = content.encode() if isinstance(content, str) else content
    form = options.pop("form", name.rpartition(".")[2])
    return list(rows_of(io.BytesIO(raw), name, form, **options))


# --- tables ----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "content", "options"),
    [
        ("t.csv", "\ufeffpath,text\r\na.wav,สวัสดี\r\n", {}),
        ("t.csv", 'path,text\n"a.wav","สวัสดี"', {}),
        ("t.csv", "\r\npath,text\n\n\na.wav,สวัสดี\n\n", {}),
        ("t.csv", "a.wav,สวัสดี\n", {"header": ("path", "text")}),
        ("t.tsv", "\ufeffpath\ttext\r\na.wav\tสวัสดี", {}),
        ("t.tsv", 'path\ttext\na.wav\t"สวัสดี"\n', {"quoted": True}),
        ("t.jsonl", '\ufeff{"path": "a.wav", "text": "สวัสดี"}\r\n\n', {}),
        ("t.json", '\ufeff [\n{"path": "a.wav", "text": "สวัสดี"}\n] \n', {}),
        ("t.json", '{"version": 1, "data": [{"path": "a.wav", "text": "สวัสดี"}]}', {}),
    ],
)
def test_a_row_is_the_same_in_every_form(name: str, content: str, options: dict[str, Any]) -> None:
    """Marks of byte order, line ends, quotes and empty lines are none of it."""
    assert rows(content, name, **options) == [{"path": "a.wav", "text": "สวัสดี"}]


def test_quotes_of_csv_hold_line_ends_and_quotes() -> None:
    """As spreadsheets write them."""
    found = rows('path,text\na.wav,"หนึ่ง, ""สอง""\n\nสาม"\nb.wav,x\n', "t.csv")

    assert [row["text"] for row in found] == ['หนึ่ง, "สอง"\n\nสาม', "x"]


def test_a_quote_in_tsv_is_a_quote() -> None:
    """Transcripts hold bare ones."""
    assert rows('path\ttext\na.wav\t"เขา" ว่า "ไป\n', "t.tsv") == [{"path": "a.wav", "text": '"เขา" ว่า "ไป'}]


def test_a_short_line_lacks_its_last_columns() -> None:
    """They are empty; a long one's surplus has no column."""
    assert rows("path\ttext\twho\na.wav\nb.wav\tx\ty\tz\n", "t.tsv") == [
        {"path": "a.wav", "text": "", "who": ""},
        {"path": "b.wav", "text": "x", "who": "y"},
    ]


@pytest.mark.parametrize(
    ("form", "content", "found"),
    [
        ("lines", "a.wav|กิน|ข้าว\n", ("a.wav", "กิน|ข้าว")),
        ("lines", "a b.wav\tกิน ข้าว\n", ("a b.wav", "กิน ข้าว")),
        ("lines", "a  กิน ข้าว \r\n", ("a", "กิน ข้าว")),
        ("kaldi", "utt1 กิน | ข้าว\n", ("utt1", "กิน | ข้าว")),
        ("kaldi", "utt1\n", ("utt1", "")),
        ("texts", "\ufeffกิน ข้าว\r\n\r\n", ("t", "กิน ข้าว")),
        ("first_line", "\ufeffกิน|ข้าว|\r\nkin\n", ("t", "กิน|ข้าว|")),
    ],
)
def test_lines_begin_with_a_name(form: str, content: str, found: tuple[str, str]) -> None:
    """What ends the name is a bar, a tab or a space; in Kaldi's files only white space."""
    assert rows(content, "t.txt", form=form) == [{"key": found[0], "value": found[1]}]


def test_a_mapping_has_its_keys_as_a_column() -> None:
    """A text, or an object with more."""
    assert rows('{"a": "หนึ่ง", "b": {"text": "สอง", "who": 7}}', "t.json") == [
        {"key": "a", "value": "หนึ่ง"},
        {"key": "b", "text": "สอง", "who": 7},
    ]


class SmallReads(io.BytesIO):
    """Gives a few bytes at a time."""

    def read(self, size: int | None = -1) -> bytes:
        return super().read(min(7, size) if size and size > 0 else 7)


def test_json_is_read_piece_by_piece_wherever_it_is_cut() -> None:
    """Numbers, escapes and characters of three bytes are cut in two on the way."""
    document = {f"คลิป{number}": {"text": f'ข้อ "{number}" \U0001f600', "n": 1234567.5} for number in range(50)}
    for ascii_only in (True, False):
        raw = json.dumps(document, ensure_ascii=ascii_only, indent=1).encode()
        found = list(rows_of(SmallReads(raw), "t.json", "json"))
        assert found == [{"key": key, **value} for key, value in document.items()]


def test_a_large_json_document_is_never_held_whole() -> None:
    """Only as much as its largest entry takes."""
    entry = {"path": "x" * 500, "text": "ข" * 500}

    class Watched(io.BytesIO):
        most = 0

        def read(self, size: int | None = -1) -> bytes:
            content = super().read(size)
            self.most = max(self.most, len(content))
            return content

    stream = Watched(json.dumps([entry] * 2000).encode())
    assert sum(1 for _ in rows_of(stream, "t.json", "json")) == 2000
    assert stream.most < 300_000 < len(stream.getvalue())


@pytest.mark.parametrize(
    ("name", "content", "says"),
    [
        ("t.json", '[{"path": "a.wav"}, {"path"', "no whole JSON document"),
        ("t.json", '[{"path": "a.wav"} {"path": "b.wav"}]', "',' is missing"),
        ("t.json", '[{"path": "a.wav"}] [', "more stands behind its end"),
        ("t.json", '"a.wav"', "neither a list nor an object"),
        ("t.json", "", "neither a list nor an object"),
        ("t.json", '["' + "x" * 2_500_000 + '"]', "over 1,000,000 characters"),
        ("t.json", "[" + "[" * 100_000, "nested too deeply|no whole JSON"),
        ("t.csv", 'path,text\na.wav,"never closed\n' + "b.wav,x\n" * 30_000, "A quote may be missing"),
        ("t.csv", 'path,text\na.wav,"never closed\nb.wav,x\n', "A quote may be missing"),
        ("t.csv", 'path,text\na.wav,"never closed\nb.wav,"x"\nc.wav,y\n', "A quote may be missing"),
        *((name, "path,text\na.wav,ก\nb.wav,ข\n".encode("tis-620"), "iconv") for name in ("t.csv", "t.tsv", "t.kaldi")),
        ("t.json", '{"a.wav": "ก", "b.wav": "ข"}'.encode("tis-620"), "iconv"),
        ("t.csv", "path,text\n" + "x" * 1_500_000, "line 2 has over 1,000,000 bytes"),
    ],
)
def test_a_table_that_can_not_be_trusted_further_is_an_error(name: str, content: str | bytes, says: str) -> None:
    """Reading on would make rows of what is none; it names the table, and memory stays bounded."""
    with pytest.raises(SourceError, match=says) as error:
        rows(content, name)

    assert name in str(error.value)


@pytest.mark.parametrize("encoding", ["cp874", "utf-16"])
@pytest.mark.parametrize("name", ["t.csv", "t.tsv"])
def test_a_table_in_another_encoding_is_an_error(name: str, encoding: str) -> None:
    """As Excel on a Thai Windows saves it: its transcripts would be published as nonsense."""
    content = "path,text\na.wav,สวัสดี\nb.wav,ครับ\nc.wav,ผม\n".replace(",", "," if name == "t.csv" else "\t")

    with pytest.raises(SourceError, match=r"not in UTF-8.*iconv -f (CP874|UTF-16) -t UTF-8"):
        rows(content.encode(encoding), name)


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "tis-620"])
def test_the_lines_of_old_corpora_are_read_in_the_encoding_of_their_time(encoding: str) -> None:
    """Nobody can save them anew inside the archive that they come in."""
    assert rows("a1|เธอกิน“ข้าว”\n".encode(encoding.replace("tis-620", "cp874")), "t.lines")[0]["value"] == "เธอกิน“ข้าว”"
    assert rows("เธอ|กิน|ข้าว|\r\nph".encode(encoding), "a1.txt", form="first_line") == [
        {"key": "a1", "value": "เธอ|กิน|ข้าว|"}
    ]


def test_a_damaged_line_of_an_old_corpus_is_not_taken_for_another_encoding(caplog: pytest.LogCaptureFixture) -> None:
    """One letter is lost, and that is said; the others are as they were."""
    damaged = "a1|เธอกินข้าว".encode()[:-1] + b"\n"

    assert rows(damaged, "t.lines")[0]["value"] == "เธอกินข้า\ufffd"
    assert rows(damaged, "a1.txt", form="texts")[0]["value"] == "a1|เธอกินข้า\ufffd"
    assert [record.levelname for record in caplog.records] == ["WARNING", "WARNING"]


def test_bad_bytes_in_a_json_document_are_replaced_and_told(caplog: pytest.LogCaptureFixture) -> None:
    document = '{"a.wav": "สวัสดีครับ"}'.encode().replace("ค".encode(), b"\xff")

    assert rows(document, "t.json") == [{"key": "a.wav", "value": "สวัสดี\ufffdรับ"}]
    assert "1 characters that are not UTF-8 were replaced" in caplog.text


def test_lotus_is_read_in_the_encoding_of_its_time(tmp_path: Path) -> None:
    """Its sentences are from 2003; where they are UTF-8 the mirror of the contract has them."""
    wav = "LOTUS/PD/U/Clean/Wav/F001_Pa001/CFcd001_Pa001_001.wav"
    tables = {
        "LOTUS/Supplement/index.txt": b"Pa001\t001\ts1\n",
        "LOTUS/Supplement/PDsen.txt": "s1\tเธอกินข้าว\tx\n".encode("tis-620"),
    }
    archive = {"AIFORTHAI-LotusCorpus.zip": zip_of({wav: tone(1), **tables})}

    assert [clip.transcript for clip in clips_of(opener(tmp_path)("LOTUS", archive))] == ["เธอกินข้าว"]


def test_spaces_around_the_names_of_columns_are_no_part_of_them() -> None:
    assert rows("path, text\na.wav,x\n", "t.csv") == [{"path": "a.wav", "text": "x"}]


@pytest.mark.parametrize(
    ("names", "says"),
    [
        (["audio_filepath", "text"], r"columns: \{audio: NAME\}"),
        (["path;text"], "divided by semicolons: a .csv has commas"),
        (["path\ttext"], "divided by tabs"),
    ],
)
def test_a_table_without_a_column_says_what_to_type(names: list[str], says: str) -> None:
    with pytest.raises(SourceError, match=says):
        Columns(audio=("wav",)).found_in(names, "t.csv")


def test_what_is_no_row_is_left_out_and_said_once(caplog: pytest.LogCaptureFixture) -> None:
    """The rows around it count."""
    with caplog.at_level(logging.WARNING):
        found = rows('{"path": 1}\n{broken\n[1]\n{"path": 2}\n', "t.jsonl")
        assert rows('[{"path": 1}, 7, "x"]', "t.json") == [{"path": 1}]
        assert rows(b"path,text\na,\xff\n", "t.csv") == [{"path": "a", "text": "\ufffd"}]

    assert [row["path"] for row in found] == [1, 2]
    assert [record.getMessage() for record in caplog.records] == [
        "t.jsonl: 2 malformed lines were left out",
        "t.json: 2 malformed entries were left out",
        "t.csv: 1 lines hold bytes that are not UTF-8; replaced",
    ]


def test_a_text_that_is_cut_at_a_delimiter_is_no_secret(caplog: pytest.LogCaptureFixture) -> None:
    """What is over can't be told from a column that nobody named; empty fields at the end are nothing."""
    with caplog.at_level(logging.WARNING):
        assert rows("path,text\na.wav,x, y\nb.wav,z,,\n", "t.csv")[0] == {"path": "a.wav", "text": "x"}
        rows("path\ttext\na.wav\tx\ty\nb.wav\tz\t\n", "t.tsv")

    said = [record.getMessage().partition(";")[0] for record in caplog.records]
    assert said == [f"{name}: 1 rows have more fields than there are columns" for name in ("t.csv", "t.tsv")]


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("t.csv", "path,text,text\na.wav,x,note\n"),
        ("t.csv", 'path," text",note,"text"\na.wav,x,,y\n'),
        ("t.tsv", "path\ttext\tpath\na.wav\tx\tb.wav\n"),
    ],
)
def test_a_column_that_is_there_twice_is_an_error(name: str, content: str) -> None:
    """The last one would win. Columns without a name may be many."""
    with pytest.raises(SourceError, match=f"{name} has more than one column '(text|path)'"):
        rows(content, name)

    assert rows("path,text,,\na.wav,x,,\n", "t.csv")[0]["text"] == "x"


def test_quotes_that_are_escaped_with_a_backslash_are_an_error() -> None:
    """As pandas writes them where it is told to: the text would end there, and the next columns be others."""
    with pytest.raises(SourceError, match=r't\.csv, line 2: .*not be doubled \(`""`, not `."`\)'):
        rows('path,text,who\na.wav,"he said \\"hi, there\\" to me",ann\n', "t.csv")

    sound = rows('path,text\na.wav,"C:\\",\nb.wav,a \\"b\nc.wav,"x"\n', "t.csv")
    assert [row["text"] for row in sound] == ["C:\\", 'a \\"b', "x"]


@pytest.mark.parametrize("name", ["t.jsonl", "t.json"])
def test_what_is_no_number_is_no_value(tmp_path: Path, name: str) -> None:
    """Neither a text nor part of what is published as JSON."""
    row = '{"path": "a.wav", "text": NaN, "age": -Infinity, "more": {"x": [1e400, 2.5]}}\n'
    spec = TableSpec(Columns(audio=("path",), transcript=("text",), metadata=("age", "more")))

    (clip,) = clips(tmp_path, {name: (f"[{row}]" if name == "t.json" else row).encode(), "a.wav": b"A"}, spec=spec)

    assert (clip.transcript, clip.metadata) == ("", {"more": {"x": [None, 2.5]}})


@pytest.mark.parametrize("value", ["false", "true", '["ก", "ข"]', '{"th": "ก"}'])
def test_a_transcript_that_is_no_text_is_an_error(tmp_path: Path, value: str) -> None:
    """It was published as `False`, or as nothing."""
    table = f'{{"path": "b.wav", "text": 5}}\n{{"path": "a.wav", "text": {value}}}\n'.encode()

    with pytest.raises(SourceError, match=r"t\.jsonl: .* stands where the transcript should, and is no text"):
        clips(tmp_path, {"t.jsonl": table, "a.wav": b"A", "b.wav": b"B"})


# --- names -----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "named",
    [
        *("a.wav", "./a.wav", "wav/a.wav", "train/wav/a.wav", "wav\\a.wav", "a", "A.WAV", "a.Wav", " a.wav "),
        *("/home/ann/corpus/train/wav/a.wav", "C:\\corpus\\wav\\a.wav", "../wav/a.wav", "other/a.wav", "a.flac"),
    ],
)
def test_a_row_may_name_its_clip_in_many_ways(tmp_path: Path, named: str) -> None:
    """Whatever folders of another machine stand in front, and whatever case its ending has."""
    files = {"train/t.tsv": f"path\ttext\n{named}\tx\n".encode(), "train/wav/a.wav": b"A", "train/wav/b.wav": b"B"}

    first, *_ = clips(tmp_path, files)

    assert (first.audio, first.transcript) == (b"A", "x")


@pytest.mark.parametrize(
    ("named", "others"),
    [
        ("a.wav", {"test/a.wav": b"T", "train/b.wav": b"B"}),
        ("a.wav", {"train/x/a.wav": b"1", "train/y/a.wav": b"2"}),
        ("x/a.wav", {"train/x/b.wav": b"1", "train/y/a.wav": b"2"}),
        ("a.wav", {"train/._a.wav": b"side file", "train/b.wav": b"B"}),
        ("aa.wav", {"train/a.wav": b"1"}),
    ],
    ids=["of another split", "two fit", "another folder of the source", "a side file", "another name"],
)
def test_what_is_not_certain_is_missing(tmp_path: Path, named: str, others: Files) -> None:
    """A wrong clip under a right text is worse than none: the row becomes a reject that shows its name."""
    table = f"path\ttext\n{named}\tx\nsure.wav\ty\n".encode()
    first, *_ = clips(tmp_path, {"train/t.tsv": table, "train/sure.wav": b"S", **others})

    assert first.audio is None
    assert first.selected
    assert "a.wav" in first.audio_name


def test_two_that_fit_are_both_shown(tmp_path: Path) -> None:
    """So that a person can tell what to mend."""
    table = b"path\ttext\na.wav\tx\nsure.wav\ty\n"
    files = {"train/t.tsv": table, "train/x/a.wav": b"1", "train/y/a.wav": b"2", "train/sure.wav": b"S"}

    first, *_ = clips(tmp_path, files)

    assert "2 files fit: train/x/a.wav, train/y/a.wav" in first.audio_name


def test_clips_of_the_same_name_keep_apart_by_folder(tmp_path: Path) -> None:
    """Each table's rows mean those below its own folder; their keys have its name, where the spec says so."""
    files = {f"{name}/t.tsv": b"path\ttext\n1.wav\tx\n" for name in ("mon", "tue")}
    files |= {f"{name}/wav/1.wav": name.encode() for name in ("mon", "tue")}
    spec = TableSpec(SPEC.columns, key_has_folder=True)

    assert [(clip.key, clip.audio) for clip in clips(tmp_path, files, spec=spec)] == [
        ("mon/1", b"mon"),
        ("tue/1", b"tue"),
    ]


@pytest.mark.parametrize(
    ("named", "split"),
    [
        ("/home/dev/corpus/wav/a.wav", "train"),
        ("C:\\test\\wav\\a.wav", "train"),
        ("/mnt/corpus/test/a.wav", "test"),
        ("test/a.wav", "test"),
        ("dev/x/a.wav", "validation"),
    ],
)
def test_a_folder_of_another_machine_names_no_split(tmp_path: Path, named: str, split: str) -> None:
    """Whoever made the table worked in `/home/dev`: that makes no clip one of validation."""
    files = {"t.tsv": f"path\ttext\n{named}\tx\n".encode(), "wav/a.wav": b"A"}

    assert [clip.audio for clip in clips(tmp_path, files, split)] == [b"A"]


@pytest.mark.parametrize(
    ("path", "split"),
    [
        ("data/train-00000-of-00001.parquet", "train"),
        ("th_th/fleurs-validation.parquet", "validation"),
        ("DEV/text", "validation"),
        ("corpus/test/wav/a.wav", "test"),
        ("train_test/a.csv", "test"),
        ("test/train.csv", "train"),
        ("contest/latest.csv", None),
        ("a.csv", None),
    ],
)
def test_words_in_paths_tell_the_split(path: str, split: str | None) -> None:
    """The nearest to the end; of two in one name that which keeps test clips out of train."""
    assert split_of_path(path) == split


def test_patterns_match_ends_of_paths() -> None:
    """A leading folder makes no difference, nor does case."""
    assert matches("v1/Train/Metadata.CSV", ["train/metadata.csv"])
    assert not matches("v1/pretrain/metadata.csv", ["train/metadata.csv"])
    assert matches("v1/train/a.csv", ["*.csv"])


# --- Kaldi -----------------------------------------------------------------------------------


def test_kaldi_commands_are_never_run(tmp_path: Path) -> None:
    """The file in them is read as it is."""
    marker = tmp_path / "ran"
    scp = f"u1 touch {marker} | cat wav/a.wav |\nu2 flac -c -d -s /data/wav/b.flac |\n"
    files = {"train/text": "u1 หนึ่ง\nu2 สอง\n".encode(), "train/wav.scp": scp.encode()}

    read = clips(tmp_path, {**files, "train/wav/a.wav": b"A", "train/wav/b.flac": b"B"}, spec=KALDI)

    assert [(clip.key, clip.audio) for clip in read] == [("u1", b"A"), ("u2", b"B")]
    assert not marker.exists()


def test_two_utterances_of_one_clip_are_two_samples(tmp_path: Path) -> None:
    """Their ids tell them apart, also in an archive that is read once."""
    tables = {"train/text": b"u1 x\nu2 y\n", "train/wav.scp": b"u1 a.wav\nu2 a.wav\n"}
    loose = clips(tmp_path / "loose", {**tables, "train/a.wav": b"A"}, spec=KALDI)
    packed = clips(tmp_path / "packed", {"c.tar.gz": tar_of({**tables, "train/a.wav": b"A"}, "w:gz")}, spec=KALDI)

    for read in (loose, packed):
        assert [(clip.key, clip.transcript, clip.audio) for clip in read] == [("u1", "x", b"A"), ("u2", "y", b"A")]


def test_segments_of_recordings_are_refused(tmp_path: Path) -> None:
    """Reading whole recordings instead would give each utterance hours of audio."""
    with pytest.raises(SourceError, match="segments: utterances that are cut out of longer recordings"):
        clips(
            tmp_path,
            {"train/text": b"u1 x\n", "train/wav.scp": b"r a.wav\n", "train/segments": b"u1 r 0 1\n"},
            spec=KALDI,
        )


@pytest.mark.parametrize(
    "command",
    [
        "sox a.wav -t wav - trim 0 0.5 |",
        "sox a.wav -t wav - remix 1 |",
        "ffmpeg -ss 3 -i a.wav -f wav - |",
        "sph2pipe -f wav -p -c 2 a.wav |",
        "cat head.wav a.wav |",
    ],
)
def test_a_command_that_gives_a_part_is_refused(tmp_path: Path, command: str) -> None:
    """What it reads is not what its text is of."""
    files = {"train/text": b"u1 x\n", "train/wav.scp": f"u1 {command}\n".encode(), "a.wav": b"A"}

    with pytest.raises(SourceError, match=r"train/wav\.scp: `.*` gives a part of a recording"):
        clips(tmp_path, files, spec=KALDI)


@pytest.mark.parametrize(
    ("name", "rows"),
    [
        ("t.jsonl", b'{"path": "a.wav", "offset": 0, "duration": 1, "text": "x"}\n'
                    b'{"path": "a.wav", "offset": 1.5, "duration": 1, "text": "y"}\n'),
        ("t.jsonl", b'{"path": "a.wav", "offset": "1e-3", "text": "x"}\n'),
        ("t.csv", b"path,text,start,end\na.wav,x,0,1\na.wav,y,1,2\n"),
        ("t.csv", b"path,text,Start_Time,end\na.wav,x,00:01:02.5,2\n"),
        ("t.tsv", b"path\ttext\tsegment start (s)\na.wav\tx\t3\n"),
        ("t.json", b'[{"path": "a.wav", "text": "x", "begin_ms": 1500}]'),
    ],
)  # fmt: skip
def test_rows_that_are_parts_of_recordings_are_refused(tmp_path: Path, name: str, rows: bytes) -> None:
    """Each would get all of the recording. Whoever knows better names the column as metadata."""
    files = {name: rows, "a.wav": b"A"}
    with pytest.raises(SourceError, match="seem to be parts of longer recordings"):
        clips(tmp_path, files)

    begins = ("offset", "start", "Start_Time", "segment start (s)", "begin_ms")
    told = TableSpec(Columns(audio=("path",), transcript=("text",), metadata=begins))
    assert {clip.audio for clip in clips(tmp_path, files, spec=told)} == {b"A"}


def test_a_length_or_an_offset_of_nothing_makes_no_part(tmp_path: Path) -> None:
    """NeMo tells the duration of each file; a day is no place in a recording."""
    rows = b'{"path": "a.wav", "text": "x", "offset": 0.0, "duration": 1.3, "start": "2026-01-02", "starter": 5}\n'

    assert [clip.audio for clip in clips(tmp_path, {"t.jsonl": rows, "a.wav": b"A"})] == [b"A"]


# --- archives --------------------------------------------------------------------------------

CONTENT = {"train/t.tsv": b"path\ttext\n" + b"".join(b"%d.wav\tx%d\n" % (n, n) for n in (3, 0, 1, 7, 1)),
           **{f"train/wav/{n}.wav": b"clip %d" % n * 50 for n in range(5)}}  # fmt: skip
PACKED: Mapping[str, Callable[[], Files]] = {
    "loose": lambda: CONTENT,
    "zip": lambda: {"a.zip": zip_of(CONTENT)},
    "tar": lambda: {"a.tar": tar_of(CONTENT)},
    "tar.gz": lambda: {"a.tar.gz": tar_of(CONTENT, "w:gz")},
    "table apart": lambda: {
        "train/t.tsv": CONTENT["train/t.tsv"],
        "train/one.zip": zip_of({f"{n}.wav": b"clip %d" % n * 50 for n in (0, 1)}),
        "train/two.tgz": tar_of({f"{n}.wav": b"clip %d" % n * 50 for n in (2, 3, 4)}, "w:gz"),
    },
}


@pytest.mark.parametrize("packing", PACKED)
def test_every_packing_gives_the_same_clips_from_every_position(tmp_path: Path, packing: str) -> None:
    """One is missing, one comes twice, two are in no table; from any position on exactly the rest comes."""
    files = PACKED[packing]()
    read = clips(tmp_path, files)

    content = sorted((clip.key.rpartition("/")[2], clip.transcript, clip.audio, clip.selected) for clip in read)
    assert content == [
        ("0", "x0", b"clip 0" * 50, True),
        ("1", "x1", b"clip 1" * 50, True),
        ("1", "x1", b"clip 1" * 50, True),
        ("2", "", None, False),
        ("3", "x3", b"clip 3" * 50, True),
        ("4", "", None, False),
        ("7", "x7", None, True),
    ]
    for number, clip in enumerate(read, start=1):
        assert clips(tmp_path, files, position=json.loads(json.dumps(clip.position))) == read[number:]
        assert clips(tmp_path, files, position={"index": number}) == read[number:]


def repeated_zip() -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        for name, content in (("t.tsv", "path\ttext\na.wav\tx\n"), ("a.wav", "first"), ("b.wav", "b")):
            archive.writestr(zipfile.ZipInfo(name), content)
        with pytest.warns(UserWarning, match="Duplicate name"):
            archive.writestr(zipfile.ZipInfo("a.wav"), "second")
    return buffer.getvalue()


def repeated_tar(mode: str) -> bytes:
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode=mode) as archive:  # type: ignore[call-overload]
        for name, text in (
            ("t.tsv", "path\ttext\na.wav\tx\n"),
            ("a.wav", "first"),
            ("b.wav", "b"),
            ("a.wav", "second"),
        ):
            member = tarfile.TarInfo(name)
            member.size = len(text)
            archive.addfile(member, io.BytesIO(text.encode()))
    return buffer.getvalue()


@pytest.mark.parametrize(
    ("name", "archive"),
    [("a.zip", repeated_zip), ("a.tar", lambda: repeated_tar("w")), ("a.tar.gz", lambda: repeated_tar("w:gz"))],
)
def test_a_clip_that_an_archive_has_twice_is_a_repetition(
    tmp_path: Path, name: str, archive: Callable[[], bytes]
) -> None:
    """The first one counts; the second comes under the same key, so a run rejects it."""
    read = clips(tmp_path, {name: archive()})

    assert [(clip.key, clip.audio, clip.selected) for clip in read] == [
        ("a", b"first", True),
        (f"{name}/b", None, False),
        ("a", None, True),
    ]


def patched(content: bytes, at: int, new: bytes) -> bytes:
    return content[:at] + new + content[at + len(new) :]


ZIP = zip_of(CONTENT)
TAR = tar_of(CONTENT)
DAMAGED: Mapping[str, tuple[str, bytes]] = {
    "empty zip": ("a.zip", b""),
    "web page": ("a.zip", b"<html>503</html>"),
    "cut zip": ("a.zip", ZIP[:-30]),
    "cut zip list": ("a.zip", ZIP[:300] + ZIP[-22:]),
    "encrypted": ("a.zip", patched(ZIP, ZIP.index(b"PK\x01\x02") + 8, b"\x01\x00")),
    "several disks": ("a.zip", patched(ZIP, len(ZIP) - 18, b"\x01\x00")),
    "cut tar": ("a.tar", TAR[:1500]),
    "cut tar at a member": ("a.tar", TAR[: 512 * 4]),
    "tar header": ("a.tar", patched(TAR, 512 * 2, b"\xff" * 512)),
    "tar of nothing": ("a.tar", b""),
}


@pytest.mark.parametrize("damage", DAMAGED)
def test_a_damaged_archive_is_named_and_never_taken_for_a_short_one(tmp_path: Path, damage: str) -> None:
    """What it holds can't be known, so nothing of it is read."""
    name, content = DAMAGED[damage]

    with pytest.raises(SourceError, match=name.replace(".", r"\.")):
        clips(tmp_path, {name: content, "t.tsv": b"path\ttext\n"})


def test_a_damaged_member_of_a_zip_is_named_when_it_is_read(tmp_path: Path) -> None:
    """Clips before it have been handed out."""
    stored = io.BytesIO()
    with zipfile.ZipFile(stored, "w") as archive:
        archive.writestr(zipfile.ZipInfo("t.tsv"), "path\ttext\na.wav\tx\nb.wav\ty\n")
        archive.writestr(zipfile.ZipInfo("a.wav"), "whole")
        archive.writestr(zipfile.ZipInfo("b.wav"), "damaged")
    content = stored.getvalue().replace(b"damaged", b"damagEd")
    write_files(tmp_path / "source", {"a.zip": content})
    own = OwnSource("Corpus", INFO, SPEC, Location(str(tmp_path / "source")))
    access = SourceAccess(cache_dir=tmp_path / "cache")
    read = own.processor_class()(ProcessorConfig(access=access)).read("train", dict(START))

    assert next(read).audio == b"whole"
    with pytest.raises(SourceError, match=r"a\.zip.*does not have its checksum"):
        next(read)


def test_no_more_of_a_member_is_unpacked_than_it_claims() -> None:
    """A few bytes may hold gigabytes."""
    packed = io.BytesIO(zip_of({"a.wav": bytes(50_000_000)}))
    (member,) = zip_members(packed)
    small = type(member)(member.name, member.header_at, member.packed_bytes, 1000, member.method, member.crc)

    with pytest.raises(ZipDamaged, match="checksum"), open_member(packed, small) as stream:
        stream.read()


@pytest.mark.parametrize("packing", ["loose", "zip", "tar", "tar.gz"])
def test_a_clip_too_large_is_not_loaded(tmp_path: Path, packing: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Its reject says how large it is."""
    monkeypatch.setattr(contents, "MAX_CLIP_BYTES", 600)
    monkeypatch.setattr("processors.readers.tar.MAX_CLIP_BYTES", 600)
    monkeypatch.setattr("processors.engine.unreadable.MAX_CLIP_BYTES", 600)
    files = {"t.tsv": b"path\ttext\na.wav\tx\n", "a.wav": bytes(5000)}
    packed = {
        "loose": files,
        "zip": {"a.zip": zip_of(files)},
        "tar": {"a.tar": tar_of(files)},
        "tar.gz": {"a.tar.gz": tar_of(files, "w:gz")},
    }[packing]

    (clip,) = clips(tmp_path, packed)

    assert clip.audio is None
    assert "5,000 bytes" in clip.audio_name


def test_a_zip_of_more_members_than_the_old_form_can_count_is_read() -> None:
    """With something in front of it, too."""
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        for number in range(66_000):
            archive.writestr(f"{number}.wav", b"")
    packed = io.BytesIO(b"#!/bin/sh\n" + buffer.getvalue())

    *_, last = members = deque(zip_members(packed))
    assert len(members) == 66_000
    assert last.name == "65999.wav"
    with open_member(packed, last) as stream:
        assert stream.read() == b""


def test_a_link_in_a_tar_is_a_clip_without_audio(tmp_path: Path) -> None:
    """It becomes a reject: nothing with a clip's name is dropped silently."""
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w") as archive:
        link = tarfile.TarInfo("a.wav")
        link.type, link.linkname = tarfile.SYMTYPE, "/etc/passwd"
        archive.addfile(link)

    (clip,) = clips(tmp_path, {"c.tar": buffer.getvalue(), "t.tsv": b"path\ttext\na.wav\tx\n"})

    assert (clip.audio, clip.selected) == (None, True)


def test_a_tar_whose_header_claims_gigabytes_is_refused(tmp_path: Path) -> None:
    """An extended header is read whole: so its size is looked at first."""
    header = tarfile.TarInfo("x")
    header.type, header.size = tarfile.XHDTYPE, 2**32

    with pytest.raises(SourceError, match="a header of"):
        clips(tmp_path, {"c.tar": header.tobuf() + bytes(2048), "t.tsv": b"path\ttext\n"})


# --- splits and sources ----------------------------------------------------------------------


def test_an_empty_split_is_empty_and_no_error(tmp_path: Path) -> None:
    """A table with a header alone; a split without a table, where none is promised."""
    files = {"train.tsv": b"path\ttext\na.wav\tx\n", "dev.tsv": b"path\ttext\n", "a.wav": b"A"}

    assert clips(tmp_path, files, "validation") == []
    assert clips(tmp_path, files, "test") == []
    assert len(clips(tmp_path, files)) == 1


def test_a_source_without_a_table_shows_what_it_has(tmp_path: Path) -> None:
    """And what was looked for."""
    with pytest.raises(SourceError, match=r"no table \*\.csv or .*; it has notes\.md"):
        clips(tmp_path, {"notes.md": b"x"})


def test_an_unknown_column_shows_what_the_table_has(tmp_path: Path) -> None:
    """Enough to see which layout it is."""
    with pytest.raises(SourceError, match=r"t\.csv has no column 'path'; its columns are file, words"):
        clips(tmp_path, {"t.csv": b"file,words\na.wav,x\n", "a.wav": b"A"})


def test_rows_that_name_no_clip_are_counted_once(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """They are no clips, so they are not in the books."""
    with caplog.at_level(logging.WARNING):
        read = clips(tmp_path, {"t.tsv": b"path\ttext\n\tx\na.wav\ty\n\tz\n", "a.wav": b"A"})

    assert [clip.transcript for clip in read] == ["y"]
    assert "2 rows that name no clip were left out" in caplog.text


def test_a_position_in_a_file_that_is_not_there_is_refused(tmp_path: Path) -> None:
    """Going on elsewhere would lose or repeat clips."""
    files = PACKED["tar.gz"]()

    for position in (
        {"file": "b.tar.gz", "member": 1},
        {"file": "a.tar.gz", "member": 99},
        {"member": "x"},
        {"row": -1},
    ):
        with pytest.raises(SourceError, match="position"):
            clips(tmp_path, files, position={"index": 1, **position})


def test_names_in_a_zip_that_are_not_marked_as_utf8_are_read_as_it_if_they_are(tmp_path: Path) -> None:
    """Many packers forget the mark."""
    name = "เสียง.wav"
    packed = zip_of({"t.tsv": f"path\ttext\n{name}\tx\n".encode(), name: b"A"})
    flags = struct.pack("<H", 0x800)
    unmarked = packed.replace(flags + b"\x08\x00", b"\0\0\x08\x00").replace(flags + b"\x00\x00", b"\0\0\0\0")

    (clip,) = clips(tmp_path, {"a.zip": unmarked})

    assert (clip.key, clip.audio) == ("เสียง", b"A")


@pytest.mark.parametrize(
    ("others", "says"), [({}, "there are no clips at all"), ({"d/b.wav": b"b"}, "the first clip there is d/b.wav")]
)
def test_tables_without_one_clip_are_an_error(tmp_path: Path, others: Files, says: str) -> None:
    """Not thousands of rejects: the clips lie elsewhere, or are named by another column."""
    with pytest.raises(SourceError, match=f"not one row of its tables has its clip. The first names x/a.wav; {says}"):
        clips(tmp_path, {"t.csv": b"path,text\nx/a.wav,1\nx/c.wav,2\n", **others})


def test_a_name_on_disk_that_is_not_utf8_is_no_end_of_the_run(tmp_path: Path) -> None:
    """Old archives extract to such. Its clip is there to be named, and is read by that name."""
    write_files(tmp_path / "source", {"t.tsv": b"path\ttext\n%E0%CA.wav\tx\nb.wav\ty\n", "b.wav": b"B"})
    (tmp_path / "source" / os.fsdecode(b"\xe0\xca.wav")).write_bytes(b"A")

    read = clips(tmp_path, {})

    assert [(clip.key, clip.audio, clip.transcript) for clip in read] == [("%E0%CA", b"A", "x"), ("b", b"B", "y")]


_MODE: Mapping[str, Any] = {"tar": "w", "tar.gz": "w:gz"}


@pytest.mark.parametrize("packing", ["loose", *_MODE])
def test_a_name_that_can_not_be_read_means_no_clip(tmp_path: Path, packing: str) -> None:
    """In a table and an archive of old Thai code pages all letters look the same: a guess would be a wrong pair."""
    table = "path\ttext\n\u0e02.wav\tof \u0e02\n\u0e01.wav\tof \u0e01\n".encode("tis-620")
    table += b"x.wav\t-\ny.wav\t-\n"
    files = {"t.tsv": table, "\u0e01.wav": b"1", "\u0e02.wav": b"2", "x.wav": b"3"}
    folder = tmp_path / "source"
    folder.mkdir()
    if packing == "loose":
        for name, content in files.items():
            (folder / os.fsdecode(name.encode("tis-620"))).write_bytes(content)
    else:
        path, form = folder / f"a.{packing}", tarfile.GNU_FORMAT
        with tarfile.open(path, _MODE[packing], format=form, encoding="tis-620") as tar:
            for name, content in files.items():
                member = tarfile.TarInfo(name)
                member.size = len(content)
                tar.addfile(member, io.BytesIO(content))

    read = clips(tmp_path, {})

    assert [clip.audio for clip in read if clip.selected and clip.key != "x"] == 3 * [None]


def test_half_a_surrogate_pair_in_json_is_no_end_of_the_run(tmp_path: Path) -> None:
    """It has no UTF-8 form, so nothing could be stored or published of it."""
    table = rb'{"path": "a.wav", "text": "x\ud83d"}' + b"\n" + rb'{"path": "\udc00.wav", "text": "y"}'

    read = clips(tmp_path, {"t.jsonl": table, "a.wav": b"A"})

    assert [(clip.key, clip.audio, clip.transcript) for clip in read] == [("a", b"A", "x\ufffd"), ("\ufffd", None, "y")]
