"""What a transcript says against its clip, and transcripts without punctuation. Pure.

What is counted of a transcript are its characters but for white space and punctuation. Foreign are those that are
neither Thai nor Latin nor digits (Thai or Arabic ones): other scripts, and symbols such as emoji or `=`.
"""

import re
import unicodedata
from functools import lru_cache
from typing import Final

from utils.choices import TextOptions
from utils.rows.schema import RejectReason
from utils.text.normalize import MAX_PASSES, normalize_transcript

_USUAL: Final = re.compile("[\u0e01-\u0e3a\u0e3f-\u0e4e\u0e50-\u0e59A-Za-z0-9\\s!-/:-@\\[-`{-~]*")
"""Thai, Latin, digits, ASCII's marks: nearly all transcripts are nothing else, and need no look at each character."""
_SYMBOLS: Final = re.compile("[$+<=>^`|~]")
"""Those of ASCII's marks that are no punctuation."""
_NOT_COUNTED: Final = re.compile("[\\s!-#%-*,-/:;?@\\[-\\]_{}]+")
_SPOKEN: Final = "%&@#\u2030"
"""Punctuation by its category, but read out: it stays."""
_INSIDE_WORDS: Final = "'\u2019"
_INSIDE_NUMBERS: Final = ".,:"


def text_problem(transcript: str, options: TextOptions) -> tuple[str, str] | None:
    """(reason, detail) of a clip that its transcript alone speaks against; None where it does not."""
    if options.require_transcript and not transcript:
        return RejectReason.NO_TRANSCRIPT, "it has no transcript, and --require-transcript asks for one"
    if options.max_foreign_share is None or not transcript:
        return None
    foreign, counted = count_foreign(transcript)
    if counted and foreign / counted > options.max_foreign_share:
        told = f"{foreign} of {counted} characters are neither Thai nor Latin nor digits"
        return RejectReason.FOREIGN_TEXT, f"{told}; up to {options.max_foreign_share:g} of them may be"
    return None


def rate_problem(transcript: str, duration_s: float, options: TextOptions) -> tuple[str, str] | None:
    """(reason, detail) of a clip that nobody can have spoken; None also where there is no transcript."""
    if (options.max_chars_per_second is None and options.min_chars_per_second is None) or not transcript:
        return None
    counted = count_foreign(transcript)[1]
    if not counted:
        return None
    rate = counted / duration_s
    told = f"{counted} characters in {duration_s:.3f} s: {rate:.1f} a second"
    if options.max_chars_per_second is not None and rate > options.max_chars_per_second:
        return RejectReason.SPOKEN_TOO_FAST, f"{told}, over {options.max_chars_per_second:g}"
    if options.min_chars_per_second is not None and rate < options.min_chars_per_second:
        return RejectReason.SPOKEN_TOO_SLOWLY, f"{told}, under {options.min_chars_per_second:g}"
    return None


def count_foreign(text: str) -> tuple[int, int]:
    """(characters that are neither Thai nor Latin nor digits, all that are counted)."""
    if _USUAL.fullmatch(text):
        return len(_SYMBOLS.findall(text)), len(_NOT_COUNTED.sub("", text))
    kinds = [_kind(char) for char in text]
    return kinds.count(_FOREIGN), len(kinds) - kinds.count(_SKIPPED)


def without_punctuation(text: str) -> str:
    """A normalized transcript without punctuation, which becomes a space, and normalized again.

    Kept are what is read out (`%`, `&`, `@`, `#`), apostrophes inside Latin words, and points, commas and colons inside
    numbers. Mai yamok and paiyannoi are letters, and stay.
    """
    before = text
    for _ in range(MAX_PASSES):
        after = normalize_transcript(_strip(before))
        if after == before:
            break
        before = after
    return before


_OURS, _FOREIGN, _SKIPPED = "ours", "foreign", "skipped"


@lru_cache(maxsize=4096)
def _kind(char: str) -> str:
    category = unicodedata.category(char)
    if char.isspace() or category[0] == "P" or category in ("Cf", "Cc"):
        return _SKIPPED
    if "\u0300" <= char <= "\u036f":  # accents of Latin letters
        return _OURS
    name = unicodedata.name(char, "")
    is_digit = char.isascii() and char.isdigit()
    return _OURS if is_digit or name.startswith("THAI ") or "LATIN" in name.split() else _FOREIGN


def _strip(text: str) -> str:
    if not any(unicodedata.category(char)[0] == "P" for char in set(text)):
        return text
    framed = f" {text} "
    return "".join(" " if _is_stripped(char, framed[at], framed[at + 2]) else char for at, char in enumerate(text))


def _is_stripped(char: str, before: str, after: str) -> bool:
    if unicodedata.category(char)[0] != "P" or char in _SPOKEN:
        return False
    if char in _INSIDE_WORDS:
        return not (_is_latin(before) and _is_latin(after))
    if char in _INSIDE_NUMBERS:
        return not (before.isdecimal() and after.isdecimal())
    return True


def _is_latin(char: str) -> bool:
    return char.isalpha() and "LATIN" in unicodedata.name(char, "").split()
