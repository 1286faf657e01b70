"""What an older tool has left in the collector's folder: pairs that were paid for, and how far it came.

    checkpoint_data.jsonl, training_data_master_*.jsonl   its pairs, one a line, in whatever state it died
    collection_checkpoint.json, checkpoint_*.json         which of its queries were bought, and its authors

Its pairs are taken into the first collection that finds them, as a run's items are (`processors/apify/intake.py`): each
line as it came, a damaged one included, which becomes a reject. They were accepted once, so no filter is held against
them. The files stay as they are. Which queries it has bought decides what is bought now; where that can't be told,
nothing is.
"""

import hashlib
import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from processors.apify.fields import USUAL_PLACES, Post, post_of
from processors.apify.files import Folder, id_in, is_checkpoint_of_ours
from utils.errors import SourceError, UsageError
from utils.rows.printable import shown

_OLD_DATA = "checkpoint_data.jsonl"
_OLD_PLACES = {
    "id": ("id",),
    "text": ("response",),
    "parent_text": ("prompt",),
    "author": (*USUAL_PLACES["author"], "author"),
}


@dataclass(frozen=True)
class OldPairs:
    """A file of an older tool."""

    path: Path
    digest: str
    written_at: datetime
    items: list[Any]
    """Its lines, in order: records, and the text of those that are none."""

    @property
    def run_id(self) -> str:
        """What it is called among the runs of a raw file: another content is another run."""
        return f"imported-{self.digest}"

    @property
    def damaged(self) -> int:
        return sum(isinstance(item, str) for item in self.items)


def old_pairs(folder: Folder) -> list[OldPairs]:
    """The files of an older tool that hold pairs, its masters first."""
    found = [read_old(path) for path in files_with_pairs(folder) if not is_of_ours(path)]
    return [old for old in found if old.items and not _is_copy(old, found)]


def _is_copy(old: OldPairs, found: list[OldPairs]) -> bool:
    """Whether an earlier version of this program has made a file of another one, which is still there."""
    return any(old.path.stem.endswith(f"_imported-{other.digest}") for other in found if other is not old)


def files_with_pairs(folder: Folder) -> list[Path]:
    """All files that hold pairs: masters of this program, then those of an older tool, then its data."""
    data = folder.path / _OLD_DATA
    return [*sorted(folder.masters(), key=lambda path: not is_of_ours(path)), *([data] if data.is_file() else [])]


def _is_made_of(path: Path, digests: set[str]) -> bool:
    return any(path.stem.endswith(f"_imported-{digest}") for digest in digests)


def read_old(path: Path, size_bytes: int | None = None) -> OldPairs:
    """The pairs in a file of an older tool (in its first bytes). A line that it tore does not take the others along."""
    content = path.read_bytes()[:size_bytes]
    written_at = datetime.fromtimestamp(int(path.stat().st_mtime), UTC)
    return OldPairs(path, hashlib.sha256(content).hexdigest()[:12], written_at, list(_items(content)))


def is_of_ours(path: Path) -> bool:
    """Whether a file with pairs is of this program: they name their item there. So is one without a whole line."""
    if path.name == _OLD_DATA:
        return False
    is_empty = True
    with path.open("rb") as file:
        for line in file:
            if isinstance(item := _item(line), dict):
                return {"run", "item"} <= item.keys()
            is_empty = is_empty and not line.endswith(b"\n")
    return is_empty


def _items(content: bytes) -> Iterator[Any]:
    return (_item(line) for line in content.split(b"\n") if line.strip())


def _item(line: bytes) -> Any:
    """The record in a line, else its text."""
    try:
        record = json.loads(line)
    except (ValueError, RecursionError):
        record = None
    return record if isinstance(record, dict) else line.decode(errors="replace")


def old_post(item: Any) -> Post | None:
    """The reply of a pair in a line of an older tool, with what it answers; None where the line has no such pair."""
    if not isinstance(item, Mapping):
        return None
    metadata = item.get("metadata")
    more = metadata if isinstance(metadata, Mapping) else {}
    post = post_of({**more, **item, "id": id_in(item)}, _OLD_PLACES)
    return post if post is not None and post.parent_text else None


