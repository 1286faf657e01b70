"""What a recording sounds like, in some hundred bytes: finds it again after another codec, rate, level or trim.

    samples --short spectra--> energy of 25 bands every 16 ms --smoothed, log--> how the slope from band to band changes

That is, in the manner of Haitsma and Kalker, a number for each pair of neighbouring bands (24) and each step of 16 ms.
Of a clip that is kept the signs are stored, at every eighth step of its liveliest 4 s: at most 98 bytes. A clip
that is to be compared has the numbers themselves, at every step, so that wherever the other one was trimmed the two
can be laid over each other to 8 ms. Numbers that are near zero, whose signs a codec may turn, hardly count.

Level, equalizers and what lies beyond 200 to 3,700 Hz play no part. The figures are in docs/dedup.md.
"""

from dataclasses import dataclass
from functools import cache, cached_property
from typing import Final, TypeAlias

import numpy as np
from numpy.lib.stride_tricks import sliding_window_view
from numpy.typing import NDArray

Floats: TypeAlias = NDArray[np.float32]

SAME_RECORDING: Final = 0.5
"""Likeness from which on two clips are one recording."""

MOST_SECONDS: Final = 30
"""Of a clip, from its start: what is behind that is not looked at."""

_STEP_S: Final = 0.016
_BANDS: Final = 25
_LOWEST_HZ: Final = 200.0
_HIGHEST_HZ: Final = 3700.0
_SMOOTHED: Final = 8
"""Steps."""
_APART: Final = 8
"""Steps between the two slopes that are compared."""
_FLOOR: Final = 1e-3
"""Of the clip's mean energy in a band: what is quieter than that counts as silence."""
_LARGEST: Final = 3.0
"""A number counts no more than this: one click must not outweigh all else."""

_BLOCK_STEPS: Final = 64

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
    step = round(_STEP_S * rate_hz)
    steps = (min(len(samples), MOST_SECONDS * rate_hz) - step) // step
    if steps <= _SMOOTHED + _APART:
        return Fingerprint(np.empty((0, _BANDS - 1), np.float32))
    energy = _energy(sliding_window_view(samples, 2 * step)[: steps * step : step], step, rate_hz)
    sums = np.cumsum(energy, axis=0, dtype=np.float64)
    smoothed = (sums[_SMOOTHED:] - sums[:-_SMOOTHED]) / _SMOOTHED
    level = np.log(smoothed + _FLOOR * energy.mean(dtype=np.float64) + 1e-20)
    slopes = np.diff(level, axis=1)
    changes = np.clip(slopes[_APART:] - slopes[:-_APART], -_LARGEST, _LARGEST)
    return Fingerprint(changes.astype(np.float32))


def _energy(frames: Floats, step: int, rate_hz: int) -> Floats:
    """(steps, bands). Some frames at a time: that stays in the processor's cache, and takes a fifth of the time."""
    window, bands = _window(step), _bands(step, rate_hz)
    energy = np.empty((len(frames), _BANDS), np.float32)
    for first in range(0, len(frames), _BLOCK_STEPS):
        spectrum = np.fft.rfft(frames[first : first + _BLOCK_STEPS] * window, axis=1)[:, : len(bands)]
        energy[first : first + _BLOCK_STEPS] = (spectrum.real**2 + spectrum.imag**2) @ bands
    return energy


@cache
def _window(step: int) -> Floats:
    return np.hanning(2 * step).astype(np.float32)


@cache
def _bands(step: int, rate_hz: int) -> Floats:
    """(bins of the spectrum, bands): each band takes the bins between its borders, on a scale like the ear's."""
    hz = np.fft.rfftfreq(2 * step, 1 / rate_hz)
    hz = hz[hz < _HIGHEST_HZ]
    mel = np.linspace(np.log1p(_LOWEST_HZ / 700), np.log1p(_HIGHEST_HZ / 700), _BANDS + 2)
    borders = 700 * np.expm1(mel)
    rising = (hz[:, None] - borders[:-2]) / (borders[1:-1] - borders[:-2])
    falling = (borders[2:] - hz[:, None]) / (borders[2:] - borders[1:-1])
    bands: Floats = np.maximum(0, np.minimum(rising, falling)).astype(np.float32)
    return bands
