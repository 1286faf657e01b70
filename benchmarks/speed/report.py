"""What was measured as one page: on which machine, with which libraries, of which commit, by which command."""

import importlib.metadata
import os
import platform
import re
import shutil
import subprocess
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path

from benchmarks.speed import table, unpacking
from benchmarks.speed.measuring import PROJECT
from benchmarks.speed.table import Measured

LIBRARIES = (
    *("numpy", "pyarrow", "soundfile", "soxr", "xxhash", "isal", "zlib-ng", "datasets", "huggingface_hub"),
    *("librosa", "lhotse", "torch", "torchaudio", "torchcodec"),
)


TRIED = PROJECT / "benchmarks/tried.md"
"""What was done to reach the goals, and what did not help: written by hand."""


def page(command: str, all_measured: Sequence[Measured], repeat: int, profiles: Mapping[str, str]) -> str:
    """The report in Markdown. `profiles`: of shapes whose goals are not all met, by title."""
    parts = ["# How fast it is", _how(repeat), _machine(command), "## Goals", table.goals_table(all_measured)]
    for measured in all_measured:
        parts += [f"## {measured.shape.title}", _about(measured), table.figures(measured)]
        parts += [table.stages(measured), table.books(measured)]
        parts += [f"Left out: {line}" for line in measured.left_out]
    for title, profile in profiles.items():
        parts += [f"## Where our time goes: {title}", f"```\n{profile}\n```"]
    if profiles:
        parts.append(TRIED.read_text(encoding="utf-8").strip())
    return "\n\n".join(parts) + "\n"


def _how(repeat: int) -> str:
    return (
        f"All contenders took turns in one run; each figure is the median of {repeat} runs of a process of its own "
        "(of three, where what people use instead is slow). "
        "CPU is user and system time, children included. A clip's cost is without start-up (imports, and what a run "
        "does once), which is measured on a mirror of a few clips; *with start-up* is all CPU by all clips."
    )


def _about(measured: Measured) -> str:
    same = [
        f"{audio_format} out: {'all equal' if not count else f'{count} DIFFER'}"
        for audio_format, count in measured.differing.items()
    ]
    return (
        f"{measured.clips:,} clips, {measured.seconds / measured.clips:.2f} s each on average. Samples, durations and "
        f"transcripts, ours against the limit's: {'; '.join(same)}."
    )


def _machine(command: str) -> str:
    inflater = unpacking.library().__name__
    rows = [
        ("", ""),
        ("command", f"`{command}`"),
        *([("commit", commit)] if (commit := _commit()) else []),
        ("date", datetime.now(UTC).strftime("%Y-%m-%d %H:%M UTC")),
        ("machine", f"{_cpu_model()}, {len(os.sched_getaffinity(0))} cores, {platform.system()} {platform.machine()}"),
        ("Python", platform.python_version()),
        ("libraries", ", ".join(_versions())),
        ("libsndfile", _libsndfile()),
        ("gunzip of the limit", f"`{inflater}`"),
    ]
    return table.markdown(rows).replace("---:", "---")


def _versions() -> list[str]:
    found = []
    for name in LIBRARIES:
        try:
            found.append(f"{name} {importlib.metadata.version(name)}")
        except importlib.metadata.PackageNotFoundError:
            continue
    return found


def _libsndfile() -> str:
    import soundfile

    return str(soundfile.__libsndfile_version__)


def _commit() -> str:
    """The commit that is measured; "" where this is no clone, or there is no git."""
    program = shutil.which("git")
    if program is None:
        return ""

    def git(*arguments: str) -> str:
        done = subprocess.run([program, "-C", str(PROJECT), *arguments], capture_output=True, text=True, check=False)
        return done.stdout.strip()

    commit = git("rev-parse", "--short=12", "HEAD")
    if not commit:
        return ""
    return f"{commit}, with changes" if git("status", "--porcelain", "--untracked-files=no") else commit


def _cpu_model() -> str:
    found = re.search(r"^model name\s*:\s*(.+)$", _text(Path("/proc/cpuinfo")), re.MULTILINE)
    return found[1].strip() if found else platform.processor() or "unknown processor"


def _text(path: Path) -> str:
    return path.read_text(errors="replace") if path.is_file() else ""
