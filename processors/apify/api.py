"""The one door to `apify-client`: imported here, late, as it is an optional part and takes half a second.

Starting a run is buying. It is asked for once, by a client that never repeats a request by itself (as it comes, it
repeats one four times after a 5xx or a lost answer, and each may buy): what has no clear answer is `NoAnswer`, and
whoever asked looks whether the run is there (`processors/apify/purchases.py`). Everything else only reads, and is
repeated by the client: five tries within some 15 seconds.
"""

import os
import sys
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from functools import cache
from typing import TYPE_CHECKING, Any, TypeVar

from utils.errors import AuthenticationError, Stopped, UsageError
from utils.rows.printable import shown

if TYPE_CHECKING:
    from apify_client import ApifyClient

HOW_TO_INSTALL = 'pip install "apify-client>=3.4,<4"'
DEFAULT_URL = "https://api.apify.com"
RUNS_PER_LISTING = 1000
ENDED = frozenset({"SUCCEEDED", "FAILED", "ABORTED", "TIMED-OUT"})
SUCCEEDED = "SUCCEEDED"
_UNCLEAR_STATUSES = frozenset({408, 409, 425, 429})
_AGENT_MARK = "purchase/"

T = TypeVar("T")


class NoAnswer(Exception):  # noqa: N818 - it may have worked
    """Whether the run was started can't be told from the answer, or there was none."""


class Gone(Exception):
    """Apify no longer has it: deleted by hand, or after the retention time of the account."""


@dataclass(frozen=True)
class ApiOptions:
    """How Apify is reached."""

    token: str
    url: str = DEFAULT_URL
    timeout_s: float = 60.0
    """Of one answer."""
    retries: int = 4
    """Of requests that only read."""
    first_wait_s: float = 0.5
    """Before the first of them; each further one waits twice as long."""


@dataclass(frozen=True)
class RunSeen:
    """A run as Apify shows it."""

    id: str
    status: str
    started_at: datetime
    dataset_id: str
    store_id: str
    cost_usd: float | None
    """So far; None where Apify does not say."""
    purchase: str | None
    """The mark of the purchase that started it, if one of ours did and Apify has kept it."""

    @property
    def has_ended(self) -> bool:
        return self.status in ENDED


def tokens_in_environment() -> list[str]:
    """The tokens that are set, the one that counts first."""
    found = (os.environ.get(name, "").strip() for name in ("APIFY_TOKEN", "APIFY_API_TOKEN"))
    return [token for token in found if token]


def options_from_environment(url: str | None = None) -> ApiOptions:
    """`APIFY_TOKEN` (or `APIFY_API_TOKEN`); the address is `url`, else `APIFY_API_BASE_URL`, else Apify's own."""
    tokens = tokens_in_environment()
    if not tokens:
        raise AuthenticationError(
            "Apify needs a token, and there is none. Nothing was bought. Copy yours from "
            "https://console.apify.com/settings/integrations, then: export APIFY_TOKEN=..., and repeat this command."
        )
    name = "--apify-url" if url else "APIFY_API_BASE_URL"
    url = url or os.environ.get("APIFY_API_BASE_URL", "").strip() or DEFAULT_URL
    if not url.startswith(("http://", "https://")):
        raise UsageError(f"{name} is {shown(url)!r}: it must begin with https:// (or http://).")
    return ApiOptions(tokens[0], url)


