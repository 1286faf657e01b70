"""Collecting: what is bought is bought once and kept, whatever dies, and everything else follows from it."""

import json
from contextlib import suppress
from pathlib import Path
from random import Random
from typing import Any

import pytest

from tests.apify.support import (
    INPUTS,
    ITEMS,
    ONE_QUERY,
    PAIRS,
    KillableApi,
    api_of,
    checkpoint,
    collect,
    collector,
    is_right,
    master_lines,
    purchases,
    reasons,
    reply_ids,
    small_apify,
    until_killed,
)
from tests.apify_server import ApifyServer
from tests.kills import KilledAt
from tests.small_runs import watching
from utils.errors import Stopped

# --- an undisturbed collection ---------------------------------------------------------------


def test_collection_buys_each_query_once_and_keeps_every_item(tmp_path: Path, apify: ApifyServer) -> None:
    """Raw items as they came, accepted pairs in the master, every refusal with its reason."""
    items = collect(tmp_path, apify)

    assert is_right(tmp_path, apify)
    assert len(items) == len(ITEMS)
    assert [each.pair["reply_id"] for each in items if each.pair] == PAIRS
    assert reasons(items) == {"unreadable_item": 2, "few_likes": 2, "repeated_reply": 1, "author_limit": 1}
    assert sum(1 for each in items if not each.pair and not each.refused) == 10  # the questions
    assert [each.position["index"] for each in items] == list(range(1, len(ITEMS) + 1))


def test_ledger_says_what_it_cost(tmp_path: Path, apify: ApifyServer) -> None:
    """Run, status, number of items, and the cost that Apify reports."""
    collect(tmp_path, apify)

    done = purchases(tmp_path)
    assert [(each.query, each.run_id, each.status, each.items, each.missing) for each in done] == [
        ("food", "run1", "SUCCEEDED", 12, 0),
        ("rain", "run2", "SUCCEEDED", 12, 0),
    ]
    assert [each.cost_usd for each in done] == [0.24, 0.24]
    assert checkpoint(tmp_path)["spent_usd"] == 0.48


def test_checkpoint_shows_the_progress(tmp_path: Path, apify: ApifyServer) -> None:
    """The fields that tools know."""
    collect(tmp_path, apify)

    shown = checkpoint(tmp_path)
    assert shown["query_index"] == 2 and shown["processed_queries"] == ["food", "rain"]
    assert (shown["total_flushed_to_master"], shown["unflushed_pairs"]) == (8, 0)
    assert shown["author_counts"]["talker"] == 3
    assert (tmp_path / shown["master_data_file"]).is_file() and (tmp_path / shown["raw_items_file"]).is_file()


def test_resuming_a_finished_collection_does_nothing(tmp_path: Path, apify: ApifyServer) -> None:
    """It buys nothing, writes nothing to raw file and master, and yields the same again."""
    first = collect(tmp_path, apify)
    before = {path.name: path.read_bytes() for path in tmp_path.glob("*.jsonl")}

    assert collect(tmp_path, apify) == first

    assert {path.name: path.read_bytes() for path in tmp_path.glob("*.jsonl")} == before
    assert is_right(tmp_path, apify)


@pytest.mark.parametrize(("flush_interval", "most_yielded"), [(2, 1000), (50, 1000), (50, 3)])
def test_nothing_is_yielded_that_is_not_durable(
    tmp_path: Path, apify: ApifyServer, monkeypatch: pytest.MonkeyPatch, flush_interval: int, most_yielded: int
) -> None:
    """Whoever takes a pair may be sure that the master has it, however many items wait for a flush."""
    monkeypatch.setattr("processors.apify.collector.MAX_YIELDED", most_yielded)
    taken = 0
    for each in collector(tmp_path, api_of(apify), flush_interval=flush_interval).collect():
        taken += each.pair is not None
        assert len(master_lines(tmp_path)) >= taken


def test_target_ends_the_buying(tmp_path: Path, apify: ApifyServer) -> None:
    """A run that is paid for is kept whole; the next is not bought. A higher target goes on."""
    collect(tmp_path, apify, target=4)
    assert apify.bought == INPUTS[:1] and len(reply_ids(tmp_path)) == 5

    collect(tmp_path, apify, target=6)
    assert is_right(tmp_path, apify)


def test_queries_may_be_added_to_a_collection(tmp_path: Path, apify: ApifyServer) -> None:
    """Those that were bought are not bought again."""
    collect(tmp_path, apify, ONE_QUERY)

    collect(tmp_path, apify)

    assert is_right(tmp_path, apify)


