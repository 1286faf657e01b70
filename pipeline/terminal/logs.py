"""Logging: one file a run in `logs/`, one line a commit on the terminal. Tokens never get through.

A run does not end of its log: where the file or the terminal can't be written, it goes on without.
"""

import logging
import os
import sys
import time
from contextlib import suppress
from functools import partial
from pathlib import Path

from tqdm import tqdm

from pipeline.terminal.say import hide, note_what_is_said, safe

LOG_FILE_ONLY = {"file_only": True}
"""`extra` of a log record that does not go to the terminal."""

log = logging.getLogger(__name__)


class _Safe(logging.Filter):
    """Makes safe whatever is logged, our own messages and other libraries' alike.

    Lines behind the first are indented: none can pass for a record of its own.
    """

    def filter(self, record: logging.LogRecord) -> bool:
        if hasattr(record, "is_safe"):  # another handler has it, too
            return True
        record.is_safe = True
        record.msg, record.args = _one_record(record.getMessage()), None
        if record.exc_info and not record.exc_text:
            record.exc_text = logging.Formatter().formatException(record.exc_info)
        if record.exc_text:
            record.exc_text = _one_record(record.exc_text)
        return True


def _one_record(text: str) -> str:
    return safe(text).replace("\n", "\n    ")


class _LogFile(logging.FileHandler):
    """The file. The first time that it can't be written, that is said; it is tried again with each line."""

    def __init__(self, path: Path) -> None:
        super().__init__(path, encoding="utf-8")
        self._path = path
        self._was_told = False

    def handleError(self, record: logging.LogRecord) -> None:  # noqa: N802 - the library's name
        error = sys.exc_info()[1]
        if not isinstance(error, OSError):
            super().handleError(record)
        elif not self._was_told:
            self._was_told = True
            _warn_of(self._path, error)

    def close(self) -> None:
        """What could not be written is given up."""
        with suppress(OSError):
            super().close()


def _warn_of(path: Path, error: OSError) -> None:
    log.warning("The log %s can't be written (%s). The run goes on without it.", path, error.strerror)


class _BesideTheBar(logging.Handler):
    """Writes to stderr without tearing the progress bar."""

    def emit(self, record: logging.LogRecord) -> None:
        tqdm.write(self.format(record), file=sys.stderr)


class _WithoutTraceback(logging.Formatter):
    """For the terminal: tracebacks are in the log file."""

    def format(self, record: logging.LogRecord) -> str:
        return f"{self.formatTime(record, self.datefmt)} {record.getMessage()}"


def set_up_logging(folder: Path, verbose: bool, quiet: bool, secrets: list[str]) -> Path:
    """Send the log to the terminal and to a new file in `folder`, both without `secrets`; returns the file."""
    hide(secrets)
    path = folder / f"run-{time.strftime('%Y%m%d-%H%M%S')}-{os.getpid()}.log"
    only_safe = _Safe()
    to_terminal = _BesideTheBar(logging.WARNING if quiet else logging.DEBUG if verbose else logging.INFO)
    to_terminal.addFilter(lambda record: not hasattr(record, "file_only"))
    to_terminal.setFormatter(_WithoutTraceback(datefmt="%H:%M:%S"))
    root = logging.getLogger()
    root.setLevel(logging.DEBUG if verbose else logging.INFO)
    to_terminal.addFilter(only_safe)
    root.addHandler(to_terminal)
    try:
        folder.mkdir(parents=True, exist_ok=True)
        to_file = _LogFile(path)
    except OSError as error:
        _warn_of(path, error)
    else:
        to_file.setFormatter(logging.Formatter("%(asctime)s %(levelname)s %(name)s: %(message)s"))
        to_file.addFilter(only_safe)
        root.addHandler(to_file)
    note_what_is_said(partial(root.info, "%s", extra=LOG_FILE_ONLY))
    for noisy in ("httpx2", "httpcore2", "huggingface_hub", "fsspec", "urllib3", "filelock", "apify_client"):
        logging.getLogger(noisy).setLevel(logging.WARNING)
    return path
