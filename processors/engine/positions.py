"""What all readers share: the numbers and the file that a position names, the names of clips, and errors in words.

A position may come from a checkpoint that was edited, or be older than the source's files. Whatever does
not fit is a SourceError: reading from somewhere else would lose or repeat clips.
"""

import errno
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import PurePosixPath

import xxhash

from utils.errors import SourceError
from utils.rows.printable import shown
from utils.rows.schema import Position

MAX_CLIP_BYTES = 128 * 1000**2
"""A larger file is not loaded: an hour at 16 kHz has 115 MB, twenty minutes at 48 kHz too."""

MAX_KEY_CHARACTERS = 255
"""As long as a file system lets a name be."""
_KEPT_OF_A_LONG_KEY = 200

MAX_TEXT_BYTES = 1_000_000
"""A longer cell of text is no transcript, as in `utils/formats/tsv.py`."""

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


def base_name_of(path: str) -> str:
    """`PurePosixPath(path).name`, in a tenth of the time: it is asked for several times a clip."""
    name = path.rpartition("/")[2]
    return name if name not in ("", ".") else PurePosixPath(path).name


def stem_of(path: str) -> str:
    """The file's name without its ending."""
    return _split_name(path)[0]


def ending_of(path: str) -> str:
    """The ending of the file's name with its dot; empty where it has none."""
    return _split_name(path)[1]


def _split_name(path: str) -> tuple[str, str]:
    name = base_name_of(path)
    at = name.rfind(".")
    return (name[:at], name[at:]) if 0 < at < len(name) - 1 else (name, "")


def key_of(name: str) -> str:
    """The key of the clip in the file `name`: without folder and ending; of a very long one the start and a hash.

    Keys are held in memory until the next checkpoint, and published: a name may be of any length.
    """
    return short_key(stem_of(name))


def short_key(key: str) -> str:
    """The key itself; of a very long one the start and a hash."""
    if len(key) <= MAX_KEY_CHARACTERS:
        return key
    return f"{key[:_KEPT_OF_A_LONG_KEY]}~{xxhash.xxh3_128_hexdigest(key.encode(errors='surrogatepass'))}"


def too_large(name: str, size_bytes: int) -> str:
    """A file's name in its reject, with the reason why it was not loaded."""
    return f"{shown(name, 100)} ({size_bytes:,} bytes; over {MAX_CLIP_BYTES:,} are not loaded)"


@contextmanager
def damage_explained(name: str, *kinds: type[Exception], found: str = "can't be read") -> Iterator[None]:
    """Turn OSError and `kinds`, raised while reading the source file `name`, into a SourceError saying what to do.

    A lack of memory says nothing of the file: it is passed on, whatever class a library gives it.
    """
    errors: tuple[type[Exception], ...] = (OSError, *kinds)
    try:
        yield
    except MemoryError:  # pyarrow's is one of its ArrowExceptions, too
        raise
    except errors as error:
        if isinstance(error, OSError) and error.errno == errno.ENOMEM:
            raise MemoryError from error
        raise SourceError(
            f"{shown(name)} {found} ({shown(error)}). What was read before is safe. Put a whole copy in its place (of "
            "a cached download: --clear-cache), then run again with --resume."
        ) from error
