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
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

from processors.apify.journal import read_lines
from utils.disk.durable import NewFile, fsync_folder, make_folder, rename, rename_aside, write_atomically
from utils.errors import SourceError, UsageError

log = logging.getLogger(__name__)

_STAMP = "%Y%m%d_%H%M%S"
_STAMPED = re.compile(r"(raw_items|training_data_master)_(\d{8}_\d{6})(?:_imported-[0-9a-f]{12})?\.jsonl")
CHECKPOINT = "collection_checkpoint.json"
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
    if _is_of_older_tool(folder.checkpoint):
        rename_aside(folder.checkpoint, folder.path / "collection_checkpoint_before.json")
    write_atomically(folder.checkpoint, json.dumps(content, ensure_ascii=True, indent=1).encode() + b"\n")


def _is_of_older_tool(checkpoint: Path) -> bool:
    try:
        content = json.loads(checkpoint.read_bytes())
    except (FileNotFoundError, ValueError, RecursionError):
        return False
    return isinstance(content, dict) and not is_checkpoint_of_ours(content)


def is_checkpoint_of_ours(content: Mapping[str, Any]) -> bool:
    """Whether a checkpoint's fields are those of this program: no older tool has kept raw items."""
    return "raw_items_file" in content
