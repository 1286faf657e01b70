"""Hostile input, a bounded part of it: `benchmarks/fuzz.py` runs all, this a few of each kind and the cheap bombs.

Each bomb was a hole once, or stands beside one: they are the seeds that are kept. They run in processes of their own,
under limits of CPU and memory.
"""

import ast
import errno
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from benchmarks.fuzzing import campaign
from benchmarks.fuzzing.worker import all_targets
from pipeline.explain import in_words
from processors import base_processor, describe
from tests.fuzz import broken
from tests.fuzz.ending import check_message
from tests.fuzz.mutate import NAMES
from tests.runs import PROJECT
from tests.small_runs import SOURCE, small_run, write_mirror
from tests.support import TonesProcessor, tone, tree
from utils.audit.verify import verify
from utils.dataset.folder import LocalTarget
from utils.errors import UsageError
from utils.formats.damage import is_damage
from utils.rows.schema import AUDIO_TYPE

DEAR = ("10,000,000", "200,000,000", "150,000 columns", "behind the end mark", "global headers", "hour")
"""Bombs that take more than a few seconds: the whole campaign has them."""
READERS = [target for target in all_targets() if target.always is None]
BOMBS = [target for target in all_targets() if target.always and not any(word in target.name for word in DEAR)]


def failures(inputs: dict[str, int]) -> dict[str, list[str]]:
    """What went wrong, by target."""
    tallies = campaign.run(1, inputs, jobs=1, on_batch=lambda tally: None)
    assert sum(tally.inputs for tally in tallies) == sum(inputs.values())
    return {tally.target: list(tally.failures.values()) for tally in tallies if tally.failures}


@pytest.mark.parametrize("reader", READERS, ids=lambda target: target.name)
def test_damaged_files_come_to_a_row_a_reject_or_a_word(reader: Any) -> None:
    """Never a crash, a traceback, a hang or a swollen process."""
    assert failures({reader.name: 20}) == {}


@pytest.mark.parametrize("bomb", BOMBS, ids=lambda target: target.name)
def test_bombs_end_within_their_bounds(bomb: Any) -> None:
    """10 s of CPU, unless it says otherwise, and 300 MB."""
    assert failures({bomb.name: 1}) == {}


@pytest.mark.parametrize("reader", broken.targets(), ids=lambda target: target.name)
def test_harness_sees_readers_that_fail(reader: Any) -> None:
    """Each in its own way: it dies, hangs, swells, raises, steers the terminal, leaves files open."""
    assert failures({reader.name: 2 if "leave" not in reader.name else 6})


# --- names, code, memory -------------------------------------------------------------------------


def hostile_mirror(machine: Path) -> None:
    """Clips whose names are paths, markup or noise, with transcripts to match."""
    path = machine / "mirrors" / describe(SOURCE).mirror / "data/train-00000-of-00001.parquet"
    rows = [
        {"audio": {"bytes": tone(number), "path": name}, "sentence": f"คำ {name[:300]}"}
        for number, name in enumerate(NAMES)
    ]
    pq.write_table(
        pa.Table.from_pylist(rows, schema=pa.schema([("audio", AUDIO_TYPE), ("sentence", pa.string())])), path
    )


def test_names_of_a_source_never_become_paths_or_markup(tmp_path: Path) -> None:
    """`../`, absolute, NUL, 64 KB, right-to-left marks: all are rows or rejects, and no file is called after them."""
    machine = tmp_path / "machine"
    write_mirror(machine / "mirrors")
    hostile_mirror(machine)

    result = small_run(machine)

    books = result.state.sources[SOURCE].splits["train"].progress
    assert books.read == len(NAMES) == books.kept + books.rejected
    assert [path.name for path in tmp_path.iterdir()] == ["machine"]
    published = tree(machine / "out", ".")
    parts = result.state.sources[SOURCE].splits["train"].parts
    allowed = {
        f"{folder}/train/{SOURCE}-{number:05d}.parquet" for folder in ("data", "rejected") for number in range(parts)
    }
    allowed |= {f".ingest/dedup/train/{SOURCE}-{number:05d}.arrow" for number in range(parts)}
    assert {path for path in published if "/train/" in path} <= allowed
    card = published["README.md"].decode()
    assert "<script>" not in card and "javascript:" not in card and "\u202e" not in card
    (tmp_path / "scratch").mkdir()
    assert verify(LocalTarget(machine / "out"), tmp_path / "scratch", deep=True).is_sound


