"""What is told to people in the terminal. Secrets never get through."""

import os
import sys
from collections.abc import Iterable
from typing import TextIO

_secrets: list[str] = []


def hide(secrets: Iterable[str]) -> None:
    """From now on, `<token>` stands where one of `secrets` would."""
    _secrets[:] = filter(None, secrets)


def without_secrets(text: str) -> str:
    """Text with `<token>` where a hidden secret stood: servers may send one back."""
    for secret in _secrets:
        text = text.replace(secret, "<token>")
    return text


def say(text: str, stream: TextIO | None = None) -> None:
    """Print; a reader that has gone away (`| head`) is no failure of the run."""
    try:
        print(without_secrets(text), file=stream or sys.stdout, flush=True)
    except BrokenPipeError:
        # What is left in the buffer must not fail again when Python closes the stream.
        os.dup2(os.open(os.devnull, os.O_WRONLY), (stream or sys.stdout).fileno())
