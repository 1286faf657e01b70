"""The target's state: what is published and the position after it, per source and split.

`.ingest/state.json` in the target is the sole truth on what is published (law 3). A `State` is a
value: publishing a part makes a new one (`State.after`), which is committed together with the part's
files and becomes ours only when that commit has landed (law 1).

What is said of rows other than speech (`SourceState.schema`, `State.next_ids`), and of what was taken out, stands in
the JSON only where there is any: a state of speech alone is, byte by byte, the one that versions without these write
and read.
"""

from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass, field, replace
from typing import Any, Final

from utils.dataset.layout import REJECTED_FOLDER, STATE_PATH, part_path
from utils.errors import COMMAND, TargetRefused
from utils.rows.checked_types import check_types
from utils.rows.ids import Range, merge_ranges
from utils.rows.printable import shown
from utils.rows.progress import Progress, check_progress
from utils.rows.schema import ROW_SCHEMAS, SPEECH, RowSchema
from utils.rows.sealed_json import checked_json, json_with_checksum

STATE_VERSION = 1
"""Of a state of speech alone."""
VERSION_WITH_OTHER_ROWS = 2
"""Older programs do not know these rows: they are to refuse the state, not to take it for damaged."""
VERSION_WITH_REMOVALS = 3
"""Older programs would collect again what was taken out."""
VERSION_WITH_HEARD = 4
"""Older programs would collect again, from others, what runs heard of it."""
MAX_PARTS: Final = 500_000
"""Of all splits together. The Hub takes 100,000 files a repo."""
MAX_NAME: Final = 200
MAX_OWN_RANGES = 64
"""Of IDs that a script chose: what the state names of a split at most, so that it does not grow with samples."""


_OTHER_VERSION = "The target's state was written by another version of this program. Use that one."


class DamagedState(TargetRefused):
    """The target's state is not what was written: a changed byte, half a file, somebody's edit."""


@dataclass(frozen=True)
class SplitState:
    """One split of one source as published."""

    progress: Progress = field(default_factory=Progress)
    parts: int = 0
    """Parts published; a part is a shard and its rejects, or rejects alone. Also the number of the next one."""
    published: int = 0
    """Rows published, those of earlier revisions included."""
    ids: tuple[Range, ...] = ()
    """Numbers of the published IDs; none where a script's lie too scattered to be named (`SourceState.ids_named`)."""
    duration_s: float = 0.0
    size_bytes: int = 0
    """Total size of the shards."""
    pass_first_part: int = 0
    """The first part made from the revision that is being read, or was read last."""
    earlier: tuple[Progress, ...] = ()
    """The final books of earlier revisions of the source."""

    @property
    def rejected(self) -> int:
        return self.progress.rejected + sum(books.rejected for books in self.earlier)


@dataclass(frozen=True)
class SourceState:
    """One source as published. `about` says what the card needs to know of it."""

    revision: str
    fingerprint: Mapping[str, Any]
    about: Mapping[str, Any]
    splits: Mapping[str, SplitState] = field(default_factory=dict)
    schema: str = SPEECH.name
    """The name of the kind of its rows."""

    @property
    def row_schema(self) -> RowSchema:
        return ROW_SCHEMAS[self.schema]

    @property
    def finished(self) -> bool:
        return bool(self.splits) and all(split.progress.finished for split in self.splits.values())

    @property
    def carries_own_ids(self) -> bool:
        """Whether a script chose its IDs: they need neither order nor succession. A run has a fingerprint."""
        return not self.fingerprint

    def ids_named(self, split: str, ids: Iterable[Range]) -> tuple[Range, ...]:
        """What the state names of a split's published numbers: all of them, in ranges.

        Nothing where a script scatters them over more than 64 ranges, and from then on: the shards name them.
        """
        named, before = merge_ranges(ids), self.splits.get(split, SplitState())
        scattered = len(named) > MAX_OWN_RANGES or bool(before.published and not before.ids)
        return () if self.carries_own_ids and scattered else named


@dataclass(frozen=True)
class TakenOut:
    """What was taken out for good (`utils/known/removals.py`); a state has one from the first removal on."""

    list_sha256: str
    """Of the list of what is never collected again."""
    holes: Mapping[str, tuple[Range, ...]] = field(default_factory=dict)
    """Of rows of other kinds: name -> what `State.holes` is for speech."""
    nameless: Mapping[str, int] = field(default_factory=dict)
    """Kind of rows -> how many went whose IDs a script chose: such an ID is no number that a hole could name."""
    heard_bytes: int = 0
    """Of what runs heard since of clips on the list: how much of the file is theirs."""
    heard_sha256: str = ""


