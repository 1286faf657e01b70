"""One call of the program: options in, exit code out; every error becomes a message that helps."""

import errno
import logging
import os
import shlex
import sqlite3
import sys
from collections.abc import Sequence
from itertools import pairwise
from pathlib import Path

from pipeline import report
from pipeline.interrupts import INTERRUPTED, StopRequest
from pipeline.logs import set_up_logging
from pipeline.options import Command, Options
from pipeline.run import RunResult, make_target, run
from processors import REGISTRY, describe
from processors.demo import write_demo_sources
from utils import hub
from utils.errors import IngestError, SourceError, Stopped
from utils.hub_target import HubTarget
from utils.sources import clear_cache
from utils.staging import read_segments
from utils.table_index import clear_indexes

log = logging.getLogger(__name__)


def execute(options: Options, arguments: Sequence[str], stop: StopRequest) -> int:
    """Carry out one command. Returns the exit code; prints what a person needs to know."""
    token = hub.find_token(Path()) if options.hf_repo or options.source_dir is None else None
    log_file = set_up_logging(options.log_dir, options.verbose, options.quiet, [token] if token else [])
    try:
        return _COMMANDS[options.command](options, token, arguments, stop)
    except IngestError as error:
        return explain(error)
    except (OSError, sqlite3.OperationalError) as error:
        stopped = _stopped_by_the_disk(error)
        return explain(stopped) if stopped else _our_bug(error, log_file)
    except MemoryError:
        return explain(Stopped("Out of memory. Nothing is lost. Repeat this command with --resume."))
    except Exception as error:  # noqa: BLE001 - the last stop: a bug of ours is told in words, its traceback logged
        return _our_bug(error, log_file)


def _stopped_by_the_disk(error: OSError | sqlite3.OperationalError) -> Stopped | None:
    """What a full or failing disk means for a run; None for any other error."""
    if isinstance(error, OSError):
        full, failing = error.errno in (errno.ENOSPC, errno.EDQUOT), error.errno == errno.EIO
    else:
        code = error.sqlite_errorcode & 0xFF
        full, failing = code == sqlite3.SQLITE_FULL, code == sqlite3.SQLITE_IOERR
    if not (full or failing):
        return None
    what = "The disk is full" if full else "The disk is full or failing"
    return Stopped(
        f"{what}. Nothing is lost: what was committed is safe, what was staged is kept. Free some space, then repeat "
        "this command with --resume."
    )


def explain(error: IngestError) -> int:
    print(f"\n{error}", file=sys.stderr)
    return error.exit_code


def _our_bug(error: BaseException, log_file: Path) -> int:
    log.error("Unexpected error", exc_info=error)
    print(
        f"\nThis is a bug of ours: {type(error).__name__}. Nothing that was published or staged is lost; --resume goes "
        f"on from there. What happened is in {log_file}.",
        file=sys.stderr,
    )
    return 1


def _run(options: Options, token: str | None, arguments: Sequence[str], stop: StopRequest) -> int:
    if options.demo:
        log.info("The demo's sources are in %s", options.demo_dir)
        write_demo_sources(options.demo_dir)
    result = run(options, make_target(options, token, stop), token, stop)
    print("\n" + _summary(options, result, arguments))
    if result.interrupted:
        return INTERRUPTED
    return SourceError.exit_code if result.failures else 0


def _summary(options: Options, result: RunResult, arguments: Sequence[str]) -> str:
    unfinished = result.interrupted or bool(result.failures)
    return report.summary(
        result.state,
        options.target_name,
        result.splits,
        failures=result.failures,
        reasons=result.reasons,
        next_command=_to_go_on(arguments) if unfinished else None,
        nothing_to_do=result.nothing_to_do,
        colour=sys.stdout.isatty() and "NO_COLOR" not in os.environ,
    )


def _to_go_on(arguments: Sequence[str]) -> str:
    """The command that goes on from here: the same with `--resume`, by the Python that runs us."""
    again: list[str] = []
    for before, argument in pairwise(["", *arguments]):
        if argument not in ("--resume", "--checkpoint") and before != "--checkpoint":
            again.append(argument)
    again = [argument for argument in again if not argument.startswith("--checkpoint=")]
    here = Path(sys.executable)
    python = str(here.relative_to(Path.cwd())) if here.is_relative_to(Path.cwd()) else "python"
    return shlex.join([python, "main.py", *again, "--resume"])


def _list(options: Options, token: str | None, arguments: Sequence[str], stop: StopRequest) -> int:
    print(report.list_sources({name: describe(name) for name in REGISTRY}))
    return 0


def _status(options: Options, token: str | None, arguments: Sequence[str], stop: StopRequest) -> int:
    target = make_target(options, token, stop)
    nothing_there = isinstance(target, HubTarget) and target.is_public() is None
    state = None if nothing_there else target.snapshot().state
    print(report.status_report(state, options.target_name, staged=_staged(options)))
    return 0


def _staged(options: Options) -> dict[tuple[str, str], int]:
    """Samples staged on this machine, by source and split."""
    staged: dict[tuple[str, str], int] = {}
    for folder in options.staging_dir.glob("*/*"):
        for segment in read_segments(folder, lambda path, why: None):
            place = (segment.key.source, segment.key.split)
            staged[place] = staged.get(place, 0) + segment.rows
    return staged


def _clear_cache(options: Options, token: str | None, arguments: Sequence[str], stop: StopRequest) -> int:
    freed = clear_cache(options.cache_dir) + clear_indexes(options.cache_dir / "index")
    print(f"Deleted {freed / 1e6:,.1f} MB of downloaded source files and indexes of them.")
    return 0


_COMMANDS = {Command.RUN: _run, Command.LIST: _list, Command.STATUS: _status, Command.CLEAR_CACHE: _clear_cache}
