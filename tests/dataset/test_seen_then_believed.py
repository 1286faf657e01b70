"""Law 12: after a commit, what it wrote and deleted is asked for, before anything is forgotten.

A server that leaves files out, that answers 200 with nothing, or that serves an older head, has not committed.
"""

import io
import json
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pyarrow.parquet as pq
import pytest

from processors.demo.mirrors import write_demo_sources
from tests.audit.test_verify import broken
from tests.dataset.hub_targets import REPO, assert_goes_on, assert_landed_once, begun, edit_repo, target_on
from tests.hub_server import TOKEN, HubServer
from tests.runs import run
from tests.support import change
from utils.audit.verify import verify
from utils.dataset.layout import CARD_PATH, STATE_PATH
from utils.dataset.state import State
from utils.dataset.target import Change
from utils.errors import TargetRefused


@pytest.fixture
def hub(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[HubServer]:
    """A Hub where `HF_ENDPOINT` points."""
    with HubServer(tmp_path / "hub", tokens={TOKEN: "me"}, page_size=3) as server:
        monkeypatch.setenv("HF_ENDPOINT", server.endpoint)
        yield server


IGNORED = {
    "all Parquet files": "*.parquet\n",
    "the shards' folder": "# mine\n\n/data/\n",
    "the rejects": "rejected\n",
    "the state": ".ingest/\n",
    "the card": "*.md\n!LICENSE.md\n",
    "all but one kind": "*\n!*.json\n!*/\n",
}


@pytest.mark.parametrize("lines", IGNORED.values(), ids=IGNORED)
def test_what_the_hub_would_leave_out_is_refused_before_the_upload(hub: HubServer, tmp_path: Path, lines: str) -> None:
    """The file is named, and the cure; nothing is uploaded, and once it is mended the same commit lands."""
    target, snapshot = begun(tmp_path)
    edit_repo(hub, tmp_path, {".gitignore": lines.encode()})
    planned = change(tmp_path / "built", snapshot.state)
    before = hub.head(REPO)

    with pytest.raises(TargetRefused, match=r"\.gitignore.*Nothing was uploaded.*--resume"):
        target.commit(planned, target.snapshot())

    assert hub.head(REPO) == before
    assert not [seen for seen in hub.requests if seen.step == "lfs_put"]
    edit_repo(hub, tmp_path, {".gitignore": b"*.tmp\n"})
    assert_landed_once(hub, target.commit(planned, target.snapshot()), planned)


def test_a_new_generation_is_refused_where_its_state_would_be_left_out(hub: HubServer, tmp_path: Path) -> None:
    """The very first commit, too."""
    target = target_on(tmp_path)
    target.open()
    edit_repo(hub, tmp_path, {".gitignore": b".ingest/\n"})

    with pytest.raises(TargetRefused, match=r"\.gitignore"):
        begun(tmp_path)


NOTHING_SAID = {
    "empty": "",
    "null": "null",
    "an empty object": "{}",
    "a list": "[]",
    "a string": '"ok"',
    "a page": "<p>",
    "another place": json.dumps({"commitOid": "f" * 40, "commitUrl": "https://gateway.example/x"}),
}


@pytest.mark.parametrize("applied", [False, True], ids=["not applied", "applied"])
@pytest.mark.parametrize("body", NOTHING_SAID.values(), ids=NOTHING_SAID)
def test_a_yes_that_says_nothing_is_no_answer(hub: HubServer, tmp_path: Path, body: str, applied: bool) -> None:
    """200 with an empty, null or other body: what is there is looked at, as after a lost answer."""
    target, snapshot = begun(tmp_path)
    planned = change(tmp_path / "built", snapshot.state)
    hub.fault("status_applied" if applied else "status", step="commit", status=200, body=body)

    landed = target.commit(planned, snapshot)

    assert_landed_once(hub, landed, planned)
    assert_goes_on(hub, target, landed, tmp_path)


def test_a_yes_to_what_was_not_done_is_not_believed(hub: HubServer, tmp_path: Path) -> None:
    """200 with a commit that is nowhere: it is sent again."""
    target, snapshot = begun(tmp_path)
    planned = change(tmp_path / "built", snapshot.state)
    url = f"{hub.endpoint}/datasets/{REPO}/commit/{'f' * 40}"
    body = json.dumps({"success": True, "commitOid": "f" * 40, "commitUrl": url, "hookOutput": ""})
    hub.fault("status", step="commit", status=200, body=body)

    assert_landed_once(hub, target.commit(planned, snapshot), planned)


def test_an_older_head_is_not_believed(hub: HubServer, tmp_path: Path) -> None:
    """A server that shows for a while what was there before: asked until it has caught up, and sent once."""
    target, snapshot = begun(tmp_path)
    planned = change(tmp_path / "built", snapshot.state)
    older = json.dumps({"id": REPO, "sha": snapshot.head, "private": False, "siblings": [], "tags": []})
    hub.fault("lost_after", step="commit")
    hub.fault("status", step="repo_info", status=200, body=older, times=2)

    landed = target.commit(planned, snapshot)

    assert_landed_once(hub, landed, planned)
    assert_goes_on(hub, target, landed, tmp_path)


LEFT_OUT = {
    "a shard": r"^data/",
    "the rejects": r"^rejected/",
    "the state": r"state\.json",
    "the card": r"README",
    "all": ".",
}


@pytest.mark.parametrize("paths", LEFT_OUT.values(), ids=LEFT_OUT)
def test_what_was_left_out_without_a_word_is_sent_again(hub: HubServer, tmp_path: Path, paths: str) -> None:
    """Whatever the reason: in the end the head has all of it."""
    target, snapshot = begun(tmp_path)
    planned = change(tmp_path / "built", snapshot.state)
    rule = hub.fault("leaves_out", step="commit", leaves_out=paths)

    landed = target.commit(planned, snapshot)

    assert rule.struck == 1
    assert landed.head == hub.head(REPO)
    assert State.from_json(hub.read(REPO, STATE_PATH)) == landed.state
    assert {path: hub.read(REPO, path) for path in planned.files} == {
        path: local.read_bytes() for path, local in planned.files.items()
    }
    assert_goes_on(hub, target, landed, tmp_path)


def test_what_is_left_out_again_and_again_is_an_error(hub: HubServer, tmp_path: Path) -> None:
    """It names what is missing; nothing that is staged is forgotten, as the commit does not return."""
    target, snapshot = begun(tmp_path)
    planned = change(tmp_path / "built", snapshot.state)
    hub.fault("leaves_out", step="commit", leaves_out=r"^data/", times=None)

    with pytest.raises(TargetRefused, match=r"not all of it: data/.* is not there.*staged here is kept") as refused:
        target.commit(planned, snapshot)

    assert snapshot.head in str(refused.value)


def test_what_was_not_deleted_is_deleted_by_the_next_try(hub: HubServer, tmp_path: Path) -> None:
    """Somebody's withdrawal is not believed before it is seen; what is gone is not deleted twice."""
    target, snapshot = begun(tmp_path)
    first = change(tmp_path / "built", snapshot.state)
    snapshot = target.commit(first, snapshot)
    shard, rejects = sorted(first.files)
    hub.fault("leaves_out", step="commit", leaves_out=r"^data/")
    state = replace(first.planned, sequence=2)

    target.take_out(Change("Take out", state, {}, (shard, rejects), only_since=True), snapshot)

    assert {shard, rejects} & set(hub.files(REPO)) == set()


def test_a_fresh_dataset_replaces_all_of_the_old_one(hub: HubServer, tmp_path: Path) -> None:
    """The commit that takes the place of old data is held against the whole tree."""
    target, snapshot = begun(tmp_path)
    edit_repo(hub, tmp_path, {"data/train/old-00000.parquet": b"old", "notes/a.txt": b"mine"})
    old = target.snapshot()
    assert old.state is not None
    anew = replace(old.state, generation="b" * 32, replaces_old_data=True)
    snapshot = target.begin(Change("Begin anew", anew), old)
    planned = change(tmp_path / "built", snapshot.state)
    hub.fault("leaves_out", step="commit", leaves_out=r"old-00000")

    landed = target.commit(planned, snapshot)

    assert set(hub.files(REPO)) == {STATE_PATH, CARD_PATH, ".gitattributes", *planned.files} - {".gitattributes"}
    assert landed.head == hub.head(REPO)


def test_a_commit_asks_once_for_what_it_did(hub: HubServer, tmp_path: Path) -> None:
    """What it costs: one question about ignored files before, one about paths after."""
    target, snapshot = begun(tmp_path)
    planned = change(tmp_path / "built", snapshot.state)
    before = len(hub.requests)

    target.commit(planned, snapshot)

    steps = [seen.step for seen in hub.requests[before:]]
    assert steps.count("paths_info") == 1
    assert steps.count("preupload") == 2
    assert steps.count("tree") == 0


def test_a_run_into_a_repo_that_leaves_files_out(hub: HubServer, tmp_path: Path) -> None:
    """The user's own words for it, and the way out: neither the run nor a removal is green, and nothing is lost."""
    demo = write_demo_sources(tmp_path / "demo", ["ProcessedVoiceTH"])
    command = ["ProcessedVoiceTH", "--source-dir", str(demo), "--hf-repo", REPO, "--upload-batch-size", "15"]
    user = {"HF_TOKEN": TOKEN, "HF_ENDPOINT": hub.endpoint}
    target_on(tmp_path).open()
    edit_repo(hub, tmp_path, {".gitignore": b"*.parquet\n"})

    refused = run(["--fresh", *command], tmp_path / "machine", user)

    assert refused.returncode == TargetRefused.exit_code
    assert ".gitignore" in refused.stderr
    assert "--resume" in refused.stderr
    assert not [path for path in hub.files(REPO) if path.endswith(".parquet")]
    edit_repo(hub, tmp_path, {".gitignore": b"*.tmp\n"})
    resumed = run(["--fresh", *command, "--resume"], tmp_path / "machine", user)
    assert resumed.returncode == 0, resumed.stderr
    assert broken(verify(target_on(tmp_path), tmp_path / "scratch", repo_id=REPO)) == {}

    edit_repo(hub, tmp_path, {".gitignore": b"data/\n"})
    before = hub.files(REPO)
    shard = next(path for path in before if path.startswith("data/"))
    (tmp_path / "withdrawn.txt").write_text(pq.read_table(io.BytesIO(hub.read(REPO, shard)))["source_id"][0].as_py())
    removal = ["--remove-id", str(tmp_path / "withdrawn.txt"), "--hf-repo", REPO]

    kept = run(removal, tmp_path / "machine", user)

    assert kept.returncode == TargetRefused.exit_code, kept.stdout + kept.stderr
    assert hub.files(REPO) == before


@pytest.mark.parametrize("body", ["", "<html>Please log in</html>"], ids=["nothing", "a page"])
@pytest.mark.parametrize("path", [CARD_PATH, "state.json", "files.jsonl"])
def test_an_answer_that_is_not_the_file_is_not_taken_for_it(
    hub: HubServer, tmp_path: Path, path: str, body: str
) -> None:
    """A proxy's page with a 200: the card's own words stay, and nobody is told that the state is damaged."""
    target, snapshot = begun(tmp_path)
    own = b"# Written by hand\n"
    edit_repo(hub, tmp_path, {CARD_PATH: own})
    hub.fault("status", step="resolve", path=path, status=200, body=body, times=2)

    snapshot = target.snapshot()
    target.read_file(".ingest/files.jsonl", snapshot)
    landed = target.commit(change(tmp_path / "built", snapshot.state), snapshot)

    assert_goes_on(hub, target, landed, tmp_path)
    card = hub.read(REPO, CARD_PATH).decode()
    assert "Written by hand" in card
    assert "log in" not in card


@pytest.mark.parametrize("body", ['""', "null", "{}", "<html>", '{"sha": null}'])
@pytest.mark.parametrize("step", ["paths_info", "tree", "repo_info", "preupload"])
def test_an_answer_of_another_shape_is_asked_for_again(hub: HubServer, tmp_path: Path, step: str, body: str) -> None:
    """200 and nonsense, once, wherever it is: never an error of ours."""
    target, snapshot = begun(tmp_path)
    planned = change(tmp_path / "built", snapshot.state)
    hub.fault("status", step=step, status=200, body=body, times=1)

    target.stored_files(target.snapshot())
    assert_landed_once(hub, target.commit(planned, snapshot), planned)
