"""A small dataset of a source that names its speakers."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from pipeline.run.run import RunResult
from processors import describe
from tests.small_runs import small_run
from tests.support import tone
from utils.rows.schema import speaker_id

VOICES = "MozillaCommonVoice"
RELEASE = "cv-corpus-25.0-2026-03-09/th"
ANN, BOB = (str(speaker_id(VOICES, name)) for name in ("ann", "bob"))
SPOKEN = {"test": "bbab", "dev": "ab", "train": "aabbbabcba"}
"""Table -> who speaks its clips: ann, bob, and c, whom nobody names."""


def write_voices(folder: Path, spoken: Mapping[str, str] = SPOKEN, duration_s: float = 0.15) -> Path:
    """A mirror of `VOICES`, extracted; a clip is named after its table and its place there. Returns `folder`."""
    root = folder / describe(VOICES).mirror / RELEASE
    (root / "clips").mkdir(parents=True, exist_ok=True)
    for table, voices in spoken.items():
        rows = ["client_id\tpath\tsentence"]
        for number, voice in enumerate(voices):
            name = {"a": "ann", "b": "bob", "c": ""}[voice]
            rows.append(f"{name}\t{table}-{number}.mp3\tประโยคที่ {number}")
            pitch = 100 * list(SPOKEN).index(table) + number
            (root / "clips" / f"{table}-{number}.mp3").write_bytes(tone(pitch, duration_s=duration_s))
        (root / f"{table}.tsv").write_text("\n".join([*rows, ""]))
    return folder


def voices_run(machine: Path, **options: Any) -> RunResult:
    return small_run(machine, sources=(VOICES,), **options)
