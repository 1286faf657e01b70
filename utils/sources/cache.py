"""A bounded cache of source files: plain folders, downloads that go on where they stopped.

    <cache folder>/<owner>/<name>/<revision>/<path>            a whole file, verified
    <cache folder>/<owner>/<name>/<revision>/.partial/<path>   one that is being downloaded
    <cache folder>/<owner>/<name>/<revision>/.source-cache     our mark: this folder is ours to empty

A file gets its name only when it is whole. Readers hold a shared lock on their file and downloaders
an exclusive one on theirs (both end with the process, however it ends), so that making room never
takes a file that this run or another one is using. The time of change is the time of last use.
"""

import errno
import fcntl
import hashlib
import logging
import os
import shutil
import time
from collections.abc import Container, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import BinaryIO

from utils.disk.durable import AppendedFile, make_folder, publish_file, remove, remove_folder, step
from utils.errors import Interrupted, SourceError, Stopped
from utils.sources.byte_meter import ByteMeter, open_metered
from utils.sources.remote_file import Check, RemoteFile

log = logging.getLogger(__name__)

MARK = ".source-cache"
PARTIAL = ".partial"
SPARE_DISK_BYTES = 200 * 1000**2
"""Left free on the disk: staging and shards need room too."""

AHEAD_SPARE_DISK_BYTES = 8 * 1000**3
"""What nobody has asked for yet takes no disk that staging, shards and the floor of free space may want."""

_GB = 1000**3
_LOCK_POLL_S = 0.2
_DISK_FULL = (errno.ENOSPC, errno.EDQUOT)
_IN_USE = (BlockingIOError, FileNotFoundError)
"""What locking a file raises that somebody uses, or that another run has given its name or deleted."""