class ApifyApi:
    """The requests that a collector makes."""

    def __init__(self, options: ApiOptions) -> None:
        """Raises UsageError where the library is missing: before anything is begun."""
        _library()
        self._options = options

    def start(
        self, actor: str, run_input: Any, purchase: str, max_items: int | None = None, max_usd: Decimal | None = None
    ) -> RunSeen:
        """Buy a run. `purchase` marks it: Apify notes it with the run, as part of our user agent.

        Raises NoAnswer where it may or may not have been bought; AuthenticationError, UsageError or Stopped where
        Apify has said that it was not.
        """
        buyer = self._client(retries=0, mark=purchase)
        try:
            run = buyer.actor(actor).start(run_input=run_input, max_items=max_items, max_total_charge_usd=max_usd)
        except _api_error() as error:
            if error.status_code < 500 and error.status_code not in _UNCLEAR_STATUSES:
                raise _refusal(error.status_code, self._words_of(error), actor) from error
            raise NoAnswer(self._words_of(error)) from error
        except _failures() as error:
            raise NoAnswer(f"{type(error).__name__}: {self._words_of(error)}") from error
        return _seen(run)

    def runs_of(self, actor: str) -> list[RunSeen]:
        """The account's runs of an actor that Apify still has, the newest first."""
        return self._read(f"the runs of {actor}", lambda: self._all_runs(actor))

    def _all_runs(self, actor: str) -> list[RunSeen]:
        listing = self._reader().actor(actor).runs()
        runs: list[RunSeen] = []
        page = None
        while page is None or len(page) == RUNS_PER_LISTING:
            page = listing.list(desc=True, limit=RUNS_PER_LISTING, offset=len(runs)).items
            runs += [_seen(run) for run in page]
        return runs

    def run(self, run_id: str) -> RunSeen:
        """A run as it is now. Raises Gone."""
        run = self._read(f"run {run_id}", lambda: self._reader().run(run_id).get())
        if run is None:
            raise Gone(f"run {run_id}")
        return _seen(run)

    def input_of(self, run: RunSeen) -> Any:
        """What a run was started with. Raises Gone."""
        record = self._read(
            f"the input of run {run.id}", lambda: self._reader().key_value_store(run.store_id).get_record("INPUT")
        )
        if record is None:
            raise Gone(f"the input of run {run.id}")
        return record["value"]

    def items(self, dataset_id: str, offset: int, limit: int) -> tuple[list[Any], int]:
        """Items of a dataset, in the order in which the run gave them, and how many there are in all. Raises Gone.

        The second number lags behind: the end of a dataset is where there are no more items.
        """
        page = self._read(
            f"the items of dataset {dataset_id}",
            lambda: self._reader().dataset(dataset_id).list_items(offset=offset, limit=limit),
        )
        return page.items, page.total

    def retention_days(self) -> int | None:
        """For how many days Apify keeps the items of runs, by the account's plan; None where it does not say."""
        try:
            return int(self._client(retries=0, mark=None).user().limits().limits.data_retention_days)
        except (_api_error(), *_failures()):
            return None  # it is for a message only

    def _read(self, what: str, ask: Callable[[], T]) -> T:
        """An answer, or the error that says why there is none."""
        try:
            return ask()
        except _api_error() as error:
            if error.status_code == 404:
                raise Gone(what) from error
            if error.status_code in (401, 403):
                raise AuthenticationError(_no_access(what, self._words_of(error))) from error
            raise Stopped(self._unreachable(what, error)) from error
        except _failures() as error:
            raise Stopped(self._unreachable(what, error)) from error

    def _words_of(self, error: Exception) -> str:
        """An error's own words, which go into messages and journals: without the token, should an answer repeat it."""
        return shown(str(error).replace(self._options.token, "<token>"))

    def _unreachable(self, what: str, error: Exception) -> str:
        return (
            f"Could not get {what} from {self._options.url}: {type(error).__name__}: {self._words_of(error)}. Nothing "
            "is lost, and nothing is bought again. Run again with --resume."
        )

    def _reader(self) -> "ApifyClient":
        return self._client(self._options.retries, mark=None)

    @cache  # noqa: B019 - as many as there are purchases in a run
    def _client(self, retries: int, mark: str | None) -> "ApifyClient":
        timeout = timedelta(seconds=self._options.timeout_s)
        client: ApifyClient = _library()(
            token=self._options.token,
            api_url=self._options.url,
            max_retries=retries,
            min_delay_between_retries=timedelta(seconds=self._options.first_wait_s),
            timeout_short=timeout,
            timeout_medium=timeout,
            timeout_long=timeout,
            timeout_max=timeout,
            user_agent_suffix=f"{_AGENT_MARK}{mark}" if mark else None,
        )
        return client


def _library() -> Any:
    try:
        from apify_client import ApifyClient
    except ImportError as error:
        raise UsageError(
            "Apify is bought from through a library that is not installed. Nothing was bought. Install it: "
            f"{sys.executable} -m {HOW_TO_INSTALL}; then repeat this command."
        ) from error
    return ApifyClient


def _api_error() -> Any:
    from apify_client.errors import ApifyApiError

    return ApifyApiError


def _failures() -> tuple[type[Exception], ...]:
    """What a request may raise besides: the network's errors, and those of an answer that makes no sense.

    The client checks answers against its models: a ValueError. A page without the headers that count is a KeyError.
    """
    import impit
    from apify_client.errors import ApifyClientError

    return (ApifyClientError, impit.HTTPError, impit.InvalidURL, ValueError, KeyError)


def _seen(run: Any) -> RunSeen:
    _, marked, mark = (run.meta.user_agent or "").partition(_AGENT_MARK)
    cost = run.usage_total_usd
    return RunSeen(
        id=run.id,
        status=str(run.status),
        started_at=run.started_at.astimezone(UTC),
        dataset_id=run.default_dataset_id,
        store_id=run.default_key_value_store_id,
        cost_usd=None if cost is None else float(cost),
        purchase=mark.split()[0].rstrip(";") if marked and mark.split() else None,
    )


def _refusal(status: int, words: str, actor: str) -> Exception:
    told = f"Apify did not start {actor}: {words} (status {status}). Nothing was bought. "
    if status == 401:
        return AuthenticationError(told + "Check APIFY_TOKEN, then run again with --resume.")
    if status == 404:
        return UsageError(told + "Check the actor's name (maker/name) in the queries file.")
    if status == 400:
        return UsageError(told + "Check the query's input in the queries file against the actor's page.")
    return Stopped(
        told + "Look at https://console.apify.com/billing for the account's limits, and whether the actor must be "
        "rented first; then run again with --resume."
    )


def _no_access(what: str, words: str) -> str:
    return (
        f"Apify does not let us see {what}: {words}. What was bought stays there. Use the token of the account "
        "that bought it (APIFY_TOKEN), then run again with --resume."
    )
