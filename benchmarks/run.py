"""How fast we are, beside the limit of the machine: `python benchmarks/run.py [--quick]`.

Makes mirrors of made-up clips in four shapes (once: they are kept in `--work`), reads each with `main.py` from end to
end, with bare loops over the same C-level calls, and with what people use instead, all in turns in one run.
Prints what a clip costs everybody, stage by stage for the limit, and which goals are met; writes the same to a page.
"""

import argparse
import os
import shlex
import sys
import tempfile
from pathlib import Path

PROJECT = Path(__file__).parent.parent
sys.path.insert(0, str(PROJECT))

from benchmarks.requirements import require  # noqa: E402

require()

from benchmarks.speed import report  # noqa: E402
from benchmarks.speed.campaign import Plan, measure_shape  # noqa: E402
from benchmarks.speed.profile import profile  # noqa: E402
from benchmarks.speed.shapes import SHAPES  # noqa: E402
from benchmarks.speed.table import goals  # noqa: E402

RESULTS = PROJECT / "benchmarks/results.md"
CLIPS, QUICK_CLIPS = 2000, 150
REPEAT, QUICK_REPEAT = 5, 3


def main() -> None:
    given = _parser().parse_args()
    if given.profile:
        clips = given.clips or (QUICK_CLIPS if given.quick else CLIPS)
        print(profile(SHAPES[given.profile], clips, given.work, given.formats.split(",")[0]))
        return
    plan = Plan(
        clips=given.clips or (QUICK_CLIPS if given.quick else CLIPS),
        repeat=given.repeat or (QUICK_REPEAT if given.quick else REPEAT),
        work=given.work,
        formats=given.formats.split(","),
        with_hub=given.hub,
        other_clips=0 if given.no_others else given.other_clips,
        say=lambda line: print(line, file=sys.stderr, flush=True),
    )
    measured = [measure_shape(SHAPES[name], plan) for name in given.only or SHAPES]
    profiles = {
        one.shape.title: profile(one.shape, plan.clips, plan.work, plan.formats[0], top=25)
        for one in measured
        if not all(goal.is_met for goal in goals(one))
    }
    command = shlex.join(["python", "benchmarks/run.py", *sys.argv[1:]])
    page = report.page(command, measured, plan.repeat, profiles)
    print(page)
    is_whole = not (given.quick or given.only or given.clips or given.no_others)
    if output := given.output or (RESULTS if is_whole else None):
        output.write_text(page, encoding="utf-8")


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--quick", action="store_true", help=f"{QUICK_CLIPS} clips: whether it works, not how fast")
    parser.add_argument("--clips", type=int, help=f"clips of each shape ({CLIPS})")
    parser.add_argument("--repeat", type=int, help=f"runs of each contender; the median counts ({REPEAT})")
    parser.add_argument("--only", action="append", choices=list(SHAPES), help="this shape (may be given again)")
    parser.add_argument("--formats", default="wav,flac", help="what is written: wav, flac or both (%(default)s)")
    parser.add_argument("--profile", choices=list(SHAPES), help="only show where our CPU time goes on this shape")
    parser.add_argument("--hub", action="store_true", help="publish to the tests' Hub, too, and push_to_hub there")
    parser.add_argument("--no-others", action="store_true", help="leave out what people use instead")
    parser.add_argument(
        "--other-clips", type=int, default=600, help="clips that are given to those, as they are slow (%(default)s)"
    )
    parser.add_argument("--work", type=Path, default=_memory_folder(), help="where the clips are kept (%(default)s)")
    parser.add_argument(
        "--output", type=Path, help="the page to write (of a run that leaves nothing out: benchmarks/results.md)"
    )
    return parser


def _memory_folder() -> Path:
    """In memory where there is a disk in memory: what is measured is not the disk."""
    memory = Path("/dev/shm")  # noqa: S108
    usable = memory.is_dir() and os.access(memory, os.W_OK)
    return (memory if usable else Path(tempfile.gettempdir())) / "thai-audio-benchmark"


if __name__ == "__main__":
    main()
