"""The one layer through which durable things are written: fsync before rename, the folder after it.

A reader sees the old file or the new one, never half of one, also after a power cut.

Every effect on the disk is a *step* (create, write, truncate, fsync, rename, delete, mkdir, link, lock, index): whoever
`watch`es sees each one before and after it happens, and may let it fail. So the crash tests enumerate the
steps of a run instead of guessing them, and no file is written anywhere else (a test sees to that).
"""

import errno
import io
import logging
import os
import re
import shutil
import socket
import zlib
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from types import TracebackType
from typing import Any, Protocol, Self

log = logging.getLogger(__name__)

TEMPORARY_SUFFIX = ".tmp"
BUFFER_BYTES = 2**20


@dataclass(frozen=True, slots=True)
class Effect:
    """One change of the disk."""

    kind: str
    path: Path
    data: memoryview | None = None
    """What a write is going to write."""
    old: Path | None = None
    """What a rename or a link is made from."""


class Watcher(Protocol):
    """Sees the steps of this process; what its methods raise, the step raises."""

    def before(self, effect: Effect) -> None:
        """It is about to happen."""

    def after(self, effect: Effect) -> None:
        """It has happened."""


_watchers: list[Watcher] = []


def watch(watcher: Watcher) -> None:
    """Show every further step of this process to `watcher`: for tests."""
    _watchers.append(watcher)


def unwatch(watcher: Watcher) -> None:
    """Show it no more of them."""
    _watchers.remove(watcher)


@contextmanager
def step(kind: str, path: Path, data: memoryview | None = None, old: Path | None = None) -> Iterator[None]:
    """One effect on the disk, which happens inside the block. An error of the system names its file."""
    effect = Effect(kind, path, data, old)
    try:
        for watcher in _watchers:
            watcher.before(effect)
        yield
        for watcher in _watchers:
            watcher.after(effect)
    except OSError as error:
        if error.filename is None:  # of what is done by a descriptor the system does not say where
            error.filename = str(path)
        raise


class NewFile(io.RawIOBase):
    """A file that is being written, through a buffer. Leaving the block without an error fsyncs it.

    One that is given up (an error, or nobody finished it) takes what is still written to it and drops it:
    a writer of Parquet files writes its footer whatever happened.
    """

    def __init__(self, path: Path, on_write: Callable[[Any], None] | None = None) -> None:
        """`on_write` sees all bytes, in order: to hash them on their way."""
        super().__init__()
        self.path = path
        self._on_write = on_write
        self._waiting = bytearray()
        self._descriptor: int | None = None
        with step("create", path):
            self._descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o666)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if kind is None:
            self.finish()
        else:
            self.abandon()

    def writable(self) -> bool:
        return True

    def write(self, data: Any) -> int:
        """Take `data`; what was taken is in the file once `finish` has returned."""
        with memoryview(data).cast("B") as view:
            if self._descriptor is not None:
                if self._on_write is not None:
                    self._on_write(view)
                if len(self._waiting) + len(view) > BUFFER_BYTES:
                    self._write_waiting()
                if len(view) > BUFFER_BYTES:
                    _write_all(self._descriptor, self.path, view)
                else:
                    self._waiting += view
            return len(view)

    def finish(self) -> None:
        """Write what waits, fsync, close."""
        if self._descriptor is not None:
            self._write_waiting()
            with step("fsync", self.path):
                os.fsync(self._descriptor)
        self.abandon()

    def abandon(self) -> None:
        """Close without another write."""
        descriptor, self._descriptor = self._descriptor, None
        if descriptor is not None:
            os.close(descriptor)

    def close(self) -> None:
        """What Python calls when nobody holds the file any more."""
        self.abandon()
        super().close()

    def _write_waiting(self) -> None:
        waiting, self._waiting = self._waiting, bytearray()
        if waiting and self._descriptor is not None:
            with memoryview(waiting) as view:
                _write_all(self._descriptor, self.path, view)


class AppendedFile(io.FileIO):
    """A file, made where there is none, that is written at its end, without a buffer; not fsynced."""

    def __init__(self, path: Path) -> None:
        with step("create", path):
            super().__init__(path, "ab")
        self._path = path

    def write(self, data: Any) -> int:
        """Write all of it."""
        with memoryview(data).cast("B") as view:
            _write_all(self.fileno(), self._path, view)
            return len(view)


def _write_all(descriptor: int, path: Path, view: memoryview) -> None:
    with step("write", path, view):
        written = 0
        while written < len(view):  # the system may take only a part at a time
            written += os.write(descriptor, view[written:])


