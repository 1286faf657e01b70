"""Bytes of a clip in any format -> standard audio: one rate, one channel, one loudness, 16 bit.

Pure: the same bytes and options give the same bytes with the same libraries, nothing is remembered between
clips, and any number of threads may call at once (of very long clips one is taken at a time, to bound memory). The
way of a clip:

1. it is identified and compared with what it promises (`wav`, `containers`, `mpeg`, `ogg`, `clip`);
2. it is decoded in blocks, front to back, each block mixed to one channel and resampled;
3. only when the last block has come out whole is it measured, brought to its loudness by one linear gain,
   rounded to 16 bit (no dither: it would not be repeatable), hashed and encoded (`memory_file`).

What has to be held is the clip's own bytes, its samples as float32 at the target rate, and the result. Where these are
more than `MAX_HELD_BYTES`, the clip is decoded a second time for the third step instead: that gives the same samples.
"""

import math
import threading
from collections.abc import Callable, Iterable, Iterator
from contextlib import nullcontext
from dataclasses import dataclass
from functools import partial
from typing import Any, Final

import numpy as np
import soxr
import xxhash

from utils.audio.buffers import begin_clip, pass_through
from utils.audio.clip import FULL_SCALE_INT16, Clip, Decoded, Samples, as_floats, blocks, identify
from utils.audio.fingerprint import MAX_SECONDS, Fingerprint, fingerprint
from utils.audio.memory_file import Pcm, audio_from_array, flac_bytes, wav_bytes
from utils.audio.rejected import AudioRejected
from utils.choices import AudioOptions
from utils.rows.schema import RejectReason

__all__ = ["AudioRejected", "StandardAudio", "audio_fingerprint", "audio_from_array", "standardize_audio"]

SILENCE_DBFS: Final = -70.0
MAX_GAIN_DB: Final = 40.0
HOLLOW_AVERAGE_DB: Final = 20.0
"""An average of channels that is this far below the louder channel has cancelled out."""

MAX_HELD_BYTES: Final = 120 * 1000**2
"""Twenty minutes at 16 kHz."""
LARGE_FRAMES: Final = 4 * 60 * 16_000
"""Of longer clips one is converted at a time, however many threads there are."""
_one_large_clip: Final = threading.Lock()
_HELD_BYTES_A_SAMPLE: Final = 6
"""A float, and two bytes of the result."""

MAX_PEAK: Final = math.floor(32768 * 10 ** (-1 / 20)) / 32768
"""The highest 16-bit sample at or under -1 dBFS."""
FULL_SCALE: Final = 32767 / 32768


@dataclass(frozen=True, slots=True)
class StandardAudio:
    """A clip as it is published."""

    data: bytes
    extension: str
    """`flac`, `wav`, or the ending of the original format where the clip's bytes were kept."""
    duration_s: float
    """Published samples / rate."""
    audio_hash: str
    """xxh3-128, hex, of the samples as 16-bit little-endian (several channels interleaved)."""
    fingerprint: Fingerprint | None = None
    """What finds the same recording again, where it was asked for."""


def standardize_audio(
    data: bytes, options: AudioOptions, declared_duration_s: float | None = None, with_fingerprint: bool = False
) -> StandardAudio:
    """Decode, check and convert one clip. `declared_duration_s`: what the source's table says of it.

    Raises `AudioRejected` where the clip can't be published; its reason is one of undecodable, empty, too_short,
    too_long, silent, not_finite and truncated.
    """
    begin_clip()
    with identify(data, declared_duration_s) as clip, _one_large_clip if _is_large(clip, options) else nullcontext():
        head = (
            _Head(options.sample_rate_hz if options.standardize else clip.sample_rate_hz) if with_fingerprint else None
        )
        return _standard(clip, options, head) if options.standardize else _as_it_is(data, clip, head)


def audio_fingerprint(data: bytes) -> Fingerprint:
    """The fingerprint of a clip that was published: that which it had when it was converted."""
    with identify(data, None) as clip:
        head = _Head(clip.sample_rate_hz)
        for block in blocks(clip):
            head.take(_average(as_floats(block)).copy())
        return head.fingerprint()


def _is_large(clip: Clip, options: AudioOptions) -> bool:
    """By what its header promises; a header that promises nothing may stand for anything."""
    if clip.promised_frames is None:
        return len(clip.content) > LARGE_FRAMES // 8  # the most that speech is packed, and more
    return clip.promised_frames * options.sample_rate_hz > LARGE_FRAMES * clip.sample_rate_hz


def _standard(clip: Clip, options: AudioOptions, head: "_Head | None") -> StandardAudio:
    """The clip with its channels averaged; or, where the average turns out hollow, its loudest channel."""
    levels = _Levels(clip.channels) if clip.channels > 1 else None
    mono = _Mono(clip, options.sample_rate_hz, _averages(clip, levels), lambda: _averages(clip, None))
    if levels and (channel := levels.channel_to_take()) is not None:
        del mono  # its samples, before there are others
        mono = _Mono(clip, options.sample_rate_hz, _channel(clip, channel), lambda: _channel(clip, channel))
    return _published(mono, options, head)


