"""A file on the Hub read by byte ranges: healed where the connection breaks, and never written to disk.

`RangedFile.stream` yields the bytes from one place to another, whatever happens to the connections
that they come through: it goes on with a new request from the first byte that is missing, so no byte
is asked for twice. Both ways to read a source on the Hub (`RemoteFile`) stand on it: the cache writes its bytes to
disk, `RangeReader` makes a seekable file of them. So does what reads one from elsewhere (`http_files.py`).
"""

import hashlib
import io
import logging
from abc import ABC, abstractmethod
from collections.abc import Callable, Generator, Iterator
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, BinaryIO

from utils.errors import SourceError
from utils.sources import hub
from utils.sources.byte_meter import ByteMeter

if TYPE_CHECKING:
    import httpx2
    from _typeshed import WriteableBuffer

log = logging.getLogger(__name__)

BUFFER_BYTES = 2**20
FIRST_WINDOW_BYTES = 2**20
PASSED_OVER_BYTES = 2 * 2**20
"""Who jumps no further ahead has what is between read and dropped: a new request takes as long."""
WINDOW_GROWTH = 8
MAX_SMALL_BYTES = 16 * 2**20
"""The Hub keeps files of up to 10 MB in git; larger ones have a sha256."""
MAX_WINDOW_BYTES = 256 * 2**20
"""Reading on has the next request ask for more, so a jump costs little, and a large file few requests: until the first
byte of each has come the line is idle.

A window is not held in memory: its bytes wait in the connection until they are read.
"""


class SourceChanged(SourceError):
    """A source is not what it was when it was first read, so reading on could lose or repeat clips."""

    exit_code = 6


@dataclass(frozen=True, slots=True)
class Check:
    """Whether a file's content, which `digest` is given piece by piece, is what its source says of it."""

    digest: Any
    """As those of `hashlib`."""
    wanted: str | None
    """Hex; None where the source says nothing."""

    @property
    def is_passed(self) -> bool:
        return self.wanted is None or self.digest.hexdigest() == self.wanted


class RangedFile(ABC):
    """A file whose bytes come from the network by ranges, whatever happens to the connections."""

    __slots__ = ()
    size_bytes: int
    patience: hub.Patience
    stop_requested: Callable[[], bool]

    @abstractmethod
    def explained(self, error: Exception) -> SourceError:
        """What a network error means to a person."""

    @abstractmethod
    def _answer(self, start: int, end: int) -> "AbstractContextManager[httpx2.Response]":
        """The answer with [start, end), or with the whole file. Raises the network's error for any other status."""

    @property
    def place(self) -> str:
        """Who is asked, for the log."""
        return "the Hub"

    @property
    def has_ranges(self) -> bool:
        """Whether parts are given; else each answer has the whole file."""
        return True

    def stream(self, start: int, end: int) -> Generator[bytes, None, None]:
        """The bytes of [start, end), in pieces as they come.

        Raises SourceError where they are refused, or can't be reached for longer than our patience
        lasts; Interrupted where a stop is requested while we wait for it.
        """
        if start < 0:
            raise ValueError(f"a file has no byte {start}")
        waits = self.patience.waits()
        while start < end:
            try:
                for piece in self._ask(start, end):
                    start += len(piece)
                    waits = self.patience.waits()  # it moves: patience begins anew
                    yield piece
            except hub.NETWORK_ERRORS as error:
                if not hub.wait_before_retry(error, waits, self.stop_requested, self.place):
                    raise self.explained(error) from error

    def _ask(self, start: int, end: int) -> Iterator[bytes]:
        """The bytes of [start, end) as one answer brings them. An answer that ends early is a network error."""
        import httpx2

        with self._answer(start, end) as answer:
            # A server that does not know ranges sends the whole file.
            position = start if answer.status_code == 206 else 0
            for piece in self._pieces(answer):
                wanted = piece[max(start - position, 0) : end - position]
                position += len(piece)
                if wanted:
                    yield wanted
                if position > end or (position == end and answer.status_code != 206):
                    return
        # What was asked for as a part was read to its end: its connection can serve the next request.
        if position == end:
            return
        raise httpx2.RemoteProtocolError(f"the answer ended at byte {position} of {end}")

    def _pieces(self, answer: "httpx2.Response") -> Iterator[bytes]:
        return answer.iter_bytes()


