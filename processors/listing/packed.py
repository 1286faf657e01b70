"""The files of a source, those in its archives among them, by the lists that folders and zips have. A tar has none: all
of it is read, by Python's own gzip and tarfile, from its start.
"""

import gzip
import tarfile
import zlib
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from typing import IO, BinaryIO, Final, cast

from processors.engine.clip_names import is_audio_name
from processors.engine.listed import TAKES_DEEP, NotListed
from processors.engine.unreadable import damage_explained
from processors.readers.table_names import path_of_member
from utils.formats.zip_members import ZipDamaged, ZipMember, open_member, zip_members
from utils.sources.source_files import SourceFiles

_DAMAGE: Final = (tarfile.TarError, EOFError, zlib.error, ValueError, OverflowError, RecursionError)
_PACKED_TARS: Final = (".tar.gz", ".tgz")


@dataclass(frozen=True)
class Listed:
    """A file of a source."""

    path: str
    """Of a member of an archive, the archive's and then its own."""
    comes_in_order: bool
    """Whether it is in a tar.gz, from which clips are taken as they stand there."""
    open: Callable[[], AbstractContextManager[BinaryIO]]
    """Opens it, while it is the one last yielded."""

    @property
    def is_clip(self) -> bool:
        return is_audio_name(self.path)


def files_listed(files: SourceFiles, deep: bool, raise_if_stopped: Callable[[], None]) -> Iterator[Listed]:
    """All files of a source. NotListed where it has a tar, unless `deep`."""
    names = files.names()
    if not deep and (tar := next((name for name in names if name.lower().endswith((".tar", *_PACKED_TARS))), None)):
        raise NotListed(TAKES_DEEP.format(tar))
    for name in names:
        lower = name.lower()
        if lower.endswith(".zip"):
            found = _in_zip(files, name)
        elif lower.endswith((".tar", *_PACKED_TARS)):
            found = _in_tar(files, name)
        else:
            found = iter([Listed(name, False, _opener(files, name))])
        for file in found:
            raise_if_stopped()
            yield file


def tar_members(files: SourceFiles, archive: str) -> Iterator[tuple[tarfile.TarInfo, Callable[[], IO[bytes] | None]]]:
    """The members of a tar but for folders, each with what opens it while it is the one last yielded."""
    with files.open(archive) as stream, damage_explained(archive, *_DAMAGE):
        content = gzip.GzipFile(fileobj=stream) if archive.lower().endswith(_PACKED_TARS) else stream
        with tarfile.open(fileobj=content, mode="r|", encoding="utf-8", errors="replace") as tar:
            while (member := tar.next()) is not None:
                tar.members = []  # type: ignore[attr-defined]  # tarfile keeps them all
                if not member.isdir():
                    yield member, lambda member=member: tar.extractfile(member)  # type: ignore[misc]


def _in_tar(files: SourceFiles, archive: str) -> Iterator[Listed]:
    for member, extract in tar_members(files, archive):

        @contextmanager
        def opened(extract: Callable[[], IO[bytes] | None] = extract) -> Iterator[BinaryIO]:
            yield cast(BinaryIO, extract())

        if member.isreg() or is_audio_name(member.name):
            yield Listed(path_of_member(archive, member.name), archive.lower().endswith(_PACKED_TARS), opened)


def _in_zip(files: SourceFiles, archive: str) -> Iterator[Listed]:
    with files.open(archive) as stream, damage_explained(archive, ZipDamaged):
        for member in zip_members(stream):
            yield Listed(path_of_member(archive, member.name), False, _opener(files, archive, member))


def _opener(
    files: SourceFiles, name: str, member: ZipMember | None = None
) -> Callable[[], AbstractContextManager[BinaryIO]]:
    @contextmanager
    def opened() -> Iterator[BinaryIO]:
        with files.open(name) as stream, damage_explained(name, ZipDamaged):
            if member is None:
                yield stream
            else:
                with open_member(stream, member) as content:
                    yield content

    return opened
