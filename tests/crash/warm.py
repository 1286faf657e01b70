"""Runs of `main.py`, forked from a warm parent: everything is imported, no thread was started.

The parent is a process of its own (`Warm` starts and steers it), because a test's process has threads, and
a fork takes only one of them along. Orders and answers are lines of JSON.
"""

import gc
import json
import os
import signal
import subprocess
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from tests.runs import environment

PROJECT = Path(__file__).parents[2]
TIMEOUT_S = 0.4
"""Of an answer of the Hub, in every run."""
BATCH_ROWS = 2
"""Of a segment, in every run: so that rows reach their shard while their segment is still open."""
BUG = 70
"""The exit code of a run that ended in an exception."""
NO_THREADS = {"OPENBLAS_NUM_THREADS": "1", "OMP_NUM_THREADS": "1", "JE_ARROW_MALLOC_CONF": "background_thread:false"}
"""Settings of libraries that would start threads while they are imported."""
NO_XET = {"HF_HUB_DISABLE_XET": "1"}


@dataclass(frozen=True)
class Run:
    """One run in the folder `machine`; `fault` are the arguments of `disk.Fault`, `record` a file for the steps.

    `mounted` is a folder that is a mount point.
    """

    arguments: Sequence[str]
    machine: Path
    environment: Mapping[str, str]
    fault: Mapping[str, Any] | None = None
    record: Path | None = None
    mounted: Path | None = None


@dataclass(frozen=True)
class Ended:
    """`code` is minus the signal of a run that was killed; None of one that only stands still."""

    code: int | None
    told: str


class Warm:
    """The parent, seen from outside."""

    def __enter__(self) -> Self:
        self._parent = subprocess.Popen(
            [sys.executable, "-m", "tests.crash.warm"],
            cwd=PROJECT,
            env={**environment(), **NO_THREADS, **NO_XET},
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        assert self._parent.stdin is not None and self._parent.stdout is not None
        self._parent.stdin.close()
        self._parent.wait(60)
        self._parent.stdout.close()

    def run(self, run: Run) -> Ended:
        """A run to its end, or to where it pauses."""
        return self.wait(self.start(run), run)

    def start(self, run: Run) -> int:
        """Fork a run; returns its process id."""
        run.machine.mkdir(parents=True, exist_ok=True)
        order = {
            "arguments": list(run.arguments),
            "machine": str(run.machine),
            "environment": dict(run.environment),
            "fault": run.fault and {**run.fault, "mark": str(run.fault["mark"])},
            "record": run.record and str(run.record),
            "mounted": run.mounted and str(run.mounted),
        }
        return int(self._ask({"start": order})["pid"])

    def wait(self, pid: int, run: Run) -> Ended:
        """Until the run ends, or stands still where its fault pauses it."""
        may_pause = run.fault is not None and run.fault["action"] == "pause"
        code = self._ask({"wait": pid, "may_pause": may_pause})["code"]
        return Ended(code, output_of(run.machine, pid) if code is not None else "")

    def go_on(self, pid: int) -> None:
        """Let a run that stands still go on."""
        os.kill(pid, signal.SIGCONT)

    def _ask(self, order: Mapping[str, Any]) -> dict[str, Any]:
        assert self._parent.stdin is not None and self._parent.stdout is not None
        self._parent.stdin.write(json.dumps(order) + "\n")
        self._parent.stdin.flush()
        line = self._parent.stdout.readline()
        if not line:
            raise RuntimeError("the process that runs are forked from has ended; what it ended with is above")
        answer: dict[str, Any] = json.loads(line)
        return answer


def output_of(machine: Path, pid: int) -> str:
    """What a run printed, and the log of one that met a bug; forgotten then."""
    path = machine / f"output-{pid}.txt"
    told = path.read_text(errors="replace")
    path.unlink()
    if "bug of ours" in told:
        told += "".join(log.read_text(errors="replace")[-3000:] for log in machine.glob(f"logs/*-{pid}.log"))
    return told


# --- inside the parent ---------------------------------------------------------------------------


def serve() -> None:
    """Carry out orders until there are no more."""
    _import_everything()
    for line in sys.stdin:
        order = json.loads(line)
        if "start" in order:
            _refuse_threads()
            pid = os.fork()
            if pid == 0:
                _be_a_run(order["start"])
            answer: dict[str, Any] = {"pid": pid}
        else:
            _, status = os.waitpid(order["wait"], os.WUNTRACED if order["may_pause"] else 0)
            answer = {"code": None if os.WIFSTOPPED(status) else os.waitstatus_to_exitcode(status)}
        print(json.dumps(answer), flush=True)


def _import_everything() -> None:
    """What a run needs, and what each would make anew."""
    import apify_client
    import huggingface_hub.hf_file_system
    import pyarrow as pa
    import pyarrow.compute
    import pyarrow.dataset
    import pyarrow.parquet
    import soundfile
    import soxr
    import tqdm.auto
    import tqdm.contrib.concurrent
    import yaml

    # The card is read and written by libyaml: the same content, in a tenth of the time.
    yaml.SafeLoader, yaml.SafeDumper = yaml.CSafeLoader, yaml.CSafeDumper

    import main
    import pipeline.app
    import pipeline.cli
    import processors.apify.processor
    import processors.demo
    from processors import REGISTRY
    from utils.sources import hub
    from utils.text.normalize import normalize_transcript
    from utils.upload import staging

    staging.BATCH_ROWS = BATCH_ROWS
    pa.set_cpu_count(1)
    pa.set_io_thread_count(1)
    normalize_transcript("ทดสอบ")
    hub.connect("none", TIMEOUT_S)  # with the certificates read: that takes longer than a whole run
    huggingface_hub.get_session()
    gc.freeze()
    used = (
        apify_client,
        pyarrow.compute,
        pyarrow.dataset,
        pyarrow.parquet,
        soundfile,
        soxr,
        tqdm,
        main,
        pipeline,
        processors,
    )
    assert all(used) and all(REGISTRY.values())


def _refuse_threads() -> None:
    threads = len(list(Path("/proc/self/task").iterdir()))
    if threads != 1:
        raise RuntimeError(f"the parent has {threads} threads: what is forked from it may hang")


def _be_a_run(order: Mapping[str, Any]) -> None:
    """In the child: never returns."""
    code = BUG
    gc.disable()  # it would touch, and so copy, all of the parent's memory
    try:
        os.chdir(order["machine"])
        os.environ.update(order["environment"])
        output = os.open(f"output-{os.getpid()}.txt", os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o644)
        for descriptor in (1, 2):
            os.dup2(output, descriptor)
        code = _run(order)
    except BaseException:  # noqa: BLE001 - whatever it is, this process ends here
        import traceback

        traceback.print_exc()
    finally:
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(code)


def _run(order: Mapping[str, Any]) -> int:
    import pytest

    import main
    from tests.crash.clock import VirtualClock
    from tests.crash.disk import Fault, Recorder
    from tests.mounts import mount
    from utils.disk.durable import watch

    VirtualClock().install()
    if order["mounted"]:
        mount(Path(order["mounted"]), pytest.MonkeyPatch())
    if order["record"]:
        watch(Recorder(Path(order["record"])))
    if order["fault"]:
        watch(Fault(**{**order["fault"], "mark": Path(order["fault"]["mark"])}))
    return main.main(order["arguments"])


if __name__ == "__main__":
    serve()
