"""Money: what --max-cost has cut is no whole query, what is too little buys nothing, and typos buy nothing either."""

from pathlib import Path

import pytest

from processors.apify.processor import collector_options
from tests.apify.support import (
    ACTOR,
    INPUTS,
    ITEMS,
    ONE_QUERY,
    PAIRS,
    QUERIES,
    collect,
    is_right,
    posts,
    purchases,
    raw_items,
    records,
    reply_ids,
    small_apify,
)
from tests.apify_server import ApifyServer
from utils.errors import Stopped, UsageError


def test_run_that_our_limit_has_cut_is_noted(
    tmp_path: Path, apify: ApifyServer, caplog: pytest.LogCaptureFixture
) -> None:
    """Apify calls it SUCCEEDED. It is no whole query: said in the ledger, at once, and by each later resume."""
    with pytest.raises(
        Stopped, match=r"food was ended by --max-cost at 0\.10 USD.*--buy-again food.*higher --max-cost"
    ):
        collect(tmp_path, apify, ONE_QUERY, max_cost_usd=0.1)

    assert raw_items(tmp_path) == ITEMS[:5]
    assert [(each.status, each.is_cut, each.max_usd) for each in purchases(tmp_path)] == [("SUCCEEDED", True, 0.1)]
    assert records(tmp_path / "purchases.jsonl")[-1]["cut_by_our_limit"] is True
    caplog.clear()
    collect(tmp_path, apify, ONE_QUERY, max_cost_usd=5.0)
    assert len(apify.bought) == 1 and "may have more to give" in caplog.text


def test_cut_query_is_bought_once_more_when_asked(tmp_path: Path, apify: ApifyServer) -> None:
    """And once only: then it is whole."""
    with pytest.raises(Stopped):
        collect(tmp_path, apify, ONE_QUERY, max_cost_usd=0.1)

    for _ in range(2):
        collect(tmp_path, apify, ONE_QUERY, max_cost_usd=5.0, buy_again=frozenset({"food"}))

    assert len(apify.bought) == 2 and sorted(reply_ids(tmp_path)) == sorted(PAIRS[:5])


def test_cut_is_no_matter_once_the_target_is_reached(
    tmp_path: Path, apify: ApifyServer, caplog: pytest.LogCaptureFixture
) -> None:
    """All that was asked for is there. It is said all the same."""
    collect(tmp_path, apify, ONE_QUERY, max_cost_usd=0.1, target=1)

    assert "--buy-again food" in caplog.text


def test_cut_that_shows_when_the_cost_is_corrected_is_noted(tmp_path: Path) -> None:
    """Right after the run Apify told of half of it."""
    with small_apify(costs_told=[0.05, 0.05], statuses=["SUCCEEDED"]) as apify:
        with pytest.raises(Stopped, match=r"--max-cost at 0\.10 USD"):
            collect(tmp_path, apify, ONE_QUERY, max_cost_usd=0.1)

        assert purchases(tmp_path)[0].is_cut


def test_less_than_an_item_costs_buys_no_run(tmp_path: Path, apify: ApifyServer) -> None:
    """It would come back empty, and its query would pass for bought."""
    with pytest.raises(Stopped, match=r"the 0\.005 USD that are left are less than an item.*0\.24 of 0\.2"):
        collect(tmp_path, apify, max_cost_usd=0.245)
    assert apify.bought == INPUTS[:1]

    collect(tmp_path, apify, max_cost_usd=5.0)

    assert is_right(tmp_path, apify)


def test_name_that_is_no_query_is_not_bought_again(tmp_path: Path) -> None:
    """A typing error is told, not passed over."""
    (tmp_path / "q.yaml").write_text(QUERIES)

    with pytest.raises(UsageError, match=r"--buy-again fod: there is no such query.*food, rain.*Nothing was bought"):
        collector_options({"queries": str(tmp_path / "q.yaml"), "buy_again": "food,fod"})


def test_whole_query_that_is_to_be_bought_again_is_passed_over(
    tmp_path: Path, apify: ApifyServer, caplog: pytest.LogCaptureFixture
) -> None:
    """It has given everything: said, not bought."""
    caplog.set_level("INFO")
    collect(tmp_path, apify)

    collect(tmp_path, apify, buy_again=frozenset({"food"}))

    assert is_right(tmp_path, apify) and "query food gave all that it has" in caplog.text


def test_actor_whose_items_cost_nothing_is_never_cut(tmp_path: Path) -> None:
    """It gave all that it has, within any limit."""
    with small_apify() as apify:
        apify.add_actor(ACTOR, posts, usd_per_item=1e-9)

        collect(tmp_path, apify, max_cost_usd=0.01)

        assert is_right(tmp_path, apify) and not any(each.is_cut for each in purchases(tmp_path))
