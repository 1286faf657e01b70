"""What a clip is on its way: raw clip -> sample or reject, and the columns of what is published.

A processor reads `RawClip`s; converting one gives a `Sample` (a plain dict with the published
columns) or a `Reject`. With the progress after it, that outcome is a `Step` (utils/state.py), the unit that is staged.
"""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from enum import Enum
from typing import Any, TypeAlias, TypedDict

import pyarrow as pa
import xxhash

Position: TypeAlias = dict[str, Any]
"""Where in a split of a source we are: JSON made by its processor, naming the next clip to read.
Always has `index`, the number of clips read so far; the rest is what the processor needs to seek."""

START: Position = {"index": 0}

SPLITS = ("train", "validation", "test")
LANGUAGE = "th"


class RejectReason:
    """Reason codes of rejects, as published in the column `reason`."""

    UNDECODABLE = "undecodable"
    EMPTY = "empty"
    TOO_SHORT = "too_short"
    TOO_LONG = "too_long"
    SILENT = "silent"
    NOT_FINITE = "not_finite"
    TRUNCATED = "truncated"
    MISSING_AUDIO = "missing_audio"
    REPEATED_SOURCE_ID = "repeated_source_id"


@dataclass(frozen=True, slots=True)
class RawClip:
    """One clip as its source has it, not yet decoded."""

    key: str
    """The source's own stable name of the clip, unique within its split (`0-685-9`)."""
    position: Position
    """The position after this clip."""
    audio: bytes | None
    """The bytes of its audio file, in any format; None where the source names a file that is not there."""
    audio_name: str = ""
    """The file's name in the source; only its ending is used, and messages show it."""
    transcript: str = ""
    """As the source has it; "" where there is none."""
    speaker: str | None = None
    """The source's own name of the speaker, None where it names none."""
    metadata: Mapping[str, Any] | None = None
    """What else the source says of the clip (JSON values)."""
    declared_duration_s: float | None = None
    """The duration that the source's table states, in seconds."""
    selected: bool = True
    """False for a clip that the source's own table leaves out: counted, but neither kept nor rejected."""


class AudioCell(TypedDict):
    """The struct that `datasets` decodes as audio."""

    bytes: bytes
    path: str


class Sample(TypedDict):
    """One row of the published dataset, in the order of its columns."""

    ID: str
    source_id: str
    dataset_name: str
    speaker_id: str | None
    Language: str
    audio: AudioCell
    transcript: str
    transcript_raw: str
    length: float
    confidence_score: float
    audio_hash: str
    source_metadata: str | None


@dataclass(frozen=True, slots=True)
class Reject:
    """A clip that was refused: counted and published, never dropped silently."""

    source_id: str
    reason: str
    detail: str = ""


class Skip(Enum):
    """A clip that is counted, but is neither a sample nor a reject."""

    UNSELECTED = "unselected"
    """The source's own table leaves it out."""
    KNOWN = "known"
    """An earlier revision of the source published or rejected it."""


Outcome: TypeAlias = Sample | Reject | Skip
"""What becomes of a clip."""


def speaker_id(source: str, speaker: str | None) -> str | None:
    """A stable public name of a source's speaker; None where the source names none."""
    if not speaker:
        return None
    return f"SPK_{xxhash.xxh3_64_hexdigest(f'{source}/{speaker}'.encode())}"


def metadata_json(metadata: Mapping[str, Any] | None) -> str | None:
    """Source metadata as JSON with sorted keys, empty values left out; None where nothing is left."""
    filled = {key: value for key, value in (metadata or {}).items() if value not in (None, "")}
    return json.dumps(filled, ensure_ascii=False, sort_keys=True) if filled else None


_STRING_COLUMNS_BEFORE_AUDIO = ("ID", "source_id", "dataset_name", "speaker_id", "Language")


def hf_features(sample_rate_hz: int | None) -> dict[str, dict[str, Any]]:
    """The dataset's features as `datasets` spells them in JSON. `sample_rate_hz` None: each clip keeps its own."""
    string = {"dtype": "string", "_type": "Value"}
    audio = {"_type": "Audio"} if sample_rate_hz is None else {"sampling_rate": sample_rate_hz, "_type": "Audio"}
    return {
        **dict.fromkeys(_STRING_COLUMNS_BEFORE_AUDIO, string),
        "audio": audio,
        "transcript": string,
        "transcript_raw": string,
        "length": {"dtype": "float64", "_type": "Value"},
        "confidence_score": {"dtype": "float32", "_type": "Value"},
        "audio_hash": string,
        "source_metadata": string,
    }


AUDIO_TYPE = pa.struct([("bytes", pa.binary()), ("path", pa.string())])
_ARROW_TYPES = {"string": pa.string(), "float64": pa.float64(), "float32": pa.float32()}


def published_schema(sample_rate_hz: int | None) -> pa.Schema:
    """The Arrow schema of a shard, equal to `datasets.Features(...).arrow_schema` of the same features.

    Written here rather than taken from `datasets`, whose import costs 1.5 s and 80 MB of every run; a
    test holds the two together.
    """
    features = hf_features(sample_rate_hz)
    fields = [
        (name, AUDIO_TYPE if kind["_type"] == "Audio" else _ARROW_TYPES[kind["dtype"]])
        for name, kind in features.items()
    ]
    return pa.schema(fields, metadata={"huggingface": json.dumps({"info": {"features": features}})})


REJECTED_SCHEMA = pa.schema([("source_id", pa.string()), ("reason", pa.string()), ("detail", pa.string())])
