"""Many Thai speech sources in, one clean Hugging Face dataset out. `python main.py --help` says how."""

import os
import sys
from collections.abc import Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

if (_here := str(Path(__file__).resolve().parent)) not in sys.path:
    sys.path.insert(0, _here)  # PYTHONSAFEPATH leaves it out

from pipeline import supervisor
from pipeline.interrupts import StopRequest, leave_if_interrupted
from pipeline.terminal.say import say
from pipeline.terminal.streams import keep_streams
from utils.errors import INSTALLED_COMMAND, PROGRAM, UsageError
from utils.process.in_flight import InFlight

if TYPE_CHECKING:
    from pipeline.options import Options


def main(arguments: Sequence[str], supervised: bool = False) -> int:
    """Carry out one command line; returns the exit code. `supervised`: a run in a child, which may crash."""
    stop = StopRequest()
    with stop.listening():
        # Imported late, so that Ctrl-C is heard from the start, and what loads Arrow only where there is work for it.
        try:
            from pipeline.cli import parse
            from pipeline.options import Command

            Path.cwd()
            options = parse(arguments)
            if options.command is Command.LIST:
                return list_sources(options)
            if options.command is Command.VERSION:
                return show_version()
            if supervised and options.command is Command.RUN and supervisor.is_possible():
                return supervisor.supervise(partial(execute_again, options, arguments, stop))
            from pipeline.app import execute
        except ModuleNotFoundError as error:
            say(f"{PROGRAM}: {what_is_missing(str(error.name))}", sys.stderr)
            return UsageError.exit_code
        except OSError as error:
            return what_is_refused(error)
        except UsageError as error:
            say(f"{PROGRAM}: {error}", sys.stderr)
            return error.exit_code
        return execute(options, arguments, stop)


def what_is_refused(error: OSError) -> int:
    """Tell what the system refuses before a run: a folder to be in, a process; returns the exit code."""
    from pipeline.explain import in_words

    told = in_words(error)
    if told is None:
        raise error
    print(f"{PROGRAM}: {told}", file=sys.stderr)
    return told.exit_code


def what_is_missing(module: str) -> str:
    """What to do about a module that can't be imported."""
    if module.partition(".")[0] in ("pipeline", "processors", "utils"):
        return (
            f"there is no module {module}, which a source that you added imports. CHANGELOG.md says where modules are."
        )
    lacks = f"this Python ({sys.executable}) has no {module}."
    if PROGRAM == INSTALLED_COMMAND:
        return f"{lacks} Install the program again: `pipx install --force .` in its folder."
    return (
        f"{lacks} Use the one that the README's first command makes: .venv/bin/python main.py, or type "
        "`. .venv/bin/activate` first."
    )


def execute_again(
    options: "Options", arguments: Sequence[str], stop: StopRequest, in_flight: InFlight, begun_again: bool
) -> int:
    """In a child: a run, or the rest of one that has crashed."""
    # Milliseconds after which Arrow gives back what is free: row groups come and go. It is read when Arrow is loaded.
    os.environ.setdefault("MIMALLOC_PURGE_DELAY", "100")
    # Else numpy's sums of squares keep threads of their own on all cores waiting.
    os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")
    from pipeline.app import execute
    from utils.process.memory import spare_collections, spare_pandas

    spare_pandas()
    spare_collections()
    code = execute(replace(options, resume=True) if begun_again else options, arguments, stop, in_flight)
    leave_if_interrupted(code)
    return code


def list_sources(options: "Options") -> int:
    """`--list`."""
    from pipeline.terminal.source_list import source_list
    from processors import REGISTRY, describe

    own = options.own_sources
    say(source_list({name: describe(name, own) for name in (*REGISTRY, *own)}))
    return 0


def show_version() -> int:
    """`--version`."""
    from pipeline.commands.version import version_text

    say(version_text())
    return 0


def run_command_line() -> int:
    """The program, from this file or as the installed command `thai-audio`."""
    keep_streams()
    code = main(sys.argv[1:], supervised=True)
    leave_if_interrupted(code)
    return code


if __name__ == "__main__":
    sys.exit(run_command_line())
