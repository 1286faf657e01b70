"""A fresh start of the paid source that dies: its resume goes on in the new collection, never in the old one."""

import shutil
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import pytest

from pipeline.run.run import RunResult
from tests.apify.support import INPUTS, PAIRS, QUERIES, collect, small_apify
from tests.apify_server import TOKEN, ApifyServer
from tests.kills import Killed, KilledAt
from tests.small_runs import SOURCE, Seen, small_run, watching, write_mirror
from utils.errors import UsageError


@pytest.fixture
def apify(monkeypatch: pytest.MonkeyPatch) -> Iterator[ApifyServer]:
    monkeypatch.setenv("APIFY_TOKEN", TOKEN)
    with small_apify() as server:
        monkeypatch.setenv("APIFY_API_BASE_URL", server.url)
        yield server


def paid_run(machine: Path, *, resume: bool, fresh: bool = True) -> RunResult:
    """`--fresh Apify`, with a target that buys nothing more."""
    (machine / "queries.yaml").write_text(QUERIES)
    paid = {"queries": str(machine / "queries.yaml"), "target": "0"}
    return small_run(machine, sources=("Apify",), source_dir=None, resume=resume, fresh=fresh, paid_options=paid)


def is_marked(machine: Path) -> bool:
    """Whether a fresh start says so on the disk; it does until its sources are open."""
    return any((machine / "data/staging").glob("*/fresh-since"))


def test_fresh_start_killed_anywhere_goes_on_in_the_new_collection(tmp_path: Path, apify: ApifyServer) -> None:
    """Before the new dataset begins, between it and the new collection, after both: what was published before, and
    the collection that it came from, are left where they are."""
    first = tmp_path / "first"
    collect(first / "data/raw", apify)
    published = paid_run(first, resume=True)
    assert published.state.split("Apify", "train").published == len(PAIRS)
    old, head = published.state.sources["Apify"].revision, (first / "out/.ingest/state.json").read_bytes()
    number, resumed, is_open = 0, 0, False
    while not is_open:
        machine = tmp_path / str(number)
        shutil.copytree(first, machine)
        killed = KilledAt(number)
        with watching(killed), suppress(Killed):
            paid_run(machine, resume=False)
        state = machine / "out/.ingest/state.json"  # a folder is put away before the new one has its name
        is_begun = not state.exists() or state.read_bytes() != head
        is_open = is_begun and not is_marked(machine)
        if is_begun or is_marked(machine):
            resumed += 1

            after = paid_run(machine, resume=True)

            assert after.state.split("Apify", "train").published == 0, number
            assert all(source.revision > old for source in after.state.sources.values()), number
        assert killed.died
        number += 1
        shutil.rmtree(machine)
    assert resumed > 20 and apify.bought == INPUTS


def test_the_mark_of_a_fresh_start_is_gone_for_good_before_anything_is_bought(
    tmp_path: Path, apify: ApifyServer
) -> None:
    """A power cut that brought it back would have the resume begin one more collection, beside what was paid for."""
    with watching(Seen(tmp_path)) as seen:
        paid_run(tmp_path, resume=False)
    (staging,) = (tmp_path / "data/staging").iterdir()
    gone = seen.steps.index(f"delete data/staging/{staging.name}/fresh-since")
    assert seen.steps[gone + 1] == f"fsync data/staging/{staging.name}", "the folder, before anything else"


def test_a_wish_that_died_begins_no_collection_for_an_append(tmp_path: Path, apify: ApifyServer) -> None:
    """`--fresh` that was killed before it looked has begun nothing: `--append` goes on with what was paid for."""
    write_mirror(tmp_path / "mirrors")
    small_run(tmp_path)
    collect(tmp_path / "data/raw", apify)
    (staging,) = (tmp_path / "data/staging").iterdir()
    (staging / "fresh-since").write_bytes(b"not looked at yet")

    after = paid_run(tmp_path, resume=False, fresh=False)

    assert after.state.split("Apify", "train").published == len(PAIRS)
    assert not is_marked(tmp_path)


def test_purchase_that_is_refused_puts_no_dataset_away(tmp_path: Path, apify: ApifyServer) -> None:
    """Also where another source of the command could be read; and `--resume` is not told to begin anew."""
    write_mirror(tmp_path / "mirrors")
    small_run(tmp_path)
    before = (tmp_path / "out/.ingest/state.json").read_bytes()
    (tmp_path / "data/raw").mkdir()
    (tmp_path / "data/raw/collection_checkpoint.json").write_text('{"query_index": 1}')
    (tmp_path / "queries.yaml").write_text(QUERIES)

    with pytest.raises(UsageError, match="of an older tool.*Nothing was bought"):
        small_run(tmp_path, sources=(SOURCE, "Apify"), paid_options={"queries": str(tmp_path / "queries.yaml")})

    assert (tmp_path / "out/.ingest/state.json").read_bytes() == before and apify.bought == []
    assert not is_marked(tmp_path)
