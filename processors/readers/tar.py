"""Clips in tar.gz archives, read once from front to back.

A tar.gz has no index: clips are counted on the way, and earlier ones passed over without being
loaded. Python's tarfile takes a damaged header, and in its stream mode a cut gzip stream, for the end of the
archive; here an archive ends where its end mark or its gzip trailer (with a checksum) says so, and
everything else is a SourceError. Memory: one clip, however large the archive.

A resume enters an archive in its middle, at a seek point that an earlier reading left
(`utils/formats/seek_points.py`). What does not fit there, and any damage found behind it, is held against the point
and not against the archive: then the archive is read from its start, which has the last word.

An archive is not believed: not the sizes in its headers, and not that a few of its bytes may hold terabytes.
"""

import logging
import tarfile
import zlib
from collections import deque
from collections.abc import Callable, Generator, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from functools import partial
from typing import BinaryIO, Self, TypeAlias, TypeVar, cast

import xxhash

from processors.engine.clip_names import base_name_of, is_audio_name, key_of, stem_of
from processors.engine.positions import behind_the_end, file_in, number_in
from processors.engine.unreadable import MAX_CLIP_BYTES, damage_explained, too_large
from processors.readers.tar_headers import TarHeader
from utils.formats.gzip_stream import GzipPlace, GzipStream, NotThere
from utils.formats.seek_points import SeekPoint, SeekPoints
from utils.rows.printable import shown
from utils.rows.schema import Position, RawClip
from utils.sources.source_files import SourceFiles, one_by_one
from utils.sources.stand_ins import itself

log = logging.getLogger(__name__)

MAX_HEADER_BYTES = 2**20
"""Of one member, all its extended headers together: names of 64 KB fit many times."""
MAX_GLOBAL_HEADERS = 100
"""Different fields that are said for all members behind them: they are held until the archive ends."""
ALWAYS_UNPACKED_BYTES = 1000**3
MAX_PACKING_RATIO = 32
"""Behind its first GB an archive is refused where it unpacks to more than this (speech: less than 3; zeros: 1,000)."""

_DAMAGE = (tarfile.TarError, EOFError, zlib.error)
_HEADER_DAMAGE = (*_DAMAGE, ValueError, RecursionError, OverflowError)
"""Those of tarfile's parser of sparse and extended headers, too, which calls itself for each of these."""
_SKIP_BYTES = 256 * 1024

T = TypeVar("T")
ReadFrom: TypeAlias = Callable[[Position, SeekPoint | None], Generator[RawClip, None, T]]
"""(position within one archive, where to enter it) -> the clips from that position on."""


def read_tars(
    files: SourceFiles,
    archives: Sequence[str],
    position: Position,
    transcript_of: Callable[[str], str | None],
    raise_if_stopped: Callable[[], None],
    seek_points: SeekPoints | None = None,
) -> Iterator[RawClip]:
    """The clips of `archives`, in their order, from a position `{index, file, member}` on.

    A clip's key is its file name without folder and ending; `transcript_of(key)` None: not selected.
    Raises SourceError where an archive is damaged, naming it.
    """
    points = seek_points or SeekPoints()
    seeking = "file" in position
    first = file_in(position, archives) if seeking else 0
    at: Position = {"index": number_in(position, "index"), "member": number_in(position, "member") if seeking else 0}
    to_pass = 0 if seeking else at["index"]
    for archive in one_by_one(files, archives[first:]):
        read = partial(_read_tar, files, archive, to_pass, transcript_of, raise_if_stopped, points)
        point = points.before(at["index"], archive, at["member"])
        at["index"], number, to_pass = yield from entering(read, at, point)
        if number == 0:
            log.warning("%s holds no clips", archive)
        if number < at["member"]:
            raise behind_the_end(archive, position)
        at["member"] = 0
    if to_pass:
        raise behind_the_end("the source", position)


def entering(read: ReadFrom[T], position: Position, point: SeekPoint | None) -> Generator[RawClip, None, T]:
    """The clips that `read` gives from `position` on, entering at `point` where there is one.

    Where that leads astray, it goes on behind the last clip that was read, from the archive's start.
    """
    if point:
        try:
            clips = read(position, point)
            while True:
                try:
                    clip = next(clips)
                except StopIteration as end:
                    return cast(T, end.value)
                yield clip
                position = clip.position
        except LedAstray as error:
            log.debug("%s: a seek point leads astray (%s): reading from the start", point.file, error)
    return (yield from read(position, None))


