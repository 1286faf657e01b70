"""How many bytes of a source were read: what a resume reads again is counted, not guessed."""

import io
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, BinaryIO

if TYPE_CHECKING:
    from _typeshed import WriteableBuffer


@dataclass
class ByteMeter:
    """Counts up."""

    bytes_read: int = 0


def open_metered(path: Path, meter: ByteMeter) -> BinaryIO:
    """A file opened for reading, as `path.open("rb")` does; what is read from the disk is counted."""
    return io.BufferedReader(_MeteredFile(path, meter))


class _MeteredFile(io.FileIO):
    def __init__(self, path: Path, meter: ByteMeter) -> None:
        super().__init__(path, "rb")
        self._meter = meter

    def readinto(self, buffer: "WriteableBuffer") -> int:
        count = super().readinto(buffer) or 0
        self._meter.bytes_read += count
        return count

    def readall(self) -> bytes:
        content = super().readall() or b""
        self._meter.bytes_read += len(content)
        return content
