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

    def __init__(self, fetch: Callable[[str, Callable[[], bool]], None]) -> None:
        """`fetch(name, is_to_end)` gets one file. What it fails with is left to whoever opens that file."""
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
        while (name := self._next()) is not None:
            try:
                self._fetch(name, lambda: self._is_closed)
            except IngestError as error:
                log.debug("%s is not fetched ahead: %s", name, error)

    def _next(self) -> str | None:
        with self._changed:
            while not self._wanted and not self._is_closed:
                self._changed.wait()
            if self._is_closed:
                return None
            name, *later = self._wanted
            self._wanted = tuple(later)
            return name
