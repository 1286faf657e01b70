"""Any mix of runs that die, resumes, appends, other machines, second writers and lost folders ends well.

Hypothesis draws the mix. Whatever it was, one last run makes the dataset whole: every clip of every source
once, as a row or as a reject, and `--verify --deep` calls it sound. On the way, what is committed stays.
"""

import json
import shutil
import tempfile
from collections.abc import Sequence
from contextlib import ExitStack
from hashlib import sha256
from pathlib import Path
from types import ModuleType

import pyarrow.parquet as pq
from hypothesis import HealthCheck, Phase, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule, run_state_machine_as_test

from tests.crash import oracle
from tests.crash.campaign import environment_of, files_at, tree
from tests.crash.scenarios import HUB, MIRRORS, REPO, arguments, write_sources
from tests.crash.warm import Ended, Run, Warm
from tests.hub.process import HubProcess

GIGA, PARQUET = "GigaSpeech2", "ProcessedVoiceTH"
EVERYTHING = (GIGA, PARQUET)
CLIPS, REJECTS, UNSELECTED = 12, 2, 1
"""Of the two sources together."""
FAULTS = st.tuples(st.integers(1, 260), st.sampled_from(["kill_before", "kill_after", "torn", "full", "eio", "power"]))
MACHINES = st.integers(0, 1)
NAMED = st.sampled_from([(GIGA,), (PARQUET,), EVERYTHING])


class Place:
    """The warm parent and the Hub, shared by all examples."""

    def __init__(self) -> None:
        self.stack = ExitStack()
        self.folder = Path(tempfile.mkdtemp(prefix="machine-"))
        self.stack.callback(shutil.rmtree, self.folder, ignore_errors=True)
        (self.folder / "tmp").mkdir()
        write_sources(self.folder / "sources")
        self.hub = self.stack.enter_context(HubProcess(self.folder / "hub"))
        self.warm = self.stack.enter_context(Warm())


places: list[Place] = []


def setup_module(module: ModuleType) -> None:
    places.append(Place())


def teardown_module(module: ModuleType) -> None:
    places.pop().stack.close()


