"""A clock that waiting moves: back-off and patience cost no real time."""

import time


class VirtualClock:
    """`install`ed, `time.sleep` returns at once and the monotonic clock is that much later. Sockets wait as ever."""

    def __init__(self) -> None:
        self._slept_s = 0.0
        self._monotonic = time.monotonic

    def install(self) -> None:
        """For the rest of this process."""
        time.sleep = self.sleep
        time.monotonic = self.monotonic

    def sleep(self, seconds: float) -> None:
        self._slept_s += seconds

    def monotonic(self) -> float:
        return self._monotonic() + self._slept_s
