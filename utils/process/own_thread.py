"""A call made by a thread of its own, for whoever has something to do meanwhile."""

import threading
from collections.abc import Callable
from concurrent.futures import Future
from typing import TypeVar

Result = TypeVar("Result")


def in_own_thread(call: Callable[[], Result], name: str) -> "Future[Result]":
    """Begin it; the future gets what it returns or raises. The process may end before that."""
    done: Future[Result] = Future()
    threading.Thread(target=_do, args=(call, done), name=name, daemon=True).start()
    return done


def _do(call: Callable[[], Result], done: "Future[Result]") -> None:
    try:
        done.set_result(call())
    except BaseException as error:  # noqa: BLE001 - whoever waits gets it
        done.set_exception(error)
