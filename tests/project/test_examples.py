"""The examples run as their first lines say, in a copy of the project, and do what they say."""

import csv
import io
import re
import shlex
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from tests.hub_server import TOKEN, HubServer
from tests.runs import PROJECT, copy_project, environment
from tests.support import published_rows

EXAMPLES = ("make_recordings.py", "own_source.yaml", "own_processor.py", "upload_samples.py")
README = (PROJECT / "README.md").read_text(encoding="utf-8")


def commands(example: str) -> list[str]:
    """The commands that an example says it is run with."""
    text = (PROJECT / "examples" / example).read_text(encoding="utf-8")
    return re.findall(r"(?m)(?:^#? +|`)python ((?:-m examples\.|main\.py)[^`\n]+)", text)


@dataclass(frozen=True)
class Workshop:
    """A copy of the project in which every command was run once, and the tests' Hub."""

    project: Path
    hub: HubServer
    before: set[Path]
    """What was in the folder before."""
    printed: dict[str, str]
    """Example -> what its last command printed."""

    def run(self, command: str, folder: Path | None = None) -> str:
        """What a command prints in the project's folder, or in another one; it must end well."""
        extra = {"HF_ENDPOINT": self.hub.endpoint, "HF_TOKEN": TOKEN, "PYTHONDONTWRITEBYTECODE": "1"}
        done = subprocess.run(
            [sys.executable, *shlex.split(command)],
            cwd=folder or self.project,
            env=environment(extra | ({"PYTHONPATH": str(self.project)} if folder else {})),
            capture_output=True,
            text=True,
            timeout=120,
        )
        assert done.returncode == 0, done.stdout + done.stderr
        return done.stdout

    def recordings(self) -> list[dict[str, str]]:
        with (self.project / "data/my-recordings/recordings.csv").open(encoding="utf-8", newline="") as table:
            return list(csv.DictReader(table))

    def uploaded(self) -> pa.Table:
        """All rows of the repo that the uploading example writes to."""
        paths = [path for path in self.hub.files("me/my-voice") if path.startswith("data/")]
        return pa.concat_tables(pq.read_table(io.BytesIO(self.hub.read("me/my-voice", path))) for path in paths)


@pytest.fixture(scope="module")
def workshop(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Workshop]:
    folder = tmp_path_factory.mktemp("examples")
    project = copy_project(folder / "project")
    with HubServer(folder / "hub") as hub:
        workshop = Workshop(project, hub, set(project.rglob("*")), {})
        for example in EXAMPLES:
            workshop.printed[example] = workshop.run(commands(example)[-1])
        yield workshop


def test_every_example_says_how_it_is_run() -> None:
    """There are no others than those that are tested here; the README and each other's first lines agree with them."""
    run = {example: commands(example) for example in EXAMPLES}
    shown = re.findall(r"(?m)(?:^|`)python ([^`\n]*\bexamples\b[^`\n]*)", README)

    assert sorted(run) == sorted(path.name for path in (PROJECT / "examples").iterdir() if path.is_file())
    assert all(example.split(".")[0] in said[-1] for example, said in run.items())
    assert {said[0] for said in run.values()} == set(run["make_recordings.py"])
    assert set(shown) == {command for said in run.values() for command in said}


def test_a_folder_with_a_table_becomes_a_dataset(workshop: Workshop) -> None:
    """Every recording is a row, with its text and its speaker."""
    rows = published_rows(workshop.project / "data/mine").to_pylist()

    names = [recording["file"].removesuffix(".wav") for recording in workshop.recordings()]
    assert sorted(row["source_id"] for row in rows) == [f"MyRecordings/train/{name}" for name in names]
    assert all(row["transcript"] and row["speaker_id"] for row in rows)
    assert "kept 12 = published 12" in workshop.printed["own_source.yaml"]


def test_a_processor_of_ones_own_yields_every_clip_once(workshop: Workshop) -> None:
    """The second run has nothing left to yield."""
    again = workshop.run(commands("own_processor.py")[-1])

    *clips, books = workshop.printed["own_processor.py"].splitlines()
    assert [clip.split()[1] for clip in clips] == [f"Interviews/train/{row['file']}" for row in workshop.recordings()]
    assert books == "12 clips read so far: 12 kept, 0 rejected."
    assert again.splitlines() == [books]


def test_a_processor_of_ones_own_continues_from_its_checkpoint(workshop: Workshop, tmp_path: Path) -> None:
    """A run that ended in the middle of the clips left a checkpoint after five."""
    (tmp_path / "data").symlink_to(workshop.project / "data")
    seven = "list(zip(range(7), InterviewsProcessor().process_all_splits(checkpoint_interval=5)))"
    workshop.run(shlex.join(["-c", f"from examples.own_processor import InterviewsProcessor; {seven}"]), tmp_path)

    again = workshop.run(commands("own_processor.py")[-1], tmp_path)

    assert again.splitlines() == workshop.printed["own_processor.py"].splitlines()[5:]


def test_samples_are_uploaded_once_however_often_it_runs(workshop: Workshop) -> None:
    """On the Hub is each ID once, with the bytes and the text that it has here."""
    again = workshop.run(commands("upload_samples.py")[-1])

    published = {row["ID"]: (row["audio"]["bytes"], row["transcript"]) for row in workshop.uploaded().to_pylist()}
    folder = workshop.project / "data/my-recordings"
    assert workshop.uploaded().num_rows == 12
    assert published == {
        row["file"].removesuffix(".wav"): ((folder / row["file"]).read_bytes(), row["text"])
        for row in workshop.recordings()
    }
    assert min(workshop.uploaded()["length"].to_pylist()) > 0
    assert workshop.printed["upload_samples.py"] == "12 clips uploaded; me/my-voice now holds 12.\n"
    assert again == "0 clips uploaded; me/my-voice now holds 12.\n"


def test_examples_leave_nothing_that_git_would_show(workshop: Workshop) -> None:
    """What they write is in folders that are ignored."""
    ignored = (PROJECT / ".gitignore").read_text().splitlines()

    made = {path.relative_to(workshop.project).parts[0] for path in set(workshop.project.rglob("*")) - workshop.before}
    assert {name for name in made if f"/{name}/" not in ignored and f"/{name}/*" not in ignored} == set()
