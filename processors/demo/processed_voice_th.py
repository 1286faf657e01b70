"""The demo of Processed Voice TH: Parquet files as its repo has them."""

from collections.abc import Mapping
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from processors.demo.mirrors import DemoCounts, damaged
from processors.demo.voice import SyntheticVoice, wav_bytes
from utils.rows.schema import AUDIO_TYPE, RejectReason

COUNTS: Mapping[str, DemoCounts] = {
    "train": DemoCounts(
        kept=49,
        rejected={
            RejectReason.MISSING_AUDIO: 2,
            RejectReason.UNDECODABLE: 1,
            RejectReason.SILENT: 1,
            RejectReason.REPEATED_SOURCE_ID: 1,
        },
    ),
    "validation": DemoCounts(kept=35, rejected={RejectReason.TRUNCATED: 1}),
    "test": DemoCounts(kept=35, rejected={RejectReason.EMPTY: 1}),
}

_DAMAGED = {
    9: RejectReason.UNDECODABLE,
    26: RejectReason.SILENT,
    70: RejectReason.TRUNCATED,
    101: RejectReason.EMPTY,
}
_REPEATED = {48: 11}
"""Row -> the earlier row whose name it has."""
_NO_AUDIO, _NO_BYTES, _NO_PATH, _NO_SENTENCE = 4, 30, 20, 33


def write_mirror(folder: Path, voice: SyntheticVoice) -> None:
    """Three train files of 18 rows, dev and test of 36, in row groups of seven: 126 clips."""
    rows = [_row(voice, number) for number in range(126)]
    for part in range(3):
        _write_file(folder / f"data/train-{part:05}-of-00003.parquet", rows[18 * part : 18 * part + 18])
    _write_file(folder / "data/dev-00000-of-00001.parquet", rows[54:90])
    _write_file(folder / "data/test-00000-of-00001.parquet", rows[90:126])


def _row(voice: SyntheticVoice, number: int) -> dict[str, object]:
    clip = voice.clip(number)
    audio = wav_bytes(clip.samples)
    if number in _DAMAGED:
        audio = damaged(audio, _DAMAGED[number], wav_bytes(np.zeros_like(clip.samples)))
    path = f"common_voice_th_{25_000_000 + 137 * _REPEATED.get(number, number)}.wav"
    cell = {
        "bytes": None if number == _NO_BYTES else audio,
        "path": None if number == _NO_PATH else path,
    }
    return {
        "audio": None if number == _NO_AUDIO else cell,
        "sentence": None if number == _NO_SENTENCE else clip.sentence,
    }


def _write_file(path: Path, rows: list[dict[str, object]]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    schema = pa.schema([("audio", AUDIO_TYPE), ("sentence", pa.string())])
    pq.write_table(pa.Table.from_pylist(rows, schema=schema), path, row_group_size=7)
