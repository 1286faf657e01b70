"""What a recording sounds like, in some hundred bytes: finds it again after another codec, rate, level or trim.

    samples --4 kHz--> spectra of 64 ms, every 16 ms --> energy in 25 narrow bands, 150 to 1,100 Hz
        --logarithm--> its slope from each band to the next --> how much that changes within 64 ms

That is 24 numbers for each step of 16 ms, in the manner of Haitsma and Kalker; but the bands are so narrow that they
tell the harmonics of a voice apart, so that the same speaker who says the same words once more gives other numbers.
Of a clip that is kept the signs are stored, at every eighth step of its liveliest 4 s: at most 98 bytes. A clip
that is to be compared has the numbers themselves, at every step, so that wherever the other one was trimmed the two
can be laid over each other to 8 ms. Numbers that are near zero, whose signs a codec may turn, hardly count.

Level, equalizers and what lies beyond those bands play no part. The figures are in docs/dedup.md.
"""

from functools import cache, cached_property
from typing import Final, TypeAlias

import numpy as np
import soxr
from numpy.lib.stride_tricks import sliding_window_view
from numpy.typing import NDArray

from utils.rows.schema import Sample

Floats: TypeAlias = NDArray[np.float32]

SAME_RECORDING: Final = 0.85
"""Likeness from which on two clips are one recording."""

MAX_SECONDS: Final = 30
"""Of a clip, from its start: what is behind that is not looked at."""

_RATE_HZ: Final = 4000
_STEP: Final = 64
"""Samples at that rate: 16 ms."""
_WINDOW: Final = 256
_BANDS: Final = 25
_LOWEST_HZ: Final = 150.0
_HIGHEST_HZ: Final = 1100.0
_BINS: Final = slice(int(_LOWEST_HZ * _WINDOW / _RATE_HZ), int(_HIGHEST_HZ * _WINDOW / _RATE_HZ) + 1)
"""Of the spectrum: those that the bands take."""
_APART: Final = 4
"""Steps between the two slopes that are compared."""
_FLOOR: Final = 1e-2
"""Of the clip's mean energy in a band: what is much quieter than that counts as silence."""
_MAX_NUMBER: Final = 3.0
"""A number counts no more than this: one click must not outweigh all else."""

_NOTHING: Final = 1e-20
_BLOCK_STEPS: Final = 96

_STRIDE: Final = 8
"""Steps from one stored row to the next."""
_ROWS: Final = 32
"""Stored at most."""
_FEWEST_ROWS: Final = 6
"""What a comparison needs: about a second."""
_LIVELY: Final = 0.5
"""Of the liveliest part's mean weight: what there must be to compare where two are laid over each other."""
_SLACK_STEPS: Final = 38
"""How far two versions of a recording may be shifted against each other: 0.6 s."""


class FingerprintedSample(Sample):
    """One that carries what finds the same recording again: staged, and never published."""

    fingerprint: "Fingerprint | bytes"
    """What compares it; once that is done, only what is stored."""


