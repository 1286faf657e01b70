"""Publishing while reading: jobs are done in the order in which they were given, by one thread of their own.

It waits for the network while the next clips are read and converted.
"""

import threading
from collections.abc import Callable, Hashable
from concurrent.futures import wait
from functools import partial
from types import TracebackType
from typing import Final, Self

from utils.errors import Interrupted
from utils.process.own_thread import in_own_thread

Job = Callable[[], None]

MAX_OFFERED: Final = 2
"""Of the jobs that may be dropped, how many wait at most: each holds a batch of rows in memory."""
LOOKED_EVERY_S: Final = 0.05
"""Seconds from one look to the next, whether there is something to do beside a job."""


class BackgroundWorker:
    """Does jobs in order; use as a context manager. After one has failed no other is begun.

    Leaving the block waits for the job that is being done, and drops the others: what they would have published stays
    staged.
    """

    def __init__(self, overlap: bool = True) -> None:
        """Without `overlap` each job is done where it is given: no thread, no queue."""
        self._overlap = overlap
        self._jobs: dict[Hashable, Job] = {}
        self._offered = 0
        self._is_busy = False
        self._is_closed = False
        self._error: BaseException | None = None
        self._changed = threading.Condition()
        self._thread: threading.Thread | None = None

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        with self._changed:
            self._is_closed = True
            self._jobs.clear()
            self._changed.notify_all()
        if self._thread is not None:
            self._thread.join()

    def submit(self, key: Hashable, job: Job) -> None:
        """Have a job done; one with the same key that has not been begun is done once."""
        if not self._overlap:
            job()
            return
        with self._changed:
            self._jobs.setdefault(key, job)
            self._changed.notify_all()
        if self._thread is None:
            self._thread = threading.Thread(target=self._work, name="publish", daemon=True)
            self._thread.start()

    def offer(self, job: Job) -> None:
        """Have a job done that need not be: it is dropped where `MAX_OFFERED` of them wait."""
        if not self._overlap:
            job()
            return
        with self._changed:
            if self._offered >= MAX_OFFERED:
                return
            self._offered += 1
        self.submit(object(), partial(self._do_offered, job))

    def _do_offered(self, job: Job) -> None:
        try:
            job()
        finally:
            with self._changed:
                self._offered -= 1

    def beside(self, job: Job, meanwhile: Job) -> None:
        """Do a job that waits for the network, and `meanwhile`, which does what has come up, again and again until it
        is done. Raises what the job fails with. Without `overlap` there is the job alone."""
        if not self._overlap:
            job()
            return
        done = in_own_thread(job, "upload")
        try:
            while not done.done():
                meanwhile()
                wait([done], LOOKED_EVERY_S)
        finally:
            wait([done])
        done.result()

    @property
    def has_failed(self) -> bool:
        """Whether going on makes no sense. A stop that was asked for does not count: whoever reads will hear of it."""
        return self._error is not None and not isinstance(self._error, Interrupted)

    def wait_while(self, is_too_much: Callable[[], bool]) -> None:
        """Wait while something is too much and jobs are under way that may change it."""
        with self._changed:
            while self._is_working() and is_too_much():
                self._changed.wait()

    def wait(self) -> None:
        """Until all jobs are done. Raises what one has failed with."""
        self.wait_while(lambda: True)
        if self._error is not None:
            raise self._error

    def _is_working(self) -> bool:
        return self._error is None and (self._is_busy or bool(self._jobs))

    def _work(self) -> None:
        while (job := self._next()) is not None:
            try:
                job()
            except BaseException as error:  # noqa: BLE001 - whoever waits gets it
                self._error = error
            with self._changed:
                self._is_busy = False
                self._changed.notify_all()

    def _next(self) -> Job | None:
        with self._changed:
            while not self._jobs and not self._is_closed:
                self._changed.wait()
            if self._is_closed or self._error is not None:
                return None
            self._is_busy = True
            return self._jobs.pop(next(iter(self._jobs)))
