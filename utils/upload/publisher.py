"""Publisher: the one holder of the target's state during a run. Commit first, then remember (law 1)."""

import logging
import re
import time
import uuid
from collections.abc import Iterator, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path

from utils.dataset.layout import DATA_FOLDERS, HEARD_PATH, LEDGER_PATH, REMOVED_PATH, STATE_PATH, is_seek_file
from utils.dataset.ledger import FileRecord, Ledger
from utils.dataset.libraries import library_versions
from utils.dataset.state import Part, SourceState, State
from utils.dataset.target import Change, Snapshot, Target
from utils.errors import TargetRefused
from utils.known.removals import RemovedList, carried_over, heard_lines, list_not_named, with_heard_lines
from utils.rows.schema import SPEECH, RowSchema
from utils.upload.cutting import BuiltPart

log = logging.getLogger(__name__)


class Publisher:
    """Commits parts to a target, one after the other, each onto the state that the last one made."""

    def __init__(self, target: Target, snapshot: Snapshot) -> None:
        if snapshot.state is None:
            raise ValueError("a publisher needs a target with a state")
        self.target = target
        self.snapshot = snapshot
        self.bytes_published = 0
        self.run_id = uuid.uuid4().hex
        self._declared: dict[str, SourceState] = {}
        self._libraries = library_versions()
        self.ledger = self._read_ledger()
        """Of what is committed."""
        self.removed = RemovedList.read(self._read_file, self.committed)
        """What is never collected again, with what is heard of it."""
        self._heard = dict.fromkeys(heard_lines(self._read_file(HEARD_PATH), self.committed))
        self._to_empty: list[str] = []
        """Files of an older version that hold audio."""

    @property
    def committed(self) -> State:
        """The state as it is in the target."""
        assert self.snapshot.state is not None  # noqa: S101 - __init__ and commits see to it
        return self.snapshot.state

    @property
    def state(self) -> State:
        """The state that the next part extends: as committed, with the sources declared since."""
        state = self.committed
        for name, source in self._declared.items():
            state = state.with_source(name, source)
        return state

    def declare(self, name: str, source: SourceState) -> None:
        """Name a source, or a newer revision of it; committed together with its first part."""
        self._declared[name] = source

    def hear(self, recording: str) -> None:
        """Know a clip that was refused for its name by its sound, too (`RemovedList.line_of`); committed next."""
        if recording and recording not in self._heard:
            self.removed = self.removed.with_heard([recording])
            self._heard[recording] = None

    def published_files(self, folder: str, source: str, split: str) -> list[tuple[int, str]]:
        """Part number and path of each published file of a split, from the ledger. `folder`: of its rows or rejects."""
        return [(number, record.path) for number, record in self.published_records(folder, source, split)]

    def shards(self, rows: RowSchema) -> Iterator[FileRecord]:
        """What the ledger says of each published shard with such rows, in the order of publishing."""
        return (record for record in self.ledger.records() if record.path.startswith(f"{rows.folder}/"))

    def published_records(self, folder: str, source: str, split: str) -> list[tuple[int, FileRecord]]:
        """The same with what the ledger says of each file."""
        named = re.compile(rf"{folder}/{re.escape(split)}/{re.escape(source)}-(\d+)\.parquet")
        return [(int(match[1]), record) for record in self.ledger.records() if (match := named.fullmatch(record.path))]

    def refuse_missing_files(self) -> list[str]:
        """TargetRefused where files are gone, or of another size, that were published. Returns what else lies among
        them."""
        sizes = {file.path: file.size_bytes for file in self.target.stored_files(self.snapshot)}
        if REMOVED_PATH in sizes and not self.committed.list_of_removed:
            raise list_not_named()
        self._to_empty = [path for path, size_bytes in sizes.items() if size_bytes and is_seek_file(path)]
        there = {path for path in sizes if path.split("/")[0] in DATA_FOLDERS}
        named = {record.path: record.size_bytes for record in self.ledger.records()}
        if missing := sorted(named.keys() - there):
            shown = ", ".join(missing[:3]) + (" ..." if len(missing) > 3 else "")
            raise TargetRefused(
                f"{self.target.name} lacks {len(missing)} published files that its state names: {shown}. What "
                "is there stays as it is. Put them back (from the target's history or a backup), or begin anew with "
                "--fresh."
            )
        if changed := sorted(path for path, size_bytes in named.items() if sizes[path] != size_bytes):
            shown = ", ".join(changed[:3]) + (" ..." if len(changed) > 3 else "")
            raise TargetRefused(
                f"{self.target.name} has {len(changed)} published files that are not as they were committed: {shown}. "
                "They stay as they are. Put them back (from the target's history or a backup); --verify says more."
            )
        return [] if self.committed.replaces_old_data else sorted(there - named.keys())

    def publish(self, built: Sequence[BuiltPart]) -> None:
        """Commit parts of one split, in their order, in one commit.

        When this returns, the target has them, and `state` says so.
        """
        files: dict[str, Path | bytes] = {path: local for one in built for path, local in one.files.items()}
        ledger, state = self.ledger, self.state
        for one in built:
            ledger = ledger.with_files(one.files, one.sha256)
            state = state.after(one.part)
        planned = self._signed(ledger.signed(state))
        if files:
            files[LEDGER_PATH] = ledger.raw
        planned, heard = with_heard_lines(planned, list(self._heard)) if self._heard else (planned, b"")
        if planned.taken_out != self.committed.taken_out:
            files[HEARD_PATH] = heard
        for one in built:
            files.update(one.unlisted)
        files.update(dict.fromkeys(self._to_empty, b""))
        parts = [one.part for one in built]
        self.snapshot = self.target.commit(Change(_message(parts), planned, files), self.snapshot)
        self.ledger = ledger
        self._to_empty = []
        for part in parts:
            self._declared.pop(part.source, None)
            self.bytes_published += part.size_bytes
            log.info(
                "committed %s/%s %05d rows=%d head=%.7s",
                *(part.source, part.split, part.number, part.rows, self.snapshot.head),
            )

    def _read_file(self, path: str) -> bytes | None:
        return self.target.read_file(path, self.snapshot)

    def _read_ledger(self) -> Ledger:
        if not self.committed.ledger_bytes:
            return Ledger()
        return Ledger.checked(self._read_file(LEDGER_PATH), self.committed)

    def _signed(self, state: State) -> State:
        return replace(
            state,
            libraries=self._libraries,
            sequence=self.committed.sequence + 1,
            run_id=self.run_id,
            committed_at=utc_now(),
        )


