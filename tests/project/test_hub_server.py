"""The tests' own Hub keeps the promises that other tests build on, as the real clients see them."""

import hashlib
import http.client
import json
import os
import subprocess
import sys
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from huggingface_hub import CommitOperationAdd, CommitOperationDelete, HfApi, HfFileSystem
from huggingface_hub.errors import (
    EntryNotFoundError,
    GatedRepoError,
    HfHubHTTPError,
    RepositoryNotFoundError,
    RevisionNotFoundError,
)
from huggingface_hub.utils import close_session

from tests.hub.client import REPO, SHARD, commit, status_of, upload_address
from tests.hub_server import TOKEN, HubServer

LOAD_SCRIPT = """
import sys
from datasets import load_dataset
rows = load_dataset("me/thai-voice", split="train", token=sys.argv[1])
print(rows["transcript"])
"""


@pytest.fixture
def hub(tmp_path: Path) -> Iterator[HubServer]:
    """A Hub with one empty dataset, and a stranger `you` besides its owner `me`."""
    tokens = {TOKEN: "me", "your_token": "you"}
    with HubServer(tmp_path / "hub", tokens=tokens, page_size=2) as server:
        server.store.create(REPO)
        yield server
        close_session()


@pytest.fixture
def api(hub: HubServer) -> HfApi:
    """The real client, with the owner's token."""
    return HfApi(endpoint=hub.endpoint, token=TOKEN)


# -- commits --------------------------------------------------------------------------------------------


def test_a_commit_of_small_large_and_deleted_files_lands_whole(hub: HubServer, api: HfApi) -> None:
    """Small files travel in the commit, Parquet through LFS, and both read back byte for byte."""
    text = "สวัสดี".encode()
    first = commit(api, data__a_parquet=SHARD, notes_txt=text)

    removed = CommitOperationDelete("notes.txt")
    shard = CommitOperationAdd("data/b.parquet", SHARD + b"2")
    second = api.create_commit(REPO, [shard, removed], commit_message="two", repo_type="dataset", parent_commit=first)

    assert hub.files(REPO, first) == {"data/a.parquet": len(SHARD), "notes.txt": len(text)}
    assert hub.files(REPO) == {"data/a.parquet": len(SHARD), "data/b.parquet": len(SHARD) + 1}
    assert hub.read(REPO, "notes.txt", first) == text
    assert hub.read(REPO, "data/b.parquet") == SHARD + b"2"
    assert hub.count("lfs_put") == hub.count("lfs_verify") == 2
    assert second.oid == hub.head(REPO) == api.dataset_info(REPO).sha
    assert [entry.title for entry in api.list_repo_commits(REPO, repo_type="dataset")][::-1] == hub.commit_titles(REPO)


def test_large_files_uploaded_ahead_are_not_sent_again(hub: HubServer, api: HfApi) -> None:
    """`preupload_lfs_files` leaves the bytes there for any later commit, without touching the head."""
    before = hub.head(REPO)
    api.preupload_lfs_files(REPO, [CommitOperationAdd("data/a.parquet", SHARD)], repo_type="dataset")
    assert hub.head(REPO) == before

    commit(api, data__a_parquet=SHARD)

    assert hub.count("lfs_put") == 1
    assert hub.read(REPO, "data/a.parquet") == SHARD


def test_unchanged_files_make_no_commit(hub: HubServer, api: HfApi) -> None:
    """What preupload says of known files lets the client see that nothing would change."""
    head = commit(api, data__a_parquet=SHARD, notes_txt=b"text")

    assert commit(api, data__a_parquet=SHARD, notes_txt=b"text") == head
    assert hub.count("commit") == 1


def test_a_stale_parent_is_refused(hub: HubServer, api: HfApi) -> None:
    """A commit on anything but the head gets 412 and changes nothing."""
    old = hub.head(REPO)
    head = commit(api, parent=old, a_txt=b"a")

    with pytest.raises(HfHubHTTPError, match="A commit has happened since") as refused:
        commit(api, parent=old, b_txt=b"b")

    assert refused.value.response.status_code == 412
    assert hub.head(REPO) == head
    assert hub.files(REPO) == {"a.txt": 1}


