"""The standard streams: there from start to end, whatever becomes of the terminal. The log has what they lose."""

import io
import os
import select
import sys
from typing import Any, Final

_STANDARD: Final = 3
"""Descriptors 0, 1 and 2."""


class _MayGoAway(io.FileIO):
    """Takes what is written to a terminal or a reader that has gone, or to a disk that is full; nobody gets it."""

    def write(self, data: Any) -> int:
        try:
            while (written := super().write(data)) is None:  # a terminal that does not block, and is busy
                select.select([], [self], [])
            return written
        except OSError:
            return len(data)


def keep_streams() -> None:
    """Open the standard streams that are closed, and let none of them fail a run from now on."""
    # The next file that is opened gets the lowest free descriptor: a shard would be printed into.
    while (descriptor := os.open(os.devnull, os.O_RDWR)) < _STANDARD:
        os.set_inheritable(descriptor, True)
    os.close(descriptor)
    sys.stdin = sys.stdin or open(0, closefd=False)  # noqa: SIM115 - for as long as the program runs
    sys.stdout = _kept(1, sys.stdout)
    sys.stderr = _kept(2, sys.stderr)


def _kept(descriptor: int, stream: Any) -> io.TextIOWrapper:
    if stream is not None:
        stream.flush()
    return io.TextIOWrapper(
        io.BufferedWriter(_MayGoAway(descriptor, "w", closefd=False)),
        encoding=stream.encoding if stream is not None else "utf-8",
        errors="backslashreplace",  # a terminal that knows no Thai shows escapes, it does not fail
        line_buffering=stream is None or stream.line_buffering or stream.write_through,
    )
