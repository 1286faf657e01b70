"""Many Thai speech sources in, one clean Hugging Face dataset out. `python main.py --help` says how."""

import io
import sys
from collections.abc import Sequence

from pipeline.interrupts import StopRequest
from utils.errors import UsageError


def main(arguments: Sequence[str]) -> int:
    """Carry out one command line; returns the exit code."""
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):  # a terminal that knows no Thai shows escapes, it does not fail
            stream.reconfigure(errors="backslashreplace")
    stop = StopRequest()
    with stop.listening():
        # Imported late, so that Ctrl-C is heard from the start, and what loads Arrow only where there is work for it.
        try:
            from pipeline.cli import parse
            from pipeline.options import Command

            options = parse(arguments)
            if options.command is Command.LIST:
                return list_sources()
            from pipeline.app import execute
        except ModuleNotFoundError as error:
            print(
                f"main.py: this Python ({sys.executable}) has no {error.name}. Use the one that the README's first "
                "command makes: .venv/bin/python main.py, or type `. .venv/bin/activate` first.",
                file=sys.stderr,
            )
            return UsageError.exit_code
        except UsageError as error:
            print(f"main.py: {error}", file=sys.stderr)
            return error.exit_code
        return execute(options, arguments, stop)


def list_sources() -> int:
    """`--list`."""
    from pipeline.say import say
    from pipeline.source_list import source_list
    from processors import REGISTRY, describe

    say(source_list({name: describe(name) for name in REGISTRY}))
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