# --- how far it came -----------------------------------------------------------------------------


@dataclass(frozen=True)
class OldProgress:
    """What an older tool has bought: it has no ledger and no raw items."""

    processed_queries: tuple[str, ...] = ()
    author_counts: Mapping[str, int] = field(default_factory=dict)


def old_progress(folder: Folder, names: list[str]) -> OldProgress:
    """What the checkpoint of an older tool says, in a folder where no collection was begun so far.

    UsageError where it can't be told which queries were bought; `names` are those of the queries file. SourceError
    where the checkpoint is of this program, and tells of purchases whose files are gone.
    """
    path, content = _told(folder)
    listed, counts = content.get("processed_queries"), content.get("author_counts")
    processed = tuple(str(query) for query in listed) if isinstance(listed, list) else ()
    if is_checkpoint_of_ours(content):
        if processed:
            raise SourceError(
                f"{path} says that {shown(', '.join(processed))} was bought, and the files of that collection are gone "
                "(raw_items_..., purchases.jsonl). Nothing was bought. Put them back, then run again with --resume; or "
                "begin a new collection, which buys everything anew: --fresh without --resume."
            )
        return OldProgress()
    if not processed:
        _refuse_index_alone(path, content, names)
    return OldProgress(
        processed,
        {str(name).lower().lstrip("@"): count for name, count in counts.items() if isinstance(count, int)}
        if isinstance(counts, dict)
        else {},
    )


def refuse_to_buy_again(folder: Folder) -> None:
    """UsageError where a fresh start would buy what an older tool has bought, as its checkpoint says or may say."""
    if folder.raws():
        return
    path, content = _told(folder)
    if not is_checkpoint_of_ours(content) and _tells_of_purchases(content):
        raise UsageError(
            f"{path} is of an older tool, and says that queries were bought. A fresh start would buy them once more. "
            "Nothing was bought or changed. To go on with what it has: --resume. To buy all of them again, move that "
            "file away first."
        )


def _told(folder: Folder) -> tuple[Path, Mapping[str, Any]]:
    """The checkpoint there that tells of purchases; else the one of the usual name, empty where there is none."""
    paths = [folder.checkpoint, *sorted(folder.path.glob("checkpoint_*.json"))]
    there = [(path, _read(path)) for path in paths if path.exists()]
    return next((each for each in there if _tells_of_purchases(each[1])), there[0] if there else (paths[0], {}))


def _read(checkpoint: Path) -> Mapping[str, Any]:
    try:
        content = json.loads(checkpoint.read_bytes())
    except (ValueError, RecursionError):
        content = None
    if not isinstance(content, dict):
        raise UsageError(
            f"{checkpoint} can't be read, so nobody knows which queries an older tool has bought. Nothing was bought "
            "or changed. Put it back as it was, then repeat this command; or move it away, if all queries are to be "
            "bought."
        )
    return content


def _refuse_index_alone(path: Path, content: Mapping[str, Any], names: list[str]) -> None:
    """UsageError where queries were bought and their names are not known: a number is one of that tool's own list."""
    if not _tells_of_purchases(content):
        return
    index = content.get("query_index")
    is_number = isinstance(index, int) and 0 < index <= len(names)
    first = json.dumps(names[: index if is_number else 1], ensure_ascii=False)
    which = "if they are the first ones there" if is_number else "for the first one there"
    raise UsageError(
        f"{path} is of an older tool, and says that queries were bought (query_index {shown(index, 40)}), but not "
        "which: the number is one of that tool's own list. Nothing was bought. Write into that file which of your "
        f'queries file they are; {which}: "processed_queries": {first}. Then repeat this command. If they are none of '
        'these, set "query_index" to 0. To buy all of them again, move the file away.'
    )


def _tells_of_purchases(content: Mapping[str, Any]) -> bool:
    return bool(content.get("processed_queries")) or (content.get("query_index") or 0) != 0
