"""Prove a refactoring: two commits publish the same bytes, whatever dies on the way.

    python benchmarks/same_bytes.py BASE              # HEAD against BASE
    python benchmarks/same_bytes.py BASE CHANGED --only removal

Both commits are checked out into a temporary folder, and run by their command lines alone, with this Python. What they
read, and the Hub that they publish to, come from the tree that this file is in. Uncommitted changes do not count.

A row is a case, a target and a way: `benchmarks/sameness/cases.py` has all. Every published file of each dataset is
held against what BASE publishes undisturbed: path, size and sha256, of a state all but the run's own name and times.
Exit codes and what is printed must be equal, too. Prints a table; exit 1 where something differs, with what it is, or
where too little was there to be compared; 2 where a commit can't be checked out.
"""

import argparse
import io
import re
import subprocess
import sys
import tarfile
import tempfile
from collections.abc import Callable, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

PROJECT = Path(__file__).parent.parent
sys.path.insert(0, str(PROJECT))

from benchmarks.requirements import require  # noqa: E402

require()

from benchmarks.sameness.cases import REMOVAL, Made, Maker, Row, hold, make, remove, rows, undisturbed  # noqa: E402
from benchmarks.sameness.comparing import STATE_PATH, differences, first_line_that_differs  # noqa: E402
from benchmarks.sameness.inputs import Inputs, write_inputs  # noqa: E402
from benchmarks.sameness.machine import CannotCompare, Ended, Program  # noqa: E402

MAX_TOLD = 8
"""Differences of a row that are told."""
OF_THIS_RUN = ("Rejected in this run", "read again", "Nothing to do", "In train already")
"""Paragraphs of a summary on the last of several runs."""


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("base", metavar="BASE", help="the commit before the refactoring")
    parser.add_argument("changed", metavar="CHANGED", nargs="?", default="HEAD", help="the one after it (%(default)s)")
    parser.add_argument("--only", default="", metavar="WORD", help='rows with this in them, as in "mirror, folder"')
    parser.add_argument("--jobs", type=int, default=2, help="runs at the same time (%(default)s)")
    parser.add_argument("--folder", type=Path, help="where to work (a temporary folder); 1 GB is needed")
    given = parser.parse_args()
    chosen = [row for row in rows() if given.only in str(row)]
    if not chosen:
        parser.error(f"no row has {given.only!r} in it. There are: " + "; ".join(map(str, rows())))
    try:
        commits = {name: _commit(text) for name, text in (("BASE", given.base), ("CHANGED", given.changed))}
    except (OSError, UnknownCommit) as error:
        parser.error(str(error))
    print(f"BASE is {commits['BASE']:.10}, CHANGED is {commits['CHANGED']:.10}.\n")
    with tempfile.TemporaryDirectory(dir=given.folder) as name:
        folder = Path(name).resolve()
        base, changed = (_checked_out(name, commit, folder) for name, commit in commits.items())
        inputs = write_inputs(folder / "inputs", demo=any(row.case.reads_mirrors for row in chosen))
        with ThreadPoolExecutor(given.jobs) as pool:
            try:
                return _compare(chosen, Workshop(base, changed, inputs, folder, pool))
            except CannotCompare as error:
                print(f"\nNothing is proved. {error}", file=sys.stderr)
                return 1
            finally:
                pool.shutdown(cancel_futures=True)


# --- commits -----------------------------------------------------------------------------------


class UnknownCommit(Exception):
    """Git does not know it."""


def _commit(text: str) -> str:
    """Its whole name."""
    command = ["git", "-C", str(PROJECT), "rev-parse", "--verify", "--quiet", "--end-of-options", f"{text}^{{commit}}"]
    found = subprocess.run(command, capture_output=True, text=True, check=False)  # noqa: S607
    if found.returncode:
        raise UnknownCommit(f"git knows no commit {text} in {PROJECT}. {found.stderr.strip()}".strip())
    return found.stdout.strip()


def _checked_out(name: str, commit: str, folder: Path) -> Program:
    """Through an archive, so that the repository does not know of it."""
    command = ["git", "-C", str(PROJECT), "archive", "--format=tar", commit]
    packed = subprocess.run(command, capture_output=True, check=True).stdout
    with tarfile.open(fileobj=io.BytesIO(packed)) as archive:
        archive.extractall(folder / name, filter="data")
    return Program(name, folder / name)


# --- rows --------------------------------------------------------------------------------------


