"""Buying from Apify: no answer, however unclear, buys twice; bad runs and deleted ones are told; money stops it."""

import sys
from pathlib import Path

import pytest

from tests.apify.support import (
    ACTOR,
    INPUTS,
    ITEMS,
    ONE_QUERY,
    PAIRS,
    api_of,
    collect,
    collector,
    is_right,
    posts,
    purchases,
    raw_items,
    reply_ids,
    small_apify,
)
from tests.apify_server import ApifyServer
from utils.errors import AuthenticationError, IngestError, Stopped, UsageError

# --- buying ----------------------------------------------------------------------------------


@pytest.mark.parametrize("fault", ["lost_after", "status_late", "half_body", "no_json"])
@pytest.mark.parametrize("keeps_user_agents", [True, False], ids=["marked", "unmarked"])
def test_lost_answer_to_a_start_is_no_second_purchase(
    tmp_path: Path, apify: ApifyServer, fault: str, keeps_user_agents: bool
) -> None:
    """The run is found by its mark; where Apify keeps none, by its input, to which it may have added defaults."""
    apify.actors[ACTOR].defaults = {"proxy": True}
    apify.keeps_user_agents = keeps_user_agents
    apify.fault(fault, "start")

    collect(tmp_path, apify)

    assert [{**run_input, "proxy": True} for run_input in INPUTS] == apify.bought
    assert reply_ids(tmp_path) == PAIRS


def test_timeout_of_a_start_is_no_second_purchase(tmp_path: Path, apify: ApifyServer) -> None:
    """The answer never came, the run is there."""
    apify.fault("stall", "start")

    list(collector(tmp_path, api_of(apify, timeout_s=0.3)).collect())

    assert is_right(tmp_path, apify)


@pytest.mark.parametrize("status", [429, 500, 502, 503])
def test_start_that_did_not_happen_is_tried_again(tmp_path: Path, apify: ApifyServer, status: int) -> None:
    """After looking: the first intent is void."""
    apify.fault("status", "start", status=status)

    collect(tmp_path, apify)

    assert is_right(tmp_path, apify)
    assert apify.steps()[:3] == ["start", "runs", "runs"]


def test_start_that_never_works_is_given_up(tmp_path: Path, apify: ApifyServer) -> None:
    """Bounded, with nothing bought; the next run begins again."""
    apify.fault("lost_before", "start", times=99)

    with pytest.raises(Stopped, match="3 tries.*nothing was bought.*--resume"):
        collect(tmp_path, apify)

    assert apify.bought == [] and purchases(tmp_path) == []
    apify.rules.clear()
    collect(tmp_path, apify)
    assert is_right(tmp_path, apify)


def test_run_that_listings_show_late_is_found(tmp_path: Path, apify: ApifyServer) -> None:
    """The first look does not show it."""
    apify.listing_lag = 1
    apify.fault("lost_after", "start")

    collect(tmp_path, apify)

    assert is_right(tmp_path, apify)


def test_run_of_another_purchase_is_not_taken(tmp_path: Path, apify: ApifyServer) -> None:
    """Another machine bought the very same: its run is its own."""
    collect(tmp_path / "other", apify)
    apify.fault("lost_before", "start")

    collect(tmp_path / "ours", apify)

    assert len(apify.bought) == 4
    assert {each.run_id for each in purchases(tmp_path / "ours")} == {"run3", "run4"}


def test_run_of_an_equal_query_is_not_taken(tmp_path: Path, apify: ApifyServer) -> None:
    """Two queries may ask for the same; a run in the ledger is not found a second time."""
    apify.keeps_user_agents = False
    twice = ONE_QUERY + ONE_QUERY[ONE_QUERY.index("  - name") :].replace("name: food", "name: again")
    apify.fault("lost_before", "start", skip=1)

    collect(tmp_path, apify, twice)

    assert [(each.query, each.run_id) for each in purchases(tmp_path)] == [("food", "run1"), ("again", "run2")]


