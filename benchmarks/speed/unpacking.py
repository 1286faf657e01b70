"""gunzip and tar for the limit: the members of a plain tar.gz, as fast as Python can hand them out.

The library is the one that we unpack with: isal or zlib-ng where requirements.txt names it, else Python's zlib.
"""

import importlib
import io
from collections.abc import Iterator
from pathlib import Path
from typing import Any

_PROJECT = Path(__file__).parent.parent.parent
_PACKED_BYTES = 1 << 16
_BUFFER_BYTES = 4 << 20
"""Of the buffer; it grows for a larger file."""
_BLOCK = 512
_GZIP = 16 + 15
_LIBRARIES = {"isal": "isal.isal_zlib", "zlib-ng": "zlib_ng.zlib_ng", "zlib_ng": "zlib_ng.zlib_ng"}


def library() -> Any:
    """The module that inflates, with the interface of `zlib`."""
    required = (_PROJECT / "requirements.txt").read_text(encoding="utf-8").splitlines()
    for package, module in _LIBRARIES.items():
        if any(line.startswith(package) for line in required):
            return importlib.import_module(module)
    return importlib.import_module("zlib")


def members(archive: Path) -> Iterator[tuple[str, memoryview]]:
    """Name and content of each file. The content is good until the next one is asked for."""
    with archive.open("rb", buffering=0) as packed:
        stream = _Unpacked(packed)
        while (header := stream.take(_BLOCK)) and header[0]:
            size = int(bytes(header[124:135]), 8)
            name = bytes(header[:100]).rstrip(b"\0").decode()
            is_file = header[156] in b"0\0"
            whole = stream.take(size + -size % _BLOCK)
            if is_file:
                yield name, whole[:size]


class _Unpacked:
    """The content of a gzip file of one member, from front to back, in one buffer that is used again."""

    def __init__(self, packed: io.FileIO) -> None:
        self._file = packed
        self._inflater = library().decompressobj(_GZIP)
        self._buffer = memoryview(bytearray(_BUFFER_BYTES))
        self._begin = self._end = 0

    def take(self, size: int) -> memoryview:
        """The next `size` bytes, good until the next call; empty at the end of the file."""
        while self._end - self._begin < size:
            packed = self._file.read(_PACKED_BYTES)
            if not packed:
                return memoryview(b"")
            self._put(self._inflater.decompress(packed))
        taken = self._buffer[self._begin : self._begin + size]
        self._begin += size
        return taken

    def _put(self, piece: bytes) -> None:
        if self._end + len(piece) > len(self._buffer):
            rest = bytes(self._buffer[self._begin : self._end])
            if len(rest) + len(piece) > len(self._buffer):
                self._buffer = memoryview(bytearray(2 * (len(rest) + len(piece))))
            self._begin, self._end = 0, len(rest)
            self._buffer[: self._end] = rest
        self._buffer[self._end : self._end + len(piece)] = piece
        self._end += len(piece)
