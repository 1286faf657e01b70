"""A campaign: every step of a run, every fault there, resume until done, and the oracle."""

import json
import os
import shutil
import signal
import subprocess
import time
from collections.abc import Iterator, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, replace
from pathlib import Path
from random import Random
from types import TracebackType
from typing import Any, Self

from tests.apify.support import ACTOR, PAIRS, Clock, posts
from tests.apify_server import TOKEN as APIFY_TOKEN
from tests.apify_server import ApifyServer
from tests.crash import oracle
from tests.crash.disk import ACTIONS, applies
from tests.crash.requests import APIFY_ACTIONS, HTTP_ACTIONS
from tests.crash.scenarios import HUB, PARQUET_REPO, REPO, Scenario, arguments, duplicate, write_sources
from tests.crash.warm import Ended, Run, Warm
from tests.hub.process import HubProcess
from tests.hub_server import TOKEN
from tests.runs import run as run_to_the_end
from tests.runs import start

SAME, EMPTY = "the same folder", "an empty folder"
MAX_RESUMES = 3
RAW = "data/raw"
TOLD = 6
"""What a reader ends with that finds a target half changed."""
MARKS = "data/staging/*/fresh-since"
"""Where a run that is to begin anew says so, until it has."""

SALT = "0123456789abcdef" * 4
"""Of all attacks, so that authors have the same hashes."""


@dataclass(frozen=True)
class Fault:
    """One fault: at step number `at` (from 1) of the disk, or at that request of the Hub or of Apify."""

    where: str
    at: int
    action: str
    kind: str = ""
    """What the step or the request is, in the recording."""


@dataclass(frozen=True)
class Schedule:
    """One attack: the first fault strikes the command, the next ones the runs that recover from it."""

    scenario: Scenario
    faults: tuple[Fault, ...]
    resume_in: str
    seed: int


@dataclass(frozen=True)
class Outcome:
    """What came of a schedule. `struck`: how many of its faults were reached."""

    schedule: Schedule
    struck: int
    problems: tuple[str, ...]


@dataclass(frozen=True)
class Recording:
    """An undisturbed run: its steps on the disk, its requests, and what it published."""

    steps: tuple[tuple[str, str], ...]
    requests: tuple[str, ...]
    published: oracle.Files
    before: oracle.Files
    """What was published before it."""
    asked: tuple[str, ...] = ()
    """Its requests to Apify."""
    bought: tuple[Any, ...] = ()
    """What they have bought."""


