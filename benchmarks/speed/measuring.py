"""One measurement is one process: its CPU (user and system, its children's too), wall time and peak memory.

What it costs to start is measured in the same way, on a mirror of a few clips, and taken off: so imports, and what
a run does once, count for nobody and against nobody.
"""

import json
import os
import shutil
import subprocess
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from statistics import median

PROJECT = Path(__file__).parent.parent.parent
HUB_REPO = "me/speech"
REPORT = "stdout.txt"
"""What the process printed, in its folder."""
_USAGE = "usage.json"


class ContenderFailed(RuntimeError):
    """A measured process ended with an error."""


@dataclass(frozen=True)
class Usage:
    """What one process took."""

    cpu_s: float
    wall_s: float
    peak_mb: float


@dataclass(frozen=True)
class Contender:
    """Somebody who brings a mirror's clips into one form."""

    name: str
    audio_format: str
    command: Callable[[Path, Path], Sequence[str]]
    """(mirror, folder for what comes out, which does not exist) -> arguments of Python."""
    clips: int | None = None
    """So many clips at most are given to it, as it is slow; None: all."""
    environment: Mapping[str, str] = field(default_factory=dict)
    """What is added to ours."""
    needs_hub: bool = False
    """It publishes to a Hub, which is then made for it."""
    rival: str = "ours"
    """Who of us it is compared with."""


@dataclass
class Runs:
    """The measurements of one contender on one shape."""

    contender: Contender
    clips: int
    small_clips: int
    whole: list[Usage] = field(default_factory=list)
    small: list[Usage] = field(default_factory=list)
    """On the mirror of a few clips."""

    def cpu_us(self, with_start: bool = False) -> float:
        """A clip, in the median; without what starting takes unless asked for."""
        return self._each("cpu_s", with_start)

    def wall_us(self, with_start: bool = False) -> float:
        return self._each("wall_s", with_start)

    @property
    def start_cpu_s(self) -> float:
        return max(0.0, median(usage.cpu_s for usage in self.small) - self.small_clips * self.cpu_us() / 1e6)

    @property
    def peak_mb(self) -> float:
        return median(usage.peak_mb for usage in self.whole)

    def _each(self, what: str, with_start: bool) -> float:
        whole = float(median(getattr(usage, what) for usage in self.whole))
        if with_start:
            return whole / self.clips * 1e6
        small = float(median(getattr(usage, what) for usage in self.small))
        return (whole - small) / (self.clips - self.small_clips) * 1e6


def measure(command: Sequence[str], folder: Path, extra: Mapping[str, str] | None = None) -> Usage:
    """Run Python with these arguments in the new folder `folder`, its output in a file there.

    Raises ContenderFailed with the end of what it said.
    """
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    env = {key: value for key, value in os.environ.items() if key not in ("HF_TOKEN", "HF_ENDPOINT")}
    env |= {"PYTHONPATH": str(PROJECT), **(extra or {})}
    with (folder / REPORT).open("wb") as out, (folder / "stderr.txt").open("wb") as err:
        watched = [sys.executable, "-S", __file__, str(folder / _USAGE), sys.executable, *command]
        code = subprocess.run(watched, cwd=folder, env=env, stdout=out, stderr=err, check=False).returncode
    if code:
        said = (folder / "stderr.txt").read_text(errors="replace")[-2000:]
        raise ContenderFailed(f"{' '.join(command)} left with {code}:\n{said}")
    return Usage(**json.loads((folder / _USAGE).read_text()))


def _watch(report: Path, command: Sequence[str]) -> int:
    """Run a command to its end and report what it took. Returns its exit code.

    In a process between: one that is started from a large process is charged with that one's memory.
    """
    begun = time.perf_counter()
    process = subprocess.Popen(command)
    _, status, used = os.wait4(process.pid, 0)
    wall_s = time.perf_counter() - begun
    process.returncode = os.waitstatus_to_exitcode(status)
    usage = Usage(used.ru_utime + used.ru_stime, wall_s, used.ru_maxrss / 1024)
    report.write_text(json.dumps(asdict(usage)))
    return process.returncode


if __name__ == "__main__":
    sys.exit(_watch(Path(sys.argv[1]), sys.argv[2:]))
