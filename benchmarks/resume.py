"""What a resume costs after a kill at 95 % of a large tar.gz: `python benchmarks/resume.py --gb 2`.

Makes a mirror in GigaSpeech2's layout with one train archive of that many packed GB (WAV clips of 6 s, no two alike;
always the same bytes), and runs `main.py` on it in a process of its own, which kills itself with SIGKILL before it
takes the first clip after 95 % of them. So the kill comes before the end, whatever the size and the speed.
`--no-overlap` publishes each shard before the next clip is taken, so what another machine finds is no chance either.

Then a resume continues to its first new clip: on the same machine, from its segments; there, as if these were all
published; and on another one, which reads the archive from its start. From the local mirror, and streamed over HTTP
ranges from the Hub that the tests run. CPU is that of the resuming process: all of it, with starting Python and
importing, and from the call of `run` on. The index of transcripts is made before, as it has nothing to do with
positions; making it is not counted. Everything is made in a temporary folder and removed.

Exit 1, with a sentence that says why, unless each resume begins at the clip after the last one that is durable there,
no clip was rejected, and a resume with a seek point read no more again than the distance between two of them.
"""

import argparse
import gzip
import io
import json
import os
import shutil
import signal
import subprocess
import sys
import tarfile
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

PROJECT = Path(__file__).parent.parent
sys.path.insert(0, str(PROJECT))

from benchmarks.requirements import require  # noqa: E402

require()

import numpy as np  # noqa: E402
import soundfile  # noqa: E402

from tests.hub_server import HubServer  # noqa: E402
from utils.dataset.state import State  # noqa: E402
from utils.formats.gzip_stream import SPACING_BYTES  # noqa: E402
from utils.rows.progress import Progress  # noqa: E402

REPO = "speechcolab/gigaspeech2"
RATE_HZ = 16_000
CLIP_S = 6
DIFFERENT_CLIPS = 64
HEADER_BYTES = 44
"""Of a plain WAV file."""
KILLED_AT = 0.95
MAX_READ_AGAIN_BYTES = SPACING_BYTES + 4 * 2**20
"""With a seek point: the distance to the next one, and what is read in one go to find it and the clip."""

KILLED = """
import os, signal, sys
sys.path.insert(0, sys.argv[1])
from main import main
from utils.process.memory import spare_pandas
spare_pandas()
from utils.upload.split_uploader import SplitUploader

last, add_step = int(sys.argv[2]), SplitUploader.add_step

def add_until_killed(uploader, step):
    if uploader.split == "train" and step.ordinal > last:
        os.kill(os.getpid(), signal.SIGKILL)
    add_step(uploader, step)

SplitUploader.add_step = add_until_killed
sys.exit(main(sys.argv[3:]))
"""

RESUME = """
import json, sys, time
from pathlib import Path
sys.path.insert(0, sys.argv[1])
from utils.process.memory import spare_pandas
spare_pandas()
from pipeline.interrupts import StopRequest
from pipeline.options import Options
from pipeline.run.factory import make_target
from pipeline.run.run import run
from utils.upload.split_uploader import SplitUploader

stop, begun, seen = StopRequest(), time.process_time(), []
add_step = SplitUploader.add_step

def first_step(uploader, step):
    seen.append((time.process_time(), step.ordinal))
    stop.requested = True
    add_step(uploader, step)

SplitUploader.add_step = first_step
given = {name: Path(value) if name == "source_dir" else value for name, value in json.loads(sys.argv[2]).items()}
chosen = Options(fresh=True, resume=True, sources=("GigaSpeech2",), quiet=True, output=Path("out"), **given)
done = run(chosen, make_target(chosen, None, stop), None, stop)
first, ordinal = seen[0] if seen else (time.process_time(), 0)
print(json.dumps({"ordinal": ordinal, "all_s": first, "run_s": first - begun, "again": done.read_again_bytes}))
"""