class Runs(RuleBasedStateMachine):
    """One dataset, two machines."""

    @initialize(where=st.sampled_from(["folder", HUB]))
    def begin(self, where: str) -> None:
        self.place, self.target = places[0], where
        self.generation = ""
        self.committed: dict[str, bytes] = {}
        self.place.hub.settle()
        for name in ("machine-0", "machine-1", "target", f"hub/repos/{REPO}"):
            shutil.rmtree(self.place.folder / name, ignore_errors=True)
        for name in ("machine-0", "machine-1", "target"):
            (self.place.folder / name).mkdir()

    @rule(machine=MACHINES, named=NAMED, fault=st.none() | FAULTS)
    def fresh(self, machine: int, named: Sequence[str], fault: tuple[int, str] | None) -> None:
        self.run(machine, ["--fresh", *named], fault)

    @rule(machine=MACHINES, named=NAMED, fault=st.none() | FAULTS)
    def resume(self, machine: int, named: Sequence[str], fault: tuple[int, str] | None) -> None:
        self.run(machine, ["--fresh", "--resume", *named], fault)

    @rule(machine=MACHINES, named=NAMED, fault=st.none() | FAULTS)
    def append(self, machine: int, named: Sequence[str], fault: tuple[int, str] | None) -> None:
        self.run(machine, ["--append", *named], fault)

    @rule(machine=MACHINES, source=st.sampled_from(EVERYTHING), fault=st.none() | FAULTS)
    def go_on_from_a_checkpoint(self, machine: int, source: str, fault: tuple[int, str] | None) -> None:
        file = f"checkpoints/{source}_unified_checkpoint.json"
        if (self.folder_of(machine) / file).exists():
            self.run(machine, ["--fresh", source, "--checkpoint", file], fault)

    @rule(machine=MACHINES, lost=st.sampled_from(["data", "data/staging", "checkpoints", "."]))
    def lose_local_state(self, machine: int, lost: str) -> None:
        shutil.rmtree(self.folder_of(machine) / lost, ignore_errors=True)

    @rule(at=st.integers(1, 120), named=NAMED)
    def meet_a_second_writer(self, at: int, named: Sequence[str]) -> None:
        """A run stands still at some step, another one on the other machine writes all, the first one goes on."""
        stopped = {"at": at, "action": "pause", "seed": 0, "mark": self.place.folder / "struck"}
        first = self.the_run(0, ["--fresh", "--resume", *named], stopped)
        pid = self.place.warm.start(first)
        ended = self.place.warm.wait(pid, first)
        self.run(1, ["--fresh", "--resume", *EVERYTHING], None)
        if ended.code is None:
            self.place.warm.go_on(pid)
            ended = self.place.warm.wait(pid, first)
        self.check(ended)

    @invariant()
    def what_is_committed_stays(self) -> None:
        """In one generation no file that was committed ever changes or goes, and the ledger knows them all."""
        published = self.published()
        if oracle.STATE not in published:
            return
        state = json.loads(published[oracle.STATE])
        if state["generation"] != self.generation:
            self.generation, self.committed = state["generation"], {}
        if state["replaces_old_data"]:
            return
        named = {path: published[path] for path in oracle.named_files(state) if path in published}
        assert {path: named.get(path) for path in self.committed} == self.committed
        self.committed = named
        # In a folder the ledger may be a commit ahead of the state, which says how much of it counts.
        counts = published.get(".ingest/files.jsonl", b"")[: state["ledger_bytes"]]
        ledger = [json.loads(line) for line in counts.splitlines()]
        listed = {record["path"]: record["sha256"] for record in ledger if "path" in record}
        assert {path: sha256(content).hexdigest() for path, content in named.items()} == listed
        assert not list(oracle.unbalanced(state))

    def teardown(self) -> None:
        """Whatever was: one run names everything, and all is there once."""
        if not hasattr(self, "place"):
            return
        for _ in range(3):
            ended = self.run(0, ["--fresh", "--resume", *EVERYTHING], None)
            if ended.code == 0:
                break
        assert ended.code == 0, ended.told
        self.what_is_committed_stays()
        rows, rejects = self.ids("data"), self.ids("rejected")
        assert len(set(rows) | set(rejects)) == len(rows) + len(rejects) == CLIPS - UNSELECTED
        assert len(rejects) == REJECTS
        assert list(oracle.left_lying(self.folder_of(0))) == []
        verified = self.run(0, ["--verify", "--deep"], None, ())
        assert verified.code == 0, verified.told

    # -- how ------------------------------------------------------------------------------------

    def run(
        self, machine: int, command: list[str], fault: tuple[int, str] | None, more: Sequence[str] = MIRRORS
    ) -> Ended:
        order = None
        if fault:
            order = {"at": fault[0], "action": fault[1], "seed": fault[0], "mark": self.place.folder / "struck"}
        ended = self.place.warm.run(self.the_run(machine, command, order, more))
        self.check(ended)
        return ended

    def the_run(
        self, machine: int, command: list[str], fault: dict[str, object] | None, more: Sequence[str] = MIRRORS
    ) -> Run:
        environment = environment_of(self.place.hub, self.place.folder)
        return Run(arguments([*command, *more], self.target), self.folder_of(machine), environment, fault)

    def check(self, ended: Ended) -> None:
        assert list(oracle.complaints(ended.code, ended.told)) == []

    def folder_of(self, machine: int) -> Path:
        return self.place.folder / f"machine-{machine}"

    def published(self) -> oracle.Files:
        if self.target != HUB:
            return tree(self.place.folder / "target/out")
        return files_at(self.place.hub, "main") if self.place.hub.store.settings(REPO) else {}

    def ids(self, folder: str) -> list[str]:
        published = self.published()
        shards = [content for path, content in published.items() if path.startswith(f"{folder}/")]
        with tempfile.TemporaryDirectory(dir=self.place.folder) as scratch:
            found: list[str] = []
            for content in shards:
                path = Path(scratch) / "shard.parquet"
                path.write_bytes(content)
                found += pq.read_table(path, columns=["source_id"], partitioning=None)["source_id"].to_pylist()
        return found


def test_any_mix_of_runs_ends_with_every_clip_once() -> None:
    """The law itself, over mixes that hypothesis draws."""
    quick = settings(
        max_examples=8,
        stateful_step_count=6,
        deadline=None,
        derandomize=True,
        phases=[Phase.generate],  # shrinking takes minutes
        suppress_health_check=list(HealthCheck),
    )
    run_state_machine_as_test(Runs, settings=quick)
