"""A gzip file of one or more members read from front to back, or from a place in its middle on.

As Python's `gzip` reads it, but in C throughout: Python takes a minute for a name of 100 MB in a header.

Places are found while reading, one every `spacing_bytes` of the packed file: where a member begins, or a block within
one (`utils/formats/deflate_blocks.py`). They lie where the file has them, wherever reading began: the same file always
has the same places. A place has all that reading on from there needs, the checksum so far included: so the checksum at
the member's end holds for what was read and for what was not.
"""

import zlib
from collections import deque
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import BinaryIO, Final

import xxhash
from zlib_ng import zlib_ng

from utils.formats.deflate_blocks import WINDOW_BYTES, BlockStart, DamagedStream, entered, find_block, raw_inflater

SPACING_BYTES = 16 * 2**20
"""What is read again of a packed file at most, about: looking for a place costs as much as reading 0.5 MB."""

_PIECE_BYTES: Final = 64 * 1024
"""In which a place is looked for."""
_PIECES_AT_ONCE: Final = 4
"""Read where none is looked for: each call of zlib lets other threads run, and has to wait for them."""
_MAX_UNPACKED_BYTES: Final = 512 * 1024
"""At a time: what is ready."""
_SEARCHED_PIECES: Final = 4
"""Behind each multiple of the spacing. A block of gzip's has some 25 KB, the longest of other packers 300."""
_MAX_FAILURES: Final = 3
"""In a row; then the file has no blocks that can be found, and is not looked at any more."""
_MAX_SEARCHED_BYTES: Final = 4 * 2**20
"""Unpacked: of a piece with more in it no place is looked for."""
_FINGERPRINT_BYTES: Final = 4096

_HAS_CHECKSUM, _HAS_EXTRA, _HAS_NAME, _HAS_COMMENT, _UNKNOWN = 0x02, 0x04, 0x08, 0x10, 0xE0


@dataclass(frozen=True)
class GzipPlace:
    """A place in a gzip file from which it can be read on."""

    packed_at: int
    """The offset of the byte that a member or a block begins in."""
    bit: int
    """Bits of that byte that belong to what is before."""
    kind: str
    """What begins here: `member`, `block`, `stored` (a block that is not packed)."""
    unpacked_at: int
    """How much of the content is before it."""
    crc: int
    """Of the member's content before it."""
    fingerprint_bytes: int
    fingerprint: str
    """Of so many packed bytes from here on: another file has others."""
    window: bytes = field(repr=False)
    """The content before it, as far as the packed bytes may point back."""
    member_bytes: int = 0
    """The size of the member's content before it."""

    def __post_init__(self) -> None:
        sound = self.kind in _KINDS and 0 <= self.bit < 8 and 0 <= self.crc < 2**32
        counts = (self.packed_at, self.unpacked_at, self.fingerprint_bytes, self.member_bytes)
        if not sound or min(counts) < 0 or self.fingerprint_bytes > _PIECE_BYTES or len(self.window) > WINDOW_BYTES:
            raise ValueError("this is no place in a gzip file")


_KINDS = ("member", "block", "stored")


class NotThere(Exception):
    """A file does not have, at a place, what it had when the place was found."""


