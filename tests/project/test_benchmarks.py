"""Each benchmark in a tiny run, as a user types it: it shows what it is there to show, whatever it takes.

How fast anything is plays no part. `benchmarks/run.py` has tests of its own: `tests/project/test_speed_benchmark.py`.
"""

import os
import re
import shlex
import shutil
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from benchmarks import requirements
from benchmarks.sameness import comparing
from tests.runs import copy_project
from utils.dataset.layout import STATE_PATH
from utils.formats.gzip_stream import SPACING_BYTES

PROJECT = Path(__file__).parents[2]
BENCHMARKS = sorted(path.stem for path in (PROJECT / "benchmarks").glob("*.py") if path.stem != "requirements")
MB = 1e6

Table = list[dict[str, str]]


@pytest.fixture
def place(tmp_path: Path) -> Path:
    """Where benchmarks keep what they make: a folder that must be empty when they are done."""
    folder = tmp_path / "place"
    folder.mkdir()
    return folder


def ran(
    place: Path, name: str, *arguments: str, flags: tuple[str, ...] = (), project: Path = PROJECT, **environment: str
) -> tuple[int, str]:
    """(exit code, what it printed): standard output, or else what went to standard error."""
    command = [sys.executable, *flags, str(project / "benchmarks" / f"{name}.py"), *arguments]
    variables = {**os.environ, "TMPDIR": str(place), **environment}
    done = subprocess.run(command, cwd=place, env=variables, capture_output=True, text=True, check=False)
    return done.returncode, done.stdout if done.returncode == 0 else done.stdout + done.stderr


def tables(place: Path, name: str, *arguments: str, **environment: str) -> list[Table]:
    """The tables that a run prints, a row as its columns; it leaves with 0, and leaves nothing behind."""
    code, printed = ran(place, name, *arguments, **environment)
    assert code == 0, printed
    assert list(place.iterdir()) == []
    blocks = re.findall(r"(?:^\|.*\n)+", printed, re.MULTILINE)
    return [table(block) for block in blocks]


def table(block: str) -> Table:
    names, _, *rows = ([cell.strip() for cell in line[1:-1].split("|")] for line in block.splitlines())
    return [dict(zip(names, row, strict=True)) for row in rows]


def number(cell: str) -> float:
    found = re.match(r"[\d,]+(\.\d+)?", cell)
    assert found, cell
    return float(found[0].replace(",", ""))


def one(rows: Table, column: str, value: str) -> Mapping[str, str]:
    """The row with that value."""
    (row,) = [row for row in rows if row[column] == value]
    return row


# --- what each shows ---------------------------------------------------------------------------


def test_resume_continues_behind_clip_1_and_reads_little_again(place: Path) -> None:
    """The segments lead further than the target; with a seek point no more than their distance is read again."""
    (rows,) = tables(place, "resume", "--gb", "0.03", "--read", "mirror")

    same, target, without = rows
    assert [row["resumed"].partition(",")[0] for row in rows] == ["same machine", "same machine", "another machine"]
    assert 1 < number(target["first new clip"]) < number(same["first new clip"])
    assert target["first new clip"] == without["first new clip"]
    for row in (same, target):
        assert 0 < number(row["read again"]) * MB < SPACING_BYTES + 4 * 2**20
    assert number(without["read again"]) * MB > SPACING_BYTES + 4 * 2**20


def test_memory_reports_a_peak_for_all_clips_published(place: Path) -> None:
    """A row for each size and table; it leaves with 1 where a clip of the source is not published."""
    (rows,) = tables(place, "memory", "--gb", "0.004", "--rows", "50")

    assert [(row["source"], row["table rows"], row["clips"]) for row in rows] == [("0.004 GB", "50", "20")]
    assert 20 < number(rows[0]["peak memory"]) < 1000


@pytest.mark.parametrize(("flag", "way"), [([], "Xet"), (["--as-it-comes"], "Xet as it comes"), (["--lfs"], "LFS")])
def test_xet_memory_reports_the_peak_of_the_way_it_says(place: Path, flag: list[str], way: str) -> None:
    """It leaves with a sentence where the files went another way."""
    (rows,) = tables(place, "xet_memory", "--files", "2", "--mb", "1", "--mb-per-s", "100", *flag)

    assert [(row["files"], row["way"]) for row in rows] == [("2 x 1 MB", way)]
    assert 20 < number(rows[0]["peak memory"]) < 1000


def test_overlap_measures_both_ways_against_a_bound(place: Path) -> None:
    """All of the source comes in, all of the dataset goes out, and the bound is the slowest of what is in the row."""
    (rows,) = tables(place, "overlap", "--clips", "40", "--mb-per-s", "20", "--work", str(place))

    assert [(row["way"], row["workers"]) for row in rows] == [("cached", "2"), ("streaming", "2")]
    for row in rows:
        megabytes_in, out = number(row["MB in"]), number(row["MB out"])
        assert 0 < megabytes_in < out  # FLAC comes in, WAV goes out
        slowest = max(megabytes_in / 20, out / 20, number(row["CPU s"]) / len(os.sched_getaffinity(0)))
        assert number(row["bound s"]) == pytest.approx(slowest, abs=0.1)
        assert number(row["of the bound"]) == pytest.approx(
            number(row["wall s"]) / number(row["bound s"]), rel=0.1, abs=0.1
        )
        assert 20 < number(row["peak MB"]) < 1000


