"""The benchmark of speed: the same inputs every time, a limit that does our work, a page that says all of it."""

import hashlib
import re
import subprocess
import sys
from pathlib import Path

import pytest

from benchmarks.speed import limit, others, ours, report, unpacking
from benchmarks.speed.inputs import make_mirror, texts
from benchmarks.speed.measuring import PROJECT, Contender, ContenderFailed, Runs, Usage, measure
from benchmarks.speed.shapes import SHAPES, Shape
from benchmarks.speed.table import Measured, goals
from pipeline.interrupts import StopRequest
from pipeline.options import Options
from pipeline.run.factory import make_target
from pipeline.run.run import run
from processors import describe
from processors.demo.mirrors import write_tar_gz
from utils.choices import AudioOptions

CLIPS = 12


def content(folder: Path) -> dict[str, str]:
    """The digest of each file below a folder."""
    files = sorted(path for path in folder.rglob("*") if path.is_file())
    return {str(path.relative_to(folder)): hashlib.sha256(path.read_bytes()).hexdigest() for path in files}


# --- inputs ----------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["tar-mp3", "parquet-flac"])
def test_the_inputs_are_the_same_every_time(name: str, tmp_path: Path) -> None:
    """Two machines measure the same bytes; and a mirror that is whole is not made again."""
    first, second = (make_mirror(SHAPES[name], CLIPS, tmp_path / folder) for folder in ("one", "two"))
    made = content(first)
    written_at = (first / "complete.json").stat().st_mtime_ns

    assert len(made) > 1
    assert content(second) == made
    assert make_mirror(SHAPES[name], CLIPS, tmp_path / "one") == first
    assert (first / "complete.json").stat().st_mtime_ns == written_at


def test_a_half_made_mirror_is_made_again(tmp_path: Path) -> None:
    """A marker that is of another version counts for nothing."""
    mirror = make_mirror(SHAPES["parquet-flac"], CLIPS, tmp_path)
    made = content(mirror)
    (mirror / "complete.json").write_text("{}")
    next(mirror.rglob("*.parquet")).write_bytes(b"half")

    make_mirror(SHAPES["parquet-flac"], CLIPS, tmp_path)

    assert content(mirror) == made


def test_no_two_clips_are_alike() -> None:
    """Each has words and a level of its own, and every split has some."""
    made = list(texts(SHAPES["tar-wav"], 200))

    assert len({text.sentence for text in made}) == len({text.gain for text in made}) == 200
    assert {text.split for text in made} == {"train", "validation", "test"}


# --- the limit -------------------------------------------------------------------------------


