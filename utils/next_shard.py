"""The shard of a split's next part, written while the split is still read.

Were it left for the end, all cores but one would wait for it.
"""

from collections.abc import Sequence
from pathlib import Path

from utils.disk import NO_FLOOR, DiskFloor
from utils.shard_writer import ShardWriter
from utils.shards import ShardLimits, begin_shard, next_cut
from utils.staging import Segment, StagingKey
from utils.state import State


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

    def given_up(self) -> ShardWriter | None:
        """The shard, for whoever goes on with it: here the next one begins."""
        shard, self._shard = self._shard, None
        return shard

    def drop(self) -> None:
        """Delete what there is: nothing more is published."""
        if shard := self.given_up():
            shard.drop()