@pytest.mark.parametrize(
    ("status", "error", "told"),
    [
        (400, UsageError, "query's input"),
        (401, AuthenticationError, "APIFY_TOKEN"),
        (402, Stopped, "billing"),
        (403, Stopped, "billing"),
        (404, UsageError, "actor's name"),
    ],
)
def test_refusal_says_what_to_do_and_is_no_purchase(
    tmp_path: Path, apify: ApifyServer, status: int, error: type[IngestError], told: str
) -> None:
    """A clear no: nothing to look for. Run again, it is bought."""
    apify.fault("status", "start", status=status)

    with pytest.raises(error, match=f"Nothing was bought.*{told}"):
        collect(tmp_path, apify)

    assert apify.steps() == ["start"] and purchases(tmp_path) == []
    collect(tmp_path, apify)
    assert is_right(tmp_path, apify)


@pytest.mark.parametrize("step", ["run", "items"])
def test_unreachable_apify_loses_nothing(tmp_path: Path, apify: ApifyServer, step: str) -> None:
    """Bounded tries, then a clear stop; the next run goes on with what is bought."""
    apify.fault("status", step, times=99, status=503)
    with pytest.raises(Stopped, match="nothing is bought again.*--resume"):
        collect(tmp_path, apify)
    assert apify.bought == INPUTS[:1]

    apify.rules.clear()
    collect(tmp_path, apify)

    assert is_right(tmp_path, apify)


def test_items_are_read_from_where_they_stopped(tmp_path: Path, apify: ApifyServer) -> None:
    """Unreachable after the first page: the resume asks for the second."""
    apify.fault("status", "items", skip=1, times=99)
    with pytest.raises(Stopped):
        collect(tmp_path, apify)
    apify.rules.clear()
    before = len(apify.requests)

    collect(tmp_path, apify)

    offsets = [seen.query.get("offset") for seen in apify.requests[before:] if seen.step == "items"]
    assert offsets[0] == "5" and is_right(tmp_path, apify)


def test_failed_listing_is_no_empty_one(tmp_path: Path, apify: ApifyServer) -> None:
    """Cannot tell is not empty: nothing is bought on it."""
    apify.fault("lost_after", "start")
    apify.fault("status", "runs", times=99)
    with pytest.raises(Stopped):
        collect(tmp_path, apify)

    apify.rules.clear()
    collect(tmp_path, apify)

    assert is_right(tmp_path, apify)


def test_wrong_token(tmp_path: Path, apify: ApifyServer) -> None:
    """It says where tokens come from, never the token."""
    with pytest.raises(AuthenticationError) as refused:
        list(collector(tmp_path, api_of(apify, token="apify_secret")).collect())

    assert "APIFY_TOKEN" in str(refused.value) and "apify_secret" not in str(refused.value)


def test_items_that_are_listed_late_are_not_missed(tmp_path: Path, apify: ApifyServer) -> None:
    """Right after a run has ended its items may not be there yet."""
    apify.items_lag = 1

    collect(tmp_path, apify)

    assert is_right(tmp_path, apify)


