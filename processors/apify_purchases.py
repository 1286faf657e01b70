"""The ledger of purchases, and how a run is bought exactly once.

    purchases.jsonl   intent -> run -> done (-> cost, where Apify corrects it), or intent -> void

The intent is durable before the run is started, the run's id before anything else happens. After a crash between the
two, or an answer that got lost, nobody knows whether the run was started: then the actor's runs since the intent are
listed. Ours carries the purchase's mark in its user agent; where Apify keeps no user agent, its input tells (what we
sent must be in it: the platform may add the actor's defaults). Found: it is adopted. Not found, after several
looks (listings lag): the intent is void, and the run may be bought. Can't be told: nothing is bought.
"""

import logging
import secrets
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from pathlib import Path
from typing import Any

from processors.apify_api import SUCCEEDED, ApifyApi, Gone, NoAnswer, RunSeen
from processors.apify_queries import Query, canonical
from utils.errors import IngestError, SourceError, Stopped
from utils.journal import Journal, read_lines
from utils.shown import shown

log = logging.getLogger(__name__)

CLOCK_SLACK = timedelta(hours=26)
"""How far our clock, or the zone it was set in, may be off from Apify's."""


@dataclass(frozen=True)
class Purchase:
    """One run: meant to be bought, bought, or given up."""

    number: int
    query: str
    query_index: int
    actor: str
    input: Any
    fingerprint: str
    mark: str
    raw: str
    """The raw file of the collection that it is for."""
    intended_at: datetime
    run_id: str | None = None
    dataset_id: str = ""
    started_at: datetime | None = None
    status: str | None = None
    """How the run ended; None until all of its items are in the raw file."""
    items: int = 0
    missing: int | None = 0
    cost_usd: float | None = None
    void: bool = False
    """There is no such run, and nothing was paid."""

    @property
    def is_open(self) -> bool:
        return not self.void and self.status is None

    @property
    def is_whole(self) -> bool:
        """Whether everything that the query was to give is here."""
        return self.status == SUCCEEDED and self.missing == 0


class Ledger:
    """All purchases that were ever made from this folder."""

    def __init__(self, path: Path, now: Callable[[], datetime]) -> None:
        self._journal = Journal(path)
        self._now = now
        try:
            self.purchases = read_purchases(path)
        except BaseException:
            self._journal.close()
            raise

    def close(self) -> None:
        self._journal.close()

    @property
    def open_purchase(self) -> Purchase | None:
        """The one that was paid for, or may have been, and whose items are not all here."""
        return next((purchase for purchase in self.purchases.values() if purchase.is_open), None)

    @property
    def run_ids(self) -> set[str]:
        return {purchase.run_id for purchase in self.purchases.values() if purchase.run_id is not None}

    def of_collection(self, raw: str) -> list[Purchase]:
        """What was bought for a collection, in order."""
        return [purchase for purchase in self.purchases.values() if purchase.raw == raw and not purchase.void]

    def intend(self, query: Query, query_index: int, raw: str) -> Purchase:
        """Say what is going to be bought, before it is."""
        event = {
            "event": "intent",
            "purchase": max(self.purchases, default=0) + 1,
            "query": query.name,
            "query_index": query_index,
            "actor": query.actor,
            "input": query.input,
            "input_sha256": query.fingerprint,
            "mark": secrets.token_hex(8),
            "raw": raw,
        }
        return self._write(event)

    def bought(self, purchase: Purchase, run: RunSeen) -> Purchase:
        """Note the run, before anything else happens."""
        started_at = run.started_at.isoformat()
        event = {"event": "run", "run": run.id, "dataset": run.dataset_id, "started_at": started_at}
        return self._write({**event, "purchase": purchase.number, "cost_usd": run.cost_usd})

    def give_up(self, purchase: Purchase, why: str) -> None:
        """Nothing was bought."""
        self._write({"event": "void", "purchase": purchase.number, "why": why})

    def done(self, purchase: Purchase, status: str, items: int, missing: int | None, cost: float | None) -> Purchase:
        """All of its items are here."""
        event = {"event": "done", "status": status, "items": items, "missing": missing, "cost_usd": cost}
        return self._write({**event, "purchase": purchase.number})

    def correct_cost(self, purchase: Purchase, cost_usd: float | None) -> Purchase:
        """What Apify says now."""
        if cost_usd is None or cost_usd == purchase.cost_usd:
            return purchase
        return self._write({"event": "cost", "purchase": purchase.number, "cost_usd": cost_usd})

    def _write(self, event: Mapping[str, Any]) -> Purchase:
        dated = {**event, "at": self._now().astimezone(UTC).isoformat(timespec="seconds")}
        self._journal.append([dated])
        return take_event(self.purchases, dated)


def read_purchases(path: Path) -> dict[int, Purchase]:
    """The purchases in a ledger, by number. Raises DamagedJournal, or SourceError where an event makes no sense."""
    purchases: dict[int, Purchase] = {}
    for line in read_lines(path):
        try:
            take_event(purchases, line.record)
        except (KeyError, TypeError, ValueError) as error:
            raise SourceError(
                f"{path}, byte {line.start:,}: this is no event of the ledger ({type(error).__name__}: {shown(error)})."
                " Nothing was bought. Put the file back as it was, then run again with --resume."
            ) from error
    return purchases


