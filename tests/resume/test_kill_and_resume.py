"""`kill -9`, Ctrl-C, lost folders, other machines: whatever dies, `--resume` ends at the undisturbed run's bytes.

Real processes of `main.py`; where the Hub is the target, the real client against a real HTTP server that
kills its client at exact points of a commit.
"""

import json
import re
import shutil
import signal
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from processors.demo.mirrors import write_demo_sources
from tests.hub_server import TOKEN, HubServer
from tests.runs import run, run_until, start
from tests.support import published_ids, tree
from utils.dataset.layout import PREVIOUS_STATE_PATH

REPO = "me/thai-voice"
CUTS = ["--upload-batch-size", "10", "--checkpoint-interval", "5"]
"""At least three shards in each split of each demo source."""
PHASES = ("reading", "staged", "built", "uploaded", "committed", "remembered")
KILLS_A_PHASE = 5


@pytest.fixture(scope="module")
def demo(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The demo's mirrors, made once."""
    return write_demo_sources(tmp_path_factory.mktemp("demo"))


def command(demo: Path, *more: str) -> list[str]:
    return [
        "--fresh",
        "--all",
        "--source-dir",
        str(demo),
        *CUTS,
        "--accept-terms",
        "GigaSpeech2,MozillaCommonVoice",
        *more,
    ]


@pytest.fixture(scope="module")
def undisturbed(demo: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The dataset as a run makes it that nothing disturbs."""
    machine = tmp_path_factory.mktemp("undisturbed")
    done = run(command(demo, "--output", "out"), machine)
    assert done.returncode == 0, done.stderr
    return machine / "out"


@pytest.fixture
def hub(tmp_path: Path) -> Iterator[HubServer]:
    with HubServer(tmp_path / "hub") as server:
        yield server


def state_of(content: bytes) -> dict[str, object]:
    """A state without what may differ between two runs of the same data."""
    state = json.loads(content)
    for differing in ("checksum", "generation", "run_id", "sequence", "committed_at"):
        del state[differing]
    return state


def assert_equal_datasets(ours: dict[str, bytes], undisturbed: Path) -> None:
    """Shards and rejects byte for byte; the state but for run id, sequence, times (and the generation's name)."""
    expected = tree(undisturbed, "data", "rejected", ".ingest")
    for dataset in (ours, expected):
        dataset.pop(PREVIOUS_STATE_PATH, None)  # a folder's state before its last commit; the Hub has its history
    assert sorted(ours) == sorted(expected)
    for path, content in expected.items():
        if path == ".ingest/state.json":
            assert state_of(ours[path]) == state_of(content)
        else:
            assert ours[path] == content, f"{path} differs from the undisturbed run's"


def on_hub(hub: HubServer) -> dict[str, bytes]:
    return {
        path: hub.read(REPO, path) for path in hub.files(REPO) if path.split("/")[0] in ("data", "rejected", ".ingest")
    }


def hub_environment(hub: HubServer) -> dict[str, str]:
    return {"HF_ENDPOINT": hub.endpoint, "HF_TOKEN": TOKEN}


class Watch:
    """Says when a machine's folder shows that a run came to a phase that no request marks."""

    def __init__(self, machine: Path) -> None:
        self._machine = machine
        self._segments = set(self._closed())
        self._remembered = self._memory()

    def reading(self) -> bool:
        return any(self._machine.glob("data/staging/*/*/*/segment.tmp"))

    def staged(self) -> bool:
        return bool(set(self._closed()) - self._segments)

    def remembered(self) -> bool:
        return self._memory() != self._remembered

    def _closed(self) -> list[Path]:
        return list(self._machine.glob("data/staging/*/*/*/0*.arrow"))

    def _memory(self) -> dict[Path, int]:
        return {path: path.stat().st_mtime_ns for path in self._machine.glob("checkpoints/*_upload_checkpoint.json")}


AT_THE_SERVER = {
    "built": {"step": "preupload", "when": "before"},
    "uploaded": {"step": "commit", "when": "before"},
    "committed": {"step": "commit", "when": "after"},
}


def kill_at_request(arguments: list[str], machine: Path, hub: HubServer, **request: object) -> int:
    """A run that the server kills at a request; returns its exit code."""
    hub.fault("kill", **request)
    process = start(arguments, machine, hub_environment(hub))
    hub.set_client_pid(process.pid)
    process.communicate(timeout=300)
    hub.clear_faults()
    return process.returncode


def kill_in_phase(phase: str, arguments: list[str], machine: Path, hub: HubServer) -> bool:
    """Run until the phase, kill, and say whether it was the kill that ended the run."""
    if phase in AT_THE_SERVER:
        return kill_at_request(arguments, machine, hub, **AT_THE_SERVER[phase]) == -signal.SIGKILL
    watch = Watch(machine)
    ended = run_until(arguments, machine, getattr(watch, phase), hub_environment(hub))
    return ended.returncode == -signal.SIGKILL


def test_thirty_kills_in_every_phase_end_at_the_undisturbed_bytes(
    demo: Path, undisturbed: Path, tmp_path: Path, hub: HubServer
) -> None:
    """Five SIGKILLs in each of six phases, each followed by a resume, then a run to the end."""
    machine = tmp_path / "machine"
    arguments = command(demo, "--hf-repo", REPO, "--no-overlap")  # one phase after the other, so that each can be hit
    kill_at_request(arguments, machine, hub, step="commit", when="after", skip=1)
    hit: Counter[str] = Counter()

    for phase in PHASES * KILLS_A_PHASE:
        hit[phase] += kill_in_phase(phase, [*arguments, "--resume"], machine, hub)
    finished = run([*arguments, "--resume"], machine, hub_environment(hub))

    assert finished.returncode == 0, finished.stderr
    assert hit == dict.fromkeys(PHASES, KILLS_A_PHASE)
    assert_equal_datasets(on_hub(hub), undisturbed)
    assert not list(machine.glob("data/staging/*/*/*/*.arrow"))


def test_each_kill_followed_by_another_machine(demo: Path, undisturbed: Path, tmp_path: Path, hub: HubServer) -> None:
    """Every resume happens in an empty folder, with nothing but the target: the same bytes again."""
    arguments = command(demo, "--hf-repo", REPO, "--no-overlap")
    for number, phase in enumerate(("committed", "uploaded", "built", "committed", "uploaded")):
        resumed = arguments if number == 0 else [*arguments, "--resume"]
        killed = kill_at_request(resumed, tmp_path / f"machine-{number}", hub, skip=3, **AT_THE_SERVER[phase])
        assert killed == -signal.SIGKILL

    finished = run([*arguments, "--resume"], tmp_path / "last", hub_environment(hub))

    assert finished.returncode == 0, finished.stderr
    assert_equal_datasets(on_hub(hub), undisturbed)


def committed_parts(folder: Path) -> int:
    """Parts that a local target's state names."""
    path = folder / ".ingest" / "state.json"
    if not path.exists():
        return 0
    sources = json.loads(path.read_bytes())["sources"].values()
    return sum(split["parts"] for source in sources for split in source["splits"].values())


def more_parts(folder: Path, by: int) -> Callable[[], bool]:
    """True once `by` more parts are committed."""
    before = committed_parts(folder)
    return lambda: committed_parts(folder) >= before + by


@pytest.mark.parametrize("send", [signal.SIGINT, signal.SIGTERM])
def test_interrupts_leave_cleanly_and_resume_to_the_same_bytes(
    demo: Path, undisturbed: Path, tmp_path: Path, send: int
) -> None:
    """Ctrl-C and SIGTERM: exit 130 after a checkpoint; the summary says what to type; then the same bytes."""
    arguments = command(demo, "--output", "out")
    for number in range(3):
        resumed = arguments if number == 0 else [*arguments, "--resume"]
        ended = run_until(resumed, tmp_path, more_parts(tmp_path / "out", 3), send=send)
        assert ended.returncode == 130, ended.stderr
        assert "--resume" in ended.stdout
        assert not list(tmp_path.glob("data/staging/*/*/*/*.tmp"))

    finished = run([*arguments, "--resume"], tmp_path)

    assert finished.returncode == 0, finished.stderr
    assert_equal_datasets(tree(tmp_path / "out", "data", "rejected", ".ingest"), undisturbed)


@pytest.mark.parametrize("lost", [["checkpoints"], ["data/staging"], ["checkpoints", "data/staging", "logs"]])
def test_lost_folders_lose_nothing(demo: Path, undisturbed: Path, tmp_path: Path, lost: list[str]) -> None:
    """Killed, then `checkpoints/`, the staging, or both deleted: the target's state is enough."""
    arguments = command(demo, "--output", "out")
    for number in range(3):
        resumed = arguments if number == 0 else [*arguments, "--resume"]
        ended = run_until(resumed, tmp_path, more_parts(tmp_path / "out", 4))
        assert ended.returncode == -signal.SIGKILL
        for folder in lost:
            shutil.rmtree(tmp_path / folder)

    finished = run([*arguments, "--resume"], tmp_path)

    assert finished.returncode == 0, finished.stderr
    assert_equal_datasets(tree(tmp_path / "out", "data", "rejected", ".ingest"), undisturbed)


def test_streaming_and_interval_change_nothing(demo: Path, undisturbed: Path, tmp_path: Path) -> None:
    """Neither how bytes arrive nor how often we checkpoint is part of the data."""
    changed = [argument if argument != "5" else "37" for argument in command(demo, "--output", "out", "--streaming")]

    done = run(changed, tmp_path)

    assert done.returncode == 0, done.stderr
    assert_equal_datasets(tree(tmp_path / "out", "data", "rejected", ".ingest"), undisturbed)


def test_every_sample_once_and_the_books_balance(undisturbed: Path) -> None:
    """IDs are S1..Sn in published order without holes; the state's books add up to the published rows."""
    state = json.loads((undisturbed / ".ingest" / "state.json").read_bytes())
    splits = [split for source in state["sources"].values() for split in source["splits"].values()]
    ids = sorted(int(sample_id[1:]) for sample_id in published_ids(undisturbed))

    assert ids == list(range(1, state["next_id"]))
    assert sum(split["published"] for split in splits) == len(ids)
    assert all(split["progress"]["finished"] and split["progress"]["kept"] == split["published"] for split in splits)
    assert all(split["parts"] >= 3 for split in splits)


def test_second_run_has_nothing_to_do(demo: Path, tmp_path: Path) -> None:
    """A finished dataset, resumed: exit 0, says so, and no byte of the target changes."""
    arguments = command(demo, "--output", "out")
    run(arguments, tmp_path)
    before = tree(tmp_path, "out")

    again = run([*arguments, "--resume"], tmp_path)

    assert again.returncode == 0
    assert re.search(r"nothing to do", again.stdout, re.IGNORECASE)
    assert tree(tmp_path, "out") == before
