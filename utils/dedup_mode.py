"""What `--dedup` may be. By itself, so that the command line need not load what compares clips."""

from collections.abc import Mapping
from enum import StrEnum
from typing import Any, Final


class Dedup(StrEnum):
    """Which clips are duplicates (`utils/dedup.py`)."""

    OFF = "off"
    EXACT = "exact"
    NEAR = "near"


DEFAULT_DEDUP: Final = Dedup.NEAR
"""Of a new dataset."""

KEY: Final = "dedup"


def in_fingerprint(mode: Dedup) -> Mapping[str, str]:
    """What the options that a source was begun with say of it: nothing where it is off, as before there was any."""
    return {} if mode is Dedup.OFF else {KEY: mode.value}


def begun_with(fingerprint: Mapping[str, Any]) -> Dedup:
    """The mode that a source was begun with. ValueError where it is one that only a later version knows."""
    return Dedup(fingerprint.get(KEY, Dedup.OFF))
