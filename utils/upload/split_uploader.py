"""The uploader of one split of one source: steps in, committed shards out.

add_step ... -> make_durable (a segment is closed: the checkpoint) -> publish_ready: hands over to the worker
background worker: staged rows -> parts (`cutting`) -> commit (`publisher`) -> then, and only then:
the uploaded-IDs checkpoint is written, and the segments that the state now covers are deleted;
what is staged of the part behind goes into its shard already (`shard_writer`), also while a commit is under way
"""

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import replace
from functools import partial, reduce
from pathlib import Path

from utils.choices import Dedup, begun_with
from utils.dataset.layout import index_path
from utils.dataset.state import Part, SplitState, State
from utils.disk.durable import remove
from utils.disk.free_space import NO_FLOOR, DiskFloor
from utils.errors import Stopped
from utils.formats.seek_points import SeekPoints
from utils.known.judge import counted_as
from utils.rows.progress import Progress, Step
from utils.rows.schema import Reject, RowSchema
from utils.upload.background import BackgroundWorker
from utils.upload.cutting import BuiltPart, Cut, ShardLimits, build_part, next_cut
from utils.upload.next_shard import NextShard
from utils.upload.publisher import Publisher
from utils.upload.segments import FreshRows, Segment, StagingKey
from utils.upload.shard_index_files import staged_entries, to_bytes
from utils.upload.staging import Staging
from utils.upload.upload_checkpoint import remember_uploaded

Remember = Callable[[Path, State, str, str, RowSchema], None]
"""What writes down what is committed; called as `remember_uploaded` is."""

MAX_SEEK_POINTS = 256
"""Between two checkpoints: of 4 GB."""


