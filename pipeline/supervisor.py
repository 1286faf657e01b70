"""A run outlives a codec that crashes: it is the child of a small process, which begins it again.

    main.py: waits, passes signals on
      +- the run, with its threads; which clips they convert is noted in memory that both share

Where the run dies as crashes do (SIGSEGV, ...), or is killed for lack of memory (SIGKILL), while clips were being
converted, it is begun again as `--resume` does it, from its last segment; those clips are then converted alone
(`processors/engine/isolated.py`). The small process is forked before anything large is imported. When it is killed, so
is the run, by the kernel.
"""

import ctypes
import os
import signal
import sys
from collections.abc import Callable
from typing import Final, NoReturn

from utils.errors import Stopped
from utils.process.in_flight import TRIED, InFlight

Run = Callable[[InFlight, bool], int]
"""(clips in flight, whether it is begun again) -> exit code."""

MAX_CRASHES: Final = 20
"""Of one run. So many have another reason than a few broken clips."""

_CRASHES: Final = (signal.SIGSEGV, signal.SIGBUS, signal.SIGABRT, signal.SIGILL, signal.SIGFPE, signal.SIGKILL)
_PASSED_ON: Final = (signal.SIGINT, signal.SIGTERM)
_SI_KERNEL: Final = 0x80
"""A signal of the terminal, which the run has got, too."""
_PR_SET_PDEATHSIG: Final = 1


def is_possible() -> bool:
    """Whether this system kills a child together with its parent: else a run could be left behind."""
    return sys.platform == "linux"


def supervise(run: Run) -> int:
    """Have `run` done by a child, as often as it crashes; returns its exit code."""
    in_flight = InFlight()
    for crashes in range(MAX_CRASHES + 1):
        status = _in_a_child(run, in_flight, begun_again=crashes > 0)
        if os.WIFEXITED(status):
            return os.WEXITSTATUS(status)
        number, found = os.WTERMSIG(status), in_flight.take_notes()
        if number not in _CRASHES:
            _die_of(number)
        name = signal.Signals(number).name
        if all(in_flight.crashes[note] >= TRIED for note in found) or crashes == MAX_CRASHES:
            return _give_up(name)
        in_flight.crashes.update(found)
        _say(
            f"The run died of {name} while it converted {len(found)} clip{'s' if len(found) > 1 else ''}. It goes on "
            "from its last checkpoint, and converts what it was at alone."
        )
    raise AssertionError("the last crash gives up")


def _in_a_child(run: Run, in_flight: InFlight, begun_again: bool) -> int:
    """The status that a child which does `run` ends with. OSError where the system starts none."""
    before = signal.pthread_sigmask(signal.SIG_BLOCK, {*_PASSED_ON, signal.SIGCHLD})
    try:
        sys.stdout.flush()
        sys.stderr.flush()
        parent = os.getpid()
        child = os.fork()
        if child == 0:
            _be_the_child(parent)
            signal.pthread_sigmask(signal.SIG_SETMASK, before)
            sys.exit(run(in_flight, begun_again))
        return _end_of(child)
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


def _be_the_child(parent: int) -> None:
    ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
    if os.getppid() != parent:  # it died before that
        os.kill(os.getpid(), signal.SIGKILL)
    from utils.disk.lock import set_own_pid  # in the child alone: `--help` needs no locks

    set_own_pid(parent)


def _end_of(child: int) -> int:
    while True:
        told = signal.sigwaitinfo({*_PASSED_ON, signal.SIGCHLD})
        if told.si_signo == signal.SIGCHLD:
            ended, status = os.waitpid(child, os.WNOHANG)
            if ended:
                return status
        elif told.si_code != _SI_KERNEL:
            os.kill(child, told.si_signo)


def _give_up(name: str) -> int:
    error = Stopped(
        f"The run died of {name}, and not of a clip that it could set aside. Nothing that was published or staged is "
        "lost. Mend what killed it (lack of memory, a limit of threads?), then run again with --resume."
    )
    _say(str(error))
    return error.exit_code


def _say(text: str) -> None:
    print(f"\n{text}", file=sys.stderr, flush=True)


def _die_of(number: int) -> NoReturn:
    signal.signal(number, signal.SIG_DFL)
    os.kill(os.getpid(), number)
    raise AssertionError(f"signal {number} did not end this process")
