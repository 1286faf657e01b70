"""Ogg pages: whether all of them are there, as they were written.

libsndfile passes over a damaged page, fills the gap of a missing one, takes the last good one for the end, and never
decodes a stream behind the end of another one. None of that makes an error: so the pages are walked here first.
"""

import zlib
from collections.abc import Iterator
from typing import Final, NamedTuple

from utils.audio.rejected import AudioRejected
from utils.rows.schema import RejectReason

MAX_PAGES: Final = 500_000
"""An hour has 180,000 of them where each holds 20 ms; empty ones take 27 bytes."""

_FIRST_PAGE, _LAST_PAGE = 0x02, 0x04
_MIRRORED: Final = bytes(int(f"{byte:08b}"[::-1], 2) for byte in range(256))
"""Each byte with its bits in reverse order."""


class _Page(NamedTuple):
    at: int
    flags: int
    stream: bytes
    number: int
    end: int


def check_ogg(data: bytes) -> None:
    """Walk the pages. Each must be as it was written, none missing, the last one whole and the end of its stream.

    A stream behind another one (chained, as radio recordings are) is refused as well, rather than published in part.
    """
    before: _Page | None = None
    for page in _pages(data):
        if before and page.flags & _FIRST_PAGE and not before.flags & _FIRST_PAGE:
            raise AudioRejected(RejectReason.UNDECODABLE, "several Ogg streams in a row; only the first can be read")
        if before and page.stream == before.stream and page.number != before.number + 1:
            raise AudioRejected(RejectReason.TRUNCATED, f"an Ogg page is missing before byte {page.at} of {len(data)}")
        before = page
    end = before.end if before else 0
    if data[end : end + 4] == b"OggS":
        raise AudioRejected(RejectReason.TRUNCATED, f"the Ogg page at byte {end} of {len(data)} is cut short")
    if not (before and before.flags & _LAST_PAGE):
        raise AudioRejected(RejectReason.TRUNCATED, "the last Ogg page does not end its stream")


def _pages(data: bytes) -> Iterator[_Page]:
    """The pages that follow each other without a gap from the start on."""
    at = 0
    for _ in range(MAX_PAGES):
        if data[at : at + 4] != b"OggS" or (length := _page_length(data, at)) is None:
            return
        page = data[at : at + length]
        if page_checksum(page) != int.from_bytes(page[22:26], "little"):
            raise AudioRejected(RejectReason.UNDECODABLE, f"the Ogg page at byte {at} of {len(data)} is damaged")
        yield _Page(at, page[5], page[14:18], int.from_bytes(page[18:22], "little"), at + length)
        at += length
    raise AudioRejected(RejectReason.UNDECODABLE, f"more than {MAX_PAGES} Ogg pages")


def _page_length(data: bytes, at: int) -> int | None:
    """The length of the page that begins here, None where it is not all there."""
    if at + 27 > len(data):
        return None
    segments = data[at + 26]
    lacing = data[at + 27 : at + 27 + segments]
    length = 27 + segments + sum(lacing)
    return length if len(lacing) == segments and at + length <= len(data) else None


def page_checksum(page: bytes) -> int:
    """Ogg's checksum is zlib's with all bits in reverse, begun with 0, over a page with zeros in its place."""
    blank = page[:22] + bytes(4) + page[26:]
    mirrored = zlib.crc32(blank.translate(_MIRRORED), 0xFFFF_FFFF) ^ 0xFFFF_FFFF
    return int.from_bytes(mirrored.to_bytes(4, "little").translate(_MIRRORED), "big")
