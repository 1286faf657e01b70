"""`--verify`: every promise of a dataset, recomputed from what is published and from nothing else.

    state, ledger, card  --read-->  what is promised     (utils/audit/verify_state.py)
    shards, rejects      --read-->  what is there        (utils/audit/verify_rows.py, utils/audit/row_checks.py)
    the one against the other  -->  a Verdict            (utils/audit/findings.py)

Nothing is written but an index in `scratch`. Damage is what we look for, so it never raises; a target that can't be
asked does. A dataset without a state is held to what every dataset should keep.
"""

from collections.abc import Callable, Sequence
from pathlib import Path

from utils.audit.files_read import FileFacts
from utils.audit.findings import Totals, Verdict
from utils.audit.row_checks import Clips, Duplicates, Ids, Lengths, RemovedRows, SameAudio, SourceIds
from utils.audit.source_names import PublishedNames
from utils.audit.verify_rows import RowReader
from utils.audit.verify_state import StateChecks
from utils.dataset.layout import REJECTED_FOLDER, STATE_FOLDER
from utils.dataset.target import Snapshot, StoredFile, TargetReader


def verify(
    target: TargetReader,
    scratch: Path,
    *,
    deep: bool = False,
    repo_id: str | None = None,
    names: PublishedNames | None = None,
    on_file: Callable[[str, int, int], None] = lambda path, number, total: None,
    stop_requested: Callable[[], bool] = lambda: False,
) -> Verdict:
    """Check a target. `scratch` is an empty folder for indexes; `repo_id` is the target's name on the Hub.

    `names` takes up the source ids, for who holds them against the sources. `on_file(path, number, total)` is told
    before each file is read.
    """
    snapshot = Snapshot(target.head(), None, holds_data=True)
    of_state = StateChecks()
    of_state.read(target, snapshot)
    stored = target.stored_files(snapshot)
    state = of_state.state
    ids, source_ids, same_audio = Ids(scratch), SourceIds(scratch), SameAudio(scratch)
    clips = Clips(deep, state.sample_rate_hz if state else None)
    removed = RemovedRows(of_state.removed, of_state.removed_check)
    duplicates = Duplicates(scratch, source_ids, state, of_state.removed)
    if names:
        names.begin(state, of_state.removed)
    named = (names,) if names else ()
    of_shards = (ids, source_ids, same_audio, removed, Lengths(), clips, *named)
    of_rejects = (source_ids.of_rejects, duplicates, *named)

    reader = RowReader(target, snapshot, state is not None, stop_requested)
    shards, rejects = data_files(stored, of_state)
    for number, path in enumerate((*shards, *rejects)):
        on_file(path, number, len(shards) + len(rejects))
        reader.read_file(path, of_shards if number < len(shards) else of_rejects)
    for check in (*of_shards, duplicates):
        check.finish(reader.read)
    files, files_of_rejects = reader.read.files[: len(shards)], reader.read.files[len(shards) :]

    of_state.check_files(stored, target, snapshot)
    of_state.check_books(files, files_of_rejects, {file.path: file.size_bytes for file in stored})
    of_state.check_ids(files)
    of_state.check_card(target, snapshot, repo_id)
    if state:
        reader.require_columns(files)
    checks = (
        *(of_state.state_check, of_state.ledger_check, of_state.files, of_state.contents, reader.readable),
        *(of_state.counts, of_state.books, ids.check, of_state.order, source_ids.check, source_ids.splits),
        *([duplicates.check] if state else []),
        *([of_state.removed_check] if state and (state.list_of_removed or of_state.removed_check.found) else []),
        *(of_state.card, same_audio.check, clips.check),
    )
    return Verdict(checks, _totals(files, files_of_rejects, stored), snapshot.head)


def data_files(stored: Sequence[StoredFile], of_state: StateChecks) -> tuple[list[str], list[str]]:
    """(data files, files of rejects), in the order of publishing where the ledger tells it, else of their names."""
    ordinals = {path: at for at, path in enumerate(of_state.records or ())}
    paths = sorted(
        (file.path for file in stored if file.path.endswith(".parquet")),
        key=lambda path: (ordinals.get(path, len(ordinals)), path),
    )
    rejects = [path for path in paths if path.startswith(f"{REJECTED_FOLDER}/")]
    return [path for path in paths if path.split("/")[0] not in (REJECTED_FOLDER, STATE_FOLDER)], rejects


def _totals(shards: Sequence[FileFacts], rejects: Sequence[FileFacts], stored: Sequence[StoredFile]) -> Totals:
    read = {file.path for file in (*shards, *rejects)}
    return Totals(
        files=len(read),
        rows=sum(file.rows for file in shards),
        rejects=sum(file.rows for file in rejects),
        size_bytes=sum(file.size_bytes for file in stored if file.path in read),
        duration_s=round(sum(file.duration_s for file in shards), 6),
    )
