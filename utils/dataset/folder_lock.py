"""The lock of a folder (law 5), held twice: beside it, and in it.

The one beside it is there before the folder is, and stays when two folders change places. But two mounts of one folder
have different places beside it; the one inside is the same, by whatever name the folder is reached.
"""

import os
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Final

from utils.disk.durable import rename
from utils.disk.file_names import file_name_of
from utils.disk.lock import HeldLock, hold_lock
from utils.disk.mounts import is_mount_point

LOCK: Final = ".lock"
"""The lock in a folder."""


class FolderLock:
    """The two locks of one folder."""

    def __init__(self, folder: Path, name: str) -> None:
        self._folder, self._name = folder, name
        self._inside = folder / LOCK
        self._held: HeldLock | None = None
        self._locks = ExitStack()
        self._is_held_inside = False

    @property
    def path(self) -> Path:
        """Beside the folder; in it where nothing can be written there, and the folder keeps its name."""
        if is_mount_point(self._folder) and not os.access(self._folder.parent, os.W_OK):
            return self._inside
        return self._folder.parent / f".{file_name_of(self._folder.name)}.lock"

    @contextmanager
    def held(self) -> Iterator[None]:
        """Hold the one beside it; the one inside from `hold_inside` on."""
        with hold_lock(self.path, self._name) as self._held, ExitStack() as self._locks:
            try:
                yield
            finally:
                self._held, self._is_held_inside = None, False

    def hold_inside(self) -> None:
        """As soon as there is a folder. Nothing where the one beside it is not held."""
        if self._held and not self._is_held_inside:
            if self.path != self._inside:
                self._locks.enter_context(hold_lock(self._inside, self._name, self._held))
            self._is_held_inside = True

    def move_to(self, folder: Path) -> None:
        """The one inside goes along into what takes the folder's name, held: it is in no other, whoever dies."""
        if self._is_held_inside and self._inside.exists():
            rename(self._inside, folder / LOCK)
