"""Made-up Thai speech: short clips with a sentence each, from a source-filter synthesizer, the same every time.

A voice (glottal pulses whose pitch follows the five tones) and noise (consonants) are shaped by formants,
syllable by syllable. It is not meant to be understood, only to look like speech to everything that reads,
measures and stores clips. Nothing is downloaded, and no recording is used.
"""

import io
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import soundfile

Samples = npt.NDArray[np.float32]
_Floats = npt.NDArray[np.floating[Any]]
_Syllable = tuple[str, str, str]
"""Consonant, vowel, tone."""

_RATE_HZ = 16_000
"""The rate of the synthesis."""
_STEP = _RATE_HZ // 20
"""Clips last a multiple of 50 ms: lengths whose Fourier transform is quick."""

SARA_AM = "\u0e33"
DECOMPOSED_SARA_AM = "\u0e4d\u0e32"
NO_BREAK_SPACE = "\u00a0"
ZERO_WIDTH_SPACE = "\u200b"

_WORDS: tuple[tuple[str, tuple[_Syllable, ...]], ...] = (
    ("ไป", (("p", "a", "mid"),)),
    ("มา", (("m", "a", "mid"),)),
    ("บ้าน", (("p", "a", "falling"),)),
    ("น้ำ", (("m", "a", "high"),)),
    ("ข้าว", (("k", "a", "falling"),)),
    ("แม่", (("m", "ae", "falling"),)),
    ("พ่อ", (("p", "aw", "falling"),)),
    ("โรงเรียน", (("l", "o", "mid"), ("l", "i", "mid"))),
    ("ตลาด", (("t", "a", "low"), ("l", "a", "low"))),
    ("วันนี้", (("w", "a", "mid"), ("m", "i", "high"))),
    ("พรุ่งนี้", (("p", "u", "falling"), ("m", "i", "high"))),
    ("อากาศ", (("", "a", "mid"), ("k", "a", "low"))),
    ("ร้อน", (("l", "aw", "high"),)),
    ("หนาว", (("m", "a", "rising"),)),
    ("ฝน", (("f", "o", "rising"),)),
    ("รถไฟ", (("l", "o", "high"), ("f", "a", "mid"))),
    ("สถานี", (("s", "a", "low"), ("t", "a", "rising"), ("m", "i", "mid"))),
    ("เพื่อน", (("p", "ue", "falling"),)),
    ("หนังสือ", (("m", "a", "rising"), ("s", "ue", "rising"))),
    ("อ่าน", (("", "a", "low"),)),
    ("เขียน", (("k", "i", "rising"),)),
    ("กิน", (("k", "i", "mid"),)),
    ("ดื่ม", (("t", "ue", "low"),)),
    ("กาแฟ", (("k", "a", "mid"), ("f", "ae", "mid"))),
    ("ทะเล", (("t", "a", "high"), ("l", "e", "mid"))),
    ("ภูเขา", (("p", "u", "mid"), ("k", "a", "rising"))),
    ("ดอกไม้", (("t", "aw", "low"), ("m", "a", "high"))),
    ("สีแดง", (("s", "i", "rising"), ("t", "ae", "mid"))),
    ("ตอนเช้า", (("t", "aw", "mid"), ("s", "a", "high"))),
    ("ค่ำ", (("k", "a", "falling"),)),
    ("จำ", (("t", "a", "mid"),)),
    ("เดิน", (("t", "oe", "mid"),)),
    ("เร็ว", (("l", "e", "mid"),)),
    ("ช้า", (("s", "a", "high"),)),
    ("ใหญ่", (("w", "a", "low"),)),
    ("เล็ก", (("l", "e", "high"),)),
    ("สวย", (("s", "u", "rising"),)),
    ("ดี", (("t", "i", "mid"),)),
)