def _read_tar(
    files: SourceFiles,
    archive: str,
    to_pass: int,
    transcript_of: Callable[[str], str | None],
    raise_if_stopped: Callable[[], None],
    points: SeekPoints,
    position: Position,
    point: SeekPoint | None,
) -> Generator[RawClip, None, tuple[int, int, int]]:
    """The clips of one archive behind the first `member`, less `to_pass` of them.

    Returns how many clips of the split were read, how many the archive has, and how many are still to pass.
    """
    read = position["index"]
    before = number = point.clips if point else 0
    with files.open(archive) as stream, TarGz(stream, archive, point) as tar:
        for number, member in enumerate(tar.audio_members(), start=before + 1):
            tar.leave_points(points, read, number - 1)
            if to_pass or number <= position["member"]:
                raise_if_stopped()
                to_pass -= to_pass > 0
                continue
            read += 1
            after: Position = {"index": read, "file": archive, "member": number}
            yield _clip(tar, member, after, transcript_of)
    return read, number, to_pass


def _clip(
    tar: "TarGz", member: tarfile.TarInfo, after: Position, transcript_of: Callable[[str], str | None]
) -> RawClip:
    transcript = transcript_of(stem_of(member.name))
    key = key_of(member.name)
    if transcript is None:
        return RawClip(key, after, None, base_name(member), selected=False)
    return RawClip(key, after, tar.audio_of(member), audio_name(member), transcript)


def base_name(member: tarfile.TarInfo) -> str:
    return base_name_of(member.name)


def audio_name(member: tarfile.TarInfo) -> str:
    """The file's name; for one that is not loaded, with the reason."""
    name = base_name(member)
    if member.islnk() or member.issym():
        return f"{name} (a link to {shown(member.linkname, 100)}, which this source is not known to have)"
    return too_large(name, member.size) if member.size > MAX_CLIP_BYTES else name


class LedAstray(Exception):
    """What was read from a seek point on does not fit: nothing is said of the archive."""


class TarGz:
    """The members of one tar.gz, iterated once. Raises SourceError where it is damaged or cut short.

    From a seek point on, in place of that, LedAstray.
    """

    def __init__(self, stream: BinaryIO, name: str, point: SeekPoint | None = None) -> None:
        self._name = name
        self._point = point
        self._members_read = point.members if point else 0
        self._explained = _DamageExplained(self._explain, _DAMAGE)
        self._headers_explained = _DamageExplained(self._explain, _HEADER_DAMAGE)
        with self._explained:
            self._blocks = _ForwardReader(GzipStream(stream, point.place if point else None))
            if point:
                self._blocks.seek(point.header_at)
        self._tar: tarfile.TarFile | None = None
        self._found: list[SeekPoint] = []

    def __enter__(self) -> "TarGz":
        return self

    def __exit__(self, *_: object) -> None:
        """The archive is the caller's to close."""

    def __iter__(self) -> Iterator[tarfile.TarInfo]:
        """All members: files, folders, links."""
        while (member := self._next()) is not None:
            yield member
            self._members_read += 1
        with self._explained:
            self._check_end()

    def audio_members(self) -> Iterator[tarfile.TarInfo]:
        """The clips: files (and links, whose audio is missing) with the ending of an audio format."""
        return filter(is_audio, self)

    def audio_of(self, member: tarfile.TarInfo) -> bytes | None:
        """The bytes of the member last yielded; None for a link, a file with holes and one over `MAX_CLIP_BYTES`."""
        if not _is_plain(member) or member.size > MAX_CLIP_BYTES:
            return None
        with self._explained:
            self._blocks.seek(member.offset_data)
            return self._blocks.read_all(member.size)

    @contextmanager
    def open(self, member: tarfile.TarInfo) -> Iterator[BinaryIO]:
        """A regular file, the member last yielded, opened for reading."""
        with self._explained:
            content = self._tar.extractfile(member) if self._tar and _is_plain(member) else None
            if content is None:
                raise tarfile.ReadError(f"{shown(member.name)} is not a regular file")
            yield itself(cast(BinaryIO, content), f"{self._name}: {member.name}", member.size)

    def leave_points(self, points: SeekPoints, index: int, clips: int) -> None:
        """Add the seek points found up to the member last yielded, the first clip behind `clips` others."""
        for point in self._found:
            points.add(replace(point, index=index, clips=clips))
        self._found.clear()

    def _next(self) -> tarfile.TarInfo | None:
        with self._headers_explained, self._blocks.headers(MAX_HEADER_BYTES):
            if self._tar is None:
                # Names must be valid Unicode: they become source ids.
                self._tar = tarfile.TarFile(
                    fileobj=self._blocks,  # type: ignore[arg-type]
                    tarinfo=TarHeader,
                    encoding="utf-8",
                    errors="replace",
                )
                self._check_entered()
            member = self._tar.next()
            self._find_points(member)
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

    def _check_entered(self) -> None:
        if self._point and self._blocks.header != self._point.header:
            raise LedAstray("another member begins there")

    def _find_points(self, member: tarfile.TarInfo | None) -> None:
        """Of the places behind which `member` is the first to begin, the last is a seek point."""
        place = None
        while member and (found := self._blocks.places) and found[0].unpacked_at <= member.offset:
            place = found.popleft()
        # What an archive says once for all members behind it would be missing there.
        if place and member and self._tar and not self._tar.pax_headers:
            header = self._blocks.header
            self._found = [SeekPoint(0, self._name, place, self._members_read, 0, member.offset, header)]

    def _explain(self, error: BaseException, kinds: tuple[type[Exception], ...]) -> None:
        if self._point is not None and isinstance(error, (*kinds, NotThere)):
            raise LedAstray(shown(error)) from error
        found = f"is damaged or was cut short after {self._members_read} members"
        with damage_explained(self._name, *kinds, found=found):
            raise error


