"""The header of a tar's member as Python's tarfile reads it; the usual one at once.

tarfile looks at each of its sixteen fields by a function of its own, and sums its bytes twice: a tenth of what a short
clip takes. What is in the least unusual is for tarfile.
"""

import re
import tarfile
from typing import Final, Self

_NAME: Final = slice(0, 100)
_NUMBERS: Final = re.compile(rb"(?:[0-7]{7}\0){3}([0-7]{11})\0[0-7]{11}\0([0-7]{6})\0 0\0")
"""Mode, owner, group; the size; the time; the checksum; a regular file without a link's name. As tar and Python write
them."""
_NUMBERS_AT: Final = 100
_CHECKSUM: Final = slice(148, 156)
_DEVICE: Final = re.compile(rb"(?:\0{8}|[0-7]{7}\0){2}\0")
"""Its two numbers; and no first part of a long name."""
_DEVICE_AT: Final = 329


class TarHeader(tarfile.TarInfo):
    """A member of an archive that is read; of a usual file without owner and times."""

    @classmethod
    def frombuf(cls, buf: bytes | bytearray, encoding: str, errors: str) -> Self:
        """From a block of 512 bytes. Raises what tarfile raises."""
        numbers = _NUMBERS.match(buf, _NUMBERS_AT)
        if not numbers or len(buf) != tarfile.BLOCKSIZE or not _DEVICE.match(buf, _DEVICE_AT):
            return super().frombuf(buf, encoding, errors)
        size, checksum = numbers.groups()
        if sum(buf) - sum(buf[_CHECKSUM]) + 8 * ord(" ") != int(checksum, 8):
            return super().frombuf(buf, encoding, errors)
        header = cls(buf[_NAME].partition(b"\0")[0].decode(encoding, errors))
        header.size = int(size, 8)
        return header
