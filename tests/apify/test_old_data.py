"""What an older tool left in `data/raw`: its pairs come into the dataset once, what it bought is not bought again."""

import hashlib
import json
from pathlib import Path
from typing import Any

import pytest

from processors.apify.collector import Collector
from processors.apify.files import Folder
from processors.apify.fold import Folded
from processors.apify.journal import line_of
from processors.apify.master import merge
from processors.apify.old_data import files_with_pairs
from processors.apify.processor import ApifyProcessor
from tests.apify.support import (
    INPUTS,
    PAIRS,
    QUERIES,
    KillableApi,
    api_of,
    checkpoint,
    collect,
    collector,
    only,
    raw_items,
    reasons,
    records,
    small_apify,
    until_killed,
)
from tests.apify_server import ApifyServer
from tests.kills import KilledAt
from tests.small_runs import watching
from utils.errors import SourceError, Stopped, UsageError
from utils.rows.progress import Progress

OLD_MASTER = "training_data_master_20251002_161500.jsonl"
OLD: list[dict[str, Any]] = [
    {"id": "old-1", "prompt": "กินอะไรดี", "response": "@asker ส้มตำ", "query": "food", "author": "Somchai", "likes": 3},
    {"prompt": "ฝนตกไหม", "response": "ตกหนัก", "metadata": {"tweet_id": "old-2", "createdAt": "2025-09-30T08:00:00"}},
    {"prompt": "ไปไหนมา", "response": "ไปตลาด"},
]
"""Pairs in the forms that such a tool may have written: with an id, with one among the metadata, with none."""
TEXTS = [("กินอะไรดี", "ส้มตำ"), ("ฝนตกไหม", "ตกหนัก"), ("ไปไหนมา", "ไปตลาด")]


def write(path: Path, *lines: dict[str, Any] | bytes) -> bytes:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(b"".join(line if isinstance(line, bytes) else line_of(line) for line in lines))
    return path.read_bytes()


def texts(items: list[Folded]) -> list[tuple[str, str]]:
    return [(each.pair["prompt"], each.pair["response"]) for each in items if each.pair]


def our_master(folder: Path) -> Path:
    return folder / str(checkpoint(folder)["master_data_file"])


# --- its pairs -------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["checkpoint_data.jsonl", OLD_MASTER])
def test_old_pairs_are_published_counted_and_once(tmp_path: Path, apify: ApifyServer, name: str) -> None:
    """They come first, count for the target, and a reply that is bought again is refused; their file stays."""
    before = write(tmp_path / name, *OLD, {"prompt": "p", "response": "r", "id": "food-a2"}, OLD[1])

    first = collect(tmp_path, apify, target=4)
    assert apify.bought == []
    items = collect(tmp_path, apify)

    assert texts(first) == [*TEXTS, ("p", "r")] and reasons(first) == {"repeated_reply": 1}
    assert items[: len(first)] == first and len(items) == 5 + 24
    assert [each.key for each in items if each.pair][4:] == [key for key in PAIRS if key != "food-a2"]
    assert (tmp_path / name).read_bytes() == before
    assert [record["reply_id"] for record in records(our_master(tmp_path))] == [e.key for e in items if e.pair]
    assert collect(tmp_path, apify) == items and apify.bought == INPUTS


def test_old_pairs_are_rows_like_any(tmp_path: Path, apify: ApifyServer) -> None:
    """Through the processor: without names, with what their tool said of them."""
    write(tmp_path / "checkpoint_data.jsonl", *OLD)
    (tmp_path / "queries.yaml").write_text(QUERIES)
    made = processor(tmp_path, apify)
    assert made.files.revision

    rows = [step.outcome for step in made.process_split("train", Progress()) if isinstance(step.outcome, dict)]

    assert len(rows) == len(OLD) + len(PAIRS)
    assert [(row["query"], row["likes"], row["created_at"], row["language"]) for row in rows[:2]] == [
        ("food", 3, None, "th"),
        ("", 0, "2025-09-30T08:00:00+00:00", "th"),
    ]
    assert rows[0]["source_id"] == "Apify/train/old-1" and rows[0]["author_hash"]
    assert "omchai" not in json.dumps(rows) and "@asker" not in json.dumps(rows, ensure_ascii=False)