def _averages(clip: Clip, levels: "_Levels | None") -> Iterator[Decoded]:
    if clip.channels == 1:
        yield from _channel(clip, 0)
        return
    for block in map(as_floats, blocks(clip)):
        mono = _average(block)
        if levels:
            levels.add(block, mono)
        yield mono


def _channel(clip: Clip, channel: int) -> Iterator[Decoded]:
    for block in blocks(clip):
        one: Any = np.ascontiguousarray(block[:, channel])
        yield one


class _Mono:
    """The samples of a clip in one channel at the target rate, measured; to be had again as `chunks`."""

    def __init__(
        self, clip: Clip, rate_hz: int, first: Iterator[Decoded], again: Callable[[], Iterator[Decoded]]
    ) -> None:
        self.frames = 0
        self.highest, self.lowest, self.energy = -math.inf, math.inf, 0.0
        self._rates_hz = clip.sample_rate_hz, rate_hz
        self._again = again
        self._most_kept = (MAX_HELD_BYTES - len(clip.content)) // _HELD_BYTES_A_SAMPLE
        self._kept: list[Decoded] | None = []
        for chunk in _resampled(first, *self._rates_hz):
            self._take(chunk)

    def _take(self, chunk: Decoded) -> None:
        unit = _unit(chunk)
        self.frames += len(chunk)
        self.highest = max(self.highest, float(chunk.max()) * unit)
        self.lowest = min(self.lowest, float(chunk.min()) * unit)
        self.energy += _energy(chunk)
        if self._kept is not None and self.frames <= self._most_kept:
            self._kept.append(chunk)
        else:
            self._kept = None

    def chunks(self) -> Iterator[Decoded]:
        return _resampled(self._again(), *self._rates_hz) if self._kept is None else iter(self._kept)


def _resampled(mono: Iterable[Decoded], source_rate_hz: int, target_rate_hz: int) -> Iterator[Decoded]:
    """By soxr's high quality: 136 dB of signal to noise, aliases under -135 dB."""
    if source_rate_hz == target_rate_hz:
        yield from mono
        return
    stream = _resamplers.between(source_rate_hz, target_rate_hz)
    for block in mono:
        if len(chunk := stream.resample_chunk(as_floats(block))):
            yield chunk
    if len(chunk := stream.resample_chunk(np.empty(0, np.float32), last=True)):
        yield chunk


class _Resamplers(threading.local):
    """A thread's last resampler, to be used again: to make one takes a twelfth of the time that a short clip needs."""

    def __init__(self) -> None:
        self._rates_hz = (0, 0)
        self._stream: soxr.ResampleStream | None = None

    def between(self, source_rate_hz: int, target_rate_hz: int) -> soxr.ResampleStream:
        """One that has heard nothing yet; good until the next is asked for."""
        rates_hz = source_rate_hz, target_rate_hz
        if self._stream is None or self._rates_hz != rates_hz:
            self._rates_hz, self._stream = rates_hz, soxr.ResampleStream(*rates_hz, num_channels=1)
        else:
            self._stream.clear()
        return self._stream


_resamplers = _Resamplers()


def _published(mono: _Mono, options: AudioOptions, head: "_Head | None") -> StandardAudio:
    _check_finite(mono.energy)
    rms = math.sqrt(mono.energy / mono.frames)
    _check_loud_enough(rms)
    scale = np.float32(32768 * _gain(rms, mono.highest, mono.lowest, options))
    hasher = xxhash.xxh3_128()
    pcm = _hashed(map(partial(_rounded, scale=scale), mono.chunks()), hasher)
    if head:
        pcm = head.passing(pcm)
    encode = flac_bytes if options.audio_format == "flac" else wav_bytes
    data = encode(pcm, options.sample_rate_hz, mono.frames)
    duration_s = mono.frames / options.sample_rate_hz
    return StandardAudio(
        data, options.audio_format, duration_s, hasher.hexdigest(), head.fingerprint() if head else None
    )


def _gain(rms: float, highest: float, lowest: float, options: AudioOptions) -> float:
    """The one linear gain of a clip. It never makes a sample clip, whatever was asked for.

    Rounded to 0.0001 dB: sums and logarithms differ in their last digits between processors, and a
    resumed run on another machine has to publish the same samples.
    """
    peak = max(highest, -lowest)
    if not options.volume_norm:
        fits = highest * 32768 < 32767.5 and lowest * 32768 >= -32768
        return 1.0 if fits else FULL_SCALE / peak
    wanted_db = options.target_dbfs - 20 * math.log10(rms)
    most_db = 20 * math.log10(MAX_PEAK / peak)
    return float(10 ** (round(min(wanted_db, most_db, MAX_GAIN_DB), 4) / 20))


