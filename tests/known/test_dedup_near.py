"""The same recording in another form is found again, also across crashes and machines; other recordings stay."""

import io
import logging
import shutil
from contextlib import suppress
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile
import soxr

from pipeline.run.run import RunResult
from processors.demo.voice import Samples, SyntheticVoice, wav_bytes
from tests.kills import Killed, KilledAt
from tests.known.two_sources import (
    FIRST,
    Clips,
    another_machine,
    dataset,
    published,
    read_both,
    rejects,
    write_first,
    write_second,
)
from tests.small_runs import SOURCE, StopAfter, watching
from utils.audio.fingerprint import SAME_RECORDING, Fingerprint, fingerprint
from utils.audio.standardize import audio_fingerprint, standardize_audio
from utils.choices import AudioOptions, Dedup
from utils.known.judge import transcript_key

RATE_HZ = 16_000
SENTENCE = "วันนี้อากาศร้อน ไปตลาด"


def speech(number: int, parts: int = 3) -> Samples:
    """Some seconds of a made-up voice; each number says something else."""
    voice = SyntheticVoice(number)
    return np.concatenate([voice.clip(part).samples for part in range(parts)])


def encoded(samples: Samples, rate_hz: int = RATE_HZ, **how: Any) -> bytes:
    file = io.BytesIO()
    soundfile.write(file, soxr.resample(samples, RATE_HZ, rate_hz), rate_hz, **how)
    return file.getvalue()


def trimmed(samples: Samples) -> Samples:
    return samples[int(0.31 * RATE_HZ) : -int(0.17 * RATE_HZ)]


MP3 = {"format": "MP3", "subtype": "MPEG_LAYER_III", "bitrate_mode": "CONSTANT"}
FORMS = {
    "mp3, 16 kbit/s": lambda samples: encoded(samples, **MP3, compression_level=0.95),
    "mp3, 48 kHz": lambda samples: encoded(samples, 48_000, **MP3, compression_level=0.9),
    "opus": lambda samples: encoded(samples, 48_000, format="OGG", subtype="OPUS"),
    "telephone": lambda samples: encoded(samples, 8_000, format="WAV", subtype="ULAW"),
    "quieter": lambda samples: encoded(samples / 8, format="WAV"),
    "trimmed": lambda samples: encoded(trimmed(samples), format="WAV"),
    "trimmed mp3": lambda samples: encoded(trimmed(samples), 48_000, **MP3, compression_level=0.9),
}


def print_of(content: bytes, **options: Any) -> Fingerprint:
    audio = standardize_audio(content, AudioOptions(**options), with_fingerprint=True)
    assert audio.fingerprint is not None
    return audio.fingerprint


@pytest.mark.parametrize("form", FORMS)
def test_a_recording_is_like_itself_in_another_form(form: str) -> None:
    """Whichever of the two was there first."""
    one, other = print_of(wav_bytes(speech(1))), print_of(FORMS[form](speech(1)))

    assert one.likeness(other.stored) >= SAME_RECORDING
    assert other.likeness(one.stored) >= SAME_RECORDING


def test_other_recordings_are_not_alike() -> None:
    """Of whatever number of them."""
    prints = [print_of(wav_bytes(speech(number))) for number in range(8)]
    alike = [one.likeness(other.stored) for one in prints for other in prints if one is not other]

    assert max(alike) < SAME_RECORDING - 0.1


