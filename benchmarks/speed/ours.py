"""Ours: `main.py` from end to end, and whether what it publishes is what the limit makes."""

import re
import subprocess
import sys
from collections.abc import Sequence
from functools import cache
from pathlib import Path

import pyarrow.parquet as pq

from benchmarks.speed.measuring import HUB_REPO, PROJECT, Contender
from benchmarks.speed.shapes import Shape

CHECKPOINT_INTERVAL = 1000


def contenders(shape: Shape, audio_format: str, workers: Sequence[int] = (1, 2)) -> list[Contender]:
    """Us with these numbers of workers; with one alone where `main.py` knows no `--num-workers`."""
    return [_with_workers(shape, audio_format, count) for count in (workers if knows("--num-workers") else (1,))]


def _with_workers(shape: Shape, audio_format: str, count: int) -> Contender:
    return Contender(
        "ours" if count == 1 else f"ours, {count} workers",
        audio_format,
        lambda mirror, out: arguments(shape, mirror, out, audio_format, count),
    )


def to_hub(shape: Shape) -> Contender:
    """Us, publishing to the tests' Hub."""
    target = ["--hf-repo", HUB_REPO, "--private"]
    return Contender(
        "ours, to a Hub",
        "wav",
        lambda mirror, out: [*_arguments(shape, mirror, "wav", 1), *target],
        needs_hub=True,
    )


def arguments(shape: Shape, mirror: Path, out: Path, audio_format: str, workers: int = 1) -> list[str]:
    """The command line after `python`."""
    return [*_arguments(shape, mirror, audio_format, workers), "--output", str(out)]


def _arguments(shape: Shape, mirror: Path, audio_format: str, workers: int) -> list[str]:
    return [
        *(str(PROJECT / "main.py"), "--fresh", shape.source, "--source-dir", str(mirror)),
        *("--audio-format", audio_format, "--checkpoint-interval", str(CHECKPOINT_INTERVAL), "--quiet"),
        *(("--num-workers", str(workers)) if knows("--num-workers") else ()),
        *(("--dedup", "off") if knows("--dedup") else ()),  # nobody else looks for clips that come twice
    ]


def knows(option: str) -> bool:
    """Whether `main.py` has an option."""
    return re.search(rf"{option}\b", _help()) is not None


@cache
def _help() -> str:
    command = [sys.executable, str(PROJECT / "main.py"), "--help"]
    return subprocess.run(command, capture_output=True, text=True, check=True, timeout=60).stdout


# --- is it the same? -------------------------------------------------------------------------

Row = tuple[float, str, str]
"""Duration, hash of the samples, transcript as the source has it."""


def rows_in(folder: Path) -> dict[str, Row]:
    """What a folder's shards publish, by source id. `limit` and we write the same columns."""
    rows: dict[str, Row] = {}
    shards = sorted((folder / "data").rglob("*.parquet")) or [folder / "shard.parquet"]
    for path in shards:
        table = pq.ParquetFile(path).read(["source_id", "length", "audio_hash", "transcript_raw"])
        columns = (table[name].to_pylist() for name in ("length", "audio_hash", "transcript_raw"))
        rows |= dict(zip(table["source_id"].to_pylist(), zip(*columns, strict=True), strict=True))
    return rows


def seconds_in(folder: Path) -> float:
    """How long all clips of a folder's shards are together."""
    return sum(length for length, _, _ in rows_in(folder).values())


def differences(ours: Path, others: Path) -> list[str]:
    """The source ids whose duration, samples or transcript differ between two folders, or that one of them lacks."""
    left, right = rows_in(ours), rows_in(others)
    return sorted(key for key in {*left, *right} if left.get(key) != right.get(key))
