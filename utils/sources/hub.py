"""The one door to `huggingface_hub`: imported here, late, and set up once.

Late, because importing it costs a third of a second that `--help` must not pay. Set up, because as
it comes it may wait for ever (no timeouts), draws bars, sends telemetry and reads some settings
from the environment only while it is imported. `connect` does all of that, in this order:
environment, import, timeouts, loggers.

Whoever calls the Hub catches `NETWORK_ERRORS` and asks the functions below what an error means.
"""

import hashlib
import json
import logging
import os
import re
import time
import traceback
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cache
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar
from urllib.parse import urlsplit

from utils.errors import Interrupted, UsageError
from utils.rows.printable import one_line, shown

if TYPE_CHECKING:
    import httpx2
    from huggingface_hub import HfApi, HfFileSystem

    NETWORK_ERRORS: tuple[type[Exception], ...]
    """The exceptions that mean that the Hub could not be asked, or answered with an error status.

    `HfHubHTTPError` is among them.
    """
    COMMIT_ERRORS: tuple[type[Exception], ...]
    """What a commit may raise: those, a RuntimeError raised from one of them where a large file's upload
    failed, a ValueError raised from one of them where the card was refused, and what the client makes of an
    answer that is no JSON, or JSON of another shape (the functions below see through them). The commit may have
    landed all the same."""
else:

    def __getattr__(name: str) -> Any:
        """The two tuples, imported when an exception is first compared with them."""
        if name == "NETWORK_ERRORS":
            return _network_errors()
        if name == "COMMIT_ERRORS":
            return (*_network_errors(), RuntimeError, ValueError, *_OF_ANOTHER_SHAPE)
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


log = logging.getLogger(__name__)

DEFAULT_ENDPOINT = "https://huggingface.co"
TOKEN_FILE = "hf_token.txt"  # noqa: S105 - a file's name
CONNECT_TIMEOUT_S = 10.0
MAX_RETRY_AFTER_S = 600.0
"""The Hub counts requests in windows of five minutes; a server that asks for more than two is not waited for."""

_OF_ANOTHER_SHAPE = (KeyError, TypeError, AttributeError)
_TRANSIENT_STATUSES = frozenset({408, 425, 429, 500, 502, 503, 504})
_OWN_HOSTS = frozenset({"huggingface.co", "hf.co"})
_NOISY_LOGGERS = ("huggingface_hub", "httpx2", "httpcore2", "filelock", "fsspec", "urllib3")

_WHY_NOT_CONNECTED = re.compile("refused|certificate")
_SECRET = re.compile(r"\w+://\S+|\bhf_\w+")
"""Addresses, which may be signed, and tokens."""
_ACCESS = re.compile(r"\b(permissions?|rights?|tokens?|access|authori[sz]\w+|credentials?|gated)\b", re.IGNORECASE)

_NAP_S = 0.25
"""A stop is heard at least this often while we wait."""

T = TypeVar("T")


def never() -> bool:
    """The answer to "was a stop requested?" where nobody can request one."""
    return False


@dataclass(frozen=True)
class Patience:
    """How often the network is asked again, and how long between: 1, 2, 4 ... 30, 30 seconds, 90 s in all."""

    tries: int = 8
    first_wait_s: float = 1.0
    longest_wait_s: float = 30.0

    def waits(self) -> "Waits":
        """The seconds to wait before each further try."""
        return Waits(islice(doubling(self.first_wait_s, self.longest_wait_s), self.tries - 1))


class Waits(Iterator[float]):
    """Seconds to wait, one try after the other."""

    def __init__(self, seconds: Iterable[float]) -> None:
        self._left = deque(seconds)

    def __next__(self) -> float:
        if not self._left:
            raise StopIteration
        return self._left.popleft()

    @property
    def left_s(self) -> float:
        """All that are still to come."""
        return sum(self._left)


def doubling(first_s: float, longest_s: float) -> Iterator[float]:
    """Seconds to wait between tries, without an end: each twice the one before, up to the longest."""
    wait_s = first_s
    while True:
        wait_s = min(wait_s, longest_s)
        yield wait_s
        wait_s *= 2


