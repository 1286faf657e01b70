"""Mozilla Common Voice, Thai: read sentences with speaker, age, gender, accent and votes.

    cv-corpus-25.0-2026-03-09-th.tar.gz, or that archive extracted: cv-corpus-25.0-2026-03-09/th/
        clips/*.mp3   train.tsv  dev.tsv  test.tsv  clip_durations.tsv  ... (tab-separated, never quoted)

Read are the official splits; with the option `split=validated` train is all of `validated.tsv`, without the sentences
and the speakers of dev and test (`processors/readers/held_out.py`).

It is not on the Hub: the Mozilla Data Collective hands it out, for a key (`processors/readers/collective.py`) or after
a sign-in, to be read from a mirror. Of several releases the newest is read; an extracted one rather than its archive.
"""

import hashlib
import json
import logging
import re
from collections.abc import Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from processors.base_processor import BaseProcessor
from processors.catalog import CATALOG
from processors.engine.listed import ListedClip
from processors.engine.unreadable import damage_explained
from processors.listing.releases import ReleaseListing
from processors.readers.archive import CLIPS, Archive
from processors.readers.collective import KEY_VARIABLE, CollectiveFiles, key_in_environment
from processors.readers.fitting import fitting, is_there
from processors.readers.held_out import HELD_OUT, held_out_entries, without_held_out
from processors.readers.release_folder import (
    DURATIONS,
    TableLayout,
    count_rows,
    duration_entries,
    read_folder,
    table_rows,
)
from utils.errors import SourceError
from utils.rows.printable import shown
from utils.rows.schema import Position, RawClip
from utils.sources.clip_spool import SUFFIX, remove_spool
from utils.sources.source_files import SourceFiles
from utils.sources.table_index import IndexEntry, TableIndex, open_table_index

log = logging.getLogger(__name__)

_SLUG = "mcv-scripted-th-v25.0"
"""The Thai release at the Collective."""
_EVALUATION = {"dev.tsv": "validation", "test.tsv": "test"}
_TRAIN = {"official": "train.tsv", "validated": "validated.tsv"}
"""Option `split` -> the table of train."""
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


