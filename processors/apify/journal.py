"""Journals: files of JSON lines that only ever grow, for what can't be had again.

A journal is opened for append only and is never rewritten. `append` writes whole lines and fsyncs them: what it
has returned from survives a power cut. A crash may leave half a line at the end: opening the journal moves that
aside (`<name>.torn-1`, `-2`, ...) and cuts it off, so that the next line does not grow onto it. A damaged line
anywhere else was durable once, so it is never passed over: reading it is an error that says what to do.

One writer: the journal is locked while it is open, by the kernel, which lets go of it when its holder dies. Readers
need no lock: they see whole lines only.
"""

import fcntl
import json
import os
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from utils.disk.durable import AppendedFile, NewFile, fsync_folder, make_folder, step
from utils.errors import SourceError, Stopped, TargetRefused
from utils.rows.printable import shown

Record = dict[str, Any]

_READ_BACK_BYTES = 2**16


class DamagedJournal(SourceError):
    """A line inside a journal is not what was written."""


@dataclass(frozen=True, slots=True)
class Line:
    """One record of a journal."""

    record: Record
    start: int
    """Byte offset of its first byte."""
    end: int
    """Byte offset after its newline: where the next one starts."""


class Journal:
    """A journal that is open for writing."""

    def __init__(self, path: Path) -> None:
        """Open it, or make an empty one; a torn last line is moved aside.

        Raises TargetRefused where another process has it open, DamagedJournal where its last line is damaged in a
        way that no crash leaves.
        """
        self.path = path
        make_folder(path.parent)
        is_new = not path.exists()
        self._file = AppendedFile(path)
        try:
            self._lock()
            if is_new:
                fsync_folder(path.parent)
            self.torn = self._cut_torn_line()
            """Where the torn last line was moved to; None where the last line is whole."""
        except BaseException:
            self._file.close()
            raise
        self._is_broken = False

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """Let go of the file and its lock. Everything appended is durable already."""
        self._file.close()

    @property
    def size_bytes(self) -> int:
        """Where the next line will start."""
        return os.fstat(self._file.fileno()).st_size

    def append(self, records: Iterable[Mapping[str, Any]]) -> int:
        """Write a line for each record and fsync them together; returns `size_bytes` after them.

        After an OSError (a full disk) none of them counts: what was written of them is cut off again, and this
        object takes no more. The next one that opens the journal goes on.
        """
        if self._is_broken:
            raise Stopped(
                f"{self.path} could not be written a moment ago, so nothing more is. Run again with --resume."
            )
        lines = b"".join(line_of(record) for record in records)
        if not lines:
            return self.size_bytes
        before = self.size_bytes
        try:
            self._file.write(lines)
            self._fsync()
        except OSError:
            self._is_broken = True
            self._cut(before)
            raise
        return before + len(lines)

    def lines(self, offset: int = 0) -> Iterator[Line]:
        """Its lines from a byte offset on."""
        return read_lines(self.path, offset)

    def _lock(self) -> None:
        try:
            fcntl.flock(self._file.fileno(), fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            raise TargetRefused(
                f"Another process is writing to {self.path}. Nothing was changed. Wait for it or stop it, then repeat "
                "this command."
            ) from error
        except OSError as error:
            raise TargetRefused(
                f"{self.path} can't be locked ({error.strerror}), so a second writer could not be kept out. Nothing "
                "was changed. Use a folder on a local disk."
            ) from error

    def _fsync(self) -> None:
        with step("fsync", self.path):
            os.fsync(self._file.fileno())

    def _cut(self, size_bytes: int) -> None:
        with step("truncate", self.path):
            self._file.truncate(size_bytes)
        self._fsync()

    def _cut_torn_line(self) -> Path | None:
        size = self.size_bytes
        start = last_line_start(self.path, size)
        if start == size:
            return None
        with self.path.open("rb") as file:
            file.seek(start)
            last = file.read()
        if last.endswith(b"\n") and _parsed(last) is not None:
            return None
        aside = _free_name(self.path)
        with NewFile(aside) as copy:
            copy.write(last)
        fsync_folder(aside.parent)
        self._cut(start)
        return aside


def line_of(record: Mapping[str, Any]) -> bytes:
    """A record as its line: UTF-8, but for text that has no UTF-8 form (half a surrogate pair), which is escaped."""
    try:
        return json.dumps(record, ensure_ascii=False).encode() + b"\n"
    except UnicodeEncodeError:
        return json.dumps(record).encode() + b"\n"


def read_lines(path: Path, offset: int = 0, end: int | None = None) -> Iterator[Line]:
    """The whole lines of a journal between two byte offsets that lines start at; none where there is no such file.

    A last line without a newline is not whole: it is torn, or is being written just now. Raises DamagedJournal.
    """
    if not path.exists():
        return
    with path.open("rb") as file:
        file.seek(offset)
        while end is None or offset < end:
            line = file.readline()
            if not line.endswith(b"\n"):
                return
            record = _parsed(line)
            if record is None:
                if not file.read(1):  # a last line that a power cut left: opening the journal moves it aside
                    return
                raise DamagedJournal(_damaged(path, offset, line))
            yield Line(record, offset, offset + len(line))
            offset += len(line)


def last_line_start(path: Path, size_bytes: int) -> int:
    """Where the last line of a file of that size starts, be it whole or torn; its size where it is empty."""
    with path.open("rb") as file:
        end = max(size_bytes - 1, 0)  # a newline at the very end closes the last line
        while end > 0:
            start = max(end - _READ_BACK_BYTES, 0)
            file.seek(start)
            found = file.read(end - start).rfind(b"\n")
            if found >= 0:
                return start + found + 1
            end = start
    return 0


def _parsed(line: bytes) -> Record | None:
    """The record of a line, None where it is none."""
    try:
        record = json.loads(line)
    except ValueError:
        return None
    return record if isinstance(record, dict) else None


def _free_name(path: Path) -> Path:
    number = 1
    while (aside := path.with_name(f"{path.name}.torn-{number}")).exists():
        number += 1
    return aside


def _damaged(path: Path, offset: int, line: bytes) -> str:
    return (
        f"{path} is damaged at byte {offset:,}: {shown(line.decode(errors='replace'), 60)!r} is no JSON object, and "
        "lines follow it. Nothing was changed. Put a backup in its place. Without one, keep a copy, and cut it there: "
        f"cp {path.name} {path.name}.damaged && truncate -s {offset} {path.name}; then run again with --resume."
    )
