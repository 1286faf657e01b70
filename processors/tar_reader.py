"""Clips in tar.gz archives, read once from front to back.

A tar.gz has no index: clips are counted on the way, and earlier ones passed over without being
loaded. Python's tarfile takes a damaged header, and in its stream mode a cut gzip stream, for the end of the
archive; here an archive ends where its end mark or its gzip trailer (with a checksum) says so, and
everything else is a SourceError. Memory: one clip, however large the archive.

An archive is not believed: not the sizes in its headers, and not that a few of its bytes may hold terabytes.
"""

import logging
import tarfile
import zlib
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager
from io import BytesIO
from pathlib import PurePosixPath
from typing import BinaryIO, cast

from processors.reading import (
    MAX_CLIP_BYTES,
    behind_the_end,
    damage_explained,
    file_in,
    key_of,
    number_in,
    too_large,
)
from utils.schema import Position, RawClip
from utils.shown import shown
from utils.sources import SourceFiles

log = logging.getLogger(__name__)

AUDIO_SUFFIXES = (
    *(".wav", ".flac", ".mp3", ".ogg", ".oga", ".opus", ".m4a", ".aac", ".wma", ".webm", ".amr"),
    *(".aif", ".aiff", ".au", ".caf", ".w64", ".rf64"),
)

MAX_HEADER_BYTES = 2**20
"""Of one member, all its extended headers together: names of 64 KB fit many times."""
MAX_GLOBAL_HEADERS = 100
"""Different fields that are said for all members behind them: they are held until the archive ends."""
ALWAYS_UNPACKED_BYTES = 1000**3
MAX_PACKING_RATIO = 32
"""Behind its first GB an archive is refused where it unpacks to more than this (speech: less than 3; zeros: 1,000)."""

_DAMAGE = (tarfile.TarError, EOFError, zlib.error)
_SKIP_BYTES = 256 * 1024
_PACKED_BYTES = 64 * 1024
_GZIP = 16 + zlib.MAX_WBITS


def read_tars(
    files: SourceFiles,
    archives: Sequence[str],
    position: Position,
    transcript_of: Callable[[str], str | None],
    raise_if_stopped: Callable[[], None],
) -> Iterator[RawClip]:
    """The clips of `archives`, in their order, from a position `{index, file, member}` on.

    A clip's key is its file name without folder and ending; `transcript_of(key)` None: not selected.
    Raises SourceError where an archive is damaged, naming it.
    """
    read = number_in(position, "index")
    first = file_in(position, archives) if "file" in position else 0
    to_pass = number_in(position, "member") if "file" in position else read
    for archive in archives[first:]:
        number = 0
        with files.open(archive) as stream, TarGz(stream, archive) as tar:
            for number, member in enumerate(tar.audio_members(), start=1):
                if to_pass:
                    raise_if_stopped()
                    to_pass -= 1
                    continue
                read += 1
                after: Position = {"index": read, "file": archive, "member": number}
                yield _clip(tar, member, after, transcript_of)
        if number == 0:
            log.warning("%s holds no clips", archive)
        if to_pass and "file" in position:
            raise behind_the_end(archive, position)
    if to_pass:
        raise behind_the_end("the source", position)


def _clip(
    tar: "TarGz", member: tarfile.TarInfo, after: Position, transcript_of: Callable[[str], str | None]
) -> RawClip:
    transcript = transcript_of(PurePosixPath(member.name).stem)
    key = key_of(member.name)
    if transcript is None:
        return RawClip(key, after, None, base_name(member), selected=False)
    return RawClip(key, after, tar.audio_of(member), audio_name(member), transcript)


def base_name(member: tarfile.TarInfo) -> str:
    return PurePosixPath(member.name).name


def audio_name(member: tarfile.TarInfo) -> str:
    """The file's name; for one that is not loaded, with the reason."""
    name = base_name(member)
    return too_large(name, member.size) if member.size > MAX_CLIP_BYTES else name


