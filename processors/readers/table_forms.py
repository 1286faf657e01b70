"""The rows of tables in all their forms: csv, tsv, JSON lines, one JSON document, Kaldi's, plain lines.

Read from the front, in bounded memory, as they stand: a mark of byte order, Windows' line ends, quotes. A row is a
mapping of column to value. What can't be read as a row is left out, counted and said once, as in
`utils/formats/tsv.py`; where nothing behind it could be trusted either (a quote that is never closed, JSON that breaks
off), it is a SourceError. So is a table that is mostly no UTF-8: it has another encoding, and would give texts of
nonsense. Plain lines, as corpora of old have them, may be of that encoding, too.
"""

import csv
import io
import json
import logging
import math
import re
from collections.abc import Callable, Iterator, Mapping
from pathlib import PurePosixPath
from typing import Any, BinaryIO, Final, TypeAlias

from processors.readers.spec import Form
from utils.errors import SourceError
from utils.formats.line_ends import LineFeeds
from utils.formats.tsv import MAX_LINE_BYTES, TextLines, other_encoding, refuse_other_encoding, refuse_utf_16
from utils.rows.printable import shown

log = logging.getLogger(__name__)

TableRow: TypeAlias = Mapping[str, Any]

KEY: Final = "key"
"""The column for what a JSON mapping or a line has a text under."""
VALUE: Final = "value"
"""The column for that text, where it is nothing but a text."""

_FORM_OF_ENDING: Final[Mapping[str, Form]] = {
    ".csv": "csv",
    ".tsv": "tsv",
    ".jsonl": "jsonl",
    ".ndjson": "jsonl",
    ".json": "json",
    ".txt": "lines",
}
_BAR: Final = re.compile(r"[\t|]")
_SPACES: Final = re.compile(r"\s+")
_DECODER: Final = json.JSONDecoder(parse_constant=lambda _: None, parse_float=lambda text: _finite(text))
"""What is no number (NaN, as pandas writes a value that is missing, and what is too large for one) is null."""
_SPACE: Final = " \t\n\r"


def form_of(path: str, form: Form = "") -> Form:
    """What a table is by its name, unless that is said; "" where neither tells."""
    return form or _FORM_OF_ENDING.get(PurePosixPath(path).suffix.lower(), "")


def rows_of(
    stream: BinaryIO, name: str, form: Form, header: tuple[str, ...] = (), quoted: bool = False
) -> Iterator[TableRow]:
    """The rows of a table. `header` has its columns where it does not name them; `name` is for messages."""
    readers: Mapping[str, Callable[[], Iterator[TableRow]]] = {
        "csv": lambda: _quoted_rows(stream, name, ",", header),
        "tsv": lambda: _quoted_rows(stream, name, "\t", header) if quoted else _plain_rows(stream, name, header),
        "jsonl": lambda: _json_lines(stream, name),
        "json": lambda: _json_rows(stream, name),
        "lines": lambda: _lines(TextLines(stream, name, or_tis_620=True), name, _BAR, _SPACES),
        "kaldi": lambda: _lines(TextLines(stream, name), name, _SPACES),
        "texts": lambda: _one_text(stream, name),
        "first_line": lambda: _one_text(stream, name, is_first_of_many=True),
    }
    return readers[form]()


# --- delimited -------------------------------------------------------------------------------


def _plain_rows(stream: BinaryIO, name: str, header: tuple[str, ...]) -> Iterator[TableRow]:
    """Without quoting: a quote in a field is a quote."""
    lines = TextLines(stream, name)
    rows = (text.split("\t") for text, _ in lines)
    columns = list(header) or [name.strip() for name in next(rows, [])]
    if not header:
        _refuse_repeated(columns, name)
    too_long = 0
    for row in rows:
        too_long += _is_too_long(row, columns)
        yield _as_row(columns, row)
    lines.report()
    _report_too_long(too_long, name)


def _quoted_rows(stream: BinaryIO, name: str, delimiter: str, header: tuple[str, ...]) -> Iterator[TableRow]:
    """Fields may stand in quotes, and then hold delimiters, line ends and doubled quotes."""
    of_row: list[str] = []
    rows = csv.reader(_noted(_decoded_lines(stream, name), of_row), delimiter=delimiter)
    columns = list(header)
    too_long = 0
    try:
        for row in rows:
            # Read leniently, a quote that is missing makes one row of many, and `\"` within a text ends it.
            if len(of_row) > 1 or '\\"' in of_row[0]:
                list(csv.reader(of_row, delimiter=delimiter, strict=True))
            of_row.clear()
            if not row:
                continue
            if columns:
                too_long += _is_too_long(row, columns)
                yield _as_row(columns, row)
            else:
                columns = [name.strip() for name in row]
                _refuse_repeated(columns, name)
    except csv.Error as error:
        raise SourceError(
            f"{shown(name)}, line {rows.line_num}: {shown(error)}. A quote may be missing there, or one in a text not "
            'be doubled (`""`, not `\\"`): nothing behind it can be trusted. What was read before is safe. Mend the '
            "table, then run again with --resume."
        ) from error
    _report_too_long(too_long, name)


