"""A recording that was taken out stays out under whatever name: other corpora have it, too, and name nobody."""

from dataclasses import replace
from pathlib import Path

import pytest

from tests.audit.test_removal import listing, removal
from tests.audit.test_verify import broken, checked
from tests.known.test_dedup_near import FORMS, SENTENCE, speech, wav_bytes
from tests.known.two_sources import FIRST, another_machine, published, read_both, rejects, write_first, write_second
from tests.small_runs import SOURCE, StopAfter
from tests.support import published_ids, tree
from utils.choices import Dedup
from utils.dataset.layout import REMOVED_PATH
from utils.known.removals import RemovedList

CLIP = f"{FIRST}/train/0-1-2"


@pytest.fixture
def machine(tmp_path: Path) -> Path:
    """`SOURCE` has a clip of `FIRST` again, in another form and as it is, and one of its own."""
    write_first(tmp_path, train=[("0-1-2", wav_bytes(speech(2)), SENTENCE), ("0-1-3", wav_bytes(speech(3)), "บ้าน")])
    other = [
        ("re-encoded", FORMS["mp3, 16 kbit/s"](speech(2)), SENTENCE),
        ("as-it-is", wav_bytes(speech(2)), "ทะเล"),
        ("its-own", wav_bytes(speech(4)), SENTENCE),
    ]
    write_second(tmp_path, train=other)
    return tmp_path


def names(machine: Path) -> list[str]:
    return [name.split("/")[-1] for split in published(machine).values() for name in split]


def stays_out(machine: Path, exact_only: bool = False) -> None:
    assert names(machine) == ["0-1-3", *(["re-encoded"] if exact_only else []), "its-own"]
    assert broken(checked(machine / "out", deep=True)) == {}


@pytest.mark.parametrize("mode", list(Dedup))
def test_another_source_does_not_bring_a_clip_back(
    machine: Path, mode: Dedup, tmp_path_factory: pytest.TempPathFactory
) -> None:
    """Neither re-encoded nor as it is, in whatever mode, nor on another machine; no name is told; once."""
    read_both(machine, sources=(FIRST,), dedup=mode)
    removal(machine, remove_ids=listing(machine, CLIP))
    other = another_machine(machine, tmp_path_factory.mktemp("other"))

    for place in (machine, other):
        read_both(place, sources=(SOURCE,), fresh=False)

        stays_out(place)
        refused = [(name, reason) for name, reason, _ in rejects(place) if name.startswith(SOURCE)]
        assert len(refused) == 2
        assert all(reason == "removed" and "/removed-" in name for name, reason in refused)
    before = tree(machine, "out")
    read_both(machine, sources=(SOURCE,), fresh=False)
    assert tree(machine, "out") == before


def test_a_source_does_not_come_back_under_another_name(machine: Path) -> None:
    """The same folder, or the same recordings in another corpus: as of a speaker's clips."""
    read_both(machine, sources=(FIRST,))
    removal(machine, remove=(FIRST,))

    read_both(machine, sources=(SOURCE,), fresh=False)

    assert names(machine) == ["its-own"]
    assert [reason for _, reason, _ in rejects(machine) if reason == "removed"] == ["removed"] * 2
    assert broken(checked(machine / "out", deep=True)) == {}


def test_a_source_whose_licence_ended_keeps_nobody_elses_recordings_away(machine: Path) -> None:
    """`--source-only`: the terms were those of that release, not of the recordings."""
    read_both(machine, sources=(FIRST,))
    removal(machine, remove=(FIRST,), source_only=True)

    read_both(machine, sources=(SOURCE,), fresh=False)

    assert names(machine) == ["re-encoded", "as-it-is", "its-own"]
    assert RemovedList.from_json((machine / "out" / REMOVED_PATH).read_bytes()).audio == frozenset()


@pytest.mark.parametrize("with_copies", [False, True])
def test_what_a_source_shares_with_others_is_told_and_stays(machine: Path, with_copies: bool) -> None:
    """A jingle that another corpus has, too, is not kept away from that one, unless that is asked for."""
    read_both(machine, dedup=Dedup.OFF)

    told = removal(machine, remove=(FIRST,), with_copies=with_copies)
    read_both(machine, dedup=None, fresh=False, sources=(SOURCE,))

    assert ("Rows of the same recordings that nobody named: 1" in told) is not with_copies
    assert ("as-it-is" in names(machine)) is not with_copies
    assert broken(checked(machine / "out", deep=True)) == {}


