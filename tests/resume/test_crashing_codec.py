"""A codec that crashes costs no run and no other clip: real processes that die of real signals."""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest

from processors.base_processor import BaseProcessor
from processors.demo.mirrors import write_demo_sources
from processors.engine.conversion import convert_clip
from processors.engine.isolated import convert_alone
from tests.crash.oracle import differences
from tests.runs import PROJECT, run, start
from tests.support import tone, tree
from utils.choices import AudioOptions, TextOptions
from utils.process.in_flight import MAX_THREADS, InFlight, note_of
from utils.rows.progress import Progress
from utils.rows.schema import Position, RawClip, Reject, RejectReason, Row

SOURCE = "ProcessedVoiceTH"
COMMAND = ["--fresh", SOURCE, "--source-dir", "../demo", "--output", "out", "--checkpoint-interval", "5"]
SICK = """\
import os, signal, utils.audio.standardize, utils.upload.cutting

convert, build = utils.audio.standardize.identify, utils.upload.cutting.build_part
dies_of = signal.Signals[os.environ["DIES_OF"]]


def identify(data, *more):
    victims = os.environ["VICTIMS"].split(",")
    once = os.environ.get("ONCE")
    import xxhash
    if xxhash.xxh3_64_hexdigest(data) in victims and not (once and os.path.exists(once)):
        if once:
            open(once, "x").close()
        signal.raise_signal(dies_of)  # of this very thread, as a crash is: it must not come back from here
    return convert(data, *more)


utils.audio.standardize.identify = identify
"""
"""Makes libsndfile's part die at some clips: as `sitecustomize`, in each Python that is started."""


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The demo's mirrors, and in `undisturbed` what is made of one of them."""
    folder = tmp_path_factory.mktemp("crashing")
    write_demo_sources(folder / "demo")
    assert run(COMMAND, folder / "undisturbed").returncode == 0
    (folder / "sick").mkdir()
    (folder / "sick/sitecustomize.py").write_text(SICK)
    return folder


def rows(machine: Path) -> list[dict[str, Any]]:
    shards = sorted((machine / "out/data").rglob("*.parquet"))
    return [row for path in shards for row in pq.read_table(path).to_pylist()]


def rejects(machine: Path) -> dict[str, tuple[str, str]]:
    paths = sorted((machine / "out/rejected").rglob("*.parquet"))
    found = [row for path in paths for row in pq.read_table(path).to_pylist()]
    return {row["source_id"]: (row["reason"], row["detail"]) for row in found}


def sick(place: Path, victims: Sequence[str], dies_of: str, **more: str) -> dict[str, str]:
    """An environment in which the clips `victims` (source ids of the demo) end the process."""
    import xxhash

    hashes = []
    for path in sorted((place / "demo").rglob("*.parquet")):
        split = {"dev": "validation"}.get(path.name.split("-")[0], path.name.split("-")[0])
        for row in pq.read_table(path, columns=["audio"])["audio"].to_pylist():
            if row and f"{SOURCE}/{split}/{Path(row['path'] or '').stem}" in victims:
                hashes.append(xxhash.xxh3_64_hexdigest(row["bytes"]))
    assert len(hashes) == len(victims)
    return {
        "PYTHONPATH": f"{place / 'sick'}{os.pathsep}{PROJECT}",
        "DIES_OF": dies_of,
        "VICTIMS": ",".join(hashes),
        **more,
    }


def victims_of(place: Path, *numbers: int) -> list[str]:
    """Published clips of the undisturbed run, each of which stands for itself alone."""
    ids = [row["source_id"] for row in rows(place / "undisturbed") if row["source_id"].startswith(f"{SOURCE}/train/")]
    return [ids[number] for number in numbers]


