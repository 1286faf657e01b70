"""Rows of another kind than speech: their own config, folder and IDs, by the same way, and speech is none the wiser."""

import hashlib
import json
import os
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from pipeline.commands.prune import run_prune
from pipeline.commands.repair import run_repair
from pipeline.commands.verify import report
from pipeline.interrupts import StopRequest
from pipeline.run.factory import make_target
from pipeline.run.run import RunResult, run
from pipeline.terminal.report import status_report, summary
from processors import create
from processors.base_processor import ProcessorConfig
from tests.damage import change_rows, change_split, put_state, state_of
from tests.hub_server import TOKEN, HubServer
from tests.kills import Killed, KilledAt
from tests.rows.pairs import KEPT, PAIRS, SOURCE, register, write_pairs
from tests.runs import environment
from tests.small_runs import CLIPS, Seen, StopAfter, ids_of, small_options, small_run, watching, write_mirror
from tests.small_runs import KEPT as CLIPS_KEPT
from tests.small_runs import SOURCE as SPEECH_SOURCE
from tests.support import tree
from utils.audit.findings import NOT_SOUND
from utils.audit.verify import verify
from utils.choices import AudioOptions
from utils.dataset.card import render_card
from utils.dataset.folder import LocalTarget
from utils.dataset.hub_repo import HubTarget
from utils.dataset.layout import CARD_PATH, DATA_FOLDERS
from utils.dataset.state import DamagedState, SourceState, SplitState, State
from utils.dataset.target import Target
from utils.errors import TargetRefused
from utils.rows.ids import IdSet
from utils.rows.progress import Progress
from utils.rows.schema import DIALOGUE, ROW_SCHEMAS, SPEECH, Dialogue, Sample, hf_features, published_schema
from utils.rows.sealed_json import checked_json, json_with_checksum
from utils.sources.source_files import SourceAccess
from utils.upload.upload_checkpoint import load_uploaded

