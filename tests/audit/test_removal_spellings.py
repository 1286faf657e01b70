"""A speaker whom the source names in several spellings that look the same goes whole, and stays away in all of them."""

from pathlib import Path

import pytest

from processors import describe
from tests.audit.test_removal import rejects_of, removal
from tests.audit.test_verify import checked
from tests.audit.voices import RELEASE, VOICES, voices_run, write_voices
from tests.support import published_rows
from utils.errors import UsageError
from utils.rows.schema import speaker_id
from utils.text.normalize import normalize_transcript
from utils.text.spellings import MAX_SPELLINGS, spellings_of

ONE = "คำปัน"
"""With sara am in one sign."""
TWO = "คํ\u0e32ปัน"
"""In two."""
HIDDEN = "คำ\u200bปัน"


def named(folder: Path, ann: str, bob: str) -> None:
    for table in (folder / describe(VOICES).mirror / RELEASE).glob("*.tsv"):
        table.write_text(table.read_text().replace("ann", ann).replace("bob", bob))


def speakers_of(machine: Path) -> set[str]:
    return {row["speaker_id"] for row in published_rows(machine / "out").to_pylist() if row["speaker_id"]}


@pytest.fixture
def machine(tmp_path: Path) -> Path:
    write_voices(tmp_path / "mirrors", {"test": "bba", "dev": "ab", "train": "aabc"})
    named(tmp_path / "mirrors", ONE, TWO)
    voices_run(tmp_path, fresh=True)
    assert speakers_of(tmp_path) == {speaker_id(VOICES, ONE), speaker_id(VOICES, TWO)}
    return tmp_path


@pytest.mark.parametrize("given", [ONE, TWO, HIDDEN])
def test_a_speaker_goes_in_every_spelling(machine: Path, given: str) -> None:
    """Whichever is given; and no spelling of it comes again, also one that nobody could think of."""
    told = removal(machine, remove_speakers=(f"{VOICES}/{given}",))

    assert "Done" in told
    assert speakers_of(machine) == set()
    assert len(published_rows(machine / "out")) == 1
    assert checked(machine / "out").is_sound
    write_voices(machine / "mirrors", {"test": "bba", "dev": "ab", "train": "aabcab"})
    named(machine / "mirrors", HIDDEN, TWO)
    voices_run(machine, fresh=False)
    assert len(rejects_of(machine / "out")) >= 2
    assert speakers_of(machine) == set()


def test_a_name_in_no_spelling_of_the_dataset_is_told(machine: Path) -> None:
    with pytest.raises(UsageError, match="nothing of 1 that you named"):
        removal(machine, remove_speakers=(f"{VOICES}/คำปืน",))

    assert len(speakers_of(machine)) == 2


def test_spellings_of_a_name_are_the_same_name_and_no_other() -> None:
    """What the rule for transcripts takes for the same; a name without such signs has itself alone."""
    for name in ("น้ำแก้ว", TWO, "เเดง", "ก้ำกำ"):
        spelt = spellings_of(name)
        assert {normalize_transcript(one) for one in spelt} == {normalize_transcript(name)}
        assert len(set(spelt)) == len(spelt)
    assert set(spellings_of("น้ำ")) >= {"น้ำ", "นํ้า", "น้ํา", "นำ้"}
    assert spellings_of("ann 7") == ["ann 7"]
    assert len(spellings_of("น้ำ" * 20)) <= MAX_SPELLINGS + 2
