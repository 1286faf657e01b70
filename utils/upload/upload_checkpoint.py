"""The uploaded-IDs checkpoint of a split: a copy of what is published, for people and tools. It decides nothing.

`{shard_index, samples_uploaded, uploaded_ids, split, dataset_name, generation, checksum}`. `uploaded_ids` is a plain
list of up to 1,000 IDs. Of more, those of the form `S<n>` are ranges (`["S1", "S5000"]`), as long as that takes less
than 16 KB. Beyond that it says how many there are and where they are listed, `{"count": 10000000, "listed_in":
"data/train/*.parquet, column ID"}`: so the file stays small, and writing it takes the same time, however many samples
there are.

Rows of another kind than speech have a file of their own, with another letter than `S`, and `config`, their name.
"""

import json
from collections.abc import Collection, Iterator
from dataclasses import dataclass
from itertools import chain
from pathlib import Path
from typing import Any

from utils.dataset.state import State
from utils.disk.durable import rename_aside, write_atomically
from utils.disk.file_names import MAX_NAME_BYTES, file_name_of
from utils.errors import UsageError
from utils.rows.ids import IdSet
from utils.rows.printable import shown
from utils.rows.schema import ROW_SCHEMAS, SPEECH, RowSchema
from utils.rows.sealed_json import checked_json, json_with_checksum

LISTED_BYTES = 16_000
MAX_PLAIN_IDS = 1000
"""That are listed one by one: older programs read nothing else."""


@dataclass(frozen=True)
class IdsElsewhere(Collection[str]):
    """IDs that are too many to be listed: their number is known, and asking for one is an error, not a no."""

    count: int
    listed_in: str

    def __len__(self) -> int:
        return self.count

    def __iter__(self) -> Iterator[str]:
        raise self._not_here()

    def __contains__(self, sample_id: object) -> bool:
        raise self._not_here()

    def _not_here(self) -> UsageError:
        return UsageError(
            f"The {self.count:,} uploaded IDs are not in the checkpoint, but in {self.listed_in} of the dataset. Ask "
            "`uploaded_ids` of a `StreamingUploader`, which knows them."
        )


def upload_checkpoint_path(folder: Path, target_name: str, split: str, rows: RowSchema = SPEECH) -> Path:
    """Where the uploaded IDs of a target's split are written."""
    safe = target_name.strip("/").replace("/", "_")
    if len(safe.encode()) > MAX_NAME_BYTES:
        safe = file_name_of(target_name)
    kind = "" if rows is SPEECH else f"{rows.name}_"  # after the split: no other target's name ends like that
    return folder / f"{safe}_{split}_{kind}upload_checkpoint.json"


def remember_uploaded(
    path: Path,
    state: State,
    split: str,
    dataset_name: str,
    rows: RowSchema = SPEECH,
    own: IdSet | None = None,
) -> None:
    """Write the uploaded-IDs checkpoint of a split from the committed state; nothing where it says so already.

    `own`: IDs that a script chose, as far as they can be listed; the state has ranges of numbers only.
    """
    splits = [source.splits[split] for source in state.sources_of(rows).values() if split in source.splits]
    published = sum(known.published for known in splits)
    own = own or IdSet()
    ids = IdSet(own.others, ranges=chain(own.ranges, *(known.ids for known in splits)), prefix=rows.id_prefix)
    content = {
        "shard_index": sum(known.parts for known in splits),
        "samples_uploaded": published,
        "uploaded_ids": _listed(ids, published, f"{rows.folder}/{split}/*.parquet, column ID"),
        "split": split,
        "dataset_name": dataset_name,
        "generation": state.generation,
        **({} if rows is SPEECH else {"config": rows.name}),
    }
    raw = json_with_checksum(content)
    if path.exists() and not _has_checksum(path):
        rename_aside(path, path.parent / "archive" / "of-an-older-version" / path.name)
    if not path.exists() or path.read_bytes() != raw:
        write_atomically(path, raw)


def _has_checksum(path: Path) -> bool:
    """Whether a checkpoint is of this version: another one may be all that is left of an older program's run."""
    try:
        return "checksum" in json.loads(path.read_bytes())
    except (ValueError, TypeError, RecursionError):
        return False


def load_uploaded(path: Path) -> dict[str, Any] | None:
    """An uploaded-IDs checkpoint: its fields, `uploaded_ids` as an `IdSet`; `IdsElsewhere` where they are not listed.

    Older ones without a checksum load too, as do plain lists of IDs. None where there is no file; UsageError where it
    can't be read.
    """
    if not path.exists():
        return None
    try:
        raw = path.read_bytes()
        content = json.loads(raw)
        if isinstance(content, list):
            content = {"uploaded_ids": content}
        if "checksum" in content:
            content = checked_json(raw)
        rows = ROW_SCHEMAS[content.get("config", SPEECH.name)]
        ids = _ids_from(content.get("uploaded_ids", []), rows.id_prefix)
        return {"shard_index": 0, "samples_uploaded": len(ids), **content, "uploaded_ids": ids}
    except (ValueError, TypeError, AttributeError, KeyError, OverflowError, RecursionError) as error:
        raise UsageError(
            f"The upload checkpoint {path} is damaged ({shown(error)}). Nothing was changed. Delete it: it is written "
            "anew from the dataset itself."
        ) from error


def _listed(ids: IdSet, published: int, elsewhere: str) -> object:
    """All published IDs in full where they are known and few; never some of them, which would look like all."""
    if len(ids) == published:
        if published <= MAX_PLAIN_IDS:
            return list(ids)
        listed = ids.to_json()
        if len(json_with_checksum({"uploaded_ids": listed})) <= LISTED_BYTES:
            return listed
    return {"count": published, "listed_in": elsewhere}


def _ids_from(written: Any, prefix: str) -> IdSet | IdsElsewhere:
    if isinstance(written, dict):
        return IdsElsewhere(int(written["count"]), str(written["listed_in"]))
    return IdSet.from_json(written, prefix)