BOTH = {"sources": (SPEECH_SOURCE, SOURCE)}
REPO = "me/thai-voice"
PUBLISHED = ("data", "dialogue", "rejected", CARD_PATH)
FIRST = f"dialogue/train/{SOURCE}-00000.parquet"


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    """Nobody pulls the plug of a test: flushing to the disk would only take time. And the text source is known."""
    monkeypatch.setattr(os, "fsync", lambda descriptor: None)
    register(monkeypatch)


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A machine with both mirrors, where an undisturbed run of both sources has published `out`."""
    machine = write_pairs(write_mirror(tmp_path_factory.mktemp("made") / "mirrors")).parent
    with pytest.MonkeyPatch.context() as patched:
        register(patched)
        small_run(machine, **BOTH)
    return machine


@pytest.fixture
def machine(made: Path, tmp_path: Path) -> Path:
    """A machine with both mirrors, and nothing else."""
    shutil.copytree(made / "mirrors", tmp_path / "mirrors")
    return tmp_path


@pytest.fixture
def dataset(made: Path, tmp_path: Path) -> Path:
    """A copy of what was published."""
    return Path(shutil.copytree(made / "out", tmp_path / "out"))


@pytest.fixture
def hub(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[HubServer]:
    with HubServer(tmp_path / "server") as server:
        monkeypatch.setenv("HF_ENDPOINT", server.endpoint)
        yield server


def rows_of(folder: Path, split: str, below: str = "dialogue") -> list[dict[str, Any]]:
    paths = sorted((folder / below / split).glob("*.parquet"))
    return [row for path in paths for row in pq.read_table(path, partitioning=None).to_pylist()]


def published(folder: Path) -> dict[str, bytes]:
    return tree(folder, *PUBLISHED[:-1]) | {CARD_PATH: (folder / CARD_PATH).read_bytes()}


def broken(target: Target, scratch: Path, repo_id: str | None = None, deep: bool = True) -> dict[str, list[str]]:
    shutil.rmtree(scratch, ignore_errors=True)
    found = verify(target, scratch, deep=deep, repo_id=repo_id)
    return {check.name: check.offenders for check in found.checks if check.result == NOT_SOUND}


# --- what a kind of rows is ------------------------------------------------------------------


def test_schema_of_dialogue_is_that_of_datasets() -> None:
    """Fields, types and metadata are what `datasets` would write; `Dialogue` names the same columns in order."""
    from datasets import Features, Value

    kinds = {"likes": "int64", "replies": "int64"}
    features = Features({name: Value(kinds.get(name, "string")) for name in Dialogue.__annotations__})

    ours = published_schema(16_000, DIALOGUE)
    assert ours.equals(features.arrow_schema, check_metadata=True)
    assert hf_features(None, DIALOGUE) == features.to_dict()
    assert list(Sample.__annotations__) == list(SPEECH.columns)


def test_kinds_of_rows_are_told_apart_by_all_that_names_them() -> None:
    """Neither names, nor folders, nor letters of IDs are shared; the folder of rejects is none of theirs."""
    kinds = ROW_SCHEMAS.values()

    assert len({rows.id_prefix for rows in kinds}) == len({rows.name for rows in kinds}) == len(kinds)
    assert len(set(DATA_FOLDERS)) == len(DATA_FOLDERS) == len(kinds) + 1
    assert all({"ID", "source_id", "dataset_name"} <= set(rows.columns) for rows in kinds)


def test_payload_is_audio_or_all_texts() -> None:
    """What shards and row groups are cut by; the ID is given later, so it plays no part."""
    assert SPEECH.payload_bytes({"audio": {"bytes": b"12345", "path": "x"}, "transcript": "ยาว" * 100}) == 5
    assert DIALOGUE.payload_bytes({"ID": "D1", "prompt": "ก", "response": "ab", "likes": 7, "query": None}) == 5


@pytest.mark.parametrize("prefix", ["S", "D"])
def test_ids_of_a_kind_are_ranges_of_its_own_letter(prefix: str) -> None:
    """IDs of another letter are just others."""
    other = "D" if prefix == "S" else "S"
    ids = IdSet([f"{prefix}{number}" for number in (1, 2, 3, 7)] + [f"{other}5"], prefix=prefix)

    assert ids.ranges == [(1, 3), (7, 7)]
    assert ids.others == [f"{other}5"]
    assert set(IdSet.from_json(ids.to_json(), prefix)) == set(ids)
    with pytest.raises(ValueError, match="not an ID or a range"):
        IdSet.from_json([[f"{other}1", f"{other}3"]], prefix)


# --- the state -------------------------------------------------------------------------------


def old_state() -> State:
    books = SplitState(Progress({"index": 3}, 3, 2, 1), 1, 2, ((1, 2),), 0.5, 100)
    source = SourceState("revision", {"max_shard_mb": 400}, {"title": "คลังเสียง"}, {"train": books})
    signed = {"ledger_bytes": 10, "ledger_sha256": "ab", "libraries": {"numpy": "2"}}
    return State("generation", 16_000, 3, (), {"Corpus": source}, **signed, sequence=1, run_id="r", committed_at="t")


def test_state_of_speech_is_the_very_one_that_older_versions_write() -> None:
    """Byte by byte, so an older program goes on with it; and what it wrote loads."""
    raw = old_state().to_json()

    assert hashlib.sha256(raw).hexdigest() == "9e486a07a9df9c766b19c8b7c7e1fd9187f8472d6f5af84476a4acb871e7b04b"
    assert State.from_json(raw) == old_state()
    assert State.from_json(raw).next_id_of(DIALOGUE) == 1


def test_state_with_other_rows_is_one_that_older_versions_refuse() -> None:
    """It says so by its version: to an older program it must not look damaged. It loads as it was."""
    mixed = old_state().with_source("Pairs", SourceState("r", {"a": 1}, {}, {"train": SplitState()}, "dialogue"))
    mixed = mixed.with_next_id(DIALOGUE, 5)
    content = checked_json(mixed.to_json())

    assert content["version"] == 2
    assert content["next_ids"] == {"dialogue": 5}
    assert [source.get("schema") for source in content["sources"].values()] == [None, "dialogue"]
    assert State.from_json(mixed.to_json()) == mixed


@pytest.mark.parametrize(
    "change",
    [
        lambda content: content["sources"]["Pairs"].update(schema="dreams"),
        lambda content: content.update(next_ids={"dreams": 2}),
        lambda content: content.update(version=1),
    ],
    ids=["rows of a later version", "IDs of a later version", "a version that had no such rows"],
)
def test_state_with_rows_that_nobody_knows_is_not_guessed_at(change: Callable[[dict], None]) -> None:
    """It is another program's, and it is not damaged."""
    mixed = old_state().with_source("Pairs", SourceState("r", {"a": 1}, {}, {}, "dialogue"))
    content = checked_json(mixed.to_json())
    change(content)

    with pytest.raises(TargetRefused, match="another version of this program"):
        State.from_json(json_with_checksum(content))


