"""Mozilla Common Voice, Thai: read sentences with speaker, age, gender, accent and votes.

    cv-corpus-25.0-2026-03-09-th.tar.gz, or that archive extracted: cv-corpus-25.0-2026-03-09/th/
        clips/*.mp3   train.tsv  dev.tsv  test.tsv  clip_durations.tsv  ... (tab-separated, never quoted)

It is not on the Hub: the Mozilla Data Collective hands it out after a sign-in, so it is read from a mirror
alone. Of several releases the newest is read; an extracted one rather than its archive.
"""

import logging
import re
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from processors.base_processor import BaseProcessor, SourceInfo
from processors.demo import DemoCounts, damaged, table_bytes, write_tar_gz
from processors.table_reader import (
    CLIPS,
    DURATIONS,
    TableLayout,
    archive_entries,
    duration_entries,
    read_archive,
    read_folder,
)
from utils.errors import SourceError
from utils.schema import Position, RawClip, RejectReason
from utils.sources import SourceFiles
from utils.synthetic_voice import SyntheticVoice, mp3_bytes
from utils.table_index import Entry, TableIndex, open_table_index

log = logging.getLogger(__name__)

_TABLES = {"train.tsv": "train", "dev.tsv": "validation", "test.tsv": "test"}
_LAYOUT = TableLayout(
    clip="path",
    transcript="sentence",
    speaker="client_id",
    metadata=(
        *("age", "gender", "accents", "variant", "up_votes", "down_votes"),
        *("sentence_id", "sentence_domain", "segment"),
    ),
    durations_table="clip_durations.tsv",
    durations_clip="clip",
    durations_ms="duration[ms]",
)
_RELEASE = r"cv-corpus-(\d+(?:\.\d+)*)-\d{4}-\d{2}-\d{2}"
"""With its version. A delta release (`cv-corpus-25.0-delta-...`) holds only what is new, and no splits of its own."""
_ARCHIVE = re.compile(rf"(?:.*/)?{_RELEASE}-th\.tar\.gz")
_EXTRACTED = re.compile(rf"((?:.*/)?{_RELEASE}/th)/.+")


@dataclass(frozen=True, order=True)
class _Release:
    """One release in the mirror; the greatest is the one to read."""

    version: tuple[int, ...]
    extracted: bool
    place: str
    """The archive, or the folder that holds `clips`."""


class MozillaCommonVoice(BaseProcessor):
    """Position: extracted `{index, offset}`, a byte offset in the table; archive `{index, member}`, then `{index, row}`."""

    name = "MozillaCommonVoice"
    info = SourceInfo(
        title="Mozilla Common Voice (Thai)",
        url="https://mozilladatacollective.com/datasets",
        licence="cc0-1.0",
        licence_name="CC0-1.0",
        hours="427 (173 validated)",
        mirror="common_voice",
        access="download by hand (slug mcv-scripted-th-v25.0), then --source-dir",
        terms="the Mozilla Data Collective's terms forbid re-hosting what it hands out",
    )

    def read(self, split: str, position: Position) -> Iterator[RawClip]:
        release = self._release()
        with self._index(release) as index:
            if release.extracted:
                table = self._table(release, split)
                yield from read_folder(self.files, table, f"{release.place}/clips", _LAYOUT, index, position)
            else:
                yield from read_archive(
                    self.files, release.place, split, _LAYOUT, index, position, self.raise_if_stopped
                )

    @property
    def files(self) -> SourceFiles:
        source_dir = self.config.access.source_dir
        if source_dir is None or not (source_dir / self.info.mirror).is_dir():
            raise SourceError(f"{self.name} is not on the Hub, and there is no mirror of it. {self._how_to_get()}")
        return super().files

    def _release(self) -> _Release:
        found = {release for name in self.files.names() if (release := _release_of(name))}
        if not found:
            has = ", ".join(self.files.names()[:5])
            raise SourceError(
                f"{self.name}: no Thai release of Common Voice among the mirror's files ({has} ...). {self._how_to_get()}"
            )
        newest = max(found)
        if len({release.version for release in found}) > 1:
            log.warning("%s: several releases are there; reading the newest, %s", self.name, newest.place)
        return newest

    def _index(self, release: _Release) -> TableIndex:
        """Declared durations and, of an archive, all it holds but the audio: on disk, made at the first read."""
        return open_table_index(
            Path(self.config.access.cache_dir) / "index",
            self.name,
            f"{self.name}\n{self.files.revision}\n{release.place}",
            [DURATIONS] if release.extracted else [*_TABLES.values(), CLIPS, DURATIONS],
            lambda: self._entries(release),
        )

    def _entries(self, release: _Release) -> Iterator[Entry]:
        if not release.extracted:
            log.info("%s: reading %s once for its tables", self.name, release.place)
            return archive_entries(self.files, release.place, _TABLES, _LAYOUT, self.raise_if_stopped)
        durations = f"{release.place}/{_LAYOUT.durations_table}"
        if durations not in self.files.names():  # releases before 13.0
            return iter(())
        return duration_entries(self.files, durations, _LAYOUT)

    def _table(self, release: _Release, split: str) -> str:
        table = next(f"{release.place}/{name}" for name, of_split in _TABLES.items() if of_split == split)
        if table not in self.files.names():
            raise SourceError(
                f"{self.name}: {table} is not in the mirror. Extract the whole archive there, "
                "then run again with --resume."
            )
        return table

    def _how_to_get(self) -> str:
        source_dir = self.config.access.source_dir or Path("DIR")
        return (
            f"Sign in at {self.info.url}, accept the terms of Common Voice Thai (mcv-scripted-th-v25.0), download "
            f"it, and put cv-corpus-25.0-2026-03-09-th.tar.gz, or the folder it extracts to, into "
            f"{source_dir / self.info.mirror}/. Then run again with --source-dir {source_dir}."
        )
