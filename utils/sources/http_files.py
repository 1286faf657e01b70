"""A source that is one file at an http or https address: an archive, a table, a Parquet file.

It is read by byte ranges as it is needed, healed where the connection breaks, with the patience of sources on the Hub.
What an answer says is held against what the first one said: another size or version is another file. Where the server
has no name for the very content (no strong ETag), parts of the file are its version; a server that gives no parts is
believed what it says of time, and where it says nothing all of the file is read for it.

Redirects are followed by hand. Credentials of the address go to its own host alone, never along to another; and none
is followed to another scheme: not from https to http, where all could read along, nor to a file of this machine.
"""

import logging
import re
from collections.abc import Callable, Generator, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from functools import cache
from typing import TYPE_CHECKING, BinaryIO, Final
from urllib.parse import urlsplit

import xxhash

from utils.errors import SourceError
from utils.rows.credentials import public
from utils.rows.printable import shown
from utils.sources import hub
from utils.sources.byte_meter import ByteMeter
from utils.sources.mirror_revision import parts_of
from utils.sources.remote_file import RangedFile, RemoteStream, SourceChanged
from utils.sources.stand_ins import LFS_POINTER, WEB_PAGE, lfs_pointer, stand_in

if TYPE_CHECKING:
    import httpx2

log = logging.getLogger(__name__)

MAX_REDIRECTS: Final = 10
WHOLE: Final = 200
PART: Final = 206
_HEAD_BYTES: Final = 1024
_RANGE: Final = re.compile(r"bytes (?:(\d+)-\d+|\*)/(\d+|\*)")
_AGAIN: Final = "What was read before is safe. {} Then run again with --resume."


@dataclass(frozen=True, slots=True)
class HttpFile(RangedFile):
    """One file behind an address."""

    url: str = field(repr=False)
    timeout_s: float
    patience: hub.Patience
    stop_requested: Callable[[], bool] = hub.never
    size_bytes: int = 0
    version: str = ""
    """What the server calls this very content; "" where it has no name for it."""
    hint: str | None = None
    """When it was changed, and a weak name, as the server says; None: no matter."""
    content: str = ""
    """A digest of it, or the hint, where there is no `version`."""
    has_ranges: bool = True

    @property
    def place(self) -> str:
        return shown(public(self.url))

    @property
    def name(self) -> str:
        return urlsplit(public(self.url)).path.rpartition("/")[2]

    def open(self, meter: ByteMeter) -> BinaryIO:
        return RemoteStream(self, meter)

    def explained(self, error: Exception) -> SourceError:
        status = hub.status_of(error)
        if status in (401, 403):
            return self._unreadable(
                f"is not for us ({hub.in_short(error)})",
                "Its address may need a password, or a signature that has not expired: mend the location.",
            )
        if status in (404, 410):
            return self._unreadable(f"is not there ({hub.in_short(error)})", "Mend the location.")
        return self._unreadable(f"can't be read ({hub.in_short(error)})", "Check the location and the network.")

    def _unreadable(self, why: str, cure: str) -> SourceError:
        return SourceError(f"{self.place} {why}. {_AGAIN.format(cure)}")

    @contextmanager
    def _answer(self, start: int, end: int) -> "Generator[httpx2.Response, None, None]":
        with self.asked(f"bytes={start}-{end - 1}") as answer:
            if self.told(answer) != (self.size_bytes, self.version) or self._is_changed(_hint_in(answer)):
                if _is_page(answer):
                    raise self.page()
                raise SourceChanged(
                    f"{self.place} is another file than when it was first asked for (its size or its version). What is "
                    "published is safe. Put the old file back and run again with --resume, or begin anew with --fresh."
                )
            if answer.status_code == PART and _range_in(answer)[0] != str(start):
                raise self._unreadable(
                    "gives other bytes than it is asked for", "Download it, and name the file as the location."
                )
            yield answer

    def _is_changed(self, hint: str) -> bool:
        """Whether a file without a name is another one now: a hint alone may change with who answers."""
        return not self.version and self.hint not in (None, hint) and self.content_at(hint) != self.content

    def content_at(self, hint: str) -> str:
        """What tells the content from others, where the server has no name for it."""
        if not self.has_ranges and hint:
            return hint
        digest = xxhash.xxh3_128()
        asked = replace(self, hint=None)
        for start, end in parts_of(self.size_bytes) if self.has_ranges else [(0, self.size_bytes)]:
            for piece in asked.stream(start, end):
                digest.update(piece)
        return digest.hexdigest()

    def _pieces(self, answer: "httpx2.Response") -> Iterator[bytes]:
        return answer.iter_raw()  # a .tar.gz that is said to be packed for the way is to stay so

    def told(self, answer: "httpx2.Response") -> tuple[int, str]:
        """(size in bytes, version) of the file, as an answer says them."""
        of_all = answer.status_code != PART
        total = answer.headers.get("content-length", "") if of_all else _range_in(answer)[1]
        if not total.isdigit() or answer.status_code not in (WHOLE, PART):
            raise self._unreadable(
                "does not say how large it is, so nobody could tell whether all of it came",
                "Download it, and name the file as the location.",
            )
        version = answer.headers.get("etag", "")
        return int(total), "" if version.startswith("W/") else version

    def page(self) -> SourceError:
        """The error of a page in the file's place."""
        return self._unreadable(
            f"gives {WEB_PAGE} in place of the file",
            "Open it in a browser: it may ask for a login, or the network for its own. Mend that, or the location.",
        )

    @contextmanager
    def asked(self, byte_range: str) -> "Generator[httpx2.Response, None, None]":
        """The answer of whoever has the file, all redirects followed. Raises the network's error for a bad status."""
        import httpx2

        try:
            url, user = httpx2.URL(self.url), _user_of(self.url)
            home = url = url.copy_with(username=None, password=None, fragment=None)
        except (httpx2.InvalidURL, ValueError) as error:
            raise self._unreadable("is no address", "Mend the location.") from error
        headers = {"Range": byte_range, "Accept-Encoding": "identity"}  # compressed on the way, ranges mean other bytes
        for _ in range(MAX_REDIRECTS + 1):
            request = _client(self.timeout_s).build_request("GET", url, headers=headers)
            answer = _client(self.timeout_s).send(request, stream=True, auth=user if _is_home(url, home) else None)
            try:
                if not answer.has_redirect_location:
                    answer.raise_for_status()
                    yield answer
                    return
                url = self._redirected(url, answer.headers)
            finally:
                answer.close()
        raise self._unreadable(f"sends us on more than {MAX_REDIRECTS} times, in a circle", "Mend the location.")

    def _redirected(self, url: "httpx2.URL", headers: Mapping[str, str]) -> "httpx2.URL":
        """Where an answer sends us. SourceError where we don't go there."""
        import httpx2

        try:
            to = url.join(headers["location"])
            to = to.copy_with(username=None, password=None, fragment=None)
        except (httpx2.InvalidURL, ValueError) as error:
            raise self._unreadable("sends us on to what is no address", "Mend the location.") from error
        if to.scheme not in ("http", "https") or (url.scheme == "https" and to.scheme == "http") or not to.host:
            raise self._unreadable(
                f"sends us on to a {shown(to.scheme, 20)}: address, from {url.scheme}:, which is not followed",
                "Name the file's own address as the location.",
            )
        return to


