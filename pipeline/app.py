"""One call of the program: options in, exit code out; every error becomes a message that helps."""

import logging
import os
import shlex
import sys
from collections.abc import Sequence
from itertools import pairwise
from pathlib import Path
from traceback import extract_tb

from pipeline.commands.find import run_find
from pipeline.commands.prune import prune_quietly, run_prune
from pipeline.commands.remove import run_removal
from pipeline.commands.repair import run_repair
from pipeline.commands.status import run_status
from pipeline.commands.verify import run_verify
from pipeline.explain import in_words
from pipeline.interrupts import INTERRUPTED, StopRequest
from pipeline.options import Command, Options
from pipeline.run.factory import make_target
from pipeline.run.run import RunResult, run
from pipeline.terminal import report
from pipeline.terminal.logs import set_up_logging
from pipeline.terminal.say import say
from processors.apify.api import tokens_in_environment
from processors.apify.files import Folder
from processors.apify.master import merge
from processors.apify.old_data import files_with_pairs
from processors.demo.mirrors import write_demo_sources
from processors.readers.collective import KEY_VARIABLE
from utils.errors import COMMAND, AuthenticationError, IngestError, SourceError
from utils.process.in_flight import InFlight
from utils.rows.credentials import secrets_of
from utils.sources import hub
from utils.sources.source_files import clear_cache
from utils.sources.table_index import clear_indexes

log = logging.getLogger(__name__)

_PROJECT = Path(__file__).parents[1]
_OURS = ("main.py", "pipeline", "processors", "utils")
"""What is ours where the program is installed: other libraries lie beside it. In a checkout, all but an environment."""
_LIBRARIES = ("site-packages", "dist-packages")
"""What the folders are called that Python installs libraries into."""


def execute(options: Options, arguments: Sequence[str], stop: StopRequest, in_flight: InFlight | None = None) -> int:
    """Carry out one command. Returns the exit code; prints what a person needs to know."""
    try:
        token = _token(options)
        set_up_logging(
            options.log_dir,
            options.verbose,
            options.quiet,
            [*filter(None, [token, collective_key()]), *tokens_in_environment(), *_secrets_in_addresses(options)],
        )
        if options.command is Command.RUN:
            return _run(options, token, arguments, stop, in_flight)
        return _COMMANDS[options.command](options, token, arguments, stop)
    except Exception as error:  # noqa: BLE001 - the last stop: what can't be explained is a bug of ours
        return explain(error, options.log_dir)


def explain(error: Exception, log_dir: Path) -> int:
    """Tell a person what an error means; returns its exit code. A bug's traceback goes to the log alone."""
    told = in_words(error)
    if told is None:
        log.error("Unexpected error", exc_info=error)
        told = IngestError(
            f"This is a bug of ours, or of a source that you added: {type(error).__name__}{_where(error)}. Nothing "
            "that was published or staged is lost; --resume goes on from there. What happened is in the newest file "
            f"in {log_dir}."
        )
    say(f"\n{told}", sys.stderr)
    return told.exit_code


def _where(error: BaseException) -> str:
    """The file and line of ours that an error passed last; without its words, which may hold anything."""
    frames = [(frame.filename, frame.lineno) for frame in extract_tb(error.__traceback__) if _is_ours(frame.filename)]
    return f" in {Path(frames[-1][0]).relative_to(_PROJECT)}, line {frames[-1][1]}" if frames else ""


def _is_ours(file: str) -> bool:
    if not Path(file).is_relative_to(_PROJECT):
        return False
    parts = Path(file).relative_to(_PROJECT).parts
    if (_PROJECT / "pyproject.toml").is_file():  # a checkout
        return not set(parts) & set(_LIBRARIES)
    return parts[0] in _OURS


def collective_key() -> str:
    """The key of the Mozilla Data Collective; "" without one. It must not be told, whatever it looks like."""
    return os.environ.get(KEY_VARIABLE, "").strip()


def _secrets_in_addresses(options: Options) -> list[str]:
    """Passwords and signatures: of the user's own sources, of the Hub's address, of proxies and all else."""
    places = [own.location.place for own in options.own_sources.values() if own.location]
    return [secret for address in (*places, *os.environ.values()) if "://" in address for secret in secrets_of(address)]


