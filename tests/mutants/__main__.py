"""`python -m tests.mutants [--jobs N] [NAME ...]`: break the laws one by one, and see the tests go red.

Prints a line for each mutant, and how many there are of each law. Exit 0: every one was noticed. 1: one survived.
2: the tests are not green without a mutant, so that nothing can be said.
"""

import argparse
import sys
import tempfile
from collections import Counter
from collections.abc import Sequence
from pathlib import Path

from tests.mutants import LAWS, MUTANTS, Mutant
from tests.mutants.bite import Bite, red_without_a_mutant, try_all


def main(arguments: Sequence[str]) -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.mutants", description=__doc__)
    parser.add_argument("names", nargs="*", metavar="NAME", help="only these")
    parser.add_argument("--jobs", type=int, default=2, metavar="N", help="so many at a time (%(default)s)")
    given = parser.parse_args(arguments)
    unknown = sorted(set(given.names) - {mutant.name for mutant in MUTANTS})
    if unknown or given.jobs < 1:
        parser.error(f"there is no mutant {', '.join(unknown)}" if unknown else "--jobs must be 1 or more")
    chosen = [mutant for mutant in MUTANTS if not given.names or mutant.name in given.names]
    with tempfile.TemporaryDirectory(prefix="thai-audio-mutants-", ignore_cleanup_errors=True) as folder:
        if wrong := red_without_a_mutant(chosen, Path(folder)):
            print(f"{wrong}\nThe tests are not green without a mutant.")
            return 2
        bites = [_printed(bite) for bite in try_all(chosen, Path(folder), given.jobs)]
    print(f"\n{_by_law(bites)}")
    return 0 if all(bite.is_red for bite in bites) else 1


def _printed(bite: Bite) -> Bite:
    width = max(len(mutant.name) for mutant in MUTANTS)
    verdict = "red " if bite.is_red else "NOT "
    print(f"{_law(bite.mutant):>8} | {bite.mutant.name:{width}} | {verdict} | {bite.told}", flush=True)
    return bite


def _law(mutant: Mutant) -> str:
    return f"law {mutant.law}" if mutant.law else "protocol"


def _by_law(bites: Sequence[Bite]) -> str:
    tried = Counter(bite.mutant.law for bite in bites)
    red = Counter(bite.mutant.law for bite in bites if bite.is_red)
    lines = [f"{law or '-'} | {about} | {tried[law]} | {red[law]}" for law, about in LAWS.items() if tried[law]]
    return "\n".join(["law | about | mutants | red", *lines, f"all | | {tried.total()} | {red.total()}"])


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