@dataclass(frozen=True, slots=True)
class RemoteFile(RangedFile):
    """One file of a dataset repo at a pinned revision."""

    repo_id: str
    revision: str
    name: str
    size_bytes: int
    sha256: str | None = None
    """Known for large files."""
    git_id: str | None = None
    """Git's name for its bytes; known for the others."""
    token: str | None = field(default=None, repr=False)
    patience: hub.Patience = field(default_factory=hub.Patience)
    stop_requested: Callable[[], bool] = hub.never

    def open(self, meter: ByteMeter | None = None) -> BinaryIO:
        """A seekable file whose bytes come from the network as they are read; a few MB of memory at most.

        A small file comes whole, and is held against its checksum: SourceError where it is another one.
        """
        meter = meter or ByteMeter()
        return self._whole(meter) if self.is_small else RemoteStream(self, meter)

    @property
    def is_small(self) -> bool:
        """A table of texts, mostly: quick to check whenever it is opened."""
        return self.git_id is not None and self.size_bytes <= MAX_SMALL_BYTES

    def _whole(self, meter: ByteMeter) -> BinaryIO:
        for _ in range(2):
            content = b"".join(self.stream(0, self.size_bytes))
            meter.bytes_read += len(content)
            check = self.new_check()
            check.digest.update(content)
            if check.is_passed:
                return io.BytesIO(content)
        raise self.damaged()

    def new_check(self) -> "Check":
        """What its content is held against."""
        if self.sha256:
            return Check(hashlib.sha256(), self.sha256)
        return Check(hub.git_blob_digest(self.size_bytes), self.git_id)

    def damaged(self) -> SourceError:
        """The error of a file whose content is another one, and stays so."""
        return SourceError(
            f"{self.name} of {self.repo_id} came damaged twice (its checksum differs), so it was not used. "
            "Run again with --resume; if it stays so, report it on the dataset's page."
        )

    def explained(self, error: Exception) -> SourceError:
        """What a network error means to a person."""
        return explained(error, self.repo_id, self.name)

    @contextmanager
    def _answer(self, start: int, end: int) -> "Iterator[httpx2.Response]":
        from huggingface_hub import get_session, hf_hub_url
        from huggingface_hub.utils import build_hf_headers, hf_raise_for_status

        url = hf_hub_url(self.repo_id, self.name, repo_type="dataset", revision=self.revision, endpoint=hub.endpoint())
        headers = {
            **build_hf_headers(token=self.token or False),
            "Range": f"bytes={start}-{end - 1}",
            "Accept-Encoding": "identity",  # compressed on the way, ranges would mean other bytes
        }
        with get_session().stream("GET", url, headers=headers) as answer:
            hf_raise_for_status(answer)
            yield answer


class RemoteStream(io.BufferedReader):
    """A remote file, open for reading."""

    def __init__(self, file: RangedFile, meter: ByteMeter) -> None:
        super().__init__(RangeReader(file, meter), BUFFER_BYTES)
        self._file = file
        self._meter = meter

    def read_aside(self, start: int, end: int) -> bytes:
        """The bytes of [start, end), by a request of their own: what is read on from elsewhere goes on coming."""
        content = b"".join(self._file.stream(start, end))
        self._meter.bytes_read += len(content)
        return content


