"""What is told to people in the terminal. Secrets never get through."""

import sys
from collections.abc import Callable, Iterable
from typing import TextIO

_secrets: list[str] = []
_listeners: list[Callable[[str], None]] = []


def hide(secrets: Iterable[str]) -> None:
    """From now on, `<token>` stands where one of `secrets` would."""
    _secrets[:] = filter(None, secrets)


def note_what_is_said(note: Callable[[str], None]) -> None:
    """From now on, `note` gets what is said, too."""
    _listeners[:] = [note]


def without_secrets(text: str) -> str:
    """Text with `<token>` where a hidden secret stood: servers may send one back."""
    for secret in _secrets:
        text = text.replace(secret, "<token>")
    return text


def say(text: str, stream: TextIO | None = None) -> None:
    """Print, and have it noted: the terminal may have gone."""
    print(without_secrets(text), file=stream or sys.stdout, flush=True)
    for note in _listeners:
        note(text)
