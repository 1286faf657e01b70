"""What tests of the Hub itself do to it: through the real client, and past it."""

import http.client
import json
import urllib.error
import urllib.request

from huggingface_hub import CommitOperationAdd, HfApi

from tests.hub_server import TOKEN, HubServer

REPO = "me/thai-voice"
SHARD = b"PAR1" + bytes(range(256)) * 40


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
