"""How far a split of a source was read: the position, the books up to it, and what became of each clip.

A processor makes these; what a dataset holds is a `State` (`utils/dataset/state.py`).
"""

import json
from dataclasses import dataclass, field, fields
from functools import lru_cache
from typing import Any, Final

from utils.rows.checked_types import check_types
from utils.rows.printable import shown
from utils.rows.schema import START, Outcome, Position, Reject, Skip

_compact: Final = json.JSONEncoder(separators=(",", ":")).encode
"""As `json.dumps` with these separators, which makes an encoder for each call."""
_quoted: Final = lru_cache(256)(_compact)
"""Of texts that come with clip after clip: the keys of a position, and the names of files in it."""

SplitOfSource = tuple[str, str]
"""A source's name, and one of its splits."""


@dataclass(frozen=True)
class Progress:
    """How far a split of a source is: the position, and the books up to it."""

    position: Position = field(default_factory=lambda: dict(START))
    read: int = 0
    kept: int = 0
    rejected: int = 0
    unselected: int = 0
    known: int = 0
    finished: bool = False

    def __post_init__(self) -> None:
        if self.read != self.kept + self.rejected + self.unselected + self.known:
            raise ValueError(f"the books do not balance: {self}")

    def after(self, position: Position, outcome: Outcome) -> "Progress":
        """The progress once one more clip was read."""
        return Progress(
            position=position,
            read=self.read + 1,
            kept=self.kept + isinstance(outcome, dict),
            rejected=self.rejected + isinstance(outcome, Reject),
            unselected=self.unselected + (outcome is Skip.UNSELECTED),
            known=self.known + (outcome is Skip.KNOWN),
        )

    def as_json(self) -> str:
        """What `Progress(**json.loads(...))` takes; asked for with every row, so without the detour of `asdict`."""
        books = f'"read":{self.read},"kept":{self.kept},"rejected":{self.rejected},"unselected":{self.unselected}'
        position = ",".join([f"{_quoted(name)}:{_value(value)}" for name, value in self.position.items()])
        finished = "true" if self.finished else "false"
        return f'{{"position":{{{position}}},{books},"known":{self.known},"finished":{finished}}}'


def _value(value: Any) -> str:
    if type(value) is int:
        return str(value)
    return _quoted(value) if type(value) is str else _compact(value)


@dataclass(frozen=True, slots=True)
class Step:
    """One clip read: what became of it, and the progress after it.

    The unit that is staged, so that a position never moves without the rows it counts (law 4).
    """

    progress: Progress
    outcome: Outcome

    @property
    def ordinal(self) -> int:
        """1 for the first clip of a split."""
        return self.progress.read


def check_progress(progress: Progress, name: str) -> None:
    """ValueError where the progress of a split can't be one."""
    check_types(progress, type(progress), name)
    counts = (getattr(progress, field.name) for field in fields(progress) if field.type in (int, "int"))
    index = progress.position.get("index")
    check_types(index, int, f"{name}.position.index")
    if min(*counts, index) < 0:
        raise ValueError(f"{shown(name)} counts less than nothing")
