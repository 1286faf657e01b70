"""The one layer through which durable things are written: fsync before rename, the folder after it.

A reader sees the old file or the new one, never half of one, also after a power cut.
"""

import os
from pathlib import Path

TEMPORARY_SUFFIX = ".tmp"


def fsync_file(path: Path) -> None:
    """Flush a written file's bytes to the disk."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def fsync_folder(folder: Path) -> None:
    """Make a folder's entries (new names, renames, deletions) durable."""
    fsync_file(folder)


def make_folder(folder: Path) -> None:
    """Make a folder and its parents, each durable in the one above it."""
    if folder.is_dir():
        return
    make_folder(folder.parent)
    folder.mkdir(exist_ok=True)
    fsync_folder(folder.parent)


def publish_file(temporary: Path, final: Path) -> None:
    """Give a completely written file its final name; durable when this returns."""
    fsync_file(temporary)
    temporary.replace(final)
    fsync_folder(final.parent)


def write_atomically(path: Path, content: bytes) -> None:
    """Write a whole file so that its name never stands for anything but all of `content` or what was there."""
    make_folder(path.parent)
    # Named after the process: runs with different targets may write the same mirror of their progress.
    temporary = path.with_name(f"{path.name}.{os.getpid()}{TEMPORARY_SUFFIX}")
    temporary.write_bytes(content)
    publish_file(temporary, path)


def rename_aside(path: Path, new_path: Path) -> Path:
    """Rename a file or folder to `new_path`, or to that with `-2`, `-3`, ... where the name is taken."""
    make_folder(new_path.parent)
    free, number = new_path, 1
    while free.exists():
        number += 1
        free = new_path.with_name(f"{new_path.name}-{number}")
    path.rename(free)
    fsync_folder(free.parent)
    fsync_folder(path.parent)
    return free
