"""What is told to people in the terminal. Secrets never get through."""

import re
import sys
from collections.abc import Callable, Iterable
from typing import TextIO

from utils.rows.credentials import without_credentials
from utils.rows.printable import visible

_secrets: list[str] = []
_listeners: list[Callable[[str], None]] = []
_PAINT = re.compile(r"(\x1b\[\d+m)")


def hide(secrets: Iterable[str]) -> None:
    """From now on, `<token>` stands where one of `secrets` would."""
    _secrets[:] = sorted(filter(None, secrets), key=len, reverse=True)


def note_what_is_said(note: Callable[[str], None]) -> None:
    """From now on, `note` gets what is said, too."""
    _listeners[:] = [note]


def safe(text: str) -> str:
    """Text as it may be shown to people, on a terminal and in the log: whatever is told goes through here.

    Without secrets, as servers may send them back, and without what steers a terminal, as names of others may have it.
    """
    for secret in _secrets:
        text = text.replace(secret, "<token>")
    return visible(without_credentials(text))


def say(text: str, stream: TextIO | None = None, painted: bool = False) -> None:
    """Print, and have it noted: the terminal may have gone.

    `painted`: it has colours of ours, and the text of others in it is clean.
    """
    parts = _PAINT.split(text) if painted else [text]
    shown = "".join(part if at % 2 else safe(part) for at, part in enumerate(parts))
    print(shown, file=stream or sys.stdout, flush=True)
    for note in _listeners:
        note("".join(parts[::2]))
