"""The collector. What was bought is on our disk before anything is made of it; all else is a function of that.

    ledger: intent -> start the run -> ledger: run -> wait -> items -> raw file -> pairs -> master -> ledger: done

Each arrow is durable before the next begins. At its start it replays the raw file (cheap): that restores the authors'
counts and the replies that were seen, and appends to the master what a crash kept from it. Then it goes on with the
purchase that is open, if there is one; then it buys the next query, until the target, the costs or the queries are
reached. What it yields is in the master already, so nobody can know of a pair that a crash may take.
"""

import logging
import time
from collections.abc import Callable, Generator, Iterator
from contextlib import ExitStack, closing
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from decimal import Decimal
from pathlib import Path
from typing import Any

from processors.apify.api import ApifyApi, Gone
from processors.apify.checks import (
    bought_before,
    is_processed,
    known_replies,
    refuse_lost_raw,
    refuse_open,
    refuse_other_books,
    shortfall,
    tell,
    tell_of_old,
)
from processors.apify.files import CHECKPOINT, Folder, checkpoint_content, write_checkpoint
from processors.apify.fold import Collection, Fold, Folded, RawRun, read_contents
from processors.apify.intake import Intake, Polling
from processors.apify.journal import Journal
from processors.apify.master import Master
from processors.apify.old_data import OldProgress, is_of_ours, old_pairs, refuse_to_buy_again
from processors.apify.purchases import Buyer, Pauses, Purchase, PurchaseLedger, read_purchases, retention_words
from processors.apify.queries import Query
from utils.disk.durable import sweep_temporaries
from utils.errors import AuthenticationError, Interrupted, SourceError, Stopped, UsageError

log = logging.getLogger(__name__)

MAX_YIELDED = 1000
"""Items at most between two flushes, whatever becomes of them."""
_NAP_S = 0.25


@dataclass(frozen=True)
class CollectorOptions:
    """What to collect, and how."""

    queries: tuple[Query, ...]
    target: int | None = None
    """Pairs; None: all that the queries give."""
    max_cost_usd: float | None = None
    """Of this collection, resumes included."""
    flush_interval: int = 50
    buy_again: frozenset[str] = frozenset()
    """Queries to buy once more where they failed, lost items or have another input by now."""
    pauses: Pauses = field(default_factory=Pauses)
    polling: Polling = field(default_factory=Polling)


class CostReached(Stopped):
    """Nothing more may be bought. What was collected is whole as it is."""


