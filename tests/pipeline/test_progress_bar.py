"""The bar on a terminal: what it says, and that whether there is one changes nothing else."""

import os
import pty
import subprocess
import sys
import termios
from pathlib import Path
from threading import Thread

from tests.runs import PROJECT, TIMEOUT_S, environment, run
from tests.small_runs import CLIPS, SOURCE, ids_of, write_mirror

PLACES = ("--source-dir", "mirrors", "--output", "out")
COMMAND = ("--fresh", SOURCE, *PLACES, "--checkpoint-interval", "3", "--upload-batch-size", "3")


def run_on_a_terminal(machine: Path) -> tuple[int, str]:
    """The exit code of a run whose errors go to a terminal, and what stands there."""
    ours, theirs = pty.openpty()
    termios.tcsetwinsize(theirs, (40, 120))
    shown: list[bytes] = []

    def read() -> None:
        try:
            while content := os.read(ours, 4096):
                shown.append(content)
        except OSError:  # Linux: the other end is closed
            pass

    reader = Thread(target=read)
    reader.start()
    process = subprocess.Popen(
        [sys.executable, str(PROJECT / "main.py"), *COMMAND],
        cwd=machine,
        env=environment(),
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        stderr=theirs,
    )
    os.close(theirs)
    code = process.wait(TIMEOUT_S)
    reader.join(TIMEOUT_S)
    os.close(ours)
    return code, b"".join(shown).decode()


def test_a_terminal_shows_how_much_there_is(tmp_path: Path) -> None:
    """Each split has a bar with its clips, hours, rejects and what is published; it goes when the split is read."""
    write_mirror(tmp_path / "mirrors")

    code, shown = run_on_a_terminal(tmp_path)

    assert code == 0
    for split, numbers in CLIPS.items():
        assert f"{SOURCE}/{split}" in shown
        assert f"0/{len(numbers)}" in shown


def test_a_file_that_is_damaged_stops_a_run_on_a_terminal_where_it_stops_any(tmp_path: Path) -> None:
    """Counting what is to come looks at all files, and a bar is all that it may decide on."""
    for machine in (tmp_path / "piped", tmp_path / "terminal"):
        mirror = write_mirror(machine / "mirrors", {"test": (), "validation": (), "train": range(40)})
        whole = next(mirror.rglob("train-*.parquet"))
        whole.with_name("train-00001-of-00002.parquet").write_bytes(whole.read_bytes()[:-20])
        whole.rename(whole.with_name("train-00000-of-00002.parquet"))

    piped = run(COMMAND, tmp_path / "piped")
    code, shown = run_on_a_terminal(tmp_path / "terminal")

    assert code == piped.returncode == 4
    assert f"{SOURCE} could not be read" in shown
    published = ids_of(tmp_path / "piped" / "out", "train")
    assert published
    assert ids_of(tmp_path / "terminal" / "out", "train") == published