def test_dedup_finds_other_forms_and_no_other_readings(place: Path) -> None:
    """With the demo's voice, as there is no program to speak: all but clips under a second, and nothing else."""
    by_length, longer, shorter = tables(
        place, "dedup", "--sentences", "3", "--speakers", "2", "--encoded", "1", PATH=str(place)
    )

    whole = one(by_length, "length", "all")
    assert number(whole["found"]) > 0.9 * number(whole["positives"]) > 50
    assert (whole["taken for the same"], whole["precision"]) == ("0", "1.0000")
    assert number(whole["negatives"]) > 0
    assert all(row["recall"] == "1.0000" for row in by_length if row["length"] not in ("0 to 1 s", "all"))
    assert all(
        row["share taken"] == "0.0000" for row in longer + shorter if list(row.values())[0].startswith("another")
    )


def test_state_cost_grows_with_neither_ranges_nor_names(place: Path) -> None:
    """A hundred times as many samples, a state of about the same size; some bytes for each ID of a script's own."""
    of_ranges, of_names = tables(
        place, "state_cost", "--counts", "9000", "900000", "--names", "10000", "--folder", str(place)
    )

    few, many = of_ranges
    assert [row["IDs, in ranges"] for row in of_ranges] == ["9,000", "900,000"]
    for column in ("state", "uploaded-IDs checkpoint"):
        assert 0 < number(many[column]) < 1.1 * number(few[column])
    named = {row["IDs of a script's own"]: row[""] for row in of_names}
    assert named["how many"] == "10,000"
    assert 12 <= number(named["on disk"]) < 14


def test_fuzz_puts_as_many_inputs_as_it_is_asked_for(place: Path) -> None:
    """Every one ends in one of the four ways; none is a failure."""
    (rows,) = tables(place, "fuzz", "--only", "mp3", "--count", "30", "--no-bombs", "--quiet", "--jobs", "1")

    endings = ("fine", "rejected", "refused", "set aside")
    assert [row["target"] for row in rows] == ["mp3", "**all**"]
    for row in rows:
        assert (row["inputs"], row["failures"]) == ("30", "0")
        assert sum(number(row[ending]) for ending in endings) == 30


def test_the_crash_campaign_strikes_every_schedule(place: Path) -> None:
    """So many as it is asked for; each is struck, and none loses or doubles anything."""
    only = [
        "--only",
        "repair, folder, mounted",
        "--schedules",
        "4",
        "--jobs",
        "1",
        "--seed",
        "3",
        "--place",
        str(place),
    ]
    code, printed = ran(place, "crash_campaign", *only)

    assert code == 0, printed
    assert "Schedules: 4, of which 4 were struck; failures: 0." in printed
    assert re.search(r"^\| repair, folder, mounted \| [1-9]\d* \| 0 \| 4 \| 0 \|$", printed, re.MULTILINE)
    assert list(place.iterdir()) == []


@pytest.fixture
def repository(tmp_path: Path) -> Path:
    """A repository with this tree in it: the tag `as-it-is`, and on top of it `other-words`, with another card."""
    if not shutil.which("git"):
        pytest.skip("git is not installed")
    folder = copy_project(tmp_path / "repository")
    for name in ("benchmarks", "tests"):
        shutil.copytree(PROJECT / name, folder / name, ignore=shutil.ignore_patterns("__pycache__"))
    for name in ("pyproject.toml", "requirements.txt"):
        shutil.copy(PROJECT / name, folder)
    git(folder, "init", "--quiet")
    commit(folder, "as-it-is")
    words = folder / "utils/dataset/card_text.py"
    words.write_text(words.read_text(encoding="utf-8").replace("brought to one form", "in one form"), encoding="utf-8")
    commit(folder, "other-words")
    return folder


def commit(folder: Path, tag: str) -> None:
    git(folder, "add", "--all")
    git(folder, "-c", "user.name=me", "-c", "user.email=me@localhost", "commit", "--quiet", "--message", tag)
    git(folder, "tag", tag)


def git(folder: Path, *arguments: str) -> None:
    subprocess.run(["git", *arguments], cwd=folder, check=True)  # noqa: S607


def test_same_bytes_proves_that_a_refactoring_changes_nothing(place: Path, repository: Path) -> None:
    """A run that one commit began, and another one resumes after a kill, ends at the same files. Nothing stays."""
    row = "own source, folder, handed over"
    code, printed = ran(place, "same_bytes", "as-it-is", "as-it-is", "--only", row, project=repository)

    assert code == 0, printed
    assert printed.endswith("\nAll equal.\n")
    (compared,) = table("\n".join(line for line in printed.splitlines() if line.startswith("|")))
    assert compared.pop("files compared") == "21"
    assert list(compared.values()) == ["own source", "folder", "handed over", "yes"]
    assert list(place.iterdir()) == []
    assert not list(repository.glob(".git/worktrees/*"))


