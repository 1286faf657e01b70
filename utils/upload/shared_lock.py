"""One writer is one process (law 5): what writes to a target from one process holds the target's lock together."""

import os
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path

from utils.dataset.target import Target


@dataclass
class _Hold:
    lock: ExitStack
    holders: int = 0
    was_shared: bool = False


_holds: dict[tuple[int, Path], _Hold] = {}
"""By process and lock file: what a fork inherits is not its own."""


@contextmanager
def share_lock(target: Target) -> Iterator[None]:
    """Hold the target's lock with whoever shares it in this process; the last one to leave lets go of it.

    TargetRefused where another process holds it, or this one does so alone.
    """
    key = _key(target)
    if key not in _holds:
        lock = ExitStack()
        lock.enter_context(target.lock())
        _holds[key] = _Hold(lock)
    hold = _holds[key]
    hold.was_shared = hold.was_shared or hold.holders > 0
    hold.holders += 1
    try:
        yield
    finally:
        hold.holders -= 1
        if not hold.holders:
            del _holds[key]
            hold.lock.close()


def is_held(target: Target) -> bool:
    """Whether something in this process holds the target's lock to share it."""
    return _key(target) in _holds


def was_shared(target: Target) -> bool:
    """Whether several in this process have held it since it was taken."""
    hold = _holds.get(_key(target))
    return hold is not None and hold.was_shared


def _key(target: Target) -> tuple[int, Path]:
    return os.getpid(), target.lock_path.absolute()
