"""The published columns are those of `datasets`, which the program itself never imports to write them."""

import json

import pyarrow as pa
import pytest

from tests.support import row
from utils.rows.schema import (
    REJECTED_SCHEMA,
    RejectReason,
    Sample,
    hf_features,
    metadata_json,
    published_schema,
    speaker_id,
)


@pytest.mark.parametrize("sample_rate_hz", [16_000, 24_000, None])
def test_schema_is_that_of_datasets(sample_rate_hz: int | None) -> None:
    """Fields, types and metadata (which makes the column an Audio column) are what `datasets` would write."""
    from datasets import Audio, Features, Value

    string = Value("string")
    features = Features(
        {
            "ID": string,
            "source_id": string,
            "dataset_name": string,
            "speaker_id": string,
            "Language": string,
            "audio": Audio(sampling_rate=sample_rate_hz),
            "transcript": string,
            "transcript_raw": string,
            "length": Value("float64"),
            "confidence_score": Value("float32"),
            "audio_hash": string,
            "source_metadata": string,
        }
    )

    ours = published_schema(sample_rate_hz)
    assert ours.equals(features.arrow_schema, check_metadata=True)
    assert Features.from_arrow_schema(ours) == features
    assert hf_features(sample_rate_hz) == features.to_dict()


def test_sample_has_the_published_columns_in_order() -> None:
    """`Sample` and the schema name the same columns."""
    assert list(Sample.__annotations__) == published_schema(16_000).names
    assert pa.Table.from_pylist([row(1)], schema=published_schema(16_000)).to_pylist()[0]["audio"] == row(1)["audio"]


def test_rejects_say_who_why_and_what() -> None:
    """The three columns of a rejects file."""
    assert REJECTED_SCHEMA.names == ["source_id", "reason", "detail"]


def test_reason_codes_are_distinct() -> None:
    """A code means one thing."""
    codes = [value for name, value in vars(RejectReason).items() if name.isupper()]

    assert len(codes) == len(set(codes)) >= 14


def test_speakers_are_named_stably_and_apart() -> None:
    """The published name is part of the dataset: it must never change; equal names in two sources are two people."""
    assert speaker_id("GigaSpeech2", "42") == "SPK_122b9412e2e1b5af"
    assert speaker_id("MozillaCommonVoice", "42") != speaker_id("GigaSpeech2", "42")


@pytest.mark.parametrize("unnamed", [None, ""])
def test_no_speaker_is_invented(unnamed: str | None) -> None:
    """Where the source names none there is none."""
    assert speaker_id("GigaSpeech2", unnamed) is None


def test_metadata_is_one_text_whatever_the_order() -> None:
    """Sorted keys, empty values left out, Thai as it is; nothing left is null. Zero and False say something."""
    assert (
        metadata_json({"b": "ก", "a": 0, "c": "", "d": None})
        == metadata_json({"a": 0, "b": "ก"})
        == '{"a": 0, "b": "ก"}'
    )
    assert metadata_json({"a": False}) == '{"a": false}'
    assert metadata_json({"c": "", "d": None}) is None
    assert metadata_json(None) is metadata_json({}) is None


@pytest.mark.parametrize("number", [float("nan"), float("inf"), float("-inf")])
def test_metadata_is_json_whatever_a_table_holds(number: float) -> None:
    """A number that JSON does not have is an empty value, at any depth."""
    assert metadata_json({"g": number}) is None
    told = metadata_json({"a": 1.5, "g": number, "deep": {"x": [number, 2], "y": number}})

    assert json.loads(str(told), parse_constant=pytest.fail) == {"a": 1.5, "deep": {"x": [None, 2], "y": None}}
