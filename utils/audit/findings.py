"""What `--verify` finds: one `Check` for each promise, with the first few things that break it."""

from collections.abc import Callable
from dataclasses import asdict, dataclass, field
from typing import Any

from utils.errors import Interrupted

SHOWN = 5
"""Offenders of a check that are named; all are counted."""

SOUND, NOT_SOUND, NOT_CHECKED, NOTED = "sound", "NOT SOUND", "not checked", "noted"


@dataclass
class Check:
    """One promise, held against what is published."""

    name: str
    about: str
    """What was compared with what."""
    checked: int = 0
    """How many things were looked at."""
    found: int = 0
    """How many of them break the promise."""
    offenders: list[str] = field(default_factory=list)
    """The first few of those, in words."""
    why_not: str = ""
    """Why it could not be checked; empty where it was."""
    remedy: tuple[str, ...] = ()
    """What to do about what was found, and what to type, a line each."""
    is_advice: bool = False
    """True for what a sound dataset may have, but a reader may want to know."""

    def offend(self, what: str, count: int = 1) -> None:
        self.found += count
        if len(self.offenders) < SHOWN:
            self.offenders.append(what)

    def skip(self, why: str) -> None:
        self.why_not = self.why_not or why

    @property
    def result(self) -> str:
        if self.found:
            return NOTED if self.is_advice else NOT_SOUND
        return NOT_CHECKED if self.why_not else SOUND


def heed(stop_requested: Callable[[], bool]) -> None:
    """Interrupted where somebody asked to stop: while reading, nothing was changed yet."""
    if stop_requested():
        raise Interrupted("Stopped on request. Nothing was changed.")


@dataclass(frozen=True)
class Totals:
    """What was looked at in all."""

    files: int = 0
    rows: int = 0
    rejects: int = 0
    size_bytes: int = 0
    duration_s: float = 0.0


@dataclass(frozen=True)
class Verdict:
    """All checks of a dataset, in the order of the table."""

    checks: tuple[Check, ...]
    totals: Totals
    revision: str

    @property
    def is_sound(self) -> bool:
        return all(check.result != NOT_SOUND for check in self.checks)

    def as_json(self) -> dict[str, Any]:
        """For machines: the same as the table."""
        checks = [
            {
                "name": check.name,
                "about": check.about,
                "result": check.result.lower(),
                "checked": check.checked,
                "found": check.found,
                "first": check.offenders,
                "why_not_checked": check.why_not,
                "remedy": list(check.remedy),
            }
            for check in self.checks
        ]
        return {"sound": self.is_sound, "revision": self.revision, "checks": checks, "totals": asdict(self.totals)}
