"""GigaSpeech 2, Thai: 193 train archives of web speech, one dev and one test archive, transcripts in tables apart.

    data/th/train/{N}.tar.gz   members A/B/A-B-C.wav, 16 kHz mono WAV; B is a video, not a speaker
    data/th/{dev,test}.tar.gz  the same; whether with a leading folder is not known: the base name counts
    data/th/{train_refined,train_raw,dev,test}.tsv   no header, id <TAB> text

Archives are read in numeric order. A clip that is not in its split's table is unselected: the refined table
leaves out a fifth of the raw clips on purpose. The option `transcripts=raw` takes `train_raw.tsv` instead.
"""

import logging
import re
from collections.abc import Iterator, Mapping
from functools import partial
from pathlib import Path

from processors.base_processor import BaseProcessor
from processors.catalog import CATALOG
from processors.engine.listed import ListedClip
from processors.engine.unreadable import damage_explained
from processors.listing.releases import archives_listed
from processors.readers.fitting import fitting
from processors.readers.tar import read_tars
from utils.errors import SourceError, UsageError
from utils.formats.tsv import TextLines
from utils.rows.printable import shown
from utils.rows.schema import Position, RawClip
from utils.sources.table_index import IndexEntry, TableIndex, open_table_index

log = logging.getLogger(__name__)

_FOLDER = "data/th"
_TRAIN_ARCHIVE = re.compile(rf"{_FOLDER}/train/(\d+)\.tar\.gz")
_TRANSCRIPTS = "transcripts"
_STOP_CHECK_ROWS = 10_000


class GigaSpeech2Processor(BaseProcessor):
    """Position: `{index, file, member}`: the archive, and how many of its clips were read."""

    name = "GigaSpeech2"
    info = CATALOG["GigaSpeech2"]

    options: Mapping[str, tuple[str, ...]] = {_TRANSCRIPTS: ("refined", "raw")}

    def read(self, split: str, position: Position) -> Iterator[RawClip]:
        archives = self._archives(split)
        with self._transcripts(split) as transcripts:
            table_is_empty = next(transcripts.rows(_TRANSCRIPTS), None) is None

            def transcript_of(key: str) -> str | None:
                if table_is_empty:
                    raise self._no_transcripts(split)
                row = transcripts.get(_TRANSCRIPTS, key)
                return row.value if row else None

            points = self.facts.seek_points.get(split)
            clips = read_tars(self.files, archives, position, transcript_of, self.raise_if_stopped, points)
            yield from fitting(clips, position, lambda clip: clip.selected, partial(self._misfit, split, transcripts))

    def listed(self, split: str, scratch: Path, deep: bool) -> Iterator[ListedClip]:
        of_split = "dev" if split == "validation" else split
        found = [(0, f"{_FOLDER}/{of_split}.tar.gz")]
        if split == "train":
            found = [(int(match[1]), match[0]) for match in map(_TRAIN_ARCHIVE.fullmatch, self.files.names()) if match]
        archives = [name for _, name in sorted(found)]
        table = f"{_FOLDER}/{self._table_name(split)}.tsv"
        return archives_listed(self.files, archives, table, scratch, deep, self.raise_if_stopped)

    def _archives(self, split: str) -> list[str]:
        """The archives of a split, train's in numeric order. SourceError where they are not as known."""
        if split != "train":
            return [self._existing(f"{_FOLDER}/{'dev' if split == 'validation' else split}.tar.gz")]
        found = [
            name for name in self.files.names() if name.startswith(f"{_FOLDER}/train/") and name.endswith(".tar.gz")
        ]
        numbers = {name: int(match[1]) for name in found if (match := _TRAIN_ARCHIVE.fullmatch(name))}
        unknown = [name for name in found if name not in numbers]
        if unknown:
            raise SourceError(
                f"{self.name}: {', '.join(unknown[:3])} is no archive of its known layout ({_FOLDER}/train/0.tar.gz, "
                "1.tar.gz ...). Nothing was read. Move it away, then run again with --resume."
            )
        if not numbers:
            raise self._missing(f"{_FOLDER}/train/0.tar.gz")
        absent = sorted(set(range(max(numbers.values()) + 1)) - set(numbers.values()))
        if absent:
            log.warning("%s: train archives %s are not there; reading the others", self.name, _shortened(absent))
        return sorted(numbers, key=lambda name: (numbers[name], name))

    def _transcripts(self, split: str) -> TableIndex:
        """The split's transcripts by clip id, on disk: train has 9.6 million."""
        table = self._existing(f"{_FOLDER}/{self._table_name(split)}.tsv")
        return open_table_index(
            Path(self.config.access.cache_dir) / "index",
            f"{self.name}-{Path(table).stem}",
            f"{self.name}\n{self.files.as_found}\n{table}",
            [_TRANSCRIPTS],
            lambda: self._entries(table),
        )

    def _table_name(self, split: str) -> str:
        if split != "train":
            return "dev" if split == "validation" else split
        choice = self.config.options.get("transcripts", "refined")
        if choice not in ("refined", "raw"):
            raise UsageError(f"{self.name}: the option transcripts is refined or raw, not {choice!r}.")
        return f"train_{choice}"

    def _entries(self, table: str) -> Iterator[IndexEntry]:
        with self.files.open(table) as stream, damage_explained(table):
            lines = TextLines(stream, table)
            for number, (line, _) in enumerate(lines):
                if number % _STOP_CHECK_ROWS == 0:
                    self.raise_if_stopped()
                key, tab, text = line.partition("\t")
                if key and tab:
                    yield _TRANSCRIPTS, key, text
                else:
                    lines.malformed += 1
            lines.report()

    def _no_transcripts(self, split: str) -> SourceError:
        return SourceError(
            f"{self.name}: {_FOLDER}/{self._table_name(split)}.tsv has no transcripts, so every clip of {split} would "
            "be left out. What was read before is safe. Put a whole copy in its place, then run again with --resume."
        )

    def _misfit(self, split: str, transcripts: TableIndex, first: str) -> SourceError | None:
        if not first:  # an archive without clips was told
            return None
        row = next(transcripts.rows(_TRANSCRIPTS), None)
        return SourceError(
            f"{self.name}: {_FOLDER}/{self._table_name(split)}.tsv names no clip of {split}, so all would be left "
            f"out. It begins with {shown(row.key if row else 'nothing')}, the clips with {shown(first)}. What was read "
            "before is safe. Put a whole copy of the table and the archives there, then run again with --resume."
        )

    def _existing(self, name: str) -> str:
        if name not in self.files.names():
            raise self._missing(name)
        return name

    def _missing(self, name: str) -> SourceError:
        has = ", ".join(self.files.names()[:5])
        return SourceError(
            f"{self.name} has no {name} (it has {has} ...). What was read before is safe. Put the file there, "
            "then run again with --resume."
        )


def _shortened(numbers: list[int]) -> str:
    shown = ", ".join(map(str, numbers[:10]))
    return shown if len(numbers) <= 10 else f"{shown} ... ({len(numbers)} in all)"
