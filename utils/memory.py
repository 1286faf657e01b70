"""How the C library and Python keep memory: clip after clip asks for the same again."""

import ctypes
import gc
import platform
from typing import Final

_M_TRIM_THRESHOLD: Final = -1
_M_MMAP_THRESHOLD: Final = -3
_M_ARENA_MAX: Final = -8

KEPT_BYTES: Final = 32 << 20
MAPPED_ABOVE_BYTES: Final = 32 << 20
ARENAS: Final = 2
OBJECTS_BETWEEN_COLLECTIONS: Final = 20_000
"""Of those that can be part of a cycle. Ours are not, but for errors: some hundred bytes each."""


def keep_freed_memory() -> None:
    """Let glibc keep what is freed for what is asked for next: giving it back and taking it anew, page by page, takes
    as long as decoding. Bounded: so much at the top of each of a few arenas. Does nothing with other C libraries."""
    if platform.libc_ver()[0] != "glibc":
        return
    mallopt = ctypes.CDLL(None).mallopt
    for setting, value in (
        (_M_ARENA_MAX, ARENAS),
        (_M_MMAP_THRESHOLD, MAPPED_ABOVE_BYTES),
        (_M_TRIM_THRESHOLD, KEPT_BYTES),
    ):
        mallopt(setting, value)


def spare_collections() -> None:
    """Let Python look for cycles seldom, and never among what is there by now: modules, classes, functions.

    For a process that does one run and ends: as it is by default it takes a tenth of the run's time.
    """
    gc.freeze()
    gc.set_threshold(OBJECTS_BETWEEN_COLLECTIONS, 10, 10)