class MozillaCommonVoiceProcessor(BaseProcessor):
    """Position: of an extracted release `{index, offset}`, bytes of the table; of an archive `{index, member}`,
    and after its clips `{index, row}`."""

    name = "MozillaCommonVoice"
    info = CATALOG["MozillaCommonVoice"]
    options: Mapping[str, tuple[str, ...]] = {"split": tuple(_TRAIN)}  # noqa: RUF012

    def read(self, split: str, position: Position) -> Iterator[RawClip]:
        release = self._release()
        with self._index(release) as index:
            clips = fitting(
                self._clips(release, index, split, position), position, is_there, partial(self._misfit, release, split)
            )
            yield from without_held_out(clips, index) if self._holds_out and split == "train" else clips

    def listed(self, split: str, scratch: Path, deep: bool) -> Iterator[ListedClip]:
        release = self._release()
        held_out_by = tuple(_EVALUATION.values()) if self._holds_out else ()
        listing = ReleaseListing(self.files, _LAYOUT, self._tables, held_out_by, self.raise_if_stopped)
        if release.extracted:
            return listing.extracted(release.place, split, scratch)
        return listing.archived(release.place, split, scratch, deep)

    def close(self) -> None:
        """The clips that were unpacked go only now: had they gone with the last one read, a run that dies before that
        one is durable would have to unpack the archive again."""
        last = self.progress.get(self.get_available_splits()[-1])
        if last is not None and last.finished and self.config.access.unpack_archives:
            with suppress(SourceError):  # the archive may have been taken away since
                remove_spool(self._spool(self._release()))
        super().close()

    def _clips(self, release: "_Release", index: TableIndex, split: str, position: Position) -> Iterator[RawClip]:
        if release.extracted:
            table = self._table(release, split)
            return read_folder(self.files, table, f"{release.place}/clips", _LAYOUT, index, position)
        return self._archive(release).clips(split, index, position, self.facts.seek_points.get(split))

    def _archive(self, release: _Release) -> Archive:
        unpacked = self.config.access.unpack_archives
        return Archive(self.files, release.place, _LAYOUT, self._spool(release), self.raise_if_stopped, unpacked)

    def _spool(self, release: _Release) -> Path:
        name = hashlib.sha256(f"{self.files.as_found}\n{release.place}".encode()).hexdigest()[:16]
        return self._index_folder / f"{self.name}-{name}{SUFFIX}"

    @property
    def _index_folder(self) -> Path:
        return Path(self.config.access.cache_dir) / "index"

    @property
    def _holds_out(self) -> bool:
        return self.config.options.get("split") == "validated"

    @property
    def _tables(self) -> dict[str, str]:
        """File name of a table -> its split."""
        return {_TRAIN[self.config.options.get("split", "official")]: "train", **_EVALUATION}

    def expected_clips(self, split: str) -> int | None:
        release = self._release()
        if release.extracted:
            return count_rows(self.files, self._table(release, split), _LAYOUT)
        with self._index(release) as index:
            return index.count(split)

    @property
    def files(self) -> SourceFiles:
        source_dir = self.config.access.source_dir
        if source_dir is None and (self._files is not None or key_in_environment()):
            if self._files is None:
                self._files = CollectiveFiles(_SLUG, self.config.access, self.revision)
                self.revision = self._files.revision
            return self._files
        if source_dir is None or not (source_dir / self.info.mirror).is_dir():
            raise SourceError(f"{self.name} is not on the Hub, and there is no mirror of it. {self._how_to_get()}")
        return super().files

    def _release(self) -> _Release:
        found = {release for name in self.files.names() if (release := _release_of(name))}
        if not found:
            has = ", ".join(self.files.names()[:5])
            raise SourceError(
                f"{self.name}: no Thai release of Common Voice among the mirror's files ({has} ...). "
                f"{self._how_to_get()}"
            )
        newest = max(found)
        if len({release.version for release in found}) > 1:
            log.warning("%s: several releases are there; reading the newest, %s", self.name, newest.place)
        return newest

    def _index(self, release: _Release) -> TableIndex:
        """Declared durations and, of an archive, all it holds but the audio: on disk, made at the first read."""
        return open_table_index(
            self._index_folder,
            self.name,
            f"{self.name}\n{self.files.as_found}\n{release.place}\n{SUFFIX}",
            [
                *([] if release.extracted else [*self._tables.values(), CLIPS]),
                DURATIONS,
                *([HELD_OUT] if self._holds_out else []),
            ],
            lambda: self._entries(release),
        )

    def _entries(self, release: _Release) -> Iterator[IndexEntry]:
        if release.extracted:
            yield from self._durations(release)
            if self._holds_out:
                yield from self._held_out(release)
            return
        log.info("%s: reading %s once for its tables", self.name, release.place)
        for entry in self._archive(release).entries(self._tables):
            yield entry
            if self._holds_out and entry[0] in _EVALUATION.values():
                row = json.loads(entry[2])
                yield from held_out_entries(row.get(_LAYOUT.transcript, ""), row.get(_LAYOUT.speaker, ""))

    def _held_out(self, release: _Release) -> Iterator[IndexEntry]:
        """The sentences and speakers of an extracted release's evaluation tables."""
        for split in _EVALUATION.values():
            name = self._table(release, split)
            with self.files.open(name) as stream, damage_explained(name):
                for row, _ in table_rows(stream, name, (_LAYOUT.clip, _LAYOUT.transcript)):
                    yield from held_out_entries(row.get(_LAYOUT.transcript, ""), row.get(str(_LAYOUT.speaker), ""))

    def _durations(self, release: _Release) -> Iterator[IndexEntry]:
        durations = f"{release.place}/{_LAYOUT.durations_table}"
        if durations not in self.files.names():  # releases before 13.0
            return iter(())
        return duration_entries(self.files, durations, _LAYOUT)

    def _table(self, release: _Release, split: str) -> str:
        table = next(f"{release.place}/{name}" for name, of_split in self._tables.items() if of_split == split)
        if table not in self.files.names():
            raise SourceError(
                f"{self.name}: {table} is not in the mirror. Extract the whole archive there, "
                "then run again with --resume."
            )
        return table

    def _misfit(self, release: _Release, split: str, first: str) -> SourceError | None:
        if not first and split != "train":  # of a language that has just begun nobody is tested
            return None
        named = f"names no clip that is there: it begins with {shown(first)}" if first else "has no rows"
        table = next(name for name, of_split in self._tables.items() if of_split == split)
        return SourceError(
            f"{self.name}: {table} of {release.place} {named}. What was read before is safe. Put a whole copy there "
            "(of an archive all that it extracts to), then run again with --resume."
        )

    def _how_to_get(self) -> str:
        source_dir = self.config.access.source_dir or Path("DIR")
        return (
            f"Sign in at {self.info.url}, accept the terms of Common Voice Thai ({_SLUG}), make a key, set it as "
            f"{KEY_VARIABLE}, and run again without --source-dir. Or download it there, put "
            f"cv-corpus-25.0-2026-03-09-th.tar.gz, or the folder it extracts to, into "
            f"{source_dir / self.info.mirror}/, and run again with --source-dir {source_dir}."
        )


def _release_of(name: str) -> _Release | None:
    """The release that a file of the mirror is, or belongs to."""
    if archive := _ARCHIVE.fullmatch(name):
        return _Release(_version(archive[1]), False, name)
    if extracted := _EXTRACTED.fullmatch(name):
        return _Release(_version(extracted[2]), True, extracted[1])
    return None


def _version(text: str) -> tuple[int, ...]:
    return tuple(map(int, text.split(".")))
