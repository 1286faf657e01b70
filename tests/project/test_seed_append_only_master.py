"""The founding document on bought dialogue, in its order: files that only grow, and going on after a crash.

Its migration, from an older tool's files to a dataset, is walked through with real runs of the program.
"""

import json
import logging
from collections.abc import Iterator
from pathlib import Path
from subprocess import CompletedProcess
from typing import Any

import pytest

from processors.apify.collector import CollectorOptions
from processors.apify.files import write_checkpoint
from processors.apify.journal import line_of
from processors.apify.master import Master
from processors.apify.processor import collector_options
from tests.apify.support import (
    ACTOR,
    ONE_QUERY,
    QUERIES,
    collect,
    master_lines,
    only,
    posts,
    records,
    reply,
    small_apify,
)
from tests.apify_server import TOKEN, ApifyServer
from tests.project.founding import DIFFERS, KEPT, RENAMED, Row
from tests.runs import run
from tests.small_runs import watching
from utils.disk.durable import Effect

COLLECTOR = "tests/apify/test_collector.py"
FILES = "tests/apify/test_files.py"
JOURNAL = "tests/apify/test_journal.py"
OLD = "tests/apify/test_old_data.py"

ROWS = (
    Row("a query that starts overwrites nothing that an earlier one gave", KEPT, "test_second_query_appends"),
    Row(
        "`src/data_collection/apify_collector.py`",
        RENAMED,
        "test_command_of_the_document",
        "`processors/apify/`, the source `Apify`",
    ),
    Row(
        "`training_data_master_YYYYMMDD_HHMMSS.jsonl` is appended to and never overwritten",
        KEPT,
        "test_second_query_appends",
    ),
    Row("it is kept for good", KEPT, f"{FILES}::test_master_that_was_deleted_is_made_again"),
    Row(
        "its name has the time, so that no other one is overwritten",
        KEPT,
        f"{FILES}::test_stamps_go_up_although_the_clock_does_not",
    ),
    Row(
        "`collection_checkpoint.json`: query index and authors' counts",
        KEPT,
        f"{COLLECTOR}::test_checkpoint_shows_the_progress",
    ),
    Row(
        "... and how many pairs are in the master and in the buffer",
        KEPT,
        f"{COLLECTOR}::test_checkpoint_shows_the_progress",
    ),
    Row("... it is small, and may be overwritten", KEPT, f"{FILES}::test_damaged_checkpoint_decides_nothing"),
    Row(
        "pairs wait in memory until they are flushed", KEPT, f"{COLLECTOR}::test_nothing_is_yielded_that_is_not_durable"
    ),
    Row("a flush every 50 pairs by itself", KEPT, "test_master_grows_by_fifty"),
    Row(
        "little is lost in a crash",
        DIFFERS,
        f"{COLLECTOR}::test_kill_at_every_step_buys_nothing_twice_and_loses_nothing",
        "nothing is: what is bought is on the disk before pairs are made of it, and those that waited are made again",
    ),
    Row(
        "items of Apify become pairs in a list, `all_pairs`",
        RENAMED,
        f"{COLLECTOR}::test_collection_buys_each_query_once_and_keeps_every_item",
        "in the file `raw_items_<time>.jsonl`: a list is gone after a crash",
    ),
    Row("50 pairs: append, empty the buffer, count", KEPT, "test_master_grows_by_fifty"),
    Row("then the checkpoint is saved", KEPT, f"{COLLECTOR}::test_checkpoint_shows_the_progress"),
    Row("query after query", KEPT, f"{COLLECTOR}::test_collection_buys_each_query_once_and_keeps_every_item"),
    Row("at the end what waits is flushed", KEPT, f"{COLLECTOR}::test_checkpoint_shows_the_progress"),
    Row("the file is opened to append", KEPT, f"{JOURNAL}::test_opening_again_goes_on_at_the_end"),
    Row("batches spare writes", KEPT, f"{JOURNAL}::test_batch_is_flushed_once_and_a_new_file_into_its_folder"),
    Row(
        "at most 49 pairs are lost",
        DIFFERS,
        f"{COLLECTOR}::test_kill_at_every_step_buys_nothing_twice_and_loses_nothing",
        "none",
    ),
    Row(
        "each run begins a new master",
        DIFFERS,
        "test_resume_goes_on_in_the_same_master",
        "`--fresh` and `--refilter` do; `--resume` and `--append` go on in the newest, so that one dataset has one",
    ),
    Row(
        "the table: 50 are safe after the first flush, 100 after the second, all after a crash",
        KEPT,
        "test_master_grows_by_fifty",
    ),
    Row(
        "let the running collection finish",
        DIFFERS,
        f"{OLD}::test_old_pairs_are_published_counted_and_once",
        "let the older tool finish, then put its files into `data/raw/`: they are taken in",
    ),
    Row("Ctrl-C stops it", KEPT, f"{FILES}::test_stop_request_keeps_the_run"),
    Row(
        "delete the old checkpoints before starting anew",
        DIFFERS,
        f"{OLD}::test_fresh_start_does_not_buy_again_what_an_older_tool_has_bought",
        (
            "leave them: they tell what was bought. A fresh start asks for them to be moved away, if all is to be "
            "bought again"
        ),
    ),
    Row(
        "`scripts/collect_data.py` with `--target 2000`",
        RENAMED,
        "test_command_of_the_document",
        "`python main.py --fresh Apify --queries queries.yaml --target 2000`: what to buy stands in a file",
    ),
    Row("the files: a master and `collection_checkpoint.json` in `data/raw/`", KEPT, "test_command_of_the_document"),
    Row(
        "`checkpoint_data.jsonl` will be deleted",
        DIFFERS,
        "test_old_data_is_published_by_a_run",
        "it stays, and its pairs are taken in: counted for `--target`, each once, damaged lines told",
    ),
    Row("an older tool's masters", KEPT, f"{OLD}::test_old_pairs_are_published_counted_and_once"),
    Row(
        "an older tool's `query_index`",
        DIFFERS,
        "test_index_alone_buys_nothing",
        (
            "alone, here or in a `checkpoint_*.json`, it is refused before anything is bought, with what to type: it "
            "counts a list that is not here"
        ),
    ),
    Row("try it: `--target 200`, and the master's lines grow", KEPT, "test_master_grows_by_fifty"),
    Row("... by 50 at a time", KEPT, "test_master_grows_by_fifty"),
    Row(
        "kill it: what was flushed is there",
        KEPT,
        f"{COLLECTOR}::test_kill_at_every_step_buys_nothing_twice_and_loses_nothing",
    ),
    Row("the same command with `--resume` goes on", KEPT, "test_resume_goes_on_in_the_same_master"),
    Row(
        "its cost is protected, but for 49 pairs",
        DIFFERS,
        "tests/apify/test_run.py::test_killed_at_its_worst_moments_it_buys_once_and_publishes_once",
        "all of it is: a query is bought once, whatever dies, and `--max-cost` bounds it",
    ),
    Row(
        "`master_data_file` and `unflushed_pairs`",
        RENAMED,
        "test_methods_under_their_new_names",
        "fields of the checkpoint; in code `Master.path` and `Master.unflushed` of `processors/apify/master.py`",
    ),
    Row("`_flush_to_master(pairs)`", RENAMED, "test_methods_under_their_new_names", "`Master.take` and `Master.flush`"),
    Row(
        "`_save_checkpoint`, `_load_checkpoint`, `_clear_checkpoint`",
        RENAMED,
        "test_methods_under_their_new_names",
        (
            "the checkpoint is only written (`write_checkpoint` of `processors/apify/files.py`): progress is read "
            "from the raw items and the ledger, and nothing has to be cleared"
        ),
    ),
    Row("the log tells of flushes", KEPT, "test_log_tells_of_flushes_and_queries"),
    Row(
        "`flush_interval = 50`, to be changed in the code",
        RENAMED,
        "test_flush_interval_is_fifty",
        "`--flush-interval`",
    ),
    Row("a flush on completion, and with each checkpoint", KEPT, f"{COLLECTOR}::test_checkpoint_shows_the_progress"),
    Row(
        "never delete the master: it is the only copy",
        DIFFERS,
        f"{FILES}::test_master_that_was_deleted_is_made_again",
        "keep all of `data/raw/`; the master alone can be made again",
    ),
    Row("the checkpoint can be made again", KEPT, f"{FILES}::test_damaged_checkpoint_decides_nothing"),
    Row(
        "after a restart there are several masters",
        KEPT,
        f"{FILES}::test_new_collection_has_files_of_its_own_and_repeats_no_pair",
    ),
    Row(
        "`cat` merges them into `combined.jsonl`",
        RENAMED,
        "test_masters_merge",
        "`--merge combined.jsonl`: each pair once; they are lines, so `cat` works as well",
    ),
    Row(
        "a resume reads the master, no longer `checkpoint_data.jsonl`",
        DIFFERS,
        f"{OLD}::test_old_pairs_come_into_the_first_collection_only",
        "it reads the raw items, of which the master follows, and takes both older files in once",
    ),
)