def test_ids_below_the_first_are_damage() -> None:
    """A state with a checksum that fits, but IDs that can't be."""
    mixed = old_state().with_next_id(DIALOGUE, 0)

    with pytest.raises(DamagedState, match="counts less than nothing"):
        State.from_json(mixed.to_json())


# --- a dataset of both -----------------------------------------------------------------------


def test_each_kind_has_its_own_folder_and_its_own_ids(made: Path) -> None:
    """D1, D2, ... in published order without holes, beside S1, S2, ...; rejects lie where all rejects lie."""
    out, state = made / "out", state_of(made / "out")

    rows = [*rows_of(out, "test"), *rows_of(out, "train")]
    assert [row["ID"] for row in rows] == [f"D{number}" for number in range(1, KEPT + 1)]
    assert list(rows[0]) == list(DIALOGUE.columns)
    assert rows[1]["prompt"] == "คำถามที่ 21?"
    assert (rows[0]["likes"], rows[1]["likes"], rows[0]["query"]) == (None, 21, None)
    assert sorted(sum((ids_of(out, split) for split in CLIPS), [])) == list(range(1, CLIPS_KEPT + 1))
    assert (state.next_id, state.next_ids) == (CLIPS_KEPT + 1, {"dialogue": KEPT + 1})
    rejected = [row for path in out.glob(f"rejected/*/{SOURCE}-*") for row in pq.read_table(path).to_pylist()]
    assert sorted(row["reason"] for row in rejected) == ["repeated_source_id", "short_answer", "short_answer"]
    assert not list(out.glob(f"data/*/{SOURCE}-*")) + list(out.glob(f"dialogue/*/{SPEECH_SOURCE}-*"))
    assert pq.read_schema(out / FIRST).equals(published_schema(16_000, DIALOGUE), check_metadata=True)
    books = state.sources[SOURCE].splits["train"]
    assert (books.progress.unselected, books.duration_s, books.ids) == (1, 0.0, ((4, KEPT),))


def test_speech_is_published_as_if_there_were_nothing_else(made: Path, machine: Path) -> None:
    """Not a byte of its shards, rejects, books and checkpoints differs."""
    small_run(machine)

    both, alone = (tree(place / "out", "data", "rejected") for place in (made, machine))
    assert {path: content for path, content in both.items() if SOURCE not in Path(path).name} == alone
    states = [state_of(place / "out") for place in (made, machine)]
    assert states[0].sources[SPEECH_SOURCE] == states[1].sources[SPEECH_SOURCE]
    assert states[0].next_id == states[1].next_id
    for split in CLIPS:
        name = f"checkpoints/*_out_{split}_upload_checkpoint.json"
        told = [json.loads(next(place.glob(name)).read_bytes()) for place in (made, machine)]
        differing = {"generation": 0, "dataset_name": 0, "checksum": 0}
        assert {**told[0], **differing} == {**told[1], **differing}


