"""Where lines of a text table end: at a line feed, or in files of old Macs (and some programs' exports) at a carriage
return."""

import io
from typing import TYPE_CHECKING, BinaryIO, Final

if TYPE_CHECKING:
    from _typeshed import WriteableBuffer

_CHUNK_BYTES: Final = 256 * 1024
_LOOKED_AT_BYTES: Final = 1_000_000
"""No line is longer: a file without a line feed until here has none."""


class LineFeeds(io.RawIOBase):
    """Another stream, in which each line ends with a line feed: byte for byte as long, so all offsets mean the same.

    Only a file without any line feed, but for one at its very end, is changed. The first bytes are read ahead to tell.
    It does not close the other stream.
    """

    def __init__(self, stream: BinaryIO, are_returns: bool | None = None) -> None:
        """`are_returns`: what was found of the file before; None: `stream` stands at its start."""
        self._stream = stream
        self._ahead = b""
        self.are_returns = self._found() if are_returns is None else are_returns

    @property
    def beginning(self) -> bytes:
        """What was read ahead: of a small file all of it."""
        return self._ahead

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: "WriteableBuffer") -> int:
        target = memoryview(buffer).cast("B")
        content = self._ahead[: len(target)] or self._stream.read(len(target))
        self._ahead = self._ahead[len(target) :]
        target[: len(content)] = content.replace(b"\r", b"\n") if self.are_returns else content
        return len(content)

    def _found(self) -> bool:
        while b"\n" not in self._ahead and len(self._ahead) <= _LOOKED_AT_BYTES and self._read_on():
            pass
        if self._ahead.endswith(b"\n"):
            self._read_on()
        text = self._ahead.removesuffix(b"\n")
        return b"\n" not in text and b"\r" in text.rstrip(b"\r")

    def _read_on(self) -> bool:
        more = self._stream.read(_CHUNK_BYTES)
        self._ahead += more
        return bool(more)