OLD_PAIRS = [{"prompt": f"ถามว่า {number}", "response": f"ตอบว่า {number}"} for number in range(3)]
RUN = ["--fresh", "Apify", "--queries", "queries.yaml", "--output", "out", "--target", "2000", "--resume"]


class Migration:
    """From an older tool's folder to a dataset, by what the program says."""

    def __init__(self, machine: Path, apify: ApifyServer) -> None:
        self.machine, self.apify = machine, apify
        self.raw = machine / "data/raw"
        self.raw.mkdir(parents=True)
        (machine / "queries.yaml").write_text(QUERIES)
        self.old = b"".join(line_of(pair) for pair in OLD_PAIRS) + b'{"prompt": "to'
        (self.raw / "checkpoint_data.jsonl").write_bytes(self.old)
        (self.raw / "collection_checkpoint.json").write_text('{"query_index": 2, "author_counts": {}}')
        self.refused = self.run(*RUN)
        (self.raw / "collection_checkpoint.json").write_text(
            '{"query_index": 2, "processed_queries": ["food", "rain"]}'
        )
        self.done = self.run(*RUN)
        self.masters = sorted(path.name for path in self.raw.glob("training_data_master_*"))
        self.again = self.run(*RUN)
        self.merged = self.run("--merge", "combined.jsonl")

    def run(self, *arguments: str) -> CompletedProcess[str]:
        servers = {"APIFY_TOKEN": TOKEN, "APIFY_API_BASE_URL": self.apify.url}
        return run(arguments, self.machine, servers)


