"""A raw clip becomes a row of the dataset, or a reject that says why not. Pure: bytes in, values out."""

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any, cast

from utils.audio.fingerprint import FingerprintedSample
from utils.audio.standardize import AudioRejected, audio_from_array, standardize_audio
from utils.choices import AudioOptions, TextOptions
from utils.rows.printable import shown
from utils.rows.schema import LANGUAGE, RawClip, Reject, RejectReason, Sample, metadata_json, speaker_id
from utils.sources.stand_ins import stand_in
from utils.text.checks import rate_problem, text_problem, without_punctuation
from utils.text.normalize import normalize_transcript

DEFAULT_TEXT = TextOptions()

_TRANSCRIPT_KEYS = ("transcript", "sentence", "text", "transcription")
_SPEAKER_KEYS = ("speaker_id", "speaker")
_ID_KEYS = ("source_id", "id", "ID", "key")


def convert_clip(
    clip: RawClip,
    source: str,
    split: str,
    options: AudioOptions,
    text: TextOptions = DEFAULT_TEXT,
    with_fingerprint: bool = False,
) -> Sample | Reject:
    """The standard sample of a clip, its ID still empty, or its reject."""
    source_id = f"{source}/{split}/{clip.key}"
    if clip.audio is None:
        return Reject(source_id, RejectReason.MISSING_AUDIO, f"no audio to load: {shown(clip.audio_name or clip.key)}")
    transcript = normalize_transcript(clip.transcript)
    if text.strip_punctuation:
        transcript = without_punctuation(transcript)
    if problem := text_problem(transcript, text):  # before its audio is decoded, which costs far more
        return Reject(source_id, *problem)
    try:
        audio = standardize_audio(clip.audio, options, clip.declared_duration_s, with_fingerprint)
    except AudioRejected as rejection:
        return Reject(source_id, rejection.reason, stand_in(clip.audio) or rejection.detail)
    if problem := rate_problem(transcript, audio.duration_s, text):
        return Reject(source_id, *problem)
    sample = Sample(
        ID="",
        source_id=source_id,
        dataset_name=source,
        speaker_id=speaker_id(source, clip.speaker),
        Language=LANGUAGE,
        audio={"bytes": audio.data, "path": f"clip.{audio.extension}"},
        transcript=transcript,
        transcript_raw=clip.transcript if text.keep_raw else None,
        length=audio.duration_s,
        confidence_score=1.0 if transcript else 0.0,
        audio_hash=audio.audio_hash,
        source_metadata=metadata_json(clip.metadata),
    )
    return FingerprintedSample(**sample, fingerprint=audio.fingerprint) if audio.fingerprint else sample


def complete_row(
    row: Mapping[str, Any], source: str, split: str, options: AudioOptions, text: TextOptions
) -> Sample | Reject:
    """A row of the old eight columns, made by hand, with all columns of today; its ID names the clip, if it has no
    source id.

    What it says of the clip stays. Audio and transcript are brought into the standard form, like any other's.
    """
    clip = as_raw_clip({key: value for key, value in row.items() if key not in _SPEAKER_KEYS})
    completed = convert_clip(clip, source, split, options, text)
    if isinstance(completed, Reject):
        return replace(completed, source_id=str(row.get("source_id") or completed.source_id))
    kept = {key: row[key] for key in _SAID_BY_HAND if row.get(key) is not None}
    return cast(Sample, {**completed, **kept})


_SAID_BY_HAND = ("source_id", "dataset_name", "speaker_id", "Language", "confidence_score")


def as_raw_clip(sample: RawClip | Mapping[str, Any]) -> RawClip:
    """A raw clip from what a custom processor may have: a mapping in the shape that `datasets` yields.

    Without an id of its own the key stays empty; the clip is then named by its place in the split.
    """
    if isinstance(sample, RawClip):
        return sample
    audio, name = _audio_bytes(sample.get("audio"))
    return RawClip(
        key=str(_first(sample, _ID_KEYS) or ""),
        position={},
        audio=audio,
        audio_name=name,
        transcript=str(_first(sample, _TRANSCRIPT_KEYS) or ""),
        speaker=_optional_text(_first(sample, _SPEAKER_KEYS)),
        metadata=sample.get("metadata"),
    )


def _first(sample: Mapping[str, Any], keys: tuple[str, ...]) -> Any:
    return next((sample[key] for key in keys if sample.get(key) is not None), None)


def _optional_text(value: Any) -> str | None:
    return None if value is None else str(value)


def _audio_bytes(audio: Any) -> tuple[bytes | None, str]:
    """The encoded bytes of an audio value, and its file name: bytes, a path, or a `datasets` audio mapping."""
    if isinstance(audio, bytes):
        return audio, ""
    if isinstance(audio, str | Path):
        path = Path(audio)
        return (path.read_bytes() if path.is_file() else None), path.name
    if isinstance(audio, Mapping):
        if audio.get("array") is not None:
            return audio_from_array(audio["array"], int(audio["sampling_rate"])), ""
        return _audio_bytes(audio.get("bytes") or audio.get("path"))
    return None, ""
