"""Processes that die at a chosen step, played in this one: `Killed` is raised, and nothing is written from then on."""

import os

from utils.disk.durable import Effect


class Killed(BaseException):
    """The process is gone."""


class KilledAt:
    """Dies before the step of that number, perhaps having written half of it; a dead process does nothing more."""

    def __init__(self, number: int, half: bool = False) -> None:
        self._left, self._half = number, half
        self.died = False

    def before(self, effect: Effect) -> None:
        if self.is_due() and not self.died and self._half and effect.data is not None:
            write_half(effect)
        self.die_if_due()

    def after(self, effect: Effect) -> None:
        """It happened."""

    def is_due(self) -> bool:
        """Whether its time has come; counts one step."""
        self._left -= 1
        return self._left < 0

    def die_if_due(self) -> None:
        if self._left < 0:
            self.died = True
            raise Killed


def write_half(effect: Effect) -> None:
    """What a write was going to write, but for its second half."""
    assert effect.data is not None
    descriptor = os.open(effect.path, os.O_WRONLY | os.O_APPEND)
    os.write(descriptor, effect.data[: len(effect.data) // 2])
    os.close(descriptor)
