"""Commits to the Hub: the real client, a real server on loopback, and everything that can go wrong between them.

Whatever goes wrong with a commit, in the end the history has exactly one with our rows, or the error is clear.
"""

import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from tests.dataset.hub_targets import REPO, assert_goes_on, assert_landed_once, begun, edit_repo, target_on
from tests.hub_server import TOKEN, HubServer
from tests.support import change
from utils.dataset.layout import CARD_PATH, STATE_PATH
from utils.errors import Interrupted, Stopped, TargetMoved, TargetRefused

FIRST_PART = "Add part 0"


@pytest.fixture
def hub(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[HubServer]:
    """A Hub where `HF_ENDPOINT` points, with a stranger `you` besides `me`; its listings have short pages."""
    with HubServer(tmp_path / "hub", tokens={TOKEN: "me", "your_token": "you"}, page_size=3) as server:
        monkeypatch.setenv("HF_ENDPOINT", server.endpoint)
        yield server


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


def test_a_repo_that_was_renamed_is_written_to_under_its_old_name(hub: HubServer, tmp_path: Path) -> None:
    """Every question and every commit is redirected; what is read back is what was sent."""
    target, snapshot = begun(tmp_path)
    planned = change(tmp_path / "built", snapshot.state)
    hub.rename(REPO, "me/another")

    landed = target.commit(planned, snapshot)

    assert landed.head == hub.head("me/another")
    assert set(hub.files("me/another")) == {STATE_PATH, CARD_PATH, *planned.files}
    assert target.snapshot() == landed
    followed = target.commit(change(tmp_path / "next", landed.state), landed)
    assert followed.head == hub.head("me/another")


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


UPLOADS = {
    "preupload": {"action": "status", "status": 404},
    "lfs_batch": {"action": "status", "status": 404},
    "lfs_put": {"action": "status", "status": 403},
    "lfs_verify": {"action": "lost_before"},
    "validate_yaml": {"action": "lost_before"},
}


@pytest.mark.parametrize(("step", "fault"), UPLOADS.items(), ids=UPLOADS)
def test_failing_uploads_are_repeated(hub: HubServer, tmp_path: Path, step: str, fault: dict[str, Any]) -> None:
    """What fails before the commit was sent is sent again, with the bytes."""
    target, snapshot = begun(tmp_path)
    planned = change(tmp_path / "built", snapshot.state)
    rule = hub.fault(step=step, **fault)

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
    hub.fault("late", step="commit")

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


def test_refused_card_is_said_so(hub: HubServer, tmp_path: Path) -> None:
    """Metadata that somebody wrote by hand and the Hub does not take: exit 6, in the Hub's words."""
    target, snapshot = begun(tmp_path)
    hub.fault("status", step="validate_yaml", status=400)

    with pytest.raises(TargetRefused, match="(?s)refuses the card.*Mend the metadata"):
        target.commit(change(tmp_path / "built", snapshot.state), snapshot)


def test_an_address_that_has_expired_is_asked_for_again(hub: HubServer, tmp_path: Path) -> None:
    """Published files lie behind signed addresses: a 403 there says nothing of the token."""
    target, snapshot = begun(tmp_path)
    planned = change(tmp_path / "built", snapshot.state)
    landed = target.commit(planned, snapshot)
    path, local = next(iter(planned.files.items()))
    rule = hub.fault("status", step="cdn", status=403)

    assert target.read_file(path, landed) == local.read_bytes()
    assert rule.struck == 1


def test_the_last_wait_is_followed_by_a_try(hub: HubServer, tmp_path: Path) -> None:
    """Of 0.02 to 0.32 s: a Hub that is back within our patience is asked."""
    target, snapshot = begun(tmp_path)
    rule = hub.fault("status", step="repo_info", status=503, times=5)

    assert target.head() == snapshot.head
    assert rule.struck == 5


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


def test_card_that_is_no_text_does_not_stop_us(hub: HubServer, tmp_path: Path) -> None:
    """Bytes that are no UTF-8 can't be sent back; the client refuses them."""
    target, snapshot = begun(tmp_path)
    edit_repo(hub, tmp_path, {CARD_PATH: b"# caf\xe9\n"})

    planned = change(tmp_path / "built", snapshot.state)

    assert_landed_once(hub, target.commit(planned, snapshot), planned)
    assert hub.read(REPO, CARD_PATH).decode().count("# caf") == 1
