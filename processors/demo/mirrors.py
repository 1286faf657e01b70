"""The demo: small mirrors of some registered sources in their true layouts, made up on the spot (`--demo`).

A source takes part by a module beside this one that is called like its own. That writes a mirror (`write_mirror`)
from clips of a synthetic voice, with some broken, missing and unselected ones on purpose, and says what they come
to (`COUNTS`). The bytes are the same every time: fixed seeds, fixed order, no times. A marker is written first and
marked complete last, so a half-written demo is written again.
"""

import gzip
import json
import shutil
import tarfile
import zlib
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from importlib import import_module
from io import BytesIO
from pathlib import Path
from typing import Protocol, cast

from processors import IN_DEMO, describe, module_name
from processors.demo.voice import SyntheticVoice
from utils.disk.durable import write_atomically
from utils.errors import UsageError
from utils.rows.schema import RejectReason

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


class DemoModule(Protocol):
    """What a source's module beside this one has."""

    COUNTS: Mapping[str, DemoCounts]
    """What each split of its mirror comes to."""

    @staticmethod
    def write_mirror(folder: Path, voice: SyntheticVoice) -> None:
        """Write a small mirror of the source, in its true layout, into the empty `folder`; always the same bytes."""


def demo_of(name: str) -> DemoModule:
    """The demo of a source that has one."""
    return cast(DemoModule, import_module(f"processors.demo.{module_name(name)}"))


def write_demo_sources(folder: Path, names: Sequence[str] = IN_DEMO) -> Path:
    """Write the mirrors of these sources below `folder`, unless it has those of this version; returns `folder`.

    UsageError if the folder holds anything else.
    """
    marker = folder / _MARKER
    written = _marker_content(marker, folder)
    complete = {"demo_version": DEMO_VERSION, "sources": list(names), "complete": True}
    if written == complete:
        return folder
    write_atomically(marker, _as_json({**complete, "complete": False}))
    for name in names:
        mirror = folder / describe(name).mirror
        shutil.rmtree(mirror, ignore_errors=True)
        mirror.mkdir(parents=True)
        demo_of(name).write_mirror(mirror, SyntheticVoice(zlib.crc32(name.encode())))
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
