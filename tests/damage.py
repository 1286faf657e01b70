"""Published folders and how tests damage them on purpose, each in one way and no other."""

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

from utils.dataset.card import render_card
from utils.dataset.layout import CARD_PATH, LEDGER_PATH, STATE_PATH
from utils.dataset.ledger import FileRecord, Ledger
from utils.dataset.state import SplitState, State
from utils.rows.ids import merge_ranges
from utils.rows.progress import Progress


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


def settle(folder: Path) -> None:
    """Make IDs, books, ledger and card those of the rows that are there, as if a run had made them so: what was done to
    the rows is then nothing that the dataset by itself could tell. Every split must have its rows in the state's order.
    """
    state, number = state_of(folder), 1
    of_place: dict[tuple[str, str], SplitState] = {}
    for record in Ledger((folder / LEDGER_PATH).read_bytes()).records():
        kind, split, name = record.path.split("/")
        place = name.rpartition("-")[0], split
        books = of_place.setdefault(place, _without_rows(state.split(*place)))
        rows = pq.read_table(folder / record.path, partitioning=None)
        if kind == "rejected":
            of_place[place] = replace(books, progress=_with_more(books.progress, rejected=len(rows)))
            continue
        ids = [f"S{at}" for at in range(number, number + len(rows))]
        rows = rows.set_column(rows.schema.get_field_index("ID"), rows.schema.field("ID"), pa.array(ids, pa.string()))
        pq.write_table(rows, folder / record.path)
        of_place[place] = replace(
            books,
            progress=_with_more(books.progress, kept=len(rows)),
            published=books.published + len(rows),
            ids=merge_ranges([*books.ids, *([(number, number + len(rows) - 1)] if ids else [])]),
            duration_s=round(books.duration_s + sum(rows["length"].to_pylist()), 6),
        )
        number += len(rows)
    for place, books in of_place.items():
        state = state.with_split(*place, books)
    put_state(folder, replace(state, next_id=number))
    sign(folder)
    card = folder / CARD_PATH
    card.write_text(render_card(state_of(folder), card.read_text(), None))


def _without_rows(books: SplitState) -> SplitState:
    left = books.progress.unselected + books.progress.known
    progress = replace(books.progress, read=left, kept=0, rejected=0)
    return replace(books, progress=progress, published=0, ids=(), duration_s=0.0)


def _with_more(progress: Progress, kept: int = 0, rejected: int = 0) -> Progress:
    read = progress.read + kept + rejected
    position = {**progress.position, "index": read}
    counts = {"kept": progress.kept + kept, "rejected": progress.rejected + rejected}
    return replace(progress, read=read, position=position, **counts)
