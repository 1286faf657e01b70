"""The small words of the Hub: entries of a tree, changes to it, refusals, and git's ways of naming bytes."""

import codecs
import hashlib
from dataclasses import dataclass
from pathlib import Path

REGULAR_FILE_MAX_BYTES = 10_000_000
"""Above this the Hub takes a file through LFS only."""

_CHUNK_BYTES = 1 << 20
_LFS_ENDINGS = (".parquet", ".arrow", ".wav", ".mp3", ".flac", ".ogg", ".opus", ".zip", ".tar", ".gz")


class Refused(Exception):
    """The Hub says no: an HTTP status, a message and, where it has one, an `X-Error-Code`."""

    def __init__(
        self, status: int, message: str, *, code: str | None = None, headers: dict[str, str] | None = None
    ) -> None:
        super().__init__(message)
        self.status = status
        self.message = message
        self.code = code
        self.headers = headers or {}


@dataclass(frozen=True)
class Entry:
    """A file in a tree. `oid` is git's blob id (of the pointer, for a large file), `lfs` its sha256."""

    oid: str
    size: int
    lfs: str | None = None
    changed_in: str = ""


@dataclass(frozen=True)
class Put:
    """Add or replace a file."""

    path: str
    entry: Entry


@dataclass(frozen=True)
class DeleteFile:
    """Remove a file, which must be there."""

    path: str


@dataclass(frozen=True)
class DeleteFolder:
    """Remove every file below a folder, which must not be empty."""

    path: str


def git_blob_oid(content: bytes) -> str:
    """The sha1 under which git knows these bytes."""
    head = f"blob {len(content)}\0".encode()
    return hashlib.sha1(head + content, usedforsecurity=False).hexdigest()


def lfs_pointer(sha256: str, size: int) -> bytes:
    """The small text file that stands in git for a large file."""
    return f"version https://git-lfs.github.com/spec/v1\noid sha256:{sha256}\nsize {size}\n".encode()


def lfs_entry(sha256: str, size: int) -> Entry:
    """The tree's entry for a large file."""
    return Entry(oid=git_blob_oid(lfs_pointer(sha256, size)), size=size, lfs=sha256)


def wants_lfs(path: str, size: int, sample: bytes) -> bool:
    """Whether the Hub takes a file through LFS: by its ending, its size or its first bytes (binary)."""
    return path.endswith(_LFS_ENDINGS) or size > REGULAR_FILE_MAX_BYTES or not _is_text(sample)


def sha256_of_file(path: Path) -> str:
    """Read a file in chunks and return its sha256 in hex."""
    digest = hashlib.sha256()
    with path.open("rb") as file:
        while chunk := file.read(_CHUNK_BYTES):
            digest.update(chunk)
    return digest.hexdigest()


def _is_text(sample: bytes) -> bool:
    """Whether the start of a file is UTF-8; the sample may end in the middle of a letter."""
    try:
        letters = codecs.getincrementaldecoder("utf-8")().decode(sample, final=False)
    except UnicodeDecodeError:
        return False
    return "\0" not in letters
