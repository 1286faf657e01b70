"""The collector's folder (`data/raw`): which files there are, and what can be made of them again.

    purchases.jsonl                                the ledger; who has it open is the only collector here
    raw_items_YYYYMMDD_HHMMSS.jsonl                every item of every run that a collection bought, as it came
    training_data_master_YYYYMMDD_HHMMSS.jsonl     the pairs that were accepted
    collection_checkpoint.json                     where the collection is, for people and tools; decides nothing
    author_salt                                    makes hashes of authors ours alone; never published, never shown

Stamps go up, also where the clock does not: the newest raw file is the collection that `--resume` goes on with.
"""

import hashlib
import hmac
import json
import logging
import re
import secrets
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

from processors.apify.journal import line_of, read_lines
from utils.disk.durable import NewFile, fsync_folder, make_folder, rename, rename_aside, write_atomically
from utils.errors import SourceError, UsageError

log = logging.getLogger(__name__)

_STAMP = "%Y%m%d_%H%M%S"
_STAMPED = re.compile(r"(raw_items|training_data_master)_(\d{8}_\d{6})(?:_imported-[0-9a-f]{12})?\.jsonl")
CHECKPOINT = "collection_checkpoint.json"
_OLD_DATA = "checkpoint_data.jsonl"
_OLD_ID_KEYS = ("reply_id", "tweet_id", "id")
CHECKPOINT_VERSION = 1


@dataclass(frozen=True)
class Folder:
    """The folder of all collections."""

    path: Path

    @property
    def ledger(self) -> Path:
        return self.path / "purchases.jsonl"

    @property
    def checkpoint(self) -> Path:
        return self.path / CHECKPOINT

    def raws(self) -> list[Path]:
        """Raw files, the newest last."""
        return self._stamped("raw_items")

    def masters(self) -> list[Path]:
        """Master files, the newest last; those made of old data among them."""
        return self._stamped("training_data_master")

    def new_stamp(self, now: datetime, names: Iterable[str] = ()) -> str:
        """A stamp after all that are there, and those in the names of files that were."""
        known = [*(path.name for path in self.path.glob("*.jsonl")), *names]
        taken = [match[2] for name in known if (match := _STAMPED.fullmatch(name))]
        stamp = now.strftime(_STAMP)
        if taken and stamp <= max(taken):
            stamp = (_time_of(max(taken)) + timedelta(seconds=1)).strftime(_STAMP)
        return stamp

    def raw(self, stamp: str) -> Path:
        return self.path / f"raw_items_{stamp}.jsonl"

    def master(self, stamp: str) -> Path:
        return self.path / f"training_data_master_{stamp}.jsonl"

    def master_of(self, raw: Path) -> Path:
        """The first master of a raw file."""
        return raw.with_name(raw.name.replace("raw_items", "training_data_master"))

    def make_salt(self) -> None:
        """Make what makes the hashes of authors ours, where there is none; a collection is begun with it."""
        path = self.path / "author_salt"
        if not path.exists():
            write_secret(path, secrets.token_hex(32).encode())

    def salt(self) -> bytes:
        """What makes the hashes of authors ours. SourceError where it is gone, or is another."""
        path = self.path / "author_salt"
        salt = path.read_bytes().strip() if path.exists() else b""
        if not re.fullmatch(rb"[0-9a-f]{64}", salt):
            raise SourceError(
                f"{path} is {'not the salt that was made for this folder' if path.exists() else 'gone'}. With another "
                "one, the same author would get another hash. Nothing was bought or changed. Put the file back as it "
                "was, then run again with --resume."
            )
        return salt

    def _stamped(self, kind: str) -> list[Path]:
        found = [(match[2], path) for path in self.path.glob("*.jsonl") if (match := _STAMPED.fullmatch(path.name))]
        return [path for _, path in sorted(found) if path.name.startswith(kind)]


def _time_of(stamp: str) -> datetime:
    try:
        return datetime.strptime(stamp, _STAMP)  # noqa: DTZ007 - stamps are only compared with each other
    except ValueError as error:
        raise UsageError(
            f"There is a file with the stamp {stamp}, which is no time. Rename it, then run again."
        ) from error


def write_secret(path: Path, content: bytes) -> None:
    """Write a new file that only its owner can read."""
    make_folder(path.parent)
    temporary = path.with_name(f"{path.name}.new")
    with NewFile(temporary) as new:
        temporary.chmod(0o600)
        new.write(content)
    rename(temporary, path)
    fsync_folder(path.parent)


def author_hash(author: str, salt: bytes) -> str:
    """A name for an author that tells nothing of them; "" for none."""
    return hmac.new(salt, author.encode(errors="surrogatepass"), hashlib.sha256).hexdigest()[:32] if author else ""


def master_ids(path: Path, end: int | None = None) -> set[str]:
    """The reply ids in a master, up to a byte offset."""
    return {identity for line in read_lines(path, 0, end) if (identity := id_in(line.record))}


