"""The demo of GigaSpeech 2: archives and tables as its repo has them."""

from collections.abc import Mapping
from pathlib import Path

import numpy as np

from processors.demo.mirrors import DemoCounts, damaged, write_table, write_tar_gz
from processors.demo.voice import Samples, SyntheticVoice, wav_bytes
from utils.rows.schema import RejectReason

COUNTS: Mapping[str, DemoCounts] = {
    "train": DemoCounts(
        kept=49,
        unselected=2,
        rejected={
            RejectReason.UNDECODABLE: 1,
            RejectReason.SILENT: 1,
            RejectReason.TRUNCATED: 1,
            RejectReason.EMPTY: 1,
            RejectReason.REPEATED_SOURCE_ID: 1,
        },
    ),
    "validation": DemoCounts(kept=34, unselected=1, rejected={RejectReason.SILENT: 1}),
    "test": DemoCounts(kept=35, rejected={RejectReason.TRUNCATED: 1}),
}

_FOLDER = "data/th"
_UNSELECTED = ("2-102-1", "5-105-3", "900-1000-7")
_DAMAGED = {
    "3-103-0": RejectReason.UNDECODABLE,
    "4-104-2": RejectReason.SILENT,
    "6-106-1": RejectReason.TRUNCATED,
    "7-107-4": RejectReason.EMPTY,
    "900-1000-20": RejectReason.SILENT,
    "901-1001-11": RejectReason.TRUNCATED,
}


def write_mirror(folder: Path, voice: SyntheticVoice) -> None:
    """Eleven train archives of five clips and one repeated, dev and test with 36: 128 clips."""
    archives = {
        **{f"train/{number}": _ids(number, 5) for number in range(11)},
        "dev": _ids(900, 36),
        "test": _ids(901, 36),
    }
    ids = [clip_id for of_archive in archives.values() for clip_id in of_archive]
    clips = {clip_id: voice.clip(number) for number, clip_id in enumerate(ids)}
    for archive, of_archive in archives.items():
        root = "dev/" if archive == "dev" else ""
        members = [(f"{root}{_path(clip)}", _wav(clip, clips[clip].samples)) for clip in of_archive]
        if archive == "train/0":
            members = [("0/", b""), ("0/README.txt", b"Not audio.\n"), *members]
        if archive == "train/8":
            members.append(("8/999/8-108-0.wav", wav_bytes(voice.clip(len(ids)).samples)))
        write_tar_gz(folder / _FOLDER / f"{archive}.tar.gz", members)
    sentences = {clip_id: clip.sentence for clip_id, clip in clips.items()}
    _write_tables(folder / _FOLDER, sentences)


def _ids(archive: int, count: int) -> list[str]:
    return [f"{archive}-{archive + 100}-{number}" for number in range(count)]


def _path(clip_id: str) -> str:
    archive, video, _ = clip_id.split("-")
    return f"{archive}/{video}/{clip_id}.wav"


def _wav(clip_id: str, samples: Samples) -> bytes:
    audio = wav_bytes(samples)
    reason = _DAMAGED.get(clip_id)
    return damaged(audio, reason, wav_bytes(np.zeros_like(samples))) if reason else audio


def _write_tables(folder: Path, sentences: Mapping[str, str]) -> None:
    """The raw table has all train clips, and one that no archive has; the others leave out the unselected."""
    train = [("0-999-0", "ไม่มีเสียง"), *((key, text) for key, text in sentences.items() if int(key.split("-")[0]) < 900)]
    write_table(folder / "train_raw.tsv", train)
    write_table(folder / "train_refined.tsv", [row for row in train if row[0] not in _UNSELECTED])
    for split, archive in (("dev", "900-"), ("test", "901-")):
        rows = [row for row in sentences.items() if row[0].startswith(archive) and row[0] not in _UNSELECTED]
        write_table(folder / f"{split}.tsv", rows)
