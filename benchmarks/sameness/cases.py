"""What is compared: cases (what a program does) x targets x ways (who does it, and where it is killed).

The datasets of a row are all held against one: that of BASE, whose run nothing disturbed. Which programs make them:

    undisturbed     CHANGED
    killed twice    BASE and CHANGED, each resumed until it is done
    handed over     CHANGED resumes what BASE began; both are killed
"""

import shutil
from collections.abc import Callable, Sequence
from concurrent.futures import Future
from dataclasses import dataclass, field
from itertools import pairwise
from pathlib import Path

import pyarrow.parquet as pq

from benchmarks.sameness.comparing import Published, keep
from benchmarks.sameness.inputs import OWN_SOURCE, STREAMED, Inputs
from benchmarks.sameness.machine import (
    FOLDER,
    HUB,
    CannotCompare,
    Ended,
    Kill,
    Machine,
    Program,
    segments_staged,
)

REMOVAL = "removal"
CHECKS = ("--verify --deep", "--repair --dry-run", "--status")
"""Commands that change nothing. After a removal that was killed the first one is enough."""
TERMS = ["--accept-terms", "GigaSpeech2,MozillaCommonVoice", "--quiet"]


# --- where a run is killed -------------------------------------------------------------------


def _segments(number: int) -> Kill:
    """So many have been closed since the command began, published ones included."""

    def reached(machine: Machine) -> Callable[[], bool]:
        before, seen = segments_staged(machine), set[Path]()

        def look() -> bool:
            seen.update(segments_staged(machine) - before)
            return len(seen) >= number

        return look

    return Kill(where=reached)


def _draft_is_there(machine: Machine) -> Callable[[], bool]:
    """What a removal makes beside the folder, before it gives it the folder's name."""
    return machine.out.with_name(f"{machine.out.name}.repairing").exists


COMMITTED = Kill({"step": "commit", "when": "after", "skip": 1}, machine_is_lost=True)
"""After its second commit on the Hub, which this run never hears of; another machine resumes."""
REMOVING_ON_HUB = Kill({"step": "commit", "when": "before"})
REMOVING_IN_FOLDER = Kill(where=_draft_is_there)


# --- rows --------------------------------------------------------------------------------------

UNDISTURBED, KILLED, HANDED_OVER = WAYS = ("undisturbed", "killed twice", "handed over")


@dataclass(frozen=True)
class Case:
    name: str
    arguments: Callable[[Inputs], Sequence[str]]
    min_shards: int
    """Fewer are an error: too little would be compared."""
    targets: tuple[str, ...] = (FOLDER, HUB)
    removes: bool = False
    """It takes clips out of the dataset that BASE made, and checks what is left."""
    demo: bool = False
    reads_mirrors: bool = True
    in_folder: tuple[int, int] = (2, 2)
    """How many segments a run closes before it is killed, and the next one. Where a split has more, the resume begins
    in the middle of it."""
    on_hub: int = 2
    """The same of the first run on the Hub; the next one is killed at a commit."""

    def kills(self, target: str) -> tuple[Kill, Kill]:
        if self.removes:
            return (REMOVING_ON_HUB, REMOVING_ON_HUB) if target == HUB else (REMOVING_IN_FOLDER, REMOVING_IN_FOLDER)
        if target == HUB:
            return _segments(self.on_hub), COMMITTED
        return _segments(self.in_folder[0]), _segments(self.in_folder[1])


CASES = (
    Case("demo", lambda inputs: ["--fresh", "--all", "--demo"], min_shards=9, demo=True),
    Case(
        "mirror",
        lambda inputs: [
            *("--fresh", "--all", "--source-dir", str(inputs.mirrors), "--dedup", "exact", "--strip-punctuation"),
            *("--upload-batch-size", "10", "--checkpoint-interval", "5"),
        ],
        min_shards=30,
        in_folder=(11, 7),  # in the archive of Common Voice, then in a Parquet file
        on_hub=3,  # in a tar.gz
    ),
    Case(
        "streamed",
        lambda inputs: [
            *("--fresh", *STREAMED, "--streaming", "--dedup", "off", "--audio-format", "wav"),
            *("--upload-batch-size", "20", "--checkpoint-interval", "7"),
        ],
        min_shards=12,
        on_hub=9,  # in a Parquet file
        targets=(HUB,),
    ),
    Case(
        "own source",
        lambda inputs: [
            *("--fresh", OWN_SOURCE, "--sources", str(inputs.own)),
            *("--upload-batch-size", "4", "--checkpoint-interval", "2"),
        ],
        min_shards=5,
        in_folder=(2, 6),
        reads_mirrors=False,
    ),
    Case(
        REMOVAL,
        lambda inputs: [
            *("--fresh", "ProcessedVoiceTH", "MozillaCommonVoice", "--source-dir", str(inputs.mirrors)),
            *("--upload-batch-size", "25", "--checkpoint-interval", "10"),
        ],
        min_shards=6,
        removes=True,
    ),
)