def id_in(record: Mapping[str, Any]) -> str:
    """The reply's id in a line of a master; of an older tool's line, wherever it has put it, else a digest of it."""
    metadata = record.get("metadata")
    for place in (record, metadata if isinstance(metadata, Mapping) else {}):
        for key in _OLD_ID_KEYS:
            if isinstance(place.get(key), (str, int)) and str(place[key]):
                return str(place[key])
    text = json.dumps([record.get("prompt"), record.get("response")])
    return f"text-{hashlib.sha256(text.encode()).hexdigest()[:24]}"


# --- old data ------------------------------------------------------------------------------------


def import_old_data(folder: Folder) -> Path | None:
    """Make a master of the old `checkpoint_data.jsonl`, once; returns it where it is new. The old file stays.

    Lines that can't be read (that tool was killed in the middle of one) are counted in a warning.
    """
    old = folder.path / _OLD_DATA
    if not old.is_file():
        return None
    content = old.read_bytes()
    digest = hashlib.sha256(content).hexdigest()[:12]
    if not content.strip() or list(folder.path.glob(f"training_data_master_*_imported-{digest}.jsonl")):
        return None
    records, unreadable = _old_records(content)
    stamp = datetime.fromtimestamp(old.stat().st_mtime, UTC).strftime(_STAMP)
    master = folder.path / f"training_data_master_{stamp}_imported-{digest}.jsonl"
    write_atomically(master, b"".join(line_of(record) for record in records))
    if unreadable:
        log.warning("%s: %d lines can't be read and were left where they are", old, unreadable)
    log.info("imported %d pairs from %s to %s", len(records), old, master.name)
    return master


def _old_records(content: bytes) -> tuple[list[dict[str, Any]], int]:
    records: dict[str, dict[str, Any]] = {}
    unreadable = 0
    for line in content.split(b"\n"):
        if not line.strip():
            continue
        try:
            record = json.loads(line)
        except ValueError:
            record = None
        if isinstance(record, dict):
            identity = id_in(record)
            records.setdefault(identity, {"reply_id": identity, **record})
        else:
            unreadable += 1
    return list(records.values()), unreadable


@dataclass(frozen=True)
class OldProgress:
    """What a checkpoint of an older tool says was done: it has no ledger and no raw items."""

    processed_queries: tuple[str, ...] = ()
    author_counts: Mapping[str, int] = field(default_factory=dict)


def old_progress(folder: Folder) -> OldProgress:
    """The progress of an older tool in this folder; nothing where it has none, or the checkpoint is one of ours."""
    try:
        content = json.loads(folder.checkpoint.read_bytes())
    except (OSError, ValueError):
        return OldProgress()
    if not isinstance(content, dict) or "version" in content:
        return OldProgress()
    queries, counts = content.get("processed_queries"), content.get("author_counts")
    return OldProgress(
        tuple(str(query) for query in queries) if isinstance(queries, list) else (),
        {str(name).lower().lstrip("@"): count for name, count in counts.items() if isinstance(count, int)}
        if isinstance(counts, dict)
        else {},
    )


# --- what can be made again ----------------------------------------------------------------------


def checkpoint_content(
    master: str, raw: str, processed: Iterable[str], authors: Mapping[str, int], flushed: int, unflushed: int = 0
) -> dict[str, Any]:
    """The fields of `collection_checkpoint.json`."""
    queries = list(processed)
    return {
        "version": CHECKPOINT_VERSION,
        "query_index": len(queries),
        "processed_queries": queries,
        "author_counts": dict(sorted(authors.items())),
        "total_flushed_to_master": flushed,
        "unflushed_pairs": unflushed,
        "master_data_file": master,
        "raw_items_file": raw,
    }


def write_checkpoint(folder: Folder, content: Mapping[str, Any]) -> None:
    """Write the checkpoint. One of an older tool is not replaced, but renamed."""
    if old_progress(folder) != OldProgress():
        rename_aside(folder.checkpoint, folder.path / "collection_checkpoint_before.json")
    write_atomically(folder.checkpoint, json.dumps(content, ensure_ascii=True, indent=1).encode() + b"\n")


def merge(masters: Iterable[Path], out: Path) -> int:
    """Write one file with each pair of several masters once, the first one counts; returns how many.

    The masters stay as they are. UsageError where `out` is there already.
    """
    sources = list(masters)
    if not sources:
        raise UsageError("There is no master file to merge. Collect something first, or name the folder they are in.")
    if out.exists():
        raise UsageError(f"{out} is there already. Nothing was changed. Move it away or name another file.")
    make_folder(out.parent)
    temporary = out.with_name(f"{out.name}.new")
    written = 0
    with NewFile(temporary) as new:
        for record in _each_once(sources):
            new.write(line_of(record))
            written += 1
    rename(temporary, out)
    fsync_folder(out.parent)
    return written


def _each_once(masters: Iterable[Path]) -> Iterator[dict[str, Any]]:
    seen: set[str] = set()
    for master in masters:
        for line in read_lines(master):
            if (identity := id_in(line.record)) not in seen:
                seen.add(identity)
                yield line.record
