"""Seek points: places in the middle of packed archives from which reading can go on, kept beside the positions.

A position says which clip is next, and not where its bytes lie: a tar.gz has no index. So whoever reads one leaves
seek points on the way (`SeekPoints.add`); those of a segment travel in it, and the one nearest to the published
position lies in the target, for another machine. A seek point is a hint. What it says is held against the
archive, and where it does not fit, or there is none, the archive is read from its start: that only takes longer.
"""

import base64
import logging
import zlib
from collections import deque
from collections.abc import Callable, Iterable, Mapping
from dataclasses import asdict, dataclass
from typing import Any

from utils.formats.deflate_blocks import WINDOW_BYTES
from utils.formats.gzip_stream import GzipPlace
from utils.rows.checked_types import check_types
from utils.rows.printable import shown
from utils.rows.sealed_json import checked_json, json_with_checksum

log = logging.getLogger(__name__)

_DAMAGE = (ValueError, KeyError, TypeError, AttributeError, RecursionError, OverflowError, zlib.error)


@dataclass(frozen=True)
class SeekPoint:
    """A place in a tar.gz, and the first member that begins behind it."""

    index: int
    """How many clips of the split are before that member, or a larger number: where reading began."""
    file: str
    place: GzipPlace
    members: int
    """How many members of the archive are before it."""
    clips: int
    """How many of those are clips."""
    header_at: int
    """Where in the content its header begins."""
    header: str
    """The fingerprint of that header."""

    def __post_init__(self) -> None:
        if min(self.index, self.clips) < 0 or self.clips > self.members or self.header_at < self.place.unpacked_at:
            raise ValueError("this is no seek point")

    def to_json(self) -> dict[str, Any]:
        window = base64.b64encode(zlib.compress(self.place.window, 1)).decode()
        return {**asdict(self), "place": {**asdict(self.place), "window": window}}

    @classmethod
    def from_json(cls, content: Mapping[str, Any]) -> "SeekPoint":
        """Read `to_json`'s form. Raises one of `_DAMAGE` where it is not that."""
        place = content["place"]
        unpack = zlib.decompressobj()
        window = unpack.decompress(base64.b64decode(place["window"], validate=True), WINDOW_BYTES + 1)
        point = cls(**{**content, "place": GzipPlace(**{**place, "window": window})})
        check_types(point, SeekPoint, "the seek point")
        return point


class SeekPoints:
    """The seek points of one split: added while it is read, taken away by whoever keeps them.

    They may be added by another thread than the one that takes them.
    """

    def __init__(self, known: Callable[[int], SeekPoint | None] = lambda index: None, most: int = 1) -> None:
        """`known(index)` finds the newest one kept that is not behind a position; `most` are held at a time."""
        self._known = known
        self._added: deque[SeekPoint] = deque(maxlen=most)

    def add(self, point: SeekPoint) -> None:
        self._added.append(point)

    def before(self, index: int, file: str, clips: int) -> SeekPoint | None:
        """Where to enter `file` to read on behind its first `clips` clips, at a position with that index."""
        point = self._known(index) if clips else None
        return point if point and point.file == file and point.clips <= clips else None

    def taken(self, index: int) -> list[SeekPoint]:
        """Those that are not behind a position with that index, in order; they are not given again."""
        taken = []
        while self._added and self._added[0].index <= index:
            taken.append(self._added.popleft())
        return taken


def newest(points: Iterable[SeekPoint], index: int) -> SeekPoint | None:
    """The last of `points` that is not behind a position with that index."""
    best = None
    for point in points:
        if point.index <= index and (best is None or point.index >= best.index):
            best = point
    return best


def to_text(points: Iterable[SeekPoint], revision: str) -> bytes:
    """Seek points into a source at one revision, as a file with a checksum."""
    return json_with_checksum({"version": 1, "revision": revision, "points": [point.to_json() for point in points]})


def from_text(raw: bytes, revision: str) -> list[SeekPoint]:
    """Read `to_text`'s form; none where it is not that any more, or of another revision: they are only hints."""
    try:
        content = checked_json(raw)
        if content["version"] != 1 or content["revision"] != revision:
            return []
        return [SeekPoint.from_json(point) for point in content["points"]]
    except _DAMAGE as error:
        log.debug("seek points that can't be read: %s", shown(error))
        return []
