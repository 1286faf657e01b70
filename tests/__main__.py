"""`python -m tests`: format, lint, types and tests, in that order; stops at the first that fails.

Arguments go to pytest (`python -m tests tests/audio/test_standardize.py -k silent`). Nothing is left behind.
"""

import subprocess
import sys
import tempfile
from pathlib import Path

PROJECT = Path(__file__).parent.parent

CHECKS = (
    ("format", ["ruff", "format", "--no-cache", "--check", "--quiet", "."]),
    ("lint", ["ruff", "check", "--no-cache", "--quiet", "."]),
    ("types", ["mypy"]),
)
TESTS = ["pytest", "-n", "2", "--dist", "loadfile", "-p", "no:cacheprovider"]


def main(arguments: list[str]) -> int:
    for name, command in CHECKS:
        if code := _run(name, command):
            return code
    # A folder of this run's own: pytest's usual one is shared with other runs, and kept.
    with tempfile.TemporaryDirectory(prefix="thai-audio-tests-", ignore_cleanup_errors=True) as folder:
        return _run("tests", [*TESTS, f"--basetemp={folder}/pytest", *arguments])


def _run(name: str, command: list[str]) -> int:
    print(f"== {name}: {' '.join(command)}", flush=True)
    code = subprocess.run([sys.executable, "-m", *command], cwd=PROJECT).returncode
    if code:
        print(f"== {name} failed", flush=True)
    return code


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
