"""The Mozilla Data Collective: the one archive of a dataset there, read as a file on the Hub is
(utils/sources/remote_file.py).

    GET  <api>/datasets/<slug>            -> filename, sizeBytes, checksum: what there is now; needs no key
    POST <api>/datasets/<slug>/download   -> downloadUrl, good for some hours; needs the key, and its terms accepted
    GET  <downloadUrl>, by ranges         -> the bytes; the key is not sent there

So a download goes on where it stopped, in this run or another, and an address that has expired is asked for again. The
revision is the archive's checksum: it is pinned, and what was downloaded is held against it.
"""

import hashlib
import logging
import os
import re
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, BinaryIO

from utils.errors import SourceError
from utils.rows.printable import shown
from utils.sources import hub
from utils.sources.byte_meter import ByteMeter
from utils.sources.cache import FileCache
from utils.sources.remote_file import Check, RemoteFile, SourceChanged
from utils.sources.source_files import SourceAccess, index_of

if TYPE_CHECKING:
    import httpx2

log = logging.getLogger(__name__)

KEY_VARIABLE = "MDC_API_KEY"
URL_VARIABLE = "MDC_API_URL"
DEFAULT_URL = "https://mozilladatacollective.com/api"
OWNER = "mozilla-data-collective"
"""In place of a repo's owner, in the cache."""

_ALGORITHMS = {32: "md5", 40: "sha1", 64: "sha256", 128: "sha512"}
"""Length of a checksum in hex -> what it is."""
_EXPIRED = (400, 401, 403, 404, 410)
"""What an address that was good before may answer when it is not any more."""


def key_in_environment() -> str | None:
    """`MDC_API_KEY`; None where it is not set. SourceError for what can't be sent as one."""
    key = os.environ.get(KEY_VARIABLE, "").strip()
    if key and not (key.isascii() and key.isprintable() and " " not in key):
        raise SourceError(f"{KEY_VARIABLE} has characters that no key has. Nothing was read. Set it anew.")
    return key or None


@dataclass(frozen=True)
class ArchiveInfo:
    """What the Collective says of a dataset's file."""

    name: str
    size_bytes: int
    checksum: str

    @property
    def revision(self) -> str:
        """Names it, as part of a path too."""
        return re.sub(r"[^0-9A-Za-z-]", "-", self.checksum)[:160]


class CollectiveFiles:
    """The files of a dataset of the Collective: one archive (`SourceFiles`)."""

    def __init__(self, slug: str, access: SourceAccess, revision: str | None = None) -> None:
        """Raises SourceError where it can't be reached, SourceChanged where it is not at `revision` any more."""
        hub.connect(None, access.timeout_s)  # sets up the client that we use too
        self._api = _Api(slug, access, key_in_environment())
        archive = self._api.archive()
        self.revision = self.as_found = archive.revision
        if revision is not None and revision != self.revision:
            raise SourceChanged(
                f"The Mozilla Data Collective has another file of {slug} now than the one that was first read. What is "
                "published is safe. Give the archive of then with --source-dir, or begin anew with --fresh."
            )
        if _parted(archive.checksum) is None:
            log.warning("%s: its checksum is of a form that we don't know; only its size is verified", slug)
        self._meter = ByteMeter()
        self._cache = FileCache(access.cache_dir, access.max_cache_bytes, self._meter)
        self._streaming = access.streaming
        self._file = CollectiveFile(
            repo_id=f"{OWNER}/{slug}",
            revision=self.revision,
            name=archive.name,
            size_bytes=archive.size_bytes,
            patience=access.patience,
            stop_requested=access.stop_requested,
            given_checksum=archive.checksum,
            address=_Address(self._api, archive),
        )

    def names(self) -> Sequence[str]:
        return (self._file.name,)

    def size_bytes(self, name: str) -> int:
        index_of(name, self.names(), self._file.repo_id)
        return self._file.size_bytes

    def open(self, name: str) -> BinaryIO:
        index_of(name, self.names(), self._file.repo_id)
        return self._file.open(self._meter) if self._streaming else self._cache.open(self._file)

    def expect(self, *names: str) -> None:
        """There is no other file to fetch meanwhile."""

    def close(self) -> None:
        """Nothing is fetched ahead."""

    @property
    def bytes_read(self) -> int:
        return self._meter.bytes_read


@dataclass(frozen=True, slots=True, kw_only=True)
class CollectiveFile(RemoteFile):
    """An archive of the Collective; its address is asked for when the first byte is needed."""

    given_checksum: str
    """As the Collective writes it."""
    address: "_Address"

    def new_check(self) -> Check:
        algorithm, wanted = _parted(self.given_checksum) or ("sha256", None)
        return Check(hashlib.new(algorithm, usedforsecurity=False), wanted)

    def explained(self, error: Exception) -> SourceError:
        return _explained(error, self.name)

    @contextmanager
    def _answer(self, start: int, end: int) -> "Iterator[httpx2.Response]":
        import httpx2
        from huggingface_hub import get_session

        headers = {"Range": f"bytes={start}-{end - 1}", "Accept-Encoding": "identity"}
        try:
            request = get_session().stream("GET", self.address.get(), headers=headers)
        except httpx2.InvalidURL as error:
            raise _senseless() from error
        with request as answer:
            if answer.status_code in _EXPIRED and self.address.has_served:
                self.address.forget()
                raise httpx2.RemoteProtocolError("the address has expired")  # asked again, with a new one
            answer.raise_for_status()
            self.address.has_served = True
            yield answer


