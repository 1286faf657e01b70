"""The background worker: jobs in order, in a thread of their own; none is begun after one has failed."""

import threading

import pytest

from utils.errors import Interrupted, Stopped
from utils.upload.background import MAX_OFFERED, BackgroundWorker


def test_jobs_are_done_in_order_in_another_thread() -> None:
    """The thread that reads goes on meanwhile."""
    done: list[tuple[int, int]] = []
    with BackgroundWorker() as worker:
        for number in range(5):
            worker.submit(number, lambda number=number: done.append((number, threading.get_ident())))
        worker.wait()

    assert [number for number, _ in done] == [0, 1, 2, 3, 4]
    assert threading.get_ident() not in {thread for _, thread in done}


def test_without_overlap_a_job_is_done_where_it_is_given() -> None:
    """No thread, and its error comes right there."""
    done: list[int] = []
    with BackgroundWorker(overlap=False) as worker:
        worker.submit("a", lambda: done.append(threading.get_ident()))
        assert done == [threading.get_ident()]
        with pytest.raises(Stopped):
            worker.submit("b", stopping)


def stopping() -> None:
    raise Stopped("the Hub is away")


def test_after_a_failure_nothing_is_begun() -> None:
    """What came after it stays staged; whoever waits gets the error."""
    done: list[str] = []
    release = threading.Event()

    def fail() -> None:
        release.wait(10)
        stopping()

    with BackgroundWorker() as worker:
        worker.submit("a", fail)
        worker.submit("b", lambda: done.append("b"))
        release.set()
        with pytest.raises(Stopped, match="the Hub is away"):
            worker.wait()
        assert worker.has_failed

    assert done == []


def test_a_stop_that_was_asked_for_is_no_failure() -> None:
    """Whoever reads hears of it by itself, and makes a checkpoint first."""

    def interrupted() -> None:
        raise Interrupted("stopped")

    with BackgroundWorker() as worker:
        worker.submit("a", interrupted)
        with pytest.raises(Interrupted):
            worker.wait()
        assert not worker.has_failed


def test_a_job_that_waits_already_is_not_done_twice() -> None:
    """The one that is under way may not see what came after it: then it is done once more."""
    done: list[str] = []
    begun, release = threading.Event(), threading.Event()

    def job() -> None:
        done.append("a")
        begun.set()
        release.wait(10)

    with BackgroundWorker() as worker:
        worker.submit("a", job)
        begun.wait(10)
        for _ in range(3):
            worker.submit("a", job)
        release.set()
        worker.wait()

    assert done == ["a", "a"]


def test_leaving_waits_for_the_job_under_way_and_drops_the_others() -> None:
    """A commit is never cut off by our own end."""
    done: list[str] = []
    begun, release = threading.Event(), threading.Event()

    def job() -> None:
        begun.set()
        release.wait(10)
        done.append("a")

    with BackgroundWorker() as worker:
        worker.submit("a", job)
        worker.submit("b", lambda: done.append("b"))
        begun.wait(10)
        threading.Timer(0.05, release.set).start()

    assert done == ["a"]


def test_waiting_while_there_is_too_much_ends_with_the_work() -> None:
    """A bound that no job can bring down holds nobody for ever."""
    staged = [3]
    with BackgroundWorker() as worker:
        for number in range(3):
            worker.submit(number, lambda: staged.append(staged[-1] - 1))
        worker.wait_while(lambda: staged[-1] > 1)
        assert staged[-1] <= 1
        worker.wait()
        worker.wait_while(lambda: True)


def test_what_comes_up_is_done_beside_a_job() -> None:
    """In the thread that gave the job, until it is done; then its error comes out."""
    done: list[int] = []
    enough = threading.Event()

    def job() -> None:
        assert enough.wait(20)
        stopping()

    def meanwhile() -> None:
        done.append(threading.get_ident())
        if len(done) == 2:
            enough.set()

    with pytest.raises(Stopped, match="the Hub is away"):
        BackgroundWorker().beside(job, meanwhile)

    assert set(done) == {threading.get_ident()}


def test_a_job_is_waited_for_where_what_is_done_beside_it_fails() -> None:
    """It is never left alone: it may land."""
    failed, done = threading.Event(), threading.Event()

    def job() -> None:
        assert failed.wait(20)
        done.set()

    def meanwhile() -> None:
        failed.set()
        stopping()

    with pytest.raises(Stopped):
        BackgroundWorker().beside(job, meanwhile)

    assert done.is_set()


def test_without_overlap_there_is_the_job_alone() -> None:
    """In the same thread, with nothing beside it."""
    done: list[int] = []
    BackgroundWorker(overlap=False).beside(lambda: done.append(threading.get_ident()), stopping)

    assert done == [threading.get_ident()]


def test_few_jobs_that_need_not_be_done_wait() -> None:
    """Each holds memory. Those that are too many are dropped, whoever offers them; later there is room again."""
    done: list[str] = []
    begun, release = threading.Event(), threading.Event()

    def hold() -> None:
        begun.set()
        assert release.wait(20)

    with BackgroundWorker() as worker:
        worker.submit("a", hold)
        begun.wait(20)
        for number in range(MAX_OFFERED + 3):
            worker.offer(lambda number=number: done.append(f"early {number}"))
        worker.submit("b", lambda: done.append("b"))
        release.set()
        worker.wait()
        worker.offer(lambda: done.append("late"))
        worker.wait()

    assert done == [*(f"early {number}" for number in range(MAX_OFFERED)), "b", "late"]


def test_an_offered_job_that_fails_is_a_job_that_fails() -> None:
    """Nothing is begun behind it."""
    with BackgroundWorker() as worker:
        worker.offer(stopping)
        with pytest.raises(Stopped, match="the Hub is away"):
            worker.wait()

    with pytest.raises(Stopped), BackgroundWorker(overlap=False) as at_once:
        at_once.offer(stopping)