# --- connecting ------------------------------------------------------------------------------


def connect(token: str | None, timeout_s: float) -> "HfApi":
    """A client of the Hub at `HF_ENDPOINT`, as the environment has it now.

    Without a token it sends none: the machine's own token counts only through `find_token`. The
    timeout (seconds without a byte) holds for all of the process; the last caller's wins.
    """
    _prepare_environment()
    from huggingface_hub import HfApi

    _quieten()
    _set_timeout(timeout_s)
    return HfApi(endpoint=endpoint(), token=token or False)


def filesystem(token: str | None) -> "HfFileSystem":
    """Files of the Hub at `HF_ENDPOINT`, opened by ranges; nothing is remembered between two of these."""
    _prepare_environment()
    from huggingface_hub import HfFileSystem

    return HfFileSystem(endpoint=endpoint(), token=token or False, skip_instance_cache=True)


def read_file(repo_id: str, path: str, revision: str, token: str | None) -> bytes:
    """The bytes of a file, which are held in memory. By plain HTTP, which the Hub serves for all files: the client
    would fetch large ones over Xet, with a token and errors of its own.

    Raises a network error where the answer is not that file (a proxy's page, nothing at all), whatever its status.
    """
    import httpx2
    from huggingface_hub import get_session, hf_hub_url
    from huggingface_hub.utils import build_hf_headers, hf_raise_for_status

    url = hf_hub_url(repo_id, path, repo_type="dataset", revision=revision, endpoint=endpoint())
    answer = get_session().get(url, headers=build_hf_headers(token=token or False))
    hf_raise_for_status(answer)
    content = bytes(answer.content)
    if not _is_that_file(content, [*answer.history, answer]):
        raise httpx2.RemoteProtocolError("another content than the Hub's", request=answer.request)
    return content


def _is_that_file(content: bytes, answers: Sequence[Any]) -> bool:
    """Whether the Hub itself gave it, by its commit's header, and it is whole, by its sha256 or git blob id."""
    if not any("x-repo-commit" in answer.headers for answer in answers):
        return False
    tags: list[str] = [
        answer.headers.get(name, "").strip('"') for answer in answers for name in ("x-linked-etag", "etag")
    ]
    tag = next((tag for tag in tags if re.fullmatch("[0-9a-f]{40}|[0-9a-f]{64}", tag)), None)
    if tag is None:
        return True
    if len(tag) == 64:
        return hashlib.sha256(content).hexdigest() == tag
    return hashlib.sha1(b"blob %d\0" % len(content) + content, usedforsecurity=False).hexdigest() == tag


def operations() -> tuple[Callable[[str, Path | bytes], Any], Callable[[str], Any]]:
    """What a commit is made of: `add(path, file or bytes)` and `delete(path)`. Each object serves one try."""
    from huggingface_hub import CommitOperationAdd, CommitOperationDelete

    def add(path: str, content: Path | bytes) -> Any:
        return CommitOperationAdd(path_in_repo=path, path_or_fileobj=content)

    def delete(path: str) -> Any:
        return CommitOperationDelete(path_in_repo=path)

    return add, delete


def adds(operation: Any) -> bool:
    """Whether it writes a file; else it deletes one."""
    return hasattr(operation, "upload_info")


def ignored_paths(api: "HfApi", repo_id: str, paths: Sequence[str]) -> list[str]:
    """Those of the paths that a commit would leave out without a word, as a `.gitignore` in the repo names them."""
    from huggingface_hub import CommitOperationAdd

    asked = [CommitOperationAdd(path_in_repo=path, path_or_fileobj=b"") for path in paths]
    # Of empty files nothing is uploaded: the Hub is asked, and that is all.
    api.preupload_lfs_files(repo_id, asked, repo_type="dataset")
    return [one.path_in_repo for one in asked if one._should_ignore]


def is_sent(operation: Any, stored: Any) -> bool:
    """Whether a file that the Hub lists (a RepoFile) has the bytes of an operation."""
    if getattr(stored, "size", None) != operation.upload_info.size:
        return False
    if stored.lfs is not None:
        return bool(stored.lfs.sha256 == operation.upload_info.sha256.hex())
    digest = git_blob_digest(operation.upload_info.size)
    with operation.as_file() as file:
        digest.update(file.read())
    return bool(stored.blob_id == digest.hexdigest())


