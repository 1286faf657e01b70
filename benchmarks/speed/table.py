"""The figures as tables in Markdown, with the goals beside them."""

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field

from benchmarks.speed.measuring import Runs
from benchmarks.speed.shapes import LEAST_OF_THE_LIMIT, LEAST_OF_TWO_WORKERS, MAX_BOOKKEEPING, Shape


@dataclass
class Measured:
    """All that was measured on one shape."""

    shape: Shape
    clips: int
    seconds: float
    """Of sound."""
    runs: list[Runs]
    stages_us: dict[str, dict[str, float]]
    """Format -> stage of the limit -> CPU a clip."""
    differing: dict[str, int]
    """Format -> the clips that we publish otherwise than the limit makes them."""
    books_us: dict[str, float]
    """CPU a clip of each of our functions that keep books (WAV out, one worker)."""
    left_out: list[str] = field(default_factory=list)

    def find(self, name: str, audio_format: str) -> Runs | None:
        wanted = (name, audio_format)
        return next((runs for runs in self.runs if (runs.contender.name, runs.contender.audio_format) == wanted), None)


def ratio(part: float, whole: float) -> float:
    """NaN where so little was measured that nothing is left without start-up."""
    return part / whole if whole > 0 else math.nan


def markdown(rows: Iterable[Sequence[str]]) -> str:
    """A table; the first row is its head."""
    head, *body = [list(row) for row in rows]
    lines = [head, ["---", *["---:"] * (len(head) - 1)], *body]
    return "\n".join(f"| {' | '.join(row)} |" for row in lines)


def figures(measured: Measured) -> str:
    """Everybody's cost of a clip."""
    second_of_clip = measured.seconds / measured.clips
    rows = [
        (
            *("who", "out", "CPU us a clip", "with start-up", "x real time per CPU s", "wall us a clip"),
            *("start-up, CPU s", "peak MB", "CPU, ours = 1"),
        )
    ]
    for runs in measured.runs:
        contender = runs.contender
        ours = measured.find("ours", contender.audio_format)
        cpu_us = runs.cpu_us()
        rows.append(
            (
                contender.name + (f" ({runs.clips} of the clips)" if runs.clips < measured.clips else ""),
                contender.audio_format,
                f"{cpu_us:,.0f}",
                f"{runs.cpu_us(with_start=True):,.0f}",
                f"{ratio(second_of_clip * 1e6, cpu_us):,.0f}",
                f"{runs.wall_us():,.0f}",
                f"{runs.start_cpu_s:.2f}",
                f"{runs.peak_mb:,.0f}",
                f"{ratio(cpu_us, ours.cpu_us()):.2f}" if ours else "",
            )
        )
    return markdown(rows)


def stages(measured: Measured) -> str:
    """What a clip costs the limit, stage by stage."""
    names = list(dict.fromkeys(name for of_format in measured.stages_us.values() for name in of_format))
    head = ("limit, CPU us a clip", *names, "all")
    rows = [
        (
            f"{audio_format} out",
            *(f"{costs[name]:,.0f}" if name in costs else "" for name in names),
            f"{sum(costs.values()):,.0f}",
        )
        for audio_format, costs in measured.stages_us.items()
    ]
    return markdown([head, *rows])


def books(measured: Measured) -> str:
    """What each of our functions that keep books takes of a clip."""
    costs = measured.books_us
    head = ("our books, CPU us a clip", *costs, "all")
    return markdown([head, ("wav out", *(f"{us:,.1f}" for us in costs.values()), f"{sum(costs.values()):,.1f}")])


@dataclass(frozen=True)
class Goal:
    """One thing to be reached, and what was."""

    what: str
    reached: float
    wanted: float
    is_most: bool = False
    """What is reached may be at most what is wanted (else at least)."""
    is_part: bool = False
    """Shown in percent."""
    of_the_limit: float | None = None
    """What bare C calls reach, which nobody passes; where that says something."""

    @property
    def is_met(self) -> bool:
        return self.reached <= self.wanted if self.is_most else self.reached >= self.wanted

    def row(self, shape: str) -> tuple[str, ...]:
        def shown(value: float) -> str:
            return f"{100 * value:.1f}%" if self.is_part else f"{value:.2f} x"

        bound = "at most" if self.is_most else "at least"
        return (
            shape,
            self.what,
            shown(self.reached),
            f"{bound} {shown(self.wanted)}",
            "" if self.of_the_limit is None else shown(self.of_the_limit),
            "met" if self.is_met else "NOT MET",
        )


def goals(measured: Measured) -> list[Goal]:
    """What can be said of the goals from what was measured."""
    found, shape = [], measured.shape
    ours, two, limit = (measured.find(name, "wav") for name in ("ours", "ours, 2 workers", "limit"))
    for audio_format in ("wav", "flac"):
        mine, theirs = measured.find("ours", audio_format), measured.find("limit", audio_format)
        if mine and theirs:
            reached = ratio(theirs.cpu_us(), mine.cpu_us())
            found.append(
                Goal(
                    f"throughput per CPU s, of the limit's, {audio_format} out",
                    reached,
                    LEAST_OF_THE_LIMIT,
                    is_part=True,
                )
            )
    wanted = {"datasets": shape.times_datasets, "librosa": shape.times_librosa}
    if ours:
        for runs in measured.runs:
            name = runs.contender.name
            if runs.contender.audio_format == "wav" and not name.startswith(("ours", "limit")):
                rival = measured.find(runs.contender.rival, "wav")
                assert rival is not None
                what = f"CPU, {name} to {rival.contender.name}"
                best = ratio(runs.cpu_us(), limit.cpu_us()) if limit and rival is ours else None
                found.append(Goal(what, ratio(runs.cpu_us(), rival.cpu_us()), wanted.get(name, 1.0), of_the_limit=best))
    if ours and two and shape.is_decoding_most:
        found.append(Goal("two workers against one, wall", ratio(ours.wall_us(), two.wall_us()), LEAST_OF_TWO_WORKERS))
    if ours:
        part = ratio(sum(measured.books_us.values()), ours.cpu_us())
        found.append(Goal("checkpoints, positions, bookkeeping, of CPU", part, MAX_BOOKKEEPING, True, True))
    return found


def goals_table(all_measured: Iterable[Measured]) -> str:
    head = ("shape", "what", "reached", "goal", "the limit's", "")
    return markdown([head, *(goal.row(one.shape.name) for one in all_measured for goal in goals(one))])
