"""What a run's process keeps in memory, and what it leaves out: clip after clip asks for the same again."""

import ctypes
import gc
import platform
import sys
from typing import Final

import pyarrow as pa

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


def spare_pandas() -> None:
    """Have pyarrow do without pandas, which it loads for the first list that it makes an array of: 0.4 s of CPU and
    60 MB, for types that we don't have. Who imports it, or calls a `to_pandas`, gets it all the same."""
    without = _WithoutPandas()
    sys.meta_path.insert(0, without)
    try:
        pa.array([""])
    finally:
        sys.meta_path.remove(without)


class _WithoutPandas:
    """While this looks for modules there is no pandas."""

    def find_spec(self, name: str, path: object = None, target: object = None) -> None:
        if name == "pandas":
            raise ModuleNotFoundError(name=name)