def git_blob_digest(size_bytes: int) -> Any:
    """What makes the name that git has for a file of so many bytes, once it is given them: the Hub says it of all
    files but large ones."""
    return hashlib.sha1(b"blob %d\0" % size_bytes, usedforsecurity=False)


def endpoint() -> str:
    """The address of the Hub, without a slash at its end. UsageError where `HF_ENDPOINT` is none."""
    address = os.environ.get("HF_ENDPOINT", "").strip().rstrip("/") or DEFAULT_ENDPOINT
    if urlsplit(address).scheme not in ("http", "https"):
        raise UsageError("HF_ENDPOINT is no address: it has to begin with https:// or http://. Nothing was changed.")
    return address


def dataset_page(repo_id: str) -> str:
    """The page of a dataset, where people read about it and accept its terms."""
    address = urlsplit(endpoint())
    host = address.netloc.rpartition("@")[2]  # without a name and password
    return f"{address.scheme}://{host}{address.path}/datasets/{repo_id}"


def find_token(folder: Path) -> str | None:
    """The user's token: `HF_TOKEN`, else that of `hf auth login`, else `hf_token.txt` in `folder`, else None."""
    from_environment = os.environ.get("HF_TOKEN", "").strip()
    if from_environment:
        return from_environment
    _prepare_environment()
    from huggingface_hub import get_token

    from_login = (get_token() or "").strip()
    return from_login or _token_in(folder / TOKEN_FILE)


def _token_in(path: Path) -> str | None:
    return (path.read_text(encoding="utf-8", errors="replace").strip() if path.is_file() else "") or None


def _prepare_environment() -> None:
    """Settings that `huggingface_hub` reads once, while it is imported. What the user has set stays."""
    os.environ.setdefault("HF_HUB_DISABLE_TELEMETRY", "1")
    os.environ.setdefault("HF_HUB_DISABLE_PROGRESS_BARS", "1")
    if urlsplit(endpoint()).hostname not in _OWN_HOSTS:
        # With hf_xet installed large files would go through Xet without asking the server, and only
        # the Hub itself has Xet's routes.
        os.environ.setdefault("HF_HUB_DISABLE_XET", "1")


def _quieten() -> None:
    """Their loggers say per request what ours say once; the library's own handler would draw over our bars."""
    for name in _NOISY_LOGGERS:
        logging.getLogger(name).setLevel(logging.ERROR)
    logging.getLogger("huggingface_hub").handlers.clear()


_installed_timeout_s: list[float] = []


def _set_timeout(timeout_s: float) -> None:
    """Give every request a timeout, also those for which the library asks for none.

    Done once for each new timeout, because it closes the connections that are open.
    """
    from huggingface_hub import set_client_factory

    if _installed_timeout_s != [timeout_s]:
        _library_hooks()
        set_client_factory(lambda: _client_with_timeout(timeout_s))
        _installed_timeout_s[:] = [timeout_s]


@cache
def _library_hooks() -> "dict[str, list[Callable[..., Any]]]":
    """What the library's own client does around each request (request ids, offline mode)."""
    from huggingface_hub import get_session

    with settings_explained():
        return dict(get_session().event_hooks)


def _client_with_timeout(timeout_s: float) -> "httpx2.Client":
    import httpx2

    limits = httpx2.Timeout(timeout_s, connect=min(timeout_s, CONNECT_TIMEOUT_S))
    defaults = limits.as_dict()

    def fill_in(request: httpx2.Request) -> None:
        # Some calls of the library say `timeout=None`, which means "for ever".
        asked = request.extensions.get("timeout") or {}
        request.extensions["timeout"] = {
            key: asked.get(key) if asked.get(key) is not None else value for key, value in defaults.items()
        }

    hooks = _library_hooks()
    hooks = {**hooks, "request": [*hooks.get("request", []), fill_in]}
    with settings_explained():
        return httpx2.Client(event_hooks=hooks, follow_redirects=True, timeout=limits)


