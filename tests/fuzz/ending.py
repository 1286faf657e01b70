"""What an input may come to: fine, a reject, or a refusal in words. Everything else is a failure.

`failure_of` also holds what comes out of a reader to what the rest of the program counts on.
"""

import re
import unicodedata
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path
from random import Random
from typing import Any

from processors.engine.conversion import convert_clip
from utils.choices import AudioOptions
from utils.errors import IngestError, SourceError, TargetRefused, UsageError
from utils.rows.schema import RawClip, Reject, RejectReason

FINE, REJECTED, REFUSED, SET_ASIDE = "fine", "rejected", "refused", "set aside"
ENDINGS = (FINE, REJECTED, REFUSED, SET_ASIDE)

MAX_MESSAGE_CHARACTERS = 4000
MAX_DETAIL_CHARACTERS = 1000
MAX_SOURCE_ID_CHARACTERS = 400

REASONS = {value for name, value in vars(RejectReason).items() if name.isupper()}


class Broken(Exception):
    """An input got through, and what came out of it breaks a promise."""


@dataclass(frozen=True)
class Target:
    """A reader, how hostile inputs for it are made, and how each is put to it."""

    name: str
    make: Callable[[Random], Any]
    """The input that a seed stands for."""
    read: Callable[[Any, Path], str]
    """(input, an empty folder) -> one of `ENDINGS`. Raises the errors of utils/errors.py."""
    share: float = 1.0
    """Of a campaign's inputs, against the other targets: the dearer an input, the fewer."""
    most_cpu_s: int = 10
    always: int | None = None
    """So many inputs, whatever the campaign's size: for bombs, which are few and dear."""


def ending_of(target: Target, made: Any, folder: Path) -> str:
    """How one input ends. Raises what nobody should see: the failure."""
    try:
        ending = target.read(made, folder)
    except (SourceError, TargetRefused, UsageError) as error:
        check_message(error)
        return REFUSED
    if ending not in ENDINGS:
        raise Broken(f"no ending: {ending}")
    return ending


def check_message(error: IngestError) -> None:
    """A letter to a person: short, and nothing in it steers the terminal or turns the line around."""
    text = str(error)
    check(len(text) <= MAX_MESSAGE_CHARACTERS, f"a message of {len(text)} characters")
    hidden = {char for char in text if unicodedata.category(char)[0] == "C" and char != "\n"}
    check(not hidden, f"hidden characters in a message: {sorted(map(ascii, hidden))[:5]}")


def ending_of_clips(clips: Iterable[RawClip], options: AudioOptions | None = None) -> str:
    """Convert clips as a run does; `rejected` where any is."""
    ending = FINE
    for clip in clips:
        check_clip(clip)
        outcome = convert_clip(clip, "Corpus", "train", options or AudioOptions())
        if isinstance(outcome, Reject):
            check_reject(outcome)
            ending = REJECTED
        else:
            check_sample(outcome)
    return ending


def check_clip(clip: RawClip) -> None:
    """Keys are short and are text; a position counts."""
    check(len(clip.key) <= MAX_SOURCE_ID_CHARACTERS, f"a key of {len(clip.key)} characters")
    clip.key.encode()
    clip.transcript.encode()
    check(isinstance(clip.position["index"], int), "a position without a count")


def check_reject(reject: Reject) -> None:
    check(reject.reason in REASONS, f"an unknown reason: {reject.reason}")
    check(len(reject.source_id) <= MAX_SOURCE_ID_CHARACTERS, "a long source id")
    check(0 < len(reject.detail) <= MAX_DETAIL_CHARACTERS, f"a detail of {len(reject.detail)} characters")


def check_sample(sample: Any) -> None:
    check(0.1 <= sample["length"] <= 3600, f"{sample['length']} s")
    check(re.fullmatch(r"clip\.[a-z0-9]{2,4}", sample["audio"]["path"]) is not None, "a name of the source as a path")
    check(len(sample["audio"]["bytes"]) > 0, "no audio")
    check(re.search(r"[\x00-\x1f\u202a-\u202e]", sample["transcript"]) is None, "control characters in a transcript")


def check(holds: bool, what: str) -> None:
    if not holds:
        raise Broken(what)
