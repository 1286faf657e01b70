"""A damaged state: a run stops, `--verify` names the newest sound one, and what it says to type brings it back."""

import json
import shlex
import shutil
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from pipeline.commands.verify import run_verify
from pipeline.interrupts import StopRequest
from pipeline.options import Options
from processors.demo.mirrors import write_demo_sources
from tests.damage import change_split
from tests.hub_server import TOKEN, HubServer
from tests.runs import environment, run
from tests.support import tree
from utils.audit.restore import LOOKED_AT, how_to_restore
from utils.audit.verify import verify
from utils.dataset.folder import LocalTarget
from utils.dataset.hub_repo import HubTarget
from utils.dataset.layout import LEDGER_PATH, PREVIOUS_STATE_PATH, STATE_PATH
from utils.dataset.state import State
from utils.dataset.target import Revision, Snapshot
from utils.rows.sealed_json import json_with_checksum

REPO = "me/thai-voice"
SOURCE = "ProcessedVoiceTH"


@pytest.fixture(scope="module")
def demo(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_demo_sources(tmp_path_factory.mktemp("demo"), [SOURCE])


def command(demo: Path, *target: str) -> list[str]:
    return ["--fresh", SOURCE, "--source-dir", str(demo), "--upload-batch-size", "15", *target]


@pytest.fixture(scope="module")
def published(demo: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A machine on which a run has published to the folder `out`."""
    machine = tmp_path_factory.mktemp("published")
    done = run(command(demo, "--output", "out"), machine)
    assert done.returncode == 0, done.stderr
    return machine


@pytest.fixture
def machine(published: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(published, tmp_path / "machine"))


def verified(folder: Path, **options: Any) -> tuple[str, int]:
    """What `--verify` tells of a folder, and its exit code."""
    return run_verify(Options(output=folder, **options), LocalTarget(folder), None, StopRequest())


def verified_hub(scratch: Path, **options: Any) -> tuple[str, int]:
    """The same of the repo."""
    return run_verify(Options(hf_repo=REPO, **options), HubTarget(REPO, TOKEN, scratch), TOKEN, StopRequest())


def damage(path: Path) -> None:
    """One byte of it; each time another one."""
    raw = bytearray(path.read_bytes())
    raw[raw.index(b"generation" if b"generation" in raw else b"sha256")] ^= 1
    path.write_bytes(raw)


def to_type(told: str, *programs: str) -> list[list[str]]:
    """The commands among the lines."""
    return [shlex.split(line) for line in told.splitlines() if line.split()[:1] and line.split()[0] in programs]


# --- a folder --------------------------------------------------------------------------------


@pytest.mark.parametrize("how", ["damaged", "gone"])
def test_folder_goes_back_to_the_state_before_the_last_commit(demo: Path, machine: Path, how: str) -> None:
    """A run stops and points to --verify; what that says to type, and --resume, end at the very same dataset."""
    before = tree(machine / "out", "data", "rejected")
    state = machine / "out" / STATE_PATH
    damage(state) if how == "damaged" else state.unlink()
    refused = run(command(demo, "--output", "out", "--resume"), machine)

    told, code = verified(machine / "out")
    (copy,) = to_type(told, "cp")
    subprocess.run(copy, cwd=machine, check=True)
    resumed = run(command(demo, "--output", "out", "--resume"), machine)

    assert (refused.returncode, code) == (6, 7)
    assert how == "gone" or "--verify" in refused.stderr
    assert tree(machine / "out", "data", "rejected") == before
    assert resumed.returncode == 0, resumed.stderr
    assert verified(machine / "out")[1] == 0


def test_repair_refuses_a_dataset_of_ours_whose_state_is_gone(machine: Path) -> None:
    """It is not taken for another program's, which would forget where its sources were read to."""
    (machine / "out" / STATE_PATH).unlink()
    before = tree(machine, "out")

    refused = run(["--repair", "--output", "out"], machine)

    assert refused.returncode == 6
    assert "--verify" in refused.stderr
    assert tree(machine, "out") == before


def test_folder_with_nothing_sound_left_says_so(machine: Path) -> None:
    """Both damaged: a backup, or begin anew; and how to do that."""
    for path in (STATE_PATH, PREVIOUS_STATE_PATH):
        damage(machine / "out" / path)

    told, code = verified(machine / "out")

    assert code == 7
    assert "No sound one is in the 1 revisions" in told
    assert "backup" in told and "--fresh" in told


def test_dataset_of_before_a_repair_is_the_last_resort(machine: Path) -> None:
    """A repaired folder has no earlier state of its own; the one that was repaired is whole, and can take its name."""
    shutil.copytree(machine / "out", machine / "out.before-repair-20200101-000000")
    (machine / "out" / PREVIOUS_STATE_PATH).unlink()
    damage(machine / "out" / STATE_PATH)

    told, code = verified(machine / "out")
    for move in to_type(told, "mv"):
        subprocess.run(move, cwd=machine, check=True)

    assert code == 7
    assert (machine / "out.damaged").is_dir()
    assert verified(machine / "out")[1] == 0


def test_repair_leaves_no_state_of_before_it(machine: Path) -> None:
    """Its files are not those that an earlier state names: going back to that one would be a guess."""
    change_split(machine / "out", SOURCE, "train", lambda books: replace(books, size_bytes=books.size_bytes + 1))

    repaired = run(["--repair", "--output", "out"], machine)

    assert repaired.returncode == 0, repaired.stderr
    assert "Done, in one commit" in repaired.stdout
    assert not (machine / "out" / PREVIOUS_STATE_PATH).exists()
    assert verified(machine / "out")[1] == 0


def test_state_of_another_version_is_not_called_damaged(machine: Path, tmp_path: Path) -> None:
    """Going back would lose what that version has published: the message says to use that one."""
    content = json.loads((machine / "out" / STATE_PATH).read_bytes())
    del content["checksum"]
    (machine / "out" / STATE_PATH).write_bytes(json_with_checksum({**content, "version": 99}))

    state_check = verify(LocalTarget(machine / "out"), tmp_path / "indexes").checks[0]

    assert "another version" in state_check.offenders[0]
    assert state_check.remedy == ()


# --- the Hub ---------------------------------------------------------------------------------


@pytest.fixture
def hub(published: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[HubServer]:
    """A Hub on which the published dataset is a repo's third commit, and some damage its fourth and fifth."""
    with HubServer(tmp_path / "hub") as server:
        monkeypatch.setenv("HF_ENDPOINT", server.endpoint)
        for text in ("one", "two"):
            server.add_dataset(REPO, _files(tmp_path / text, {"notes.txt": text.encode()}))
        server.add_dataset(REPO, Path(shutil.copytree(published / "out", tmp_path / "repo")))
        yield server


def _files(folder: Path, files: dict[str, bytes]) -> Path:
    for path, content in files.items():
        (folder / path).parent.mkdir(parents=True, exist_ok=True)
        (folder / path).write_bytes(content)
    return folder


@pytest.mark.parametrize("damaged", [STATE_PATH, LEDGER_PATH])
def test_hub_names_the_newest_sound_commit_and_what_to_type(hub: HubServer, tmp_path: Path, damaged: str) -> None:
    """Its id and its date; the commands bring the file back, in a new commit; then it is sound again."""
    sound = hub.head(REPO)
    for _ in range(2):
        damage(tmp_path / "repo" / damaged)
        (tmp_path / "repo/notes.txt").write_text(hub.head(REPO))
        hub.add_dataset(REPO, tmp_path / "repo")
    there = {"HF_ENDPOINT": hub.endpoint, "HF_TOKEN": TOKEN}

    told, code = verified_hub(tmp_path)
    as_json = json.loads(verified_hub(tmp_path, as_json=True)[0])
    commands = to_type(told, "hf")
    for _, *arguments in commands:
        hf = str(Path(sys.executable).with_name("hf"))
        subprocess.run([hf, *arguments], cwd=tmp_path, env=environment(there), check=True, capture_output=True)
    restored = json.loads(verified_hub(tmp_path, as_json=True)[0])

    assert code == 7
    assert f"commit {sound} (20" in told
    assert len(commands) == 2
    assert sound in json.dumps([check["remedy"] for check in as_json["checks"]])
    assert {check["name"]: check["result"] for check in restored["checks"][:4]} == dict.fromkeys(
        ("state", "ledger", "files", "contents"), "sound"
    )


def test_state_that_somebody_deleted_on_the_hub_is_found_again(hub: HubServer, tmp_path: Path) -> None:
    """Not "a dataset of another program": its ledger is still there."""
    sound = hub.head(REPO)
    (tmp_path / "repo" / STATE_PATH).unlink()
    hub.add_dataset(REPO, tmp_path / "repo")

    told, code = verified_hub(tmp_path)

    assert code == 7
    assert f"commit {sound} (" in told


class LongHistory:
    """A target with so many damaged revisions before a sound one."""

    def __init__(self, damaged: int) -> None:
        self.damaged, self.asked = damaged, 0

    def earlier(self, path: str, snapshot: Snapshot) -> Iterator[Revision]:
        for number in range(self.damaged + 1):
            self.asked += 1
            content = State("generation").to_json() if number == self.damaged else b"{"
            yield Revision(f"commit {number}", "some\x1b[2Jday\n", content, (f"restore {number}",))


def test_only_so_many_revisions_are_looked_at() -> None:
    """A history of ten thousand commits is not read to its start."""
    near, far = LongHistory(LOOKED_AT - 1), LongHistory(LOOKED_AT)

    found, not_found = (
        how_to_restore(target, STATE_PATH, Snapshot("head", None, True), State.from_json) for target in (near, far)
    )

    assert f"  restore {LOOKED_AT - 1}" in found
    assert "No sound one" in not_found[0]
    assert far.asked == LOOKED_AT
    assert not any("\x1b" in line or "\n" in line for line in found)
