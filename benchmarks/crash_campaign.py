"""Attack runs at every step they take, and see that nothing is lost or doubled.

    python benchmarks/crash_campaign.py --seed 1 --hours 1

An undisturbed run of each scenario is recorded: every step on the disk, every request to the Hub. Then each
fault strikes each step (in an order drawn by the seed), the run is resumed until it is done, and what is
published is held against the undisturbed run's bytes. A share of the schedules are pairs of faults, and
some are real processes that are killed from outside. Prints a table; exit 1 where a schedule failed.
"""

import argparse
import multiprocessing
import shutil
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from random import Random

PROJECT = Path(__file__).parent.parent
sys.path.insert(0, str(PROJECT))

from benchmarks.requirements import require  # noqa: E402

require("apify")  # some scenarios buy

from tests.crash.campaign import Campaign, Outcome, Schedule, pairs, schedules  # noqa: E402
from tests.crash.scenarios import scenarios  # noqa: E402

IN_PAIRS = 0.15
"""Of the schedules, how many are pairs of faults."""


@dataclass
class Tally:
    """What one job has done."""

    steps: dict[str, tuple[int, int]] = field(default_factory=dict)
    """Scenario -> its steps on the disk, its requests."""
    singles: int = 0
    """Single faults that there are, over all scenarios."""
    schedules: Counter[tuple[str, str]] = field(default_factory=Counter)
    """(scenario, action) -> schedules."""
    failed: Counter[tuple[str, str]] = field(default_factory=Counter)
    struck: int = 0
    told: list[str] = field(default_factory=list)

    def add(self, outcome: Outcome) -> None:
        schedule = outcome.schedule
        what = " + ".join(fault.action for fault in schedule.faults)
        key = (schedule.scenario.name, what if len(schedule.faults) == 1 else "pair")
        self.schedules[key] += 1
        self.struck += outcome.struck > 0
        if outcome.problems:
            self.failed[key] += 1
            self.told.append(f"{schedule}\n  " + "\n  ".join(outcome.problems))

    def take(self, other: "Tally") -> None:
        self.steps |= other.steps
        self.singles = max(self.singles, other.singles)
        self.schedules += other.schedules
        self.failed += other.failed
        self.struck += other.struck
        self.told += other.told


def main() -> int:
    options = _parser().parse_args()
    end = time.monotonic() + options.hours * 3600
    jobs = [(number, options, end) for number in range(options.jobs)]
    with multiprocessing.get_context("spawn").Pool(options.jobs) as pool:
        total = Tally()
        for tally in pool.imap_unordered(_job, jobs):
            total.take(tally)
    _print(total, options)
    return 1 if total.failed else 0


def _job(work: tuple[int, argparse.Namespace, float]) -> Tally:
    number, options, end = work
    tally = Tally()
    place = Path(tempfile.mkdtemp(prefix="crash-", dir=options.place))
    try:
        with Campaign(place) as campaign:
            for at, schedule in enumerate(_drawn(campaign, tally, options)):
                if at == options.schedules or time.monotonic() > end:
                    break
                if at % options.jobs == number:
                    outcome = campaign.attack(schedule)
                    tally.add(outcome)
                    if outcome.problems:
                        print(tally.told[-1], file=sys.stderr, flush=True)
                    if sum(tally.schedules.values()) % 250 == 0:
                        print(f"job {number}: {sum(tally.schedules.values()):,} schedules", file=sys.stderr, flush=True)
            for at, scenario in enumerate([*scenarios()] * options.real):
                if at % options.jobs == number:
                    tally.add(campaign.kill_from_outside(scenario, options.seed + at))
    finally:
        shutil.rmtree(place, ignore_errors=True)
    return tally


def _drawn(campaign: Campaign, tally: Tally, options: argparse.Namespace) -> Iterator[Schedule]:
    """Every single fault in an order drawn by the seed, pairs between them; then pairs for ever."""
    random = Random(options.seed)
    singles: list[Schedule] = []
    pairs_of = []
    for scenario in scenarios():
        if options.only not in scenario.name:
            continue
        recording = campaign.record(scenario)
        tally.steps[scenario.name] = (len(recording.steps), len(recording.requests) + len(recording.asked))
        # Each fault is resumed in the same folder or in an empty one: which, the seed decides.
        both = list(schedules(scenario, recording, options.seed))
        singles += [random.choice(pair) for pair in zip(both[::2], both[1::2], strict=True)]
        pairs_of.append(pairs(scenario, recording, random))
    tally.singles = len(singles)
    random.shuffle(singles)
    for single in singles:
        while random.random() < IN_PAIRS:
            yield next(random.choice(pairs_of))
        yield single
    while True:
        yield next(random.choice(pairs_of))


def _print(total: Tally, options: argparse.Namespace) -> None:
    by_scenario, by_action = Counter[str](), Counter[str]()
    failed_by_scenario, failed_by_action = Counter[str](), Counter[str]()
    for (scenario, action), count in total.schedules.items():
        by_scenario[scenario] += count
        by_action[action] += count
        failed_by_scenario[scenario] += total.failed[scenario, action]
        failed_by_action[action] += total.failed[scenario, action]
    print(f"\nseed {options.seed}\n\n| scenario | steps on the disk | requests | schedules | failures |")
    print("|---|---:|---:|---:|---:|")
    for scenario, (steps, requests) in total.steps.items():
        print(f"| {scenario} | {steps} | {requests} | {by_scenario[scenario]:,} | {failed_by_scenario[scenario]} |")
    print("\n| fault | schedules | failures |\n|---|---:|---:|")
    for action, count in sorted(by_action.items(), key=lambda item: -item[1]):
        print(f"| {action} | {count:,} | {failed_by_action[action]} |")
    done = sum(count for (_, action), count in total.schedules.items() if action not in ("pair", "killed from outside"))
    print(f"\nSingle faults: {done:,} of the {total.singles:,} that there are.")
    print(
        f"Schedules: {total.schedules.total():,}, of which {total.struck:,} were struck; "
        f"failures: {total.failed.total()}."
    )


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--hours", type=float, default=1.0, help="stop after so long (%(default)s)")
    parser.add_argument("--schedules", type=int, help="stop after so many (as many as there is time for)")
    parser.add_argument("--jobs", type=int, default=2)
    parser.add_argument("--real", type=int, default=0, help="kills of real processes, for each scenario (%(default)s)")
    parser.add_argument("--only", default="", help="scenarios whose name has this in it")
    parser.add_argument("--place", help="folder to work in, best in memory (the system's temporary folder)")
    return parser


if __name__ == "__main__":
    sys.exit(main())
