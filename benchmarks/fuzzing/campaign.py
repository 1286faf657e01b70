"""A campaign: so many inputs, shared out among the targets, each part put to workers that may die of any input.

A worker that died is known by its last line: the input after it is a failure, and the next worker goes on behind that.
"""

import os
import subprocess
import sys
import tempfile
from collections import Counter
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from signal import Signals

from benchmarks.fuzzing.worker import FAILURE
from tests.fuzz.ending import Target

PROJECT = Path(__file__).parent.parent.parent
BATCH = 1000
"""Inputs a worker is given; then a fresh one goes on."""
_STUCK_S = 3600
"""A worker that says nothing for so long waits for something that never comes: the one limit in time of day."""


@dataclass
class Tally:
    """What became of a target's inputs."""

    target: str
    inputs: int = 0
    endings: Counter[str] = field(default_factory=Counter)
    failures: dict[int, str] = field(default_factory=dict)
    """Number of the input -> what happened."""
    failed: int = 0
    cpu_ms: float = 0.0
    slowest_ms: float = 0.0
    most_mb: float = 0.0

    def take(self, number: int, ending: str, cpu_ms: float, mb: float, detail: str) -> None:
        self.inputs += 1
        self.endings[ending] += 1
        self.cpu_ms += cpu_ms
        self.slowest_ms = max(self.slowest_ms, cpu_ms)
        self.most_mb = max(self.most_mb, mb)
        if ending == FAILURE:
            self.failures[number] = detail
            self.failed += 1

    def add(self, other: "Tally") -> None:
        self.inputs += other.inputs
        self.endings += other.endings
        self.failures |= other.failures
        self.failed += other.failed
        self.cpu_ms += other.cpu_ms
        self.slowest_ms = max(self.slowest_ms, other.slowest_ms)
        self.most_mb = max(self.most_mb, other.most_mb)


def shares(targets: list[Target], count: int) -> dict[str, int]:
    """How many inputs each target gets: bombs theirs, the others `count` between them, one at least."""
    whole = sum(target.share for target in targets if target.always is None)
    inputs = {target.name: target.always or max(1, round(count * target.share / whole)) for target in targets}
    shared = [target for target in targets if target.always is None]
    if shared:  # rounding must not make it fewer than were asked for
        cheapest = max(shared, key=lambda target: target.share).name
        inputs[cheapest] += max(0, count - sum(inputs[target.name] for target in shared))
    return inputs


def run(seed: int, inputs: dict[str, int], jobs: int, on_batch: Callable[[Tally], None]) -> list[Tally]:
    """Put all inputs to their targets. `on_batch` is told of each batch when it is done."""
    tallies = {name: Tally(name) for name in inputs}
    batches = [
        (name, first, min(first + BATCH, count)) for name, count in inputs.items() for first in range(0, count, BATCH)
    ]
    with ThreadPoolExecutor(jobs) as pool:
        for tally in pool.map(lambda batch: _batch(seed, *batch), batches):
            tallies[tally.target].add(tally)
            on_batch(tally)
    return list(tallies.values())


def _batch(seed: int, name: str, first: int, end: int) -> Tally:
    tally = Tally(name)
    while first < end:
        first = _work(seed, tally, first, end)
    return tally


def _work(seed: int, tally: Tally, first: int, end: int) -> int:
    """Let a worker do what it can of a batch; returns the input to go on with."""
    command = [sys.executable, "-m", "benchmarks.fuzzing.worker", str(seed), tally.target, str(first), str(end)]
    with tempfile.TemporaryDirectory(prefix="fuzz-") as folder:  # a worker that is killed leaves its own behind in it
        worker = subprocess.Popen(
            command,
            cwd=PROJECT,
            env={**os.environ, "TMPDIR": folder},
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            errors="replace",
        )
        try:
            out, err = worker.communicate(timeout=_STUCK_S)
        except subprocess.TimeoutExpired:
            worker.kill()
            out, err = worker.communicate()
    for line in _lines(out):
        number, ending, cpu_ms, mb, detail = line
        tally.take(number, ending, cpu_ms, mb, detail)
        first = number + 1
    if first < end:
        tally.take(first, FAILURE, 0.0, 0.0, _death(worker.returncode, err))
        first += 1
    return first


def _lines(out: str) -> Iterator[tuple[int, str, float, float, str]]:
    for line in out.splitlines():
        number, ending, cpu_ms, mb, *detail = line.split(" ", 4)
        yield int(number), ending.replace("-", " "), float(cpu_ms), float(mb), "".join(detail)


def _death(code: int, err: str) -> str:
    if code == -Signals.SIGPROF:
        return "more CPU than an input may take"
    how = f"death by {Signals(-code).name}" if code < 0 else f"exit {code}"
    last = [line for line in err.splitlines() if line.strip() and "mpg123" not in line][-12:]
    return f"{how}: {' | '.join(last)[:600]}"