class Campaign:
    """Runs schedules below the folder `place`, one after the other."""

    def __init__(self, place: Path) -> None:
        self._place = place
        self._machine = place / "machine"
        self._target = place / "target"
        self._stack = ExitStack()
        self._recordings: dict[str, Recording] = {}
        self._took_s: dict[str, float] = {}
        (place / "tmp").mkdir(parents=True)
        if not (place / "sources").exists():
            write_sources(place / "sources")

    def __enter__(self) -> Self:
        seeds = {PARQUET_REPO: self._place / "sources" / PARQUET_REPO}
        self._hub = self._stack.enter_context(HubProcess(self._place / "hub", seeds=seeds))
        self._apify = self._stack.enter_context(ApifyServer(now=Clock()))
        self._apify.add_actor(ACTOR, posts)
        self._warm = self._stack.enter_context(Warm())
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._stack.close()

    # -- recording --------------------------------------------------------------------------------

    def record(self, scenario: Scenario) -> Recording:
        """Run a scenario undisturbed (once), and keep what was there before it as the template of each attack."""
        if scenario.name in self._recordings:
            return self._recordings[scenario.name]
        self._clear()
        for command in scenario.before:
            self._expect_done(self._run(scenario, command))
        if scenario.duplicated:
            self._duplicate(scenario)
        if scenario.buys:
            (self._machine / RAW).mkdir(parents=True, exist_ok=True)
            (self._machine / RAW / "author_salt").write_text(SALT)
        self._keep_template(scenario)
        before = self._published(scenario)
        self._hub.order("DELETE", "requests")
        steps = self._place / "steps.jsonl"
        steps.unlink(missing_ok=True)
        self._expect_done(self._run(scenario, scenario.command, record=steps))
        recording = Recording(
            tuple(tuple(json.loads(line)) for line in steps.read_text().splitlines()),  # type: ignore[misc]
            tuple(f"{seen.method} {seen.step}" for seen in self._hub.requests),
            self._published(scenario),
            before,
            tuple(self._apify.steps()),
            tuple(self._apify.bought),
        )
        self._recordings[scenario.name] = recording
        return recording

    def _duplicate(self, scenario: Scenario) -> None:
        draft = self._place / "tmp" / "duplicated"
        for path, content in self._published(scenario).items():
            (draft / path).parent.mkdir(parents=True, exist_ok=True)
            (draft / path).write_bytes(content)
        duplicate(draft)
        if scenario.target == HUB:
            self._hub.store.add_folder(REPO, draft)
        else:
            shutil.rmtree(self._target / "out")
            shutil.copytree(draft, self._target / "out")

    def _expect_done(self, ended: Ended) -> None:
        if ended.code != 0:
            raise RuntimeError(f"an undisturbed run failed:\n{ended.told}")

    # -- one attack -------------------------------------------------------------------------------

    def attack(self, schedule: Schedule) -> Outcome:
        """Carry out one schedule."""
        scenario, recording = schedule.scenario, self.record(schedule.scenario)
        self._restore_template(scenario)
        problems: list[str] = []
        struck, begun = 0, False
        for number, fault in enumerate(schedule.faults):
            command, bought = scenario.then if begun else scenario.command, oracle.journals(self._machine)
            ended, hit = self._disturbed(scenario, command, fault, schedule.seed + number)
            struck += hit
            problems += oracle.shrunk(bought, oracle.journals(self._machine))
            problems += oracle.complaints(ended.code, ended.told)
            published = self._published(scenario)
            problems += self._told_or_whole(scenario, published)
            if schedule.resume_in == EMPTY:
                self._leave_machine(scenario)
            # Nothing anywhere tells of a fresh start that did not come to its first step: it is asked for again.
            begun = any(self._machine.glob(MARKS)) or published != recording.before
        bought = oracle.journals(self._machine)
        problems += self._resume(scenario, scenario.then if begun else scenario.command)
        problems += oracle.shrunk(bought, oracle.journals(self._machine))
        problems += self._aftermath(scenario)
        return Outcome(schedule, struck, tuple(problems))

    def _told_or_whole(self, scenario: Scenario, published: oracle.Files) -> Iterator[str]:
        """What is wrong in the middle of things: readers are told of a change that is half made, or find a whole."""
        recording = self._recordings[scenario.name]
        if (self._target / "out/.changing/intent.json").exists():
            told = self._run(scenario, ("--status",))
            if told.code != TOLD or "Nothing is lost" not in told.told:
                yield f"a reader of a half-made change was not told: exit {told.code}\n{told.told}"
        elif published != recording.before:
            yield from oracle.broken_promises(published, recording.published)

    def _leave_machine(self, scenario: Scenario) -> None:
        """Go on with an empty folder; what was paid for is taken along."""
        taken = self._place / "tmp" / "raw"
        if scenario.buys and (self._machine / RAW).exists():
            shutil.move(self._machine / RAW, taken)
        shutil.rmtree(self._machine)
        if taken.exists():
            shutil.copytree(taken, self._machine / RAW)
            shutil.rmtree(taken)

    def kill_from_outside(self, scenario: Scenario, seed: int) -> Outcome:
        """A real process of its own in real time, killed (SIGKILL) at a moment drawn by the seed, and resumed."""
        recording = self.record(scenario)
        took_s = self._real_seconds(scenario)
        self._restore_template(scenario)
        run = self._the_run(scenario, scenario.command)
        process = start(run.arguments, run.machine, run.environment)
        try:
            process.wait(Random(seed).uniform(0.2, 1.0) * took_s)
        except subprocess.TimeoutExpired:
            process.kill()
        _, told = process.communicate()
        problems = list(oracle.complaints(process.returncode, told))
        published = self._published(scenario)
        if published != recording.before:
            problems += oracle.broken_promises(published, recording.published)
        begun = published != recording.before or any(self._machine.glob(MARKS))
        command = scenario.then if begun else scenario.command
        resumed = run_to_the_end(arguments(command, scenario.target), run.machine, run.environment)
        problems += oracle.complaints(resumed.returncode, resumed.stderr)
        problems += self._aftermath(scenario)
        fault = Fault("outside", seed, "killed from outside")
        struck = process.returncode == -signal.SIGKILL
        return Outcome(Schedule(scenario, (fault,), SAME, seed), int(struck), tuple(problems))

    def _real_seconds(self, scenario: Scenario) -> float:
        """What an undisturbed run takes, measured once."""
        if scenario.name not in self._took_s:
            self._restore_template(scenario)
            run, begun = self._the_run(scenario, scenario.command), time.monotonic()
            run_to_the_end(run.arguments, run.machine, run.environment)
            self._took_s[scenario.name] = time.monotonic() - begun
        return self._took_s[scenario.name]

    def _aftermath(self, scenario: Scenario) -> Iterator[str]:
        """What is wrong once all is done."""
        self._hub.settle()  # what comes late, comes before we look
        yield from oracle.differences(self._published(scenario), self._recordings[scenario.name].published)
        yield from oracle.left_lying(self._machine)
        yield from oracle.left_in_the_folder(self._target / "out", scenario.keeps if scenario.mounted else "")
        if scenario.buys:
            undisturbed = self._recordings[scenario.name].bought
            yield from oracle.wrongly_bought(self._machine, self._apify.bought, undisturbed, len(PAIRS))
        yield from self._not_kept(scenario)

    def _resume(self, scenario: Scenario, command: Sequence[str]) -> Iterator[str]:
        """Go on until done, as a user would: again, where a run says that it could not."""
        for _ in range(MAX_RESUMES):
            ended = self._run(scenario, command)
            yield from oracle.complaints(ended.code, ended.told)
            if ended.code == 0:
                return
        yield f"still not done after {MAX_RESUMES} resumes; the last one said:\n{ended.told}"

    def _disturbed(self, scenario: Scenario, command: Sequence[str], fault: Fault, seed: int) -> tuple[Ended, bool]:
        if fault.where == "disk":
            mark = self._place / "struck"
            mark.unlink(missing_ok=True)
            order = {"at": fault.at, "action": fault.action, "seed": seed, "mark": mark}
            return self._run(scenario, command, fault=order), mark.exists()
        if fault.where == "apify":
            return self._disturbed_by_apify(scenario, command, fault)
        self._hub.set_client_pid(None)
        self._hub.fault(skip=fault.at - 1, **HTTP_ACTIONS[fault.action])
        run = self._the_run(scenario, command)
        pid = self._warm.start(run)
        self._hub.set_client_pid(pid)
        ended = self._warm.wait(pid, run)
        struck = any(rule["struck"] for rule in self._hub.order("GET", "faults"))
        self._hub.clear_faults()
        return ended, struck

    def _disturbed_by_apify(self, scenario: Scenario, command: Sequence[str], fault: Fault) -> tuple[Ended, bool]:
        rule = self._apify.fault(step="*", skip=fault.at - 1, **APIFY_ACTIONS[fault.action])
        run = self._the_run(scenario, command)
        rule.pid = pid = self._warm.start(run)
        ended = self._warm.wait(pid, run)
        self._apify.rules.clear()
        return ended, rule.times == 0

    def _not_kept(self, scenario: Scenario) -> Iterator[str]:
        """Whether the data that was there before is where it should be."""
        if not scenario.keeps:
            return
        if scenario.target == HUB:
            tags = self._hub.store.refs(REPO, "tags")
            kept = [files_at(self._hub, tag) for tag in tags if tag.startswith(scenario.keeps)]
        else:
            place = self._target / "out" if scenario.mounted else self._target
            kept = [tree(folder) for folder in place.glob(f"{scenario.keeps}*")]
        if self._recordings[scenario.name].before not in kept:
            yield "the old data was not kept"

    # -- the machine, the target ------------------------------------------------------------------

    def _run(self, scenario: Scenario, command: Sequence[str], **more: Any) -> Ended:
        return self._warm.run(replace(self._the_run(scenario, command), **more))

    def _the_run(self, scenario: Scenario, command: Sequence[str]) -> Run:
        environment = {
            **environment_of(self._hub, self._place),
            "APIFY_TOKEN": APIFY_TOKEN,
            "APIFY_API_BASE_URL": self._apify.url,
        }
        mounted = self._target / "out" if scenario.mounted else None
        return Run(arguments(command, scenario.target), self._machine, environment, mounted=mounted)

    def _published(self, scenario: Scenario) -> oracle.Files:
        if scenario.target == HUB:
            return files_at(self._hub, "main") if self._hub.store.settings(REPO) else {}
        return {path: content for path, content in tree(self._target / "out").items() if not _is_hidden(path)}

    @property
    def _repo(self) -> Path:
        return self._hub.root / "repos" / REPO

    @property
    def _template(self) -> Path:
        return self._place / "template"

    def _clear(self) -> None:
        # What a request that outlived its client still applies, it must not apply to the next attack.
        self._hub.settle()
        self._apify.forget()
        for folder in (self._machine, self._target, self._repo, self._place / "tmp"):
            shutil.rmtree(folder, ignore_errors=True)
        for folder in (self._machine, self._target, self._place / "tmp"):
            folder.mkdir(parents=True)

    def _keep_template(self, scenario: Scenario) -> None:
        shutil.rmtree(self._template / scenario.name, ignore_errors=True)
        for folder in (self._machine, self._target, self._repo):
            if folder.exists():
                shutil.copytree(folder, self._template / scenario.name / folder.name)

    def _restore_template(self, scenario: Scenario) -> None:
        self._clear()
        self._hub.order("DELETE", "requests")
        for folder in (self._machine, self._target, self._repo):
            kept = self._template / scenario.name / folder.name
            if kept.exists():
                shutil.rmtree(folder, ignore_errors=True)
                shutil.copytree(kept, folder)