@pytest.mark.parametrize("more", [["--no-overlap"], ["--num-workers", "2"]])
def test_a_clip_that_crashes_its_decoder_is_a_reject_and_nothing_else_is_lost(
    place: Path, tmp_path: Path, more: list[str]
) -> None:
    """SIGSEGV, twice: the run goes on by itself; the other clips that were at work are published."""
    victims = victims_of(place, 12, 40)

    done = run([*COMMAND, *more], place / tmp_path.name, sick(place, victims, "SIGSEGV"))

    assert done.returncode == 0, done.stderr
    assert "died of SIGSEGV" in done.stderr
    machine = place / tmp_path.name
    known = rejects(place / "undisturbed")
    crashed = dict.fromkeys(victims, (RejectReason.DECODER_CRASHED, "decoding it ends in SIGSEGV"))
    assert rejects(machine) == {**known, **crashed}
    expected = [row for row in rows(place / "undisturbed") if row["source_id"] not in victims]
    assert [{**row, "ID": "", "audio": row["audio"]["bytes"]} for row in rows(machine)] == [
        {**row, "ID": "", "audio": row["audio"]["bytes"]} for row in expected
    ]
    assert run(["--verify", "--output", "out"], machine).returncode == 0


@pytest.mark.parametrize("dies_of", ["SIGKILL", "SIGABRT"])
def test_what_was_innocent_is_published_as_if_nothing_had_been(place: Path, tmp_path: Path, dies_of: str) -> None:
    """A run that is killed for lack of memory, once: the clips that were at work come out of a process of their own."""
    machine = place / tmp_path.name
    once = sick(place, victims_of(place, 20), dies_of, ONCE=str(tmp_path / "it-was-killed"))

    done = run([*COMMAND, "--num-workers", "2"], machine, once)

    assert done.returncode == 0, done.stderr
    assert f"died of {dies_of}" in done.stderr
    assert list(differences(published(machine), published(place / "undisturbed"))) == []


def published(machine: Path) -> dict[str, bytes]:
    found = tree(machine / "out", "data", "rejected", ".ingest")
    found.pop(".ingest/state.previous.json", None)  # which commit was the last but one depends on where it died
    return found


def test_a_crash_that_is_no_clips_doing_stops_the_run(place: Path, tmp_path: Path) -> None:
    """With nothing to set aside it is told what happened, and how to go on."""
    machine = place / tmp_path.name
    environment = sick(place, [], "SIGSEGV")
    (place / "sick-shards").mkdir()
    (place / "sick-shards/sitecustomize.py").write_text(
        "import os, signal\nfrom utils.upload import cutting, split_uploader\n"
        "cutting.build_part = split_uploader.build_part = lambda *_: os.kill(os.getpid(), signal.SIGSEGV)\n"
    )
    environment["PYTHONPATH"] = environment["PYTHONPATH"].replace("/sick:", "/sick-shards:")

    done = run([*COMMAND, "--no-overlap"], machine, environment)

    assert done.returncode == 5
    assert "died of SIGSEGV" in done.stderr and "--resume" in done.stderr
    assert run([*COMMAND, "--resume"], machine).returncode == 0
    assert list(differences(published(machine), published(place / "undisturbed"))) == []


def test_killing_what_was_started_kills_the_run(place: Path, tmp_path: Path) -> None:
    """And its lock is free for the next one at once."""
    machine = place / tmp_path.name
    process = start([*COMMAND, "--no-overlap"], machine)
    wait_until(lambda: bool(children(process)))
    (child,) = children(process)

    process.kill()
    process.communicate(timeout=60)

    wait_until(lambda: not Path(f"/proc/{child}").exists())
    assert run([*COMMAND, "--resume"], machine).returncode == 0


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_request_to_stop_reaches_the_run(place: Path, tmp_path: Path, number: signal.Signals) -> None:
    """One that is sent to the process that was started, as `kill` and job schedulers do it."""
    machine = place / tmp_path.name
    process = start([*COMMAND, "--no-overlap"], machine)
    wait_until(lambda: any(machine.glob("data/staging/*/*/*/segment.tmp")))

    process.send_signal(number)
    _, told = process.communicate(timeout=60)

    assert process.returncode == 130, told
    assert told.count("Stopping after the running clip") == 1


def children(process: subprocess.Popen[str]) -> list[int]:
    path = Path(f"/proc/{process.pid}/task/{process.pid}/children")
    return [int(pid) for pid in path.read_text().split()]