class GzipStream:
    """The content of a gzip file, from its beginning or from `place` on. Raises NotThere where that is not in it."""

    def __init__(self, packed: BinaryIO, place: GzipPlace | None = None, spacing_bytes: int | None = None) -> None:
        self._packed = _Pieces(packed, place.packed_at if place else 0)
        self._inflater: zlib_ng._Decompress | None = None
        self._ready = memoryview(b"")
        """Unpacked bytes that are still to be read."""
        self._crc = self._member_bytes = 0
        self._unpacked_bytes = place.unpacked_at if place else 0
        self._recent: deque[bytes] = deque()
        """The last 32 KB of the member that were unpacked, or more."""
        self.found: deque[GzipPlace] = deque(maxlen=16)
        """Places, in order; whoever reads takes them out."""
        self._spacing_bytes = spacing_bytes or SPACING_BYTES
        self._next_place_at = _next_multiple(self._packed.at, self._spacing_bytes)
        self._failures = 0
        self._search: _Search | None = None
        if place:
            self._enter(place)

    @property
    def unpacked_bytes(self) -> int:
        """How far the content was unpacked: at first, how far it was read."""
        return self._unpacked_bytes

    @property
    def packed_bytes(self) -> int:
        """How far the packed file was read."""
        return self._packed.at

    def read(self, size: int) -> bytes:
        """`size` bytes, fewer only at the end. EOFError where a member is cut short, zlib.error where it is damaged."""
        if size <= len(self._ready):
            return bytes(self._taken(size))
        pieces = []
        while size and (self._ready or self._unpack()):
            pieces.append(self._taken(size))
            size -= len(pieces[-1])
        return b"".join(pieces)  # the only copy

    def _taken(self, most: int) -> memoryview:
        taken, self._ready = self._ready[:most], self._ready[most:]
        return taken

    def _unpack(self) -> bool:
        """Have something that is ready; False at the end of the file."""
        while not self._ready:
            if self._inflater is None and not self._begin_member():
                return False
            self._inflate()
        return True

    def _inflate(self) -> None:
        assert self._inflater is not None  # noqa: S101 - whoever calls has seen to it
        if not self._packed.rest:
            self._next_piece()
        try:
            unpacked = self._inflater.decompress(self._packed.rest, _MAX_UNPACKED_BYTES)
        except DamagedStream as error:
            raise zlib.error(str(error)) from error
        self._packed.rest = self._inflater.unused_data or self._inflater.unconsumed_tail
        self._take_account(unpacked)
        self._ready = memoryview(unpacked)
        if self._inflater.eof:
            self._end_member()
        elif self._search and not self._packed.rest:
            self._end_search(self._search)

    def _take_account(self, unpacked: bytes) -> None:
        self._crc = zlib_ng.crc32(unpacked, self._crc)
        self._member_bytes += len(unpacked)
        self._unpacked_bytes += len(unpacked)
        self._recent.append(unpacked)
        if self._search and not self._search.takes(unpacked):
            self._search = None
        while sum(map(len, self._recent)) - len(self._recent[0]) >= WINDOW_BYTES:
            self._recent.popleft()

    # --- members -----------------------------------------------------------------------------

    def _begin_member(self) -> bool:
        """Read the header of the next member; False where none follows. Zeros in front of it are padding."""
        self._packed.rest = self._packed.rest.lstrip(b"\0")
        while not self._packed.rest:
            if not self._packed.read_on():
                return False
            self._packed.rest = self._packed.rest.lstrip(b"\0")
        at = self._packed.at - len(self._packed.rest)
        if at >= self._next_place_at:
            self._note(at, 0, "member", self._packed.rest, self._unpacked_bytes)
        _read_header(self._packed)
        self._inflater = raw_inflater()
        self._crc = self._member_bytes = 0
        self._recent.clear()
        return True

    def _end_member(self) -> None:
        trailer = self._packed.take(8)
        if int.from_bytes(trailer[:4], "little") != self._crc:
            raise _damage("incorrect data check")
        if int.from_bytes(trailer[4:], "little") != self._member_bytes % 2**32:
            raise _damage("incorrect length check")
        self._inflater = self._search = None

    # --- places ------------------------------------------------------------------------------

    def _enter(self, place: GzipPlace) -> None:
        if not self._packed.read_on(1) or place.fingerprint != _fingerprint(
            self._packed.rest[: place.fingerprint_bytes]
        ):
            raise NotThere("the file has other bytes there")
        if place.kind == "member":
            return
        entry = BlockStart(0, place.bit, place.kind == "stored")
        self._inflater, first_bytes = entered(entry, self._packed.rest[0], place.window)
        self._packed.rest = first_bytes + self._packed.rest[1:]
        self._crc, self._member_bytes = place.crc, place.member_bytes
        self._recent.append(place.window)

    def _next_piece(self) -> None:
        begins_at = self._packed.at
        is_search = begins_at >= self._next_place_at and self._failures < _MAX_FAILURES
        if not self._packed.read_on(1 if is_search else _PIECES_AT_ONCE, self._next_place_at):
            raise EOFError("the end of the file within a gzip member")
        if is_search:
            window = b"".join(self._recent)[-WINDOW_BYTES:]
            self._search = _Search(begins_at, self._packed.rest, window, self._crc, self._member_bytes)

    def _end_search(self, search: "_Search") -> None:
        """A piece was unpacked to its end: look for a place in it."""
        self._search = None
        unpacked = b"".join(search.unpacked)
        found = find_block(search.packed, unpacked, search.window)
        if found:
            entry, before = found
            crc = zlib_ng.crc32(unpacked[:before], search.crc)
            kind = "stored" if entry.is_stored else "block"
            window = (search.window + unpacked[:before])[-WINDOW_BYTES:]
            at, unpacked_at = search.begins_at + entry.offset, self._unpacked_bytes - len(unpacked) + before
            packed = search.packed[entry.offset :]
            self._note(at, entry.bit, kind, packed, unpacked_at, crc, window, search.member_bytes + before)
        elif search.begins_at >= self._next_place_at + (_SEARCHED_PIECES - 1) * _PIECE_BYTES:
            self._failures += 1
            self._next_place_at += self._spacing_bytes

    def _note(
        self,
        at: int,
        bit: int,
        kind: str,
        packed: bytes,
        unpacked_at: int,
        crc: int = 0,
        window: bytes = b"",
        member_bytes: int = 0,
    ) -> None:
        known = packed[:_FINGERPRINT_BYTES]
        self.found.append(
            GzipPlace(at, bit, kind, unpacked_at, crc, len(known), _fingerprint(known), window, member_bytes)
        )
        self._failures = 0
        self._next_place_at = _next_multiple(at, self._spacing_bytes)


