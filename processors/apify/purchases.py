"""The ledger of purchases, and how a run is bought exactly once.

    purchases.jsonl   intent -> run -> done (-> cost, where Apify corrects it), or intent -> void (-> run, a late one)

The intent is durable before the run is started, the run's id before anything else happens. After a crash between the
two, or an answer that got lost, nobody knows whether the run was started: then the actor's runs since the intent are
listed. Ours carries the purchase's mark in its user agent; where Apify keeps no user agent, its input tells (what we
sent must be in it: the platform may add the actor's defaults). Found: it is adopted. Not found, after several
looks (listings lag): the intent is void, and the run may be bought. Can't be told: nothing is bought. A run of a void
intent that shows up later still is paid for: its items are taken in, too.
"""

import logging
import secrets
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from pathlib import Path
from typing import Any

from processors.apify.api import SUCCEEDED, ApifyApi, Gone, NoAnswer, RunSeen
from processors.apify.journal import Journal, read_lines
from processors.apify.queries import Query, canonical
from utils.errors import IngestError, SourceError, Stopped
from utils.rows.printable import shown

log = logging.getLogger(__name__)

CLOCK_SLACK = timedelta(hours=26)
"""How far our clock, or the zone it was set in, may be off from Apify's where a run is told by its input alone."""
_CENT_OF_A_CENT = 1e-4


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
    max_usd: float | None = None
    """What Apify was told that the run may cost."""
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
    may_be_late: bool = False
    """Void because no run was found, not because Apify refused it."""
    is_cut: bool = False
    """It ended where one more item would have cost more than `max_usd`: the query may have more to give."""

    @property
    def is_open(self) -> bool:
        return not self.void and self.status is None

    @property
    def is_whole(self) -> bool:
        """Whether everything that the query was to give is here."""
        return self.status == SUCCEEDED and self.missing == 0 and not self.is_cut

    @property
    def usd_per_item(self) -> float | None:
        """None where it gave nothing, or Apify does not say what it cost."""
        return self.cost_usd / self.items if self.items and self.cost_usd is not None else None


