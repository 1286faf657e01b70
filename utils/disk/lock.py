"""One writer on this machine (law 5): a lock that the kernel releases when its holder dies, however it dies.

The lock is the kernel's, the file is only where it hangs and who signed it: a file that is left over (SIGKILL, a
power cut, another boot) is nobody's lock and is taken over. On a folder that machines share, a file server that
knows locks (NFS) holds them across machines, and lets go of a dead machine's after a while.
"""

import errno
import fcntl
import logging
import os
import re
import socket
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from utils.disk.durable import make_folder, remove, step
from utils.errors import TargetRefused

log = logging.getLogger(__name__)

_own_pid: int | None = None
"""The process that people know this one by, where that is another: the one that they started."""

_PATIENCE_S = 10.0
"""With a run that was killed and whose last write to the disk is still under way."""
_NO_LOCKS = (errno.ENOLCK, errno.ENOSYS, errno.EOPNOTSUPP)
"""A file system that might lock, if it were asked otherwise."""
_NOT_FOR_LOCKS = (errno.EINVAL, errno.ENOTTY, errno.EBADF)
"""One that does not know the question: shares of other systems."""
_NOT_TO_BE_WRITTEN = (errno.EACCES, errno.EPERM, errno.EROFS)


@dataclass(frozen=True)
class HeldLock:
    """A lock file that this process holds."""

    descriptor: int
    is_locked: bool
    """False: its file system knows no locks, and that was said."""
    is_ours: bool
    """Its file may be written to and deleted."""
    left_by: str = ""
    """Who had signed it, and is gone."""


@contextmanager
def hold_lock(path: Path, target: str, other: HeldLock | None = None) -> Iterator[HeldLock]:
    """Hold the lock file `path` for as long as the block runs. TargetRefused where another run holds it.

    `other`: a lock on the same target that is held already. Where its folder may not be written, or has no locks, that
    one must do.
    """
    make_folder(path.parent)
    lock = _locked(path, target, other)
    holder = os.getpid()
    try:
        if lock.left_by and (other is None or lock.left_by != other.left_by):
            log.info("Took over the lock on %s from a run that is gone: %s", target, lock.left_by)
        if lock.is_ours:
            with step("lock", path):
                _sign(lock.descriptor)
        yield lock
    finally:
        try:
            if lock.is_ours and os.getpid() == holder:
                # Not where a process that we forked has a copy of this block: the lock is ours.
                remove(path)  # while we hold it: who opened it meanwhile sees that it is gone
        finally:
            os.close(lock.descriptor)


def _locked(path: Path, target: str, other: HeldLock | None) -> HeldLock:
    """The lock file, opened and locked."""
    until = time.monotonic() + _PATIENCE_S
    while True:
        descriptor, is_ours = _opened(path, other)
        try:
            fcntl.flock(descriptor, (fcntl.LOCK_EX if is_ours else fcntl.LOCK_SH) | fcntl.LOCK_NB)
        except BlockingIOError as error:
            holder = _signature(descriptor)
            os.close(descriptor)
            if _is_dying(holder) and time.monotonic() < until:
                time.sleep(0.01)
                continue
            raise TargetRefused(_held(path, target, holder)) from error
        except OSError as error:
            if error.errno in _NOT_FOR_LOCKS or (other and error.errno in _NO_LOCKS):
                if other is None or other.is_locked:
                    _warn_of_no_locks(path, target, error)
                return HeldLock(descriptor, False, is_ours)
            os.close(descriptor)
            if error.errno not in _NO_LOCKS:
                raise
            raise TargetRefused(
                f"The file system of {path.parent} can't lock files ({error.strerror}), so a second run could not be "
                f"kept from writing to {target}. Nothing was changed. Run in a folder on a local disk, and name an "
                "--output on one."
            ) from error
        if not is_ours or _is_still(path, descriptor):
            return HeldLock(descriptor, True, is_ours, _signature(descriptor) if is_ours else "")
        os.close(descriptor)  # its last holder removed it between our open and our lock: another file counts now


def _opened(path: Path, other: HeldLock | None) -> tuple[int, bool]:
    """The file, and whether it is ours to write. What may only be read can be locked all the same, against writers."""
    try:
        return os.open(path, os.O_RDWR | os.O_CREAT, 0o644), True
    except OSError as error:
        if other is None or error.errno not in _NOT_TO_BE_WRITTEN:
            raise
    return os.open(path if path.exists() else path.parent, os.O_RDONLY), False


def _warn_of_no_locks(path: Path, target: str, error: OSError) -> None:
    log.warning(
        "The file system of %s knows no locks (%s): a second run could write to %s meanwhile, and nobody would say so. "
        "See to it that there is one.",
        *(path.parent, error.strerror, target),
    )


def _is_still(path: Path, descriptor: int) -> bool:
    try:
        return os.path.samestat(path.stat(), os.fstat(descriptor))
    except FileNotFoundError:
        return False


def _is_dying(holder: str) -> bool:
    """Whether the process that signed the lock is gone from this machine: then the kernel is about to let go of it."""
    signed = re.fullmatch(r"host (.*), process (\d+), since .*", holder)
    return signed is not None and signed[1] == socket.gethostname() and not Path(f"/proc/{signed[2]}").exists()


def _held(path: Path, target: str, holder: str) -> str:
    """Why this run is refused; where the holder is on another machine, what to do should that one be gone."""
    told = f"Another run is writing to {target} ({holder or 'unknown'}). Nothing was changed. "
    if holder and not holder.startswith(f"host {socket.gethostname()},"):
        return told + (
            "It is on another machine that shares this folder: wait for it or stop it there, then repeat this command. "
            f"If that machine is gone, the file server lets go of {path} by itself after a while."
        )
    return told + "Wait for it or stop it, then repeat this command."


def _signature(descriptor: int) -> str:
    """Who signed the lock file last, in one line; empty where nobody did."""
    signed = os.pread(descriptor, 500, 0).decode(errors="replace").partition("\n")[0]
    return "".join(letter for letter in signed if letter.isprintable()).strip()


def _sign(descriptor: int) -> None:
    os.ftruncate(descriptor, 0)
    since = time.strftime("%Y-%m-%d %H:%M:%S %z")
    os.pwrite(descriptor, f"host {socket.gethostname()}, process {own_pid()}, since {since}\n".encode(), 0)


def set_own_pid(pid: int) -> None:
    """This process works for the one that was started: locks are signed with its id."""
    global _own_pid  # noqa: PLW0603 - a process has one
    _own_pid = pid


def own_pid() -> int:
    """The id of the process that people started."""
    return _own_pid or os.getpid()