def probed(url: str, timeout_s: float, patience: hub.Patience, stop_requested: Callable[[], bool]) -> HttpFile:
    """The file at an address, with its size. SourceError where there is none, or something else in its place."""
    file = HttpFile(url, timeout_s, patience, stop_requested)
    waits = patience.waits()
    while True:
        try:
            found = _asked_for_its_size(file)
            break
        except hub.NETWORK_ERRORS as error:
            if not hub.wait_before_retry(error, waits, stop_requested, file.place):
                raise file.explained(error) from error
    return found if found.version else replace(found, content=found.content_at(found.hint or ""))


def _asked_for_its_size(file: HttpFile) -> HttpFile:
    if not file.name:
        raise file._unreadable("names no file", "Over http one file is read: name it as the location.")
    with file.asked(f"bytes=0-{_HEAD_BYTES - 1}") as answer:
        size_bytes, version = file.told(answer)
        head = next(answer.iter_raw(_HEAD_BYTES), b"")
        what = stand_in(head)
        if what == LFS_POINTER:
            raise lfs_pointer(file.place)
        if what == WEB_PAGE or (_is_page(answer) and head.lstrip().startswith(b"<")):
            raise file.page()
        if answer.status_code != PART:
            log.warning("%s gives no parts of a file: each jump reads it from its start again", file.place)
        is_part = answer.status_code == PART
        return replace(file, size_bytes=size_bytes, version=version, hint=_hint_in(answer), has_ranges=is_part)


def _hint_in(answer: "httpx2.Response") -> str:
    return " ".join(answer.headers[name] for name in ("etag", "last-modified") if name in answer.headers)


def _range_in(answer: "httpx2.Response") -> tuple[str, str]:
    """(first byte, size of the whole) as the answer with a part says them; "" where it does not."""
    found = _RANGE.fullmatch(answer.headers.get("content-range", "").strip())
    return (found[1] or "", found[2]) if found else ("", "")


def _is_page(answer: "httpx2.Response") -> bool:
    return answer.headers.get("content-type", "").lower().startswith("text/html")


def _user_of(url: str) -> tuple[str, str] | None:
    """Name and password in an address."""
    import httpx2

    given = httpx2.URL(url)
    return (given.username, given.password) if given.userinfo else None


def _is_home(url: "httpx2.URL", home: "httpx2.URL") -> bool:
    """Whether an address is of the very server that the user's credentials are for."""
    return (url.scheme, url.host, url.port) == (home.scheme, home.host, home.port) or (
        url.host == home.host and home.scheme == "http" and url.scheme == "https" and home.port is url.port is None
    )


@cache
def _client(timeout_s: float) -> "httpx2.Client":
    """One for all files, so that connections serve again. It stays open, as that of the Hub does."""
    import httpx2

    with hub.settings_explained():
        return httpx2.Client(
            follow_redirects=False, timeout=httpx2.Timeout(timeout_s, connect=min(timeout_s, hub.CONNECT_TIMEOUT_S))
        )