def wait_until(reached: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 60
    while not reached():
        assert time.monotonic() < deadline
        time.sleep(0.005)


# --- its parts -----------------------------------------------------------------------------------

CLIP = RawClip("clip ๑", {"index": 1}, tone(3), "clip.wav", "สวัสดี!", "speaker", {"age": 30, "votes": [1, 2.5]}, 0.2)


@pytest.mark.parametrize(
    "clip",
    [CLIP, RawClip("none", {"index": 1}), RawClip("broken", {"index": 2}, b"RIFF", "x.wav", "a")],
    ids=lambda clip: clip.key,
)
def test_a_clip_comes_out_the_same_alone(clip: RawClip) -> None:
    options, text = AudioOptions(audio_format="wav"), TextOptions(strip_punctuation=True, keep_raw=False)

    alone = convert_alone(clip, "S", "train", options, text)

    assert alone == convert_clip(clip, "S", "train", options, text)


def test_a_bug_of_ours_is_no_crash_of_a_decoder(monkeypatch: pytest.MonkeyPatch) -> None:
    """What ends with an error of Python's is told as one."""
    monkeypatch.setattr("processors.engine.isolated._packed", lambda content, data: b"{}\n")

    with pytest.raises(RuntimeError, match="KeyError"):
        convert_alone(CLIP, "S", "train", AudioOptions())


def test_notes_are_there_while_a_clip_is_converted_and_outlive_the_process() -> None:
    in_flight = InFlight()
    script_ends = os.fork()
    if script_ends == 0:
        in_flight.during("S/train/a", lambda: os.kill(os.getpid(), signal.SIGKILL))
    os.waitpid(script_ends, 0)

    assert in_flight.take_notes() == {note_of("S/train/a")}
    assert in_flight.take_notes() == set()
    assert in_flight.during("S/train/b", lambda: 7) == 7
    assert in_flight.take_notes() == set()


def test_a_clip_that_fails_is_not_noted_for_ever() -> None:
    in_flight = InFlight()

    with pytest.raises(ZeroDivisionError):
        in_flight.during("S/train/a", lambda: 1 // 0)
    assert in_flight.take_notes() == set()
    assert MAX_THREADS > 200


def test_crashes_are_counted_for_each_clip() -> None:
    in_flight = InFlight()
    assert in_flight.crashes_at("S/train/a") == 0
    in_flight.crashes.update([note_of("S/train/a")])
    assert (in_flight.crashes_at("S/train/a"), in_flight.crashes_at("S/train/b")) == (1, 0)


def test_a_clip_is_the_end_of_two_runs_at_most() -> None:
    """Then it is known: a run that goes on dying there stops, with what to do."""
    script = (
        "import signal, sys\n"
        "from pipeline.supervisor import supervise\n"
        "def run(in_flight, again):\n"
        "    crashes = in_flight.crashes_at('a')\n"
        "    print('run', crashes, again, flush=True)\n"
        "    if crashes < int(sys.argv[1]):\n"
        "        in_flight.during('a', lambda: signal.raise_signal(signal.SIGKILL))\n"
        "    return 0\n"
        "sys.exit(supervise(run))\n"
    )

    def supervised(deaths: int) -> tuple[int, list[str]]:
        command = [sys.executable, "-c", script, str(deaths)]
        done = subprocess.run(command, cwd=PROJECT, capture_output=True, text=True, check=False, timeout=60)
        return done.returncode, done.stdout.splitlines()

    assert supervised(2) == (0, ["run 0 False", "run 1 True", "run 2 True"])
    assert supervised(9) == (5, ["run 0 False", "run 1 True", "run 2 True"])


class OwnProcessor(BaseProcessor):
    """A source that converts in its own way."""

    def get_available_splits(self) -> list[str]:
        return ["train"]

    def read(self, split: str, position: Position) -> Iterator[RawClip]:
        yield RawClip("a", {"index": 1}, tone(3))

    def convert_to_standard_format(self, sample: RawClip | Mapping[str, Any]) -> Row | Reject:
        return Reject("Own/train/a", "converted")


@pytest.mark.parametrize(("crashes", "reason"), [(0, "converted"), (1, "converted"), (2, RejectReason.DECODER_CRASHED)])
def test_a_clip_of_a_source_with_code_of_its_own_is_tried_twice(tmp_path: Path, crashes: int, reason: str) -> None:
    """One crash may be another's doing (a lack of memory): what was bought is not lost to that. A second one is not."""
    own = OwnProcessor(checkpoint_dir=tmp_path)
    own.facts.in_flight.crashes[note_of("Own/train/a")] = crashes

    (step,) = own.process_split("train", Progress())

    assert isinstance(step.outcome, Reject)
    assert step.outcome.reason == reason
