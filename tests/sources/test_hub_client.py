"""The door to the Hub's client: opened late, set up once, with the user's token and the errors told apart."""

import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx2
import pytest
from huggingface_hub import constants

from tests.hub_server import TOKEN, HubServer
from utils.sources import hub

PROJECT = Path(__file__).parents[2]


@pytest.fixture
def server(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[HubServer]:
    """An empty Hub, where `HF_ENDPOINT` points."""
    with HubServer(tmp_path / "hub") as running:
        monkeypatch.setenv("HF_ENDPOINT", running.endpoint)
        yield running


def refusal(server: HubServer, token: str | None = TOKEN, **fault: Any) -> Exception:
    """The error of a call that the Hub refuses."""
    if fault:
        server.fault("status", step="repo_info", **fault)
    with pytest.raises(hub.NETWORK_ERRORS) as raised:
        hub.connect(token, 20.0).dataset_info("me/none")
    return raised.value


def test_importing_us_does_not_import_the_client() -> None:
    """`--help` does not pay for it."""
    script = "import sys, utils.sources.hub, utils.sources.source_files; sys.exit('huggingface_hub' in sys.modules)"

    assert subprocess.run([sys.executable, "-c", script], cwd=PROJECT, check=False, timeout=60).returncode == 0


def test_connecting_quietens_the_client_and_turns_xet_off_elsewhere(tmp_path: Path) -> None:
    """A server other than the Hub has no Xet; nothing is drawn, and nothing told to anybody."""
    script = (
        "import logging; from utils.sources import hub; hub.connect(None, 5.0)\n"
        "from huggingface_hub import constants as c; log = logging.getLogger('huggingface_hub')\n"
        "print(c.HF_HUB_DISABLE_XET, c.HF_HUB_DISABLE_TELEMETRY, c.HF_HUB_DISABLE_PROGRESS_BARS)\n"
        "print(log.handlers, log.isEnabledFor(logging.WARNING))\n"
    )
    lines = {}
    for endpoint in ("http://127.0.0.1:9", "https://huggingface.co"):
        environment = {"HOME": str(tmp_path), "HF_ENDPOINT": endpoint}
        run = subprocess.run(
            [sys.executable, "-c", script], cwd=PROJECT, env=environment, capture_output=True, text=True, timeout=60
        )
        lines[endpoint] = run.stdout.splitlines()

    assert lines["http://127.0.0.1:9"] == ["True True True", "[] False"]
    assert lines["https://huggingface.co"] == ["False True True", "[] False"]


def test_the_token_comes_from_the_environment_then_the_login_then_the_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """In that order, stripped; an empty one counts as none."""
    login = Path(constants.HF_TOKEN_PATH)
    login.parent.mkdir(parents=True, exist_ok=True)
    (tmp_path / "hf_token.txt").write_text("  hf_of_the_file\n")
    login.write_text("hf_of_the_login\n")
    monkeypatch.setenv("HF_TOKEN", " hf_of_the_environment ")
    found = [hub.find_token(tmp_path)]
    monkeypatch.setenv("HF_TOKEN", " ")
    found.append(hub.find_token(tmp_path))
    login.unlink()
    found.append(hub.find_token(tmp_path))
    (tmp_path / "hf_token.txt").write_text("\n")
    found.append(hub.find_token(tmp_path))

    assert found == ["hf_of_the_environment", "hf_of_the_login", "hf_of_the_file", None]


def test_without_a_token_none_is_sent(server: HubServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The machine's own token is `find_token`'s affair: nothing is sent behind our back."""
    (tmp_path / "private").mkdir()
    server.add_dataset("me/private", tmp_path / "private", private=True)
    monkeypatch.setenv("HF_TOKEN", TOKEN)

    assert hub.connect(TOKEN, 20.0).dataset_info("me/private").private
    with pytest.raises(hub.NETWORK_ERRORS) as raised:
        hub.connect(None, 20.0).dataset_info("me/private")
    assert hub.is_auth_problem(raised.value)


def test_a_call_without_a_timeout_of_its_own_gets_one(server: HubServer) -> None:
    """The client asks for none in some calls; a server that falls silent must not stop us for ever."""
    server.fault("stall", step="repo_info")

    with pytest.raises(httpx2.ReadTimeout) as raised:
        hub.connect(TOKEN, 0.2).dataset_info("me/none", timeout=None)

    assert hub.is_transient(raised.value)


@pytest.mark.parametrize(
    ("fault", "missing", "auth", "transient"),
    [
        ({}, True, False, False),
        ({"status": 401}, False, True, False),
        ({"status": 403}, False, True, False),
        ({"status": 409}, False, False, False),
        ({"status": 412}, False, False, False),
        ({"status": 429}, False, False, True),
        ({"status": 500}, False, False, True),
        ({"status": 504}, False, False, True),
    ],
)
def test_refusals_are_told_apart(
    server: HubServer, fault: dict[str, int], missing: bool, auth: bool, transient: bool
) -> None:
    """By the status alone: what is missing, what is forbidden, and what may be better in a moment."""
    error = refusal(server, **fault)

    assert (hub.is_missing(error), hub.is_auth_problem(error), hub.is_transient(error)) == (missing, auth, transient)
    assert hub.in_short(error) == f"HTTP {fault.get('status', 404)}"


def test_an_upload_error_is_seen_through() -> None:
    """The client wraps what broke a large file's upload in a RuntimeError; a bug of ours is not such a thing."""
    wrapped = RuntimeError("Error while uploading")
    wrapped.__cause__ = httpx2.ReadError("reset")

    assert isinstance(wrapped, hub.COMMIT_ERRORS)
    assert isinstance(hub.network_error_behind(wrapped), httpx2.ReadError)
    assert hub.is_transient(wrapped)
    assert hub.network_error_behind(RuntimeError("ours")) is None
    assert not hub.is_transient(RuntimeError("ours"))


def test_the_server_says_how_long_to_wait(server: HubServer) -> None:
    """`Retry-After` is honoured, ten minutes at most; silence asks for nothing."""
    assert hub.retry_after_s(refusal(server, status=429, retry_after=7)) == 7.0
    assert hub.retry_after_s(refusal(server, status=503, retry_after=86_400)) == 600.0
    assert hub.retry_after_s(refusal(server, status=503)) == 0.0
    assert hub.retry_after_s(httpx2.ReadError("reset")) == 0.0


def test_patience_doubles_and_ends() -> None:
    """Some ninety seconds in all, before a network that is down is an error."""
    assert list(hub.Patience().waits()) == [1, 2, 4, 8, 16, 30, 30]


def test_what_asking_again_cannot_help_is_asked_once(server: HubServer) -> None:
    """A refusal is final at the first time; trouble of the server's own is not."""
    api, patience = hub.connect(TOKEN, 20.0), hub.Patience(tries=4, first_wait_s=0.001)
    for status, tries in ((403, 1), (500, 4)):
        rule = server.fault("status", step="repo_info", status=status, times=tries)
        with pytest.raises(hub.NETWORK_ERRORS):
            hub.patiently(lambda: api.dataset_info("me/none"), patience)

        assert rule.struck == tries