@contextmanager
def settings_explained() -> Iterator[None]:
    """UsageError for what of the environment keeps a client from being made."""
    import httpx2

    try:
        yield
    except (ImportError, ValueError, OSError, httpx2.InvalidURL) as error:
        raise _unusable_settings(error) from error


def _unusable_settings(error: Exception) -> UsageError:
    """Names alone are told: the value of a proxy may hold a password."""
    proxies = ("HTTPS_PROXY", "HTTP_PROXY", "ALL_PROXY")
    names = [name for name in os.environ if name.upper() in proxies]
    certificates = [name for name in ("SSL_CERT_FILE", "SSL_CERT_DIR") if name in os.environ]
    if isinstance(error, ImportError):
        what = f"{' or '.join(names)} names a SOCKS proxy, which needs a package: pip install socksio"
    elif isinstance(error, OSError):
        what = f"{' or '.join(certificates) or 'the certificates of this machine'} can't be read"
    else:
        what = f"{' or '.join(names)} is no address of a proxy (http://host:port)"
    return UsageError(
        f"The network can't be used as the environment says: {what}. Nothing was changed. Mend or unset that, then "
        "repeat this command."
    )


# --- what an error means ---------------------------------------------------------------------


@cache
def _network_errors() -> tuple[type[Exception], ...]:
    import httpx2
    from huggingface_hub.errors import OfflineModeIsEnabled

    return (httpx2.HTTPError, OfflineModeIsEnabled)


def hf_errors() -> Any:
    """The module with the library's exception classes."""
    from huggingface_hub import errors

    return errors


def network_error_behind(error: BaseException) -> Exception | None:
    """The network error that an exception is, or was raised from; None where there is none."""
    seen: BaseException | None = error
    while seen is not None and not isinstance(seen, _network_errors()):
        seen = seen.__cause__
    return seen


def status_of(error: BaseException) -> int | None:
    """The HTTP status of an error; None where no answer came."""
    response: Any = getattr(network_error_behind(error), "response", None)
    return response.status_code if response is not None else None


def is_missing(error: BaseException) -> bool:
    """No such repo, revision or file, as far as this token may see."""
    return status_of(error) == 404


def is_missing_revision(error: BaseException) -> bool:
    """The repo is there, the revision is not."""
    return isinstance(error, hf_errors().RevisionNotFoundError)


def is_offline(error: BaseException) -> bool:
    """Whether nobody was asked, as `HF_HUB_OFFLINE` says."""
    return isinstance(error, hf_errors().OfflineModeIsEnabled)


def is_gated(error: BaseException) -> bool:
    """The repo's terms have not been accepted by this account (or nobody is signed in)."""
    return isinstance(error, hf_errors().GatedRepoError)


def is_auth_problem(error: BaseException) -> bool:
    """No token, a wrong one, or one that may not do this. Without a token, missing repos look like this too."""
    return status_of(error) in (401, 403) and not is_expired(error)


def is_expired(error: BaseException) -> bool:
    """The signed address of a large file, on another host, that the Hub sent us to: asked again, it gives a new one."""
    response: Any = getattr(network_error_behind(error), "response", None)
    if response is None or response.status_code != 403 or not response.history:
        return False
    return bool(response.history[0].url.host != response.url.host)


def is_transient(error: BaseException) -> bool:
    """Asking again may help: no answer at all, too many requests, or trouble of the server's own."""
    import httpx2

    cause = network_error_behind(error)
    if isinstance(cause, httpx2.TransportError):
        return not isinstance(cause, httpx2.UnsupportedProtocol | httpx2.LocalProtocolError)
    return status_of(error) in _TRANSIENT_STATUSES or is_expired(error)


def is_answer_of_another_shape(error: BaseException) -> bool:
    """Whether it is what the client makes of an answer that is no JSON, or JSON without what it looks for."""
    frames = [frame.f_code.co_filename for frame, _ in traceback.walk_tb(error.__traceback__)]
    return isinstance(error, (ValueError, *_OF_ANOTHER_SHAPE)) and any("huggingface_hub" in name for name in frames[1:])


