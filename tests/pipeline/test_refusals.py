"""Runs that must stop, refuse or go on without a source: each with its exit code, its words, and nothing lost."""

import json
import re
import shutil
import signal
from collections.abc import Callable, Iterator
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from processors.demo.mirrors import write_demo_sources
from tests.hub_server import TOKEN, HubServer
from tests.runs import run, run_until, start
from tests.support import published_ids, published_rows, tree
from utils.dataset.folder import LocalTarget

REPO = "me/thai-voice"


@pytest.fixture(scope="module")
def demo(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The demo's mirrors, made once."""
    return write_demo_sources(tmp_path_factory.mktemp("demo"))


@pytest.fixture
def hub(tmp_path: Path) -> Iterator[HubServer]:
    with HubServer(tmp_path / "hub") as server:
        yield server


def few(demo: Path, *more: str) -> list[str]:
    """A quick run: three samples of one source."""
    return ["--fresh", "ProcessedVoiceTH", "--source-dir", str(demo), "--sample", "--sample-size", "3", *more]


def environment(hub: HubServer, token: str = TOKEN) -> dict[str, str]:
    return {"HF_ENDPOINT": hub.endpoint, "HF_TOKEN": token}


def test_resume_with_changed_options_is_refused_and_names_them(demo: Path, tmp_path: Path) -> None:
    """Exit 6; the difference is named; the dataset stays as it is."""
    run(few(demo, "--output", "out"), tmp_path)
    before = tree(tmp_path, "out")

    refused = run(few(demo, "--output", "out", "--resume", "--target-db", "-23"), tmp_path)

    assert refused.returncode == 6
    assert "audio.target_dbfs: it was -20.0, now -23.0" in refused.stderr
    assert tree(tmp_path, "out") == before


def test_mended_mirror_is_read_again_and_nothing_is_published_twice(demo: Path, tmp_path: Path) -> None:
    """What the message of a damaged file says works: mend it, resume. Every clip is there once, none is lost."""
    shutil.copytree(demo / "speechcolab", tmp_path / "mirrors" / "speechcolab")
    archive = tmp_path / "mirrors/speechcolab/gigaspeech2/data/th/train/3.tar.gz"
    whole = archive.read_bytes()
    archive.write_bytes(whole[: len(whole) // 2])
    arguments = ["--fresh", "GigaSpeech2", "--source-dir", "mirrors", "--output", "out", "--upload-batch-size", "10"]
    broken = run(arguments, tmp_path)
    archive.write_bytes(whole)

    mended = run([*arguments, "--resume"], tmp_path)

    assert (broken.returncode, mended.returncode) == (4, 0), mended.stderr
    assert (broken.stdout + broken.stderr).count("train/3.tar.gz is damaged") == 1  # told once
    undisturbed = run([*arguments[:3], str(demo), *arguments[4:5], "whole", *arguments[6:]], tmp_path)
    assert undisturbed.returncode == 0
    ours, theirs = (
        sorted(published_rows(tmp_path / folder, ["source_id"])["source_id"].to_pylist()) for folder in ("out", "whole")
    )
    assert ours == theirs
    ids = sorted(int(sample_id[1:]) for sample_id in published_ids(tmp_path / "out"))
    assert ids == list(range(1, len(ids) + 1))


def test_lost_shard_is_noticed_and_named(demo: Path, tmp_path: Path) -> None:
    """A published file that is gone: exit 6 with its name, not a smaller dataset that calls itself whole."""
    run(few(demo, "--output", "out"), tmp_path)
    (tmp_path / "out/data/train/ProcessedVoiceTH-00000.parquet").unlink()

    refused = run(few(demo, "--output", "out", "--resume"), tmp_path)

    assert refused.returncode == 6
    assert "data/train/ProcessedVoiceTH-00000.parquet" in refused.stderr


def test_two_names_of_one_folder_are_one_target(demo: Path, tmp_path: Path) -> None:
    """A link to the folder is no way around its lock."""
    (tmp_path / "real").mkdir()
    (tmp_path / "link").symlink_to("real")
    with LocalTarget(tmp_path / "real").lock():
        refused = run(few(demo, "--output", "link"), tmp_path)

    assert refused.returncode == 6
    assert "Another run" in refused.stderr


def test_place_that_cannot_be_used_is_told_in_words(demo: Path, tmp_path: Path) -> None:
    """A file where a folder should be is no bug of ours: exit 5 or 6, no traceback, no litter."""
    (tmp_path / "file").write_text("precious")

    for output, code in (("file", 6), ("file/below", 5)):
        refused = run(few(demo, "--output", output), tmp_path)
        assert refused.returncode == code, refused.stderr
        assert "bug" not in refused.stderr
    assert not list(tmp_path.glob(".*.lock"))


def test_fresh_over_existing_data_keeps_the_old_revision_on_the_hub(demo: Path, tmp_path: Path, hub: HubServer) -> None:
    """The old head is tagged, the new generation replaces it in one commit, IDs begin at S1 again."""
    run(few(demo, "--hf-repo", REPO), tmp_path, environment(hub))
    old_head, old_files = hub.head(REPO), hub.files(REPO)

    done = run(few(demo, "--hf-repo", REPO, "--target-db", "-23"), tmp_path, environment(hub))

    assert done.returncode == 0, done.stderr
    tag = f"before-fresh-{old_head[:12]}"
    assert hub.head(REPO, tag) == old_head
    assert hub.files(REPO, tag) == old_files
    assert json.loads(hub.read(REPO, ".ingest/state.json"))["next_id"] == 4


def test_fresh_over_an_existing_folder_renames_it_aside(demo: Path, tmp_path: Path) -> None:
    """The old folder is beside the new one, byte for byte."""
    run(few(demo, "--output", "out"), tmp_path)
    before = tree(tmp_path / "out", "data", "rejected", ".ingest")

    assert run(few(demo, "--output", "out"), tmp_path).returncode == 0

    (kept,) = tmp_path.glob("out.before-fresh-*")
    assert tree(kept, "data", "rejected", ".ingest") == before


def test_second_writer_on_this_machine_is_refused(demo: Path, tmp_path: Path) -> None:
    """Exit 6, naming who holds the lock."""
    run(few(demo, "--output", "out"), tmp_path)
    with LocalTarget(tmp_path / "out").lock():
        refused = run(few(demo, "--output", "out", "--resume"), tmp_path)

    assert refused.returncode == 6
    assert re.search(r"Another run .*process \d+", refused.stderr)


def test_second_writer_on_another_machine_is_refused(demo: Path, tmp_path: Path, hub: HubServer) -> None:
    """A state that moved while we ran: exit 6, the other's rows untouched."""
    run(few(demo, "--hf-repo", REPO), tmp_path / "one", environment(hub))
    append = ["--append", "GigaSpeech2", "--source-dir", str(demo), "--hf-repo", REPO, "--accept-terms", "GigaSpeech2"]

    # The other machine's whole run happens while our first commit waits for its answer.
    rule = hub.fault("lost_before", step="commit")
    ours = start([*append, "--upload-batch-size", "10"], tmp_path / "two", environment(hub))
    while not rule.struck and ours.poll() is None:
        pass
    theirs = run([*append, "--upload-batch-size", "20"], tmp_path / "three", environment(hub))
    ours.communicate(timeout=300)

    assert sorted([ours.returncode, theirs.returncode]) == [0, 6]
    state = json.loads(hub.read(REPO, ".ingest/state.json"))
    assert all(
        split["progress"]["finished"] for source in state["sources"].values() for split in source["splits"].values()
    )


def test_data_without_a_state_is_refused_for_append_and_resume(demo: Path, tmp_path: Path) -> None:
    """Exit 6, naming --repair; a foreign dataset is never written over."""
    (tmp_path / "out" / "data").mkdir(parents=True)
    pq.write_table(pa.table({"ID": ["S1"]}), tmp_path / "out" / "data" / "train-00000.parquet")
    before = tree(tmp_path, "out")

    for mode in (["--append"], ["--fresh", "--resume"]):
        refused = run([*mode, "ProcessedVoiceTH", "--source-dir", str(demo), "--output", "out"], tmp_path)
        assert refused.returncode == 6
        assert "--repair" in refused.stderr
    assert tree(tmp_path, "out") == before


def test_folder_that_is_no_dataset_is_not_renamed(demo: Path, tmp_path: Path) -> None:
    """`--fresh --output` onto somebody's documents: refused."""
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "thesis.txt").write_text("precious")

    assert run(few(demo, "--output", "out"), tmp_path).returncode == 6
    assert (tmp_path / "out" / "thesis.txt").read_text() == "precious"


def test_one_unreadable_source_does_not_stop_the_others(demo: Path, tmp_path: Path) -> None:
    """Exit 4, the others published, the message names the source and what to do; once mended, resume completes it."""
    mirrors = tmp_path / "mirrors"
    mirrors.mkdir()
    for name in ("Porameht", "common_voice"):
        (mirrors / name).symlink_to(demo / name)
    names = ["GigaSpeech2", "ProcessedVoiceTH", "MozillaCommonVoice"]
    arguments = ["--fresh", *names, "--source-dir", "mirrors", "--output", "out"]

    partial = run(arguments, tmp_path)
    (mirrors / "speechcolab").symlink_to(demo / "speechcolab")
    complete = run([*arguments, "--resume"], tmp_path)

    assert partial.returncode == 4
    assert "GigaSpeech2" in partial.stdout and "speechcolab/gigaspeech2" in partial.stdout
    assert complete.returncode == 0, complete.stderr
    assert set(json.loads((tmp_path / "out/.ingest/state.json").read_text())["sources"]) == {
        "GigaSpeech2", "ProcessedVoiceTH", "MozillaCommonVoice",
    }  # fmt: skip
    ids = sorted(int(sample_id[1:]) for sample_id in published_ids(tmp_path / "out"))
    assert ids == list(range(1, len(ids) + 1))


@pytest.mark.parametrize("token", ["", "hf_wrong_token"])
def test_missing_or_wrong_token_exits_with_3(demo: Path, tmp_path: Path, hub: HubServer, token: str) -> None:
    """Authentication is told apart from all else, and the token is in no output and no log."""
    refused = run(few(demo, "--hf-repo", REPO, "--verbose"), tmp_path, environment(hub, token))

    assert refused.returncode == 3
    written = refused.stdout + refused.stderr + "".join(path.read_text() for path in tmp_path.glob("logs/*"))
    assert "HF_TOKEN" in written or "write access" in written
    assert not token or token not in written


def test_token_is_in_no_file_that_a_run_writes(demo: Path, tmp_path: Path, hub: HubServer) -> None:
    """Not in logs, checkpoints, staging, the state or the card, even with --verbose and a failing server."""
    hub.fault("status", step="commit", status=500, times=1)
    done = run(few(demo, "--hf-repo", REPO, "--verbose"), tmp_path / "machine", environment(hub))

    assert done.returncode == 0, done.stderr
    written = [path.read_bytes() for path in (tmp_path / "machine").rglob("*") if path.is_file()]
    published = [hub.read(REPO, path) for path in hub.files(REPO)]
    outputs = [done.stdout.encode(), done.stderr.encode()]
    assert not any(TOKEN.encode() in content for content in [*written, *published, *outputs])


def test_restricted_sources_need_the_users_word_for_a_public_repo(demo: Path, tmp_path: Path, hub: HubServer) -> None:
    """Refused with exit 2 before anything is written; a private repo needs no word; --accept-terms gives it."""
    giga = ["--fresh", "GigaSpeech2", "--source-dir", str(demo), "--sample", "--hf-repo"]

    refused = run([*giga, REPO], tmp_path, environment(hub))
    assert refused.returncode == 2
    assert "--accept-terms GigaSpeech2" in refused.stderr
    assert hub.count("create_repo") == 0

    assert run([*giga, "me/private", "--private"], tmp_path, environment(hub)).returncode == 0
    assert run([*giga, REPO, "--accept-terms", "GigaSpeech2"], tmp_path, environment(hub)).returncode == 0


def test_unreachable_hub_stops_with_5(demo: Path, tmp_path: Path) -> None:
    """Nothing is lost, and the message says what to type."""
    stopped = run(
        few(demo, "--hf-repo", REPO, "--patience", "0.01"), tmp_path,
        {"HF_ENDPOINT": "http://127.0.0.1:9", "HF_TOKEN": TOKEN},
    )  # fmt: skip

    assert stopped.returncode == 5
    assert "--resume" in stopped.stderr


def test_checkpoint_file_ahead_of_what_is_durable_is_reported_never_believed(demo: Path, tmp_path: Path) -> None:
    """A checkpoint that claims a thousand samples skips none of them."""
    claim = {"mode": "streaming", "samples_processed": 1000, "processor": "ProcessedVoiceTHProcessor"}
    (tmp_path / "claim.json").write_text(json.dumps(claim))

    done = run(few(demo, "--output", "out", "--checkpoint", "claim.json"), tmp_path)

    assert done.returncode == 0, done.stderr
    assert "ahead of what is durable" in done.stderr
    assert len(published_ids(tmp_path / "out")) == 3


def test_checkpoint_file_of_a_finished_run_publishes_nothing_twice(demo: Path, tmp_path: Path) -> None:
    """Going on from an old checkpoint file adds no row that is there."""
    run(few(demo, "--output", "out"), tmp_path)
    before = tree(tmp_path, "out")
    (checkpoint,) = tmp_path.glob("checkpoints/ProcessedVoiceTH_unified_checkpoint.json")

    again = run(few(demo, "--output", "out", "--checkpoint", str(checkpoint)), tmp_path)

    assert again.returncode == 0, again.stderr
    assert tree(tmp_path, "out") == before


def growing_source(demo: Path, machine: Path) -> Callable[[], None]:
    """A finished dataset of a source whose last train file comes later; returns what makes it come."""
    mirror = machine / "mirrors" / "Porameht" / "processed-voice-th-169k" / "data"
    mirror.mkdir(parents=True)
    files = sorted((demo / "Porameht" / "processed-voice-th-169k" / "data").glob("*.parquet"))
    late = [path for path in files if path.name.startswith("train-")][-1]
    for path in files:
        if path != late:
            (mirror / path.name).hardlink_to(path)
    assert run(["--fresh", *GROWING], machine).returncode == 0
    return lambda: (mirror / late.name).hardlink_to(late)


GROWING = ["ProcessedVoiceTH", "--source-dir", "mirrors", "--output", "out", "--checkpoint-interval", "5"]


def test_newer_revision_of_a_finished_source_adds_only_what_is_new(demo: Path, tmp_path: Path) -> None:
    """`--append` of a source that grew: old rows stay as they are, new clips get the next IDs."""
    grow = growing_source(demo, tmp_path)
    before = tree(tmp_path / "out", "data")
    grow()

    done = run(["--append", *GROWING], tmp_path)

    assert done.returncode == 0, done.stderr
    after = tree(tmp_path / "out", "data")
    assert {path: after[path] for path in before} == before
    assert len(after) > len(before)
    ids = [int(sample_id[1:]) for sample_id in published_ids(tmp_path / "out")]
    assert sorted(ids) == list(range(1, len(ids) + 1))
    source = json.loads((tmp_path / "out/.ingest/state.json").read_text())["sources"]["ProcessedVoiceTH"]
    assert source["splits"]["train"]["progress"]["known"] > 0


def test_newer_revision_that_died_before_its_first_commit_is_resumed(demo: Path, tmp_path: Path) -> None:
    """What is only staged of it is not forgotten: `--append --resume` ends where an undisturbed append does."""
    growing_source(demo, tmp_path / "undisturbed")()
    run(["--append", *GROWING], tmp_path / "undisturbed")
    growing_source(demo, tmp_path / "killed")()

    killed = run_until(
        ["--append", *GROWING], tmp_path / "killed",
        lambda: any((tmp_path / "killed").glob("data/staging/*/ProcessedVoiceTH/train/0*.arrow")),
    )  # fmt: skip
    resumed = run(["--append", *GROWING, "--resume"], tmp_path / "killed")

    assert killed.returncode == -signal.SIGKILL
    assert resumed.returncode == 0, resumed.stderr
    assert tree(tmp_path / "killed/out", "data") == tree(tmp_path / "undisturbed/out", "data")


def test_newer_revision_does_not_make_a_sample_grow(demo: Path, tmp_path: Path) -> None:
    """ "The first three samples" stays three, however often the source changes."""
    shutil.copytree(demo / "Porameht", tmp_path / "mirrors" / "Porameht")
    sample = ["ProcessedVoiceTH", "--source-dir", "mirrors", "--sample-size", "3", "--output", "out"]
    run(["--fresh", *sample], tmp_path)
    (tmp_path / "mirrors/Porameht/processed-voice-th-169k/NEW.md").write_text("another revision")

    again = run(["--append", *sample], tmp_path)

    assert again.returncode == 0, again.stderr
    assert len(published_ids(tmp_path / "out")) == 3
