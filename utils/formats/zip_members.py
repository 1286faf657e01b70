"""Zip archives as they are met outside: their members listed and read without holding the list, or believing it.

The list stands at an archive's end (the central directory); it is read piece by piece, and what it says of a member
(`ZipMember`) is all that is needed to read that member later, with one jump. Sizes are claims: no more than was asked
for is ever unpacked, and the checksum has the last word. Python's zipfile holds the whole list: 1 KB a member.
"""

import io
import stat
import struct
import zlib
from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, BinaryIO, Final

if TYPE_CHECKING:
    from _typeshed import WriteableBuffer

STORED: Final = 0
DEFLATED: Final = 8

_END: Final = struct.Struct("<4s4H2LH")
_END_64_PLACE: Final = struct.Struct("<4sLQL")
_END_64: Final = struct.Struct("<4sQ2H2L4Q")
_ENTRY: Final = struct.Struct("<4s6H3L5H2L")
_LOCAL: Final = struct.Struct("<4s5H3L2H")
_UNKNOWN: Final = 0xFFFF_FFFF
_ENCRYPTED: Final = 0x1
_UTF8: Final = 0x800
_UNIX: Final = 3
"""Who made an entry: only there its attributes have the kind of file."""
_MAX_COMMENT_LENGTH: Final = 65_535
_CHUNK_BYTES: Final = 64 * 1024


class ZipDamaged(Exception):
    """An archive that is no whole zip, or of a kind that is not read; says what is wrong."""


@dataclass(frozen=True, slots=True)
class ZipMember:
    """A file of an archive: all that it takes to read it."""

    name: str
    header_at: int
    """Where its local header begins."""
    packed_bytes: int
    size_bytes: int
    method: int
    crc: int
    is_link: bool = False
    """Its content is the path of what it stands for."""


def zip_members(stream: BinaryIO) -> Iterator[ZipMember]:
    """The files of an archive, in its own order; folders are left out. Raises ZipDamaged."""
    entries, at, size, shift = _directory(stream)
    stream.seek(at + shift)
    left = io.BufferedReader(Window(stream, size), _CHUNK_BYTES)
    for _ in range(entries):
        member = _entry(left, shift)
        if member is not None:
            yield member
    if left.read(1):
        raise ZipDamaged(f"its list has more members than the {entries:,} that it says")


def open_member(stream: BinaryIO, member: ZipMember) -> BinaryIO:
    """A member opened for reading, once and forwards. Reading raises ZipDamaged where it is not what was promised."""
    if member.method not in (STORED, DEFLATED):
        raise ZipDamaged(f"{member.name!r} is packed by method {member.method}, which is not read")
    stream.seek(member.header_at)
    header = stream.read(_LOCAL.size)
    if len(header) < _LOCAL.size or header[:4] != b"PK\x03\x04":
        raise ZipDamaged(f"{member.name!r} is not where the archive's list says")
    *_, name_bytes, extra_bytes = _LOCAL.unpack(header)
    stream.seek(member.header_at + _LOCAL.size + name_bytes + extra_bytes)
    return io.BufferedReader(_Unpacked(stream, member), _CHUNK_BYTES)


def _directory(stream: BinaryIO) -> tuple[int, int, int, int]:
    """(entries, where the list begins by the archive's own count, its size, what is in front of the archive)."""
    size = stream.seek(0, io.SEEK_END)
    tail_at = max(0, size - _END.size - _MAX_COMMENT_LENGTH)
    stream.seek(tail_at)
    tail = stream.read(size - tail_at)
    found = tail.rfind(b"PK\x05\x06")
    if found < 0 or len(tail) - found < _END.size:
        raise ZipDamaged("it ends before its list of members does, or is no zip archive")
    end_at = tail_at + found
    _, disk, _, _, entries, list_bytes, list_at, _ = _END.unpack_from(tail, found)
    if disk not in (0, 0xFFFF):
        raise ZipDamaged("it is one of several parts: join them first")
    list_end = end_at
    if _UNKNOWN in (list_bytes, list_at) or entries == 0xFFFF:
        list_end, entries, list_bytes, list_at = _directory_64(stream, end_at, entries, list_bytes, list_at)
    shift = list_end - list_bytes - list_at
    if shift < 0 or entries > list_bytes // _ENTRY.size:
        raise ZipDamaged("its list of members is not where it says")
    return entries, list_at, list_bytes, shift