class TarGz:
    """The members of one tar.gz, iterated once. Raises SourceError where it is damaged or cut short."""

    def __init__(self, stream: BinaryIO, name: str) -> None:
        self._name = name
        self._members_read = 0
        self._blocks = _ForwardReader(stream)
        self._tar: tarfile.TarFile | None = None

    def __enter__(self) -> "TarGz":
        return self

    def __exit__(self, *_: object) -> None:
        """The archive is the caller's to close."""

    def __iter__(self) -> Iterator[tarfile.TarInfo]:
        """All members: files, folders, links."""
        while (member := self._next()) is not None:
            yield member
            self._members_read += 1
        with self._damage_explained():
            self._check_end()

    def audio_members(self) -> Iterator[tarfile.TarInfo]:
        """The clips: files (and links, whose audio is missing) with the ending of an audio format."""
        return filter(is_audio, self)

    def audio_of(self, member: tarfile.TarInfo) -> bytes | None:
        """The bytes of the member last yielded; None for a link, a file with holes and one over `MAX_CLIP_BYTES`."""
        if not _is_plain(member) or member.size > MAX_CLIP_BYTES:
            return None
        with self._damage_explained():
            self._blocks.seek(member.offset_data)
            return self._blocks.read_all(member.size)

    @contextmanager
    def open(self, member: tarfile.TarInfo) -> Iterator[BinaryIO]:
        """A regular file, the member last yielded, opened for reading."""
        with self._damage_explained():
            content = self._tar.extractfile(member) if self._tar and _is_plain(member) else None
            if content is None:
                raise tarfile.ReadError(f"{shown(member.name)} is not a regular file")
            yield cast(BinaryIO, content)

    def _next(self) -> tarfile.TarInfo | None:
        # ValueError: tarfile's parser of sparse and extended headers; RecursionError: it calls itself for each of these
        with (
            damage_explained(self._name, *_DAMAGE, ValueError, RecursionError, found=self._found()),
            self._blocks.headers(MAX_HEADER_BYTES),
        ):
            if self._tar is None:
                # Names must be valid Unicode: they become source ids.
                self._tar = tarfile.TarFile(fileobj=self._blocks, encoding="utf-8", errors="replace")  # type: ignore[arg-type]
            member = self._tar.next()
            self._tar.members = []  # type: ignore[attr-defined]  # tarfile keeps them all: 500 MB for 400,000 clips
            if len(self._tar.pax_headers) > MAX_GLOBAL_HEADERS:
                raise tarfile.ReadError(f"more than {MAX_GLOBAL_HEADERS} global header fields")
            return member

    def _check_end(self) -> None:
        """tarfile stops at a block of zeros, at the end of the stream, and at a damaged header: only that is wrong."""
        if self._blocks.last_block.strip(b"\0"):
            raise tarfile.ReadError("a damaged header")
        for rest in self._blocks.read_rest():  # to the gzip trailer, whose checksum gzip verifies
            if rest.strip(b"\0"):
                raise tarfile.ReadError("more data after its end mark")

    def _damage_explained(self) -> AbstractContextManager[None]:
        return damage_explained(self._name, *_DAMAGE, found=self._found())

    def _found(self) -> str:
        return f"is damaged or was cut short after {self._members_read} members"


def is_audio(member: tarfile.TarInfo) -> bool:
    """By name: `._name` is a macOS side file."""
    name = PurePosixPath(member.name)
    return not member.isdir() and name.suffix.lower() in AUDIO_SUFFIXES and not name.name.startswith("._")


def _is_plain(member: tarfile.TarInfo) -> bool:
    """A regular file whose content stands in the archive as it is: no link, and no sparse file, which is all claims."""
    return member.isreg() and not member.issparse()