def _is_too_long(fields: list[str], columns: list[str]) -> bool:
    """Whether a row has more than its columns: most likely a text with a delimiter, which is cut there."""
    return any(field.strip() for field in fields[len(columns) :])


def _report_too_long(count: int, name: str) -> None:
    if count:
        log.warning(
            "%s: %d rows have more fields than there are columns; what is over was left out. Does a text hold the "
            "delimiter, and does not stand in quotes?",
            *(name, count),
        )


def _noted(lines: Iterator[str], kept: list[str]) -> Iterator[str]:
    for line in lines:
        kept.append(line)
        yield line


def _as_row(columns: list[str], fields: list[str]) -> TableRow:
    """A short line lacks its last columns: they are empty."""
    return dict(zip(columns, [*fields, *[""] * (len(columns) - len(fields))], strict=False))


def _decoded_lines(stream: BinaryIO, name: str) -> Iterator[str]:
    """Lines with their ends, as the csv module wants them."""
    number = undecodable = 0
    ends = LineFeeds(stream)
    refuse_utf_16(name, ends.beginning)
    with_ends = io.BufferedReader(ends)
    while line := with_ends.readline(MAX_LINE_BYTES + 1):
        number += 1
        if len(line) > MAX_LINE_BYTES:
            raise SourceError(
                f"{shown(name)}, line {number} has over {MAX_LINE_BYTES:,} bytes: this is no table of clips. What was "
                "read before is safe. Put a whole copy in its place, then run again with --resume."
            )
        if number == 1:
            line = line.removeprefix(b"\xef\xbb\xbf")
        try:
            yield line.decode()
        except UnicodeDecodeError:
            undecodable += 1
            yield line.decode(errors="replace")
    refuse_other_encoding(name, number, undecodable)
    if undecodable:
        log.warning("%s: %d lines hold bytes that are not UTF-8; replaced", name, undecodable)


def _refuse_repeated(columns: list[str], name: str) -> None:
    """SourceError where two columns have one name: which of them is meant is not known."""
    if twice := [column for column in dict.fromkeys(columns) if column and columns.count(column) > 1]:
        raise SourceError(
            f"{shown(name)} has more than one column {shown(repr(twice[0]))}: which of them is meant is not known. "
            "Nothing was read from it. Give one of them another name, then run again with --resume."
        )


# --- JSON ------------------------------------------------------------------------------------


def _json_lines(stream: BinaryIO, name: str) -> Iterator[TableRow]:
    lines = TextLines(stream, name)
    for text, _ in lines:
        try:
            row = _DECODER.decode(text)
        except (ValueError, RecursionError):
            row = None
        if isinstance(row, dict):
            yield row
        else:
            lines.malformed += 1
    lines.report()


def _finite(text: str) -> float | None:
    number = float(text)
    return number if math.isfinite(number) else None


def _json_rows(stream: BinaryIO, name: str) -> Iterator[TableRow]:
    """Of a list its objects, of an object its members: `{"a.wav": "text"}`, `{"a.wav": {...}}`, `{"data": [...]}`."""
    text = _JsonText(stream, name)
    malformed = 0
    for key, value in text.values():
        if isinstance(value, dict):
            yield value if key is None else {KEY: key, **value}
        elif isinstance(value, str) and key is not None:
            yield {KEY: key, VALUE: value}
        else:
            malformed += 1
    if malformed:
        log.warning("%s: %d malformed entries were left out", name, malformed)


