"""Lines of a text table of any size, read in bounded memory: the one place that knows about BOMs, line ends and bad
bytes.

No quoting: a quote in a field is a quote (transcripts hold bare ones). What can't be read as a line is
left out and counted, and said once at the end, never silently. A table that is mostly no UTF-8 is a SourceError: it has
another encoding, and would give texts of nonsense, or names that fit no clip. The first lines tell, before any is
given away; where it begins later, the end.
"""

import io
import logging
import re
from collections.abc import Iterator
from typing import BinaryIO, Final

from utils.errors import SourceError
from utils.formats.line_ends import LineFeeds
from utils.rows.printable import shown

log = logging.getLogger(__name__)

MAX_LINE_BYTES = 1_000_000
"""A longer line is left out: it is a damaged table, and would be loaded whole."""

_CHUNK_BYTES = 256 * 1024
_BOM = "\ufeff"
_TIS_620: Final = "CP874 (TIS-620, Thai Windows)"
_UTF_16: Final = "UTF-16 (Excel's Unicode text)"
_THAI_IN_UTF_8 = re.compile(rb"\xe0[\xb8\xb9][\x80-\xbf]")


class TextLines:
    """The lines of a UTF-8 table, without line ends, each with the byte offset after it. Empty ones are passed over.

    Iterate once. SourceError where most of it is no UTF-8; single bytes that are not become U+FFFD. `malformed` may be
    raised by whoever takes the lines apart; `report` logs both counts.
    """

    def __init__(self, stream: BinaryIO, name: str, offset: int = 0, or_tis_620: bool = False) -> None:
        """`stream` stands at `offset`, the start of a line; `name` is for messages. `or_tis_620`: a line that is not
        UTF-8 may be of the encoding that Thai was written in before."""
        self.malformed = 0
        """Lines that were left out: too long, or without the fields they need."""
        self.read = 0
        """Lines that were not left out as too long."""
        self.undecodable = 0
        """Those of them that hold bytes that are not UTF-8."""
        self._stream = stream
        self._name = name
        self._offset = offset
        self._or_tis_620 = or_tis_620
        self._are_returns: bool | None = None
        """How its lines end, once that is known."""

    def from_offset(self, offset: int) -> "TextLines":
        """The lines from a place on, after at least one was taken from here: they end as those do."""
        self._stream.seek(offset)
        lines = TextLines(self._stream, self._name, offset, self._or_tis_620)
        lines._are_returns = self._are_returns
        return lines

    def __iter__(self) -> Iterator[tuple[str, int]]:
        for raw, end in self._raw_lines():
            if raw is None:
                self.malformed += 1
                continue
            self.read += 1
            first = end == len(raw) + 1
            line = self._decoded(raw).removesuffix("\r")
            if first:
                line = line.removeprefix(_BOM)
            if line:
                yield line, end
        refuse_other_encoding(self._name, self.read, self.undecodable)

    def report(self) -> None:
        """Log once what was left out or replaced."""
        if self.malformed:
            log.warning("%s: %d malformed lines were left out", self._name, self.malformed)
        if self.undecodable:
            log.warning("%s: %d lines hold bytes that are not UTF-8; replaced", self._name, self.undecodable)

    def _raw_lines(self) -> Iterator[tuple[bytes | None, int]]:
        """Each line with anything in it (no line feed; None for one over the limit), and the offset after it."""
        offset, tail, dropped = self._offset, b"", 0
        stream = self._with_line_feeds()
        while chunk := stream.read(_CHUNK_BYTES):
            *whole, tail = (tail + chunk).split(b"\n")
            for line in whole:
                offset += dropped + len(line) + 1
                if dropped or line:
                    yield (None if dropped or len(line) > MAX_LINE_BYTES else line), offset
                dropped = 0
            if len(tail) > MAX_LINE_BYTES or dropped:
                dropped += len(tail)
                tail = b""
        if dropped:
            yield None, offset + dropped
        elif tail:  # as if its line feed were there: an offset behind the end reads nothing
            yield tail, offset + len(tail) + 1

    def _with_line_feeds(self) -> BinaryIO:
        ends = LineFeeds(self._stream, self._are_returns)
        self._are_returns = ends.are_returns
        beginning = ends.beginning.replace(b"\r", b"\n") if ends.are_returns else ends.beginning
        refuse_utf_16(self._name, beginning)
        lines = list(filter(None, beginning.split(b"\n")[:-1]))  # the last one may be cut
        refuse_other_encoding(self._name, len(lines), sum(self._text_in(line) is None for line in lines))
        return io.BufferedReader(ends, _CHUNK_BYTES)

    def _decoded(self, raw: bytes) -> str:
        text = self._text_in(raw)
        if text is None:
            self.undecodable += 1
            return raw.decode(errors="replace")
        return text

    def _text_in(self, raw: bytes) -> str | None:
        """None where it is in no encoding that this table may have."""
        try:
            return raw.decode()
        except UnicodeDecodeError:
            return _from_tis_620(raw) if self._or_tis_620 else None


def _from_tis_620(raw: bytes) -> str | None:
    """The line as Thai of one byte a letter, with Windows' additions; None where it is none, but damaged UTF-8."""
    foreign = sum(byte >= 0x80 for byte in raw)
    if 3 * len(_THAI_IN_UTF_8.findall(raw)) * 2 > foreign:
        return None
    try:
        return raw.decode("cp874")
    except UnicodeDecodeError:
        return None


def refuse_utf_16(name: str, beginning: bytes) -> None:
    """SourceError where the first line of a table holds a zero byte: half of its letters are."""
    if b"\0" in beginning.split(b"\n", 1)[0]:
        raise other_encoding(name, _UTF_16)


def refuse_other_encoding(name: str, lines: int, undecodable: int) -> None:
    """SourceError where most lines are no UTF-8: single bad bytes are replaced, a table of another encoding is not."""
    if undecodable > max(1, lines // 2):
        raise other_encoding(name)


def other_encoding(name: str, encoding: str = _TIS_620) -> SourceError:
    return SourceError(
        f"{shown(name)} is not in UTF-8: it seems to be {encoding}, and its text would become nonsense. What was read "
        "before is safe. Save it as UTF-8 (in Excel: CSV UTF-8; in a terminal: iconv -f "
        f"{encoding.split()[0]} -t UTF-8 OLD > NEW), then run again with --resume."
    )