class _ForwardReader:
    """The decompressed stream as tarfile wants it: `tell`, and `seek` forward by reading. Remembers the last block."""

    def __init__(self, packed: BinaryIO) -> None:
        self._packed = packed
        self._stream = _Unpacked(packed)
        self._offset = 0
        self._header_bytes_left: int | None = None
        self.last_block = b""

    @contextmanager
    def headers(self, most_bytes: int) -> Iterator[None]:
        """What is read meanwhile are headers, no more than `most_bytes` of them: an extended one may claim any size."""
        self._header_bytes_left = most_bytes
        try:
            yield
        finally:
            self._header_bytes_left = None

    def tell(self) -> int:
        return self._offset

    def seek(self, offset: int) -> int:
        while self._offset < offset:
            if not self._read(min(offset - self._offset, _SKIP_BYTES)):
                raise EOFError("the end of the file within a member")
        if self._offset > offset:
            raise tarfile.ReadError("a header that points backwards")
        return offset

    def read(self, size: int) -> bytes:
        if size < 0:  # "all the rest", to gzip
            raise tarfile.ReadError("a header of negative size")
        if self._header_bytes_left is not None:
            self._header_bytes_left -= size
            if self._header_bytes_left < 0:
                raise tarfile.ReadError(f"headers of more than {MAX_HEADER_BYTES:,} bytes")
        self.last_block = self._read(size)
        return self.last_block

    def read_all(self, size: int) -> bytes:
        """Exactly `size` bytes. EOFError where there are fewer."""
        content = self._read(size)
        if len(content) < size:
            raise EOFError("the end of the file within a member")
        return content

    def read_rest(self) -> Iterator[bytes]:
        """All that is left, piece by piece."""
        while rest := self._read(_SKIP_BYTES):
            yield rest

    def _read(self, size: int) -> bytes:
        read = self._stream.read(size)
        self._offset += len(read)
        if self._offset > ALWAYS_UNPACKED_BYTES + MAX_PACKING_RATIO * self._packed.tell():
            raise tarfile.ReadError(
                f"{self._packed.tell():,} packed bytes hold more than {self._offset:,}: this is no archive of speech"
            )
        return read


class _Unpacked:
    """The content of a gzip file of one or more members, from front to back.

    As Python's `gzip` reads it, but in C throughout: Python takes a minute for a name of 100 MB in a header.
    """

    def __init__(self, packed: BinaryIO) -> None:
        self._packed = packed
        self._member: zlib._Decompress | None = None
        self._rest = b""
        """Packed bytes that are still to be unpacked."""
        self._ready = memoryview(b"")
        """Unpacked bytes that are still to be read."""

    def read(self, size: int) -> bytes:
        """`size` bytes, fewer only at the end. EOFError where a member is cut short, zlib.error where it is damaged."""
        if size <= len(self._ready):
            return self._taken(size)
        content = BytesIO()  # which gives its bytes away without a copy
        while (left := size - content.tell()) and (self._ready or self._unpack()):
            content.write(self._taken(left))
        return content.getvalue()

    def _taken(self, most: int) -> bytes:
        taken, self._ready = bytes(self._ready[:most]), self._ready[most:]
        return taken

    def _unpack(self) -> bool:
        """Have something that is ready; False at the end of the file."""
        while not self._ready:
            if self._member is None and not self._has_another():
                return False
            self._member = self._member or zlib.decompressobj(_GZIP)
            packed = self._rest or self._packed.read(_PACKED_BYTES)
            if not packed:
                raise EOFError("the end of the file within a gzip member")
            self._ready = memoryview(self._member.decompress(packed, _SKIP_BYTES))
            self._rest = self._member.unused_data or self._member.unconsumed_tail
            if self._member.eof:
                self._member = None
        return True

    def _has_another(self) -> bool:
        """Whether another member follows. Zeros in front of it are padding."""
        self._rest = self._rest.lstrip(b"\0")
        while not self._rest:
            packed = self._packed.read(_PACKED_BYTES)
            if not packed:
                return False
            self._rest = packed.lstrip(b"\0")
        return True