@pytest.mark.parametrize("looks", [1, 5])
def test_stopped_and_resumed_run_publishes_the_same_bytes(made: Path, machine: Path, looks: int) -> None:
    """After any number of items: shards, rejects and card are those of the undisturbed run."""
    stops = 0
    while small_run(machine, StopAfter(looks), resume=stops > 0, **BOTH).interrupted:
        stops += 1
        assert stops < 60, "it reads the same items again and again"

    assert stops > 3
    assert published(machine / "out") == published(made / "out")


def test_killed_and_resumed_run_publishes_the_same_bytes(made: Path, machine: Path) -> None:
    """Killed at steps all over a run that adds the text source, half of what was being written left behind."""
    small_run(machine)
    clean = machine / "clean"
    for name in ("out", "data", "checkpoints", "mirrors"):
        shutil.copytree(machine / name, clean / name)
    with watching(Seen(machine)) as seen:
        small_run(machine, fresh=False, sources=(SOURCE,))
    undisturbed = published(machine / "out")
    assert tree(machine / "out", "dialogue") == tree(made / "out", "dialogue")

    for number in range(5, len(seen.steps), 41):
        for name in ("out", "data", "checkpoints"):
            shutil.rmtree(machine / name)
            shutil.copytree(clean / name, machine / name)
        with watching(KilledAt(number, half=number % 2 == 0)), pytest.raises(Killed):
            small_run(machine, fresh=False, sources=(SOURCE,))

        small_run(machine, fresh=False, resume=True, sources=(SOURCE,))

        assert published(machine / "out") == undisturbed, seen.steps[number]
        assert not list(machine.glob("data/staging/*/*/*/*.arrow"))


def test_leftover_of_a_run_that_died_is_set_aside(dataset: Path) -> None:
    """A shard that no state names, of whatever kind, stands in nobody's way."""
    (dataset / "dialogue/test").mkdir(exist_ok=True)
    shutil.copy(dataset / FIRST, dataset / f"dialogue/test/{SOURCE}-00009.parquet")
    target = LocalTarget(dataset)

    target.heal(target.snapshot())

    assert not (dataset / f"dialogue/test/{SOURCE}-00009.parquet").exists()
    assert (dataset.with_name("out.set-aside") / f"dialogue/test/{SOURCE}-00009.parquet").exists()
    assert (dataset / FIRST).exists()


@pytest.mark.parametrize("index", ["kept", "lost"])
def test_newer_revision_of_a_text_source_adds_what_is_new(made: Path, machine: Path, index: str) -> None:
    """What is published or rejected is passed over, and the IDs go on; from the published rows alone, too."""
    for name in ("out", "data", "checkpoints"):
        shutil.copytree(made / name, machine / name)
    before = tree(machine / "out", *PUBLISHED)
    if index == "lost":
        shutil.rmtree(machine / "data/staging")
    write_pairs(machine / "mirrors", {**PAIRS, "train": [*PAIRS["train"], 40, 43, 45]})

    small_run(machine, fresh=False, **BOTH)

    added = rows_of(machine / "out", "train")[-2:]
    assert [(row["ID"], row["source_id"]) for row in added] == [("D11", "Pairs/train/40"), ("D12", "Pairs/train/45")]
    after = tree(machine / "out", *PUBLISHED)
    assert {path: after[path] for path in before} == before
    assert state_of(machine / "out").sources[SOURCE].splits["train"].progress.known == 9
    assert ids_of(machine / "out", "train")[-1] == CLIPS_KEPT


def test_options_of_audio_do_not_concern_a_text_source(made: Path, machine: Path) -> None:
    """A resume with others goes on."""
    small_run(machine, StopAfter(6), sources=(SOURCE,))
    small_run(machine, resume=True, sources=(SOURCE,), audio=AudioOptions(target_dbfs=-23.0))
    assert tree(machine / "out", "dialogue") == tree(made / "out", "dialogue")

    assert not [key for key in state_of(machine / "out").sources[SOURCE].fingerprint if key.startswith("audio.")]


