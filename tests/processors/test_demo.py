"""The demo: made up the same every time, small, different in every clip, and written again where it is not whole."""

import hashlib
import json
import tarfile
from collections import Counter
from pathlib import Path

import numpy as np
import pytest

from processors import IN_DEMO, create, describe
from processors.base_processor import ProcessorConfig
from processors.demo.mirrors import DEMO_VERSION, write_demo_sources
from processors.demo.voice import DECOMPOSED_SARA_AM, NO_BREAK_SPACE, SyntheticVoice
from utils.errors import UsageError
from utils.rows.schema import SPLITS, START, RawClip
from utils.sources.source_files import SourceAccess
from utils.text.normalize import normalize_transcript


@pytest.fixture(scope="module")
def demo(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_demo_sources(tmp_path_factory.getbasetemp() / "demo-sources")


def checksums(folder: Path) -> dict[str, str]:
    files = (path for path in folder.rglob("*") if path.is_file())
    return {str(path.relative_to(folder)): hashlib.sha256(path.read_bytes()).hexdigest() for path in files}


def clips_of(source: str, mirrors: Path, work: Path) -> list[RawClip]:
    access = SourceAccess(source_dir=mirrors, cache_dir=work / "cache")
    processor = create(source, ProcessorConfig(checkpoint_dir=work, access=access))
    return [clip for split in SPLITS for clip in processor.read(split, dict(START))]


def test_the_demo_is_the_same_every_time(demo: Path, tmp_path: Path) -> None:
    """Byte for byte, so that a run that was killed goes on with the sources that it began with."""
    again = write_demo_sources(tmp_path / "again")

    assert checksums(again) == checksums(demo)


def test_a_complete_demo_is_left_as_it_is(demo: Path) -> None:
    """A second run finds its sources at once."""
    before = {path: path.stat().st_mtime_ns for path in demo.rglob("*")}

    assert write_demo_sources(demo) == demo

    assert {path: path.stat().st_mtime_ns for path in demo.rglob("*")} == before


@pytest.mark.parametrize("marker", ['{"complete": false}', '{"demo_version": 0, "complete": true}', "{", ""])
def test_a_half_written_or_older_demo_is_written_again(tmp_path: Path, marker: str) -> None:
    """The marker is marked complete last; what an earlier one left in the mirrors goes away."""
    one = ["ProcessedVoiceTH"]
    mirror = tmp_path / describe("ProcessedVoiceTH").mirror
    leftover = mirror / "data/train-00077-of-00078.parquet"
    leftover.parent.mkdir(parents=True)
    leftover.write_bytes(b"half")
    (tmp_path / "demo.json").write_text(marker)

    write_demo_sources(tmp_path, one)

    assert not leftover.exists()
    assert len(list(mirror.rglob("*.parquet"))) == 5
    assert json.loads((tmp_path / "demo.json").read_bytes())["demo_version"] == DEMO_VERSION


def test_a_folder_that_holds_something_else_is_refused(tmp_path: Path) -> None:
    """Real mirrors may stand where a demo was to be written; nothing of them is touched."""
    (tmp_path / "mine.txt").write_text("mine")

    with pytest.raises(UsageError, match="holds something else"):
        write_demo_sources(tmp_path)

    assert [path.name for path in tmp_path.iterdir()] == ["mine.txt"]


def test_the_demo_is_small_and_has_many_files(demo: Path, tmp_path: Path) -> None:
    """Under 15 MB; at least 100 clips a source, in several archives, files or row groups."""
    size_bytes = sum(path.stat().st_size for path in demo.rglob("*") if path.is_file())

    assert size_bytes < 15_000_000
    for source in IN_DEMO:
        clips = clips_of(source, demo, tmp_path)
        assert len(clips) >= 100
        places = {tuple(clip.position.get(key) for key in ("file", "row_group")) for clip in clips}
        assert len(places) > 3 or source == "MozillaCommonVoice"


def test_every_clip_sounds_different(demo: Path, tmp_path: Path) -> None:
    """Over all sources no audio comes twice, but for what is broken or silent on purpose."""
    heard = Counter(
        hashlib.sha256(clip.audio).hexdigest()
        for source in IN_DEMO
        for clip in clips_of(source, demo, tmp_path)
        if clip.audio and len(clip.audio) > 2000 and any(clip.audio[1000:1200])
    )

    assert sum(heard.values()) > 330
    assert [count for count in heard.values() if count > 1] == []


def test_the_demo_archive_extracts_to_what_is_read_from_it(demo: Path, tmp_path: Path) -> None:
    """The made-up Common Voice release is a true one: extracted, it has the same clips."""
    archive = next((demo / "common_voice").glob("*.tar.gz"))
    with tarfile.open(archive) as tar:
        tar.extraction_filter = lambda member, path: member  # our own; Python 3.11.2 (Debian 12) has no named filters
        for member in tar.getmembers():
            member.mode |= 0o700  # in the archive, a folder that only root may enter
        tar.extractall(tmp_path / "common_voice")  # noqa: S202

    def content(clip: RawClip) -> tuple[object, ...]:
        return clip.key, clip.transcript, clip.speaker, clip.declared_duration_s

    from_archive = clips_of("MozillaCommonVoice", demo, tmp_path)
    from_folder = clips_of("MozillaCommonVoice", tmp_path, tmp_path)
    assert sorted(map(content, from_archive)) == sorted(map(content, from_folder))


def test_common_voice_rows_say_who_spoke(demo: Path, tmp_path: Path) -> None:
    """Speakers, and what else its table says of a clip."""
    clips = clips_of("MozillaCommonVoice", demo, tmp_path)

    assert all(clip.speaker for clip in clips)
    assert {"up_votes", "down_votes", "age", "gender"} <= {key for clip in clips for key in clip.metadata or {}}


def test_a_voice_says_each_number_in_its_own_way_and_always_the_same() -> None:
    """Clip n of a seed is one and the same, and like no other's, in sound and sentence."""
    voice, again, other = SyntheticVoice(1), SyntheticVoice(1), SyntheticVoice(2)

    clips = [voice.clip(number) for number in range(80)]

    assert all(np.array_equal(clip.samples, again.clip(number).samples) for number, clip in enumerate(clips[:10]))
    assert not np.array_equal(clips[0].samples, other.clip(0).samples)
    assert len({clip.samples.tobytes() for clip in clips}) == 80
    assert len({normalize_transcript(clip.sentence) for clip in clips}) == 80


def test_a_voice_keeps_to_lengths_and_levels() -> None:
    """0.4 to 2.5 s, between -32 and -14 dBFS, never clipped, float32, at the rate that is asked for."""
    clips = [SyntheticVoice(3).clip(number) for number in range(40)]

    for clip in clips:
        rms_db = 20 * np.log10(np.sqrt(np.mean(clip.samples**2)))
        assert clip.samples.dtype == np.float32
        assert 0.4 <= clip.duration_s <= 2.5
        assert -33 < rms_db < -13
        assert np.max(np.abs(clip.samples)) < 1
    assert len(SyntheticVoice(3).clip(0, 48_000).samples) == 3 * len(clips[0].samples)


def test_sentences_hold_what_a_normalizer_has_to_deal_with() -> None:
    """Decomposed sara am, no-break spaces and quotes, as sources have them."""
    sentences = [SyntheticVoice(1).clip(number).sentence for number in range(120)]

    for hard in (DECOMPOSED_SARA_AM, NO_BREAK_SPACE, '"'):
        assert any(hard in sentence for sentence in sentences)