@pytest.fixture(scope="module", params=SHAPES)
def mirrored(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> tuple[Shape, Path]:
    """A shape, and the folder of its mirror."""
    shape = SHAPES[request.param]
    return shape, make_mirror(shape, CLIPS, tmp_path_factory.mktemp("inputs"))


@pytest.mark.parametrize("audio_format", ["wav", "flac"])
def test_the_limit_makes_what_we_publish(mirrored: tuple[Shape, Path], audio_format: str, tmp_path: Path) -> None:
    """The same samples, durations and transcripts, of every clip of every shape: the same work is compared."""
    shape, source_dir = mirrored
    options = Options(
        fresh=True,
        sources=(shape.source,),
        source_dir=source_dir,
        output=tmp_path / "ours",
        checkpoint_dir=tmp_path / "checkpoints",
        data_dir=tmp_path / "data",
        audio=AudioOptions(audio_format=audio_format),
        quiet=True,
    )
    run(options, make_target(options, None, StopRequest()), None, StopRequest())
    mirror = source_dir / describe(shape.source).mirror

    clips = limit.run(shape, mirror, tmp_path / "limit", audio_format, lambda stage: None)

    assert clips == len(ours.rows_in(tmp_path / "ours")) == CLIPS
    assert ours.differences(tmp_path / "ours", tmp_path / "limit") == []


def test_a_difference_from_the_limit_is_found(tmp_path: Path) -> None:
    """Other clips, or other sound of the same clip, are told by their source ids."""
    shape = SHAPES["parquet-flac"]
    for clips, folder in ((3, "three"), (4, "four")):
        mirror = make_mirror(shape, clips, tmp_path / "work") / describe(shape.source).mirror
        limit.run(shape, mirror, tmp_path / folder, "wav", lambda stage: None)

    assert ours.differences(tmp_path / "three", tmp_path / "four") == [
        "ProcessedVoiceTH/train/common_voice_th_25000003"
    ]


def test_the_limit_unpacks_members_of_any_size(tmp_path: Path) -> None:
    """Whole and in order, also where one is larger than the buffer; folders are passed over."""
    contents = {f"clips/{size}.wav": bytes(map(ord, "abc")) * (size // 3) for size in (0, 3, 600, 9_000_000, 1_500_000)}
    write_tar_gz(tmp_path / "clips.tar.gz", [("clips/", b""), *contents.items()])

    assert {name: bytes(content) for name, content in unpacking.members(tmp_path / "clips.tar.gz")} == contents


# --- measuring -------------------------------------------------------------------------------


def test_a_process_is_measured_from_outside(tmp_path: Path) -> None:
    """CPU and memory are those of the process and of no other, however large the one is that started it."""
    ballast = bytearray(300 * 1000**2)
    used = measure(["-c", "print(sum(range(3_000_000)))"], tmp_path / "run")

    assert (tmp_path / "run" / "stdout.txt").read_text().strip() == "4499998500000"
    assert 0.01 < used.cpu_s < 30
    assert 2 < used.peak_mb < 200
    assert len(ballast)


def test_a_contender_that_fails_says_why(tmp_path: Path) -> None:
    """The end of what it said, not a table with a figure missing."""
    with pytest.raises(ContenderFailed, match="no such clip"):
        measure(["-c", "raise SystemExit('no such clip')"], tmp_path / "run")


def test_who_cannot_be_measured_is_left_out_with_a_line() -> None:
    """Each of the others is either measured or named with what it lacks."""
    contenders, left_out = others.available(SHAPES["tar-wav"], 300, with_hub=True)
    names = [contender.name for contender in contenders] + [line.partition(":")[0] for line in left_out]

    assert sorted(names) == sorted(
        ["datasets", "datasets, push_to_hub", "datasets with soundfile", "librosa", "lhotse", "ffmpeg per file"]
    )
    assert all(re.search(r": (no \w+|there is no|torchcodec can't)", line) for line in left_out)


# --- the page --------------------------------------------------------------------------------


def runs_of(name: str, cpu_us: float, wall_us: float, audio_format: str = "wav") -> Runs:
    """Three runs of 1,004 clips that cost so much each, after a start of 2 s; one of them was disturbed."""
    whole = [Usage(2 + 1004 * cpu_us * slow / 1e6, 2 + 1004 * wall_us * slow / 1e6, 300.0) for slow in (1, 1, 5)]
    small = [Usage(2 + 4 * cpu_us / 1e6, 2 + 4 * wall_us / 1e6, 200.0)] * 3
    return Runs(Contender(name, audio_format, lambda mirror, out: []), 1004, 4, whole, small)


def test_start_up_is_told_apart() -> None:
    """A clip's cost is what more clips cost more, in the median."""
    runs = runs_of("ours", 1000.0, 600.0)

    assert runs.cpu_us() == pytest.approx(1000.0)
    assert runs.cpu_us(with_start=True) == pytest.approx(2e6 / 1004 + 1000.0)
    assert runs.start_cpu_s == pytest.approx(2.0)


def test_goals_are_met_or_not() -> None:
    """Each goal of a shape, from the figures of one run."""
    runs = [
        runs_of("limit", 4000, 4000),
        runs_of("ours", 5000, 5000),
        runs_of("ours, 2 workers", 5000, 2500),
        runs_of("datasets", 15_000, 15_000),
        runs_of("librosa", 15_000, 15_000),
        runs_of("ffmpeg per file", 80_000, 80_000),
    ]
    measured = Measured(SHAPES["tar-mp3"], 1004, 6024.0, runs, {}, {"wav": 0}, {"SeenIds.admit": 100.0, "close": 200.0})

    assert [(goal.what, pytest.approx(goal.reached), goal.is_met) for goal in goals(measured)] == [
        ("throughput per CPU s, of the limit's, wav out", 0.8, False),
        ("CPU, datasets to ours", 3.0, True),
        ("CPU, librosa to ours", 3.0, False),
        ("CPU, ffmpeg per file to ours", 16.0, True),
        ("two workers against one, wall", 2.0, True),
        ("checkpoints, positions, bookkeeping, of CPU", 0.06, False),
    ]


def test_the_page_names_the_commit_where_git_knows_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Without git, or in a folder that is no clone, the page has no such line."""
    git = tmp_path / "git"
    git.write_text("#!/bin/sh\n[ $3 = rev-parse ] && echo 0123456789ab\nexit 0\n")
    git.chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path), prepend=":")
    named = report.page("python benchmarks/run.py", [], 1, {})
    git.write_text("#!/bin/sh\nexit 128\n")
    no_clone = report.page("python benchmarks/run.py", [], 1, {})
    monkeypatch.setenv("PATH", str(tmp_path / "empty"))
    no_git = report.page("python benchmarks/run.py", [], 1, {})

    assert "| commit | 0123456789ab |" in named
    assert "| commit |" not in no_clone
    assert "| commit |" not in no_git
    assert "| machine |" in no_git


def test_one_command_measures_and_writes_the_page(tmp_path: Path) -> None:
    """Who, what, how often, on which machine; every contender, stage and goal has its line."""
    page = tmp_path / "results.md"
    command = [sys.executable, str(PROJECT / "benchmarks/run.py"), "--clips", str(CLIPS), "--repeat", "1"]
    given = [
        "--only",
        "parquet-flac",
        "--formats",
        "wav",
        "--no-others",
        "--work",
        str(tmp_path),
        "--output",
        str(page),
    ]
    done = subprocess.run([*command, *given], capture_output=True, text=True, check=False, timeout=300)

    assert done.returncode == 0, done.stderr
    text = page.read_text(encoding="utf-8")
    assert text in done.stdout
    assert "ours against the limit's: wav out: all equal." in text
    for start in (
        *("| command | `python benchmarks/run.py --clips 12", "| date |", "| machine |", "| libraries | numpy "),
        *("| limit | wav |", "| ours | wav |", "| ours, 2 workers | wav |"),
        *("| limit, CPU us a clip | read | decode | gain |", "| our books, CPU us a clip | "),
        *("| parquet-flac | throughput per CPU s, of the limit's, wav out |", "| parquet-flac | two workers against"),
        "| parquet-flac | checkpoints, positions, bookkeeping, of CPU |",
    ):
        assert f"\n{start}" in text
    assert not (tmp_path / "run").exists()
