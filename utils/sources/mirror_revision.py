"""What files without versions are known by, so that a position in them means the same tomorrow (law 6).

A mirror keeps no old revisions. Names and sizes tell most changes; but a table that was exported anew in another order,
or an archive that was packed so, has the very size of the old one. So what holds many clips is known by its content,
too.
"""

import hashlib
import heapq
import os
from collections.abc import Callable, Iterator, Sequence
from pathlib import PurePosixPath
from typing import BinaryIO, Final

import xxhash

AUDIO_SUFFIXES: Final = frozenset(
    (".wav", ".flac", ".mp3", ".ogg", ".oga", ".opus", ".m4a", ".aac", ".wma", ".webm", ".amr")
    + (".aif", ".aiff", ".au", ".caf", ".w64", ".rf64")
)
_PREFIX: Final = "files:"
MAX_FILES_READ: Final = 256
"""The largest: a corpus may have a text for each of 400,000 clips, but its tables and archives are larger."""
_PARTS: Final = 16
_PART_BYTES: Final = 2**16


def is_mirror_revision(revision: str | None) -> bool:
    """Whether a revision is that of files without versions, not of a repo on the Hub."""
    return revision is not None and revision.startswith(_PREFIX)


def mirror_revision(names: Sequence[str], sizes: Sequence[int], version: str, recorded: str | None) -> str:
    """The revision of files: a digest of their names and sizes, and one of what else tells them apart (`version`).

    `recorded` itself where it has no second digest, as older ones, and the first is right: it says no more.
    """
    digest = hashlib.sha256()
    for name, size in zip(names, sizes, strict=True):
        digest.update(os.fsencode(name) + b"\0%d\n" % size)
    listed = _PREFIX + digest.hexdigest()[:32]
    return listed if listed == recorded else f"{listed}.{xxhash.xxh3_128_hexdigest(os.fsencode(version))}"


def version_of(names: Sequence[str], sizes: Sequence[int], opened: Callable[[str], BinaryIO]) -> str:
    """A digest of the files that hold more than a clip: of the largest, and of a large one some parts.

    A file that can't be read counts as such: whoever needs it says so.
    """
    no_clips = ((-size, name) for name, size in zip(names, sizes, strict=True) if not _is_clip(name))
    digest = xxhash.xxh3_128()
    for size, name in heapq.nsmallest(MAX_FILES_READ, no_clips):
        try:
            with opened(name) as file:
                for part in _parts(file, -size):
                    digest.update(part)
        except OSError:
            digest.update(b"unreadable")
    return digest.hexdigest()


def _is_clip(name: str) -> bool:
    return PurePosixPath(name).suffix.lower() in AUDIO_SUFFIXES


def _parts(file: BinaryIO, size: int) -> Iterator[bytes]:
    """A file of up to a megabyte, or parts of it at even distances, the first and the last among them."""
    if size <= _PARTS * _PART_BYTES:
        yield file.read(size)
        return
    for number in range(_PARTS):
        file.seek((size - _PART_BYTES) * number // (_PARTS - 1))
        yield file.read(_PART_BYTES)
