"""WAV files of 16-bit samples in their simplest form, which need no decoder: their bytes are the samples.

Most speech corpora consist of these. libsndfile gives the same numbers for them, but to open one takes it, and what
Python has to do around it, longer than all that is then done with a short clip.
"""

import struct
from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray

_HEADER: Final = struct.Struct("<4sI4s4sIHHIIHH")
_CHUNK: Final = struct.Struct("<4sI")
_PCM: Final = 1


@dataclass(frozen=True, slots=True)
class PlainWav:
    """What such a file holds."""

    sample_rate_hz: int
    samples: NDArray[np.int16]
    """(frames, channels); the file's own memory, read only."""


def read_plain_wav(data: bytes) -> PlainWav | None:
    """The samples of a WAV file, None where it is in the least unusual: that is for libsndfile to read.

    A usual one has a `fmt ` chunk of PCM that agrees with itself, at most one `LIST` chunk behind it (ffmpeg's name for
    itself), and a `data` chunk of whole frames that ends where the file and its outer size do.
    """
    if len(data) < _HEADER.size + _CHUNK.size:
        return None
    riff, outer, wave, fmt, size, tag, channels, rate, byte_rate, frame_bytes, bits = _HEADER.unpack_from(data)
    if (riff, wave, fmt, size, tag, bits) != (b"RIFF", b"WAVE", b"fmt ", 16, _PCM, 16) or outer != len(data) - 8:
        return None
    if not channels or frame_bytes != 2 * channels or byte_rate != rate * frame_bytes:
        return None
    begin = _HEADER.size
    name, size = _CHUNK.unpack_from(data, begin)
    if name == b"LIST":
        begin += _CHUNK.size + size + size % 2
        if begin + _CHUNK.size > len(data):
            return None
        name, size = _CHUNK.unpack_from(data, begin)
    begin += _CHUNK.size
    if name != b"data" or not size or size != len(data) - begin or size % frame_bytes:
        return None
    samples = np.frombuffer(data, "<i2", offset=begin).reshape(-1, channels)
    return PlainWav(rate, samples)
