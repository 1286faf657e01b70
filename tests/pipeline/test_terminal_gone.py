"""A terminal that goes away, or was never there: the run goes on, and the log has what it said."""

import os
import pty
import signal
import subprocess
import sys
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import pytest

from tests.runs import PROJECT, TIMEOUT_S, environment, run
from tests.small_runs import CLIPS, KEPT, SOURCE, ids_of, write_mirror

COMMAND = ("--fresh", SOURCE, "--source-dir", "mirrors", "--output", "out", "--checkpoint-interval", "3")
LAST_WORDS = "The books balance"
MANY = {**CLIPS, "train": range(300)}
KEPT_OF_MANY = 235
"""In train."""


def start(machine: Path, *arguments: str, **streams: Any) -> "subprocess.Popen[bytes]":
    program = [sys.executable, str(PROJECT / "main.py"), *arguments]
    return subprocess.Popen(program, cwd=machine, env=environment(), **streams)


def closing(*descriptors: int) -> Callable[[], None]:
    """What a shell does for `>&-`, in the child."""

    def close() -> None:
        for descriptor in descriptors:
            os.close(descriptor)

    return close


def nobody_reads() -> int:
    """The writing end of a pipe that was closed at the other, as `| head` leaves it."""
    reader, writer = os.pipe()
    os.close(reader)
    return writer


def full_disk() -> int:
    return os.open("/dev/full", os.O_WRONLY)


def hung_up() -> int:
    """A terminal whose window was closed."""
    ours, theirs = pty.openpty()
    os.close(ours)
    return theirs


def logged(machine: Path) -> str:
    return "".join(path.read_text() for path in sorted((machine / "logs").glob("run-*.log")))


def assert_whole(machine: Path) -> None:
    """All clips are there, and the log of the run that brought them says so, with no word of an error."""
    assert sum(len(ids_of(machine / "out", split)) for split in CLIPS) == KEPT
    assert LAST_WORDS in logged(machine)
    assert "Traceback" not in logged(machine)


@pytest.mark.parametrize("closed", [(0,), (1,), (0, 1, 2)], ids=str)
def test_streams_that_are_closed_at_the_start_change_nothing(closed: tuple[int, ...], tmp_path: Path) -> None:
    """No file of ours comes to stand in their place, either: a descriptor that is free is given to the next file."""
    write_mirror(tmp_path / "mirrors")

    process = start(tmp_path, *COMMAND, preexec_fn=closing(*closed))

    assert process.wait(TIMEOUT_S) == 0
    assert_whole(tmp_path)


@pytest.mark.parametrize("gone", [nobody_reads, full_disk, hung_up])
@pytest.mark.parametrize("which", ["stdout", "stderr"])
def test_a_run_goes_on_when_what_it_writes_to_has_gone(which: str, gone: Callable[[], int], tmp_path: Path) -> None:
    """Whatever is the matter with it, and whoever writes: the bar, the log, the summary."""
    write_mirror(tmp_path / "mirrors")
    descriptor = gone()
    streams: Mapping[str, int] = {"stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL}

    process = start(tmp_path, *COMMAND, **{**streams, which: descriptor})
    os.close(descriptor)

    assert process.wait(TIMEOUT_S) == 0
    assert_whole(tmp_path)


def test_a_run_outlives_its_terminal(tmp_path: Path) -> None:
    """A lost connection and a closed window send SIGHUP to all that runs in it: once, and again."""
    write_mirror(tmp_path / "mirrors", MANY)
    process = start(tmp_path, *COMMAND, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, process_group=0)
    assert process.stderr is not None
    first = process.stderr.readline()

    os.killpg(process.pid, signal.SIGHUP)
    os.killpg(process.pid, signal.SIGHUP)
    process.stderr.close()

    assert b"committed" in first
    assert process.wait(TIMEOUT_S) == 0
    assert len(ids_of(tmp_path / "out", "train")) == KEPT_OF_MANY
    assert LAST_WORDS in logged(tmp_path)


def test_a_stop_is_asked_for_as_ever_by_whoever_cannot_be_told_of_it(tmp_path: Path) -> None:
    """The word on a stop goes nowhere, the stop is carried out."""
    write_mirror(tmp_path / "mirrors", MANY)
    out = os.pipe()
    process = start(tmp_path, *COMMAND, stdout=subprocess.DEVNULL, stderr=out[1])
    os.close(out[1])
    assert b"committed" in os.read(out[0], 4096)
    os.close(out[0])

    process.send_signal(signal.SIGTERM)

    assert process.wait(TIMEOUT_S) == 130
    assert "To go on, type:" in logged(tmp_path)
    assert run([*COMMAND, "--resume"], tmp_path).returncode == 0
    assert len(ids_of(tmp_path / "out", "train")) == KEPT_OF_MANY


def test_an_error_is_told_in_the_log_too(tmp_path: Path) -> None:
    """For whoever comes back to a screen that is empty."""
    write_mirror(tmp_path / "mirrors")
    (tmp_path / "out").write_text("no folder")

    done = run(COMMAND, tmp_path)

    assert done.returncode != 0
    last = done.stderr.strip().splitlines()[-1]
    assert last in logged(tmp_path)
