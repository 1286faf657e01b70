"""The libraries that decide the published bytes. Reading their versions loads none of them."""

from collections.abc import Mapping
from contextlib import suppress
from functools import cache
from importlib.metadata import PackageNotFoundError, version
from typing import Final

_REQUIRED: Final = ("numpy", "pyarrow", "pythainlp", "soundfile", "soxr")
_OPTIONAL: Final = ("av",)


@cache
def library_versions() -> Mapping[str, str]:
    """Name -> installed version; an optional library that is not installed is left out."""
    found = {name: version(name) for name in _REQUIRED}
    for name in _OPTIONAL:
        with suppress(PackageNotFoundError):
            found[name] = version(name)
    return found
