"""Where the dataset goes, as a small protocol: the Hub (`hub_repo.py`) or a folder (`folder.py`).

A target is read as a `Snapshot` (its head and the state there) and changed by a `Change`, which goes
in whole or not at all, and only onto the snapshot that it was planned on.
"""

from collections.abc import Collection, Iterator, Mapping
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Protocol

import pyarrow as pa

from utils.dataset.layout import (
    REJECTED_FOLDER,
    part_path,
)
from utils.dataset.state import State


@dataclass(frozen=True)
class Snapshot:
    """A target as it was at one moment."""

    head: str
    """Names the revision: a commit on the Hub, a digest of the state in a folder."""
    state: State | None
    holds_data: bool
    """Whether there is anything that a fresh start would have to keep."""


@dataclass(frozen=True)
class StoredFile:
    """A file as the target lists it."""

    path: str
    size_bytes: int
    sha256: str | None = None
    """Where the target knows it without reading the file (the Hub, of large files)."""


@dataclass(frozen=True)
class Revision:
    """A small file of the target as it was in an earlier revision."""

    name: str
    """A commit on the Hub, a path beside or in a folder."""
    about: str
    """When that was, and what was done; may be others' text."""
    content: bytes | None
    restore: tuple[str, ...]
    """What to type to go back to it."""


@dataclass(frozen=True)
class Change:
    """One atomic change: new files, and the state that names them. The card follows from the state."""

    message: str
    planned: State
    files: Mapping[str, Path | bytes] = field(default_factory=dict)
    """Path in the target -> content, or a local file, which must not change meanwhile."""
    removed: tuple[str, ...] = ()
    """Published files that go; only a repair or a removal has any."""
    only_since: bool = False
    """Nothing at all may have come in since it was planned: a repair writes again what it has read."""


class TargetReader(Protocol):
    """A target as what is checked and repaired sees it: it can't be changed by any of this."""

    name: str
    """`user/name` on the Hub, or the folder's path: for messages and names of files."""

    def head(self) -> str:
        """The revision that is there now; its state, which may be damaged, is not read."""

    def snapshot(self) -> Snapshot:
        """What is there now. Raises where it can't be told: "cannot tell" is not "empty" (law 8)."""

    def stored_files(self, snapshot: Snapshot) -> list[StoredFile]:
        """All files of the target, sorted by path. Raises where one can't be listed (law 8)."""

    def read_file(self, path: str, snapshot: Snapshot) -> bytes | None:
        """A small file, None where there is none. Any other failure raises."""

    def sha256(self, path: str, snapshot: Snapshot) -> str:
        """The sha256 of a file's bytes, hex, from reading it."""

    def column_names(self, path: str, snapshot: Snapshot) -> list[str]:
        """The columns of a Parquet file."""

    def read_columns(self, path: str, columns: list[str], snapshot: Snapshot) -> pa.Table:
        """Columns of a published Parquet file."""

    def batches(self, path: str, columns: list[str], snapshot: Snapshot) -> Iterator[pa.RecordBatch]:
        """The rows of a Parquet file in order, these columns of it, a bounded number at a time."""

    def earlier(self, path: str, snapshot: Snapshot) -> Iterator[Revision]:
        """A small file in the revisions before this one, the newest first."""


class Target(TargetReader, Protocol):
    """A target that is written to as well."""

    parts_a_commit: int
    """How many parts at most go into one commit, where so many are waiting."""

    @property
    def lock_path(self) -> Path:
        """The file that `lock` locks."""

    def lock(self) -> AbstractContextManager[object]:
        """Held by the one writer on this machine (law 5). TargetRefused where another holds it."""

    def heal(self, snapshot: Snapshot) -> None:
        """Tidy up what a run that died left behind."""

    def begin(self, change: Change, since: Snapshot) -> Snapshot:
        """Begin a new generation, keeping the old data reachable (law 9)."""

    def commit(self, change: Change, since: Snapshot) -> Snapshot:
        """Apply a change. TargetMoved where somebody else changed the target since `since`."""

    def mend(self, change: Change, since: Snapshot) -> str:
        """Apply a change that replaces published files, the old ones kept; returns where they are, in words."""

    def take_out(self, change: Change, since: Snapshot, keep_old: bool = False) -> str:
        """The same for a change after which clips are to be there no more; says where they still are, in words.

        Where the old dataset could only be kept in the new one it goes, unless `keep_old`.
        """


def batch_rows(columns: Collection[str]) -> int:
    """Rows to read at a time: few of those with audio."""
    return 16 if "audio" in columns else 8192


def published_files(state: State) -> list[str]:
    """The paths that the state may name: every part's shard and rejects, whether or not it has both."""
    return [
        part_path(folder, name, split_name, number)
        for name, source in state.sources.items()
        for split_name, split in source.splits.items()
        for number in range(split.parts)
        for folder in (source.row_schema.folder, REJECTED_FOLDER)
    ]
