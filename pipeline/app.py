"""One call of the program: options in, exit code out; every error becomes a message that helps."""

import errno
import logging
import shlex
import sqlite3
import sys
from collections.abc import Sequence
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
from utils.sources import clear_cache
from utils.staging import read_segments
from utils.table_index import clear_indexes

log = logging.getLogger(__name__)


def execute(options: Options, arguments: Sequence[str]) -> int:
    """Carry out one command. Returns the exit code; prints what a person needs to know."""
    token = hub.find_token(Path()) if options.hf_repo or options.source_dir is None else None
    log_file = set_up_logging(options.log_dir, options.verbose, options.quiet, [token] if token else [])
    try:
        return _COMMANDS[options.command](options, token, arguments)
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


def _run(options: Options, token: str | None, arguments: Sequence[str]) -> int:
    if options.demo:
        log.info("The demo's sources are in %s", options.demo_dir)
        write_demo_sources(options.demo_dir)
    stop = StopRequest()
    with stop.listening():
        result = run(options, make_target(options, token, stop), token, stop)
    print(_summary(options, result, arguments))
    if result.interrupted:
        return INTERRUPTED
    return SourceError.exit_code if result.failures else 0


def _summary(options: Options, result: RunResult, arguments: Sequence[str]) -> str:
    again = [argument for argument in arguments if argument != "--resume"]
    unfinished = result.interrupted or bool(result.failures)
    return report.summary(
        result.state,
        options.target_name,
        result.splits,
        failures=result.failures,
        reasons=result.reasons,
        next_command=f"python main.py {shlex.join([*again, '--resume'])}" if unfinished else None,
        nothing_to_do=result.nothing_to_do,
    )


def _list(options: Options, token: str | None, arguments: Sequence[str]) -> int:
    print(report.list_sources({name: describe(name) for name in REGISTRY}))
    return 0


def _status(options: Options, token: str | None, arguments: Sequence[str]) -> int:
    target = make_target(options, token, StopRequest())
    print(report.status_report(target.snapshot().state, options.target_name, staged=_staged(options)))
    return 0


def _staged(options: Options) -> dict[tuple[str, str], int]:
    """Samples staged on this machine, by source and split."""
    staged: dict[tuple[str, str], int] = {}
    for folder in options.staging_dir.glob("*/*"):
        for segment in read_segments(folder, lambda path, why: None):
            place = (segment.key.source, segment.key.split)
            staged[place] = staged.get(place, 0) + segment.rows
    return staged


def _clear_cache(options: Options, token: str | None, arguments: Sequence[str]) -> int:
    freed = clear_cache(options.cache_dir) + clear_indexes(options.cache_dir / "index")
    print(f"Deleted {freed / 1e6:,.1f} MB of downloaded source files and indexes of them.")
    return 0


_COMMANDS = {Command.RUN: _run, Command.LIST: _list, Command.STATUS: _status, Command.CLEAR_CACHE: _clear_cache}
