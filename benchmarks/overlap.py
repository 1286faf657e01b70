"""Whether downloading, converting and uploading happen at the same time: `python benchmarks/overlap.py`.

A source of several Parquet files lies on a Hub of ours on loopback, and the dataset goes to the same Hub, which gives
and takes so many MB/s on each connection. No run can be quicker than the slowest of: its bytes in at that rate, its
CPU on all cores, its bytes out at that rate. The table says how much longer it took, and its peak memory. Start-up
is in it: give it enough clips.
"""

import argparse
import os
import sys
import tempfile
from dataclasses import dataclass
from pathlib import Path

PROJECT = Path(__file__).parent.parent
sys.path.insert(0, str(PROJECT))

from benchmarks.requirements import require  # noqa: E402

require()

import pyarrow.parquet as pq  # noqa: E402

from benchmarks.speed.inputs import make_mirror  # noqa: E402
from benchmarks.speed.measuring import HUB_REPO, measure  # noqa: E402
from benchmarks.speed.shapes import PROCESSED_VOICE, SHAPES  # noqa: E402
from processors import describe  # noqa: E402
from tests.hub.process import HubProcess  # noqa: E402
from tests.hub_server import TOKEN  # noqa: E402

FILES = 32
SPLITS = ("train", "dev", "test")


def main() -> None:
    given = _parser().parse_args()
    print("| rate | way | workers | MB in | CPU s | MB out | bound s | wall s | of the bound | peak MB |")
    print("|---|---|---|---|---|---|---|---|---|---|", flush=True)
    with tempfile.TemporaryDirectory(dir=given.work) as work:
        source = _many_files(make_mirror(SHAPES[given.shape], given.clips, Path(work)), Path(work) / "source")
        for rate in given.mb_per_s:
            for way in ("cached", "streaming"):
                for workers in given.workers:
                    measured = _measure(source, Path(work), given.audio_format, rate, way == "streaming", workers)
                    print(f"| {rate:g} MB/s | {way} | {workers} | {measured.row(rate)} |", flush=True)


@dataclass(frozen=True)
class Measured:
    in_mb: float
    cpu_s: float
    out_mb: float
    wall_s: float
    peak_mb: float

    def row(self, rate: float) -> str:
        """The cells behind the first three."""
        bound_s = max(self.in_mb / rate, self.cpu_s / len(os.sched_getaffinity(0)), self.out_mb / rate)
        return (
            f"{self.in_mb:.0f} | {self.cpu_s:.1f} | {self.out_mb:.0f} | {bound_s:.1f} | {self.wall_s:.1f} | "
            f"{self.wall_s / bound_s:.2f} | {self.peak_mb:.0f}"
        )


def _many_files(mirror: Path, folder: Path) -> Path:
    """The mirror's data with its train split in several files, as large corpora have them."""
    data = mirror / describe(PROCESSED_VOICE).mirror / "data"
    (folder / "data").mkdir(parents=True)
    for split in SPLITS:
        table = pq.read_table(data / f"{split}-00000-of-00001.parquet")
        files = FILES if split == "train" else 1
        rows = -(-len(table) // files)
        for number in range(files):
            path = folder / "data" / f"{split}-{number:05d}-of-{files:05d}.parquet"
            pq.write_table(table.slice(number * rows, rows), path, row_group_size=50, compression="none")
    return folder


def _measure(source: Path, work: Path, audio_format: str, rate: float, is_streaming: bool, workers: int) -> Measured:
    name = describe(PROCESSED_VOICE).repo_id
    with (
        tempfile.TemporaryDirectory(dir=work) as folder,
        HubProcess(Path(folder) / "hub", seeds={str(name): source}, options=(f"--throttle={rate * 1e6}",)) as hub,
    ):
        command = [str(PROJECT / "main.py"), "--fresh", PROCESSED_VOICE, "--audio-format", audio_format]
        command += [
            "--hf-repo",
            HUB_REPO,
            "--private",
            "--upload-batch-size",
            "100",
            "--checkpoint-interval",
            "100",
            "--quiet",
        ]
        command += ["--num-workers", str(workers), *(["--streaming"] if is_streaming else [])]
        named = {"HF_ENDPOINT": hub.endpoint, "HF_TOKEN": TOKEN, "HF_HUB_DISABLE_XET": "1"}
        used = measure(command, Path(folder) / "machine", named)
        out_bytes = sum(size for path, size in hub.files(HUB_REPO).items() if path.endswith(".parquet"))
    in_bytes = sum(path.stat().st_size for path in source.rglob("*.parquet"))
    return Measured(in_bytes / 1e6, used.cpu_s, out_bytes / 1e6, used.wall_s, used.peak_mb)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--shape", choices=("parquet-wav", "parquet-flac"), default="parquet-flac")
    parser.add_argument("--audio-format", choices=("wav", "flac"), default="wav", help="what is written")
    parser.add_argument("--clips", type=int, default=1600)
    parser.add_argument("--mb-per-s", type=float, nargs="+", default=[4.0, 16.0], help="of each connection")
    parser.add_argument("--workers", type=int, nargs="+", default=[2])
    parser.add_argument("--work", help="where to work (a temporary folder)")
    return parser


if __name__ == "__main__":
    main()
