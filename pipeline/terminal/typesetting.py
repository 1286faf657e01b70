"""Text laid out for a terminal: columns that hold where marks stand above letters, nothing wider than `WIDTH`."""

import unicodedata
from collections.abc import Iterable, Iterator

from utils.rows.printable import one_line

WIDTH = 100


def wrapped(text: str, indent: int = 0, width: int = WIDTH) -> list[str]:
    """Text of others in lines of at most `width` columns; addresses are left whole."""
    room, lines = width - indent, [""]
    for word in one_line(text).split(" "):
        for piece in [word] if "://" in word else _pieces(word, room):
            joined = f"{lines[-1]} {piece}" if lines[-1] else piece
            if display_width(joined) <= room or not lines[-1]:
                lines[-1] = joined
            else:
                lines.append(piece)
    return [" " * indent + line for line in lines]


def _pieces(word: str, room: int) -> Iterator[str]:
    """A word cut to fit: Thai has no spaces between words."""
    while display_width(word) > room:
        head = _prefix(word, room)
        yield head
        word = word[len(head) :]
    yield word


def _prefix(text: str, room: int) -> str:
    """The longest beginning that fits (a character at least); marks stay with the letter they stand on."""
    width = 0
    for at, char in enumerate(text):
        width += _char_width(char)
        if width > room and at:
            return text[:at]
    return text


def cut_to(text: str, room: int) -> str:
    if display_width(text) <= room:
        return text
    return f"{_prefix(text, room - 3)}..." if room > 3 else _prefix(text, room)


def left_aligned(text: str, width: int) -> str:
    cut = cut_to(text, width)
    return cut + " " * (width - display_width(cut))


def right_aligned(text: str, width: int) -> str:
    return " " * (width - display_width(text)) + text


def display_width(text: str) -> int:
    """Columns that a terminal takes for `text`: none for a mark above or below a letter, two for a wide one."""
    return sum(map(_char_width, text))


def _char_width(char: str) -> int:
    if unicodedata.category(char) in ("Mn", "Me", "Cf"):
        return 0
    return 2 if unicodedata.east_asian_width(char) in "WF" else 1


def painted(text: str, code: str, colour: bool) -> str:
    return f"\x1b[{code}m{text}\x1b[0m" if colour else text


def painted_lines(lines: Iterable[str], code: str, colour: bool) -> list[str]:
    return [painted(line, code, colour) for line in lines]
