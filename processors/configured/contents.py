"""What a source of clips and tables holds, file by file: loose, or in its zip, tar and tar.gz archives.

Every file has a path: of a member of an archive, the archive's and then its own. A clip's `ClipPlace` is all that it
takes to read it later: with one jump, but for those in a tar.gz, which are counted and come as they stand there.
"""

import json
import posixpath
import tarfile
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from dataclasses import astuple, dataclass, replace
from io import BufferedReader
from typing import BinaryIO, Final, Literal, Self, TypeAlias

from processors.engine.clip_names import base_name_of, is_audio_name
from processors.engine.unreadable import MAX_CLIP_BYTES, damage_explained, too_large
from processors.readers.table_names import path_of_member
from processors.readers.tar import MAX_HEADER_BYTES, TarGz, is_audio
from utils.errors import SourceError
from utils.formats.zip_members import Window, ZipDamaged, ZipMember, open_member, zip_members
from utils.rows.printable import shown
from utils.sources.source_files import SourceFiles
from utils.sources.stand_ins import itself

_MAX_LINK_BYTES: Final = 4096
_REST_BYTES: Final = 2**18
_END_OF_TAR: Final = bytes(tarfile.BLOCKSIZE)

Kind: TypeAlias = Literal["file", "zip", "tar", "tar.gz"]


@dataclass(frozen=True, slots=True)
class ClipPlace:
    """Where a clip is."""

    kind: Kind
    file: str
    """The source's file: the clip itself, or the archive that it is in."""
    size_bytes: int
    at: int = 0
    """In a zip where its header begins, in a tar its content; in a tar.gz how many clips are before it."""
    packed_bytes: int = 0
    method: int = 0
    crc: int = 0
    is_plain: bool = True
    """False for a link, and for a file with holes: it has no audio of its own."""
    leads_to: str = ""
    """Of a link, the path of the member that it names, if it names one."""
    why_not: str = ""
    """Why a link leads to nothing."""

    def to_json(self) -> str:
        return json.dumps(astuple(self), ensure_ascii=False)

    @classmethod
    def from_json(cls, text: str) -> "ClipPlace":
        return cls(*json.loads(text))


@dataclass(frozen=True)
class FileEntry:
    """One file of a source."""

    path: str
    place: ClipPlace
    open: Callable[[], AbstractContextManager[BinaryIO]]
    """Opens it for reading, while it is the entry last yielded."""

    @property
    def is_clip(self) -> bool:
        """By its name."""
        return is_audio_name(self.path)


def entries_of(files: SourceFiles, raise_if_stopped: Callable[[], None]) -> Iterator[FileEntry]:
    """All files of a source, archives taken apart. SourceError where an archive is damaged."""
    for name in files.names():
        raise_if_stopped()
        kind = _kind_of(name)
        if kind == "file":
            yield _loose(files, name)
        else:
            read = {"zip": _in_zip, "tar": _in_tar, "tar.gz": _in_tar_gz}[kind]
            for entry in read(files, name):
                raise_if_stopped()
                yield entry


class ClipAudio:
    """The audio of clips that can be jumped to. Holds the archive that was read last open; close it."""

    def __init__(self, files: SourceFiles) -> None:
        self._files = files
        self._name = ""
        self._stream: BinaryIO | None = None

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        if self._stream is not None:
            self._stream.close()
            self._stream = None

    def at(self, place: ClipPlace) -> bytes | None:
        """The bytes of a clip; None where it has none, or over `MAX_CLIP_BYTES`. SourceError where it is damaged."""
        if not place.is_plain or place.size_bytes > MAX_CLIP_BYTES:
            return None
        with damage_explained(place.file, ZipDamaged, EOFError):
            if place.kind == "file":
                with self._files.open(place.file) as stream:
                    return stream.read()
            return _member_at(self._archive(place.file), place)

    def _archive(self, name: str) -> BinaryIO:
        if self._stream is None or self._name != name:
            self.__exit__()
            self._name, self._stream = name, self._files.open(name)
        return self._stream


def _member_at(stream: BinaryIO, place: ClipPlace) -> bytes:
    if place.kind == "zip":
        with open_member(stream, _zip_member(place)) as content:
            return content.read()
    stream.seek(place.at)
    audio = stream.read(place.size_bytes)
    if len(audio) < place.size_bytes:
        raise EOFError("the end of the file within a clip")
    return audio


def shown_name(path: str, place: ClipPlace) -> str:
    """A clip's file name; for one that is not loaded, with the reason."""
    name = base_name_of(path)
    if place.why_not:
        return f"{name} ({place.why_not})"
    return too_large(name, place.size_bytes) if place.size_bytes > MAX_CLIP_BYTES else name


def _kind_of(name: str) -> Kind:
    lower = name.lower()
    if lower.endswith((".tar.gz", ".tgz")):
        return "tar.gz"
    return "zip" if lower.endswith(".zip") else "tar" if lower.endswith(".tar") else "file"


def _loose(files: SourceFiles, name: str) -> FileEntry:
    @contextmanager
    def opened() -> Iterator[BinaryIO]:
        with files.open(name) as stream, damage_explained(name):
            yield stream

    return FileEntry(name, ClipPlace("file", name, files.size_bytes(name)), opened)


