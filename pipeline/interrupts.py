"""Ctrl-C and SIGTERM: the first asks for a clean stop, a second one leaves at once. Nothing is lost either way.

SIGHUP, a terminal's last word to all that runs in it, is not heard: the work goes on.
"""

import os
import signal
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from types import FrameType

INTERRUPTED = 130


def leave_if_interrupted(code: int) -> None:
    """End the process here, where it was interrupted: Python would wait for threads that still wait for the network."""
    if code == INTERRUPTED:
        for stream in (sys.stdout, sys.stderr):
            with suppress(OSError, ValueError):  # nobody reads it any more
                stream.flush()
        os._exit(code)


class StopRequest:
    """Whether somebody asked the run to stop."""

    def __init__(self) -> None:
        self.requested = False

    def __call__(self) -> bool:
        return self.requested

    def _handle(self, signum: int, frame: FrameType | None) -> None:
        if self.requested:
            os._exit(INTERRUPTED)
        self.requested = True
        message = "\nStopping after the running clip and a checkpoint. Once more to leave at once; nothing is lost.\n"
        with suppress(OSError):  # nobody there to be told
            os.write(sys.stderr.fileno(), message.encode())

    @contextmanager
    def listening(self) -> Iterator[None]:
        before = {number: signal.signal(number, self._handle) for number in (signal.SIGINT, signal.SIGTERM)}
        before[signal.SIGHUP] = signal.signal(signal.SIGHUP, signal.SIG_IGN)
        try:
            yield
        finally:
            for number, handler in before.items():
                signal.signal(number, handler)