class _JsonText:
    """One JSON document, taken apart value by value: no more than one row of it is held."""

    def __init__(self, stream: BinaryIO, name: str) -> None:
        self._stream, self._name = stream, name
        self._text, self._rest = "", b""
        self._ended = False

    def values(self) -> Iterator[tuple[str | None, Any]]:
        """(key, value) of an object's members, (None, value) of a list's items; lists within an object likewise."""
        self._text = self._more().removeprefix("\ufeff")
        if self._take("["):
            yield from self._items()
        elif self._take("{"):
            yield from self._members()
        else:
            raise self._broken("it is neither a list nor an object")
        if self._peek():
            raise self._broken("more stands behind its end")

    def _items(self) -> Iterator[tuple[None, Any]]:
        if self._take("]"):
            return
        while True:
            yield None, self._value()
            if self._take("]"):
                return
            self._need(",")

    def _members(self) -> Iterator[tuple[str | None, Any]]:
        if self._take("}"):
            return
        while True:
            key = self._value()
            self._need(":")
            if self._take("["):
                yield from self._items()
            else:
                yield str(key), self._value()
            if self._take("}"):
                return
            self._need(",")

    def _value(self) -> Any:
        """The next value, whole. A number may go on in the next piece, so what reaches the end is tried again."""
        self._peek()
        while True:
            try:
                value, end = _DECODER.raw_decode(self._text)
                if end < len(self._text) or self._ended:
                    self._text = self._text[end:]
                    return value
            except ValueError as error:
                if self._ended:
                    raise self._broken(shown(error)) from None
            except RecursionError:
                raise self._broken("it is nested too deeply") from None
            if len(self._text) > MAX_LINE_BYTES:
                raise self._broken(f"an entry has over {MAX_LINE_BYTES:,} characters, or is not closed")
            self._text += self._more()

    def _take(self, wanted: str) -> bool:
        if self._peek() != wanted:
            return False
        self._text = self._text[1:]
        return True

    def _need(self, wanted: str) -> None:
        if not self._take(wanted):
            raise self._broken(f"{wanted!r} is missing")

    def _peek(self) -> str:
        """The next character that is no space; "" at the end."""
        self._text = self._text.lstrip(_SPACE)
        while not self._text and not self._ended:
            self._text = self._more().lstrip(_SPACE)
        return self._text[:1]

    def _more(self) -> str:
        """The next piece of the document, as it is doubled: an entry is tried few times."""
        piece = self._rest + self._stream.read(max(64 * 1024, len(self._text)))
        self._ended = len(piece) == len(self._rest)
        # A character is not cut in two: its last bytes wait for the rest.
        end = len(piece) if self._ended else _end_of_characters(piece)
        self._rest = piece[end:]
        try:
            return piece[:end].decode()
        except UnicodeDecodeError:
            text = piece[:end].decode(errors="replace")
            self._note_undecodable(text)
            return text

    def _note_undecodable(self, text: str) -> None:
        """SourceError where it is more than some bad bytes."""
        bad = text.count("\ufffd")
        if 2 * bad > sum(character > "\x7f" for character in text):
            raise other_encoding(self._name)
        log.warning("%s: %d characters that are not UTF-8 were replaced", self._name, bad)

    def _broken(self, why: str) -> SourceError:
        return SourceError(
            f"{shown(self._name)} is no whole JSON document ({why}). What was read before is safe. Put a whole copy in "
            "its place, then run again with --resume."
        )


def _end_of_characters(piece: bytes) -> int:
    """Where the last whole UTF-8 character of `piece` ends."""
    for back in range(1, min(4, len(piece)) + 1):
        byte = piece[-back]
        if byte < 0x80:
            return len(piece)
        if byte >= 0xC0:
            length = 2 if byte < 0xE0 else 3 if byte < 0xF0 else 4
            return len(piece) - back if length > back else len(piece)
    return len(piece)


# --- lines -----------------------------------------------------------------------------------


def _lines(lines: TextLines, name: str, *ends: re.Pattern[str]) -> Iterator[TableRow]:
    """A name, what ends it (the first of `ends` that the line has), a text: Kaldi's files, and index files of old
    corpora."""
    for text, _ in lines:
        key, value = _cut(text.strip(), ends)
        if key:
            yield {KEY: key, VALUE: value}
        else:
            lines.malformed += 1
    lines.report()


def _cut(text: str, ends: tuple[re.Pattern[str], ...]) -> tuple[str, str]:
    found = next(filter(None, (end.search(text) for end in ends)), None)
    return (text[: found.start()].strip(), text[found.end() :].strip()) if found else (text, "")


def _one_text(stream: BinaryIO, name: str, is_first_of_many: bool = False) -> Iterator[TableRow]:
    """A file for each clip, with its name. SourceError where it has several lines, unless the first is the text: which
    of them is spoken, it does not say."""
    lines = TextLines(stream, name, or_tis_620=True)
    texts = (text for line, _ in lines if (text := line.strip()))
    text = next(texts, "")
    if not is_first_of_many and next(texts, None) is not None:
        raise SourceError(
            f"{shown(name)} has more than one line. Whether all of them are spoken, nobody could tell. What was read "
            "before is safe. Put what is spoken into one line, or say `form: first_line` where it is the first, then "
            "run again with --resume."
        )
    lines.report()
    yield {KEY: PurePosixPath(name).stem, VALUE: text}
