"""Faults of the disk: watchers of the write layer that let one step of a run go wrong."""

import errno
import json
import os
import shutil
import signal
import sqlite3
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from random import Random
from typing import Any, NoReturn

from huggingface_hub.utils import _http

from utils.disk.durable import Effect

_link = os.link
"""As it is where no run has a mount point."""

TAKES_SPACE = ("create", "write", "mkdir", "link", "index")

ACTIONS = ("kill_before", "kill_after", "torn", "enospc", "eio", "full", "power", "deleted", "pause")
"""Killed before or after the step; in the middle of a write; one failing step; a disk that stays full from
here on; a power cut after the step, which takes what was not fsynced; staging and cache deleted by somebody else;
stopped until it is told to go on."""


def applies(action: str, kind: str) -> bool:
    """Whether an action makes sense at a step of this kind."""
    if action == "torn":
        return kind == "write"
    if action == "deleted":
        return kind in ("write", "rename")
    if action in ("enospc", "full"):
        return kind in (*TAKES_SPACE, "fsync", "rename")
    return True


class Recorder:
    """Writes down every step: one line of JSON each, `[kind, path]`."""

    def __init__(self, path: Path) -> None:
        self._descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o644)

    def before(self, effect: Effect) -> None:
        line = json.dumps([effect.kind, str(effect.path)]) + "\n"
        os.write(self._descriptor, line.encode())

    def after(self, effect: Effect) -> None:
        """Nothing: it was written down before."""


class Fault:
    """Lets step number `at` (from 1) go wrong in the way `action` says. `mark` is made when it strikes."""

    def __init__(self, at: int, action: str, seed: int, mark: Path) -> None:
        self._at, self._action, self._mark = at, action, mark
        self._random = Random(seed)
        self._count = 0
        self._unsettled = Unsettled() if action == "power" else None
        self._one_step = threading.Lock()
        """Of several threads one takes a step: what is cut off stays as it was cut."""

    def before(self, effect: Effect) -> None:
        with self._one_step:
            self._before(effect)

    def after(self, effect: Effect) -> None:
        with self._one_step:
            self._after(effect)

    def _before(self, effect: Effect) -> None:
        self._count += 1
        if self._unsettled:
            self._unsettled.before(effect)
        if self._count == self._at and self._action not in ("kill_after", "power"):
            self._mark.touch()
            self._strike(effect)
        elif self._count > self._at and self._action == "full" and effect.kind in TAKES_SPACE:
            _fail(effect, errno.ENOSPC)

    def _after(self, effect: Effect) -> None:
        if self._unsettled:
            self._unsettled.after(effect)
        if self._count == self._at and self._action in ("kill_after", "power"):
            self._mark.touch()
            if self._unsettled:
                _die_during(partial(self._unsettled.cut, self._random))
            die()

    def _strike(self, effect: Effect) -> None:
        match self._action:
            case "enospc" | "full":
                _fail(effect, errno.ENOSPC)
            case "eio":
                _fail(effect, errno.EIO)
            case "torn":
                if effect.data is not None:
                    half = self._random.randrange(len(effect.data))
                    with effect.path.open("ab") as file:
                        file.write(effect.data[:half])
                die()
            case "deleted":
                for folder in ("data/staging", "data/cache"):
                    shutil.rmtree(folder, ignore_errors=True)
            case "pause":
                os.kill(os.getpid(), signal.SIGSTOP)
            case _:
                die()


def _die_during(cut: Callable[[], None]) -> NoReturn:
    """Stand still, all threads, while a child makes the cut and then kills us: no code of ours sees half of it."""
    us = os.getpid()
    # A child closes the Hub client that it inherits, and waits for ever where another thread was just using it.
    _http._GLOBAL_CLIENT = None
    if os.fork() == 0:
        try:
            while _state_of(us) != "T":
                time.sleep(0.001)
            cut()
        finally:
            os.kill(us, signal.SIGKILL)
            os._exit(0)
    while True:
        os.kill(us, signal.SIGSTOP)