def is_unclear_answer(error: BaseException) -> bool:
    """Whether it is what the client makes of an answer to a commit that says nothing of one."""
    of_no_hub = getattr(hf_errors(), "HfUriError", json.JSONDecodeError)  # its `commitUrl` is none of the endpoint's
    return isinstance(error, (json.JSONDecodeError, of_no_hub, *_OF_ANOTHER_SHAPE))


def in_short(error: BaseException) -> str:
    """An error in a few words that are safe to show: never an address, which may be signed, nor a header."""
    import httpx2

    status = status_of(error)
    if status is not None:
        return f"HTTP {status}"
    said = {
        httpx2.ConnectTimeout: "no connection in time",
        httpx2.TimeoutException: "no answer in time",
        httpx2.ProxyError: "the proxy refuses",
        httpx2.ConnectError: "no connection",
        httpx2.NetworkError: "the connection broke",
        httpx2.ProtocolError: "the answer broke off",
    }
    cause = network_error_behind(error)
    if isinstance(cause, httpx2.ConnectError) and (known := _WHY_NOT_CONNECTED.search(str(cause).lower())):
        return {"refused": "connection refused", "certificate": "its certificate is not trusted"}[known[0]]
    return next((words for kind, words in said.items() if isinstance(cause, kind)), "no answer that can be read")


def sentence_of(error: BaseException) -> str:
    """What the Hub says itself of why it refuses: one line that is safe to show; empty where it says nothing.

    A page that a proxy sends in its place is not shown.
    """
    response: Any = getattr(network_error_behind(error), "response", None)
    try:
        said = response.json()["error"] if response is not None else ""
    except (ValueError, RuntimeError, *_OF_ANOTHER_SHAPE):  # no JSON, not read, or JSON of another shape
        said = ""
    return shown(_SECRET.sub("...", one_line(said))) if isinstance(said, str) else ""


def is_about_access(sentence: str) -> bool:
    """Whether such a sentence says that the token may not do this, and nothing of a quota or a limit."""
    return _ACCESS.search(sentence) is not None


# --- patience --------------------------------------------------------------------------------


def patiently(call: Callable[[], T], patience: Patience, stop_requested: Callable[[], bool] = never) -> T:
    """The result of a call that may safely be repeated; the last network error once patience ends."""
    waits = patience.waits()
    while True:
        try:
            return call()
        except _network_errors() as error:
            if not wait_before_retry(error, waits, stop_requested):
                raise


def wait_before_retry(
    error: Exception, waits: Waits, stop_requested: Callable[[], bool] = never, asked: str = "the Hub"
) -> bool:
    """Wait, and say whether to try again: not where that can't help, nor when there are no more waits.

    Raises Interrupted when a stop is requested meanwhile.
    """
    wait_s = next(waits, None) if is_transient(error) else None
    if wait_s is None:
        return False
    wait_s = max(wait_s, retry_after_s(error))
    log.info(
        "no good answer from %s (%s); asking again in %.1f s, for %.0f s more at most",
        *(asked, in_short(error), wait_s, wait_s + waits.left_s),
    )
    if not pause(wait_s, stop_requested):
        raise Interrupted(f"Stopped on request, while waiting for {asked}.")
    return True


def retry_after_s(error: BaseException) -> float:
    """How long the answer asks us to wait (`Retry-After`, `RateLimit`), ten minutes at most; 0 where it does not."""
    response: Any = getattr(network_error_behind(error), "response", None)
    if response is None:
        return 0.0
    from huggingface_hub.utils import parse_ratelimit_headers

    limit = parse_ratelimit_headers(response.headers)
    asked = response.headers.get("retry-after", "").strip()
    if limit is not None and limit.remaining == 0 and response.status_code == 429:
        wait_s = limit.reset_in_seconds + 1
    else:
        wait_s = int(asked) if asked.isdigit() else 0
    return float(min(wait_s, MAX_RETRY_AFTER_S))


def pause(seconds: float, stop_requested: Callable[[], bool]) -> bool:
    """Sleep in short naps, so that a stop is heard; False when one was requested."""
    end = time.monotonic() + seconds
    while not stop_requested():
        left = end - time.monotonic()
        if left <= 0:
            return True
        time.sleep(min(left, _NAP_S))
    return False