class PurchaseLedger:
    """All purchases that were ever made from this folder."""

    def __init__(self, path: Path, now: Callable[[], datetime]) -> None:
        self._journal = Journal(path)
        self.now = now
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

    def usd_per_item(self, actor: str) -> float:
        """What an item of an actor has cost at most; 0 where that is not known yet."""
        known = (purchase.usd_per_item for purchase in self.purchases.values() if purchase.actor == actor)
        return max((price for price in known if price is not None), default=0.0)

    def intend(self, query: Query, query_index: int, raw: str, max_usd: Decimal | None = None) -> Purchase:
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
            "max_usd": None if max_usd is None else float(max_usd),
        }
        return self._write(event)

    def bought(self, purchase: Purchase, run: RunSeen) -> Purchase:
        """Note the run, before anything else happens."""
        started_at = run.started_at.isoformat()
        event = {"event": "run", "run": run.id, "dataset": run.dataset_id, "started_at": started_at}
        return self._write({**event, "purchase": purchase.number, "cost_usd": run.cost_usd})

    def give_up(self, purchase: Purchase, why: str, may_be_late: bool = False) -> None:
        """Nothing was bought, as far as can be told."""
        self._write({"event": "void", "purchase": purchase.number, "why": why, "may_be_late": may_be_late})

    def done(self, purchase: Purchase, status: str, items: int, missing: int | None, cost: float | None) -> Purchase:
        """All of its items are here."""
        event = {"event": "done", "status": status, "items": items, "missing": missing, "cost_usd": cost}
        ended = take_event({purchase.number: purchase}, {**event, "purchase": purchase.number})
        return self._write({**event, "purchase": purchase.number, "cut_by_our_limit": self._is_cut(ended)})

    def correct_cost(self, purchase: Purchase, cost_usd: float | None) -> Purchase:
        """What Apify says now."""
        if cost_usd is None or cost_usd == purchase.cost_usd:
            return purchase
        is_cut = self._is_cut(replace(purchase, cost_usd=cost_usd))
        event = {"event": "cost", "purchase": purchase.number, "cost_usd": cost_usd}
        return self._write({**event, "cut_by_our_limit": is_cut})

    def _is_cut(self, purchase: Purchase) -> bool:
        """Whether a run ended at what we had allowed it to cost: Apify itself does not say so."""
        if purchase.max_usd is None or purchase.cost_usd is None:
            return False
        price = purchase.usd_per_item or self.usd_per_item(purchase.actor)
        return purchase.cost_usd + price > purchase.max_usd + _CENT_OF_A_CENT

    def _write(self, event: Mapping[str, Any]) -> Purchase:
        dated = {**event, "at": self.now().astimezone(UTC).isoformat(timespec="seconds")}
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
            max_usd=event.get("max_usd"),
        )
    elif kind == "run":
        started_at = datetime.fromisoformat(event["started_at"])
        run = {"run_id": event["run"], "dataset_id": event["dataset"], "started_at": started_at}
        purchase = replace(purchases[number], **run, cost_usd=event["cost_usd"], void=False, may_be_late=False)
    elif kind == "done":
        ended = {"status": event["status"], "items": event["items"], "missing": event["missing"]}
        known = purchases[number].cost_usd if event["cost_usd"] is None else event["cost_usd"]
        purchase = replace(purchases[number], **ended, cost_usd=known, is_cut=event.get("cut_by_our_limit", False))
    elif kind == "cost":
        is_cut = event.get("cut_by_our_limit", purchases[number].is_cut)
        purchase = replace(purchases[number], cost_usd=event["cost_usd"], is_cut=is_cut)
    elif kind == "void":
        purchase = replace(purchases[number], void=True, may_be_late=event.get("may_be_late", False))
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

    def __init__(self, api: ApifyApi, ledger: PurchaseLedger, pause: Callable[[float], None], pauses: Pauses) -> None:
        self._api, self._ledger, self._pause, self._pauses = api, ledger, pause, pauses

    def buy(self, query: Query, query_index: int, raw: str, max_usd: Decimal | None) -> Purchase:
        """Buy a query's run, once. Raises what says that it was not bought, or that it can't be told."""
        told = ""
        for number in range(self._pauses.tries):
            if number:
                self._pause(self._pauses.between_tries_s * 2 ** (number - 1))
                if (late := self.find_late(raw, query.name)) is not None:
                    return late
            purchase = self._ledger.intend(query, query_index, raw, max_usd)
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
                f"{', '.join(unknown[:5])} was started with is gone (Apify keeps it for {retention_words(self._api)} "
                f"only), so it can't be told. Nothing more was bought. To buy it all the same: --resume --buy-again "
                f"{purchase.query}."
            )
        self._ledger.give_up(purchase, "no run of it was found", may_be_late=True)
        return None

    def find_late(self, raw: str, query: str | None = None) -> Purchase | None:
        """A purchase for a collection (of one query) that was given up, and whose run shows up after all: it is open
        again."""
        given_up = [each for each in self._ledger.purchases.values() if each.may_be_late and each.raw == raw]
        late = [each for each in given_up if query in (None, each.query)]
        for actor in sorted({purchase.actor for purchase in late}):
            by_mark = {run.purchase: run for run in self._api.runs_of(actor) if run.id not in self._ledger.run_ids}
            for purchase in late:
                if (run := by_mark.get(purchase.mark)) is not None:
                    log.warning(
                        "run %s of query %s, which was not found before, was bought all the same: its items are "
                        "taken in",
                        *(run.id, purchase.query),
                    )
                    return self._ledger.bought(purchase, run)
        return None

    def _look(self, purchase: Purchase) -> tuple[RunSeen | None, list[str]]:
        """The purchase's run, if it is listed; and the runs of which nobody knows whose they are."""
        taken, marks = self._ledger.run_ids, self._marks(purchase)
        runs = [run for run in self._api.runs_of(purchase.actor) if run.id not in taken]
        for run in runs:
            if run.purchase in marks:  # whatever the clocks say
                return run, []
        unknown = []
        for run in self._unmarked(runs, purchase.intended_at):
            try:
                if is_input_of(purchase.input, self._api.input_of(run)):
                    return run, []
            except Gone:
                unknown.append(run.id)
        return None, unknown

    def _unmarked(self, runs: list[RunSeen], intended_at: datetime) -> list[RunSeen]:
        """The runs that may be the one that was meant, the nearest in time first; a marked one is another purchase's,
        perhaps of another machine."""
        since = min(intended_at, self._ledger.now()) - CLOCK_SLACK
        unmarked = [run for run in runs if run.purchase is None and run.started_at >= since]
        return sorted(unmarked, key=lambda run: abs(run.started_at - intended_at))

    def _marks(self, purchase: Purchase) -> set[str]:
        """Its own mark, and those of earlier tries at the same: a run of theirs that shows up late is paid for, too."""
        return {
            other.mark
            for other in self._ledger.purchases.values()
            if other.number == purchase.number or (other.void and other.fingerprint == purchase.fingerprint)
        }


def retention_words(api: ApifyApi) -> str:
    """How long Apify keeps what a run has left, for messages."""
    days = api.retention_days()
    return f"its retention time ({'by the plan' if days is None else f'{days} days'} of this account)"


def is_input_of(ours: Any, theirs: Any) -> bool:
    """Whether a run with the input `theirs` may be the one that was started with `ours`."""
    ours, theirs = canonical(ours), canonical(theirs)
    if not isinstance(ours, dict) or not isinstance(theirs, dict):
        return bool(ours == theirs)
    return all(name in theirs and theirs[name] == value for name, value in ours.items())
