"""Apify as a source among others: named, never part of all; rows without names; positions in the raw file."""

import json
import stat
from pathlib import Path

import pytest

from pipeline.cli import parse
from processors import REGISTRY, create, describe
from processors.apify.processor import ApifyProcessor, collector_options
from tests.apify.support import QUERIES, api_of, collector
from tests.apify_server import TOKEN, ApifyServer
from utils.errors import AuthenticationError, SourceError, UsageError
from utils.rows.progress import Progress, Step
from utils.rows.schema import DIALOGUE, Reject, Skip


def processor(folder: Path, apify: ApifyServer, **options: str) -> ApifyProcessor:
    made = ApifyProcessor(checkpoint_dir=folder / "checkpoints", options={"folder": str(folder), **options})
    made.make_collector = lambda chosen: collector(folder, api_of(apify))
    (folder / "queries.yaml").write_text(QUERIES)
    made.config.options["queries"] = str(folder / "queries.yaml")  # type: ignore[index]
    return made


def steps(folder: Path, apify: ApifyServer, start: Progress | None = None, **options: str) -> list[Step]:
    made = processor(folder, apify, **options)
    assert made.files.revision.startswith("training_data_master_")
    return list(made.process_split("train", start or Progress()))


def test_it_costs_money_so_all_leaves_it_out() -> None:
    """It is known by its name alone."""
    assert "Apify" not in list(REGISTRY)
    assert parse(["--fresh", "apify", "--queries", "q.yaml"]).sources == ("Apify",)
    assert "Apify" not in parse(["--fresh", "--all"]).sources
    assert isinstance(create("Apify"), ApifyProcessor) and "paid" in describe("Apify").access


def test_items_become_rows_rejects_and_the_rest(tmp_path: Path, apify: ApifyServer) -> None:
    """The books balance over every item that was bought."""
    done = steps(tmp_path, apify)

    last = done[-1].progress
    assert (last.read, last.kept, last.rejected, last.unselected) == (24, 8, 6, 10)
    rows = [step.outcome for step in done if isinstance(step.outcome, dict)]
    assert all(list(row) == list(DIALOGUE.columns) for row in rows)
    assert rows[0]["source_id"] == "Apify/train/food-a1" and rows[0]["prompt"] == "คำถาม food ข้อที่ 1"
    assert [step.outcome for step in done].count(Skip.UNSELECTED) == 10
    names = [
        o["source_id"] if isinstance(o, dict) else o.source_id
        for o in (s.outcome for s in done)
        if not isinstance(o, Skip)
    ]
    assert len(set(names)) == len(names)


def test_authors_are_published_as_salted_hashes(tmp_path: Path, apify: ApifyServer) -> None:
    """The same author has the same one; with the salt of another folder another one; names are nowhere."""
    for folder in ("a", "b"):
        (tmp_path / folder).mkdir()
    ours, others = ([s.outcome for s in steps(tmp_path / folder, apify)] for folder in ("a", "b"))

    assert "talker" not in json.dumps([o for o in ours if isinstance(o, dict)])
    assert not [o for o in ours if isinstance(o, Reject) and "talker" in o.detail]
    hashes = [[o["author_hash"] for o in outcomes if isinstance(o, dict)] for outcomes in (ours, others)]
    assert len(set(hashes[0])) == 6 and not set(hashes[0]) & set(hashes[1])
    salt = tmp_path / "a/author_salt"
    assert stat.S_IMODE(salt.stat().st_mode) == 0o600


def test_damaged_salt_is_refused(tmp_path: Path, apify: ApifyServer) -> None:
    """With another one, authors would change their hashes half-way."""
    (tmp_path / "author_salt").write_bytes(b"")

    with pytest.raises(SourceError, match="author_salt is not the salt"):
        steps(tmp_path, apify)


@pytest.mark.parametrize("done", [0, 1, 7, 12, 23, 24])
def test_going_on_from_any_position(tmp_path: Path, apify: ApifyServer, done: int) -> None:
    """The same steps as without a stop, and nothing bought for them."""
    whole = steps(tmp_path, apify)
    start = whole[done - 1].progress if done else Progress()

    assert steps(tmp_path, apify, start) == whole[done:]

    assert len(apify.bought) == 2
    assert set(whole[0].progress.position) == {"index", "raw", "offset", "query_index"}


def test_offset_of_a_position_is_the_end_of_its_item(tmp_path: Path, apify: ApifyServer) -> None:
    """Where a tool finds the next one."""
    whole = steps(tmp_path, apify)
    position = whole[6].progress.position

    content = (tmp_path / position["raw"]).read_bytes()
    last = json.loads(content[: position["offset"]].splitlines()[-1])
    assert last["index"] == 6


def test_fresh_begins_a_new_collection(tmp_path: Path, apify: ApifyServer) -> None:
    """Once a run; without it the newest goes on; a pinned one must be the newest."""
    first = processor(tmp_path, apify).files.revision
    assert processor(tmp_path, apify).files.revision == first
    second = processor(tmp_path, apify, fresh="yes").files.revision
    assert second > first
    pinned = processor(tmp_path, apify)
    pinned.revision = first

    with pytest.raises(SourceError, match="Nothing was bought"):
        _ = pinned.files


def test_position_of_another_collection_is_refused(tmp_path: Path, apify: ApifyServer) -> None:
    """It would count other items."""
    start = Progress(position={"index": 1, "raw": "raw_items_20200101_000000.jsonl"}, read=1, kept=1)

    with pytest.raises(SourceError, match="Nothing was bought"):
        steps(tmp_path, apify, start)


def test_options_are_understood() -> None:
    """As the command line gives them: text."""
    with pytest.raises(UsageError, match="--queries queries.yaml"):
        collector_options({})


def test_options_from_text(tmp_path: Path) -> None:
    """Numbers, and names separated by commas."""
    (tmp_path / "q.yaml").write_text(QUERIES)

    chosen = collector_options(
        {
            "queries": str(tmp_path / "q.yaml"),
            "target": "9",
            "max_cost": "1.5",
            "flush_interval": "7",
            "buy_again": "food, rain",
        }
    )

    assert (chosen.target, chosen.max_cost_usd, chosen.flush_interval) == (9, 1.5, 7)
    assert chosen.buy_again == {"food", "rain"} and [query.name for query in chosen.queries] == ["food", "rain"]


def test_token_and_address_come_from_the_environment(
    tmp_path: Path, apify: ApifyServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Either name of the token; another address for those behind a proxy, and for tests."""
    (tmp_path / "q.yaml").write_text(QUERIES)
    for name in ("APIFY_TOKEN", "APIFY_API_TOKEN", "APIFY_API_BASE_URL"):
        monkeypatch.delenv(name, raising=False)
    made = ApifyProcessor(options={"folder": str(tmp_path), "queries": str(tmp_path / "q.yaml"), "target": "0"})
    with pytest.raises(AuthenticationError, match="export APIFY_TOKEN"):
        _ = made.collector

    monkeypatch.setenv("APIFY_API_BASE_URL", "apify")
    monkeypatch.setenv("APIFY_API_TOKEN", TOKEN)
    with pytest.raises(UsageError, match="must begin with https"):
        _ = made.collector

    made.config.options["url"] = "elsewhere"  # type: ignore[index]
    with pytest.raises(UsageError, match="--apify-url is 'elsewhere'"):
        _ = made.collector

    made.config.options["url"] = apify.url  # type: ignore[index]
    assert list(made.read("train", {"index": 0})) == [] and apify.bought == []
