"""What an error of the machine means for a run, in words: disk, memory, limits, folders that are gone or can't be used.

An error of the system that names a file is the world's, whatever its number; the numbers below have better words than
the system's own. One that names none is the world's where its number is below, and else a bug of ours.
"""

import errno
import os
import resource
import sqlite3
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Final

from utils.errors import COMMAND, IngestError, Stopped

_DATA: Final = Path("data")
"""Where indexes lie, below."""
_FREE_SPACE: Final = f"Free some space (`{COMMAND} --prune --dry-run` shows old files that may go)"
_FULL: Final = (errno.ENOSPC, errno.EDQUOT)
_NO_START: Final = (
    "The system starts no further thread or process: a limit is reached",
    "Raise it (ulimit -u, or the limit of processes of the container), end other programs, or use --num-workers 1",
)
_NO_MEMORY: Final = ("Out of memory", "End other programs, or use fewer --num-workers")
_NO_ANSWER: Final = ("The disk or share of {place} does not answer ({why})", "See to it that it is mounted")
_UNUSABLE: Final = ("{place} can't be used: {why}", "Mend that, or name another place")
_GONE: Final = ("{place} is not there any more: it was deleted or moved while this ran", "Leave it alone")

_MEANINGS: Final[Mapping[int, tuple[str, str]]] = {
    errno.EIO: ("The disk is failing", _FREE_SPACE),
    errno.EFBIG: ("{place} may not become larger: a limit on the size of files is reached", "Raise it (ulimit -f)"),
    errno.EMFILE: ("This program may not open more files: a limit is reached", "Raise it (ulimit -n 4096)"),
    errno.ENFILE: ("This machine has too many open files", "End other programs, or raise its limit (fs.file-max)"),
    errno.EAGAIN: _NO_START,
    errno.ENOMEM: _NO_MEMORY,
    errno.ENOENT: _GONE,
    **dict.fromkeys((errno.ESTALE, errno.ETIMEDOUT, errno.ENOTCONN, errno.EHOSTDOWN, errno.EREMOTEIO), _NO_ANSWER),
    **dict.fromkeys((errno.ENODEV, errno.ENXIO, errno.ENOMEDIUM, errno.ENOLINK, errno.ESHUTDOWN), _NO_ANSWER),
    **dict.fromkeys((errno.EROFS, errno.EACCES, errno.EPERM, errno.EBUSY, errno.EXDEV, errno.ETXTBSY), _UNUSABLE),
    **dict.fromkeys((errno.ENAMETOOLONG, errno.ENOTDIR, errno.EISDIR, errno.EEXIST, errno.ELOOP), _UNUSABLE),
}


def in_words(error: BaseException) -> IngestError | None:
    """The error that a person is told; None for what can only be a bug of ours."""
    if isinstance(error, IngestError):
        return error
    if isinstance(error, MemoryError):
        return _stopped(*_NO_MEMORY)
    if isinstance(error, RuntimeError) and "start new thread" in str(error):  # Python has no class of its own for it
        return _stopped(*_NO_START)
    if isinstance(error, sqlite3.OperationalError):
        return _of_an_index(error)
    if isinstance(error, OSError):
        return _of_the_system(error)
    return None


def _of_an_index(error: sqlite3.OperationalError) -> Stopped | None:
    code = error.sqlite_errorcode & 0xFF
    of_the_disk = (sqlite3.SQLITE_FULL, sqlite3.SQLITE_IOERR, sqlite3.SQLITE_CANTOPEN, sqlite3.SQLITE_READONLY)
    if code in of_the_disk and (cause := _why_nothing_can_be_written(_DATA)):
        return _of_the_system(cause)
    if code in (sqlite3.SQLITE_FULL, sqlite3.SQLITE_IOERR):
        full = "The disk is full" if code == sqlite3.SQLITE_FULL else "The disk is full or failing"
        return _stopped(full, _FREE_SPACE)
    if code == sqlite3.SQLITE_NOMEM:
        return _stopped(*_NO_MEMORY)
    if code in (sqlite3.SQLITE_CANTOPEN, sqlite3.SQLITE_READONLY):
        why = "it can't be written, or was deleted while this ran"
        return _stopped(*_UNUSABLE, place="an index below data/staging or data/cache", why=why)
    return None


def _why_nothing_can_be_written(folder: Path) -> OSError | None:
    """What the system says to a new file in a folder, and of a file that grows: SQLite tells no numbers."""
    if resource.getrlimit(resource.RLIMIT_FSIZE)[0] != resource.RLIM_INFINITY:
        return OSError(errno.EFBIG, os.strerror(errno.EFBIG), "an index below data/staging or data/cache")
    try:
        with tempfile.TemporaryFile(dir=folder) as file:
            file.write(b"?")
    except OSError as error:
        return error
    return None


def _of_the_system(error: OSError) -> Stopped | None:
    place = " -> ".join(str(place) for place in (error.filename, error.filename2) if place)
    if error.errno in _FULL:
        return _stopped(_what_is_full(place), _FREE_SPACE)
    if error.errno == errno.ENOENT and not _is_here():
        return _stopped(*_GONE, place="The folder that this was started in")
    if error.errno is None or (error.errno not in _MEANINGS and not place):
        return None
    what, cure = _MEANINGS.get(error.errno, _UNUSABLE)
    return _stopped(what, cure, place=place or "a file or folder", why=str(error.strerror))


def _what_is_full(place: str) -> str:
    """Whether it is bytes or files that there is no room for."""
    folder = next((above for above in Path(place or ".").absolute().parents if above.is_dir()), Path("/"))
    room = os.statvfs(folder)
    if room.f_files and not room.f_favail and room.f_bavail:
        free_gb = room.f_bavail * room.f_frsize / 1e9
        return f"The disk of {folder} takes no more files: it has no inodes left, with {free_gb:,.1f} GB free"
    return "The disk is full"


def _is_here() -> bool:
    """Whether the folder that this process works in is still there."""
    try:
        os.getcwd()  # noqa: PTH109 - `Path.cwd` is the same
    except FileNotFoundError:
        return False
    return True


def _stopped(what: str, cure: str, place: str = "", why: str = "") -> Stopped:
    return Stopped(
        f"{what.format(place=place, why=why)}. Nothing is lost: what was committed is safe, what was staged is kept. "
        f"{cure}, then repeat this command with --resume."
    )
