"""The ledger: what was published, as it was when it was published."""

import hashlib
import json
from dataclasses import replace
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from tests.support import sample
from utils.dataset.folder import LocalTarget
from utils.dataset.layout import LEDGER_PATH
from utils.dataset.ledger import Ledger
from utils.dataset.state import State
from utils.errors import TargetRefused
from utils.streaming import StreamingUploader


def two_batches(folder: Path) -> Path:
    """A published folder of two shards."""
    uploader = StreamingUploader(
        "me/x", checkpoint_path=folder / "c.json", target=LocalTarget(folder / "out"), staging_dir=folder / "staging"
    )
    uploader.upload_batch([sample(1), sample(2)])
    uploader.upload_batch([sample(3)])
    return folder / "out"


def test_each_published_file_is_listed_as_it_is(tmp_path: Path) -> None:
    """Path, rows, size and sha256 of every shard; the state says what the ledger hashes to."""
    out = two_batches(tmp_path)
    raw = (out / LEDGER_PATH).read_bytes()

    state = json.loads((out / ".ingest/state.json").read_bytes())
    assert (state["ledger_bytes"], state["ledger_sha256"]) == (len(raw), hashlib.sha256(raw).hexdigest())
    records = list(Ledger(raw).records())
    assert [(record.path, record.rows) for record in records] == [
        ("data/train/samples-00000.parquet", 2),
        ("data/train/samples-00001.parquet", 1),
    ]
    for record in records:
        content = (out / record.path).read_bytes()
        assert (record.size_bytes, record.sha256) == (len(content), hashlib.sha256(content).hexdigest())


def test_lines_ahead_of_the_state_are_not_believed(tmp_path: Path) -> None:
    """A run that died between the ledger and the state leaves a line that the next one writes over."""
    out = two_batches(tmp_path)
    with (out / LEDGER_PATH).open("ab") as ledger:
        ledger.write(b'{"path": "data/train/samples-00002.parquet"}\n')

    uploader = StreamingUploader(
        "me/x", append_mode=True, checkpoint_path=tmp_path / "c.json", target=LocalTarget(out),
        staging_dir=tmp_path / "staging",
    )  # fmt: skip
    uploader.upload_batch([sample(4)])

    records = list(Ledger((out / LEDGER_PATH).read_bytes()).records())
    assert [record.rows for record in records] == [2, 1, 1]


def test_changed_ledger_is_refused(tmp_path: Path) -> None:
    """A byte that changed, or a ledger that is gone, is not what the state names."""
    pq.write_table(pa.table({"ID": ["S1"]}), tmp_path / "x.parquet")
    ledger = Ledger().with_files({"data/train/x.parquet": tmp_path / "x.parquet"})
    state = ledger.signed(State("g"))

    assert Ledger.checked(ledger.raw, state) == ledger
    for raw in (None, b"", ledger.raw.replace(b"1", b"2"), ledger.raw[:-1]):
        with pytest.raises(TargetRefused, match="damaged"):
            Ledger.checked(raw, state)
    assert Ledger.checked(None, replace(state, ledger_bytes=0, ledger_sha256="")) == Ledger()
