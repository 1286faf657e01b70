"""Readers that fail at every odd number, each in one way: what a campaign must see, or it sees nothing."""

import ctypes
from pathlib import Path
from random import Random
from typing import Any

from tests.fuzz.ending import FINE, Target
from utils.errors import SourceError


def targets() -> list[Target]:
    readers = (_crash, _hang, _swell, _raise, _swear, _leave_open)
    return [Target(read.__name__.strip("_"), _number, read, most_cpu_s=2, always=6) for read in readers]


def _number(random: Random) -> int:
    return random.getrandbits(32)


def _crash(made: Any, folder: Path) -> str:
    """A C library that reads where it should not."""
    if made % 2:
        ctypes.string_at(0)
    return FINE


def _hang(made: Any, folder: Path) -> str:
    while made % 2:
        pass
    return FINE


def _swell(made: Any, folder: Path) -> str:
    return FINE if made % 2 == 0 or len(b"x" * 400_000_000) else ""


def _raise(made: Any, folder: Path) -> str:
    return FINE if made % 2 == 0 else str({}[made])


def _swear(made: Any, folder: Path) -> str:
    """An error in words that steers the terminal."""
    if made % 2:
        raise SourceError("\x1b[2J")
    return FINE


def _leave_open(made: Any, folder: Path) -> str:
    if made % 2:
        _left.extend((folder / str(number)).open("w") for number in range(20))
    return FINE


_left: list[Any] = []
