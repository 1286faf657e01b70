"""Whole runs whose large files go over Xet: the bytes of a folder, whatever dies or hangs on the way."""

import json
import signal
from collections.abc import Iterator
from pathlib import Path

import pytest

from processors.demo.mirrors import write_demo_sources
from tests.hub.client import xet_settings
from tests.hub_server import TOKEN, HubServer
from tests.runs import run, start
from tests.support import tree
from utils.dataset.layout import PREVIOUS_STATE_PATH

REPO = "me/thai-voice"
ACCEPTED = ["--accept-terms", "GigaSpeech2"]
LEAVES_WITHIN_S = 30.0
"""Far from the minutes that the client would go on, however slow the machine is."""


@pytest.fixture(scope="module")
def demo(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The demo's mirrors, made once."""
    return write_demo_sources(tmp_path_factory.mktemp("demo"))


@pytest.fixture(scope="module")
def undisturbed(demo: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, bytes]:
    """The dataset as a run to a folder makes it."""
    machine = tmp_path_factory.mktemp("undisturbed")
    done = run(command(demo, "--output", "out"), machine)
    assert done.returncode == 0, done.stderr
    return tree(machine / "out", "data", "rejected", ".ingest")


@pytest.fixture
def hub(tmp_path: Path) -> Iterator[HubServer]:
    with HubServer(tmp_path / "hub") as server:
        yield server


def command(demo: Path, *more: str) -> list[str]:
    return ["--fresh", "GigaSpeech2", "--source-dir", str(demo), "--upload-batch-size", "20", *ACCEPTED, *more]


def to_hub(demo: Path, *more: str) -> list[str]:
    return command(demo, "--hf-repo", REPO, *more)


def environment(hub: HubServer, machine: Path, over_xet: bool = True) -> dict[str, str]:
    way = xet_settings(machine / "hf") if over_xet else {}
    return {**way, "HF_ENDPOINT": hub.endpoint, "HF_TOKEN": TOKEN}


def assert_published_once(hub: HubServer, undisturbed: dict[str, bytes]) -> None:
    """Shards, rejects and ledger byte for byte, and the state's books."""
    ours = {path: hub.read(REPO, path) for path in hub.files(REPO)}
    ours = {path: content for path, content in ours.items() if path.split("/")[0] in ("data", "rejected", ".ingest")}
    expected = {path: content for path, content in undisturbed.items() if path != PREVIOUS_STATE_PATH}
    assert sorted(ours) == sorted(expected)
    for path, content in expected.items():
        if path != ".ingest/state.json":
            assert ours[path] == content, path
    assert json.loads(ours[".ingest/state.json"])["sources"] == json.loads(expected[".ingest/state.json"])["sources"]
    titles = hub.commit_titles(REPO)
    assert len(set(titles)) == len(titles)


def test_a_run_over_xet_publishes_the_bytes_of_a_folder(
    demo: Path, undisturbed: dict[str, bytes], tmp_path: Path, hub: HubServer
) -> None:
    """No byte goes over LFS, and nothing is told to anybody else."""
    done = run(to_hub(demo), tmp_path / "machine", environment(hub, tmp_path))

    assert done.returncode == 0, done.stderr
    assert_published_once(hub, undisturbed)
    assert hub.count("xet_shard") > 1
    assert (hub.count("lfs_batch"), hub.count("lfs_put")) == (0, 0)
    assert not [seen.path for seen in hub.requests if "telemetry" in seen.path]


KILLS = [
    ("xet_token", "before"),
    ("xet_xorb", "before"),
    ("xet_xorb", "after"),
    ("xet_shard", "before"),
    ("xet_shard", "after"),
    ("commit", "before"),
    ("commit", "after"),
]


def test_killed_at_each_step_of_an_upload_it_is_resumed_to_the_same_bytes(
    demo: Path, undisturbed: dict[str, bytes], tmp_path: Path, hub: HubServer
) -> None:
    """Some kills may come too late to find one more part; those before the commit do not."""
    arguments, machine = to_hub(demo, "--no-overlap"), tmp_path / "machine"
    struck = []
    for number, (step, when) in enumerate(KILLS):
        rule = hub.fault("kill", step=step, when=when, skip=1 if number == 0 else 0)
        process = start(arguments if number == 0 else [*arguments, "--resume"], machine, environment(hub, tmp_path))
        hub.set_client_pid(process.pid)
        process.communicate(timeout=120)
        struck.append((rule.struck, process.returncode))
        hub.clear_faults()

    finished = run([*arguments, "--resume"], machine, environment(hub, tmp_path))

    assert finished.returncode == 0, finished.stderr
    assert struck == [(1, -signal.SIGKILL)] * len(KILLS)
    assert_published_once(hub, undisturbed)


HANGING = {
    "SIGINT at a xorb": (signal.SIGINT, "xet_xorb", True),
    "SIGTERM at a xorb": (signal.SIGTERM, "xet_xorb", True),
    "SIGTERM over LFS": (signal.SIGTERM, "lfs_put", False),
}


@pytest.mark.parametrize(("number", "step", "over_xet"), HANGING.values(), ids=HANGING)
def test_a_signal_ends_a_run_whose_upload_hangs(
    demo: Path, undisturbed: dict[str, bytes], tmp_path: Path, hub: HubServer, number: int, step: str, over_xet: bool
) -> None:
    """Exit 130 while the server still holds the upload; all is staged, and the resume publishes it."""
    hub.fault("stall", step=step, times=None)
    machine = tmp_path / "machine"
    process = start(to_hub(demo), machine, environment(hub, tmp_path, over_xet))
    assert hub.wait_until_held()

    process.send_signal(number)
    out, err = process.communicate(timeout=LEAVES_WITHIN_S)

    assert process.returncode == 130, err
    assert "--resume" in out
    assert list(machine.glob("data/staging/*/*/*/*.arrow"))
    hub.clear_faults()
    hub.release()
    finished = run([*to_hub(demo), "--resume"], machine, environment(hub, tmp_path, over_xet))
    assert finished.returncode == 0, finished.stderr
    assert_published_once(hub, undisturbed)
