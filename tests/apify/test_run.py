"""Real runs of `main.py` that buy from the tests' Apify: killed at its worst moments, stopped by money, grown.

The server counts what was bought. What is published is opened as its users open it.
"""

import json
import signal
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from datasets import load_dataset

from tests.apify.support import ACTOR, QUERIES, posts, purchases, raw_items, records
from tests.apify_server import TOKEN, ApifyServer
from tests.runs import run, run_until, start

RUN = ["Apify", "--queries", "queries.yaml", "--output", "out"]
CUTS = ["--upload-batch-size", "2", "--checkpoint-interval", "2", "--flush-interval", "2"]
ITEMS, FOOD_PAIRS, PAIRS = 24, 5, 8
"""What both queries give, the first one's pairs, and those of both."""
FOOD_USD = "0.24"


@pytest.fixture
def apify() -> Iterator[ApifyServer]:
    with ApifyServer() as server:
        server.add_actor(ACTOR, posts, statuses=("SUCCEEDED",))
        yield server


@pytest.fixture
def machine(tmp_path: Path) -> Path:
    (tmp_path / "queries.yaml").write_text(QUERIES)
    return tmp_path


def environment(apify: ApifyServer) -> dict[str, str]:
    return {"APIFY_TOKEN": TOKEN, "APIFY_API_BASE_URL": apify.url, "HF_HOME": "hf"}


def main(machine: Path, apify: ApifyServer, *arguments: str) -> subprocess.CompletedProcess[str]:
    return run([*RUN, *arguments], machine, environment(apify))


def killed_at(step: str, machine: Path, apify: ApifyServer, *arguments: str) -> bool:
    """Whether a run was killed where Apify had answered a request of that step, which it never heard."""
    process = start([*RUN, *arguments], machine, environment(apify))
    apify.fault("kill", step, applied=True, pid=process.pid)
    process.communicate(timeout=300)
    return process.returncode == -signal.SIGKILL


def killed_while(reached: Callable[[], bool], machine: Path, apify: ApifyServer, *arguments: str) -> bool:
    ended = run_until([*RUN, *arguments], machine, reached, environment(apify))
    return ended.returncode == -signal.SIGKILL


def journals(machine: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in (machine / "data/raw").glob("*.jsonl")}


def published(machine: Path) -> list[dict[str, object]]:
    dataset = load_dataset(str(machine / "out"), "dialogue", split="train", cache_dir=str(machine / "hf"))
    return list(dataset)


def where(words: list[str], machine: Path, *folders: str) -> list[str]:
    """The files below these folders that hold one of the words."""
    paths = [path for folder in folders for path in (machine / folder).rglob("*") if path.is_file()]
    assert paths
    return [str(path) for path in paths if any(word.encode() in path.read_bytes() for word in words)]


def test_killed_at_its_worst_moments_it_buys_once_and_publishes_once(machine: Path, apify: ApifyServer) -> None:
    """Killed where the run was bought but not heard of, while items came, and while publishing; resumed each time."""
    assert killed_at("start", machine, apify, "--fresh", *CUTS)
    refused = main(machine, apify, "--fresh", *CUTS)
    assert refused.returncode == 2 and "Fetch them first: --resume" in refused.stderr
    after_kills = [journals(machine)]
    assert killed_at("items", machine, apify, "--fresh", *CUTS, "--resume")
    after_kills.append(journals(machine))
    parts = machine / "out/dialogue/train"
    assert killed_while(lambda: any(parts.glob("*.parquet")), machine, apify, "--fresh", *CUTS, "--resume")
    after_kills.append(journals(machine))

    done = main(machine, apify, "--fresh", *CUTS, "--resume")

    assert done.returncode == 0, done.stderr
    assert [run_input["searchTerms"] for run_input in apify.bought] == [["food"], ["rain"]]
    assert len(raw_items(machine / "data/raw")) == ITEMS
    now = journals(machine)
    assert all(now[name].startswith(content) for before in after_kills for name, content in before.items())
    rows = published(machine)
    assert [row["ID"] for row in rows] == [f"D{number}" for number in range(1, PAIRS + 1)]
    assert len({row["source_id"] for row in rows}) == PAIRS
    assert run(["--verify", "--output", "out"], machine).returncode == 0
    assert where(["talker", "asker"], machine, "out", "checkpoints", "logs") == []
    assert where([TOKEN], machine, "out", "checkpoints", "logs", "data") == []