@pytest.fixture(scope="module")
def migration(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Migration]:
    with ApifyServer() as apify:
        apify.add_actor(ACTOR, posts, statuses=("SUCCEEDED",))
        yield Migration(tmp_path_factory.mktemp("migration"), apify)


@pytest.fixture
def apify() -> Iterator[ApifyServer]:
    with small_apify() as server:
        yield server


def many_pairs(run_input: dict[str, Any]) -> list[dict[str, Any]]:
    """120 replies, each with what it answers."""
    return [reply(str(n), "q", f"คำตอบที่ {n}", f"a{n}", inReplyToText=f"คำถามที่ {n}") for n in range(120)]


class Appends:
    """How many pairs the master had after each write to it."""

    def __init__(self) -> None:
        self.pairs: list[int] = []

    def before(self, effect: Effect) -> None:
        """Nothing yet."""

    def after(self, effect: Effect) -> None:
        if effect.kind == "write" and "master" in effect.path.name:
            self.pairs.append(effect.path.read_bytes().count(b"\n"))


def test_second_query_appends(tmp_path: Path, apify: ApifyServer) -> None:
    """What the first one gave is the beginning of the file, byte by byte."""
    collect(tmp_path, apify, ONE_QUERY)
    before = only(tmp_path, "training_data_master_*.jsonl").read_bytes()

    collect(tmp_path, apify)

    after = only(tmp_path, "training_data_master_*.jsonl").read_bytes()
    assert after.startswith(before) and len(after) > len(before)


