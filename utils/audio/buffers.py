"""Memory that is used again from clip to clip: new memory has to be fetched, page by page, before it is of use.

Each thread has its own. What is taken is good until the thread's next `begin_clip`, or, of one `pass_through`, until
the next of that kind.
"""

import threading
from typing import Any, Final

import numpy as np
from numpy.typing import DTypeLike, NDArray

KEPT_SAMPLES: Final = 1 << 20
"""Of 32 bits, 4 MB: a minute at 16 kHz. What is more gets memory of its own."""


class _Scratch(threading.local):
    def __init__(self) -> None:
        self.kept = np.empty(0, np.float32)
        self.used = 0
        self.passing: dict[str, NDArray[Any]] = {}


_scratch = _Scratch()


def begin_clip() -> None:
    """All that was taken before is given back."""
    _scratch.used = 0


def kept_samples(count: int) -> NDArray[np.float32]:
    """Room for so many samples, until the clip's end."""
    if not len(_scratch.kept):
        _scratch.kept = np.empty(KEPT_SAMPLES, np.float32)
    first, _scratch.used = _scratch.used, _scratch.used + count
    if _scratch.used > KEPT_SAMPLES:
        _scratch.used = first
        return np.empty(count, np.float32)
    return _scratch.kept[first : first + count]


def pass_through(count: int, dtype: DTypeLike, purpose: str) -> NDArray[Any]:
    """Room for so many samples of one block, until the next one for the same purpose."""
    room = _scratch.passing.get(purpose)
    if room is None or len(room) < count:
        room = _scratch.passing[purpose] = np.empty(count, dtype)
    return room[:count]
