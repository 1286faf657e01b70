"""What of a source's files is not loaded, and the words for it: too large, or damaged."""

import errno
from collections.abc import Iterator
from contextlib import contextmanager

from utils.errors import SourceError
from utils.rows.printable import shown

MAX_CLIP_BYTES = 128 * 1000**2
"""A larger file is not loaded: an hour at 16 kHz has 115 MB, twenty minutes at 48 kHz too."""

MAX_TEXT_BYTES = 1_000_000
"""A longer cell of text is no transcript, as in `utils/formats/tsv.py`."""


def too_large(name: str, size_bytes: int) -> str:
    """A file's name in its reject, with the reason why it was not loaded."""
    return f"{shown(name, 100)} ({size_bytes:,} bytes; over {MAX_CLIP_BYTES:,} are not loaded)"


_TOO_MANY_OPEN = (errno.EMFILE, errno.ENFILE)


@contextmanager
def damage_explained(name: str, *kinds: type[Exception], found: str = "can't be read") -> Iterator[None]:
    """Turn OSError and `kinds`, raised while reading the source file `name`, into a SourceError saying what to do.

    A lack of memory or of open files says nothing of the file: it is passed on, whatever class a library gives it.
    """
    errors: tuple[type[Exception], ...] = (OSError, *kinds)
    try:
        yield
    except MemoryError:  # pyarrow's is one of its ArrowExceptions, too
        raise
    except errors as error:
        if isinstance(error, OSError) and error.errno == errno.ENOMEM:
            raise MemoryError from error
        if isinstance(error, OSError) and error.errno in _TOO_MANY_OPEN:
            raise
        raise SourceError(
            f"{shown(name)} {found} ({shown(error)}). What was read before is safe. Put a whole copy in its place (of "
            "a cached download: --clear-cache), then run again with --resume."
        ) from error
