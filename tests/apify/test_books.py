"""Files of a collection that somebody edited, cut, deleted or replaced: nothing is bought, nothing is lost silently."""

import json
import threading
from pathlib import Path

import pytest

from processors.apify.processor import ApifyProcessor
from tests.apify.support import (
    ONE_QUERY,
    PAIRS,
    QUERIES,
    api_of,
    checkpoint,
    collect,
    collector,
    is_right,
    only,
    purchases,
    records,
    reply_ids,
)
from tests.apify_server import ApifyServer
from tests.small_runs import Failing, watching
from utils.errors import SourceError
from utils.rows.progress import Progress, Step


def processor(folder: Path, apify: ApifyServer, overlap: bool = False, **options: str) -> ApifyProcessor:
    made = ApifyProcessor(
        overlap=overlap,
        checkpoint_dir=folder / "checkpoints",
        options={"folder": str(folder), "queries": str(folder / "queries.yaml"), **options},
    )
    made.make_collector = lambda chosen: collector(folder, api_of(apify))
    (folder / "queries.yaml").write_text(QUERIES)
    return made


def steps(made: ApifyProcessor) -> list[Step]:
    assert made.files.revision
    return list(made.process_split("train", Progress()))


def cut_before(path: Path, word: bytes) -> None:
    """Keep the lines before the first one that has a word in it: nothing of that is torn."""
    lines = path.read_bytes().splitlines(keepends=True)
    path.write_bytes(b"".join(lines[: next(at for at, line in enumerate(lines) if word in line)]))


# --- ledger, raw file, salt ------------------------------------------------------------------


def test_deleted_ledger_buys_nothing(tmp_path: Path, apify: ApifyServer) -> None:
    """The raw items tell of runs that it does not know."""
    collect(tmp_path, apify)
    (tmp_path / "purchases.jsonl").unlink()

    with pytest.raises(SourceError, match=r"purchases\.jsonl does not know.*Nothing was bought"):
        collect(tmp_path, apify)

    assert len(apify.bought) == 2


def test_cut_ledger_buys_nothing(tmp_path: Path, apify: ApifyServer) -> None:
    """A backup of an earlier day in its place."""
    collect(tmp_path, apify)
    cut_before(tmp_path / "purchases.jsonl", b'"purchase": 2')

    with pytest.raises(SourceError, match=r"items of query rain.*Nothing was bought"):
        collect(tmp_path, apify)

    assert len(apify.bought) == 2


def test_cut_raw_file_is_told(tmp_path: Path, apify: ApifyServer) -> None:
    """Whole lines are gone, and the master that would tell of them as well."""
    collect(tmp_path, apify)
    cut_before(only(tmp_path, "raw_items_*.jsonl"), b'"run2"')
    only(tmp_path, "training_data_master_*.jsonl").unlink()

    with pytest.raises(SourceError, match=r"the 12 items of query rain that were paid for.*Nothing was bought"):
        collect(tmp_path, apify)

    assert len(apify.bought) == 2


def test_deleted_raw_file_buys_nothing(tmp_path: Path, apify: ApifyServer) -> None:
    """A resume does not begin anew by itself; a fresh start may, under a name that was never used."""
    collect(tmp_path, apify)
    raw = only(tmp_path, "raw_items_*.jsonl")
    raw.unlink()

    for attempt in (lambda: processor(tmp_path, apify).files, lambda: collect(tmp_path, apify)):
        with pytest.raises(SourceError, match=r"is gone.*Nothing was bought.*--fresh without --resume"):
            attempt()

    assert len(apify.bought) == 2
    assert collector(tmp_path, api_of(apify)).begin() > raw.name.replace("raw_items", "training_data_master")


def test_lost_salt_stops_it_before_anything_is_bought(tmp_path: Path, apify: ApifyServer) -> None:
    """With a new one the same author would get another hash from there on."""
    made = processor(tmp_path, apify)
    assert made.files.revision
    (tmp_path / "author_salt").unlink()

    with pytest.raises(SourceError, match="author_salt is gone.*Nothing was bought"):
        steps(made)

    assert apify.bought == [] and not (tmp_path / "author_salt").exists()