@dataclass(frozen=True)
class FileCache:
    """Source files in `folder`, `max_bytes` of them at most."""

    folder: Path
    max_bytes: int
    meter: ByteMeter = field(default_factory=ByteMeter)
    """Counts what is read of the files; a download is none of that."""

    def open(self, file: RemoteFile) -> BinaryIO:
        """The file, from the disk; downloaded first where it is not there, going on with what is.

        Raises SourceError where it can't be had or the bound is too small for it, Stopped where the
        disk is, Interrupted where a stop is requested meanwhile.
        """
        path = self._path(file)
        with self._disk_errors(file):
            while True:
                opened = _open_shared(path, file, self.meter)
                if opened is not None:
                    now = time.time_ns()  # finer than the file system's own clock
                    os.utime(path, ns=(now, now))
                    return opened
                self._download(file, path)

    def fetch_ahead(self, file: RemoteFile, spared: Sequence[RemoteFile] = ()) -> bool:
        """Download a file that is not there yet, where that leaves the disk room enough for all else.

        Returns whether it is there now. None of `spared` is deleted for it. Raises as `open` does.
        """
        path = self._path(file)
        with self._disk_errors(file):
            if not path.exists() and self._leaves_room(file.size_bytes):
                self._download(file, path, {self._path(other) for other in spared})
            return path.exists()

    def _leaves_room(self, needed_bytes: int) -> bool:
        """Whether the disk keeps some to spare."""
        return shutil.disk_usage(self.folder).free >= needed_bytes + AHEAD_SPARE_DISK_BYTES

    def _path(self, file: RemoteFile) -> Path:
        return self._revision_folder(file) / file.name

    def _revision_folder(self, file: RemoteFile) -> Path:
        return self.folder / file.repo_id / file.revision

    @contextmanager
    def _disk_errors(self, file: RemoteFile) -> Iterator[None]:
        try:
            yield
        except OSError as error:
            if error.errno in _DISK_FULL:
                raise Stopped(_disk_full(file, self.folder)) from error
            raise SourceError(
                f"The cache folder {self.folder} can't be used: {error}. Nothing is lost. Mend it or use --streaming, "
                "which needs none, and run again with --resume."
            ) from error

    def _download(self, file: RemoteFile, path: Path, spared: Container[Path] = ()) -> None:
        if file.size_bytes > self.max_bytes:
            raise SourceError(_too_large(file, self.max_bytes))
        partial = self._revision_folder(file) / PARTIAL / file.name
        make_folder(partial.parent)
        make_folder(path.parent)
        mark = self._revision_folder(file) / MARK
        with step("create", mark):
            mark.touch()
        with AppendedFile(partial) as out:
            _lock_alone(out, file)
            # Another run may have finished the same file, or given it up, while we waited for the lock.
            if _still_named(out, partial) and not path.exists():
                self._fill(file, partial, out, spared)
                publish_file(partial, path)

    def _fill(self, file: RemoteFile, partial: Path, out: BinaryIO, spared: Container[Path]) -> None:
        """Bring a partial file to its full length and verify it. A damaged one is emptied and begun anew, once."""
        for begin_at in (min(os.fstat(out.fileno()).st_size, file.size_bytes), 0):
            with step("truncate", partial):
                out.truncate(begin_at)
            self._make_room(file, file.size_bytes - begin_at, spared)
            log.info("downloading %s/%s from byte %d of %d", file.repo_id, file.name, begin_at, file.size_bytes)
            check = _checked_so_far(file, partial)
            for piece in file.stream(begin_at, file.size_bytes):
                out.write(piece)
                check.digest.update(piece)
                if file.stop_requested():
                    raise Interrupted(f"Stopped on request, while downloading {file.name}; what is here is kept.")
            if check.is_passed:
                return
        remove(partial)
        raise file.damaged()

    def _make_room(self, file: RemoteFile, needed_bytes: int, spared: Container[Path]) -> None:
        """Delete files that were not used for longest, until `needed_bytes` more fit the bound and the disk."""
        cached = sorted(_cached_files(self.folder))
        used = sum(size_bytes for _, size_bytes, _ in cached)
        unused = [(size, path) for _, size, path in cached if path not in spared and _is_unused(path)]
        if used - sum(size for size, _ in unused) + needed_bytes > self.max_bytes:
            raise SourceError(_too_large(file, self.max_bytes))
        for _, path in unused:
            if used + needed_bytes <= self.max_bytes and self._fits_disk(needed_bytes):
                return
            used -= _delete_if_unused(path)
        if used + needed_bytes > self.max_bytes:  # another run has begun to read one
            raise SourceError(_too_large(file, self.max_bytes))
        if not self._fits_disk(needed_bytes):
            raise Stopped(_disk_full(file, self.folder))

    def _fits_disk(self, needed_bytes: int) -> bool:
        return shutil.disk_usage(self.folder).free >= needed_bytes + SPARE_DISK_BYTES


def _checked_so_far(file: RemoteFile, path: Path) -> Check:
    """What is here of a file, given to its check."""
    check = file.new_check()
    with path.open("rb") as content:
        hashlib.file_digest(content, lambda: check.digest)
    return check


def clear_cache(folder: Path) -> int:
    """Delete the source files that we cached, but for those in use; returns the bytes freed.

    Only folders with our mark are emptied, and no link below `folder` is followed.
    """
    freed = sum(_delete_if_unused(path) for _, _, path in list(_cached_files(folder)))
    for revision in list(_revision_folders(folder)):
        if not any(_files_below(revision)):
            remove(revision / MARK)
            _remove_empty_folders(revision, folder)
    return freed


def _lock_alone(out: BinaryIO, file: RemoteFile) -> None:
    """Wait until no other run downloads this file."""
    while True:
        try:
            fcntl.flock(out, fcntl.LOCK_EX | fcntl.LOCK_NB)
            return
        except BlockingIOError:
            if file.stop_requested():
                raise Interrupted(f"Stopped on request, while another run downloads {file.name}.") from None
            time.sleep(_LOCK_POLL_S)


