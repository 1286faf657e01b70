"""Lines of a text table of any size, read in bounded memory: the one place that knows about BOMs, CRLF and bad bytes.

No quoting: a quote in a field is a quote (transcripts hold bare ones). What can't be read as a line is
left out and counted, and said once at the end, never silently.
"""

import logging
import re
from collections.abc import Iterator
from typing import BinaryIO

log = logging.getLogger(__name__)

MAX_LINE_BYTES = 1_000_000
"""A longer line is left out: it is a damaged table, and would be loaded whole."""

_CHUNK_BYTES = 256 * 1024
_BOM = "\ufeff"
_THAI_IN_UTF_8 = re.compile(rb"\xe0[\xb8\xb9][\x80-\xbf]")


class TextLines:
    """The lines of a UTF-8 table, without line ends, each with the byte offset after it. Empty ones are passed over.

    Iterate once. Bytes that are not UTF-8 become U+FFFD. `malformed` may be raised by whoever takes the
    lines apart; `report` logs both counts.
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

    def report(self) -> None:
        """Log once what was left out or replaced."""
        if self.malformed:
            log.warning("%s: %d malformed lines were left out", self._name, self.malformed)
        if self.undecodable:
            log.warning("%s: %d lines hold bytes that are not UTF-8; replaced", self._name, self.undecodable)

    def _raw_lines(self) -> Iterator[tuple[bytes | None, int]]:
        """Each line with anything in it (no line feed; None for one over the limit), and the offset after it."""
        offset, tail, dropped = self._offset, b"", 0
        while chunk := self._stream.read(_CHUNK_BYTES):
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

    def _decoded(self, raw: bytes) -> str:
        try:
            return raw.decode()
        except UnicodeDecodeError:
            if self._or_tis_620 and (text := _from_tis_620(raw)) is not None:
                return text
            self.undecodable += 1
            return raw.decode(errors="replace")


def _from_tis_620(raw: bytes) -> str | None:
    """The line as Thai of one byte a letter, with Windows' additions; None where it is none, but damaged UTF-8."""
    foreign = sum(byte >= 0x80 for byte in raw)
    if 3 * len(_THAI_IN_UTF_8.findall(raw)) * 2 > foreign:
        return None
    try:
        return raw.decode("cp874")
    except UnicodeDecodeError:
        return None