def processor(folder: Path, apify: ApifyServer, queries: str = QUERIES, **options: str) -> ApifyProcessor:
    given = {"folder": str(folder), "queries": str(folder / "queries.yaml"), **options}
    made = ApifyProcessor(checkpoint_dir=folder / "checkpoints", options=given)
    made.make_collector = lambda chosen: collector(folder, api_of(apify), queries)
    return made


def test_damaged_lines_are_counted_and_told(
    tmp_path: Path, apify: ApifyServer, caplog: pytest.LogCaptureFixture
) -> None:
    """Torn at the end, torn and written on, no pair at all: each is a reject, and the others are kept."""
    write(tmp_path / OLD_MASTER, b'{"id": "torn {"id": "x"}\n', *OLD, b"\n", {"id": "9"}, b"[1]\n", b'{"prompt": "\xff')

    items = collect(tmp_path, apify, target=1)

    assert texts(items) == TEXTS and reasons(items) == {"unreadable_item": 4}
    assert f"{OLD_MASTER}: 3 lines can't be read" in caplog.text
    assert "no checkpoint says which queries" in caplog.text


def test_torn_master_of_a_collection_is_no_old_file(tmp_path: Path, apify: ApifyServer) -> None:
    """It died in its first pair, and another one was begun."""
    collect(tmp_path, apify, target=1)
    torn = only(tmp_path, "training_data_master_*.jsonl")
    torn.write_bytes(torn.read_bytes()[:9])

    collector(tmp_path, api_of(apify)).begin()

    collect(tmp_path, apify)
    assert not [record for record in records(Folder(tmp_path).raws()[-1]) if "imported" in record]


def test_two_old_files_with_the_same_pairs(tmp_path: Path, apify: ApifyServer) -> None:
    """A copy of one, or one that has grown from another: each pair once."""
    write(tmp_path / "checkpoint_data.jsonl", *OLD)
    write(tmp_path / OLD_MASTER, *OLD)
    write(tmp_path / "training_data_master_20251003_000000.jsonl", *OLD, {"prompt": "p", "response": "r"})

    items = collect(tmp_path, apify, target=1)

    assert texts(items) == [*TEXTS, ("p", "r")]


def test_old_pairs_come_into_the_first_collection_only(tmp_path: Path, apify: ApifyServer) -> None:
    """A new one repeats them no more than any earlier pair; and what has been taken in may go."""
    write(tmp_path / OLD_MASTER, *OLD)
    collect(tmp_path, apify, target=1)

    collector(tmp_path, api_of(apify)).begin()
    (tmp_path / OLD_MASTER).unlink()

    assert not set(TEXTS) & set(texts(collect(tmp_path, apify)))


def test_old_pairs_that_come_later_are_taken_in_by_the_next_run(tmp_path: Path, apify: ApifyServer) -> None:
    """A backup that was found: behind what is there, so that no position moves."""
    before = collect(tmp_path, apify)
    write(tmp_path / "checkpoint_data.jsonl", *OLD)

    items = collect(tmp_path, apify)

    assert items[: len(before)] == before and texts(items[len(before) :]) == TEXTS
    write(tmp_path / "checkpoint_data.jsonl", *OLD, {"prompt": "p", "response": "r"})
    grown = collect(tmp_path, apify)
    assert grown[: len(items)] == items and texts(grown[len(items) :]) == [("p", "r")]
    assert apify.bought == INPUTS


def test_collection_of_an_earlier_version_takes_its_old_pairs_in(tmp_path: Path, apify: ApifyServer) -> None:
    """It was only held against them; what it refused then stays refused."""
    known = {"prompt": "p", "response": "r", "reply_id": "food-a1"}
    size = len(write(tmp_path / OLD_MASTER, known, *OLD))
    master = collector(tmp_path, api_of(apify)).begin()
    raw = only(tmp_path, "raw_items_*.jsonl")
    begun = records(raw)[0]
    begun["collection"]["others"] = {OLD_MASTER: size}
    write(raw, begun)
    (tmp_path / OLD_MASTER).rename(tmp_path / "aside")
    (tmp_path / OLD_MASTER).write_bytes((tmp_path / "aside").read_bytes().replace(b'"p"', b'" "'))  # no pair, but an id
    first = collect(tmp_path, apify)
    (tmp_path / "aside").rename(tmp_path / OLD_MASTER)

    items = collect(tmp_path, apify)

    assert checkpoint(tmp_path)["master_data_file"] == master
    assert reasons(first)["known_reply"] == 1 and items[: len(first)] == first
    assert texts(items[len(first) :]) == [("p", "r")]


