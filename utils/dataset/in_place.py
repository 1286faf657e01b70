"""A dataset that is changed where it is: what a folder needs that can't change places with another one (a mount point).

All of it lies in the folder itself, hidden from readers, so on the same file system:

    .changing/new/<path>      what comes, whole and durable
    .changing/old/<path>      what stays or is replaced, under a second name; only where the old dataset is kept
    .changing/intent.json     what goes, and what the old dataset will be called: *the decision*, written last

Then what goes is moved to `old/` or deleted, what comes takes its place file by file, the state last, `old/` gets its
name, and the decision goes. Who dies before the decision has changed nothing; who dies after it has changed all, as
whoever comes next carries it out. Each step can be done twice.
"""

import json
import os
from collections.abc import Iterable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Final

from utils.dataset.layout import STATE_PATH
from utils.disk.durable import (
    fsync_folder,
    make_folder,
    remove,
    remove_tree,
    rename,
    rename_aside,
    write_atomically,
)
from utils.errors import TargetRefused

CHANGING: Final = ".changing"
"""The folder of a change that is under way."""


@dataclass(frozen=True)
class Intent:
    """What is decided."""

    heads: tuple[str, str]
    """The target's head before the change and after it."""
    goes: tuple[str, ...]
    """Files that nothing replaces."""
    kept_as: str
    """The name in the folder that the old dataset will have; empty: it is not kept."""


class InPlaceChange:
    """The change of one folder that is under way, if there is one."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._place = folder / CHANGING
        self._intent = self._place / "intent.json"
        self.new = self._place / "new"
        self.old = self._place / "old"

    def is_decided(self) -> bool:
        """Whether it must be carried out."""
        return self._intent.exists()

    def forget(self) -> None:
        """Drop what was made ready, and not decided."""
        remove_tree(self._place)

    def decide(self, intent: Intent) -> None:
        """From here on it happens, whoever dies. All that is in `new` and `old` is durable."""
        write_atomically(self._intent, json.dumps(asdict(intent), ensure_ascii=False).encode())

    def carry_out(self, head: str) -> Path | None:
        """Do what is decided, or the rest of it; returns where the old dataset is kept.

        `head` is the folder's; TargetRefused where it is of neither time.
        """
        intent = self._read_intent()
        if head not in intent.heads:
            raise TargetRefused(
                f"A change of {self._folder} died in its middle, and its {STATE_PATH} is another one since. Nothing "
                f"was changed. Put back the state that was there, or, where the dataset is as it should be, delete "
                f"{self._place}; then repeat this command."
            )
        for path in intent.goes:
            self._let_go(path, intent)
        for path in sorted(_files_below(self.new), key=lambda path: path == STATE_PATH):
            make_folder((self._folder / path).parent)
            rename(self.new / path, self._folder / path)
            fsync_folder((self._folder / path).parent)
        kept = self._folder / intent.kept_as if intent.kept_as else None
        if kept and self.old.exists():
            kept = rename_aside(self.old, kept)
        remove(self._intent)
        fsync_folder(self._place)  # else a power cut could bring it back, to be carried out on what comes next
        self.forget()
        return kept

    def _let_go(self, path: str, intent: Intent) -> None:
        here, there = self._folder / path, self.old / path
        if here.exists() and intent.kept_as and not there.exists():
            make_folder(there.parent)
            rename(here, there)
            fsync_folder(there.parent)
        remove(here)  # also where a power cut has left it under both names
        if here.parent.exists():
            fsync_folder(here.parent)

    def _read_intent(self) -> Intent:
        content = json.loads(self._intent.read_bytes())
        before, after = content["heads"]
        return Intent((before, after), tuple(content["goes"]), content["kept_as"])


def _files_below(folder: Path) -> Iterable[str]:
    for parent, _, names in os.walk(folder):
        yield from (Path(parent, name).relative_to(folder).as_posix() for name in names)
