"""One name in the spellings that look the same: how Thai is typed differs, and a speaker's id is a hash of the name as
it was. Pure."""

import re
from collections.abc import Sequence
from itertools import islice, product
from typing import Final

from utils.text.normalize import normalize_transcript

MAX_SPELLINGS: Final = 5_000
"""Of a name of six sara am with tone marks. Of longer ones the first signs are tried in all ways."""
_SIGN: Final = re.compile("[\u0e48-\u0e4b]?\u0e33|\u0e41")


def spellings_of(name: str) -> Sequence[str]:
    """The name as given, its normal form (as that of transcripts), and what has that form: sara am in one sign or in
    two, with its tone mark before, between or behind; sara ae in one or in two."""
    normal = normalize_transcript(name)
    between = _SIGN.split(normal)
    ways = [_ways(sign) for sign in _SIGN.findall(normal)]
    spelt = (
        "".join(part for pair in zip(between, [*signs, ""], strict=True) for part in pair) for signs in product(*ways)
    )
    return list(dict.fromkeys([name, normal, *islice(spelt, MAX_SPELLINGS)]))


def _ways(sign: str) -> Sequence[str]:
    if sign == "\u0e41":
        return (sign, "\u0e40\u0e40")
    tone = sign[:-1]
    ways = (sign, f"\u0e33{tone}", f"\u0e4d{tone}\u0e32", f"{tone}\u0e4d\u0e32", f"\u0e4d\u0e32{tone}")
    return tuple(dict.fromkeys(ways))
