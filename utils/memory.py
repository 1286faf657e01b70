"""How the C library keeps memory: clip after clip asks for the same again."""

import ctypes
import platform
from typing import Final

_M_TRIM_THRESHOLD: Final = -1
_M_MMAP_THRESHOLD: Final = -3
_M_ARENA_MAX: Final = -8

KEPT_BYTES: Final = 32 << 20
MAPPED_ABOVE_BYTES: Final = 32 << 20
ARENAS: Final = 2


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
