"""A clip that was never published, as it was on the list before it was read: others may have it, too."""

from pathlib import Path

import pytest

from tests.audit.test_removal import listing, removal
from tests.audit.test_removal_copies import CLIP, names
from tests.audit.test_verify import broken, checked
from tests.known.test_dedup_near import FORMS, SENTENCE, speech, wav_bytes
from tests.known.two_sources import FIRST, another_machine, read_both, rejects, write_first, write_second
from tests.small_runs import SOURCE, StopAfter
from tests.support import tree
from utils.dataset.layout import HEARD_PATH, REMOVED_PATH
from utils.errors import TargetRefused
from utils.known.removals import RemovedList

OTHER = f"{FIRST}/train/0-1-9"


@pytest.fixture
def machine(tmp_path: Path) -> Path:
    """`FIRST` has begun; of what it brings next, a clip is on the list, which `SOURCE` has twice."""
    write_first(tmp_path, test=[("0-1-1", wav_bytes(speech(5)), "ฟ้า")])
    read_both(tmp_path, sources=(FIRST,))
    removal(tmp_path, remove_ids=listing(tmp_path, CLIP, OTHER), allow_missing=True)
    write_first(
        tmp_path,
        test=[("0-1-1", wav_bytes(speech(5)), "ฟ้า")],
        train=[
            ("0-1-2", wav_bytes(speech(2)), SENTENCE),
            ("0-1-3", wav_bytes(speech(3)), "บ้าน"),
            ("0-1-9", b"no audio", "ฝน"),
        ],
    )
    write_second(
        tmp_path,
        train=[
            ("re-encoded", FORMS["mp3, 16 kbit/s"](speech(2)), SENTENCE),
            ("as-it-is", wav_bytes(speech(2)), "ทะเล"),
            ("its-own", wav_bytes(speech(4)), SENTENCE),
        ],
    )
    return tmp_path


def heard(machine: Path) -> bytes:
    path = machine / "out" / HEARD_PATH
    return path.read_bytes() if path.exists() else b""


def test_its_recording_does_not_come_from_another_source(machine: Path) -> None:
    """Neither re-encoded nor as it is; what can't be decoded is refused all the same."""
    read_both(machine, fresh=False)

    assert names(machine) == ["0-1-1", "0-1-3", "its-own"]
    assert [reason for name, reason, _ in rejects(machine) if "/removed-" in name] == ["removed"] * 4
    assert broken(checked(machine / "out", deep=True)) == {}


def test_on_another_machine_and_by_a_fresh_dataset(machine: Path, tmp_path_factory: pytest.TempPathFactory) -> None:
    """What was heard is published; a new generation goes on with it."""
    read_both(machine, sources=(FIRST,), fresh=False)
    other = another_machine(machine, tmp_path_factory.mktemp("other"))
    before = tree(other, "out")

    read_both(other, sources=(SOURCE,), fresh=False)
    assert names(other) == ["0-1-1", "0-1-3", "its-own"]

    assert heard(machine)
    assert tree(machine, "out") == before
    read_both(machine, sources=(SOURCE,))
    assert names(machine) == ["its-own"]
    assert broken(checked(machine / "out", deep=True)) == {}


@pytest.mark.parametrize("staging", ["kept", "lost"])
def test_whenever_a_run_is_stopped(machine: Path, staging: str, tmp_path_factory: pytest.TempPathFactory) -> None:
    """What was heard of a staged clip is staged with it: the same bytes come out as of an undisturbed run."""
    undisturbed = another_machine(machine, tmp_path_factory.mktemp("undisturbed"))
    read_both(undisturbed, fresh=False, checkpoint_interval=1)
    for looks in range(2, 14, 2):
        place = another_machine(machine, tmp_path_factory.mktemp("stopped"))
        read_both(place, StopAfter(looks), fresh=False, checkpoint_interval=1)
        if staging == "lost":
            place = another_machine(place, tmp_path_factory.mktemp("elsewhere"))
        read_both(place, fresh=False, resume=staging == "kept", checkpoint_interval=1)

        assert names(place) == names(undisturbed) == ["0-1-1", "0-1-3", "its-own"]
        assert heard(place) == heard(undisturbed) != b""
        assert broken(checked(place / "out")) == {}


def test_a_copy_that_is_published_already_stays(machine: Path, caplog: pytest.LogCaptureFixture) -> None:
    """Nobody named it; a warning does. Its recording is kept away from nobody."""
    read_both(machine, sources=(SOURCE,), fresh=False)
    read_both(machine, sources=(FIRST,), fresh=False)

    assert names(machine) == ["0-1-1", "0-1-3", "re-encoded", "as-it-is", "its-own"]
    assert heard(machine) == b""
    assert "which stays: nobody named that one" in caplog.text
    assert broken(checked(machine / "out", deep=True)) == {}


def test_the_next_removal_takes_what_was_heard_into_the_list(machine: Path) -> None:
    read_both(machine, sources=(FIRST,), fresh=False)
    removal(machine, remove_ids=listing(machine, f"{FIRST}/train/0-1-3"))

    listed = RemovedList.from_json((machine / "out" / REMOVED_PATH).read_bytes())
    assert not (machine / "out" / HEARD_PATH).exists()
    assert len(listed.audio) == len(listed.recordings) == 2
    read_both(machine, sources=(SOURCE,), fresh=False)
    assert names(machine) == ["0-1-1", "its-own"]
    assert broken(checked(machine / "out", deep=True)) == {}


@pytest.mark.parametrize("damage", [b"", b"audio:0000\n"])
def test_damage_is_noticed(machine: Path, damage: bytes) -> None:
    """Without it, what was heard would be collected from others."""
    read_both(machine, sources=(FIRST,), fresh=False)
    (machine / "out" / HEARD_PATH).write_bytes(damage)

    with pytest.raises(TargetRefused, match=HEARD_PATH):
        read_both(machine, sources=(SOURCE,), fresh=False)
    assert "taken out" in " ".join(broken(checked(machine / "out")))


def test_a_file_that_is_ahead_of_its_state_is_read_as_far_as_that_says(machine: Path) -> None:
    """A run died between the two."""
    read_both(machine, sources=(FIRST,), fresh=False)
    with (machine / "out" / HEARD_PATH).open("ab") as file:
        file.write(b"audio:0000\n")

    read_both(machine, sources=(SOURCE,), fresh=False)

    assert names(machine) == ["0-1-1", "0-1-3", "its-own"]
    assert broken(checked(machine / "out", deep=True)) == {}
