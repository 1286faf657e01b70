"""The shard of a split's next part, written while the split is still read.

Were it left for the end, all cores but one would wait for it. What is taken while it is in memory need not be read
again; until its segment is closed it is not durable, nor is the shard before its part is built, which is of closed
segments alone.
"""

from collections.abc import Sequence
from pathlib import Path

from utils.dataset.state import State
from utils.disk.free_space import NO_FLOOR, DiskFloor
from utils.upload.cutting import ShardLimits, begin_shard, next_cut
from utils.upload.segments import FreshRows, Segment, StagingKey
from utils.upload.shard_writer import ShardWriter


class NextShard:
    """What there is of it so far; for the thread that publishes, no other. Stopped where the disk has no room left."""

    def __init__(self, folder: Path, key: StagingKey, limits: ShardLimits, floor: DiskFloor = NO_FLOOR) -> None:
        self._folder, self._key, self._limits, self._floor = folder, key, limits, floor
        self._shard: ShardWriter | None = None

    def take_closed(self, segments: Sequence[Segment], state: State) -> None:
        """Take what is staged of the part that follows `state`: all of it that is not in yet."""
        published = state.split(self._key.source, self._key.split)
        behind = [segment for segment in segments if segment.progress.read > published.progress.read]
        if not any(segment.rows for segment in behind):
            return
        self._floor.check()
        cut = next_cut(behind, published, self._limits)
        with self.given_up() or begin_shard(self._key, state, self._folder) as shard:
            shard.take(behind, (cut or behind[-1]).progress.read)
        self._shard = shard

    def take_fresh(self, fresh: FreshRows, segments: Sequence[Segment], state: State) -> None:
        """Take rows that have just been staged, where all that comes before them is in and the shard has room for them.

        What is not taken comes with its segment. `segments` are closed, those before the rows' own among them.
        """
        if not self._follow(fresh, segments, state) or not self._fit(fresh):
            return
        self._floor.check()
        with self.given_up() or begin_shard(self._key, state, self._folder) as shard:
            shard.take_fresh(fresh)
        self._shard = shard

    def _follow(self, fresh: FreshRows, segments: Sequence[Segment], state: State) -> bool:
        """Whether all rows that come before these are in the shard, and none of these is."""
        if self._shard is not None:
            return self._shard.end == fresh.after
        last = state.split(self._key.source, self._key.split).progress.read
        is_missing = any(segment.has_rows_between(last, fresh.after) for segment in segments)
        return fresh.is_first and last <= fresh.after and not is_missing

    def _fit(self, fresh: FreshRows) -> bool:
        """Whether the shard ends behind them, if not with their last one: where it ends is told by closed segments."""
        rows = fresh.rows.num_rows + (self._shard.rows_taken if self._shard else 0)
        size = fresh.payload_bytes + (self._shard.bytes_taken if self._shard else 0)
        return rows <= self._limits.max_rows and size < self._limits.max_bytes

    def given_up(self) -> ShardWriter | None:
        """The shard, for whoever goes on with it: here the next one begins."""
        shard, self._shard = self._shard, None
        return shard

    def drop(self) -> None:
        """Delete what there is: nothing more is published."""
        if shard := self.given_up():
            shard.drop()
