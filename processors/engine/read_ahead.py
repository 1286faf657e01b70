"""Reading ahead and converting in threads: the same clips, in the same order, with the same errors in the same places.

    read (a thread of its own) -> batches, bounded in bytes -> convert (worker threads) -> outcomes, in reading order

The codecs let go of Python's lock, so threads are enough, and cost no copies. What an item fails with is raised where
its turn comes, after all that was read before it.
"""

import threading
from collections import deque
from collections.abc import Callable, Generator, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import closing
from typing import Final, Generic, TypeVar

T = TypeVar("T")
R = TypeVar("R")

BATCH_ITEMS: Final = 8
"""Handing over costs some 50 us, a short clip of WAV twice that."""
BATCH_BYTES: Final = 1 << 20
BATCHES_BEYOND_WORKERS: Final = 4
"""At work or done and not yet taken: with fewer a worker may have nothing to do while the oldest batch takes long."""
AHEAD_BYTES: Final = 16 << 20
"""What is read and not yet taken. One batch more, however large, may stand ready."""

Batch = list[T]


class ReadAhead(Generic[T]):
    """The items of an iterator in batches, read by a thread of its own. Close it: that ends the thread.

    The iterator is run, and closed, in that thread alone: it may hold what is bound to one (SQLite).
    """

    def __init__(self, items: Iterator[T], size_of: Callable[[T], int]) -> None:
        self._items = items
        self._size_of = size_of
        self._ready: deque[tuple[Batch[T], int]] = deque()
        self._ready_bytes = 0
        self._error: BaseException | None = None
        self._is_done = False
        self._is_closed = False
        self._changed = threading.Condition()
        self._thread = threading.Thread(target=self._read, name="read ahead", daemon=True)
        self._thread.start()

    def close(self) -> None:
        """Stop reading; returns once the thread has ended."""
        with self._changed:
            self._is_closed = True
            self._changed.notify_all()
        self._thread.join()

    def take(self, wait: bool) -> Batch[T] | None:
        """The next batch; an empty one at the end. None where none is ready and we are not to `wait`.

        Raises what the iterator raised, after its last item.
        """
        with self._changed:
            while wait and not self._ready and not self._is_done:
                self._changed.wait()
            if self._ready:
                batch, size = self._ready.popleft()
                self._ready_bytes -= size
                self._changed.notify_all()
                return batch
            if not self._is_done:
                return None
        if self._error is not None:
            raise self._error
        return []

    def _read(self) -> None:
        try:
            for batch, size in self._batches():
                if not self._hand_over(batch, size):
                    break
        except BaseException as error:  # noqa: BLE001 - whoever takes the items gets it
            self._error = error
        finally:
            with self._changed:
                self._is_done = True
                self._changed.notify_all()

    def _batches(self) -> Iterator[tuple[Batch[T], int]]:
        batch: Batch[T] = []
        size = 0
        with closing(_as_generator(self._items)) as items:
            try:
                for item in items:
                    batch.append(item)
                    size += self._size_of(item)
                    if len(batch) >= BATCH_ITEMS or size >= BATCH_BYTES:
                        yield batch, size
                        batch, size = [], 0
            except Exception:
                if batch:  # what was read before the error counts
                    yield batch, size
                raise
        if batch:
            yield batch, size

    def _hand_over(self, batch: Batch[T], size: int) -> bool:
        """False where nobody wants it any more."""
        with self._changed:
            while self._ready and self._ready_bytes + size > AHEAD_BYTES and not self._is_closed:
                self._changed.wait()
            self._ready.append((batch, size))
            self._ready_bytes += size
            self._changed.notify_all()
            return not self._is_closed


def _as_generator(items: Iterator[T]) -> Generator[T]:
    """An iterator of any kind as one that can be closed."""
    if isinstance(items, Generator):
        return items
    return (item for item in items)


def in_order(
    items: Iterator[T],
    size_of: Callable[[T], int],
    prepare: Callable[[T], R | Callable[[], R]],
    workers: int,
) -> Generator[R]:
    """What becomes of each item, in order, read ahead.

    `prepare(item)`, called here and in order, gives the result, or a function that makes it: that one runs in one of
    `workers` threads where these are two or more, else here.
    """
    with closing(ReadAhead(items, size_of)) as ahead:
        if workers < 2:
            while batch := ahead.take(wait=True):
                for item in batch:
                    yield _finished(prepare(item))
            return
        with ThreadPoolExecutor(workers, thread_name_prefix="convert") as pool:
            try:
                yield from _pooled(ahead, prepare, pool, workers + BATCHES_BEYOND_WORKERS)
            finally:
                pool.shutdown(wait=True, cancel_futures=True)


def _pooled(
    ahead: ReadAhead[T], prepare: Callable[[T], R | Callable[[], R]], pool: ThreadPoolExecutor, most: int
) -> Iterator[R]:
    """At most so many batches are at work; the oldest one's results come first."""
    at_work: deque[Future[list[R]]] = deque()
    is_done = False
    while at_work or not is_done:
        if is_done or len(at_work) >= most:
            yield from at_work.popleft().result()
            continue
        try:
            batch = ahead.take(wait=not at_work)
        except Exception:
            while at_work:
                yield from at_work.popleft().result()
            raise
        if batch is None:
            yield from at_work.popleft().result()
        elif batch:
            at_work.append(pool.submit(_all_finished, [prepare(item) for item in batch]))
        else:
            is_done = True


def _all_finished(prepared: Iterable[R | Callable[[], R]]) -> list[R]:
    return [_finished(one) for one in prepared]


def _finished(prepared: R | Callable[[], R]) -> R:
    return prepared() if callable(prepared) else prepared
