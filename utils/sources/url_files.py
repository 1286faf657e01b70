"""Source files where a user keeps them: a folder, one file, or whatever fsspec can open by a URL.

No copy is made on this machine: files of a URL are read as they arrive. Such places keep no old revisions, so the
revision is made of the names, the sizes and what the place says of versions.
"""

import io
import os
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager
from datetime import datetime
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING, Any, BinaryIO

import xxhash

from utils.errors import IngestError, SourceError
from utils.rows.credentials import public
from utils.rows.printable import shown
from utils.sources.byte_meter import ByteMeter, open_metered
from utils.sources.http_files import HttpFile, probed
from utils.sources.mirror_revision import mirror_revision, version_of
from utils.sources.source_files import (
    MirrorFiles,
    SourceAccess,
    SourceChanged,
    SourceFiles,
    index_of,
)
from utils.sources.stand_ins import itself

if TYPE_CHECKING:
    from _typeshed import WriteableBuffer

_BUFFER_BYTES = 2**20
_TELLS = re.compile(
    r"e_?tag|mtime|modif|updated|created|write_?time|sha(?!r)|md5|crc|hash|digest|checksum|generation|version|blob|date_time"
)
_IN_MINUTES = re.compile(r"[A-Z][a-z]{2} +\d{1,2} +[\d:]{4,5}")
"""As `ls -l` tells a time, which an FTP server without a better list gives: another text for the very file in half a
year, and the same one for two versions of one minute."""


def open_folder_or_file(path: Path, revision: str | None) -> SourceFiles:
    """A folder, or one file by itself. SourceError where there is neither, SourceChanged where it is another now."""
    if path.is_dir():
        return MirrorFiles(path, revision)
    if path.is_file():
        return _OneFile(path, revision)
    raise SourceError(
        f"There is no {path}. What was read before is safe. Mend the location, or put the source there, then run again "
        "with --resume."
    )


def open_url(url: str, access: SourceAccess, revision: str | None) -> SourceFiles:
    """What lies below a URL, or the file that it names.

    One of this machine is read as its path is: fsspec follows no links. One of the web we read ourselves: fsspec
    would follow redirects anywhere, and needs a package.
    """
    scheme, _, path = url.partition("://")
    if scheme.lower() in ("file", "local"):
        return open_folder_or_file(Path(path), revision)
    if scheme.lower() in ("http", "https"):
        return _HttpFile(probed(url, access.timeout_s, access.patience, access.stop_requested), revision)
    return UrlFiles(url, revision)


class _Files:
    """Names, sizes and the revision that is made of them."""

    def __init__(
        self,
        place: str,
        sizes: Mapping[str, int],
        revision: str | None,
        version: str,
        found: str,
        earlier: str | None = None,
    ) -> None:
        """`version`: what tells the files from others of their names and sizes, wherever they are read; `found`: what
        does so on this machine; `earlier`: what an earlier rule had in place of `version`."""
        self._place = place
        self._names = tuple(sorted(sizes))
        self._sizes = dict(sizes)
        self._meter = ByteMeter()
        if not self._names:
            raise SourceError(f"{place} holds no files. Put the source there, then run again with --resume.")
        sizes_in_order = [self._sizes[name] for name in self._names]
        self.revision = mirror_revision(self._names, sizes_in_order, version, revision, earlier)
        self.as_found = f"{self.revision} {found}"
        if revision is not None and revision != self.revision:
            raise SourceChanged(
                f"What is in {place} is not what was first read (names, sizes or versions differ). What is published "
                "is safe. Put the old files back and run again with --resume, or begin anew with --fresh."
            )

    def names(self) -> Sequence[str]:
        return self._names

    def size_bytes(self, name: str) -> int:
        return self._sizes[self._known(name)]

    def expect(self, *names: str) -> None:
        """Nothing is fetched ahead."""

    def close(self) -> None:
        """Nothing is fetched ahead."""

    @property
    def bytes_read(self) -> int:
        return self._meter.bytes_read

    def _known(self, name: str) -> str:
        return self._names[index_of(name, self._names, self._place)]


class _OneFile(_Files):
    """A file of this machine by itself: an archive, mostly."""

    def __init__(self, path: Path, revision: str | None) -> None:
        self._path = path
        status = path.stat()
        version = version_of([path.name], [status.st_size], lambda _: path.open("rb"))
        found = f"{path.resolve()} {status.st_mtime_ns} {status.st_ino}"
        super().__init__(str(path), {path.name: status.st_size}, revision, version, found)

    def open(self, name: str) -> BinaryIO:
        self._known(name)
        try:
            return itself(open_metered(self._path, self._meter), name, self.size_bytes(name))
        except OSError as error:
            raise SourceError(f"{self._path} can't be read: {error.strerror}.") from error


class _HttpFile(_Files):
    """The one file at an address of the web."""

    def __init__(self, file: HttpFile, revision: str | None) -> None:
        self._file = file
        version, found = file.version or file.content, f"{file.content} {file.hint}"
        super().__init__(file.place, {file.name: file.size_bytes}, revision, version, found, file.version)

    def open(self, name: str) -> BinaryIO:
        self._known(name)
        return self._file.open(self._meter)