@dataclass
class Workshop:
    """Has each dataset made once, several at the same time."""

    base: Program
    changed: Program
    inputs: Inputs
    folder: Path
    pool: ThreadPoolExecutor
    _asked: dict[str, Future[Any]] = field(default_factory=dict)

    def expected(self, row: Row) -> Future[Made]:
        """What BASE publishes undisturbed."""
        return self._dataset(row, undisturbed(self.base))

    def found(self, row: Row) -> list[Future[Made]]:
        """What is held against that."""
        return [self._dataset(row, maker) for maker in row.makers(self.base, self.changed)]

    def _dataset(self, row: Row, maker: Maker) -> Future[Made]:
        place, folder = (row.case, row.target), self.folder / _folder_name(row, maker.name)
        if not row.case.removes:
            return self._once(folder, make, *place, maker, self.inputs, folder)
        start = self.folder / _folder_name(row, "start")
        # Handed over first, so that it is begun before those that wait for it.
        held = self._once(start, hold, *place, self.base, self.inputs, start)
        return self._once(folder, remove, maker, held, folder)

    def _once(self, folder: Path, work: Callable[..., Any], *arguments: Any) -> Future[Any]:
        if folder.name not in self._asked:
            self._asked[folder.name] = self.pool.submit(work, *arguments)
        return self._asked[folder.name]


def _folder_name(row: Row, maker: str) -> str:
    return re.sub(r"\W+", "-", f"{row.case.name} {row.target} {maker}")


def _compare(chosen: Sequence[Row], workshop: Workshop) -> int:
    """Print the table and what differs; returns the exit code."""
    asked = [(row, workshop.expected(row), workshop.found(row)) for row in chosen]
    print("| case | target | way | files compared | equal |")
    print("|---|---|---|---|---|", flush=True)
    told: list[str] = []
    for row, expected, found in asked:
        _refuse_too_little(row, expected.result())
        count, different = _held_against(expected.result(), [one.result() for one in found])
        equal = f"no: {next(iter(different))[1]}" if different else "yes"
        print(f"| {row.case.name} | {row.target} | {row.way} | {count} | {equal} |", flush=True)
        told += _told(row, different) if different else []
    print("\n" + "\n".join(told or ["All equal."]))
    return 1 if told else 0


def _refuse_too_little(row: Row, expected: Made) -> None:
    """CannotCompare where BASE failed, or published less than the case is there to show."""
    for command, ended in expected.ended.items():
        if ended.code:
            raise CannotCompare(f"{row}: {command} of BASE left with {ended.code}:\n{ended.words}{ended.errors}")
    shards, rejects = (sum(path.startswith(f"{name}/") for path in expected.files) for name in ("data", "rejected"))
    if shards < row.case.min_shards or not rejects or not {STATE_PATH, "README.md"} <= expected.files.keys():
        raise CannotCompare(
            f"{row}: BASE published {shards} shards and {rejects} files of rejects; {row.case.min_shards} shards, "
            "rejects, a state and a card are needed."
        )


Differences = dict[tuple[str, str], str]
"""(who made the dataset, path or command) -> what differs."""


def _held_against(expected: Made, found: Sequence[Made]) -> tuple[int, Differences]:
    """How many files were compared, and what differs."""
    count, different = 0, Differences()
    for made in found:
        count += len(expected.files.keys() & made.files.keys())
        told = {**_codes(expected, made), **differences(expected.files, made.files), **_outputs(expected, made)}
        different |= {(made.maker, what): how for what, how in told.items()}
    if not count and not different:
        raise CannotCompare(f"No file of {expected.maker} was compared.")
    return count, different


def _codes(expected: Made, found: Made) -> dict[str, str]:
    """Exit codes that differ, with the last line of what went to standard error."""
    pairs = ((command, expected.ended[command].code, other) for command, other in found.ended.items())
    return {
        f"exit code of {command}": f"{code} is now {other.code}: {other.errors.strip().rpartition(chr(10))[2]}"
        for command, code, other in pairs
        if code != other.code
    }


def _outputs(expected: Made, found: Made) -> dict[str, str]:
    """What was printed, and differs. Not of a removal that was killed: perhaps after it was done."""
    names = [name for name in found.ended if not (found.resumed and name == REMOVAL)]
    texts = {name: (_words(expected.ended[name], found), _words(found.ended[name], found)) for name in names}
    return {f"output of {name}": first_line_that_differs(*both) for name, both in texts.items() if both[0] != both[1]}


def _words(ended: Ended, made: Made) -> str:
    """What a command printed; where it was killed before, without what depends on how far it came."""
    if not made.resumed:
        return ended.words
    paragraphs = [part for part in ended.words.split("\n\n") if not part.startswith(OF_THIS_RUN)]
    return re.sub(r" New in this run: [\d,]+\.", "", "\n\n".join(paragraphs))


def _told(row: Row, different: Differences) -> list[str]:
    lines = [f"{row}:"]
    lines += [f"  {path} ({maker}): {how}" for (maker, path), how in list(different.items())[:MAX_TOLD]]
    return [*lines, f"  and {len(different) - MAX_TOLD} more"] if len(different) > MAX_TOLD else lines


if __name__ == "__main__":
    sys.exit(main())
