"""Xet, by which the Hub's client sends large files: its settings, its errors in words, and the way around it.

The client takes Xet without asking anybody, and what fails there is a builtin error whose text holds addresses. So an
error is told by where it was raised, and shown is its status alone.

    refused once (4xx)          sent again over Xet: a token may have run out
    the Hub can't be asked      the same
    no token from it, twice     an error of our token
    anything else               sent again over LFS, and so is all that follows: it needs neither Xet's servers nor its
                                cache in HF_HOME
"""

import logging
import os
import re
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from itertools import accumulate, takewhile
from typing import Any, Final, TypeVar

log = logging.getLogger(__name__)

Result = TypeVar("Result")

_RAISED_IN: Final = "_upload_xet_files"
"""The client's function that hands files to Xet."""
_STATUS = re.compile(r"HTTP status \w+ error \((\d{3})")
_OS_ERROR = re.compile(r"\(os error (\d+)\)")
_TOKEN_ROUTE: Final = "-token/"  # noqa: S105 - a part of an address
_MAX_RETRIES: Final = 5
_FIRST_WAIT_S: Final = 3
"""As Xet does it by itself: 3, 6, 12, 24, 48 s."""
_TIMEOUTS_A_BLOCK: Final = 10
"""Xet's timeout is for a whole block of 64 MB, of which two are sent at once, ours for a byte."""

TOLD_EVERY_S = 30.0
"""Seconds between two lines of the log about an upload."""

_FAST: Final = ("HF_XET_HIGH_PERFORMANCE", "HF_XET_HP")


class XetFailed(RuntimeError):
    """Large files could not be sent over Xet. Its text holds no address."""

    def __init__(self, why: str, status: int | None = None, is_of_token: bool = False) -> None:
        super().__init__(why)
        self.status = status
        self.is_of_token = is_of_token
        """Whether it was about the token for Xet's servers, which the Hub gives."""
        self.is_for_good = False
        """Whether trying again is of no use."""

    @property
    def is_refused(self) -> bool:
        """Whether the answer was a no, and not trouble of the server's own."""
        return self.status is not None and self.status < 500

    @property
    def is_without_token(self) -> bool:
        """Whether the Hub gives none to us."""
        return self.is_of_token and self.status in (401, 403)


def prepare_environment(timeout_s: float, patience_s: float) -> None:
    """Settings that Xet reads once. What the user has set stays, under whatever of its names.

    Memory: three files of 500 MB to a slow server need 1.5 GB as Xet comes, 0.5 GB like this.
    """
    if os.environ.get("HF_HUB_DISABLE_XET", "").upper() in ("1", "ON", "YES", "TRUE"):
        return
    waits = accumulate(_FIRST_WAIT_S * 2**number for number in range(_MAX_RETRIES))
    retries = max(1, len(list(takewhile(lambda waited_s: waited_s <= patience_s, waits))))
    for value, name, *others in (
        ("2", "HF_XET_CLIENT_AC_MAX_UPLOAD_CONCURRENCY", "HF_XET_FIXED_UPLOAD_CONCURRENCY", *_FAST),
        ("1", "HF_XET_DATA_MAX_CONCURRENT_FILE_INGESTION", "HF_XET_MAX_CONCURRENT_FILE_INGESTION", *_FAST),
        (f"{max(timeout_s * _TIMEOUTS_A_BLOCK, 1):.0f}s", "HF_XET_CLIENT_READ_TIMEOUT"),
        (str(retries), "HF_XET_CLIENT_RETRY_MAX_ATTEMPTS"),
        ("0", "HF_XET_TELEMETRY_ENABLED"),
        ("off", "RUST_LOG"),  # else it draws JSON over the terminal where it can't write its log
    ):
        if not any(known in os.environ for known in (name, *others)):
            os.environ[name] = value


def abort() -> None:
    """End what is being sent over Xet; the next upload is not touched."""
    from huggingface_hub.utils._xet import abort_xet_session

    abort_xet_session()


class LargeFiles:
    """By which way a target's large files go: as the client would send them, and over LFS where Xet has failed."""

    def __init__(self) -> None:
        self._is_over_lfs = False
        self._failed: XetFailed | None = None
        """The last time, where nothing was sent since."""

    def send(self, call: Callable[[], Result]) -> Result:
        """What `call`, which sends files, returns. XetFailed once it is settled by which way the next try goes."""
        with _without_xet() if self._is_over_lfs else _told_in_the_log():
            try:
                sent = call()
            except (OSError, RuntimeError, ValueError) as error:
                if not _was_raised_by_xet(error):
                    raise
                failed = _in_words(error)
                self._settle(failed)
                raise failed from None
        self._failed = None
        return sent

    def _settle(self, failed: XetFailed) -> None:
        before, self._failed = self._failed, failed
        if failed.is_without_token:
            failed.is_for_good = before is not None and before.is_without_token
        elif before is not None if failed.is_refused else not failed.is_of_token:
            self._is_over_lfs = True
            log.warning("Large files can't be sent over Xet (%s): they go over LFS from now on", failed)


class _Reporter:
    """How much is sent, now and then, in our log: in place of the client's bars, and called as they are."""

    def __init__(self) -> None:
        self._told_at_s = time.monotonic()

    def update_progress(self, all_files: Any, each_file: Any) -> None:
        now_s = time.monotonic()
        if now_s - self._told_at_s < TOLD_EVERY_S:
            return
        self._told_at_s = now_s
        sent, known = all_files.total_transfer_bytes_completed, all_files.total_transfer_bytes
        log.info("Uploading: %.1f MB are sent, of %.1f MB that are ready", sent / 1e6, known / 1e6)

    def close(self) -> None:
        """Nothing was opened."""


@contextmanager
def _told_in_the_log() -> Iterator[None]:
    """The client has no setting for who is told: it looks up both of these whenever it sends."""
    from huggingface_hub import utils
    from huggingface_hub.utils import _xet_progress_reporting as reporting

    with (
        _instead(reporting, "XetUploadProgressReporter", _Reporter),
        _instead(utils, "are_progress_bars_disabled", lambda name=None: False),
    ):
        yield


@contextmanager
def _instead(module: Any, name: str, ours: object) -> Iterator[None]:
    """Of a module of the client's; what it does not have (any more) it does not get."""
    theirs = getattr(module, name, None)
    if theirs is None:
        yield
        return
    setattr(module, name, ours)
    try:
        yield
    finally:
        setattr(module, name, theirs)


@contextmanager
def _without_xet() -> Iterator[None]:
    """The client sends by LFS: it looks at this whenever it sends."""
    from huggingface_hub import constants

    before = constants.HF_HUB_DISABLE_XET
    constants.HF_HUB_DISABLE_XET = True
    try:
        yield
    finally:
        constants.HF_HUB_DISABLE_XET = before


def _was_raised_by_xet(error: BaseException) -> bool:
    trace = error.__traceback__
    while trace is not None:
        if trace.tb_frame.f_code.co_name == _RAISED_IN:
            return True
        trace = trace.tb_next
    return False


def _in_words(error: Exception) -> XetFailed:
    text = str(error)
    if found := _STATUS.search(text):
        return XetFailed(f"HTTP {found[1]}", int(found[1]), _TOKEN_ROUTE in text)
    if found := _OS_ERROR.search(text):
        return XetFailed(os.strerror(int(found[1])))
    return XetFailed("no connection" if isinstance(error, ConnectionError) else "it failed on this machine")