@dataclass(frozen=True)
class Cuts:
    """Where a run over so many clips is cut: as by default where it has enough of them, else in smaller pieces."""

    clips: int

    @property
    def segment_rows(self) -> int:
        return max(1, min(1000, self.clips // 10))

    @property
    def shard_rows(self) -> int:
        """At most. Two shards are full before the kill, where the limit on their bytes does not come first."""
        return max(1, min(5000, self.clips * 2 // 5))

    @property
    def last_clip(self) -> int:
        """The last one that is taken before the kill."""
        return int(self.clips * KILLED_AT)

    @property
    def last_in_segments(self) -> int:
        return self.last_clip // self.segment_rows * self.segment_rows


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--gb", type=float, default=2.0, help="size of the archive, packed (%(default)s)")
    parser.add_argument("--folder", type=Path, help="where to work (a temporary folder); four times as much is needed")
    parser.add_argument("--read", nargs="+", choices=("mirror", "streamed"), default=["mirror", "streamed"])
    given = parser.parse_args()
    with tempfile.TemporaryDirectory(dir=given.folder) as name, hub(Path(name)) as server:
        folder = Path(name)
        cuts = Cuts(_write_mirror(folder / "mirrors" / REPO / "data/th", int(given.gb * 1e9)))
        if cuts.last_clip == 0:
            parser.error(f"an archive of {given.gb:g} GB has no clip to be killed after")
        server.add_dataset(REPO, folder / "mirrors" / REPO, link=True)
        print(f"{cuts.clips:,} clips, a segment every {cuts.segment_rows:,}, killed after clip {cuts.last_clip:,}.\n")
        print("| read | resumed | first new clip | CPU from `run` on | CPU in all | read again |")
        print("|---|---|---|---|---|---|", flush=True)
        ways = {"mirror": {"source_dir": str(folder / "mirrors")}, "streamed": {"streaming": True}}
        for read in given.read:
            _measure(folder / "machine", read, ways[read], cuts)


@contextmanager
def hub(folder: Path) -> Iterator[HubServer]:
    with HubServer(folder / "hub") as server:
        os.environ.update(HF_ENDPOINT=server.endpoint, HF_HUB_DISABLE_XET="1", HF_HOME=str(folder / "hf"))
        yield server


def _measure(machine: Path, read: str, way: dict[str, object], cuts: Cuts) -> None:
    shutil.rmtree(machine, ignore_errors=True)
    machine.mkdir()
    _run_until_killed(machine, way, cuts)
    resumed = _resumed(machine, way, cuts)
    print(resumed.row(read, "same machine, from its segments"), flush=True)
    _check(resumed.first_clip == cuts.last_in_segments + 1, f"clip {cuts.last_in_segments + 1:,} is next", resumed)
    _check(resumed.again_bytes <= MAX_READ_AGAIN_BYTES, "the next seek point is nearer", resumed)

    for segment in (machine / "data/staging").rglob("*.arrow"):
        segment.unlink()
    published = _published(machine)
    behind = _resumed(machine, way, cuts)
    print(behind.row(read, "same machine, nothing staged"), flush=True)
    no_shard_is_due = published.read > 0 and cuts.last_in_segments - published.read < cuts.shard_rows
    _check(published.kept == published.read, f"{published.rejected:,} clips before it were rejected", behind)
    _check(no_shard_is_due, f"shards of {cuts.shard_rows:,} clips lead further: some were rejected", behind)
    _check(behind.first_clip == published.read + 1, f"clip {published.read + 1:,} is next", behind)
    _check(behind.again_bytes <= MAX_READ_AGAIN_BYTES, "the next seek point is nearer", behind)

    shutil.rmtree(machine / "data/staging")
    elsewhere = _resumed(machine, way, cuts)
    print(elsewhere.row(read, "another machine"), flush=True)
    _check(elsewhere.first_clip == behind.first_clip, f"clip {behind.first_clip:,} is next", elsewhere)
    _check(elsewhere.again_bytes >= behind.again_bytes, "a seek point costs more", elsewhere)


def _run_until_killed(machine: Path, way: dict[str, object], cuts: Cuts) -> None:
    access = ["--streaming"] if "streaming" in way else ["--source-dir", str(way["source_dir"])]
    sizes = ["--checkpoint-interval", str(cuts.segment_rows), "--upload-batch-size", str(cuts.shard_rows)]
    arguments = ["--fresh", "GigaSpeech2", *access, *sizes, "--output", "out", "--no-overlap", "--quiet"]
    command = [sys.executable, "-c", KILLED, str(PROJECT), str(cuts.last_clip), *arguments]
    done = subprocess.run(command, cwd=machine, capture_output=True, text=True, check=False)
    if done.returncode != -signal.SIGKILL:
        print(done.stdout + done.stderr, file=sys.stderr)
        raise SystemExit(f"The run ended with {done.returncode} before it was killed: there is nothing to resume.")


@dataclass(frozen=True)
class Resumed:
    """How a resume came to its first new clip."""

    first_clip: int
    """Its number, from 1; 0: there was none."""
    run_s: float
    """CPU from the call of `run` on."""
    all_s: float
    again_bytes: int

    def row(self, read: str, resumed: str) -> str:
        seconds = f"{self.run_s:.2f} s | {self.all_s:.2f} s"
        return f"| {read} | {resumed} | {self.first_clip:,} | {seconds} | {self.again_bytes / 1e6:,.1f} MB |"


def _resumed(machine: Path, way: dict[str, object], cuts: Cuts) -> Resumed:
    options = {**way, "checkpoint_interval": cuts.segment_rows, "upload_batch_size": cuts.shard_rows}
    command = [sys.executable, "-c", RESUME, str(PROJECT), json.dumps(options)]
    done = subprocess.run(command, cwd=machine, capture_output=True, text=True, check=False)
    if done.returncode:
        raise SystemExit(done.stderr)
    told = json.loads(done.stdout.splitlines()[-1])
    return Resumed(told["ordinal"], told["run_s"], told["all_s"], told["again"])


def _published(machine: Path) -> Progress:
    """Of train, in the target."""
    return State.from_json((machine / "out/.ingest/state.json").read_bytes()).split("GigaSpeech2", "train").progress


def _check(holds: bool, but: str, resumed: Resumed) -> None:
    """SystemExit where a resume is not what this benchmark is to show."""
    if not holds:
        again = f"{resumed.again_bytes / 1e6:,.1f} MB"
        raise SystemExit(f"This resume began at clip {resumed.first_clip:,} and read {again} again, but {but}.")


def _write_mirror(folder: Path, packed_bytes: int) -> int:
    """Returns the number of clips of train."""
    (folder / "train").mkdir(parents=True)
    clips = [_wav(number) for number in range(DIFFERENT_CLIPS + 2)]
    for split in ("dev", "test"):
        _write_archive(folder / f"{split}.tar.gz", [clips.pop()], 1)
        (folder / f"{split}.tsv").write_text(f"0-0-0\tthe clip of {split}\n", encoding="utf-8")
    count = _write_archive(folder / "train/0.tar.gz", clips, packed_bytes)
    rows = (f"0-{number // 100}-{number}\tclip {number}\n" for number in range(count))
    (folder / "train_refined.tsv").write_text("".join(rows), encoding="utf-8")
    return count


def _write_archive(path: Path, clips: list[bytes], packed_bytes: int) -> int:
    """Clips until the archive has so many bytes, one at least; returns how many."""
    number = 0
    with path.open("wb") as packed, gzip.GzipFile("", "wb", 6, packed, mtime=0) as out:
        archive = tarfile.open(fileobj=out, mode="w|")  # noqa: SIM115
        while number == 0 or packed.tell() < packed_bytes:
            content = _turned(clips[number % len(clips)], number // len(clips))
            member = tarfile.TarInfo(f"0/{number // 100}/0-{number // 100}-{number}.wav")
            member.size = len(content)
            archive.addfile(member, io.BytesIO(content))
            number += 1
        archive.close()
    return number


def _turned(wav: bytes, times: int) -> bytes:
    """The clip begun elsewhere and its beginning put at its end: other samples, so that it is no duplicate of what it
    was, at no cost. Within a split of a source only the very same samples are a duplicate."""
    cut = HEADER_BYTES + 2 * (times * 977 % (CLIP_S * RATE_HZ))
    return wav[:HEADER_BYTES] + wav[cut:] + wav[HEADER_BYTES:cut]


def _wav(number: int) -> bytes:
    """A hum that swells and fades, in noise: packs about as speech does."""
    chance, at = np.random.default_rng(number), np.arange(CLIP_S * RATE_HZ) / RATE_HZ
    voice = np.sin(2 * np.pi * (100 + number) * at) * (1 + np.sin(2 * np.pi * 3 * at)) / 10
    wav = io.BytesIO()
    soundfile.write(wav, voice + chance.normal(0, 0.01, len(at)), RATE_HZ, subtype="PCM_16", format="WAV")
    return wav.getvalue()


if __name__ == "__main__":
    main()
