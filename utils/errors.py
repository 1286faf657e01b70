"""The errors that a run may end with, each with the exit code that `main.py` leaves with.

Every message is a letter to somebody who is tired: what happened, what is safe, what to type.
Anything else that reaches `main.py` is a bug of ours (exit 1).
"""

import sys
from pathlib import Path
from typing import Final

INSTALLED_COMMAND: Final = "thai-audio"
_CALLED: Final = Path(sys.argv[0]).name if sys.argv else ""
COMMAND: Final = INSTALLED_COMMAND if _CALLED == INSTALLED_COMMAND else "python main.py"
"""How this program was started, for messages that say what to type."""
PROGRAM: Final = COMMAND.split()[-1]


class IngestError(Exception):
    """Base of all errors that we expect and can explain."""

    exit_code = 1


class UsageError(IngestError):
    """The command line can't be carried out as it stands."""

    exit_code = 2


class AuthenticationError(IngestError):
    """No token, a wrong one, or one that may not do what was asked."""

    exit_code = 3


class SourceError(IngestError):
    """A source could not be read: missing, gated, unreachable or laid out in an unknown way."""

    exit_code = 4


class Stopped(IngestError):
    """The run could not go on (target unreachable, disk full). Nothing is lost; `--resume` goes on."""

    exit_code = 5


class TargetRefused(IngestError):
    """Writing to the target would break a promise, so nothing was written."""

    exit_code = 6


class TargetMoved(TargetRefused):
    """Somebody else wrote to the target while we ran."""


class NotSound(IngestError):
    """`--verify` found that the dataset breaks a promise."""

    exit_code = 7


class Interrupted(IngestError):
    """Ctrl-C or SIGTERM, after a clean checkpoint."""

    exit_code = 130