class RangeReader(io.RawIOBase):
    """A remote file as a raw Python file: seekable, reading by windows that grow while it is read on."""

    def __init__(self, file: RangedFile, meter: ByteMeter) -> None:
        """`meter` counts what comes off the network."""
        self._file = file
        self._meter = meter
        self._position = 0
        self._stream = file.stream(0, 0)
        self._rest = memoryview(b"")
        """Bytes received and not yet read; the last of them is the one before `_received`."""
        self._received = 0
        self._window_end = 0
        self._window_bytes = FIRST_WINDOW_BYTES

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def tell(self) -> int:
        return self._position

    def seek(self, offset: int, whence: int = io.SEEK_SET) -> int:
        origin = {io.SEEK_SET: 0, io.SEEK_CUR: self._position, io.SEEK_END: self._file.size_bytes}[whence]
        if origin + offset < 0:
            raise ValueError(f"a file has no byte {origin + offset}")
        self._position = origin + offset
        return self._position

    def readinto(self, buffer: "WriteableBuffer") -> int:
        target = memoryview(buffer).cast("B")
        wanted = min(len(target), self._file.size_bytes - self._position)
        if wanted <= 0:
            return 0
        self._receive(wanted)
        count = min(wanted, len(self._rest))
        target[:count] = self._rest[:count]
        self._rest = self._rest[count:]
        self._position += count
        return count

    def close(self) -> None:
        self._stream.close()
        self._rest = memoryview(b"")
        super().close()

    def _receive(self, wanted: int) -> None:
        """Have the byte at our position, and perhaps more, at the start of `_rest`."""
        while True:
            skip = self._position - (self._received - len(self._rest))
            if 0 <= skip < len(self._rest):
                self._rest = self._rest[skip:]
                return
            ahead = self._position - self._received
            passed_over = PASSED_OVER_BYTES if self._file.has_ranges else self._file.size_bytes
            if not (0 <= ahead <= passed_over and self._position < self._window_end):
                self._begin_window(wanted)
            self._rest = memoryview(next(self._stream))
            self._received += len(self._rest)
            self._meter.bytes_read += len(self._rest)

    def _begin_window(self, wanted: int) -> None:
        read_on = self._position == self._window_end > 0
        grown = min(self._window_bytes * WINDOW_GROWTH, MAX_WINDOW_BYTES)
        self._window_bytes = grown if read_on else FIRST_WINDOW_BYTES
        end = self._position + max(self._window_bytes, wanted)
        self._window_end = min(end, self._file.size_bytes) if self._file.has_ranges else self._file.size_bytes
        self._stream.close()
        self._stream = self._file.stream(self._position, self._window_end)
        self._rest = memoryview(b"")
        self._received = self._position


def explained(error: Exception, repo_id: str, what: str) -> SourceError:
    """A network error of a source on the Hub as a letter: what happened, what is safe, what to do."""
    page, short = hub.dataset_page(repo_id), hub.in_short(error)
    log_in = "log in with `hf auth login` (or set HF_TOKEN) and run again with --resume"
    if hub.is_missing_revision(error):
        return SourceChanged(
            f"The revision at which {repo_id} was first read is no longer on the Hub. What is published is safe. "
            f"See {page}, and begin anew with --fresh."
        )
    if hub.is_gated(error):
        return SourceError(
            f"{repo_id} is gated: its files are only for accounts that accepted its terms ({short}). Accept them "
            f"at {page}, then {log_in}."
        )
    if hub.is_auth_problem(error) or hub.is_missing(error):
        return SourceError(
            f"The Hub shows us no {what} of {repo_id} ({short}): it is private or gone, or the token is not right. "
            f"Look at {page}; if it is there for you, {log_in}."
        )
    if hub.is_offline(error):
        return SourceError(
            f"{repo_id} was not asked for: HF_HUB_OFFLINE is set. Nothing was read. Unset it, or read a copy of its "
            "files: --source-dir."
        )
    return SourceError(
        f"{repo_id} could not be reached on the Hub (its {what}: {short}). What is "
        f"published and staged is safe. Check the network and {page}, then run again with --resume."
    )
