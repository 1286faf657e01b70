"""Raw items -> pairs. A fold: what becomes of an item depends on the raw file before it and on nothing else.

The raw file is a journal (`processors/apify/journal.py`). Its records, in order:

    {"collection": {"master", "rules": {query: ...}, "others": {master: bytes}, "before": {...}}}   the last one counts
    {"run", "query", "query_index", "actor", "started_at", "total"}
    {"run", "index", "item"}                            each item as it came
    {"run", "ended": status, "items", "missing"}        all of its items that can be had are here

The pairs of an older tool's file are a run as well, whose first record names the file (`imported`).

Items are folded once their run has ended, as a reply's prompt may be any other item of its run. The rules lie in the
file itself: a changed queries file changes nothing of what was made already (but for `--refilter`, which begins
another master with other rules). `others` are the masters of other collections, with the length that counted when
this one began.
"""

from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace
from datetime import datetime
from pathlib import Path
from typing import Any

from processors.apify.fields import Post, post_of
from processors.apify.filters import Pair, PairReason, language_of, pair_of, reason_against
from processors.apify.journal import Line, read_lines
from processors.apify.old_data import old_post
from processors.apify.queries import Rules
from utils.errors import SourceError
from utils.rows.printable import shown


@dataclass(frozen=True)
class Collection:
    """What a collection was begun with."""

    master: str
    """The name of its master file."""
    rules: Mapping[str, Rules] = field(default_factory=dict)
    """Query -> what makes pairs of its items."""
    others: Mapping[str, int] = field(default_factory=dict)
    """Master files of other collections -> how many of their bytes count."""
    processed_before: tuple[str, ...] = ()
    """Queries that an older tool bought, as its checkpoint says."""
    authors_before: Mapping[str, int] = field(default_factory=dict)

    def as_record(self) -> dict[str, Any]:
        before = {"processed_queries": list(self.processed_before), "author_counts": dict(self.authors_before)}
        rules = {name: rules.as_json() for name, rules in self.rules.items()}
        return {"collection": {"master": self.master, "rules": rules, "others": dict(self.others), "before": before}}

    @classmethod
    def of_record(cls, record: Mapping[str, Any]) -> "Collection":
        content = record["collection"]
        return cls(
            master=content["master"],
            rules={name: Rules.of_json(rules) for name, rules in content["rules"].items()},
            others=content["others"],
            processed_before=tuple(content["before"]["processed_queries"]),
            authors_before=content["before"]["author_counts"],
        )


@dataclass(frozen=True)
class RawRun:
    """One run in the raw file."""

    id: str
    query: str
    query_index: int
    started_at: datetime
    total: int | None
    """How many items Apify said it has; None where it could not be asked any more."""
    start: int
    """Byte offset of its first record."""
    items: int = 0
    end: int | None = None
    """Byte offset after its last record; None while items may be missing."""
    status: str | None = None
    missing: int | None = 0
    """Items that could not be had any more; None: nobody knows how many."""
    imported: str = ""
    """The older tool's file that its items were taken from; nothing was bought for it."""


@dataclass
class RawContents:
    """What a raw file holds, but for the items."""

    collection: Collection | None = None
    masters: list[str] = field(default_factory=list)
    """All masters that were ever made of it."""
    runs: dict[str, RawRun] = field(default_factory=dict)

    @property
    def ended(self) -> list[RawRun]:
        """The runs whose items are all here, by their ends: in this order they are folded."""
        return sorted((run for run in self.runs.values() if run.end is not None), key=lambda run: run.end or 0)

    @property
    def bought(self) -> list[RawRun]:
        return [run for run in self.runs.values() if not run.imported]


def read_contents(path: Path) -> RawContents:
    """Look through a raw file. Raises DamagedJournal, or SourceError where a record is none of ours."""
    contents = RawContents()
    for line in read_lines(path):
        try:
            _take(contents, line)
        except (KeyError, TypeError, ValueError) as error:
            raise SourceError(
                f"{path}, byte {line.start:,}: this is no record of a collection ({type(error).__name__}: "
                f"{shown(error)}). Nothing was changed. Put the file back as it was, then run again with --resume."
            ) from error
    return contents


def _take(contents: RawContents, line: Line) -> None:
    record = line.record
    if "collection" in record:
        contents.collection = Collection.of_record(record)
        if contents.collection.master not in contents.masters:
            contents.masters.append(contents.collection.master)
        return
    run_id = record["run"]
    if "query" in record:
        contents.runs[run_id] = RawRun(
            id=run_id,
            query=record["query"],
            query_index=record["query_index"],
            started_at=datetime.fromisoformat(record["started_at"]),
            total=record["total"],
            start=line.start,
            imported=record.get("imported", ""),
        )
        return
    run = contents.runs[run_id]
    if "item" in record:
        if record["index"] != run.items:
            raise ValueError(f"item {record['index']} stands where item {run.items} must be")
        contents.runs[run_id] = replace(run, items=run.items + 1)
    else:
        contents.runs[run_id] = replace(run, end=line.end, status=record["ended"], missing=record["missing"])


