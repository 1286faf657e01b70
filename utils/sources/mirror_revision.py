"""What files without versions are known by, so that a position in them means the same tomorrow (law 6).

A mirror keeps no old revisions. Names and sizes tell most changes; but a table that was exported anew in another order,
or an archive that was packed so, has the very size of the old one. So what holds many clips is known by its content,
too.
"""

import hashlib
import heapq
import os
from collections.abc import Callable, Sequence
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


def mirror_revision(
    names: Sequence[str], sizes: Sequence[int], version: str, recorded: str | None, earlier: str | None = None
) -> str:
    """The revision of files: a digest of their names and sizes, and one of what else tells them apart (`version`).

    `recorded` itself where it has no second digest, as older ones, and the first is right: it says no more. So it is
    where its second one is of `earlier`: what an earlier rule had in place of `version`.
    """
    digest = hashlib.sha256()
    for name, size in zip(names, sizes, strict=True):
        digest.update(os.fsencode(name) + b"\0%d\n" % size)
    listed = _PREFIX + digest.hexdigest()[:32]
    if recorded is not None and recorded in (listed, _revision(listed, version if earlier is None else earlier)):
        return recorded
    return _revision(listed, version)


def _revision(listed: str, version: str) -> str:
    return f"{listed}.{xxhash.xxh3_128_hexdigest(os.fsencode(version))}"


def names_and_sizes(revision: str) -> str:
    """The revision that says no more of the files than their names and sizes; any other one as it is."""
    return revision.partition(".")[0] if is_mirror_revision(revision) else revision


def version_of(names: Sequence[str], sizes: Sequence[int], opened: Callable[[str], BinaryIO]) -> str:
    """A digest of the files that hold more than a clip: of the largest, and of a large one some parts.

    A file that can't be read counts as such: whoever needs it says so.
    """
    no_clips = ((-size, name) for name, size in zip(names, sizes, strict=True) if not _is_clip(name))
    digest = xxhash.xxh3_128()
    for size, name in heapq.nsmallest(MAX_FILES_READ, no_clips):
        try:
            with opened(name) as file:
                for start, end in parts_of(-size):
                    file.seek(start)
                    digest.update(file.read(end - start))
        except OSError:
            digest.update(b"unreadable")
    return digest.hexdigest()


def _is_clip(name: str) -> bool:
    return PurePosixPath(name).suffix.lower() in AUDIO_SUFFIXES


def parts_of(size: int) -> Sequence[tuple[int, int]]:
    """Where the parts of a file that tell it from others begin and end: all of it up to a megabyte, else parts at even
    distances, the first and the last among them."""
    if size <= _PARTS * _PART_BYTES:
        return [(0, size)]
    starts = [(size - _PART_BYTES) * number // (_PARTS - 1) for number in range(_PARTS)]
    return [(start, start + _PART_BYTES) for start in starts]
