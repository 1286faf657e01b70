"""What an error of the machine means for a run, in words: the disk, the memory, folders that can't be written."""

import errno
import sqlite3

from utils.errors import COMMAND, IngestError, Stopped

_FULL = (errno.ENOSPC, errno.EDQUOT)
_UNUSABLE = (
    *(errno.EROFS, errno.EACCES, errno.EPERM, errno.EBUSY, errno.EXDEV),
    *(errno.ENAMETOOLONG, errno.ENOTDIR, errno.EISDIR, errno.EEXIST, errno.ELOOP),
)


def in_words(error: BaseException) -> IngestError | None:
    """The error that a person is told; None for what can only be a bug of ours."""
    if isinstance(error, IngestError):
        return error
    if isinstance(error, MemoryError):
        return Stopped("Out of memory. Nothing is lost. Repeat this command with --resume.")
    if isinstance(error, sqlite3.OperationalError):
        return _of_an_index(error)
    if isinstance(error, OSError):
        return _of_the_system(error)
    return None


def _of_an_index(error: sqlite3.OperationalError) -> Stopped | None:
    code = error.sqlite_errorcode & 0xFF
    if code in (sqlite3.SQLITE_FULL, sqlite3.SQLITE_IOERR):
        return _disk("The disk is full" if code == sqlite3.SQLITE_FULL else "The disk is full or failing")
    if code in (sqlite3.SQLITE_CANTOPEN, sqlite3.SQLITE_READONLY):
        return _unusable("an index below data/staging or data/cache", "it can't be written")
    return None


def _of_the_system(error: OSError) -> Stopped | None:
    if error.errno in _FULL:
        return _disk("The disk is full")
    if error.errno == errno.EIO:
        return _disk("The disk is failing")
    if error.errno in _UNUSABLE:
        places = " -> ".join(str(place) for place in (error.filename, error.filename2) if place)
        return _unusable(places or "a file or folder", str(error.strerror))
    return None


def _disk(what: str) -> Stopped:
    return Stopped(
        f"{what}. Nothing is lost: what was committed is safe, what was staged is kept. Free some space "
        f"(`{COMMAND} --prune --dry-run` shows old files that may go), then repeat this command with --resume."
    )


def _unusable(place: str, why: str) -> Stopped:
    return Stopped(
        f"{place} can't be used: {why}. Nothing is lost: what was committed is safe, what was staged is kept. Mend "
        "that, or name another place, then repeat this command with --resume."
    )
