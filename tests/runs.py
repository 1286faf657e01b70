"""Real runs of `main.py` in processes of their own, each in a working folder that stands for a machine."""

import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

PROJECT = Path(__file__).parent.parent
TIMEOUT_S = 300.0


def environment(extra: Mapping[str, str] | None = None) -> dict[str, str]:
    """This environment without tokens, with `extra`."""
    kept = {key: value for key, value in os.environ.items() if key not in ("HF_TOKEN", "HF_ENDPOINT")}
    return {**kept, "PYTHONUNBUFFERED": "1", **(extra or {})}


def copy_project(folder: Path) -> Path:
    """A copy of the program in `folder`, to be changed or run there; returns `folder`."""
    for package in ("examples", "pipeline", "processors", "utils"):
        shutil.copytree(PROJECT / package, folder / package, ignore=shutil.ignore_patterns("__pycache__"))
    shutil.copy(PROJECT / "main.py", folder)
    return folder


def start(arguments: Sequence[str], machine: Path, extra: Mapping[str, str] | None = None) -> subprocess.Popen[str]:
    """Begin a run in the folder `machine`."""
    machine.mkdir(parents=True, exist_ok=True)
    return subprocess.Popen(
        [sys.executable, str(PROJECT / "main.py"), *arguments],
        cwd=machine,
        env=environment(extra),
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )


def run(
    arguments: Sequence[str], machine: Path, extra: Mapping[str, str] | None = None
) -> subprocess.CompletedProcess[str]:
    """A run to its end."""
    process = start(arguments, machine, extra)
    out, err = process.communicate(timeout=TIMEOUT_S)
    return subprocess.CompletedProcess(process.args, process.returncode, out, err)


def run_until(
    arguments: Sequence[str],
    machine: Path,
    reached: Callable[[], bool],
    extra: Mapping[str, str] | None = None,
    send: int = signal.SIGKILL,
) -> subprocess.CompletedProcess[str]:
    """A run that gets the signal `send` as soon as `reached()` holds; one that ends before just ends."""
    process = start(arguments, machine, extra)
    deadline = time.monotonic() + TIMEOUT_S
    while process.poll() is None and not reached():
        if time.monotonic() > deadline:
            process.kill()
            raise TimeoutError("the run neither ended nor came to the point where it was to be killed")
        time.sleep(0.001)
    if process.poll() is None and send == signal.SIGKILL:
        os.killpg(process.pid, send)  # all at once, as a machine dies: what was started, and the run that it waits for
    elif process.poll() is None:
        process.send_signal(send)
    out, err = process.communicate(timeout=TIMEOUT_S)
    return subprocess.CompletedProcess(process.args, process.returncode, out, err)
