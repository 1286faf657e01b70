"""`--version`: the program, its Python, and the libraries that decide the published bytes."""

import json
import platform
import subprocess
from contextlib import suppress
from importlib.metadata import PackageNotFoundError, distribution
from pathlib import Path
from typing import Final

from utils.dataset.libraries import library_versions

VERSION: Final = "0.2.0"

_DISTRIBUTION: Final = "thai-audio-dataset-collection"
_PROJECT: Final = Path(__file__).parents[2]


def version_text() -> str:
    """One line for the program and its Python, and one for the libraries."""
    commit = _commit()
    program = f"thai-audio {VERSION}" + (f" (commit {commit})" if commit else "")
    python = f"{platform.python_implementation()} {platform.python_version()}"
    libraries = ", ".join(f"{name} {number}" for name, number in library_versions().items())
    return f"{program}, {python}\n{libraries}"


def _commit() -> str | None:
    """The checkout's commit, or the one that pip installed from; None if neither is known."""
    if (_PROJECT / ".git").exists():  # else git would name the commit of a checkout around the environment
        command = ["git", "-C", str(_PROJECT), "describe", "--always", "--dirty", "--exclude=*"]
        with suppress(OSError):  # a machine without git
            done = subprocess.run(command, capture_output=True, text=True, check=False)  # noqa: S607 - git is the PATH's
            return done.stdout.strip() or None
    with suppress(PackageNotFoundError):
        origin = json.loads(distribution(_DISTRIBUTION).read_text("direct_url.json") or "{}")
        return origin.get("vcs_info", {}).get("commit_id", "")[:7] or None
    return None
