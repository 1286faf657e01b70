"""The tests' Hub fails as it is told to, and outlives what it is told to survive."""

import http.client
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import httpx2
import pytest
from huggingface_hub import HfApi
from huggingface_hub.errors import HfHubHTTPError
from huggingface_hub.utils import close_session

from tests.hub.client import REPO, SHARD, commit, raw_commit, status_of
from tests.hub.process import HubProcess
from tests.hub_server import TOKEN, HubServer

COMMIT_SCRIPT = """
import sys
from huggingface_hub import CommitOperationAdd, HfApi
shard = CommitOperationAdd("data/shard.parquet", b"rows" * 1000)
HfApi(endpoint=sys.argv[1], token=sys.argv[2]).create_commit(
    "me/thai-voice", [shard], commit_message="from a process", repo_type="dataset"
)
"""


@pytest.fixture
def hub(tmp_path: Path) -> Iterator[HubServer]:
    """A Hub with one empty dataset."""
    with HubServer(tmp_path / "hub") as server:
        server.store.create(REPO)
        yield server
        close_session()


@pytest.fixture
def api(hub: HubServer) -> HfApi:
    """The real client, with the owner's token."""
    return HfApi(endpoint=hub.endpoint, token=TOKEN)


# -- faults ---------------------------------------------------------------------------------------------


def test_an_answer_lost_after_the_commit_landed(hub: HubServer, api: HfApi) -> None:
    """The client sees a dropped connection although the commit is there; a blind retry gets 412."""
    old = hub.head(REPO)
    hub.fault("lost_after", step="commit")

    with pytest.raises(httpx2.RemoteProtocolError):
        commit(api, parent=old, a_txt=b"a")

    assert hub.files(REPO) == {"a.txt": 1}
    with pytest.raises(HfHubHTTPError, match="412"):
        commit(api, parent=old, a_txt=b"b")


def test_a_commit_lost_before_it_was_applied(hub: HubServer, api: HfApi) -> None:
    """The client sees the same dropped connection, but nothing landed."""
    old = hub.head(REPO)
    hub.fault("lost_before", step="commit")

    with pytest.raises(httpx2.RemoteProtocolError):
        commit(api, a_txt=b"a")

    assert hub.head(REPO) == old
    assert hub.requests[-1].status is None
    assert hub.requests[-1].fault == "lost_before"


@pytest.mark.parametrize("status", [409, 412, 429, 500, 502, 503, 504])
@pytest.mark.parametrize("applied", [False, True])
def test_a_commit_answered_with_a_status(hub: HubServer, api: HfApi, status: int, applied: bool) -> None:
    """Any status can be answered, with the commit applied or not."""
    old = hub.head(REPO)
    hub.fault("status_applied" if applied else "status", step="commit", status=status, retry_after=7)

    with pytest.raises(HfHubHTTPError) as refused:
        commit(api, a_txt=b"a")

    assert refused.value.response.status_code == status
    assert refused.value.response.headers["Retry-After"] == "7"
    assert (hub.head(REPO) != old) is applied


def test_a_commit_applied_long_after_a_gateway_gave_up(hub: HubServer, api: HfApi) -> None:
    """The client gets its 504 while the commit is still on its way; it lands when released."""
    old = hub.head(REPO)
    hub.fault("status_late", step="commit", status=504)
    with pytest.raises(HfHubHTTPError, match="504"):
        commit(api, a_txt=b"a")
    assert hub.wait_until_held()
    assert hub.head(REPO) == old

    hub.release()

    assert hub.wait_for("commit")
    assert hub.files(REPO) == {"a.txt": 1}


@pytest.mark.parametrize(("action", "applied"), [("stall", False), ("late", True)])
def test_a_client_that_does_not_wait(hub: HubServer, action: str, applied: bool) -> None:
    """A request whose client has left is dropped after a stall, and applied when late."""
    old = hub.head(REPO)
    hub.fault(action, step="commit")
    connection = raw_commit(hub)
    assert hub.wait_until_held()
    connection.close()

    hub.release()

    assert hub.wait_for("commit")
    assert (hub.head(REPO) != old) is applied


def test_a_client_that_waits_out_a_stall(hub: HubServer) -> None:
    """A stall that ends while the client still waits was nothing but a delay."""
    hub.fault("stall", step="commit")
    connection = raw_commit(hub)
    assert hub.wait_until_held()
    hub.release()

    assert connection.getresponse().status == 200
    connection.close()
    assert hub.files(REPO) == {"late.txt": 4}


def test_a_body_that_stalls_or_is_reset_in_the_middle(hub: HubServer, api: HfApi) -> None:
    """A stalled body goes on when released; a reset one ends in an error of the connection."""
    commit(api, a_txt=b"0123456789")
    url = f"/datasets/{REPO}/resolve/main/a.txt"
    hub.fault("stall_body", step="resolve")
    connection = http.client.HTTPConnection("127.0.0.1", hub.port)
    connection.request("GET", url)
    answer = connection.getresponse()
    assert answer.read(5) == b"01234"
    assert hub.wait_until_held()
    hub.release()
    assert answer.read() == b"56789"

    hub.fault("reset_body", step="resolve")
    connection.request("GET", url)

    with pytest.raises(ConnectionResetError):
        connection.getresponse().read()
    connection.close()


