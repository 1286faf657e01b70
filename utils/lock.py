"""One writer on this machine (law 5): a lock that the kernel releases when its holder dies, however it dies."""

import fcntl
import os
import socket
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from utils.durable import make_folder, remove, step
from utils.errors import TargetRefused


@contextmanager
def hold_lock(path: Path, target: str) -> Iterator[None]:
    """Hold the lock file `path` for as long as the block runs. TargetRefused where another run holds it."""
    make_folder(path.parent)
    descriptor = _locked(path, target)
    try:
        with step("lock", path):
            _sign(descriptor)
        yield
    finally:
        remove(path)  # while we hold it: who opened it meanwhile sees that it is gone
        os.close(descriptor)


def _locked(path: Path, target: str) -> int:
    """The lock file, opened and locked."""
    while True:
        descriptor = os.open(path, os.O_RDWR | os.O_CREAT, 0o644)
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            holder = os.pread(descriptor, 500, 0).decode(errors="replace").strip() or "unknown"
            os.close(descriptor)
            raise TargetRefused(
                f"Another run is writing to {target} ({holder}). Nothing was changed. "
                "Wait for it or stop it, then repeat this command."
            ) from error
        if _is_still(path, descriptor):
            return descriptor
        os.close(descriptor)  # its last holder removed it between our open and our lock: another file counts now


def _is_still(path: Path, descriptor: int) -> bool:
    try:
        return os.path.samestat(path.stat(), os.fstat(descriptor))
    except FileNotFoundError:
        return False


def _sign(descriptor: int) -> None:
    os.ftruncate(descriptor, 0)
    since = time.strftime("%Y-%m-%d %H:%M:%S")
    os.pwrite(descriptor, f"host {socket.gethostname()}, process {os.getpid()}, since {since}\n".encode(), 0)