def _message(parts: Sequence[Part]) -> str:
    first, last = parts[0], parts[-1]
    numbers = f"{first.number:05d}" + (f"-{last.number:05d}" if last is not first else "")
    rows = sum(part.rows for part in parts)
    counted = f"{rows} samples" if first.row_schema is SPEECH else first.row_schema.count(rows)
    return f"Add {first.source}/{first.split} {numbers}: {counted}"


def open_publisher(target: Target, fresh: bool, sample_rate_hz: int | None) -> Publisher:
    """A publisher that begins a new generation (`fresh`) or goes on with the one that is there.

    TargetRefused where it would go on with data that has no state.
    """
    snapshot = target.snapshot()
    if not fresh and snapshot.state is None and snapshot.holds_data:
        raise TargetRefused(
            f"{target.name} holds data but no {STATE_PATH}: it was not made by this program, or by an older version. "
            "Nothing was changed. Publish elsewhere, or replace it with --fresh (the old data stays reachable), "
            "or give it its state with --repair, so that it can be added to."
        )
    if fresh or snapshot.state is None:
        snapshot = begin_generation(target, snapshot, sample_rate_hz)
    target.heal(snapshot)
    publisher = Publisher(target, snapshot)
    if foreign := publisher.refuse_missing_files():
        log.warning("%s holds files that are not ours: %s", target.name, ", ".join(foreign[:3]))
    return publisher


def begin_generation(target: Target, since: Snapshot, sample_rate_hz: int | None) -> Snapshot:
    """Begin a new generation in a target: its first commit writes a state, and what was taken out before stays out."""
    state = replace(begun_state(sample_rate_hz), replaces_old_data=since.holds_data)
    state, files = carried_over(partial(target.read_file, snapshot=since), since.state, state)
    return target.begin(Change("Begin a new dataset", state, files), since)


def begun_state(sample_rate_hz: int | None) -> State:
    """The state of a new generation, of which nothing is published yet."""
    return State(
        generation=uuid.uuid4().hex,
        sample_rate_hz=sample_rate_hz,
        libraries=library_versions(),
        run_id=uuid.uuid4().hex,
        committed_at=utc_now(),
    )


def utc_now() -> str:
    return time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime())
