"""Reading ahead and converting in threads: order, errors in their places, bounds, and no thread left behind."""

import threading
from collections.abc import Callable, Iterator

import pytest

from processors.engine import read_ahead as ahead
from processors.engine.read_ahead import AHEAD_BYTES, BATCH_BYTES, BATCH_ITEMS, in_order

WORKERS = (1, 2, 8)
COUNT = 10 * BATCH_ITEMS + 3


class BadClipError(Exception):
    """Raised on purpose."""


def small(item: int) -> int:
    return 1


def squared(item: int) -> int | Callable[[], int]:
    """What needs no converting is told at once; the rest is converted."""
    return item * item if item % 3 else lambda: item * item


def threads() -> set[str]:
    return {thread.name for thread in threading.enumerate()}


@pytest.fixture(autouse=True)
def no_thread_is_left() -> Iterator[None]:
    before = threads()
    yield
    assert threads() <= before


@pytest.mark.parametrize("workers", WORKERS)
@pytest.mark.parametrize("count", [0, 1, BATCH_ITEMS, COUNT])
def test_results_come_in_reading_order(workers: int, count: int) -> None:
    """With any number of workers, all of them, once."""
    results = list(in_order(iter(range(count)), small, squared, workers))

    assert results == [item * item for item in range(count)]


@pytest.mark.parametrize("workers", WORKERS)
@pytest.mark.parametrize("good", [0, 1, BATCH_ITEMS, COUNT])
def test_source_error_comes_after_all_that_was_read_before_it(workers: int, good: int) -> None:
    """A damaged archive costs none of the clips in front of the damage."""

    def items() -> Iterator[int]:
        yield from range(good)
        raise BadClipError

    results = []
    with pytest.raises(BadClipError):
        for result in in_order(items(), small, squared, workers):
            results.append(result)  # noqa: PERF402 - those in front of the error

    assert results == [item * item for item in range(good)]


@pytest.mark.parametrize("workers", WORKERS)
def test_error_of_a_conversion_is_raised_where_its_turn_comes(workers: int) -> None:
    """Out of memory, say: what was converted before is kept, what comes after is not."""

    def prepare(item: int) -> Callable[[], int]:
        def convert() -> int:
            if item == BATCH_ITEMS + 1:
                raise BadClipError
            return item

        return convert

    results = []
    with pytest.raises(BadClipError):
        for result in in_order(iter(range(COUNT)), small, prepare, workers):
            results.append(result)  # noqa: PERF402 - those in front of the error

    first_of_its_batch = BATCH_ITEMS if workers > 1 else BATCH_ITEMS + 1
    assert results == list(range(first_of_its_batch))


@pytest.mark.parametrize("workers", WORKERS)
def test_a_source_is_read_and_closed_in_one_thread_that_is_not_ours(workers: int) -> None:
    """Its index may be bound to a thread; where nobody wants more, it is closed before we go on."""
    seen: list[int] = []

    def items() -> Iterator[int]:
        try:
            seen.append(threading.get_ident())
            yield from range(10**6)
        finally:
            seen.append(threading.get_ident())

    results = in_order(items(), small, squared, workers)
    next(results)
    results.close()

    assert len(seen) == 2 and len(set(seen)) == 1
    assert threading.get_ident() not in seen


@pytest.mark.parametrize("workers", WORKERS)
def test_what_is_read_ahead_is_bounded_in_bytes(workers: int) -> None:
    """A slow target holds the source back: memory does not grow."""
    read = 0

    def items() -> Iterator[int]:
        nonlocal read
        for item in range(400):
            read += 1
            yield item

    waiting = [
        read - number for number, _ in enumerate(in_order(items(), lambda item: BATCH_BYTES, squared, workers), 1)
    ]

    # What stands ready, what is at work, and one each on its way between them.
    assert max(waiting) <= AHEAD_BYTES // BATCH_BYTES + 2 * workers + 2


def test_an_iterator_that_is_no_generator_is_read_too() -> None:
    """A subclass may return any iterator."""
    assert list(in_order(iter([3, 1, 2]), small, squared, 2)) == [9, 1, 4]


def test_large_items_go_alone() -> None:
    """A batch ends where it has enough bytes: eight hours of audio do not wait for one another."""
    taken = ahead.ReadAhead(iter(range(3)), lambda item: 2 * BATCH_BYTES)
    try:
        assert [taken.take(wait=True) for _ in range(4)] == [[0], [1], [2], []]
    finally:
        taken.close()