class Fingerprint:
    """Of one clip: what is stored of it, and what compares it with what is stored of others.

    The former is made at once. The latter takes twice as long, and is made when it is asked for: few clips have
    others with the same words.
    """

    def __init__(self, slow: Floats) -> None:
        """`slow`: its samples at 4 kHz."""
        self._slow = slow
        count = max(0, (len(slow) - _WINDOW) // _STEP - _APART)
        self._steps = count // _STRIDE * _STRIDE
        """Whole strides."""
        compared = np.arange(0, self._steps, _STRIDE)[:, None] + np.array([0, 1, _APART, _APART + 1])
        energy = _energy(slow, compared.ravel()).reshape(-1, 2, 2, _BANDS).sum(axis=2)
        self._floor = _FLOOR * float(energy.mean()) + _NOTHING if len(energy) else _NOTHING
        rows = _changes(energy[:, 0], energy[:, 1], self._floor)
        weights = _weights(rows)
        first = _liveliest(weights)
        self._liveliness = float(weights[first : first + _ROWS].mean()) if len(rows) else 0.0
        """Mean weight of a step in the part that is stored."""
        self.stored = _packed(first, rows[first : first + _ROWS]) if len(rows) >= _FEWEST_ROWS else b""
        """What is kept of it: where its liveliest part begins, and the signs there; b"" where the clip is too short."""

    def likeness(self, stored: bytes) -> float:
        """How well the stored signs fit, at their best shift: 1 all, 0 as chance would; 0 where nothing can be said."""
        if not stored or not self.stored:
            return 0.0
        first, signs = _unpacked(stored)
        agreement = self._slopes @ signs.T
        rows = np.arange(len(signs))
        steps = _STRIDE * (first + rows) + np.arange(-_SLACK_STEPS, _SLACK_STEPS + 1)[:, None]
        inside = (steps >= 0) & (steps < self._steps)
        steps = np.where(inside, steps, 0)
        fits = np.where(inside, agreement[steps, rows], 0).sum(axis=1)
        weights = np.where(inside, _weights(self._slopes)[steps], 0).sum(axis=1)
        count = inside.sum(axis=1)
        enough = (count >= max(_FEWEST_ROWS, len(signs) // 2)) & (weights >= _LIVELY * self._liveliness * count)
        return float(np.max(np.where(enough, fits / np.maximum(weights, _NOTHING), 0.0)))

    @cached_property
    def _slopes(self) -> Floats:
        """(steps, 24): see above."""
        energy = _energy(self._slow, np.arange(self._steps + _APART + 1))
        smoothed = energy[1:] + energy[:-1]
        return _changes(smoothed[:-_APART], smoothed[_APART:], self._floor)


def fingerprint(samples: Floats, rate_hz: int) -> Fingerprint:
    """Of a clip in one channel: its samples, or those of its first 30 s."""
    return Fingerprint(soxr.resample(samples[: MAX_SECONDS * rate_hz], rate_hz, _RATE_HZ, quality="LQ"))


def _energy(slow: Floats, steps: NDArray[np.int64]) -> NDArray[np.float64]:
    """(steps, bands): at each of these steps. Some at a time: that stays in the processor's cache."""
    energy = np.empty((len(steps), _BANDS))
    frames = sliding_window_view(slow, _WINDOW)[::_STEP] if len(steps) else energy
    for first in range(0, len(steps), _BLOCK_STEPS):
        chosen = frames[steps[first : first + _BLOCK_STEPS]]
        spectrum = np.fft.rfft(chosen * _window(), axis=1)[:, _BINS]
        energy[first : first + _BLOCK_STEPS] = (spectrum.real**2 + spectrum.imag**2) @ _bands()
    return energy


def _changes(before: NDArray[np.float64], after: NDArray[np.float64], floor: float) -> Floats:
    slopes = np.diff(np.log(after + floor) - np.log(before + floor), axis=1)
    return np.clip(slopes, -_MAX_NUMBER, _MAX_NUMBER).astype(np.float32)


def _weights(changes: Floats) -> Floats:
    weights: Floats = np.abs(changes).sum(axis=1)
    return weights


def _liveliest(weights: Floats) -> int:
    """The first row of the part to store."""
    if len(weights) <= _ROWS:
        return 0
    # Rounded: sums may differ in their last digits between processors.
    return int(np.argmax(np.round(sliding_window_view(weights, _ROWS).sum(axis=1))))


def _packed(first: int, rows: Floats) -> bytes:
    return first.to_bytes(2, "little") + np.packbits(rows > 0).tobytes()


def _unpacked(stored: bytes) -> tuple[int, Floats]:
    """(first row, its signs as 1 and -1)."""
    bits = np.unpackbits(np.frombuffer(stored, np.uint8, offset=2)).reshape(-1, _BANDS - 1)
    return int.from_bytes(stored[:2], "little"), bits.astype(np.float32) * 2 - 1


@cache
def _window() -> NDArray[np.float64]:
    return np.hanning(_WINDOW)


@cache
def _bands() -> NDArray[np.float64]:
    """(bins of the spectrum, bands): triangles of equal width, each of which begins in the middle of the last one."""
    hz = np.fft.rfftfreq(_WINDOW, 1 / _RATE_HZ)[_BINS]
    borders = np.linspace(_LOWEST_HZ, _HIGHEST_HZ, _BANDS + 2)
    rising = (hz[:, None] - borders[:-2]) / (borders[1:-1] - borders[:-2])
    falling = (borders[2:] - hz[:, None]) / (borders[2:] - borders[1:-1])
    bands: NDArray[np.float64] = np.maximum(0, np.minimum(rising, falling))
    return bands
