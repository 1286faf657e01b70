"""Mount points: folders that another file system, or another part of the same one, is mounted on."""

import os
import re
from pathlib import Path

_MOUNTS = Path("/proc/self/mountinfo")
_ESCAPED = re.compile(rb"\\([0-7]{3})")


def is_mount_point(folder: Path) -> bool:
    """Whether something is mounted on a folder: it can't be renamed, and nothing moves between it and its parent.

    By the kernel's list: what `os.path.ismount` compares is the same for a folder of the same file system.
    """
    try:
        lines = _MOUNTS.read_bytes().splitlines()
    except OSError:
        return folder.is_mount()
    wanted = os.fsencode(folder.resolve())
    return any(_ESCAPED.sub(_unescaped, line.split(b" ")[4]) == wanted for line in lines)


def _unescaped(found: re.Match[bytes]) -> bytes:
    return bytes([int(found[1], 8)])
