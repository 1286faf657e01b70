"""What transcripts are in a run, and which clips they speak against. By itself: the command line is to load little."""

from dataclasses import asdict, dataclass
from typing import Any

from utils.errors import UsageError


@dataclass(frozen=True)
class TextOptions:
    """Part of the fingerprint, but for what is as it is by default: it changes what is published."""

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
