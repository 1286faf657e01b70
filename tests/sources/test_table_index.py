"""The index of transcripts on disk, and the lines that it is made from."""

import io
import sqlite3
from collections.abc import Iterator
from pathlib import Path

import pytest

from utils.errors import SourceError, Stopped
from utils.formats.tsv import MAX_LINE_BYTES, TextLines
from utils.sources.table_index import IndexEntry, TableIndex, open_table_index

TABLES = ["train", "clips"]
ENTRIES: list[IndexEntry] = [
    ("train", "a", "หนึ่ง"),
    ("clips", "b.mp3", ""),
    ("train", "b", "สอง"),
    ("train", "a", "again"),
    ("clips", "a", ""),
]


def unread() -> Iterator[IndexEntry]:
    raise AssertionError("built although it was there")


def opened(
    folder: Path, entries: list[IndexEntry] | None = None, identity: str = "corpus\nrevision\ntable"
) -> TableIndex:
    return open_table_index(folder, "corpus", identity, TABLES, (lambda: entries) if entries is not None else unread)


def file_of(folder: Path) -> Path:
    (path,) = folder.glob("*.sqlite")
    return path


def test_the_first_row_of_a_key_wins(tmp_path: Path) -> None:
    """Tables are apart; a key that is not there is None."""
    with opened(tmp_path, ENTRIES) as index:
        found = index.get("train", "a")

        assert found and found.value == "หนึ่ง"
        assert index.get("train", "b.mp3") is None
        assert index.count("train") == 3
        assert index.count_also_in("clips", "train") == 1
        assert index.count_also_in("train", "clips") == 2


def test_rows_come_in_table_order_from_any_row(tmp_path: Path) -> None:
    """A row's number is a position to go on from."""
    with opened(tmp_path, ENTRIES) as index:
        rows = list(index.rows("train"))

        assert [row.key for row in rows] == ["a", "b", "a"]
        assert list(index.rows("train", rows[0].number + 1)) == rows[1:]


def test_an_index_that_is_there_is_not_built_again(tmp_path: Path) -> None:
    """The table is read once, not at every start."""
    opened(tmp_path, ENTRIES).close()

    with opened(tmp_path) as index:
        assert index.count("train") == 3


def test_another_revision_has_an_index_of_its_own(tmp_path: Path) -> None:
    """A transcript of an older revision is never handed out."""
    opened(tmp_path, ENTRIES).close()

    with opened(tmp_path, [("train", "a", "new")], identity="corpus\nother\ntable") as index:
        assert index.count("train") == 1
    assert len(list(tmp_path.glob("*.sqlite"))) == 2


def test_an_index_that_is_built_again_is_the_same(tmp_path: Path) -> None:
    """Row numbers are part of positions, so they must not depend on when it was built."""
    opened(tmp_path, ENTRIES).close()
    before = file_of(tmp_path).read_bytes()
    file_of(tmp_path).unlink()

    opened(tmp_path, ENTRIES).close()

    assert file_of(tmp_path).read_bytes() == before


@pytest.mark.parametrize("damage", [b"", b"not sqlite at all", None], ids=["empty", "other content", "cut short"])
def test_a_damaged_index_is_built_again(tmp_path: Path, damage: bytes | None) -> None:
    """It is a cache: nothing is lost with it."""
    many = [("train", f"key {number}", "x" * 100) for number in range(1000)]
    opened(tmp_path, many).close()
    path = file_of(tmp_path)
    path.write_bytes(path.read_bytes()[:-4096] if damage is None else damage)

    with opened(tmp_path, many) as index:
        assert index.count("train") == 1000


def test_damage_that_shows_while_reading_removes_the_index_and_says_so(tmp_path: Path) -> None:
    """The next run builds it anew; until then nothing is taken for absent."""
    many = [("train", f"key {number}", "x" * 100) for number in range(1000)]
    opened(tmp_path, many).close()
    path = file_of(tmp_path)
    content = bytearray(path.read_bytes())
    content[4096 * 5 :] = b"\xff" * (len(content) - 4096 * 5)
    path.write_bytes(content)

    with opened(tmp_path) as index, pytest.raises(SourceError, match="--resume"):
        for number in range(1000):
            index.get("train", f"key {number}")
    assert not path.exists()


def test_what_a_source_raises_leaves_no_index_behind(tmp_path: Path) -> None:
    """Half a table would make clips unselected that are not."""

    def broken() -> Iterator[IndexEntry]:
        yield ENTRIES[0]
        raise SourceError("connection lost")

    with pytest.raises(SourceError, match="connection lost"):
        open_table_index(tmp_path, "corpus", "x", TABLES, broken)

    assert not list(tmp_path.glob("*.sqlite*"))


def test_what_a_killed_run_left_half_built_is_built_anew(tmp_path: Path) -> None:
    """The temporary file is never taken for the index."""
    opened(tmp_path, ENTRIES).close()
    path = file_of(tmp_path)
    path.rename(path.with_name(path.name + ".tmp"))

    with opened(tmp_path, ENTRIES[:1]) as index:
        assert index.count("train") == 1
    assert not list(tmp_path.glob("*.tmp"))


def test_an_index_that_can_not_be_written_stops_the_run_with_advice(tmp_path: Path) -> None:
    """A full disk is no fault of the source, and no traceback."""

    def full() -> Iterator[IndexEntry]:
        yield ENTRIES[0]
        raise sqlite3.OperationalError("database or disk is full")

    with pytest.raises(Stopped, match="disk is full.*--resume"):
        open_table_index(tmp_path, "corpus", "x", TABLES, full)


def test_lines_carry_the_offset_to_go_on_from() -> None:
    """Whatever the line ends, and over the borders of what is read at a time."""
    content = b"\xef\xbb\xbfhead\r\n" + b"".join(b"%d\t%s\n" % (number, b"x" * 997) for number in range(2000)) + b"last"

    lines = list(TextLines(io.BytesIO(content), "t"))

    assert [lines[0][0], lines[-1][0], len(lines)] == ["head", "last", 2002]
    for number in (0, 1, 700, 1999, 2001):
        offset = lines[number][1]
        stream = io.BytesIO(content)
        stream.seek(offset)
        assert list(TextLines(stream, "t", offset)) == lines[number + 1 :]


def test_an_endless_line_is_left_out_in_bounded_memory() -> None:
    """It is counted; the line after it is whole, and its offset right."""
    content = b"a\n" + b"x" * (5 * MAX_LINE_BYTES) + b"\nb\n" + b"y" * (2 * MAX_LINE_BYTES)
    largest = 0

    class Watched(io.BytesIO):
        def read(self, size: int | None = -1) -> bytes:
            nonlocal largest
            largest = max(largest, size if size is not None and size >= 0 else len(content))
            return super().read(size)

    lines = TextLines(Watched(content), "t")

    assert list(lines) == [("a", 2), ("b", 5 * MAX_LINE_BYTES + 5)]
    assert lines.malformed == 2
    assert largest <= MAX_LINE_BYTES