def _still_named(opened: BinaryIO, path: Path) -> bool:
    try:
        return os.path.samestat(os.fstat(opened.fileno()), path.stat())
    except FileNotFoundError:
        return False


def _open_shared(path: Path, file: RemoteFile, meter: ByteMeter) -> BinaryIO | None:
    """The file under a shared lock; None where there is none, or one that is not it: that one is deleted.

    A large file was held against its checksum when it came, a small one is whenever it is opened.
    """
    try:
        opened = open_metered(path, meter)
    except FileNotFoundError:
        return None
    fcntl.flock(opened, fcntl.LOCK_SH)
    status = os.fstat(opened.fileno())
    is_whole = status.st_nlink and status.st_size == file.size_bytes
    if is_whole and (not file.is_small or _checked_so_far(file, path).is_passed):
        return opened
    opened.close()  # deleted before we had the lock, or changed by something that is not us
    remove(path)
    return None


def _is_unused(path: Path) -> bool:
    with suppress(*_IN_USE), _held_alone(path):
        return True
    return False


def _delete_if_unused(path: Path) -> int:
    """Delete a file unless somebody has it locked; returns the bytes freed."""
    with suppress(*_IN_USE), _held_alone(path) as file:
        size_bytes = os.fstat(file.fileno()).st_size
        remove(path)
        log.info("deleted %s from the cache", path)
        return size_bytes
    return 0


@contextmanager
def _held_alone(path: Path) -> Iterator[BinaryIO]:
    """The file, while nobody else reads or writes it. Raises one of `_IN_USE` where somebody does."""
    with path.open("rb") as file:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        yield file


def _cached_files(folder: Path) -> Iterator[tuple[int, int, Path]]:
    """(time of last use, size in bytes, path) of whole and partial files."""
    for revision in _revision_folders(folder):
        for path in _files_below(revision):
            with suppress(FileNotFoundError):  # another run has just deleted it
                status = path.stat()
                yield status.st_mtime_ns, status.st_size, path


def _revision_folders(folder: Path) -> Iterator[Path]:
    """The folders with our mark, at `owner/name/revision`."""
    for owner in _real_folders(folder):
        for name in _real_folders(owner):
            for revision in _real_folders(name):
                if (revision / MARK).is_file():
                    yield revision


def _real_folders(folder: Path) -> list[Path]:
    if not folder.is_dir():
        return []
    return [path for path in sorted(folder.iterdir()) if path.is_dir() and not path.is_symlink()]


def _files_below(revision: Path) -> Iterator[Path]:
    """Every regular file below a folder but the mark. We never make links, so none is followed or named."""
    for folder, _, names in os.walk(revision):
        for name in names:
            path = Path(folder, name)
            if path.is_file() and not path.is_symlink() and path != revision / MARK:
                yield path


def _remove_empty_folders(revision: Path, cache_folder: Path) -> None:
    """Remove a folder tree without files, and the folders above it that are empty then."""
    for folder, _, _ in os.walk(revision, topdown=False):
        if any(Path(folder).iterdir()):  # a link, which is not ours
            return
        remove_folder(Path(folder))
    for parent in (revision.parent, revision.parent.parent):
        if parent != cache_folder and not any(parent.iterdir()):
            remove_folder(parent)


def _too_large(file: RemoteFile, max_bytes: int) -> str:
    return (
        f"{file.name} of {file.repo_id} has {file.size_bytes / _GB:.3g} GB and does not fit the cache's "
        f"{max_bytes / _GB:.3g} GB beside the files in use. Give a larger --max-cache-gb, or use --streaming, "
        "which keeps no copy on disk, and run again with --resume."
    )


def _disk_full(file: RemoteFile, folder: Path) -> str:
    return (
        f"The disk of {folder} has no room for {file.name} of {file.repo_id} ({file.size_bytes / _GB:.3g} GB). "
        "Nothing is lost. Free some space or use --streaming, which keeps no copy on disk, and run again "
        "with --resume."
    )
