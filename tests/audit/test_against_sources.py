"""`--verify --source`: no false alarm on what is sound, whatever happened to it; what can't be told is said."""

import json
import shutil
from collections.abc import Callable, Iterator, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from main import main
from pipeline.cli import parse
from pipeline.commands.verify import run_verify
from pipeline.interrupts import StopRequest
from pipeline.run.factory import make_target
from processors import IN_DEMO, REGISTRY, describe
from processors.configured.own_source import OwnSource
from processors.configured.parquet_source import ParquetSource
from processors.demo.mirrors import write_demo_sources
from processors.gigaspeech2 import GigaSpeech2Processor
from processors.processed_voice_th import ProcessedVoiceTHProcessor
from tests.audit.test_removal import ANN, listing, removal, voices_run, write_voices
from tests.corpus_mirrors import tar_of, write_corpus_mirrors, write_files, zip_of
from tests.damage import put_state, state_of
from tests.hub_server import HubServer
from tests.processors.test_own_sources import CORPUS, PLACES, SPLITS, load, parquet, source
from tests.processors.test_processor_contract import linked_copy
from tests.processors.test_table_source import CONTENT, repeated_tar, repeated_zip
from tests.readers.test_parquet_names import PATHS, read, write
from tests.runs import run, run_until
from tests.small_runs import SOURCE, StopAfter, StopWhen, small_options, small_run, write_mirror
from tests.support import TonesProcessor, published_rows
from utils.dataset.state import SourceState, SplitState
from utils.errors import SourceError, UsageError
from utils.rows.schema import Position, RawClip

DEEP_ALONE = {
    *("GigaSpeech2", "MozillaCommonVoice", "TSync1"),
    *("FLEURS", "PorjaiCentral", "ThaiDialectPattani", "ThaiSER", "YODAS2", "TVSpeech"),
}
"""Those of the tests' mirrors that have no list: tar archives, and rows that are called by their audio."""


LARGE = {"upload_batch_size": 100, "checkpoint_interval": 100}


def verified(machine: Path, has_just_died: bool = False, **options: Any) -> tuple[dict[str, dict[str, Any]], int]:
    """What `--verify --source` says of each source, and the exit code.

    All else is sound, but for what a run leaves behind that `has_just_died`: a shard that no state names yet.
    """
    chosen = small_options(machine, **{"sources": (), "deep": True, **options})
    chosen = replace(chosen, fresh=False, against_sources=True, as_json=True)
    told, code = run_verify(chosen, make_target(chosen, None, StopRequest()), None, StopRequest())
    checks = {check["name"]: check for check in json.loads(told)["checks"]}
    unsound = {name for name, check in checks.items() if check["result"] == "not sound"}
    assert has_just_died or all(name.startswith("clips of ") for name in unsound)
    return {
        name.removeprefix("clips of "): check for name, check in checks.items() if name.startswith("clips of ")
    }, code


def results(checks: Mapping[str, Mapping[str, Any]]) -> dict[str, str]:
    return {name: check["result"] for name, check in checks.items()}


def assert_sound(machine: Path, **options: Any) -> int:
    """Everything of every source was looked at, and is there; returns how much that is."""
    checks, code = verified(machine, **options)
    assert {name: check for name, check in checks.items() if check["result"] != "sound"} == {}
    assert (code, bool(checks)) == (0, True)
    return sum(check["checked"] for check in checks.values())


