"""Hostile inputs for every reader: `python benchmarks/fuzz.py --seed 1 --count 100000 --jobs 2`.

Damages sound files (bit flips, cuts, splices, huge lengths, blocks twice or gone) and builds bombs, puts each to the
reader that it is for, in workers under limits of CPU and memory, and prints what became of them. An input that ends in
anything but a row, a reject or an error in words is a failure: it is kept in the folder `--failures`, and
`--replay TARGET NUMBER` with the same seed makes it again and shows where it fails. Exit 0: no failure; 1: some.
"""

import argparse
import sys
import tempfile
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).parent.parent))

from benchmarks.requirements import require  # noqa: E402

require()

from benchmarks.fuzzing.campaign import Tally, run, shares  # noqa: E402
from benchmarks.fuzzing.worker import all_targets, made_by, target_named  # noqa: E402
from tests.fuzz import broken  # noqa: E402
from tests.fuzz.ending import FINE, REFUSED, REJECTED, SET_ASIDE, ending_of  # noqa: E402

_SHOWN = 10


def main() -> int:
    given = _parser().parse_args()
    if given.replay:
        return _replay(given.seed, given.replay[0], int(given.replay[1]))
    every = broken.targets() if given.self_test else all_targets()
    targets = [target for target in every if not given.only or given.only.lower() in target.name.lower()]
    if given.no_bombs:
        targets = [target for target in targets if target.always is None]
    if not targets:
        print(f"no target has {given.only!r} in its name")
        return 2
    tallies = run(given.seed, shares(targets, given.count), given.jobs, lambda tally: _tell(tally, given.quiet))
    print(table(tallies))
    failed = [tally for tally in tallies if tally.failures]
    for tally in failed:
        _keep(given.seed, tally, given.failures)
    return 1 if failed else 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--count", type=int, default=100_000, help="inputs, besides the bombs (%(default)s)")
    parser.add_argument("--jobs", type=int, default=2, help="workers at a time (%(default)s)")
    parser.add_argument("--only", metavar="NAME", help="targets with NAME in their names")
    parser.add_argument("--no-bombs", action="store_true")
    parser.add_argument("--failures", type=Path, default=Path("fuzz-failures"), help="folder (%(default)s)")
    parser.add_argument("--replay", nargs=2, metavar=("TARGET", "NUMBER"), help="one input again, in this process")
    parser.add_argument("--self-test", action="store_true", help="readers that fail on purpose, each in its own way")
    parser.add_argument("--quiet", action="store_true", help="only the table")
    return parser


def table(tallies: list[Tally]) -> str:
    """What became of all inputs, as Markdown."""
    total = Tally("**all**")
    for tally in tallies:
        total.add(tally)
    lines = [
        "| target | inputs | fine | rejected | refused | set aside | failures | slowest, CPU | most memory |",
        "|---|--:|--:|--:|--:|--:|--:|--:|--:|",
    ]
    for tally in (*tallies, total):
        endings = [f"{tally.endings[ending]:,}" for ending in (FINE, REJECTED, REFUSED, SET_ASIDE)]
        measured = [f"{tally.slowest_ms / 1000:.2f} s", f"{tally.most_mb:.0f} MB"]
        cells = [tally.target, f"{tally.inputs:,}", *endings, f"{tally.failed:,}", *measured]
        lines.append(f"| {' | '.join(cells)} |")
    return "\n".join(lines)


def _tell(tally: Tally, quiet: bool) -> None:
    if not quiet:
        told = f"{tally.target}: {tally.inputs:,} inputs, {tally.cpu_ms / 1000:.1f} s of CPU"
        print(f"{told}, {len(tally.failures)} failures", file=sys.stderr, flush=True)


def _keep(seed: int, tally: Tally, folder: Path) -> None:
    """Name the first few failures of a target, and keep their inputs."""
    print(f"\n{tally.target}: {len(tally.failures)} failures")
    folder.mkdir(parents=True, exist_ok=True)
    target = target_named(tally.target)
    for number, detail in list(tally.failures.items())[:_SHOWN]:
        name = "".join(char if char.isalnum() else "-" for char in tally.target)
        path = folder / f"{name}-{seed}-{number}"
        path.write_bytes(_as_bytes(made_by(seed, target, number)))
        print(f"  {detail or 'no word'}\n    {path}; again: --seed {seed} --replay {tally.target!r} {number}")


def _as_bytes(made: Any) -> bytes:
    """The input for a person to look at: its bytes where it is of bytes."""
    content = next((part for part in made if isinstance(part, bytes)), None) if isinstance(made, tuple) else made
    return content if isinstance(content, bytes) else repr(made).encode(errors="replace")


def _replay(seed: int, name: str, number: int) -> int:
    target = target_named(name)
    with tempfile.TemporaryDirectory() as folder:
        print(ending_of(target, made_by(seed, target, number), Path(folder)))
    return 0


if __name__ == "__main__":
    sys.exit(main())
