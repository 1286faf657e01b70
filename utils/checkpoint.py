"""Unified checkpoints (version 2): copies in JSON of a run's progress, for people, tools and older versions.

They decide nothing in a run of `main.py` (the target's state and the staged segments do); a
processor that is used by itself resumes from them. Older formats are converted on load; whatever
can't be understood is an error, never "start at zero".
"""

import json
import logging
import re
import time
from collections import defaultdict
from collections.abc import Iterable, Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any, NamedTuple

from utils.disk.durable import remove, write_atomically
from utils.disk.retention import superseded
from utils.errors import UsageError
from utils.rows.checked_types import check_types
from utils.rows.ids import id_of, number_of
from utils.rows.printable import shown
from utils.rows.progress import Progress, check_progress
from utils.rows.sealed_json import checked_json, json_with_checksum

log = logging.getLogger(__name__)

CHECKPOINT_VERSION = "2.0"

MAX_LISTED_IDS = 100
"""Of the newest samples, in `processed_ids`; the newest is the last."""

_HISTORY_NAME = re.compile(r"(.+?)_([0-9]+)(?:_([0-9]{1,9}))?")
"""Source, seconds since 1970, and a number that tells apart and puts in order what would have one name."""


class DamagedCheckpoint(UsageError):
    """A checkpoint file that can't be read as any known format."""


def latest_path(folder: Path, source: str) -> Path:
    return folder / f"{source}_unified_checkpoint.json"


def save_checkpoint(folder: Path, source: str, content: Mapping[str, Any]) -> Path:
    """Write the latest checkpoint and one for the history; returns the latest's path.

    What the history then has too many of (utils/disk/retention.py) is deleted.
    """
    raw = json_with_checksum({"mode": "unified", "version": CHECKPOINT_VERSION, **content})
    timestamp = int(content["timestamp"])
    write_atomically(_next_history_path(folder, source, timestamp), raw)
    latest = latest_path(folder, source)
    write_atomically(latest, raw)
    log.debug("checkpoint saved: %s, %d samples", latest, content["samples_processed"])
    for path in _superseded(_histories(folder).get(source, []), timestamp):
        remove(path)
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
        "processed_ids": list(processed_ids)[-MAX_LISTED_IDS:],
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
        loaded = _as_unified(raw)
        log.debug("checkpoint read: %s, %d samples", path, loaded["samples_processed"])
        return loaded
    except (ValueError, KeyError, TypeError, AttributeError, OverflowError, RecursionError) as error:
        raise DamagedCheckpoint(
            f"Checkpoint {path} is damaged or of an unknown format ({shown(error)}). Nothing was changed. "
            "Use --resume: it does not need this file."
        ) from error


def load_latest(folder: Path, source: str) -> dict[str, Any] | None:
    """The newest sound checkpoint of a source; None where there is none at all.

    A damaged one is reported, and which older one is used; where all are damaged, DamagedCheckpoint.
    """
    candidates = [latest_path(folder, source), *reversed(history(folder, source))]
    damage: DamagedCheckpoint | None = None
    for path in filter(Path.exists, candidates):
        try:
            found = load_checkpoint(path)
        except DamagedCheckpoint as error:
            log.warning("%s Trying the one before it.", error)
            damage = damage or error
        else:
            if damage:
                log.warning("Going on from %s, the newest checkpoint that is sound.", path)
            return found
    if damage:
        raise damage
    return None


def is_of_this_version(path: Path) -> bool:
    """Whether we have written a checkpoint file: ours have a checksum."""
    try:
        return "checksum" in json.loads(path.read_bytes())
    except (ValueError, TypeError, RecursionError):
        return False


def progress_by_split(checkpoint: Mapping[str, Any]) -> dict[str, Progress]:
    """The exact progress of each split, where the checkpoint was written by this version; else empty."""
    try:
        splits = checkpoint.get("dataset_specific", {}).get("splits", {})
        found = {split: Progress(**fields) for split, fields in splits.items()}
        for split, progress in found.items():
            check_progress(progress, split)
    except (TypeError, ValueError, AttributeError) as error:
        raise DamagedCheckpoint(f"The checkpoint's positions can't be read ({shown(error)}).") from error
    return found


def splits_as_json(splits: Mapping[str, Progress]) -> dict[str, Any]:
    return {split: asdict(progress) for split, progress in splits.items()}