class _Address:
    """Where an archive's bytes are, for some hours; a new address is asked for when it is needed."""

    def __init__(self, api: "_Api", archive: ArchiveInfo) -> None:
        self.has_served = False
        self._api = api
        self._archive = archive
        self._url: str | None = None

    def get(self) -> str:
        """SourceChanged where there is another archive now."""
        if self._url is None:
            archive, self._url = self._api.session()
            if archive != self._archive:
                raise SourceChanged(
                    f"The Mozilla Data Collective has another {shown(self._archive.name)} now than a moment ago. What "
                    "was read is safe. Run again with --resume."
                )
        return self._url

    def forget(self) -> None:
        self._url, self.has_served = None, False


class _Api:
    """What is asked of the Collective about one dataset."""

    def __init__(self, slug: str, access: SourceAccess, key: str | None) -> None:
        self._slug = slug
        self._access = access
        self._key = key
        self._base = os.environ.get(URL_VARIABLE, "").strip().rstrip("/") or DEFAULT_URL
        if not self._base.startswith(("https://", "http://")):
            raise SourceError(f"{URL_VARIABLE} is {shown(self._base)!r}: it must begin with https:// (or http://).")

    def archive(self) -> ArchiveInfo:
        """What there is now; asked without the key."""
        told = self._ask("GET", "")
        if all(told.get(name) for name in ("filename", "sizeBytes", "checksum")):
            return _archive(told)
        return self.session()[0]

    def session(self) -> tuple[ArchiveInfo, str]:
        """The archive, and an address that serves it for some hours."""
        if self._key is None:
            raise SourceError(
                f"The Mozilla Data Collective hands out {self._slug} for a key alone. What was read is safe. Make one "
                f"on its site, set {KEY_VARIABLE}, then run again with --resume."
            )
        told = self._ask("POST", "/download", {"Authorization": f"Bearer {self._key}"})
        url = told.get("downloadUrl")
        if not (isinstance(url, str) and url.startswith(("https://", "http://"))):
            raise _senseless()
        return _archive(told), url

    def _ask(self, method: str, path: str, headers: Mapping[str, str] | None = None) -> dict[str, Any]:
        from huggingface_hub import get_session

        def request() -> dict[str, Any]:
            answer = get_session().request(method, f"{self._base}/datasets/{self._slug}{path}", headers=headers)
            answer.raise_for_status()
            try:
                told = answer.json()
            except ValueError as error:
                raise _senseless() from error
            return told if isinstance(told, dict) else {}

        try:
            return hub.patiently(request, self._access.patience, self._access.stop_requested)
        except hub.NETWORK_ERRORS as error:
            raise _explained(error, self._slug) from error


def _archive(told: Mapping[str, Any]) -> ArchiveInfo:
    name, checksum = str(told.get("filename") or ""), str(told.get("checksum") or "")
    try:
        size_bytes = int(str(told.get("sizeBytes")))
    except ValueError as error:
        raise _senseless() from error
    # The name becomes a path in the cache.
    is_plain = name.isprintable() and Path(name).name == name and not name.startswith(".")
    if not (name and is_plain and checksum and size_bytes > 0):
        raise _senseless()
    return ArchiveInfo(name, size_bytes, checksum)


def _parted(checksum: str) -> tuple[str, str] | None:
    """What kind of checksum it is, which its length tells, and its digest; None where it is of none that we know."""
    digest = checksum.rpartition(":")[2].strip().lower()
    algorithm = _ALGORITHMS.get(len(digest)) if re.fullmatch("[0-9a-f]+", digest) else None
    return (algorithm, digest) if algorithm else None


def _senseless() -> SourceError:
    return SourceError(
        "The Mozilla Data Collective gave no answer that makes sense. What was read is safe. Run again with --resume; "
        "if it stays so, download the archive from its site and give its folder with --source-dir."
    )


def _explained(error: Exception, what: str) -> SourceError:
    """A network error as a letter; never with an address, which may be signed, nor with the key."""
    status = hub.status_of(error)
    told = {
        401: f"It does not know the key in {KEY_VARIABLE}. Make a new one on its site, and set it",
        403: "Its terms are to be accepted first, on the dataset's page, with the account that the key is of",
        404: "It has no such dataset any more",
        410: "It has no such dataset any more",
        429: "Too many requests: it asks for patience",
    }
    why = told.get(status or 0, "Check the network")
    return SourceError(
        f"The Mozilla Data Collective does not give us {shown(what)} ({hub.in_short(error)}). {why}. What is published "
        "and staged is safe. Then run again with --resume."
    )