def test_master_grows_by_fifty(tmp_path: Path) -> None:
    """50, then 100, then the rest of the query: all are there at the end, each once."""
    with small_apify(many_pairs) as apify, watching(Appends()) as appends:
        collect(tmp_path, apify, ONE_QUERY, flush_interval=50, target=200)

    assert appends.pairs == [50, 100, 120]
    assert [line["reply_id"] for line in master_lines(tmp_path)] == [str(number) for number in range(120)]


def test_flush_interval_is_fifty(tmp_path: Path) -> None:
    """Unless another one is given."""
    (tmp_path / "q.yaml").write_text(QUERIES)
    given = {"queries": str(tmp_path / "q.yaml")}

    assert collector_options(given).flush_interval == CollectorOptions(()).flush_interval == 50
    assert collector_options({**given, "flush_interval": "7"}).flush_interval == 7


def test_log_tells_of_flushes_and_queries(tmp_path: Path, apify: ApifyServer, caplog: pytest.LogCaptureFixture) -> None:
    """How much, and how many there are; what each query gave and cost."""
    with caplog.at_level(logging.DEBUG):
        collect(tmp_path, apify, ONE_QUERY)

    assert "2 pairs appended, 4 in all" in caplog.text
    assert "query food: 12 items for 0.24 USD" in caplog.text


def test_methods_under_their_new_names() -> None:
    """Take and flush pairs; write the checkpoint."""
    assert all(callable(each) for each in (Master.take, Master.flush, write_checkpoint))
    assert isinstance(Master.unflushed, property)


def test_index_alone_buys_nothing(migration: Migration) -> None:
    """It leaves with 2 and says what to type, and so it is."""
    assert migration.refused.returncode == 2
    assert '"processed_queries": ["food", "rain"]' in migration.refused.stderr
    assert migration.done.returncode == 0 and migration.apify.bought == []


def test_old_data_is_published_by_a_run(migration: Migration) -> None:
    """In the dataset and its books; the file is as it was."""
    assert migration.done.returncode == 0, migration.done.stderr
    state = json.loads((migration.machine / "out/.ingest/state.json").read_text())
    books = state["sources"]["Apify"]["splits"]["train"]["progress"]
    assert (books["read"], books["kept"]) == (len(OLD_PAIRS) + 1, len(OLD_PAIRS))
    assert "1 lines can't be read" in migration.done.stderr + migration.done.stdout
    assert (migration.raw / "checkpoint_data.jsonl").read_bytes() == migration.old


def test_command_of_the_document(migration: Migration) -> None:
    """What it collects lies where the document has it."""
    there = {path.name for path in migration.raw.iterdir()}

    assert len(migration.masters) == 1 and {*migration.masters, "collection_checkpoint.json"} <= there


def test_resume_goes_on_in_the_same_master(migration: Migration) -> None:
    """It buys nothing again and begins no other one."""
    assert migration.again.returncode == 0 and "Nothing to do" in migration.again.stdout
    assert sorted(path.name for path in migration.raw.glob("training_data_master_*")) == migration.masters


def test_masters_merge(migration: Migration) -> None:
    """Each pair once, though the collection and the older tool's file have it."""
    assert migration.merged.returncode == 0
    prompts = [record["prompt"] for record in records(migration.machine / "combined.jsonl")]
    assert prompts == [pair["prompt"] for pair in OLD_PAIRS]
