"""`python -m tests`: format, lint, types and tests, in that order; stops at the first that fails.

Arguments go to pytest (`python -m tests tests/test_audio.py -k silent`).
"""

import subprocess
import sys
from pathlib import Path

PROJECT = Path(__file__).parent.parent

CHECKS = (
    ("format", ["ruff", "format", "--no-cache", "--check", "--quiet", "."]),
    ("lint", ["ruff", "check", "--no-cache", "--quiet", "."]),
    ("types", ["mypy"]),
)
TESTS = ["pytest", "-n", "2", "--dist", "loadfile"]


def main(arguments: list[str]) -> int:
    for name, command in (*CHECKS, ("tests", [*TESTS, *arguments])):
        print(f"== {name}: {' '.join(command)}", flush=True)
        code = subprocess.run([sys.executable, "-m", *command], cwd=PROJECT).returncode
        if code:
            print(f"== {name} failed", flush=True)
            return code
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