def test_same_bytes_names_the_file_that_differs(place: Path, repository: Path) -> None:
    """Two words less in the card, which is HEAD's: exit 1, the card, and its words; all other files are equal."""
    code, printed = ran(place, "same_bytes", "as-it-is", "--only", "own source, Hub, undisturbed", project=repository)

    assert code == 1
    assert "| own source | Hub | undisturbed | 20 | no: README.md |\n" in printed
    (told,) = re.findall(r"^  (.*)", printed, re.MULTILINE)
    assert re.fullmatch(r"README\.md \(CHANGED\): line \d+: '.*brought to one.*' is now '.*in one form.*'", told)
    assert list(place.iterdir()) == []


def test_same_bytes_refuses_what_is_no_commit(place: Path, repository: Path) -> None:
    """A mistyped name is told, with 2, before anything runs."""
    code, printed = ran(place, "same_bytes", "as-it-was", project=repository)

    assert code == 2
    assert "git knows no commit as-it-was in" in printed


@pytest.mark.parametrize(
    ("path", "before", "after", "told"),
    [
        ("README.md", b"one\ntwo\n", b"one\n2\n", "line 2: 'two' is now '2'"),
        (STATE_PATH, b'{\n  "next_id": 1\n}', b'{\n  "next_id": 2\n}', "key next_id: '1' is now '2'"),
        (STATE_PATH, b'{\n  "holes": [],\n  "next_id": 1\n}', b'{\n  "next_id": 1\n}', "key holes: only BASE has it"),
        (
            STATE_PATH,
            b'{\n  "a": 1,\n  "b": 1\n}',
            b'{\n  "b": 1,\n  "a": 1\n}',
            "the same content in another form: the order of its keys, or spaces",
        ),
        (STATE_PATH, b'{\n  "run_id": "a",\n  "b": 1\n}', b'{\n  "run_id": "b",\n  "b": 1\n}', None),
        (".ingest/removed.json", b'{"key": "a"}', b'{"key": "b"}', "key key: 'a' is now 'b'"),
        (".ingest/dedup/train/A-00000.arrow", b"abc", b"abd", "some of its 3 bytes"),
        ("data/train/A-00000.parquet", b"", None, "is missing"),
        ("data/train/A-00001.parquet", None, b"", "should not be there"),
    ],
)
def test_same_bytes_tells_what_differs(
    tmp_path: Path, path: str, before: bytes | None, after: bytes | None, told: str | None
) -> None:
    """As closely as a file's form allows; of a state not what belongs to its run."""
    files: list[dict[str, Path]] = [{}, {}]
    for number, content in enumerate((before, after)):
        if content is not None:
            files[number][path] = tmp_path / str(number)
            files[number][path].write_bytes(content)

    assert comparing.differences(*files) == ({} if told is None else {path: told})


def test_same_bytes_tells_which_cell_or_metadata_of_a_shard_differs(tmp_path: Path) -> None:
    """Rows in another order, and rows that are the same in a file that says something else of them."""
    rows, path = pa.table({"ID": ["S1", "S2"]}), "data/train/A-00000.parquet"
    other = {"order": rows.take([1, 0]), "words": rows.replace_schema_metadata({"about": "clips"})}
    for name, content in {"rows": rows, **other}.items():
        pq.write_table(content, tmp_path / name)

    found = {name: comparing.differences({path: tmp_path / "rows"}, {path: tmp_path / name})[path] for name in other}

    assert found["order"] == "column ID, row 0: 'S1' is now 'S2'"
    assert found["words"].startswith("metadata about: ")


# --- what they need ------------------------------------------------------------------------------


PYTHON = shlex.quote(sys.executable)


@pytest.mark.parametrize("name", BENCHMARKS)
def test_a_benchmark_says_which_packages_it_lacks(name: str, place: Path) -> None:
    """One sentence with what to type, and 2, from a Python that has nothing installed."""
    code, printed = ran(place, name, flags=("-S",))

    assert code == 2
    assert printed.count("\n") == 1
    assert re.search(
        rf"{name}\.py: this Python has no [\w, -]+\. Type: {re.escape(PYTHON)} -m pip install -r requirements\.txt",
        printed,
    )


def test_only_what_is_missing_is_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Packages in any version, of the extras that are asked for; comments and blank lines are passed over."""
    (tmp_path / "requirements.txt").write_text("# what a run needs\n\nnumpy>=2.0,<3  # samples\nzlib-ng\n")
    (tmp_path / "pyproject.toml").write_text(
        '[project.optional-dependencies]\nsound = ["soundfile"]\nlacking = ["numpy", "no-such-package>=1,<2"]\n'
    )
    monkeypatch.setattr(requirements, "PROJECT", tmp_path)

    requirements.require("sound")
    with pytest.raises(SystemExit) as left:
        requirements.require("sound", "lacking")

    assert left.value.code == 2
    command = f"{PYTHON} -m pip install 'no-such-package>=1,<2'"
    assert capsys.readouterr().err == f"{sys.argv[0]}: this Python has no no-such-package. Type: {command}\n"
