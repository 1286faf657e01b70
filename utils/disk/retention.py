"""How long is kept what no run needs any more: pure decisions on ages, and the deleting itself.

    history of checkpoints    the last 20 of a source, and the last of each of the last 30 days
    archives, set-aside       30 days from when they were put there
    logs                      30 days, and the last 20 whatever their age

Ages come from a clock, and clocks jump. So nothing is here that a run goes on from, "the last 20" are told by order
alone, and what seems to come from the future is not old. Whole datasets that were put away (`.before-fresh-...`,
`.before-repair-...`, `.before-removal-...`) are the user's: no age makes them ours.

An entry is deleted only where its name is one that we give (`RetainedFolder.ours`) and no link stands in its way.
"""

import os
import re
from collections.abc import Iterable, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

from utils.disk.durable import remove, remove_tree

KEPT_LAST = 20
KEPT_DAYS = 30
DAY_S = 24 * 60 * 60

Item = TypeVar("Item")


@dataclass(frozen=True)
class RetainedFolder:
    """A folder in which entries grow old."""

    folder: Path
    ours: re.Pattern[str]
    """What the path of an entry below `folder` (with `/`) must be in full."""
    what: str
    """What they are, in words, in the plural."""
    keeps_last: int = 0
    """How many of the newest stay, whatever their age."""


@dataclass(frozen=True)
class RetainedEntry:
    """A file or a folder with all that is in it."""

    path: Path
    what: str
    since_s: float
    """When it came to its place, in seconds since 1970: moving a file there counts, its content's age does not."""
    size_bytes: int


def is_old(since_s: float, now_s: float) -> bool:
    """Whether something is past its 30 days. What comes from the future is not."""
    return now_s - since_s > KEPT_DAYS * DAY_S


def superseded(written: Sequence[tuple[int, Item]], now_s: float) -> list[Item]:
    """Which of some (time in seconds, item), in the order of writing, are neither of the last nor a day's last."""
    last_of_day = {
        stamp // DAY_S: at for at, (stamp, _) in enumerate(written) if not is_old(stamp, now_s)
    }  # the later one of a day overwrites the earlier
    kept = {*last_of_day.values(), *range(max(0, len(written) - KEPT_LAST), len(written))}
    return [item for at, (_, item) in enumerate(written) if at not in kept]


def expired(place: RetainedFolder, now_s: float) -> list[RetainedEntry]:
    """The entries of a place that are due, oldest first."""
    entries = sorted(_entries(place), key=lambda entry: (entry.since_s, entry.path))
    may_go = entries[: len(entries) - place.keeps_last] if place.keeps_last else entries
    return [entry for entry in may_go if is_old(entry.since_s, now_s)]


def measured(path: Path, what: str) -> RetainedEntry:
    """A file or folder as an entry. FileNotFoundError where it is gone."""
    return RetainedEntry(path, what, path.lstat().st_ctime, sum(_sizes(path)))


def delete(entries: Iterable[RetainedEntry]) -> int:
    """Delete entries; returns the bytes freed. One that somebody else deletes meanwhile is no failure."""
    freed = 0
    for entry in entries:
        with suppress(FileNotFoundError):
            entry.path.lstat()
            if entry.path.is_dir():
                remove_tree(entry.path)  # unlinks links, follows none
            else:
                remove(entry.path)
            freed += entry.size_bytes
    return freed


def _entries(place: RetainedFolder) -> Iterator[RetainedEntry]:
    """What in a place is ours, whatever its age. An entry of ours that is a folder is one entry."""
    if place.folder.is_symlink():
        return
    for folder, folders, files in os.walk(place.folder):
        for name in sorted([*folders, *files]):
            path = Path(folder, name)
            if path.is_symlink() or not place.ours.fullmatch(path.relative_to(place.folder).as_posix()):
                continue
            if name in folders:
                folders.remove(name)
            with suppress(FileNotFoundError):
                yield measured(path, place.what)


def _sizes(path: Path) -> Iterator[int]:
    """The sizes of a file, or of the files below a folder; links count as what they are."""
    if not path.is_dir():
        yield path.lstat().st_size
        return
    for folder, _, files in os.walk(path):
        for name in files:
            with suppress(FileNotFoundError):
                yield Path(folder, name).lstat().st_size
