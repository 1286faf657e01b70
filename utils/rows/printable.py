"""Text of others in our own messages and logs: on one line, visible, and short."""

import re
import unicodedata
from typing import Final

from utils.rows.credentials import without_credentials

SHOWN_CHARACTERS: Final = 200
_ADDRESS_CHARACTERS: Final = 4000
"""A signed address is no longer: one that is cut short must be known for what it is."""
_SURROGATE: Final = re.compile("[\ud800-\udfff]")
_STEERING: Final = re.compile(
    "[\x00-\x08\x0b-\x1f\x7f-\x9f"  # control characters, of 8 bits too
    "\u061c\u200e\u200f\u2028-\u202e\u2066-\u2069"  # line ends, and what sets the direction of writing
    "\ud800-\udfff\ufff9-\ufffb\U000e0000-\U000e007f]"
)


def one_line(text: str) -> str:
    """Text of others on one line: any white space is one space; control and hidden characters are gone."""
    visible = "".join(" " if char.isspace() else char for char in text)
    return " ".join("".join(char for char in visible if unicodedata.category(char)[0] != "C").split())


def visible(text: str) -> str:
    """Text that may hold anything, as it can be shown: what would steer a terminal, or turn the line around, as an
    escape (`\\x1b`). Line feeds and tabs stay, and so do the marks that scripts need."""
    return _STEERING.sub(_escape, text)


def _escape(found: re.Match[str]) -> str:
    return found[0].encode("unicode_escape", "surrogatepass").decode()


def as_text(text: str) -> str:
    """A text as it can be stored: what has no UTF-8 form (bytes in a file's name, half a surrogate pair) is U+FFFD."""
    try:
        text.encode()
    except UnicodeEncodeError:
        return _SURROGATE.sub("\N{REPLACEMENT CHARACTER}", text)
    return text


def shown(text: object, characters: int = SHOWN_CHARACTERS) -> str:
    """What a message shows of a name, a value or an error that a source or a file had a hand in.

    A name may be megabytes long, turn the rest of the line around, or steer the terminal.
    """
    whole = str(text)
    line = one_line(without_credentials(whole[: 2 * characters + _ADDRESS_CHARACTERS])[: 2 * characters])
    if len(whole) <= 2 * characters and len(line) <= characters:
        return line
    return f"{line[:characters]}... ({len(whole):,} characters)"
