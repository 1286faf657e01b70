"""The Hub as a target: the real client, a real server on loopback, and everything that can go wrong between them.

Whatever goes wrong with a commit, in the end the history has exactly one with our rows, or the error is clear.
"""

import logging
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from tests.hub_server import TOKEN, HubServer
from tests.support import begun_state, change, sample
from utils.errors import AuthenticationError, Interrupted, Stopped, TargetMoved, TargetRefused
from utils.hub_target import HubTarget
from utils.publisher import open_publisher
from utils.state import STATE_PATH, State
from utils.streaming import StreamingUploader
from utils.targets import CARD_PATH, Change, Snapshot

REPO = "me/thai-voice"
FIRST_PART = "Add part 0"


@pytest.fixture
def hub(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[HubServer]:
    """A Hub where `HF_ENDPOINT` points, with a stranger `you` besides `me`; its listings have short pages."""
    with HubServer(tmp_path / "hub", tokens={TOKEN: "me", "your_token": "you"}, page_size=3) as server:
        monkeypatch.setenv("HF_ENDPOINT", server.endpoint)
        yield server


def target_on(folder: Path, token: str | None = TOKEN, **options: Any) -> HubTarget:
    """A target that loses its patience soon."""
    return HubTarget(REPO, token, folder, **{"patience_s": 0.4, "first_pause_s": 0.02, **options})


def begun(folder: Path, **options: Any) -> tuple[HubTarget, Snapshot]:
    """A new repo whose generation has begun."""
    target = target_on(folder, **options)
    target.open()
    return target, target.begin(Change("Begin", begun_state()), target.snapshot())


def assert_landed_once(hub: HubServer, snapshot: Snapshot, planned: Change) -> None:
    """One commit with our rows, at the head, and the head is what we go on from."""
    assert hub.commit_titles(REPO).count(planned.message) == 1
    assert snapshot.head == hub.head(REPO)
    assert State.from_json(hub.read(REPO, STATE_PATH)) == snapshot.state
    assert snapshot.state.same_dataset(planned.planned)
    for path, local in planned.files.items():
        assert hub.read(REPO, path) == local.read_bytes()


def assert_goes_on(hub: HubServer, target: HubTarget, snapshot: Snapshot, folder: Path) -> None:
    """The next part follows."""
    planned = change(folder / "next", snapshot.state)
    assert_landed_once(hub, target.commit(planned, snapshot), planned)


# --- commits ---------------------------------------------------------------------------------


def test_part_and_state_and_card_are_one_commit(hub: HubServer, tmp_path: Path) -> None:
    """What belongs together comes together; the state before had none of it."""
    target, snapshot = begun(tmp_path)
    assert list(hub.files(REPO)) == [STATE_PATH]
    planned = change(tmp_path / "built", snapshot.state)

    landed = target.commit(planned, snapshot)

    assert_landed_once(hub, landed, planned)
    assert set(hub.files(REPO)) == {STATE_PATH, CARD_PATH, *planned.files}
    assert target.snapshot() == landed
    assert_goes_on(hub, target, landed, tmp_path)


FAULTS = {
    "answer lost, not applied": {"action": "lost_before"},
    "answer lost, applied": {"action": "lost_after"},
    "409": {"action": "status", "status": 409},
    "412 though the head is ours": {"action": "status", "status": 412},
    "412 though it landed": {"action": "status_applied", "status": 412},
    "404": {"action": "status", "status": 404},
    "429": {"action": "status", "status": 429},
    "500, not applied": {"action": "status", "status": 500},
    "500, applied": {"action": "status_applied", "status": 500},
    "502, applied": {"action": "status_applied", "status": 502},
    "503, not applied": {"action": "status", "status": 503},
    "504, applied": {"action": "status_applied", "status": 504},
    "three times in a row": {"action": "status", "status": 503, "times": 3},
    "answer cut off": {"action": "cut_body"},
    "connection reset in the answer": {"action": "reset_body"},
}


@pytest.mark.parametrize("fault", FAULTS.values(), ids=FAULTS)
def test_a_lost_answer_is_not_a_no(hub: HubServer, tmp_path: Path, fault: dict[str, Any]) -> None:
    """After any unclear answer: look; what landed is not sent again, what did not is."""
    target, snapshot = begun(tmp_path)
    planned = change(tmp_path / "built", snapshot.state)
    rule = hub.fault(step="commit", **fault)

    landed = target.commit(planned, snapshot)

    assert rule.struck == fault.get("times", 1)
    assert_landed_once(hub, landed, planned)
    assert_goes_on(hub, target, landed, tmp_path)


@pytest.mark.parametrize("step", ["preupload", "lfs_batch", "lfs_put", "lfs_verify", "validate_yaml"])
@pytest.mark.parametrize("action", ["lost_before", "status"])
def test_failing_uploads_are_repeated(hub: HubServer, tmp_path: Path, step: str, action: str) -> None:
    """What fails before the commit was sent is sent again, with the bytes."""
    target, snapshot = begun(tmp_path)
    planned = change(tmp_path / "built", snapshot.state)
    rule = hub.fault(action, step=step, status=404)

    landed = target.commit(planned, snapshot)

    assert rule.struck == 1
    assert_landed_once(hub, landed, planned)


@pytest.mark.parametrize("action", ["stall", "late"])
def test_stalled_server_is_not_waited_for_forever(hub: HubServer, tmp_path: Path, action: str) -> None:
    """The timeout ends the wait; that the commit is applied long after changes nothing."""
    target, snapshot = begun(tmp_path, timeout_s=0.5)
    planned = change(tmp_path / "built", snapshot.state)
    hub.fault(action, step="commit")

    landed = target.commit(planned, snapshot)
    hub.faults.release()

    assert hub.ledger.wait_for("commit", 3)
    assert_landed_once(hub, landed, planned)
    assert_goes_on(hub, target, landed, tmp_path)


def test_first_try_that_lands_during_the_second_is_ours(hub: HubServer, tmp_path: Path) -> None:
    """We looked, it was not there, we send again - and only now the first one is applied: still one commit."""
    target, snapshot = begun(tmp_path)
    planned = change(tmp_path / "built", snapshot.state)
    hub.fault("status_late", step="commit", status=504)
    hub.fault("late", step="commit", skip=1)

    def first_then_second() -> None:
        assert hub.faults.wait_until_held(2)
        hub.faults.release()

    with ThreadPoolExecutor(1) as other_thread:
        released = other_thread.submit(first_then_second)
        landed = target.commit(planned, snapshot)
        released.result()

    assert_landed_once(hub, landed, planned)
    assert_goes_on(hub, target, landed, tmp_path)


def test_commit_applied_after_its_error_is_found(hub: HubServer, tmp_path: Path) -> None:
    """The Hub said 500 and went on all the same."""
    target, snapshot = begun(tmp_path)
    planned = change(tmp_path / "built", snapshot.state)
    hub.fault("status_late", step="commit", seconds=0.3)

    landed = target.commit(planned, snapshot)

    assert hub.ledger.wait_for("commit", 2)
    assert_landed_once(hub, landed, planned)


def test_commit_of_a_dead_run_is_taken_over(hub: HubServer, tmp_path: Path) -> None:
    """Equal but for who and when: it landed, nothing is sent on top of it."""
    target, snapshot = begun(tmp_path)
    planned = change(tmp_path / "built", snapshot.state)
    dead = replace(planned, planned=replace(planned.planned, run_id="dead", committed_at="then", sequence=5))
    target_on(tmp_path).commit(dead, snapshot)

    landed = target.commit(planned, snapshot)

    assert (landed.state.run_id, landed.state.sequence) == ("dead", 5)
    assert_landed_once(hub, landed, planned)
    assert_goes_on(hub, target, landed, tmp_path)


def test_retry_after_is_waited_for(hub: HubServer, tmp_path: Path) -> None:
    """A Hub that asks for a second gets it."""
    target, snapshot = begun(tmp_path)
    hub.fault("status", step="commit", status=429, retry_after=1)
    start = time.monotonic()

    target.commit(change(tmp_path / "built", snapshot.state), snapshot)

    assert time.monotonic() - start >= 1.0


def test_refused_commit_is_not_repeated(hub: HubServer, tmp_path: Path) -> None:
    """What the Hub finds wrong in itself will be wrong again: said at once, with exit 6."""
    target, snapshot = begun(tmp_path, patience_s=600.0)
    hub.fault("status", step="commit", status=400, times=None)

    with pytest.raises(TargetRefused, match="HTTP 400"):
        target.commit(change(tmp_path / "built", snapshot.state), snapshot)

    assert hub.commit_titles(REPO).count(FIRST_PART) == 0


def test_patience_ends_and_the_commit_can_be_repeated(hub: HubServer, tmp_path: Path) -> None:
    """Exit 5, nothing lost: the same commit goes through when the Hub is back."""
    target, snapshot = begun(tmp_path)
    planned = change(tmp_path / "built", snapshot.state)
    hub.fault("status", step="commit", status=503, times=None)

    with pytest.raises(Stopped, match="--resume") as stopped:
        target.commit(planned, snapshot)

    assert stopped.value.exit_code == 5
    hub.faults.clear()
    assert_landed_once(hub, target.commit(planned, snapshot), planned)


def test_stop_is_heard_while_waiting(hub: HubServer, tmp_path: Path) -> None:
    """Ctrl-C does not wait for a Hub that is down."""
    begun(tmp_path)
    stopping = target_on(tmp_path, patience_s=600.0, first_pause_s=600.0, stop_requested=lambda: True)
    hub.fault("status", step="repo_info", status=503, times=None)

    with pytest.raises(Interrupted):
        stopping.snapshot()


# --- other writers ---------------------------------------------------------------------------


def test_another_writers_commit_is_never_overwritten(hub: HubServer, tmp_path: Path) -> None:
    """Their part stays, ours is not written, and the message says what to do."""
    target, snapshot = begun(tmp_path)
    theirs = change(tmp_path / "theirs", snapshot.state, b"other rows")
    theirs = replace(theirs, planned=replace(theirs.planned, next_id=77))
    target_on(tmp_path).commit(theirs, snapshot)
    head = hub.head(REPO)

    with pytest.raises(TargetMoved, match="Our last shard was not written.*--resume") as moved:
        target.commit(change(tmp_path / "built", snapshot.state), snapshot)

    assert moved.value.exit_code == 6
    assert hub.head(REPO) == head
    assert all(b"other rows" in hub.read(REPO, path) for path in theirs.files)


def test_commit_lost_while_another_writer_came_is_told(hub: HubServer, tmp_path: Path) -> None:
    """Ours did not land and theirs did: looking finds it, though no 412 was seen."""
    target, snapshot = begun(tmp_path)
    theirs = target_on(tmp_path).commit(change(tmp_path / "theirs", replace(snapshot.state, next_id=77)), snapshot)
    hub.fault("lost_before", step="commit")

    with pytest.raises(TargetMoved):
        target.commit(change(tmp_path / "built", snapshot.state), snapshot)

    assert hub.head(REPO) == theirs.head


def test_edited_card_is_no_other_writer(hub: HubServer, tmp_path: Path) -> None:
    """Somebody wrote on the dataset's page while we ran: we go on top of it and keep the text."""
    target, snapshot = begun(tmp_path)
    snapshot = target.commit(change(tmp_path / "built", snapshot.state), snapshot)
    edit_repo(hub, tmp_path, {CARD_PATH: hub.read(REPO, CARD_PATH) + "\nเขียนด้วยมือ\n".encode()})

    planned = change(tmp_path / "built", snapshot.state)
    landed = target.commit(planned, snapshot)

    assert_landed_once(hub, landed, planned)
    assert "เขียนด้วยมือ" in hub.read(REPO, CARD_PATH).decode()
    assert '"train"' in hub.read(REPO, CARD_PATH).decode() or "train" in hub.read(REPO, CARD_PATH).decode()


def test_card_that_is_no_text_does_not_stop_us(hub: HubServer, tmp_path: Path) -> None:
    """Bytes that are no UTF-8 can't be sent back; the client refuses them."""
    target, snapshot = begun(tmp_path)
    edit_repo(hub, tmp_path, {CARD_PATH: b"# caf\xe9\n"})

    planned = change(tmp_path / "built", snapshot.state)

    assert_landed_once(hub, target.commit(planned, snapshot), planned)
    assert hub.read(REPO, CARD_PATH).decode().count("# caf") == 1


def edit_repo(hub: HubServer, folder: Path, files: dict[str, bytes]) -> None:
    """Change files of the repo as somebody would on its page."""
    draft = folder / "draft"
    for path in hub.files(REPO):
        (draft / path).parent.mkdir(parents=True, exist_ok=True)
        (draft / path).write_bytes(hub.read(REPO, path))
    for path, content in files.items():
        (draft / path).parent.mkdir(parents=True, exist_ok=True)
        (draft / path).write_bytes(content)
    hub.add_dataset(REPO, draft)


# --- fresh starts ----------------------------------------------------------------------------


def with_old_data(hub: HubServer, folder: Path) -> str:
    """A repo with data of an older kind; returns its head."""
    old = folder / "old"
    for path in ("data/train-0.parquet", "data/extra/a.parquet", "rejected/b.parquet", "README.md", "LICENSE", "x.py"):
        (old / path).parent.mkdir(parents=True, exist_ok=True)
        (old / path).write_bytes(f"old {path}\n".encode())
    return hub.add_dataset(REPO, old)


def test_fresh_start_keeps_the_old_data_until_the_first_part(hub: HubServer, tmp_path: Path) -> None:
    """Tagged, readable, then replaced in the one commit that brings the first part."""
    old_head = with_old_data(hub, tmp_path)
    old_files = hub.files(REPO)
    target = target_on(tmp_path)
    publisher = open_publisher(target, True, 16_000)
    begun_snapshot = publisher.snapshot

    tag = f"before-fresh-{old_head[:12]}"
    assert hub.head(REPO, tag) == old_head
    assert hub.files(REPO) == {**old_files, STATE_PATH: hub.files(REPO)[STATE_PATH]}
    assert hub.read(REPO, CARD_PATH) == b"old README.md\n"

    state = begun_state(begun_snapshot.state.generation, replaces_old_data=True)
    planned = change(tmp_path / "built", state)
    landed = target.commit(planned, begun_snapshot)

    assert_landed_once(hub, landed, planned)
    assert set(hub.files(REPO)) == {STATE_PATH, CARD_PATH, "LICENSE", *planned.files}
    assert len(hub.commit_titles(REPO)) == 4
    assert hub.files(REPO, tag) == old_files
    assert b"old README.md" in hub.read(REPO, CARD_PATH)


def test_first_part_without_files_replaces_the_old_data_too(hub: HubServer, tmp_path: Path) -> None:
    """An empty split ends the reign of the old data; the card does not go on describing it."""
    with_old_data(hub, tmp_path)
    target = target_on(tmp_path)
    since = open_publisher(target, True, 16_000).snapshot

    target.commit(Change("Nothing in test", replace(since.state, replaces_old_data=False)), since)

    assert set(hub.files(REPO)) == {STATE_PATH, CARD_PATH, "LICENSE"}
    assert "configs" in hub.read(REPO, CARD_PATH).decode() or "generated by" in hub.read(REPO, CARD_PATH).decode()


@pytest.mark.parametrize("action", ["lost_before", "lost_after"])
@pytest.mark.parametrize("step", ["tag", "commit"])
def test_fresh_start_survives_lost_answers(hub: HubServer, tmp_path: Path, step: str, action: str) -> None:
    """One tag, one commit, whatever was lost."""
    old_head = with_old_data(hub, tmp_path)
    hub.fault(action, step=step)

    publisher = open_publisher(target_on(tmp_path), True, 16_000)

    assert hub.store.refs(REPO, "tags") == {f"before-fresh-{old_head[:12]}": old_head}
    assert hub.commit_titles(REPO).count("Begin a new dataset") == 1
    assert publisher.state.generation == State.from_json(hub.read(REPO, STATE_PATH)).generation


@pytest.mark.parametrize("action", ["lost_after", "status_applied"])
def test_replacing_commit_whose_answer_was_lost_deletes_once(hub: HubServer, tmp_path: Path, action: str) -> None:
    """Its deletions would be refused the second time; looking first avoids that."""
    with_old_data(hub, tmp_path)
    target = target_on(tmp_path)
    since = open_publisher(target, True, 16_000).snapshot
    planned = change(tmp_path / "built", begun_state(since.state.generation, replaces_old_data=True))
    hub.fault(action, step="commit")

    assert_landed_once(hub, target.commit(planned, since), planned)


def test_fresh_start_twice_keeps_both(hub: HubServer, tmp_path: Path) -> None:
    """A fresh start over a fresh start that never published: another generation, everything still reachable."""
    with_old_data(hub, tmp_path)
    one = open_publisher(target_on(tmp_path), True, 16_000)
    two = open_publisher(target_on(tmp_path), True, 16_000)

    assert one.state.generation != two.state.generation
    assert len(hub.store.refs(REPO, "tags")) == 2
    assert two.state.replaces_old_data


def test_samples_of_the_old_generation_do_not_count_as_uploaded(hub: HubServer, tmp_path: Path) -> None:
    """A script that begins anew uploads all of its samples, though the old files are still there when it starts."""

    def uploader(machine: str) -> StreamingUploader:
        folder = tmp_path / machine
        target = target_on(folder)
        target.open()
        return StreamingUploader(REPO, checkpoint_path=folder / "c.json", target=target, staging_dir=folder / "staging")

    uploader("one").upload_batch([sample(1), sample(2)])

    assert uploader("two").upload_batch([sample(1), sample(2)]) == 2
    assert pq.read_metadata(pa.BufferReader(hub.read(REPO, "data/train/samples-00000.parquet"))).num_rows == 2


# --- looking ---------------------------------------------------------------------------------


LOOKS = {
    "repo": {"step": "repo_info"},
    "state's address": {"step": "resolve", "method": "HEAD"},
    "state's bytes": {"step": "resolve", "method": "GET"},
}


@pytest.mark.parametrize("fault", [{"action": "lost_before"}, {"action": "status", "status": 503}], ids=str)
@pytest.mark.parametrize("look", LOOKS.values(), ids=LOOKS)
def test_failing_look_is_repeated(hub: HubServer, tmp_path: Path, look: dict[str, Any], fault: dict[str, Any]) -> None:
    """Reading what is there may be repeated freely, so it is."""
    target, snapshot = begun(tmp_path)
    rule = hub.fault(**look, **fault)

    assert target.snapshot() == snapshot
    assert rule.struck == 1


@pytest.mark.parametrize("look", LOOKS.values(), ids=LOOKS)
def test_look_that_keeps_failing_is_never_empty(hub: HubServer, tmp_path: Path, look: dict[str, Any]) -> None:
    """Cannot tell is not empty: exit 5, and nothing is begun."""
    target, _ = begun(tmp_path, patience_s=0.0)
    hub.fault("lost_before", times=None, **look)

    with pytest.raises(Stopped):
        open_publisher(target, False, 16_000)


def test_unreachable_hub_is_said_so(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """No server at all: exit 5 with what to do."""
    monkeypatch.setenv("HF_ENDPOINT", "http://127.0.0.1:9")

    with pytest.raises(Stopped, match="--resume"):
        target_on(tmp_path, patience_s=0.0).open()


def test_empty_and_other_repos_are_told_apart(hub: HubServer, tmp_path: Path) -> None:
    """What a fresh start would have to keep: a card yes, the Hub's own first file and a licence no."""
    target = target_on(tmp_path)
    target.open()
    assert target.snapshot() == Snapshot(hub.head(REPO), None, holds_data=False)
    edit_repo(hub, tmp_path, {"LICENSE": b"mine"})
    assert not target.snapshot().holds_data
    edit_repo(hub, tmp_path, {CARD_PATH: b"# By hand\n"})
    assert target.snapshot().holds_data

    with pytest.raises(TargetRefused, match="--repair") as refused:
        open_publisher(target, False, 16_000)
    assert refused.value.exit_code == 6


@pytest.mark.parametrize("fresh", [False, True])
def test_damaged_state_is_refused_never_empty(hub: HubServer, tmp_path: Path, fresh: bool) -> None:
    """Neither a resume nor a fresh start goes over a state that can't be read."""
    target, snapshot = begun(tmp_path)
    edit_repo(hub, tmp_path, {STATE_PATH: snapshot.state.to_json().replace(b"Corpus", b"Xorpus")})
    head = hub.head(REPO)

    with pytest.raises(TargetRefused, match="damaged"):
        open_publisher(target, fresh, 16_000)

    assert hub.head(REPO) == head


def test_repo_that_went_away_is_said_so(hub: HubServer, tmp_path: Path) -> None:
    """Deleted while we ran: refused, not created anew."""
    target, snapshot = begun(tmp_path)
    hub.store.delete(REPO)

    with pytest.raises(TargetRefused, match="has gone"):
        target.commit(change(tmp_path / "built", snapshot.state), snapshot)


def test_files_are_listed_over_all_pages_as_of_the_snapshot(hub: HubServer, tmp_path: Path) -> None:
    """A folder's files, sorted; what came after the snapshot is not there."""
    target, snapshot = begun(tmp_path)
    paths = []
    for _ in range(3):
        planned = change(tmp_path / "built", snapshot.state)
        paths += planned.files
        snapshot = target.commit(planned, snapshot)
    target.commit(change(tmp_path / "built", snapshot.state), snapshot)

    assert target.list_files("", snapshot) == sorted([".gitattributes", STATE_PATH, CARD_PATH, *paths])
    assert target.list_files("data/train", snapshot) == sorted(path for path in paths if path.startswith("data"))
    assert target.list_files("data/tr", snapshot) == []


def test_columns_are_read_as_of_the_snapshot(hub: HubServer, tmp_path: Path) -> None:
    """By ranges, at the revision that was asked for, repeated where the connection breaks."""
    target, snapshot = begun(tmp_path)
    pq.write_table(pa.table({"ID": ["S1"], "source_id": ["a"]}), tmp_path / "shard.parquet")
    shard = (tmp_path / "shard.parquet").read_bytes()
    edit_repo(hub, tmp_path, {"data/train/Corpus-00000.parquet": shard})
    then = target.snapshot()
    edit_repo(hub, tmp_path, {"data/train/Corpus-00000.parquet": b"gone"})
    hub.fault("lost_before", step="paths_info|resolve")

    assert target.read_columns("data/train/Corpus-00000.parquet", ["ID"], then).to_pydict() == {"ID": ["S1"]}
    assert snapshot.state == then.state


# --- who may ---------------------------------------------------------------------------------


def test_without_a_token_nothing_is_tried(hub: HubServer, tmp_path: Path) -> None:
    """Exit 3; the message names the three places where a token can be."""
    with pytest.raises(AuthenticationError, match=r"HF_TOKEN.*hf auth login.*hf_token\.txt") as refused:
        target_on(tmp_path, token=None)

    assert refused.value.exit_code == 3
    assert hub.requests == []


@pytest.mark.parametrize("token", ["your_token", "hf_wrong"])
@pytest.mark.parametrize("act", ["create", "begin", "commit"])
def test_token_that_may_not_write_is_said_so(
    hub: HubServer, tmp_path: Path, token: str, act: str, caplog: pytest.LogCaptureFixture
) -> None:
    """At once, not after ten minutes, nothing changed; the token itself is nowhere in message or log."""
    forbidden = target_on(tmp_path, token=token, patience_s=600.0)
    acts: dict[str, Callable[[], object]] = {"create": forbidden.open}
    if act != "create":
        _, snapshot = begun(tmp_path)
        acts["begin"] = lambda: forbidden.begin(Change("Begin", begun_state("new")), snapshot)
        acts["commit"] = lambda: forbidden.commit(change(tmp_path / "built", snapshot.state), snapshot)
    before = len(hub.commit_titles(REPO)) if act != "create" else 0

    with caplog.at_level(logging.DEBUG), pytest.raises(AuthenticationError, match="write access") as refused:
        acts[act]()

    assert act == "create" or len(hub.commit_titles(REPO)) == before
    assert token not in caplog.text + str(refused.value)


def test_new_repo_is_as_private_as_was_asked(hub: HubServer, tmp_path: Path) -> None:
    """Created once; opening it again is fine."""
    for _ in range(2):
        target_on(tmp_path, private=True).open()

    assert hub.store.settings(REPO).private
    assert target_on(tmp_path).is_public() is False


def test_public_repo_is_not_used_for_private_data(hub: HubServer, tmp_path: Path) -> None:
    """Refused, nothing changed: neither the data nor the repo's visibility."""
    target_on(tmp_path).open()

    with pytest.raises(TargetRefused, match="is public, but --private"):
        target_on(tmp_path, private=True).open()

    assert not hub.store.settings(REPO).private


def test_second_run_on_this_machine_is_refused(hub: HubServer, tmp_path: Path) -> None:
    """One lock a target."""
    with target_on(tmp_path).lock():
        with pytest.raises(TargetRefused, match=REPO), target_on(tmp_path).lock():
            pytest.fail("two held the lock")
        with target_on(tmp_path / "another").lock():
            pass