_FORMANTS_HZ = {
    "a": (800, 1300, 2600, 3600),
    "ae": (650, 1800, 2500, 3600),
    "aw": (600, 950, 2500, 3500),
    "e": (450, 2000, 2700, 3700),
    "i": (300, 2300, 3000, 3800),
    "o": (480, 850, 2500, 3500),
    "oe": (480, 1350, 2400, 3500),
    "u": (320, 800, 2300, 3400),
    "ue": (330, 1300, 2300, 3500),
    "m": (260, 1100, 2200, 3300),
    "l": (340, 1250, 2500, 3400),
    "w": (300, 700, 2200, 3300),
}
"""Of vowels, and of the voiced consonants; about those of an adult."""

_NOISE = {
    "p": (900, 700, 0.02, 0.5),
    "t": (3600, 1500, 0.025, 0.6),
    "k": (1900, 800, 0.03, 0.6),
    "s": (5800, 1500, 0.09, 0.4),
    "f": (4800, 2500, 0.08, 0.2),
}
"""Noise of voiceless consonants: centre Hz, width Hz, seconds, level."""

_TONES = {
    "mid": (1.0, 1.0, 0.96),
    "low": (0.92, 0.86, 0.8),
    "falling": (1.1, 1.2, 0.85),
    "high": (1.05, 1.12, 1.22),
    "rising": (0.88, 0.84, 1.12),
}
"""Pitch at a syllable's start, middle and end, as a part of the speaker's."""

_SPEAKER_PITCH_HZ = (98.0, 112.0, 125.0, 138.0, 176.0, 190.0, 208.0, 231.0)


@dataclass(frozen=True)
class SpokenClip:
    """One made-up utterance. `samples` in -1..1."""

    samples: Samples
    sentence: str
    speaker: int
    duration_s: float


