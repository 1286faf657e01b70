"""Logging: one file a run in `logs/`, one line a commit on the terminal. Tokens never get through."""

import logging
import os
import sys
import time
from functools import partial
from pathlib import Path

from tqdm import tqdm

from pipeline.terminal.say import hide, note_what_is_said, safe

LOG_FILE_ONLY = {"file_only": True}
"""`extra` of a log record that does not go to the terminal."""


class _Safe(logging.Filter):
    """Makes safe whatever is logged, our own messages and other libraries' alike.

    Lines behind the first are indented: none can pass for a record of its own.
    """

    def filter(self, record: logging.LogRecord) -> bool:
        record.msg, record.args = _one_record(record.getMessage()), None
        if record.exc_info and not record.exc_text:
            record.exc_text = logging.Formatter().formatException(record.exc_info)
        if record.exc_text:
            record.exc_text = _one_record(record.exc_text)
        return True


def _one_record(text: str) -> str:
    return safe(text).replace("\n", "\n    ")


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
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / f"run-{time.strftime('%Y%m%d-%H%M%S')}-{os.getpid()}.log"
    only_safe = _Safe()
    to_file = logging.FileHandler(path, encoding="utf-8")
    to_file.setFormatter(logging.Formatter("%(asctime)s %(levelname)s %(name)s: %(message)s"))
    to_terminal = _BesideTheBar(logging.WARNING if quiet else logging.DEBUG if verbose else logging.INFO)
    to_terminal.addFilter(lambda record: not hasattr(record, "file_only"))
    to_terminal.setFormatter(_WithoutTraceback(datefmt="%H:%M:%S"))
    root = logging.getLogger()
    root.setLevel(logging.DEBUG if verbose else logging.INFO)
    for handler in (to_file, to_terminal):
        handler.addFilter(only_safe)
        root.addHandler(handler)
    note_what_is_said(partial(root.info, "%s", extra=LOG_FILE_ONLY))
    for noisy in ("httpx2", "httpcore2", "huggingface_hub", "fsspec", "urllib3", "filelock", "apify_client"):
        logging.getLogger(noisy).setLevel(logging.WARNING)
    return path