def _directory_64(
    stream: BinaryIO, end_at: int, entries: int, list_bytes: int, list_at: int
) -> tuple[int, int, int, int]:
    """The same of an archive with more members, or larger ones, than the old form can say."""
    place_at = end_at - _END_64_PLACE.size
    stream.seek(max(0, place_at))
    place = stream.read(_END_64_PLACE.size)
    if place_at < 0 or place[:4] != b"PK\x06\x07":
        return end_at, entries, list_bytes, list_at
    # Where it says it stands is without what may be in front of the archive: so it is looked for right before.
    at = place_at - _END_64.size
    stream.seek(max(0, at))
    content = stream.read(_END_64.size)
    if at < 0 or content[:4] != b"PK\x06\x06":
        raise ZipDamaged("the end of its list of members is damaged")
    *_, entries, list_bytes, list_at = _END_64.unpack(content)
    return at, entries, list_bytes, list_at


def _entry(stream: BinaryIO, shift: int) -> ZipMember | None:
    """The next member of the list; None for a folder."""
    head = stream.read(_ENTRY.size)
    if len(head) < _ENTRY.size or head[:4] != b"PK\x01\x02":
        raise ZipDamaged("its list of members is damaged")
    fields = _ENTRY.unpack(head)
    flags, method, crc, packed, size = fields[3], fields[4], fields[7], fields[8], fields[9]
    name_bytes, extra_bytes, comment_bytes, header_at = *fields[10:13], fields[16]
    raw = stream.read(name_bytes)
    extra = stream.read(extra_bytes)
    stream.read(comment_bytes)
    if len(raw) < name_bytes or len(extra) < extra_bytes:
        raise ZipDamaged("its list of members is damaged")
    name = _decoded(raw, flags)
    if name.endswith(("/", "\\")):
        return None
    if flags & _ENCRYPTED:
        raise ZipDamaged(f"{name!r} is encrypted")
    size, packed, header_at = _with_extra(extra, [size, packed, header_at])
    is_link = fields[1] >> 8 == _UNIX and stat.S_ISLNK(fields[15] >> 16)
    return ZipMember(name, header_at + shift, packed, size, method, crc, is_link)


def _decoded(raw: bytes, flags: int) -> str:
    """A name; of one that does not say that it is UTF-8, whether it is."""
    if flags & _UTF8:
        return raw.decode(errors="replace")
    try:
        return raw.decode()
    except UnicodeDecodeError:
        return raw.decode("cp437")


def _with_extra(extra: bytes, values: list[int]) -> list[int]:
    """Sizes and place, those that do not fit their fields taken from the extra one."""
    at = 0
    while at + 4 <= len(extra) and _UNKNOWN in values:
        kind, length = struct.unpack_from("<HH", extra, at)
        if kind == 1:
            numbers = iter(struct.unpack_from(f"<{min(length, len(extra) - at - 4) // 8}Q", extra, at + 4))
            values = [next(numbers, value) if value == _UNKNOWN else value for value in values]
            break
        at += 4 + length
    return values


class Window(io.RawIOBase):
    """The next bytes of a file, no more than so many."""

    def __init__(self, stream: BinaryIO, size: int) -> None:
        self._stream, self._left = stream, size

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: "WriteableBuffer") -> int:
        target = memoryview(buffer).cast("B")
        content = self._stream.read(min(len(target), self._left))
        self._left -= len(content)
        target[: len(content)] = content
        return len(content)


class _Unpacked(io.RawIOBase):
    """The content of one member."""

    def __init__(self, stream: BinaryIO, member: ZipMember) -> None:
        self._stream, self._member = stream, member
        self._packed_left, self._left = member.packed_bytes, member.size_bytes
        self._unpack = zlib.decompressobj(-zlib.MAX_WBITS) if member.method == DEFLATED else None
        self._crc = 0

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: "WriteableBuffer") -> int:
        target = memoryview(buffer).cast("B")
        content = self._next(min(len(target), self._left)) if self._left else b""
        self._left -= len(content)
        self._crc = zlib.crc32(content, self._crc)
        target[: len(content)] = content
        if not self._left and self._crc != self._member.crc:
            raise ZipDamaged(f"{self._member.name!r} does not have its checksum")
        return len(content)

    def _next(self, most: int) -> bytes:
        while True:
            packed = self._unpack.unconsumed_tail if self._unpack else b""
            if not packed:
                packed = self._stream.read(min(_CHUNK_BYTES if self._unpack else most, self._packed_left))
                self._packed_left -= len(packed)
            try:
                content = self._unpack.decompress(packed, most) if self._unpack else packed
            except zlib.error as error:
                raise ZipDamaged(f"{self._member.name!r}: {error}") from None
            if content:
                return content
            if not packed:
                raise ZipDamaged(f"{self._member.name!r} is cut short")
