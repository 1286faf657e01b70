"""Clips that only PyAV reads: decoded where it is installed, else refused with what to install."""

import io
import sys

import av
import numpy as np
import pytest

from utils.audio.containers import describe_foreign
from utils.audio.standardize import AudioRejected, standardize_audio
from utils.choices import AudioOptions

MAGIC = {
    "m4a": b"\0\0\0\x1cftypM4A \0\0\2\0",
    "aac": b"\xff\xf1\x60\x40\x41\xdf\xfc",
    "webm": b"\x1aE\xdf\xa3\x9fB\x86\x81\1",
    "wma": b"0&\xb2u\x8ef\xcf\x11\xa6\xd9",
    "amr": b"#!AMR\n",
}
RATE = 48_000
DURATION_S = 2.0
FORMS = {"m4a": ("ipod", "aac"), "aac": ("adts", "aac"), "webm": ("webm", "libopus"), "wma": ("asf", "wmav2")}


def rejection(data: bytes) -> AudioRejected:
    with pytest.raises(AudioRejected) as refused:
        standardize_audio(data, AudioOptions())
    return refused.value


@pytest.mark.parametrize("kind", MAGIC)
def test_without_pyav_such_a_clip_says_what_to_install(kind: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """A reject like any other: the run goes on, and the reason says how such clips are had."""
    monkeypatch.setitem(sys.modules, "av", None)

    refused = rejection(MAGIC[kind] + bytes(500))

    assert refused.reason == "undecodable"
    assert kind in refused.detail.casefold()
    assert 'pip install "av' in refused.detail


def test_an_mp3_is_none_of_them() -> None:
    """Its frames begin much like those of AAC."""
    assert describe_foreign(b"\xff\xfb\x90\x64" + bytes(500)) is None


def encoded(kind: str, channels: int = 1, duration_s: float = DURATION_S, **tags: str) -> bytes:
    """A tone, packed by PyAV."""
    container_form, codec = FORMS[kind]
    time_s = np.arange(int(duration_s * RATE)) / RATE
    samples = np.tile((0.3 * np.sin(2 * np.pi * 300 * time_s)).astype(np.float32), (channels, 1))
    sink = io.BytesIO()
    with av.open(sink, "w", format=container_form) as container:
        container.metadata.update(tags)
        stream = container.add_stream(codec, rate=RATE, layout="mono" if channels == 1 else "stereo")
        stream.bit_rate = 64_000
        step = stream.codec_context.frame_size or 1024
        resampler = av.AudioResampler(stream.codec_context.format, stream.codec_context.layout, RATE, step)
        frame = av.AudioFrame.from_ndarray(samples, format="fltp", layout="mono" if channels == 1 else "stereo")
        frame.sample_rate = RATE
        for piece in [*resampler.resample(frame), *resampler.resample(None)]:
            container.mux(stream.encode(piece))
        container.mux(stream.encode(None))
    return sink.getvalue()


@pytest.mark.parametrize("channels", [1, 2])
@pytest.mark.parametrize("kind", FORMS)
def test_with_pyav_such_a_clip_is_a_sample(kind: str, channels: int) -> None:
    """Whole, at the right rate and loudness; the same bytes every time."""
    data = encoded(kind, channels)

    audio = standardize_audio(data, AudioOptions())

    assert DURATION_S - 0.05 <= audio.duration_s <= DURATION_S + 0.1
    assert audio == standardize_audio(data, AudioOptions())


def test_tags_may_be_in_any_encoding() -> None:
    """A Thai title as Windows wrote it (TIS-620) is not UTF-8, and no reason to lose the clip."""
    tagged = encoded("m4a", title="x" * 8)
    assert tagged.count(b"x" * 8) == 1
    thai = "เพลงไทย1".encode("tis-620")

    audio = standardize_audio(tagged.replace(b"x" * 8, thai), AudioOptions())

    assert audio == standardize_audio(tagged, AudioOptions())


def test_amr_is_a_sample() -> None:
    """PyAV has no encoder for it: frames of 12.2 kbit/s (20 ms each) with random bits decode to noise."""
    chance = np.random.default_rng(1)
    frames = b"".join(b"\x3c" + chance.bytes(31) for _ in range(100))

    audio = standardize_audio(b"#!AMR\n" + frames, AudioOptions())

    assert audio.duration_s == pytest.approx(2.0)


@pytest.mark.parametrize("kind", FORMS)
def test_one_that_was_cut_short_is_refused(kind: str) -> None:
    """FFmpeg decodes what is left without a word."""
    data = encoded(kind)

    assert rejection(data[: len(data) * 2 // 3]).reason in ("truncated", "undecodable")


@pytest.mark.parametrize("kind", MAGIC)
def test_with_pyav_what_only_begins_like_one_is_undecodable(kind: str) -> None:
    """And is named."""
    assert rejection(MAGIC[kind] + bytes(5000)).reason in ("undecodable", "empty", "truncated")


def test_one_that_is_kept_as_it_is_keeps_its_ending() -> None:
    """With `--no-standardization`."""
    data = encoded("m4a")

    kept = standardize_audio(data, AudioOptions(standardize=False))

    assert (kept.data, kept.extension) == (data, "m4a")


def test_too_long_a_clip_is_refused_before_its_end(monkeypatch: pytest.MonkeyPatch) -> None:
    """What a header does not say is counted on the way."""
    monkeypatch.setattr("utils.audio.clip.MAX_OPUS_SAMPLES", RATE)
    data = encoded("aac", duration_s=4)

    assert rejection(data).reason == "too_long"