@dataclass(frozen=True, slots=True)
class Refused:
    """An item that is no pair for the dataset, though it might have been one."""

    key: str
    reason: str
    detail: str


@dataclass(frozen=True, slots=True)
class Folded:
    """What became of one item."""

    position: dict[str, Any]
    """The position after it."""
    key: str
    """The source's name of it: the reply's id for a pair, else its place."""
    pair: dict[str, Any] | None = None
    """Its line in the master."""
    refused: Refused | None = None
    """Where this and `pair` are None, it is a post that answers nothing."""


class Fold:
    """Folds the runs of a raw file, in order."""

    def __init__(self, raw: Path, collection: Collection, known: set[str], old: set[str]) -> None:
        """`known` are the reply ids of other masters, `old` those that an older tool's masters alone have: they are
        refused but where those masters are taken in."""
        self._raw, self._collection = raw, collection
        self._known, self._old = known, old
        self.authors = Counter(collection.authors_before)
        self.items = 0
        self.pairs = 0
        self._seen: set[str] = set()

    def run(self, run: RawRun) -> Iterator[Folded]:
        """What becomes of each item of a run that has ended."""
        rules = Rules() if run.imported else self._collection.rules[run.query]
        posts = {post.id: post for _, post in self._posts(run, rules) if post is not None}
        for line, post in self._posts(run, rules):
            self.items += 1
            position = {
                "index": self.items,
                "raw": self._raw.name,
                "offset": line.end,
                "query_index": run.query_index,
            }
            yield self._folded(position, line, run, rules, post, posts)

    def _posts(self, run: RawRun, rules: Rules) -> Iterator[tuple[Line, Post | None]]:
        for line in read_lines(self._raw, run.start, run.end):
            if line.record.get("run") == run.id and "item" in line.record:
                item = line.record["item"]
                yield line, old_post(item) if run.imported else post_of(item, rules.fields)

    def _folded(
        self,
        position: dict[str, Any],
        line: Line,
        run: RawRun,
        rules: Rules,
        post: Post | None,
        posts: Mapping[str, Post],
    ) -> Folded:
        place = f"{run.id}/{line.record['index']}"
        if post is None:
            lacks = "no prompt or no response" if run.imported else "no id or no text"
            return self._refusal(position, place, PairReason.UNREADABLE_ITEM, lacks)
        if not post.is_reply:
            return Folded(position, place)
        if post.id in self._seen:
            return self._refusal(position, place, PairReason.REPEATED_REPLY, f"reply {shown(post.id, 40)}")
        if post.id in self._known or (post.id in self._old and not run.imported):
            return self._refusal(position, place, PairReason.KNOWN_REPLY, f"reply {shown(post.id, 40)}")
        parent = posts.get(post.parent_id)
        if not post.parent_text and parent is None:
            return self._refusal(position, place, PairReason.NO_PARENT, f"reply {shown(post.id, 40)}")
        prompt = post.parent_text or (parent.text if parent else "")
        pair = pair_of(post, prompt, parent is not None and parent.has_media)
        refused = reason_against(pair, rules.filters, run.started_at) or self._over_limit(post, rules)
        if refused:
            return self._refusal(position, place, *refused)
        self._seen.add(post.id)
        self.pairs += 1
        if post.author and not (run.imported and post.author in self._collection.authors_before):  # counted there
            self.authors[post.author] += 1
        query = line.record["item"].get("query", "") if run.imported else run.query
        return Folded(position, post.id, pair=_master_line(pair, run, line.record["index"], query))

    def _over_limit(self, reply: Post, rules: Rules) -> tuple[str, str] | None:
        limit = rules.filters.max_replies_per_author
        if limit is None or not reply.author or self.authors[reply.author] < limit:
            return None
        return PairReason.AUTHOR_LIMIT, f"{limit} replies of this author are kept"

    def _refusal(self, position: dict[str, Any], place: str, reason: str, detail: str) -> Folded:
        return Folded(position, place, refused=Refused(place, reason, detail))


def _master_line(pair: Pair, run: RawRun, index: int, query: Any) -> dict[str, Any]:
    reply = pair.reply
    return {
        "reply_id": reply.id,
        "prompt": pair.prompt,
        "response": pair.response,
        "query": query if isinstance(query, str) else "",
        "author": reply.author,
        "created_at": reply.created_at.isoformat() if reply.created_at else "",
        "likes": reply.likes,
        "replies": reply.replies,
        "language": language_of(pair),
        "metadata": {"views": reply.views, "prompt_id": reply.parent_id, "conversation_id": reply.conversation_id},
        "run": run.id,
        "item": index,
    }
