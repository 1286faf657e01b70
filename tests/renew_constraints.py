"""`python -m tests.renew_constraints`: writes constraints.txt anew, the newest versions that the bounds allow together.

One version of each package for every Python that we support, so that machines with different Pythons make the same
bytes. Needs the network; run the tests with what comes out before you commit it.
"""

import subprocess
import sys
import tempfile
import tomllib
import venv
from pathlib import Path
from typing import Final

PROJECT: Final = Path(__file__).parent.parent
CONSTRAINTS: Final = PROJECT / "constraints.txt"
HEADER: Final = """\
# One set of versions that was tested as a whole, for every Python that we support: machines that are set up on
# different days make the same bytes. Made by `python -m tests.renew_constraints`.
"""


def main() -> None:
    """Resolve requirements-dev.txt with uv, which is installed into an environment of its own for it."""
    with tempfile.TemporaryDirectory() as folder:
        venv.create(folder, with_pip=True)
        python = Path(folder, "bin/python")
        subprocess.run([python, "-m", "pip", "install", "--quiet", "uv"], check=True)
        how = ["--universal", "--fork-strategy", "fewest", "--python-version", oldest_python()]
        plain = ["--quiet", "--no-header", "--no-annotate"]
        command = [python, "-m", "uv", "pip", "compile", *how, *plain, "requirements-dev.txt"]
        done = subprocess.run(command, cwd=PROJECT, stdout=subprocess.PIPE, text=True, check=True)
    CONSTRAINTS.write_text(HEADER + done.stdout, encoding="utf-8")


def oldest_python() -> str:
    """The one that pyproject.toml asks for at least."""
    project = tomllib.loads((PROJECT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    return str(project["requires-python"]).removeprefix(">=")


if __name__ == "__main__":
    sys.exit(main())
