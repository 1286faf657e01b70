"""The master of a collection: the pairs that were accepted, one a line, appended and never rewritten."""

import logging
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from processors.apify.files import id_in
from processors.apify.journal import Journal, line_of, read_lines
from processors.apify.old_data import is_of_ours, read_old
from utils.disk.durable import NewFile, fsync_folder, make_folder, rename
from utils.errors import TargetRefused, UsageError
from utils.rows.printable import shown

log = logging.getLogger(__name__)


class Master:
    """A master that is being made equal to the pairs that the raw items come to.

    It takes all pairs from the first one on. Those that it has are compared; the others are appended, `flush_interval`
    at a time.
    """

    def __init__(self, path: Path, flush_interval: int) -> None:
        self._journal = Journal(path)
        self.path = path
        self.pairs = 0
        """Pairs taken that are in the file."""
        self._flush_interval = flush_interval
        self._waiting: list[Mapping[str, Any]] = []
        self._there = self._journal.lines()
        self._is_behind = True
        """Whether the file may have further pairs that were not compared."""

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._journal.close()

    @property
    def unflushed(self) -> int:
        return len(self._waiting)

    def take(self, pair: Mapping[str, Any]) -> None:
        """The next pair. Raises TargetRefused where the file has another one in its place."""
        if self._is_behind:
            line = next(self._there, None)
            if line is not None:
                if line.record.get("reply_id") != pair["reply_id"]:
                    raise TargetRefused(self._differs(line.record, pair["reply_id"]))
                self.pairs += 1
                return
            self._is_behind = False
        self._waiting.append(pair)
        if len(self._waiting) >= self._flush_interval:
            self.flush()

    def flush(self) -> None:
        """Make what waits durable."""
        if not self._waiting:
            return
        self._journal.append(self._waiting)
        self.pairs += len(self._waiting)
        log.debug("%s: %d pairs appended, %d in all", self.path, len(self._waiting), self.pairs)
        self._waiting.clear()

    def check_nothing_is_left(self) -> None:
        """All pairs of the raw items were taken: the file must not have more. Raises TargetRefused."""
        line = next(self._there, None) if self._is_behind else None
        if line is not None:
            raise TargetRefused(self._differs(line.record, None))

    def _differs(self, record: Mapping[str, Any], expected: str | None) -> str:
        wanted = f"reply {shown(expected, 40)}" if expected is not None else "no more pairs"
        return (
            f"{self.path} does not go with its raw items: pair {self.pairs + 1:,} is reply "
            f"{shown(record.get('reply_id'), 40)}, and the items come to {wanted} there. Somebody changed the file, or "
            "this version of the program makes other pairs. Nothing was changed. Put the file back as it was; or make "
            "another master of the same items, without buying: --refilter."
        )


def merge(masters: Iterable[Path], out: Path) -> int:
    """Write one file with each pair of several masters once, the first one counts; returns how many.

    The masters stay as they are; lines that an older tool tore in one of its own are left out, and counted in a
    warning. UsageError where `out` is there already.
    """
    sources = list(masters)
    if not sources:
        raise UsageError("There is no master file to merge. Collect something first, or name the folder they are in.")
    if out.exists():
        raise UsageError(f"{out} is there already. Nothing was changed. Move it away or name another file.")
    make_folder(out.parent)
    temporary = out.with_name(f"{out.name}.new")
    written = 0
    with NewFile(temporary) as new:
        for record in _each_once(sources):
            new.write(line_of(record))
            written += 1
    rename(temporary, out)
    fsync_folder(out.parent)
    return written


def _each_once(masters: Iterable[Path]) -> Iterator[dict[str, Any]]:
    seen: set[str] = set()
    for master in masters:
        for record in _records(master):
            if (identity := id_in(record)) not in seen:
                seen.add(identity)
                yield record


def _records(master: Path) -> Iterator[dict[str, Any]]:
    if is_of_ours(master):
        yield from (line.record for line in read_lines(master))
        return
    old = read_old(master)
    if old.damaged:
        log.warning("%s: %d lines can't be read and are left out", master, old.damaged)
    yield from (item for item in old.items if isinstance(item, dict))
