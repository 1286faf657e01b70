"""Published folders and how tests damage them on purpose, each in one way and no other."""

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

from utils.dataset.layout import LEDGER_PATH, STATE_PATH
from utils.dataset.ledger import FileRecord, Ledger
from utils.dataset.state import SplitState, State


def state_of(folder: Path) -> State:
    return State.from_json((folder / STATE_PATH).read_bytes())


def put_state(folder: Path, state: State) -> None:
    (folder / STATE_PATH).write_bytes(state.to_json())


def change_split(folder: Path, source: str, split: str, change: Callable[[SplitState], SplitState]) -> None:
    """Change one split's books in the state, whose checksum then fits."""
    state = state_of(folder)
    put_state(folder, state.with_split(source, split, change(state.split(source, split))))


def change_rows(folder: Path, path: str, change: Callable[[list[dict]], list[dict]]) -> None:
    """Rewrite a shard with other rows, and sign it again, so that only its rows are wrong."""
    table = pq.read_table(folder / path, partitioning=None)
    rows = change(table.to_pylist())
    pq.write_table(pa.Table.from_pylist(rows, schema=table.schema), folder / path)
    sign(folder)


def sign(folder: Path) -> None:
    """Make the ledger, the state's signature of it, and the sizes in the state those of the files that are there."""
    paths = [record.path for record in Ledger((folder / LEDGER_PATH).read_bytes()).records()]
    records = [FileRecord.of(path, folder / path) for path in paths]
    raw = "".join(json.dumps(vars(record)) + "\n" for record in records).encode()
    (folder / LEDGER_PATH).write_bytes(raw)
    state = Ledger(raw).signed(state_of(folder))
    for name, source in state.sources.items():
        for split, books in source.splits.items():
            shards = f"{source.row_schema.folder}/{split}/{name}-"
            mine = [record for record in records if record.path.startswith(shards)]
            size = sum(record.size_bytes for record in mine)
            state = state.with_split(name, split, replace(books, size_bytes=size))
    put_state(folder, state)
