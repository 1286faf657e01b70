"""Small collections against the tests' Apify: made-up posts, a collector that never sleeps, and what a folder holds."""

import json
from collections import Counter
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

from processors.apify.api import ApifyApi, ApiOptions
from processors.apify.collector import Collector, CollectorOptions
from processors.apify.fold import Folded
from processors.apify.intake import Polling
from processors.apify.journal import read_lines
from processors.apify.purchases import Pauses, Purchase, read_purchases
from processors.apify.queries import parse_queries
from tests.apify_server import TOKEN, ApifyServer
from tests.kills import Killed, KilledAt

START = datetime(2026, 1, 5, 12, tzinfo=UTC)
ACTOR = "maker/tweets"
QUERIES = """\
actor: maker/tweets
defaults: {min_likes: 1, max_replies_per_author: 3}
queries:
  - name: food
    input: {searchTerms: [food], maxItems: 20}
  - name: rain
    input: {searchTerms: [rain], maxItems: 20}
"""


def posts(run_input: dict[str, Any]) -> list[dict[str, Any]]:
    """Five questions and their replies on a topic; a third of the replies by one author, one without likes, a notice,
    and one reply that every topic has."""
    topic = run_input["searchTerms"][0]
    items: list[dict[str, Any]] = [{"noResults": True}]
    for number in range(5):
        items.append(post(f"{topic}-q{number}", f"คำถาม {topic} ข้อที่ {number}", "asker"))
        author = "talker" if number % 2 else f"{topic}{number}"
        items.append(reply(f"{topic}-a{number}", f"{topic}-q{number}", f"คำตอบที่ {number}", author, likes=number))
    items.append(reply("everywhere", f"{topic}-q0", "เหมือนกันทุกที่", "other"))
    return items


def post(identity: str, text: str, author: str, **fields: Any) -> dict[str, Any]:
    created = (START - timedelta(days=2)).strftime("%a %b %d %H:%M:%S +0000 %Y")
    return {"id": identity, "text": text, "author": {"userName": author}, "createdAt": created, "lang": "th", **fields}


def reply(identity: str, parent: str, text: str, author: str, likes: int = 5, **fields: Any) -> dict[str, Any]:
    return post(identity, text, author, inReplyToId=parent, isReply=True, likeCount=likes, **fields)


class Clock:
    """Goes on a second each time it is looked at."""

    def __init__(self, start: datetime = START) -> None:
        self.time = start

    def __call__(self) -> datetime:
        self.time += timedelta(seconds=1)
        return self.time


def small_apify(answers: Callable[[dict[str, Any]], list[Any]] = posts, **fields: Any) -> ApifyServer:
    apify = ApifyServer(now=Clock())
    apify.add_actor(ACTOR, answers, **fields)
    return apify


def api_of(apify: ApifyServer, **options: Any) -> ApifyApi:
    quick = {"token": TOKEN, "timeout_s": 5.0, "retries": 2, "first_wait_s": 0.0}
    return ApifyApi(ApiOptions(url=apify.url, **{**quick, **options}))


def collector(folder: Path, api: ApifyApi, queries: str = QUERIES, **options: Any) -> Collector:
    """A collector that never sleeps. Pages of five items, flushes of two pairs."""
    stop, now = options.pop("stop_requested", lambda: False), options.pop("now", None) or Clock()
    small = {"flush_interval": 2, "polling": Polling(page_items=5), "pauses": Pauses(looks=2, tries=3)}
    chosen = CollectorOptions(tuple(parse_queries(queries)), **{**small, **options})
    return Collector(folder, api, chosen, stop_requested=stop, sleep=lambda seconds: None, now=now)


def collect(folder: Path, apify: ApifyServer, queries: str = QUERIES, **options: Any) -> list[Folded]:
    return list(collector(folder, api_of(apify), queries, **options).collect())


def records(path: Path) -> list[dict[str, Any]]:
    return [line.record for line in read_lines(path)]


def only(folder: Path, pattern: str) -> Path:
    (found,) = folder.glob(pattern)
    return found


def raw_items(folder: Path) -> list[Any]:
    return [record["item"] for record in records(only(folder, "raw_items_*.jsonl")) if "item" in record]


def master_lines(folder: Path) -> list[dict[str, Any]]:
    return records(only(folder, "training_data_master_*.jsonl"))


def purchases(folder: Path) -> list[Purchase]:
    return [each for each in read_purchases(folder / "purchases.jsonl").values() if not each.void]


def checkpoint(folder: Path) -> dict[str, Any]:
    content: dict[str, Any] = json.loads((folder / "collection_checkpoint.json").read_text())
    return content


class KillableApi(ApifyApi):
    """A process may die before it asks, and after the answer has come (or would have)."""

    def __init__(self, inner: ApifyApi, killed: KilledAt) -> None:
        self._inner, self._killed = inner, killed
        self.asked: list[str] = []

    def start(self, *arguments: Any, **named: Any) -> Any:
        return self._ask("start", lambda: self._inner.start(*arguments, **named))

    def runs_of(self, *arguments: Any) -> Any:
        return self._ask("runs", lambda: self._inner.runs_of(*arguments))

    def retention_days(self) -> int | None:
        return self._inner.retention_days()

    def run(self, *arguments: Any) -> Any:
        return self._ask("run", lambda: self._inner.run(*arguments))

    def input_of(self, *arguments: Any) -> Any:
        return self._ask("input", lambda: self._inner.input_of(*arguments))

    def items(self, *arguments: Any) -> Any:
        return self._ask("items", lambda: self._inner.items(*arguments))

    def _ask(self, step: str, ask: Callable[[], Any]) -> Any:
        self._step()
        answer = ask()
        self.asked.append(step)
        self._step()
        return answer

    def _step(self) -> None:
        self._killed.is_due()
        self._killed.die_if_due()


def until_killed(items: Iterator[Folded]) -> list[Folded]:
    """What came before the kill, if there was one."""
    taken: list[Folded] = []
    try:
        for each in items:
            taken.append(each)
    except Killed:
        pass
    return taken


INPUTS = [{"searchTerms": ["food"], "maxItems": 20}, {"searchTerms": ["rain"], "maxItems": 20}]
ITEMS = [item for run_input in INPUTS for item in posts(run_input)]
PAIRS = ["food-a1", "food-a2", "food-a3", "food-a4", "everywhere", "rain-a1", "rain-a2", "rain-a4"]
"""Replies without likes are out; `talker` has three; `everywhere` counts once."""
ONE_QUERY = QUERIES[: QUERIES.index("  - name: rain")]


def reply_ids(folder: Path) -> list[str]:
    return [line["reply_id"] for line in master_lines(folder)]


def reasons(items: list[Folded]) -> Counter[str]:
    return Counter(each.refused.reason for each in items if each.refused)


def is_right(folder: Path, apify: ApifyServer) -> bool:
    """Each query bought once, each item here once and in order, each pair once."""
    return apify.bought == INPUTS and raw_items(folder) == ITEMS and reply_ids(folder) == PAIRS
