"""Two small sources that share recordings: `FIRST` in archives, and `SOURCE` in Parquet, which is read after it."""

import shutil
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from pipeline.interrupts import StopRequest
from pipeline.run.run import RunResult
from processors import describe
from processors.demo.mirrors import write_table, write_tar_gz
from tests.small_runs import SOURCE, small_run
from tests.support import tree
from utils.rows.schema import AUDIO_TYPE

FIRST = "GigaSpeech2"
BOTH = (FIRST, SOURCE)

Clips = Iterable[tuple[str, bytes, str]]
"""Name, file, transcript. A name of `FIRST` has two dashes: 0-1-12."""


def write_first(machine: Path, test: Clips = (), train: Clips = ()) -> None:
    """A mirror of `FIRST`."""
    folder = machine / "mirrors" / describe(FIRST).mirror / "data/th"
    for archive, table, clips in (
        ("test", "test", list(test)),
        ("dev", "dev", []),
        ("train/0", "train_refined", list(train)),
    ):
        root = archive if "/" not in archive else ""
        write_tar_gz(folder / f"{archive}.tar.gz", [(_member(root, name), content) for name, content, _ in clips])
        write_table(folder / f"{table}.tsv", [(name, transcript) for name, _, transcript in clips])
    shutil.copy(folder / "train_refined.tsv", folder / "train_raw.tsv")


def _member(root: str, name: str) -> str:
    folders = "/".join(name.split("-")[:2])
    return f"{root}/{folders}/{name}.wav".lstrip("/")


def write_second(machine: Path, **splits: Clips) -> None:
    """A mirror of `SOURCE`, by its splits."""
    schema = pa.schema([("audio", AUDIO_TYPE), ("sentence", pa.string())])
    for split in ("train", "validation", "test"):
        path = machine / "mirrors" / describe(SOURCE).mirror / f"data/{split}-00000-of-00001.parquet"
        path.parent.mkdir(parents=True, exist_ok=True)
        rows = [
            {"audio": {"bytes": content, "path": f"{name}.mp3"}, "sentence": transcript}
            for name, content, transcript in splits.get(split, ())
        ]
        pq.write_table(pa.Table.from_pylist(rows, schema=schema), path)


def read_both(machine: Path, stop: StopRequest | None = None, **options: Any) -> RunResult:
    """A run of both, or of those that `options` name."""
    return small_run(machine, stop, **{"sources": BOTH, **options})


def another_machine(machine: Path, folder: Path) -> Path:
    """One with the same mirrors and the same target, and nothing else."""
    for name in ("mirrors", "out"):
        if (machine / name).exists():
            shutil.copytree(machine / name, folder / name)
    return folder


def published(machine: Path) -> Mapping[str, list[str]]:
    """Split -> source ids, by the names of the shards."""
    return {
        split.name: [
            name
            for path in sorted(split.glob("*.parquet"))
            for name in pq.read_table(path, partitioning=None)["source_id"].to_pylist()
        ]
        for split in sorted((machine / "out/data").iterdir())
    }


def rejects(machine: Path) -> list[tuple[str, str, str]]:
    """Source id, reason, detail of all rejects, by the names of the files."""
    rows: list[dict[str, Any]] = []
    for path in sorted((machine / "out/rejected").rglob("*.parquet")):
        rows += pq.read_table(path, partitioning=None).to_pylist()
    return [(row["source_id"], row["reason"], row["detail"]) for row in rows]


def dataset(machine: Path) -> dict[str, bytes]:
    """All that is published but the state, which has the time in it."""
    files = tree(machine / "out", "data", "rejected", ".ingest")
    return {path: content for path, content in files.items() if "state" not in path}
