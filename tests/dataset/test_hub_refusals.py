"""The reason that the Hub gives for a refusal is shown: a quota is no matter of a token. So is how long it is asked."""

import json
import logging
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.dataset.hub_targets import REPO, assert_landed_once, begun, target_on
from tests.hub_server import TOKEN, HubServer
from tests.support import change
from utils.errors import AuthenticationError, Stopped, TargetRefused


@pytest.fixture
def hub(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[HubServer]:
    """A Hub where `HF_ENDPOINT` points."""
    with HubServer(tmp_path / "hub", tokens={TOKEN: "me"}) as server:
        monkeypatch.setenv("HF_ENDPOINT", server.endpoint)
        yield server


SENTENCES = {
    "quota": ("commit", 403, "Private repository storage limit reached, please upgrade your plan."),
    "files of a folder": ("preupload", 403, "Your push was rejected: data/train has 10001 files, the limit is 10000."),
    "size": ("commit", 413, "The payload is larger than 1 GB."),
    "the request": ("commit", 400, "LFS pointer pointed to a file that does not exist."),
}


@pytest.mark.parametrize(("step", "status", "sentence"), SENTENCES.values(), ids=SENTENCES)
def test_the_hub_s_own_reason_is_shown(hub: HubServer, tmp_path: Path, step: str, status: int, sentence: str) -> None:
    """Exit 6 in its words, and none about the token; once it is mended, the same commit lands."""
    target, snapshot = begun(tmp_path)
    planned = change(tmp_path / "built", snapshot.state)
    hub.fault("status", step=step, status=status, message=sentence, times=None)

    with pytest.raises(TargetRefused, match=r"staged here is kept.*--resume") as refused:
        target.commit(planned, snapshot)

    assert f'"{sentence}"' in str(refused.value)
    assert "token" not in str(refused.value)
    assert refused.value.exit_code == 6
    hub.faults.clear()
    assert_landed_once(hub, target.commit(planned, snapshot), planned)


ABOUT_THE_TOKEN = {
    "rights": json.dumps({"error": "You don't have the required permissions to write here."}),
    "a read token": json.dumps({"error": "Forbidden: you must use a write token to upload to a repository."}),
    "nothing": json.dumps({"error": ""}),
    "a page": "<html><body>Private repository storage limit reached</body></html>",
}


@pytest.mark.parametrize("body", ABOUT_THE_TOKEN.values(), ids=ABOUT_THE_TOKEN)
def test_what_is_about_the_token_is_told_as_before(hub: HubServer, tmp_path: Path, body: str) -> None:
    """Exit 3, and what to do about it; a page of a proxy is not the Hub's word."""
    target, snapshot = begun(tmp_path)
    hub.fault("status", step="commit", status=403, message="", body=body, times=None)

    with pytest.raises(AuthenticationError, match=r"does not let this token write.*write access.*--resume"):
        target.commit(change(tmp_path / "built", snapshot.state), snapshot)


def test_a_sentence_is_one_line_and_has_no_address_and_no_token(hub: HubServer, tmp_path: Path) -> None:
    """Whatever stands in it: it goes to a terminal and into a log."""
    said = "Storage\nlimit \x1b[31mreached for hf_abcDEF123: see https://me:secret@hub.example/pay?sig=1 " + "x" * 5000
    target, snapshot = begun(tmp_path)
    hub.fault("status", step="commit", status=403, message="", body=json.dumps({"error": said}), times=None)

    with pytest.raises(TargetRefused) as refused:
        target.commit(change(tmp_path / "built", snapshot.state), snapshot)

    assert "Storage limit [31mreached for ...: see ..." in str(refused.value)
    assert "secret" not in str(refused.value)
    assert len(str(refused.value)) < 600


def test_the_first_warning_says_how_long_the_hub_is_asked(
    hub: HubServer, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """Also where it is less than a minute; the last word says what to type."""
    _, snapshot = begun(tmp_path)
    planned = change(tmp_path / "built", snapshot.state)
    hub.fault("lost_before", step="commit|repo_info", times=None)
    target = target_on(tmp_path, patience_s=0.2)
    caplog.set_level(logging.WARNING)

    with pytest.raises(Stopped, match=r"1 second of trying.*Check the network.*--resume"):
        target.commit(planned, snapshot)

    first = next(record for record in caplog.records if record.levelno == logging.WARNING).getMessage()
    assert "for 1 second at most" in first
    assert REPO in first