def test_source_whose_rows_became_another_kind_is_refused(machine: Path) -> None:
    """One source is of one kind, from its first row to its last."""
    speech = SourceState("revision", {"audio.target_dbfs": -20.0}, {}, {"train": SplitState()})
    (machine / "out/.ingest").mkdir(parents=True)
    put_state(machine / "out", State("generation", 16_000).with_source(SOURCE, speech))

    with pytest.raises(TargetRefused, match="rows: it was None, now 'dialogue'"):
        small_run(machine, fresh=False, sources=(SOURCE,))


def test_processor_by_itself_numbers_its_rows_with_their_letter(machine: Path) -> None:
    """Provisional IDs, in its checkpoints as well."""
    processor = create(SOURCE, ProcessorConfig(machine / "own", access=SourceAccess(machine / "mirrors")))

    rows = list(processor.process_all_splits())

    assert [row["ID"] for row in rows] == [f"D{number}" for number in range(1, len(rows) + 1)]
    assert processor.load_unified_checkpoint()["last_sample_id"] == f"D{len(rows)}"


def test_uploaded_ids_of_each_kind_have_a_file_of_their_own(made: Path) -> None:
    """Its ranges load; the speech file knows nothing of them."""
    (path,) = made.glob("checkpoints/*out_train_dialogue_upload_checkpoint.json")
    (speech,) = made.glob("checkpoints/*out_train_upload_checkpoint.json")

    uploaded = load_uploaded(path)

    assert uploaded["config"] == "dialogue"
    assert list(uploaded["uploaded_ids"]) == [f"D{number}" for number in range(4, KEPT + 1)]
    assert uploaded["samples_uploaded"] == len(rows_of(made / "out", "train"))
    assert "config" not in load_uploaded(speech)
    assert not any(one.startswith("D") for one in load_uploaded(speech)["uploaded_ids"])


def test_fresh_start_puts_all_kinds_away(made: Path, machine: Path) -> None:
    """Their checkpoints of uploaded IDs are archived too; the new dataset has none of the old rows."""
    for name in ("out", "data", "checkpoints"):
        shutil.copytree(made / name, machine / name)
    options = small_options(machine)
    for path in (machine / "checkpoints").glob("*upload_checkpoint.json"):
        split = path.name.split("_out_")[1]
        path.rename(path.with_name(f"{options.target_name.strip('/').replace('/', '_')}_{split}"))

    small_run(machine)

    assert not (machine / "out/dialogue").exists()
    assert state_of(machine / "out").next_ids == {}
    assert list(machine.glob("out.before-fresh-*/dialogue/train/*.parquet"))
    assert len(list(machine.glob("checkpoints/archive/*/*_dialogue_upload_checkpoint.json"))) == 2
    assert "Nothing is older" in run_prune(replace(options, dry_run=True))


# --- what readers see ------------------------------------------------------------------------

LOAD = """
import json, sys
from datasets import Audio, get_dataset_config_names, load_dataset
where, cache = sys.argv[1:]
told = {"configs": get_dataset_config_names(where)}
for config in [None, *told["configs"]]:
    for split, rows in load_dataset(where, config, cache_dir=cache).items():
        rows = rows.cast_column("audio", Audio(decode=False)) if "audio" in rows.column_names else rows
        told[f"{config}/{split}"] = [row["ID"] for row in rows]
assert "torch" not in sys.modules
print(json.dumps(told))
"""


