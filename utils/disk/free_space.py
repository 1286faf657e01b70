"""The floor of free disk space: a run stops cleanly while there is still room, not in the middle of a write."""

import shutil
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from utils.errors import COMMAND, Stopped

GB = 1000**3
DEFAULT_FLOOR_GB = 2.0


class Usage(Protocol):
    """What `shutil.disk_usage` tells, in bytes."""

    @property
    def total(self) -> int: ...

    @property
    def free(self) -> int: ...


@dataclass(frozen=True)
class DiskFloor:
    """What must stay free on the disks of `folders`, which need not exist yet. Without folders, nothing."""

    folders: Sequence[Path] = ()
    min_free_gb: float | None = None
    """None: 2, or a tenth of a disk that is smaller than 20. 0: no floor."""
    usage: Callable[[Path], Usage] = shutil.disk_usage

    def check(self) -> None:
        """Stopped where a disk has less left."""
        for folder in self.folders:
            usage = self.usage(_existing(folder))
            floor = default_floor_bytes(usage.total) if self.min_free_gb is None else self.min_free_gb * GB
            if usage.free < floor:
                raise Stopped(
                    f"The disk of {folder} has {_gb(usage.free)} GB free, less than the {_gb(floor)} GB that "
                    "--min-free-gb keeps. Nothing is lost: what was committed is safe, what was staged is kept. Free "
                    f"some space (`{COMMAND} --prune --dry-run` shows old files that may go, `--clear-cache` "
                    "deletes downloaded source files), or lower the floor (--min-free-gb 0 is none), then repeat this "
                    "command with --resume."
                )


NO_FLOOR = DiskFloor()


def default_floor_bytes(total_bytes: int) -> float:
    """2 GB; of a disk under 20 GB, a tenth, so that small ones can be used at all."""
    return min(DEFAULT_FLOOR_GB * GB, total_bytes / 10)


def _existing(folder: Path) -> Path:
    """The folder, or the nearest one above it that is there."""
    here = folder.absolute()
    while not here.exists():
        here = here.parent
    return here


def _gb(size_bytes: float) -> str:
    return f"{size_bytes / GB:.3g}" if size_bytes < 100 * GB else f"{size_bytes / GB:,.0f}"
