"""A known token, every way a run can fail, `--verbose`: it is in no output, log, state, checkpoint, card or file."""

import logging
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from random import Random

import pytest

from pipeline import app
from pipeline.interrupts import StopRequest
from pipeline.options import Options
from tests.apify.support import ACTOR, QUERIES, api_of, collector, posts
from tests.apify_server import TOKEN as APIFY_TOKEN
from tests.apify_server import ApifyServer
from tests.crash.campaign import Campaign, Fault, Recording, environment_of, single_faults
from tests.crash.scenarios import Scenario, arguments, scenarios
from tests.hub.process import HubProcess
from tests.hub_server import TOKEN, HubServer
from tests.runs import run
from utils.dataset.hub_repo import HubTarget
from utils.errors import IngestError

LOUD = {"HF_DEBUG": "1", "HF_HUB_VERBOSITY": "debug", "PYTHONWARNINGS": "default"}
"""The client at its most talkative."""
BY_NAME = {scenario.name: scenario for scenario in scenarios()}


def written_by(machine: Path) -> Iterator[tuple[str, bytes]]:
    """What a machine holds: logs, staged segments, checkpoints, locks and all else."""
    for path in sorted(machine.rglob("*")):
        if path.is_file():
            yield str(path.relative_to(machine)), path.read_bytes()


def found_in(told: str, machine: Path, published: dict[str, bytes], secret: str = TOKEN) -> list[str]:
    """Where the secret is."""
    everything = [("the output", told.encode()), *written_by(machine), *published.items()]
    return [name for name, content in everything if secret.encode() in content]


def verbose(scenario: Scenario) -> Scenario:
    def louder(command: tuple[str, ...]) -> tuple[str, ...]:
        return (*(word for word in command if word != "--quiet"), "--verbose")

    return replace(scenario, command=louder(scenario.command), then=louder(scenario.then))


def one_of_each(recording: Recording) -> list[Fault]:
    """Each way in which each kind of request, or of step on the disk, may fail, once."""
    kinds: dict[tuple[str, str], list[Fault]] = {}
    for fault in single_faults(recording):
        if "kill" not in fault.action and fault.action not in ("power", "torn"):
            kinds.setdefault((fault.kind, fault.action), []).append(fault)
    return [Random(len(kinds)).choice(faults) for faults in kinds.values()]


class LeakSeeking(Campaign):
    """Looks for the token after a run went wrong, all that it wrote still there."""

    def after_fault(self, scenario: Scenario, fault: Fault) -> tuple[bool, list[str]]:
        """Whether the fault struck, and where the token was then."""
        self._restore_template(scenario)
        ended, struck = self._disturbed(scenario, scenario.command, fault, seed=1)
        return struck, found_in(ended.told, self._machine, self._published(scenario))

    def after_answers(self, scenario: Scenario, step: str, status: int, message: str) -> tuple[int | None, list[str]]:
        """Every request of a kind is answered so. Returns the exit code, and where the token was then."""
        self.record(scenario)
        self._restore_template(scenario)
        self._hub.fault("status", step=step, status=status, times=None, message=message)
        ended = self._run(scenario, scenario.command)
        self._hub.clear_faults()
        return ended.code, found_in(ended.told, self._machine, {})


@pytest.mark.parametrize("name", ["append, hub", "repair, hub", "source on the Hub, streamed, folder"])
def test_no_failing_request_or_disk_tells_the_token(name: str, tmp_path: Path) -> None:
    """Each kind of fault, at a drawn place; with the log at its most talkative."""
    scenario = verbose(BY_NAME[name])
    with LeakSeeking(tmp_path) as campaign:
        faults = one_of_each(campaign.record(scenario))
        ends = [campaign.after_fault(scenario, fault) for fault in Random(name).sample(faults, 20)]

    assert [leak for _, leaks in ends for leak in leaks] == []
    assert sum(struck for struck, _ in ends) > 10, "hardly anything went wrong: nothing was tried"


@pytest.fixture(scope="module")
def seeking(tmp_path_factory: pytest.TempPathFactory) -> Iterator[LeakSeeking]:
    with LeakSeeking(tmp_path_factory.mktemp("seeking")) as campaign:
        yield campaign


STEPS = ("repo_info", "create_repo", "preupload", "lfs_batch", "lfs_put", "commit", "resolve")


