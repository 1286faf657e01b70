"""What a resume costs after a kill at 95 % of a large tar.gz: `python benchmarks/resume.py --gb 2`.

Makes a mirror in GigaSpeech2's layout with one train archive of that many packed GB (WAV clips of 6 s; always the
same bytes), runs `main.py` on it in a process of its own, and kills that with SIGKILL once 95 % of the clips are
staged. Then a resume goes on to its first new clip: on the same machine, from its segments; on another one, from what
the target holds; and, to compare, without a seek point. From the local mirror, and streamed over HTTP ranges from the
Hub that the tests run. CPU is that of the resuming process: all of it, with starting Python and importing, and from
the call of `run` on. The index of transcripts is made before, as it has nothing to do with positions; making it is
not counted. Everything is made in a temporary folder and removed.
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
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import soundfile

PROJECT = Path(__file__).parent.parent
sys.path.insert(0, str(PROJECT))

from tests.hub_server import HubServer  # noqa: E402

REPO = "speechcolab/gigaspeech2"
RATE_HZ = 16_000
CLIP_S = 6
DIFFERENT_CLIPS = 64
KILLED_AT = 0.95

RESUME = """
import json, sys, time
from pathlib import Path
sys.path.insert(0, sys.argv[1])
from pipeline.interrupts import StopRequest
from pipeline.options import Options
from pipeline.run import make_target, run
from utils.split_uploader import SplitUploader

stop, begun, seen = StopRequest(), time.process_time(), []
add_step = SplitUploader.add_step

def first_step(uploader, step):
    seen.append((time.process_time(), step.ordinal))
    stop.requested = True
    add_step(uploader, step)

SplitUploader.add_step = first_step
places = {name: Path(value) if name == "source_dir" else value for name, value in json.loads(sys.argv[2]).items()}
chosen = Options(fresh=True, resume=True, sources=("GigaSpeech2",), quiet=True, output=Path("out"), **places)
done = run(chosen, make_target(chosen, None, stop), None, stop)
first, ordinal = seen[0]
print(json.dumps({"ordinal": ordinal, "all_s": first, "run_s": first - begun, "again": done.read_again_bytes}))
"""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--gb", type=float, default=2.0, help="size of the archive, packed")
    parser.add_argument("--folder", type=Path, help="where to work (a temporary folder); four times as much is needed")
    given = parser.parse_args()
    with tempfile.TemporaryDirectory(dir=given.folder) as name, hub(Path(name)) as server:
        folder = Path(name)
        clips = _write_mirror(folder / "mirrors" / REPO / "data/th", int(given.gb * 1e9))
        server.add_dataset(REPO, folder / "mirrors" / REPO, link=True)
        print("| read | resumed | first new clip | CPU from `run` on | CPU in all | read again |")
        print("|---|---|---|---|---|---|", flush=True)
        for way in ({"source_dir": str(folder / "mirrors")}, {"streaming": True}):
            _measure(folder / "machine", way, clips)


@contextmanager
def hub(folder: Path) -> Iterator[HubServer]:
    with HubServer(folder / "hub") as server:
        os.environ.update(HF_ENDPOINT=server.endpoint, HF_HUB_DISABLE_XET="1", HF_HOME=str(folder / "hf"))
        yield server


def _measure(machine: Path, way: dict[str, object], clips: int) -> None:
    shutil.rmtree(machine, ignore_errors=True)
    machine.mkdir()
    _run_and_kill(machine, way, int(clips * KILLED_AT))
    read = "streamed" if "streaming" in way else "mirror"
    print(_row(read, "same machine, from its segments", machine, way), flush=True)
    shutil.rmtree(machine / "data/staging")
    print(_row(read, "another machine, from the target", machine, way), flush=True)
    shutil.rmtree(machine / "data/staging")
    for path in (machine / "out/.ingest/seek-points").rglob("*.json"):
        path.unlink()
    print(_row(read, "another machine, no seek point", machine, way), flush=True)


def _run_and_kill(machine: Path, way: dict[str, object], clips: int) -> None:
    access = ["--streaming"] if "streaming" in way else ["--source-dir", str(way["source_dir"])]
    command = [sys.executable, str(PROJECT / "main.py"), "--fresh", "GigaSpeech2", *access, "--output", "out"]
    with (machine / "run.log").open("w") as log:
        process = subprocess.Popen([*command, "--quiet"], cwd=machine, stdout=log, stderr=log)
        while process.poll() is None and _staged(machine) < clips:
            time.sleep(0.02)
        process.send_signal(signal.SIGKILL)
        process.wait()
    if _staged(machine) < clips:
        raise SystemExit((machine / "run.log").read_text())


def _staged(machine: Path) -> int:
    """How many clips of train the newest segment reaches."""
    names = [path.name for path in machine.glob("data/staging/*/GigaSpeech2/train/*.arrow")]
    return max((int(name.split("-")[1]) for name in names), default=0)


def _row(read: str, resumed: str, machine: Path, way: dict[str, object]) -> str:
    command = [sys.executable, "-c", RESUME, str(PROJECT), json.dumps(way)]
    done = subprocess.run(command, cwd=machine, capture_output=True, text=True, check=False)
    if done.returncode:
        raise SystemExit(done.stderr)
    told = json.loads(done.stdout.splitlines()[-1])
    seconds = f"{told['run_s']:.2f} s | {told['all_s']:.2f} s"
    return f"| {read} | {resumed} | {told['ordinal']:,} | {seconds} | {told['again'] / 1e6:,.1f} MB |"


def _write_mirror(folder: Path, packed_bytes: int) -> int:
    """Returns the number of clips of train."""
    (folder / "train").mkdir(parents=True)
    clips = [_wav(number) for number in range(DIFFERENT_CLIPS)]
    for split in ("dev", "test"):
        _write_archive(folder / f"{split}.tar.gz", clips, 1)
        (folder / f"{split}.tsv").write_text("0-0-0\tclip 0\n", encoding="utf-8")
    count = _write_archive(folder / "train/0.tar.gz", clips, packed_bytes)
    rows = (f"0-{number // 100}-{number}\tclip {number}\n" for number in range(count))
    (folder / "train_refined.tsv").write_text("".join(rows), encoding="utf-8")
    return count


def _write_archive(path: Path, clips: list[bytes], packed_bytes: int) -> int:
    """Clips until the archive has so many bytes; returns how many."""
    number = 0
    with path.open("wb") as packed, gzip.GzipFile("", "wb", 6, packed, mtime=0) as out:
        archive = tarfile.open(fileobj=out, mode="w|")  # noqa: SIM115
        while packed.tell() < packed_bytes:
            member = tarfile.TarInfo(f"0/{number // 100}/0-{number // 100}-{number}.wav")
            member.size = len(clips[number % len(clips)])
            archive.addfile(member, io.BytesIO(clips[number % len(clips)]))
            number += 1
        archive.close()
    return number


def _wav(number: int) -> bytes:
    """A hum that swells and fades, in noise: packs about as speech does."""
    chance, at = np.random.default_rng(number), np.arange(CLIP_S * RATE_HZ) / RATE_HZ
    voice = np.sin(2 * np.pi * (100 + number) * at) * (1 + np.sin(2 * np.pi * 3 * at)) / 10
    wav = io.BytesIO()
    soundfile.write(wav, voice + chance.normal(0, 0.01, len(at)), RATE_HZ, subtype="PCM_16", format="WAV")
    return wav.getvalue()


if __name__ == "__main__":
    main()
