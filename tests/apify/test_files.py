"""The collector's folder: stops, full disks, locks and torn lines; several collections; a damaged checkpoint."""

from pathlib import Path
from typing import Any

import pytest

from processors.apify.collector import Collector
from processors.apify.files import Folder
from processors.apify.journal import Journal, line_of
from processors.apify.master import merge
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
    reasons,
    records,
    reply_ids,
)
from tests.apify.test_journal import Once
from tests.apify_server import TOKEN, ApifyServer
from tests.small_runs import watching
from utils.errors import Interrupted, SourceError, Stopped, TargetRefused, UsageError

# --- stops, disks, locks ---------------------------------------------------------------------


def test_stop_request_keeps_the_run(tmp_path: Path, apify: ApifyServer) -> None:
    """While a run is waited for: it goes on at Apify, and the next resume takes it."""
    looks = iter([False] * 3)
    stopping = collector(tmp_path, api_of(apify), stop_requested=lambda: next(looks, True))
    with pytest.raises(Interrupted, match="--resume"):
        list(stopping.collect())
    assert len(apify.bought) == 1

    collect(tmp_path, apify)

    assert is_right(tmp_path, apify)


@pytest.mark.parametrize("half", [False, True])
@pytest.mark.parametrize("pattern", ["raw_items", "training_data_master", "purchases"])
def test_full_disk_loses_nothing(tmp_path: Path, apify: ApifyServer, pattern: str, half: bool) -> None:
    """A write fails, perhaps half done; once there is room, it goes on."""
    full = FullOnce(pattern, half)
    with watching(full), pytest.raises(OSError, match="No space"):
        collect(tmp_path, apify)

    collect(tmp_path, apify)

    assert is_right(tmp_path, apify)


class FullOnce:
    """The third write to a file of that name finds no room."""

    def __init__(self, name: str, half: bool) -> None:
        self._name, self._half, self._left = name, half, 2

    def before(self, effect: Any) -> None:
        if effect.kind == "write" and self._name in effect.path.name:
            self._left -= 1
            if self._left == 0:
                Once("write", effect.path, self._half).before(effect)

    def after(self, effect: Any) -> None:
        """It happened."""


def test_second_collector_is_refused(tmp_path: Path, apify: ApifyServer) -> None:
    """Before it buys or writes anything."""
    first = collector(tmp_path, api_of(apify)).collect()
    next(first)
    asked = len(apify.requests)

    with pytest.raises(TargetRefused, match="Another process"):
        collect(tmp_path, apify)

    assert len(apify.requests) == asked
    list(first)
    assert is_right(tmp_path, apify)


def test_torn_master_line_is_set_aside_and_made_again(tmp_path: Path, apify: ApifyServer) -> None:
    """A crash in the middle of a pair."""
    collect(tmp_path, apify)
    master = only(tmp_path, "training_data_master_*.jsonl")
    whole = master.read_bytes()
    master.write_bytes(whole[:-9])

    collect(tmp_path, apify)

    assert master.read_bytes() == whole
    assert only(tmp_path, "*.torn-1").read_bytes() + b"" == whole[whole[:-1].rfind(b"\n") + 1 : -9]


def test_master_that_was_deleted_is_made_again(tmp_path: Path, apify: ApifyServer) -> None:
    """It is a function of the raw items."""
    collect(tmp_path, apify)
    master = only(tmp_path, "training_data_master_*.jsonl")
    whole = master.read_bytes()
    master.unlink()

    collect(tmp_path, apify)

    assert master.read_bytes() == whole and is_right(tmp_path, apify)


@pytest.mark.parametrize("change", ["another pair", "one more"])
def test_master_that_does_not_go_with_its_items_is_refused(tmp_path: Path, apify: ApifyServer, change: str) -> None:
    """Somebody edited it: nothing is appended to what is not understood."""
    collect(tmp_path, apify)
    master = only(tmp_path, "training_data_master_*.jsonl")
    lines = master.read_bytes().splitlines(keepends=True)
    changed = [*lines, line_of({"reply_id": "mine"})] if change == "one more" else [lines[1], lines[0], *lines[2:]]
    master.write_bytes(b"".join(changed))

    with pytest.raises(TargetRefused, match="--refilter"):
        collect(tmp_path, apify)

    assert master.read_bytes() == b"".join(changed)


# --- several collections ---------------------------------------------------------------------


def test_new_collection_has_files_of_its_own_and_repeats_no_pair(tmp_path: Path, apify: ApifyServer) -> None:
    """Replies that an earlier master has are refused; the earlier files stay as they are."""
    collect(tmp_path, apify)
    before = {path: path.read_bytes() for path in tmp_path.glob("*_2*.jsonl")}

    collector(tmp_path, api_of(apify)).begin()
    items = collect(tmp_path, apify)

    assert len(apify.bought) == 4
    assert reasons(items)["known_reply"] == 9 and not [each for each in items if each.pair and each.key in PAIRS]
    assert {path: path.read_bytes() for path in before} == before


def test_new_collection_is_refused_while_paid_items_are_not_here(tmp_path: Path, apify: ApifyServer) -> None:
    """They would be forgotten; and --refilter would leave them out."""
    apify.fault("status", "items", skip=1, times=99)
    with pytest.raises(Stopped):
        collect(tmp_path, apify)

    for attempt in (Collector.begin, Collector.refilter, Collector.check_can_begin):
        with pytest.raises(UsageError, match="food was paid for.*--resume"):
            attempt(collector(tmp_path, api_of(apify)))