class UrlFiles(_Files):
    """The files below a URL, or the one that it names. Hidden ones are left out."""

    def __init__(self, url: str, revision: str | None = None) -> None:
        self._url = url
        self._place = shown(public(url))
        with self._explained():
            self._fs, self._root = _file_system(url)
            sizes = self._listed()
            said = {name: _said(about) for name, about in self._about.items()}
            version = {
                name: " ".join(value for value in said[name] if not _IN_MINUTES.fullmatch(value)) for name in sizes
            }
            unsaid = [name for name in sizes if not version[name]]
            content = version_of(unsaid, [sizes[name] for name in unsaid], lambda name: self._opened(name, ByteMeter()))
        found = xxhash.xxh3_128_hexdigest(os.fsencode(str(sorted(said.items()))))
        super().__init__(
            self._place, sizes, revision, f"{sorted(version.items())} {content}", found, self._earlier_version()
        )

    def open(self, name: str) -> BinaryIO:
        self._known(name)
        with self._explained():
            return itself(self._opened(name, self._meter), name, self.size_bytes(name))

    def _opened(self, name: str, meter: ByteMeter) -> BinaryIO:
        path = f"{self._root}/{name}" if self._is_folder else self._root
        with self._explained():
            raw = _Metered(self._fs.open(path, "rb"), meter, self._explained)
            return io.BufferedReader(raw, _BUFFER_BYTES)

    def _listed(self) -> dict[str, int]:
        self._root = self._root.rstrip("/")
        self._is_folder = not self._fs.isfile(self._root)
        if not self._is_folder:
            name, about = PurePosixPath(public(self._root)).name, self._fs.info(self._root)
            self._about = {name: about}
            return {name: self._size(about)}
        self._about = {path[len(self._root) :].strip("/"): about for path, about in self._below(self._root)}
        return {
            name: self._size(about)
            for name, about in self._about.items()
            if name and not any(part.startswith(".") for part in name.split("/"))
        }

    def _earlier_version(self) -> str:
        """What sources were begun with before more was asked for than these."""
        asked = ("ETag", "etag", "mtime", "LastModified", "created")
        said = {name: " ".join(str(about[key]) for key in asked if key in about) for name, about in self._about.items()}
        return (
            "\n".join(f"{name} {text}" for name, text in sorted(said.items())) if self._is_folder else said.popitem()[1]
        )

    def _below(self, folder: str) -> Iterator[tuple[str, Mapping[str, Any]]]:
        """All files. Not `find` or `walk`, which pass silently over folders that can't be listed (law 8)."""
        for about in self._fs.ls(folder, detail=True):
            path = str(about["name"]).rstrip("/")
            if about["type"] == "directory" and path != folder:
                yield from self._below(path)
            elif about["type"] == "file":
                yield path, about
            elif about["type"] != "directory":
                raise OSError(f"{path} is neither a file nor a folder: what it leads to would be left out")

    def _size(self, about: Mapping[str, Any]) -> int:
        size = about.get("size")
        if not isinstance(size, int):
            raise SourceError(f"{self._place} does not say how large its files are, so it can't be read safely.")
        return size

    @contextmanager
    def _explained(self) -> Iterator[None]:
        """SourceError for whatever a file system's library raises: they have classes of their own for what the world
        does (`ftplib.error_perm`, those of S3)."""
        try:
            yield
        except (IngestError, MemoryError):
            raise
        except ImportError as error:
            raise SourceError(
                f"{self._place} needs a package that is not installed ({shown(error)}). Install it, then run "
                "again with --resume."
            ) from error
        except Exception as error:
            why = shown(error) or "no reason is given"
            raise SourceError(
                f"{self._place} can't be read ({why}). What was read before is safe. Check the location and the "
                "network, then run again with --resume."
            ) from error


def _said(about: Mapping[str, Any]) -> list[str]:
    """All that a file system says that tells a file from another one of its name and size, each in its own words."""
    values = (about[key] for key in sorted(about) if _TELLS.search(key.lower()))
    return [str(value) for value in values if value and isinstance(value, (str, int, float, datetime))]


def _file_system(url: str) -> tuple[Any, str]:
    from fsspec.core import url_to_fs  # takes its time to import

    found, root = url_to_fs(url)
    return found, str(root)


class _Metered(io.RawIOBase):
    """Another file as a raw one; what is read of it is counted, and its errors are explained."""

    def __init__(self, file: Any, meter: ByteMeter, explained: Callable[[], AbstractContextManager[None]]) -> None:
        self._file = file
        self._meter = meter
        self._explained = explained

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def tell(self) -> int:
        return int(self._file.tell())

    def seek(self, offset: int, whence: int = os.SEEK_SET) -> int:
        return int(self._file.seek(offset, whence))

    def readinto(self, buffer: "WriteableBuffer") -> int:
        target = memoryview(buffer).cast("B")
        with self._explained():
            content = self._file.read(len(target))
        target[: len(content)] = content
        self._meter.bytes_read += len(content)
        return len(content)

    def close(self) -> None:
        self._file.close()
        super().close()
