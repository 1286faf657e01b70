"""The tests' own Hub takes files over Xet as it takes them over LFS, as the real client sees it."""

import urllib.error
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from random import Random

import pytest
from huggingface_hub import HfApi

from tests.hub.client import REPO, commit, over_xet
from tests.hub_server import TOKEN, HubServer


@pytest.fixture
def hub(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[HubServer]:
    """A Hub with one empty dataset; the client is to use Xet."""
    with HubServer(tmp_path / "hub", tokens={TOKEN: "me", "your_token": "you"}) as server:
        server.store.create(REPO)
        with over_xet(monkeypatch, tmp_path / "hf"):
            yield server


def test_files_come_whole_and_known_chunks_are_not_sent_again(hub: HubServer, tmp_path: Path) -> None:
    """Many chunks, repeated ones, and a file that shares most of them with an older one."""
    api, noise = HfApi(endpoint=hub.endpoint, token=TOKEN), Random(1).randbytes(1_500_000)
    commit(api, a_parquet=noise, b_parquet=noise[:700_000] * 2, c_parquet=b"PAR1", notes_txt=b"small")
    first = hub.count("xet_xorb")
    commit(api, d_parquet=noise + b"more")

    assert hub.read(REPO, "a.parquet") == noise
    assert hub.read(REPO, "b.parquet") == noise[:700_000] * 2
    assert hub.read(REPO, "c.parquet") == b"PAR1"
    assert hub.read(REPO, "d.parquet") == noise + b"more"
    assert (first, hub.count("lfs_put")) == (1, 0)
    local = api.hf_hub_download(REPO, "d.parquet", repo_type="dataset", cache_dir=tmp_path / "cache")
    assert Path(local).read_bytes() == noise + b"more"


def test_strangers_get_no_token_and_nothing_is_taken_without_one(hub: HubServer) -> None:
    """The Hub lets writers in, the CAS whoever shows the token that the Hub gave."""
    routes = {
        "your_token": ("GET", f"/api/datasets/{REPO}/xet-write-token/main", 403),
        TOKEN: ("POST", "/v1/shards", 401),
        f"{REPO}?signature=made-up": ("POST", f"/v1/xorbs/default/{'0' * 64}", 401),
    }

    for token, (method, path, status) in routes.items():
        request = urllib.request.Request(hub.endpoint + path, method=method)
        request.add_header("Authorization", f"Bearer {token}")
        with pytest.raises(urllib.error.HTTPError) as refused:
            urllib.request.urlopen(request)
        refused.value.close()
        assert refused.value.code == status


def test_a_file_that_is_not_what_its_sha256_says_is_refused(hub: HubServer) -> None:
    """A xorb that went bad makes no file, though its chunks are known."""
    api, sent = HfApi(endpoint=hub.endpoint, token=TOKEN), Random(2).randbytes(300_000)
    commit(api, a_parquet=sent)
    (stored,) = (hub.store.root / "xorbs").iterdir()
    content = bytearray(stored.read_bytes())
    content[100] ^= 1
    stored.write_bytes(content)

    with pytest.raises(OSError, match="400"):
        commit(api, b_parquet=sent + b"more")

    assert list(hub.files(REPO)) == ["a.parquet"]
