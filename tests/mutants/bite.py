"""Trying mutants: each in a copy of the project, by the tests that it names, in a process of their own."""

import ast
import os
import re
import shutil
import signal
import subprocess
import sys
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from itertools import count
from pathlib import Path
from queue import SimpleQueue

from tests.mutants.mutant import Mutant

PROJECT = Path(__file__).parents[2]
COPIED = ("main.py", "pyproject.toml", "pipeline", "processors", "tests", "utils")
TIMEOUT_S = 120.0
"""A mutant that makes a test hang is noticed, too."""
ALL_PASSED, TESTS_FAILED = 0, 1
"""Exit codes of pytest; any other means that it could not do what it was asked."""
BROKEN_MUTANTS = ("NameError", "UnboundLocalError", "ImportError", "ModuleNotFoundError", "SyntaxError")
"""A test that fails with one of these shows nothing but that the mutant is no program."""

QUICK_PYTEST = {"PYTEST_DISABLE_PLUGIN_AUTOLOAD": "1"}
"""The plugins that are installed take three times as long to load as all of ours; no test needs them."""

_VERDICT = re.compile(r"^(?:FAILED|ERROR) (tests/\S+?::.+?)(?: - (.*))?$", re.MULTILINE)
_change_times = count(1_000_000_000, 10)


@dataclass(frozen=True)
class Bite:
    """What came of a mutant."""

    mutant: Mutant
    is_red: bool
    told: str
    """The test that went red and why; or what happened instead."""


class Copy:
    """A copy of the project in which one mutant at a time lives."""

    def __init__(self, folder: Path) -> None:
        self._project, self._scratch = folder / "project", folder / "scratch"
        self._project.mkdir(parents=True)
        for name in COPIED:
            if (PROJECT / name).is_dir():
                shutil.copytree(PROJECT / name, self._project / name, ignore=shutil.ignore_patterns("__pycache__"))
            else:
                shutil.copy2(PROJECT / name, self._project / name)

    def try_mutant(self, mutant: Mutant) -> Bite:
        """Put the mutant in, run its tests, and take it out again."""
        path = self._project / mutant.file
        original = path.read_bytes()
        try:
            _write(path, mutated(mutant, original.decode()).encode())
            code, output = self.run_tests(mutant.tests)
        finally:
            _write(path, original)
        return _judged(mutant, code, output)

    def run_tests(self, tests: Sequence[str], *options: str) -> tuple[int | None, str]:
        """pytest's exit code (None: they were still running after the timeout) and its output."""
        self._scratch.mkdir(exist_ok=True)
        command = [sys.executable, "-m", "pytest", "-x", "-q", "--tb=short", "-p", "no:cacheprovider"]
        process = subprocess.Popen(
            [*command, f"--basetemp={self._scratch / 'pytest'}", *options, *tests],
            cwd=self._project,
            env={**os.environ, **QUICK_PYTEST, "TMPDIR": str(self._scratch), "COLUMNS": "250"},
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            start_new_session=True,
        )
        try:
            output, _ = process.communicate(timeout=TIMEOUT_S)
            return process.returncode, output
        except subprocess.TimeoutExpired:
            return None, ""
        finally:
            if process.returncode is None:
                os.killpg(process.pid, signal.SIGKILL)  # and the runs that its tests began
                process.communicate()
            shutil.rmtree(self._scratch, ignore_errors=True)


def mutated(mutant: Mutant, source: str) -> str:
    """The source with the law broken. ValueError where that place is not there, or not the only one."""
    if source.count(mutant.old) != 1:
        raise ValueError(f"{mutant.name}: its place occurs {source.count(mutant.old)} times in {mutant.file}")
    changed = source.replace(mutant.old, mutant.new)
    ast.parse(changed)
    return changed


def try_all(mutants: Sequence[Mutant], folder: Path, jobs: int) -> Iterator[Bite]:
    """Try the mutants, `jobs` at a time, each in one of as many copies in `folder`; in the order given."""
    free: SimpleQueue[Copy] = SimpleQueue()
    for number in range(jobs):
        free.put(Copy(folder / f"copy-{number}"))

    def try_one(mutant: Mutant) -> Bite:
        copy = free.get()
        try:
            return copy.try_mutant(mutant)
        finally:
            free.put(copy)

    with ThreadPoolExecutor(jobs) as pool:
        yield from pool.map(try_one, mutants)


def red_without_a_mutant(mutants: Sequence[Mutant], folder: Path) -> str | None:
    """What the named tests say of the project as it is, where they are not all green: then no mutant shows anything."""
    code, output = Copy(folder / "unchanged").run_tests(sorted({test for one in mutants for test in one.tests}))
    return None if code == ALL_PASSED else output or "they hang"


def _write(path: Path, content: bytes) -> None:
    """Write a source file so that Python never takes the compiled form of another version for its own."""
    path.write_bytes(content)
    changed_at = next(_change_times)
    os.utime(path, (changed_at, changed_at))


def _judged(mutant: Mutant, code: int | None, output: str) -> Bite:
    if code is None:
        return Bite(mutant, True, f"it hangs: {mutant.tests[0]}")
    if code == ALL_PASSED:
        return Bite(mutant, False, f"SURVIVED: {', '.join(mutant.tests)}")
    found = _VERDICT.search(output)
    if code != TESTS_FAILED or found is None:
        return Bite(mutant, False, f"pytest could not run its tests (exit code {code}): {_last_line(output)}")
    test, reason = found[1], found[2] or ""
    if reason.startswith(BROKEN_MUTANTS):
        return Bite(mutant, False, f"it is no program: {reason}")
    return Bite(mutant, True, f"{test.removeprefix('tests/')} - {reason}" if reason else test)


def _last_line(output: str) -> str:
    lines = [line for line in output.splitlines() if line.strip()]
    return lines[-1] if lines else "it said nothing"
