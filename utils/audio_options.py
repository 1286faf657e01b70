"""What standard audio is in a run. By itself, so that the command line need not load what converts audio."""

from dataclasses import dataclass

from utils.errors import UsageError


@dataclass(frozen=True)
class AudioOptions:
    """What standard audio is in this run. Part of the fingerprint: it changes what is published."""

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
