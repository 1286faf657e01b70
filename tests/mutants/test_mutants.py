"""The tests bite: every law, broken on purpose, makes a test go red. All of them: `python -m tests.mutants`."""

import os
import re
import subprocess
import sys
from collections import Counter

import pytest

from tests.mutants import LAWS, MUTANTS, PROTOCOL, Mutant
from tests.mutants.bite import PROJECT, QUICK_PYTEST, Copy, mutated

QUICK = [mutant for mutant in MUTANTS if mutant.quick]


@pytest.mark.parametrize("mutant", MUTANTS, ids=lambda mutant: mutant.name)
def test_mutant_fits_the_code_as_it_is(mutant: Mutant) -> None:
    """The place that it changes is there, once, and the changed file is a program that differs."""
    source = (PROJECT / mutant.file).read_text(encoding="utf-8")

    assert mutated(mutant, source) != source


def test_every_law_is_broken_in_several_ways() -> None:
    """At least three, with names of their own; one of them is tried whenever the tests run."""
    ways = Counter(mutant.law for mutant in MUTANTS)

    assert set(ways) == set(LAWS)
    assert min(ways.values()) >= 3
    assert {mutant.law for mutant in QUICK} == set(LAWS)
    assert len({mutant.name for mutant in MUTANTS}) == len(MUTANTS)
    assert all(mutant.tests for mutant in MUTANTS)


def test_every_named_test_is_there() -> None:
    """A mutant whose test was renamed would show nothing."""
    named = sorted({test for mutant in MUTANTS for test in mutant.tests})
    command = [sys.executable, "-m", "pytest", "--collect-only", "-qq", "-p", "no:cacheprovider", *named]

    quick = {**os.environ, **QUICK_PYTEST}
    found = subprocess.run(command, cwd=PROJECT, env=quick, capture_output=True, text=True, timeout=120)

    assert found.returncode == 0, found.stdout[-2000:] + found.stderr[-2000:]


def test_last_result_that_is_told_is_of_these_mutants() -> None:
    """The table in the docs has as many of each law as there are, all of them red."""
    section = (PROJECT / "docs/reliability.md").read_text(encoding="utf-8").partition("## The tests bite")[2]
    rows = re.findall(r"(?m)^\| (\d*) ?[^|]+ \| (\d+) \| (\d+) \|$", section.partition("\n## ")[0])

    ways = Counter(mutant.law for mutant in MUTANTS)
    assert {int(law or PROTOCOL): (int(tried), int(red)) for law, tried, red in rows} == {
        law: (count, count) for law, count in ways.items()
    }
    assert f"lists {len(MUTANTS)} such mutants" in section


@pytest.fixture(scope="module")
def copy(tmp_path_factory: pytest.TempPathFactory) -> Copy:
    return Copy(tmp_path_factory.mktemp("mutants"))


@pytest.mark.parametrize("mutant", QUICK, ids=lambda mutant: mutant.name)
def test_broken_law_makes_a_test_go_red(copy: Copy, mutant: Mutant) -> None:
    """In a copy of the project, by the tests that the mutant names."""
    bite = copy.try_mutant(mutant)

    assert bite.is_red, bite.told


def test_mutant_that_breaks_nothing_is_told(copy: Copy) -> None:
    """Else the red ones would prove nothing."""
    harmless = Mutant("harmless", 5, "A comment.", "utils/disk/lock.py", '"""One writer', '"""The one writer', LOCK)
    no_program = Mutant(
        "typo", 5, "A typo.", "utils/disk/lock.py", "    make_folder(path.parent)", "    make_a_folder()", LOCK
    )

    survived, broken = copy.try_mutant(harmless), copy.try_mutant(no_program)

    assert not survived.is_red
    assert "SURVIVED" in survived.told
    assert not broken.is_red
    assert "NameError" in broken.told


LOCK = ("tests/disk/test_lock.py::test_two_in_one_process_are_two_writers",)
