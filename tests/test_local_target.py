"""A folder as a target: files, then the card, then the state, whose rename is the commit. Crashes at every point."""

import errno
import os
import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from unittest.mock import patch

import pytest

from tests.support import begun_state, change, steps, tree
from utils.errors import TargetMoved, TargetRefused
from utils.publisher import open_publisher
from utils.state import STATE_PATH, State
from utils.targets import CARD_PATH, Change, LocalTarget, Snapshot, published_files


class Died(OSError):
    """Stands for the end of the process."""


@contextmanager
def dying_at(number: int, *, before: bool) -> Iterator[list[str]]:
    """Die at the so-manieth step that changes the disk (fsync, rename), before or after it. Yields the steps taken."""
    taken: list[str] = []

    def dying(name: str, act: Callable[..., object]) -> Callable[..., object]:
        def step(*arguments: object) -> object:
            if before and len(taken) == number:
                raise Died(errno.EIO, "died")
            result = act(*arguments)
            taken.append(f"{name} {arguments[-1]}")
            if not before and len(taken) == number + 1:
                raise Died(errno.EIO, "died")
            return result

        return step

    with (
        patch.object(os, "fsync", dying("fsync", os.fsync)),
        patch.object(Path, "replace", lambda path, new: dying("replace", Path.rename)(path, new)),
    ):
        rename = Path.rename
        with patch.object(Path, "rename", lambda path, new: dying("rename", rename)(path, new)):
            yield taken