def _in_zip(files: SourceFiles, archive: str) -> Iterator[FileEntry]:
    # The list is read on while members are: so each has a file of its own.
    with files.open(archive) as stream, damage_explained(archive, ZipDamaged):
        for member in zip_members(stream):
            path, place = path_of_member(archive, member.name), _zip_place(archive, member)
            opener = _zip_opener(files, archive, member)
            if member.is_link:
                with opener() as content:
                    target = content.read(_MAX_LINK_BYTES).decode(errors="replace")
                yield _link(path, place, member.name, target)
            else:
                yield FileEntry(path, place, opener)


def _zip_opener(files: SourceFiles, archive: str, member: ZipMember) -> Callable[[], AbstractContextManager[BinaryIO]]:
    @contextmanager
    def opened() -> Iterator[BinaryIO]:
        with (
            files.open(archive) as stream,
            damage_explained(archive, ZipDamaged),
            open_member(stream, member) as content,
        ):
            yield itself(content, f"{archive}: {member.name}", member.size_bytes)

    return opened


def _zip_place(archive: str, member: ZipMember) -> ClipPlace:
    return ClipPlace(
        "zip", archive, member.size_bytes, member.header_at, member.packed_bytes, member.method, member.crc
    )


def _zip_member(place: ClipPlace) -> ZipMember:
    return ZipMember(place.file, place.at, place.packed_bytes, place.size_bytes, place.method, place.crc)


def _in_tar(files: SourceFiles, archive: str) -> Iterator[FileEntry]:
    """By its headers alone. tarfile takes a damaged one for the end: so what stands there is looked at."""
    damage = (tarfile.TarError, EOFError, ValueError, RecursionError, OverflowError)
    with files.open(archive) as stream, damage_explained(archive, *damage):
        size_bytes = files.size_bytes(archive)
        tar = tarfile.TarFile(fileobj=_Headers(stream), encoding="utf-8", errors="replace")  # type: ignore[arg-type]
        while (member := tar.next()) is not None:
            tar.members = []  # type: ignore[attr-defined]  # tarfile keeps them all
            if member.isdir():
                continue
            if member.isreg() and member.offset_data + member.size > size_bytes:
                raise EOFError(f"it ends within {shown(member.name)}")
            is_plain = member.isreg() and not member.issparse()
            path = path_of_member(archive, member.name)
            place = ClipPlace("tar", archive, member.size, member.offset_data, is_plain=is_plain)
            if member.islnk() or member.issym():
                yield _link(path, place, member.name, member.linkname, from_root=member.islnk())
            else:
                yield FileEntry(path, place, _slice_opener(files, place, member.name))
        stream.seek(tar.offset)
        if stream.read(tarfile.BLOCKSIZE) != _END_OF_TAR:
            raise tarfile.ReadError(f"it ends, or is damaged, at byte {tar.offset:,}: no end mark is there")
        while rest := stream.read(_REST_BYTES):
            if rest.strip(b"\0"):
                raise tarfile.ReadError(
                    f"more data after its end mark at byte {tar.offset:,}: archives that were joined are to be parted"
                )


class _Headers:
    """A tar as tarfile reads its headers: an extended one may claim any size."""

    def __init__(self, stream: BinaryIO) -> None:
        self._stream = stream
        self.tell, self.seek = stream.tell, stream.seek

    def read(self, size: int) -> bytes:
        if not 0 <= size <= MAX_HEADER_BYTES:
            raise tarfile.ReadError(f"a header of {size:,} bytes")
        return self._stream.read(size)


def _slice_opener(files: SourceFiles, place: ClipPlace, name: str) -> Callable[[], AbstractContextManager[BinaryIO]]:
    @contextmanager
    def opened() -> Iterator[BinaryIO]:
        with files.open(place.file) as stream, damage_explained(place.file):
            stream.seek(place.at)
            yield itself(BufferedReader(Window(stream, place.size_bytes)), f"{place.file}: {name}", place.size_bytes)

    return opened


def _in_tar_gz(files: SourceFiles, archive: str) -> Iterator[FileEntry]:
    clips = 0
    with files.open(archive) as stream, TarGz(stream, archive) as tar:
        for member in tar:
            if member.isdir():
                continue
            place = ClipPlace("tar.gz", archive, member.size, clips, is_plain=member.isreg() and not member.issparse())
            clips += is_audio(member)
            path = path_of_member(archive, member.name)
            if member.islnk() or member.issym():
                yield _link(path, place, member.name, member.linkname, from_root=member.islnk())
            else:
                yield FileEntry(path, place, lambda member=member: tar.open(member))  # type: ignore[misc]


def _link(path: str, place: ClipPlace, name: str, target: str, from_root: bool = False) -> FileEntry:
    """A link in an archive: `target` is as the archive has it, `from_root` for a hard link."""

    def opened() -> AbstractContextManager[BinaryIO]:
        raise SourceError(
            f"{shown(place.file)}: {shown(name)} is a link to {shown(target)}. A table is not read through a link: put "
            "the table itself there, then run again with --resume. What was read before is safe."
        )

    to = posixpath.normpath(target.lstrip("/") if from_root else posixpath.join(posixpath.dirname(name), target))
    if not target or "\0" in target or to.startswith(("/", "../")) or to in ("..", "."):
        led = replace(place, size_bytes=0, is_plain=False, why_not="a link that leads out of the archive")
    else:
        led = replace(place, size_bytes=0, is_plain=False, leads_to=path_of_member(place.file, to))
    return FileEntry(path, led, opened)