def test_of_many_writers_on_one_parent_exactly_one_lands(hub: HubServer, api: HfApi) -> None:
    """Commits are serialised: the parent is compared and the head moved in one step."""
    parent = hub.head(REPO)

    def landed(number: int) -> bool:
        try:
            commit(api, parent=parent, title=f"writer {number}", winner_txt=b"%d" % number)
        except HfHubHTTPError as refused:
            assert refused.response.status_code == 412
            return False
        return True

    with ThreadPoolExecutor(8) as writers:
        outcomes = list(writers.map(landed, range(8)))

    assert outcomes.count(True) == 1
    assert hub.commit_titles(REPO) == ["initial commit", f"writer {outcomes.index(True)}"]


def test_a_commit_with_an_impossible_part_changes_nothing(hub: HubServer, api: HfApi) -> None:
    """Deleting what is not there refuses the whole commit, additions included."""
    head = hub.head(REPO)
    operations = [CommitOperationAdd("a.txt", b"a"), CommitOperationDelete("missing.txt")]

    with pytest.raises(EntryNotFoundError, match="A file with this name doesn't exist"):
        api.create_commit(REPO, operations, commit_message="half", repo_type="dataset")

    assert hub.head(REPO) == head


def test_a_large_file_that_was_never_uploaded_is_refused(hub: HubServer) -> None:
    """A pointer to bytes that the repo does not have is a 400, so no commit names missing bytes."""
    header = {"key": "header", "value": {"summary": "pointer"}}
    pointer = {"key": "lfsFile", "value": {"path": "a.parquet", "algo": "sha256", "oid": "0" * 64, "size": 1}}
    body = (json.dumps(header) + "\n" + json.dumps(pointer)).encode()

    url = f"{hub.endpoint}/api/datasets/{REPO}/commit/main"
    assert status_of(url, method="POST", body=body, token=TOKEN) == 400
    assert hub.files(REPO) == {}


def test_an_upload_that_is_not_what_it_claims_is_refused(hub: HubServer) -> None:
    """Large files are kept under the sha256 of what really arrived, never under another's."""
    assert status_of(upload_address(hub, "0" * 64), method="PUT", body=b"abc") == 400
    assert hub.store.lfs_size(REPO, "0" * 64) is None
    assert list((hub.store.root / "incoming").iterdir()) == []


def test_an_upload_that_breaks_off_leaves_nothing(hub: HubServer) -> None:
    """A client that dies while it sends is no error of the server's, and no half file stays."""
    sha256 = hashlib.sha256(b"a").hexdigest()
    address = upload_address(hub, sha256).removeprefix(f"http://localhost:{hub.port}")
    connection = http.client.HTTPConnection("127.0.0.1", hub.port)
    connection.putrequest("PUT", address)
    connection.putheader("Content-Length", "100")
    connection.endheaders(b"a")
    connection.close()

    assert hub.wait_for("lfs_put")
    assert hub.store.lfs_size(REPO, sha256) is None
    assert list((hub.store.root / "incoming").iterdir()) == []


def test_a_card_whose_metadata_cannot_be_read_is_refused_before_anything_is_sent(hub: HubServer, api: HfApi) -> None:
    """The client asks about README.md first, as with the real Hub."""
    with pytest.raises(ValueError, match="Invalid metadata in README.md"):
        commit(api, README_md=b"---\nlanguage: [th\n---\n", data__a_parquet=SHARD)

    assert hub.count("preupload") == 0


# -- reading --------------------------------------------------------------------------------------------


