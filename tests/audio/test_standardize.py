"""Clips of every format, whole and broken -> standard audio or a reject with the right reason.

All inputs are made here with numpy and soundfile, but for the last test, which tries the real clips that
THAI_AUDIO_REAL_CLIPS names.
"""

import io
import os
import re
import struct
import tracemalloc
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest
import soundfile
import xxhash

from utils.audio.ffmpeg import is_installed
from utils.audio.mpeg import scan_mpeg
from utils.audio.standardize import AudioRejected, audio_from_array, standardize_audio
from utils.audit.row_checks import problem_of
from utils.choices import AudioOptions
from utils.errors import UsageError

RATE = 16_000
WAV = AudioOptions(audio_format="wav")
KEPT_AS_IT_IS = AudioOptions(standardize=False)

FORMATS = {
    "wav": ("WAV", "PCM_16"),
    "wav-8": ("WAV", "PCM_U8"),
    "wav-24": ("WAV", "PCM_24"),
    "wav-32": ("WAV", "PCM_32"),
    "wav-float": ("WAV", "FLOAT"),
    "wav-double": ("WAV", "DOUBLE"),
    "wav-ulaw": ("WAV", "ULAW"),
    "wav-alaw": ("WAV", "ALAW"),
    "wav-ima": ("WAV", "IMA_ADPCM"),
    "wav-extensible": ("WAVEX", "PCM_16"),
    "rf64": ("RF64", "PCM_16"),
    "w64": ("W64", "PCM_16"),
    "aiff": ("AIFF", "PCM_16"),
    "au": ("AU", "PCM_16"),
    "caf": ("CAF", "PCM_16"),
    "sphere": ("NIST", "PCM_16"),
    "flac": ("FLAC", "PCM_16"),
    "flac-24": ("FLAC", "PCM_24"),
    "vorbis": ("OGG", "VORBIS"),
    "opus": ("OGG", "OPUS"),
    "mp3": ("MP3", "MPEG_LAYER_III"),
}


def speech(seconds=1.0, rate=RATE, level=0.1):
    """Something like a voice: harmonics of 150 Hz that swell four times a second, and a little noise."""
    t = np.arange(round(seconds * rate)) / rate
    voice = sum(np.sin(2 * np.pi * 150 * k * t + k) / k for k in range(1, 12))
    noise = 0.01 * np.random.default_rng(1).standard_normal(len(t))
    samples = (0.6 + 0.4 * np.sin(2 * np.pi * 4 * t)) * voice + noise
    return (level * samples / np.sqrt(np.mean(samples**2))).astype(np.float32)


def encoded(samples, rate=RATE, kind="wav", **options):
    container, subtype = FORMATS[kind]
    file = io.BytesIO()
    soundfile.write(file, samples, rate, format=container, subtype=subtype, **options)
    return file.getvalue()


def decoded(data):
    samples, rate = soundfile.read(io.BytesIO(data), dtype="float64")
    return samples, rate


def dbfs(samples):
    return 20 * np.log10(np.sqrt(np.mean(np.square(samples, dtype=np.float64))))


def rejected(data, options=WAV, **kwargs):
    with pytest.raises(AudioRejected) as caught:
        standardize_audio(data, options, **kwargs)
    return caught.value


