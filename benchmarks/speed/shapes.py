"""The four shapes of sources that are measured, and what is to be reached on each."""

from dataclasses import dataclass

GIGASPEECH2, COMMON_VOICE, PROCESSED_VOICE = "GigaSpeech2", "MozillaCommonVoice", "ProcessedVoiceTH"


@dataclass(frozen=True)
class Shape:
    """One layout of source files with one codec."""

    name: str
    title: str
    source: str
    """The registry name of the source that is laid out so."""
    is_decoding_most: bool
    """Whether decoding is most of the work, so that two workers must be quicker than one."""
    times_datasets: float
    """How many times as fast as `datasets` we are to be, per CPU second."""
    times_librosa: float


SHAPES = {
    shape.name: shape
    for shape in (
        Shape("tar-wav", "tar.gz of WAV 16 kHz (GigaSpeech2)", GIGASPEECH2, False, 10, 10),
        Shape("tar-mp3", "tar.gz of MP3 48 kHz (Common Voice)", COMMON_VOICE, True, 2.7, 4),
        Shape("parquet-wav", "Parquet of WAV 16 kHz", PROCESSED_VOICE, False, 10, 10),
        Shape("parquet-flac", "Parquet of FLAC 16 kHz", PROCESSED_VOICE, True, 4, 6),
    )
}

LEAST_OF_THE_LIMIT = 0.85
"""Our throughput per CPU second, as a part of the limit's."""
LEAST_OF_TWO_WORKERS = 1.7
"""One worker's wall time by that of two, where decoding is most of the work."""
MAX_BOOKKEEPING = 0.05
"""Of the CPU time: checkpoints, positions and bookkeeping together, at a checkpoint every 1,000 clips."""
