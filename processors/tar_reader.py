"""Clips in tar.gz archives, read once from front to back.

A tar.gz has no index: clips are counted on the way, and earlier ones passed over without being
loaded. Python's tarfile takes a damaged header, and in its stream mode a cut gzip stream, for the end of the
archive; here an archive ends where its end mark or its gzip trailer (with a checksum) says so, and
everything else is a SourceError. Memory: one clip, however large the archive.
"""

import gzip
import logging
import tarfile
import zlib
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager
from pathlib import PurePosixPath
from typing import BinaryIO, cast

from processors.reading import behind_the_end, damage_explained, file_in, number_in
from utils.schema import Position, RawClip
from utils.sources import SourceFiles

log = logging.getLogger(__name__)

AUDIO_SUFFIXES = (
    *(".wav", ".flac", ".mp3", ".ogg", ".oga", ".opus", ".m4a", ".aac", ".wma", ".webm", ".amr"),
    *(".aif", ".aiff", ".au", ".caf", ".w64", ".rf64"),
)

MAX_CLIP_BYTES = 512 * 1000**2
"""A larger file is no clip of speech (an hour of 48 kHz stereo is 691 MB, an hour at 16 kHz 115 MB): not loaded."""

_DAMAGE = (tarfile.TarError, EOFError, zlib.error)
_SKIP_BYTES = 256 * 1024


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
    key = PurePosixPath(member.name).stem
    transcript = transcript_of(key)
    if transcript is None:
        return RawClip(key, after, None, base_name(member), selected=False)
    return RawClip(key, after, tar.audio_of(member), audio_name(member), transcript)


def base_name(member: tarfile.TarInfo) -> str:
    return PurePosixPath(member.name).name


def audio_name(member: tarfile.TarInfo) -> str:
    """The file's name; for one that is not loaded, with the reason."""
    name = base_name(member)
    return too_large(name, member.size) if member.size > MAX_CLIP_BYTES else name


def too_large(name: str, size_bytes: int) -> str:
    """A file's name in its reject, with the reason why it was not loaded."""
    return f"{name} ({size_bytes:,} bytes; over {MAX_CLIP_BYTES:,} are not loaded)"


class TarGz:
    """The members of one tar.gz, iterated once. Raises SourceError where it is damaged or cut short."""

    def __init__(self, stream: BinaryIO, name: str) -> None:
        self._name = name
        self._members_read = 0
        self._stream = gzip.GzipFile(fileobj=stream, mode="rb")
        self._blocks = _ForwardReader(self._stream)
        self._tar: tarfile.TarFile | None = None

    def __enter__(self) -> "TarGz":
        return self

    def __exit__(self, *_: object) -> None:
        self._stream.close()

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
        """The bytes of the member last yielded; None for a link and for one over `MAX_CLIP_BYTES`."""
        if not member.isreg() or member.size > MAX_CLIP_BYTES:
            return None
        with self.open(member) as content:
            audio: bytes = content.read(member.size)
        return audio

    @contextmanager
    def open(self, member: tarfile.TarInfo) -> Iterator[BinaryIO]:
        """A regular file, the member last yielded, opened for reading."""
        with self._damage_explained():
            content = self._tar.extractfile(member) if self._tar and member.isreg() else None
            if content is None:
                raise tarfile.ReadError(f"{member.name} is not a regular file")
            yield cast(BinaryIO, content)

    def _next(self) -> tarfile.TarInfo | None:
        # ValueError: tarfile's parser of sparse and extended headers
        with damage_explained(self._name, *_DAMAGE, ValueError, found=self._found()):
            if self._tar is None:
                # Names must be valid Unicode: they become source ids.
                self._tar = tarfile.TarFile(fileobj=self._blocks, encoding="utf-8", errors="replace")  # type: ignore[arg-type]
            member = self._tar.next()
            self._tar.members = []  # type: ignore[attr-defined]  # tarfile keeps them all: 500 MB for 400,000 clips
            return member

    def _check_end(self) -> None:
        """tarfile stops at a block of zeros, at the end of the stream, and at a damaged header: only that is wrong."""
        if self._blocks.last_block.strip(b"\0"):
            raise tarfile.ReadError("a damaged header")
        while rest := self._stream.read(_SKIP_BYTES):  # to the gzip trailer, whose checksum gzip verifies
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


class _ForwardReader:
    """The decompressed stream as tarfile wants it: `tell`, and `seek` forward by reading. Remembers the last block."""

    def __init__(self, stream: gzip.GzipFile) -> None:
        self._stream = stream
        self._offset = 0
        self.last_block = b""

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
        if size > MAX_CLIP_BYTES:  # an extended header may claim any size
            raise tarfile.ReadError(f"a header of {size} bytes")
        self.last_block = self._read(size)
        return self.last_block

    def _read(self, size: int) -> bytes:
        read = self._stream.read(size)
        self._offset += len(read)
        return read
