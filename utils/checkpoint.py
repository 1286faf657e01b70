"""Unified checkpoints (version 2): JSON mirrors of a run's progress, for people, tools and older versions.

They decide nothing in a run of `main.py` (the target's state and the staged segments do); a
processor that is used by itself resumes from them. Older formats are converted on load; whatever
can't be understood is an error, never "start at zero".
"""

import json
import logging
import time
from collections.abc import Iterable, Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any

from utils.durable import remove, write_atomically
from utils.errors import UsageError
from utils.ids import IdSet
from utils.state import Progress, checked_json, json_with_checksum

log = logging.getLogger(__name__)

CHECKPOINT_VERSION = "2.0"
KEPT_HISTORY = 20


class DamagedCheckpoint(UsageError):
    """A checkpoint file that can't be read as any known format."""


def latest_path(folder: Path, source: str) -> Path:
    return folder / f"{source}_unified_checkpoint.json"


def save_checkpoint(folder: Path, source: str, content: Mapping[str, Any]) -> Path:
    """Write the latest checkpoint and one for the history; returns the latest's path."""
    raw = json_with_checksum({"mode": "unified", "version": CHECKPOINT_VERSION, **content})
    write_atomically(_free_history_path(folder, source, int(content["timestamp"])), raw)
    latest = latest_path(folder, source)
    write_atomically(latest, raw)
    _prune_history(folder, source)
    return latest


def unified(
    processor: str,
    samples_processed: int,
    current_split: str | None,
    split_index: int,
    *,
    shard_num: int = 0,
    last_sample_id: str | None = None,
    processed_ids: Iterable[str] = (),
    dataset_specific: Mapping[str, Any] | None = None,
) -> dict[str, Any]:
    """The fields of a version 2 checkpoint. IDs in it are provisional: the published ones are given at build."""
    return {
        "samples_processed": samples_processed,
        "current_split": current_split,
        "split_index": split_index,
        "shard_num": shard_num,
        "last_sample_id": last_sample_id,
        "processed_ids": IdSet(processed_ids).to_json(),
        "dataset_specific": dict(dataset_specific or {}),
        "timestamp": int(time.time()),
        "processor": processor,
    }


def load_checkpoint(path: Path) -> dict[str, Any]:
    """A checkpoint of any known format, as version 2. DamagedCheckpoint where it is none."""
    try:
        raw = path.read_bytes()
    except OSError as error:
        raise DamagedCheckpoint(f"Checkpoint {path} can't be read: {error.strerror}. Nothing was changed.") from error
    try:
        return _as_unified(raw)
    except (ValueError, KeyError, TypeError, AttributeError, OverflowError, RecursionError) as error:
        raise DamagedCheckpoint(
            f"Checkpoint {path} is damaged or of an unknown format ({error}). Nothing was changed. "
            "Use --resume: it does not need this file."
        ) from error


def load_latest(folder: Path, source: str) -> dict[str, Any] | None:
    """The newest sound checkpoint of a source; None where there is none at all.

    A damaged one is reported and the next older one tried; where all are damaged, DamagedCheckpoint.
    """
    candidates = [latest_path(folder, source), *reversed(history(folder, source))]
    damage: DamagedCheckpoint | None = None
    for path in filter(Path.exists, candidates):
        try:
            return load_checkpoint(path)
        except DamagedCheckpoint as error:
            log.warning("%s Trying the one before it.", error)
            damage = damage or error
    if damage:
        raise damage
    return None


def progress_by_split(checkpoint: Mapping[str, Any]) -> dict[str, Progress]:
    """The exact progress of each split, where the checkpoint was written by this version; else empty."""
    splits = checkpoint.get("dataset_specific", {}).get("splits", {})
    try:
        return {split: Progress(**fields) for split, fields in splits.items()}
    except (TypeError, ValueError) as error:
        raise DamagedCheckpoint(f"The checkpoint's positions can't be read ({error}).") from error


def splits_as_json(splits: Mapping[str, Progress]) -> dict[str, Any]:
    return {split: asdict(progress) for split, progress in splits.items()}


def history(folder: Path, source: str) -> list[Path]:
    """The timestamped checkpoints of a source, oldest first."""
    stamped = []
    for path in folder.glob(f"{source}_*.json"):
        stamp, _, again = path.stem.removeprefix(f"{source}_").partition("_")
        if stamp.isdigit() and (not again or again.isdigit()):
            stamped.append((int(stamp), int(again or 0), path))
    return [path for _, _, path in sorted(stamped)]


def _free_history_path(folder: Path, source: str, timestamp: int) -> Path:
    """Two checkpoints in one second get two names."""
    path, again = folder / f"{source}_{timestamp}.json", 0
    while path.exists():
        again += 1
        path = folder / f"{source}_{timestamp}_{again}.json"
    return path


def _prune_history(folder: Path, source: str) -> None:
    for path in history(folder, source)[:-KEPT_HISTORY]:
        remove(path)


def _as_unified(raw: bytes) -> dict[str, Any]:
    content = json.loads(raw)
    if not isinstance(content, dict):
        raise ValueError("not a JSON object")
    if "checksum" in content:
        content = checked_json(raw)
    if content.get("mode") == "unified":
        return _complete(content)
    if content.get("mode") == "streaming" or "samples_processed" in content:
        return _complete(_from_streaming(content))
    return _complete(_from_regular(content))


def _complete(content: dict[str, Any]) -> dict[str, Any]:
    """Defaults for the keys that a checkpoint of the seed's form may lack; the count must be there."""
    count = int(content["samples_processed"])
    if count < 0:
        raise ValueError("a negative count")
    defaults = unified(str(content.get("processor", "")), count, None, 0)
    complete = {**defaults, **{key: value for key, value in content.items() if value is not None}}
    complete["timestamp"] = content.get("timestamp", 0)
    complete["samples_processed"], complete["processor"] = count, str(complete["processor"])
    return {**complete, "mode": "unified", "version": CHECKPOINT_VERSION}


def _from_streaming(old: Mapping[str, Any]) -> dict[str, Any]:
    """`{mode: "streaming", shard_num, samples_processed, last_sample_id, ...}`: all but the count may be missing."""
    kept = ("samples_processed", "shard_num", "last_sample_id", "dataset_specific", "timestamp", "processor")
    return {key: old[key] for key in (*kept, "current_split", "split_index") if key in old}


def _from_regular(old: Mapping[str, Any]) -> dict[str, Any]:
    """`{processed_count, current_index, processed_ids, timestamp, metadata: {processor, version: "1.0"}}`."""
    ids = old.get("processed_ids") or []
    if "processed_count" in old:
        count = old["processed_count"]
    elif "current_index" in old:
        count = old["current_index"]
    else:
        raise ValueError("it has no count of samples")
    metadata = old.get("metadata") or {}
    return {
        "samples_processed": count,
        "processed_ids": IdSet(map(str, ids)).to_json(),
        "last_sample_id": str(ids[-1]) if ids else None,
        "timestamp": old.get("timestamp", 0),
        "processor": metadata.get("processor", ""),
    }
