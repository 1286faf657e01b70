"""What is held against each other before a collection goes on, and what people are told of a purchase.

The ledger says what was paid for, the raw file what came of it. Where one of them lacks what the other has, somebody
cut, deleted or replaced a file: going on would buy it again, or lose it. Nothing is bought then.
"""

import logging
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path

from processors.apify.files import Folder, id_in, master_ids
from processors.apify.fold import Collection, RawContents
from processors.apify.old_data import OldPairs, OldProgress, is_of_ours, old_progress, read_old
from processors.apify.purchases import Purchase, PurchaseLedger
from processors.apify.queries import Query
from utils.errors import SourceError, UsageError
from utils.rows.printable import shown

log = logging.getLogger(__name__)

_PUT_BACK = "Nothing was bought. Put the file back as it was, then run again with --resume"


def refuse_open(ledger: PurchaseLedger) -> None:
    """UsageError while there are paid items that are not here: a new collection would forget them."""
    purchase = ledger.open_purchase
    if purchase is not None:
        raise UsageError(
            f"Query {shown(purchase.query)} was paid for (or may have been), and its items are not here yet. Nothing "
            "was changed. Fetch them first: --resume."
        )


def refuse_lost_raw(purchases: Iterable[Purchase], raws: Iterable[Path]) -> None:
    """SourceError where the raw file of the newest collection that anything was bought for is gone."""
    bought = max((purchase.raw for purchase in purchases if not purchase.void), default="")
    if bought > max((path.name for path in raws), default=""):
        raise SourceError(
            f"{bought}, which holds items that were paid for, is gone. {_PUT_BACK}; or begin a new collection, which "
            "buys everything anew: --fresh without --resume."
        )


def refuse_other_books(ledger: PurchaseLedger, raw: Path, contents: RawContents) -> None:
    """SourceError where the ledger and the raw file do not tell of the same runs and items."""
    unknown = [run.query for run in contents.bought if run.id not in ledger.run_ids]
    if unknown:
        raise SourceError(
            f"{raw.name} has items of query {shown(unknown[0])}, and purchases.jsonl does not know of their run: it "
            f"was cut, deleted or replaced. {_PUT_BACK}."
        )
    for purchase in ledger.of_collection(raw.name):
        run = contents.runs.get(str(purchase.run_id))
        if not purchase.is_open and (run is None or run.end is None or run.items != purchase.items):
            raise SourceError(
                f"{raw} does not have the {purchase.items} items of query {shown(purchase.query)} that were paid for: "
                f"it was cut, deleted or replaced. {_PUT_BACK}."
            )


def known_replies(folder: Folder, collection: Collection) -> tuple[set[str], set[str]]:
    """The replies in other masters, as far as those went when a collection was begun: in those of this program, and in
    those of an older tool, which earlier versions held a collection against and did not take in."""
    known: set[str] = set()
    old: set[str] = set()
    for name, size_bytes in collection.others.items():
        path = folder.path / name
        if not path.is_file() or path.stat().st_size < size_bytes:
            raise SourceError(
                f"{path} is gone or cut, and this collection must not repeat its pairs. Nothing was changed. Put "
                "it back as it was, then run again with --resume."
            )
        if is_of_ours(path):
            known |= master_ids(path, size_bytes)
        else:
            old |= {id_in(item) for item in read_old(path, size_bytes).items if isinstance(item, dict)}
    return known, old


def bought_before(folder: Folder, queries: Sequence[Query]) -> OldProgress:
    """What an older tool has bought, in a folder where nothing was begun before.

    UsageError where that can't be told, or a name of its list is none of a query: it may be one of these under another
    name, which would be bought once more.
    """
    before = old_progress(folder, [query.name for query in queries])
    bought = [query for query in queries if is_processed(query, before.processed_queries)]
    told = {name for query in bought for name in (query.name, *(text for texts in _searched(query) for text in texts))}
    if unknown := [name for name in before.processed_queries if name not in told]:
        raise UsageError(
            f"The checkpoint of an older tool in {folder.path} says that {shown(unknown[0])!r} was bought, and no "
            "query of yours is called so or searches for that. Nothing was bought or changed. Call the one that it is "
            'by that name; or, if it is none of these, take the name out of "processed_queries" there (and set '
            '"query_index" to 0, if none is left). Then repeat this command.'
        )
    if before.processed_queries:
        log.info("bought by an older tool, and not bought again: %s", shown(", ".join(before.processed_queries), 400))
    return before


def is_processed(query: Query, processed: Iterable[str]) -> bool:
    """Whether an older tool's list of queries has this one: by its name, or by what it searches for."""
    known = set(processed)
    return query.name in known or any(texts and known.issuperset(texts) for texts in _searched(query))


def _searched(query: Query) -> list[list[str]]:
    """The texts in each value of a query's input."""
    values = [value if isinstance(value, list) else [value] for value in query.input.values()]
    return [[text for text in texts if isinstance(text, str)] for texts in values]


def tell(done: Purchase, retention: Callable[[], str]) -> None:
    """What came of a purchase; and a warning where the query may have more to give. `retention`: see `shortfall`."""
    cost = "unknown" if done.cost_usd is None else f"{done.cost_usd:.2f} USD"
    log.info("query %s: %d items for %s (%s)", done.query, done.items, cost, done.status)
    if not done.is_whole:
        log.warning("%s", shortfall(done, retention))


def tell_of_old(file: OldPairs, pairs: int, has_names: bool) -> None:
    """What came of an older tool's file; `has_names`: whether its checkpoint names the queries that it has bought."""
    log.info("took in %d pairs of an older tool from %s", pairs, file.path)
    if not has_names:
        log.warning("no checkpoint says which queries gave %s: all of the queries file may be bought", file.path)
    if file.damaged:
        log.warning("%s: %d lines can't be read; they are among the rejects", file.path, file.damaged)


def shortfall(done: Purchase, retention: Callable[[], str]) -> str:
    """Why a purchase is not whole, and what to type. `retention` says how long Apify keeps things."""
    if done.missing is None or done.missing:
        lost = "an unknown number" if done.missing is None else str(done.missing)
        why = f"ended {done.status}, and {lost} of its items are gone: Apify keeps items for {retention()} only. The"
    elif done.is_cut and done.cost_usd is not None:
        why = f"was ended by --max-cost at {done.cost_usd:.2f} USD ({done.status}), and may have more to give. The"
    else:
        why = f"ended {done.status}. The"
    return (
        f"query {shown(done.query)} {why} {done.items} items that it gave are kept. To buy it once more, from its "
        f"start: --resume --buy-again {shown(done.query)}"
    )
