"""A source's speakers get stable ids: the same over splits, runs and forms of the source, and none is invented."""

import shutil
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from processors import IN_DEMO, create
from processors.base_processor import BaseProcessor, ProcessorConfig
from processors.demo.mirrors import write_demo_sources
from processors.engine.conversion import as_raw_clip, convert_clip
from processors.readers.parquet import read_parquet
from processors.readers.spec import Columns
from tests.audit.voices import ANN, BOB, SPOKEN, VOICES, write_voices
from tests.mirrors import clips_of, opener
from tests.processors.test_mozilla_cv import as_archive
from tests.small_runs import StopAfter, small_run
from tests.support import published_rows, tone
from utils.choices import AudioOptions
from utils.rows.schema import AUDIO_TYPE, START, RawClip, speaker_id
from utils.sources.source_files import MirrorFiles, SourceAccess

# --- one name, one id ------------------------------------------------------------------------


def test_an_id_is_of_a_source_and_a_name_alone() -> None:
    """Fixed for ever: published datasets name speakers so. Another source's speaker of that name is another one."""
    assert speaker_id("Corpus", "ann") == "SPK_4e6aff68d5ad0813"
    assert speaker_id("Other", "ann") != speaker_id("Corpus", "ann") != speaker_id("Corpus", "bob")
    assert speaker_id("Corpus", "0") is not None


@pytest.mark.parametrize(
    ("written", "otherwise"),
    [("ann", " ann\t"), ("7", "7.0"), ("7", "7.00"), ("caf\u00e9", "cafe\u0301"), ("0", "0.0")],
)
def test_the_same_name_written_otherwise_is_the_same_speaker(written: str, otherwise: str) -> None:
    """Spaces around it, a number that became a float in a column with gaps, composed and decomposed letters."""
    assert speaker_id("Corpus", written) == speaker_id("Corpus", otherwise)


@pytest.mark.parametrize("names", [("ann", "Ann"), ("7", "07"), ("7", "7.5"), ("a b", "ab")])
def test_different_names_are_different_speakers(names: tuple[str, str]) -> None:
    """Nothing else is taken for the same: two people must not become one."""
    assert speaker_id("Corpus", names[0]) != speaker_id("Corpus", names[1])


@pytest.mark.parametrize("nobody", [None, "", "  ", "unknown", "Unknown", "NaN", "none", "NULL", "-", "-1", "N/A", "?"])
def test_nobody_is_not_a_speaker(nobody: str | None) -> None:
    """What tables write where they know none: all their clips are not one person's."""
    assert speaker_id("Corpus", nobody) is None


def test_speaker_number_zero_of_a_mapping_counts() -> None:
    """A processor of one's own may give numbers."""
    clip = as_raw_clip({"audio": tone(1), "transcript": "ดี", "speaker_id": 0, "speaker": "other"})

    assert clip.speaker == "0"


# --- readers ---------------------------------------------------------------------------------


@pytest.mark.parametrize("name", IN_DEMO)
def test_the_rows_of_a_source_name_its_speakers_and_no_others(name: str, tmp_path: Path) -> None:
    """In all splits: the id follows from the clip's own speaker; where the source names none there is none."""
    demo = write_demo_sources(tmp_path / "demo", [name])
    access = SourceAccess(source_dir=demo, cache_dir=tmp_path / "cache")
    processor: BaseProcessor = create(name, ProcessorConfig(checkpoint_dir=tmp_path, access=access))

    named = 0
    for split in processor.get_available_splits():
        for clip in clips_of(processor, split)[:12]:
            outcome = processor.convert_to_standard_format(clip)
            if isinstance(outcome, dict):
                assert outcome["speaker_id"] == speaker_id(name, clip.speaker)
                named += clip.speaker is not None

    assert bool(named) == (name == VOICES)


def test_a_parquet_column_of_numbers_names_the_same_speakers_in_every_file(tmp_path: Path) -> None:
    """Whole numbers in one split, floats with gaps in the next, text in a third."""
    columns = {"whole": pa.array([7, 8]), "floats": pa.array([7.0, None]), "text": pa.array(["7", ""])}
    found = {}
    for name, speakers in columns.items():
        audio = pa.array([{"bytes": tone(at), "path": f"{at}.wav"} for at in range(2)], AUDIO_TYPE)
        table = pa.table({"audio": audio, "text": ["ก", "ข"], "speaker": speakers})
        pq.write_table(table, tmp_path / f"{name}.parquet")
    files = MirrorFiles(tmp_path)
    for name in columns:
        wanted = Columns(audio=("audio",), transcript=("text",), speaker=("speaker",))
        clips = read_parquet(files, [f"{name}.parquet"], wanted, dict(START))
        found[name] = [speaker_id("Corpus", clip.speaker) for clip in clips]

    seven, eight = speaker_id("Corpus", "7"), speaker_id("Corpus", "8")
    assert found == {"whole": [seven, eight], "floats": [seven, None], "text": [seven, None]}


def test_a_folder_and_the_archive_that_it_is_from_have_the_same_speakers(tmp_path: Path) -> None:
    """And so have their splits."""
    root = write_voices(tmp_path / "folder") / "common_voice"
    files = {path.relative_to(root).as_posix(): path.read_bytes() for path in root.rglob("*") if path.is_file()}
    folder, archive = opener(tmp_path / "one")(VOICES, files), opener(tmp_path / "two")(VOICES, as_archive(files))

    speakers = [
        {(split, clip.key): of_clip(clip) for split in ("test", "validation", "train") for clip in clips_of(one, split)}
        for one in (folder, archive)
    ]

    assert speakers[0] == speakers[1]
    assert set(speakers[0].values()) == {ANN, BOB, None}


def of_clip(clip: RawClip) -> str | None:
    outcome = convert_clip(clip, VOICES, "train", AudioOptions())
    assert isinstance(outcome, dict)
    return outcome["speaker_id"]


# --- runs ------------------------------------------------------------------------------------


def test_speakers_stay_who_they_are_over_runs_and_splits(tmp_path: Path) -> None:
    """Interrupted and resumed on another machine, and with what a newer revision adds."""
    write_voices(tmp_path / "mirrors")
    given = {"sources": (VOICES,)}
    small_run(tmp_path, stop=StopAfter(9), **given)
    shutil.rmtree(tmp_path / "data")
    small_run(tmp_path, fresh=False, **given)
    write_voices(tmp_path / "mirrors", {**SPOKEN, "train": SPOKEN["train"] + "ab"})
    small_run(tmp_path, fresh=False, **given)

    rows = published_rows(tmp_path / "out", ["source_id", "speaker_id"]).to_pylist()
    spoken = {**SPOKEN, "train": SPOKEN["train"] + "ab"}
    names = {"a": ANN, "b": BOB, "c": None}
    splits = {"test": "test", "dev": "validation", "train": "train"}
    assert {row["source_id"]: row["speaker_id"] for row in rows} == {
        f"{VOICES}/{splits[table]}/{table}-{at}": names[voice]
        for table, voices in spoken.items()
        for at, voice in enumerate(voices)
    }
