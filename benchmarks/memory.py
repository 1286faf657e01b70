"""Peak memory of a run, over sources of growing size: `python benchmarks/memory.py --gb 0.5 2 --rows 100000 9600000`.

Makes a mirror in GigaSpeech2's layout (WAV clips of 6 s; a transcript table with many more rows than there are
clips), runs `main.py` on it in a process of its own, and prints the peak of its resident memory. Everything
is made in a temporary folder and removed. Exit 1, with a sentence, unless every clip is published.
"""

import argparse
import gzip
import io
import os
import subprocess
import sys
import tarfile
import tempfile
import time
from pathlib import Path

PROJECT = Path(__file__).parent.parent
sys.path.insert(0, str(PROJECT))

from benchmarks.requirements import require  # noqa: E402

require()

import numpy as np  # noqa: E402
import soundfile  # noqa: E402

from utils.dataset.state import State  # noqa: E402

CLIP_S = 6
RATE_HZ = 16_000
CLIPS_AN_ARCHIVE = 2000


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--gb", type=float, nargs="+", default=[0.5, 2.0], help="sizes of the source, as WAV")
    parser.add_argument("--rows", type=int, nargs="+", default=[100_000, 9_600_000], help="rows of its table")
    parser.add_argument("--folder", type=Path, help="where to work (a temporary folder)")
    given = parser.parse_args()
    print("| source | table rows | clips | seconds | peak memory |\n|---|---|---|---|---|")
    for gigabytes in given.gb:
        for rows in given.rows:
            with tempfile.TemporaryDirectory(dir=given.folder) as folder:
                print(_measure(Path(folder), gigabytes, rows), flush=True)


def _measure(folder: Path, gigabytes: float, rows: int) -> str:
    clips = int(gigabytes * 1e9 / (CLIP_S * RATE_HZ * 2))
    _write_mirror(folder / "mirrors" / "speechcolab" / "gigaspeech2" / "data" / "th", clips, rows)
    command = [sys.executable, str(PROJECT / "main.py"), "--fresh", "GigaSpeech2", "--source-dir", "mirrors"]
    begun = time.monotonic()
    with (folder / "run.log").open("w") as log:
        process = subprocess.Popen([*command, "--output", "out"], cwd=folder, stdout=log, stderr=log)
        _, status, usage = os.wait4(process.pid, 0)
    if status:
        raise SystemExit((folder / "run.log").read_text())
    seconds = time.monotonic() - begun
    published = (
        State.from_json((folder / "out/.ingest/state.json").read_bytes()).split("GigaSpeech2", "train").published
    )
    if published != clips:
        raise SystemExit(f"Of {clips:,} clips {published:,} were published: this is the memory of another job.")
    return f"| {gigabytes:g} GB | {rows:,} | {clips:,} | {seconds:.0f} | {usage.ru_maxrss / 1024:.0f} MB |"


def _write_mirror(folder: Path, clips: int, rows: int) -> None:
    (folder / "train").mkdir(parents=True)
    for first in range(0, clips, CLIPS_AN_ARCHIVE):
        numbers = range(first, min(first + CLIPS_AN_ARCHIVE, clips))
        _write_archive(folder / "train" / f"{first // CLIPS_AN_ARCHIVE}.tar.gz", numbers)
    with (folder / "train_refined.tsv").open("w", encoding="utf-8") as table:
        table.writelines(f"{_name(row)}\tประโยคที่ {row} ของแหล่งข้อมูลจำลอง\n" for row in range(rows))
    for number, split in ((clips, "dev"), (clips + 1, "test")):  # no clip of train: it would be a duplicate
        _write_archive(folder / f"{split}.tar.gz", range(number, number + 1))
        (folder / f"{split}.tsv").write_text(f"{_name(number)}\tประโยค {split}\n", encoding="utf-8")


def _write_archive(path: Path, numbers: range) -> None:
    with gzip.open(path, "wb", compresslevel=1) as packed, tarfile.open(fileobj=packed, mode="w|") as archive:
        for number in numbers:
            content = _clip(number)
            member = tarfile.TarInfo(f"0/{number // 1000}/{_name(number)}.wav")
            member.size = len(content)
            archive.addfile(member, io.BytesIO(content))


def _name(number: int) -> str:
    return f"0-{number // 1000}-{number}"


def _clip(number: int) -> bytes:
    """A noisy tone, unlike that of any other number."""
    time_s = np.arange(CLIP_S * RATE_HZ) / RATE_HZ
    noise = np.random.default_rng(number).normal(0, 0.02, time_s.size)
    buffer = io.BytesIO()
    soundfile.write(buffer, 0.2 * np.sin(2 * np.pi * (100 + number % 3000) * time_s) + noise, RATE_HZ, format="WAV")
    return buffer.getvalue()


if __name__ == "__main__":
    main()
