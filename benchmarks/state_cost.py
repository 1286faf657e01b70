"""What saving the state and the uploaded IDs costs, by number of samples: `python benchmarks/state_cost.py`.

The first table: IDs in ranges, as a run gives them, over three sources with three splits each and 2,000 shards. Saving
means what a commit to a folder does: making the JSON, writing it under a temporary name, fsync, rename, fsync of
the folder. The second one: IDs that a script chose, in the index on disk, entered 5,000 at a time. The times
depend on the disk: `--folder` says which one. Everything is made in a temporary folder and removed.
"""

import argparse
import random
import resource
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from itertools import islice
from pathlib import Path
from statistics import mean, median

PROJECT = Path(__file__).parent.parent
sys.path.insert(0, str(PROJECT))

from benchmarks.requirements import require  # noqa: E402

require()

from utils.dataset.layout import part_name  # noqa: E402
from utils.dataset.ledger import FileRecord, Ledger  # noqa: E402
from utils.dataset.state import SourceState, SplitState, State  # noqa: E402
from utils.disk.durable import write_atomically  # noqa: E402
from utils.rows.ids import Range  # noqa: E402
from utils.rows.progress import Progress  # noqa: E402
from utils.rows.schema import SPLITS  # noqa: E402
from utils.upload.id_index import IdIndex  # noqa: E402
from utils.upload.publisher import begun_state  # noqa: E402
from utils.upload.upload_checkpoint import remember_uploaded  # noqa: E402

SOURCES = ("GigaSpeech2", "ProcessedVoiceTH", "MozillaCommonVoice")
SHARDS = 2000
APPENDS = 10
"""Ranges of each split: so many runs, one after the other, have added to it."""
BATCH = 5000
LOOK_UPS = 100_000
TRIES = 31


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--counts", type=int, nargs="+", default=[10_000, 1_000_000, 10_000_000], help="IDs in ranges")
    parser.add_argument("--names", type=int, default=10_000_000, help="IDs that a script chose")
    parser.add_argument("--folder", type=Path, help="where to write (a temporary folder)")
    given = parser.parse_args()
    with tempfile.TemporaryDirectory(dir=given.folder) as folder:
        print("| IDs, in ranges | state | saving it | uploaded-IDs checkpoint | saving it | list of shards |")
        print("|---|---|---|---|---|---|")
        for count in given.counts:
            print(_ranges_row(Path(folder), count), flush=True)
        one_byte = [lambda: write_atomically(Path(folder) / "byte", b"x")] * TRIES
        print(f"\nA file of one byte takes {_cost(one_byte)} on this disk.")
        print("\n| IDs of a script's own | |\n|---|---|")
        for what, figure in _names_rows(Path(folder) / "ids", given.names):
            print(f"| {what} | {figure} |", flush=True)


# --- IDs in ranges ---------------------------------------------------------------------------


def _ranges_row(folder: Path, count: int) -> str:
    state = _state(count)
    state_path, checkpoint_path = folder / "state.json", folder / "checkpoint.json"
    # Another generation each time: a checkpoint that says so already is not written again.
    states = [replace(state, generation=f"{number:032x}") for number in range(TRIES)]
    of_state = _cost([lambda one=one: write_atomically(state_path, one.to_json()) for one in states])
    of_checkpoint = _cost(
        [lambda one=one: remember_uploaded(checkpoint_path, one, "train", "me/thai-voice") for one in states]
    )
    return (
        f"| {count:,} | {_kb(state_path)} | {of_state} | {_kb(checkpoint_path)} | {of_checkpoint} | "
        f"{state.ledger_bytes / SHARDS:.0f} bytes a shard |"
    )


def _state(count: int) -> State:
    """A state of so many samples; its splits were added to in turns, so each has several ranges."""
    state, ledger = begun_state(16_000), Ledger.of(_records())
    each = count // (len(SOURCES) * len(SPLITS) * APPENDS)
    for at, source in enumerate(SOURCES):
        about = {"title": source, "url": f"https://example.org/{source}", "licence": "other", "licence_name": "unknown"}
        splits = {}
        for number, split in enumerate(SPLITS):
            ids = _turns(each, at * len(SPLITS) + number)
            rows = each * APPENDS
            progress = Progress({"index": rows, "file": "9.tar.gz", "member": 999}, read=rows, kept=rows)
            splits[split] = SplitState(progress, SHARDS // 9, rows, ids, rows * 5.5, rows * 160_000)
        state = state.with_source(
            source, SourceState("0" * 40, {"audio": {"rate": 16_000}, "rows": 5000}, about, splits)
        )
    return ledger.signed(replace(state, next_id=each * APPENDS * 9 + 1))


def _turns(each: int, offset: int) -> tuple[Range, ...]:
    firsts = [1 + each * (9 * turn + offset) for turn in range(APPENDS)]
    return tuple((first, first + each - 1) for first in firsts)


def _records() -> Iterator[FileRecord]:
    for number in range(SHARDS):
        yield FileRecord(f"data/train/{part_name(SOURCES[0], number)}", BATCH, 800_000_000 + number, "0" * 64)


# --- IDs of a script's own -------------------------------------------------------------------


def _names_rows(folder: Path, count: int) -> Iterator[tuple[str, str]]:
    before_mb = _peak_mb()
    shards = [f"{number:064x}" for number in range(-(-count // BATCH))]
    index = IdIndex(folder, [])
    names = map(_name, range(count))
    adding = [_timed_ms(lambda sha=sha: index.add(list(islice(names, BATCH)), [sha])) for sha in shards]
    yield "how many", f"{len(index):,}"
    yield "on disk", f"{index.size_bytes / len(index):.2f} bytes an ID, in {len(list(folder.iterdir()))} files"
    yield f"entering {BATCH:,} more", f"{median(adding):.0f} ms (mean {mean(adding):.0f}, largest {max(adding):.0f})"
    yield "asking for one that is there", f"{_look_up_us(index, [_name(at) for at in _some(count)], True):.1f} us"
    yield (
        "asking for one that is not",
        f"{_look_up_us(index, [_name(count + at) for at in _some(count)], False):.1f} us",
    )
    index.close()
    yield "opening it, every byte checked", f"{_timed_ms(lambda: IdIndex(folder, shards).close()):.0f} ms"
    yield "peak memory", f"{_peak_mb():.0f} MB, {_peak_mb() - before_mb:.0f} MB more than before"


def _name(number: int) -> str:
    return f"speaker-{number % 977}/clip-{number:x}"


def _some(count: int) -> list[int]:
    chosen = random.Random(1)
    return [chosen.randrange(count) for _ in range(LOOK_UPS)]


def _look_up_us(index: IdIndex, names: Sequence[str], there: bool) -> float:
    begun = time.perf_counter()
    found = sum(name in index for name in names)
    took_us = (time.perf_counter() - begun) / len(names) * 1e6
    assert found == (len(names) if there else 0)
    return took_us


def _timed_ms(act: Callable[[], object]) -> float:
    begun = time.perf_counter()
    act()
    return (time.perf_counter() - begun) * 1e3


def _cost(acts: Sequence[Callable[[], object]]) -> str:
    """The median of what each took, and of what of it was computing rather than waiting for the disk."""
    walls, computing = [], []
    for act in acts:
        begun = time.process_time()
        walls.append(_timed_ms(act))
        computing.append((time.process_time() - begun) * 1e3)
    return f"{median(walls):.1f} ms ({median(computing):.1f} of it computing)"


def _peak_mb() -> float:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


def _kb(path: Path) -> str:
    return f"{path.stat().st_size / 1000:.1f} KB"


if __name__ == "__main__":
    main()