def test_master_that_an_earlier_version_made_of_old_data_is_not_taken_in_beside_it(
    tmp_path: Path, apify: ApifyServer
) -> None:
    """It is a copy; where the data is gone, it is what there is."""
    content = write(tmp_path / "checkpoint_data.jsonl", *OLD)
    copy = f"training_data_master_20251002_000000_imported-{hashlib.sha256(content).hexdigest()[:12]}.jsonl"
    write(tmp_path / copy, *OLD)

    items = collect(tmp_path, apify, target=1)

    assert texts(items) == TEXTS and reasons(items) == {}
    (tmp_path / "other").mkdir()
    (tmp_path / copy).rename(tmp_path / "other" / copy)
    assert texts(collect(tmp_path / "other", apify, target=1)) == TEXTS


def test_filters_and_limits_are_not_held_against_old_pairs(tmp_path: Path, apify: ApifyServer) -> None:
    """They were accepted once; but their authors have had those replies."""
    write(tmp_path / OLD_MASTER, *({**OLD[0], "id": str(number), "author": "Talker"} for number in range(5)))

    items = collect(tmp_path, apify)

    assert texts(items)[:5] == [TEXTS[0]] * 5
    assert not [each for each in items if each.pair and each.pair["author"] == "talker" and each.key.startswith("food")]


def test_new_filters_leave_old_pairs(tmp_path: Path, apify: ApifyServer) -> None:
    """`--refilter` makes another master, with all of them in it."""
    write(tmp_path / OLD_MASTER, *OLD)
    before = collect(tmp_path, apify)
    strict = QUERIES.replace("min_likes: 1", "min_likes: 4")

    master = collector(tmp_path, api_of(apify), strict).refilter()
    items = collect(tmp_path, apify, strict)

    assert our_master(tmp_path).name == master and len(items) == len(before)
    assert texts(items)[:3] == TEXTS and 3 < len(texts(items)) < len(texts(before))


@pytest.mark.parametrize("half", [False, True], ids=["before", "half-written"])
def test_kill_anywhere_while_old_pairs_are_taken_in(tmp_path: Path, half: bool) -> None:
    """The next run has each of them once, in the same order as if nothing had happened."""
    number, died = 0, True
    expected: list[Any] = []
    while died:
        folder = tmp_path / str(number)
        write(folder / "checkpoint_data.jsonl", *OLD, b'{"torn": ', b"\n")
        write(folder / OLD_MASTER, OLD[0], *({"prompt": "p", "response": str(n)} for n in range(12)))
        killed = KilledAt(number, half)
        with small_apify() as apify:
            with watching(killed):
                until_killed(collector(folder, KillableApi(api_of(apify), killed), target=1).collect())

            items = collect(folder, apify, target=1)

            assert collect(folder, apify, target=1) == items, number
            assert apify.bought == []
        expected = expected or texts(items)
        assert texts(items) == expected and reasons(items) == {"repeated_reply": 1, "unreadable_item": 1}, number
        assert len(records(our_master(folder))) == len(expected) == 15
        assert len(raw_items(folder)) == len(items), number
        number, died = number + 1, killed.died
    assert number > 20


def test_kill_between_a_purchase_and_old_pairs_keeps_the_order(tmp_path: Path, apify: ApifyServer) -> None:
    """A run whose items were half fetched when old data was found: what is read first is first ever after."""
    apify.fault("status", "items", skip=1, times=99)
    with pytest.raises(Stopped, match="items"):
        collect(tmp_path, apify)
    apify.rules.clear()
    write(tmp_path / "checkpoint_data.jsonl", *OLD)

    items = collect(tmp_path, apify)

    assert texts(items)[:3] == TEXTS and len(texts(items)) == len(TEXTS) + len(PAIRS)
    assert collect(tmp_path, apify) == items and apify.bought == INPUTS


