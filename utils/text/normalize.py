"""Transcripts as the source has them -> normalized transcripts. Pure.

One pass removes what is invisible, brings the characters into Unicode's composed form, makes every run of white
space and control characters one space, and lets pythainlp mend the Thai: vowels and tone marks in the order of
the standard, two sara e -> sara ae, nikhahit and sara aa -> sara am, vowels and tone marks that are typed twice,
marks that hang on nothing. Passes are repeated until nothing changes, because one rule makes work for another
(nikhahit and lakkhangyao become nikhahit and sara aa in one pass, sara am in the next).

Letter case, digits (Thai and Arabic), punctuation, repeated consonants, mai yamok and the text of other scripts are
not touched: what the speaker said is the source's to say.
"""

import os
import re
import unicodedata
from collections.abc import Callable
from functools import cache
from itertools import groupby
from typing import Final

TEXT_VERSION: Final = 1
"""Part of a run's fingerprint: raise it when the same transcript would come out different."""

MAX_PASSES: Final = 100
MAX_MENDED_LENGTH: Final = 50_000
"""Characters: about an hour of speech. The time of a pass grows with them."""
MAX_MARKS_IN_A_RUN: Final = 200
"""Vowels that stand behind a consonant, tone marks and other signs in a row, spaces between them included. Thai has
four at most, a cry a few dozen. pythainlp's time grows with the square of it: a run of 100,000 takes minutes."""

_INVISIBLE: Final = re.compile(
    "["
    "\u00ad"  # soft hyphen
    "\u061c\u200e\u200f\u202a-\u202e\u2066-\u2069"  # marks of writing direction
    "\u180e\u200b-\u200d\u2060-\u2064\ufeff"  # zero-width spaces, joiners, the byte order mark
    "]+"
)
_SPACE_OR_CONTROL: Final = re.compile(r"[\s\x00-\x1f\x7f-\x9f]+")
_LONE_SURROGATE: Final = re.compile("[\ud800-\udfff]")
_THAI: Final = re.compile("[\u0e01-\u0e5b]")
_RUN_OF_MARKS: Final = re.compile(f"[ \u0e30-\u0e3a\u0e45\u0e47-\u0e4e]{{{MAX_MARKS_IN_A_RUN + 1}}}")
_SYLLABLE: Final = (
    "[\u0e40-\u0e44]?[\u0e01-\u0e2e][\u0e31\u0e34-\u0e39\u0e47]?[\u0e48-\u0e4c]?(?:\u0e32\u0e30?|[\u0e30\u0e33])?"
)
"""Its signs once and in order: a vowel in front, a consonant, a sign above or below, a tone mark, a vowel behind."""
_WELL_SPELT: Final = re.compile(f"(?:{_SYLLABLE}|[^\u0e01-\u0e2e\u0e30-\u0e3a\u0e40-\u0e45\u0e47-\u0e4e])*")
"""Syllables, or what is no sign. No rule of pythainlp finds anything to mend there, and each of its forty looks
costs."""
_NORMAL: Final = re.compile(f"(?! )(?:{_SYLLABLE}|[\u0e2f\u0e3f\u0e46\u0e4f-\u0e5b!-~]| (?! |\\Z))*")
"""Syllables, other Thai characters, ASCII, single spaces: in its normal form already, as most transcripts are.

Neither repeats possessively: Python before 3.11.5 then keeps what it should have given back. It takes no longer, as
there is one way to read a text so."""
_SPLIT_SARA_AM: Final = re.compile("\u0e4d([\u0e48-\u0e4b]?)\u0e32")
"""Typed as nikhahit and sara aa, as one sentence in four of some corpora has it. Where all else is well spelt, to join
them is all that pythainlp does."""


def normalize_transcript(text: str) -> str:
    """The transcript in its normal form; normalizing that again changes nothing.

    It ends: after the first pass each change makes the text shorter, or leaves its length and makes a lakkhangyao
    a sara aa or sorts marks that stand out of order, and none of that can go on for ever. It could go on for long
    in a text of nothing but alternating marks; so after `MAX_PASSES` the text is left as it is, but for
    the invisible characters and the white space - which is final too, as every pass begins with that. So is
    a text that is too long, or has too many marks in a row, to be anybody's words.
    """
    if _NORMAL.fullmatch(text) and len(text) <= MAX_MENDED_LENGTH:
        return text
    tidied = _tidy(text)
    if not _THAI.search(tidied) or len(tidied) > MAX_MENDED_LENGTH:
        return tidied
    if _WELL_SPELT.fullmatch(joined := _SPLIT_SARA_AM.sub("\\1\u0e33", tidied)):
        return joined
    before = tidied
    for _ in range(MAX_PASSES):
        if _RUN_OF_MARKS.search(before):
            return tidied
        after = _tidy(_mend_thai()(before))
        if after == before:
            return after
        before = after
    return tidied


def _tidy(text: str) -> str:
    """Idempotent: what it removes and joins can't come into being by composing characters."""
    visible = _INVISIBLE.sub("", _LONE_SURROGATE.sub("\ufffd", text))
    composed = visible if _is_heap_of_marks(visible) else unicodedata.normalize("NFC", visible)
    return _SPACE_OR_CONTROL.sub(" ", composed).strip(" ")


def _is_heap_of_marks(text: str) -> bool:
    """More combining characters in a row than anybody writes: sorting them takes a time that grows with the square."""
    if len(text) <= MAX_MARKS_IN_A_RUN:
        return False
    runs = groupby(text, key=lambda char: unicodedata.combining(char) != 0)
    return any(is_run and sum(1 for _ in marks) > MAX_MARKS_IN_A_RUN for is_run, marks in runs)


@cache
def _mend_thai() -> Callable[[str], str]:
    """pythainlp's normalizer, imported at first use and told not to make its folder in the user's home.

    Whoever has set either of its variables (it knows an old name of the same one, and refuses both) is obeyed.
    """
    if "PYTHAINLP_READ_MODE" not in os.environ:
        os.environ.setdefault("PYTHAINLP_READ_ONLY", "1")
    from pythainlp.util import normalize

    mend: Callable[[str], str] = normalize
    return mend
