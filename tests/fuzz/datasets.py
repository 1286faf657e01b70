"""Staged segments, and published datasets as `--verify` reads them."""

import hashlib
import json
import shutil
import tempfile
from functools import cache
from pathlib import Path
from random import Random

import pyarrow as pa
import xxhash

from tests.fuzz.ending import FINE, REFUSED, SET_ASIDE, Target, check
from tests.fuzz.mutate import mutated
from tests.fuzz.records import with_odd_value
from tests.small_runs import small_run, write_mirror
from tests.support import steps
from utils.audit.verify import verify
from utils.dataset.folder import LocalTarget
from utils.dataset.layout import LEDGER_PATH, STATE_PATH
from utils.dataset.ledger import FileRecord, Ledger
from utils.dataset.state import State
from utils.rows.progress import Progress
from utils.upload.segments import FOOTER_KEY, StagingKey
from utils.upload.staging import Staging

_KEY = StagingKey("generation", "Corpus", "train", "revision", {"option": 1})


def targets() -> list[Target]:
    return [
        Target("segments", _make_segment, _read_segment, share=1.5),
        Target("published Parquet (--verify)", _make_shard, _read_dataset, share=0.4),
    ]


# --- segments ------------------------------------------------------------------------------------


@cache
def _segment() -> bytes:
    with tempfile.TemporaryDirectory() as folder:
        staging = Staging(Path(folder), _KEY)
        staging.recover(Progress())
        taken = steps("kkrk")
        for step in taken:
            staging.add(step)
        staging.close(taken[-1].progress)
        return staging.segments[0].path.read_bytes()


def _make_segment(random: Random) -> tuple[bytes, bool]:
    """A damaged segment, and whether its name says so: one whose name fits its bytes was damaged on purpose."""
    if random.random() < 0.3:
        return _with_odd_footer(random), True
    return mutated(_segment(), [_segment()], random), False


def _with_odd_footer(random: Random) -> bytes:
    with pa.ipc.open_file(_segment()) as reader:
        table = reader.read_all()
        told = reader.get_batch_with_custom_metadata(reader.num_record_batches - 1).custom_metadata[FOOTER_KEY]
    footer = json.dumps(with_odd_value(json.loads(told), random))
    if random.random() < 0.2:
        table = table.drop_columns([random.choice(table.column_names)])
    sink = pa.BufferOutputStream()
    with pa.ipc.new_file(sink, table.schema) as writer:
        writer.write_table(table)
        writer.write_batch(pa.RecordBatch.from_pylist([], table.schema), custom_metadata={FOOTER_KEY: footer})
    return sink.getvalue().to_pybytes()


def _read_segment(made: tuple[bytes, bool], folder: Path) -> str:
    """Recovered: the segment is whole, or is set aside and its clips are read again."""
    content, fits = made
    place = folder / "Corpus" / "train"
    place.mkdir(parents=True)
    digest = xxhash.xxh3_64_hexdigest(content if fits else _segment())
    (place / f"{0:012d}-{4:012d}-{digest}.arrow").write_bytes(content)
    staging = Staging(folder, _KEY)
    progress = staging.recover(Progress())
    kept = list((folder / "set-aside").glob("*")) if (folder / "set-aside").exists() else []
    check(len(staging.segments) + len(kept) + (content == b"") >= 1, "a segment that is nowhere")
    check(progress.read == (staging.segments[-1].progress.read if staging.segments else 0), "a position without rows")
    for segment in staging.segments:
        check(len(segment.source_ids()) >= 0 and len(segment.rows_index) == segment.rows, "rows that are not there")
    return FINE if staging.segments else SET_ASIDE


# --- published -----------------------------------------------------------------------------------


@cache
def _dataset() -> dict[str, bytes]:
    """A small published dataset: path -> content."""
    with tempfile.TemporaryDirectory() as machine:
        write_mirror(Path(machine) / "mirrors")
        small_run(Path(machine))
        folder = Path(machine) / "out"
        return {
            path.relative_to(folder).as_posix(): path.read_bytes()
            for path in sorted(folder.rglob("*"))
            if path.is_file()
        }


def _make_shard(random: Random) -> tuple[str, bytes, bool]:
    """The path of a published file, its damaged content, and whether the ledger and the state are made to fit it."""
    shards = [path for path in _dataset() if path.endswith(".parquet")]
    if random.random() < 0.2:
        path = random.choice([path for path in _dataset() if not path.endswith(".parquet")])
    else:
        path = random.choice(shards)
    return path, mutated(_dataset()[path], [_dataset()[path] for path in shards], random), random.random() < 0.3


def _read_dataset(made: tuple[str, bytes, bool], folder: Path) -> str:
    """A damaged dataset is called sound only where nothing is damaged."""
    damaged, content, fits = made
    for path, sound in _dataset().items():
        (folder / "out" / path).parent.mkdir(parents=True, exist_ok=True)
        (folder / "out" / path).write_bytes(content if path == damaged else sound)
    if fits and damaged.endswith(".parquet"):
        _sign(folder / "out", damaged)
    (folder / "scratch").mkdir()
    verdict = verify(LocalTarget(folder / "out"), folder / "scratch", deep=True)
    verdict.as_json()
    untouched = content == _dataset()[damaged]
    if not fits and damaged.endswith(".parquet"):
        check(verdict.is_sound == untouched, f"called {'sound' if verdict.is_sound else 'not sound'}")
    shutil.rmtree(folder / "out")
    return FINE if verdict.is_sound else REFUSED


def _sign(folder: Path, damaged: str) -> None:
    """Let the ledger and the state name the damaged file as if it had been published so."""
    state = State.from_json((folder / STATE_PATH).read_bytes())
    ledger = Ledger((folder / LEDGER_PATH).read_bytes())
    content = (folder / damaged).read_bytes()
    records = [
        FileRecord(record.path, record.rows, len(content), hashlib.sha256(content).hexdigest())
        if record.path == damaged
        else record
        for record in ledger.records()
    ]
    resigned = Ledger.of(records)
    (folder / LEDGER_PATH).write_bytes(resigned.raw)
    (folder / STATE_PATH).write_bytes(resigned.signed(state).to_json())
