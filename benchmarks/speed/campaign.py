"""The measurements of one shape: everybody in turns, so that what else the machine does meets all alike."""

import json
import shutil
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import median

from benchmarks.speed import others, ours
from benchmarks.speed.bookkeeping import bookkeeping_of
from benchmarks.speed.inputs import make_mirror
from benchmarks.speed.measuring import REPORT, Contender, Runs, Usage, measure
from benchmarks.speed.shapes import Shape
from benchmarks.speed.table import Measured
from tests.hub.process import HubProcess
from tests.hub_server import TOKEN

SMALL_CLIPS = 4
"""Of the mirror on which start-up is measured: one of them of the test split, one of the validation split."""

ONE_THREAD = {"OPENBLAS_NUM_THREADS": "1"}
"""Else numpy's sums of squares would be shared out among all cores."""


@dataclass(frozen=True)
class Plan:
    """How to measure."""

    clips: int
    repeat: int
    work: Path
    formats: Sequence[str] = ("wav", "flac")
    other_clips: int = 0
    """So many clips are given to what people use instead, as it is slow; 0: it is not measured."""
    other_repeat: int = 3
    """They are given so many turns at most."""
    with_hub: bool = False
    """Publish to the tests' Hub, too."""
    say: Callable[[str], None] = print


def measure_shape(shape: Shape, plan: Plan) -> Measured:
    """Measure us, the limit and what people use instead on one shape."""
    compared, left_out = others.available(shape, plan.other_clips, plan.with_hub) if plan.other_clips else ([], [])
    contenders = [
        contender
        for audio_format in plan.formats
        for contender in (_limit(shape, audio_format), *ours.contenders(shape, audio_format))
    ]
    contenders += [*([ours.to_hub(shape)] if plan.with_hub else []), *compared]
    runs = [Runs(one, min(one.clips or plan.clips, plan.clips), SMALL_CLIPS) for one in contenders]
    for count in sorted({SMALL_CLIPS, *(one.clips for one in runs)}):
        plan.say(f"{shape.name}: making or finding {count} clips")
        make_mirror(shape, count, plan.work)
    for turn in range(plan.repeat):
        in_turn = [one for one in runs if turn < plan.other_repeat or one.contender not in compared]
        first = turn % len(in_turn)
        for one in in_turn[first:] + in_turn[:first]:
            one.small.append(_run(one.contender, shape, SMALL_CLIPS, plan))
            one.whole.append(_run(one.contender, shape, one.clips, plan))
            plan.say(
                f"{shape.name} {turn + 1}/{plan.repeat} {one.contender.name}, {one.contender.audio_format}: "
                f"{one.whole[-1].cpu_s:.2f} s CPU, {one.whole[-1].wall_s:.2f} s wall"
            )
    return _measured(shape, plan, runs, left_out)


def _limit(shape: Shape, audio_format: str) -> Contender:
    return Contender(
        "limit",
        audio_format,
        lambda mirror, out: ["-m", "benchmarks.speed.limit", shape.name, str(mirror), str(out), audio_format],
        environment=ONE_THREAD,
    )


def _measured(shape: Shape, plan: Plan, runs: list[Runs], left_out: list[str]) -> Measured:
    stages, differing, seconds = {}, {}, 0.0
    for audio_format in plan.formats:
        limit_folder = plan.work / "run" / f"limit-{audio_format}" / "out"
        of_ours = ours.contenders(shape, audio_format)
        differing[audio_format] = sum(
            len(ours.differences(_folder(one, plan) / "out", limit_folder)) for one in of_ours
        )
        seconds = ours.seconds_in(limit_folder)
        stages[audio_format] = _stages(shape, audio_format, plan)
    books_us = _bookkeeping(shape, plan)
    shutil.rmtree(plan.work / "run", ignore_errors=True)
    return Measured(shape, plan.clips, seconds, runs, stages, differing, books_us, left_out)


def _run(contender: Contender, shape: Shape, clips: int, plan: Plan) -> Usage:
    folder = _folder(contender, plan)
    mirror = make_mirror(shape, clips, plan.work)
    command = contender.command(mirror, folder / "out")
    if not contender.needs_hub:
        return measure(command, folder, contender.environment)
    root = plan.work / "run" / "hub"
    with HubProcess(root) as hub:
        named = {"HF_ENDPOINT": hub.endpoint, "HF_TOKEN": TOKEN, "HF_HUB_DISABLE_XET": "1"}
        used = measure(command, folder, {**contender.environment, **named})
    shutil.rmtree(root)
    return used


def _folder(contender: Contender, plan: Plan) -> Path:
    name = f"{contender.name}-{contender.audio_format}".replace(" ", "-").replace(",", "")
    return plan.work / "run" / name


def _bookkeeping(shape: Shape, plan: Plan) -> dict[str, float]:
    """CPU us a clip of each of our functions that keep books, in the median; without what it takes for a few clips."""
    folder, report = plan.work / "run" / "books", plan.work / "run" / "books.json"
    taken: dict[int, list[dict[str, float]]] = {SMALL_CLIPS: [], plan.clips: []}
    for _ in range(plan.repeat):
        for clips, of_clips in taken.items():
            mirror = make_mirror(shape, clips, plan.work)
            _, *arguments = ours.arguments(shape, mirror, folder / "out", "wav")
            measure(["-m", "benchmarks.speed.bookkeeping", str(report), "--", *arguments], folder)
            of_clips.append(bookkeeping_of(report))
    small, whole = (
        {name: median(one[name] for one in of_clips) for name in of_clips[0]} for of_clips in taken.values()
    )
    return {name: (whole[name] - small[name]) / (plan.clips - SMALL_CLIPS) * 1e6 for name in whole}


def _stages(shape: Shape, audio_format: str, plan: Plan) -> dict[str, float]:
    """CPU us a clip of each stage of the limit."""
    folder = plan.work / "run" / "stages"
    mirror = make_mirror(shape, plan.clips, plan.work)
    command = ["-m", "benchmarks.speed.limit", shape.name, str(mirror), str(folder / "out"), audio_format, "--stages"]
    measure(command, folder, ONE_THREAD)
    said = json.loads((folder / REPORT).read_text())
    return {name: seconds / said["clips"] * 1e6 for name, seconds in said["stages_s"].items()}