def test_stamps_go_up_although_the_clock_does_not(tmp_path: Path, apify: ApifyServer) -> None:
    """The newest collection is the one that goes on."""
    masters = [collector(tmp_path, api_of(apify)).begin() for _ in range(3)]

    assert masters == sorted(set(masters))
    assert collector(tmp_path, api_of(apify)).current() == masters[-1]


def test_changed_filters_change_nothing_that_was_made(
    tmp_path: Path, apify: ApifyServer, caplog: pytest.LogCaptureFixture
) -> None:
    """It is said, and --refilter makes another master of the same items, buying nothing."""
    collect(tmp_path, apify)
    old = only(tmp_path, "training_data_master_*.jsonl")
    strict = QUERIES.replace("min_likes: 1", "min_likes: 3")
    assert reply_ids(tmp_path) == [each.key for each in collect(tmp_path, apify, strict) if each.pair]
    assert "--refilter" in caplog.text

    name = collector(tmp_path, api_of(apify), strict).refilter()
    items = collect(tmp_path, apify, strict)

    assert [each.key for each in items if each.pair] == ["food-a3", "food-a4", "everywhere", "rain-a3", "rain-a4"]
    assert [record["reply_id"] for record in records(tmp_path / name)] == [each.key for each in items if each.pair]
    assert [record["reply_id"] for record in records(old)] == PAIRS
    assert len(apify.bought) == 2


@pytest.mark.parametrize("token", [TOKEN, "apify_api_revoked"])
def test_what_is_here_is_read_again_without_apify(tmp_path: Path, apify: ApifyServer, token: str) -> None:
    """New filters, and a resume that buys nothing, need neither its answer nor a token that it takes."""
    pairs = [folded.pair for folded in collect(tmp_path, apify)]
    if token == TOKEN:
        apify.fault("status", step="*", times=1000)

    assert [folded.pair for folded in collector(tmp_path, api_of(apify, token=token)).collect()] == pairs
    assert len(apify.bought) == 2


def test_refiltering_with_the_filters_that_it_has_begins_no_other_master(tmp_path: Path, apify: ApifyServer) -> None:
    """So that a command that died may be repeated as it was."""
    collect(tmp_path, apify)
    strict = QUERIES.replace("min_likes: 1", "min_likes: 3")
    first = collector(tmp_path, api_of(apify), strict).refilter()

    assert collector(tmp_path, api_of(apify), strict).refilter() == first
    collect(tmp_path, apify, strict)
    assert collector(tmp_path, api_of(apify), strict).refilter() == first
    assert collector(tmp_path, api_of(apify), QUERIES).refilter() > first


def test_changed_input_of_a_query_is_not_bought_by_itself(tmp_path: Path, apify: ApifyServer) -> None:
    """Names tell queries apart: a new name, or a clear word."""
    collect(tmp_path, apify, ONE_QUERY)
    changed = ONE_QUERY.replace("maxItems: 20", "maxItems: 30")

    with pytest.raises(UsageError, match="another input.*--buy-again food"):
        collect(tmp_path, apify, changed)
    for _ in range(2):
        collect(tmp_path, apify, changed, buy_again=frozenset({"food"}))

    assert len(apify.bought) == 2


def test_earlier_master_that_is_gone_stops_the_collection(tmp_path: Path, apify: ApifyServer) -> None:
    """Cannot tell is not empty: its pairs must not be repeated."""
    collect(tmp_path, apify)
    old = only(tmp_path, "training_data_master_*.jsonl")
    collector(tmp_path, api_of(apify)).begin()
    old.unlink()

    with pytest.raises(SourceError, match=f"{old.name} is gone"):
        collect(tmp_path, apify)
    assert len(apify.bought) == 2


def test_merge_has_each_pair_once_and_leaves_the_masters(tmp_path: Path) -> None:
    """In the order of the masters; a file that is there is not replaced."""
    masters = [
        tmp_path / "training_data_master_20250101_000000.jsonl",
        tmp_path / "training_data_master_20250102_000000.jsonl",
    ]
    for path, ids in zip(masters, (["1", "2"], ["2", "3"]), strict=True):
        with Journal(path) as journal:
            journal.append({"reply_id": each, "from": path.name} for each in ids)
    before = [path.read_bytes() for path in masters]

    assert merge(Folder(tmp_path).masters(), tmp_path / "out/merged.jsonl") == 3

    merged = records(tmp_path / "out/merged.jsonl")
    assert [(each["reply_id"], each["from"]) for each in merged] == [
        ("1", masters[0].name),
        ("2", masters[0].name),
        ("3", masters[1].name),
    ]
    assert [path.read_bytes() for path in masters] == before
    with pytest.raises(UsageError, match="is there already"):
        merge(masters, tmp_path / "out/merged.jsonl")


@pytest.mark.parametrize("damage", [b"", b"{", b"[]", b'{"processed_queries": 3}'])
def test_damaged_checkpoint_decides_nothing(tmp_path: Path, apify: ApifyServer, damage: bytes) -> None:
    """It is a mirror: it is written again."""
    collect(tmp_path, apify)
    shown = checkpoint(tmp_path)
    (tmp_path / "collection_checkpoint.json").write_bytes(damage)

    collect(tmp_path, apify)

    assert {**checkpoint(tmp_path), "timestamp": ""} == {**shown, "timestamp": ""}
    assert is_right(tmp_path, apify)
