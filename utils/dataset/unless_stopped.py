"""A call that waits for the network, and that a stop does not wait for."""

from collections.abc import Callable
from concurrent.futures import wait
from typing import Final, TypeVar

from utils.errors import Interrupted
from utils.process.own_thread import in_own_thread

Result = TypeVar("Result")

GRACE_S: Final = 1.0
"""What ends so soon after a stop was asked for is let end: a commit lands, and is remembered."""
_LOOKED_EVERY_S: Final = 0.05
_ENDING_S: Final = 0.2


def unless_stopped(
    call: Callable[[], Result], stop_requested: Callable[[], bool], give_up: Callable[[], None]
) -> Result:
    """What `call` returns or raises; Interrupted where a stop is requested and it does not end soon.

    A thread of its own makes the call. It is asked to end by `give_up`, and may still be left behind: so `call` must
    change nothing of ours, and whoever is interrupted knows of nothing that it did.
    """
    done = in_own_thread(call, "send")
    while not stop_requested():
        if wait([done], _LOOKED_EVERY_S).done:
            return done.result()
    if wait([done], GRACE_S).done:
        return done.result()
    give_up()
    wait([done], _ENDING_S)
    raise Interrupted("Stopped on request while the Hub was being written to. What is staged is kept.")
