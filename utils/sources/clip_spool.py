"""The clips of a packed archive, unpacked on disk while it was read for its index: each split then reads only its own.

An archive whose tables lie behind its clips has to be read once to know what is in it, and again for each split. The
spool is the clips' bytes, one after the other; the index says where each lies, with a checksum. It is a cache: without
one, or where it is damaged, the archive itself is read, and what comes out is the same. So nothing of it is fsynced.
"""

import json
import logging
import os
import shutil
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO, Final, Self

import xxhash

from utils.disk.durable import TEMPORARY_SUFFIX, AppendedFile, make_folder, remove, rename

log = logging.getLogger(__name__)

SUFFIX: Final = ".clips"
SPARE_DISK_BYTES: Final = 8 * 1000**3
"""Left free on the disk: staging and shards need room, and a spool only saves time."""
_MAX_UNPACKED: Final = 3
"""An archive that unpacks to more than so many times its size is not spooled."""
_CHECKED_EVERY_BYTES: Final = 64 * 1000**2
_BUFFER_BYTES: Final = 2**20


class SpoolDamaged(Exception):
    """A spool does not have the bytes that were put into it."""


@dataclass(frozen=True, slots=True)
class SpooledClip:
    """Where a clip lies in the spool. `size_bytes` None: it has no audio of its own."""

    offset: int
    size_bytes: int | None
    checksum: int
    shown: str
    """Its name, for messages."""

    def to_json(self) -> str:
        return json.dumps([self.offset, self.size_bytes, self.checksum, self.shown], ensure_ascii=False)

    @classmethod
    def from_json(cls, text: str) -> Self:
        """Raises SpoolDamaged where it was noted without a spool."""
        if not text:
            raise SpoolDamaged("it ends before this clip")
        return cls(*json.loads(text))


class SpoolWriter:
    """Fills the spool at `path`; gives it up where the disk has too little room. Close it."""

    def __init__(self, path: Path, archive_bytes: int, is_wanted: bool) -> None:
        self._path = path
        self._temporary = path.with_name(path.name + TEMPORARY_SUFFIX)
        self._most_bytes = _MAX_UNPACKED * archive_bytes
        self._file: AppendedFile | None = None
        self._waiting = bytearray()
        self._offset = self._next_check_at = 0
        self._is_begun = False
        if is_wanted and self._has_room(archive_bytes):
            self._begin()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        """One that was not finished leaves nothing."""
        if self._is_begun:
            self._give_up()

    @property
    def is_open(self) -> bool:
        """Whether what is added is kept."""
        return self._file is not None

    def add(self, audio: bytes | None, shown: str) -> SpooledClip:
        """Put the next clip of the archive in (None: it has no audio of its own); returns where it lies."""
        if audio is None:
            return SpooledClip(self._offset, None, 0, shown)
        clip = SpooledClip(self._offset, len(audio), xxhash.xxh3_64_intdigest(audio), shown)
        self._offset += len(audio)
        self._waiting += audio
        if len(self._waiting) >= _BUFFER_BYTES:
            self._write()
        return clip

    def finish(self) -> None:
        """All clips are in: give the spool its name, if there is one."""
        self._write()
        if self._file is not None:
            self._file.close()
            self._file = None
            with suppress(OSError):
                rename(self._temporary, self._path)

    def _begin(self) -> None:
        self._is_begun = True
        with suppress(OSError):
            make_folder(self._path.parent)
            remove(self._path)
            remove(self._temporary)  # a killed run's; the index's lock says that nobody writes it now
            self._file = AppendedFile(self._temporary)

    def _write(self) -> None:
        waiting, self._waiting = self._waiting, bytearray()
        if self._file is None:
            return
        if self._offset > self._most_bytes or not self._still_has_room():
            log.info("Not enough room beside %s to unpack its clips: they are read from the archive", self._path)
            self._give_up()
            return
        try:
            self._file.write(waiting)
        except OSError:
            self._give_up()

    def _still_has_room(self) -> bool:
        if self._offset < self._next_check_at:
            return True
        self._next_check_at = self._offset + _CHECKED_EVERY_BYTES
        return self._has_room(0)

    def _has_room(self, needed_bytes: int) -> bool:
        folder = next(path for path in (self._path.parent, *self._path.parent.parents) if path.is_dir())
        return shutil.disk_usage(folder).free >= needed_bytes + SPARE_DISK_BYTES

    def _give_up(self) -> None:
        if self._file is not None:
            self._file.close()
            self._file = None
        with suppress(OSError):
            remove(self._temporary)


class ClipSpool:
    """The clips of an archive, to be had in any order. Close it."""

    def __init__(self, path: Path, file: BinaryIO) -> None:
        self.path = path
        self._file = file

    @classmethod
    def opened(cls, path: Path) -> Self | None:
        """The spool at `path`, None where there is none."""
        try:
            return cls(path, path.open("rb", buffering=0))
        except OSError:
            return None

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._file.close()

    def read(self, clip: SpooledClip) -> bytes | None:
        """The bytes of a clip. Raises SpoolDamaged where they are not those that were put in."""
        if clip.size_bytes is None:
            return None
        try:
            audio = os.pread(self._file.fileno(), clip.size_bytes, clip.offset)
        except OSError as error:
            raise SpoolDamaged(str(error)) from error
        if xxhash.xxh3_64_intdigest(audio) != clip.checksum:
            raise SpoolDamaged("it has other bytes")
        return audio


def remove_spool(path: Path) -> None:
    """Delete a spool, if it is there: it is of no use any more, or damaged."""
    with suppress(OSError):
        remove(path)