def _state_of(pid: int) -> str:
    """`T` for a process that was stopped."""
    return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]


def die() -> None:
    """As `kill -9` does it: nothing of ours runs any more."""
    os.kill(os.getpid(), signal.SIGKILL)


def _fail(effect: Effect, number: int) -> None:
    if effect.kind == "index":
        error = sqlite3.OperationalError(os.strerror(number))
        error.sqlite_errorcode = sqlite3.SQLITE_FULL if number == errno.ENOSPC else sqlite3.SQLITE_IOERR
        raise error
    raise OSError(number, os.strerror(number), str(effect.path))


@dataclass
class _Change:
    """A change of folders that a power cut may undo."""

    folders: set[Path]
    """Those whose fsync would still have to come."""
    undo: Callable[[], Any]


class Unsettled:
    """What a run did and no fsync has made durable.

    Strict POSIX: a file's bytes last once it was fsynced, its name once the folder was. SQLite's own files
    are left out: it keeps them whole by itself.
    """

    def __init__(self) -> None:
        self._changes: list[_Change] = []
        self._dirty: dict[int, tuple[Path, int]] = {}
        """Inode -> a file with bytes that no fsync has made durable, and how many before them are."""
        self._shelter = Path(f"power-cut-{os.getpid()}").resolve()
        self._sheltered = 0
        self._kept: dict[Path, Path | None] = {}

    def before(self, effect: Effect) -> None:
        """Shelter what the step is about to replace or delete."""
        path = effect.path.absolute()
        if effect.kind in ("rename", "delete", "create"):
            self._kept[path] = self._second_name(path) if path.is_file() else None
        if effect.kind == "write":
            about = path.stat()
            self._dirty.setdefault(about.st_ino, (path, about.st_size))

    def after(self, effect: Effect) -> None:
        path = effect.path.absolute()
        kept = self._kept.pop(path, None)
        match effect.kind:
            case "fsync":
                self._settle(path)
            case "create" | "link" if kept is None:
                self._changes.append(_Change({path.parent}, lambda: path.unlink(missing_ok=True)))
            case "mkdir":
                self._changes.append(_Change({path.parent}, lambda: _remove_if_empty(path)))
            case "delete" if kept is not None:
                self._changes.append(_Change({path.parent}, lambda: _link(kept, path)))
            case "rename":
                assert effect.old is not None
                self._renamed(effect.old.absolute(), path, kept)

    def cut(self, random: Random) -> None:
        """Lose the power: some of the last changes of folders never happened, unsynced bytes are partly gone."""
        for change in reversed(self._changes[random.randint(0, len(self._changes)) :]):
            change.undo()
        for path, durable in self._dirty.values():
            if path.is_file() and path.stat().st_size > durable:
                os.truncate(path, random.randint(durable, path.stat().st_size))

    def _second_name(self, path: Path) -> Path:
        self._shelter.mkdir(exist_ok=True)
        self._sheltered += 1
        second = self._shelter / str(self._sheltered)
        _link(path, second)
        return second

    def _renamed(self, old: Path, new: Path, replaced: Path | None) -> None:
        for number, (path, durable) in self._dirty.items():
            if path == old:
                self._dirty[number] = (new, durable)

        def undo() -> None:
            if new.exists() and old.parent.is_dir():
                new.rename(old)
            if replaced is not None:
                _link(replaced, new)

        def come_back() -> None:
            if new.is_file() and old.parent.is_dir() and not old.exists():
                _link(new, old)

        if old.parent != new.parent:  # the new name may last, and the old one too
            self._changes.append(_Change({old.parent}, come_back))
        self._changes.append(_Change({new.parent}, undo))

    def _settle(self, path: Path) -> None:
        if path.is_dir():
            for change in self._changes:
                change.folders.discard(path)
            self._changes = [change for change in self._changes if change.folders]
        else:
            self._dirty.pop(path.stat().st_ino, None)


def _remove_if_empty(folder: Path) -> None:
    if folder.is_dir() and not any(folder.iterdir()):
        folder.rmdir()