class SplitUploader:
    """One split of one source on its way into the target."""

    def __init__(
        self,
        publisher: Publisher,
        source: str,
        split: str,
        staging_folder: Path,
        checkpoint_path: Path,
        limits: ShardLimits,
        floor: DiskFloor = NO_FLOOR,
        background: BackgroundWorker | None = None,
        max_staging_bytes: int = 2**62,
        remember: Remember = remember_uploaded,
    ) -> None:
        """`background`: what publishes; None: each part is published where it is ready. While more than
        `max_staging_bytes` are staged, `publish_ready` waits for it. `remember`: what writes `checkpoint_path`."""
        self.publisher = publisher
        self.source = source
        self.split = split
        self._checkpoint_path = checkpoint_path
        self._write_down = remember
        self._limits = limits
        self._floor = floor
        self._background = background or BackgroundWorker(overlap=False)
        self._max_staging_bytes = max_staging_bytes
        self._built_folder = staging_folder / "built"
        for leftover in self._built_folder.glob(f"*-{split}-{source}-*.parquet"):
            remove(leftover)  # of a run that died after building; a part is always built anew
        declared = publisher.state.sources[source]
        state = publisher.state
        key = StagingKey(
            state.generation, source, split, declared.revision, declared.fingerprint, state.list_of_removed
        )
        self.row_schema = declared.row_schema
        self._dedup = begun_with(declared.fingerprint)
        self.staging = Staging(staging_folder, key, self.row_schema)
        self.progress = self.staging.recover(self._published.progress)
        """After the last step taken, staged ones included."""
        self.seek_points = SeekPoints(self.staging.seek_point, MAX_SEEK_POINTS)
        """Where its archives can be entered: what is read leaves them here."""
        self._checked = 0
        self._next_shard = NextShard(self._built_folder, key, limits, floor)
        self.reject_reasons = self._staged_reasons()
        self._remember()

    @property
    def _published(self) -> SplitState:
        return self.publisher.state.split(self.source, self.split)

    def set_aside_from(self, segment: Segment, why: str) -> None:
        """Put a staged segment and those after it aside: their clips are read again."""
        self.progress = self.staging.set_aside_from(segment, why)
        self.reject_reasons = self._staged_reasons()

    def _staged_reasons(self) -> Counter[str]:
        return Counter(
            counted_as(staged.reject, self.split)
            for segment in self.staging.segments
            for staged in segment.rejects
            if staged.ordinal > self._published.progress.read
        )

    def recordings_heard(self) -> list[str]:
        """Of clips that were taken out, among the staged rejects."""
        return [
            staged.reject.recording
            for segment in self.staging.segments
            for staged in segment.rejects
            if staged.reject.recording
        ]

    def add_step(self, step: Step) -> None:
        """Take the next step; durable only after `make_durable`. Stopped where the disk has no room for a segment."""
        if not self.staging.is_open:
            self._floor.check()
        fresh = self.staging.add(step)
        self.progress = step.progress
        if isinstance(step.outcome, Reject):
            self.reject_reasons[counted_as(step.outcome, self.split)] += 1
        self._hand_on(fresh)

    def make_durable(self, progress: Progress) -> None:
        """Close the segment: all steps taken so far survive whatever comes."""
        fresh = self.staging.close(progress, self.seek_points.taken(progress.read))
        self.progress = progress
        self._hand_on(fresh)

    def _hand_on(self, fresh: FreshRows | None) -> None:
        """Have rows that were just staged written into the next shard, from memory, where there is time for it."""
        if fresh:
            self._background.offer(partial(self._take_fresh, fresh))

    def _take_fresh(self, fresh: FreshRows) -> None:
        with suppress(Stopped, OSError):  # comes again when the segment is closed, and all is durable
            self._next_shard.take_fresh(fresh, self.staging.segments, self.publisher.state)

    def publish_ready(self, flush: bool = False) -> None:
        """Have every part built and committed that the closed segments hold in full; with `flush`, what is left too."""
        if self.staging.closed == self._checked and not flush:
            return
        self._checked = self.staging.closed
        self._background.submit((id(self), flush), partial(self._publish, flush))
        self._background.wait_while(lambda: self.staging.size_bytes > self._max_staging_bytes)

    def _publish(self, flush: bool) -> None:
        while built := self._build(flush):
            self._commit(built)
            self._remember()
            self.staging.drop_published(self._published.progress)
            for part in built:
                for local in part.files.values():
                    remove(local)
        self._next_shard.take_closed(self.staging.segments, self.publisher.state)

    def _commit(self, built: Sequence[BuiltPart]) -> None:
        """Publish; while the target is waited for, what is staged meanwhile goes into the next shard."""
        behind = reduce(State.after, (one.part for one in built), self.publisher.state)
        looked_at = -1

        def meanwhile() -> None:
            nonlocal looked_at
            if looked_at != self.staging.closed:
                looked_at = self.staging.closed
                with suppress(Stopped, OSError):  # comes again behind the commit, which has to be remembered first
                    self._next_shard.take_closed(self.staging.segments, behind)

        self._background.beside(lambda: self.publisher.publish(built), meanwhile)

    def drop_ahead(self) -> None:
        """Drop what was written ahead: nothing more is published."""
        self._next_shard.drop()

    def _build(self, flush: bool) -> list[BuiltPart]:
        """The parts of the next commit: those that are staged by now, as many as the target takes at once."""
        built: list[BuiltPart] = []
        state, segments = self.publisher.state, list(self.staging.segments)
        while len(built) < self.publisher.target.parts_a_commit:
            published = state.split(self.source, self.split)
            if (cut := next_cut(segments, published, self._limits, flush)) is None:
                break
            self._floor.check()
            part = build_part(cut, segments, state, self._built_folder, self._next_shard.given_up())
            built.append(replace(part, unlisted=self._index_file(part.part, cut, segments)))
            state = state.after(part.part)
        return built

    def _index_file(self, part: Part, cut: Cut, segments: Sequence[Segment]) -> Mapping[str, bytes]:
        """What lets another machine know the part's clips again, where clips are compared."""
        if self._dedup is Dedup.OFF or not part.rows:
            return {}
        entries = [
            entry for segment in segments for _, entry in staged_entries(segment, cut.first_ordinal, cut.progress.read)
        ]
        return {index_path(part.source, part.split, part.number): to_bytes(entries, self._dedup, part.size_bytes)}

    def _remember(self) -> None:
        """Write down what is committed: only ever after it has landed (law 1)."""
        state, name = self.publisher.committed, self.publisher.target.name
        self._write_down(self._checkpoint_path, state, self.split, name, self.row_schema)
