"""Where our CPU time goes on one shape: by py-spy where it is installed, else by cProfile.

py-spy looks at the process from outside and knows all threads. cProfile knows one thread, so `main.py` is given
`--no-overlap`; and it charges Python code with its own cost.
"""

import io
import pstats
import shutil
import subprocess
import sys
from collections import Counter
from pathlib import Path

from benchmarks.speed import ours
from benchmarks.speed.inputs import make_mirror
from benchmarks.speed.measuring import measure
from benchmarks.speed.shapes import Shape

TOP = 40


def profile(shape: Shape, clips: int, work: Path, audio_format: str, top: int = TOP) -> str:
    """The top of a profile, as text."""
    folder = work / "run" / "profile"
    arguments = ours.arguments(shape, make_mirror(shape, clips, work), folder / "out", audio_format)
    spy = shutil.which("py-spy")
    text = _by_py_spy(spy, arguments, folder, top) if spy else _by_cprofile(arguments, folder, top)
    shutil.rmtree(folder.parent)
    return text


def _by_py_spy(spy: str, arguments: list[str], folder: Path, top: int) -> str:
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    watched = [sys.executable, *arguments]
    options = ["--subprocesses", "--nonblocking", "--function", "--format", "raw", "--rate", "250"]
    command = [spy, "record", *options, "--output", str(folder / "stacks"), "--", *watched]
    subprocess.run(command, cwd=folder, check=True, capture_output=True)
    stacks = (line.rpartition(" ") for line in (folder / "stacks").read_text().splitlines())
    own: Counter[str] = Counter()
    inclusive: Counter[str] = Counter()
    for stack, _, count in stacks:
        if "_find_and_load" in stack:
            continue  # imports: start-up
        frames = [frame for frame in stack.split(";") if ".py:" in frame and not frame.startswith("process ")] or [
            "(no Python frame)"
        ]
        own[frames[-1]] += int(count)
        inclusive.update(dict.fromkeys(frames, int(count)))
    total = own.total()
    return "\n".join([*_top("own", own, total, top), "", *_top("with what it calls", inclusive, total, 2 * top)])


def _top(title: str, counted: Counter[str], total: int, top: int) -> list[str]:
    return [title, *(f"{100 * count / total:5.1f}%  {frame}" for frame, count in counted.most_common(top))]


def _by_cprofile(arguments: list[str], folder: Path, top: int) -> str:
    one_thread = ["--no-overlap"] if ours.knows("--no-overlap") else []
    stats_file = folder.with_name("profile.stats")
    measure(["-m", "cProfile", "-o", str(stats_file), *arguments, *one_thread], folder)
    text = io.StringIO()
    stats = pstats.Stats(str(stats_file), stream=text)
    stats_file.unlink()
    stats.sort_stats("tottime").print_stats(top)
    stats.sort_stats("cumulative").print_stats(2 * top)
    return text.getvalue()