def loaded(where: str, folder: Path, extra: dict[str, str] | None = None) -> dict[str, list[str]]:
    """What `load_dataset` gives in a process of its own: configs, and the IDs of each one's splits (sorted)."""
    there = environment({"HF_HOME": str(folder / "hf"), **(extra or {"HF_HUB_OFFLINE": "1"})})
    command = [sys.executable, "-c", LOAD, where, str(folder / "cache")]
    done = subprocess.run(command, env=there, cwd=folder, capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr[-3000:]
    return {name: sorted(ids) for name, ids in json.loads(done.stdout).items()}


def assert_configs(found: dict[str, list[str]]) -> None:
    """Dialogue in its own config alone; all speech in the default one and in its source's."""
    assert found["configs"] == sorted(["default", SPEECH_SOURCE, "dialogue"])
    assert found["dialogue/test"] == ["D1", "D2", "D3"]
    assert found["dialogue/train"] == sorted(f"D{number}" for number in range(4, KEPT + 1))
    clips = sorted(f"S{number}" for number in range(1, CLIPS_KEPT + 1))
    for config in ("None", "default", SPEECH_SOURCE):
        assert sorted(sum((found[f"{config}/{split}"] for split in CLIPS), [])) == clips


def test_folder_loads_as_configs_that_do_not_mix(dataset: Path, tmp_path: Path) -> None:
    """By `load_dataset`, without torch."""
    assert_configs(loaded(str(dataset), tmp_path))


def on_hub(machine: Path, stop: StopRequest | None = None, **options: Any) -> RunResult:
    chosen, stop = small_options(machine, hf_repo=REPO, patience_minutes=0.1, **options), stop or StopRequest()
    return run(chosen, make_target(chosen, TOKEN, stop), TOKEN, stop)


def test_repo_on_the_hub_is_the_same_dataset(made: Path, machine: Path, hub: HubServer, tmp_path: Path) -> None:
    """Interrupted and resumed, the same shards in commits of their own; it loads, is sound, and fresh replaces it."""
    stops = 0
    while on_hub(machine, StopAfter(9), resume=stops > 0, **BOTH).interrupted:
        stops += 1
    ours = {path: hub.read(REPO, path) for path in hub.files(REPO) if path.split("/")[0] in DATA_FOLDERS}

    assert stops > 1
    assert ours == tree(made / "out", *DATA_FOLDERS)
    titles = [title for title in hub.commit_titles(REPO) if title.startswith(f"Add {SOURCE}/test 00000")]
    assert len(titles) == 1 and titles[0].endswith(" pairs")
    target = HubTarget(REPO, TOKEN, tmp_path, patience_s=0.4)
    assert broken(target, tmp_path / "indexes", REPO) == {}
    assert_configs(loaded(REPO, tmp_path, {"HF_ENDPOINT": hub.endpoint, "HF_TOKEN": TOKEN}))

    on_hub(machine)
    assert [path for path in hub.files(REPO) if path.startswith("dialogue/") or SOURCE in path.split("/")[-1]] == []


def test_card_tells_of_pairs_apart_from_clips(made: Path) -> None:
    """A table and columns of their own, no hours; the clips' part is what it is without them."""
    card = (made / "out" / CARD_PATH).read_text()
    section = card.split("## Dialogue")[1].split("\n## ")[0]

    assert f"**{CLIPS_KEPT} clips" in card
    assert f"{KEPT} pairs from 1 source" in section
    assert f"| {SOURCE} | train | {KEPT - 3} | 2 |" in section
    assert 'load_dataset("path/to/this/folder", "dialogue", split="train")' in section
    assert all(f"| `{name}` |" in section for name in DIALOGUE.columns)
    assert f"| {SOURCE} |" not in card.replace(section, "")
    assert f"### {SOURCE}: Questions and answers" in card
    assert "text-generation" in card
    assert "## Rejected clips and pairs" in card


def test_dataset_of_dialogue_alone_says_nothing_of_audio(machine: Path, tmp_path: Path) -> None:
    """Its only config is loaded without a name; no hours, no sample rate, no audio in card, status and summary."""
    result = small_run(machine, sources=(SOURCE,))
    out = machine / "out"

    card = (out / CARD_PATH).read_text()
    assert not [word for word in ("clips,", "duration", "speech-recognition", "Hz", "audio`") if word in card]
    found = loaded(str(out), tmp_path)
    assert found["configs"] == ["dialogue"]
    assert found["None/train"] == found["dialogue/train"]
    told = [status_report(result.state, "out"), summary(result.state, "out", result.splits)]
    for text in told:
        assert f"{KEPT} pairs" in text and f"IDs D1 to D{KEPT}" in text
        assert not [word for word in ("clips", " h ", "min", "Audio") if word in text.replace("audio", "")]
    assert 'pairs = load_dataset("out", "dialogue")' in told[1]
    assert "The books balance: read 14 = kept 10 + rejected 3 + unselected 1; kept 10 = published 10." in told[1]


def test_reports_tell_of_both(made: Path) -> None:
    """Clips with their duration, pairs with none; the sum is of both, its duration of the clips."""
    state = state_of(made / "out")
    status, told = status_report(state, "out"), summary(state, "out", {})

    for text in (status, told):
        assert f"{CLIPS_KEPT} clips, " in text and f"; and {KEPT} pairs, " in text
        of_pairs = text.split(f"\n{SOURCE}\n")[1].splitlines()
        assert [line.split()[-1 if text is told else -2] for line in of_pairs[:2]] == ["-", "-"]
    assert 'dataset = load_dataset("out").cast_column' in told
    assert 'pairs = load_dataset("out", "dialogue")' in told
    begun = summary(State("g"), "out", {(SOURCE, "train"): Progress({}, 3, 3)}, without_audio={SOURCE})
    begun += status_report(State("g"), "out", {(SOURCE, "train"): 3}, without_audio={SOURCE})
    assert " s\n" not in begun and " s " not in begun
    total = next(line for line in told.splitlines() if line.startswith("all "))
    assert total.split()[-3:] == [str(CLIPS_KEPT + KEPT), "3.3", "s"]


# --- verify and repair -----------------------------------------------------------------------


def test_what_was_published_is_sound(dataset: Path, tmp_path: Path) -> None:
    """With every clip decoded, and every pair's IDs, names and books compared."""
    assert broken(LocalTarget(dataset), tmp_path / "indexes") == {}


@pytest.mark.parametrize(
    ("sources", "told"), [((SOURCE,), "D1"), ((SPEECH_SOURCE,), "S1"), ((SPEECH_SOURCE, SOURCE), "S1 and D1")]
)
def test_verify_names_ids_as_they_are(tmp_path: Path, sources: tuple[str, ...], told: str) -> None:
    """The letters of the kinds of rows that are there; seconds only where something lasts."""
    write_pairs(write_mirror(tmp_path / "mirrors"))
    small_run(tmp_path, sources=sources)

    text = report(verify(LocalTarget(tmp_path / "out"), tmp_path / "indexes"), "out")

    assert f"as published, {told} to the last, holes only where named" in text
    assert ("rows (" in text) == (SPEECH_SOURCE in sources)


def test_one_pair_is_no_pairs() -> None:
    """In what people read."""
    books = SplitState(Progress({"index": 1}, 1, 1), parts=1, published=1, ids=((1, 1),), size_bytes=90)
    source = SourceState("r", {"x": 1}, {}, {"train": books}, "dialogue")
    state = State("g", sources={SOURCE: source}, next_ids={"dialogue": 2})

    for text in (status_report(state, "out"), summary(state, "out", {}), render_card(state, "", None)):
        assert "1 pair" in text and "1 pairs" not in text and "D1 to D1" not in text


def moved(rows: list[dict[str, Any]]) -> list[dict[str, Any]]:
    return [{**row, "ID": f"D{int(row['ID'][1:]) + 90}"} for row in rows]


@pytest.mark.parametrize(
    ("change", "found"),
    [
        (lambda rows: [*rows, rows[0]], {"IDs", "source ids", "counts", "order of IDs"}),
        (lambda rows: rows[1:], {"counts", "order of IDs"}),
        (lambda rows: rows[::-1], {"order of IDs"}),
        (moved, {"order of IDs"}),
        (lambda rows: [{**row, "ID": ""} for row in rows], {"IDs", "order of IDs"}),
        (lambda rows: [{**row, "source_id": f"{SOURCE}/test/{row['ID']}"} for row in rows], {"splits"}),
    ],
    ids=["twice", "gone", "other way round", "IDs not given yet", "without IDs", "of another split"],
)
def test_damaged_rows_are_found(
    dataset: Path, tmp_path: Path, change: Callable[[list[dict]], list[dict]], found: set[str]
) -> None:
    """In a shard that is signed anew, so that only its rows tell."""
    change_rows(dataset, FIRST, change)
    target = LocalTarget(dataset)
    target.heal(target.snapshot())  # the card, which tells of sizes

    told = broken(target, tmp_path / "indexes")

    assert set(told) == found
    named = " ".join(sum(told.values(), []))
    assert "S1" not in named
    assert "D4" in named or FIRST in named or SOURCE in named


def test_lost_column_and_lost_file_are_found(dataset: Path, tmp_path: Path) -> None:
    """The columns are those of its kind; a part is looked for in its kind's folder."""
    table = pq.read_table(dataset / FIRST, partitioning=None)
    pq.write_table(table.drop_columns("response"), dataset / FIRST)
    (dataset / f"dialogue/test/{SOURCE}-00000.parquet").unlink()

    told = broken(LocalTarget(dataset), tmp_path / "indexes")

    assert told["readable"] == [f"{FIRST} has no column response"]
    assert told["files"] == [f"dialogue/test/{SOURCE}-00000.parquet is missing"]
    assert "D1 to D3 missing, and not named as a hole" in told["order of IDs"]


def test_wrong_count_and_stale_card_are_found(dataset: Path, tmp_path: Path) -> None:
    """The state's books of pairs against the files, the card against the state."""
    change_split(dataset, SOURCE, "train", lambda books: replace(books, published=books.published - 1))

    told = broken(LocalTarget(dataset), tmp_path / "indexes")

    assert {"counts", "books", "card"} <= set(told)


def test_repair_mends_clips_and_leaves_pairs_alone(dataset: Path, machine: Path) -> None:
    """Copies of clips go; not a byte, a number or a book of the pairs changes, and the dataset can be added to."""
    shard = f"data/train/{SPEECH_SOURCE}-00000.parquet"
    change_rows(dataset, shard, lambda rows: [*rows, rows[0]])
    before, books = tree(dataset, "dialogue"), state_of(dataset).sources[SOURCE]
    options = small_options(machine, fresh=False, **BOTH)

    told = run_repair(options, LocalTarget(dataset), StopRequest())

    assert "1 are copies and go" in told
    assert f"Rows that are no clips stay as they are: dialogue/test/{SOURCE}-00000.parquet, {FIRST}" in told
    assert tree(dataset, "dialogue") == before
    state = state_of(dataset)
    assert (state.sources[SOURCE], state.next_ids) == (books, {"dialogue": KEPT + 1})
    assert broken(LocalTarget(dataset), machine / "indexes") == {}
    write_pairs(machine / "mirrors", {**PAIRS, "train": [*PAIRS["train"], 40]})
    small_run(machine, fresh=False, **BOTH)
    assert rows_of(dataset, "train")[-1]["ID"] == f"D{KEPT + 1}"
    assert broken(LocalTarget(dataset), machine / "indexes") == {}


def test_repair_never_signs_a_damaged_file_of_pairs(dataset: Path, machine: Path) -> None:
    """Nothing is repaired, and `--verify` goes on to name the file."""
    table = pq.read_table(dataset / FIRST, partitioning=None)
    pq.write_table(pa.concat_tables([table, table.slice(0, 1)]), dataset / FIRST)
    told = broken(LocalTarget(dataset), machine / "indexes")

    repair = run_repair(small_options(machine), LocalTarget(dataset), StopRequest())

    assert "Nothing to repair" in repair
    assert {"contents", "source ids"} <= set(told)
    assert broken(LocalTarget(dataset), machine / "indexes") == told


def test_repair_does_not_take_pairs_for_clips(dataset: Path, machine: Path) -> None:
    """Where state and ledger are gone, nothing else says what these rows are: refused, nothing changed."""
    shutil.rmtree(dataset / ".ingest")
    before = tree(dataset, *PUBLISHED)

    with pytest.raises(TargetRefused, match="has no audio, and --repair mends clips alone"):
        run_repair(small_options(machine), LocalTarget(dataset), StopRequest())
    assert tree(dataset, *PUBLISHED) == before