def test_collection_that_another_run_began_meanwhile_is_left_alone(tmp_path: Path, apify: ApifyServer) -> None:
    """Between looking at the newest one and going on with it."""
    collect(tmp_path, apify, target=1)
    ours = collector(tmp_path, api_of(apify))
    master = ours.current()
    collector(tmp_path, api_of(apify)).begin()

    with pytest.raises(SourceError, match="Another run has begun.*Nothing was bought"):
        list(ours.collect(master))

    assert len(apify.bought) == 1


def test_leftovers_of_a_killed_write_are_swept(tmp_path: Path, apify: ApifyServer) -> None:
    """Half a checkpoint of a dead process."""
    leftover = tmp_path / "collection_checkpoint.json.00000000-1.tmp"
    leftover.write_bytes(b"{")

    collect(tmp_path, apify)

    assert not leftover.exists()


def test_disk_without_room_for_the_checkpoint_changes_nothing(
    tmp_path: Path, apify: ApifyServer, caplog: pytest.LogCaptureFixture
) -> None:
    """A run that ends there ends as it would have, without another error; the checkpoint is made again."""
    items = collector(tmp_path, api_of(apify)).collect()
    next(items)

    with watching(Failing("create", ".tmp")):
        items.close()

    assert "collection_checkpoint.json could not be written" in caplog.text
    collect(tmp_path, apify)
    assert is_right(tmp_path, apify) and checkpoint(tmp_path)["total_flushed_to_master"] == len(PAIRS)


# --- rules -----------------------------------------------------------------------------------


def test_filters_of_a_query_may_change_until_it_has_items(tmp_path: Path, apify: ApifyServer) -> None:
    """Those of one that has made pairs stay; a query still to be bought has the filters that the file has now."""
    collect(tmp_path, apify, target=4)
    strict = QUERIES.replace("min_likes: 1", "min_likes: 3")

    collect(tmp_path, apify, strict)
    collect(tmp_path, apify, strict)

    assert reply_ids(tmp_path) == [*PAIRS[:5], "rain-a3", "rain-a4"]
    rules = [
        each["collection"]["rules"] for each in records(only(tmp_path, "raw_items_*.jsonl")) if "collection" in each
    ]
    assert [each["rain"]["filters"]["min_likes"] for each in rules] == [1, 3]


# --- what tools see --------------------------------------------------------------------------


def test_unified_checkpoint_shows_the_progress_without_names(tmp_path: Path, apify: ApifyServer) -> None:
    """Queries, pairs, the master; authors by their hashes, as they are published."""
    made = processor(tmp_path, apify)

    rows = [step.outcome for step in steps(made) if isinstance(step.outcome, dict)]

    (path,) = (tmp_path / "checkpoints").glob("*_unified_checkpoint.json")
    shown, ours = json.loads(path.read_text())["dataset_specific"], checkpoint(tmp_path)
    for name in ("query_index", "processed_queries", "total_flushed_to_master", "unflushed_pairs", "master_data_file"):
        assert shown[name] == ours[name]
    assert sorted(shown["author_counts"].values()) == sorted(ours["author_counts"].values())
    assert set(shown["author_counts"]) == {row["author_hash"] for row in rows if "author_hash" in row}
    assert "talker" not in path.read_text() and shown["position"]["index"] == 24


def test_buying_and_its_checkpoints_are_of_one_thread(tmp_path: Path, apify: ApifyServer) -> None:
    """Nothing is bought ahead of what is published, and no checkpoint shows books that another thread is writing."""
    made = processor(tmp_path, apify, overlap=True)
    threads: set[str] = set()

    def stop_requested() -> bool:
        threads.add(threading.current_thread().name)
        return False

    made.make_collector = lambda chosen: collector(tmp_path, api_of(apify), stop_requested=stop_requested)

    steps(made)

    assert threads == {threading.current_thread().name} and is_right(tmp_path, apify)


def test_ledgers_of_an_earlier_version_are_read(tmp_path: Path, apify: ApifyServer) -> None:
    """Without what was added since: limits, cuts, late runs."""
    collect(tmp_path, apify, ONE_QUERY)
    ledger = tmp_path / "purchases.jsonl"
    added = ("max_usd", "cut_by_our_limit", "may_be_late")
    plain = [{name: value for name, value in each.items() if name not in added} for each in records(ledger)]
    ledger.write_text("".join(json.dumps(each) + "\n" for each in plain))

    collect(tmp_path, apify)

    assert is_right(tmp_path, apify) and not any(each.is_cut for each in purchases(tmp_path))
