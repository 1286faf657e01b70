"""A source on the tests' Hub, and how tests reach it."""

import os
import random
from pathlib import Path
from typing import Any

from tests.hub_server import HubServer
from utils.sources.hub import Patience
from utils.sources.source_files import SourceAccess

REPO = "corpora/thai-speech"
ARCHIVE = "data/th/train/0.tar.gz"
ARCHIVE_BYTES = 3_000_017
TABLE = "data/th/dev.tsv"


def noise(seed: int, size_bytes: int) -> bytes:
    """Bytes that are the same in every run and like no other seed's."""
    return random.Random(seed).randbytes(size_bytes)


def make_source(folder: Path, files: dict[str, bytes] | None = None) -> Path:
    """A source's folder: one large binary file and one small table, or the files given."""
    for name, content in (files or {ARCHIVE: noise(0, ARCHIVE_BYTES), TABLE: b"0-1-2\tsawasdee\n"}).items():
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content)
    return folder


def access(cache_dir: Path, **fields: Any) -> SourceAccess:
    """Access to the tests' Hub that loses no time between two tries."""
    quick = {"patience": Patience(tries=5, first_wait_s=0.001), "timeout_s": 20.0, "cache_dir": cache_dir}
    return SourceAccess(**{**quick, **fields})


def downloads(hub: HubServer) -> list[str]:
    """The ranges of large files that were asked for, in order."""
    return [seen.range or "all" for seen in hub.requests if seen.step == "cdn"]


def bytes_sent(hub: HubServer) -> int:
    """The bytes of large files that the Hub sent."""
    return sum(seen.body_bytes_sent for seen in hub.requests if seen.step == "cdn")


def all_files(*folders: Path) -> list[Path]:
    """Every file in some folders, for tests of what is left on the disk."""
    return [Path(place, name) for folder in folders for place, _, names in os.walk(folder) for name in names]