def test_faults_strike_the_requests_they_name_and_no_others(hub: HubServer, api: HfApi) -> None:
    """`skip` lets the first matches pass, `times` ends it, `path` and `method` narrow it down."""
    commit(api, a_txt=b"a", b_txt=b"b")
    rule = hub.fault("status", status=503, step="resolve|cdn", method="GET", path=r"/a\.txt$", skip=1, times=2)
    base = f"{hub.endpoint}/datasets/{REPO}/resolve/main"

    assert status_of(f"{base}/a.txt", method="HEAD") == 200
    assert [status_of(f"{base}/{name}.txt") for name in "abaaba"] == [200, 200, 503, 503, 200, 200]
    assert rule.struck == 2


@pytest.mark.parametrize("wrong", [{"action": "explode"}, {"action": "stall", "step": "comit"}])
def test_a_fault_that_could_never_strike_is_refused(hub: HubServer, wrong: dict[str, str]) -> None:
    """A misspelt rule is an error at once, not a test that passes for nothing."""
    with pytest.raises(ValueError, match="unknown"):
        hub.fault(**wrong)


def test_an_upload_that_fails_once_is_sent_again(hub: HubServer, api: HfApi) -> None:
    """The client's own retries meet a Hub that works the second time, its answers lost or refused."""
    hub.fault("lost_after", step="lfs_put")

    commit(api, data__a_parquet=SHARD)

    assert [seen.status for seen in hub.requests if seen.step == "lfs_put"] == [None, 200]
    assert hub.read(REPO, "data/a.parquet") == SHARD


def test_bodies_can_be_slowed_down(tmp_path: Path) -> None:
    """With a throttle, a download takes at least its bytes divided by the rate."""
    (tmp_path / "source").mkdir()
    (tmp_path / "source" / "a.parquet").write_bytes(bytes(50_000))
    with HubServer(tmp_path / "hub", throttle_bytes_per_s=500_000) as hub:
        hub.add_dataset(REPO, tmp_path / "source")
        began = time.monotonic()
        answer = httpx2.get(f"{hub.endpoint}/datasets/{REPO}/resolve/main/a.parquet", follow_redirects=True)

    assert len(answer.content) == 50_000
    assert time.monotonic() - began >= 0.1


# -- a process of its own -------------------------------------------------------------------------------


def test_commits_outlive_a_killed_server(tmp_path: Path) -> None:
    """A SIGKILL in the middle of a commit leaves the commits before it, and a server that starts again."""
    (tmp_path / "source").mkdir()
    (tmp_path / "source" / "a.txt").write_text("seed")
    with HubProcess(tmp_path / "hub", seeds={REPO: tmp_path / "source"}) as hub:
        api = HfApi(endpoint=hub.endpoint, token=TOKEN)
        kept = commit(api, data__a_parquet=SHARD)
        hub.fault("stall", step="commit")
        with ThreadPoolExecutor(1) as pool:
            lost = pool.submit(commit, api, b_txt=b"b")
            assert hub.wait_until_held()
            hub.kill()
            assert isinstance(lost.exception(), httpx2.NetworkError | httpx2.RemoteProtocolError)
        endpoint = hub.endpoint
        hub.start()

        assert hub.endpoint == endpoint
        assert api.dataset_info(REPO).sha == kept
        assert commit(api, parent=kept, b_txt=b"b") == api.dataset_info(REPO).sha
        assert api.list_repo_files(REPO, repo_type="dataset") == [".gitattributes", "a.txt", "b.txt", "data/a.parquet"]
        close_session()
    assert hub.log.read_text() == ""


@pytest.mark.parametrize(
    ("step", "when", "landed"), [("lfs_put", "before", False), ("commit", "before", False), ("commit", "after", True)]
)
def test_a_client_dies_at_the_point_that_was_named(tmp_path: Path, step: str, when: str, landed: bool) -> None:
    """A `kill` rule ends the client's process at one request; the server takes no notice."""
    with HubProcess(tmp_path / "hub") as hub:
        api = HfApi(endpoint=hub.endpoint, token=TOKEN)
        api.create_repo(REPO, repo_type="dataset")
        hub.fault("kill", step=step, when=when)
        client = subprocess.Popen([sys.executable, "-c", COMMIT_SCRIPT, hub.endpoint, TOKEN])
        hub.set_client_pid(client.pid)

        assert client.wait(60) == -signal.SIGKILL
        assert ("data/shard.parquet" in hub.files(REPO)) is landed
        close_session()
    assert hub.log.read_text() == ""


def test_a_server_elsewhere_is_steered_and_watched(tmp_path: Path) -> None:
    """The control endpoint takes rules, refuses wrong ones, and tells what came in."""
    with HubProcess(tmp_path / "hub", options=("--user", "you", "--token", "your_token")) as hub:
        hub.fault("status", step="whoami", status=429)
        url = f"{hub.endpoint}/api/whoami-v2"

        assert [status_of(url, token="your_token") for _ in range(2)] == [429, 200]
        assert [(seen.step, seen.status) for seen in hub.requests] == [("whoami", 429), ("whoami", 200)]
        assert [rule["struck"] for rule in hub.order("GET", "faults")] == [1]
        with pytest.raises(ValueError, match="unknown action"):
            hub.fault("explode")


def test_leaving_the_server_ends_its_threads(tmp_path: Path) -> None:
    """Even with a request held and connections open, nothing of the server is left."""
    before = set(threading.enumerate())
    with HubServer(tmp_path / "hub") as hub:
        hub.fault("stall", step="whoami")
        connection = http.client.HTTPConnection("127.0.0.1", hub.port)
        connection.request("GET", "/api/whoami-v2", headers={"Authorization": f"Bearer {TOKEN}"})
        assert hub.wait_until_held()

    connection.close()
    assert set(threading.enumerate()) == before