def schedules(scenario: Scenario, recording: Recording, seed: int) -> Iterator[Schedule]:
    """Every fault at every step of the disk and at every request, resumed in the same folder and in an empty one."""
    for fault in single_faults(recording):
        for resume_in in (SAME, EMPTY):
            yield Schedule(scenario, (fault,), resume_in, seed)


def single_faults(recording: Recording) -> Iterator[Fault]:
    for number, (kind, path) in enumerate(recording.steps, 1):
        for action in ACTIONS:
            if action != "pause" and applies(action, kind):
                yield Fault("disk", number, action, f"{kind} {Path(path).suffix or 'folder'}")
    for number, request in enumerate(recording.requests, 1):
        for action in HTTP_ACTIONS:
            yield Fault("hub", number, action, request)
    for number, request in enumerate(recording.asked, 1):
        for action in APIFY_ACTIONS:
            yield Fault("apify", number, action, request)


def pairs(scenario: Scenario, recording: Recording, random: Random) -> Iterator[Schedule]:
    """Two faults, the second during the recovery from the first, drawn for ever."""
    faults = list(single_faults(recording))
    while True:
        chosen = (random.choice(faults), random.choice(faults))
        yield Schedule(scenario, chosen, random.choice((SAME, EMPTY)), random.randrange(2**31))


def environment_of(hub: HubProcess, place: Path) -> dict[str, str]:
    """What runs below `place` that speak with `hub` need."""
    return {
        "HF_ENDPOINT": hub.endpoint,
        "HF_TOKEN": TOKEN,
        "HF_HUB_DISABLE_XET": "1",
        "HOME": str(place),
        "TMPDIR": str(place / "tmp"),
        "NO_PROXY": "127.0.0.1,localhost",
        "no_proxy": "127.0.0.1,localhost",
    }


def _is_hidden(path: str) -> bool:
    """Whether it is no part of a dataset: a lock, a change that is under way, what is kept on a mount point."""
    return path.startswith(".") and not path.startswith(".ingest/")


def tree(folder: Path) -> dict[str, bytes]:
    """Path -> content of all files below a folder; of nothing where there is none."""
    found = {}
    for parent, _, names in os.walk(folder):
        for name in names:
            path = Path(parent, name)
            found[path.relative_to(folder).as_posix()] = path.read_bytes()
    return found


def files_at(hub: HubProcess, revision: str) -> dict[str, bytes]:
    return {path: hub.read(REPO, path, revision) for path in hub.files(REPO, revision)}
