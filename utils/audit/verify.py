"""`--verify`: every promise of a dataset, recomputed from what is published and from nothing else.

    state, ledger, card  --read-->  what is promised     (utils/audit/verify_state.py)
    shards, rejects      --read-->  what is there        (utils/audit/verify_rows.py, utils/audit/repeats.py)
    the one against the other  -->  a Verdict            (utils/audit/findings.py)

Nothing is written but an index in `scratch`. Damage is what we look for, so it never raises; a target that can't be
asked does. A dataset without a state is held to what every dataset should keep.
"""

from collections.abc import Callable, Sequence
from pathlib import Path

from utils.audit.findings import Check, Totals, Verdict
from utils.audit.verify_rows import RowChecks
from utils.audit.verify_state import StateChecks
from utils.dataset.layout import REJECTED_FOLDER, STATE_FOLDER
from utils.dataset.target import Snapshot, StoredFile, TargetReader


def verify(
    target: TargetReader,
    scratch: Path,
    *,
    deep: bool = False,
    repo_id: str | None = None,
    on_file: Callable[[str, int, int], None] = lambda path, number, total: None,
    stop_requested: Callable[[], bool] = lambda: False,
) -> Verdict:
    """Check a target. `scratch` is an empty folder for indexes; `repo_id` is the target's name on the Hub.

    `on_file(path, number, total)` is told before each file is read.
    """
    snapshot = Snapshot(target.head(), None, holds_data=True)
    of_state = StateChecks()
    of_state.read(target, snapshot)
    stored = target.stored_files(snapshot)
    of_rows = RowChecks(target, snapshot, scratch, deep, stop_requested)
    if of_state.state:
        of_rows.is_ours = True
        of_rows.sample_rate_hz = of_state.state.sample_rate_hz
        of_rows.look_for(of_state.removed, of_state.removed_check)
    shards, rejects = data_files(stored, of_state)
    for number, path in enumerate((*shards, *rejects)):
        on_file(path, number, len(shards) + len(rejects))
        (of_rows.read_shard if number < len(shards) else of_rows.read_rejects)(path)
    of_rows.finish()
    of_state.check_files(stored, target, snapshot)
    of_state.check_books(of_rows.files, of_rows.rejects, {file.path: file.size_bytes for file in stored})
    of_state.check_ids(of_rows.files)
    of_state.check_card(target, snapshot, repo_id)
    if of_state.state:
        of_rows.require_columns()
    return Verdict(_in_order(of_state, of_rows), _totals(of_rows, stored), snapshot.head)


def data_files(stored: Sequence[StoredFile], of_state: StateChecks) -> tuple[list[str], list[str]]:
    """(data files, files of rejects), in the order of publishing where the ledger tells it, else of their names."""
    ordinals = {path: at for at, path in enumerate(of_state.records or ())}
    paths = sorted(
        (file.path for file in stored if file.path.endswith(".parquet")),
        key=lambda path: (ordinals.get(path, len(ordinals)), path),
    )
    rejects = [path for path in paths if path.startswith(f"{REJECTED_FOLDER}/")]
    return [path for path in paths if path.split("/")[0] not in (REJECTED_FOLDER, STATE_FOLDER)], rejects


def _in_order(of_state: StateChecks, of_rows: RowChecks) -> tuple[Check, ...]:
    was_taken_out = bool(of_state.state and of_state.state.list_of_removed)
    return (
        *(of_state.state_check, of_state.ledger_check, of_state.files, of_state.contents, of_rows.readable),
        *(of_state.counts, of_state.books, of_rows.ids, of_state.order, of_rows.source_ids, of_rows.splits),
        *([of_state.removed_check] if was_taken_out else []),
        *(of_state.card, of_rows.same_audio, of_rows.audio),
    )


def _totals(of_rows: RowChecks, stored: Sequence[StoredFile]) -> Totals:
    read = {facts.path for facts in (*of_rows.files, *of_rows.rejects)}
    return Totals(
        files=len(read),
        rows=sum(facts.rows for facts in of_rows.files),
        rejects=sum(facts.rows for facts in of_rows.rejects),
        size_bytes=sum(file.size_bytes for file in stored if file.path in read),
        duration_s=round(sum(facts.duration_s for facts in of_rows.files), 6),
    )
