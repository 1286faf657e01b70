"""What a benchmark needs to be installed. What is missing it names in one sentence, and leaves with 2."""

import importlib.metadata
import re
import shlex
import sys
import tomllib
from collections.abc import Iterable
from pathlib import Path

PROJECT = Path(__file__).parent.parent
REQUIREMENTS = "requirements.txt"


def require(*extras: str) -> None:
    """Leave with 2 unless all packages of `requirements.txt` and of these extras are installed, in whatever version.

    Call before anything else is imported than Python's own library.
    """
    declared = tomllib.loads((PROJECT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    needed = _missing((PROJECT / REQUIREMENTS).read_text(encoding="utf-8").splitlines())
    added = _missing(line for extra in extras for line in declared["optional-dependencies"][extra])
    if needed or added:
        names = ", ".join([*needed, *added])
        what = ["-r", REQUIREMENTS] * bool(needed) + list(added.values())
        command = shlex.join([sys.executable, "-m", "pip", "install", *what])
        print(f"{sys.argv[0]}: this Python has no {names}. Type: {command}", file=sys.stderr)
        raise SystemExit(2)


def _missing(requirements: Iterable[str]) -> dict[str, str]:
    """Name -> requirement, of the packages that are not installed."""
    named = {found[0]: line for line in requirements if (found := re.match(r"[A-Za-z0-9][\w.-]*", line))}
    return {name: line for name, line in named.items() if not _is_installed(name)}


def _is_installed(name: str) -> bool:
    try:
        importlib.metadata.version(name)
    except importlib.metadata.PackageNotFoundError:
        return False
    return True
