"""What lies in a file's place where the file itself did not come: told by its first bytes."""

from typing import BinaryIO, Final

from utils.errors import SourceError
from utils.rows.printable import shown

MAX_POINTER_BYTES: Final = 1024
"""A pointer of Git LFS is shorter."""
LFS_POINTER: Final = "a Git LFS pointer, not the file that it stands for"
WEB_PAGE: Final = "a web page"

_HEAD_BYTES: Final = 64
_LFS: Final = b"version https://git-lfs.github.com/spec/"
_PAGES: Final = (b"<!doctype html", b"<html")


def stand_in(content: bytes) -> str:
    """In words what a content is that stands in for another one, by its beginning; "" for none."""
    head = content[:_HEAD_BYTES].lstrip().lower()
    return LFS_POINTER if content.startswith(_LFS) else WEB_PAGE if head.startswith(_PAGES) else ""


def itself(stream: BinaryIO, name: str, size_bytes: int) -> BinaryIO:
    """A source's file, just opened, as it is. SourceError where a Git LFS pointer lies in its place."""
    if size_bytes <= MAX_POINTER_BYTES:
        head = stream.peek(_HEAD_BYTES) if hasattr(stream, "peek") else _peeked(stream)
        if stand_in(head) == LFS_POINTER:
            stream.close()
            raise lfs_pointer(name)
    return stream


def lfs_pointer(name: str) -> SourceError:
    """The error of a file that was never fetched: it is the copy that is wrong, and one command mends it."""
    return SourceError(
        f"{shown(name)} is {LFS_POINTER}. Nothing was read from it; what was read before is safe. Where its repository "
        "was cloned, type `git lfs pull` (and pack archives again); then run again with --resume."
    )


def _peeked(stream: BinaryIO) -> bytes:
    head = stream.read(_HEAD_BYTES)
    stream.seek(0)
    return head
