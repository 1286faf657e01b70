"""Text of others in our own messages and logs: on one line, visible, and short."""

import re
import unicodedata
from typing import Final

SHOWN_CHARACTERS: Final = 200
_SURROGATE: Final = re.compile("[\ud800-\udfff]")


def one_line(text: str) -> str:
    """Text of others on one line: any white space is one space; control and hidden characters are gone."""
    visible = "".join(" " if char.isspace() else char for char in text)
    return " ".join("".join(char for char in visible if unicodedata.category(char)[0] != "C").split())


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
    line = one_line(whole[: 2 * characters])
    if len(whole) <= 2 * characters and len(line) <= characters:
        return line
    return f"{line[:characters]}... ({len(whole):,} characters)"