def _token(options: Options) -> str | None:
    """The user's token, where one may be needed. AuthenticationError for what can't be sent as one."""
    if not (options.hf_repo or options.source_dir is None):
        return None
    token = hub.find_token(Path())
    if token and not (token.isascii() and token.isprintable() and " " not in token):
        raise AuthenticationError(
            "The token of the Hub has characters that no token has. Nothing was changed. Set it anew."
        )
    return token


def _run(
    options: Options, token: str | None, arguments: Sequence[str], stop: StopRequest, in_flight: InFlight | None
) -> int:
    if options.demo:
        log.info("The demo's sources are in %s", options.demo_dir)
        write_demo_sources(options.demo_dir)
    result = run(options, make_target(options, token, stop), token, stop, in_flight)
    prune_quietly(options)
    say("\n" + _summary(options, result, arguments), painted=True)
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
        left_out=result.left_out,
        reasons=result.reasons,
        without_audio=result.without_audio,
        next_command=_to_go_on(arguments) if unfinished else None,
        nothing_to_do=result.nothing_to_do,
        rows_before=result.rows_before,
        read_again_bytes=result.read_again_bytes,
        colour=sys.stdout.isatty() and "NO_COLOR" not in os.environ,
    )


def _to_go_on(arguments: Sequence[str]) -> str:
    """The command that goes on from here: the same with `--resume`, by the Python that runs us."""
    again: list[str] = []
    for before, argument in pairwise(["", *arguments]):
        if argument not in ("--resume", "--checkpoint") and before != "--checkpoint":
            again.append(argument)
    again = [argument for argument in again if not argument.startswith("--checkpoint=")]
    program = COMMAND.split()
    here = Path(sys.executable)
    if program[0] == "python" and here.is_relative_to(Path.cwd()):
        program[0] = str(here.relative_to(Path.cwd()))
    return shlex.join([*program, *again, "--resume"])


def _status(options: Options, token: str | None, arguments: Sequence[str], stop: StopRequest) -> int:
    say(run_status(options, make_target(options, token, stop)))
    return 0


def _verify(options: Options, token: str | None, arguments: Sequence[str], stop: StopRequest) -> int:
    told, code = run_verify(options, make_target(options, token, stop), token, stop)
    say(told)
    return code


def _find(options: Options, token: str | None, arguments: Sequence[str], stop: StopRequest) -> int:
    told, code = run_find(options, make_target(options, token, stop), stop)
    say(told)
    return code


def _repair(options: Options, token: str | None, arguments: Sequence[str], stop: StopRequest) -> int:
    say(run_repair(options, make_target(options, token, stop), stop))
    return 0


def _remove(options: Options, token: str | None, arguments: Sequence[str], stop: StopRequest) -> int:
    say(run_removal(options, make_target(options, token, stop), stop))
    return 0


def _prune(options: Options, token: str | None, arguments: Sequence[str], stop: StopRequest) -> int:
    say(run_prune(options))
    return 0


def _merge(options: Options, token: str | None, arguments: Sequence[str], stop: StopRequest) -> int:
    folder = options.raw_dir
    masters = files_with_pairs(Folder(folder))
    written = merge(masters, Path(str(options.merge)))
    say(f"{options.merge}: {written:,} pairs of {len(masters)} master files in {folder}; they stay as they are.")
    return 0


def _clear_cache(options: Options, token: str | None, arguments: Sequence[str], stop: StopRequest) -> int:
    freed = clear_cache(options.cache_dir) + clear_indexes(options.cache_dir / "index")
    say(f"Deleted {freed / 1e6:,.1f} MB of downloaded source files and indexes of them.")
    return 0


_COMMANDS = {
    Command.STATUS: _status,
    Command.VERIFY: _verify,
    Command.FIND: _find,
    Command.REPAIR: _repair,
    Command.REMOVE: _remove,
    Command.PRUNE: _prune,
    Command.MERGE: _merge,
    Command.CLEAR_CACHE: _clear_cache,
}