def similarity(left, right):
    """The highest normalized correlation within 50 ms (codecs shift a little)."""
    size = min(len(left), len(right))
    spectrum = np.fft.rfft(left[:size], 2 * size) * np.conj(np.fft.rfft(right[:size], 2 * size))
    correlation = np.fft.irfft(spectrum)
    near = np.concatenate([correlation[: RATE // 20], correlation[-RATE // 20 :]])
    return near.max() / np.sqrt(np.sum(left[:size] ** 2) * np.sum(right[:size] ** 2))


# --- the form of standard audio ----------------------------------------------------------------------------------


@pytest.mark.parametrize("rate", [8_000, 11_025, 16_000, 22_050, 32_000, 44_100, 48_000, 96_000])
def test_every_sample_rate_comes_out_at_16_khz(rate):
    """Any rate in; 16 kHz, one channel, 16 bit, -20 dBFS and the same duration out."""
    audio = standardize_audio(encoded(speech(1.0, rate), rate), AudioOptions())

    samples, out_rate = decoded(audio.data)
    assert (out_rate, samples.ndim, audio.extension) == (RATE, 1, "flac")
    assert soundfile.info(io.BytesIO(audio.data)).subtype == "PCM_16"
    assert audio.duration_s == len(samples) / RATE == pytest.approx(1.0, abs=1 / RATE)
    assert dbfs(samples) == pytest.approx(-20, abs=0.01)


@pytest.mark.parametrize("kind", FORMATS)
def test_every_format_comes_out_as_the_same_sound(kind):
    """What libsndfile can decode is kept, and it sounds as it did."""
    voice = speech(2.0)

    audio = standardize_audio(encoded(voice, kind=kind), WAV)

    samples, _ = decoded(audio.data)
    assert audio.duration_s == pytest.approx(2.0, abs=0.15)
    assert similarity(voice, samples) > 0.98


def test_what_lies_above_the_new_rate_is_filtered_out_not_folded_back():
    """A 10 kHz tone at 48 kHz does not turn into one at 6 kHz; a 1 kHz tone beside it stays."""
    t = np.arange(48_000) / 48_000
    tones = 0.2 * np.sin(2 * np.pi * 1_000 * t) + 0.2 * np.sin(2 * np.pi * 10_000 * t)

    samples, _ = decoded(standardize_audio(encoded(tones, 48_000), WAV).data)

    spectrum = np.abs(np.fft.rfft(samples * np.hanning(len(samples))))
    assert spectrum.argmax() == 1_000
    assert 20 * np.log10(spectrum[5_900:6_100].max() / spectrum.max()) < -80


def test_the_gain_is_linear():
    """Normalizing multiplies: no compression, no filter, no removed offset. Each sample is the nearest integer."""
    source = np.round(speech(level=0.03) * 32768 + 300).astype(np.int16)

    samples, _ = decoded(standardize_audio(encoded(source), WAV).data)

    published, source = samples * 32768, source.astype(np.float64)
    gain = np.dot(published, source) / np.dot(source, source)
    assert np.abs(published - gain * source).max() <= 0.51


def test_peaks_are_never_above_minus_1_dbfs():
    """A clip of clicks would clip at -20 dBFS RMS: its gain stops at a peak of -1 dBFS."""
    clicks = np.zeros(RATE)
    clicks[:: RATE // 20] = 0.5

    samples, _ = decoded(standardize_audio(encoded(clicks), WAV).data)

    peak_dbfs = 20 * np.log10(np.abs(samples).max())
    assert -1.001 < peak_dbfs <= -1
    assert dbfs(samples) < -20


def test_a_loud_clip_is_turned_down():
    """Full-scale speech, clipped already, comes out at the same loudness as all others."""
    loud = np.clip(speech(level=2.0), -1, 1)

    samples, _ = decoded(standardize_audio(encoded(loud), WAV).data)

    assert dbfs(samples) == pytest.approx(-20, abs=0.01)


def test_the_gain_is_at_most_40_db():
    """A very quiet clip is not blown up without end."""
    quiet = speech(level=10 ** (-65 / 20))

    samples, _ = decoded(standardize_audio(encoded(quiet, kind="wav-float"), WAV).data)

    assert dbfs(samples) == pytest.approx(-25, abs=0.05)


def test_the_target_loudness_and_rate_can_be_chosen():
    """`--target-db` and `--sample-rate` do what they say."""
    audio = standardize_audio(encoded(speech()), AudioOptions(sample_rate_hz=24_000, target_dbfs=-26))

    samples, rate = decoded(audio.data)
    assert rate == 24_000
    assert dbfs(samples) == pytest.approx(-26, abs=0.01)


def test_without_volume_norm_16_bit_samples_pass_untouched():
    """`--no-volume-norm` on a clip that has the right form already changes no bit, not even at full scale."""
    source = np.round(speech() * 32768).astype(np.int16)
    source[100:102] = [-32768, 32767]

    for audio_format in ("wav", "flac"):
        audio = standardize_audio(encoded(source), AudioOptions(volume_norm=False, audio_format=audio_format))
        published, _ = soundfile.read(io.BytesIO(audio.data), dtype="int16")
        assert np.array_equal(published, source)


def test_without_volume_norm_nothing_clips_either():
    """Floats beyond full scale are scaled down to fit, all by the same factor."""
    voice = speech(level=0.9)
    assert np.abs(voice).max() > 1.2

    samples, _ = decoded(standardize_audio(encoded(voice, kind="wav-float"), AudioOptions(volume_norm=False)).data)

    assert np.abs(samples).max() == pytest.approx(1, abs=1e-4)
    assert np.abs(samples / np.abs(samples).max() - voice / np.abs(voice).max()).max() < 1e-4


def test_flac_and_wav_hold_the_same_samples_under_the_same_hash():
    """The hash is xxh3-128 of the published samples: it does not depend on how they are packed."""
    data = encoded(speech())

    flac, wav = standardize_audio(data, AudioOptions()), standardize_audio(data, WAV)

    published, _ = soundfile.read(io.BytesIO(flac.data), dtype="int16")
    assert flac.audio_hash == wav.audio_hash == xxhash.xxh3_128_hexdigest(published.astype("<i2").tobytes())
    assert len(flac.data) < len(wav.data)


# --- channels ----------------------------------------------------------------------------------------------------


def test_channels_are_averaged():
    """Two voices on two channels are both heard."""
    left, right = speech(), np.roll(speech(), 3_000)

    samples, _ = decoded(standardize_audio(encoded(np.stack([left, right], axis=1)), WAV).data)

    assert similarity(left + right, samples) > 0.999


@pytest.mark.parametrize(
    "gains",
    [(1.0, -1.0), (1.0, 0.0), (0.0, 1.0), (0.5, -0.52), (0.0,) * 11 + (1.0,), (1.0, -1.0, 0.0, 0.0, 0.0, 0.0)],
    ids=["antiphase", "left-only", "right-only", "nearly-antiphase", "one-of-twelve", "5.1-antiphase-front"],
)
def test_a_voice_that_the_average_would_lose_is_kept(gains):
    """Antiphase channels cancel out and dead ones thin out: then the loudest channel stands for the clip."""
    voice = speech()

    samples, _ = decoded(standardize_audio(encoded(voice[:, None] * np.array(gains)), WAV).data)

    assert dbfs(samples) == pytest.approx(-20, abs=0.01)
    assert abs(similarity(voice * gains[int(np.argmax(np.abs(gains)))], samples)) > 0.999


def test_silence_on_all_channels_is_silence():
    """Two channels of nothing are not antiphase."""
    assert rejected(encoded(np.zeros((RATE, 2)))).reason == "silent"


# --- the same bytes, always --------------------------------------------------------------------------------------


def test_a_clip_of_many_blocks_has_no_seams():
    """A clip longer than what is decoded at once has exactly the samples of decoding it in one piece."""
    data = encoded(speech(8.0, 48_000), 48_000, "mp3", bitrate_mode="VARIABLE", compression_level=0.3)
    whole, _ = soundfile.read(io.BytesIO(data), dtype="float32")

    audio = standardize_audio(data, KEPT_AS_IT_IS)

    assert audio.audio_hash == xxhash.xxh3_128_hexdigest(np.rint(whole * 32768).astype("<i2").tobytes())


def test_many_threads_make_the_same_bytes_as_one():
    """Nothing is shared between calls: any number of threads may convert at once."""
    clips = [
        encoded(speech(0.3 + 0.1 * n, 48_000), 48_000, kind) for n, kind in enumerate(["mp3", "flac", "wav", "vorbis"])
    ]

    alone = [standardize_audio(clip, AudioOptions()) for clip in clips]
    with ThreadPoolExecutor(4) as pool:
        together = list(pool.map(lambda n: standardize_audio(clips[n % 4], AudioOptions()), range(32)))

    assert together == alone * 8


@pytest.mark.parametrize("bad", [np.nan, np.inf, 3e38])
def test_a_spoiled_clip_leaves_no_trace_in_the_next(bad):
    """A thread uses one resampler for clip after clip; what it remembers of a refused one must be gone."""
    good, spoiled = speech(rate=48_000), speech(rate=48_000)
    spoiled[-1_000:] = bad
    expected = standardize_audio(encoded(good, 48_000), AudioOptions())

    rejected(encoded(spoiled, 48_000, "wav-float"))
    assert standardize_audio(encoded(good, 48_000), AudioOptions()) == expected


@pytest.mark.parametrize("kind", ["wav", "flac", "mp3", "opus"])
def test_systems_without_anonymous_files_make_the_same_bytes(kind, monkeypatch):
    """Where `os.memfd_create` is missing (macOS, Windows) the results and the rejects are the same."""
    data = encoded(speech(), kind=kind)
    expected = standardize_audio(data, AudioOptions())

    monkeypatch.delattr(os, "memfd_create", raising=False)

    assert standardize_audio(data, AudioOptions()) == expected
    assert rejected(data[:-2_000]).reason == "truncated"


def test_memory_does_not_hold_the_source_samples():
    """A clip is decoded in blocks: 30 s of 192 kHz stereo (46 MB as floats) need a quarter of that."""
    data = encoded(np.tile(speech(1.0, 192_000)[:, None], (30, 2)), 192_000, "wav-ulaw")

    tracemalloc.start()
    audio = standardize_audio(data, AudioOptions())
    _, peak_bytes = tracemalloc.get_traced_memory()
    tracemalloc.stop()

    assert audio.duration_s == 30
    assert peak_bytes < 12_000_000


# --- refused for what it is --------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("data", "words"),
    [
        (b"<!DOCTYPE html><html>404 Not Found</html>", "HTML page"),
        (b"\xef\xbb\xbf\n <HTML><body>Sign in</body></HTML>", "HTML page"),
        (b"version https://git-lfs.github.com/spec/v1\noid sha256:00\nsize 1\n", "git-lfs pointer"),
        (b'<?xml version="1.0"?><Error><Code>AccessDenied</Code></Error>', "XML"),
        (b'{"error": "not found"}', "JSON"),
        (b"\x1f\x8b\x08" + bytes(500), "gzip"),
        (np.random.default_rng(7).bytes(4_096), "libsndfile"),
        (b"no sound at all", "libsndfile"),
    ],
    ids=["html", "html-bom", "lfs", "xml", "json", "gzip", "random", "text"],
)
def test_what_is_no_audio_is_undecodable_and_named(data, words):
    """The reject says what was found instead of a clip."""
    error = rejected(data)

    assert error.reason == "undecodable"
    assert words in error.detail


def test_a_rate_of_zero_is_undecodable():
    """A header that makes no sense is not repaired by guessing."""
    data = encoded(speech())

    assert rejected(data[:24] + bytes(4) + data[28:]).reason == "undecodable"


@pytest.mark.parametrize(
    "data", [b"", encoded(speech())[:44], encoded(np.zeros(0))], ids=["no-bytes", "header-only", "no-frames"]
)
def test_nothing_is_empty(data):
    """Zero bytes and zero frames, also where the header promises some."""
    assert rejected(data).reason == "empty"


def test_a_tenth_of_a_second_is_the_shortest_clip():
    """0.1 s is kept, one sample less is too short."""
    assert standardize_audio(encoded(speech(0.1)), WAV).duration_s == 0.1
    assert rejected(encoded(speech(0.1)[:-1])).reason == "too_short"


def test_an_hour_is_the_longest_clip():
    """3600 s are kept, more is refused by the header alone."""
    hour = np.tile(np.arange(100, dtype=np.int16) * 100, 36_000)

    assert standardize_audio(encoded(hour, 1_000), KEPT_AS_IT_IS).duration_s == 3_600
    assert "by its header" in rejected(encoded(np.append(hour, hour[:100]), 1_000)).detail


def test_an_endless_stream_is_refused_while_it_is_decoded():
    """A FLAC stream that does not say how long it is, and is longer than an hour."""
    stream = bytearray(encoded(np.tile(np.arange(100, dtype=np.int16) * 100, 36_100), 1_000, "flac"))
    stream[21] &= 0xF0
    stream[22:26] = bytes(4)

    assert rejected(bytes(stream), KEPT_AS_IT_IS).reason == "too_long"


def test_a_flac_stream_of_unknown_length_is_kept():
    """The same header on a short clip: all of it is decoded."""
    data = encoded(speech(), kind="flac")
    stream = data[:21] + bytes([data[21] & 0xF0]) + bytes(4) + data[26:]

    assert standardize_audio(stream, WAV) == standardize_audio(data, WAV)
    assert rejected(stream[:-500]).reason == "truncated"


@pytest.mark.parametrize("options", [WAV, KEPT_AS_IT_IS], ids=["standard", "as-it-is"])
def test_silence_begins_under_minus_70_dbfs(options):
    """Digital silence and faint noise are refused, speech at -69.5 dBFS is not."""
    assert rejected(encoded(np.zeros(RATE)), options).reason == "silent"
    assert rejected(encoded(speech(level=10 ** (-70.5 / 20)), kind="wav-float"), options).reason == "silent"
    assert standardize_audio(encoded(speech(level=10 ** (-69.5 / 20)), kind="wav-float"), options).duration_s == 1


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf, 1e300])
def test_samples_that_are_no_numbers_are_refused(value):
    """One NaN or infinity would spread over the whole clip."""
    samples = speech().astype(np.float64)
    samples[RATE // 2] = value

    assert rejected(encoded(samples, kind="wav-double")).reason == "not_finite"
    assert rejected(encoded(samples, kind="wav-double"), KEPT_AS_IT_IS).reason == "not_finite"


def test_samples_that_overflow_in_the_mix_are_refused():
    """Finite floats whose sum is not."""
    samples = np.full((RATE, 2), 3e38, dtype=np.float32)

    assert rejected(encoded(samples, kind="wav-float")).reason == "not_finite"


# --- refused for what is missing ---------------------------------------------------------------------------------


@pytest.mark.parametrize("cut", [0.0001, 0.1, 0.6], ids=["a-little", "a-tenth", "most"])
@pytest.mark.parametrize("kind", FORMATS)
def test_a_file_that_was_cut_short_is_truncated(kind, cut):
    """libsndfile decodes what is left of it without a word; we compare with what it promised."""
    data = encoded(speech(2.0), kind=kind)

    error = rejected(data[: -max(1, int(cut * len(data)))])

    assert error.reason == "truncated"
    assert error.detail


def test_a_file_cut_inside_its_header_is_truncated():
    """Not even the samples' chunk is reached."""
    assert rejected(encoded(speech())[:40]).reason == "truncated"


def test_a_clip_shorter_than_its_table_says_is_truncated():
    """The source's table knows what the container can't: a second is missing."""
    data = encoded(speech(2.0))

    error = rejected(data, declared_duration_s=3.0)

    assert error.reason == "truncated"
    assert "3.000 s by its table" in error.detail


@pytest.mark.parametrize(("actual_s", "declared_s"), [(1.0, 1.2), (20.0, 20.39), (1.0, 0.5), (1.0, 0.0)])
def test_a_table_may_be_a_little_off(actual_s, declared_s):
    """A quarter of a second or 2%, whichever is more; a clip longer than its table is not short of anything."""
    assert standardize_audio(encoded(speech(actual_s, 8_000), 8_000), WAV, declared_s).duration_s == actual_s


def test_a_damaged_flac_is_refused():
    """A flipped bit in the middle fails the frame's checksum: undecodable, not cut short."""
    data = bytearray(encoded(speech(4.0), kind="flac"))
    data[len(data) // 3] ^= 0x10

    assert rejected(bytes(data)).reason == "undecodable"


# --- WAV headers that were never filled in -----------------------------------------------------------------------


@pytest.mark.parametrize(
    ("riff_size", "data_size"),
    [(None, 0), (0, 0), (0xFFFF_FFFF, 0xFFFF_FFFF), (0x7FFF_F024, 0x7FFF_F000)],
    ids=["data-zero", "both-zero", "ffmpeg-pipe", "sox-pipe"],
)
def test_a_streamed_wav_is_read_to_its_end(riff_size, data_size):
    """Programs that write to a pipe can't go back to fill in the sizes."""
    data = encoded(speech())
    outer = data[4:8] if riff_size is None else struct.pack("<I", riff_size)
    streamed = data[:4] + outer + data[8:40] + struct.pack("<I", data_size) + data[44:]

    assert standardize_audio(streamed, WAV) == standardize_audio(data, WAV)
    assert rejected(streamed[:44]).reason == "empty"


def test_chunks_behind_the_samples_are_no_samples():
    """A list of tags after an empty data chunk is not taken for sound, nor does one after a full chunk harm."""
    tags = b"LIST" + struct.pack("<I", 4) + b"INFO"
    data = encoded(speech())

    assert rejected(encoded(np.zeros(0)) + tags).reason == "empty"
    assert standardize_audio(data + tags, WAV) == standardize_audio(data, WAV)


def test_bytes_behind_a_flac_stream_do_no_harm():
    """Tags of other programs at the end of the file."""
    data = encoded(speech(), kind="flac")

    assert standardize_audio(data + b"TAG" + bytes(125), WAV) == standardize_audio(data, WAV)


# --- MP3 and Ogg -------------------------------------------------------------------------------------------------


def loud_then_quiet_mp3(rate=48_000):
    """A variable bit rate whose first frames say nothing of the others."""
    samples = np.concatenate([speech(1.0, rate, 0.3), speech(6.0, rate, 0.0005), speech(1.0, rate, 0.3)])
    return encoded(samples, rate, "mp3", bitrate_mode="VARIABLE", compression_level=0.3)


@pytest.mark.parametrize("rate", [16_000, 48_000])
def test_an_mp3_without_a_length_header_is_read_to_its_end(rate):
    """libsndfile guesses the length from the first frames, and would stop after a part of the clip."""
    data = loud_then_quiet_mp3(rate)
    bare = data[scan_mpeg(data).first :]
    assert soundfile.info(io.BytesIO(bare)).duration < 6

    audio = standardize_audio(bare, WAV)

    whole, part = decoded(standardize_audio(data, WAV).data)[0], decoded(audio.data)[0]
    assert audio.duration_s == pytest.approx(8.0, abs=0.15)
    assert similarity(whole, part) > 0.99
    assert standardize_audio(bare, KEPT_AS_IT_IS).data is bare


def test_two_mp3_files_in_one_are_read_to_the_end():
    """The first one's header speaks of its own frames only."""
    data = encoded(speech(1.5), kind="mp3")

    assert standardize_audio(data + data, WAV).duration_s == pytest.approx(3.0, abs=0.2)


def test_an_mp3_with_fewer_frames_than_its_header_says_is_truncated():
    """Cut exactly between two frames: the last one is whole, but some are missing."""
    data = encoded(speech(3.0), kind="mp3", bitrate_mode="CONSTANT", compression_level=0.5)
    scan = scan_mpeg(data)
    frame_bytes = (len(data) - scan.first) // scan.frames
    assert frame_bytes * scan.frames == len(data) - scan.first

    error = rejected(data[: -10 * frame_bytes])

    assert error.reason == "truncated"
    assert f"{scan.frames - 10} of {scan.frames} MPEG frames" in error.detail


@pytest.mark.parametrize(
    ("before", "after"),
    [
        (b"ID3\4\0\0\0\0\x10\0" + b"\xff\xfb\x90\xc0" * 512, b""),
        (b"ID3\4\0\0\0\0\0\x0a" + bytes(10) + b"ID3\3\0\0\0\0\0\x04" + bytes(4), b""),
        (b"", b"TAG" + b"title".ljust(125)),
        (b"", b"APETAGEX" + bytes(24)),
        (bytes(3_000), b""),
        (b"HTTP/1.1 200 OK\r\n\r\n", b""),
    ],
    ids=["id3v2-picture", "id3v2-twice", "id3v1", "ape", "zeros", "junk"],
)
def test_what_stands_around_an_mp3_does_no_harm(before, after):
    """Tags on both sides, and junk in front of it."""
    data = encoded(speech(2.0), kind="mp3")

    audio = standardize_audio(before + data + after, WAV)

    assert audio.duration_s == pytest.approx(2.0, abs=0.15)
    assert rejected(before + data[:-50]).reason == "truncated"


def test_an_ogg_stream_without_its_last_page_is_truncated():
    """Cut exactly between two pages: everything there is whole, but the end is not marked."""
    for kind in ("vorbis", "opus"):
        data = encoded(speech(3.0), kind=kind)

        error = rejected(data[: data.rindex(b"OggS")])

        assert (error.reason, "does not end its stream" in error.detail) == ("truncated", True)


@pytest.mark.parametrize("kind", ["vorbis", "opus"])
@pytest.mark.parametrize("page", [3, -2, -1])
def test_an_ogg_stream_with_a_damaged_page_is_undecodable(kind, page):
    """The decoder skips a page that fails its checksum, and where it is the last one, says nothing of it."""
    data = bytearray(encoded(speech(9.0), kind=kind))
    data[page_starts(data)[page] + 60] ^= 0x01

    error = rejected(bytes(data))

    assert (error.reason, "is damaged" in error.detail) == ("undecodable", True)


@pytest.mark.parametrize("kind", ["vorbis", "opus"])
@pytest.mark.parametrize("page", [3, -2])
def test_an_ogg_stream_that_lost_a_page_is_truncated(kind, page):
    """All that is there is whole, and the decoder is silent about what is not."""
    data = encoded(speech(9.0), kind=kind)
    starts = [*page_starts(data), len(data)]
    lost = page % len(starts[:-1])

    error = rejected(data[: starts[lost]] + data[starts[lost + 1] :])

    assert (error.reason, "missing" in error.detail) == ("truncated", True)


def page_starts(ogg):
    """Where the pages of an Ogg file begin."""
    return [match.start() for match in re.finditer(b"OggS", ogg)]


def test_ogg_streams_in_a_row_are_refused():
    """libsndfile decodes the first and is silent about the others: better no clip than a part of one."""
    data = encoded(speech(), kind="vorbis")

    error = rejected(data + data)

    assert (error.reason, "several Ogg streams" in error.detail) == ("undecodable", True)


# --- clips that are kept as they are -----------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("kind", "extension"),
    [("wav-24", "wav"), ("flac", "flac"), ("vorbis", "ogg"), ("opus", "opus"), ("mp3", "mp3"), ("aiff", "aiff")],
)
def test_without_standardization_the_bytes_are_untouched(kind, extension):
    """`--no-standardization`: the very same bytes, named by what they are, measured and hashed."""
    data = encoded(speech(1.0, 48_000), 48_000, kind)

    audio = standardize_audio(data, KEPT_AS_IT_IS)

    samples, _ = soundfile.read(io.BytesIO(data), dtype="float32")
    assert (audio.data is data, audio.extension) == (True, extension)
    assert audio.duration_s == len(samples) / 48_000
    assert audio.audio_hash == xxhash.xxh3_128_hexdigest(np.rint(samples * 32768).astype("<i2").tobytes())


def test_without_standardization_channels_are_hashed_interleaved():
    """Nothing is mixed, so all channels belong to the hash."""
    samples = np.round(np.stack([speech(), -speech()], axis=1) * 32768).astype("<i2")

    audio = standardize_audio(encoded(samples), KEPT_AS_IT_IS)

    assert audio.audio_hash == xxhash.xxh3_128_hexdigest(samples.tobytes())


def test_without_standardization_nothing_is_mended():
    """A file that only we can read would be published for nobody to open."""
    data = encoded(speech())
    assert rejected(data[:40] + bytes(4) + data[44:], KEPT_AS_IT_IS).reason == "undecodable"


# --- options and arrays ------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "wrong", [{"sample_rate_hz": 0}, {"target_dbfs": 3.0}, {"target_dbfs": float("nan")}, {"audio_format": "mp3"}]
)
def test_options_that_make_no_sense_are_a_usage_error(wrong):
    """Refused when they are made, not at the first clip."""
    with pytest.raises(UsageError):
        AudioOptions(**wrong)


@pytest.mark.parametrize("dtype", [np.float16, np.float32, np.float64, np.int16, np.int32, np.int64])
def test_an_array_is_the_same_clip_as_its_file(dtype):
    """Floats at 1.0 full scale; integers of any width that hold 16-bit samples."""
    voice = np.round(speech() * 1024) / 1024
    array = (voice * 32768 if np.issubdtype(dtype, np.integer) else voice).astype(dtype)

    audio = standardize_audio(audio_from_array(array, RATE), WAV)

    assert audio == standardize_audio(encoded(np.round(voice * 32768).astype(np.int16)), WAV)


def test_an_array_may_have_channels_and_wide_integers():
    """(frames, channels); integers that don't fit 16 bit are taken as 32 bit. A list will do."""
    wide = np.round(np.stack([speech(), speech()], axis=1).astype(np.float64) * 2**31).astype(np.int64)

    samples, rate = soundfile.read(io.BytesIO(audio_from_array(wide.tolist(), 22_050)), dtype="int32")

    assert rate == 22_050
    assert np.array_equal(samples, wide)


def test_an_array_with_nan_is_refused_as_a_clip():
    """What is wrong with the samples is not hidden by packing them."""
    assert rejected(audio_from_array([0.1, float("nan"), 1e300] * 5_000, RATE)).reason == "not_finite"


@pytest.mark.parametrize(
    "array", [np.zeros((2, 2, 2)), np.float32(1), np.array(["a"]), np.array([True]), np.array([1 << 40])]
)
def test_what_is_no_array_of_samples_is_a_value_error(array):
    """A mistake in a processor, not a bad clip."""
    with pytest.raises(ValueError, match=r"samples"):
        audio_from_array(array, RATE)


# --- real clips, where there are any -----------------------------------------------------------------------------

REAL_CLIPS = sorted(Path(folder).glob("*/*")) if (folder := os.environ.get("THAI_AUDIO_REAL_CLIPS")) else []
"""Real clips in many forms, and broken ones, where somebody has a folder of folders of them and names it."""

NOT_KEPT = {
    "silence_3s.wav": "silent",
    "th_quiet_-60dB.wav": "silent",  # -81 dBFS
    "th_20ms.wav": "too_short",
    "th.wma": "undecodable",
    "th_aac.m4a": "undecodable",
    "th_aac_adts.aac": "undecodable",
    "th_opus.webm": "undecodable",
    "float_with_nan.wav": "not_finite",
    "git_lfs_pointer.wav": "undecodable",
    "header_cut_40b.wav": "truncated",
    "header_only_44b.wav": "empty",
    "html_error_page.mp3": "undecodable",
    "random_bytes.mp3": "undecodable",
    "random_bytes.wav": "undecodable",
    "sample_rate_zero.wav": "undecodable",
    "trunc.flac": "truncated",
    "trunc.mp3": "truncated",
    "trunc.ogg": "truncated",
    "trunc.opus": "truncated",
    "trunc_header_longer_than_data.wav": "truncated",
    "trunc_moov_missing_maybe.m4a": "undecodable",
    "zero_byte.mp3": "empty",
    "zero_byte.wav": "empty",
}


NEEDS_PYAV = {"th.wma", "th_aac.m4a", "th_aac_adts.aac", "th_opus.webm"}


@pytest.mark.skipif(not REAL_CLIPS, reason="no folder of real clips is named by THAI_AUDIO_REAL_CLIPS")
@pytest.mark.parametrize("path", REAL_CLIPS, ids=lambda path: path.name)
def test_real_clips_are_kept_and_broken_ones_named(path):
    """Readable clips in every form come out standard, under whatever name; the others have the right reason."""
    data = path.read_bytes()

    if path.name in NOT_KEPT and not (path.name in NEEDS_PYAV and is_installed()):
        assert rejected(data).reason == NOT_KEPT[path.name]
    else:
        audio = standardize_audio(data, AudioOptions())
        samples, rate = decoded(audio.data)
        assert (rate, samples.ndim) == (RATE, 1)
        assert -23 < dbfs(samples) < -19.99
        assert np.abs(samples).max() <= 10 ** (-1 / 20)


@pytest.mark.parametrize("kind", ["flac", "wav", "mp3", "opus"])
def test_no_file_is_left_open(kind):
    """Kept, refused, converted or only looked at, by a dataset's check too: ten thousand clips need one descriptor."""
    clip = encoded(speech(), kind=kind)
    row = {"audio": {"bytes": clip, "path": "S1"}, "length": 0.5, "audio_hash": ""}

    def descriptors():
        return len(list(Path("/proc/self/fd").iterdir()))

    before = descriptors()
    for _ in range(20):
        standardize_audio(clip, AudioOptions())
        problem_of(row, 16_000)
        for broken in (clip[: len(clip) // 2], clip[:60], b"", b"no sound"):
            with pytest.raises(AudioRejected):
                standardize_audio(broken, AudioOptions())
    assert descriptors() <= before


@pytest.mark.parametrize("kind", ["wav-float", "wav-double"])
@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
@pytest.mark.parametrize("at", [0, 70_000, -1])
@pytest.mark.parametrize("channels", [1, 2])
@pytest.mark.parametrize("rate_hz", [RATE, 22_050])
def test_one_sample_that_is_no_number_is_enough(kind, bad, at, channels, rate_hz):
    """Wherever it stands, in one channel of two, resampled or not, kept as it is or not."""
    samples = np.random.default_rng(0).normal(0, 0.1, (140_000, channels))
    samples[at, -1] = bad
    data = encoded(samples, kind=kind, rate=rate_hz)

    assert rejected(data).reason == "not_finite"
    assert rejected(data, KEPT_AS_IT_IS).reason == "not_finite"


@pytest.mark.parametrize("rate", [RATE, 44_100, 48_000])
@pytest.mark.parametrize("mode", ["CONSTANT", "VARIABLE"])
def test_frames_looked_at_together_are_as_many_as_one_by_one(rate, mode, monkeypatch):
    """Whole, cut anywhere near the end, with a damaged header or bytes between."""
    data = encoded(speech(12.0, rate), rate, "mp3", bitrate_mode=mode)
    chance = np.random.default_rng(1)
    variants = [data, *(data[:-cut] for cut in range(1, 40)), data + b"TAG" + bytes(125)]
    for at in chance.integers(0, len(data), 60).tolist():
        variants += [
            data[:at] + b"\0" + data[at + 1 :],
            data[:at] + b"\xff\xfb" + data[at:],
            data[:at] + data[at + 7 :],
        ]
    together = [scan_mpeg(variant) for variant in variants]

    monkeypatch.setattr("utils.audio.mpeg.MAX_AT_ONCE", 1)

    assert together == [scan_mpeg(variant) for variant in variants]
    assert together[0].frames > 200
