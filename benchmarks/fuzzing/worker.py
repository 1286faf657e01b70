"""One worker: a process that puts inputs to one reader, tells of each how it ended, and may die of any.

`python -m benchmarks.fuzzing.worker SEED TARGET FIRST END` writes a line for each input when it is done: its number,
the ending, milliseconds of CPU, MB of memory above what stood before it, and of a failure what it was. Who reads them
knows from the last line which input a death belongs to.

Limits count this process's own CPU and memory, never the time of day: SIGPROF ends it after the seconds of CPU that an
input may take, also within a C library; RLIMIT_AS makes an absurd allocation fail instead of the machine.
"""

import contextlib
import faulthandler
import logging
import re
import resource
import shutil
import signal
import sys
import tempfile
import time
import traceback
from pathlib import Path
from random import Random
from typing import Any

from tests.fuzz import archives, audio, bombs, broken, datasets, records
from tests.fuzz.ending import Target, ending_of

FAILURE = "failure"
MAX_MB = 300
"""Above what stood before the input was read; the input itself stands before."""
_ADDRESS_SPACE_BYTES = 6 * 1024**3
_MAX_LEFT_OPEN = 8


def all_targets() -> list[Target]:
    """Every target, bombs last."""
    return [target for module in (audio, archives, records, datasets, bombs) for target in module.targets()]


def target_named(name: str) -> Target:
    return next(target for target in (*all_targets(), *broken.targets()) if target.name == name)


def made_by(seed: int, target: Target, number: int) -> Any:
    """The input that a seed and its number stand for, in every process."""
    return target.make(Random(f"{seed}/{target.name}/{number}"))


def main(arguments: list[str]) -> None:
    seed, name, first, end = int(arguments[0]), arguments[1], int(arguments[2]), int(arguments[3])
    faulthandler.enable()
    logging.disable(logging.CRITICAL)
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    target = target_named(name)
    if target.always is None:
        _warm_up(seed, target)
    left_open = _files_open()
    with tempfile.TemporaryDirectory(prefix="fuzz-") as scratch:
        for number in range(first, end):
            told = _one(target, made_by(seed, target, number), Path(scratch) / "input")
            if number == end - 1 and _files_open() > left_open + _MAX_LEFT_OPEN:
                told = f"{FAILURE} 0 0 files are left open"
            print(number, told, flush=True)


def _files_open() -> int:
    return sum(1 for _ in Path("/proc/self/fd").iterdir())


def _warm_up(seed: int, target: Target) -> None:
    """Import and allocate what every input needs, so that none is charged with it."""
    with tempfile.TemporaryDirectory(prefix="fuzz-") as scratch, contextlib.suppress(Exception):
        for number in range(3):
            _one(target, made_by(seed, target, -1 - number), Path(scratch) / "input")


def _one(target: Target, made: Any, folder: Path) -> str:
    folder.mkdir()
    before_mb = _reset_peak_mb()
    signal.setitimer(signal.ITIMER_PROF, target.most_cpu_s)
    _limit_address_space(_ADDRESS_SPACE_BYTES)  # for the reader alone: a bomb may take more to build
    begun = time.process_time()
    try:
        ending, detail = ending_of(target, made, folder), ""
    except Exception as error:  # noqa: BLE001 - all that nobody should see is what we look for
        ending, detail = FAILURE, _in_short(error)
    cpu_ms = 1000 * (time.process_time() - begun)
    signal.setitimer(signal.ITIMER_PROF, 0)
    _limit_address_space(resource.RLIM_INFINITY)
    grown_mb = _status_mb("VmHWM") - before_mb
    shutil.rmtree(folder, ignore_errors=True)
    if grown_mb > MAX_MB and ending != FAILURE:
        ending, detail = FAILURE, f"{grown_mb:.0f} MB of memory"
    return f"{ending.replace(' ', '-')} {cpu_ms:.1f} {max(0.0, grown_mb):.1f} {detail}"


def _limit_address_space(size_bytes: int) -> None:
    resource.setrlimit(resource.RLIMIT_AS, (size_bytes, resource.RLIM_INFINITY))


def _in_short(error: Exception) -> str:
    """The kind of a failure: equal ones are told once."""
    frames = [frame for frame in traceback.extract_tb(error.__traceback__) if "site-packages" not in frame.filename]
    place = f"{Path(frames[-1].filename).name}:{frames[-1].lineno}" if frames else ""
    return re.sub(r"\s+", " ", ascii(f"{type(error).__name__} at {place}: {str(error)[:200]}"))


def _reset_peak_mb() -> float:
    """The memory that stands now; from here on the peak is counted anew."""
    Path("/proc/self/clear_refs").write_text("5")
    return _status_mb("VmRSS")


def _status_mb(field: str) -> float:
    status = Path("/proc/self/status").read_text()
    found = re.search(rf"{field}:\s+(\d+) kB", status)
    return int(found[1]) / 1024 if found else 0.0


if __name__ == "__main__":
    main(sys.argv[1:])
