"""What checkpoints, positions and bookkeeping take of our CPU: `main.py` with a clock in each of their functions.

    python -m benchmarks.speed.bookkeeping REPORT -- ARGUMENTS OF main.py

The CPU time of the thread is read on the way into and out of each function named below, whatever it calls counted,
except what is named as data: writing rows, building shards, their sha256. A profiler would charge Python code with its
own cost; comparing two intervals would drown in noise. Reading the clocks (1 us a call) is counted as bookkeeping.
Writes the CPU seconds of each function, without those of the functions inside it, as JSON.
"""

import functools
import importlib
import json
import sys
import threading
import time
from collections import defaultdict
from collections.abc import Callable
from pathlib import Path
from typing import Any

BOOKKEEPING = (
    "processors.base_processor:BaseProcessor._checkpoint",
    "utils.known.source_ids:SeenIds.admit",
    "utils.known.source_ids:SeenIds.note_covered",
    "utils.known.source_ids:SeenIds.close",
    "utils.rows.progress:Progress.after",
    "utils.rows.progress:Progress.as_json",
    "utils.upload.split_uploader:SplitUploader.publish_ready",
    "utils.upload.split_uploader:SplitUploader._publish",
)
DATA = (
    "utils.upload.segments:OpenSegment._write_rows",
    "utils.upload.shard_writer:ShardWriter.take",
    "utils.upload.shard_writer:ShardWriter.take_fresh",
    "utils.upload.split_uploader:build_part",
    "utils.dataset.ledger:Ledger.with_files",
    "utils.upload.staging:Staging.drop_published",
)
"""Called by those above, but the work of every pipeline that stages: its rows written, read, hashed and deleted."""


class Clocks:
    """CPU seconds by function, in all threads; of nested ones each has its own."""

    def __init__(self) -> None:
        self.seconds: dict[str, float] = defaultdict(float)
        self._open = threading.local()
        self._adding = threading.Lock()

    def install(self, place: str) -> None:
        """Put a clock into the function at `module:name` or `module:Class.name`. AttributeError where it is not."""
        module, _, path = place.partition(":")
        owner: Any = importlib.import_module(module)
        *outer, name = path.split(".")
        for part in outer:
            owner = getattr(owner, part)
        setattr(owner, name, self._clocked(place, getattr(owner, name)))

    def _clocked(self, place: str, function: Callable[..., Any]) -> Callable[..., Any]:
        @functools.wraps(function)
        def clocked(*arguments: Any, **named: Any) -> Any:
            stack = self._stack()
            stack.append(0.0)
            begun = time.thread_time()
            try:
                return function(*arguments, **named)
            finally:
                took = time.thread_time() - begun
                inside = stack.pop()
                if stack:
                    stack[-1] += took
                with self._adding:
                    self.seconds[place] += took - inside

        return clocked

    def _stack(self) -> list[float]:
        """Of each call under way in this thread: what the calls inside it took."""
        if not hasattr(self._open, "stack"):
            self._open.stack = []
        stack: list[float] = self._open.stack
        return stack


def bookkeeping_of(report: Path) -> dict[str, float]:
    """CPU seconds by function, data left out."""
    seconds: dict[str, float] = json.loads(report.read_text())
    return {place.partition(":")[2]: seconds.get(place, 0.0) for place in BOOKKEEPING}


def main() -> None:
    report, separator, *arguments = sys.argv[1:]
    assert separator == "--"
    clocks = Clocks()
    for place in (*BOOKKEEPING, *DATA):
        clocks.install(place)
    code = importlib.import_module("main").main(arguments)
    Path(report).write_text(json.dumps(clocks.seconds))
    sys.exit(code)


if __name__ == "__main__":
    main()
