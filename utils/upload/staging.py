"""Staging: what was read and not yet published, in immutable local segments.

Nothing else on this machine says how far we are.

Recovery: `segment.tmp` is dropped, segments that the target's state covers, or that are older than a removal of
clips, are deleted, those that are damaged (their digest says so) or do not continue it are set aside, and their clips
are read again.
"""

import logging
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from threading import Lock
from typing import Any

from utils.disk.durable import fsync_folder, make_folder, remove, rename, rename_aside, write_atomically
from utils.errors import TargetRefused
from utils.formats.seek_points import SeekPoint, from_text, newest, to_text
from utils.rows.progress import Progress, Step
from utils.rows.schema import SPEECH, RowSchema
from utils.upload.segments import (
    ENDING,
    ENDING_BEFORE,
    FreshRows,
    OpenSegment,
    Segment,
    StagingKey,
    forget_segment,
    read_segments,
    segment_footer,
)

log = logging.getLogger(__name__)

KEPT_SEEK_POINT = "seek-point.json"
"""Beside the segments: of those that are published, the seek point nearest to the published position."""


class Staging:
    """The segments of one split of one source: append, close, recover.

    One thread adds and closes; another may drop what is published meanwhile.
    """

    def __init__(self, folder: Path, key: StagingKey, rows: RowSchema = SPEECH) -> None:
        self.folder = folder / key.source / key.split
        self.key = key
        self.row_schema = rows
        self.segments: tuple[Segment, ...] = ()
        self.closed = 0
        """How many segments there have been."""
        self._changing = Lock()
        self._set_aside = folder / "set-aside"
        self._open: OpenSegment | None = None
        self._progress = self._recovered_after = Progress()

    def recover(self, published: Progress) -> Progress:
        """Take over what an earlier run staged after `published`; returns the progress to read on from."""
        self._progress = self._recovered_after = published
        self.segments = ()
        remove(self.folder / "segment.tmp")
        if not self._kept_points:
            remove(self.folder / KEPT_SEEK_POINT)
        for older in sorted(self.folder.glob(f"*{ENDING_BEFORE}")):
            if self.key.removed:  # what was taken out may be in it
                remove(older)
            else:
                self._put_aside(older, "an older version has staged it")
        for segment in read_segments(self.folder, self._put_aside):
            if segment.key != self.key and replace(segment.key, removed=self.key.removed) == self.key:
                forget_segment(segment)
                continue
            if segment.key != self.key:
                self._put_aside(segment.path, "it belongs to another generation, revision or set of options")
            elif _covers(published, segment):
                remove(segment.path)
            elif not self._continues(segment, published):
                self._put_aside(segment.path, f"it does not continue clip {self._progress.read}")
            else:
                self._append(segment)
                self._progress = segment.progress
        return self._progress

    @property
    def size_bytes(self) -> int:
        """Of all closed segments that are not published yet."""
        return sum(segment.size_bytes for segment in self.segments)

    @property
    def is_open(self) -> bool:
        """Whether a segment is being written."""
        return self._open is not None

    def add(self, step: Step) -> FreshRows | None:
        """Take one step; durable only once `close` has returned. Returns rows whenever some have been written."""
        if self._open is None:
            make_folder(self.folder)
            self._open = self._opened()
        return self._open.add(step)

    def close(self, progress: Progress, seek_points: Sequence[SeekPoint] = ()) -> FreshRows | None:
        """Make all steps taken so far durable, with the progress after them. The rename is the checkpoint.

        `seek_points`, none behind that progress, travel with them. Returns the last rows, where there are some that
        `add` has not returned.
        """
        if self._open is None and progress == self._progress:
            return None
        if self._open is None:
            make_folder(self.folder)
        pending = self._open or self._opened()
        first = self._progress.read
        if seek_points:
            pending.add_seek_points(to_text(seek_points, self.key.revision))
        fresh = pending.finish(segment_footer(self.key, first, progress, pending.rejects))
        # Two segments may end at the same clip (the second only says that the split is finished).
        suffix = "-end" if progress.finished else ""
        final = self.folder / f"{first:012d}-{progress.read:012d}{suffix}-{pending.digest}{ENDING}"
        rename(pending.path, final)
        fsync_folder(final.parent)
        rows, index = pending.rows_written, pending.index()
        self._append(Segment(final, self.key, first, rows, progress, tuple(pending.rejects), index))
        self._open = None
        self._progress = progress
        return fresh

    def drop_published(self, published: Progress) -> None:
        """Delete the segments that the target's state covers."""
        covered = [segment for segment in self.segments if _covers(published, segment)]
        if covered:
            self._keep_seek_point(published)
        for segment in covered:
            remove(segment.path)
        if covered:
            with self._changing:
                self.segments = tuple(segment for segment in self.segments if segment not in covered)
            fsync_folder(self.folder)

    def seek_point(self, index: int) -> SeekPoint | None:
        """The newest seek point that is not behind a position with that index."""
        for segment in reversed(self.segments):
            with suppress(FileNotFoundError):  # published meanwhile, by the background worker
                if segment.first_ordinal <= index and (point := newest(segment.seek_points, index)):
                    return point
        return newest(self._kept_points, index)

    def _keep_seek_point(self, published: Progress) -> None:
        """Of the segments that go, keep where the archive can be entered at the published position."""
        path = self.folder / KEPT_SEEK_POINT
        point = None if published.finished else self.seek_point(published.read)
        if point and point.file == published.position.get("file", point.file):
            write_atomically(path, to_text([point], self._told_of))
        else:
            remove(path)

    @property
    def _kept_points(self) -> list[SeekPoint]:
        """The kept seek point, if any: none from before clips were taken out, as their audio may be in its window."""
        try:
            return from_text((self.folder / KEPT_SEEK_POINT).read_bytes(), self._told_of)
        except FileNotFoundError:
            return []

    @property
    def _told_of(self) -> str:
        return f"{self.key.revision} {self.key.removed}"

    def set_aside_from(self, segment: Segment, why: str) -> Progress:
        """Put a segment and those after it aside; returns the progress to read on from."""
        at = self.segments.index(segment)
        for later in self.segments[at:]:
            self._put_aside(later.path, why)
        fsync_folder(self.folder)
        with self._changing:
            self.segments = self.segments[:at]
        self._progress = self.segments[-1].progress if self.segments else self._recovered_after
        return self._progress

    def _opened(self) -> "OpenSegment":
        path = self.folder / "segment.tmp"
        return OpenSegment(path, self._progress.read, self.row_schema, self.key.has_fingerprints)

    def _append(self, segment: Segment) -> None:
        with self._changing:
            self.segments = (*self.segments, segment)
            self.closed += 1

    def _continues(self, segment: Segment, published: Progress) -> bool:
        if not self.segments:
            return segment.first_ordinal <= published.read <= segment.progress.read
        return segment.first_ordinal == self._progress.read

    def _put_aside(self, path: Path, why: str) -> None:
        name = "-".join(path.relative_to(self.folder.parent.parent).parts)
        kept = rename_aside(path, self._set_aside / name)
        log.warning(
            "Set aside the staged segment %s: %s. Its clips are read again. It is kept as %s.",
            path,
            why,
            kept,
        )


def _covers(published: Progress, segment: Segment) -> bool:
    if published.finished:
        return True
    return segment.progress.read <= published.read and not segment.progress.finished


def refuse_other_fingerprint(source: str, ours: Mapping[str, Any], theirs: Mapping[str, Any]) -> None:
    """TargetRefused, naming each difference, where a run would go on with other options than it began with."""
    if ours == theirs:
        return
    differences = [
        f"  {name}: it was {theirs.get(name)!r}, now {ours.get(name)!r}"
        for name in sorted({*ours, *theirs})
        if ours.get(name) != theirs.get(name)
    ]
    raise TargetRefused(
        f"{source} was begun with other options, and going on with these would mix two kinds of data:\n"
        + "\n".join(differences)
        + "\nNothing was changed. Repeat the command with the options it was begun with, name another "
        "target (--output, --hf-repo), or begin anew with --fresh (the old dataset is kept)."
    )
