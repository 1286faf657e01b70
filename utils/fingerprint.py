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

from dataclasses import dataclass
from functools import cache, cached_property
from typing import Final, TypeAlias

import numpy as np
import soxr
from numpy.lib.stride_tricks import sliding_window_view
from numpy.typing import NDArray

Floats: TypeAlias = NDArray[np.float32]

SAME_RECORDING: Final = 0.7
"""Likeness from which on two clips are one recording."""

MOST_SECONDS: Final = 30
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
_LARGEST: Final = 3.0
"""A number counts no more than this: one click must not outweigh all else."""

_NOTHING: Final = 1e-20
_BLOCK_STEPS: Final = 48

_STRIDE: Final = 8
"""Steps from one stored row to the next."""
_ROWS: Final = 32
"""Stored at most."""
_FEWEST_ROWS: Final = 6
"""What a comparison needs: about a second."""
_SLACK_STEPS: Final = 38
"""How far two versions of a recording may be shifted against each other: 0.6 s."""


@dataclass(frozen=True, eq=False)
class Fingerprint:
    """Of one clip, to be compared with what is stored of others."""

    slopes: Floats
    """(steps, 24): see above."""

    @cached_property
    def stored(self) -> bytes:
        """What is kept of it: where its liveliest part begins, and the signs there; b"" where the clip is too short."""
        start = self._liveliest()
        rows = self.slopes[start : start + _ROWS * _STRIDE : _STRIDE]
        if len(rows) < _FEWEST_ROWS:
            return b""
        return start.to_bytes(2, "little") + np.packbits(rows > 0).tobytes()

    def likeness(self, stored: bytes) -> float:
        """How well the stored signs fit, at their best shift: 1 all, 0 as chance would; 0 where nothing can be said."""
        if not stored or len(self.slopes) < _FEWEST_ROWS * _STRIDE:
            return 0.0
        start = int.from_bytes(stored[:2], "little")
        signs = np.unpackbits(np.frombuffer(stored, np.uint8, offset=2)).reshape(-1, _BANDS - 1)
        agreement = self.slopes @ (signs.astype(np.float32).T * 2 - 1)
        rows = np.arange(len(signs))
        steps = start + np.arange(-_SLACK_STEPS, _SLACK_STEPS + 1)[:, None] + _STRIDE * rows
        inside = (steps >= 0) & (steps < len(self.slopes))
        steps = np.where(inside, steps, 0)
        fits = np.where(inside, agreement[steps, rows], 0).sum(axis=1)
        weights = np.where(inside, self._weights[steps], 0).sum(axis=1)
        enough = inside.sum(axis=1) >= max(_FEWEST_ROWS, len(signs) // 2)
        return float(np.max(np.where(enough, fits / np.maximum(weights, 1e-9), 0.0)))

    @cached_property
    def _weights(self) -> Floats:
        weights: Floats = np.abs(self.slopes).sum(axis=1)
        return weights

    def _liveliest(self) -> int:
        """The first step of the part to store, a multiple of the stride."""
        each = self._weights[: len(self._weights) // _STRIDE * _STRIDE].reshape(-1, _STRIDE).sum(axis=1)
        if len(each) <= _ROWS:
            return 0
        # Rounded: sums may differ in their last digits between processors.
        windows = np.round(sliding_window_view(each, _ROWS).sum(axis=1))
        return int(np.argmax(windows)) * _STRIDE


def fingerprint(samples: Floats, rate_hz: int) -> Fingerprint:
    """Of a clip in one channel: its samples, or those of its first 30 s."""
    slow = soxr.resample(samples[: MOST_SECONDS * rate_hz], rate_hz, _RATE_HZ, quality="LQ")
    if len(slow) < _WINDOW + (_APART + 2) * _STEP:
        return Fingerprint(np.empty((0, _BANDS - 1), np.float32))
    energy = _energy(sliding_window_view(slow, _WINDOW)[::_STEP])
    smoothed = energy[1:] + energy[:-1]
    slopes = np.diff(np.log(smoothed + _FLOOR * smoothed.mean() + _NOTHING), axis=1)
    changes = np.clip(slopes[_APART:] - slopes[:-_APART], -_LARGEST, _LARGEST)
    return Fingerprint(changes.astype(np.float32))


def _energy(frames: Floats) -> NDArray[np.float64]:
    """(steps, bands). Some frames at a time: that stays in the processor's cache."""
    window, bands = _window(), _bands()
    energy = np.empty((len(frames), _BANDS))
    for first in range(0, len(frames), _BLOCK_STEPS):
        spectrum = np.fft.rfft(frames[first : first + _BLOCK_STEPS] * window, axis=1)[:, _BINS]
        energy[first : first + _BLOCK_STEPS] = (spectrum.real**2 + spectrum.imag**2) @ bands
    return energy


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
