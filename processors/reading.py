"""What all readers share: the numbers and the file that a position names, and what an unreadable file says.

A position may come from a checkpoint that was edited, or be older than the source's files. Whatever does
not fit is a SourceError: reading from somewhere else would lose or repeat clips.
"""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager

from utils.errors import SourceError
from utils.schema import Position

_ADVICE = (
    "Nothing was read. Leave out --checkpoint and use --resume; "
    "if that says the same, the source's files are not those that were first read."
)


def number_in(position: Position, key: str) -> int:
    """A count of the position, 0 where it has none."""
    value = position.get(key, 0)
    if not isinstance(value, int) or isinstance(value, bool) or value < 0:
        raise SourceError(f"The position {position} can't be used: {key} is not a count. {_ADVICE}")
    return value


def file_in(position: Position, files: Sequence[str]) -> int:
    """The index of the file that the position names."""
    try:
        return files.index(position["file"])
    except ValueError as error:
        raise SourceError(f"The position {position} names a file that the source does not have. {_ADVICE}") from error


def behind_the_end(place: str, position: Position) -> SourceError:
    """The error of a position that counts more clips than there are."""
    return SourceError(f"The position {position} lies behind the end of {place}. {_ADVICE}")


@contextmanager
def damage_explained(name: str, *kinds: type[Exception], found: str = "can't be read") -> Iterator[None]:
    """Turn OSError and `kinds`, raised while reading the source file `name`, into a SourceError saying what to do."""
    errors: tuple[type[Exception], ...] = (OSError, *kinds)
    try:
        yield
    except errors as error:
        raise SourceError(
            f"{name} {found} ({error}). What was read before is safe. Put a whole copy in its place (of a cached "
            "download: --clear-cache), then run again with --resume."
        ) from error
