"""The demo: small mirrors of some registered sources in their true layouts, made up on the spot (`--demo`).

Each source writes its own mirror (`write_demo_mirror`) from clips of a synthetic voice, with some broken,
missing and unselected ones on purpose, and says what they come to (`demo_counts`). The bytes are the same
every time: fixed seeds, fixed order, no times. A marker is written first and marked complete last, so a
half-written demo is written again.
"""

import gzip
import json
import shutil
import tarfile
import zlib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from io import BytesIO
from pathlib import Path

from processors import IN_DEMO, REGISTRY
from processors.base_processor import BaseProcessor
from utils.durable import write_atomically
from utils.errors import UsageError
from utils.schema import RejectReason
from utils.synthetic_voice import SyntheticVoice

DEMO_VERSION = 1
"""Raise it whenever any mirror's content changes."""

_MARKER = "demo.json"

ERROR_PAGE = b"<!DOCTYPE html><html><body><h1>503 Service Unavailable</h1></body></html>\n"
"""What a downloader may have saved in place of a clip."""


@dataclass(frozen=True)
class DemoCounts:
    """What a split of a demo mirror comes to. Repeated ids count as rejected."""

    kept: int
    unselected: int = 0
    rejected: Mapping[str, int] = field(default_factory=dict)
    """Reason -> clips."""

    @property
    def read(self) -> int:
        return self.kept + self.unselected + sum(self.rejected.values())


def write_demo_sources(folder: Path, registry: Mapping[str, type[BaseProcessor]] | None = None) -> Path:
    """Write the mirrors of the demo's sources below `folder`, unless it has those of this version; returns `folder`.

    UsageError where the folder holds anything else.
    """
    registry = {name: REGISTRY[name] for name in IN_DEMO} if registry is None else registry
    marker = folder / _MARKER
    written = _marker_content(marker, folder)
    complete = {"demo_version": DEMO_VERSION, "sources": list(registry), "complete": True}
    if written == complete:
        return folder
    write_atomically(marker, _as_json({**complete, "complete": False}))
    for name, processor in registry.items():
        if processor.info is None:
            raise UsageError(f"{name} has no description (`info`), so its demo mirror has no place.")
        mirror = folder / processor.info.mirror
        shutil.rmtree(mirror, ignore_errors=True)
        mirror.mkdir(parents=True)
        try:
            processor.write_demo_mirror(mirror, SyntheticVoice(zlib.crc32(name.encode())))
        except NotImplementedError as error:
            raise UsageError(
                f"{error}. Or register {name} in `_CONFIGURED` (processors/__init__.py), among the sources that have "
                "no demo."
            ) from error
    write_atomically(marker, _as_json(complete))
    return folder


def _marker_content(marker: Path, folder: Path) -> object:
    """What the marker says; None in a new folder, and where it can't be read."""
    if marker.is_file():
        try:
            return json.loads(marker.read_bytes())
        except ValueError:
            return None
    if folder.exists() and any(folder.iterdir()):
        raise UsageError(
            f"{folder} is to hold the demo's sources, but holds something else. Nothing was changed. "
            "Move it away, then run again."
        )
    return None


def _as_json(content: Mapping[str, object]) -> bytes:
    return json.dumps(content, indent=1).encode() + b"\n"


# --- what the sources build their mirrors from ---------------------------------------------------


def write_tar_gz(path: Path, members: Iterable[tuple[str, bytes]], packing_level: int = 1) -> None:
    """A tar.gz of files in the order given, a folder where a name ends with `/`. No times, owners or own name."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with (
        path.open("wb") as file,
        gzip.GzipFile("", "wb", compresslevel=packing_level, fileobj=file, mtime=0) as packed,
        tarfile.open(fileobj=packed, mode="w", format=tarfile.GNU_FORMAT) as tar,
    ):
        for name, content in members:
            member = tarfile.TarInfo(name)
            member.size = len(content)
            if name.endswith("/"):
                member.type = tarfile.DIRTYPE
            tar.addfile(member, BytesIO(content))


def write_table(path: Path, rows: Iterable[Iterable[str]]) -> None:
    """A tab-separated table without quoting."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(table_bytes(rows))


def table_bytes(rows: Iterable[Iterable[str]]) -> bytes:
    return "".join("\t".join(row) + "\n" for row in rows).encode()


def damaged(audio: bytes, reason: str, silence: bytes) -> bytes:
    """An encoded clip as it must be to be rejected for `reason`; `silence` is a silent one."""
    return {
        RejectReason.UNDECODABLE: ERROR_PAGE,
        RejectReason.EMPTY: b"",
        RejectReason.SILENT: silence,
        RejectReason.TRUNCATED: audio[: len(audio) // 2],
    }[reason]