def test_nor_does_a_fresh_dataset(machine: Path) -> None:
    """There the source's own clip is not read, so nothing is there that the copy could repeat."""
    read_both(machine)
    removal(machine, remove_ids=listing(machine, CLIP))

    read_both(machine)

    stays_out(machine)


def test_a_newer_revision_refuses_it_once(machine: Path) -> None:
    """What was refused is known by the name that it was refused under."""
    read_both(machine, sources=(FIRST,))
    removal(machine, remove_ids=listing(machine, CLIP))
    read_both(machine, sources=(SOURCE,), fresh=False)
    write_second(
        machine,
        train=[("re-encoded", FORMS["mp3, 16 kbit/s"](speech(2)), SENTENCE), ("new", wav_bytes(speech(6)), "น้ำ")],
    )

    read_both(machine, sources=(SOURCE,), fresh=False)

    assert names(machine) == ["0-1-3", "its-own", "new"]
    assert len([name for name, reason, _ in rejects(machine) if reason == "removed"]) == 2
    assert broken(checked(machine / "out", deep=True)) == {}


@pytest.mark.parametrize("looks", range(2, 9))
def test_a_second_clip_of_its_name_is_a_repetition_on_any_machine(
    machine: Path, tmp_path_factory: pytest.TempPathFactory, looks: int
) -> None:
    """What was refused is published under another name: another machine must know all the same that it was there."""
    read_both(machine, sources=(FIRST,))
    removal(machine, remove_ids=listing(machine, CLIP))
    clips = [("x", speech(2), SENTENCE), ("1", speech(4), "หนึ่ง"), ("2", speech(6), "สอง"), ("x", speech(7), "สาม")]
    write_second(machine, train=[(name, wav_bytes(samples), text) for name, samples, text in clips])
    again = {"sources": (SOURCE,), "fresh": False, "upload_batch_size": 1, "checkpoint_interval": 1}
    undisturbed = another_machine(machine, tmp_path_factory.mktemp("undisturbed"))
    read_both(undisturbed, **again)

    read_both(machine, stop=StopAfter(looks), **again)
    elsewhere = another_machine(machine, tmp_path_factory.mktemp("elsewhere"))
    read_both(elsewhere, resume=True, **again)

    assert rejects(elsewhere) == rejects(undisturbed)
    assert rejects(elsewhere)[-1][:2] == (f"{SOURCE}/train/x", "repeated_source_id")
    assert published(elsewhere) == published(undisturbed)


def test_a_clip_goes_with_the_copy_that_it_is_a_duplicate_of(machine: Path) -> None:
    """Who is named in one source may be published under the name that another has for the clip."""
    read_both(machine, sources=(SOURCE,))
    read_both(machine, sources=(FIRST,), fresh=False)
    assert CLIP in [name for name, reason, _ in rejects(machine) if reason == "duplicate"]

    assert "that nobody named: 1." in removal(machine, remove_ids=listing(machine, CLIP), dry_run=True)

    removal(machine, remove_ids=listing(machine, CLIP), with_copies=True)

    assert "as-it-is" not in names(machine)
    assert broken(checked(machine / "out", deep=True)) == {}
    before = tree(machine, "out")
    removal(machine, remove_ids=listing(machine, CLIP))
    assert tree(machine, "out") == before


def test_a_speaker_of_duplicates_is_not_guessed(machine: Path) -> None:
    """Rejects don't tell whose clip they are: so it is said where a speaker may still be published."""
    read_both(machine)

    assert "2 clips are rejects, as the dataset has the same recording" in removal(
        machine, remove_speakers=("SPK_0123456789abcdef",), allow_missing=True
    )


def test_rows_of_the_very_same_audio_go_too(machine: Path) -> None:
    """A dataset without --dedup may have a clip several times."""
    read_both(machine, dedup=Dedup.OFF)
    assert len(published_ids(machine / "out")) == 5

    removal(machine, remove_ids=listing(machine, CLIP), with_copies=True)

    stays_out(machine, exact_only=True)


def test_a_list_from_before_recordings_were_in_it_is_read(machine: Path) -> None:
    """And one without any is written as it was then."""
    read_both(machine)
    removal(machine, remove_ids=listing(machine, CLIP))
    listed = RemovedList.from_json((machine / "out" / REMOVED_PATH).read_bytes())
    assert listed.audio
    assert listed.recordings
    old = replace(listed, audio=frozenset(), recordings=frozenset())

    assert b'"version": 1' in old.to_json().replace(b'":', b'": ').replace(b":  ", b": ")
    assert RemovedList.from_json(old.to_json()) == old
    assert RemovedList.from_json(listed.to_json()) == listed
