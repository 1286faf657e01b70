"""The files that are read next are downloaded while one is being read, one after the other, by a thread of its own."""

import logging
import threading
from collections.abc import Callable
from typing import Final

from utils.errors import IngestError

log = logging.getLogger(__name__)

_ENDS_WITHIN_S: Final = 5.0
"""A download looks at every piece whether it is to end; who waits for the network is not waited for."""


class Prefetcher:
    """Has files fetched ahead, one at a time: those that were last asked for."""

    def __init__(self, fetch: Callable[[str, Callable[[], bool]], bool]) -> None:
        """`fetch(name, is_to_end)` gets one file, and says whether it is there now.

        What it fails with is left to whoever opens that file. Those behind it are not fetched then: that one has to
        come first, and they would take its room and its line.
        """
        self._fetch = fetch
        self._wanted: tuple[str, ...] = ()
        self._is_closed = False
        self._changed = threading.Condition()
        self._thread: threading.Thread | None = None

    def expect(self, *names: str) -> None:
        """Fetch these files in their order, and forget what was asked for before and not begun."""
        with self._changed:
            self._wanted = names
            self._changed.notify_all()
            if self._thread is None and not self._is_closed:
                self._thread = threading.Thread(target=self._work, name="prefetch", daemon=True)
                self._thread.start()

    def close(self) -> None:
        """End the thread; what it has fetched in part stays, and is gone on with."""
        with self._changed:
            self._is_closed = True
            self._changed.notify_all()
        if self._thread is not None:
            self._thread.join(_ENDS_WITHIN_S)

    def _work(self) -> None:
        while names := self._next():
            try:
                is_there = self._fetch(names[0], lambda: self._is_closed)
            except IngestError as error:
                log.debug("%s is not fetched ahead: %s", names[0], error)
                is_there = False
            with self._changed:
                if self._wanted is names:
                    self._wanted = names[1:] if is_there else ()

    def _next(self) -> tuple[str, ...]:
        """What is wanted, once there is something; nothing once this is closed."""
        with self._changed:
            while not self._wanted and not self._is_closed:
                self._changed.wait()
            return () if self._is_closed else self._wanted