def test_a_clip_too_short_has_no_fingerprint_and_is_like_nothing() -> None:
    """It says so, and does not guess: then only the very same audio counts."""
    short = fingerprint(speech(1)[: RATE_HZ // 2], RATE_HZ)

    assert short.stored == b""
    assert short.likeness(fingerprint(speech(1), RATE_HZ).stored) == 0
    assert fingerprint(speech(1), RATE_HZ).likeness(short.stored) == 0
    assert fingerprint(np.zeros(3, np.float32), RATE_HZ).stored == b""


def test_silence_and_noise_have_fingerprints_that_harm_nobody() -> None:
    """Digital silence beside a word does not make two clips alike."""
    silent = [np.concatenate([speech(number, 1), np.zeros(3 * RATE_HZ, np.float32)]) for number in (1, 2)]
    one, other = (fingerprint(samples, RATE_HZ) for samples in silent)

    assert one.likeness(other.stored) < SAME_RECORDING
    assert fingerprint(np.zeros(3 * RATE_HZ, np.float32), RATE_HZ).likeness(one.stored) == 0


def test_it_is_small_whatever_the_length() -> None:
    """At most 100 bytes; only the first 30 s of a clip are looked at."""
    long = np.concatenate([speech(number) for number in range(10)])

    assert len(fingerprint(long, RATE_HZ).stored) <= 100
    assert fingerprint(long[: 30 * RATE_HZ], RATE_HZ).stored == fingerprint(long, RATE_HZ).stored


@pytest.mark.parametrize("options", [{}, {"audio_format": "wav"}, {"standardize": False}])
def test_a_published_clip_has_the_fingerprint_that_it_had_when_it_was_read(options: dict[str, Any]) -> None:
    """So the index can be made anew from what is published."""
    content = encoded(speech(3), 48_000, format="FLAC")
    audio = standardize_audio(content, AudioOptions(**options), with_fingerprint=True)

    assert audio.fingerprint is not None
    assert audio_fingerprint(audio.data).stored == audio.fingerprint.stored != b""


@pytest.mark.parametrize(
    ("one", "other", "same"),
    [
        ("ไปตลาด", "ไป ตลาด", True),
        ("ไปตลาด!", "\u201cไปตลาด\u201d", True),
        ("OK ครับ", "ok ครับ", True),
        ("ไปตลาด", "มาตลาด", False),
        ("ข้าว", "ขาว", False),
        ("บ้าน 5", "บ้าน 6", False),
    ],
)
def test_words_count_not_what_stands_between_them(one: str, other: str, same: bool) -> None:
    """Sources differ in spaces, quotes and capitals; vowels, tones and digits are other words."""
    assert (transcript_key(one) == transcript_key(other)) == same


def test_no_transcript_is_like_no_other() -> None:
    """Two clips without words have nothing in common by that."""
    assert transcript_key(" - ") is transcript_key("") is None


# --- runs ------------------------------------------------------------------------------------------------------------


@pytest.fixture
def machine(tmp_path: Path) -> Path:
    """`SOURCE` has clips of `FIRST` in other forms, others with the same words, and one with other words."""
    write_first(
        tmp_path,
        test=[("900-1-1", wav_bytes(speech(1)), SENTENCE)],
        train=[("0-1-2", wav_bytes(speech(2)), SENTENCE), ("0-1-3", wav_bytes(speech(3)), "บ้าน")],
    )
    second: Clips = [
        ("of-test", FORMS["trimmed mp3"](speech(1)), SENTENCE),
        ("of-train", FORMS["mp3, 16 kbit/s"](speech(2)), f" {SENTENCE}."),
        ("somebody-else", FORMS["opus"](speech(4)), SENTENCE),
        ("other-words", FORMS["mp3, 48 kHz"](speech(3)), "ทะเล"),
        ("again", FORMS["quieter"](trimmed(speech(4))), SENTENCE),
    ]
    write_second(tmp_path, train=second, test=[("once-more", FORMS["telephone"](speech(5)), "น้ำ")])
    return tmp_path


def both(machine: Path, **options: Any) -> RunResult:
    return read_both(machine, **{"dedup": Dedup.NEAR, **options})


@pytest.fixture
def undisturbed(machine: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What a run makes of the same mirrors that nothing disturbs."""
    other = tmp_path_factory.mktemp("undisturbed")
    shutil.copytree(machine / "mirrors", other / "mirrors")
    both(other)
    return other


def test_another_form_of_a_clip_is_a_reject_that_names_it(machine: Path) -> None:
    """Same recording, same words, about as long: all three. Within one split of a source such clips stay."""
    both(machine)

    assert rejects(machine) == [
        ("ProcessedVoiceTH/train/of-test", "duplicate", "the same recording as GigaSpeech2/test/900-1-1"),
        ("ProcessedVoiceTH/train/of-train", "duplicate", "the same recording as GigaSpeech2/train/0-1-2"),
    ]
    assert [name.split("/")[-1] for name in published(machine)["train"]] == [
        *("0-1-2", "0-1-3"),
        *("somebody-else", "other-words", "again"),
    ]


def test_exact_leaves_other_forms_in(machine: Path) -> None:
    """It asks for the very same samples."""
    both(machine, dedup=Dedup.EXACT)

    assert not (machine / "out/rejected").exists()


@pytest.mark.parametrize("workers", [1, 3])
def test_any_number_of_workers_rejects_the_same_clips(machine: Path, undisturbed: Path, workers: int) -> None:
    """Fingerprints are made in threads; who is a duplicate is said in the order of reading."""
    both(machine, overlap=True, num_workers=workers)

    assert dataset(machine) == dataset(undisturbed)


@pytest.mark.parametrize("at", [20, 45, 70, 95])
def test_a_run_that_is_killed_goes_on_to_the_same_bytes(
    machine: Path, undisturbed: Path, tmp_path_factory: pytest.TempPathFactory, at: int
) -> None:
    """Here, and on another machine that has the target alone."""
    with watching(KilledAt(at)), suppress(Killed):
        both(machine)
    elsewhere = another_machine(machine, tmp_path_factory.mktemp("elsewhere"))
    for place in (elsewhere, machine):
        both(place, resume=True)

        assert dataset(place) == dataset(undisturbed)


def test_a_stopped_run_goes_on_without_its_index(machine: Path, undisturbed: Path) -> None:
    """Staged clips carry their fingerprints."""
    both(machine, stop=StopAfter(7))
    for path in machine.rglob("clips.sqlite*"):
        path.unlink()
    both(machine, resume=True)

    assert dataset(machine) == dataset(undisturbed)


@pytest.mark.parametrize("are_there", [True, False])
def test_another_machine_needs_the_index_files_alone(
    machine: Path, tmp_path_factory: pytest.TempPathFactory, are_there: bool, caplog: pytest.LogCaptureFixture
) -> None:
    """No audio is decoded for it; where they are gone, it is, and the same clips are rejects."""
    both(machine, sources=(FIRST,))
    elsewhere = another_machine(machine, tmp_path_factory.mktemp("elsewhere"))
    if not are_there:
        shutil.rmtree(elsewhere / "out/.ingest/dedup")
    with caplog.at_level(logging.INFO):
        both(elsewhere, fresh=False)

    assert ("no index file that fits" in caplog.text) == (not are_there)
    assert len(rejects(elsewhere)) == 2


def test_what_another_machine_published_meanwhile_is_found_among_staged_clips(
    machine: Path, tmp_path_factory: pytest.TempPathFactory
) -> None:
    """Also in another form."""
    both(machine, sources=(SOURCE,), upload_batch_size=100, stop=StopAfter(6))
    elsewhere = another_machine(machine, tmp_path_factory.mktemp("elsewhere"))
    both(elsewhere, sources=(FIRST,), fresh=False, upload_batch_size=100)
    shutil.rmtree(machine / "out")
    shutil.copytree(elsewhere / "out", machine / "out")
    both(machine, sources=(SOURCE,), resume=True, fresh=False, upload_batch_size=100)

    assert [name.split("/")[-1] for name, *_ in rejects(machine)] == ["of-test", "of-train"]