@pytest.fixture(scope="module")
def mirrors(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Those of all sources."""
    folder = tmp_path_factory.mktemp("all-mirrors")
    written = write_demo_sources(tmp_path_factory.getbasetemp() / "demo-sources")
    for name in IN_DEMO:
        linked_copy(name, written, folder)
    write_corpus_mirrors(folder)
    return folder


# --- every layout ----------------------------------------------------------------------------


def test_sources_of_every_layout_are_sound(mirrors: Path, tmp_path: Path) -> None:
    """All that come with the program; without --deep those with a list of their clips, and nothing else of a file is
    read."""
    result = small_run(tmp_path, sources=tuple(REGISTRY), source_dir=mirrors, **LARGE)
    assert not result.failures

    read = sum(split.progress.read for one in result.state.sources.values() for split in one.splits.values())
    assert assert_sound(tmp_path, source_dir=mirrors) == read

    shallow, code = verified(tmp_path, source_dir=mirrors, deep=False)
    assert {name for name, found in results(shallow).items() if found == "not checked"} == DEEP_ALONE
    assert code == 0
    assert all("--deep" in shallow[name]["why_not_checked"] for name in DEEP_ALONE)
    some, _ = verified(tmp_path, source_dir=mirrors, sources=("Gowajee", "LOTUS"))
    assert results(some) == {"Gowajee": "sound", "LOTUS": "sound"}


@pytest.mark.parametrize("place", PLACES)
def test_own_sources_are_sound_wherever_they_lie(tmp_path: Path, place: str) -> None:
    """A row without its clip, a clip without a row and one row twice among them."""
    spec = ("columns: {audio: path, transcript: sentence}", SPLITS)
    table = CORPUS["train.tsv"] + "c9.wav\tไม่มี\nc1.wav\tข้อ 1\n".encode()
    corpus = {**CORPUS, "train.tsv": table, "clips/without-a-row.wav": CORPUS["clips/c0.wav"]}
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("tests.processors.test_own_sources.CORPUS", corpus)
        own = load(tmp_path, source(PLACES[place](tmp_path), *spec))
    small_run(tmp_path, sources=("MyCorpus",), own_sources=own, source_dir=None)

    assert assert_sound(tmp_path, own_sources=own, source_dir=None) == 9
    shallow, _ = verified(tmp_path, own_sources=own, source_dir=None, deep=False)
    assert results(shallow) == {"MyCorpus": "not checked" if "tar" in place else "sound"}


@pytest.mark.parametrize(
    ("name", "archive"),
    [("a.zip", repeated_zip), ("a.tar", lambda: repeated_tar("w")), ("a.tar.gz", lambda: repeated_tar("w:gz"))],
)
def test_a_clip_that_an_archive_has_twice_is_accounted_for_twice(
    tmp_path: Path, name: str, archive: Callable[[], bytes]
) -> None:
    """As a row or a reject, and as a repetition."""
    write_files(tmp_path / "corpus", {name: archive()})
    own = load(tmp_path, source("corpus"))
    small_run(tmp_path, sources=("MyCorpus",), own_sources=own, source_dir=None)

    assert assert_sound(tmp_path, own_sources=own, source_dir=None) == 3


@pytest.mark.parametrize("ids", [True, False], ids=["ids", "paths and content"])
def test_a_row_too_large_to_be_loaded_is_known_by_its_place(
    tmp_path: Path, ids: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Only reading it tells that it is: who lists names sees its name, the dataset the place where it stands."""
    for module in ("processors.readers.parquet", "processors.listing.parquet", "processors.engine.unreadable"):
        monkeypatch.setattr(f"{module}.MAX_CLIP_BYTES", 9_000)
    write_files(tmp_path / "corpus", {"train.parquet": parquet(range(3))})
    columns = f"columns: {{audio: speech, transcript: words{', id: words' if ids else ''}}}"
    own = load(tmp_path, source("corpus", columns, reader="parquet"))
    small_run(tmp_path, sources=("MyCorpus",), own_sources=own, source_dir=None)
    assert state_of(tmp_path / "out").split("MyCorpus", "train").progress.rejected == 3

    assert assert_sound(tmp_path, own_sources=own, source_dir=None) == 3


@pytest.mark.parametrize("rule", [1, 2])
@pytest.mark.parametrize("path", PATHS.values(), ids=PATHS)
def test_rows_without_ids_are_listed_by_the_rule_that_named_them(
    tmp_path: Path, path: str, rule: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """By their paths or their places, as of old, which takes no audio; or by their content."""
    write(tmp_path, [1, 3, 4, 3], path)
    with monkeypatch.context() as then:
        then.setattr(ParquetSource, "newest_naming", rule)
        read(tmp_path)
    own = load(tmp_path, source(str(tmp_path / "corpus"), "columns: {transcript: text}", reader="parquet"))

    assert assert_sound(tmp_path, own_sources=own, source_dir=None) == 4
    shallow, _ = verified(tmp_path, own_sources=own, source_dir=None, deep=False)
    assert results(shallow) == {"MyCorpus": "sound" if rule == 1 else "not checked"}


@pytest.mark.parametrize("packing", ["folder", "tar.gz"])
def test_what_is_held_out_of_train_is_counted(tmp_path: Path, packing: str) -> None:
    """By sentence and by speaker; that the source was begun so is the state's word. Of an extracted release nothing but
    its tables is read."""
    root = write_voices(tmp_path / "mirrors") / describe("MozillaCommonVoice").mirror
    release = root / "cv-corpus-25.0-2026-03-09/th"
    rows = (release / "train.tsv").read_text() + "dan\ttrain-0.mp3\tประโยคที่ 77\ndan\tgone.mp3\tประโยคที่ 78\n"
    (release / "validated.tsv").write_text(rows)
    if packing == "tar.gz":
        files = {str(path.relative_to(root)): path.read_bytes() for path in sorted(release.rglob("*.*"))}
        shutil.rmtree(root / "cv-corpus-25.0-2026-03-09")
        write_files(root, {"cv-corpus-25.0-2026-03-09-th.tar.gz": tar_of(files, "w:gz")})
    voices_run(tmp_path, source_options={"MozillaCommonVoice": {"split": "validated"}})
    assert state_of(tmp_path / "out").split("MozillaCommonVoice", "train").progress.unselected

    assert assert_sound(tmp_path, deep=packing == "tar.gz") == 18


# --- half read, dead, resumed ----------------------------------------------------------------

HALF_READ = ("GigaSpeech2", "MozillaCommonVoice", "ThaiElderly", "Gowajee", "LOTUS", "TSync1", "YODAS2")


@pytest.mark.parametrize("name", HALF_READ)
def test_a_source_that_is_read_in_part_is_held_against_that_part(name: str, mirrors: Path, tmp_path: Path) -> None:
    """Wherever its position is; and when it is resumed to its end, against all of it."""
    cuts = {"checkpoint_interval": 3, "upload_batch_size": 10 if name in IN_DEMO else 3}
    options = {"sources": (name,), "source_dir": mirrors, **cuts}
    checked = []
    for parts in (1, 2, 3):
        stop = StopWhen(lambda parts=parts: len(list(tmp_path.glob("out/data/*/*.parquet"))) >= parts)  # type: ignore[misc]
        assert small_run(tmp_path, stop, fresh=parts == 1, resume=parts > 1, **options).interrupted
        checked.append(assert_sound(tmp_path, source_dir=mirrors))
    result = small_run(tmp_path, fresh=False, resume=True, **{**options, "checkpoint_interval": 100})

    whole = result.state.sources[name].splits.values()
    assert assert_sound(tmp_path, source_dir=mirrors) == sum(split.progress.read for split in whole) > checked[2]
    assert 0 < checked[0] < checked[1] < checked[2]


def test_a_sample_is_held_against_what_was_read_for_it(mirrors: Path, tmp_path: Path) -> None:
    """Its splits are finished, and the source is not."""
    small_run(tmp_path, sources=("GigaSpeech2", "Gowajee"), source_dir=mirrors, sample_size=5)

    assert 10 <= assert_sound(tmp_path, source_dir=mirrors) < 40


def test_a_run_that_was_killed_is_sound_before_and_after_its_resume(mirrors: Path, tmp_path: Path) -> None:
    """A real SIGKILL, once parts of two sources are published."""
    command = ["--fresh", "GigaSpeech2", "ProcessedVoiceTH", "--source-dir", str(mirrors), "--upload-batch-size", "8"]
    first = tmp_path / "data/thai-voice/data/train/GigaSpeech2-00001.parquet"
    killed = run_until([*command, "--checkpoint-interval", "5", "--num-workers", "1"], tmp_path, first.exists)
    assert killed.returncode < 0 or killed.returncode == 137, killed.stderr
    out = tmp_path / "data/thai-voice"

    half, _ = verified(tmp_path, has_just_died=True, output=out, source_dir=mirrors)
    assert run([*command, "--checkpoint-interval", "5", "--resume"], tmp_path).returncode == 0
    whole, code = verified(tmp_path, output=out, source_dir=mirrors)

    assert [{*results(checks).values()} for checks in (half, whole)] == [{"sound"}, {"sound"}]
    assert 0 < half["GigaSpeech2"]["checked"] < whole["GigaSpeech2"]["checked"] == 128
    assert code == 0


# --- taken out, newer, swapped ---------------------------------------------------------------


def test_what_was_taken_out_is_accounted_for(tmp_path: Path) -> None:
    """A speaker and a clip, while the source is half read; then the rest of hers is refused under other names."""
    write_voices(tmp_path / "mirrors")
    voices_run(tmp_path, stop=StopAfter(14))
    (name, *_) = published_rows(tmp_path / "out")["source_id"].to_pylist()
    removal(tmp_path, remove_ids=listing(tmp_path, name))
    assert_sound(tmp_path)
    removal(tmp_path, remove_speakers=(ANN,))
    assert_sound(tmp_path)

    voices_run(tmp_path, fresh=False, resume=True)

    assert assert_sound(tmp_path) == 16
    removal(tmp_path, remove=("MozillaCommonVoice",))
    checks, code = verified(tmp_path)
    assert (results(checks), code) == ({"MozillaCommonVoice": "not checked"}, 0)


def test_newer_revisions_are_held_against_what_they_add(tmp_path: Path) -> None:
    """What earlier ones published need not be there any more, and is known where it is."""
    write_mirror(tmp_path / "mirrors")
    small_run(tmp_path)
    removal(tmp_path, remove_ids=listing(tmp_path, published_rows(tmp_path / "out")["source_id"][0].as_py()))
    write_mirror(tmp_path / "mirrors", {"train": range(3, 18), "validation": range(20, 26), "test": range(30, 34)})
    small_run(tmp_path, StopAfter(9), fresh=False)
    assert_sound(tmp_path)

    small_run(tmp_path, fresh=False, resume=True)

    assert state_of(tmp_path / "out").split(SOURCE, "train").progress.known
    assert assert_sound(tmp_path) == 25


def test_a_source_file_that_was_swapped_is_found(tmp_path: Path) -> None:
    """By its names, where it is as large as before; else by its size: then it is another source."""
    write_voices(tmp_path / "mirrors")
    voices_run(tmp_path)
    table = next((tmp_path / "mirrors").rglob("train.tsv"))
    content = table.read_bytes()
    table.write_bytes(content.replace(b"train-3.mp3", b"train-x.mp3"))

    checks, code = verified(tmp_path, deep=False)
    told = " ".join(checks["MozillaCommonVoice"]["first"])
    assert (code, checks["MozillaCommonVoice"]["found"]) == (7, 2)
    assert "MozillaCommonVoice/train/train-x: the source has it, and the dataset neither" in told
    assert "MozillaCommonVoice/train/train-3: the dataset has it, and the source not" in told

    table.write_bytes(content + b"ann\tmore.mp3\tmore\n")
    checks, code = verified(tmp_path, deep=False)
    assert (code, results(checks)) == (4, {"MozillaCommonVoice": "not checked"})
    assert "are not those that were first read" in checks["MozillaCommonVoice"]["why_not_checked"]


# --- what can't be told ----------------------------------------------------------------------


def test_a_source_out_of_reach_is_said_with_exit_code_4(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """In words, behind all that could be checked."""
    write_mirror(tmp_path / "mirrors")
    small_run(tmp_path)
    shutil.rmtree(tmp_path / "mirrors")

    code = main(["--verify", "--source", "--output", str(tmp_path / "out"), "--source-dir", str(tmp_path / "mirrors")])

    told = capsys.readouterr().out
    assert code == SourceError.exit_code
    assert "does not exist" in told
    assert f"Sound, as far as it was checked (not: audio, clips of {SOURCE})." in told


@pytest.mark.parametrize(
    ("name", "fingerprint", "says"),
    [
        ("Apify", {"rows": "dialogue"}, "paid for"),
        ("samples", {}, "a script published it"),
        ("MyOwn", {"text_version": 1}, "--sources FILE"),
    ],
)
def test_a_source_that_can_not_be_asked_is_not_checked(
    tmp_path: Path, name: str, fingerprint: dict[str, object], says: str
) -> None:
    """What costs money, what a script made, what is not known here."""
    write_mirror(tmp_path / "mirrors")
    small_run(tmp_path)
    state = state_of(tmp_path / "out")
    books = SourceState("revision", fingerprint, {}, {"train": SplitState()})
    put_state(tmp_path / "out", state.with_source(name, books))
    options = small_options(tmp_path, sources=(), against_sources=True, as_json=True)

    told, _ = run_verify(options, make_target(options, None, StopRequest()), None, StopRequest())

    checks = {check["name"]: check for check in json.loads(told)["checks"]}
    assert checks[f"clips of {name}"]["result"] == "not checked"
    assert says in checks[f"clips of {name}"]["why_not_checked"]
    assert checks[f"clips of {SOURCE}"]["result"] == "sound"


def test_a_source_of_which_nothing_was_read_is_not_asked(tmp_path: Path) -> None:
    """It may be out of reach: nothing of it is in the dataset, as there should be."""
    write_mirror(tmp_path / "mirrors")
    small_run(tmp_path)
    state = state_of(tmp_path / "out")
    unread = replace(state.sources[SOURCE], splits={"test": SplitState()})
    options = small_options(tmp_path, sources=(), against_sources=True, as_json=True)
    put_state(tmp_path / "out", state.with_source("TVSpeech", unread))

    told, _ = run_verify(options, make_target(options, None, StopRequest()), None, StopRequest())

    (check,) = [check for check in json.loads(told)["checks"] if check["name"] == "clips of TVSpeech"]
    assert (check["result"], check["checked"]) == ("sound", 0)


def test_another_definition_is_another_source(tmp_path: Path) -> None:
    """Its names would be others, and each a false alarm."""
    write_files(tmp_path / "corpus", CORPUS)
    own = load(tmp_path, source("corpus", SPLITS))
    small_run(tmp_path, sources=("MyCorpus",), own_sources=own, source_dir=None)
    other = load(tmp_path, source("corpus", SPLITS, "columns: {id: sentence}"))

    checks, code = verified(tmp_path, own_sources=other, source_dir=None)

    assert (results(checks), code) == ({"MyCorpus": "not checked"}, 0)
    assert "is not the one that it was begun with" in checks["MyCorpus"]["why_not_checked"]


class OnlyRead(ProcessedVoiceTHProcessor):
    """A class of somebody's own that reads in another way than the class it is made from."""

    def read(self, split: str, position: Position) -> Iterator[RawClip]:
        yield from ()


def test_a_class_that_reads_in_its_own_way_needs_a_list_of_its_own() -> None:
    """The list of the class that it is made from says nothing of what it reads."""
    assert GigaSpeech2Processor().lists_what_it_reads
    assert not OnlyRead().lists_what_it_reads
    assert TonesProcessor().lists_what_it_reads is False


def test_the_flag_belongs_to_verify() -> None:
    """As `--deep` does."""
    with pytest.raises(UsageError, match="belong to --verify"):
        parse(["--fresh", SOURCE, "--source"])
    assert parse(["--verify", "--source", SOURCE]).against_sources


# --- the Hub ---------------------------------------------------------------------------------


def test_names_on_the_hub_are_asked_for_without_the_files(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The listing, footers and small columns, whether the run had cached or streamed the files."""
    write_files(tmp_path / "repo", {"data/train-0.parquet": parquet(range(60)), "clips.zip": zip_of(CONTENT)})
    with HubServer(tmp_path / "hub") as hub:
        monkeypatch.setenv("HF_ENDPOINT", hub.endpoint)
        hub.add_dataset("me/talks", tmp_path / "repo")
        text = source(
            "me/talks", "columns: {audio: speech, transcript: words, id: words}", name="Talks", reader="parquet"
        )
        text += source("me/talks", name="Zipped").partition("\n")[2]
        own: Mapping[str, OwnSource] = load(tmp_path, text)
        small_run(tmp_path, sources=("Talks", "Zipped"), own_sources=own, source_dir=None)
        before = len(hub.requests)

        assert assert_sound(tmp_path, own_sources=own, source_dir=None, deep=False) == 67

        large = sum(path.stat().st_size for path in (tmp_path / "repo").rglob("*.*"))
        assert sum(seen.body_bytes_sent for seen in hub.requests[before:]) < large / 2

        hub.fault("status", step="repo_info", status=404, times=None)
        checks, code = verified(tmp_path, own_sources=own, source_dir=None)
        assert (results(checks), code) == ({"Talks": "not checked", "Zipped": "not checked"}, 4)
        assert "private or gone" in checks["Talks"]["why_not_checked"]
