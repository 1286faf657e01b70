"""Commits whose large files go over Xet, as the Hub's client sends them where nobody says otherwise.

What fails there is a builtin error that has an address in its text. It is told in words, asked again, and where Xet
stays out of reach the files go over LFS.
"""

import logging
import os
import re
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from random import Random
from typing import Any

import pytest
from huggingface_hub import constants

from tests.dataset.hub_targets import assert_goes_on, assert_landed_once, begun, target_on
from tests.hub.client import over_xet, xet_settings
from tests.hub_server import TOKEN, HubServer
from tests.support import change
from utils.errors import AuthenticationError, Interrupted, Stopped
from utils.sources import xet

OVER_XET = {"xet_xorb", "xet_shard"}
OVER_LFS = {"lfs_batch", "lfs_put"}


@pytest.fixture
def hub(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[HubServer]:
    """A Hub with Xet where `HF_ENDPOINT` points; the client has uploaded nothing yet."""
    with HubServer(tmp_path / "hub", tokens={TOKEN: "me"}) as server:
        monkeypatch.setenv("HF_ENDPOINT", server.endpoint)
        with over_xet(monkeypatch, tmp_path / "hf"):
            yield server


def ways(hub: HubServer) -> set[str]:
    """By which requests large files came."""
    return {seen.step for seen in hub.requests} & (OVER_XET | OVER_LFS)


def assert_no_address(*texts: str) -> None:
    for text in texts:
        assert not re.search(r"https?:|127\.0\.0\.1|/v1/|[0-9a-f]{40}", text), text


def test_large_files_go_over_xet(hub: HubServer, tmp_path: Path) -> None:
    """No byte of them over LFS, and the commit has them as it would."""
    target, snapshot = begun(tmp_path)
    planned = change(tmp_path / "built", snapshot.state)

    landed = target.commit(planned, snapshot)

    assert ways(hub) == OVER_XET
    assert_landed_once(hub, landed, planned)
    assert_goes_on(hub, target, landed, tmp_path)


def test_an_upload_says_how_much_is_sent(
    hub: HubServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """In bytes, and in lines of the log: the client's own bars are not drawn."""
    target, snapshot = begun(tmp_path)
    planned = change(tmp_path / "built", snapshot.state, Random(1).randbytes(3_000_000))
    monkeypatch.setattr(xet, "TOLD_EVERY_S", 0.0)
    hub.throttle(3e6)
    caplog.set_level(logging.INFO)

    target.commit(planned, snapshot)

    assert re.search(r"sending 4 files, 6\.0 MB, to me/thai-voice", caplog.text)
    told = [float(sent) for sent in re.findall(r"Uploading: ([\d.]+) MB are sent", caplog.text)]
    assert len(told) > 1
    assert told == sorted(told)
    assert told[-1] > 0
    assert ways(hub) == OVER_XET


ONCE = {
    "token 401": ("xet_token", {"action": "status", "status": 401}),
    "token 403": ("xet_token", {"action": "status", "status": 403}),
    "token 500": ("xet_token", {"action": "status", "status": 500}),
    "token lost": ("xet_token", {"action": "lost_before"}),
    "xorb 401": ("xet_xorb", {"action": "status", "status": 401}),
    "xorb 403": ("xet_xorb", {"action": "status", "status": 403}),
    "xorb 503": ("xet_xorb", {"action": "status", "status": 503}),
    "xorb lost": ("xet_xorb", {"action": "lost_after"}),
    "shard 400": ("xet_shard", {"action": "status", "status": 400}),
    "shard 401": ("xet_shard", {"action": "status", "status": 401}),
    "shard 503": ("xet_shard", {"action": "status", "status": 503}),
    "shard lost": ("xet_shard", {"action": "lost_after"}),
}


@pytest.mark.parametrize(("step", "fault"), ONCE.values(), ids=ONCE)
def test_what_fails_once_is_sent_again(hub: HubServer, tmp_path: Path, step: str, fault: dict[str, Any]) -> None:
    """Over Xet: a token may have run out, a server may have been busy."""
    target, snapshot = begun(tmp_path)
    planned = change(tmp_path / "built", snapshot.state)
    rule = hub.fault(step=step, **fault)

    landed = target.commit(planned, snapshot)

    assert rule.struck == 1
    assert ways(hub) == OVER_XET
    assert_landed_once(hub, landed, planned)
    assert_goes_on(hub, target, landed, tmp_path)


def test_a_token_refused_behind_another_refusal_is_asked_for_once_more(hub: HubServer, tmp_path: Path) -> None:
    """It was refused once, and not twice."""
    target, snapshot = begun(tmp_path)
    planned = change(tmp_path / "built", snapshot.state)
    rules = [hub.fault("status", step="xet_shard", status=401)]
    rules += [hub.fault("status", step="xet_token", status=401, skip=1)]

    assert_landed_once(hub, target.commit(planned, snapshot), planned)
    assert [rule.struck for rule in rules] == [1, 1]
    assert ways(hub) == OVER_XET


@pytest.mark.parametrize("status", [401, 403])
def test_a_token_that_may_not_write_is_told_as_anywhere(
    hub: HubServer, tmp_path: Path, caplog: pytest.LogCaptureFixture, status: int
) -> None:
    """Exit 3, whatever way the files would have gone."""
    target, snapshot = begun(tmp_path, patience_s=600.0)
    rule = hub.fault("status", step="xet_token", status=status, times=None)

    with pytest.raises(AuthenticationError, match=r"does not let this token write.*--resume") as refused:
        target.commit(change(tmp_path / "built", snapshot.state), snapshot)

    assert rule.struck == 2
    assert refused.value.exit_code == 3
    assert_no_address(str(refused.value), caplog.text)


FOR_EVER = {
    "xorb 401": ("xet_xorb", {"action": "status", "status": 401}),
    "xorb 403": ("xet_xorb", {"action": "status", "status": 403}),
    "xorb 503": ("xet_xorb", {"action": "status", "status": 503}),
    "shard 400": ("xet_shard", {"action": "status", "status": 400}),
    "no such route": ("xet_token", {"action": "status", "status": 404}),
    "servers down": ("xet_xorb", {"action": "lost_before"}),
}


@pytest.mark.parametrize(("step", "fault"), FOR_EVER.values(), ids=FOR_EVER)
def test_where_xet_stays_out_of_reach_lfs_is_taken(
    hub: HubServer, tmp_path: Path, caplog: pytest.LogCaptureFixture, step: str, fault: dict[str, Any]
) -> None:
    """By the next try, or the one behind it, and by all that follow; a line of the log says so."""
    target, snapshot = begun(tmp_path)
    planned = change(tmp_path / "built", snapshot.state)
    rule = hub.fault(step=step, times=None, **fault)

    landed = target.commit(planned, snapshot)

    assert rule.struck > 0
    assert caplog.text.count("over LFS from now on") == 1
    assert_no_address(caplog.text)
    assert_landed_once(hub, landed, planned)
    hub.faults.clear()
    hub.ledger.clear()
    assert_goes_on(hub, target, landed, tmp_path)
    assert ways(hub) == OVER_LFS
    assert constants.HF_HUB_DISABLE_XET is False


def test_patience_ends_where_neither_way_is_open(
    hub: HubServer, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """The usual letter: exit 5, nothing lost, and what to type."""
    target, snapshot = begun(tmp_path)
    planned = change(tmp_path / "built", snapshot.state)
    rules = [hub.fault("lost_before", step="xet_xorb", times=None)]
    rules += [hub.fault("status", step="lfs_put", status=403, times=None)]

    with pytest.raises(Stopped, match=r"Nothing is lost.*--resume") as stopped:
        target.commit(planned, snapshot)

    assert all(rule.struck > 0 for rule in rules)
    assert stopped.value.exit_code == 5
    assert_no_address(str(stopped.value), caplog.text)
    hub.faults.clear()
    assert_landed_once(hub, target.commit(planned, snapshot), planned)


@pytest.mark.parametrize("broken", ["a file", "below a file"])
def test_a_cache_that_cannot_be_written_is_done_without(
    hub: HubServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, broken: str
) -> None:
    """Xet keeps a cache in HF_HOME; LFS needs none."""
    target, snapshot = begun(tmp_path)
    planned = change(tmp_path / "built", snapshot.state)
    (tmp_path / "file").touch()
    home = tmp_path / "file" if broken == "a file" else tmp_path / "file/hf"
    for name, value in xet_settings(home).items():
        monkeypatch.setenv(name, value)

    landed = target.commit(planned, snapshot)

    assert ways(hub) == OVER_LFS
    assert_landed_once(hub, landed, planned)


HANGING = ["xet_token", "xet_xorb", "xet_shard", "lfs_batch", "lfs_put", "preupload", "commit"]


@pytest.mark.parametrize("step", HANGING)
def test_a_stop_does_not_wait_for_an_upload_that_hangs(
    hub: HubServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, step: str
) -> None:
    """It is left while the server still holds it; what was to be sent is sent by the next run."""
    monkeypatch.setattr(constants, "HF_HUB_DISABLE_XET", step.startswith("lfs"))
    _, snapshot = begun(tmp_path)
    stop = threading.Event()
    target = target_on(tmp_path, stop_requested=stop.is_set)
    planned = change(tmp_path / "built", snapshot.state)
    hub.fault("stall", step=step, times=None)

    with ThreadPoolExecutor(1) as other_thread:
        sent = other_thread.submit(target.commit, planned, snapshot)
        assert hub.wait_until_held()
        stop.set()
        with pytest.raises(Interrupted, match="staged is kept"):
            sent.result()

    hub.faults.clear()
    hub.faults.close()
    for left in threading.enumerate():
        if left.name == "send":
            left.join()
    assert_landed_once(hub, target_on(tmp_path).commit(planned, snapshot), planned)


def test_a_stop_lets_end_what_ends_soon(hub: HubServer, tmp_path: Path) -> None:
    """A commit that is under way lands, and is known of."""
    _, snapshot = begun(tmp_path)
    target = target_on(tmp_path, stop_requested=lambda: True)
    planned = change(tmp_path / "built", snapshot.state)

    assert_landed_once(hub, target.commit(planned, snapshot), planned)


def test_what_the_user_has_set_stays(monkeypatch: pytest.MonkeyPatch) -> None:
    """Under whatever of its names; where nothing is set there are bounds."""
    for name in (*SETTINGS, "HF_XET_FIXED_UPLOAD_CONCURRENCY", "HF_XET_HIGH_PERFORMANCE"):
        monkeypatch.setenv(name, "")  # so that all of them are put back
        monkeypatch.delenv(name)
    monkeypatch.setenv("HF_HUB_DISABLE_XET", "1")
    xet.prepare_environment(60.0, 600.0)
    untouched = settings()
    monkeypatch.delenv("HF_HUB_DISABLE_XET")
    monkeypatch.setenv("HF_XET_CLIENT_READ_TIMEOUT", "7s")
    monkeypatch.setenv("HF_XET_FIXED_UPLOAD_CONCURRENCY", "64")

    xet.prepare_environment(60.0, 20.0)

    assert untouched == {}
    assert settings() == {
        "HF_XET_DATA_MAX_CONCURRENT_FILE_INGESTION": "1",
        "HF_XET_CLIENT_READ_TIMEOUT": "7s",
        "HF_XET_CLIENT_RETRY_MAX_ATTEMPTS": "2",
        "HF_XET_TELEMETRY_ENABLED": "0",
    }


SETTINGS = (
    "HF_XET_CLIENT_AC_MAX_UPLOAD_CONCURRENCY",
    "HF_XET_DATA_MAX_CONCURRENT_FILE_INGESTION",
    "HF_XET_CLIENT_READ_TIMEOUT",
    "HF_XET_CLIENT_RETRY_MAX_ATTEMPTS",
    "HF_XET_TELEMETRY_ENABLED",
    "RUST_LOG",
)


def settings() -> dict[str, str]:
    return {name: os.environ[name] for name in SETTINGS if name in os.environ and name != "RUST_LOG"}
