"""What a clip is on its way: raw clip -> row or reject, and the columns of what is published.

A processor reads `RawClip`s; converting one gives a row (a plain dict with the published columns of the processor's
`RowSchema`: a `Sample` of speech, a `Dialogue`) or a `Reject`. With the progress after it, that outcome is a
`Step` (utils/dataset/state.py), the unit that is staged.
"""

import json
import math
import re
import unicodedata
from collections.abc import Mapping
from dataclasses import dataclass
from enum import Enum
from typing import Any, Final, TypeAlias, TypedDict, cast

import pyarrow as pa
import xxhash

Position: TypeAlias = dict[str, Any]
"""Where in a split of a source we are: JSON made by its processor, naming the next clip to read.
Always has `index`, the number of clips read so far; the rest is what the processor needs to seek."""

START: Position = {"index": 0}

SPLITS = ("train", "validation", "test")
LANGUAGE = "th"

REMOVED_FOR_GOOD: Final = "taken out of this dataset, and not collected again"
"""The detail of a reject of that reason."""


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
    DECODER_CRASHED = "decoder_crashed"
    NO_TRANSCRIPT = "no_transcript"
    FOREIGN_TEXT = "foreign_text"
    SPOKEN_TOO_FAST = "spoken_too_fast"
    SPOKEN_TOO_SLOWLY = "spoken_too_slowly"
    REMOVED = "removed"
    """It was taken out of the dataset (its speaker's consent, say), and is not collected again."""
    DUPLICATE = "duplicate"


DUPLICATE_OF_TRAIN = f"{RejectReason.DUPLICATE} of a clip in train"
"""How the summary counts a duplicate of an evaluation split that train has already."""


@dataclass(frozen=True, slots=True)
class RawClip:
    """One clip as its source has it, not yet decoded."""

    key: str
    """The source's own stable name of the clip, unique within its split (`0-685-9`)."""
    position: Position
    """The position after this clip."""
    audio: bytes | None = None
    """The bytes of its audio file, in any format; None where the source names a file that is not there, or has none."""
    audio_name: str = ""
    """The file's name in the source; only its ending is used, and messages show it."""
    transcript: str = ""
    """As the source has it; "" where there is none."""
    speaker: str | None = None
    """The source's own name of the speaker, None where it names none."""
    metadata: Mapping[str, Any] | None = None
    """What else the source says of the clip (JSON values); of a source without audio, the whole record."""
    declared_duration_s: float | None = None
    """The duration that the source's table states, in seconds."""
    selected: bool = True
    """False for a clip that the source's own table leaves out: counted, but neither kept nor rejected."""


class AudioCell(TypedDict):
    """The struct that `datasets` decodes as audio."""

    bytes: bytes
    path: str


class Sample(TypedDict):
    """One row of speech, in the order of its columns."""

    ID: str
    source_id: str
    dataset_name: str
    speaker_id: str | None
    Language: str
    audio: AudioCell
    transcript: str
    transcript_raw: str | None
    length: float
    confidence_score: float
    audio_hash: str
    source_metadata: str | None


class Dialogue(TypedDict):
    """One row of dialogue (a text and its answer), in the order of its columns. Names of people are in none."""

    ID: str
    source_id: str
    dataset_name: str
    prompt: str
    response: str
    query: str | None
    author_hash: str | None
    created_at: str | None
    likes: int | None
    replies: int | None
    language: str
    source_metadata: str | None


Row: TypeAlias = Sample | Dialogue
"""What is published of a clip; its `ID` is empty until it is."""


@dataclass(frozen=True, slots=True)
class Reject:
    """A clip that was refused: counted and published, never dropped silently."""

    source_id: str
    reason: str
    detail: str = ""
    recording: str = ""
    """Of a clip that was taken out: what it is known by in whatever form. Not published with the rejects."""


def refused_row(row: Row) -> Row:
    """The row of a clip that is refused for its names, and is heard once more: never published."""
    return cast(Row, {**row, _REFUSED: True})


def is_refused(row: Row) -> bool:
    return _REFUSED in row


_REFUSED = "is_removed"


class Skip(Enum):
    """A clip that is counted, but is neither a sample nor a reject."""

    UNSELECTED = "unselected"
    """The source's own table leaves it out."""
    KNOWN = "known"
    """An earlier revision of the source published or rejected it."""


Outcome: TypeAlias = Row | Reject | Skip
"""What becomes of a clip."""


_NOBODY = frozenset(
    {
        *("", "-", "--", "?", "-1", "none", "null", "nan", "n/a", "<na>", "nil", "undefined"),
        *("unknown", "unk", "<unk>", "unspecified", "not specified", "anonymous"),
    }
)
"""What tables write where they name no speaker: one id for all of these would be a speaker that there is not."""
_WHOLE_NUMBER = re.compile(r"(\d+)\.0+")


def speaker_name(speaker: str | None) -> str | None:
    """The source's name of a speaker, None where that is nobody's.

    Without spaces around it, and a number without a point: a table with gaps makes 7 a 7.0 in one split alone.
    """
    if not speaker:
        return None
    name = unicodedata.normalize("NFC", speaker.strip())
    if name.casefold() in _NOBODY:
        return None
    number = _WHOLE_NUMBER.fullmatch(name)
    return number[1] if number else name