def test_listings_come_in_pages_of_one_revision(hub: HubServer, api: HfApi) -> None:
    """A listing follows its pages to the end, and a commit in between does not disturb it."""
    commit(api, **{f"data__{number}_txt": b"x" for number in range(5)})
    listing = iter(api.list_repo_tree(REPO, recursive=True, repo_type="dataset"))
    first = next(listing)
    commit(api, aaa_txt=b"new")

    paths = [first.path, *(entry.path for entry in listing)]

    assert paths == [".gitattributes", "data", *(f"data/{number}.txt" for number in range(5))]
    assert hub.count("tree") == 4
    assert "aaa.txt" in api.list_repo_files(REPO, repo_type="dataset")
    with pytest.raises(EntryNotFoundError):
        list(api.list_repo_tree(REPO, "missing", repo_type="dataset"))


def test_paths_are_described_and_missing_ones_left_out(hub: HubServer, api: HfApi) -> None:
    """Files come with size, sha256 and the commit that changed them; folders as folders."""
    head = commit(api, title="shard", data__a_parquet=SHARD)
    commit(api, title="later", b_txt=b"b")

    found = api.get_paths_info(REPO, ["data/a.parquet", "data", "missing"], expand=True, repo_type="dataset")

    assert [entry.path for entry in found] == ["data/a.parquet", "data"]
    assert found[0].size == len(SHARD)
    assert found[0].lfs is not None
    assert [entry.last_commit.oid for entry in found] == [head, head]


def test_files_download_with_their_bytes(api: HfApi, tmp_path: Path) -> None:
    """Small files come from the Hub itself, large ones from where it redirects to."""
    commit(api, data__a_parquet=SHARD, notes_txt=b"text")

    shard = api.hf_hub_download(REPO, "data/a.parquet", repo_type="dataset", cache_dir=tmp_path)
    notes = api.hf_hub_download(REPO, "notes.txt", repo_type="dataset", cache_dir=tmp_path)

    assert Path(shard).read_bytes() == SHARD
    assert Path(notes).read_bytes() == b"text"


