"""Where everything lies in a published dataset, in a folder as on the Hub. Nothing else spells these paths.

README.md                                        the card
data/<split>/<source>-<00000>.parquet            shards of speech (`dialogue/...`: of dialogue)
rejected/<split>/<source>-<00000>.parquet        the rejects between one shard and the next
.ingest/state.json                               what is published, and the position after it
.ingest/state.previous.json                      the same before the last commit; in a folder only
.ingest/files.jsonl                              the ledger: every published file
.ingest/removed.json                             what was taken out for good
.ingest/seek-points/<split>/<source>.json        where a resume enters an archive: a hint
.ingest/dedup/<split>/<source>-<00000>.arrow     the clips of a shard, to know them again: a hint
"""

import re
from pathlib import PurePosixPath
from typing import Final, NamedTuple

from utils.rows.printable import shown
from utils.rows.schema import ROW_SCHEMAS, SPEECH, RowSchema

CARD_PATH: Final = "README.md"
STATE_FOLDER: Final = ".ingest"
STATE_PATH: Final = f"{STATE_FOLDER}/state.json"
PREVIOUS_STATE_PATH: Final = f"{STATE_FOLDER}/state.previous.json"
"""In a folder only: the state before the last commit, to go back to should `state.json` be damaged."""
LEDGER_PATH: Final = f"{STATE_FOLDER}/files.jsonl"
REMOVED_PATH: Final = f"{STATE_FOLDER}/removed.json"
HEARD_PATH: Final = f"{STATE_FOLDER}/heard.txt"
"""What runs heard of clips that are on that list, since it was last written."""
INDEX_FOLDER: Final = f"{STATE_FOLDER}/dedup"

REJECTED_FOLDER: Final = "rejected"
DATA_FOLDERS: Final = (*(rows.folder for rows in ROW_SCHEMAS.values()), REJECTED_FOLDER)
"""The folders of a target that hold published Parquet files."""


def part_name(source: str, number: int) -> str:
    return f"{source}-{number:05d}.parquet"


def part_path(folder: str, source: str, split: str, number: int) -> str:
    """Where a part's shard (`folder`: its rows') or its rejects lie in the target."""
    return f"{folder}/{split}/{part_name(source, number)}"


def is_seek_file(path: str) -> bool:
    """Whether an older version has left there where an archive can be entered, with a second of its audio."""
    return path.startswith(f"{STATE_FOLDER}/seek-points/")


def index_path(source: str, split: str, number: int) -> str:
    """Where the index file of a shard lies."""
    return f"{INDEX_FOLDER}/{split}/{part_name(source, number).removesuffix('.parquet')}.arrow"


class PartPath(NamedTuple):
    """The path of a shard or of its rejects, taken apart."""

    folder: str
    split: str
    source: str
    number: int


_PART_PATH: Final = re.compile(r"([^/]+)/([^/]+)/([^/]+)-(\d{5,})\.parquet")


def parse_part_path(path: str) -> PartPath:
    """What `part_path` was made of. ValueError if it is no such path."""
    found = _PART_PATH.fullmatch(path)
    if not found:
        raise ValueError(f"{shown(ascii(path))} is no path of a shard")
    folder, split, source, number = found.groups()
    return PartPath(folder, split, source, int(number))


def source_of(path: str) -> str:
    """The source whose rows lie at a path. In layouts of others, too: a file's name up to its last dash."""
    return PurePosixPath(path).stem.rpartition("-")[0]


def rows_in(path: str) -> RowSchema:
    """The kind of the rows in a data file of a dataset of ours, by its folder; speech wherever that says nothing."""
    folder = path.split("/")[0]
    return next((rows for rows in ROW_SCHEMAS.values() if rows.folder == folder), SPEECH)


def check_path(path: str) -> None:
    """ValueError where the path of a published file leads anywhere but into the target."""
    if not path.isprintable() or set(path.split("/")) & {"", ".", ".."}:
        raise ValueError(f"{shown(ascii(path))} is no path of a published file")