@dataclass
class _Search:
    """A piece of the packed file in which a place is looked for, once all of it is unpacked."""

    begins_at: int
    packed: bytes
    window: bytes
    """What was unpacked just before it."""
    crc: int
    member_bytes: int
    unpacked: list[bytes] = field(default_factory=list)
    unpacked_bytes: int = 0

    def takes(self, unpacked: bytes) -> bool:
        """Keep what was unpacked; False where that is too much."""
        self.unpacked.append(unpacked)
        self.unpacked_bytes += len(unpacked)
        return self.unpacked_bytes <= _MAX_SEARCHED_BYTES


class _Pieces:
    """A packed file read on from `at`, in pieces that end at multiples of 64 KB: so each place is found again."""

    def __init__(self, packed: BinaryIO, at: int) -> None:
        self._packed = packed
        self.at = at
        """The offset behind `rest`."""
        self.rest = b""
        """What was read and is still to be used."""
        if at:
            packed.seek(at)

    def read_on(self, most: int = 1, stop_at: int = 0) -> bool:
        """Add the next `most` pieces to `rest`, but none from `stop_at` on; False at the end of the file."""
        first, stop = self.at // _PIECE_BYTES, -(-stop_at // _PIECE_BYTES)
        end = (min(first + most, stop) if stop > first else first + most) * _PIECE_BYTES
        piece = self._packed.read(end - self.at)
        self.at += len(piece)
        self.rest += piece
        return bool(piece)

    def take(self, count: int) -> bytes:
        """The next `count` bytes. EOFError where there are fewer."""
        while len(self.rest) < count:
            self._read_on()
        taken, self.rest = self.rest[:count], self.rest[count:]
        return taken

    def take_text(self) -> Iterator[bytes]:
        """The bytes to the next zero, and that, piece by piece. EOFError where there is none."""
        while (end := self.rest.find(b"\0") + 1) == 0:
            yield self.rest
            self.rest = b""
            self._read_on()
        yield self.take(end)

    def _read_on(self) -> None:
        if not self.read_on():
            raise EOFError("the end of the file within a gzip member")


def _read_header(packed: _Pieces) -> None:
    """Pass over a member's header. zlib.error where it is none, in zlib's words."""
    crc = 0

    def take(count: int) -> bytes:
        nonlocal crc
        taken = packed.take(count)
        crc = zlib_ng.crc32(taken, crc)
        return taken

    if take(2) != b"\x1f\x8b":
        raise _damage("incorrect header check")
    method, flags = take(2)
    if method != zlib.DEFLATED:
        raise _damage("unknown compression method")
    if flags & _UNKNOWN:
        raise _damage("unknown header flags set")
    take(6)  # when it was packed, how, and where
    if flags & _HAS_EXTRA:
        take(int.from_bytes(take(2), "little"))
    for has_text in (flags & _HAS_NAME, flags & _HAS_COMMENT):
        for text in packed.take_text() if has_text else ():
            crc = zlib_ng.crc32(text, crc)
    if flags & _HAS_CHECKSUM and crc & 0xFFFF != int.from_bytes(packed.take(2), "little"):
        raise _damage("header crc mismatch")


def _damage(what: str) -> zlib.error:
    return zlib.error(f"Error -3 while decompressing data: {what}")


def _fingerprint(packed: bytes) -> str:
    return xxhash.xxh3_128_hexdigest(packed)


def _next_multiple(at: int, spacing: int) -> int:
    return (at // spacing + 1) * spacing
