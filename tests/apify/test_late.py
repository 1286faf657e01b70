"""Apify shows things late, clocks are wrong, others buy too: what is paid for is found all the same."""

from datetime import timedelta
from pathlib import Path

import pytest

from tests.apify.support import (
    INPUTS,
    ITEMS,
    ONE_QUERY,
    PAIRS,
    START,
    Clock,
    api_of,
    collect,
    collector,
    is_right,
    purchases,
    raw_items,
    reply_ids,
)
from tests.apify_server import ApifyServer
from utils.errors import Stopped


def bought_and_not_heard_of(folder: Path, apify: ApifyServer, queries: str, clock: Clock) -> None:
    """A process that dies after its purchase, whose answer was lost."""
    apify.fault("lost_after", "start")
    apify.fault("status", "runs", times=99)
    with pytest.raises(Stopped):
        list(collector(folder, api_of(apify), queries, now=clock).collect())
    apify.rules.clear()


@pytest.mark.parametrize("days", [-400, -2, 2, 30, 4000])
def test_run_is_found_whatever_our_clock_said(tmp_path: Path, apify: ApifyServer, days: int) -> None:
    """A machine whose clock was wrong by days when it bought; its mark tells the run."""
    bought_and_not_heard_of(tmp_path, apify, ONE_QUERY, Clock(START + timedelta(days=days)))

    collect(tmp_path, apify)

    assert is_right(tmp_path, apify)


def test_unmarked_run_is_found_though_our_clock_was_ahead(tmp_path: Path, apify: ApifyServer) -> None:
    """Told by its input: what counts is the earlier one of the clock then and the clock now."""
    apify.keeps_user_agents = False
    bought_and_not_heard_of(tmp_path, apify, ONE_QUERY, Clock(START + timedelta(days=30)))

    collect(tmp_path, apify)

    assert is_right(tmp_path, apify)


def test_unmarked_run_is_the_one_nearest_in_time(tmp_path: Path, apify: ApifyServer) -> None:
    """The user has bought the very same in the browser an hour before."""
    apify.keeps_user_agents = False
    collect(tmp_path / "browser", apify, ONE_QUERY)
    apify.runs["run1"].started_at -= timedelta(hours=1)
    apify.fault("lost_after", "start")

    collect(tmp_path / "ours", apify, ONE_QUERY)

    assert [each.run_id for each in purchases(tmp_path / "ours")] == ["run2"]


@pytest.mark.parametrize("lag", [3, 4, 5, 6])
def test_run_that_shows_up_after_it_was_given_up_is_taken_in(
    tmp_path: Path, apify: ApifyServer, lag: int, caplog: pytest.LogCaptureFixture
) -> None:
    """It is paid for: its items are kept, its cost is counted, and each pair is there once."""
    apify.listing_lag = lag
    apify.fault("lost_after", "start")

    for _ in range(4):
        collect(tmp_path, apify)

    done = purchases(tmp_path)
    assert {each.run_id for each in done} == set(apify.runs) and not any(each.is_open for each in done)
    assert len(raw_items(tmp_path)) == sum(len(run.items) for run in apify.runs.values())
    assert sorted(reply_ids(tmp_path)) == sorted(PAIRS)
    assert "was bought all the same" in caplog.text or len(apify.runs) == 2


def test_run_that_shows_up_before_the_next_try_saves_it(tmp_path: Path, apify: ApifyServer) -> None:
    """Given up after two looks; the look before the next try finds it."""
    apify.listing_lag = 2
    apify.fault("lost_after", "start")

    collect(tmp_path, apify)

    assert is_right(tmp_path, apify)


def test_items_that_come_very_late_are_waited_for(tmp_path: Path, apify: ApifyServer) -> None:
    """A run that cost something has items."""
    apify.items_lag = 4

    collect(tmp_path, apify)

    assert is_right(tmp_path, apify)


def test_items_that_were_told_of_and_never_come_are_missing(tmp_path: Path, apify: ApifyServer) -> None:
    """The first page tells of twelve; from the second on there is nothing: not whole, and said how many."""
    apify.tells_of_more = 3

    collect(tmp_path, apify, ONE_QUERY)

    assert raw_items(tmp_path) == ITEMS[:12] and apify.bought == INPUTS[:1]
    assert [(each.items, each.missing, each.is_whole) for each in purchases(tmp_path)] == [(12, 3, False)]


def test_what_is_gone_names_the_retention_time_of_the_account(
    tmp_path: Path, apify: ApifyServer, caplog: pytest.LogCaptureFixture
) -> None:
    """As Apify reports it; where it does not, that it depends on the account."""
    for days, told in ((14, "(14 days of this account)"), (None, "(by the plan of this account)")):
        apify.retention_days = days
        apify.fault("status", "run", times=99)
        with pytest.raises(Stopped):
            collect(tmp_path / told, apify, ONE_QUERY)
        apify.rules.clear()
        apify.runs.clear()
        caplog.clear()

        collect(tmp_path / told, apify, ONE_QUERY)

        assert f"Apify keeps items for its retention time {told} only" in caplog.text
