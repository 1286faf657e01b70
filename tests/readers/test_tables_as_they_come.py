"""Tables of other encodings and line ends, for whoever reads lines: refused, or read as they are meant."""

import io
from collections.abc import Callable
from pathlib import Path

import pytest

from processors.readers.spec import Form
from processors.readers.table_forms import rows_of
from tests.corpus_mirrors import tar_of
from tests.mirrors import Open, clips_of, opener
from tests.processors.test_mozilla_cv import as_archive, cv_table, extracted
from tests.support import tone
from utils.errors import SourceError
from utils.formats.tsv import TextLines
from utils.rows.schema import START


@pytest.fixture
def opened(tmp_path: Path) -> Open:
    return opener(tmp_path)


# --- line ends -------------------------------------------------------------------------------

LINES = ["\ufeffname\ttext", "a.wav\tกิน", "", "b.wav\tข้าว", "c.wav\tแล้ว"]


def lines_of(content: bytes) -> list[tuple[str, int]]:
    return list(TextLines(io.BytesIO(content), "t.tsv"))


@pytest.mark.parametrize("last", ["", "\r", "\n"])
def test_lines_that_end_at_returns_are_the_same_lines_with_the_same_offsets(last: str) -> None:
    """And are those from each offset on, however few are left."""
    content = ("\r".join(LINES) + last).encode()
    expected = lines_of("\n".join(LINES).encode())
    lines = TextLines(io.BytesIO(content), "t.tsv")

    assert lines_of(content) == expected
    next(iter(lines))
    for number, (_, offset) in enumerate(expected, start=1):
        assert list(lines.from_offset(offset)) == expected[number:]


def test_a_long_table_of_returns_is_read_to_its_end() -> None:
    """Also where no line feed comes in what is looked at, and one comes behind it."""
    many = [f"{number}\t{'ก' * 100}" for number in range(5_000)]

    assert [line for line, _ in lines_of("\r".join(many).encode())] == many
    assert [line for line, _ in lines_of(("\r".join(many) + "\nlast\n").encode())] == [*many, "last"]


@pytest.mark.parametrize(
    "content",
    [
        b"a\tb\r\nc\td\r\n",
        b"a\tb\nc\td\re\nf\tg",
        b"a\tb\rc\nd\te\n",
        b"a\tb\nc\td\r",
        b"a\tb\nc\td\re",
        b"one line",
        b"one line\r\n",
        b"a\n\r\nb\r\r\n",
        b"x" * 300_000 + b"\r" + b"y\nz\n",
        b"",
    ],
)
def test_a_table_with_a_line_feed_is_read_as_ever(content: bytes) -> None:
    """A return within its lines is part of a text, from any offset on."""
    expected, end = [], 0
    for raw in content.split(b"\n"):
        end += len(raw) + 1
        if text := raw.decode().removesuffix("\r"):
            expected.append((text, end))
    lines = TextLines(io.BytesIO(content), "t.tsv")

    assert lines_of(content) == expected
    next(iter(lines), None)
    for number, (_, offset) in enumerate(expected, start=1):
        assert list(lines.from_offset(offset)) == expected[number:]


TABLES: list[tuple[Form, str]] = [
    ("csv", 'file,text\na.wav,"กิน, ข้าว"\nb.wav,แล้ว\n'),
    ("tsv", "file\ttext\na.wav\tกิน\nb.wav\tแล้ว\n"),
    ("jsonl", '{"file": "a.wav", "text": "กิน"}\n{"file": "b.wav", "text": "แล้ว"}\n'),
    ("json", '{"a.wav": "กิน",\n"b.wav": "แล้ว"}\n'),
    ("lines", "a.wav|กิน\nb.wav|แล้ว\n"),
    ("kaldi", "a กิน\nb แล้ว\n"),
    ("texts", "กิน ข้าว\n"),
    ("first_line", "กิน ข้าว\nkin\n"),
]


@pytest.mark.parametrize(("form", "table"), TABLES)
@pytest.mark.parametrize("end", ["\r\n", "\r"])
def test_every_form_of_table_is_read_with_any_line_ends(form: Form, table: str, end: str) -> None:
    def rows(content: str) -> list[object]:
        return list(rows_of(io.BytesIO(content.encode()), "a.txt", form))

    assert rows(table.replace("\n", end)) == rows(table)
    assert rows(table.replace("\n", end).removesuffix(end)) == rows(table)


def test_common_voice_with_returns_resumes_at_each_row(opened: Open) -> None:
    table = cv_table(("s1", "b.mp3", "ข้าว", ""), ("s2", "a.mp3", "กิน", ""), ("s3", "c.mp3", "แล้ว", ""))
    clips = ("a.mp3", "b.mp3", "c.mp3")
    expected = clips_of(opened("MozillaCommonVoice", extracted(table, *clips)))

    cv = opened("MozillaCommonVoice", extracted(table.replace(b"\n", b"\r"), *clips))

    assert clips_of(cv) == expected
    for number, clip in enumerate(expected, start=1):
        assert list(cv.read("train", clip.position)) == expected[number:]


