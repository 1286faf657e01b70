"""Plain WAV files without libsndfile: the law is that it would give the very same, or is asked."""

import io
import random
import struct
from collections.abc import Iterator

import numpy as np
import pytest
import soundfile

from utils.audio.standardize import AudioRejected, standardize_audio
from utils.audio.wav import read_plain_wav
from utils.choices import AudioOptions

RATE_HZ = 16_000
LIST_CHUNK = b"LIST" + struct.pack("<I", 5) + b"INFOx" + b"\0"
HEADER_BYTES = 44


def wav(frames: int, channels: int = 1, rate_hz: int = RATE_HZ, seed: int = 0) -> bytes:
    samples = np.random.default_rng(seed).integers(-32768, 32768, (frames, channels), dtype=np.int16)
    samples[0, 0] = -32768
    file = io.BytesIO()
    soundfile.write(file, samples, rate_hz, format="WAV", subtype="PCM_16")
    return file.getvalue()


def with_list(data: bytes) -> bytes:
    """As ffmpeg writes it: a chunk that names it, here of an odd size, in front of the samples."""
    return data[:4] + struct.pack("<I", len(data) - 8 + len(LIST_CHUNK)) + data[8:36] + LIST_CHUNK + data[36:]


def libsndfile_samples(data: bytes) -> tuple[np.ndarray, int]:
    samples, rate_hz = soundfile.read(io.BytesIO(data), dtype="int16", always_2d=True)
    return samples, rate_hz


@pytest.mark.parametrize("channels", [1, 2, 3])
@pytest.mark.parametrize("rate_hz", [8_000, RATE_HZ, 44_100])
@pytest.mark.parametrize("form", [bytes, with_list])
def test_its_samples_are_those_of_libsndfile(channels, rate_hz, form):
    data = form(wav(5_001, channels, rate_hz))
    plain = read_plain_wav(data)
    assert plain is not None
    samples, rate = libsndfile_samples(data)
    assert plain.sample_rate_hz == rate == rate_hz
    assert np.array_equal(plain.samples, samples)


@pytest.mark.parametrize("channels", [1, 2])
@pytest.mark.parametrize("rate_hz", [8_000, RATE_HZ])
@pytest.mark.parametrize("options", [AudioOptions(), AudioOptions(audio_format="wav"), AudioOptions(standardize=False)])
@pytest.mark.parametrize("frames", [300, 20_000, 300_000])
def test_what_is_published_is_the_same(channels, rate_hz, options, frames, monkeypatch):
    def published() -> object:
        try:
            audio = standardize_audio(data, options, declared_duration_s=1.0, with_fingerprint=True)
            return audio.data, audio.extension, audio.duration_s, audio.audio_hash, audio.fingerprint.stored
        except AudioRejected as rejected:
            return rejected.reason, rejected.detail

    data = wav(frames, channels, rate_hz)
    without_decoder = published()
    monkeypatch.setattr("utils.audio.clip.read_plain_wav", lambda data: None)
    assert without_decoder == published()


def unusual() -> Iterator[tuple[str, bytes]]:
    data = wav(1000)
    stereo = wav(1000, 2)
    yield "nothing", b""
    yield "a header alone", data[:HEADER_BYTES]
    yield "cut", data[:-2]
    yield "a chunk behind", data + LIST_CHUNK
    yield "longer than it says", data + b"\0\0"
    yield "outer size", data[:4] + struct.pack("<I", len(data)) + data[8:]
    yield "not PCM", data[:20] + struct.pack("<H", 3) + data[22:]
    yield "extensible", data[:16] + struct.pack("<I", 40) + data[20:]
    yield "24 bit", data[:34] + struct.pack("<H", 24) + data[36:]
    yield "no channels", data[:22] + struct.pack("<H", 0) + data[24:]
    yield "frames of another size", data[:32] + struct.pack("<H", 4) + data[34:]
    yield "another byte rate", data[:28] + struct.pack("<I", 1) + data[32:]
    yield "another chunk", data[:36] + b"fact" + data[40:]
    yield "half a frame", stereo[:40] + struct.pack("<I", len(stereo) - 46) + stereo[44:-2]
    yield "LIST to the end", data[:36] + b"LIST" + struct.pack("<I", len(data) - 44) + data[44:]
    yield "LIST beyond it", data[:36] + b"LIST" + struct.pack("<I", 1 << 31) + data[44:]
    yield "RIFX", b"RIFX" + data[4:]


@pytest.mark.parametrize(("what", "data"), list(unusual()), ids=lambda value: value if isinstance(value, str) else "")
def test_what_is_unusual_is_for_libsndfile(what, data):
    assert read_plain_wav(data) is None


def test_whatever_is_read_is_what_libsndfile_reads():
    """Headers with a few bytes, or numbers, of another kind."""
    chance = random.Random(5)
    read = 0
    for turn in range(4000):
        data = bytearray(chance.choice((wav(64), with_list(wav(64)), wav(64, 2))))
        for _ in range(chance.randint(1, 3)):
            at = chance.randrange(HEADER_BYTES)
            data[at] = chance.choice((0, 1, 2, 4, 0x20, 0xFF, chance.randrange(256), data[chance.randrange(60)]))
        plain = read_plain_wav(bytes(data))
        if plain is None:
            continue
        read += 1
        samples, rate_hz = libsndfile_samples(bytes(data))
        assert plain.sample_rate_hz == rate_hz, turn
        assert np.array_equal(plain.samples, samples), turn
    assert read > 10