class Order:
    """What becomes durable, and what is asked, in one sequence."""

    def __init__(self) -> None:
        self.seen: list[str] = []

    def before(self, effect: Any) -> None:
        """Nothing yet."""

    def after(self, effect: Any) -> None:
        name = effect.path.name.split("_")[0].removesuffix(".jsonl")
        if effect.kind == "fsync" and name in ("purchases", "raw", "training"):
            self.seen.append(name)


class OrderedApi(KillableApi):
    """Notes each answer in an `Order`."""

    def __init__(self, inner: Any, order: Order) -> None:
        super().__init__(inner, KilledAt(10**9))
        self.asked = order.seen


def test_each_thing_is_durable_before_the_next_begins(tmp_path: Path, apify: ApifyServer) -> None:
    """Intent, start, run id, items as they come, pairs, done."""
    order = Order()
    with watching(order):
        list(collector(tmp_path, OrderedApi(api_of(apify), order), ONE_QUERY).collect())

    assert order.seen == [
        "raw",  # with which rules
        *("purchases", "start", "purchases", "run", "run"),
        *("items", "raw", "items", "raw", "items", "raw", "items", "items", "raw"),
        *("training", "training", "training"),  # five pairs, two at a time
        *("purchases", "run"),  # what it cost, once more
    ]


# --- killed at every step --------------------------------------------------------------------


def undisturbed(folder: Path) -> dict[str, bytes]:
    """What the journals of a collection look like that nothing went wrong in."""
    with small_apify() as apify:
        collect(folder, apify)
    return journals(folder)


def journals(folder: Path) -> dict[str, bytes]:
    paths = [*folder.glob("raw_items_*.jsonl"), *folder.glob("training_data_master_*.jsonl")]
    return {path.name[:8]: path.read_bytes().replace(path.name[-20:-6].encode(), b"") for path in paths}


def without_stamps(content: dict[str, bytes]) -> list[list[Any]]:
    """The records of the journals, but for the names of the files and the times of the runs."""

    def plain(record: dict[str, Any]) -> Any:
        if "collection" in record:
            return {**record["collection"], "master": ""}
        return {name: value for name, value in record.items() if name != "started_at"}

    return [[plain(json.loads(line)) for line in content[name].splitlines()] for name in sorted(content)]


@pytest.mark.parametrize("half", [False, True], ids=["before", "half-written"])
def test_kill_at_every_step_buys_nothing_twice_and_loses_nothing(tmp_path: Path, half: bool) -> None:
    """Every write, fsync, rename, and both sides of every request; then a new process goes on to the end.

    The master and the raw file only ever grow, and in the end they are those of an undisturbed collection.
    """
    expected = without_stamps(undisturbed(tmp_path / "undisturbed"))
    number, died = 0, True
    while died:
        folder = tmp_path / str(number)
        killed = KilledAt(number, half)
        with small_apify() as apify:
            with watching(killed):
                until_killed(collector(folder, KillableApi(api_of(apify), killed)).collect())
            before = {path: path.read_bytes() for path in folder.glob("*master*.jsonl")}

            collect(folder, apify)

            assert is_right(folder, apify), number
        assert without_stamps(journals(folder)) == expected, number
        for path, content in before.items():
            assert path.read_bytes().startswith(content[: content.rfind(b"\n") + 1]), number
        number, died = number + 1, killed.died
    assert number > 80


@pytest.mark.parametrize("seed", range(25))
def test_several_kills_and_faults(tmp_path: Path, seed: int) -> None:
    """Kills one after the other at steps chosen by chance, with a network that loses answers besides."""
    random = Random(seed)
    with small_apify(statuses=["READY", "RUNNING", "SUCCEEDED"]) as apify:
        apify.listing_lag, apify.items_lag = random.randrange(2), random.randrange(2)
        apify.keeps_user_agents = random.random() < 0.7
        for _ in range(random.randrange(1, 5)):
            faults = ["lost_before", "lost_after", "status", "status_late", "half_body", "no_json"]
            steps = ["start", "runs", "run", "input", "items"]
            apify.fault(
                random.choice(faults),
                random.choice(steps),
                skip=random.randrange(4),
                times=random.randrange(1, 4),
                status=random.choice([429, 500, 503]),
            )
        for _ in range(3):
            killed = KilledAt(random.randrange(5, 140), half=random.random() < 0.5)
            with watching(killed), suppress(Stopped):
                until_killed(collector(tmp_path, KillableApi(api_of(apify), killed)).collect())
        apify.rules.clear()

        collect(tmp_path, apify)

        assert is_right(tmp_path, apify)
