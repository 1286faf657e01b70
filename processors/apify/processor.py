"""Apify: dialogue bought from the scrapers of apify.com, a post and its reply a row.

The only source that costs money, so it is never part of `--all`, and the only one that is made while it is read:
reading it runs the collector (`processors/apify/collector.py`), which buys what a queries file asks for, once, and
keeps all of it in `data/raw`. From there on it is like any other source: the raw items are its clips, in the order in
which they came; each is a row, a reject with a reason, or (a post that answers nothing) not selected.

A collection is the source's revision: the name of its master file. `fresh` begins a new one, else the newest goes on.
Authors are published as salted hashes only.
"""

from collections.abc import Callable, Iterator, Mapping
from contextlib import closing
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from processors.apify.api import ApifyApi, options_from_environment
from processors.apify.collector import Collector, CollectorOptions, CostReached
from processors.apify.files import Folder, author_hash
from processors.apify.fold import Folded
from processors.apify.queries import load_queries
from processors.base_processor import BaseProcessor, ProcessorConfig
from processors.catalog import CATALOG
from processors.engine.positions import number_in
from utils.errors import SourceError, UsageError
from utils.rows.printable import shown
from utils.rows.schema import DIALOGUE, Dialogue, Position, RawClip, Reject, metadata_json

DEFAULT_FOLDER = Path("data/raw")
SPLIT = "train"


@dataclass(frozen=True)
class CollectionFiles:
    """What a run asks of a source's files: their names and their revision."""

    folder: Folder
    revision: str

    def names(self) -> list[str]:
        return [path.name for path in self.folder.raws()[-1:]]


class ApifyProcessor(BaseProcessor):
    """Options (of `ProcessorConfig.options`, all text): `queries` (a file), `target` (pairs), `max_cost` (USD),
    `flush_interval`, `buy_again` (names of queries, separated by commas), `fresh` (`yes`), `refilter` (`yes`), `url`,
    `folder`."""

    info = CATALOG["Apify"]
    row_schema = DIALOGUE
    is_open_ended = True  # a higher target, more money or more queries buy more

    def __init__(self, config: ProcessorConfig | Mapping[str, Any] | None = None, **fields: Any) -> None:
        super().__init__(config, **fields)
        self.config = replace(self.config, overlap=False)  # it buys: never ahead of what is published, in one thread
        self.folder = Folder(Path(self.config.options.get("folder", DEFAULT_FOLDER)))
        self.make_collector: Callable[[CollectorOptions], Collector] = self._collector
        """How a collector is made; may be set, to reach another Apify."""
        self._opened: Collector | None = None
        self._salt = b""

    def get_available_splits(self) -> list[str]:
        return [SPLIT]

    @property
    def files(self) -> Any:
        """The collection to read: the pinned one, else a new one where `fresh` is asked for, else the newest."""
        if self.revision is None and self.config.options.get("refilter") == "yes":
            self.revision = self.collector.refilter()
        is_fresh = self.config.options.get("fresh") == "yes"
        if self.revision is None and not is_fresh:
            self.revision = self.collector.current()
        if self.revision is None:
            self.revision = self.collector.begin(goes_on=not is_fresh)
        current = self.collector.current()
        if self.revision != current:
            there = f"the newest in {self.folder.path} is {current}" if current else f"{self.folder.path} has none"
            newest = ", or publish the newest one from its start: --fresh Apify --resume with another --output"
            raise SourceError(
                f"What is published comes from the collection {self.revision}, and {there}. Nothing was bought or "
                f"published. Put the files of that collection back{newest if current else ''}."
            )
        return CollectionFiles(self.folder, self.revision)

    def check_can_be_read(self) -> None:
        """Look at the queries, the token and the ledger. Nothing is begun or bought."""
        self.collector.check_can_begin()

    @property
    def collector(self) -> Collector:
        """The collector of this run, made at first use: it needs the queries file and a token."""
        if self._opened is None:
            self._opened = self.make_collector(collector_options(self.config.options))
        return self._opened

    def read(self, split: str, position: Position) -> Iterator[RawClip]:
        """The items from `position` on. What is bought already is read again from the raw file up to there."""
        done = number_in(position, "index")
        raw, self._salt = self.files.names()[0], self.folder.salt()
        if position.get("raw", raw) != raw:
            raise SourceError(
                f"The position is in {position['raw']}, and this collection is {raw}. Nothing was bought. Leave out "
                "--checkpoint and use --resume."
            )
        try:
            with closing(self.collector.collect(self.revision)) as items:
                for number, folded in enumerate(items, start=1):
                    if number > done:
                        yield _clip(folded)
        except CostReached as reached:
            self.cut_short = reached

    def convert_to_standard_format(self, sample: RawClip | Mapping[str, Any]) -> Dialogue | Reject:
        """The row of an item that is a pair, or the reject of one that is not."""
        if not isinstance(sample, RawClip) or sample.metadata is None:
            raise TypeError("an item of a collection is expected, as read() gives it")
        source_id, record = f"{self.name}/{SPLIT}/{sample.key}", sample.metadata
        if "reason" in record:
            return Reject(source_id, record["reason"], record["detail"])
        return Dialogue(
            ID="",
            source_id=source_id,
            dataset_name=self.name,
            prompt=record["prompt"],
            response=record["response"],
            query=record["query"],
            author_hash=author_hash(record["author"], self._salt) or None,
            created_at=record["created_at"] or None,
            likes=record["likes"],
            replies=record["replies"],
            language=record["language"],
            source_metadata=metadata_json(record["metadata"]),
        )

    def checkpoint_details(self) -> dict[str, Any]:
        """The collection's own progress, as `collection_checkpoint.json` has it, but without names of people."""
        told = self._opened.progress() if self._opened else {}
        hashed = {author_hash(name, self._salt): count for name, count in told.get("author_counts", {}).items()}
        return {name: hashed if name == "author_counts" else value for name, value in told.items() if name != "version"}

    def _collector(self, options: CollectorOptions) -> Collector:
        return Collector(
            self.folder.path,
            ApifyApi(options_from_environment(self.config.options.get("url"))),
            options,
            stop_requested=self.config.access.stop_requested,
        )


def collector_options(given: Mapping[str, str]) -> CollectorOptions:
    """The collector's options from a processor's. UsageError where one can't be used."""
    if not given.get("queries"):
        raise UsageError("Apify needs to know what to buy. Nothing was bought. Name a file: --queries queries.yaml.")
    queries = tuple(load_queries(Path(given["queries"])))
    buy_again = frozenset(name.strip() for name in given.get("buy_again", "").split(",") if name.strip())
    if unknown := sorted(buy_again - {query.name for query in queries}):
        raise UsageError(
            f"--buy-again {shown(unknown[0])}: there is no such query in {given['queries']}, which has "
            f"{shown(', '.join(query.name for query in queries))}. Nothing was bought."
        )
    return CollectorOptions(
        queries=queries,
        target=int(given["target"]) if "target" in given else None,
        max_cost_usd=float(given["max_cost"]) if "max_cost" in given else None,
        flush_interval=int(given.get("flush_interval", 50)),
        buy_again=buy_again,
    )


def _clip(folded: Folded) -> RawClip:
    if folded.refused is not None:
        refused = {"reason": folded.refused.reason, "detail": folded.refused.detail}
        return RawClip(folded.key, folded.position, metadata=refused)
    return RawClip(folded.key, folded.position, metadata=folded.pair, selected=folded.pair is not None)
