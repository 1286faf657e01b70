"""What a position names: its counts and its file, and the words where it does not fit.

A position may come from a checkpoint that was edited, or be older than the source's files. Whatever does
not fit is a SourceError: reading from somewhere else would lose or repeat clips.
"""

from collections.abc import Sequence

from utils.errors import SourceError
from utils.rows.printable import shown
from utils.rows.schema import Position

_ADVICE = (
    "Nothing was read. Leave out --checkpoint and use --resume; "
    "if that says the same, the source's files are not those that were first read."
)


def number_in(position: Position, key: str) -> int:
    """A count of the position, 0 where it has none."""
    value = position.get(key, 0)
    if not isinstance(value, int) or isinstance(value, bool) or not 0 <= value < 2**63:
        raise SourceError(f"The position {shown(position)} can't be used: {key} is not a count. {_ADVICE}")
    return value


def file_in(position: Position, files: Sequence[str]) -> int:
    """The index of the file that the position names."""
    try:
        return files.index(position["file"])
    except ValueError as error:
        raise SourceError(
            f"The position {shown(position)} names a file that the source does not have. {_ADVICE}"
        ) from error


def behind_the_end(place: str, position: Position) -> SourceError:
    """The error of a position that counts more clips than there are."""
    return SourceError(f"The position {shown(position)} lies behind the end of {shown(place)}. {_ADVICE}")