def fsync_file(path: Path) -> None:
    """Flush a written file's bytes to the disk."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        with step("fsync", path):
            os.fsync(descriptor)
    finally:
        os.close(descriptor)


def fsync_folder(folder: Path) -> None:
    """Make a folder's entries (new names, renames, deletions) durable; where its file system can't, say so once."""
    try:
        fsync_file(folder)
    except OSError as error:
        if error.errno not in _NO_FOLDER_FSYNC:
            raise
        device = folder.stat().st_dev
        if device not in _told_of:
            _told_of.add(device)
            log.warning(
                "The file system of %s can't make folders durable (%s). A crash of this program loses nothing there; a "
                "power cut may lose what was written last.",
                *(folder, error.strerror),
            )


_NO_FOLDER_FSYNC = (errno.EINVAL, errno.ENOTSUP, errno.ENOSYS)
"""What shares of other systems answer."""
_told_of: set[int] = set()
"""Their devices."""


def make_folder(folder: Path) -> None:
    """Make a folder and its parents, each durable in the one above it."""
    if folder.is_dir():
        return
    make_folder(folder.parent)
    with step("mkdir", folder):
        folder.mkdir(exist_ok=True)
    fsync_folder(folder.parent)


def publish_file(temporary: Path, final: Path) -> None:
    """Give a completely written file its final name; durable when this returns."""
    fsync_file(temporary)
    rename(temporary, final)
    fsync_folder(final.parent)


def write_atomically(path: Path, content: bytes) -> None:
    """Write a whole file so that its name never stands for anything but all of `content` or what was there."""
    make_folder(path.parent)
    # Named after the process: runs with different targets may write the same checkpoint.
    temporary = path.with_name(f"{path.name}.{_host()}-{os.getpid()}{TEMPORARY_SUFFIX}")
    try:
        with NewFile(temporary) as new:
            new.write(content)
        rename(temporary, path)
    except BaseException:
        temporary.unlink(missing_ok=True)
        raise
    fsync_folder(path.parent)


def sweep_temporaries(folder: Path, alone: bool) -> None:
    """Delete what `write_atomically` left in a folder when it was killed.

    `alone`: nobody else writes there (a lock says so); otherwise only what dead processes of this machine left.
    """
    for path in folder.glob(f"*{TEMPORARY_SUFFIX}"):
        match = _TEMPORARY.search(path.name)
        if match and (alone or (match[1] == _host() and not _is_alive(int(match[2])))):
            remove(path)


def _is_alive(process: int) -> bool:
    try:
        os.kill(process, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        pass  # somebody else's
    return True


_TEMPORARY = re.compile(rf"\.([0-9a-f]{{8}})-(\d+){re.escape(TEMPORARY_SUFFIX)}$")


@cache
def _host() -> str:
    return f"{zlib.crc32(socket.gethostname().encode()):08x}"


def rename(old: Path, new: Path) -> None:
    """Rename a file or folder, replacing a file that is there; durable once the folders are fsynced."""
    with step("rename", new, old=old):
        old.replace(new)


def remove(path: Path) -> None:
    """Delete a file, if it is there. A power cut may bring it back: for what does no harm if it comes back."""
    if path.exists():
        with step("delete", path):
            path.unlink(missing_ok=True)


def remove_folder(folder: Path) -> None:
    """Delete an empty folder."""
    with step("delete", folder):
        folder.rmdir()


def remove_tree(folder: Path) -> None:
    """Delete a folder with all that is in it, if it is there."""
    if folder.exists():
        with step("delete", folder):
            shutil.rmtree(folder)


def link(old: Path, new: Path) -> None:
    """The same file under a second name."""
    with step("link", new, old=old):
        os.link(old, new)


def rename_aside(path: Path, new_path: Path) -> Path:
    """Rename a file or folder to `new_path`, or to that with `-2`, `-3`, ... where the name is taken."""
    make_folder(new_path.parent)
    free, number = new_path, 1
    while free.exists():
        number += 1
        free = new_path.with_name(f"{new_path.name}-{number}")
    with step("rename", free, old=path):
        path.rename(free)
    fsync_folder(free.parent)
    fsync_folder(path.parent)
    return free


def copy_file(old: Path, new: Path) -> None:
    """A durable copy of a file."""
    with old.open("rb") as content, NewFile(new) as copy:
        shutil.copyfileobj(content, copy, BUFFER_BYTES)