class Collector:
    """One collection in a folder."""

    def __init__(
        self,
        folder: Path,
        api: ApifyApi,
        options: CollectorOptions,
        *,
        stop_requested: Callable[[], bool] = lambda: False,
        sleep: Callable[[float], None] = lambda seconds: time.sleep(seconds),
        now: Callable[[], datetime] = lambda: datetime.now(UTC),
    ) -> None:
        self._folder = Folder(folder)
        self._api, self._options, self._now = api, options, now
        self._stop_requested, self._sleep = stop_requested, sleep
        self._taken: set[int] = set()
        """Numbers of the purchases that were taken in."""
        self._collection: Collection | None = None
        self._last: Purchase | None = None
        """The last one that was finished: Apify may still correct what it cost."""

    # --- beginning -------------------------------------------------------------------------------

    def begin(self, goes_on: bool = False) -> str:
        """Begin a new collection; returns the name of its master. Refuses while paid items are not fetched.

        `goes_on`: an older tool's checkpoint in the folder counts, so what it has bought is not bought again. Else
        such a checkpoint is refused, as it would be.
        """
        if not goes_on:
            refuse_to_buy_again(self._folder)
        with self._opened_ledger() as ledger:
            refuse_open(ledger)
            return self._begin(ledger, bought_before(self._folder, self._options.queries) if goes_on else OldProgress())

    def check_can_begin(self) -> None:
        """Refuse, changing nothing, what `begin` would refuse; and a second collector in the folder."""
        refuse_to_buy_again(self._folder)
        if self._folder.ledger.exists():
            with self._opened_ledger() as ledger:
                refuse_open(ledger)

    def current(self) -> str | None:
        """The master of the collection that a resume goes on with; None where there is none. SourceError where it was,
        but is gone."""
        raws = self._folder.raws()
        refuse_lost_raw(read_purchases(self._folder.ledger).values(), raws)
        if not raws:
            return None
        collection = read_contents(raws[-1]).collection
        return collection.master if collection else self._folder.master_of(raws[-1]).name

    def refilter(self) -> str:
        """Begin another master with the rules of the queries as they are now, of the items that are here.

        Nothing is bought. Returns its name; the old master stays. With the rules that it has, it stays the one.
        """
        with self._opened_ledger() as ledger:
            raws = self._folder.raws()
            contents = read_contents(raws[-1]) if raws else None
            if contents is None or contents.collection is None or not contents.runs:
                raise UsageError("There are no raw items to filter again: nothing was bought in this folder so far.")
            refuse_open(ledger)
            rules = {**contents.collection.rules, **{query.name: query.rules for query in self._options.queries}}
            if rules == contents.collection.rules:
                return contents.collection.master
            master = self._folder.master(self._new_stamp(ledger)).name
            with Journal(raws[-1]) as raw:
                raw.append([replace(contents.collection, master=master, rules=rules).as_record()])
            return master

    def _begin(self, ledger: PurchaseLedger, before: OldProgress) -> str:
        self._folder.make_salt()
        with Journal(self._folder.raw(self._new_stamp(ledger))) as raw:
            master = self._folder.master_of(raw.path).name
            raw.append([self._new_collection(master, before).as_record()])
        return master

    def _new_stamp(self, ledger: PurchaseLedger) -> str:
        return self._folder.new_stamp(self._now(), [purchase.raw for purchase in ledger.purchases.values()])

    def _new_collection(self, master: str, before: OldProgress) -> Collection:
        return Collection(
            master=master,
            rules={query.name: query.rules for query in self._options.queries},
            others={
                path.name: path.stat().st_size
                for path in self._folder.masters()
                if path.name != master and is_of_ours(path)
            },
            processed_before=before.processed_queries,
            authors_before=before.author_counts,
        )

    def _opened_ledger(self) -> closing[PurchaseLedger]:
        """The ledger; it is locked while it is open, so there is one collector in the folder."""
        return closing(PurchaseLedger(self._folder.ledger, self._now))

    # --- collecting ------------------------------------------------------------------------------

    def collect(self, master: str | None = None) -> Generator[Folded, None, None]:
        """What becomes of every item of the current collection, from its start, buying what is still to be bought.

        Begins one where there is none. `master` is what the current one must be: SourceError where another was begun
        meanwhile. Raises Stopped where --max-cost is reached before the target, Interrupted on
        a stop; in all cases everything bought is kept, and the next `collect` goes on.
        """
        with ExitStack() as opened:
            self._ledger = opened.enter_context(self._opened_ledger())
            sweep_temporaries(self._folder.path, alone=True)
            refuse_lost_raw(self._ledger.purchases.values(), self._folder.raws())
            if not self._folder.raws():
                self._begin(self._ledger, bought_before(self._folder, self._options.queries))
            self._raw = opened.enter_context(Journal(self._folder.raws()[-1]))
            self._contents = read_contents(self._raw.path)
            refuse_other_books(self._ledger, self._raw.path, self._contents)
            self._collection = collection = self._declared(self._contents.collection)
            if master not in (None, collection.master):
                raise SourceError(
                    f"Another run has begun the collection {collection.master} meanwhile; this one goes on with "
                    f"{master}. Nothing was bought. Run again with --resume."
                )
            self._fold = Fold(self._raw.path, collection, *known_replies(self._folder, collection))
            self._master = opened.enter_context(
                Master(self._folder.path / collection.master, self._options.flush_interval)
            )
            self._buyer = Buyer(self._api, self._ledger, self._pause, self._options.pauses)
            self._intake = Intake(self._api, self._raw, self._contents, self._pause, self._options.polling)
            self._last = next(reversed(self._ledger.of_collection(self._raw.path.name)), None)
            opened.callback(self._write_last_checkpoint)
            yield from self._replay()
            yield from self._take_in_old()
            yield from self._settle()
            yield from self._buy_all(collection)

    def _declared(self, collection: Collection | None) -> Collection:
        """The collection with the rules of all queries; those that have made pairs of items stay as they are."""
        if collection is None:  # it died before its first line
            is_first = len(self._folder.raws()) == 1
            before = bought_before(self._folder, self._options.queries) if is_first else OldProgress()
            collection = self._new_collection(self._folder.master_of(self._raw.path).name, before)
            self._raw.append([collection.as_record()])
            return collection
        rules = {query.name: query.rules for query in self._options.queries}
        used = {run.query: collection.rules[run.query] for run in self._contents.bought}
        changed = sorted(name for name in rules.keys() & used.keys() if rules[name] != used[name])
        if changed:
            log.warning(
                "other filters or fields than it was begun with are ignored (%s): see --refilter", ", ".join(changed)
            )
        rules = {**collection.rules, **rules, **used}
        if rules == collection.rules:
            return collection
        collection = replace(collection, rules=rules)
        self._raw.append([collection.as_record()])
        return collection

    def _replay(self) -> Iterator[Folded]:
        """What was bought before; the master gets what it lacks of it."""
        for run in self._contents.ended:
            yield from self._fold_run(run)
        self._master.check_nothing_is_left()

    def _take_in_old(self) -> Iterator[Folded]:
        """The pairs of an older tool that no collection has taken in so far: into the raw file, into the master."""
        old = old_pairs(self._folder)
        raws = self._folder.raws() if old else []
        taken = {run.id for raw in raws for run in read_contents(raw).ended if run.imported}
        for file in (each for each in old if each.run_id not in taken):
            before = self._fold.pairs
            yield from self._fold_run(self._intake.take_old(file))
            has_names = bool(self._collection and self._collection.processed_before)
            tell_of_old(file, self._fold.pairs - before, has_names)

    def _fold_run(self, run: RawRun) -> Iterator[Folded]:
        """What becomes of a run's items; each is yielded once the pairs up to it are in the master."""
        waiting: list[Folded] = []
        for folded in self._fold.run(run):
            waiting.append(folded)
            if folded.pair is not None:
                self._master.take(folded.pair)
            if self._master.unflushed == 0 or len(waiting) >= MAX_YIELDED:
                self._master.flush()
                yield from waiting
                waiting.clear()
        self._master.flush()
        yield from waiting

    def _settle(self) -> Iterator[Folded]:
        """Go on with the purchase that is open, and with those that were given up and show up late."""
        while purchase := self._ledger.open_purchase or self._buyer.find_late(self._raw.path.name):
            yield from self._go_on_with(purchase)

    def _go_on_with(self, purchase: Purchase) -> Iterator[Folded]:
        if purchase.raw != self._raw.path.name:
            raise SourceError(
                f"Items of query {purchase.query} that are paid for belong to {purchase.raw}, which is not the newest "
                "raw file. Nothing was bought. Put the files back as they were, then run again with --resume."
            )
        found: Purchase | None = purchase
        if purchase.run_id is None:
            found = self._buyer.find(purchase, purchase.query in self._options.buy_again)
        if found is not None:
            yield from self._take_in(found)

    def _buy_all(self, collection: Collection) -> Iterator[Folded]:
        for index, query in enumerate(self._options.queries):
            is_wanted = query.name in self._options.buy_again
            if (is_processed(query, collection.processed_before) and not is_wanted) or not self._is_to_buy(query):
                continue
            if self._is_target_reached:
                break
            self._raise_if_stopped()
            purchase = self._buyer.buy(query, index, self._raw.path.name, self._money_left(query))
            yield from self._take_in(purchase)
            yield from self._settle()
        self._correct_last_cost_if_told()
        log.info("collected %d pairs for %.2f USD", self._fold.pairs, self.spent_usd)
        bought = self._ledger.of_collection(self._raw.path.name)
        cut = [each for each in bought if each.is_cut and each.number in self._taken]
        if cut and not self._is_target_reached:
            raise CostReached(f"--max-cost is reached: {shortfall(cut[0], self._retention)} and a higher --max-cost.")

    @property
    def _is_target_reached(self) -> bool:
        return self._options.target is not None and self._fold.pairs >= self._options.target

    def _is_to_buy(self, query: Query) -> bool:
        bought = [each for each in self._ledger.of_collection(self._raw.path.name) if each.query == query.name]
        if not bought:
            return True
        last, again = bought[-1], query.name in self._options.buy_again
        if last.fingerprint != query.fingerprint:
            if not again:
                raise UsageError(
                    f"Query {query.name} was bought with another input. Nothing more was bought. Give the changed "
                    f"query a name of its own, or buy it once more: --resume --buy-again {query.name}."
                )
            return True
        if again and last.is_whole:
            log.info("query %s gave all that it has: it is not bought again", query.name)
        elif last.is_cut and not again and last.number not in self._taken:
            log.warning("%s", shortfall(last, self._retention))
        return again and not last.is_whole

    # --- one purchase ----------------------------------------------------------------------------

    def _take_in(self, purchase: Purchase) -> Iterator[Folded]:
        """All that a run gives: into the raw file, into the master; then the purchase is done."""
        raw_run, cost = self._contents.runs.get(str(purchase.run_id)), purchase.cost_usd
        if raw_run is None or raw_run.end is None:
            raw_run, cost = self._intake.take(purchase)
            yield from self._fold_run(raw_run)
        self._last = self._ledger.done(purchase, str(raw_run.status), raw_run.items, raw_run.missing, cost)
        self._write_checkpoint()
        self._taken.add(purchase.number)
        tell(self._last, self._retention)

    def _retention(self) -> str:
        return retention_words(self._api)

    # --- money, pauses, the checkpoint -----------------------------------------------------------

    @property
    def spent_usd(self) -> float:
        """What this collection has cost, as far as Apify says."""
        return sum(each.cost_usd or 0.0 for each in self._ledger.of_collection(self._raw.path.name))

    def _money_left(self, query: Query) -> Decimal | None:
        """What the run of a query may cost. Raises CostReached where that is not even one item, or can't be told."""
        self._correct_last_cost()
        if self._options.max_cost_usd is None:
            return None
        silent = [each.run_id for each in self._ledger.of_collection(self._raw.path.name) if each.cost_usd is None]
        if silent:
            raise CostReached(
                f"Apify does not say what run {silent[0]} cost, so --max-cost can't be kept. Nothing more was bought; "
                f"the {self._fold.pairs} pairs are kept. Look at the run's page, then run again without --max-cost."
            )
        left = Decimal(str(self._options.max_cost_usd)) - Decimal(str(round(self.spent_usd, 6)))
        price = self._ledger.usd_per_item(query.actor)
        if left <= 0 or left < Decimal(str(round(price, 6))):
            rest = f" (the {left} USD that are left are less than an item of {query.actor} costs)" if left > 0 else ""
            raise CostReached(
                f"--max-cost is reached{rest}: {self.spent_usd:.2f} of {self._options.max_cost_usd:.2f} USD for "
                f"{self._fold.pairs} pairs. All are kept. To go on: --resume with a higher --max-cost."
            )
        return left

    def _correct_last_cost(self) -> None:
        """Ask what the last purchase cost: Apify adds up for some moments after a run has ended."""
        purchase, self._last = self._last, None
        if purchase is not None:
            try:
                corrected = self._ledger.correct_cost(purchase, self._api.run(str(purchase.run_id)).cost_usd)
                if corrected.is_cut and not purchase.is_cut:
                    log.warning("%s", shortfall(corrected, self._retention))
            except Gone:
                log.debug("run %s is gone; its cost stays as it was last told", purchase.run_id)

    def _correct_last_cost_if_told(self) -> None:
        """The same where nothing more is bought: then it can wait for the next run, with or without an answer."""
        try:
            self._correct_last_cost()
        except (Stopped, AuthenticationError) as error:
            log.warning("What the last purchase cost could not be asked; the next run does. %s", error)

    def _pause(self, seconds: float) -> None:
        """Wait, hearing a request to stop."""
        while seconds > 0:
            self._raise_if_stopped()
            self._sleep(min(seconds, _NAP_S))
            seconds -= _NAP_S
        self._raise_if_stopped()

    def _raise_if_stopped(self) -> None:
        if self._stop_requested():
            raise Interrupted("Stopped on request. What is bought is kept, and --resume goes on with it.")

    def _write_checkpoint(self) -> None:
        more = {"spent_usd": round(self.spent_usd, 6), "timestamp": self._now().isoformat(timespec="seconds")}
        write_checkpoint(self._folder, {**self.progress(), **more})

    def _write_last_checkpoint(self) -> None:
        """The checkpoint at an end of any kind, which it does not change where there is no room even for that."""
        try:
            self._write_checkpoint()
        except OSError as error:
            log.warning("%s could not be written (%s); the next run makes it again", CHECKPOINT, error.strerror)

    def progress(self) -> dict[str, Any]:
        """How far the collection is, as its checkpoint says it; nothing before `collect` has begun."""
        if self._collection is None:
            return {}
        here = [run.query for run in self._contents.ended if not run.imported]
        processed = dict.fromkeys([*self._collection.processed_before, *here])
        names, authors = (self._master.path.name, self._raw.path.name), self._fold.authors
        return checkpoint_content(*names, processed, authors, self._master.pairs, self._master.unflushed)