@dataclass(frozen=True)
class Step:
    program: Program
    kill: Kill | None = None


@dataclass(frozen=True)
class Maker:
    """Steps that make a dataset."""

    name: str
    steps: tuple[Step, ...]


@dataclass(frozen=True)
class Row:
    case: Case
    target: str
    way: str

    def __str__(self) -> str:
        return f"{self.case.name}, {self.target}, {self.way}"

    def makers(self, base: Program, changed: Program) -> list[Maker]:
        """Of the datasets that are held against that of BASE."""
        kills = self.case.kills(self.target)
        if self.way == UNDISTURBED:
            return [undisturbed(changed)]
        if self.way == HANDED_OVER:
            steps = (Step(base, kills[0]), Step(changed, kills[1]), Step(changed))
            return [Maker("BASE, then CHANGED", steps)]
        return [
            Maker(f"{program.name}, killed twice", (*(Step(program, kill) for kill in kills), Step(program)))
            for program in (base, changed)
        ]


def undisturbed(program: Program) -> Maker:
    return Maker(program.name, (Step(program),))


def rows() -> list[Row]:
    return [Row(case, target, way) for case in CASES for target in case.targets for way in WAYS]


# --- datasets ----------------------------------------------------------------------------------


@dataclass(frozen=True)
class Made:
    """A dataset, and how the commands ended that made it."""

    maker: str
    resumed: bool
    """Its maker was killed and began again."""
    files: Published
    ended: dict[str, Ended] = field(default_factory=dict)
    """Command -> how it ended; of one that was killed and repeated, the last time."""


def make(case: Case, target: str, maker: Maker, inputs: Inputs, folder: Path) -> Made:
    """Have a dataset made. Whatever the machine holds beside it goes.

    CannotCompare where a command ended before it was killed.
    """
    machine = Machine(folder / "machine", target, inputs.hub if case.name == "streamed" else None)
    if case.demo and not (target == FOLDER and len(maker.steps) == 1):
        # What the demo makes up first, as it takes longer than all else. Undisturbed runs make it up themselves.
        shutil.copytree(inputs.mirrors, machine.work / "data/demo-sources")
    ended = {"run": _run(machine, maker, [*case.arguments(inputs), *TERMS], "--resume")}
    return _kept(maker, machine, ended, folder)


def hold(case: Case, target: str, base: Program, inputs: Inputs, folder: Path) -> Machine:
    """A machine whose target holds what BASE publishes, to have clips taken out of it."""
    machine = Machine(folder, target)
    ended = machine.run(base, [*case.arguments(inputs), *TERMS])
    if ended.code:
        raise CannotCompare(f"BASE could not make what clips are to be taken out of:\n{ended.errors}")
    return machine


def remove(maker: Maker, held: Future[Machine], folder: Path) -> Made:
    """Have clips taken out of a copy of what a machine's target holds, and what is left checked."""
    machine = held.result().copied(folder / "machine")
    ended = {REMOVAL: _run(machine, maker, _clips_to_remove(machine))}
    for command in CHECKS if len(maker.steps) == 1 else CHECKS[:1]:
        if ended[REMOVAL].code == 0:
            ended[command] = machine.run(maker.steps[-1].program, command.split())
    return _kept(maker, machine, ended, folder)


def _run(machine: Machine, maker: Maker, arguments: Sequence[str], *resume: str) -> Ended:
    """All steps. One that fails is the last one."""
    ended = machine.run(maker.steps[0].program, arguments, maker.steps[0].kill)
    for before, step in pairwise(maker.steps):
        if ended.code == 0:
            raise CannotCompare(f"{maker.name} ({machine.target}): {before.program.name} ended before it was killed.")
        if ended.code != -9:
            break
        if before.kill and before.kill.machine_is_lost:
            machine.lose()
        ended = machine.run(step.program, [*arguments, *resume], step.kill)
    return ended


def _clips_to_remove(machine: Machine) -> list[str]:
    """A speaker of Common Voice, and the first clip of each source."""
    shards = {path: file for path, file in sorted(machine.published().items()) if path.startswith("data/test/")}
    columns = ["source_id", "speaker_id"]
    first = {path: pq.read_table(file, columns=columns, partitioning=None) for path, file in shards.items()}
    clips = machine.work / "clips.txt"
    clips.write_text("".join(f"{table['source_id'][0]}\n" for table in first.values()), encoding="utf-8")
    speakers = next(table["speaker_id"] for path, table in first.items() if "MozillaCommonVoice" in path)
    return ["--remove-id", clips.name, "--remove-speaker", str(speakers[-1])]


def _kept(maker: Maker, machine: Machine, ended: dict[str, Ended], folder: Path) -> Made:
    files = keep(machine.published(), folder / "published")
    shutil.rmtree(machine.folder)
    return Made(maker.name, len(maker.steps) > 1, files, ended)
