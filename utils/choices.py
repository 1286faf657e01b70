"""What a run publishes, as its options say: audio, transcripts, duplicates. Part of the fingerprint of each source.

Plain values that load nothing, so that the command line need not load what converts audio.
"""

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from enum import StrEnum
from typing import Any, Final

from utils.errors import UsageError


@dataclass(frozen=True)
class AudioOptions:
    """What standard audio is in this run."""

    sample_rate_hz: int = 16_000
    target_dbfs: float = -20.0
    volume_norm: bool = True
    standardize: bool = True
    """False: the clip's original bytes are kept; they are still decoded, to be checked, measured and hashed."""
    audio_format: str = "flac"
    """`flac` or `wav`, both 16-bit PCM."""

    def __post_init__(self) -> None:
        if not 8_000 <= self.sample_rate_hz <= 192_000:
            raise UsageError(f"the sample rate must be 8000-192000 Hz, not {self.sample_rate_hz}")
        if not -60.0 <= self.target_dbfs <= 0.0:
            raise UsageError(f"the target loudness must be -60 to 0 dBFS, not {self.target_dbfs}")
        if self.audio_format not in ("flac", "wav"):
            raise UsageError(f"the audio format must be flac or wav, not {self.audio_format!r}")


@dataclass(frozen=True)
class TextOptions:
    """What transcripts are in this run, and which clips they speak against. In the fingerprint: what is not default."""

    strip_punctuation: bool = False
    """Of `transcript`; what the source has written stays in `transcript_raw`."""
    keep_raw: bool = True
    """False: `transcript_raw` is null. The column stays."""
    require_transcript: bool = False
    """A clip without one is a reject."""
    max_foreign_share: float | None = None
    """Of a transcript's characters, white space and punctuation not counted: how many may be neither Thai nor Latin nor
    digits. 0 to 1; None: any."""
    max_chars_per_second: float | None = None
    """Of the same characters: faster than this nobody speaks, so the text is not what is heard."""
    min_chars_per_second: float | None = None

    def __post_init__(self) -> None:
        share, fastest, slowest = self.max_foreign_share, self.max_chars_per_second, self.min_chars_per_second
        if share is not None and not 0.0 <= share <= 1.0:
            raise UsageError(f"the share of foreign characters must be 0 to 1, not {share}")
        for rate in (fastest, slowest):
            if rate is not None and not 0.0 < rate < 10_000.0:
                raise UsageError(f"a speaking rate must be above 0 and below 10,000 characters a second, not {rate}")
        if fastest is not None and slowest is not None and slowest >= fastest:
            raise UsageError(f"the slowest speaking rate ({slowest}) must be below the fastest ({fastest})")

    def changed(self) -> dict[str, Any]:
        """The options that are not as they are by default."""
        defaults = asdict(TextOptions())
        return {name: value for name, value in asdict(self).items() if value != defaults[name]}


class Dedup(StrEnum):
    """Which clips are duplicates (`utils/known/judge.py`)."""

    OFF = "off"
    EXACT = "exact"
    NEAR = "near"


DEFAULT_DEDUP: Final = Dedup.NEAR
"""Of a new dataset."""

DEDUP_KEY: Final = "dedup"


def in_fingerprint(mode: Dedup) -> Mapping[str, str]:
    """What the options that a source was begun with say of it: nothing where it is off, as before there was any."""
    return {} if mode is Dedup.OFF else {DEDUP_KEY: mode.value}


def begun_with(fingerprint: Mapping[str, Any]) -> Dedup:
    """The mode that a source was begun with. ValueError where it is one that only a later version knows."""
    return Dedup(fingerprint.get(DEDUP_KEY, Dedup.OFF))