def test_missing_library_says_what_to_install(
    tmp_path: Path, apify: ApifyServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It is an optional part; nothing is left open by it."""
    with monkeypatch.context() as patched:
        patched.setitem(sys.modules, "apify_client", None)
        with pytest.raises(UsageError, match='pip install "apify-client'):
            collect(tmp_path, apify)

    collect(tmp_path, apify)
    assert is_right(tmp_path, apify)


# --- runs that end badly, and Apify's retention ----------------------------------------------


@pytest.mark.parametrize("status", ["FAILED", "ABORTED", "TIMED-OUT"])
def test_items_of_a_failed_run_are_kept(tmp_path: Path, status: str) -> None:
    """They are paid for. The query is not bought again by itself; on demand it is, once."""
    with small_apify(statuses=["RUNNING", status], delivered=5) as apify:
        collect(tmp_path, apify, ONE_QUERY)
        assert raw_items(tmp_path) == ITEMS[:5] and reply_ids(tmp_path) == ["food-a1"]
        collect(tmp_path, apify, ONE_QUERY)
        assert len(apify.bought) == 1

        apify.add_actor(ACTOR, posts)
        for _ in range(2):
            collect(tmp_path, apify, ONE_QUERY, buy_again=frozenset({"food"}))

        assert len(apify.bought) == 2
        assert sorted(reply_ids(tmp_path)) == sorted(PAIRS[:5])


def test_items_that_apify_has_deleted_are_counted(
    tmp_path: Path, apify: ApifyServer, caplog: pytest.LogCaptureFixture
) -> None:
    """Killed after the first page, resumed after the retention time: what is here stays, the rest is said."""
    apify.fault("status", "items", skip=1, times=99)
    with pytest.raises(Stopped):
        collect(tmp_path, apify, ONE_QUERY)
    apify.rules.clear()
    apify.runs["run1"].is_deleted = True

    collect(tmp_path, apify, ONE_QUERY)

    (bought,) = purchases(tmp_path)
    assert (bought.items, bought.missing, bought.cost_usd) == (5, 7, 0.24)
    assert raw_items(tmp_path) == ITEMS[:5]
    assert "7 of its items are gone" in caplog.text and "retention time" in caplog.text


def test_run_that_apify_has_deleted(tmp_path: Path, apify: ApifyServer, caplog: pytest.LogCaptureFixture) -> None:
    """Nobody knows how many items it had; the collection goes on."""
    apify.fault("status", "run", times=99)
    with pytest.raises(Stopped):
        collect(tmp_path, apify)
    apify.rules.clear()
    del apify.runs["run1"]

    collect(tmp_path, apify)

    assert [(each.query, each.items, each.missing) for each in purchases(tmp_path)] == [
        ("food", 0, None),
        ("rain", 12, 0),
    ]
    assert "an unknown number of its items are gone" in caplog.text


def test_intent_that_can_not_be_cleared_up_buys_nothing(tmp_path: Path, apify: ApifyServer) -> None:
    """The inputs of the runs are deleted and none is marked: asked for by name, it is bought."""
    apify.keeps_user_agents = False
    apify.fault("lost_after", "start")
    apify.fault("status", "runs", times=99)
    with pytest.raises(Stopped):
        collect(tmp_path, apify, ONE_QUERY)
    apify.rules.clear()
    apify.runs["run1"].is_deleted = True

    with pytest.raises(Stopped, match="can't be told.*--buy-again food"):
        collect(tmp_path, apify, ONE_QUERY)
    assert len(apify.bought) == 1

    collect(tmp_path, apify, ONE_QUERY, buy_again=frozenset({"food"}))
    assert len(apify.bought) == 2


# --- money -----------------------------------------------------------------------------------


def test_costs_stop_before_the_next_purchase(tmp_path: Path, apify: ApifyServer) -> None:
    """And each run may cost no more than what is left. More money goes on."""
    with pytest.raises(Stopped, match=r"0\.24 of 0\.24 USD.*--resume"):
        collect(tmp_path, apify, max_cost_usd=0.24)
    assert apify.bought == INPUTS[:1] and len(reply_ids(tmp_path)) == 5
    assert apify.runs["run1"].options["maxTotalChargeUsd"] == "0.24"

    collect(tmp_path, apify, max_cost_usd=1.0)

    assert is_right(tmp_path, apify)
    assert apify.runs["run2"].options["maxTotalChargeUsd"] == "0.76"


def test_cost_that_apify_corrects_counts(tmp_path: Path, apify: ApifyServer) -> None:
    """It adds up for some moments after a run has ended; before the next purchase it is asked once more."""
    items = collector(tmp_path, api_of(apify), max_cost_usd=0.5).collect()
    next(items)
    apify.runs["run1"].cost_usd = 0.6
    with pytest.raises(Stopped, match=r"0\.60 of 0\.50 USD"):
        list(items)

    assert purchases(tmp_path)[0].cost_usd == 0.6
