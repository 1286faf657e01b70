"""The process id that people know a run by: of the process that they started."""

import os

_own: int | None = None


def set_own_pid(pid: int) -> None:
    """This process works for the one that was started."""
    global _own  # noqa: PLW0603 - a process has one
    _own = pid


def own_pid() -> int:
    return _own or os.getpid()
