"""The files of a folder that somebody keeps a source in: all of them, by name, and none that is not in it.

A corpus comes from others, and what is read of it is published. So a link is followed where it leads to a place in the
folder, and nowhere else: `text -> ~/.ssh/id_rsa` is a file of the user's, not of the corpus. One that leads out stops
the source, as leaving it out would lose clips. The folder itself may be a link, as the user has named it.

Tools that keep each content once link to it from the files' names. Their stores lie in or above the folder, and count
as part of it: `blobs` beside the `snapshots` of the Hub's own cache, those of git-annex and of DVC.
"""

import os
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

from utils.errors import SourceError
from utils.rows.printable import shown

_STORES: Final = (".git/annex/objects", ".dvc/cache")
"""Of a working folder, whose sub-folder a corpus may be."""
_SNAPSHOTS, _BLOBS = "snapshots", "blobs"
MAX_LINKED_FOLDERS: Final = 10_000
"""Followed in one folder: ten that link to each other make millions of paths."""


def files_in(folder: Path, note: Callable[[bytes], object] | None = None) -> Iterator[tuple[str, int]]:
    """(relative name, size in bytes) of each file, not sorted; hidden ones are left out.

    `note` is told what else tells one file from another in its place, as far as a disk says it.

    SourceError where something can't be read, or is a link that leads out of the folder or to nothing.
    """
    try:
        for name, status in _Walk(folder).files():
            if note is not None:
                note(os.fsencode(name) + b"\0%d %d\n" % (status.st_mtime_ns, status.st_ino))
            yield name, status.st_size
    except OSError as error:
        raise SourceError(
            f"{shown(error.filename)} can't be read ({error.strerror}), so what the mirror holds is not known. "
            "Nothing was read. Mend or remove it, then run again with --resume."
        ) from error


@dataclass
class _Walk:
    folder: Path
    linked_folders: int = 0
    places: tuple[str, ...] = field(init=False)
    """Where links may lead: real paths."""

    def __post_init__(self) -> None:
        root = Path(os.path.realpath(self.folder))
        stores = [above / store for above in (root, *root.parents) for store in _STORES]
        stores += [above.parent.with_name(_BLOBS) for above in (root, *root.parents) if above.parent.name == _SNAPSHOTS]
        self.places = (str(root), *(os.path.realpath(store) for store in stores if store.is_dir()))

    def files(self) -> Iterator[tuple[str, os.stat_result]]:
        return self._below(str(self.folder), "", ())

    def _below(self, folder: str, prefix: str, ancestors: tuple[str, ...]) -> Iterator[tuple[str, os.stat_result]]:
        real = os.path.realpath(folder)
        if real in ancestors:  # a link to a folder above it
            return
        with os.scandir(folder) as entries:
            for entry in entries:
                if entry.name.startswith("."):
                    continue
                if entry.is_symlink():
                    self._check_link(entry)
                if entry.is_dir():
                    yield from self._below(entry.path, f"{prefix}{entry.name}/", (*ancestors, real))
                elif (status := _status_of_regular_file(entry)) is not None:
                    yield prefix + entry.name, status

    def _check_link(self, link: os.DirEntry[str]) -> None:
        real = os.path.realpath(link.path)
        if not any(os.path.commonpath((real, place)) == place for place in self.places):
            raise SourceError(
                f"{shown(link.path)} is a link that leads out of its corpus, to {shown(real)}. It is not followed, as "
                "what it leads to would be published. Nothing was read. Remove it; or, if that is part of the corpus, "
                "put the files themselves there (`cp -rL` copies what links lead to). Then run again with --resume."
            )
        self.linked_folders += link.is_dir()
        if self.linked_folders > MAX_LINKED_FOLDERS:
            raise SourceError(
                f"{shown(self.folder)}: its links lead through more than {MAX_LINKED_FOLDERS:,} folders, round and "
                "round. Nothing was read. Remove them, then run again with --resume."
            )


def _status_of_regular_file(entry: os.DirEntry[str]) -> os.stat_result | None:
    """None for a pipe, a socket or a device. A link to nothing raises: leaving it out would lose clips."""
    status = entry.stat()
    return status if entry.is_file() else None
