"""What every registered source promises, tried on a small mirror: a new source is held to it by being registered."""

import json
import logging
import os
import subprocess
import sys
from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import replace
from pathlib import Path

import pytest

from processors import ALIASES, IN_DEMO, REGISTRY, create, describe
from processors.base_processor import BaseProcessor, ProcessorConfig
from processors.demo.mirrors import DemoCounts, demo_of, write_demo_sources
from processors.engine.run_side import OrderedMerge
from tests.corpus_mirrors import write_corpus_mirrors
from tests.hub_server import HubServer
from tests.hub_sources import access
from utils.errors import Interrupted, SourceError, UsageError
from utils.rows.progress import Progress
from utils.rows.schema import SPLITS, START, RawClip, Reject, RejectReason, Skip
from utils.sources.source_files import SourceAccess

every_source = pytest.mark.parametrize("source", list(REGISTRY))
every_split = pytest.mark.parametrize(
    ("source", "split"), [(name, split) for name in REGISTRY for split in create(name).get_available_splits()]
)
expected: dict[str, Mapping[str, DemoCounts]] = {}
"""What each split of each mirror comes to."""


@pytest.fixture(scope="session")
def demo(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Mirrors of all sources: those of the demo, and the tests' own of those that the demo has not."""
    mirrors = tmp_path_factory.mktemp("mirrors")
    written = write_demo_sources(tmp_path_factory.getbasetemp() / "demo-sources")  # shared with the demo's own tests
    for name in IN_DEMO:
        linked_copy(name, written, mirrors)
    expected.update(write_corpus_mirrors(mirrors))
    expected.update({name: demo_of(name).COUNTS for name in IN_DEMO})
    return mirrors


def splits_with_clips(source: str) -> list[str]:
    """The splits that its mirror has."""
    return [split for split in SPLITS if split in expected[source]]


@pytest.fixture(scope="session")
def work(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Indexes and checkpoints of all tests here: an index is keyed by the mirror's revision, so they don't meet."""
    return tmp_path_factory.mktemp("work")


def opened(source: str, mirrors: Path, work: Path, streaming: bool = False) -> BaseProcessor:
    mirrored = SourceAccess(source_dir=mirrors, streaming=streaming, cache_dir=work / "cache")
    return create(source, ProcessorConfig(checkpoint_dir=work / "checkpoints", access=mirrored))


def mirror_of(source: str, mirrors: Path) -> Path:
    return mirrors / describe(source).mirror


def files_of(source: str, mirrors: Path) -> list[str]:
    mirror = mirror_of(source, mirrors)
    return sorted(str(path.relative_to(mirror)) for path in mirror.rglob("*") if path.is_file())


def linked_copy(source: str, mirrors: Path, folder: Path) -> Path:
    """Mirrors of one source whose files can be removed or replaced without touching the demo."""
    for name in files_of(source, mirrors):
        copy = mirror_of(source, folder) / name
        copy.parent.mkdir(parents=True, exist_ok=True)
        os.link(mirror_of(source, mirrors) / name, copy)
    return folder


def read_until_error(processor: BaseProcessor, split: str) -> tuple[list[RawClip], SourceError | None]:
    clips: list[RawClip] = []
    try:
        for clip in processor.read(split, dict(START)):
            clips.append(clip)
    except SourceError as error:
        return clips, error
    return clips, None


class EachIdOnce(OrderedMerge):
    """Admits each source id once, as a run does."""

    def __init__(self) -> None:
        self._seen: set[str] = set()

    def admit(self, source_id: str, split: str, ordinal: int) -> Skip | Reject | None:
        if source_id in self._seen:
            return Reject(source_id, RejectReason.REPEATED_SOURCE_ID)
        self._seen.add(source_id)
        return None


@every_split
def test_a_source_names_its_clips_by_another_way_than_it_reads_them(
    source: str, split: str, demo: Path, work: Path, tmp_path: Path
) -> None:
    """The same clips in the same order, also those that its tables leave out: `--verify --source` counts on it."""
    processor = opened(source, demo, work)
    read = [clip.key if clip.selected else None for clip in processor.read(split, dict(START))]

    listed = [clip.key if clip.selected else None for clip in processor.listed(split, tmp_path, deep=True)]

    assert processor.lists_what_it_reads
    assert listed == read
    assert len(read) == expected[source].get(split, DemoCounts(kept=0)).read


@every_split
def test_a_mirror_comes_to_what_was_put_into_it(source: str, split: str, demo: Path, work: Path) -> None:
    """Each clip is kept, unselected or rejected for the reason it was made for; nothing is lost and nothing raises."""
    processor = opened(source, demo, work)
    processor.merge = EachIdOnce()

    found: Counter[str] = Counter()
    for step in processor.process_split(split, Progress(), checkpoint_interval=10_000):
        outcome = step.outcome
        found[outcome.reason if isinstance(outcome, Reject) else type(outcome).__name__] += 1

    counts = expected[source].get(split, DemoCounts(kept=0))
    assert +found == +Counter({"dict": counts.kept, "Skip": counts.unselected, **counts.rejected})
    assert processor.progress[split].read == counts.read
    assert processor.progress[split].finished
    assert counts.kept >= (30 if source in IN_DEMO else 12 if split in expected[source] else 0)


@every_split
def test_the_order_is_always_the_same(source: str, split: str, demo: Path, work: Path) -> None:
    """Two processors, one of them streaming, read the very same clips in the same order."""
    first = list(opened(source, demo, work).read(split, dict(START)))
    second = list(opened(source, demo, work, streaming=True).read(split, dict(START)))

    assert first == second


@pytest.mark.parametrize("source", [name for name in REGISTRY if describe(name).repo_id])
@pytest.mark.parametrize("streaming", [False, True], ids=["cached", "streaming"])
def test_the_hub_and_a_mirror_give_the_same_clips(
    source: str, streaming: bool, demo: Path, work: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Where the bytes come from changes nothing: from the start, and from a position in the middle."""
    with HubServer(tmp_path / "hub") as server:
        repo = str(describe(source).repo_id)
        head = server.add_dataset(repo, mirror_of(source, demo), link=True)
        if branch := getattr(REGISTRY[source], "branch", None):
            server.store.tag(repo, branch, head)
            (tmp_path / "later").mkdir()
            (tmp_path / "later/README.md").write_text("Of the main branch.\n")
            server.add_dataset(repo, tmp_path / "later")
        monkeypatch.setenv("HF_ENDPOINT", server.endpoint)
        processor = create(source, ProcessorConfig(access=access(tmp_path / "cache", streaming=streaming)))
        for split in splits_with_clips(source):
            clips = list(opened(source, demo, work).read(split, dict(START)))
            middle = len(clips) // 2
            assert list(processor.read(split, dict(START))) == clips
            assert list(processor.read(split, clips[middle].position)) == clips[middle + 1 :]


@every_split
def test_reading_from_any_position_yields_exactly_the_suffix(source: str, split: str, demo: Path, work: Path) -> None:
    """Resume loses and repeats nothing, wherever it begins, and from positions that went through JSON."""
    processor = opened(source, demo, work)
    clips = list(processor.read(split, dict(START)))

    for number, clip in enumerate(clips, start=1):
        assert clip.position["index"] == number
        position = json.loads(json.dumps(clip.position))
        assert list(processor.read(split, position)) == clips[number:]


@every_split
def test_a_position_with_a_count_alone_passes_over_that_many_clips(
    source: str, split: str, demo: Path, work: Path
) -> None:
    """Positions of old checkpoints have no seek keys; what is read after them has the full positions again."""
    processor = opened(source, demo, work)
    clips = list(processor.read(split, dict(START)))

    for number in {number for number in (0, 1, 5, 18, 33, len(clips) - 1, len(clips)) if 0 <= number <= len(clips)}:
        assert list(processor.read(split, {"index": number})) == clips[number:]


@every_split
@pytest.mark.parametrize("index", [10_000, -1, "5", None])
def test_a_position_that_can_not_be_is_refused(source: str, split: str, index: object, demo: Path, work: Path) -> None:
    """Reading from a guess instead would lose or repeat clips."""
    with pytest.raises(SourceError, match="position"):
        list(opened(source, demo, work).read(split, {"index": index}))


@every_source
def test_source_ids_are_unique_but_for_the_repeated_ones(source: str, demo: Path, work: Path) -> None:
    """A key names one clip of its split; the demo has one that does not, on purpose."""
    processor = opened(source, demo, work)

    for split in processor.get_available_splits():
        keys = [clip.key for clip in processor.read(split, dict(START))]
        counts = expected[source].get(split, DemoCounts(kept=0))
        repeated = counts.rejected.get(RejectReason.REPEATED_SOURCE_ID, 0)
        assert all(keys)
        assert len(keys) - len(set(keys)) == repeated


@every_split
def test_what_a_source_expects_is_what_it_reads(source: str, split: str, demo: Path, work: Path) -> None:
    """A total that is known beforehand is right, or the progress bar lies."""
    processor = opened(source, demo, work)

    total = processor.expected_clips(split)

    assert total in (None, expected[source].get(split, DemoCounts(kept=0)).read)


@every_source
def test_an_absent_mirror_is_a_clear_error(source: str, tmp_path: Path) -> None:
    """It names the folder, or the page where the source is to be had."""
    processor = opened(source, tmp_path, tmp_path)

    with pytest.raises(SourceError, match=describe(source).mirror):
        list(processor.read(processor.get_available_splits()[-1], dict(START)))


@pytest.mark.parametrize("source", IN_DEMO)
def test_a_file_that_is_missing_is_named(
    source: str, demo: Path, work: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """Without any one of its files a source raises, or (one of several archives) warns: it is never just shorter.

    But for the last of archives that are only numbered: nothing says that there was one more.
    """
    whole = {split: list(opened(source, demo, work).read(split, dict(START))) for split in SPLITS}

    names = [name for name in files_of(source, demo) if name != "data/th/train/10.tar.gz"]
    for number, name in enumerate(names):
        mirrors = linked_copy(source, demo, tmp_path / str(number))
        (mirror_of(source, mirrors) / name).unlink()
        caplog.clear()
        results = {split: read_until_error(opened(source, mirrors, work), split) for split in SPLITS}
        errors = [str(error) for _, error in results.values() if error]
        changed = [split for split in SPLITS if results[split][0] != whole[split]]
        warned = [record for record in caplog.records if record.levelno == logging.WARNING]
        assert not changed or errors or warned
        assert all(Path(name).name.partition("-")[0] in error or "no files" in error for error in errors)


@every_source
def test_a_file_that_was_cut_short_is_named_and_what_came_before_it_is_kept(
    source: str, demo: Path, work: Path, tmp_path: Path
) -> None:
    """A damaged archive is never taken for a short one."""
    splits = splits_with_clips(source)
    whole = {split: list(opened(source, demo, work).read(split, dict(START))) for split in splits}
    archives = [name for name in files_of(source, demo) if name.endswith((".tar.gz", ".parquet", ".zip", ".tar"))]

    for number, name in enumerate(archives):
        mirrors = linked_copy(source, demo, tmp_path / str(number))
        path = mirror_of(source, mirrors) / name
        content = path.read_bytes()
        path.unlink()
        path.write_bytes(content[: len(content) * 2 // 3])
        results = {split: read_until_error(opened(source, mirrors, work), split) for split in splits}
        errors = [str(error) for _, error in results.values() if error]
        assert errors
        assert all(name in error and "--resume" in error for error in errors)
        assert all(clips == whole[split][: len(clips)] for split, (clips, _) in results.items())


@every_source
def test_a_stop_that_is_requested_while_clips_are_passed_over_is_heeded(source: str, demo: Path, work: Path) -> None:
    """A split's last archive may take an hour to pass over: Ctrl-C does not wait for it."""
    processor = opened(source, demo, work)
    split = splits_with_clips(source)[0]
    list(processor.read(split, dict(START)))  # an index is there
    access = replace(processor.config.access, stop_requested=lambda: True)
    processor.config = replace(processor.config, access=access)

    with pytest.raises(Interrupted):
        for _ in processor.process_split(split, Progress({"index": 3}, read=3, kept=3)):
            pass


@every_source
def test_a_source_says_what_the_card_and_the_command_line_need(source: str) -> None:
    """Licence, page, hours and mirror are filled in; a class is registered under its own name."""
    info = describe(source)

    assert REGISTRY[source].name == source
    assert info.title and info.licence and info.licence_name and info.hours and info.mirror and info.access
    assert info.transcripts
    assert info.url.startswith("https://")


def test_restrictive_terms_are_stated() -> None:
    """Publishing these to a public repo needs the user's word."""
    restricted = {name for name in REGISTRY if describe(name).terms}

    assert restricted == {"GigaSpeech2", "MozillaCommonVoice"}


def test_sources_are_made_by_name_and_by_alias() -> None:
    """The registry's order is the order of reading; a wrong name is answered with the nearest."""
    assert list(REGISTRY)[:3] == ["GigaSpeech2", "ProcessedVoiceTH", "MozillaCommonVoice"]
    assert set(ALIASES.values()) <= set(REGISTRY)
    assert create("MozillaCV").name == "MozillaCommonVoice"
    with pytest.raises(UsageError, match="Did you mean GigaSpeech2"):
        create("GigaSpech2")


def test_the_registry_is_cheap_to_import() -> None:
    """`--help` names the sources without loading what reads them."""
    check = "import processors, sys; list(processors.REGISTRY); sys.exit('pyarrow' in sys.modules)"

    assert subprocess.run([sys.executable, "-c", check], check=False).returncode == 0


@pytest.fixture(autouse=True)
def _no_open_indexes(work: Path) -> Iterator[None]:
    """Nothing half-made is left in the index folder after a test."""
    yield
    assert not list(work.rglob("*.tmp"))