def _as_it_is(data: bytes, clip: Clip, head: "_Head | None") -> StandardAudio:
    """The clip in its own bytes, after the same checks."""
    if clip.is_mended:
        detail = "it can be read only after it is mended, but clips are to be kept as they are"
        raise AudioRejected(RejectReason.UNDECODABLE, detail)
    levels, hasher = _Levels(clip.channels), xxhash.xxh3_128()
    for block in map(as_floats, blocks(clip)):
        average = _average(block)
        levels.add(block, average)
        if head:
            head.take(average.copy())
        with np.errstate(invalid="ignore"):  # of NaN, which is refused below
            hasher.update(_rounded(np.clip(block, -1.0, FULL_SCALE), np.float32(32768)).data)
    _check_finite(levels.energy())
    _check_loud_enough(levels.rms())
    duration_s, found = levels.frames / clip.sample_rate_hz, head.fingerprint() if head else None
    return StandardAudio(data, clip.extension, duration_s, hasher.hexdigest(), found)


def _check_finite(energy: float) -> None:
    """Of 32-bit floats it is finite if all of them are: their squares are summed in double precision."""
    if not math.isfinite(energy):
        raise AudioRejected(RejectReason.NOT_FINITE, "it has samples that are NaN, infinite or too large")


def _check_loud_enough(rms: float) -> None:
    if rms < 10 ** (SILENCE_DBFS / 20):
        loudness = f"{20 * math.log10(rms):.1f} dBFS" if rms else "digital silence"
        raise AudioRejected(RejectReason.SILENT, loudness)


# --- samples -----------------------------------------------------------------------------------------------------


class _Head:
    """The first samples of a clip in one channel: as many as its fingerprint is made of."""

    def __init__(self, rate_hz: int) -> None:
        self._rate_hz = rate_hz
        self._left = MAX_SECONDS * rate_hz
        self._taken: list[Samples] = []

    def take(self, samples: Samples) -> None:
        if self._left > 0:
            self._taken.append(samples[: self._left])
            self._left -= len(samples)

    def passing(self, pcm: Iterable[Pcm]) -> Iterator[Pcm]:
        """The same 16-bit samples; those that are wanted are taken on the way."""
        for chunk in pcm:
            self.take(chunk[: max(0, self._left)] * np.float32(1 / 32768))
            yield chunk

    def fingerprint(self) -> Fingerprint:
        return fingerprint(np.concatenate(self._taken), self._rate_hz)


class _Levels:
    """The energy of each channel and of their average, to tell whether the average has cancelled out."""

    def __init__(self, channels: int) -> None:
        self.frames = 0
        self._channels = np.zeros(channels)
        self._average = 0.0

    def add(self, block: Samples, average: Samples) -> None:
        self.frames += len(block)
        self._channels += [_energy(channel) for channel in block.T]
        self._average += _energy(average)

    def channel_to_take(self) -> int | None:
        """The loudest channel where the average is hollow, None where the average is good (or all is silent)."""
        loudest = int(self._channels.argmax())
        is_hollow = self._average <= self._channels[loudest] * 10 ** (-HOLLOW_AVERAGE_DB / 10)
        return loudest if is_hollow and self._channels[loudest] > 0 else None

    def energy(self) -> float:
        """Of all channels and their average."""
        return float(self._channels.sum()) + self._average

    def rms(self) -> float:
        """Of what stands for the clip: the average, or the loudest channel."""
        channel = self.channel_to_take()
        return math.sqrt((self._average if channel is None else float(self._channels[channel])) / self.frames)


def _average(block: Samples) -> Samples:
    """One channel of many, summed in a fixed order (a matrix product's order depends on the processor)."""
    mono: Samples = np.ascontiguousarray(block[:, 0])
    if block.shape[1] == 1:
        return mono
    with np.errstate(over="ignore", invalid="ignore"):  # found by the check for finite samples
        mono = mono.copy()
        for channel in range(1, block.shape[1]):
            mono += block[:, channel]
    return mono * np.float32(1 / block.shape[1])


def _unit(samples: Decoded) -> float:
    """What 1 stands for, where full scale is 1.0."""
    return 1 / FULL_SCALE_INT16 if samples.dtype == np.int16 else 1.0


def _energy(samples: Decoded) -> float:
    """The sum of squares, in double precision."""
    wide = pass_through(len(samples), np.float64, "wide")
    np.copyto(wide, samples)
    return float(wide @ wide) * _unit(samples) ** 2


def _rounded(samples: Decoded, scale: np.float32) -> Pcm:
    """Scaled and rounded to the nearest 16-bit number; no dither."""
    scaled = pass_through(samples.size, np.float32, "scaled").reshape(samples.shape)
    np.multiply(samples, scale * np.float32(_unit(samples)), out=scaled)
    np.rint(scaled, out=scaled)
    pcm: Pcm = pass_through(samples.size, "<i2", "pcm").reshape(samples.shape)
    np.copyto(pcm, scaled, casting="unsafe")
    return pcm


def _hashed(pcm: Iterable[Pcm], hasher: xxhash.xxh3_128) -> Iterator[Pcm]:
    for chunk in pcm:
        hasher.update(chunk.data)
        yield chunk