class _DamageExplained:
    """A context, used several times a clip, that explains what is raised in it."""

    def __init__(
        self, explain: Callable[[BaseException, tuple[type[Exception], ...]], None], kinds: tuple[type[Exception], ...]
    ) -> None:
        self._explain, self._kinds = explain, kinds

    def __enter__(self) -> None:
        """Nothing is to be made."""

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: object) -> None:
        if error is not None:
            self._explain(error, self._kinds)


def is_audio(member: tarfile.TarInfo) -> bool:
    """By its name; a folder is none."""
    return is_audio_name(member.name) and not member.isdir()


def _is_plain(member: tarfile.TarInfo) -> bool:
    """A regular file whose content stands in the archive as it is: no link, and no sparse file, which is all claims."""
    return member.isreg() and not member.issparse()


class _ForwardReader:
    """The decompressed stream as tarfile wants it: `tell`, and `seek` forward by reading. Remembers the last block."""

    def __init__(self, stream: GzipStream) -> None:
        self._stream = stream
        self._offset = stream.unpacked_bytes
        self._header_bytes_left: int | None = None
        self._header_block: bytes | None = None
        self.last_block = b""

    @property
    def places(self) -> deque[GzipPlace]:
        """Places in the archive that reading came by, and nobody has taken yet."""
        return self._stream.found

    @property
    def header(self) -> str:
        """The fingerprint of the first block of the headers that were read last."""
        return xxhash.xxh3_128_hexdigest(self._header_block or b"")

    def headers(self, most_bytes: int) -> Self:
        """A context: what is read in it are headers, no more than `most_bytes` of them, as an extended one may claim
        any size."""
        self._header_bytes_left, self._header_block = most_bytes, None
        return self

    def __enter__(self) -> None:
        """`headers` has begun it."""

    def __exit__(self, *_: object) -> None:
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
        if self._header_block is None and size == tarfile.BLOCKSIZE:
            self._header_block = self.last_block
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
        if self._offset > ALWAYS_UNPACKED_BYTES + MAX_PACKING_RATIO * self._stream.packed_bytes:
            raise tarfile.ReadError(
                f"{self._stream.packed_bytes:,} packed bytes hold more than {self._offset:,}: "
                "this is no archive of speech"
            )
        return read