# --- encodings -------------------------------------------------------------------------------


def gigaspeech(table: bytes) -> dict[str, bytes]:
    archive = tar_of({f"0/{number}/0-{number}.wav": tone(number) for number in range(3)}, "w:gz")
    return {
        "data/th/train/0.tar.gz": archive,
        "data/th/train_refined.tsv": table,
        **{f"data/th/{split}.tar.gz": archive for split in ("dev", "test")},
        **{f"data/th/{split}.tsv": b"0-1\ttext\n" for split in ("dev", "test")},
    }


def giga_table(name: str = "0-{}") -> str:
    return "".join(f"{name.format(number)}\tประโยค {number}\n" for number in range(3))


def voice_table(name: str = "{}.mp3") -> str:
    return cv_table(*((f"s{number}", name.format(number), f"ประโยค {number}", "") for number in range(3))).decode()


def voice(table: bytes) -> dict[str, bytes]:
    return extracted(table, *(f"{number}.mp3" for number in range(3)))


BUILT_IN: list[tuple[str, Callable[[bytes], dict[str, bytes]], str]] = [
    ("GigaSpeech2", gigaspeech, giga_table()),
    ("MozillaCommonVoice", voice, voice_table()),
    ("MozillaCommonVoice", lambda table: as_archive(voice(table)), voice_table()),
]


@pytest.mark.parametrize("encoding", ["cp874", "utf-16", "utf-16-le"])
@pytest.mark.parametrize(("source", "files", "table"), BUILT_IN)
def test_a_known_corpus_in_another_encoding_is_refused_before_a_clip_is_read(
    opened: Open, source: str, files: Callable[[bytes], dict[str, bytes]], table: str, encoding: str
) -> None:
    """Its transcripts would be nonsense, or its names would fit no clip."""
    processor = opened(source, files(table.encode(encoding)))

    with pytest.raises(SourceError, match=r"not in UTF-8.*iconv -f (CP874|UTF-16) -t UTF-8"):
        next(processor.read("train", dict(START)))


def test_another_encoding_that_begins_later_is_refused_at_the_end_at_the_latest() -> None:
    """The first lines may be in English."""
    content = b"".join(b"%d\tin English, all of it\n" % number for number in range(15_000))
    content += "".join(f"{number}\tภาษาไทย\n" for number in range(16_000)).encode("cp874")

    with pytest.raises(SourceError, match="not in UTF-8"):
        lines_of(content)


def test_some_bad_bytes_are_replaced_as_ever() -> None:
    lines = TextLines(io.BytesIO(b"a\tb\xff\nc\td\ne\tf\n"), "t.tsv")

    assert [line for line, _ in lines] == ["a\tb\ufffd", "c\td", "e\tf"]
    assert lines.undecodable == 1


@pytest.mark.parametrize("encoding", ["utf-16", "utf-16-le"])
@pytest.mark.parametrize("form", ["texts", "first_line", "lines", "kaldi", "jsonl"])
def test_texts_in_utf_16_are_refused(form: Form, encoding: str) -> None:
    """In a file for each clip as in a table."""
    with pytest.raises(SourceError, match="iconv -f UTF-16"):
        list(rows_of(io.BytesIO("ประโยค 1\r\n".encode(encoding)), "a.txt", form))


def test_a_text_of_several_lines_is_refused_unless_the_first_is_meant() -> None:
    """Half a transcript is a wrong one."""
    with pytest.raises(SourceError, match=r"more than one line.*form: first_line"):
        list(rows_of(io.BytesIO("กิน\n\nข้าว\n".encode()), "a.txt", "texts"))


# --- tables that fit no clip -----------------------------------------------------------------

MISFITS: list[tuple[str, dict[str, bytes]]] = [
    ("GigaSpeech2", gigaspeech(giga_table("0-{}.wav").encode())),
    ("GigaSpeech2", gigaspeech(giga_table("9-{}").encode())),
    ("MozillaCommonVoice", voice(voice_table("{}").encode())),
    ("MozillaCommonVoice", as_archive(voice(voice_table("{}").encode()))),
    ("MozillaCommonVoice", extracted(voice_table().encode())),
    ("MozillaCommonVoice", voice(cv_table())),
    ("MozillaCommonVoice", as_archive(voice(cv_table()))),
]


@pytest.mark.parametrize(("source", "files"), MISFITS)
def test_a_table_that_fits_no_clip_is_refused(opened: Open, source: str, files: dict[str, bytes]) -> None:
    """Before a clip of it is given away: all would be missing, or left out, by a table that is another one."""
    with pytest.raises(SourceError, match=r"names no clip|has no rows"):
        next(opened(source, files).read("train", dict(START)))


def test_a_table_that_fits_one_clip_is_read(opened: Open) -> None:
    """What comes before that clip is read, too."""
    table = voice_table("{}.mp3").replace("0.mp3", "gone.mp3").encode()

    assert [clip.audio is None for clip in clips_of(opened("MozillaCommonVoice", voice(table)))] == [True, False, False]
