"""The crash matrix, a bounded part of it: `benchmarks/crash_campaign.py` runs all.

Runs are forked from a warm parent; a fault strikes one of their steps; they are resumed; what is published
must be what an undisturbed run publishes, byte for byte.
"""

import json
from collections.abc import Iterator
from pathlib import Path
from random import Random

import pytest

from tests.crash import oracle
from tests.crash.campaign import EMPTY, SAME, Campaign, Fault, Recording, Schedule, pairs, single_faults
from tests.crash.scenarios import MOUNTED, REPO, Scenario, scenarios

BY_NAME = {scenario.name: scenario for scenario in scenarios()}


@pytest.fixture(scope="module")
def campaign(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Campaign]:
    with Campaign(tmp_path_factory.mktemp("campaign")) as campaign:
        yield campaign


def one_of_each(recording: Recording, where: str) -> list[Fault]:
    """Each kind of fault at each kind of step, once: the place in the run is drawn."""
    kinds: dict[tuple[str, str], list[Fault]] = {}
    for fault in single_faults(recording):
        if fault.where == where:
            kinds.setdefault((fault.kind, fault.action), []).append(fault)
    random = Random(len(kinds))
    return [random.choice(faults) for faults in kinds.values()]


def problems_of(campaign: Campaign, scenario: Scenario, faults: list[Fault]) -> list[str]:
    """Attack with each fault, in the same folder and in an empty one by turns; each must strike."""
    found: list[str] = []
    for number, fault in enumerate(faults):
        outcome = campaign.attack(Schedule(scenario, (fault,), (SAME, EMPTY)[number % 2], seed=number))
        found += [f"{fault}: {problem}" for problem in outcome.problems]
        may_miss = "body" in fault.action  # a redirect has none
        found += [] if outcome.struck or may_miss else [f"{fault} did not strike"]
    return found


def test_every_kind_of_step_of_the_disk_may_fail(campaign: Campaign) -> None:
    """Killed before, after or in the middle; disk full, failing, without power: nothing is lost or doubled."""
    scenario = BY_NAME["append, folder"]
    faults = one_of_each(campaign.record(scenario), "disk")

    assert {fault.kind.split()[0] for fault in faults} >= {
        *("create", "write", "fsync", "rename", "delete", "mkdir", "lock", "index")
    }
    assert problems_of(campaign, scenario, faults) == []


@pytest.mark.parametrize("name", ["duplicates, folder", "duplicates, hub"])
def test_who_is_a_duplicate_does_not_depend_on_what_failed(campaign: Campaign, name: str) -> None:
    """Three clips that both sources have, one of them in a test split: the same rejects, the same index files."""
    scenario = BY_NAME[name]
    recording = campaign.record(scenario)
    faults = one_of_each(recording, "disk")
    indexes = [fault for fault in faults if fault.kind.split()[0] == "index"]

    assert sum(path.startswith(".ingest/dedup/") for path in recording.published) == 6
    assert indexes
    assert problems_of(campaign, scenario, [*indexes, *Random(name).sample(faults, 4)]) == []


@pytest.mark.parametrize("name", ["append, hub", "source on the Hub, streamed, folder"])
def test_every_kind_of_request_may_fail(campaign: Campaign, name: str) -> None:
    """No answer, a lost one, a late one, 4xx, 5xx, cut off in the body, killed: nothing is lost or doubled."""
    scenario = BY_NAME[name]
    faults = Random(name).sample(one_of_each(campaign.record(scenario), "hub"), 30)

    assert problems_of(campaign, scenario, faults) == []


@pytest.mark.parametrize("name", ["source on the Hub, folder", "append, hub"])
def test_staging_and_cache_may_be_deleted_under_a_run(campaign: Campaign, name: str) -> None:
    """At any step, by somebody who is short of room: in words or well, and the resume comes to the same bytes."""
    scenario = BY_NAME[name]
    deleted = [fault for fault in single_faults(campaign.record(scenario)) if fault.action == "deleted"]

    assert problems_of(campaign, scenario, Random(name).sample(deleted, 8)) == []


