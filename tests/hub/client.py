"""What tests of the Hub itself do to it: through the real client, and past it."""

import http.client
import json
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from huggingface_hub import CommitOperationAdd, HfApi, constants
from huggingface_hub.utils._xet import abort_xet_session

from tests.hub_server import TOKEN, HubServer

REPO = "me/thai-voice"
SHARD = b"PAR1" + bytes(range(256)) * 40


def xet_settings(home: Path) -> dict[str, str]:
    """The environment of a client that sends large files over Xet, as the Hub's does, with nothing remembered yet."""
    return {
        "HF_HUB_DISABLE_XET": "0",
        "HF_HOME": str(home),
        "HF_XET_CACHE": str(home / "xet"),
        "HF_XET_XORB_COMPRESSION_POLICY": "none",  # the tests' Hub can't unpack
        "HF_XET_CLIENT_RETRY_BASE_DELAY": "10ms",
        "HF_XET_CLIENT_RETRY_MAX_ATTEMPTS": "2",
    }


@contextmanager
def over_xet(monkeypatch: pytest.MonkeyPatch, home: Path) -> Iterator[None]:
    """The client of this process sends large files over Xet."""
    for name, value in xet_settings(home).items():
        monkeypatch.setenv(name, value)
    monkeypatch.setattr(constants, "HF_HUB_DISABLE_XET", False)
    abort_xet_session()  # the next one reads the environment
    yield
    abort_xet_session()


def commit(api: HfApi, *, parent: str | None = None, title: str = "more", **files: bytes) -> str:
    """Commit some files (`data__x_parquet` is `data/x.parquet`) and return the new head."""
    names = {name: name.replace("__", "/").replace("_", ".") for name in files}
    operations = [CommitOperationAdd(names[name], content) for name, content in files.items()]
    landed = api.create_commit(REPO, operations, commit_message=title, repo_type="dataset", parent_commit=parent)
    return str(landed.oid)


def raw_commit(hub: HubServer) -> http.client.HTTPConnection:
    """Send a commit of `late.txt` without waiting for what the Hub says."""
    header = {"key": "header", "value": {"summary": "raw"}}
    added = {"key": "file", "value": {"path": "late.txt", "content": "late", "encoding": "utf-8"}}
    connection = http.client.HTTPConnection("127.0.0.1", hub.port)
    body = json.dumps(header) + "\n" + json.dumps(added)
    connection.request("POST", f"/api/datasets/{REPO}/commit/main", body, {"Authorization": f"Bearer {TOKEN}"})
    return connection


def upload_address(hub: HubServer, sha256: str) -> str:
    """Where the Hub wants a large file to be put."""
    batch = {"objects": [{"oid": sha256, "size": 3}]}
    url = f"{hub.endpoint}/datasets/{REPO}.git/info/lfs/objects/batch"
    asked = urllib.request.Request(url, json.dumps(batch).encode(), {"Authorization": f"Bearer {TOKEN}"})
    with urllib.request.urlopen(asked) as answer:
        address: str = json.load(answer)["objects"][0]["actions"]["upload"]["href"]
    return address


def status_of(url: str, *, method: str = "GET", body: bytes | None = None, token: str | None = None) -> int:
    """The bare status of a request."""
    headers = {"Authorization": f"Bearer {token}"} if token else {}
    try:
        with urllib.request.urlopen(urllib.request.Request(url, body, headers, method=method)) as answer:
            return int(answer.status)
    except urllib.error.HTTPError as error:
        error.close()
        return error.code