def test_costs_stop_it_with_what_is_bought_published_and_a_higher_target_goes_on(
    machine: Path, apify: ApifyServer
) -> None:
    """A collection grows with each resume that asks for more, and its published split with it; no row comes twice."""
    stopped = main(machine, apify, "--fresh", "--max-cost", FOOD_USD)
    assert stopped.returncode == 5 and "--resume with a higher --max-cost" in stopped.stderr
    first = published(machine)
    reached = main(machine, apify, "--fresh", "--resume", "--max-cost", "1", "--target", str(FOOD_PAIRS))
    assert reached.returncode == 0 and "Nothing to do" in reached.stdout and len(apify.bought) == 1

    grown = main(machine, apify, "--append", "--resume", "--max-cost", "1", "--target", "2000")

    assert grown.returncode == 0, grown.stderr
    rows = published(machine)
    assert len(first) == FOOD_PAIRS and rows[:FOOD_PAIRS] == first
    assert [row["ID"] for row in rows] == [f"D{number}" for number in range(1, PAIRS + 1)]
    assert [purchase.cost_usd for purchase in purchases(machine / "data/raw")] == [0.24, 0.24]
    assert run(["--verify", "--output", "out"], machine).returncode == 0


def test_new_filters_need_no_new_purchase_and_masters_merge(machine: Path, apify: ApifyServer) -> None:
    """`--refilter` makes a new dataset of the raw items; `--merge` one file of both masters, which stay as they are."""
    assert main(machine, apify, "--fresh").returncode == 0
    before = journals(machine)
    (machine / "queries.yaml").write_text(QUERIES.replace("min_likes: 1", "min_likes: 3"))

    refiltered = main(machine, apify, "--fresh", "--refilter")

    assert refiltered.returncode == 0, refiltered.stderr
    rows = published(machine)
    assert 0 < len(rows) < PAIRS and all(int(str(row["likes"])) >= 3 for row in rows)
    assert len(apify.bought) == 2
    masters = sorted((machine / "data/raw").glob("training_data_master_*.jsonl"))
    assert [len(records(master)) for master in masters] == [PAIRS, len(rows)]
    merged = run(["--merge", "all.jsonl"], machine)
    assert merged.returncode == 0 and "pairs of 2 master files" in merged.stdout
    replies = [json.loads(line)["reply_id"] for line in (machine / "all.jsonl").read_text().splitlines()]
    assert sorted(replies) == sorted({line["reply_id"] for master in masters for line in records(master)})
    assert all(journals(machine)[name].startswith(content) for name, content in before.items())


def test_what_can_not_be_bought_puts_no_dataset_away(machine: Path, apify: ApifyServer) -> None:
    """A fresh start without a token, or without a queries file that can be read, changes nothing."""
    (machine / "out").mkdir()
    (machine / "bad.yaml").write_text("queries: 3")
    without = {**environment(apify), "APIFY_TOKEN": "", "APIFY_API_TOKEN": ""}

    no_token = run([*RUN, "--fresh"], machine, without)
    no_queries = main(machine, apify, "--fresh", "--queries", "bad.yaml")

    assert no_token.returncode == 3 and "export APIFY_TOKEN" in no_token.stderr
    assert no_queries.returncode == 2 and "bad.yaml" in no_queries.stderr
    assert not (machine / "data/raw").exists() and list((machine / "out").iterdir()) == []