def test_what_is_bought_is_bought_once_whatever_step_fails(campaign: Campaign) -> None:
    """A paid run: its disk and Apify fail. No pair is lost, no purchase is repeated, the journals only grow."""
    scenario = BY_NAME["fresh, paid, folder"]
    recording = campaign.record(scenario)
    on_disk, asked = one_of_each(recording, "disk"), one_of_each(recording, "apify")

    faults = [*Random(1).sample(on_disk, 14), *Random(2).sample(asked, 10)]

    assert {fault.kind for fault in asked} == {"start", "run", "items"}
    assert problems_of(campaign, scenario, faults) == []


@pytest.mark.parametrize("name", ["removal, folder", "removal, hub", "fresh over a removal, folder"])
def test_what_is_taken_out_is_out_whatever_step_fails(campaign: Campaign, name: str) -> None:
    """One commit, whole or not at all; done again, the same comes of it. A fresh start never loses the list."""
    scenario = BY_NAME[name]
    recording = campaign.record(scenario)
    faults = [*one_of_each(recording, "disk"), *one_of_each(recording, "hub")]

    assert problems_of(campaign, scenario, Random(name).sample(faults, 18)) == []


@pytest.mark.parametrize("name", [f"{name}, mounted" for name in MOUNTED])
def test_a_change_in_place_is_whole_or_not_at_all(campaign: Campaign, name: str) -> None:
    """On a mount point no two folders change places: each step of the exchange may be the last one of its process."""
    scenario = BY_NAME[name]
    recording = campaign.record(scenario)
    in_place = [at for at, (_, path) in enumerate(recording.steps, 1) if "/.changing" in path]
    decided = next(at for at, (_, path) in enumerate(recording.steps, 1) if path.endswith("/intent.json"))
    faults = [fault for fault in single_faults(recording) if fault.at in in_place or fault.at - decided in range(30)]
    kills = [fault for fault in faults if fault.action in ("kill_before", "kill_after") and fault.at > decided]

    chosen = [*Random(name).sample(kills, 5), *Random(name).sample(faults, 3)]

    assert problems_of(campaign, scenario, chosen) == []


@pytest.mark.parametrize("name", ["fresh over older data, folder", "fresh over older data, hub"])
def test_a_second_fault_may_strike_the_recovery(campaign: Campaign, name: str) -> None:
    """Pairs of faults, drawn by a seed; the older data stays reachable too."""
    scenario = BY_NAME[name]
    drawn = pairs(scenario, campaign.record(scenario), Random(name))
    outcomes = [campaign.attack(next(drawn)) for _ in range(20)]

    assert [problem for outcome in outcomes for problem in outcome.problems] == []
    assert sum(outcome.struck == 2 for outcome in outcomes) >= 3


@pytest.mark.parametrize("name", ["overlapped, folder", "overlapped, hub"])
def test_runs_that_do_everything_at_once_may_be_struck_anywhere(campaign: Campaign, name: str) -> None:
    """Killed, or failing, while clips are read and converted and others are being committed: the same dataset."""
    scenario = BY_NAME[name]
    drawn = pairs(scenario, campaign.record(scenario), Random(name))
    outcomes = [campaign.attack(next(drawn)) for _ in range(25)]

    assert [problem for outcome in outcomes for problem in outcome.problems] == []
    assert sum(outcome.struck for outcome in outcomes) >= 25


def test_a_real_process_may_be_killed_from_outside(campaign: Campaign) -> None:
    """Separate processes, real time, SIGKILL at a drawn moment."""
    outcomes = [campaign.kill_from_outside(BY_NAME["append, hub"], seed) for seed in range(3)]

    assert [problem for outcome in outcomes for problem in outcome.problems] == []


def test_requests_and_steps_are_those_of_a_commit(campaign: Campaign) -> None:
    """What is enumerated is what the promise rests on, and the same in every recording."""
    recording = campaign.record(BY_NAME["append, hub"])

    steps = {request.split()[1] for request in recording.requests}
    assert steps >= {"repo_info", "preupload", "lfs_batch", "lfs_put", "commit", "resolve"}
    assert any("segment.tmp" in path for _, path in recording.steps)
    assert not any(REPO in path for path in recording.published)


# --- the oracle itself -------------------------------------------------------------------------


@pytest.fixture(scope="module")
def published(campaign: Campaign) -> oracle.Files:
    return campaign.record(BY_NAME["append, folder"]).published


def shard_of(files: oracle.Files) -> str:
    return next(path for path in files if path.startswith("data/"))


