"""Many Thai speech sources in, one clean Hugging Face dataset out. `python main.py --help` says how."""

import sys
from collections.abc import Sequence

from pipeline.interrupts import StopRequest
from utils.errors import UsageError


def main(arguments: Sequence[str]) -> int:
    """Carry out one command line; returns the exit code."""
    stop = StopRequest()
    with stop.listening():
        # Imported late, so that Ctrl-C is heard from the start and `--help` need not load Arrow.
        from pipeline.cli import parse

        try:
            options = parse(arguments)
        except UsageError as error:
            print(f"main.py: {error}", file=sys.stderr)
            return error.exit_code

        from pipeline.app import execute

        return execute(options, arguments, stop)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
