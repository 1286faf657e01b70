"""What a run gives: waited for, then every item as it came, appended to the raw file.

Items are read from where the raw file ends for the run, never from the start again. A run that failed, was aborted or
timed out has items too, and they are paid for. What Apify no longer has is counted as missing, and said.
"""

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

from processors.apify.api import ApifyApi, Gone, RunSeen
from processors.apify.fold import RawContents, RawRun
from processors.apify.journal import Journal
from processors.apify.old_data import OldPairs
from processors.apify.purchases import Purchase

UNKNOWN = "UNKNOWN"
"""The status of a run that Apify does not know any more."""
IMPORTED = "IMPORTED"
"""Of what is no run of Apify, but a file of an older tool."""


@dataclass(frozen=True)
class Polling:
    """How a run is waited for and its items are read."""

    poll_s: float = 5.0
    """Between two looks at a run, and at the end of its items."""
    looks_for_run: int = 6
    """How often a run that was just bought may not be found."""
    looks_for_items: int = 6
    """How often a run may show no more items, though it must have some: it told of them, or cost something."""
    page_items: int = 1000
    """Items asked for at a time, and fsynced together."""


class Intake:
    """Takes the items of runs into a raw file."""

    def __init__(
        self,
        api: ApifyApi,
        raw: Journal,
        contents: RawContents,
        pause: Callable[[float], None],
        polling: Polling,
    ) -> None:
        """`contents` is what the raw file holds; it is kept up to date. `pause` may raise Interrupted."""
        self._api, self._raw, self._contents = api, raw, contents
        self._pause, self._polling = pause, polling

    def take(self, purchase: Purchase) -> tuple[RawRun, float | None]:
        """All items of a purchase, durable in the raw file; and what it cost, where Apify says."""
        seen = self._wait(purchase)
        cost_usd = seen.cost_usd if seen else None
        there = self._contents.runs.get(str(purchase.run_id))
        return self._fetch(purchase, there, seen.status if seen else UNKNOWN, bool(cost_usd)), cost_usd

    def take_old(self, old: OldPairs) -> RawRun:
        """All lines of an older tool's file, durable in the raw file; goes on after those that are there."""
        run = self._contents.runs.get(old.run_id) or self._append_old_header(old)
        while run.items < len(old.items):
            some = old.items[run.items : run.items + self._polling.page_items]
            self._raw.append(_item_records(run.id, run.items, some))
            run = self._note(replace(run, items=run.items + len(some)))
        end = self._raw.append([{"run": run.id, "ended": IMPORTED, "items": run.items, "missing": 0}])
        return self._note(replace(run, end=end, status=IMPORTED))

    def _append_old_header(self, old: OldPairs) -> RawRun:
        start, total = self._raw.size_bytes, len(old.items)
        header = {"run": old.run_id, "query": "", "query_index": 0, "started_at": old.written_at.isoformat()}
        self._raw.append([{**header, "total": total, "imported": old.path.name}])
        return self._note(RawRun(old.run_id, "", 0, old.written_at, total, start, imported=old.path.name))

    def _wait(self, purchase: Purchase) -> RunSeen | None:
        """The run once it has ended; None where Apify does not know it any more."""
        for look in range(10**9):
            if look:
                self._pause(self._polling.poll_s)
            try:
                seen = self._api.run(str(purchase.run_id))
            except Gone:
                if look < self._polling.looks_for_run:  # a new run may not be seen everywhere yet
                    continue
                return None
            if seen.has_ended:
                return seen
        return None

    def _fetch(self, purchase: Purchase, raw_run: RawRun | None, status: str, must_have_some: bool) -> RawRun:
        """Bring all items of an ended run into the raw file, going on after those that are there."""
        missing: int | None
        try:
            raw_run, missing = self._fetch_items(purchase, raw_run, must_have_some)
        except Gone:
            if raw_run is None:
                raw_run = self._append_header(purchase, None, [])
            raw_run = self._contents.runs[raw_run.id]
            missing = None if raw_run.total is None else max(raw_run.total - raw_run.items, 0)
        ended = {"run": raw_run.id, "ended": status, "items": raw_run.items, "missing": missing}
        end = self._raw.append([ended])
        return self._note(replace(raw_run, end=end, status=status, missing=missing))

    def _fetch_items(self, purchase: Purchase, raw_run: RawRun | None, must_have_some: bool) -> tuple[RawRun, int]:
        """All items that are to be had, and how many more Apify told of."""
        empty_looks, have, told = 0, raw_run.items if raw_run else 0, (raw_run.total or 0) if raw_run else 0
        # Right after a run has ended, its last items may not be listed yet.
        while empty_looks < (2 if have >= told and (have or not must_have_some) else self._polling.looks_for_items):
            if empty_looks:
                self._pause(self._polling.poll_s)
            items, total = self._api.items(purchase.dataset_id, have, self._polling.page_items)
            told = max(told, total)
            if not items:
                empty_looks += 1
            elif raw_run is None:
                raw_run, empty_looks = self._append_header(purchase, total, items), 0
            else:
                self._raw.append(_item_records(raw_run.id, have, items))
                raw_run, empty_looks = self._note(replace(raw_run, items=have + len(items))), 0
            have += len(items)
        return raw_run or self._append_header(purchase, 0, []), told - have if told > have else 0

    def _append_header(self, purchase: Purchase, total: int | None, items: list[Any]) -> RawRun:
        if purchase.run_id is None or purchase.started_at is None:
            raise ValueError("a purchase without a run has no items")
        start = self._raw.size_bytes
        header = {
            "run": purchase.run_id,
            "query": purchase.query,
            "query_index": purchase.query_index,
            "actor": purchase.actor,
            "started_at": purchase.started_at.isoformat(),
            "total": total,
        }
        self._raw.append([header, *_item_records(purchase.run_id, 0, items)])
        begun = RawRun(purchase.run_id, purchase.query, purchase.query_index, purchase.started_at, total, start)
        return self._note(replace(begun, items=len(items)))

    def _note(self, run: RawRun) -> RawRun:
        self._contents.runs[run.id] = run
        return run


def _item_records(run_id: str, first: int, items: list[Any]) -> list[dict[str, Any]]:
    return [{"run": run_id, "index": first + number, "item": item} for number, item in enumerate(items)]
