"""The two things of a run that reach a processor: what it knows before a clip is read, and who decides in order.

What a run knows is a value that any thread or process may have. What it decides depends on all clips before: it is
asked by one thread, clip by clip, in the order of reading.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Protocol

from utils.formats.seek_points import SeekPoints
from utils.process.in_flight import InFlight
from utils.rows.progress import Progress
from utils.rows.schema import Outcome, Reject, Row, Skip


class RemovedClips(Protocol):
    """The clips and speakers that were taken out of the dataset, and are never collected again."""

    def means(self, source_id: str, *speaker_ids: str | None) -> bool:
        """Whether that clip, or its public speaker id, is one of them."""

    def stands_for(self, source_id: str) -> str:
        """The name that such a clip is refused under."""


@dataclass(frozen=True)
class RunFacts:
    """What a run knows before it reads. The defaults suit a processor used by itself."""

    removed: RemovedClips | None = None
    in_flight: InFlight = field(default_factory=InFlight)
    """Knows the clips that crashed an earlier run, and is told of those that are converted."""
    is_newer_revision: bool = False
    """Whether an older revision of the source was read before this one: what is published of it is passed over."""
    seek_points: Mapping[str, SeekPoints] = field(default_factory=dict)
    """By split: where a reader of packed archives leaves and finds the places to enter them at."""


class OrderedMerge:
    """What a run decides, in the order of reading. As it is, it suits a processor used by itself."""

    def admit(self, source_id: str, split: str, ordinal: int) -> Skip | Reject | None:
        """None for a new clip, else what it is instead."""
        return None

    def judge(self, split: str, ordinal: int, row: Row) -> Outcome:
        """The row, or its reject where the dataset has or had that clip."""
        return row

    def published(self, split: str) -> tuple[int, str | None]:
        """The number of the split's last shard that is committed (0: none yet, or the first), and its last ID."""
        return 0, None

    def make_durable(self, split: str, progress: Progress) -> None:
        """Called before each checkpoint is written, with the progress after the last step yielded."""