def speaker_id(source: str, speaker: str | None) -> str | None:
    """A stable public name of a source's speaker, in all its splits and revisions; None where the source names none."""
    name = speaker_name(speaker)
    if name is None:
        return None
    return f"SPK_{xxhash.xxh3_64_hexdigest(f'{source}/{name}'.encode(errors='surrogatepass'))}"


def metadata_json(metadata: Mapping[str, Any] | None) -> str | None:
    """Source metadata as JSON with sorted keys, empty values left out; None where nothing is left.

    A number that is none (a table with gaps gives NaN), or is infinite, is empty: JSON has no such.
    """
    filled = {key: told for key, value in (metadata or {}).items() if (told := _finite(value)) not in (None, "")}
    return json.dumps(filled, ensure_ascii=False, sort_keys=True, allow_nan=False) if filled else None


def _finite(value: Any) -> Any:
    if isinstance(value, float) and not math.isfinite(value):
        return None
    if isinstance(value, Mapping):
        return {key: _finite(one) for key, one in value.items()}
    return [_finite(one) for one in value] if isinstance(value, (list, tuple)) else value


@dataclass(frozen=True, eq=False)
class RowSchema:
    """A kind of row that a dataset can hold: its columns, where its shards lie, how its IDs begin.

    Each kind has its own configs and its own sequence of IDs. There is one object of each: see `ROW_SCHEMAS`.
    """

    name: str
    """In the state; and the name of its config, but for speech, which has the default one and one per source."""
    id_prefix: str
    folder: str
    """Of its shards, in the target."""
    unit: str
    """What people call its rows: `clips`."""
    one: str
    """What people call one of them."""
    columns: Mapping[str, str]
    """Name -> type: one of Arrow's, or `audio`. Every kind has `ID`, `source_id` and `dataset_name`."""

    @property
    def has_audio(self) -> bool:
        return "audio" in self.columns

    def count(self, number: int) -> str:
        """`1 clip`, `1,234 clips`."""
        return f"{number:,} {self.one if number == 1 else self.unit}"

    def payload_bytes(self, row: Mapping[str, Any]) -> int:
        """What a row weighs, where shards and row groups are cut: its audio's bytes, or those of all its texts."""
        if self.has_audio:
            return len(row["audio"]["bytes"])
        return sum(len(value.encode()) for name, value in row.items() if name != "ID" and isinstance(value, str))


SPEECH = RowSchema(
    "speech",
    id_prefix="S",
    folder="data",
    unit="clips",
    one="clip",
    columns={
        **dict.fromkeys(("ID", "source_id", "dataset_name", "speaker_id", "Language"), "string"),
        "audio": "audio",
        "transcript": "string",
        "transcript_raw": "string",
        "length": "float64",
        "confidence_score": "float32",
        "audio_hash": "string",
        "source_metadata": "string",
    },
)
DIALOGUE = RowSchema(
    "dialogue",
    id_prefix="D",
    folder="dialogue",
    unit="pairs",
    one="pair",
    columns={
        **dict.fromkeys(("ID", "source_id", "dataset_name", "prompt", "response"), "string"),
        **dict.fromkeys(("query", "author_hash", "created_at"), "string"),
        **dict.fromkeys(("likes", "replies"), "int64"),
        **dict.fromkeys(("language", "source_metadata"), "string"),
    },
)
ROW_SCHEMAS: Mapping[str, RowSchema] = {rows.name: rows for rows in (SPEECH, DIALOGUE)}


def hf_features(sample_rate_hz: int | None, rows: RowSchema = SPEECH) -> dict[str, dict[str, Any]]:
    """The features of rows as `datasets` spells them in JSON. `sample_rate_hz` None: each clip keeps its own."""
    audio = {"_type": "Audio"} if sample_rate_hz is None else {"sampling_rate": sample_rate_hz, "_type": "Audio"}
    return {
        name: audio if kind == "audio" else {"dtype": kind, "_type": "Value"} for name, kind in rows.columns.items()
    }


AUDIO_TYPE = pa.struct([("bytes", pa.binary()), ("path", pa.string())])
_ARROW_TYPES = {
    "audio": AUDIO_TYPE,
    "string": pa.string(),
    "float64": pa.float64(),
    "float32": pa.float32(),
    "int64": pa.int64(),
}


def published_schema(sample_rate_hz: int | None, rows: RowSchema = SPEECH) -> pa.Schema:
    """The Arrow schema of a shard, equal to `datasets.Features(...).arrow_schema` of the same features.

    Written here rather than taken from `datasets`, whose import costs 1.5 s and 80 MB of every run; a
    test holds the two together.
    """
    fields = [(name, _ARROW_TYPES[kind]) for name, kind in rows.columns.items()]
    features = hf_features(sample_rate_hz, rows)
    return pa.schema(fields, metadata={"huggingface": json.dumps({"info": {"features": features}})})


REJECTED_SCHEMA = pa.schema([("source_id", pa.string()), ("reason", pa.string()), ("detail", pa.string())])
