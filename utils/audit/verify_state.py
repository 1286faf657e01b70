"""What the state, the ledger and the card promise, held against the files that are published. Pure but for reading.

Nothing here raises for damage: a state that can't be read is itself what is found, and what hangs on it is "not
checked".
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from functools import partial

from utils.audit.files_read import FileFacts
from utils.audit.findings import Check
from utils.audit.restore import how_to_restore
from utils.dataset.card import render_card
from utils.dataset.card_text import name_in
from utils.dataset.layout import (
    CARD_PATH,
    DATA_FOLDERS,
    HEARD_PATH,
    LEDGER_PATH,
    REJECTED_FOLDER,
    REMOVED_PATH,
    STATE_PATH,
    is_seek_file,
    part_path,
    rows_in,
)
from utils.dataset.ledger import FileRecord, Ledger
from utils.dataset.state import DamagedState, SourceState, SplitState, State
from utils.dataset.target import Snapshot, StoredFile, TargetReader, published_files
from utils.errors import TargetRefused
from utils.known.removals import RemovedList, heard_lines
from utils.rows.ids import Range, id_of, merge_ranges, ranges_text, subtract
from utils.rows.schema import ROW_SCHEMAS, RowSchema

_NO_STATE = f"there is no {STATE_PATH}: this program did not make it"
_DURATION_TOLERANCE_S = 0.001
_IDS_IN_ORDER = "as published, {} to the last, holes only where named"


@dataclass
class StateChecks:
    """The checks that need no row."""

    state_check: Check = field(default_factory=lambda: Check("state", "it is whole, and its books balance"))
    ledger_check: Check = field(default_factory=lambda: Check("ledger", "it is the one that the state signs"))
    files: Check = field(
        default_factory=lambda: Check("files", "every part that the state names is there, and nothing else")
    )
    contents: Check = field(default_factory=lambda: Check("contents", "size and sha256 of files, as committed"))
    counts: Check = field(
        default_factory=lambda: Check("counts", "rows, rejects, bytes and seconds: the state's are the files'")
    )
    books: Check = field(
        default_factory=lambda: Check(
            "books", "read = kept + rejected + unselected + known; kept = published + removed"
        )
    )
    order: Check = field(default_factory=lambda: Check("order of IDs", _IDS_IN_ORDER.format("S1")))
    card: Check = field(default_factory=lambda: Check("card", "it says what the state says"))
    removed_check: Check = field(
        default_factory=lambda: Check("taken out", "the list of it is the one that the state signs, no row is on it")
    )
    state: State | None = None
    removed: RemovedList = field(default_factory=RemovedList)
    """What is never collected again."""
    records: dict[str, FileRecord] | None = None
    """The ledger, by path in the order of publishing; None where there is none that can be trusted."""

    def skip_all(self, why: str) -> None:
        checks = (self.ledger_check, self.files, self.contents, self.counts, self.books, self.order, self.card)
        for check in (*checks, self.removed_check):
            check.skip(why)

    # --- reading ---------------------------------------------------------------------------

    def read(self, target: TargetReader, snapshot: Snapshot) -> None:
        """Read the state and the ledger."""
        raw, raw_ledger = (target.read_file(path, snapshot) for path in (STATE_PATH, LEDGER_PATH))
        if raw is None and raw_ledger is None:
            self.state_check.skip(_NO_STATE)
            self.skip_all(_NO_STATE)
            return
        self.state_check.checked = 1
        try:
            self.state = _state_of(raw)
        except TargetRefused as error:
            self.state_check.offend(str(error))
            if isinstance(error, DamagedState):
                listed = target.read_file(REMOVED_PATH, snapshot)
                self.state_check.remedy = how_to_restore(
                    target, STATE_PATH, snapshot, lambda old: RemovedList.checked(listed, State.from_json(old))
                )
            self.skip_all("the state can't be read")
            return
        self._read_ledger(raw_ledger, self.state)
        if self.ledger_check.found and self.records is None:
            names_it = partial(Ledger.checked, state=self.state)
            self.ledger_check.remedy = how_to_restore(target, LEDGER_PATH, snapshot, names_it)
        self._read_removed(target, snapshot, self.state)

    def _read_removed(self, target: TargetReader, snapshot: Snapshot, state: State) -> None:
        raw = target.read_file(REMOVED_PATH, snapshot)
        if raw is None and not state.list_of_removed:
            self.removed_check.skip("nothing was taken out")
            return
        try:
            self.removed = RemovedList.checked(raw, state)
            heard_lines(target.read_file(HEARD_PATH, snapshot), state)
        except TargetRefused as error:
            self.removed_check.offend(str(error))
            if not state.list_of_removed:
                return
            names_it = partial(RemovedList.checked, state=state)
            self.removed_check.remedy = how_to_restore(target, REMOVED_PATH, snapshot, names_it)

    def _read_ledger(self, raw: bytes | None, state: State) -> None:
        if not state.ledger_bytes:
            why = "nothing is published yet" if not published_files(state) else "the state names none"
            self.ledger_check.skip(why)
            self.contents.skip(why)
            return
        try:
            records = list(Ledger.checked(raw, state).records())
        except (TargetRefused, ValueError, TypeError) as error:
            self.ledger_check.offend(str(error))
            self.contents.skip("the ledger can't be trusted")
            return
        self.ledger_check.checked = len(records)
        self.records = {record.path: record for record in records}
        named = set(published_files(state))
        for record in records:
            if record.path not in named:
                self.ledger_check.offend(f"{record.path} is listed, but the state names no such part")
        if len(self.records) != len(records):
            self.ledger_check.offend("a file is listed twice", len(records) - len(self.records))

    # --- files -----------------------------------------------------------------------------

    def check_files(self, stored: Sequence[StoredFile], target: TargetReader, snapshot: Snapshot) -> None:
        """Which files are there, and whether they are the ones that were committed."""
        if self.state is None:
            return
        if self.state.replaces_old_data:
            self.skip_all("a fresh dataset was begun here, and the old data still stands until its first shard")
            return
        there = {file.path: file for file in stored if file.path.split("/")[0] in DATA_FOLDERS}
        self._check_names(set(there), self.state)
        for path in audio_left_over(stored, target, snapshot):
            self.files.offend(f"{path} holds audio, and an older version left it there: --repair deletes it")
        for path, record in (self.records or {}).items():
            if path in there:
                self._check_content(there[path], record, target, snapshot)

    def _check_names(self, there: set[str], state: State) -> None:
        # The last part of a split may have no file at all: only the ledger tells that from one that is missing.
        for source, split, books in split_books(state) if self.records is None and state.ledger_bytes else ():
            for number in range(books.parts):
                if not there & set(_paths_of(state, source, split, number)):
                    self.files.offend(f"part {number} of {source}/{split} is missing")
        self.files.checked = len(there)
        if self.records is not None:
            for path in sorted(set(self.records) - there):
                self.files.offend(f"{path} is missing")
        known = set(published_files(state)) if self.records is None else set(self.records)
        for path in sorted(there - known):
            self.files.offend(f"{path} is not named by the {'state' if self.records is None else 'ledger'}")

    def _check_content(self, file: StoredFile, record: FileRecord, target: TargetReader, snapshot: Snapshot) -> None:
        self.contents.checked += 1
        if file.size_bytes != record.size_bytes:
            self.contents.offend(f"{file.path} has {file.size_bytes:,} bytes, not {record.size_bytes:,}")
        elif (file.sha256 or target.sha256(file.path, snapshot)) != record.sha256:
            self.contents.offend(f"{file.path} is not the file that was committed: its sha256 differs")

    # --- books -----------------------------------------------------------------------------

    def check_books(self, shards: Sequence[FileFacts], rejects: Sequence[FileFacts], sizes: dict[str, int]) -> None:
        """The state's counts against the files'."""
        if self.state is None or self.state.replaces_old_data:
            return
        for source, split, books in split_books(self.state):
            self._check_split(f"{source}/{split}", books)
            paths = {path for at in range(books.parts) for path in _paths_of(self.state, source, split, at)}
            mine = [facts for facts in shards if facts.path in paths]
            figures = [
                ("rows", books.published, sum(facts.rows for facts in mine)),
                ("rejects", books.rejected, sum(facts.rows for facts in rejects if facts.path in paths)),
                ("bytes", books.size_bytes, sum(sizes[facts.path] for facts in mine)),
                ("seconds", books.duration_s, sum(facts.duration_s for facts in mine)),
            ]
            self._check_figures(f"{source}/{split}", figures)
            self._check_ids_of_split(f"{source}/{split}", self.state.sources[source], split, mine)
        self._check_removed(self.state)
        self._check_rows_by_the_ledger([*shards, *rejects])

    def _check_figures(self, name: str, figures: Iterable[tuple[str, float, float]]) -> None:
        """Each is (what is counted, by the state, in the files)."""
        for what, told, found in figures:
            self.counts.checked += 1
            if abs(told - found) > (_DURATION_TOLERANCE_S if what == "seconds" else 0):
                self.counts.offend(f"{name}: {told:,} {what} by the state, {found:,} in its files")

    def _check_rows_by_the_ledger(self, files: Iterable[FileFacts]) -> None:
        for facts in files:
            record = (self.records or {}).get(facts.path)
            if record and facts.is_readable and record.rows != facts.rows:
                self.counts.offend(f"{facts.path}: {record.rows:,} rows by the ledger, {facts.rows:,} in it")

    def _check_split(self, name: str, books: SplitState) -> None:
        self.books.checked += 1
        kept = kept_in_all(books)
        if kept < books.published:
            self.books.offend(f"{name}: kept {kept:,}, but published {books.published:,}")

    def _check_removed(self, state: State) -> None:
        every = [books for _, _, books in split_books(state)]
        kept, published = sum(map(kept_in_all, every)), sum(books.published for books in every)
        removed = sum(_size(hole) for rows in ROW_SCHEMAS.values() for hole in state.holes_of(rows)) + state.nameless
        if kept != published + removed and not self.books.found:
            self.books.offend(f"kept {kept:,} in all, but published {published:,} and removed {removed:,}")

    def _check_ids_of_split(self, name: str, source: SourceState, split: str, shards: Sequence[FileFacts]) -> None:
        books = source.splits[split]
        found = merge_ranges(numbers for facts in shards for numbers in facts.numbers)
        if found != merge_ranges(books.ids) and (books.ids or source.ids_named(split, found)):
            told, seen = (ranges_text(ids, source.row_schema.id_prefix) for ids in (books.ids, found))
            self.order.offend(f"{name}: IDs {told} by the state, {seen} in its files")

    # --- IDs -------------------------------------------------------------------------------

    def check_ids(self, shards: Sequence[FileFacts]) -> None:
        """1..n in published order, for each kind of rows; holes only where the state names them; none beyond n."""
        if self.state is None or self.state.replaces_old_data:
            return
        kinds = [rows for rows in ROW_SCHEMAS.values() if self.state.sources_of(rows)]
        if kinds:
            self.order.about = _IDS_IN_ORDER.format(" and ".join(id_of(1, rows.id_prefix) for rows in kinds))
        for rows in ROW_SCHEMAS.values():
            self._check_sequence([facts for facts in shards if rows_in(facts.path) is rows], self.state, rows)

    def _check_sequence(self, shards: Sequence[FileFacts], state: State, rows: RowSchema) -> None:
        last = state.next_id_of(rows) - 1
        self.order.checked += last
        found = merge_ranges(numbers for facts in shards for numbers in facts.numbers)
        expected = subtract([(1, last)] if last else [], state.holes_of(rows))
        if not any(source.carries_own_ids for source in state.sources_of(rows).values()):
            for missing in subtract(expected, found):
                self.order.offend(
                    f"{ranges_text([missing], rows.id_prefix)} missing, and not named as a hole", _size(missing)
                )
            self._check_increasing(shards, state)
        for extra in subtract(found, expected):
            told = f"{ranges_text([extra], rows.id_prefix)} there, but a hole or not given yet by the state"
            self.order.offend(told, _size(extra))

    def _check_increasing(self, shards: Sequence[FileFacts], state: State) -> None:
        for facts in shards:
            if not facts.ids_increase:
                self.order.offend(f"{facts.path}: its IDs do not increase from row to row")
        for before, after in self._successions(shards, state):
            if before.numbers and after.numbers and after.numbers[0][0] <= before.numbers[-1][1]:
                numbers, prefix = (after.numbers[0][0], before.numbers[-1][1]), after.row_schema.id_prefix
                told = " after ".join(id_of(number, prefix) for number in numbers)
                self.order.offend(f"{after.path} begins with {told} of {before.path}, which was published before it")

    def _successions(self, shards: Sequence[FileFacts], state: State) -> Iterable[tuple[FileFacts, FileFacts]]:
        """Files that were published one after the other: all by the ledger, else those of each split."""
        by_path = {facts.path: facts for facts in shards}
        if self.records is not None:
            sequences = [[by_path[path] for path in self.records if path in by_path]]
        else:
            named = [
                [_paths_of(state, source, split, at)[0] for at in range(books.parts)]
                for source, split, books in split_books(state)
            ]
            sequences = [[by_path[path] for path in paths if path in by_path] for paths in named]
        return [pair for files in sequences for pair in zip(files, files[1:], strict=False)]

    # --- card ------------------------------------------------------------------------------

    def check_card(self, target: TargetReader, snapshot: Snapshot, repo_id: str | None) -> None:
        """The card is what this state makes of it; text by hand outside our parts plays no part.

        Nor does the name that it gives the dataset: a repo can be renamed, copied, fetched into a folder.
        """
        state = self.state
        if state is None or state.replaces_old_data:
            return
        raw = target.read_file(CARD_PATH, snapshot)
        if raw is None and not published_files(state):
            self.card.skip("nothing is published yet")
            return
        self.card.checked = 1
        if raw is None:
            self.card.offend(f"{CARD_PATH} is missing")
            return
        text = raw.decode(errors="replace")
        due = render_card(state, text, repo_id)
        if text not in (due, render_card(state, text, name_in(text))):
            self.card.offend(_first_difference(text, due))


def audio_left_over(stored: Iterable[StoredFile], target: TargetReader, snapshot: Snapshot) -> list[str]:
    """Files of an older version that hold a piece of an archive, whoever has been taken out since."""
    paths = [file.path for file in stored if file.size_bytes and is_seek_file(file.path)]
    return [path for path in paths if b'"window"' in (target.read_file(path, snapshot) or b"")]


def _state_of(raw: bytes | None) -> State:
    if raw is None:
        raise DamagedState(f"{STATE_PATH} is gone: {LEDGER_PATH}, which lies beside it, was signed by one.")
    return State.from_json(raw)


def split_books(state: State) -> list[tuple[str, str, SplitState]]:
    """Every split of every source: source, split, its books."""
    return [(name, split, books) for name, source in state.sources.items() for split, books in source.splits.items()]


def _paths_of(state: State, source: str, split: str, number: int) -> tuple[str, str]:
    """Where a part's shard and its rejects lie, where it has them."""
    folder = state.sources[source].row_schema.folder
    return part_path(folder, source, split, number), part_path(REJECTED_FOLDER, source, split, number)


def kept_in_all(books: SplitState) -> int:
    """Clips kept, over all revisions of the source."""
    return books.progress.kept + sum(earlier.kept for earlier in books.earlier)


def _size(numbers: Range) -> int:
    return numbers[1] - numbers[0] + 1


def _first_difference(text: str, due: str) -> str:
    """The first line in which two cards differ."""
    there, wanted = text.splitlines(), due.splitlines()
    at = next((at for at, pair in enumerate(zip(there, wanted, strict=False)) if pair[0] != pair[1]), None)
    if at is None:
        return "its end is missing, or there is more of it than there should be"
    return f"line {at + 1} is {there[at]!r}, and should be {wanted[at]!r}"
