"""A working folder with a target, in which programs run by their command line, one after the other.

A target is a folder, or a repo on the tests' Hub, which runs as long as a command does and keeps its repos in the
machine's folder. A command may be killed where it has come to a point, never by the clock.
"""

import os
import re
import shutil
import subprocess
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import nullcontext
from dataclasses import dataclass
from pathlib import Path

from tests.hub.store import Store
from tests.hub_server import TOKEN, HubServer

FOLDER, HUB = "folder", "Hub"
REPO = "me/thai-voice"
TIMEOUT_S = 600.0
_LOOK_EVERY_S = 0.001
_REMOVED_VARIABLES = ("HF_TOKEN", "HF_ENDPOINT", "PYTHONPATH", "PYTHONSAFEPATH", "MDC_API_KEY")
_NOBODY_LISTENS = "http://127.0.0.1:9"


class CannotCompare(Exception):
    """Nothing would be shown: a run that was to be killed ended before, or a dataset has less than it should."""


@dataclass(frozen=True)
class Program:
    """A commit's tree, checked out."""

    name: str
    """As it is told: BASE or CHANGED."""
    folder: Path


@dataclass(frozen=True)
class Ended:
    """How a command ended. `words`: standard output, without what is the machine's own: paths, commits, times."""

    code: int
    words: str
    errors: str


Reached = Callable[["Machine"], Callable[[], bool]]
"""Asked when a command starts; what it returns says whether the command has come to a point."""


@dataclass(frozen=True)
class Kill:
    """Where a command is killed with SIGKILL: at a request to the Hub, or where files show that it came to a point."""

    at_request: Mapping[str, object] | None = None
    """A rule of `tests.hub.faults`."""
    where: Reached | None = None
    machine_is_lost: bool = False
    """With it goes all that the run kept outside the target."""


class Machine:
    def __init__(self, folder: Path, target: str, hub: Path | None = None) -> None:
        """`hub`: the Hub as it is before the first command, copied."""
        self.folder, self.target = folder, target
        self.work.mkdir(parents=True)
        if target == HUB and hub:
            shutil.copytree(hub, self.hub)

    def copied(self, folder: Path) -> "Machine":
        """Another machine with the same target, and nothing else."""
        copy = Machine(folder, self.target)
        held, where = (self.hub, copy.hub) if self.target == HUB else (self.out, copy.out)
        shutil.copytree(held, where)
        return copy

    @property
    def work(self) -> Path:
        return self.folder / "work"

    @property
    def hub(self) -> Path:
        return self.folder / "hub"

    @property
    def out(self) -> Path:
        return self.work / "out"

    @property
    def target_arguments(self) -> list[str]:
        return ["--hf-repo", REPO] if self.target == HUB else ["--output", self.out.name]

    def run(self, program: Program, arguments: Sequence[str], kill: Kill | None = None) -> Ended:
        """A command to its end, or until it is killed."""
        with HubServer(self.hub) if self.target == HUB else nullcontext() as hub:
            if hub and kill and kill.at_request:
                hub.fault("kill", **kill.at_request)
            reached = kill.where(self) if kill and kill.where else None
            command = [sys.executable, str(program.folder / "main.py"), *arguments, *self.target_arguments]
            with subprocess.Popen(
                command,
                cwd=self.work,
                env=self._environment(hub),
                stdout=subprocess.PIPE,
                stderr=subprocess.PIPE,
            ) as process:
                if hub:
                    hub.set_client_pid(process.pid)
                try:
                    if reached:
                        _kill_when(process, reached)
                    out, errors = process.communicate(timeout=TIMEOUT_S)
                except subprocess.TimeoutExpired as error:
                    process.kill()
                    raise CannotCompare(f"{program.name} did not end within {TIMEOUT_S:.0f} s.") from error
        return Ended(process.returncode, self._common(out), self._common(errors))

    def lose(self) -> None:
        """Continue as another machine, with nothing but the target."""
        for name in ("checkpoints", "data/staging", "data/cache"):
            shutil.rmtree(self.work / name, ignore_errors=True)

    def published(self) -> dict[str, Path]:
        """Path in the dataset -> a file with its bytes. Nothing where there is no dataset."""
        if self.target == FOLDER:
            found = [path for path in self.out.rglob("*") if path.is_file()]
            return {path.relative_to(self.out).as_posix(): path for path in found}
        store = Store(self.hub)
        if store.settings(REPO) is None:
            return {}
        tree = store.load(REPO, store.resolve(REPO, "main")).tree
        return {path: store.object_path(REPO, entry) for path, entry in tree.items() if path != ".gitattributes"}

    def _environment(self, hub: HubServer | None) -> dict[str, str]:
        """This one without tokens and whatever leads Python to other modules."""
        kept = {name: value for name, value in os.environ.items() if name not in _REMOVED_VARIABLES}
        reached = {"HF_ENDPOINT": hub.endpoint, "HF_TOKEN": TOKEN} if hub else {"HF_ENDPOINT": _NOBODY_LISTENS}
        return {**kept, **reached, "HF_HUB_DISABLE_XET": "1", "HF_HOME": str(self.folder / "hf"), "NO_COLOR": "1"}

    def _common(self, raw: bytes) -> str:
        text = raw.decode(errors="replace").replace(str(self.folder), "MACHINE")
        text = re.sub(r"http://(127\.0\.0\.1|localhost):\d+", "HUB", text)
        text = re.sub(r"\b[0-9a-f]{40}\b", "COMMIT", text)
        return re.sub(r"\b(before-[a-z]+)-\d{8}-\d{6}", r"\1-TIME", text)


def _kill_when(process: subprocess.Popen[bytes], reached: Callable[[], bool]) -> None:
    """Kill it at that point, if it does not end before. subprocess.TimeoutExpired where it does neither."""
    deadline = time.monotonic() + TIMEOUT_S
    while process.poll() is None and not reached():
        if time.monotonic() > deadline:
            raise subprocess.TimeoutExpired(process.args, TIMEOUT_S)
        time.sleep(_LOOK_EVERY_S)
    process.kill()  # the run that it waits for dies with it


def segments_staged(machine: Machine) -> set[Path]:
    """Those that are closed."""
    return set(machine.work.glob("data/staging/*/*/*/*.arrow"))