def history(folder: Path, source: str) -> list[Path]:
    """The timestamped checkpoints of a source, in the order in which they were written."""
    return [stamped.path for stamped in _histories(folder).get(source, [])]


def superseded_history(folder: Path, now_s: float) -> list[Path]:
    """The timestamped checkpoints of all sources that need not be kept any longer."""
    return [path for written in _histories(folder).values() for path in _superseded(written, now_s)]


class _Stamped(NamedTuple):
    """A checkpoint of the history; these sort in the order of writing."""

    timestamp: int
    again: int
    path: Path


def _histories(folder: Path) -> dict[str, list[_Stamped]]:
    """The history of each source, in the order of writing."""
    named = defaultdict(list)
    for path in folder.glob("*.json"):
        if (parts := _HISTORY_NAME.fullmatch(path.stem)) and not path.is_symlink():
            named[parts[1]].append(_Stamped(int(parts[2]), int(parts[3] or 0), path))
    return {source: sorted(written) for source, written in named.items()}


def _superseded(written: list[_Stamped], now_s: float) -> list[Path]:
    """Those of this program: an older one has named its own alike, and they may be all that is left of its run."""
    due = superseded([(stamped.timestamp, stamped.path) for stamped in written], now_s)
    return [path for path in due if not _is_of_older_program(path)]


def _is_of_older_program(path: Path) -> bool:
    try:
        content = json.loads(path.read_bytes())
    except (OSError, ValueError, RecursionError):
        return False
    counts = ("samples_processed", "processed_count", "current_index")
    return isinstance(content, dict) and "checksum" not in content and any(name in content for name in counts)


def _next_history_path(folder: Path, source: str, timestamp: int) -> Path:
    """Names only go up: after two in one second, or a clock that jumped back, they count on from the newest."""
    written = _histories(folder).get(source, [])
    if written and written[-1].timestamp >= timestamp:
        return folder / f"{source}_{written[-1].timestamp}_{written[-1].again + 1}.json"
    return folder / f"{source}_{max(timestamp, 0)}.json"


def _as_unified(raw: bytes) -> dict[str, Any]:
    content = json.loads(raw)
    if not isinstance(content, dict):
        raise ValueError("not a JSON object")
    if "checksum" in content:
        content = checked_json(raw)
    if content.get("mode") == "unified":
        return _complete(content)
    is_streaming = content.get("mode") == "streaming" or "samples_processed" in content
    log.debug("the checkpoint is in an older format (%s): converted", "streaming" if is_streaming else "regular")
    return _complete(_from_streaming(content) if is_streaming else _from_regular(content))


def _complete(content: dict[str, Any]) -> dict[str, Any]:
    """Defaults for the keys that a checkpoint of the seed's form may lack; the count must be there."""
    count, index = int(content["samples_processed"]), int(content.get("split_index") or 0)
    if min(count, index) < 0:
        raise ValueError("a negative count")
    check_types(content.get("current_split"), str | None, "current_split")
    if isinstance(content.get("processed_ids"), list):
        content = {**content, "processed_ids": _newest_ids(content["processed_ids"])}
    defaults = unified(str(content.get("processor", "")), count, None, 0)
    complete = {**defaults, **{key: value for key, value in content.items() if value is not None}}
    complete["timestamp"] = content.get("timestamp", 0)
    complete["samples_processed"], complete["processor"] = count, str(complete["processor"])
    complete["split_index"] = index
    return {**complete, "mode": "unified", "version": CHECKPOINT_VERSION}


def _newest_ids(listed: list[Any]) -> list[str]:
    """The last IDs of a list, which may have ranges of them (`["S1", "S5000"]`), as earlier versions wrote."""
    ids: list[str] = []
    for one in listed[-MAX_LISTED_IDS:]:
        if isinstance(one, list):
            first, last = (number_of(str(end)) or 0 for end in one)
            ids += [id_of(number) for number in range(max(first, last - MAX_LISTED_IDS + 1), last + 1)]
        else:
            ids.append(str(one))
    return ids[-MAX_LISTED_IDS:]


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
        "processed_ids": _newest_ids(ids),
        "last_sample_id": str(ids[-1]) if ids else None,
        "timestamp": old.get("timestamp", 0),
        "processor": metadata.get("processor", ""),
    }