class SyntheticVoice:
    """Clips number 0, 1, 2, ... of a seed: each different, with a sentence of its own, the same in every run."""

    def __init__(self, seed: int) -> None:
        self._seed = seed

    def clip(self, number: int, sample_rate_hz: int = 16_000) -> SpokenClip:
        """Clip `number`: 0.4 to 2.5 s, between -32 and -14 dBFS RMS, by one of eight speakers."""
        random = np.random.default_rng([self._seed, number])
        words = self._words(number, random)
        speaker = int(random.integers(len(_SPEAKER_PITCH_HZ)))
        syllables = [syllable for _, word in words for syllable in word]
        samples = _resampled(_utterance(syllables, _SPEAKER_PITCH_HZ[speaker], random), sample_rate_hz)
        return SpokenClip(
            samples, _sentence([text for text, _ in words], number), speaker, len(samples) / sample_rate_hz
        )

    def _words(self, number: int, random: np.random.Generator) -> list[tuple[str, tuple[_Syllable, ...]]]:
        """The first two words spell the number, so that no two sentences are equal (below 1,444)."""
        count = len(_WORDS)
        own = (number + self._seed) % count, (number // count + 7 * number) % count
        more = random.integers(count, size=max(0, int(random.integers(-2, 4))))
        return [_WORDS[at] for at in (*own, *more)]


def _sentence(words: list[str], number: int) -> str:
    """The words as a source may spell them: now and then with what a normalizer has to deal with."""
    if number % 13 == 5:
        words = [words[0], f'"{words[1]}"', *words[2:]]
    space = NO_BREAK_SPACE if number % 7 == 3 else " "
    text = words[0] + words[1] + space + "".join(words[2:]) if len(words) > 2 else space.join(words)
    if number % 5 == 1:
        text = text.replace(SARA_AM, DECOMPOSED_SARA_AM)
    return f"{ZERO_WIDTH_SPACE}{text}" if number % 17 == 9 else text


def _utterance(syllables: list[_Syllable], pitch_hz: float, random: np.random.Generator) -> _Floats:
    pace = random.uniform(0.8, 1.25)
    spoken = [_spoken(syllable, pitch_hz, pace, random) for syllable in syllables]
    pause = np.zeros(int(random.uniform(0.04, 0.1) * _RATE_HZ))
    wave = np.concatenate([pause, *spoken, pause])
    steps = -(-len(wave) // _STEP)
    count = _STEP * min(max(steps, 8), 50)
    wave = np.pad(wave, (0, max(0, count - len(wave))))[:count]
    wave += 0.003 * np.max(np.abs(wave)) * random.standard_normal(len(wave))  # the room
    loud = 10 ** (random.uniform(-32, -14) / 20) / np.sqrt(np.mean(wave**2))
    wave *= min(loud, 0.95 / np.max(np.abs(wave)))
    return wave


def _spoken(syllable: _Syllable, pitch_hz: float, pace: float, random: np.random.Generator) -> _Floats:
    """A consonant and the vowel after it."""
    consonant, vowel, tone = syllable
    contour = pitch_hz * np.array(_TONES[tone])
    parts = []
    if consonant in _NOISE:
        parts.append(_noise(consonant, random))
    elif consonant:
        onset = np.full(3, contour[0])
        parts.append(0.4 * _voiced(consonant, onset, 0.05 * pace))
    contour = contour * random.uniform(0.97, 1.03, size=3)
    parts.append(_voiced(vowel, contour, random.uniform(0.09, 0.16) * pace))
    return np.concatenate(parts)


def _voiced(sound: str, contour_hz: _Floats, duration_s: float) -> _Floats:
    """Glottal pulses along a pitch contour, through the sound's formants, fading in and out. Peak 1."""
    count = int(duration_s * _RATE_HZ)
    pitch_hz = np.interp(np.linspace(0, 2, count), (0, 1, 2), contour_hz)
    phase = np.cumsum(pitch_hz) / _RATE_HZ % 1
    pulses = np.where(phase < 0.6, np.sin(np.pi * phase / 0.6) ** 2, 0.0)
    size = 1 << (2 * count).bit_length()  # room for the formants to ring, and a size that is quick
    spectrum = np.fft.rfft(np.diff(pulses, prepend=0.0), size)
    wave = np.fft.irfft(spectrum * _resonances(sound, np.fft.rfftfreq(size, 1 / _RATE_HZ)))[:count]
    wave *= np.sqrt(np.sin(np.pi * (np.arange(count) + 0.5) / count))
    wave /= np.max(np.abs(wave))
    return wave


def _resonances(sound: str, hz: _Floats) -> _Floats:
    """The gain of the sound's formants at each frequency."""
    gain = np.zeros_like(hz)
    for number, formant_hz in enumerate(_FORMANTS_HZ[sound]):
        width_hz = 60 + 0.04 * formant_hz
        gain += 0.6**number / np.sqrt(1 + ((hz - formant_hz) / width_hz) ** 2)
    return gain


def _noise(consonant: str, random: np.random.Generator) -> _Floats:
    centre_hz, width_hz, duration_s, level = _NOISE[consonant]
    count = int(duration_s * _RATE_HZ)
    hz = np.fft.rfftfreq(count, 1 / _RATE_HZ)
    shape = np.exp(-(((hz - centre_hz) / width_hz) ** 2))
    wave = np.fft.irfft(np.fft.rfft(random.standard_normal(count)) * shape, count) * np.hanning(count)
    wave *= level / np.max(np.abs(wave))
    return wave


def _resampled(wave: _Floats, sample_rate_hz: int) -> Samples:
    """At another rate, by the length of its spectrum: it begins and ends in near silence, so nothing wraps."""
    count = len(wave) * sample_rate_hz // _RATE_HZ
    if count != len(wave):
        wave = np.fft.irfft(np.fft.rfft(wave), count) * (count / len(wave))
    return wave.astype(np.float32)


def wav_bytes(samples: Samples, sample_rate_hz: int = 16_000) -> bytes:
    """A mono 16-bit WAV file."""
    return _encoded(samples, sample_rate_hz, "WAV", "PCM_16")


def mp3_bytes(samples: Samples, sample_rate_hz: int = 48_000) -> bytes:
    """A mono MP3 file with a constant bit rate."""
    return _encoded(samples, sample_rate_hz, "MP3", "MPEG_LAYER_III")


def _encoded(samples: Samples, sample_rate_hz: int, container: str, subtype: str) -> bytes:
    file = io.BytesIO()
    soundfile.write(file, samples, sample_rate_hz, format=container, subtype=subtype)
    return file.getvalue()