@dataclass(frozen=True)
class Part:
    """What one commit adds for one split of a source: a shard, its rejects, or both."""

    source: str
    split: str
    number: int
    progress: Progress
    rows: int
    ids: tuple[Range, ...]
    """Numbers of its rows' IDs."""
    duration_s: float
    size_bytes: int
    has_rejects: bool
    row_schema: RowSchema = SPEECH

    @property
    def shard_path(self) -> str | None:
        return part_path(self.row_schema.folder, self.source, self.split, self.number) if self.rows else None

    @property
    def rejected_path(self) -> str | None:
        return part_path(REJECTED_FOLDER, self.source, self.split, self.number) if self.has_rejects else None


@dataclass(frozen=True)
class State:
    """All that is published in a target, as of one commit."""

    generation: str
    sample_rate_hz: int | None = None
    """Of the published audio; None where clips keep their own."""
    next_id: int = 1
    """Of speech."""
    holes: tuple[Range, ...] = ()
    """IDs below `next_id` that stand for nothing (removals, repairs)."""
    sources: Mapping[str, SourceState] = field(default_factory=dict)
    replaces_old_data: bool = False
    """True from a `--fresh` on until its first part is committed, which removes the old generation's files."""
    ledger_bytes: int = 0
    """Size of `.ingest/files.jsonl`, which lists the published files, as of this commit."""
    ledger_sha256: str = ""
    libraries: Mapping[str, str] = field(default_factory=dict)
    sequence: int = 0
    run_id: str = ""
    committed_at: str = ""
    next_ids: Mapping[str, int] = field(default_factory=dict)
    """Of rows of other kinds: name -> what `next_id` is for speech."""
    taken_out: TakenOut | None = None

    def holes_of(self, rows: RowSchema) -> tuple[Range, ...]:
        """IDs of that kind which stand for nothing."""
        if rows is SPEECH:
            return self.holes
        return self.taken_out.holes.get(rows.name, ()) if self.taken_out else ()

    @property
    def nameless(self) -> int:
        """Rows of all kinds that were taken out and have no hole."""
        return sum(self.taken_out.nameless.values()) if self.taken_out else 0

    @property
    def list_of_removed(self) -> str:
        """What names the list of what is never collected again; "" where nothing was ever taken out."""
        return self.taken_out.list_sha256 if self.taken_out else ""

    def next_id_of(self, rows: RowSchema) -> int:
        return self.next_id if rows is SPEECH else self.next_ids.get(rows.name, 1)

    def with_next_id(self, rows: RowSchema, number: int) -> "State":
        if rows is SPEECH:
            return replace(self, next_id=number)
        return replace(self, next_ids={**self.next_ids, rows.name: number})

    @property
    def rows(self) -> int:
        """Rows published, of all kinds."""
        return sum(split.published for source in self.sources.values() for split in source.splits.values())

    def sources_of(self, rows: RowSchema) -> dict[str, SourceState]:
        """The sources whose rows are of a kind."""
        return {name: source for name, source in self.sources.items() if source.row_schema is rows}

    def split(self, source: str, split: str) -> SplitState:
        known = self.sources.get(source)
        return known.splits.get(split, SplitState()) if known else SplitState()

    def with_source(self, name: str, source: SourceState) -> "State":
        return replace(self, sources={**self.sources, name: source})

    def with_split(self, source: str, split: str, split_state: SplitState) -> "State":
        known = self.sources[source]
        return self.with_source(source, replace(known, splits={**known.splits, split: split_state}))

    def after(self, part: Part) -> "State":
        """The state once `part` is published."""
        before = self.split(part.source, part.split)
        if part.number != before.parts:
            raise ValueError(f"part {part.number} does not follow part {before.parts - 1} of {part.source}")
        published = replace(
            before,
            progress=part.progress,
            parts=part.number + 1,
            published=before.published + part.rows,
            ids=self.sources[part.source].ids_named(part.split, (*before.ids, *part.ids)),
            duration_s=round(before.duration_s + part.duration_s, 6),
            size_bytes=before.size_bytes + part.size_bytes,
        )
        next_id = self.next_id_of(part.row_schema)
        next_id = max(next_id, *(last + 1 for _, last in part.ids)) if part.ids else next_id
        extended = replace(self.with_next_id(part.row_schema, next_id), replaces_old_data=False)
        return extended.with_split(part.source, part.split, published)

    def same_dataset(self, other: "State | None") -> bool:
        """Equal but for who committed it and when."""
        return other is not None and self._identity() == other._identity()

    def _identity(self) -> "State":
        return replace(self, sequence=0, run_id="", committed_at="")

    @property
    def _kinds(self) -> set[str]:
        """The names of its kinds of rows; of those that a later program wrote, too."""
        return {source.schema for source in self.sources.values()} | set(self.next_ids)

    @property
    def _version(self) -> int:
        if self.taken_out:
            return VERSION_WITH_HEARD if self.taken_out.heard_bytes else VERSION_WITH_REMOVALS
        return STATE_VERSION if self._kinds <= {SPEECH.name} else VERSION_WITH_OTHER_ROWS

    def to_json(self) -> bytes:
        content = {"version": self._version, **asdict(self)}
        for source in content["sources"].values():
            if source["schema"] == SPEECH.name:
                del source["schema"]
        if not self.next_ids:
            del content["next_ids"]
        if not self.taken_out:
            del content["taken_out"]
        elif not self.taken_out.heard_bytes:
            del content["taken_out"]["heard_bytes"], content["taken_out"]["heard_sha256"]
        return json_with_checksum(content)

    @classmethod
    def from_json(cls, raw: bytes) -> "State":
        """Read `to_json`'s form. DamagedState, or TargetRefused where it is of a later version: never a guess."""
        try:
            content = checked_json(raw)
            version = content.pop("version")
            if version not in (STATE_VERSION, VERSION_WITH_OTHER_ROWS, VERSION_WITH_REMOVALS, VERSION_WITH_HEARD):
                raise TargetRefused(_OTHER_VERSION)
            state = _state(content)
            _check_state(state)
            if version != state._version or not state._kinds <= set(ROW_SCHEMAS):
                raise TargetRefused(_OTHER_VERSION)
            return state
        except (ValueError, KeyError, TypeError, AttributeError, OverflowError, RecursionError) as error:
            raise DamagedState(
                f"The target's {STATE_PATH} is damaged ({shown(error)}). Nothing was changed. Restore it from the "
                f"target's previous revision (`{COMMAND} --verify`, with the same --hf-repo or --output, says "
                "which one and how), then repeat this command."
            ) from error