def test_oracle_sees_a_lost_a_changed_and_an_extra_file(published: oracle.Files) -> None:
    """It is not blind: each of the three is told, and equal files are not."""
    shard = shard_of(published)
    lost = {path: content for path, content in published.items() if path != shard}

    assert list(oracle.differences(published, published)) == []
    assert list(oracle.differences(lost, published)) == [f"{shard} is missing"]
    assert list(oracle.differences({**published, shard: b""}, published)) == [f"{shard} differs"]
    assert list(oracle.differences({**published, "data/x.tmp": b""}, published)) == ["data/x.tmp is too much"]


def test_oracle_sees_a_state_that_names_what_is_not_there(published: oracle.Files) -> None:
    """In the middle of things too: what is committed must be there, the books balanced, each ID once."""
    shard = shard_of(published)
    state = json.loads(published[oracle.STATE])
    source = next(iter(state["sources"].values()))
    books = next(split for split in source["splits"].values() if split["ids"])

    assert list(oracle.broken_promises(published, published)) == []
    assert list(oracle.broken_promises({**published, shard: b"other"}, published))
    books["ids"][0][1] += 1
    assert "IDs of speech are missing, or used twice" in oracle.broken_promises(with_state(published, state), published)
    books["progress"]["read"] += 1
    assert any("do not balance" in told for told in oracle.broken_promises(with_state(published, state), published))


def test_oracle_sees_ids_of_dialogue_and_its_shards(campaign: Campaign) -> None:
    """Pairs have a folder and numbers of their own, beside the clips."""
    files = campaign.record(BY_NAME["append, paid, hub"]).published
    shard = next(path for path in files if path.startswith("dialogue/"))
    state = json.loads(files[oracle.STATE])

    assert list(oracle.broken_promises(files, files)) == []
    assert list(oracle.broken_promises({**files, shard: b"other"}, files))
    state["next_ids"]["dialogue"] += 1
    assert "IDs of dialogue are missing, or used twice" in oracle.broken_promises(with_state(files, state), files)


def test_oracle_sees_what_was_bought_twice_lost_or_changed(tmp_path: Path) -> None:
    """Of purchases, of the pairs in the masters, of journals."""
    master = tmp_path / "data/raw/training_data_master_20260101_000000.jsonl"
    master.parent.mkdir(parents=True)
    master.write_bytes(b'{"reply_id": "1"}\n{"reply_id": "2"}\n{"torn')
    before = oracle.journals(tmp_path)

    assert list(oracle.wrongly_bought(tmp_path, ["food"], ["food"], pairs=2)) == []
    assert len(list(oracle.wrongly_bought(tmp_path, ["food", "food"], ["food"], pairs=3))) == 2
    master.write_bytes(b'{"reply_id": "1"}\n{"reply_id": "2"}\n{"reply_id": "3"}\n')
    assert list(oracle.shrunk(before, oracle.journals(tmp_path))) == []
    master.write_bytes(b'{"reply_id": "1"}\n')
    assert list(oracle.shrunk(before, oracle.journals(tmp_path))) and list(oracle.shrunk(before, {}))


def with_state(files: oracle.Files, state: object) -> dict[str, bytes]:
    return {**files, oracle.STATE: json.dumps(state).encode()}


@pytest.mark.parametrize(
    ("code", "told", "complains"),
    [
        (0, "", False),
        (5, "The disk is full.", False),
        (-9, "", False),
        (1, "", True),
        (5, "Traceback (most recent call last)", True),
        (-11, "", True),
    ],
)
def test_oracle_knows_how_a_run_may_end(code: int, told: str, complains: bool) -> None:
    """Documented exit codes and our own kill; never a traceback, never another signal."""
    assert bool(list(oracle.complaints(code, told))) == complains


def test_oracle_sees_what_is_left_lying(tmp_path: Path) -> None:
    """A segment of a finished run is a leftover; one that was set aside is not."""
    for name in ("local-out/Corpus/train/1-2.parquet", "local-out/set-aside/Corpus-train-1-2.parquet"):
        path = tmp_path / "data/staging" / name
        path.parent.mkdir(parents=True)
        path.touch()

    assert list(oracle.left_lying(tmp_path)) == ["data/staging/local-out/Corpus/train/1-2.parquet was left"]