def test_a_download_that_breaks_off_is_resumed_where_it_broke(hub: HubServer, api: HfApi, tmp_path: Path) -> None:
    """Ranges work: the client, which writes chunks of 10 MiB, asks only for what it has not written yet."""
    size, chunk = 24 << 20, 10 << 20
    (tmp_path / "source").mkdir()
    (tmp_path / "source" / "a.parquet").write_bytes(bytes(size))
    hub.add_dataset(REPO, tmp_path / "source", link=True)
    hub.fault("cut_body", step="cdn")

    path = api.hf_hub_download(REPO, "a.parquet", repo_type="dataset", cache_dir=tmp_path / "cache")

    assert Path(path).stat().st_size == size
    asked = [(seen.range, seen.body_bytes_sent) for seen in hub.requests if seen.step == "cdn"]
    assert asked == [(None, size // 2), (f"bytes={chunk}-", size - chunk)]


def test_what_is_missing_is_named(api: HfApi, tmp_path: Path) -> None:
    """A missing file, revision and repo are three different errors."""
    with pytest.raises(EntryNotFoundError):
        api.hf_hub_download(REPO, "missing.txt", repo_type="dataset", cache_dir=tmp_path)
    with pytest.raises(RevisionNotFoundError):
        api.dataset_info(REPO, revision="0" * 40)
    with pytest.raises(RepositoryNotFoundError):
        api.dataset_info("me/missing")


def test_a_file_can_be_read_in_places(hub: HubServer, api: HfApi) -> None:
    """`HfFileSystem` lists, describes and seeks, and only the bytes asked for cross the wire."""
    commit(api, data__a_parquet=SHARD, notes_txt=b"0123456789")
    files = HfFileSystem(endpoint=hub.endpoint, token=TOKEN, skip_instance_cache=True)

    assert files.ls(f"datasets/{REPO}/data", detail=False) == [f"datasets/{REPO}/data/a.parquet"]
    assert files.info(f"datasets/{REPO}/data/a.parquet")["size"] == len(SHARD)
    with files.open(f"datasets/{REPO}/data/a.parquet", "rb", block_size=16, cache_type="none") as shard:
        shard.seek(1000)
        assert shard.read(16) == SHARD[1000:1016]
    assert [(seen.range, seen.body_bytes_sent) for seen in hub.requests if seen.step == "cdn"] == [
        ("bytes=1000-1015", 16)
    ]
    assert files.cat_file(f"datasets/{REPO}/notes.txt", start=-3) == b"789"


def test_tags_stay_where_they_were_put(hub: HubServer, api: HfApi) -> None:
    """A tag names a commit while the head moves on; it is never moved, only deleted."""
    old = commit(api, a_txt=b"old")
    api.create_tag(REPO, tag="before-fresh", repo_type="dataset")
    head = commit(api, a_txt=b"new")

    refs = api.list_repo_refs(REPO, repo_type="dataset")
    assert [(ref.name, ref.target_commit) for ref in refs.branches] == [("main", head)]
    assert [(ref.name, ref.target_commit) for ref in refs.tags] == [("before-fresh", old)]
    assert hub.read(REPO, "a.txt", "before-fresh") == b"old"
    api.create_tag(REPO, tag="before-fresh", repo_type="dataset", exist_ok=True)
    with pytest.raises(HfHubHTTPError, match="exists already"):
        api.create_tag(REPO, tag="before-fresh", repo_type="dataset")
    assert hub.head(REPO, "before-fresh") == old

    api.delete_tag(REPO, tag="before-fresh", repo_type="dataset")

    assert api.list_repo_refs(REPO, repo_type="dataset").tags == []


def test_load_dataset_reads_a_repo_by_its_endpoint(hub: HubServer, api: HfApi, tmp_path: Path) -> None:
    """`datasets`, pointed here by the environment, loads a private Parquet dataset with its card."""
    pq.write_table(pa.table({"transcript": ["หนึ่ง", "สอง"]}), tmp_path / "shard.parquet")
    card = (
        "---\nconfigs:\n- config_name: default\n  data_files:\n  - split: train\n    path: data/train/*.parquet\n---\n"
    )
    commit(api, data__train__a_parquet=(tmp_path / "shard.parquet").read_bytes(), README_md=card.encode())
    api.update_repo_settings(REPO, private=True, repo_type="dataset")
    environment = os.environ | {"HF_ENDPOINT": hub.endpoint, "HF_HOME": str(tmp_path / "hf")}

    loaded = subprocess.run(
        [sys.executable, "-c", LOAD_SCRIPT, TOKEN], env=environment, capture_output=True, encoding="utf-8", check=False
    )

    assert loaded.returncode == 0, loaded.stderr
    assert "หนึ่ง" in loaded.stdout
    assert "สอง" in loaded.stdout


# -- who may --------------------------------------------------------------------------------------------


def test_a_token_is_its_user(hub: HubServer, api: HfApi) -> None:
    """Known tokens have a name; others are refused with 401."""
    assert api.whoami()["name"] == "me"
    with pytest.raises(HfHubHTTPError) as refused:
        api.whoami(token="unknown")
    assert refused.value.response.status_code == 401


def test_repos_are_made_once_and_in_ones_own_namespace(hub: HubServer, api: HfApi) -> None:
    """A new repo is private if asked for; making it again is 409, under another name 403."""
    url = api.create_repo("me/second", private=True, repo_type="dataset")
    again = api.create_repo("me/second", repo_type="dataset", exist_ok=True)

    assert url == again == f"{hub.endpoint}/datasets/me/second"
    assert api.dataset_info("me/second").private is True
    assert api.dataset_info(REPO).private is False
    for repo, status in (("me/second", 409), ("you/mine", 403)):
        with pytest.raises(HfHubHTTPError) as refused:
            api.create_repo(repo, repo_type="dataset")
        assert refused.value.response.status_code == status
    api.delete_repo("me/second", repo_type="dataset")
    assert not api.repo_exists("me/second", repo_type="dataset")


@pytest.mark.parametrize(("token", "status"), [(False, 401), ("unknown", 401), ("your_token", 403)])
def test_strangers_cannot_write(hub: HubServer, token: str | bool, status: int) -> None:
    """No token and a wrong one get 401, somebody else's 403; the repo stays as it was."""
    head = hub.head(REPO)

    with pytest.raises(HfHubHTTPError) as refused:
        commit(HfApi(endpoint=hub.endpoint, token=token), a_txt=b"a")

    assert refused.value.response.status_code == status
    assert hub.head(REPO) == head


@pytest.mark.parametrize(("token", "status"), [(False, 401), ("your_token", 404)])
def test_strangers_do_not_see_private_repos(hub: HubServer, token: str | bool, status: int) -> None:
    """To them a private repo is one that does not exist; without a token the Hub says so with 401."""
    hub.store.change_settings(REPO, private=True)

    with pytest.raises(RepositoryNotFoundError) as refused:
        HfApi(endpoint=hub.endpoint, token=token).dataset_info(REPO)

    assert refused.value.response.status_code == status


def test_a_gated_repo_shows_itself_but_not_its_files(hub: HubServer, tmp_path: Path) -> None:
    """Everybody sees what is there; only the owner and those let in read it."""
    (tmp_path / "source").mkdir()
    (tmp_path / "source" / "a.txt").write_text("text")
    head = hub.add_dataset("me/gated", tmp_path / "source", gated=True)
    status = {}
    for token in (False, "your_token"):
        stranger = HfApi(endpoint=hub.endpoint, token=token)
        assert stranger.dataset_info("me/gated").sha == head
        assert "a.txt" in stranger.list_repo_files("me/gated", repo_type="dataset")
        with pytest.raises(GatedRepoError) as refused:
            stranger.hf_hub_download("me/gated", "a.txt", repo_type="dataset", cache_dir=tmp_path / "cache")
        status[token] = refused.value.response.status_code
    assert status == {False: 401, "your_token": 403}

    hub.add_dataset("me/gated", tmp_path / "source", gated=True, allowed=["you"])

    allowed = HfApi(endpoint=hub.endpoint, token="your_token")
    path = allowed.hf_hub_download("me/gated", "a.txt", repo_type="dataset", cache_dir=tmp_path / "cache")
    assert Path(path).read_text() == "text"


def test_large_files_have_addresses_that_cannot_be_guessed(hub: HubServer, api: HfApi) -> None:
    """The redirect's address works without a token; the same address with another signature does not."""
    commit(api, a_parquet=SHARD)
    connection = http.client.HTTPConnection("127.0.0.1", hub.port)
    connection.request("HEAD", f"/datasets/{REPO}/resolve/main/a.parquet")
    answer = connection.getresponse()
    location = answer.headers["Location"]
    connection.close()

    assert answer.status == 302
    assert not location.startswith(hub.endpoint)
    assert status_of(location) == 200
    assert status_of(location[:-1] + ("0" if location[-1] != "0" else "1")) == 403


# -- sources --------------------------------------------------------------------------------------------


def test_a_folder_becomes_a_dataset_and_then_its_next_revision(hub: HubServer, api: HfApi, tmp_path: Path) -> None:
    """Each call commits exactly the folder's files; old revisions keep theirs whatever becomes of the folder."""
    folder = tmp_path / "source"
    (folder / "data").mkdir(parents=True)
    (folder / "data" / "a.parquet").write_bytes(SHARD)
    (folder / "meta.tsv").write_text("id\ttext\n")
    first = hub.add_dataset("speechcolab/source", folder)
    (folder / "data" / "a.parquet").write_bytes(b"changed")
    (folder / "meta.tsv").unlink()

    second = hub.add_dataset("speechcolab/source", folder)

    assert hub.files("speechcolab/source", first) == {"data/a.parquet": len(SHARD), "meta.tsv": 8}
    assert hub.files("speechcolab/source", second) == {"data/a.parquet": 7}
    assert hub.read("speechcolab/source", "data/a.parquet", first) == SHARD
    assert api.dataset_info("speechcolab/source").sha == second