def test_merge_has_old_pairs_that_no_collection_has_taken_in(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """All pairs that were ever paid for; a torn line is left out, and said."""
    write(tmp_path / "checkpoint_data.jsonl", *OLD)
    write(tmp_path / OLD_MASTER, b'{"torn\n', OLD[0], {"prompt": "p", "response": "r"})

    assert merge(files_with_pairs(Folder(tmp_path)), tmp_path / "all.jsonl") == 4

    assert [record["prompt"] for record in records(tmp_path / "all.jsonl")] == [
        *(OLD[0]["prompt"], "p", OLD[1]["prompt"], OLD[2]["prompt"])
    ]
    assert "1 lines can't be read" in caplog.text


# --- what it bought --------------------------------------------------------------------------


def write_checkpoint(folder: Path, content: object) -> Path:
    path = folder / "collection_checkpoint.json"
    path.write_text(content if isinstance(content, str) else json.dumps(content))
    return path


def test_old_checkpoint_is_gone_on_with(tmp_path: Path, apify: ApifyServer) -> None:
    """Queries that the older tool bought are not bought again, its authors count; its file is kept beside ours."""
    old = {
        "query_index": 1,
        "processed_queries": ["food"],
        "author_counts": {"Talker": 3},
        "total_flushed_to_master": 0,
        "master_data_file": "data/raw/training_data_master_20250101_000000.jsonl",
    }
    write_checkpoint(tmp_path, old)

    collect(tmp_path, apify)
    items = collect(tmp_path, apify)

    assert apify.bought == INPUTS[1:]
    assert [each.key for each in items if each.pair] == ["rain-a2", "rain-a4", "everywhere"]
    assert json.loads((tmp_path / "collection_checkpoint_before.json").read_text()) == old


def test_authors_that_the_old_checkpoint_has_counted_are_not_counted_twice(tmp_path: Path, apify: ApifyServer) -> None:
    """With its pairs here as well."""
    write_checkpoint(tmp_path, {"query_index": 0, "author_counts": {"Talker": 1}})
    write(tmp_path / OLD_MASTER, {**OLD[0], "author": "talker"})

    collect(tmp_path, apify, target=1)

    assert checkpoint(tmp_path)["author_counts"] == {"talker": 1}


INDEX_ALONE: list[dict[str, Any]] = [
    *({"query_index": index} for index in (1, 7, "1", 1.0, -1, True, ["food"])),
    {"query_index": 1, "processed_queries": []},
    {"processed_queries": "food"},
    {"query_index": 1, "version": "2.0"},
]


@pytest.mark.parametrize("name", ["collection_checkpoint.json", "checkpoint_progress.json"])
@pytest.mark.parametrize("old", INDEX_ALONE)
def test_number_of_queries_without_their_names_buys_nothing(
    tmp_path: Path, apify: ApifyServer, old: object, name: str
) -> None:
    """Which ones were bought can't be told; nothing is begun, and what to type is said."""
    path = write_checkpoint(tmp_path, old).rename(tmp_path / name)

    for attempt in (
        lambda: collect(tmp_path, apify),
        lambda: collector(tmp_path, api_of(apify)).begin(goes_on=True),
        lambda: collector(tmp_path, api_of(apify)).begin(),
    ):
        with pytest.raises(UsageError, match=r"Nothing was bought"):
            attempt()

    assert apify.bought == [] and not list(tmp_path.glob("raw_items_*")) and json.loads(path.read_text()) == old


def test_what_the_refusal_says_to_type_works(tmp_path: Path, apify: ApifyServer) -> None:
    """The names of the queries before the index, as a line of JSON; or the file out of the way."""
    path = write_checkpoint(tmp_path, {"query_index": 1, "author_counts": {}})
    with pytest.raises(UsageError, match="query_index 1") as refusal:
        collect(tmp_path, apify)
    line = str(refusal.value).partition("first ones there: ")[2].partition(". Then")[0]
    assert line == '"processed_queries": ["food"]'

    path.write_text(path.read_text().replace("{", f"{{{line}, ", 1))
    collect(tmp_path, apify)
    assert apify.bought == INPUTS[1:]

    (tmp_path / "other").mkdir()
    collect(tmp_path / "other", apify)
    assert apify.bought == [*INPUTS[1:], *INPUTS]


def test_name_that_no_query_has_buys_nothing(tmp_path: Path, apify: ApifyServer) -> None:
    """It may be one of them under another name."""
    write_checkpoint(tmp_path, {"query_index": 2, "processed_queries": ["food", "meals"]})

    with pytest.raises(UsageError, match="'meals' was bought.*Nothing was bought.*\"query_index\" to 0"):
        collect(tmp_path, apify)

    assert apify.bought == []
    write_checkpoint(tmp_path, {"query_index": 0, "processed_queries": []})
    collect(tmp_path, apify)
    assert apify.bought == INPUTS


@pytest.mark.parametrize("damage", ["", "{", "[]", '"food"', "\0\0"])
def test_checkpoint_that_can_not_be_read_buys_nothing(tmp_path: Path, apify: ApifyServer, damage: str) -> None:
    """Before anything was begun here it is not ours to make again: cannot tell is not empty."""
    path = write_checkpoint(tmp_path, damage)

    for attempt in (lambda: collect(tmp_path, apify), lambda: collector(tmp_path, api_of(apify)).check_can_begin()):
        with pytest.raises(UsageError, match="can't be read.*Nothing was bought"):
            attempt()

    assert apify.bought == [] and path.read_text() == damage


def test_nothing_bought_so_far_is_no_reason_to_refuse(tmp_path: Path, apify: ApifyServer) -> None:
    """An older tool that died at its first query; its file is kept all the same."""
    write_checkpoint(tmp_path, {"query_index": 0, "author_counts": {}})

    collect(tmp_path, apify)

    assert apify.bought == INPUTS and (tmp_path / "collection_checkpoint_before.json").exists()


@pytest.mark.parametrize("old", [{"processed_queries": ["food"]}, {"query_index": 1}])
def test_fresh_start_does_not_buy_again_what_an_older_tool_has_bought(
    tmp_path: Path, apify: ApifyServer, old: object
) -> None:
    """Whoever comes from that tool and types its first command is told; with the file out of the way it is bought."""
    path = write_checkpoint(tmp_path, old)
    made = processor(tmp_path, apify, fresh="yes")

    for attempt in (Collector.begin, Collector.check_can_begin):
        with pytest.raises(UsageError, match="of an older tool.*Nothing was bought.*--resume"):
            attempt(made.make_collector(None))  # type: ignore[arg-type]
    assert apify.bought == []

    path.rename(tmp_path / "moved")
    assert collector(tmp_path, api_of(apify)).begin()
    collect(tmp_path, apify)
    assert apify.bought == INPUTS


@pytest.mark.parametrize("processed", ["food", "by what it searches for"])
def test_resume_goes_on_with_an_older_tools_checkpoint(tmp_path: Path, apify: ApifyServer, processed: str) -> None:
    """Through the processor, as a run does: what that tool has bought is not bought again, and stays in view."""
    queries = QUERIES.replace("name: food", "name: meals") if processed != "food" else QUERIES
    write_checkpoint(tmp_path, {"query_index": 1, "processed_queries": ["food"], "author_counts": {"Talker": 3}})
    (tmp_path / "queries.yaml").write_text(queries)
    made = processor(tmp_path, apify, queries)

    assert made.files.revision
    list(made.process_split("train", Progress()))

    assert apify.bought == INPUTS[1:]
    assert checkpoint(tmp_path)["processed_queries"] == ["food", "rain"]


def test_query_that_an_older_tool_bought_is_bought_once_more_when_asked(tmp_path: Path, apify: ApifyServer) -> None:
    """`--buy-again` counts there, too."""
    write_checkpoint(tmp_path, {"processed_queries": ["food", "rain"]})
    collect(tmp_path, apify)
    assert apify.bought == []

    for _ in range(2):
        collect(tmp_path, apify, buy_again=frozenset({"rain"}))

    assert apify.bought == INPUTS[1:]


def test_checkpoint_of_ours_whose_files_are_all_gone_buys_nothing(tmp_path: Path, apify: ApifyServer) -> None:
    """It is the last that tells of what was paid for."""
    collect(tmp_path, apify)
    for path in tmp_path.glob("*.jsonl"):
        path.unlink()

    with pytest.raises(SourceError, match=r"food, rain was bought.*are gone.*Nothing was bought"):
        collect(tmp_path, apify)

    assert apify.bought == INPUTS
    assert collector(tmp_path, api_of(apify)).begin()