def take_event(purchases: dict[int, Purchase], event: Mapping[str, Any]) -> Purchase:
    """Enter an event; returns the purchase after it."""
    number, kind = event["purchase"], event["event"]
    if kind == "intent":
        purchase = Purchase(
            number=number,
            query=event["query"],
            query_index=event["query_index"],
            actor=event["actor"],
            input=event["input"],
            fingerprint=event["input_sha256"],
            mark=event["mark"],
            raw=event["raw"],
            intended_at=datetime.fromisoformat(event["at"]),
        )
    elif kind == "run":
        started_at = datetime.fromisoformat(event["started_at"])
        run = {"run_id": event["run"], "dataset_id": event["dataset"], "started_at": started_at}
        purchase = replace(purchases[number], **run, cost_usd=event["cost_usd"])
    elif kind == "done":
        ended = {"status": event["status"], "items": event["items"], "missing": event["missing"]}
        known = purchases[number].cost_usd if event["cost_usd"] is None else event["cost_usd"]
        purchase = replace(purchases[number], **ended, cost_usd=known)
    elif kind == "cost":
        purchase = replace(purchases[number], cost_usd=event["cost_usd"])
    elif kind == "void":
        purchase = replace(purchases[number], void=True)
    else:
        raise ValueError(f"the event {shown(kind)!r} is not known")
    purchases[number] = purchase
    return purchase


@dataclass(frozen=True)
class Pauses:
    """How patient a purchase is."""

    tries: int = 4
    """Starts, each with an intent of its own, where Apify gives no clear answer."""
    looks: int = 6
    """Listings until a run counts as not started."""
    between_looks_s: float = 5.0
    between_tries_s: float = 10.0


class Buyer:
    """Buys runs and finds those that may have been bought."""

    def __init__(self, api: ApifyApi, ledger: Ledger, pause: Callable[[float], None], pauses: Pauses) -> None:
        self._api, self._ledger, self._pause, self._pauses = api, ledger, pause, pauses

    def buy(self, query: Query, query_index: int, raw: str, max_usd: Decimal | None) -> Purchase:
        """Buy a query's run, once. Raises what says that it was not bought, or that it can't be told."""
        told = ""
        for number in range(self._pauses.tries):
            if number:
                self._pause(self._pauses.between_tries_s * 2 ** (number - 1))
            purchase = self._ledger.intend(query, query_index, raw)
            try:
                run = self._api.start(query.actor, query.input, purchase.mark, query.max_items, max_usd)
            except NoAnswer as no_answer:
                told = str(no_answer)
                log.warning("no clear answer to the start of query %s (%s): looking for its run", query.name, told)
                found = self.find(purchase)
                if found is not None:
                    return found
                continue
            except IngestError as refusal:
                self._ledger.give_up(purchase, shown(refusal))
                raise
            log.info("bought query %s: run %s of %s", query.name, run.id, query.actor)
            return self._ledger.bought(purchase, run)
        raise Stopped(
            f"Apify did not start query {query.name} in {self._pauses.tries} tries (the last: {told}). No run of it "
            "was found, so nothing was bought. Run again later with --resume."
        )

    def find(self, purchase: Purchase, buy_again: bool = False) -> Purchase | None:
        """The purchase with its run, where there is one; None, and the purchase void, where there is none.

        Raises Stopped where that can't be told, unless `buy_again`.
        """
        unknown: list[str] = []
        for look in range(self._pauses.looks):
            if look:
                self._pause(self._pauses.between_looks_s)
            run, unknown = self._look(purchase)
            if run is not None:
                log.info("found run %s of query %s, bought before", run.id, purchase.query)
                return self._ledger.bought(purchase, run)
        if unknown and not buy_again:
            raise Stopped(
                f"Query {purchase.query} may have been bought on {purchase.intended_at:%Y-%m-%d %H:%M} UTC: what run "
                f"{', '.join(unknown[:5])} was started with is gone (Apify keeps it for the account's retention time "
                f"only), so it can't be told. Nothing more was bought. To buy it all the same: --resume --buy-again "
                f"{purchase.query}."
            )
        self._ledger.give_up(purchase, "no run of it was found")
        return None

    def _look(self, purchase: Purchase) -> tuple[RunSeen | None, list[str]]:
        """The purchase's run, if it is listed; and the runs of which nobody knows whose they are."""
        taken, marks = self._ledger.run_ids, self._marks(purchase)
        since = purchase.intended_at - CLOCK_SLACK
        runs = [run for run in self._api.runs_since(purchase.actor, since) if run.id not in taken]
        for run in runs:
            if run.purchase in marks:
                return run, []
        unknown = []
        for run in reversed(runs):
            if run.purchase is not None:
                continue  # another purchase's, perhaps of another machine
            try:
                if is_input_of(purchase.input, self._api.input_of(run)):
                    return run, []
            except Gone:
                unknown.append(run.id)
        return None, unknown

    def _marks(self, purchase: Purchase) -> set[str]:
        """Its own mark, and those of earlier tries at the same: a run of theirs that shows up late is paid for, too."""
        return {
            other.mark
            for other in self._ledger.purchases.values()
            if other.number == purchase.number or (other.void and other.fingerprint == purchase.fingerprint)
        }


def is_input_of(ours: Any, theirs: Any) -> bool:
    """Whether a run with the input `theirs` may be the one that was started with `ours`."""
    ours, theirs = canonical(ours), canonical(theirs)
    if not isinstance(ours, dict) or not isinstance(theirs, dict):
        return bool(ours == theirs)
    return all(name in theirs and theirs[name] == value for name, value in ours.items())
