"""The demo of Mozilla Common Voice: one archive, as the Collective hands it out."""

import hashlib
from collections.abc import Mapping
from pathlib import Path

import numpy as np

from processors.demo.mirrors import DemoCounts, damaged, table_bytes, write_tar_gz
from processors.demo.voice import SpokenClip, SyntheticVoice, mp3_bytes
from utils.rows.schema import RejectReason

COUNTS: Mapping[str, DemoCounts] = {
    "train": DemoCounts(
        kept=46,
        rejected={
            RejectReason.MISSING_AUDIO: 1,
            RejectReason.TRUNCATED: 1,
            RejectReason.UNDECODABLE: 1,
            RejectReason.SILENT: 1,
            RejectReason.REPEATED_SOURCE_ID: 1,
        },
    ),
    "validation": DemoCounts(kept=33, rejected={RejectReason.MISSING_AUDIO: 1}),
    "test": DemoCounts(kept=33, rejected={RejectReason.SILENT: 1}),
}

_RATE_HZ = 48_000
_TABLES: Mapping[str, list[int]] = {
    "train.tsv": [*range(50), 40],
    "dev.tsv": list(range(50, 84)),
    "test.tsv": list(range(84, 118)),
    "other.tsv": list(range(118, 121)),
    "validated.tsv": list(range(118)),
}
_MISSING = (5, 60)
_DAMAGED = {
    17: RejectReason.TRUNCATED,
    23: RejectReason.UNDECODABLE,
    31: RejectReason.SILENT,
    90: RejectReason.SILENT,
}
_COLUMNS = (
    *("client_id", "path", "sentence_id", "sentence", "sentence_domain", "up_votes", "down_votes"),
    *("age", "gender", "accents", "variant", "locale", "segment"),
)


def write_mirror(folder: Path, voice: SyntheticVoice) -> None:
    """One archive: 51 rows of train, one of them twice, 34 of dev and test, and three clips of `other`."""
    clips = {number: voice.clip(number, _RATE_HZ) for number in range(121)}
    rows = {number: _row(number, clip) for number, clip in clips.items()}
    files = {
        f"clips/{rows[number]['path']}": _mp3(number, clip) for number, clip in clips.items() if number not in _MISSING
    }
    durations = [(rows[number]["path"], str(round(1000 * clip.duration_s))) for number, clip in clips.items()]
    files["clip_durations.tsv"] = table_bytes([("clip", "duration[ms]"), *durations])
    for table, numbers in _TABLES.items():
        in_order = sorted(numbers, key=lambda number: (rows[number]["client_id"], number))
        files[table] = table_bytes([_COLUMNS, *(list(rows[number].values()) for number in in_order)])
    root = "cv-corpus-25.0-2026-03-09/th"
    members = [(f"{root}/clips/", b""), *((f"{root}/{name}", files[name]) for name in sorted(files))]
    write_tar_gz(folder / "cv-corpus-25.0-2026-03-09-th.tar.gz", members)


def _row(number: int, clip: SpokenClip) -> dict[str, str]:
    """A row of a table, in the order of its columns; each split has speakers of its own."""
    speaker = f"{sum(number >= first for first in (50, 84, 118))}/{clip.speaker}"
    values = (
        hashlib.sha512(speaker.encode()).hexdigest(),
        f"common_voice_th_{23_000_000 + number * 7919 % 100_003}.mp3",
        hashlib.sha256(clip.sentence.encode()).hexdigest(),
        clip.sentence,
        "general" if number % 9 == 0 else "",
        str(2 + number % 3),
        str(number % 2),
        ("", "twenties", "thirties", "fifties")[clip.speaker % 4],
        "" if clip.speaker % 4 == 0 else "male_masculine" if clip.speaker < 4 else "female_feminine",
        "ภาคกลาง" if clip.speaker == 3 else "",
        "",
        "th",
        "",
    )
    return dict(zip(_COLUMNS, values, strict=True))


def _mp3(number: int, clip: SpokenClip) -> bytes:
    reason = _DAMAGED.get(number)
    if reason == RejectReason.TRUNCATED:  # whole frames, as far as they go: only the table of durations tells
        return mp3_bytes(clip.samples[: len(clip.samples) // 2], _RATE_HZ)
    audio = mp3_bytes(clip.samples, _RATE_HZ)
    return damaged(audio, reason, mp3_bytes(np.zeros_like(clip.samples), _RATE_HZ)) if reason else audio