@pytest.mark.parametrize("status", [400, 403, 500])
@pytest.mark.parametrize("step", STEPS)
def test_answers_that_send_the_token_back_are_told_without_it(step: str, status: int, seeking: LeakSeeking) -> None:
    """A proxy may answer with the headers of the request: not even then."""
    scenario = verbose(BY_NAME["fresh, hub"])
    code, leaks = seeking.after_answers(scenario, step, status, f"refused: Bearer {TOKEN}")

    assert leaks == []
    assert code not in (0, None), "the run did not fail: nothing was tried"


@pytest.fixture
def hub(tmp_path: Path) -> Iterator[HubServer]:
    with HubServer(tmp_path / "hub") as server:
        yield server


def test_bugs_that_name_the_token_are_logged_without_it(
    tmp_path: Path, hub: HubServer, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """A traceback goes to the log, in which its messages are as safe as ours."""
    monkeypatch.setenv("HF_ENDPOINT", hub.endpoint)
    monkeypatch.setenv("HF_TOKEN", TOKEN)
    monkeypatch.chdir(tmp_path)

    def broken(self: HubTarget) -> None:
        raise RuntimeError(f"headers: {{'authorization': 'Bearer {TOKEN}'}}")

    monkeypatch.setattr(HubTarget, "require_token", broken)
    before = list(logging.getLogger().handlers)
    try:
        options = Options(fresh=True, sources=("ProcessedVoiceTH",), hf_repo="me/thai-voice", verbose=True)
        code = app.execute(options, ["--fresh", "ProcessedVoiceTH"], StopRequest())
    finally:
        for handler in set(logging.getLogger().handlers) - set(before):
            logging.getLogger().removeHandler(handler)
            handler.close()
    told = "".join(capsys.readouterr())
    logs = "".join(path.read_text() for path in (tmp_path / "logs").iterdir())

    assert code == 1
    assert "Bearer <token>" in logs and "RuntimeError" in logs
    assert TOKEN not in told + logs
    assert "a source that you added: RuntimeError in tests/pipeline/test_token_leaks.py, line " in told


def test_the_loudest_settings_of_the_client_tell_no_token(tmp_path: Path) -> None:
    """HF_DEBUG makes the client log each request as a command to repeat."""
    scenario = verbose(BY_NAME["fresh, hub"])
    with Campaign(tmp_path / "place") as campaign, HubProcess(tmp_path / "hub") as server:
        assert campaign
        settings = {**environment_of(server, tmp_path / "place"), **LOUD}
        done = run(arguments(scenario.command, scenario.target), tmp_path / "place" / "machine", settings)

    assert done.returncode == 0, done.stderr
    assert found_in(done.stdout + done.stderr, tmp_path / "place" / "machine", {}) == []


@pytest.mark.parametrize(
    ("step", "status"), [("start", 400), ("start", 401), ("start", 403), ("run", 403), ("items", 400)]
)
def test_token_of_the_paid_source_is_told_nowhere(step: str, status: int, tmp_path: Path) -> None:
    """Whatever Apify answers, and were it the token: not in messages, journals, checkpoints or logs."""
    (tmp_path / "queries.yaml").write_text(QUERIES)
    with ApifyServer() as apify:
        apify.add_actor(ACTOR, posts, statuses=("SUCCEEDED",))
        apify.fault("status", step, status=status, times=50, message=f"refused: Bearer {APIFY_TOKEN}")
        extra = {"APIFY_TOKEN": APIFY_TOKEN, "APIFY_API_BASE_URL": apify.url, "HF_HOME": "hf"}
        ended = run(
            ["--fresh", "Apify", "--queries", "queries.yaml", "--output", "out", "--patience", "0.001", "--verbose"],
            tmp_path,
            extra,
        )
        asked = step in apify.steps()

    assert not asked or ended.returncode != 0
    assert found_in(ended.stdout + ended.stderr, tmp_path, {}, APIFY_TOKEN) == []


def test_an_answer_that_is_no_answer_is_noted_without_the_token(tmp_path: Path) -> None:
    """A start that may or may not have been bought: its error's words go into the purchases."""
    with ApifyServer() as apify:
        apify.add_actor(ACTOR, posts, statuses=("SUCCEEDED",))
        apify.fault("status", "start", status=500, times=50, message=f"refused: Bearer {APIFY_TOKEN}")
        with pytest.raises(IngestError) as stopped:
            list(collector(tmp_path, api_of(apify)).collect())

    assert found_in(str(stopped.value), tmp_path, {}, APIFY_TOKEN) == []