def test_nothing_of_a_source_is_executed_or_unpickled() -> None:
    """No code of ours calls what would run or unpickle what it reads."""
    forbidden = {"pickle", "dill", "joblib", "marshal", "shelve", "torch"}
    found = []
    for path in [
        *PROJECT.glob("*.py"),
        *(p for part in ("pipeline", "processors", "utils") for p in (PROJECT / part).rglob("*.py")),
    ]:
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.Import):
                found += [f"{path.name}: {alias.name}" for alias in node.names if alias.name.split(".")[0] in forbidden]
            elif isinstance(node, ast.ImportFrom) and (node.module or "").split(".")[0] in forbidden:
                found.append(f"{path.name}: {node.module}")
            elif isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id in ("eval", "exec"):
                found.append(f"{path.name}: {node.func.id}")
            elif isinstance(node, ast.keyword) and node.arg in ("trust_remote_code", "allow_pickle"):
                found.append(f"{path.name}: {node.arg}")
            elif isinstance(node, ast.Attribute) and node.attr in ("unsafe_load", "full_load", "UnsafeLoader"):
                found.append(f"{path.name}: {node.attr}")
    assert found == []


def test_running_out_of_memory_stops_and_rejects_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Exit 5; resumed with memory, every clip is what it is where there was enough all along."""
    for name in ("plenty", "little"):
        write_mirror(tmp_path / name / "mirrors")
    small_run(tmp_path / "plenty")
    whole = base_processor.convert_clip
    seen = []

    def without_memory(clip: Any, *rest: Any) -> Any:
        seen.append(clip)
        if len(seen) == 5:
            raise MemoryError
        return whole(clip, *rest)

    monkeypatch.setattr(base_processor, "convert_clip", without_memory)
    with pytest.raises(MemoryError) as stopped:
        small_run(tmp_path / "little")
    told = in_words(stopped.value)
    small_run(tmp_path / "little", fresh=False, resume=True)

    assert told is not None and told.exit_code == 5
    rows = {
        name: tree(tmp_path / name, "out/data") | tree(tmp_path / name, "out/rejected") for name in ("plenty", "little")
    }
    assert rows["little"] == rows["plenty"]


def test_only_what_tells_of_the_file_is_damage() -> None:
    """Arrow's errors and unnumbered OSErrors do; the disk's, and a lack of memory in Arrow or in Python, do not."""
    of_the_file = [pa.ArrowInvalid("a page"), OSError("Corrupt snappy"), UnicodeDecodeError("utf-8", b"", 0, 1, "x")]
    others = [OSError(errno.EIO, "Input/output error"), pa.ArrowMemoryError("malloc"), MemoryError()]

    assert [is_damage(error) for error in (*of_the_file, *others)] == [True] * 3 + [False] * 3


@pytest.mark.parametrize("split", ["x" * 70_000, "\x1b[2J", "\u202e" * 9])
def test_words_of_a_checkpoint_are_told_short_and_tame(split: str, tmp_path: Path) -> None:
    """It names a split that there is not: the message shows as much of it as a person can read."""
    checkpoint = {"current_split": split, "split_index": 1, "samples_processed": 1}
    with pytest.raises(UsageError) as refused:
        list(TonesProcessor(checkpoint_dir=tmp_path).process_all_splits(checkpoint=checkpoint))

    check_message(refused.value)
