"""Clips, through the very conversion that a run uses."""

import io
import struct
from functools import cache, partial
from pathlib import Path
from random import Random

import numpy as np
import soundfile

from tests.fuzz.ending import Target, ending_of_clips
from tests.fuzz.mutate import mutated
from utils.audio.ogg import page_checksum
from utils.choices import AudioOptions
from utils.rows.schema import RawClip

_KINDS = {
    "wav": (
        *(("WAV", "PCM_16", 1), ("WAV", "PCM_24", 2), ("WAV", "FLOAT", 1), ("WAV", "ULAW", 1), ("WAV", "IMA_ADPCM", 1)),
        *(("WAVEX", "PCM_U8", 3), ("RF64", "PCM_16", 1), ("WAV", "GSM610", 1), ("WAV", "MS_ADPCM", 1)),
    ),
    "flac": (("FLAC", "PCM_16", 1), ("FLAC", "PCM_24", 2), ("FLAC", "PCM_S8", 1)),
    "mp3": (("MP3", "MPEG_LAYER_III", 1), ("MP3", "MPEG_LAYER_III", 2)),
    "ogg": (("OGG", "VORBIS", 1), ("OGG", "VORBIS", 2), ("OGG", "OPUS", 1), ("OGG", "OPUS", 2)),
    "other audio": (
        *(
            ("AIFF", "PCM_16", 1),
            ("AU", "PCM_16", 1),
            ("CAF", "PCM_16", 1),
            ("W64", "PCM_16", 1),
            ("NIST", "PCM_16", 1),
        ),
        *(
            ("CAF", "ALAC_16", 1),
            ("AIFF", "FLOAT", 1),
            ("AU", "G721_32", 1),
            ("CAF", "ULAW", 2),
            ("AIFF", "DWVW_16", 1),
        ),
    ),
}
_SHARES = {"wav": 3.0, "flac": 2.0, "mp3": 2.0, "ogg": 2.0, "other audio": 2.0}
_OPTIONS = (AudioOptions(), AudioOptions(audio_format="wav", sample_rate_hz=8000), AudioOptions(standardize=False))


def targets() -> list[Target]:
    return [Target(name, partial(_make, name), _read, share=share) for name, share in _SHARES.items()]


def sound(kind: tuple[str, str, int], duration_s: float = 0.15) -> bytes:
    """A short noisy tone in a format."""
    container, subtype, channels = kind
    rate_hz = 16_000 if subtype != "GSM610" else 8_000
    time_s = np.arange(int(duration_s * rate_hz)) / rate_hz
    noise = np.random.default_rng(1).normal(0, 0.02, (time_s.size, channels))
    file = io.BytesIO()
    soundfile.write(
        file, 0.3 * np.sin(2 * np.pi * 220 * time_s)[:, None] + noise, rate_hz, format=container, subtype=subtype
    )
    return file.getvalue()


@cache
def _sounds(name: str) -> tuple[bytes, ...]:
    short = [sound(kind) for kind in _KINDS[name]]
    return (*short, *(sound(kind, 1.2) for kind in _KINDS[name][:2]))


def _make(name: str, random: Random) -> tuple[bytes, int]:
    """A damaged clip, and the number of the options that it is converted with."""
    sounds = _sounds(name)
    content = mutated(random.choice(sounds), sounds, random)
    if name == "ogg" and random.random() < 0.7:
        content = _resealed(content)
    if random.random() < 0.03:
        content = b"ID3\x04\0\0" + struct.pack(">I", random.randrange(2**28)) + content
    return content, random.choice((0, 0, 0, 1, 2))


def _resealed(ogg: bytes) -> bytes:
    """Its pages with right checksums, so that the damage gets to the decoder."""
    sealed, at = bytearray(ogg), 0
    while (at := ogg.find(b"OggS", at)) >= 0 and at + 27 <= len(ogg):
        end = at + 27 + ogg[at + 26] + sum(ogg[at + 27 : at + 27 + ogg[at + 26]])
        sealed[at + 22 : at + 26] = page_checksum(bytes(sealed[at:end])).to_bytes(4, "little")
        at += 4
    return bytes(sealed)


def _read(made: tuple[bytes, int], folder: Path) -> str:
    content, options = made
    clip = RawClip("clip", {"index": 1}, content, "clip.wav", "สวัสดี", declared_duration_s=None)
    return ending_of_clips([clip], _OPTIONS[options])