def _ranges(items: list[list[int]]) -> tuple[Range, ...]:
    return tuple((first, last) for first, last in items)


def _split_state(content: dict[str, Any]) -> SplitState:
    content["progress"] = Progress(**content["progress"])
    content["earlier"] = tuple(Progress(**books) for books in content["earlier"])
    content["ids"] = _ranges(content["ids"])
    return SplitState(**content)


def _state(content: dict[str, Any]) -> State:
    for source in content["sources"].values():
        source["splits"] = {name: _split_state(split) for name, split in source["splits"].items()}
    content["sources"] = {name: SourceState(**source) for name, source in content["sources"].items()}
    content["holes"] = _ranges(content["holes"])
    if "taken_out" in content:
        taken_out = content["taken_out"]
        taken_out["holes"] = {kind: _ranges(holes) for kind, holes in taken_out["holes"].items()}
        content["taken_out"] = TakenOut(**taken_out)
    return State(**content)


# --- what a checksum can't tell: whether the content makes sense. A name becomes a path, a count a length. ---


def _check_state(state: State) -> None:
    """ValueError where a state can't be one."""
    check_types(state, type(state), "the state")
    _check_ranges(state.holes, "holes")
    if state.taken_out:
        for kind, holes in state.taken_out.holes.items():
            _check_ranges(holes, f"the holes of {kind}")
        if min(*state.taken_out.nameless.values(), state.taken_out.heard_bytes, 0) < 0:
            raise ValueError("it counts less than nothing")
    for name, source in state.sources.items():
        _check_name(name)
        for split, books in source.splits.items():
            _check_name(split)
            _check_split(books, f"{name}/{split}")
    if sum(books.parts for source in state.sources.values() for books in source.splits.values()) > MAX_PARTS:
        raise ValueError(f"it names more than {MAX_PARTS:,} parts")
    if (
        min(state.next_id - 1, *(number - 1 for number in state.next_ids.values()), state.ledger_bytes, state.sequence)
        < 0
    ):
        raise ValueError("it counts less than nothing")


def _check_split(books: SplitState, name: str) -> None:
    for progress in (books.progress, *books.earlier):
        check_progress(progress, name)
    _check_ranges(books.ids, f"{name}.ids")
    if min(books.parts, books.published, books.size_bytes, books.duration_s, books.pass_first_part) < 0:
        raise ValueError(f"{shown(name)} counts less than nothing")


def _check_ranges(ranges: Iterable[Range], name: str) -> None:
    for first, last in ranges:
        if not 1 <= first <= last:
            raise ValueError(f"{shown(name)} has the range {first} to {last}")


def _check_name(name: str) -> None:
    """A source or a split: part of the names of files."""
    is_plain = name.isprintable() and not name.startswith(".") and not set(name) & set("/\\")
    if not (is_plain and 0 < len(name) <= MAX_NAME):
        raise ValueError(f"{shown(ascii(name))} is no name of a source or a split")
